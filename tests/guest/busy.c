/*
 * A program that is busy in every way at once: pipes, sleeps, futexes, waits, signals, polls,
 * forks, spawns, computing. Its results do not depend on timing. tests/cli/rest.sh runs it while
 * the sandbox is brought to rest all the time (design 12); here it runs by itself.
 */
#include "guest_test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

enum {
    RING = 4,
    ROUNDS = 1500,
    SLEEPS = 400,
    FORKS = 150,
    SPAWNS = 30,
    SIGNALS = 600,
    ITEMS = 4000,
    BULK = 4 << 20
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* A token goes round through processes; each adds to it. */
static void *ring(void *arg) {
    int fds[RING + 1][2];
    uint32_t token = 1;
    pid_t children[RING];
    for (int i = 0; i <= RING; i++)
        CHECK_OK(pipe(fds[i]));
    for (int i = 0; i < RING; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (int n = 0; n < ROUNDS; n++) {
                uint32_t value;
                if (read(fds[i][0], &value, 4) != 4)
                    _exit(1);
                value = value * 1664525u + 1013904223u + (uint32_t)i;
                if (write(fds[i + 1][1], &value, 4) != 4)
                    _exit(2);
            }
            _exit(0);
        }
    }
    for (int n = 0; n < ROUNDS; n++) {
        CHECK_EQ(write(fds[0][1], &token, 4), 4);
        CHECK_EQ(read(fds[RING][0], &token, 4), 4);
    }
    for (int i = 0; i < RING; i++)
        CHECK_CHILD_OK(children[i]);
    for (int i = 0; i <= RING; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
    *(uint64_t *)arg = token;
    return NULL;
}

static void *sleeper(void *arg) {
    uint64_t complete = 0;
    for (int i = 0; i < SLEEPS; i++) {
        int64_t start = now_ns();
        if (nanosleep(&(struct timespec){.tv_nsec = 1000000 + i * 1000}, NULL) == 0 &&
            now_ns() - start >= 1000000 + i * 1000)
            complete++;
    }
    *(uint64_t *)arg = complete;
    return NULL;
}

/* Time-outs that end, and sleeps that an event ends, by poll, epoll, select and futex-based waits.
 */
static void *poller(void *arg) {
    uint64_t right = 0;
    int interrupted = 0;
    int event = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0), epoll = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &wanted);
    for (int i = 0; i < 100; i++) {
        struct pollfd fd = {event, POLLIN, 0};
        int64_t start = now_ns();
        int ready = poll(&fd, 1, 2);
        int64_t took = now_ns() - start;
        GUEST_CHECK(ready == 0 && took >= 2000000, , "poll gave %d (errno %d) after %lld ns", ready,
                    errno, (long long)took);
        right += ready == 0;
        struct itimerspec spec = {.it_value = {0, 1500000}};
        timerfd_settime(timer, 0, &spec, NULL);
        while ((ready = epoll_wait(epoll, &wanted, 1, -1)) < 0 && errno == EINTR)
            interrupted++;
        GUEST_CHECK(ready == 1, , "epoll_wait gave %d (errno %d)", ready, errno);
        right += ready == 1;
        uint64_t count = 0;
        ssize_t size = read(timer, &count, 8);
        GUEST_CHECK(size == 8 && count == 1, , "timerfd gave %zd, count %d", size, (int)count);
        right += size == 8;
    }
    /* It is not restarted after a stop, handler or none (signal(7)): where the whole machine is
     * frozen now and then a few of the calls see that. A rest that programs notice interrupts
     * nearly all. */
    GUEST_CHECK(interrupted <= 20, , "epoll_wait was interrupted %d times", interrupted);
    close(event);
    close(timer);
    close(epoll);
    *(uint64_t *)arg = right;
    return NULL;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int queue[16], queued, taken;

static void *producer(void *arg) {
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (queued == 16)
            pthread_cond_wait(&cond, &mutex);
        queue[queued++] = i;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void *consumer(void *arg) {
    uint64_t sum = 0;
    for (;;) {
        pthread_mutex_lock(&mutex);
        while (queued == 0 && taken < 2 * ITEMS)
            pthread_cond_wait(&cond, &mutex);
        if (taken == 2 * ITEMS) {
            pthread_mutex_unlock(&mutex);
            break;
        }
        sum += (uint64_t)queue[--queued];
        taken++;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    __atomic_fetch_add((uint64_t *)arg, sum, __ATOMIC_RELAXED);
    return NULL;
}

static void *forker(void *arg) {
    uint64_t sum = 0;
    for (int i = 0; i < FORKS; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0)
            _exit(i & 0x7f);
        if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
            sum += (uint64_t)WEXITSTATUS(status) + 1;
    }
    *(uint64_t *)arg = sum;
    return NULL;
}

static void *spawner(void *arg) {
    uint64_t right = 0;
    for (int i = 0; i < SPAWNS; i++) {
        char *argv[] = {(char *)"sh", (char *)"-c", (char *)"exit 5", NULL}, *env[] = {NULL};
        int status;
        pid_t pid;
        if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, env) == 0 &&
            waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 5)
            right++;
    }
    *(uint64_t *)arg = right;
    return NULL;
}

static volatile sig_atomic_t received;
static void count_signal(int signal) {
    (void)signal;
    received++;
}

/* Queued signals in both directions of sigsuspend: none is lost, none doubled. */
static void *signaller(void *arg) {
    int fds[2];
    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction action = {.sa_handler = count_signal};
        sigset_t set, old;
        char byte = 'r';
        sigaction(SIGRTMIN, &action, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        sigprocmask(SIG_BLOCK, &set, &old);
        sigdelset(&old, SIGRTMIN);
        if (write(fds[1], &byte, 1) != 1)
            _exit(9);
        while (received < SIGNALS)
            sigsuspend(&old);
        sigprocmask(SIG_SETMASK, &old, NULL);
        _exit(received == SIGNALS ? 0 : 1);
    }
    char byte;
    CHECK_EQ(read(fds[0], &byte, 1), 1);
    for (int i = 0; i < SIGNALS; i++)
        while (sigqueue(pid, SIGRTMIN, (union sigval){.sival_int = i}) < 0 && errno == EAGAIN)
            sched_yield();
    CHECK_CHILD_OK(pid);
    close(fds[0]);
    close(fds[1]);
    *(uint64_t *)arg = SIGNALS;
    return NULL;
}

/* Partial transfers are returned, never repeated: every byte once. */
static void *bulk(void *arg) {
    int fds[2];
    uint64_t sum = 0, size = 0;
    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        static unsigned char data[70000];
        close(fds[0]);
        for (size_t done = 0; done < BULK;) {
            size_t want = BULK - done < sizeof data ? BULK - done : sizeof data;
            for (size_t i = 0; i < want; i++)
                data[i] = (unsigned char)((done + i) * 7 >> 4);
            ssize_t n = write(fds[1], data, want);
            if (n <= 0)
                _exit(1);
            done += (size_t)n;
        }
        _exit(0);
    }
    close(fds[1]);
    static unsigned char buffer[5000];
    for (;;) {
        ssize_t n = read(fds[0], buffer, sizeof buffer);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buffer[i];
        size += (uint64_t)n;
    }
    close(fds[0]);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(size, BULK);
    *(uint64_t *)arg = sum;
    return NULL;
}

static void *computer(void *arg) {
    uint64_t a = 1;
    double x = 0.5;
    for (int i = 0; i < 60000000; i++) {
        a = a * 6364136223846793005ull + 1442695040888963407ull;
        x = 3.99 * x * (1 - x);
    }
    uint64_t bits;
    memcpy(&bits, &x, 8);
    *(uint64_t *)arg = a ^ bits;
    return NULL;
}

TEST(busy) {
    static const struct {
        const char *name;
        void *(*run)(void *);
    } jobs[] = {{"ring", ring},         {"sleeps", sleeper}, {"sleeps too", sleeper},
                {"polls", poller},      {"forks", forker},   {"spawns", spawner},
                {"signals", signaller}, {"bulk", bulk},      {"items", consumer},
                {"computing", computer}};
    enum { JOBS = sizeof jobs / sizeof jobs[0] };
    static uint64_t results[JOBS];
    pthread_t threads[JOBS], makers[2], second;
    for (int i = 0; i < JOBS; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, jobs[i].run, &results[i]), 0);
    REQUIRE_EQ(pthread_create(&second, NULL, consumer, &results[8]), 0);
    for (int i = 0; i < 2; i++)
        REQUIRE_EQ(pthread_create(&makers[i], NULL, producer, NULL), 0);
    for (int i = 0; i < JOBS; i++)
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    REQUIRE_EQ(pthread_join(second, NULL), 0);
    for (int i = 0; i < 2; i++)
        REQUIRE_EQ(pthread_join(makers[i], NULL), 0);
    for (int i = 0; i < JOBS; i++)
        printf("%s: %" PRIu64 "\n", jobs[i].name, results[i]);
    CHECK_EQ(results[1], SLEEPS);
    CHECK_EQ(results[2], SLEEPS);
    CHECK_EQ(results[3], 300);
    CHECK_EQ(results[5], SPAWNS);
    CHECK_EQ(results[8], (uint64_t)ITEMS * (ITEMS - 1));
}

TEST_MAIN()
