/*
 * timeout: 60
 *
 * clock_nanosleep(2) until a point in time: never early, whatever the clock; signals that come at
 * any moment, also between the last look and the sleep, end it, and none is lost.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "guest_test.h"

#define SECOND 1000000000ll

static int64_t now(clockid_t clock) {
    struct timespec time;

    clock_gettime(clock, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static struct timespec point(int64_t ns) {
    return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

/* The call itself: a libc would return the error, and may look at what is left. */
static int sleep_until(clockid_t clock, const struct timespec *until) {
    return (int)syscall(SYS_clock_nanosleep, clock, TIMER_ABSTIME, until, NULL);
}

TEST(arguments) {
    struct timespec past = {1, 0}, bad = {1, SECOND}, negative = {-1, 0};
    struct timespec *volatile nowhere = (struct timespec *)16;

    for (int i = 0; i < 5; i++) {
        CHECK_OK(sleep_until(CLOCK_MONOTONIC, &past));
        CHECK_OK(sleep_until(CLOCK_REALTIME, &past));
        CHECK_ERR(sleep_until(CLOCK_MONOTONIC, &bad), EINVAL);
        CHECK_ERR(sleep_until(CLOCK_REALTIME, &negative), EINVAL);
        CHECK_ERR(sleep_until(CLOCK_MONOTONIC, nowhere), EFAULT);
        CHECK_ERR(sleep_until(CLOCK_MONOTONIC, NULL), EFAULT);
        CHECK_ERR(sleep_until(CLOCK_THREAD_CPUTIME_ID, &past), EOPNOTSUPP);
        CHECK_ERR(sleep_until(99, &past), EINVAL);
    }
}

TEST(never_early) {
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};

    for (int i = 0; i < 60; i++) {
        clockid_t clock = clocks[i % 3];
        int64_t until = now(clock) + 1 + i * 50000;
        struct timespec time = point(until);

        CHECK_OK(sleep_until(clock, &time));
        CHECK(now(clock) >= until);
    }
}

static volatile sig_atomic_t handled;
static volatile int stop;

static void on_signal(int signo) {
    handled++;
}

static void on_alarm(int signo) {
    static unsigned seed = 1;
    struct itimerval next = {.it_value.tv_usec = 1 + (seed = seed * 1103515245 + 12345) % 500};

    handled++;
    if (!stop) {
        setitimer(ITIMER_REAL, &next, NULL);
    }
}

/* Interrupted and begun again, with the same point in time. */
TEST(signals_while_sleeping) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval start = {.it_value.tv_usec = 100}, never = {0};
    int interrupted = 0;

    handled = stop = 0;
    REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
    REQUIRE_OK(setitimer(ITIMER_REAL, &start, NULL));
    for (int i = 0; i < 300; i++) {
        int64_t until = now(CLOCK_MONOTONIC) + 1000000;
        struct timespec time = point(until);

        while (sleep_until(CLOCK_MONOTONIC, &time)) {
            CHECK_EQ(errno, EINTR); /* signal(7): whatever SA_RESTART says */
            CHECK(now(CLOCK_MONOTONIC) < until + 5 * SECOND);
            interrupted++;
        }
        CHECK(now(CLOCK_MONOTONIC) >= until);
    }
    stop = 1;
    REQUIRE_OK(setitimer(ITIMER_REAL, &never, NULL));
    CHECK(interrupted > 0);
    CHECK(interrupted <= handled);
    signal(SIGALRM, SIG_DFL);
}

static void *sleeper(void *arg) {
    while (!stop) {
        struct timespec time = point(now(CLOCK_MONOTONIC) + 30 * SECOND);

        if (sleep_until(CLOCK_MONOTONIC, &time) == 0 || errno != EINTR) {
            return (void *)1;
        }
    }
    return NULL;
}

/* Each signal is handled although its receiver is for ever about to sleep. */
TEST(none_is_lost) {
    enum { SIGNALS = 3000 };
    struct sigaction action = {.sa_handler = on_signal};
    unsigned seed = 7;
    pthread_t thread;
    void *bad;

    handled = stop = 0;
    REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
    REQUIRE_EQ(pthread_create(&thread, NULL, sleeper, NULL), 0);
    for (int i = 1; i <= SIGNALS; i++) {
        int64_t limit = now(CLOCK_MONOTONIC) + 10 * SECOND;

        for (volatile unsigned k = (seed = seed * 1103515245 + 12345) >> 16 & 4095; k > 0; k--) {
        }
        REQUIRE_EQ(pthread_kill(thread, SIGUSR1), 0);
        while (handled < i && now(CLOCK_MONOTONIC) < limit) {
        }
        REQUIRE_EQ(handled, i);
    }
    stop = 1;
    while (pthread_tryjoin_np(thread, &bad) == EBUSY) {
        /* Each may come between its look at `stop` and its sleep. */
        (void)pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    CHECK(bad == NULL);
}

TEST_MAIN()
