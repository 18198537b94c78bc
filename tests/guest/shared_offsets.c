/*
 * timeout: 60
 *
 * The position of an open file is one, whoever uses it and however often: over dup, fork and exec,
 * threads and processes at once. Each test uses a descriptor long enough that a kernel which hands
 * hot ones out has done so.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "guest_test.h"

#define RECORD  16
#define RECORDS 4096

static char dir[] = "/tmp/shared_offsets.XXXXXX";
static char path[64];

static void clean_up(void) {
    (void)unlink(path);
    (void)rmdir(dir);
}

/* A file of RECORDS numbered records. */
static void make_file(void) {
    char record[RECORD + 1];
    int fd;

    if (!path[0]) {
        REQUIRE(mkdtemp(dir) != NULL);
        snprintf(path, sizeof(path), "%s/file", dir);
        REQUIRE_EQ(atexit(clean_up), 0);
    }
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    REQUIRE_OK(fd);
    for (int i = 0; i < RECORDS; i++) {
        snprintf(record, sizeof(record), "%015d\n", i);
        REQUIRE_EQ(write(fd, record, RECORD), RECORD);
    }
    REQUIRE_OK(close(fd));
}

static int next_record(int fd) {
    char record[RECORD + 1] = "";

    return read(fd, record, RECORD) == RECORD ? atoi(record) : -1;
}

static int wait_for(pid_t pid) {
    int status = -1;

    REQUIRE_EQ(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

TEST(dup_shares) {
    int fd, copy;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    copy = dup(fd);
    REQUIRE_OK(copy);
    for (int i = 10; i < 40; i += 2) {
        CHECK_EQ(next_record(copy), i);
        CHECK_EQ(next_record(fd), i + 1);
    }
    CHECK_EQ(lseek(copy, 0, SEEK_CUR), 40 * RECORD);
    CHECK_EQ(lseek(fd, 5 * RECORD, SEEK_SET), 5 * RECORD);
    CHECK_EQ(next_record(copy), 5);
    CHECK_OK(close(fd));
    CHECK_EQ(next_record(copy), 6);
    CHECK_ERR(read(fd, path, 0), EBADF);
    CHECK_OK(close(copy));
}

TEST(number_is_reused) {
    char other[80];
    int fd, second;

    make_file();
    snprintf(other, sizeof(other), "%s/other", dir);
    second = open(other, O_CREAT | O_TRUNC | O_RDWR, 0644);
    REQUIRE_OK(second);
    REQUIRE_EQ(write(second, "000000999999999\n", RECORD), RECORD);
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    CHECK_EQ(lseek(second, 0, SEEK_SET), 0);
    CHECK_EQ(dup2(second, fd), fd);
    CHECK_EQ(next_record(fd), 999999999);
    CHECK_EQ(next_record(fd), -1);
    CHECK_OK(close(fd));
    CHECK_EQ(open(path, O_RDONLY), fd);
    CHECK_EQ(next_record(fd), 0);
    CHECK_OK(close(fd));
    CHECK_OK(close(second));
    CHECK_OK(unlink(other));
}

TEST(fork_shares) {
    int fd;
    pid_t pid;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        for (int i = 10; i < 20; i++) {
            if (next_record(fd) != i) {
                _exit(1);
            }
        }
        close(fd);
        _exit(read(fd, path, 1) == -1 && errno == EBADF ? 0 : 2);
    }
    CHECK_EQ(wait_for(pid), 0);
    CHECK_EQ(next_record(fd), 20);
    CHECK_OK(close(fd));
}

TEST(exec_shares) {
    char command[64];
    int fd;
    pid_t pid;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        snprintf(command, sizeof(command), "read line <&%d; test \"$line\" = 000000000000010", fd);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    CHECK_EQ(wait_for(pid), 0);
    CHECK_EQ(next_record(fd), 11);
    CHECK_OK(close(fd));
}

/* Every record is read once, by whichever process. */
TEST(processes_share_the_records) {
    int fd, sums[2];
    pid_t pids[3];
    long total = 0;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    REQUIRE_OK(pipe(sums));
    CHECK_EQ(next_record(fd), 0);
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        REQUIRE_OK(pids[i]);
        if (pids[i] == 0) {
            long sum = 0;
            int record;

            while ((record = next_record(fd)) >= 0) {
                sum += record;
            }
            _exit(write(sums[1], &sum, sizeof(sum)) != sizeof(sum));
        }
    }
    for (int i = 0; i < 3; i++) {
        long sum = -1;

        CHECK_EQ(wait_for(pids[i]), 0);
        CHECK_EQ(read(sums[0], &sum, sizeof(sum)), (ssize_t)sizeof(sum));
        total += sum;
    }
    CHECK_EQ(total, (long)RECORDS * (RECORDS - 1) / 2);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), (off_t)RECORDS * RECORD);
    close(fd);
    close(sums[0]);
    close(sums[1]);
}

static int thread_fd;

static void *read_all(void *arg) {
    long sum = 0;
    int record;

    while ((record = next_record(thread_fd)) >= 0) {
        sum += record;
    }
    return (void *)sum;
}

TEST(threads_share_the_records) {
    pthread_t threads[4];
    long total = 0;

    make_file();
    thread_fd = open(path, O_RDONLY);
    REQUIRE_OK(thread_fd);
    for (int i = 0; i < 4; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, read_all, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *sum;

        REQUIRE_EQ(pthread_join(threads[i], &sum), 0);
        total += (long)sum;
    }
    CHECK_EQ(total, (long)RECORDS * (RECORDS - 1) / 2);
    CHECK_OK(close(thread_fd));
}

/* One thread opens and closes the number that another reads: what it reads is from one file or the
 * other, or nothing. */
static volatile int stop_reading;

static void *reader(void *arg) {
    long bad = 0;

    while (!stop_reading) {
        char text[8] = "";
        ssize_t size = pread(thread_fd, text, 4, 0);

        if (size >= 0 ? size != 4 || (memcmp(text, "0000", 4) && memcmp(text, "9999", 4))
                      : errno != EBADF) {
            bad++;
        }
    }
    return (void *)bad;
}

TEST(close_while_others_read) {
    char other[80];
    pthread_t thread;
    void *bad;
    int fd;

    make_file();
    snprintf(other, sizeof(other), "%s/other", dir);
    fd = open(other, O_CREAT | O_TRUNC | O_RDWR, 0644);
    REQUIRE_OK(fd);
    REQUIRE_EQ(write(fd, "9999", 4), 4);
    CHECK_OK(close(fd));
    thread_fd = open(path, O_RDONLY);
    REQUIRE_OK(thread_fd);
    stop_reading = 0;
    REQUIRE_EQ(pthread_create(&thread, NULL, reader, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        const char *name = i & 1 ? path : other;
        char text[4];

        CHECK_OK(close(thread_fd));
        fd = open(name, O_RDONLY);
        REQUIRE_EQ(fd, thread_fd);
        for (int j = 0; j < 5; j++) {
            CHECK_EQ(read(fd, text, 1), j < 4 || (i & 1) ? 1 : 0);
            CHECK_EQ(text[0], j == 4 && !(i & 1) ? text[0] : i & 1 ? '0' : '9');
        }
    }
    stop_reading = 1;
    REQUIRE_EQ(pthread_join(thread, &bad), 0);
    CHECK_EQ((long)bad, 0);
    CHECK_OK(close(thread_fd));
    CHECK_OK(unlink(other));
}

TEST(sees_what_others_write) {
    char text[8];
    int reader_fd, writer;

    make_file();
    reader_fd = open(path, O_RDONLY);
    writer = open(path, O_WRONLY);
    REQUIRE_OK(reader_fd);
    REQUIRE_OK(writer);
    for (int i = 0; i < 20; i++) {
        char byte = (char)('a' + i);

        CHECK_EQ(pwrite(writer, &byte, 1, 0), 1);
        CHECK_EQ(pread(reader_fd, text, 1, 0), 1);
        CHECK_EQ(text[0], byte);
    }
    CHECK_OK(ftruncate(writer, 3));
    CHECK_EQ(pread(reader_fd, text, 8, 0), 3);
    CHECK_EQ(lseek(reader_fd, 0, SEEK_END), 3);
    CHECK_OK(ftruncate(writer, 0));
    CHECK_EQ(read(reader_fd, text, 8), 0);
    CHECK_EQ(pread(reader_fd, text, 8, 0), 0);
    CHECK_OK(close(reader_fd));
    CHECK_OK(close(writer));
}

/* Reads and writes by one descriptor go on from where the other was, however hot it is. */
TEST(reads_and_writes_share_the_position) {
    char record[RECORD + 1] = "";
    int fd;

    make_file();
    fd = open(path, O_RDWR);
    REQUIRE_OK(fd);
    for (int i = 0; i < 200; i += 20) {
        for (int k = 0; k < 10; k++) {
            CHECK_EQ(next_record(fd), i + k);
        }
        for (int k = 10; k < 20; k++) {
            snprintf(record, sizeof(record), "%015d\n", 100000 + i + k);
            CHECK_EQ(write(fd, record, RECORD), RECORD);
            CHECK_EQ(pwrite(fd, record, RECORD, 300 * RECORD), RECORD);
            CHECK_EQ(pread(fd, record, RECORD, 300 * RECORD), RECORD);
            CHECK_EQ(atoi(record), 100000 + i + k);
        }
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), (i + 20) * RECORD);
    }
    CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    CHECK_EQ(write(fd, record, RECORD), RECORD);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), (RECORDS + 1) * RECORD);
    CHECK_EQ(next_record(fd), -1);
    CHECK_OK(close(fd));
}

/* Does a read by fd move an access time of `atime` when the file was changed in second 2000? */
static bool read_moves_atime(int fd, time_t atime) {
    struct timespec times[2] = {{.tv_sec = atime}, {.tv_sec = 2000}}, set;
    struct stat stat;
    char byte;

    REQUIRE_OK(futimens(fd, times));
    REQUIRE_OK(fstat(fd, &stat));
    set = stat.st_atim;
    CHECK_EQ(set.tv_sec, atime);
    CHECK_EQ(pread(fd, &byte, 1, 0), 1);
    REQUIRE_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_mtim.tv_sec, 2000);
    CHECK(stat.st_atim.tv_sec == atime || stat.st_atim.tv_sec >= time(NULL) - 10);
    return stat.st_atim.tv_sec != set.tv_sec || stat.st_atim.tv_nsec != set.tv_nsec;
}

/* The access time follows the mount's rule for a descriptor that is hot as for one that is not. */
TEST(access_times_of_a_hot_file) {
    time_t later = time(NULL) + 100000;
    int hot, fresh;
    char byte;

    make_file();
    hot = open(path, O_RDONLY);
    REQUIRE_OK(hot);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(pread(hot, &byte, 1, i), 1);
    }
    for (int i = 0; i < 3; i++) {
        fresh = open(path, O_RDONLY);
        REQUIRE_OK(fresh);
        CHECK_EQ(read_moves_atime(hot, 1000), read_moves_atime(fresh, 1000));
        CHECK_OK(close(fresh));
        fresh = open(path, O_RDONLY);
        REQUIRE_OK(fresh);
        CHECK_EQ(read_moves_atime(hot, later), read_moves_atime(fresh, later));
        CHECK_OK(close(fresh));
    }
    CHECK_OK(close(hot));
}

/* A file that nobody writes: the program itself. Every byte is read once, by whichever process. */
TEST(processes_share_a_program) {
    unsigned char bytes[64];
    long expected = 0, total = 0;
    int fd = open("/proc/self/exe", O_RDONLY), sums[2];
    pid_t pids[3];
    ssize_t got;

    REQUIRE_OK(fd);
    REQUIRE_OK(pipe(sums));
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            expected += bytes[i];
        }
    }
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    for (int i = 0; i < 3; i++) {
        pids[i] = fork();
        REQUIRE_OK(pids[i]);
        if (pids[i] == 0) {
            long sum = 0;

            while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
                for (ssize_t j = 0; j < got; j++) {
                    sum += bytes[j];
                }
            }
            _exit(write(sums[1], &sum, sizeof(sum)) != sizeof(sum));
        }
    }
    for (int i = 0; i < 3; i++) {
        long sum = -1;

        CHECK_EQ(wait_for(pids[i]), 0);
        CHECK_EQ(read(sums[0], &sum, sizeof(sum)), (ssize_t)sizeof(sum));
        total += sum;
    }
    CHECK_EQ(total, expected);
    close(fd);
    close(sums[0]);
    close(sums[1]);
}

TEST(watches_see_each_access) {
    char events[4096], byte;
    int notify, fd;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    notify = inotify_init1(IN_NONBLOCK);
    REQUIRE_OK(notify);
    CHECK_OK(inotify_add_watch(notify, dir, IN_ACCESS));
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK(read(notify, events, sizeof(events)) > 0);
    CHECK_EQ(pread(fd, &byte, 1, 0), 1);
    CHECK(read(notify, events, sizeof(events)) > 0);
    CHECK_OK(close(notify));
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 10 * RECORD + 2);
    CHECK_OK(close(fd));
}

/* Into a buffer that lies where the stack has not been yet. */
static __attribute__((noinline)) ssize_t read_onto_stack(int fd, size_t size) {
    char *buffer = __builtin_alloca(size);
    ssize_t got = pread(fd, buffer, size, 0);

    return got == (ssize_t)size && buffer[0] == '0' && buffer[size - 1] == '\n' ? got : -1;
}

TEST(grows_the_stack) {
    char *volatile nowhere = (char *)16;
    int fd;

    make_file();
    fd = open(path, O_RDONLY);
    REQUIRE_OK(fd);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(next_record(fd), i);
    }
    CHECK_EQ(read_onto_stack(fd, RECORDS * RECORD), RECORDS * RECORD);
    CHECK_ERR(pread(fd, nowhere, 8, 0), EFAULT);
    CHECK_EQ(next_record(fd), 10);
    CHECK_OK(close(fd));
}

TEST_MAIN()
