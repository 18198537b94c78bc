/*
 * The controlling terminal as /proc/PID/stat shows it: tty_nr and tpgid (proc(5)), and the names
 * that /proc/PID/fd gives to both ends of a pseudo-terminal.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static void tty_fields(int *tty, int *foreground) {
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY);
    ssize_t length = read(fd, text, sizeof(text) - 1);

    close(fd);
    *tty = *foreground = -2;
    if (length > 0) {
        text[length] = 0;
        (void)sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %d %d", tty, foreground);
    }
}

TEST(a_session_s_terminal) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    char link[64] = "", path[64];
    pid_t pid;

    REQUIRE(master >= 0);
    REQUIRE_OK(grantpt(master));
    REQUIRE_OK(unlockpt(master));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", master);
    CHECK(readlink(path, link, sizeof(link) - 1) > 0);
    CHECK(strcmp(link, "/dev/ptmx") == 0 || strcmp(link, "/dev/pts/ptmx") == 0);
    pid = fork();
    if (pid == 0) {
        int before = guest_test_failures, slave, tty, foreground;
        struct stat st;

        CHECK_OK(setsid());
        tty_fields(&tty, &foreground);
        CHECK_EQ(tty, 0);
        CHECK_EQ(foreground, -1);
        slave = open(ptsname(master), O_RDWR);
        CHECK(slave >= 0);
        CHECK_OK(fstat(slave, &st));
        tty_fields(&tty, &foreground);
        CHECK_EQ((unsigned)tty >> 8 & 0xfff, major(st.st_rdev));
        CHECK_EQ((unsigned)tty & 0xff, minor(st.st_rdev));
        CHECK_EQ(foreground, getpid());
        snprintf(path, sizeof(path), "/proc/self/fd/%d", slave);
        memset(link, 0, sizeof(link));
        CHECK(readlink(path, link, sizeof(link) - 1) > 0);
        CHECK_STREQ(link, ptsname(master));
        _exit(guest_test_failures != before);
    }
    CHECK_CHILD_OK(pid);
    close(master);
}

TEST_MAIN()
