/* epoll(7). */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

static int ep;
static struct epoll_event out[64];

static int add(int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.u64 = (uint64_t)fd | 0xabcdef0000000000};
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}
static int modify(int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.u64 = 5};
    return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e);
}
static int now(void) {
    return epoll_wait(ep, out, 64, 0);
}

TEST(errors) {
    int fds[2], file = open("/proc/self/exe", O_RDONLY);
    REQUIRE_OK(ep = epoll_create1(EPOLL_CLOEXEC));
    REQUIRE_OK(pipe(fds));
    CHECK_ERR(epoll_create1(1), EINVAL);
    CHECK_ERR(epoll_create(0), EINVAL);
    CHECK_OK(add(fds[0], EPOLLIN));
    CHECK_ERR(add(fds[0], EPOLLIN), EEXIST);
    CHECK_ERR(modify(fds[1], EPOLLIN), ENOENT);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_DEL, fds[1], NULL), ENOENT);
    CHECK_ERR(add(file, EPOLLIN), EPERM);
    CHECK_ERR(add(ep, EPOLLIN), EINVAL);
    CHECK_ERR(add(9999, EPOLLIN), EBADF);
    CHECK_ERR(epoll_ctl(fds[0], EPOLL_CTL_ADD, fds[1], out), EINVAL);
    CHECK_ERR(epoll_ctl(ep, 99, fds[1], out), EINVAL);
    CHECK_ERR(epoll_ctl(ep, EPOLL_CTL_ADD, fds[1], NULL), EFAULT);
    CHECK_ERR(epoll_wait(ep, out, 0, 0), EINVAL);
    CHECK_ERR(epoll_wait(fds[0], out, 1, 0), EINVAL);
    CHECK_ERR(epoll_wait(9999, out, 1, 0), EBADF);
    CHECK_ERR(modify(fds[0], EPOLLIN | EPOLLEXCLUSIVE), EINVAL);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_ERR(syscall(SYS_epoll_wait, ep, 8, 1, 0), EFAULT);
    close(ep);
    close(fds[0]);
    close(fds[1]);
    close(file);
}

TEST(level_triggered) {
    int fds[2];
    char c;
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(pipe(fds));
    CHECK_OK(add(fds[0], EPOLLIN));
    CHECK_EQ(now(), 0);
    CHECK_EQ(write(fds[1], "xy", 2), 2);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(now(), 1);
        CHECK_EQ(out[0].events, EPOLLIN);
        CHECK_EQ(out[0].data.u64, (uint64_t)fds[0] | 0xabcdef0000000000);
    }
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(now(), 1);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(now(), 0);
    close(fds[1]);
    CHECK_EQ(now(), 1);
    CHECK_EQ(out[0].events, EPOLLHUP);
    close(fds[0]);
    CHECK_EQ(now(), 0); /* the last close takes it out */
    close(ep);
}

TEST(edge_triggered) {
    int fds[2];
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    CHECK_OK(add(fds[0], EPOLLIN | EPOLLOUT | EPOLLET));
    CHECK_EQ(now(), 1);
    CHECK_EQ(out[0].events, EPOLLOUT);
    CHECK_EQ(now(), 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(now(), 1);
    CHECK_EQ(out[0].events, EPOLLIN | EPOLLOUT);
    CHECK_EQ(now(), 0);
    CHECK_EQ(write(fds[1], "y", 1), 1); /* a new edge, though nothing was read */
    CHECK_EQ(now(), 1);
    CHECK_EQ(now(), 0);
    CHECK_OK(modify(fds[0], EPOLLIN | EPOLLET)); /* MOD looks again */
    CHECK_EQ(now(), 1);
    CHECK_EQ(out[0].data.u64, 5);
    close(ep);
    close(fds[0]);
    close(fds[1]);
}

TEST(one_shot) {
    int e;
    uint64_t one = 1;
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(e = eventfd(1, 0));
    CHECK_OK(add(e, EPOLLIN | EPOLLONESHOT));
    CHECK_EQ(now(), 1);
    CHECK_EQ(now(), 0);
    CHECK_EQ(write(e, &one, 8), 8);
    CHECK_EQ(now(), 0);
    CHECK_OK(modify(e, EPOLLIN | EPOLLONESHOT));
    CHECK_EQ(now(), 1);
    CHECK_EQ(now(), 0);
    close(e);
    close(ep);
}

TEST(hang_up_is_told_to_everybody) {
    int fds[2];
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(pipe(fds));
    CHECK_OK(add(fds[0], 0));
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(now(), 0);
    close(fds[1]);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(now(), 1);
        CHECK_EQ(out[0].events, EPOLLHUP);
    }
    CHECK_OK(modify(fds[0], EPOLLONESHOT));
    CHECK_EQ(now(), 1);
    CHECK_EQ(now(), 0); /* after a one-shot event nothing is told, not even this */
    CHECK_OK(modify(fds[0], 0));
    CHECK_EQ(now(), 1);
    CHECK_EQ(out[0].events, EPOLLHUP);
    close(fds[0]);
    close(ep);
}

TEST(duplicates_keep_it) {
    int fds[2];
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(pipe(fds));
    int copy = dup(fds[0]);
    CHECK_OK(add(fds[0], EPOLLIN));
    CHECK_OK(add(copy, EPOLLIN)); /* same file, other number: an item of its own */
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(now(), 2);
    close(fds[0]);
    CHECK_EQ(now(), 2); /* the open file description lives on */
    close(copy);
    CHECK_EQ(now(), 0);
    close(fds[1]);
    close(ep);
}

TEST(nested) {
    int inner, e;
    uint64_t v = 1;
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(inner = epoll_create1(0));
    REQUIRE_OK(e = eventfd(0, 0));
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_OK(epoll_ctl(inner, EPOLL_CTL_ADD, e, &event));
    CHECK_OK(add(inner, EPOLLIN));
    CHECK_EQ(now(), 0);
    CHECK_EQ(write(e, &v, 8), 8);
    CHECK_EQ(now(), 1);
    CHECK_EQ(epoll_wait(inner, out, 8, 0), 1);
    CHECK_EQ(read(e, &v, 8), 8);
    CHECK_EQ(now(), 0);
    /* No circle. */
    CHECK_ERR(epoll_ctl(inner, EPOLL_CTL_ADD, ep, &event), ELOOP);
    close(inner);
    close(e);
    close(ep);
}

TEST(nesting_is_limited) {
    int chain[8], i;
    struct epoll_event event = {.events = EPOLLIN};
    for (i = 0; i < 8; i++)
        REQUIRE_OK(chain[i] = epoll_create1(0));
    for (i = 0; i < 7; i++)
        if (epoll_ctl(chain[i + 1], EPOLL_CTL_ADD, chain[i], &event))
            break;
    CHECK_EQ(errno, ELOOP);
    CHECK(i >= 3 && i <= 5);
    for (i = 0; i < 8; i++)
        close(chain[i]);
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void *poke(void *arg) {
    uint64_t one = 1;
    usleep(30000);
    CHECK_EQ(write(*(int *)arg, &one, 8), 8);
    return NULL;
}

TEST(waiting) {
    int e;
    pthread_t thread;
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(e = eventfd(0, 0));
    int64_t start = now_ms();
    CHECK_EQ(epoll_wait(ep, out, 8, 40), 0);
    CHECK(now_ms() - start >= 40);
    REQUIRE_EQ(pthread_create(&thread, NULL, poke, &e), 0);
    CHECK_OK(add(e, EPOLLIN));
    CHECK_EQ(epoll_wait(ep, out, 8, 10000), 1);
    pthread_join(thread, NULL);
    /* Added while somebody waits. */
    close(e);
    REQUIRE_OK(e = eventfd(0, 0));
    REQUIRE_EQ(pthread_create(&thread, NULL, poke, &e), 0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, e, &event));
    CHECK_EQ(epoll_wait(ep, out, 8, 10000), 1);
    pthread_join(thread, NULL);
    struct timespec t = {0, 5000000};
    CHECK_OK(epoll_ctl(ep, EPOLL_CTL_DEL, e, NULL));
    CHECK_EQ(epoll_pwait2(ep, out, 8, &t, NULL), 0);
    close(e);
    close(ep);
}

/* Every token is taken by exactly one thread, none is left lying. */
enum { THREADS = 6, TOKENS = 3000 };
static int token_fd;
static int taken;

static void *take(void *arg) {
    (void)arg;
    for (;;) {
        struct epoll_event event;
        int n = epoll_wait(ep, &event, 1, 10000);
        uint64_t v;
        if (n != 1) {
            CHECK_EQ(n, 1);
            return NULL;
        }
        if (read(token_fd, &v, 8) == 8 &&
            __atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST) >= TOKENS) {
            uint64_t more = THREADS;
            CHECK_EQ(write(token_fd, &more, 8), 8); /* let the others go too */
            return NULL;
        }
        if (__atomic_load_n(&taken, __ATOMIC_SEQ_CST) >= TOKENS)
            return NULL;
    }
}

TEST(many_threads) {
    pthread_t threads[THREADS];
    uint64_t one = 1;
    REQUIRE_OK(ep = epoll_create1(0));
    REQUIRE_OK(token_fd = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK));
    CHECK_OK(add(token_fd, EPOLLIN));
    for (int i = 0; i < THREADS; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, take, NULL), 0);
    for (int i = 0; i < TOKENS; i++)
        CHECK_EQ(write(token_fd, &one, 8), 8);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(taken >= TOKENS);
    close(token_fd);
    close(ep);
}

static void on_signal(int signo) {
    (void)signo;
}

TEST(interrupted) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    REQUIRE_OK(ep = epoll_create1(0));
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    ualarm(20000, 0);
    CHECK_ERR(epoll_wait(ep, out, 1, -1), EINTR);
    close(ep);
}

TEST_MAIN()
