/*
 * timeout: 60
 * run-args: --bind .:$TMPDIR
 *
 * Writes to regular files by descriptors that have been used long enough for a kernel to hand them
 * out: on a directory that others could change as well, and in memory. The position, the end of the
 * file, limits, locks, watches and times are what they are for a descriptor used once.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "guest_test.h"

#define RECORD 16

static const char *const places[] = {".", "/dev/shm"};
#define FOR_EACH_PLACE(place) for (size_t place = 0; place < 2; place++)

static char path[64];

/* An empty file in that place, open with these flags and hot; its name goes with clean_up(). */
static int hot_file(size_t place, int flags) {
    char bytes[RECORD] = {0};
    int fd;

    snprintf(path, sizeof(path), "%s/file_writes.%d", places[place], (int)getpid());
    fd = open(path, flags | O_CREAT | O_TRUNC, 0644);
    REQUIRE_OK(fd);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pwrite(fd, bytes, RECORD, 0), RECORD);
    }
    CHECK_OK(ftruncate(fd, 0));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void put_record(int fd, int number) {
    char record[RECORD + 1];

    snprintf(record, sizeof(record), "%015d\n", number);
    CHECK_EQ(write(fd, record, RECORD), RECORD);
}

static int record_at(int fd, int index) {
    char record[RECORD + 1] = "";

    return pread(fd, record, RECORD, (off_t)index * RECORD) == RECORD ? atoi(record) : -1;
}

static off_t size_of(int fd) {
    struct stat stat;

    return fstat(fd, &stat) == 0 ? stat.st_size : -1;
}

static void done(int fd) {
    CHECK_OK(close(fd));
    CHECK_OK(unlink(path));
}

TEST(position) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR), copy = dup(fd), writer = open(path, O_WRONLY);
        char bytes[RECORD] = {0};

        REQUIRE_OK(copy);
        REQUIRE_OK(writer);
        for (int i = 0; i < 40; i += 4) {
            put_record(fd, i);
            put_record(copy, i + 1);
            CHECK_EQ(pwrite(fd, bytes, RECORD, 100 * RECORD), RECORD);
            CHECK_EQ(write(copy, NULL, 0), 0);
            put_record(copy, i + 2);
            put_record(fd, i + 3);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), (i + 4) * RECORD);
            put_record(writer, 1000 + i / 4);
        }
        CHECK_EQ(size_of(fd), 101 * RECORD);
        for (int i = 0; i < 40; i++) {
            CHECK_EQ(record_at(fd, i), i < 10 ? 1000 + i : i);
        }
        CHECK_ERR(read(writer, bytes, 1), EBADF);
        CHECK_EQ(lseek(fd, 10 * RECORD, SEEK_SET), 10 * RECORD);
        CHECK_EQ(read(copy, bytes, RECORD), RECORD);
        CHECK_EQ(atoi(bytes), 10);
        CHECK_EQ(write(fd, "x", 1), 1);
        CHECK_EQ(lseek(copy, 0, SEEK_CUR), 11 * RECORD + 1);
        CHECK_OK(close(copy));
        CHECK_OK(close(writer));
        done(fd);
    }
}

TEST(position_over_fork_and_exec) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR), status = -1;
        char command[80];
        pid_t pid;

        for (int i = 0; i < 10; i++) {
            put_record(fd, i);
        }
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            for (int i = 10; i < 20; i++) {
                put_record(fd, i);
            }
            snprintf(command, sizeof(command), "echo 000000000000020 >&%d", fd);
            execl("/bin/sh", "sh", "-c", command, NULL);
            _exit(127);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
        put_record(fd, 21);
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 22 * RECORD);
        for (int i = 0; i < 22; i++) {
            CHECK_EQ(record_at(fd, i), i);
        }
        done(fd);
    }
}

/* Appends of several processes, each by its own open, follow one another whole. */
TEST(append) {
    enum { WRITERS = 3, EACH = 500 };

    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR | O_APPEND), seen[WRITERS] = {0};
        pid_t pids[WRITERS];

        for (int w = 0; w < WRITERS; w++) {
            pids[w] = fork();
            REQUIRE_OK(pids[w]);
            if (pids[w] == 0) {
                int own = w ? open(path, O_WRONLY | O_APPEND) : fd;

                for (int i = 0; i < EACH; i++) {
                    CHECK(w == 2 || lseek(own, 0, SEEK_SET) == 0);
                    put_record(own, w * EACH + i);
                }
                CHILD_EXIT();
            }
        }
        for (int w = 0; w < WRITERS; w++) {
            CHECK_CHILD_OK(pids[w]);
        }
        CHECK_EQ(size_of(fd), WRITERS * EACH * RECORD);
        for (int i = 0; i < WRITERS * EACH; i++) {
            int number = record_at(fd, i);

            REQUIRE(number >= 0 && number < WRITERS * EACH);
            CHECK_EQ(number % EACH, seen[number / EACH]++);
        }
        done(fd);
    }
}

TEST(append_comes_and_goes) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR);

        for (int i = 0; i < 8; i++) {
            put_record(fd, i);
        }
        for (int round = 0; round < 3; round++) {
            CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
            CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
            for (int i = 0; i < 6; i++) {
                off_t end = size_of(fd);

                CHECK_EQ(pwrite(fd, "at the end, too\n", RECORD, 0), RECORD); /* pwrite(2), BUGS */
                put_record(fd, i);
                CHECK_EQ(lseek(fd, 0, SEEK_CUR), end + 2 * RECORD);
            }
            CHECK_OK(fcntl(fd, F_SETFL, 0));
            CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
            for (int i = 0; i < 6; i++) {
                put_record(fd, 10 * round + i);
                CHECK_EQ(pwrite(fd, "0", 1, 0), 1);
            }
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6 * RECORD);
            CHECK_EQ(size_of(fd), (8 + 12 * (round + 1)) * RECORD);
            CHECK_EQ(record_at(fd, 5), 10 * round + 5);
        }
        done(fd);
    }
}

static volatile sig_atomic_t signals;

static void count(int signo) {
    signals++;
}

static void set_limit(pid_t pid, rlim_t bytes) {
    struct rlimit limit = {bytes, RLIM_INFINITY};

    CHECK_OK(prlimit(pid, RLIMIT_FSIZE, &limit, NULL));
}

static void write_to_the_limit(int fd) {
    char bytes[2 * RECORD] = {0};
    int before = signals;

    CHECK_EQ(lseek(fd, 99 * RECORD, SEEK_SET), 99 * RECORD);
    CHECK_EQ(write(fd, bytes, 2 * RECORD), RECORD);
    CHECK_EQ(signals, before);
    CHECK_ERR(write(fd, bytes, 1), EFBIG);
    CHECK_EQ(signals, before + 1);
    CHECK_ERR(pwrite(fd, bytes, 1, 200 * RECORD), EFBIG);
    CHECK_EQ(signals, before + 2);
    CHECK_EQ(size_of(fd), 100 * RECORD);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pwrite(fd, bytes, RECORD, 98 * RECORD), RECORD);
    }
    CHECK_ERR(write(fd, bytes, 1), EFBIG);
    CHECK_EQ(signals, before + 3);
    CHECK_EQ(size_of(fd), 100 * RECORD);
}

/* setrlimit(2) of one's own, inherited, and by somebody else while one writes. */
TEST(size_limit) {
    CHECK(signal(SIGXFSZ, count) != SIG_ERR);
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR), ends[2], status = -1;
        char byte;
        pid_t pid;

        set_limit(0, 100 * RECORD);
        write_to_the_limit(fd);
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            write_to_the_limit(fd);
            CHILD_EXIT();
        }
        CHECK_CHILD_OK(pid);
        set_limit(0, RLIM_INFINITY);
        for (int i = 0; i < 8; i++) {
            CHECK_EQ(pwrite(fd, "x", 1, 300 * RECORD), 1);
        }
        CHECK_OK(ftruncate(fd, 0));
        REQUIRE_OK(pipe(ends));
        pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
            for (int i = 0;; i = (i + 1) % 100) {
                CHECK_EQ(pwrite(fd, "x", 1, i * RECORD), 1);
                CHECK_EQ(pwrite(fd, "x", 1, 200 * RECORD), 1);
                if (i == 10) {
                    CHECK_EQ(write(ends[1], "x", 1), 1);
                }
            }
        }
        CHECK_EQ(read(ends[0], &byte, 1), 1);
        set_limit(pid, 100 * RECORD);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        close(ends[0]);
        close(ends[1]);
        done(fd);
    }
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
}

/* Whoever shortens the file: a write goes where its position is, and leaves a hole. */
TEST(truncation) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR), other = open(path, O_RDWR);
        char bytes[RECORD];

        REQUIRE_OK(other);
        for (int i = 0; i < 20; i++) {
            put_record(fd, i);
            CHECK_EQ(size_of(other), (i + 1) * RECORD);
            if (i % 5 == 4) {
                CHECK_OK(i % 2 ? truncate(path, 0) : ftruncate(other, 0));
                CHECK_EQ(read(fd, bytes, 1), 0);
                CHECK_EQ(size_of(fd), 0);
            }
        }
        put_record(fd, 20);
        CHECK_EQ(size_of(fd), 21 * RECORD);
        CHECK_EQ(record_at(fd, 20), 20);
        CHECK_EQ(pread(fd, bytes, RECORD, 3 * RECORD), RECORD);
        CHECK_EQ(bytes[0], 0);
        CHECK_OK(close(other));
        done(fd);
    }
}

/* A shared map and the descriptor are one. */
TEST(maps) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR);
        char *map, *nowhere;

        CHECK_OK(ftruncate(fd, 4096));
        map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(map != MAP_FAILED);
        for (int i = 0; i < 16; i++) {
            char byte = (char)('a' + i), back = 0;

            CHECK_EQ(pwrite(fd, &byte, 1, i), 1);
            CHECK_EQ(map[i], byte);
            map[i + 100] = byte;
            CHECK_EQ(pread(fd, &back, 1, i + 100), 1);
            CHECK_EQ(back, byte);
        }
        CHECK_OK(munmap(map, 4096));
        /* What can be read of a buffer is written. */
        nowhere = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(nowhere != MAP_FAILED);
        CHECK_OK(munmap(nowhere + 4096, 4096));
        CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
        CHECK_ERR(write(fd, nowhere + 4096, 10), EFAULT);
        CHECK_EQ(write(fd, nowhere + 4086, 20), 10);
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10);
        CHECK_OK(munmap(nowhere, 4096));
        done(fd);
    }
}

/* Each write is seen by a watch that was there before it. */
TEST(watches) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR), notify = inotify_init1(IN_NONBLOCK);
        char events[4096];

        REQUIRE_OK(notify);
        for (int round = 0; round < 3; round++) {
            int watch = inotify_add_watch(notify, path, IN_MODIFY);

            REQUIRE_OK(watch);
            for (int i = 0; i < 6; i++) {
                put_record(fd, i);
                CHECK(read(notify, events, sizeof(events)) > 0);
                CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
                CHECK(read(notify, events, sizeof(events)) > 0);
                CHECK_ERR(read(notify, events, sizeof(events)), EAGAIN);
            }
            CHECK_OK(inotify_rm_watch(notify, watch));
            CHECK(read(notify, events, sizeof(events)) > 0); /* IN_IGNORED */
            put_record(fd, 7);
            CHECK_ERR(read(notify, events, sizeof(events)), EAGAIN);
        }
        CHECK_OK(close(notify));
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 21 * RECORD);
        done(fd);
    }
}

/* A counter in a file, behind a record lock. */
TEST(record_locks) {
    enum { EACH = 400 };

    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR);
        long value = 0;
        pid_t pids[2];

        CHECK_EQ(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
        for (int p = 0; p < 2; p++) {
            pids[p] = fork();
            REQUIRE_OK(pids[p]);
            if (pids[p] == 0) {
                for (int i = 0; i < EACH; i++) {
                    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8};

                    CHECK_OK(fcntl(fd, F_SETLKW, &lock));
                    CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
                    value++;
                    CHECK_EQ(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
                    lock.l_type = F_UNLCK;
                    CHECK_OK(fcntl(fd, F_SETLK, &lock));
                }
                CHILD_EXIT();
            }
        }
        CHECK_CHILD_OK(pids[0]);
        CHECK_CHILD_OK(pids[1]);
        CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
        CHECK_EQ(value, 2 * EACH);
        done(fd);
    }
}

/* A write moves the times of modification and change to the present, whatever they were set to. A
 * file's clock may be finer than time(2)'s, and be a second ahead for a moment. */
TEST(times) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR);
        struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
        char byte;
        struct timespec future[2] = {{.tv_sec = 4000000000}, {.tv_sec = 4000000001}};
        struct stat stat;

        for (int i = 0; i < 20; i++) {
            time_t start;

            CHECK_OK(futimens(fd, i % 2 ? future : old));
            REQUIRE_OK(fstat(fd, &stat));
            CHECK_EQ(stat.st_mtim.tv_sec, i % 2 ? 4000000001 : 2000);
            start = stat.st_ctim.tv_sec;
            CHECK(start >= time(NULL) - 10 && start <= time(NULL) + 1);
            for (int k = 0; k < 1 + i % 4; k++) {
                CHECK_EQ(pwrite(fd, "x", 1, k), 1);
            }
            REQUIRE_OK(fstat(fd, &stat));
            CHECK(stat.st_mtim.tv_sec >= start && stat.st_mtim.tv_sec <= time(NULL) + 1);
            CHECK(stat.st_ctim.tv_sec >= start && stat.st_ctim.tv_sec <= time(NULL) + 1);
            CHECK_EQ(stat.st_atim.tv_sec, i % 2 ? 4000000000 : 1000);
        }
        CHECK_OK(futimens(fd, old));
        REQUIRE_OK(fstat(fd, &stat));
        CHECK_EQ(stat.st_mtim.tv_sec, 2000);
        CHECK_EQ(pread(fd, &byte, 1, 0), 1);
        REQUIRE_OK(fstat(fd, &stat));
        CHECK_EQ(stat.st_mtim.tv_sec, 2000);
        done(fd);
    }
}

/* write(2): set-id bits go when a user without privileges writes, also by a hot descriptor. */
TEST(set_id_bits) {
    int fd = hot_file(1, O_RDWR);
    struct stat stat;

    for (int i = 0; i < 8; i++) {
        put_record(fd, i);
    }
    CHECK_OK(fchmod(fd, 06755));
    REQUIRE_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_mode & 07777, 06755);
    put_record(fd, 8);
    REQUIRE_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_mode & 07777, geteuid() == 0 ? 06755 : 0755);
    CHECK_OK(fchmod(fd, 04755));
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pwrite(fd, "x", 1, i), 1);
    }
    REQUIRE_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_mode & 07777, geteuid() == 0 ? 04755 : 0755);
    done(fd);
}

/* Vectors of several buffers are one write. */
TEST(vectors) {
    FOR_EACH_PLACE(place) {
        int fd = hot_file(place, O_RDWR);
        char a[8] = "12345678", b[8] = "abcdefgh", back[RECORD];
        struct iovec vector[3] = {{a, 8}, {NULL, 0}, {b, 8}};

        for (int i = 0; i < 20; i++) {
            CHECK_EQ(writev(fd, vector, 3), RECORD);
            CHECK_EQ(pwritev(fd, vector, 1, (off_t)i * RECORD), 8);
            CHECK_EQ(pread(fd, back, RECORD, (off_t)i * RECORD), RECORD);
            CHECK(memcmp(back, "12345678abcdefgh", RECORD) == 0);
            put_record(fd, i);
            CHECK_EQ(lseek(fd, -RECORD, SEEK_CUR), (i + 1) * RECORD);
        }
        done(fd);
    }
}

TEST_MAIN()
