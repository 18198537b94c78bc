/* unix(7). */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static int s[2];

static short ready(int fd, short events, int timeout) {
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, timeout) == 1 ? p.revents : 0;
}

TEST(stream_pair) {
    char buffer[64];
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "hello", 5), 5);
    CHECK_EQ(send(s[0], "world", 5, 0), 5);
    CHECK_EQ(recv(s[1], buffer, 3, MSG_PEEK), 3);
    int queued;
    CHECK_OK(ioctl(s[1], FIONREAD, &queued));
    CHECK_EQ(queued, 10);
    CHECK_EQ(read(s[1], buffer, 64), 10);
    CHECK_EQ(memcmp(buffer, "helloworld", 10), 0);
    CHECK_ERR(recv(s[1], buffer, 64, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(ready(s[0], POLLIN | POLLOUT, 0), POLLOUT);
    CHECK_OK(shutdown(s[0], SHUT_WR));
    CHECK_EQ(read(s[1], buffer, 64), 0);
    CHECK_EQ(write(s[1], "back", 4), 4);
    CHECK_EQ(read(s[0], buffer, 64), 4);
    CHECK_ERR(send(s[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(ready(s[1], POLLIN | POLLRDHUP, 0), POLLIN | POLLRDHUP);
    close(s[1]);
    CHECK_EQ(ready(s[0], POLLIN, 0), POLLIN | POLLHUP);
    close(s[0]);
    struct stat st;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s));
    CHECK_OK(fstat(s[0], &st));
    CHECK(S_ISSOCK(st.st_mode));
    CHECK(fcntl(s[0], F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(s[0], F_GETFD) & FD_CLOEXEC);
    CHECK_ERR(read(s[0], buffer, 1), EAGAIN);
    CHECK_ERR(lseek(s[0], 0, SEEK_SET), ESPIPE);
    close(s[0]);
    close(s[1]);
}

TEST(reset_when_unread) {
    char c;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(write(s[0], "unread", 6), 6);
    close(s[1]);
    CHECK_ERR(read(s[0], &c, 1), ECONNRESET);
    CHECK_EQ(read(s[0], &c, 1), 0);
    close(s[0]);
}

TEST(full_buffer) {
    char block[4096] = {0};
    size_t sent = 0, got = 0;
    ssize_t n;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    while ((n = write(s[0], block, sizeof block)) > 0 && sent < 64u << 20)
        sent += (size_t)n;
    CHECK_EQ(errno, EAGAIN);
    CHECK(sent > 32768 && sent < 8u << 20);
    CHECK_EQ(ready(s[0], POLLOUT, 0), 0);
    while ((n = read(s[1], block, sizeof block)) > 0)
        got += (size_t)n;
    CHECK_EQ(got, sent);
    CHECK_EQ(ready(s[0], POLLOUT, 0), POLLOUT);
    close(s[0]);
    close(s[1]);
}

static void *write_much(void *arg) {
    char *data = calloc(1, 1 << 20);
    (void)arg;
    for (int i = 0; i < 8; i++)
        CHECK_EQ(send(s[0], data, 1 << 20, 0), 1 << 20);
    shutdown(s[0], SHUT_WR);
    free(data);
    return NULL;
}

TEST(large_transfer) {
    pthread_t thread;
    size_t got = 0;
    static char buffer[100000];
    ssize_t n;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    REQUIRE_EQ(pthread_create(&thread, NULL, write_much, NULL), 0);
    CHECK_EQ(recv(s[1], buffer, sizeof buffer, MSG_WAITALL), (ssize_t)sizeof buffer);
    got = sizeof buffer;
    while ((n = read(s[1], buffer, sizeof buffer)) > 0)
        got += (size_t)n;
    CHECK_EQ(got, 8u << 20);
    pthread_join(thread, NULL);
    close(s[0]);
    close(s[1]);
}

TEST(datagrams) {
    char buffer[64];
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_EQ(send(s[0], "first", 5, 0), 5);
    CHECK_EQ(send(s[0], "", 0, 0), 0);
    CHECK_EQ(send(s[0], "second", 6, 0), 6);
    CHECK_EQ(recv(s[1], buffer, 2, MSG_TRUNC), 5); /* the rest is gone */
    CHECK_EQ(recv(s[1], buffer, 64, 0), 0);
    struct iovec iov = {buffer, 3};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    CHECK_EQ(recvmsg(s[1], &msg, 0), 3);
    CHECK(msg.msg_flags & MSG_TRUNC);
    close(s[1]);
    CHECK_ERR(send(s[0], "x", 1, 0), ECONNREFUSED);
    close(s[0]);
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s));
    CHECK_EQ(send(s[0], "ab", 2, 0), 2);
    CHECK_EQ(send(s[0], "cd", 2, 0), 2);
    CHECK_EQ(recv(s[1], buffer, 64, 0), 2);
    CHECK_EQ(recv(s[1], buffer, 64, 0), 2);
    close(s[0]);
    CHECK_EQ(recv(s[1], buffer, 64, 0), 0);
    close(s[1]);
}

static struct sockaddr_un address;
static socklen_t path_address(const char *path) {
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    strcpy(address.sun_path, path);
    return sizeof address;
}
static socklen_t abstract_address(const char *name) {
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, name, strlen(name));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static void meet(socklen_t size, int type, socklen_t name_size) {
    struct sockaddr_un name;
    socklen_t got = sizeof name;
    char buffer[16];
    int listener = socket(AF_UNIX, type, 0), client = socket(AF_UNIX, type, 0);
    CHECK_ERR(connect(client, (struct sockaddr *)&address, size), ECONNREFUSED);
    CHECK_OK(bind(listener, (struct sockaddr *)&address, size));
    CHECK_ERR(connect(client, (struct sockaddr *)&address, size), ECONNREFUSED);
    CHECK_OK(listen(listener, 5));
    CHECK_EQ(ready(listener, POLLIN, 0), 0);
    CHECK_OK(connect(client, (struct sockaddr *)&address, size));
    CHECK_ERR(connect(client, (struct sockaddr *)&address, size), EISCONN);
    CHECK_EQ(ready(listener, POLLIN, 0), POLLIN);
    int one = accept4(listener, (struct sockaddr *)&name, &got, SOCK_CLOEXEC);
    CHECK_OK(one);
    CHECK_EQ(got, sizeof(sa_family_t)); /* the client has no name */
    CHECK_EQ(name.sun_family, AF_UNIX);
    got = sizeof name;
    CHECK_OK(getpeername(client, (struct sockaddr *)&name, &got));
    CHECK_EQ(got, name_size);
    CHECK_EQ(memcmp(name.sun_path, address.sun_path, name_size - 2), 0);
    got = sizeof name;
    CHECK_OK(getsockname(one, (struct sockaddr *)&name, &got));
    CHECK_EQ(got, name_size);
    CHECK_EQ(write(client, "hi", 2), 2);
    CHECK_EQ(read(one, buffer, 16), 2);
    struct ucred peer;
    got = sizeof peer;
    CHECK_OK(getsockopt(one, SOL_SOCKET, SO_PEERCRED, &peer, &got));
    CHECK_EQ(peer.pid, getpid());
    CHECK_EQ(peer.uid, geteuid());
    /* Nobody accepts this one: closing the listener resets it. */
    int late = socket(AF_UNIX, type, 0);
    CHECK_OK(connect(late, (struct sockaddr *)&address, size));
    close(listener);
    CHECK_ERR(read(late, buffer, 1), ECONNRESET);
    CHECK_EQ(write(one, "yo", 2), 2); /* what was accepted lives on */
    CHECK_EQ(read(client, buffer, 16), 2);
    close(late);
    close(one);
    close(client);
}

TEST(connections_by_path) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/unix-test-%d", (int)getpid());
    unlink(path);
    socklen_t size = path_address(path);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_ERR(connect(client, (struct sockaddr *)&address, size), ENOENT);
    /* A socket file that nobody serves. */
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_OK(bind(dead, (struct sockaddr *)&address, size));
    CHECK_ERR(bind(dead, (struct sockaddr *)&address, size), EADDRINUSE);
    size = abstract_address("starling-second-name");
    CHECK_ERR(bind(dead, (struct sockaddr *)&address, size), EINVAL);
    size = path_address(path);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_ERR(bind(other, (struct sockaddr *)&address, size), EADDRINUSE);
    struct stat st;
    CHECK_OK(stat(path, &st));
    CHECK(S_ISSOCK(st.st_mode));
    CHECK_ERR(open(path, O_RDWR), ENXIO);
    close(dead);
    close(other);
    CHECK_ERR(connect(client, (struct sockaddr *)&address, size), ECONNREFUSED);
    close(client);
    unlink(path);
    for (int i = 0; i < 2; i++) {
        /* meet() wants the name to exist and be refused first. */
        dead = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_OK(bind(dead, (struct sockaddr *)&address, size));
        close(dead);
        client = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK_ERR(connect(client, (struct sockaddr *)&address, size), ECONNREFUSED);
        close(client);
        CHECK_OK(unlink(path));
    }
}

TEST(connections_by_abstract_name) {
    char name[64];
    snprintf(name, sizeof name, "starling-test-%d", (int)getpid());
    socklen_t size = abstract_address(name);
    meet(size, SOCK_STREAM, size);
    meet(size, SOCK_SEQPACKET, size);
}

TEST(path_listener) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/unix-listen-%d", (int)getpid());
    unlink(path);
    socklen_t size = path_address(path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_OK(bind(listener, (struct sockaddr *)&address, size));
    CHECK_OK(listen(listener, 0));
    struct sockaddr_un name;
    socklen_t got = sizeof name;
    CHECK_OK(getsockname(listener, (struct sockaddr *)&name, &got));
    CHECK_EQ(got, offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 30; i++) {
            int c = socket(AF_UNIX, SOCK_STREAM, 0);
            CHECK_OK(connect(c, (struct sockaddr *)&address, size)); /* waits for room */
            char b;
            CHECK_EQ(read(c, &b, 1), 1);
            close(c);
        }
        CHILD_EXIT();
    }
    for (int i = 0; i < 30; i++) {
        int one = accept(listener, NULL, NULL);
        CHECK_OK(one);
        CHECK_EQ(write(one, "x", 1), 1);
        close(one);
    }
    CHECK_CHILD_OK(pid);
    close(listener);
    unlink(path);
}

TEST(named_datagrams) {
    char name[64], buffer[16];
    snprintf(name, sizeof name, "starling-dgram-%d", (int)getpid());
    socklen_t size = abstract_address(name);
    int server = socket(AF_UNIX, SOCK_DGRAM, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK_OK(bind(server, (struct sockaddr *)&address, size));
    CHECK_ERR(send(client, "x", 1, 0), ENOTCONN);
    CHECK_EQ(sendto(client, "anon", 4, 0, (struct sockaddr *)&address, size), 4);
    struct sockaddr_un from;
    socklen_t got = sizeof from;
    CHECK_EQ(recvfrom(server, buffer, 16, 0, (struct sockaddr *)&from, &got), 4);
    CHECK_EQ(got, 0);
    /* Autobind gives the client a name to be answered at. */
    sa_family_t family = AF_UNIX;
    CHECK_OK(bind(client, (struct sockaddr *)&family, sizeof family));
    CHECK_OK(connect(client, (struct sockaddr *)&address, size));
    CHECK_EQ(send(client, "named", 5, 0), 5);
    got = sizeof from;
    CHECK_EQ(recvfrom(server, buffer, 16, 0, (struct sockaddr *)&from, &got), 5);
    CHECK_EQ(got, sizeof(sa_family_t) + 6);
    CHECK_EQ(sendto(server, "re", 2, 0, (struct sockaddr *)&from, got), 2);
    CHECK_EQ(recv(client, buffer, 16, 0), 2);
    close(server);
    CHECK_ERR(send(client, "x", 1, 0), ECONNREFUSED);
    close(client);
}

static ssize_t send_fds(int to, const int *fds, int count) {
    char control[CMSG_SPACE(sizeof(int) * 300)] = {0}, byte = 'f';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)count);
    return sendmsg(to, &msg, 0);
}

/* How many came; msg_flags in *flags. */
static int receive_fds(int from, int *fds, size_t room, int *flags, int how) {
    static char control[CMSG_SPACE(sizeof(int) * 300)];
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    if (recvmsg(from, &msg, how) != 1)
        return -1;
    *flags = msg.msg_flags;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (!c || c->cmsg_type != SCM_RIGHTS)
        return 0;
    int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)count);
    return count;
}

TEST(passing_files) {
    int p[2], fds[300], got[300], flags;
    char c;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    REQUIRE_OK(pipe(p));
    CHECK_EQ(send_fds(s[0], p, 2), 1);
    close(p[0]);
    CHECK_EQ(receive_fds(s[1], got, CMSG_SPACE(sizeof(int) * 2), &flags, MSG_CMSG_CLOEXEC), 2);
    CHECK(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(write(p[1], "k", 1), 1);
    CHECK_EQ(read(got[0], &c, 1), 1);
    close(got[0]);
    close(got[1]);
    /* Too little room: the rest is closed, and said so. */
    fds[0] = fds[1] = fds[2] = p[1];
    CHECK_EQ(send_fds(s[0], fds, 3), 1);
    CHECK_EQ(receive_fds(s[1], got, CMSG_LEN(sizeof(int)), &flags, 0), 1);
    CHECK(flags & MSG_CTRUNC);
    close(got[0]);
    CHECK_EQ(send_fds(s[0], fds, 1), 1);
    CHECK_EQ(read(s[1], &c, 1), 1); /* dropped */
    for (int i = 0; i < 300; i++)
        fds[i] = p[1];
    CHECK_ERR(send_fds(s[0], fds, 254), EINVAL);
    CHECK_EQ(send_fds(s[0], fds, 253), 1);
    CHECK_EQ(receive_fds(s[1], got, sizeof(int) * 260, &flags, 0), 253);
    for (int i = 0; i < 253; i++)
        close(got[i]);
    fds[1] = 9999;
    CHECK_ERR(send_fds(s[0], fds, 2), EBADF);
    /* The last holder is the message itself. */
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(send_fds(s[0], &p[1], 1), 1);
    close(p[1]);
    CHECK_EQ(receive_fds(s[1], got, 64, &flags, 0), 1);
    CHECK_ERR(write(got[0], "x", 1), EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close(got[0]);
    close(s[0]);
    close(s[1]);
}

TEST(credentials) {
    char byte, control[CMSG_SPACE(sizeof(struct ucred))];
    int on = 1;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    CHECK_OK(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(write(s[0], "c", 1), 1);
        CHILD_EXIT();
    }
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK_EQ(recvmsg(s[1], &msg, 0), 1);
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    REQUIRE(c != NULL);
    CHECK_EQ(c->cmsg_type, SCM_CREDENTIALS);
    struct ucred creds;
    memcpy(&creds, CMSG_DATA(c), sizeof creds);
    CHECK_EQ(creds.pid, pid);
    CHECK_EQ(creds.uid, getuid());
    CHECK_CHILD_OK(pid);
    close(s[0]);
    close(s[1]);
}

TEST(receive_timeout) {
    struct timeval tv = {0, 40000};
    struct timespec a, b;
    char c;
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_OK(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_ERR(read(s[0], &c, 1), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 39);
    close(s[0]);
    close(s[1]);
}

TEST(several_messages_at_once) {
    struct mmsghdr out[3], in[5];
    struct iovec iov[5];
    char bytes[5][8];
    REQUIRE_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    memset(out, 0, sizeof out);
    memset(in, 0, sizeof in);
    for (int i = 0; i < 3; i++) {
        iov[i] = (struct iovec){(char *)"message", (size_t)i + 1};
        out[i].msg_hdr.msg_iov = &iov[i];
        out[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(sendmmsg(s[0], out, 3, 0), 3);
    CHECK_EQ(out[2].msg_len, 3);
    for (int i = 0; i < 5; i++) {
        iov[i] = (struct iovec){bytes[i], 8};
        in[i].msg_hdr.msg_iov = &iov[i];
        in[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(recvmmsg(s[1], in, 5, MSG_WAITFORONE, NULL), 3);
    CHECK_EQ(in[1].msg_len, 2);
    close(s[0]);
    close(s[1]);
}

TEST(errors) {
    char c;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), file = open("/proc/self/exe", O_RDONLY);
    CHECK_ERR(socket(AF_UNIX, 77, 0), EINVAL);
    CHECK_ERR(socket(AF_UNIX, SOCK_RDM, 0), ESOCKTNOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, SOCK_STREAM, 5), EPROTONOSUPPORT);
    CHECK_ERR(socket(AF_UNIX, 11, 0), EINVAL);
    CHECK_ERR(socket(12345, SOCK_STREAM, 0), EAFNOSUPPORT);
    CHECK_ERR(listen(file, 1), ENOTSOCK);
    CHECK_ERR(listen(9999, 1), EBADF);
    CHECK_ERR(listen(fd, 1), EINVAL);
    CHECK_ERR(accept(fd, NULL, NULL), EINVAL);
    CHECK_ERR(send(fd, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK_ERR(recv(fd, &c, 1, 0), EINVAL);
    CHECK_ERR(shutdown(fd, 9), EINVAL);
    CHECK_ERR(getsockopt(fd, SOL_SOCKET, 9999, &c, &(socklen_t){1}), ENOPROTOOPT);
    int type;
    socklen_t size = sizeof type;
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size));
    CHECK_EQ(type, SOCK_STREAM);
    struct sockaddr_storage bad = {.ss_family = AF_INET};
    CHECK_ERR(connect(fd, (struct sockaddr *)&bad, sizeof bad), EINVAL);
    CHECK_EQ(ready(fd, POLLIN | POLLOUT, 0), POLLOUT | POLLHUP);
    close(fd);
    close(file);
}

TEST_MAIN()
