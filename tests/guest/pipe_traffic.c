/*
 * timeout: 120
 *
 * Pipes that are used much, by several processes: ends of file and broken pipes in every order of
 * closing, O_NONBLOCK while somebody sleeps, poll, select and epoll beside readers that sleep in
 * read, and signals at any moment with every byte counted.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "guest_test.h"

static int wait_for(pid_t pid) {
    int status = -1;

    REQUIRE_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* Makes both ends hot. */
static void warm_up(const int ends[2]) {
    char bytes[32];

    for (int i = 0; i < 10; i++) {
        CHECK_EQ(write(ends[1], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
        CHECK_EQ(read(ends[0], bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    }
}

/* Until the process sleeps, as /proc tells it. */
static void wait_until_thread_sleeps(pid_t pid, pid_t tid) {
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    for (;;) {
        FILE *file = fopen(path, "re");
        char *state;

        REQUIRE(file != NULL);
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
        state = strrchr(text, ')');
        if (state && state[2] == 'S') {
            return;
        }
        sched_yield();
    }
}

static void wait_until_asleep(pid_t pid) {
    wait_until_thread_sleeps(pid, pid);
}

TEST(sleeping_reader_sees_the_end) {
    for (int order = 0; order < 2; order++) {
        int ends[2];
        char byte;
        pid_t pid;

        REQUIRE_OK(pipe(ends));
        warm_up(ends);
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            close(ends[1]);
            for (int i = 0; i < 10; i++) {
                if (read(ends[0], &byte, 1) != 1) {
                    _exit(1);
                }
            }
            _exit(read(ends[0], &byte, 1) == 0 && read(ends[0], &byte, 1) == 0 ? 0 : 2);
        }
        if (order == 0) {
            close(ends[0]);
        }
        CHECK_EQ(write(ends[1], "0123456789", 10), 10);
        wait_until_asleep(pid);
        close(ends[1]);
        CHECK_EQ(wait_for(pid), 0);
        if (order) {
            close(ends[0]);
        }
    }
}

/* Of two writers the last one counts, whether it closes, ends or is killed. */
TEST(last_writer_counts) {
    for (int how = 0; how < 3; how++) {
        int ends[2], ready[2];
        char byte = 0;
        pid_t reader, writer;

        REQUIRE_OK(pipe(ends));
        REQUIRE_OK(pipe(ready));
        warm_up(ends);
        reader = fork();
        REQUIRE_OK(reader);
        if (reader == 0) {
            int count = 0;

            close(ends[1]);
            close(ready[1]);
            while (read(ends[0], &byte, 1) == 1) {
                count++;
            }
            _exit(count);
        }
        writer = fork();
        REQUIRE_OK(writer);
        if (writer == 0) {
            close(ends[0]);
            for (int i = 0; i < 20; i++) {
                if (write(ends[1], &byte, 1) != 1) {
                    _exit(1);
                }
            }
            if (how == 0) {
                close(ends[1]);
            }
            if (write(ready[1], &byte, 1) != 1) {
                _exit(1);
            }
            if (how < 2) {
                _exit(0);
            }
            for (;;) {
                pause();
            }
        }
        close(ends[0]);
        for (int i = 0; i < 30; i++) {
            CHECK_EQ(write(ends[1], &byte, 1), 1);
        }
        close(ends[1]);
        CHECK_EQ(read(ready[0], &byte, 1), 1);
        if (how == 2) {
            wait_until_asleep(reader);
            CHECK_OK(kill(writer, SIGKILL));
        }
        CHECK_EQ(wait_for(writer), how == 2 ? 1000 + SIGKILL : 0);
        CHECK_EQ(wait_for(reader), 50);
        close(ready[0]);
        close(ready[1]);
    }
}

static volatile sig_atomic_t broken;

static void on_broken(int signal) {
    broken++;
}

TEST(last_reader_breaks_the_pipe) {
    static char much[1 << 20];
    struct sigaction action = {.sa_handler = on_broken};
    int ends[2];
    pid_t pid;

    REQUIRE_OK(sigaction(SIGPIPE, &action, NULL));
    for (int full = 0; full < 2; full++) {
        REQUIRE_OK(pipe(ends));
        warm_up(ends);
        broken = 0;
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            close(ends[0]);
            if (full) {
                /* Sleeps with the pipe full, after a part; then there is nobody any more. */
                ssize_t done = write(ends[1], much, sizeof(much));

                if (done <= 0 || done >= (ssize_t)sizeof(much)) {
                    _exit(1);
                }
            }
            while (write(ends[1], much, 1) == 1) {
            }
            _exit(errno == EPIPE && broken > 0 ? 0 : 2);
        }
        if (full) {
            int filled = 0;

            while (filled < fcntl(ends[0], F_GETPIPE_SZ)) {
                REQUIRE_OK(ioctl(ends[0], FIONREAD, &filled));
            }
            wait_until_asleep(pid);
        }
        close(ends[1]);
        close(ends[0]);
        CHECK_EQ(wait_for(pid), 0);
    }
    action.sa_handler = SIG_DFL;
    REQUIRE_OK(sigaction(SIGPIPE, &action, NULL));
}

TEST(broken_pipe_kills) {
    int ends[2];
    pid_t pid;

    REQUIRE_OK(pipe(ends));
    warm_up(ends);
    close(ends[0]);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        for (int i = 0; i < 10; i++) {
            (void)!write(ends[1], "x", 1);
        }
        _exit(0);
    }
    CHECK_EQ(wait_for(pid), 1000 + SIGPIPE);
    close(ends[1]);
}

TEST(nonblocking_while_another_sleeps) {
    int ends[2], ready[2];
    char byte;
    pid_t pid;

    REQUIRE_OK(pipe(ends));
    REQUIRE_OK(pipe(ready));
    warm_up(ends);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        if (write(ready[1], "r", 1) != 1) {
            _exit(4);
        }
        /* Asleep in a read when the flag is set: it goes on sleeping; the next does not. */
        if (read(ends[0], &byte, 1) != 1) {
            _exit(1);
        }
        if (read(ends[0], &byte, 1) != -1 || errno != EAGAIN) {
            _exit(2);
        }
        if (write(ends[1], "b", 1) != 1 || read(ends[0], &byte, 1) != 1 || byte != 'b') {
            _exit(3);
        }
        _exit(0);
    }
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    wait_until_asleep(pid);
    CHECK_OK(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    CHECK_ERR(read(ends[0], &byte, 1), EAGAIN);
    CHECK_EQ(write(ends[1], "a", 1), 1);
    CHECK_EQ(wait_for(pid), 0);
    CHECK_OK(fcntl(ends[0], F_SETFL, 0));
    warm_up(ends);
    /* A full one, for the writer. */
    CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while (write(ends[1], ends, sizeof(ends)) > 0) {
    }
    CHECK_EQ(errno, EAGAIN);
    close(ends[0]);
    close(ends[1]);
    close(ready[0]);
    close(ready[1]);
}

TEST(poll_sees_what_comes) {
    int there[2], back[2], epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    char byte = 0;
    pid_t pid;

    REQUIRE_OK(epoll);
    REQUIRE_OK(pipe(there));
    REQUIRE_OK(pipe(back));
    warm_up(there);
    warm_up(back);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        close(there[1]);
        close(back[0]);
        while (read(there[0], &byte, 1) == 1) {
            if (write(back[1], &byte, 1) != 1) {
                _exit(1);
            }
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    for (int i = 0; i < 300; i++) {
        struct pollfd fds = {.fd = back[0], .events = POLLIN};

        CHECK_EQ(poll(&fds, 1, 0), 0);
        CHECK_EQ(write(there[1], &byte, 1), 1);
        if (i & 1) {
            CHECK_EQ(poll(&fds, 1, -1), 1);
            CHECK_EQ(fds.revents, POLLIN);
        } else {
            fd_set set;

            FD_ZERO(&set);
            FD_SET(back[0], &set);
            CHECK_EQ(select(back[0] + 1, &set, NULL, NULL, NULL), 1);
            CHECK(FD_ISSET(back[0], &set));
        }
        CHECK_EQ(read(back[0], &byte, 1), 1);
    }
    CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, back[0], &event));
    for (int i = 0; i < 300; i++) {
        int ready;

        CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
        CHECK_EQ(write(there[1], &byte, 1), 1);
        CHECK_EQ(epoll_wait(epoll, &event, 1, -1), 1);
        CHECK_OK(ioctl(back[0], FIONREAD, &ready));
        CHECK_EQ(ready, 1);
        CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0); /* an edge is told once */
        CHECK_EQ(read(back[0], &byte, 1), 1);
    }
    close(there[1]);
    CHECK_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    CHECK(event.events & EPOLLHUP);
    CHECK_EQ(wait_for(pid), 0);
    close(back[0]);
    close(epoll);
}

/* One and the same process: what it wrote is there when it asks. */
TEST(poll_agrees_with_oneself) {
    int ends[2], epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    struct pollfd fds;
    char byte;

    REQUIRE_OK(epoll);
    REQUIRE_OK(pipe(ends));
    warm_up(ends);
    fds = (struct pollfd){.fd = ends[0], .events = POLLIN};
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(poll(&fds, 1, 0), 0);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(poll(&fds, 1, 0), 1);
        CHECK_EQ(read(ends[0], &byte, 1), 1);
    }
    CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 0);
        CHECK_EQ(write(ends[1], "x", 1), 1);
        CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 1);
        CHECK_EQ(read(ends[0], &byte, 1), 1);
    }
    close(epoll);
    close(ends[0]);
    close(ends[1]);
}

/* ---- signals at any moment ---- */

static volatile sig_atomic_t signals;

static void on_alarm(int signal) {
    signals++;
}

/* Bytes that tell their place, so that a lost or doubled one is seen. */
static int produce(int fd, size_t total) {
    unsigned char bytes[777];
    size_t sent = 0;

    while (sent < total) {
        size_t size = sent % sizeof(bytes) + 1;
        ssize_t done;

        size = size > total - sent ? total - sent : size;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (unsigned char)((sent + i) % 251);
        }
        done = write(fd, bytes, size);
        if (done < 0 && errno != EINTR) {
            return 1;
        }
        sent += done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int consume(int fd, size_t total) {
    unsigned char bytes[1500];
    size_t got = 0;

    for (;;) {
        ssize_t done = read(fd, bytes, got % sizeof(bytes) + 1);

        if (done == 0) {
            return got == total ? 0 : 3;
        }
        if (done < 0 && errno != EINTR) {
            return 1;
        }
        for (ssize_t i = 0; i < done; i++) {
            if (bytes[i] != (unsigned char)((got + (size_t)i) % 251)) {
                return 2;
            }
        }
        got += done > 0 ? (size_t)done : 0;
    }
}

TEST(nothing_is_lost_when_signals_come) {
    enum { TOTAL = 3000000 };

    for (int restart = 0; restart < 2; restart++) {
        struct sigaction action = {.sa_handler = on_alarm, .sa_flags = restart ? SA_RESTART : 0};
        struct itimerval often = {.it_interval.tv_usec = 300, .it_value.tv_usec = 300}, off = {0};
        int ends[2];
        pid_t pid;

        REQUIRE_OK(pipe(ends));
        REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
        signals = 0;
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            int result;

            close(ends[0]);
            setitimer(ITIMER_REAL, &often, NULL);
            result = produce(ends[1], TOTAL);
            while (!signals) {
                pause(); /* on a busy machine all may be written before the first comes */
            }
            setitimer(ITIMER_REAL, &off, NULL);
            _exit(result);
        }
        close(ends[1]);
        setitimer(ITIMER_REAL, &often, NULL);
        CHECK_EQ(consume(ends[0], TOTAL), 0);
        while (!signals) {
            pause();
        }
        setitimer(ITIMER_REAL, &off, NULL);
        CHECK_EQ(wait_for(pid), 0);
        close(ends[0]);
    }
}

static int alarm_fd;

static void write_on_alarm(int signal) {
    (void)!write(alarm_fd, "s", 1);
}

/* A signal that comes at the very moment of a read is not slept through: either its handler has
 * written before, or the read ends. */
TEST(no_signal_is_slept_through) {
    struct sigaction action = {.sa_handler = write_on_alarm};
    int ends[2];
    char byte;

    REQUIRE_OK(pipe(ends));
    warm_up(ends);
    alarm_fd = ends[1];
    REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
    for (int i = 0; i < 500; i++) {
        struct itimerval once = {.it_value.tv_usec = 1 + i % 60};
        ssize_t got;

        REQUIRE_OK(setitimer(ITIMER_REAL, &once, NULL));
        got = read(ends[0], &byte, 1);
        if (got < 0) {
            CHECK_EQ(errno, EINTR);
            got = read(ends[0], &byte, 1);
        }
        CHECK_EQ(got, 1);
        CHECK_EQ(byte, 's');
    }
    close(ends[0]);
    close(ends[1]);
}

/* ---- threads ---- */

static int thread_ends[2];

static _Atomic pid_t reader_tid;

static void *read_one(void *arg) {
    char byte = 0;

    reader_tid = gettid();
    ssize_t got = read(thread_ends[0], &byte, 1);

    return (void *)(long)(got == 1 ? byte : -1);
}

/* A descriptor that is closed while another thread sleeps in a read of it: that read goes on. */
static void close_amid_reads(int (*make)(int ends[2])) {
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        void *got;
        int other[2];

        REQUIRE_OK(make(thread_ends));
        warm_up(thread_ends);
        reader_tid = 0;
        REQUIRE_EQ(pthread_create(&thread, NULL, read_one, NULL), 0);
        if (i % 2) {
            while (!reader_tid) {
                sched_yield();
            }
            wait_until_thread_sleeps(getpid(), reader_tid);
            CHECK_OK(close(thread_ends[0]));
            /* Its number is soon somebody else's. */
            REQUIRE_OK(make(other));
            warm_up(other);
        }
        CHECK_EQ(write(thread_ends[1], "r", 1), 1);
        REQUIRE_EQ(pthread_join(thread, &got), 0);
        CHECK_EQ((long)got, 'r');
        if (i % 2) {
            close(other[0]);
            close(other[1]);
        } else {
            close(thread_ends[0]);
        }
        close(thread_ends[1]);
    }
}

static int make_sockets(int ends[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}

TEST(closing_does_not_end_a_read) {
    close_amid_reads(pipe);
}

TEST(closing_does_not_end_a_read_of_a_socket) {
    close_amid_reads(make_sockets);
}

TEST_MAIN()
