/* eventfd(2), timerfd_create(2), signalfd(2), pidfd_open(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static short ready(int fd, short events, int timeout) {
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout) == 1 ? p.revents : 0;
}

TEST(eventfd_counts) {
    int e = eventfd(3, EFD_NONBLOCK);
    uint64_t v = 4;
    REQUIRE_OK(e);
    CHECK_EQ(write(e, &v, 8), 8);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_EQ(v, 7);
    CHECK_ERR(read(e, &v, 8), EAGAIN);
    CHECK_ERR(read(e, &v, 7), EINVAL);
    v = UINT64_MAX;
    CHECK_ERR(write(e, &v, 8), EINVAL);
    v = UINT64_MAX - 1;
    CHECK_EQ(write(e, &v, 8), 8);
    CHECK_EQ(ready(e, POLLIN | POLLOUT, 0), POLLIN);
    v = 1;
    CHECK_ERR(write(e, &v, 8), EAGAIN);
    CHECK_ERR(eventfd(0, 12345), EINVAL);
    close(e);
    e = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_EQ(v, 1);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_ERR(read(e, &v, 8), EAGAIN);
    close(e);
}

static void *give(void *arg) {
    uint64_t v = 5;
    usleep(20000);
    CHECK_EQ(write(*(int *)arg, &v, 8), 8);
    return NULL;
}

TEST(eventfd_blocks) {
    int e = eventfd(0, 0);
    uint64_t v;
    pthread_t thread;
    REQUIRE_EQ(pthread_create(&thread, NULL, give, &e), 0);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_EQ(v, 5);
    pthread_join(thread, NULL);
    close(e);
}

TEST(timerfd_once_and_again) {
    int t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec value = {.it_value = {0, 20000000}}, now;
    uint64_t count;
    REQUIRE_OK(t);
    CHECK_ERR(read(t, &count, 8), EAGAIN);
    CHECK_OK(timerfd_settime(t, 0, &value, NULL));
    CHECK_OK(timerfd_gettime(t, &now));
    CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 20000000);
    CHECK_EQ(ready(t, POLLIN, 5000), POLLIN);
    CHECK_EQ(read(t, &count, 8), 8);
    CHECK_EQ(count, 1);
    CHECK_OK(timerfd_gettime(t, &now));
    CHECK_EQ(now.it_value.tv_nsec, 0);
    CHECK_ERR(read(t, &count, 8), EAGAIN);
    value.it_interval.tv_nsec = value.it_value.tv_nsec = 2000000;
    CHECK_OK(timerfd_settime(t, 0, &value, NULL));
    usleep(30000);
    CHECK_EQ(read(t, &count, 8), 8);
    CHECK(count >= 14);
    CHECK_EQ(fcntl(t, F_SETFL, 0), 0);
    CHECK_EQ(read(t, &count, 8), 8); /* the next one, waited for */
    CHECK(count >= 1);
    memset(&value, 0, sizeof value);
    CHECK_OK(timerfd_settime(t, 0, &value, &now));
    CHECK_EQ(now.it_interval.tv_nsec, 2000000);
    CHECK_EQ(ready(t, POLLIN, 10), 0);
    close(t);
}

TEST(timerfd_absolute_and_errors) {
    int t = timerfd_create(CLOCK_REALTIME, 0);
    struct itimerspec value = {0};
    uint64_t count;
    clock_gettime(CLOCK_REALTIME, &value.it_value);
    value.it_value.tv_sec -= 10;
    CHECK_OK(timerfd_settime(t, TFD_TIMER_ABSTIME, &value, NULL));
    CHECK_EQ(read(t, &count, 8), 8);
    CHECK_EQ(count, 1);
    value.it_value.tv_nsec = 1000000000;
    CHECK_ERR(timerfd_settime(t, 0, &value, NULL), EINVAL);
    CHECK_ERR(timerfd_settime(t, 0x100, &value, NULL), EINVAL);
    CHECK_ERR(timerfd_settime(0, 0, &(struct itimerspec){0}, NULL), EINVAL);
    CHECK_ERR(timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0), EINVAL);
    CHECK_ERR(read(t, &count, 4), EINVAL);
    close(t);
}

TEST(signalfd_takes_signals) {
    sigset_t set;
    struct signalfd_siginfo info[2];
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    int s = signalfd(-1, &set, SFD_NONBLOCK);
    REQUIRE_OK(s);
    CHECK_ERR(read(s, info, sizeof info), EAGAIN);
    CHECK_EQ(ready(s, POLLIN, 0), 0);
    CHECK_OK(kill(getpid(), SIGUSR1));
    union sigval value = {.sival_int = 77};
    CHECK_OK(sigqueue(getpid(), SIGRTMIN, value));
    CHECK_EQ(ready(s, POLLIN, 1000), POLLIN);
    CHECK_EQ(read(s, info, sizeof info), (ssize_t)sizeof info);
    CHECK_EQ(info[0].ssi_signo, SIGUSR1);
    CHECK_EQ(info[0].ssi_pid, getpid());
    CHECK_EQ(info[0].ssi_code, SI_USER);
    CHECK_EQ(info[1].ssi_signo, SIGRTMIN);
    CHECK_EQ(info[1].ssi_int, 77);
    CHECK_ERR(read(s, info, 5), EINVAL);
    sigdelset(&set, SIGUSR1);
    CHECK_EQ(signalfd(s, &set, 0), s);
    CHECK_OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(ready(s, POLLIN, 0), 0);
    CHECK_ERR(signalfd(0, &set, 0), EINVAL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    int taken;
    CHECK_EQ(sigwait(&set, &taken), 0);
    close(s);
}

TEST(signalfd_child) {
    sigset_t set;
    struct signalfd_siginfo info;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    int s = signalfd(-1, &set, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(9);
    CHECK_EQ(read(s, &info, sizeof info), (ssize_t)sizeof info);
    CHECK_EQ(info.ssi_signo, SIGCHLD);
    CHECK_EQ(info.ssi_pid, pid);
    CHECK_EQ(info.ssi_status, 9);
    CHECK_EQ(info.ssi_code, CLD_EXITED);
    CHECK_OK(waitpid(pid, NULL, 0));
    CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    close(s);
}

TEST(pidfd) {
    int gate[2];
    REQUIRE_OK(pipe(gate));
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(gate[1]);
        (void)!read(gate[0], &c, 1);
        _exit(3);
    }
    close(gate[0]);
    int p = (int)syscall(SYS_pidfd_open, pid, 0);
    REQUIRE_OK(p);
    CHECK(fcntl(p, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(ready(p, POLLIN, 0), 0);
    CHECK_OK(syscall(SYS_pidfd_send_signal, p, 0, NULL, 0));
    /* The process's directory in /proc stands for it too; nothing below it does. */
    char name[64];
    snprintf(name, sizeof name, "/proc/%d", pid);
    int directory = open(name, O_DIRECTORY | O_CLOEXEC);
    REQUIRE_OK(directory);
    CHECK_OK(syscall(SYS_pidfd_send_signal, directory, 0, NULL, 0));
    int below = openat(directory, "fd", O_DIRECTORY | O_CLOEXEC);
    REQUIRE_OK(below);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, below, 0, NULL, 0), EBADF);
    close(below);
    close(gate[1]);
    CHECK_EQ(ready(p, POLLIN, 10000), POLLIN);
    siginfo_t info;
    CHECK_OK(waitid(P_PIDFD, (id_t)p, &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, 3);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, p, SIGTERM, NULL, 0), ESRCH);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, directory, SIGTERM, NULL, 0), ESRCH);
    close(directory);
    CHECK_ERR(syscall(SYS_pidfd_open, pid, 0), ESRCH);
    CHECK_ERR(syscall(SYS_pidfd_open, -1, 0), EINVAL);
    CHECK_ERR(syscall(SYS_pidfd_open, getpid(), 1), EINVAL);
    CHECK_ERR(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0), EBADF);
    close(p);
}

TEST_MAIN()
