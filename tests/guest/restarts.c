/*
 * What happens to a blocked call when a signal handler runs, with and without SA_RESTART, and when
 * none runs (ignored signals, stop and continue): the table of signal(7), "Interruption of system
 * calls and library functions by signal handlers".
 */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static volatile sig_atomic_t handled;
static int pipe_fds[2];
static pid_t blocked_child;
static uint32_t futex_word;

static void count(int signal) {
    handled++;
    (void)signal;
}

static void set_handler(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signal, &action, NULL);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Until it sleeps in a call (or is a zombie). */
static void wait_until_asleep(pid_t pid) {
    char path[64], text[512];
    for (;;) {
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0) {
            text[n] = 0;
            char *state = strrchr(text, ')');
            if (state && (state[2] == 'S' || state[2] == 'Z'))
                return;
        }
        sched_yield();
    }
}

/* ---- the calls: each blocks until done_with() ends it ---- */

static long call_read(void) {
    char byte;
    return read(pipe_fds[0], &byte, 1);
}
static long call_wait(void) {
    return waitpid(blocked_child, NULL, 0);
}
static long call_futex(void) {
    return syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, NULL, NULL, 0);
}
static long call_futex_timeout(void) {
    struct timespec limit = {.tv_sec = 20};
    return syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, &limit, NULL, 0);
}
static long call_nanosleep(void) {
    struct timespec span = {.tv_sec = 20};
    return nanosleep(&span, NULL);
}
static long call_clock_nanosleep_abs(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    errno = clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
    return errno ? -1 : 0;
}
static long call_poll(void) {
    struct pollfd fd = {pipe_fds[0], POLLIN, 0};
    return poll(&fd, 1, 20000);
}
static long call_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_fds[0], &set);
    return select(pipe_fds[0] + 1, &set, NULL, NULL, NULL);
}
static long call_epoll(void) {
    struct epoll_event event = {.events = EPOLLIN};
    int fd = epoll_create1(0);
    epoll_ctl(fd, EPOLL_CTL_ADD, pipe_fds[0], &event);
    return epoll_wait(fd, &event, 1, 20000);
}
static long call_eventfd(void) {
    uint64_t value;
    return read(eventfd(0, 0), &value, 8);
}
static long call_pause(void) {
    return pause();
}
static long call_sigtimedwait(void) {
    sigset_t set;
    struct timespec limit = {.tv_sec = 20};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigtimedwait(&set, NULL, &limit);
}

/* With a handler: does SA_RESTART make it go on? */
static const struct row {
    const char *name;
    long (*call)(void);
    bool restarts;      /* with SA_RESTART */
    bool stop_is_eintr; /* SIGSTOP and SIGCONT end it, without a handler */
} rows[] = {
    {"read", call_read, true, false},
    {"eventfd", call_eventfd, true, false},
    {"wait", call_wait, true, false},
    {"futex", call_futex, true, false},
    {"futex with timeout", call_futex_timeout, false, false},
    {"nanosleep", call_nanosleep, false, false},
    {"clock_nanosleep", call_clock_nanosleep_abs, false, false},
    {"poll", call_poll, false, false},
    {"select", call_select, false, false},
    {"epoll_wait", call_epoll, false, true},
    {"pause", call_pause, false, false},
    {"sigtimedwait", call_sigtimedwait, false, true},
};

/* A child that blocks in the row's call. Its status: 0 still blocked until it was killed, 10 EINTR,
 * 11 another end. */
static pid_t start(const struct row *row, void (*handler)(int), int flags) {
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t usr2;
        set_handler(SIGUSR1, handler, flags);
        sigemptyset(&usr2);
        sigaddset(&usr2, SIGUSR2);
        sigprocmask(SIG_BLOCK, &usr2, NULL);
        if (row->call == call_wait) {
            pid_t self = getpid();
            blocked_child = fork();
            if (blocked_child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                while (getppid() == self) /* it may have been killed before that */
                    pause();
            }
        }
        long result = row->call();
        _exit(result < 0 && errno == EINTR ? 10 : 11);
    }
    return pid;
}

static int status_of(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int status_of_continued(pid_t pid) {
    int status;
    do {
        if (waitpid(pid, &status, WCONTINUED) != pid)
            return -1;
    } while (WIFCONTINUED(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* It went back to sleep, or ended: killed then, -SIGKILL, else its exit code. */
static int settle(pid_t pid) {
    siginfo_t info;
    for (int i = 0; i < 200; i++) {
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid)
            return status_of(pid);
        sched_yield();
    }
    wait_until_asleep(pid);
    kill(pid, SIGKILL);
    return status_of(pid);
}

TEST(handler_without_restart_gives_eintr) {
    REQUIRE_OK(pipe(pipe_fds));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pid_t pid = start(&rows[i], count, 0);
        wait_until_asleep(pid);
        CHECK_OK(kill(pid, SIGUSR1));
        int status = status_of(pid);
        GUEST_CHECK(status == 10, , "%s: status %d, expected EINTR", rows[i].name, status);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

TEST(handler_with_restart) {
    REQUIRE_OK(pipe(pipe_fds));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pid_t pid = start(&rows[i], count, SA_RESTART);
        wait_until_asleep(pid);
        CHECK_OK(kill(pid, SIGUSR1));
        int status = rows[i].restarts ? settle(pid) : status_of(pid);
        GUEST_CHECK(status == (rows[i].restarts ? -SIGKILL : 10), , "%s: status %d", rows[i].name,
                    status);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

TEST(ignored_signals_are_not_noticed) {
    REQUIRE_OK(pipe(pipe_fds));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pid_t pid = start(&rows[i], SIG_IGN, 0);
        wait_until_asleep(pid);
        CHECK_OK(kill(pid, SIGUSR1));
        CHECK_OK(kill(pid, SIGCHLD));
        CHECK_OK(kill(pid, SIGWINCH));
        int status = settle(pid);
        GUEST_CHECK(status == -SIGKILL, , "%s: status %d", rows[i].name, status);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

TEST(stop_and_continue_are_not_noticed) {
    int status;
    REQUIRE_OK(pipe(pipe_fds));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pid_t pid = start(&rows[i], count, 0);
        wait_until_asleep(pid);
        for (int n = 0; n < 3 && !(n && rows[i].stop_is_eintr); n++) {
            CHECK_OK(kill(pid, SIGSTOP));
            CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
            CHECK(WIFSTOPPED(status));
            CHECK_OK(kill(pid, SIGCONT));
            if (!rows[i].stop_is_eintr) {
                CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
                CHECK(WIFCONTINUED(status));
            }
        }
        int end = rows[i].stop_is_eintr ? status_of_continued(pid) : settle(pid);
        GUEST_CHECK(end == (rows[i].stop_is_eintr ? 10 : -SIGKILL), , "%s: status %d", rows[i].name,
                    end);
    }
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* ---- deadlines are kept ---- */

TEST(sleep_keeps_its_deadline_over_stops) {
    int status;
    int64_t before = now_ns();
    pid_t pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        struct timespec span = {.tv_nsec = 300000000};
        int64_t start_ns = now_ns();
        int result = nanosleep(&span, NULL);
        int64_t took = now_ns() - start_ns;
        _exit(result == 0 && took >= 300000000 && took < 600000000 ? 0 : 1);
    }
    while (now_ns() - before < 250000000) {
        kill(pid, SIGSTOP);
        CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
        if (!WIFSTOPPED(status))
            break;
        kill(pid, SIGCONT);
        sched_yield();
    }
    CHECK_CHILD_OK(pid);
}

TEST(nanosleep_tells_what_remains) {
    struct timespec span = {.tv_sec = 30}, left = {.tv_sec = 99};
    struct itimerspec;
    set_handler(SIGALRM, count, 0);
    handled = 0;
    pid_t parent = getpid(), child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        wait_until_asleep(parent);
        kill(parent, SIGALRM);
        _exit(0);
    }
    CHECK_ERR(nanosleep(&span, &left), EINTR);
    CHECK_EQ(handled, 1);
    /* Linux adds the timer slack (50 us, prctl(2)) to what remains: just above 30 s is right. */
    CHECK(left.tv_sec >= 20 && left.tv_sec <= 30 && left.tv_nsec >= 0 && left.tv_nsec < 1000000000);
    CHECK_CHILD_OK(child);
}

/* A call that is made again by SA_RESTART finishes as if nothing had been. */
TEST(restarted_read_gets_its_data) {
    enum { SIGNALS = 200 };
    char text[4] = "";
    REQUIRE_OK(pipe(pipe_fds));
    set_handler(SIGUSR1, count, SA_RESTART);
    handled = 0;
    pid_t parent = getpid(), child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        for (int i = 0; i < SIGNALS; i++) {
            kill(parent, SIGUSR1);
            sched_yield();
        }
        _exit(write(pipe_fds[1], "abc", 3) == 3 ? 0 : 1);
    }
    CHECK_EQ(read(pipe_fds[0], text, 3), 3);
    CHECK_STREQ(text, "abc");
    GUEST_CHECK(handled > 0 && handled <= SIGNALS, , "%d signals were handled", (int)handled);
    CHECK_CHILD_OK(child);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

/* Nothing is written twice or lost when a long write is interrupted all the time. */
TEST(interrupted_writes_are_exact) {
    enum { TOTAL = 1 << 20 };
    REQUIRE_OK(pipe(pipe_fds));
    set_handler(SIGUSR1, count, 0);
    pid_t parent = getpid(), reader = fork();
    REQUIRE_OK(reader);
    if (reader == 0) {
        static unsigned char buffer[3000];
        size_t seen = 0;
        close(pipe_fds[1]);
        for (;;) {
            ssize_t n = read(pipe_fds[0], buffer, sizeof buffer);
            if (n <= 0)
                break;
            for (ssize_t i = 0; i < n; i++)
                if (buffer[i] != (unsigned char)((seen + (size_t)i) * 31 >> 3))
                    _exit(2);
            seen += (size_t)n;
            if (seen % 7 == 0)
                kill(parent, SIGUSR1);
        }
        _exit(seen == TOTAL ? 0 : 3);
    }
    close(pipe_fds[0]);
    static unsigned char data[TOTAL];
    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (unsigned char)(i * 31 >> 3);
    for (size_t done = 0; done < TOTAL;) {
        ssize_t n = write(pipe_fds[1], data + done, TOTAL - done);
        if (n < 0 && errno == EINTR)
            continue;
        REQUIRE(n > 0);
        done += (size_t)n;
    }
    close(pipe_fds[1]);
    signal(SIGUSR1, SIG_IGN);
    CHECK_CHILD_OK(reader);
}

TEST_MAIN()
