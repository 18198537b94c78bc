/* ip(7), tcp(7), udp(7) on 127.0.0.1 and ::1, as every machine has them. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listener(struct sockaddr_in *name) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof *name;
    *name = loopback(0);
    REQUIRE_OK(fd);
    CHECK_OK(bind(fd, (struct sockaddr *)name, sizeof *name));
    CHECK_OK(listen(fd, 10));
    CHECK_OK(getsockname(fd, (struct sockaddr *)name, &size));
    CHECK(ntohs(name->sin_port) != 0);
    return fd;
}

TEST(stream) {
    struct sockaddr_in name, peer, own;
    socklen_t size = sizeof peer;
    char buffer[16];
    int l = listener(&name), c = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    CHECK_OK(connect(c, (struct sockaddr *)&name, sizeof name));
    int a = accept(l, (struct sockaddr *)&peer, &size);
    CHECK_OK(a);
    CHECK_EQ(size, sizeof peer);
    size = sizeof own;
    CHECK_OK(getsockname(c, (struct sockaddr *)&own, &size));
    CHECK_EQ(own.sin_port, peer.sin_port);
    CHECK_EQ(own.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK_OK(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    CHECK_EQ(write(c, "ping", 4), 4);
    CHECK_EQ(recv(a, buffer, 4, MSG_WAITALL), 4);
    CHECK_EQ(write(a, "pong!", 5), 5);
    CHECK_EQ(recv(c, buffer, 5, MSG_WAITALL), 5);
    CHECK_OK(shutdown(c, SHUT_WR));
    CHECK_EQ(read(a, buffer, 1), 0);
    CHECK_EQ(write(a, "half", 4), 4);
    CHECK_EQ(recv(c, buffer, 4, MSG_WAITALL), 4);
    close(a);
    CHECK_EQ(read(c, buffer, 1), 0);
    close(c);
    close(l);
}

TEST(refused_and_unreachable) {
    struct sockaddr_in name;
    int l = listener(&name);
    close(l);
    int c = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_ERR(connect(c, (struct sockaddr *)&name, sizeof name), ECONNREFUSED);
    close(c);
    c = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
    char b;
    CHECK_ERR(recv(c, &b, 1, 0), ENOTCONN);
    CHECK_ERR(getpeername(c, (struct sockaddr *)&name, &(socklen_t){sizeof name}), ENOTCONN);
    close(c);
}

TEST(ports_are_taken) {
    struct sockaddr_in name;
    int l = listener(&name), other = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    CHECK_ERR(bind(other, (struct sockaddr *)&name, sizeof name), EADDRINUSE);
    CHECK_OK(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    CHECK_ERR(bind(other, (struct sockaddr *)&name, sizeof name), EADDRINUSE);
    CHECK_ERR(bind(l, (struct sockaddr *)&name, sizeof name), EINVAL);
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
    CHECK_ERR(bind(other, (struct sockaddr *)&far, sizeof far), EADDRNOTAVAIL);
    close(other);
    close(l);
}

static void *echo(void *arg) {
    int l = *(int *)arg;
    for (int i = 0; i < 20; i++) {
        char buffer[4096];
        ssize_t n;
        int a = accept(l, NULL, NULL);
        CHECK_OK(a);
        while ((n = read(a, buffer, sizeof buffer)) > 0)
            CHECK_EQ(send(a, buffer, (size_t)n, MSG_NOSIGNAL), n);
        close(a);
    }
    return NULL;
}

TEST(nonblocking_clients) {
    struct sockaddr_in name;
    pthread_t thread;
    int l = listener(&name);
    REQUIRE_EQ(pthread_create(&thread, NULL, echo, &l), 0);
    for (int i = 0; i < 20; i++) {
        int c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(c, (struct sockaddr *)&name, sizeof name))
            CHECK_EQ(errno, EINPROGRESS);
        struct pollfd p = {.fd = c, .events = POLLOUT};
        CHECK_EQ(poll(&p, 1, 5000), 1);
        CHECK_EQ(p.revents, POLLOUT);
        int error = -1;
        socklen_t size = sizeof error;
        CHECK_OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &error, &size));
        CHECK_EQ(error, 0);
        CHECK_EQ(send(c, "abc", 3, 0), 3);
        p.events = POLLIN;
        CHECK_EQ(poll(&p, 1, 5000), 1);
        char buffer[8];
        CHECK_EQ(recv(c, buffer, 8, 0), 3);
        close(c);
    }
    pthread_join(thread, NULL);
    close(l);
}

TEST(datagrams) {
    struct sockaddr_in name = loopback(0), from;
    socklen_t size = sizeof name;
    char buffer[32];
    int r = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_OK(bind(r, (struct sockaddr *)&name, sizeof name));
    CHECK_OK(getsockname(r, (struct sockaddr *)&name, &size));
    CHECK_EQ(sendto(c, "hello", 5, 0, (struct sockaddr *)&name, sizeof name), 5);
    size = sizeof from;
    CHECK_EQ(recvfrom(r, buffer, 32, 0, (struct sockaddr *)&from, &size), 5);
    CHECK_EQ(sendto(r, "back", 4, 0, (struct sockaddr *)&from, size), 4);
    CHECK_EQ(recv(c, buffer, 32, 0), 4);
    CHECK_OK(connect(c, (struct sockaddr *)&name, sizeof name));
    CHECK_EQ(send(c, "", 0, 0), 0);
    CHECK_EQ(recv(r, buffer, 32, 0), 0);
    close(r);
    CHECK_EQ(send(c, "lost", 4, 0), 4); /* nobody there: the next call says so */
    CHECK_ERR(send(c, "lost", 4, 0), ECONNREFUSED);
    close(c);
    c = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_ERR(send(c, "x", 1, 0), EDESTADDRREQ);
    close(c);
}

TEST(version6) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t size = sizeof name;
    char buffer[8];
    int l = socket(AF_INET6, SOCK_STREAM, 0);
    if (l < 0 || bind(l, (struct sockaddr *)&name, sizeof name))
        SKIP("no IPv6 on this machine");
    CHECK_OK(listen(l, 1));
    CHECK_OK(getsockname(l, (struct sockaddr *)&name, &size));
    CHECK_EQ(size, sizeof name);
    int c = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK_OK(connect(c, (struct sockaddr *)&name, sizeof name));
    int a = accept(l, NULL, NULL);
    CHECK_EQ(write(c, "six", 3), 3);
    CHECK_EQ(read(a, buffer, 8), 3);
    close(a);
    close(c);
    close(l);
    /* One listener for both families. */
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    int off = 0;
    l = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK_OK(setsockopt(l, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off));
    CHECK_OK(bind(l, (struct sockaddr *)&any, sizeof any));
    CHECK_OK(listen(l, 1));
    size = sizeof any;
    CHECK_OK(getsockname(l, (struct sockaddr *)&any, &size));
    struct sockaddr_in four = loopback(ntohs(any.sin6_port));
    c = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(connect(c, (struct sockaddr *)&four, sizeof four));
    size = sizeof any;
    a = accept(l, (struct sockaddr *)&any, &size);
    CHECK_OK(a);
    CHECK_EQ(any.sin6_family, AF_INET6);
    CHECK(IN6_IS_ADDR_V4MAPPED(&any.sin6_addr));
    close(a);
    close(c);
    close(l);
}

TEST_MAIN()
