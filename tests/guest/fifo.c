/* fifo(7): who waits for whom in open(2), end of file, ENXIO. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[64];

static void make(void) {
    snprintf(path, sizeof path, "/tmp/fifo-test-%d", (int)getpid());
    unlink(path);
    REQUIRE_OK(mkfifo(path, 0600));
}

TEST(nonblocking_opens) {
    make();
    CHECK_ERR(open(path, O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    REQUIRE_OK(reader);
    char c;
    CHECK_EQ(read(reader, &c, 1), 0);
    struct pollfd p = {.fd = reader, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0); /* no hang-up before a first writer */
    int writer = open(path, O_WRONLY | O_NONBLOCK);
    REQUIRE_OK(writer);
    CHECK_ERR(read(reader, &c, 1), EAGAIN);
    CHECK_EQ(write(writer, "a", 1), 1);
    close(writer);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(p.revents, POLLIN | POLLHUP);
    CHECK_EQ(read(reader, &c, 1), 1);
    CHECK_EQ(read(reader, &c, 1), 0);
    close(reader);
    unlink(path);
}

TEST(read_write_open_never_waits) {
    make();
    int both = open(path, O_RDWR);
    REQUIRE_OK(both);
    char c;
    CHECK_EQ(write(both, "x", 1), 1);
    CHECK_EQ(read(both, &c, 1), 1);
    close(both);
    unlink(path);
}

TEST(blocking_opens_meet) {
    make();
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int writer = open(path, O_WRONLY);
            CHECK_OK(writer);
            CHECK_EQ(write(writer, "hello", 5), 5);
            CHILD_EXIT();
        }
        int reader = open(path, O_RDONLY);
        CHECK_OK(reader);
        char buffer[16];
        CHECK_EQ(read(reader, buffer, 5), 5);
        CHECK_EQ(read(reader, buffer, 5), 0);
        close(reader);
        CHECK_CHILD_OK(pid);
    }
    unlink(path);
}

TEST(bytes_go_with_the_last_close) {
    make();
    int both = open(path, O_RDWR | O_NONBLOCK);
    REQUIRE_OK(both);
    CHECK_EQ(write(both, "lost", 4), 4);
    close(both);
    both = open(path, O_RDWR | O_NONBLOCK);
    char c;
    CHECK_ERR(read(both, &c, 1), EAGAIN);
    close(both);
    unlink(path);
}

TEST_MAIN()
