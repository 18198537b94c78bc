/*
 * Memory calls at once from several threads, with signals between them, and calls that the host
 * refuses: whatever order they come in, each thread's memory is its own, a refused call leaves no
 * trace, and the maps of the process say what is there.
 */
#include "guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGE    4096UL
#define THREADS 4
#define ROUNDS  1500

static volatile sig_atomic_t signals;

static void on_alarm(int signal) {
    int saved = errno;
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    signals++;
    if (p == MAP_FAILED || *p != 0 || munmap(p, PAGE) < 0)
        guest_test_fail(__FILE__, __LINE__, "a signal handler's mmap: %s", strerror(errno));
    errno = saved;
}

/* Every page holds its owner's mark from the write to the unmap. */
static void *map_and_unmap(void *arg) {
    unsigned mark = (unsigned)(uintptr_t)arg;

    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t pages = 1 + (round * 7 + mark) % 9;
        volatile unsigned *p =
            mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED) {
            guest_test_fail(__FILE__, __LINE__, "mmap: %s", strerror(errno));
            return NULL;
        }
        for (size_t i = 0; i < pages; i++) {
            CHECK_EQ(p[i * PAGE / 4], 0);
            p[i * PAGE / 4] = mark + (unsigned)i;
        }
        if (round % 3 == 0)
            CHECK_OK(mprotect((void *)p, PAGE, PROT_READ));
        if (round % 5 == 0)
            CHECK_OK(madvise((char *)p + (pages - 1) * PAGE, PAGE, MADV_NOHUGEPAGE));
        for (size_t i = 0; i < pages; i++)
            CHECK_EQ(p[i * PAGE / 4], mark + (unsigned)i);
        CHECK_OK(munmap((void *)p, pages * PAGE));
    }
    return NULL;
}

TEST(threads_do_not_meet) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    pthread_t threads[THREADS];

    sigaction(SIGALRM, &action, NULL);
    CHECK_OK(setitimer(ITIMER_REAL, &often, NULL));
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, map_and_unmap, (void *)(i * 1000 + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_OK(setitimer(ITIMER_REAL, &never, NULL));
    CHECK(signals > 0);
}

/* One thread maps while the other forks: each child has either all of a mapping or none. */
static volatile bool stop;

static void *map_until_stopped(void *arg) {
    while (!stop) {
        char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED || munmap(p, 4 * PAGE) < 0)
            guest_test_fail(__FILE__, __LINE__, "mmap beside fork: %s", strerror(errno));
    }
    return NULL;
}

TEST(fork_beside_mmap) {
    pthread_t thread;

    REQUIRE_EQ(pthread_create(&thread, NULL, map_until_stopped, NULL), 0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        int status = -1;

        if (pid == 0) {
            char *p =
                mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            if (p == MAP_FAILED || memset(p, 1, 8 * PAGE) != p)
                _exit(1);
            _exit(munmap(p, 8 * PAGE) < 0);
        }
        CHECK_OK(pid);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    stop = true;
    pthread_join(thread, NULL);
}

static bool is_mapped(void *address) {
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end;
    char line[512];
    bool found = false;

    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start &&
            (unsigned long)address < end)
            found = true;
    if (maps)
        fclose(maps);
    return found;
}

/* More than the host has, by far, and not MAP_NORESERVE: it is refused when it is made. */
TEST(refused_mmap_leaves_no_trace) {
    size_t huge = 1UL << 45;
    char *hint = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p != MAP_FAILED) {
        munmap(p, huge);
        SKIP("the host commits any amount of memory");
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK_OK(munmap(hint, PAGE));
    CHECK(!is_mapped(hint));
    p = mmap(hint, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
             -1, 0);
    CHECK_EQ(p, hint);
    CHECK(is_mapped(hint));
    CHECK_OK(munmap(p, PAGE));
    CHECK(!is_mapped(hint));
}

TEST(refused_advice_is_told) {
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(p != MAP_FAILED);
    p[0] = p[2 * PAGE] = 1;
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR(madvise(p, 3 * PAGE, MADV_DONTNEED), ENOMEM);
    CHECK_EQ(p[0], 0); /* what is there was done */
    CHECK_EQ(p[2 * PAGE], 0);
    CHECK_ERR(mprotect(p, 3 * PAGE, PROT_READ), ENOMEM);
    CHECK_OK(madvise(p, PAGE, MADV_DONTNEED));
    CHECK_OK(munmap(p, 3 * PAGE));
}

TEST_MAIN()
