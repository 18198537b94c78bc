/*
 * timeout: 120
 *
 * Control messages of every shape: lengths that lie about themselves, more descriptors than there
 * may be, in one message or in several, numbers that are none, and all of it rewritten by a second
 * thread meanwhile; then received into too little room, by peeking, by nobody. Each call gets an
 * errno or a count. No descriptor is made that nobody was told of, none is lost, and the files of a
 * message go with it.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/un.h>

#include "bystander.h"
#include "stub_probe.h"

#define MOST 253 /* SCM_MAX_FD */

static int lowest(void) {
    int fd = dup(2);

    close(fd);
    return fd;
}

static struct cmsghdr *put(char *at, size_t length, int type, int fd, size_t count) {
    struct cmsghdr *header = (struct cmsghdr *)at;

    *header = (struct cmsghdr){.cmsg_len = length, .cmsg_level = SOL_SOCKET, .cmsg_type = type};
    for (size_t i = 0; i < count; i++) {
        memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
    return header;
}

static long send_control(int socket, const char *control, size_t size) {
    char byte = 'x';
    struct iovec vec = {&byte, 1};
    struct msghdr message = {.msg_iov = &vec,
                             .msg_iovlen = 1,
                             .msg_control = (char *)(uintptr_t)control,
                             .msg_controllen = size};

    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Closes what came. How many descriptors that were, -1: no message. */
static int receive(int socket, size_t room, int flags, bool *cut) {
    static char control[CMSG_SPACE(MOST * sizeof(int)) + 64];
    char byte;
    struct iovec vec = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vec, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    int count = 0;

    memset(control, 0xff, sizeof control);
    if (recvmsg(socket, &message, flags | MSG_DONTWAIT) < 0) {
        return -1;
    }
    CHECK(message.msg_controllen <= room);
    *cut = message.msg_flags & MSG_CTRUNC;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        CHECK(c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS);
        for (size_t i = 0; i < n; i++, count++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            CHECK_OK(close(fd));
        }
    }
    /* Behind the room nothing is written. */
    for (size_t i = room; i < sizeof control; i++) {
        CHECK_EQ((unsigned char)control[i], 0xff);
    }
    return count;
}

static int pair[2];

static void set_up(void) {
    bystander_start();
    if (pair[1] == 0) {
        REQUIRE_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    }
}

TEST(lengths_that_lie) {
    static const size_t lengths[] = {0,
                                     1,
                                     CMSG_LEN(0) - 1,
                                     CMSG_LEN(0),
                                     INT_MAX,
                                     UINT_MAX,
                                     SIZE_MAX,
                                     SIZE_MAX - 7,
                                     SIZE_MAX - 15,
                                     1ul << 63,
                                     CMSG_LEN(4) + 1,
                                     CMSG_LEN(1000)};
    static char control[8192];
    int before = 0;
    bool cut;

    set_up();
    before = lowest();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int type = 0; type < 5; type++) {
            for (size_t size = 0; size < 128; size += 4) {
                put(control, lengths[i], type, 2, 8);
                put(control + CMSG_SPACE(4), lengths[i], SCM_RIGHTS, 2, 8);
                if (send_control(pair[0], control, size) >= 0) {
                    CHECK(receive(pair[1], 200, 0, &cut) >= 0);
                }
                put(control, CMSG_LEN(4), SCM_RIGHTS, 2, 1); /* a good one before it */
                if (send_control(pair[0], control, size) >= 0) {
                    CHECK(receive(pair[1], 200, 0, &cut) >= 0);
                }
            }
        }
    }
    CHECK_EQ(lowest(), before);
    CHECK(receive(pair[1], 0, 0, &cut) == -1);
    bystander_check();
    check_kernel_serves();
}

TEST(more_than_there_may_be) {
    static char control[65536];
    static const int none[] = {-1, INT_MIN, INT_MAX, 100000, -100 /* AT_FDCWD */};
    int before = 0;
    bool cut;

    set_up();
    before = lowest();
    for (size_t count = MOST - 1; count <= MOST + 2; count++) {
        put(control, CMSG_LEN(count * 4), SCM_RIGHTS, 2, count);
        CHECK_EQ(send_control(pair[0], control, CMSG_SPACE(count * 4)), count <= MOST ? 1 : -1);
        CHECK_EQ(receive(pair[1], CMSG_SPACE(MOST * 4), 0, &cut), count <= MOST ? (int)count : -1);
    }
    /* In pieces. */
    size_t at = 0;
    for (int i = 0; i < 40; i++) {
        put(control + at, CMSG_LEN(80), SCM_RIGHTS, 2, 20);
        at += CMSG_SPACE(80);
        CHECK_EQ(send_control(pair[0], control, at), i < 12 ? 1 : -1);
        CHECK_EQ(receive(pair[1], CMSG_SPACE(MOST * 4), 0, &cut), i < 12 ? 20 * (i + 1) : -1);
    }
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        put(control, CMSG_LEN(8), SCM_RIGHTS, 2, 2);
        memcpy(CMSG_DATA((struct cmsghdr *)control) + 4, &none[i], 4);
        CHECK_ERR(send_control(pair[0], control, CMSG_SPACE(8)), EBADF);
    }
    CHECK(receive(pair[1], 0, 0, &cut) == -1);
    CHECK_EQ(lowest(), before);
    bystander_check();
    check_kernel_serves();
}

TEST(too_little_room) {
    char control[CMSG_SPACE(40)];
    int before = 0, ends[2];
    bool cut;

    set_up();
    before = lowest();
    for (size_t room = 0; room < 80; room++) {
        int came, fits = room < CMSG_LEN(4) ? 0 : (int)((room - CMSG_LEN(0)) / 4);

        REQUIRE_OK(pipe(ends));
        put(control, CMSG_LEN(40), SCM_RIGHTS, ends[1], 10);
        CHECK_EQ(send_control(pair[0], control, sizeof control), 1);
        CHECK_OK(close(ends[1]));
        for (int times = 0; times < 3; times++) { /* each time descriptors of their own */
            came = receive(pair[1], room, MSG_PEEK, &cut);
            CHECK_EQ(came, fits < 10 ? fits : 10);
        }
        came = receive(pair[1], room, 0, &cut);
        CHECK_EQ(came, fits < 10 ? fits : 10);
        CHECK_EQ(cut, fits < 10);
        /* The rest has gone too: this end of the pipe knows. */
        CHECK_EQ(read(ends[0], control, 1), 0);
        CHECK_OK(close(ends[0]));
    }
    CHECK_EQ(lowest(), before);
    bystander_check();
    check_kernel_serves();
}

/* ---- rewritten meanwhile ---- */

static char shared_control[512];
static volatile bool stop;

static void *rewrite(void *arg) {
    unsigned state = 1;

    while (!stop) {
        state = state * 1664525u + 1013904223u;
        if (state >> 31) {
            put(shared_control, state >> 20 & 255, SCM_RIGHTS, (int)(state >> 8 & 7) - 1, 20);
        } else {
            put(shared_control, CMSG_LEN(80), SCM_RIGHTS, 2, 20);
        }
    }
    return arg;
}

TEST(rewritten_while_it_is_sent) {
    int before = 0, sent = 0;
    pthread_t thread;
    bool cut;

    set_up();
    before = lowest();
    REQUIRE_EQ(pthread_create(&thread, NULL, rewrite, NULL), 0);
    for (int i = 0; i < 20000 || (sent == 0 && i < 10000000); i++) {
        if (send_control(pair[0], shared_control, CMSG_SPACE(80)) == 1) {
            sent++;
            CHECK(receive(pair[1], CMSG_SPACE(MOST * 4), 0, &cut) >= 0);
        }
    }
    stop = true;
    pthread_join(thread, NULL);
    CHECK(sent > 0);
    CHECK_EQ(lowest(), before);
    bystander_check();
    check_kernel_serves();
}

TEST_MAIN()
