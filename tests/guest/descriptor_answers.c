/*
 * timeout: 120
 *
 * What a program hears of its descriptors when it asks often: F_GETFD, F_GETFL, "is it a
 * terminal?", and close(2), from one place in the program again and again; and that a close is seen
 * at once by whoever can tell: other threads, other processes, locks, inotify, umount. What makes
 * closes of a file visible for good is done to a file of the test's own.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <termios.h>

#define ROUNDS     200
#define MEETINGS   60
#define LARGE_FILE 0100000 /* what O_LARGEFILE is to the kernel */

static int open_file(const char *name) {
    int fd = open(name, O_CREAT | O_RDWR, 0600);

    if (fd >= 0) {
        close(fd);
        fd = open(name, O_RDONLY);
    }
    return fd;
}

TEST(flags) {
    for (int i = 0; i < ROUNDS; i++) {
        int close_on_exec = i % 2 ? O_CLOEXEC : 0;
        int fd = open(".", O_RDONLY | O_DIRECTORY | O_NONBLOCK | close_on_exec), other;

        REQUIRE_OK(fd);
        CHECK_EQ(fcntl(fd, F_GETFD), close_on_exec ? FD_CLOEXEC : 0);
        CHECK_EQ(fcntl(fd, F_GETFL) & ~LARGE_FILE, O_DIRECTORY | O_NONBLOCK);
        CHECK_OK(fcntl(fd, F_SETFD, close_on_exec ? FD_CLOEXEC : 0));
        CHECK_EQ(fcntl(fd, F_GETFD), close_on_exec ? FD_CLOEXEC : 0);
        CHECK_OK(fcntl(fd, F_SETFD, close_on_exec ? 0 : FD_CLOEXEC));
        CHECK_EQ(fcntl(fd, F_GETFD), close_on_exec ? 0 : FD_CLOEXEC);
        CHECK_OK(ioctl(fd, FIONCLEX));
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        CHECK_EQ(fcntl(other, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        /* Both are of one open file. */
        CHECK_OK(fcntl(other, F_SETFL, 0));
        CHECK_EQ(fcntl(fd, F_GETFL) & ~LARGE_FILE, O_DIRECTORY);
        CHECK_OK(close(fd));
        CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
        CHECK_ERR(fcntl(fd, F_GETFL), EBADF);
        CHECK_EQ(fcntl(other, F_GETFL) & ~LARGE_FILE, O_DIRECTORY);
        CHECK_OK(close(other));
        CHECK_ERR(close(other), EBADF);
    }
}

TEST(terminals) {
    int file = open_file("f"), path = open(".", O_PATH), writes = open("f", O_WRONLY | O_APPEND);
    struct termios settings;
    struct winsize size;
    pid_t group;

    REQUIRE(file >= 0 && path >= 0 && writes >= 0);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_ERR(ioctl(file, TCGETS, &settings), ENOTTY);
        CHECK_ERR(ioctl(file, TIOCGWINSZ, &size), ENOTTY);
        CHECK_ERR(ioctl(writes, TIOCGPGRP, &group), ENOTTY);
        CHECK_ERR(ioctl(file, TIOCGWINSZ, (void *)1), ENOTTY);
        CHECK_ERR(ioctl(path, TCGETS, &settings), EBADF);
        CHECK_EQ(fcntl(path, F_GETFL) & ~LARGE_FILE, O_PATH);
        CHECK_EQ(fcntl(writes, F_GETFL) & ~LARGE_FILE, O_WRONLY | O_APPEND);
        CHECK_ERR(ioctl(-1, TCGETS, &settings), EBADF);
        CHECK_ERR(ioctl(1000000, TCGETS, &settings), EBADF);
        CHECK_EQ(isatty(file), 0);
    }
    CHECK_OK(close(file));
    CHECK_OK(close(path));
    CHECK_OK(close(writes));
}

TEST(closed_at_once) {
    int numbers[12];
    char byte;

    for (int i = 0; i < ROUNDS; i++) {
        int fds[12], first = open("f", O_RDONLY);
        struct stat stat;

        REQUIRE_OK(first);
        CHECK_EQ(read(first, &byte, 1), 0);
        CHECK_EQ(read(first, &byte, 1), 0);
        CHECK_EQ(lseek(first, 0, SEEK_CUR), 0);
        CHECK_EQ(lseek(first, 0, SEEK_CUR), 0);
        CHECK_OK(close(first));
        CHECK_ERR(lseek(first, 0, SEEK_CUR), EBADF);
        CHECK_ERR(read(first, &byte, 1), EBADF);
        CHECK_ERR(fstat(first, &stat), EBADF);
        CHECK_ERR(ioctl(first, TCGETS, &byte), EBADF);
        CHECK_ERR(close(first), EBADF);
        /* Many in a row, then the numbers come again. */
        for (int k = 0; k < 12; k++) {
            fds[k] = open(k % 2 ? "f" : ".", O_RDONLY);
            numbers[k] = i ? numbers[k] : fds[k];
            CHECK_EQ(fds[k], numbers[k]);
        }
        for (int k = 0; k < 12; k++) {
            CHECK_OK(close(fds[(k * 5 + i) % 12]));
        }
        for (int k = 0; k < 12; k++) {
            CHECK_ERR(close(fds[k]), EBADF);
        }
        CHECK_EQ(dup(1), first);
        CHECK_OK(close(first));
    }
}

TEST(dup_onto_closed) {
    int other = open("/", O_RDONLY);

    REQUIRE_OK(other);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = open("f", O_RDONLY);

        CHECK_OK(close(fd));
        CHECK_EQ(dup2(other, fd), fd);
        CHECK_OK(fcntl(fd, F_GETFD));
        CHECK_OK(close(fd));
        CHECK_ERR(dup2(fd, 100), EBADF);
        CHECK_ERR(dup(fd), EBADF);
    }
    CHECK_OK(close(other));
}

/* ---- another process looks while this one makes no call ---- */

struct meeting {
    _Atomic int stage;
    _Atomic int fd;
};

static struct meeting *meeting_new(void) {
    struct meeting *meeting =
        mmap(NULL, sizeof(*meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return meeting == MAP_FAILED ? NULL : meeting;
}

static void await(struct meeting *meeting, int stage) {
    while (meeting->stage < stage) {
    }
}

/* Round after round: this process opens, may prepare, closes, and computes until the other one,
 * which calls look(fd), has seen what there is. */
static void closes_seen(const char *name, void (*prepare)(int fd), void (*look)(int fd)) {
    struct meeting *meeting = meeting_new();
    pid_t pid;

    REQUIRE(meeting != NULL);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        for (int i = 0; i < MEETINGS; i++) {
            while (meeting->stage < 2 * i + 1) {
                sched_yield();
            }
            look(meeting->fd);
            meeting->stage = 2 * i + 2;
        }
        CHILD_EXIT();
    }
    for (int i = 0; i < MEETINGS; i++) {
        int fd = open(name, O_RDONLY);

        CHECK_OK(fd);
        if (prepare) {
            prepare(fd);
        }
        meeting->fd = fd;
        CHECK_OK(close(fd));
        meeting->stage = 2 * i + 1;
        await(meeting, 2 * i + 2);
    }
    CHECK_CHILD_OK(pid);
    munmap(meeting, sizeof(*meeting));
}

static void look_in_proc(int fd) {
    char name[64];
    struct stat stat;

    snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getppid(), fd);
    CHECK_ERR(lstat(name, &stat), ENOENT);
}

TEST(proc_shows_it_closed) {
    CHECK_OK(close(open_file("proc")));
    closes_seen("proc", NULL, look_in_proc);
}

/* POSIX locks go with any descriptor of the file. */
static int keeps;

static void lock_by_another(int fd) {
    struct flock lock = {.l_type = F_WRLCK};

    (void)fd;
    CHECK_OK(fcntl(keeps, F_SETLK, &lock));
}

static void is_unlocked(int fd) {
    struct flock lock = {.l_type = F_WRLCK};

    (void)fd;
    CHECK_OK(fcntl(keeps, F_GETLK, &lock));
    CHECK_EQ(lock.l_type, F_UNLCK);
}

TEST(record_locks_go) {
    keeps = open("record", O_CREAT | O_RDWR, 0600);
    REQUIRE_OK(keeps);
    closes_seen("record", lock_by_another, is_unlocked);
    CHECK_OK(close(keeps));
}

static void take_flock(int fd) {
    CHECK_OK(flock(fd, LOCK_EX));
}

static void can_flock(int fd) {
    int own = open("g", O_RDONLY);

    (void)fd;
    CHECK_OK(flock(own, LOCK_EX | LOCK_NB));
    CHECK_OK(close(own));
}

TEST(flock_goes) {
    CHECK_OK(close(open_file("g")));
    closes_seen("g", take_flock, can_flock);
}

/* By a descriptor of the same open file in another process, after it was opened and shown. */
TEST(flock_by_another_goes) {
    CHECK_OK(close(open_file("h")));
    for (int i = 0; i < 20; i++) {
        int fd = open("h", O_RDONLY), own;
        pid_t pid = fork();

        REQUIRE_OK(pid);
        if (pid == 0) {
            CHECK_OK(flock(fd, LOCK_EX));
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(pid);
        own = open("h", O_RDONLY);
        CHECK_ERR(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK);
        CHECK_OK(close(fd));
        CHECK_OK(flock(own, LOCK_EX | LOCK_NB));
        CHECK_OK(close(own));
        CHECK_OK(unlink("h"));
        CHECK_OK(close(open_file("h")));
    }
}

static int notify;

static void hears_of_it(int fd) {
    struct inotify_event event;
    ssize_t size = read(notify, &event, sizeof(event));

    (void)fd;
    CHECK_EQ(size, sizeof(event));
    CHECK_EQ(event.mask, IN_CLOSE_NOWRITE);
    CHECK_EQ(read(notify, &event, sizeof(event)), -1);
}

TEST(inotify_hears_of_it) {
    notify = inotify_init1(IN_NONBLOCK);
    REQUIRE_OK(notify);
    CHECK_OK(close(open_file("watched")));
    CHECK_OK(inotify_add_watch(notify, "watched", IN_CLOSE));
    closes_seen("watched", NULL, hears_of_it);
    CHECK_OK(close(notify));
}

/* The watch comes when the file is open already. */
TEST(inotify_late) {
    CHECK_OK(close(open_file("late")));
    for (int i = 0; i < 50; i++) {
        int fd = open("late", O_RDONLY);

        notify = inotify_init1(IN_NONBLOCK);
        REQUIRE_OK(notify);
        CHECK_OK(inotify_add_watch(notify, "late", IN_CLOSE));
        CHECK_OK(close(fd));
        hears_of_it(fd);
        CHECK_OK(close(notify));
    }
}

static void frees_its_blocks(int fd) {
    struct statfs stat;

    (void)fd;
    CHECK_OK(statfs("m", &stat));
    CHECK_EQ(stat.f_bfree, stat.f_blocks);
}

static void unlink_full(int fd) {
    char bytes[4096] = {1};
    int out = open("m/f", O_WRONLY);

    (void)fd;
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(write(out, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    }
    CHECK_OK(close(out));
    CHECK_OK(unlink("m/f"));
}

static void umount_and_mount(int fd) {
    (void)fd;
    CHECK_OK(umount("m"));
    CHECK_OK(mount("none", "m", "tmpfs", 0, "size=1m"));
    CHECK_OK(close(open("m/f", O_CREAT | O_WRONLY, 0600)));
}

/* Runs `use` in a child with a small file system of its own at m. */
static void with_mount(void (*use)(void)) {
    int status = 0;
    pid_t pid;

    CHECK(mkdir("m", 0700) == 0 || errno == EEXIST);
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
            mount("none", "m", "tmpfs", 0, "size=1m")) {
            _exit(77);
        }
        use();
        CHECK_OK(umount("m"));
        CHILD_EXIT();
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        SKIP("no mounts of its own");
    }
    CHECK_EQ(status, 0);
}

static void mount_again(void) {
    closes_seen("m", NULL, umount_and_mount);
}

TEST(mount_is_not_busy) {
    with_mount(mount_again);
}

static void remake(int fd) {
    frees_its_blocks(fd);
    CHECK_OK(close(open("m/f", O_CREAT | O_WRONLY, 0600)));
}

static void remove_and_fill(void) {
    CHECK_OK(close(open("m/f", O_CREAT | O_WRONLY, 0600)));
    closes_seen("m/f", unlink_full, remake);
}

TEST(removed_file_is_freed) {
    with_mount(remove_and_fill);
}

/* ---- who shares, and who does not ---- */

TEST(fork_has_its_own) {
    for (int i = 0; i < 40; i++) {
        int fd = open("f", O_RDONLY), gone = open("f", O_RDONLY);
        pid_t pid;

        CHECK_OK(close(gone));
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            for (int k = 0; k < 40; k++) {
                CHECK_EQ(fcntl(fd, F_GETFD), 0);
                CHECK_ERR(fcntl(gone, F_GETFD), EBADF);
            }
            CHECK_OK(close(fd));
            CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(pid);
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        CHECK_OK(close(fd));
    }
}

/* F_SETFL in another process shows here: one open file. */
TEST(status_flags_are_shared) {
    int fd = open("f", O_RDONLY);

    REQUIRE_OK(fd);
    for (int i = 0; i < 40; i++) {
        int flags = i % 2 ? 0 : O_NONBLOCK;
        pid_t pid;

        for (int k = 0; k < 20; k++) {
            CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK - flags);
            if (i == 0) {
                CHECK_OK(fcntl(fd, F_SETFL, 0));
                break;
            }
        }
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            CHECK_OK(fcntl(fd, F_SETFL, flags));
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(pid);
        for (int k = 0; k < 20; k++) {
            CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, flags);
        }
    }
    CHECK_OK(close(fd));
}

/* A process that shares the table, not the memory. */
static void share_table(void) {
    struct meeting *meeting = meeting_new();
    pid_t pid;

    CHECK(meeting != NULL);
    for (int k = 0; k < 40; k++) {
        int fd = open("f", O_RDONLY);

        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        CHECK_OK(close(fd));
    }
    pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    CHECK_OK(pid);
    if (pid == 0) {
        for (int i = 0; i < ROUNDS; i++) {
            while (meeting->stage < 2 * i + 1) {
                sched_yield();
            }
            CHECK_ERR(fcntl(meeting->fd, F_GETFD), EBADF);
            meeting->fd = open("f", O_RDONLY);
            CHECK_OK(meeting->fd);
            meeting->stage = 2 * i + 2;
        }
        CHILD_EXIT();
    }
    for (int i = 0; i < ROUNDS; i++) {
        int fd = open("f", O_RDONLY);

        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        CHECK_OK(close(fd));
        meeting->fd = fd;
        meeting->stage = 2 * i + 1;
        while (meeting->stage < 2 * i + 2) {
            sched_yield();
        }
        CHECK_EQ(meeting->fd, fd); /* the lowest again */
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
        CHECK_OK(close(fd));
    }
    CHECK_CHILD_OK(pid);
    munmap(meeting, sizeof(*meeting));
}

/* In a process of its own: a table that was shared stays special to some kernels. */
TEST(table_of_two_processes) {
    pid_t pid = fork();

    REQUIRE_OK(pid);
    if (pid == 0) {
        share_table();
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

static void *with_own_table(void *arg) {
    int fd = *(int *)arg;

    CHECK_OK(unshare(CLONE_FILES));
    for (int k = 0; k < 40; k++) {
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
    }
    CHECK_OK(close(fd));
    CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
    return NULL;
}

TEST(thread_with_its_own_table) {
    int fd = open("f", O_RDONLY);
    pthread_t thread;

    for (int k = 0; k < 40; k++) {
        CHECK_EQ(fcntl(fd, F_GETFD), 0);
    }
    REQUIRE_EQ(pthread_create(&thread, NULL, with_own_table, &fd), 0);
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(fcntl(fd, F_GETFD), 0);
    CHECK_OK(close(fd));
}

/* ---- races ---- */

#define RACES 2000

static struct race { _Atomic int fd, round, ready, closed, bad; } race;

/* Several threads close the same number: one of them has. */
static void *close_the_same(void *arg) {
    (void)arg;
    for (int round = 1; round <= RACES; round++) {
        for (int spins = 0; race.round < round; spins++) {
            if (spins > 1000) {
                sched_yield(); /* fewer cores than threads */
            }
        }
        if (close(race.fd) == 0) {
            race.closed++;
        } else if (errno != EBADF) {
            race.bad++;
        }
        if (fcntl(race.fd, F_GETFD) != -1 || errno != EBADF) {
            race.bad++;
        }
        race.ready++;
    }
    return NULL;
}

TEST(one_of_two_closes) {
    pthread_t threads[2];

    race = (struct race){0};
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, close_the_same, NULL), 0);
    }
    for (int round = 1; round <= RACES; round++) {
        race.fd = round % 3 ? open("f", O_RDONLY) : dup(1);
        CHECK_OK(race.fd);
        race.round = round;
        while (race.ready < 2 * round) {
            sched_yield();
        }
        CHECK_EQ(race.closed, round);
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(race.bad, 0);
}

/* Threads that open and close, each its own, while others have descriptors made anew, looked at and
 * replaced: none is lost and none closed twice. */
static _Atomic int stop;
static const char *raced = "f";

static void *open_and_close(void *arg) {
    long bad = 0;

    (void)arg;
    while (!stop) {
        int fd = open(raced, O_RDONLY), other = open(".", O_RDONLY | O_CLOEXEC);

        bad += fd < 0 || other < 0;
        bad += fcntl(fd, F_GETFD) != 0;
        bad += fcntl(other, F_GETFD) != FD_CLOEXEC;
        bad += close(fd) != 0;
        bad += (fcntl(other, F_GETFL) & O_ACCMODE) != O_RDONLY;
        bad += close(other) != 0;
    }
    return (void *)bad;
}

TEST(threads_open_and_close) {
    pthread_t threads[3];
    bool open_before[300];
    int pipes[2];

    for (int fd = 0; fd < 300; fd++) {
        open_before[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    raced = "f";
    stop = 0;
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    }
    for (int i = 0; i < 300; i++) {
        pid_t pid;
        void *bad;

        CHECK_OK(pipe(pipes));
        CHECK_EQ(dup2(pipes[0], 200), 200);
        CHECK_OK(fcntl(200, F_GETFD));
        CHECK_EQ(dup3(1, 200, O_CLOEXEC), 200);
        CHECK_EQ(fcntl(200, F_GETFD), FD_CLOEXEC);
        CHECK_OK(close(200));
        CHECK_OK(close(pipes[0]));
        CHECK_OK(close(pipes[1]));
        if (i % 50 == 0) {
            pid = fork();
            REQUIRE_OK(pid);
            if (pid == 0) {
                CHILD_EXIT();
            }
            CHECK_CHILD_OK(pid);
        }
        if (i == 299) {
            stop = 1;
            for (int k = 0; k < 3; k++) {
                REQUIRE_EQ(pthread_join(threads[k], &bad), 0);
                CHECK_EQ((long)bad, 0);
            }
        }
    }
    for (int fd = 0; fd < 300; fd++) {
        CHECK_EQ(fcntl(fd, F_GETFD) >= 0, open_before[fd]);
    }
}

/* Locks and watches that come and go amid closes. */
TEST(closability_changes) {
    pthread_t thread;
    void *bad;

    raced = "raced";
    CHECK_OK(close(open_file(raced)));
    stop = 0;
    REQUIRE_EQ(pthread_create(&thread, NULL, open_and_close, NULL), 0);
    for (int i = 0; i < 200; i++) {
        int fd = open(raced, O_RDONLY);

        notify = inotify_init1(IN_NONBLOCK);
        CHECK_OK(inotify_add_watch(notify, raced, IN_MODIFY));
        CHECK_OK(close(notify));
        CHECK_OK(flock(fd, LOCK_SH));
        CHECK_OK(close(fd));
        CHECK_OK(rename(raced, "raced2"));
        CHECK_OK(link("raced2", raced));
        CHECK_OK(unlink("raced2"));
    }
    stop = 1;
    REQUIRE_EQ(pthread_join(thread, &bad), 0);
    (void)bad; /* the name is away at moments */
}

/* A program that replaces itself so many times, then says so and waits for the end of `hear`. */
static int replace_itself(int times, int tell, int hear) {
    char text[3][16];

    if (times == 0) {
        char byte;

        return write(tell, "x", 1) != 1 || read(hear, &byte, 1) != 0;
    }
    snprintf(text[0], sizeof(text[0]), "%d", times - 1);
    snprintf(text[1], sizeof(text[1]), "%d", tell);
    snprintf(text[2], sizeof(text[2]), "%d", hear);
    execl("/proc/self/exe", "again", "again", text[0], text[1], text[2], NULL);
    return 1;
}

/* Its record locks stay, whoever has all tables looked at meanwhile. */
TEST(exec_keeps_locks) {
    struct flock lock = {.l_type = F_WRLCK};
    int tell[2], hear[2], fd = open("l", O_CREAT | O_RDWR, 0600);
    char name[64], text[PATH_MAX];
    pid_t pid;

    REQUIRE_OK(fd);
    REQUIRE_OK(pipe(tell));
    REQUIRE_OK(pipe(hear));
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        CHECK_OK(close(hear[1]));
        CHECK_OK(fcntl(fd, F_SETLK, &lock));
        _exit(replace_itself(40, tell[1], hear[0]));
    }
    CHECK_OK(close(tell[1]));
    snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)pid, fd);
    for (struct pollfd end = {.fd = tell[0], .events = POLLIN}; poll(&end, 1, 0) == 0;) {
        int other = open("f", O_RDONLY);

        CHECK_OK(fcntl(other, F_SETFL, O_NONBLOCK));
        CHECK_OK(close(other));
        CHECK_OK(readlink(name, text, sizeof(text)));
    }
    CHECK_OK(fcntl(fd, F_GETLK, &lock));
    CHECK_EQ(lock.l_type, F_WRLCK);
    CHECK_EQ(lock.l_pid, pid);
    CHECK_OK(close(hear[1]));
    CHECK_CHILD_OK(pid);
    close(fd);
    close(tell[0]);
    close(hear[0]);
}

int main(int argc, char **argv) {
    if (argc == 5 && strcmp(argv[1], "again") == 0) {
        return replace_itself(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    }
    close(open_file("f"));
    return guest_test_main(argc, argv);
}
