/*
 * Limits, usage, priorities, scheduling calls and prctl(2)'s small change: getrlimit(2), times(2),
 * getpriority(2), sched_setaffinity(2), sched(7).
 */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>

TEST(limits_are_read_and_lowered) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit old, new, got;
        CHECK_OK(getrlimit(RLIMIT_NOFILE, &old));
        new = (struct rlimit){20, old.rlim_max};
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &new));
        CHECK_OK(getrlimit(RLIMIT_NOFILE, &got));
        CHECK_EQ(got.rlim_cur, 20);
        CHECK_EQ(got.rlim_max, old.rlim_max);
        int fd, last = -1;
        while ((fd = open("/dev/null", O_RDONLY)) >= 0)
            last = fd;
        CHECK_EQ(errno, EMFILE);
        CHECK_EQ(last, 19);
        pid_t child = fork();
        if (child == 0) { /* inherited */
            CHECK_OK(getrlimit(RLIMIT_NOFILE, &got));
            CHECK_EQ(got.rlim_cur, 20);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(child);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(limits_that_are_wrong) {
    struct rlimit limit = {10, 5};
    CHECK_ERR(setrlimit(RLIMIT_CORE, &limit), EINVAL);
    CHECK_ERR(syscall(SYS_getrlimit, 99, &limit), EINVAL);
    CHECK_ERR(syscall(SYS_prlimit64, 1 << 30, RLIMIT_CORE, NULL, NULL), ESRCH);
    CHECK_ERR(syscall(SYS_prlimit64, 0, RLIMIT_CORE, 8, NULL), EFAULT);
    CHECK_ERR(syscall(SYS_getrlimit, RLIMIT_CORE, 8), EFAULT);
}

TEST(prlimit_of_a_child) {
    int fds[2];
    char c;
    REQUIRE_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit;
        close(fds[1]);
        (void)!read(fds[0], &c, 1);
        CHECK_OK(getrlimit(RLIMIT_CORE, &limit));
        CHECK_EQ(limit.rlim_cur, 0);
        CHECK_EQ(limit.rlim_max, 0);
        CHILD_EXIT();
    }
    struct rlimit new = {0, 0}, old;
    CHECK_OK(prlimit(pid, RLIMIT_CORE, &new, &old));
    CHECK_OK(prlimit(pid, RLIMIT_CORE, NULL, &new));
    CHECK_EQ(new.rlim_max, 0);
    close(fds[1]);
    CHECK_CHILD_OK(pid);
    close(fds[0]);
}

TEST(hard_limits_are_one_way) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {0, 0};
        if (setuid(1000) && geteuid() == 0)
            _exit(0); /* cannot give root up here: nothing to see */
        CHECK_OK(setrlimit(RLIMIT_CORE, &limit));
        limit.rlim_max = 1;
        CHECK_ERR(setrlimit(RLIMIT_CORE, &limit), EPERM);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(the_number_of_processes) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {1, 1};
        if (setuid(31077))
            _exit(geteuid() == 0 || errno == EPERM ? 0 : 1);
        CHECK_OK(setrlimit(RLIMIT_NPROC, &limit));
        pid_t more = fork();
        CHECK(more == -1);
        CHECK_EQ(errno, EAGAIN);
        if (more == 0)
            _exit(1);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

static void burn(clock_t ms) {
    clock_t end = clock() + ms * (CLOCKS_PER_SEC / 1000);
    while (clock() < end)
        ;
}

static volatile sig_atomic_t times_over;

static void over_limit(int signal) {
    times_over++;
    (void)signal;
}

static void use_cpu(void) {
    for (volatile unsigned n = 0;; n++)
        ;
}

/* RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one; a fork
 * inherits the limit, and counts its own time. */
TEST(cpu_time) {
    struct rlimit limit = {1, 2}, now;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXCPU, over_limit);
        REQUIRE_OK(setrlimit(RLIMIT_CPU, &limit));
        while (times_over == 0)
            ;
        CHECK_OK(getrlimit(RLIMIT_CPU, &now));
        CHECK_EQ(now.rlim_cur, 2);
        CHECK_EQ(now.rlim_max, 2);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    pid = fork();
    if (pid == 0) {
        REQUIRE_OK(setrlimit(RLIMIT_CPU, &limit));
        pid = fork();
        if (pid == 0)
            use_cpu();
        REQUIRE_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    pid = fork();
    if (pid == 0) {
        signal(SIGXCPU, SIG_IGN);
        limit.rlim_max = 1;
        REQUIRE_OK(setrlimit(RLIMIT_CPU, &limit));
        use_cpu();
    }
    REQUIRE_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(time_used) {
    struct rusage before, after, thread;
    struct tms tms;
    CHECK_OK(getrusage(RUSAGE_SELF, &before));
    burn(50);
    CHECK_OK(getrusage(RUSAGE_SELF, &after));
    CHECK_OK(getrusage(RUSAGE_THREAD, &thread));
    long long used = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000LL +
                     after.ru_utime.tv_usec - before.ru_utime.tv_usec +
                     (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000LL +
                     after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    CHECK(used >= 25000);
    CHECK(after.ru_maxrss > 100);
    CHECK(after.ru_minflt > 0);
    CHECK_ERR(getrusage(77, &after), EINVAL);
    CHECK_ERR(syscall(SYS_getrusage, RUSAGE_SELF, 8), EFAULT);
    clock_t first = times(&tms);
    CHECK(first != (clock_t)-1);
    CHECK(tms.tms_utime + tms.tms_stime >= 2);
    burn(30);
    CHECK(times(NULL) > first);
}

TEST(nice_values) {
    pid_t pid = fork();
    if (pid == 0) {
        int start = getpriority(PRIO_PROCESS, 0);
        CHECK_OK(setpriority(PRIO_PROCESS, 0, 10));
        CHECK_EQ(getpriority(PRIO_PROCESS, 0), start > 10 ? start : 10);
        CHECK_OK(setpriority(PRIO_PROCESS, 0, 100));
        CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
        CHECK_EQ(getpriority(PRIO_PROCESS, getpid()), 19);
        CHECK_ERR(setpriority(99, 0, 0), EINVAL);
        errno = 0;
        CHECK(getpriority(PRIO_PROCESS, 1 << 30) == -1);
        CHECK_EQ(errno, ESRCH);
        pid_t child = fork();
        if (child == 0) {
            CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(child);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

static long io_get(int which, int who) {
    return syscall(SYS_ioprio_get, which, who);
}
static long io_set(int which, int who, int priority) {
    return syscall(SYS_ioprio_set, which, who, priority);
}

TEST(io_priorities) {
    pid_t pid = fork();
    if (pid == 0) {
        int be = IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT,
            idle = IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT;
        setsid();
        CHECK_OK(setpriority(PRIO_PROCESS, 0, 19));
        CHECK_EQ(io_get(IOPRIO_WHO_PROCESS, 0), 0);
        CHECK_EQ(io_get(IOPRIO_WHO_PGRP, 0), be | 7); /* that of its niceness */
        CHECK_OK(io_set(IOPRIO_WHO_PROCESS, 0, be | 5));
        CHECK_EQ(io_get(IOPRIO_WHO_PROCESS, getpid()), be | 5);
        CHECK_ERR(io_set(IOPRIO_WHO_PROCESS, 0, 1), EINVAL);
        CHECK_ERR(io_set(IOPRIO_WHO_PROCESS, 0, 4 << IOPRIO_CLASS_SHIFT), EINVAL);
        CHECK_ERR(io_set(0, 0, be), EINVAL);
        CHECK_ERR(io_get(IOPRIO_WHO_PROCESS, 1 << 30), ESRCH);
        pid_t child = fork();
        if (child == 0) {
            CHECK_EQ(io_get(IOPRIO_WHO_PROCESS, 0), be | 5);
            CHECK_OK(io_set(IOPRIO_WHO_PROCESS, 0, idle));
            CHECK_EQ(io_get(IOPRIO_WHO_PGRP, 0), be | 5);
            CHECK_EQ(io_get(IOPRIO_WHO_PROCESS, 0), idle);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(child);
        CHECK_OK(io_set(IOPRIO_WHO_PROCESS, 0, 0));
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(policies) {
    struct sched_param param = {.sched_priority = 77};
    CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
    CHECK_OK(sched_getparam(0, &param));
    CHECK_EQ(param.sched_priority, 0);
    CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
    CHECK_EQ(sched_get_priority_min(SCHED_FIFO), 1);
    CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    CHECK_ERR(sched_get_priority_max(99), EINVAL);
    CHECK_ERR(sched_getscheduler(-1), EINVAL);
    CHECK_ERR(sched_getscheduler(1 << 30), ESRCH);
    param.sched_priority = 1;
    CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, &param), EINVAL);
    param.sched_priority = 0;
    CHECK_ERR(sched_setscheduler(0, SCHED_FIFO, &param), EINVAL);
    CHECK_ERR(sched_setscheduler(0, 99, &param), EINVAL);
    CHECK_OK(sched_setscheduler(0, SCHED_OTHER, &param));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_OK(sched_setscheduler(0, SCHED_BATCH, &param));
        CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    for (int i = 0; i < 10; i++)
        CHECK_OK(sched_yield());
}

TEST(affinity) {
    cpu_set_t all, one, got;
    CHECK_OK(sched_getaffinity(0, sizeof all, &all));
    CHECK(CPU_COUNT(&all) >= 1);
    CHECK_EQ(CPU_COUNT(&all), sysconf(_SC_NPROCESSORS_ONLN) < CPU_COUNT(&all)
                                  ? sysconf(_SC_NPROCESSORS_ONLN)
                                  : CPU_COUNT(&all));
    CHECK_ERR(syscall(SYS_sched_getaffinity, 0, 1, &got), EINVAL);
    CHECK_ERR(sched_getaffinity(1 << 30, sizeof got, &got), ESRCH);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CHECK_ERR(sched_setaffinity(0, sizeof one, &one), EINVAL);
    CPU_SET(cpu, &one);
    CHECK_OK(sched_setaffinity(0, sizeof one, &one));
    CHECK_OK(sched_getaffinity(0, sizeof got, &got));
    CHECK(CPU_EQUAL(&one, &got));
    CHECK_OK(sched_setaffinity(0, sizeof all, &all));
}

TEST(names) {
    char name[16] = "";
    char old[16];
    CHECK_OK(prctl(PR_GET_NAME, old));
    CHECK_OK(prctl(PR_SET_NAME, "a-rather-long-name-for-a-task"));
    CHECK_OK(prctl(PR_GET_NAME, name));
    CHECK_STREQ(name, "a-rather-long-n");
    CHECK_OK(prctl(PR_SET_NAME, "short"));
    CHECK_OK(prctl(PR_GET_NAME, name));
    CHECK_STREQ(name, "short");
    CHECK_ERR(prctl(PR_SET_NAME, 8), EFAULT);
    CHECK_OK(prctl(PR_SET_NAME, old));
}

TEST(small_change_of_prctl) {
    int value = 77;
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    CHECK_OK(prctl(PR_SET_DUMPABLE, 0));
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
    CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
    CHECK_ERR(prctl(PR_SET_DUMPABLE, 3), EINVAL);
    CHECK_ERR(prctl(PR_SET_PDEATHSIG, 100), EINVAL);
    CHECK_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    CHECK_OK(prctl(PR_GET_PDEATHSIG, &value));
    CHECK_EQ(value, SIGUSR1);
    CHECK_OK(prctl(PR_SET_PDEATHSIG, 0));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
    CHECK_OK(prctl(PR_SET_TIMERSLACK, 1000));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 1000);
    pid_t pid = fork();
    if (pid == 0) {
        /* 0 is the default, and that is what the creator had. */
        CHECK_OK(prctl(PR_SET_TIMERSLACK, 7));
        CHECK_OK(prctl(PR_SET_TIMERSLACK, 0));
        CHECK_EQ(prctl(PR_GET_TIMERSLACK), 1000);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_OK(prctl(PR_SET_TIMERSLACK, 0));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
    CHECK_ERR(prctl(0x7777, 0, 0, 0, 0), EINVAL);
}

TEST(the_personality) {
    int persona = personality(0xffffffff);
    CHECK_EQ(persona & 0xff, PER_LINUX);
    CHECK_EQ(personality((unsigned long)persona), persona);
    CHECK_EQ(personality(0xffffffff), persona);
}

TEST_MAIN()
