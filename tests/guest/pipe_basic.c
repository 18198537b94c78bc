/* pipe(7): end of file, EPIPE, atomic writes, sizes, packets, splice. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int fds[2];

static void open_pipe(int flags) {
    REQUIRE_OK(pipe2(fds, flags));
}
static void close_pipe(void) {
    close(fds[0]);
    close(fds[1]);
}

TEST(bytes_and_end_of_file) {
    char buffer[16];
    open_pipe(0);
    CHECK_EQ(write(fds[1], "hello", 5), 5);
    CHECK_EQ(read(fds[0], buffer, 3), 3);
    CHECK_EQ(memcmp(buffer, "hel", 3), 0);
    CHECK_OK(close(fds[1]));
    CHECK_EQ(read(fds[0], buffer, 16), 2);
    CHECK_EQ(read(fds[0], buffer, 16), 0);
    CHECK_EQ(read(fds[0], buffer, 16), 0);
    close(fds[0]);
}

TEST(wrong_end) {
    char c;
    open_pipe(0);
    CHECK_ERR(read(fds[1], &c, 1), EBADF);
    CHECK_ERR(write(fds[0], "x", 1), EBADF);
    CHECK_ERR(lseek(fds[0], 0, SEEK_CUR), ESPIPE);
    CHECK_ERR(pread(fds[0], &c, 1, 0), ESPIPE);
    CHECK_ERR(pipe2(fds, O_APPEND), EINVAL);
    CHECK_ERR(syscall(SYS_pipe2, 8, 0), EFAULT);
    close_pipe();
}

static volatile int sigpipes;
static void on_sigpipe(int signo) {
    sigpipes += signo == SIGPIPE;
}

TEST(broken_pipe) {
    open_pipe(0);
    signal(SIGPIPE, on_sigpipe);
    close(fds[0]);
    CHECK_ERR(write(fds[1], "x", 1), EPIPE);
    CHECK_EQ(sigpipes, 1);
    struct pollfd p = {.fd = fds[1], .events = POLLOUT};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK(p.revents & POLLERR);
    close(fds[1]);
    signal(SIGPIPE, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0) {
        open_pipe(0);
        close(fds[0]);
        (void)!write(fds[1], "x", 1);
        _exit(1);
    }
    int status;
    CHECK_OK(waitpid(pid, &status, 0));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
}

TEST(nonblocking) {
    char page[4096] = {0}, c;
    int total = 0;
    open_pipe(O_NONBLOCK);
    CHECK_ERR(read(fds[0], &c, 1), EAGAIN);
    while (write(fds[1], page, sizeof page) == (ssize_t)sizeof page)
        total += (int)sizeof page;
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(total, fcntl(fds[1], F_GETPIPE_SZ));
    struct pollfd p = {.fd = fds[1], .events = POLLOUT};
    CHECK_EQ(poll(&p, 1, 0), 0);
    int queued = 0;
    CHECK_OK(ioctl(fds[0], FIONREAD, &queued));
    CHECK_EQ(queued, total);
    /* PIPE_BUF bytes go whole or not at all. */
    CHECK_EQ(read(fds[0], page, 100), 100);
    CHECK_ERR(write(fds[1], page, 4096), EAGAIN);
    CHECK_EQ(read(fds[0], page, 4096 - 100), 4096 - 100);
    CHECK_EQ(write(fds[1], page, 4096), 4096);
    close_pipe();
}

TEST(size) {
    open_pipe(0);
    CHECK_EQ(fcntl(fds[0], F_GETPIPE_SZ), 65536);
    CHECK_EQ(fcntl(fds[0], F_SETPIPE_SZ, 100000), 131072);
    CHECK_EQ(fcntl(fds[1], F_GETPIPE_SZ), 131072);
    CHECK_ERR(fcntl(0x7ffffff, F_GETPIPE_SZ), EBADF);
    struct stat st;
    CHECK_OK(fstat(fds[0], &st));
    CHECK(S_ISFIFO(st.st_mode));
    struct stat other;
    CHECK_OK(fstat(fds[1], &other));
    CHECK_EQ(st.st_ino, other.st_ino);
    close_pipe();
}

TEST(packets) {
    char buffer[100];
    open_pipe(O_DIRECT);
    CHECK_EQ(write(fds[1], "one", 3), 3);
    CHECK_EQ(write(fds[1], "three", 5), 5);
    CHECK_EQ(read(fds[0], buffer, 100), 3);
    CHECK_EQ(read(fds[0], buffer, 2), 2); /* the rest of the packet is lost */
    CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_ERR(read(fds[0], buffer, 100), EAGAIN);
    close_pipe();
}

static void *drain(void *arg) {
    size_t *total = arg;
    char buffer[1000];
    ssize_t n;
    while ((n = read(fds[0], buffer, sizeof buffer)) > 0)
        *total += (size_t)n;
    return NULL;
}

TEST(large_blocking_write) {
    size_t size = 3 << 20, total = 0;
    char *data = malloc(size);
    pthread_t thread;
    memset(data, 'x', size);
    open_pipe(0);
    REQUIRE_EQ(pthread_create(&thread, NULL, drain, &total), 0);
    CHECK_EQ(write(fds[1], data, size), (ssize_t)size);
    close(fds[1]);
    pthread_join(thread, NULL);
    CHECK_EQ(total, size);
    close(fds[0]);
    free(data);
}

/* Many writers of PIPE_BUF and less: records never mix. */
TEST(atomic_records) {
    enum { WRITERS = 4, RECORDS = 200, SIZE = 1024 };
    char record[SIZE];
    int seen[WRITERS] = {0};
    open_pipe(0);
    for (int w = 0; w < WRITERS; w++) {
        if (fork() == 0) {
            close(fds[0]);
            memset(record, 'a' + w, SIZE);
            for (int i = 0; i < RECORDS; i++)
                CHECK_EQ(write(fds[1], record, SIZE), SIZE);
            CHILD_EXIT();
        }
    }
    close(fds[1]);
    size_t have = 0;
    ssize_t n;
    while ((n = read(fds[0], record + have, SIZE - have)) > 0) {
        have += (size_t)n;
        if (have == SIZE) {
            for (int i = 1; i < SIZE; i++)
                if (record[i] != record[0]) {
                    CHECK(record[i] == record[0]);
                    break;
                }
            seen[record[0] - 'a']++;
            have = 0;
        }
    }
    CHECK_EQ(have, 0);
    for (int w = 0; w < WRITERS; w++) {
        CHECK_EQ(seen[w], RECORDS);
        int status;
        CHECK_OK(wait(&status));
        CHECK_EQ(status, 0);
    }
    close(fds[0]);
}

static void on_alarm(int signo) {
    (void)signo;
}

TEST(interrupted_read) {
    char c;
    struct sigaction action = {.sa_handler = on_alarm};
    open_pipe(0);
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    ualarm(20000, 0);
    CHECK_ERR(read(fds[0], &c, 1), EINTR);
    /* With SA_RESTART it goes on until there is something. */
    action.sa_flags = SA_RESTART;
    CHECK_OK(sigaction(SIGALRM, &action, NULL));
    pid_t pid = fork();
    if (pid == 0) {
        usleep(60000);
        _exit(write(fds[1], "z", 1) != 1);
    }
    ualarm(20000, 0);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(c, 'z');
    CHECK_CHILD_OK(pid);
    close_pipe();
}

TEST(reopened_by_proc) {
    char path[64], c;
    open_pipe(0);
    CHECK_EQ(write(fds[1], "q", 1), 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
    int again = open(path, O_RDONLY);
    CHECK_OK(again);
    close(fds[1]);
    CHECK_EQ(read(again, &c, 1), 1);
    CHECK_EQ(read(again, &c, 1), 0);
    close(again);
    close(fds[0]);
}

TEST(splice_and_tee) {
    int other[2], file;
    char buffer[64], name[] = "/tmp/splice-XXXXXX";
    open_pipe(0);
    REQUIRE_OK(pipe(other));
    file = mkstemp(name);
    REQUIRE_OK(file);
    unlink(name);
    CHECK_EQ(write(file, "0123456789", 10), 10);
    loff_t offset = 2;
    CHECK_EQ(splice(file, &offset, fds[1], NULL, 5, 0), 5);
    CHECK_EQ(offset, 7);
    CHECK_EQ(tee(fds[0], other[1], 100, 0), 5);
    CHECK_EQ(read(fds[0], buffer, 64), 5);
    CHECK_EQ(memcmp(buffer, "23456", 5), 0);
    loff_t at = 20;
    CHECK_EQ(splice(other[0], NULL, file, &at, 100, 0), 5);
    CHECK_EQ(pread(file, buffer, 64, 20), 5);
    CHECK_EQ(memcmp(buffer, "23456", 5), 0);
    CHECK_ERR(splice(file, NULL, file, NULL, 1, 0), EINVAL);
    CHECK_ERR(splice(fds[0], &at, file, NULL, 1, 0), ESPIPE);
    CHECK_ERR(splice(fds[0], NULL, file, NULL, 1, SPLICE_F_NONBLOCK), EAGAIN);
    close(other[0]);
    close(other[1]);
    close(file);
    close_pipe();
}

TEST_MAIN()
