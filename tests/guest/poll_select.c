/* poll(2), ppoll(2), select(2), pselect(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

TEST(poll_masks) {
    int fds[2], file = open("/proc/self/exe", O_RDONLY);
    REQUIRE_OK(pipe(fds));
    struct pollfd p[5] = {{.fd = fds[0], .events = POLLIN},
                          {.fd = fds[1], .events = POLLOUT},
                          {.fd = -1, .events = POLLIN, .revents = 77},
                          {.fd = 12345, .events = POLLIN},
                          {.fd = file, .events = POLLIN | POLLOUT}};
    CHECK_EQ(poll(p, 5, 1000), 3);
    CHECK_EQ(p[0].revents, 0);
    CHECK_EQ(p[1].revents, POLLOUT);
    CHECK_EQ(p[2].revents, 0);
    CHECK_EQ(p[3].revents, POLLNVAL);
    CHECK_EQ(p[4].revents, POLLIN | POLLOUT);
    close(fds[1]);
    CHECK_EQ(poll(p, 1, -1), 1);
    CHECK_EQ(p[0].revents, POLLHUP);
    close(fds[0]);
    close(file);
}

TEST(timeouts) {
    int64_t start = now_ms();
    CHECK_EQ(poll(NULL, 0, 50), 0);
    CHECK(now_ms() - start >= 50);
    struct timespec t = {0, 30000000};
    start = now_ms();
    CHECK_EQ(ppoll(NULL, 0, &t, NULL), 0);
    CHECK(now_ms() - start >= 30);
    struct timeval tv = {0, 30000};
    CHECK_EQ(select(0, NULL, NULL, NULL, &tv), 0);
    CHECK_EQ(tv.tv_usec, 0); /* what is left is written back */
    CHECK_EQ(poll(NULL, 0, 0), 0);
}

TEST(errors) {
    struct rlimit limit, small = {8, 8};
    struct timespec bad = {0, 2000000000};
    CHECK_ERR(ppoll(NULL, 0, &bad, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_poll, 8, 1, 0), EFAULT);
    CHECK_ERR(syscall(SYS_ppoll, NULL, 0, NULL, &limit, 4), EINVAL);
    CHECK_ERR(syscall(SYS_select, -1, NULL, NULL, NULL, NULL), EINVAL);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(40, &set);
    struct timeval tv = {0, 0};
    CHECK_ERR(select(41, &set, NULL, NULL, &tv), EBADF);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    small.rlim_max = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &small));
    struct pollfd many[9];
    memset(many, 0xff, sizeof many);
    CHECK_ERR(poll(many, 9, 0), EINVAL);
    CHECK_EQ(poll(many, 8, 0), 0);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

TEST(select_sets) {
    int fds[2];
    REQUIRE_OK(pipe(fds));
    fd_set r, w;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(fds[0], &r);
    FD_SET(fds[1], &w);
    CHECK_EQ(select(fds[1] + 1, &r, &w, NULL, NULL), 1);
    CHECK(!FD_ISSET(fds[0], &r));
    CHECK(FD_ISSET(fds[1], &w));
    CHECK_EQ(write(fds[1], "x", 1), 1);
    FD_SET(fds[0], &r);
    CHECK_EQ(select(fds[1] + 1, &r, &w, NULL, NULL), 2);
    close(fds[0]);
    close(fds[1]);
}

TEST(wakes) {
    int fds[2], back[2];
    REQUIRE_OK(pipe(fds));
    REQUIRE_OK(pipe(back));
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        for (int i = 0; i < 200; i++) {
            struct pollfd p = {.fd = fds[0], .events = POLLIN};
            CHECK_EQ(poll(&p, 1, 10000), 1);
            CHECK_EQ(read(fds[0], &c, 1), 1);
            CHECK_EQ(write(back[1], &c, 1), 1);
        }
        CHILD_EXIT();
    }
    for (int i = 0; i < 200; i++) {
        char c = (char)i, d;
        CHECK_EQ(write(fds[1], &c, 1), 1);
        fd_set set;
        FD_ZERO(&set);
        FD_SET(back[0], &set);
        struct timeval tv = {10, 0};
        CHECK_EQ(select(back[0] + 1, &set, NULL, NULL, &tv), 1);
        CHECK_EQ(read(back[0], &d, 1), 1);
        CHECK_EQ(c, d);
    }
    CHECK_CHILD_OK(pid);
    close(fds[0]);
    close(fds[1]);
    close(back[0]);
    close(back[1]);
}

static volatile int handled;
static void on_signal(int signo) {
    handled = signo;
}

/* A blocked signal arrives only inside ppoll, and the old mask is back afterwards. */
TEST(temporary_mask) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t block, empty, after;
    CHECK_OK(sigaction(SIGUSR1, &action, NULL));
    sigemptyset(&empty);
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_BLOCK, &block, NULL));
    handled = 0;
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(handled, 0);
    CHECK_ERR(ppoll(NULL, 0, NULL, &empty), EINTR);
    CHECK_EQ(handled, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_BLOCK, NULL, &after));
    CHECK(sigismember(&after, SIGUSR1));
    handled = 0;
    CHECK_OK(raise(SIGUSR1));
    struct timespec t = {5, 0};
    CHECK_ERR(pselect(0, NULL, NULL, NULL, &t, &empty), EINTR);
    CHECK_EQ(handled, SIGUSR1);
    CHECK_OK(sigprocmask(SIG_SETMASK, &empty, NULL));
}

TEST(interrupted_even_with_restart) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    ualarm(20000, 0);
    CHECK_ERR(poll(NULL, 0, 5000), EINTR);
    ualarm(20000, 0);
    CHECK_ERR(select(0, NULL, NULL, NULL, NULL), EINTR);
}

/* A stop and a continue are not seen: the time-out goes on. */
TEST(stopped_meanwhile) {
    pid_t pid = fork();
    if (pid == 0) {
        int64_t start = now_ms();
        CHECK_EQ(poll(NULL, 0, 200), 0);
        CHECK(now_ms() - start >= 200);
        CHECK(now_ms() - start < 2000);
        CHILD_EXIT();
    }
    usleep(50000);
    int status;
    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK_OK(kill(pid, SIGCONT));
    CHECK_CHILD_OK(pid);
}

TEST_MAIN()
