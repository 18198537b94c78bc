/* fcntl(2) record locks and OFD locks, flock(2): between processes. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct flock range(int type, off_t start, off_t len) {
    return (struct flock){
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int lock(int fd, int command, int type, off_t start, off_t len) {
    struct flock fl = range(type, start, len);
    return fcntl(fd, command, &fl);
}

static int open_file(void) {
    int fd = open("locked", O_CREAT | O_RDWR, 0600);
    REQUIRE(fd >= 0);
    return fd;
}

static void tell(int fd) {
    ssize_t n = write(fd, "x", 1);
    (void)n;
}
static void hear(int fd) {
    char c;
    ssize_t n = read(fd, &c, 1);
    (void)n;
}

TEST(a_process_does_not_hinder_itself) {
    int one = open_file(), two = open_file();
    CHECK_OK(lock(one, F_SETLK, F_WRLCK, 0, 10));
    CHECK_OK(lock(two, F_SETLK, F_WRLCK, 0, 10));
    struct flock fl = range(F_WRLCK, 0, 0);
    CHECK_OK(fcntl(one, F_GETLK, &fl));
    CHECK_EQ(fl.l_type, F_UNLCK);
    CHECK_ERR(lock(one, F_SETLK, 99, 0, 1), EINVAL);
    CHECK_ERR(lock(one, F_SETLK, F_RDLCK, -5, 1), EINVAL);
    CHECK_ERR(lock(99, F_SETLK, F_RDLCK, 0, 1), EBADF);
    int reader = open("locked", O_RDONLY);
    CHECK_ERR(lock(reader, F_SETLK, F_WRLCK, 0, 1), EBADF);
    close(reader);
    close(one);
    close(two);
}

TEST(another_process_sees_the_lock) {
    int fd = open_file();
    pid_t parent = getpid();
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 10, 20));
    CHECK_OK(lock(fd, F_SETLK, F_RDLCK, 100, 0));
    pid_t child = fork();
    if (child == 0) {
        /* Not inherited. */
        struct flock fl = range(F_RDLCK, 0, 50);
        CHECK_OK(fcntl(fd, F_GETLK, &fl));
        CHECK_EQ(fl.l_type, F_WRLCK);
        CHECK_EQ(fl.l_pid, parent);
        CHECK_EQ(fl.l_start, 10);
        CHECK_EQ(fl.l_len, 20);
        CHECK_EQ(lock(fd, F_SETLK, F_RDLCK, 29, 1), -1);
        CHECK(errno == EAGAIN || errno == EACCES);
        CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 30, 70));
        CHECK_OK(lock(fd, F_SETLK, F_RDLCK, 200, 1));
        CHECK_EQ(lock(fd, F_SETLK, F_WRLCK, 200, 1), -1);
        fl = range(F_WRLCK, 200, 1);
        CHECK_OK(fcntl(fd, F_GETLK, &fl));
        CHECK_EQ(fl.l_start, 100);
        CHECK_EQ(fl.l_len, 0);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 30, 70)); /* the child's went with it */
    close(fd);
}

/* F_GETLK tells the first that is in the way, whatever order they were taken in. */
TEST(the_first_lock_is_told) {
    int fd = open_file();
    CHECK_OK(lock(fd, F_SETLK, F_RDLCK, 40, 5));
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 10, 5));
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 60, 5));
    CHECK_OK(lock(fd, F_SETLK, F_RDLCK, 8, 4));
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 42, 1));
    pid_t child = fork();
    if (child == 0) {
        static const struct {
            short type;
            int start, len;
        } want[] = {{F_RDLCK, 8, 4},  {F_WRLCK, 12, 3}, {F_RDLCK, 40, 2},
                    {F_WRLCK, 42, 1}, {F_RDLCK, 43, 2}, {F_WRLCK, 60, 5}};
        int from = 0;
        for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
            struct flock fl = range(F_WRLCK, from, 0);
            CHECK_OK(fcntl(fd, F_GETLK, &fl));
            CHECK_EQ(fl.l_type, want[i].type);
            CHECK_EQ(fl.l_start, want[i].start);
            CHECK_EQ(fl.l_len, want[i].len);
            from = want[i].start + want[i].len;
        }
        struct flock fl = range(F_WRLCK, from, 0);
        CHECK_OK(fcntl(fd, F_GETLK, &fl));
        CHECK_EQ(fl.l_type, F_UNLCK);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    close(fd);
}

TEST(any_close_lets_go) {
    int fd = open_file(), other = open_file();
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    close(other);
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    close(fd);
}

TEST(waiting) {
    int fd = open_file(), ready[2];
    REQUIRE_OK(pipe(ready));
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t child = fork();
    if (child == 0) {
        tell(ready[1]);
        CHECK_OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1));
        char c = 0;
        CHECK_EQ(pread(fd, &c, 1, 0), 1);
        CHECK_EQ(c, 'w'); /* written before the parent let go */
        CHILD_EXIT();
    }
    hear(ready[0]);
    CHECK_EQ(pwrite(fd, "w", 1, 0), 1);
    CHECK_OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
    CHECK_CHILD_OK(child);
    close(ready[0]);
    close(ready[1]);
    close(fd);
}

TEST(deadlock) {
    int fd = open_file(), ready[2];
    REQUIRE_OK(pipe(ready));
    CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
        tell(ready[1]);
        int r = lock(fd, F_SETLKW, F_WRLCK, 0, 1); /* the parent's */
        _exit(r == 0 ? 0 : errno == EDEADLK ? 2 : 3);
    }
    hear(ready[0]);
    /* Whoever comes second closes the circle: exactly one of the two is told. */
    int mine = lock(fd, F_SETLKW, F_WRLCK, 1, 1), error = errno, status;
    CHECK(mine == 0 || error == EDEADLK);
    CHECK_OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), mine == 0 ? 2 : 0);
    close(ready[0]);
    close(ready[1]);
    close(fd);
}

TEST(ofd_locks) {
    int one = open_file(), two = open_file();
    CHECK_OK(lock(one, F_OFD_SETLK, F_WRLCK, 0, 0));
    CHECK_ERR(lock(two, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    struct flock fl = range(F_RDLCK, 5, 1);
    CHECK_OK(fcntl(two, F_OFD_GETLK, &fl));
    CHECK_EQ(fl.l_type, F_WRLCK);
    CHECK_EQ(fl.l_pid, -1);
    fl.l_pid = 1;
    CHECK_ERR(fcntl(two, F_OFD_SETLK, &fl), EINVAL);
    /* A duplicate keeps it, the last descriptor lets go. */
    int copy = dup(one);
    close(one);
    CHECK_ERR(lock(two, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    close(copy);
    CHECK_OK(lock(two, F_OFD_SETLK, F_RDLCK, 5, 1));
    close(two);
}

TEST(whole_file_locks) {
    int one = open_file(), two = open_file(), ready[2];
    REQUIRE_OK(pipe(ready));
    CHECK_OK(flock(one, LOCK_SH));
    CHECK_OK(flock(two, LOCK_SH | LOCK_NB));
    CHECK_ERR(flock(two, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_OK(flock(two, LOCK_UN));
    CHECK_OK(flock(one, LOCK_EX));
    CHECK_ERR(flock(two, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK_ERR(flock(one, 77), EINVAL);
    CHECK_ERR(flock(99, LOCK_SH), EBADF);
    /* A forked child shares the open file, so the lock too. */
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(flock(one, LOCK_EX | LOCK_NB));
        CHECK_ERR(flock(two, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        tell(ready[1]);
        CHECK_OK(flock(two, LOCK_EX)); /* waits for the parent */
        CHILD_EXIT();
    }
    hear(ready[0]);
    CHECK_OK(flock(one, LOCK_UN));
    CHECK_CHILD_OK(child);
    close(one);
    close(two);
}

TEST(a_counter_under_a_lock) {
    enum { CHILDREN = 4, ROUNDS = 200 };
    int fd = open_file();
    int zero = 0, value = 0;
    CHECK_EQ(pwrite(fd, &zero, sizeof zero, 4096), sizeof zero);
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            int own = open_file();
            for (int n = 0; n < ROUNDS; n++) {
                CHECK_OK(lock(own, F_SETLKW, F_WRLCK, 4096, sizeof value));
                CHECK_EQ(pread(own, &value, sizeof value, 4096), sizeof value);
                value++;
                CHECK_EQ(pwrite(own, &value, sizeof value, 4096), sizeof value);
                CHECK_OK(lock(own, F_SETLK, F_UNLCK, 4096, sizeof value));
            }
            CHILD_EXIT();
        }
    }
    for (int i = 0; i < CHILDREN; i++)
        CHECK_CHILD_OK(children[i]);
    CHECK_EQ(pread(fd, &value, sizeof value, 4096), sizeof value);
    CHECK_EQ(value, CHILDREN * ROUNDS);
    close(fd);
    unlink("locked");
}

TEST_MAIN()
