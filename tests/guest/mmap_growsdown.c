/* MAP_GROWSDOWN and the main stack: growth by touching, the guard gap, recursion. mmap(2). */
#include "guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)

static bool is_mapped(void *p) {
    unsigned char v;
    return mincore(p, PAGE, &v) == 0;
}

TEST(grows_when_touched) {
    /* A big place of our own to be sure that nothing lies below. */
    char *area = mmap(NULL, 1024 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(area != MAP_FAILED);
    CHECK_OK(munmap(area, 1024 * PAGE));
    char *top = area + 1024 * PAGE;
    char *p = mmap(top - 2 * PAGE, 2 * PAGE, RW,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    REQUIRE(p == top - 2 * PAGE);
    CHECK(!is_mapped(p - PAGE));
    p[-1] = 7;
    CHECK(is_mapped(p - PAGE));
    p[-20 * (long)PAGE] = 8; /* any distance, since Linux 5.0 */
    CHECK(is_mapped(p - 10 * PAGE));
    CHECK_EQ(p[-1], 7);
    CHECK_EQ(p[-20 * (long)PAGE], 8);
    /* New mappings keep their distance. */
    char *q = mmap(p - 40 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(q != p - 40 * PAGE);
    munmap(q, PAGE);
    munmap(area, 1024 * PAGE);
}

TEST(not_for_shared_memory) {
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0),
              EINVAL);
}

__attribute__((noinline)) static int recurse(int depth) {
    volatile char frame[1024];
    frame[0] = (char)depth;
    frame[1023] = frame[0];
    return depth == 0 ? frame[1023] : recurse(depth - 1) + (frame[1023] == (char)depth);
}

TEST(main_stack_takes_megabytes) {
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_STACK, &limit));
    if (limit.rlim_cur < (8 << 20))
        SKIP("the stack limit is below 8 MiB");
    CHECK_EQ(recurse(5000), 5000); /* about 5 MiB */
}

TEST(overflow_is_sigsegv) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        for (;;)
            recurse(1 << 30);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void *thread_stack(void *arg) {
    return (void *)(intptr_t)recurse(1000);
}

TEST(thread_stacks) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, thread_stack, NULL), 0);
    for (int i = 0; i < 8; i++) {
        void *result;
        CHECK_EQ(pthread_join(threads[i], &result), 0);
        CHECK_EQ((intptr_t)result, 1000);
    }
}

TEST_MAIN()
