/* More files in use at once than a process may use by itself: all are read and written right, by
 * it and by its child, and it can still map, make threads and processes. */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define FILES 1500

static int fds[FILES];

static void use_all(int byte) {
    for (int i = 0; i < FILES; i++) {
        char bytes[4] = {(char)byte, (char)i, (char)(i >> 8), 0}, back[4];

        for (int k = 0; k < 8; k++) {
            CHECK_EQ(pwrite(fds[i], bytes, 4, 4 * i), 4);
            CHECK_EQ(pread(fds[i], back, 4, 4 * i), 4);
            CHECK_EQ(memcmp(bytes, back, 4), 0);
        }
    }
}

static void *thread_body(void *arg) {
    return arg;
}

TEST(more_than_direct) {
    struct rlimit limit;
    pthread_t thread;
    void *result = NULL;
    pid_t pid;

    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < FILES + 100)
        SKIP("too few descriptors are allowed here");
    for (int i = 0; i < FILES; i++) {
        fds[i] = open("many", O_RDWR | O_CREAT, 0600);
        REQUIRE_OK(fds[i]);
    }
    use_all(1);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        use_all(2);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    use_all(3);
    char *map = mmap(NULL, 4 * FILES, PROT_READ, MAP_SHARED, fds[FILES - 1], 0);
    REQUIRE(map != MAP_FAILED);
    CHECK_EQ(map[4 * (FILES - 1)], 3);
    CHECK_EQ(pthread_create(&thread, NULL, thread_body, fds), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == fds);
    for (int i = 0; i < FILES; i += 2)
        CHECK_OK(close(fds[i]));
    for (int i = 0; i < FILES; i += 2) {
        fds[i] = open("many", O_RDWR);
        REQUIRE_OK(fds[i]);
    }
    use_all(4);
}

TEST_MAIN()
