/*
 * timeout: 120
 *
 * What a guest can do to pipes, epoll, timers and sockets to make the kernel loop, grow or fall:
 * circles and lattices of epoll instances, sockets in their own queues, sizes and counts as large
 * as they come, and everything closed while in use. The guest gets errnos; the kernel goes on
 * serving.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Is the kernel still there, and does it still tell the truth? */
static void still_alive(void) {
    int fds[2];
    char c;

    MUST(pipe(fds) == 0);
    MUST(write(fds[1], "x", 1) == 1 && read(fds[0], &c, 1) == 1 && c == 'x');
    close(fds[0]);
    close(fds[1]);
}

static void epoll_graphs(void) {
    enum { WIDTH = 30, LEVELS = 5 };
    int ep[LEVELS][WIDTH], self = epoll_create1(0), refused = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    uint64_t one = 1;

    MUST(epoll_ctl(self, EPOLL_CTL_ADD, self, &event) == -1);
    for (int l = 0; l < LEVELS; l++) {
        for (int i = 0; i < WIDTH; i++) {
            MUST((ep[l][i] = epoll_create1(0)) >= 0);
        }
    }
    for (int l = 0; l + 1 < LEVELS; l++) {
        for (int i = 0; i < WIDTH; i++) {
            for (int j = 0; j < WIDTH; j++) {
                refused += epoll_ctl(ep[l + 1][j], EPOLL_CTL_ADD, ep[l][i], &event) != 0;
                MUST(epoll_ctl(ep[l][i], EPOLL_CTL_ADD, ep[l + 1][j], &event) != 0 || refused);
            }
        }
    }
    int e = eventfd(0, 0);

    for (int i = 0; i < WIDTH; i++) {
        (void)epoll_ctl(ep[0][i], EPOLL_CTL_ADD, e, &event);
    }
    for (int i = 0; i < 5; i++) {
        MUST(write(e, &one, 8) == 8);
        (void)epoll_wait(ep[LEVELS - 1][0], &event, 1, 0);
    }
    close(e);
    for (int l = 0; l < LEVELS; l++) {
        for (int i = 0; i < WIDTH; i++) {
            close(ep[l][i]);
        }
    }
    close(self);
}

static int send_fd(int to, int fd, int copies) {
    char control[CMSG_SPACE(sizeof(int) * 253)] = {0}, byte = 'x';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)copies)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)copies);
    for (int i = 0; i < copies; i++) {
        memcpy(CMSG_DATA(c) + sizeof(int) * (size_t)i, &fd, sizeof(int));
    }
    return (int)sendmsg(to, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Sockets that hold each other: nobody can ever receive them. */
static void sockets_in_flight(void) {
    int s[2], lost = 0;

    for (int i = 0; i < 20000; i++) {
        int sent;

        MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
        sent = send_fd(s[0], s[1], 1) == 1 && send_fd(s[1], s[0], 1) == 1;
        close(s[0]);
        close(s[1]);
        if (!sent) {
            break;
        }
        lost++;
    }
    MUST(lost == 20000); /* collected again and again: else the limit had stopped it */
}

static void sizes(void) {
    static struct iovec iov[2000];
    static char control[100000];
    int s[2], fds[2];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1};
    char byte;

    MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, s) == 0);
    iov[0] = (struct iovec){&byte, 1};
    for (size_t n = 1025; n < 2000; n += 300) {
        msg.msg_iovlen = n;
        MUST(sendmsg(s[0], &msg, 0) == -1);
        MUST(recvmsg(s[1], &msg, 0) == -1);
    }
    msg.msg_iovlen = 1;
    msg.msg_control = control;
    for (size_t n = 1; n < sizeof control; n = n * 3 + 1) {
        for (int fill = 0; fill < 256; fill += 51) {
            memset(control, fill, sizeof control);
            msg.msg_controllen = n;
            (void)sendmsg(s[0], &msg, 0);
        }
    }
    msg.msg_controllen = ~0ul;
    MUST(sendmsg(s[0], &msg, 0) == -1);
    msg.msg_controllen = 0;
    for (int i = 0; i < 4; i++) {
        iov[i] = (struct iovec){(void *)0x10000, ~0ul >> (i + 1)};
    }
    msg.msg_iovlen = 4;
    MUST(sendmsg(s[0], &msg, 0) == -1);
    MUST(writev(s[0], iov, 4) == -1);
    (void)syscall(SYS_sendto, s[0], 0x10000, 0x7fffffffffff, 0, 0, 0);
    (void)syscall(SYS_recvfrom, s[1], 0x10000, 0x7fffffffffff, 0, 0, 0);
    (void)syscall(SYS_bind, s[0], &msg, 0x7fffffff);
    (void)syscall(SYS_bind, s[0], &msg, -1);
    (void)syscall(SYS_getsockopt, s[0], 1, 3, &msg, &(int){0x7fffffff});
    (void)syscall(SYS_setsockopt, s[0], 1, 7, &msg, 0x7fffffff);
    (void)syscall(SYS_sendmmsg, s[0], 0x10000, 0xffffffff, 0);
    (void)syscall(SYS_recvmmsg, s[0], 0x10000, 0xffffffff, MSG_DONTWAIT, 0);
    MUST(syscall(SYS_poll, &msg, 0xffffffff, 0) == -1);
    MUST(syscall(SYS_select, 0x7fffffff, control, control, control, &(struct timeval){0}) < 100000);
    int ep = epoll_create1(0);

    MUST(syscall(SYS_epoll_wait, ep, 0x10000, 0x7fffffff, 0) == -1);
    (void)syscall(SYS_epoll_wait, ep, 0x10000, 0x0fffffff / 12, 0);
    MUST(pipe2(fds, O_NONBLOCK) == 0);
    MUST(fcntl(fds[0], F_SETPIPE_SZ, 0x7fffffff) == -1);
    MUST(fcntl(fds[0], F_SETPIPE_SZ, -1) == -1);
    (void)splice(fds[0], NULL, fds[1], NULL, ~0ul >> 1, 0);
    (void)syscall(SYS_vmsplice, fds[1], iov, 4, 0);
    (void)syscall(SYS_read, eventfd(0, EFD_NONBLOCK), 0x10000, ~0ul >> 1);
    close(ep);
    close(fds[0]);
    close(fds[1]);
    close(s[0]);
    close(s[1]);
}

/* A timer of one nanosecond that nobody reads must not cost the kernel a core. */
static void fast_timers(void) {
    int timers[50];
    struct itimerspec value = {{0, 1}, {0, 1}};
    struct timespec a, b;

    for (int i = 0; i < 50; i++) {
        MUST((timers[i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0);
        MUST(timerfd_settime(timers[i], 0, &value, NULL) == 0);
    }
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 2000; i++) {
        still_alive();
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    MUST(b.tv_sec - a.tv_sec < 60);
    value.it_interval.tv_sec = value.it_value.tv_sec = 0x7fffffffffffffff;
    (void)timerfd_settime(timers[0], 0, &value, NULL);
    value.it_value.tv_nsec = -1;
    MUST(timerfd_settime(timers[0], 0, &value, NULL) == -1);
    for (int i = 0; i < 50; i++) {
        close(timers[i]);
    }
}

/* Everything closed under the hands of other threads. */
static volatile int stop;

static void *churn(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    char buffer[600];

    while (!stop) {
        int fd = 10 + rand_r(&seed) % 30, other = 10 + rand_r(&seed) % 30, made[2], type;

        switch (rand_r(&seed) % 14) {
        case 0:
            if (pipe2(made, O_NONBLOCK) == 0) {
                dup2(made[0], fd);
                dup2(made[1], other);
                close(made[0]);
                close(made[1]);
            }
            break;
        case 1:
            /* Never blocking, not even before others can have the number. */
            type = SOCK_NONBLOCK | (rand_r(&seed) & 1 ? SOCK_STREAM : SOCK_DGRAM);
            if (socketpair(AF_UNIX, type, 0, made) == 0) {
                dup2(made[0], fd);
                dup2(made[1], other);
                close(made[0]);
                close(made[1]);
            }
            break;
        case 2:
            made[0] = epoll_create1(0);
            dup2(made[0], fd);
            close(made[0]);
            break;
        case 3:
            made[0] = eventfd(0, EFD_NONBLOCK);
            dup2(made[0], fd);
            close(made[0]);
            break;
        case 4:
            close(fd);
            break;
        case 5:
        case 6:
            (void)epoll_ctl(fd, EPOLL_CTL_ADD, other, &event);
            break;
        case 7:
            (void)epoll_ctl(fd, EPOLL_CTL_DEL, other, &event);
            break;
        case 8:
            (void)epoll_wait(fd, &event, 1, 0);
            break;
        case 9:
            (void)!write(fd, buffer, sizeof buffer);
            break;
        case 10:
            (void)!read(fd, buffer, sizeof buffer);
            break;
        case 11: {
            struct pollfd p[2] = {{fd, POLLIN | POLLOUT, 0}, {other, POLLIN, 0}};
            (void)poll(p, 2, 0);
            break;
        }
        case 12:
            (void)send_fd(fd, other, 1 + rand_r(&seed) % 3);
            break;
        default:
            (void)shutdown(fd, rand_r(&seed) % 3);
            break;
        }
    }
    return NULL;
}

static void races(void) {
    pthread_t threads[4];

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < 4; i++) {
        MUST(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    }
    for (int i = 0; i < 3000; i++) {
        sched_yield();
        (void)getppid();
    }
    struct timespec while_they_run = {3, 0};

    nanosleep(&while_they_run, NULL);
    stop = 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void in_child(void (*attack)(void), const char *name) {
    int status;
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid == 0) {
        attack();
        exit(0);
    }
    MUST(waitpid(pid, &status, 0) == pid);
    if (status) {
        printf("%s: status 0x%x\n", name, (unsigned)status);
        exit(1);
    }
    still_alive();
    printf("survived %s\n", name);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    in_child(epoll_graphs, "epoll graphs");
    in_child(sizes, "sizes");
    in_child(fast_timers, "fast timers");
    in_child(races, "races");
    in_child(sockets_in_flight, "sockets in flight");
    return 0;
}
