/* Clocks, sleeps, interval timers and POSIX timers: clock_gettime(2), setitimer(2),
 * timer_create(2). */
#include "guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t fired, last_value, last_code, last_overrun, last_id;
static volatile pid_t fired_tid;

static void on_timer(int signal, siginfo_t *info, void *context) {
    fired++;
    last_code = info->si_code;
    last_value = info->si_value.sival_int;
    last_overrun = info->si_overrun;
    last_id = info->si_timerid;
    fired_tid = (pid_t)syscall(SYS_gettid);
    (void)signal;
    (void)context;
}

static void set_handler(int signal) {
    struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO};
    REQUIRE_OK(sigaction(signal, &action, NULL));
    fired = 0;
}

static int64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Has a timer expired whose signal waits, blocked? Then it is not running. */
static bool expired(int signal) {
    sigset_t set;
    return sigpending(&set) == 0 && sigismember(&set, signal);
}

static void burn_until(clockid_t clock, int64_t ns) {
    while (now_ns(clock) < ns)
        for (volatile int i = 0; i < 1000; i++)
            ;
}

TEST(clocks_agree) {
    static const int clocks[] = {
        CLOCK_REALTIME,      CLOCK_MONOTONIC,          CLOCK_BOOTTIME,
        CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,    CLOCK_MONOTONIC_COARSE,
        CLOCK_TAI,           CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
    struct timespec a, b, resolution;
    for (size_t i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        CHECK_OK(syscall(SYS_clock_gettime, clocks[i], &a));
        CHECK_OK(clock_gettime(clocks[i], &b));
        CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
        CHECK(b.tv_sec - a.tv_sec < 5);
        CHECK_OK(clock_getres(clocks[i], &resolution));
        CHECK(resolution.tv_sec == 0 && resolution.tv_nsec > 0 && resolution.tv_nsec <= 10000000);
    }
    CHECK_ERR(syscall(SYS_clock_gettime, 77, &a), EINVAL);
    CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, 8L), EFAULT);
    CHECK_ERR(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &a), EINVAL);
    struct timeval tv;
    CHECK_OK(syscall(SYS_gettimeofday, &tv, NULL));
    CHECK_OK(clock_gettime(CLOCK_REALTIME, &a));
    CHECK(a.tv_sec - tv.tv_sec >= 0 && a.tv_sec - tv.tv_sec < 5);
    time_t seconds, again = syscall(SYS_time, &seconds);
    CHECK_EQ(seconds, again);
    CHECK(a.tv_sec - seconds >= -1 && a.tv_sec - seconds < 5);
}

TEST(cpu_clocks_count_this_process) {
    int64_t start = now_ns(CLOCK_PROCESS_CPUTIME_ID), thread = now_ns(CLOCK_THREAD_CPUTIME_ID);
    clockid_t own;
    struct timespec t;
    burn_until(CLOCK_PROCESS_CPUTIME_ID, start + 30000000);
    CHECK(now_ns(CLOCK_THREAD_CPUTIME_ID) - thread >= 20000000);
    CHECK_EQ(clock_getcpuclockid(getpid(), &own), 0);
    CHECK_OK(clock_gettime(own, &t));
    CHECK(t.tv_sec * 1000000000ll + t.tv_nsec >= start + 30000000);
    start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 40000000); /* sleeping costs none */
}

TEST(sleeps_last) {
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK_OK(nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL));
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 20000000);
    struct timespec until;
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};
    for (size_t i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
        start = now_ns(CLOCK_MONOTONIC);
        clock_gettime(clocks[i], &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &until, NULL), 0);
        CHECK(now_ns(CLOCK_MONOTONIC) - start >= 9900000);
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &until, NULL), 0); /* past: at once */
        until.tv_sec = -1;
        CHECK_EQ(clock_nanosleep(clocks[i], 0, &until, NULL), EINVAL);
        until = (struct timespec){0, 1000000000};
        CHECK_EQ(clock_nanosleep(clocks[i], 0, &until, NULL), EINVAL);
    }
    CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &(struct timespec){0}, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_nanosleep, 8L, NULL), EFAULT);
}

TEST(alarm_fires_and_reads_back) {
    set_handler(SIGALRM);
    CHECK_EQ(alarm(100), 0);
    CHECK_EQ(alarm(50), 100);
    CHECK_EQ(alarm(0), 50);
    CHECK_EQ(alarm(0), 0);
    alarm(1);
    pause();
    CHECK_EQ(fired, 1);
    CHECK_EQ(last_code, SI_KERNEL);
}

TEST(itimer_real_repeats) {
    struct itimerval value = {.it_interval = {0, 2000}, .it_value = {0, 2000}}, now;
    sigset_t alrm, old;
    set_handler(SIGALRM);
    sigemptyset(&alrm);
    sigaddset(&alrm, SIGALRM);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &alrm, &old));
    CHECK_OK(setitimer(ITIMER_REAL, &value, NULL));
    for (int i = 0; i < 10; i++)
        sigsuspend(&old);
    CHECK_OK(getitimer(ITIMER_REAL, &now));
    CHECK_EQ(now.it_interval.tv_usec, 2000);
    CHECK(now.it_value.tv_usec > 0 || expired(SIGALRM));
    CHECK(now.it_value.tv_usec <= 2000);
    value.it_value.tv_usec = value.it_interval.tv_usec = 0;
    CHECK_OK(setitimer(ITIMER_REAL, &value, &now));
    CHECK_EQ(now.it_interval.tv_usec, 2000);
    CHECK_OK(getitimer(ITIMER_REAL, &now));
    CHECK_EQ(now.it_value.tv_usec, 0);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
    CHECK(fired >= 10);
    value.it_value.tv_usec = 1000000;
    CHECK_ERR(setitimer(ITIMER_REAL, &value, NULL), EINVAL);
    CHECK_ERR(setitimer(3, &now, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_getitimer, 7, &now), EINVAL);
}

TEST(itimer_prof_counts_cpu_time) {
    struct itimerval value = {.it_value = {0, 30000}}, off = {0};
    set_handler(SIGPROF);
    int64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    CHECK_OK(setitimer(ITIMER_PROF, &value, NULL));
    nanosleep(&(struct timespec){.tv_nsec = 60000000}, NULL);
    CHECK_EQ(fired, 0); /* asleep, no CPU time passed */
    volatile unsigned n = 0;
    while (!fired && now_ns(CLOCK_MONOTONIC) - wall < 10000000000ll)
        n++;
    CHECK_EQ(fired, 1);
    /* It may come a tick of the host early. */
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu >= 19000000);
    CHECK_OK(setitimer(ITIMER_PROF, &off, NULL));
    set_handler(SIGVTALRM);
    CHECK_OK(setitimer(ITIMER_VIRTUAL, &value, NULL));
    wall = now_ns(CLOCK_MONOTONIC);
    while (!fired && now_ns(CLOCK_MONOTONIC) - wall < 10000000000ll)
        n++;
    CHECK_EQ(fired, 1);
}

TEST(itimers_survive_exec_not_fork) {
    struct itimerval value = {.it_value = {1000, 0}}, now;
    CHECK_OK(setitimer(ITIMER_REAL, &value, NULL));
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        CHECK_OK(getitimer(ITIMER_REAL, &now));
        CHECK_EQ(now.it_value.tv_sec, 0);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    alarm(0);
}

static timer_t new_timer(clockid_t clock, int notify, int signal, int value) {
    struct sigevent event = {
        .sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_int = value};
    timer_t timer = 0;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    REQUIRE_OK(timer_create(clock, &event, &timer));
    return timer;
}

TEST(posix_timer_signals_with_its_value) {
    struct itimerspec spec = {.it_value = {0, 5000000}}, now;
    sigset_t set, old;
    set_handler(SIGRTMIN);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, &old));
    timer_t timer = new_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 4711);
    CHECK_OK(timer_settime(timer, 0, &spec, &now));
    CHECK_EQ(now.it_value.tv_nsec, 0);
    CHECK_OK(timer_gettime(timer, &now));
    CHECK(now.it_value.tv_nsec > 0 || expired(SIGRTMIN));
    CHECK(now.it_value.tv_nsec <= 5000000);
    sigsuspend(&old);
    CHECK_EQ(fired, 1);
    CHECK_EQ(last_code, SI_TIMER);
    CHECK_EQ(last_value, 4711);
    CHECK_EQ(last_overrun, 0);
    CHECK_OK(timer_gettime(timer, &now));
    CHECK_EQ(now.it_value.tv_nsec, 0);
    /* Absolute, in the past: at once. */
    spec.it_value = (struct timespec){0, 1};
    CHECK_OK(timer_settime(timer, TIMER_ABSTIME, &spec, NULL));
    sigsuspend(&old);
    CHECK_EQ(fired, 2);
    CHECK_OK(timer_delete(timer));
    CHECK_ERR(syscall(SYS_timer_delete, 12345), EINVAL);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

TEST(posix_timer_overrun) {
    struct itimerspec spec = {.it_interval = {0, 1000000}, .it_value = {0, 1000000}};
    sigset_t set, old;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, &old));
    timer_t timer = new_timer(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 1, 1);
    CHECK_OK(timer_settime(timer, 0, &spec, NULL));
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN + 1);
    CHECK(info.si_overrun >= 30);
    CHECK_EQ(timer_getoverrun(timer), info.si_overrun);
    spec = (struct itimerspec){0};
    CHECK_OK(timer_settime(timer, 0, &spec, NULL));
    CHECK_OK(timer_delete(timer));
    while (sigtimedwait(&set, &info, &(struct timespec){0}) > 0)
        ;
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

static void *own_timer(void *arg) {
    struct itimerspec spec = {.it_value = {0, 1000000}};
    timer_t timer = new_timer(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 2, 9);
    *(pid_t *)arg = (pid_t)syscall(SYS_gettid);
    timer_settime(timer, 0, &spec, NULL);
    while (!fired)
        sched_yield();
    timer_delete(timer);
    return NULL;
}

TEST(posix_timer_to_one_thread) {
    pthread_t thread;
    pid_t tid = 0;
    set_handler(SIGRTMIN + 2);
    REQUIRE_EQ(pthread_create(&thread, NULL, own_timer, &tid), 0);
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(fired, 1);
    CHECK_EQ(fired_tid, tid);
}

TEST(posix_timer_none_and_cpu) {
    struct itimerspec spec = {.it_value = {1000, 0}}, now;
    timer_t quiet = new_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    CHECK_OK(timer_settime(quiet, 0, &spec, NULL));
    CHECK_OK(timer_gettime(quiet, &now));
    CHECK(now.it_value.tv_sec > 0 && now.it_value.tv_sec <= 1000);
    spec.it_value = (struct timespec){0, 20000000};
    CHECK_OK(timer_settime(quiet, 0, &spec, NULL));
    nanosleep(&spec.it_value, NULL);
    CHECK_OK(timer_gettime(quiet, &now));
    CHECK_EQ(now.it_value.tv_nsec, 0);
    CHECK_OK(timer_delete(quiet));
    static const int clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
    for (int i = 0; i < 2; i++) {
        set_handler(SIGRTMIN + 3);
        timer_t cpu = new_timer(clocks[i], SIGEV_SIGNAL, SIGRTMIN + 3, 0);
        int64_t start = now_ns(clocks[i]);
        CHECK_OK(timer_settime(cpu, 0, &spec, NULL));
        volatile unsigned n = 0;
        while (!fired && now_ns(clocks[i]) - start < 5000000000ll)
            n++;
        CHECK_EQ(fired, 1);
        CHECK(now_ns(clocks[i]) - start >= 19000000);
        CHECK_OK(timer_delete(cpu));
    }
}

TEST(posix_timer_checks) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 0};
    int id;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL);
    event.sigev_signo = 65;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL);
    event.sigev_signo = SIGUSR1;
    CHECK_ERR(syscall(SYS_timer_create, 1234, &event, &id), EINVAL);
    event.sigev_notify = 99;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL);
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = 1 << 29;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id), EINVAL);
    CHECK_ERR(syscall(SYS_timer_settime, 4321, 0, NULL, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_timer_getoverrun, 4321), EINVAL);
    CHECK_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id));
    struct itimerspec bad = {.it_value = {0, 1000000000}};
    CHECK_ERR(syscall(SYS_timer_settime, id, 0, &bad, NULL), EINVAL);
    CHECK_OK(syscall(SYS_timer_delete, id));
}

TEST_MAIN()
