/* Descriptors: dup(2), fcntl(2), close_range(2), ioctl(2) on any file, memfd seals, /proc/self/fd.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TEST(dup_family) {
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    int a = dup(fd);
    CHECK(a > fd);
    CHECK_EQ(fcntl(a, F_GETFD), 0);
    CHECK_EQ(dup2(fd, fd), fd);
    CHECK_EQ(dup2(fd, 50), 50);
    CHECK_ERR(dup3(fd, fd, 0), EINVAL);
    CHECK_ERR(dup3(fd, 51, 1), EINVAL);
    CHECK_EQ(dup3(fd, 51, O_CLOEXEC), 51);
    CHECK_EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
    CHECK_ERR(dup(999), EBADF);
    CHECK_ERR(dup2(999, 999), EBADF);
    CHECK_ERR(dup2(fd, -1), EBADF);
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    CHECK_ERR(dup2(fd, (int)limit.rlim_cur), EBADF);
    CHECK_EQ(fcntl(fd, F_DUPFD, 60), 60);
    CHECK_EQ(fcntl(fd, F_DUPFD, 60), 61);
    CHECK_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 60), 62);
    CHECK_EQ(fcntl(62, F_GETFD), FD_CLOEXEC);
    CHECK_ERR(fcntl(fd, F_DUPFD, -1), EINVAL);
    CHECK_ERR(fcntl(fd, F_DUPFD, limit.rlim_cur), EINVAL);
    CHECK_OK(fcntl(60, F_SETFD, FD_CLOEXEC));
    CHECK_EQ(fcntl(61, F_GETFD), 0);
    CHECK_OK(close(60));
    CHECK_ERR(close(60), EBADF);
    CHECK_ERR(fcntl(60, F_GETFD), EBADF);
}

TEST(too_many) {
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){20, 20}));
        int fd, last = -1;
        while ((fd = dup(0)) >= 0)
            last = fd;
        CHECK_EQ(errno, EMFILE);
        CHECK_EQ(last, 19);
        CHECK_ERR(open("/", O_RDONLY), EMFILE);
        int p[2];
        CHECK_ERR(pipe(p), EMFILE);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(close_ranges) {
    for (int i = 100; i < 120; i++)
        CHECK_EQ(dup2(0, i), i);
    CHECK_OK(close_range(105, 109, 0));
    CHECK_ERR(fcntl(105, F_GETFD), EBADF);
    CHECK_EQ(fcntl(104, F_GETFD), 0);
    CHECK_OK(close_range(110, 112, CLOSE_RANGE_CLOEXEC));
    CHECK_EQ(fcntl(110, F_GETFD), FD_CLOEXEC);
    CHECK_OK(close_range(100, ~0U, 0));
    CHECK_ERR(fcntl(119, F_GETFD), EBADF);
    CHECK_ERR(close_range(5, 4, 0), EINVAL);
    CHECK_ERR(close_range(100, 200, 64), EINVAL);
}

TEST(flags) {
    int fd = open("flags", O_CREAT | O_RDWR | O_APPEND, 0600);
    CHECK_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDWR | O_APPEND);
    CHECK_OK(fcntl(fd, F_SETFL, O_NONBLOCK | O_WRONLY | O_CREAT));
    CHECK_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDWR | O_NONBLOCK);
    int on = 0;
    CHECK_OK(ioctl(fd, FIONBIO, &on));
    CHECK_EQ(fcntl(fd, F_GETFL) & ~0100000, O_RDWR);
    CHECK_OK(ioctl(fd, FIOCLEX));
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_OK(ioctl(fd, FIONCLEX));
    CHECK_EQ(fcntl(fd, F_GETFD), 0);
    CHECK_EQ(write(fd, "12345", 5), 5);
    lseek(fd, 2, SEEK_SET);
    CHECK_OK(ioctl(fd, FIONREAD, &on));
    CHECK_EQ(on, 3);
    CHECK_ERR(ioctl(fd, TIOCGWINSZ, &on), ENOTTY);
    CHECK_ERR(ioctl(fd, FIONBIO, (void *)8), EFAULT);
    CHECK_ERR(fcntl(fd, 7777), EINVAL);
    int path = open("flags", O_PATH);
    CHECK_EQ(fcntl(path, F_GETFL) & O_PATH, O_PATH);
    CHECK_ERR(fcntl(path, F_SETFL, 0), EBADF);
    CHECK_ERR(ioctl(path, FIONCLEX), EBADF);
    CHECK_EQ(fcntl(path, F_GETFD), 0);
    CHECK_ERR(flock(path, LOCK_SH), EBADF);
    int p[2];
    CHECK_OK(pipe(p));
    CHECK_EQ(fcntl(p[0], F_GETFL), O_RDONLY);
    CHECK_EQ(fcntl(p[1], F_GETFL), O_WRONLY);
    CHECK_EQ(write(p[1], "abc", 3), 3);
    CHECK_OK(ioctl(p[0], FIONREAD, &on));
    CHECK_EQ(on, 3);
    CHECK(fcntl(p[0], F_GETPIPE_SZ) >= 4096);
    CHECK_EQ(fcntl(p[0], F_SETPIPE_SZ, 8192), 8192);
    CHECK_ERR(fcntl(fd, F_GETPIPE_SZ), EBADF);
}

TEST(owner) {
    int p[2];
    CHECK_OK(pipe(p));
    CHECK_EQ(fcntl(p[0], F_GETOWN), 0);
    CHECK_OK(fcntl(p[0], F_SETOWN, getpid()));
    CHECK_EQ(fcntl(p[0], F_GETOWN), getpid());
    CHECK_OK(fcntl(p[0], F_SETSIG, 10));
    CHECK_EQ(fcntl(p[0], F_GETSIG), 10);
    CHECK_ERR(fcntl(p[0], F_SETSIG, 65), EINVAL);
    struct f_owner_ex owner = {F_OWNER_PID, getpid()};
    CHECK_OK(fcntl(p[0], F_SETOWN_EX, &owner));
    memset(&owner, 0, sizeof owner);
    CHECK_OK(fcntl(p[0], F_GETOWN_EX, &owner));
    CHECK_EQ(owner.type, F_OWNER_PID);
    CHECK_EQ(owner.pid, getpid());
}

TEST(flock_between_opens) {
    int a = open("lock", O_CREAT | O_RDWR, 0600), b = open("lock", O_RDWR), c = dup(a);
    CHECK_OK(flock(a, LOCK_EX));
    CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_OK(flock(c, LOCK_EX | LOCK_NB));
    close(a);
    CHECK_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    close(c);
    CHECK_OK(flock(b, LOCK_SH | LOCK_NB));
    CHECK_ERR(flock(b, 77), EINVAL);
}

TEST(reopening) {
    char name[64], b[8] = {0};
    int fd = open("re", O_CREAT | O_RDWR, 0600);
    CHECK_EQ(write(fd, "text", 4), 4);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = open(name, O_RDONLY);
    CHECK(again >= 0);
    CHECK_EQ(lseek(again, 0, SEEK_CUR), 0);
    CHECK_EQ(read(again, b, 8), 4);
    CHECK_OK(unlink("re"));
    int after = open(name, O_RDWR);
    CHECK(after >= 0);
    CHECK_EQ(write(after, "T", 1), 1);
    CHECK_EQ(pread(fd, b, 4, 0), 4);
    CHECK_EQ(b[0], 'T');
    char target[256] = {0};
    CHECK(readlink(name, target, sizeof target - 1) > 0);
    CHECK(strstr(target, "/re (deleted)") != NULL);
    int p[2];
    CHECK_OK(pipe(p));
    snprintf(name, sizeof name, "/dev/fd/%d", p[1]);
    int writer = open(name, O_WRONLY);
    CHECK(writer >= 0);
    CHECK_EQ(write(writer, "x", 1), 1);
    CHECK_EQ(read(p[0], b, 1), 1);
}

TEST_MAIN()
