/* net/: sockets without a guest: pairs, names, files in flight, closing while others use them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <sys/un.h>

#include "net/net.h"

#define QUIET MSG_NOSIGNAL

static ssize_t put(struct file *to, const char *text) {
    return socket_send(to, text, strlen(text), QUIET | MSG_DONTWAIT, NULL, NULL, NULL);
}
static ssize_t take(struct file *from, char *buffer, size_t size) {
    int flags = MSG_DONTWAIT;

    return socket_receive(from, buffer, size, &flags, NULL, NULL);
}

static void test_pairs(void **state) {
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct file *s[2];
        char buffer[64];
        bool stream = types[i] == SOCK_STREAM;

        assert_int_equal(socket_pair(AF_UNIX, types[i], 0, s), 0);
        assert_int_equal(take(s[0], buffer, 64), -EAGAIN);
        assert_int_equal(put(s[0], "one"), 3);
        assert_int_equal(put(s[0], "two"), 3);
        assert_int_equal(take(s[1], buffer, 64), stream ? 6 : 3);
        file_put(s[0]);
        if (!stream) {
            assert_int_equal(take(s[1], buffer, 64), 3);
        }
        assert_int_equal(take(s[1], buffer, 64), types[i] == SOCK_DGRAM ? -EAGAIN : 0);
        assert_int_equal(put(s[1], "x"), types[i] == SOCK_DGRAM ? -ECONNREFUSED : -EPIPE);
        file_put(s[1]);
    }
}

static struct socket_address abstract(const char *name) {
    struct socket_address address = {.size = (unsigned)(3 + strlen(name))};

    address.header.sa_family = AF_UNIX;
    memcpy(address.bytes + 3, name, strlen(name));
    return address;
}

static void test_names(void **state) {
    struct socket_address address = abstract("here"), name;
    struct file *l, *c, *a;
    char buffer[8];

    assert_int_equal(socket_new(AF_UNIX, SOCK_STREAM, 0, &l), 0);
    assert_int_equal(socket_new(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, &c), 0);
    assert_int_equal(socket_connect(c, &address, NULL), -ECONNREFUSED);
    assert_int_equal(socket_bind(l, &address, NULL), 0);
    assert_int_equal(socket_bind(c, &address, NULL), -EADDRINUSE);
    assert_int_equal(socket_listen(l, 0), 0);
    assert_int_equal(socket_connect(c, &address, NULL), 0);
    assert_int_equal(socket_accept(l, 0, &a, &name), 0);
    assert_int_equal(put(c, "hi"), 2);
    assert_int_equal(take(a, buffer, 8), 2);
    file_put(l);
    assert_int_equal(socket_new(AF_UNIX, SOCK_STREAM, 0, &l), 0);
    assert_int_equal(socket_bind(l, &address, NULL), 0); /* the name is free again */
    file_put(l);
    file_put(c);
    assert_int_equal(take(a, buffer, 8), 0);
    file_put(a);
    address.size = 200;
    assert_int_equal(socket_new(AF_UNIX, SOCK_DGRAM, 0, &c), 0);
    address.size = SOCKET_ADDRESS_MAX;
    assert_int_equal(socket_bind(c, &address, NULL), -EINVAL);
    file_put(c);
}

static ssize_t send_file(struct file *to, struct file *what) {
    struct socket_control control = {.file_count = 1};
    ssize_t result;

    control.files = malloc(sizeof(struct file *));
    control.files[0] = file_get(what);
    result = socket_send(to, "f", 1, QUIET | MSG_DONTWAIT, NULL, NULL, &control);
    socket_control_destroy(&control);
    return result;
}

static void test_files_in_flight(void **state) {
    struct socket_control control = {0};
    struct file *s[2], *t[2];
    char c;
    int flags = 0;

    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, t), 0);
    assert_int_equal(send_file(s[0], t[1]), 1);
    file_put(t[1]);
    assert_int_equal(put(t[0], "through"), 7); /* alive in flight */
    assert_int_equal(socket_receive(s[1], &c, 1, &flags, NULL, &control), 1);
    assert_int_equal(control.file_count, 1);
    assert_true(file_is_socket(control.files[0]));
    socket_control_destroy(&control);
    assert_int_equal(put(t[0], "gone"), -EPIPE);
    file_put(t[0]);
    file_put(s[0]);
    file_put(s[1]);
}

/* A long chain of sockets in each other's queues ends without a deep stack; endless ones are cut.
 */
static void test_long_chain(void **state) {
    struct file *s[2], *held;
    int depth = 0;
    ssize_t sent = 1;

    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    held = s[1];
    file_put(s[0]);
    while (depth < 5000) {
        struct file *next[2];

        assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, next), 0);
        sent = send_file(next[0], held);
        file_put(next[0]);
        if (sent != 1) {
            file_put(next[1]);
            break;
        }
        file_put(held);
        held = next[1];
        depth++;
    }
    assert_int_equal(sent, -ETOOMANYREFS);
    assert_true(depth >= 500);
    /* The collector ran and found nothing to take: whoever holds the end can unroll it all. */
    for (int i = 0; i < depth; i++) {
        struct socket_control control = {0};
        char c;
        int flags = MSG_DONTWAIT;

        assert_int_equal(socket_receive(held, &c, 1, &flags, NULL, &control), 1);
        assert_int_equal(control.file_count, 1);
        if (i == depth / 2) {
            socket_control_destroy(&control); /* the rest of the chain goes at one stroke */
            break;
        }
        file_put(held);
        held = file_get(control.files[0]);
        socket_control_destroy(&control);
    }
    file_put(held);
    /* All came back. */
    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, s), 0);
    for (int i = 0; i < depth; i++) {
        struct socket_control control = {0};
        char c;
        int flags = MSG_DONTWAIT;

        assert_int_equal(send_file(s[0], s[1]), 1);
        assert_int_equal(socket_receive(s[1], &c, 1, &flags, NULL, &control), 1);
        socket_control_destroy(&control);
    }
    file_put(s[0]);
    file_put(s[1]);
}

/* Pairs in each other's queues, again and again: collected, while one that is held stays whole. */
static void test_cycles_are_collected(void **state) {
    struct file *live[2], *inner[2];
    struct socket_control control = {0};
    int flags = MSG_DONTWAIT;
    char c;

    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, live), 0);
    assert_int_equal(socket_pair(AF_UNIX, SOCK_STREAM, 0, inner), 0);
    assert_int_equal(put(inner[0], "kept"), 4);
    assert_int_equal(send_file(live[0], inner[1]), 1);
    assert_int_equal(send_file(inner[0], inner[1]), 1); /* in its own queue as well */
    file_put(inner[1]);
    for (int i = 0; i < 3000; i++) {
        struct file *s[2];

        assert_int_equal(socket_pair(AF_UNIX, i & 1 ? SOCK_DGRAM : SOCK_STREAM, 0, s), 0);
        assert_int_equal(send_file(s[0], s[1]), 1);
        assert_int_equal(send_file(s[1], s[0]), 1);
        file_put(s[0]);
        file_put(s[1]);
    }
    assert_int_equal(socket_receive(live[1], &c, 1, &flags, NULL, &control), 1);
    assert_int_equal(control.file_count, 1);
    char buffer[8];

    assert_int_equal(take(control.files[0], buffer, 4), 4);
    assert_memory_equal(buffer, "kept", 4);
    socket_control_destroy(&control);
    file_put(inner[0]);
    file_put(live[0]);
    file_put(live[1]);
}

static void *sender(void *arg) {
    char data[700] = {0};

    while (socket_send(arg, data, sizeof(data), QUIET, NULL, NULL, NULL) > 0) {
    }
    file_put(arg);
    return NULL;
}

static void *receiver(void *arg) {
    char data[900];
    int flags = 0;

    for (int i = 0; i < 300; i++) {
        flags = 0;
        if (socket_receive(arg, data, sizeof(data), &flags, NULL, NULL) <= 0) {
            break;
        }
    }
    file_put(arg);
    return NULL;
}

/* One side goes while the other is in the middle of it. */
static void test_close_under_way(void **state) {
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

    for (int round = 0; round < 40; round++) {
        struct file *s[2];
        pthread_t threads[4];

        assert_int_equal(socket_pair(AF_UNIX, types[round & 1], 0, s), 0);
        for (int i = 0; i < 2; i++) {
            file_get(s[0]);
            file_get(s[1]);
            assert_int_equal(pthread_create(&threads[i], NULL, sender, s[0]), 0);
            assert_int_equal(pthread_create(&threads[2 + i], NULL, receiver, s[1]), 0);
        }
        file_put(s[0]);
        file_put(s[1]);
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
    }
}

static struct socket_address loopback(uint16_t port) {
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct socket_address address = {.size = sizeof(in)};

    memcpy(address.bytes, &in, sizeof(in));
    return address;
}

static void *client(void *arg) {
    for (int i = 0; i < 50; i++) {
        struct file *c;
        char buffer[8];
        int flags = 0;

        if (socket_new(AF_INET, SOCK_STREAM, 0, &c) || socket_connect(c, arg, NULL) ||
            socket_send(c, "ping", 4, QUIET, NULL, NULL, NULL) != 4 ||
            socket_receive(c, buffer, 8, &flags, NULL, NULL) != 4) {
            abort();
        }
        file_put(c);
    }
    return NULL;
}

static void test_loopback(void **state) {
    struct socket_address address = loopback(0), far = loopback(80);
    struct file *l, *c;
    pthread_t threads[3];

    assert_int_equal(socket_new(AF_INET, SOCK_STREAM, 0, &l), 0);
    assert_int_equal(socket_bind(l, &address, NULL), 0);
    assert_int_equal(socket_listen(l, 1), 0);
    assert_int_equal(socket_name(l, false, &address), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, client, &address), 0);
    }
    for (int i = 0; i < 150; i++) {
        struct file *a;
        char buffer[8];
        int flags = MSG_WAITALL;

        assert_int_equal(socket_accept(l, 0, &a, NULL), 0);
        assert_int_equal(socket_receive(a, buffer, 4, &flags, NULL, NULL), 4);
        assert_int_equal(socket_send(a, buffer, 4, QUIET, NULL, NULL, NULL), 4);
        file_put(a);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    file_put(l);
    /* The outside does not exist. */
    ((struct sockaddr_in *)(void *)far.bytes)->sin_addr.s_addr = htonl(0x08080808);
    assert_int_equal(socket_new(AF_INET, SOCK_STREAM, 0, &c), 0);
    assert_int_equal(socket_connect(c, &far, NULL), -ENETUNREACH);
    file_put(c);
    assert_int_equal(socket_new(AF_NETLINK, SOCK_RAW, 0, &c), -EAFNOSUPPORT);
    assert_int_equal(socket_new(AF_INET, SOCK_RAW, 1, &c), -EPERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_files_in_flight),
        cmocka_unit_test(test_long_chain),
        cmocka_unit_test(test_cycles_are_collected),
        cmocka_unit_test(test_close_under_way),
        cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
