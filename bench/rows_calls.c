/* Rows of calls about oneself, files, pipes and events. Files are made in the current directory. */
#include "bench.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FILE_SIZE = 1 << 20 };

static int data_fd = -1;
static int pipe_fds[2];
static int event_fd, epoll_fd;

static int data_open(void) {
    static const char page[PAGE];
    data_fd = (int)TRY(open("bench.data", O_RDWR | O_CREAT | O_TRUNC, 0644));
    for (int i = 0; i < FILE_SIZE / PAGE; i++)
        TRY(write(data_fd, page, PAGE));
    TRY(lseek(data_fd, 0, SEEK_SET));
    return 0;
}

static int data_close(void) {
    close(data_fd);
    return unlink("bench.data") ? errno : 0;
}

static int run_getppid(void) {
    TRY(getppid());
    return 0;
}

static int run_stat(void) {
    struct stat st;
    TRY(stat("bench.data", &st));
    return 0;
}

static int run_open_close(void) {
    int fd = (int)TRY(open("bench.data", O_RDONLY));
    TRY(close(fd));
    return 0;
}

static int run_pread(void) {
    char buffer[1024];
    TRY(pread(data_fd, buffer, sizeof buffer, 0));
    return 0;
}

static int run_pwrite(void) {
    static char buffer[PAGE];
    TRY(pwrite(data_fd, buffer, sizeof buffer, 0));
    return 0;
}

static int pipe_open(void) {
    TRY(pipe(pipe_fds));
    return 0;
}

static int pipe_close(void) {
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return 0;
}

static int run_pipe(void) {
    char buffer[64] = {0};
    TRY(write(pipe_fds[1], buffer, sizeof buffer));
    TRY(read(pipe_fds[0], buffer, sizeof buffer));
    return 0;
}

static int run_getpid(void) {
    TRY(getpid());
    return 0;
}

static int run_getppid_syscall(void) {
    TRY(syscall(SYS_getppid));
    return 0;
}

static int run_clock(void) {
    struct timespec t;
    TRY(clock_gettime(CLOCK_MONOTONIC, &t));
    return 0;
}

/* At the end of the file it begins again, once in a thousand reads. */
static int run_read(void) {
    char buffer[1024];
    if (TRY(read(data_fd, buffer, sizeof buffer)) == 0)
        TRY(lseek(data_fd, 0, SEEK_SET));
    return 0;
}

static int run_write(void) {
    static char buffer[PAGE];
    static unsigned n;
    if (++n % (FILE_SIZE / PAGE) == 0)
        TRY(lseek(data_fd, 0, SEEK_SET));
    TRY(write(data_fd, buffer, sizeof buffer));
    return 0;
}

static void on_signal(int sig) {
    (void)sig;
}

static int signal_open(void) {
    TRY(signal(SIGUSR1, on_signal));
    return 0;
}

static int run_signal(void) {
    TRY(kill(getpid(), SIGUSR1));
    return 0;
}

static int event_open(void) {
    struct epoll_event e = {.events = EPOLLIN};
    event_fd = (int)TRY(eventfd(0, 0));
    epoll_fd = (int)TRY(epoll_create1(0));
    TRY(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &e));
    return 0;
}

static int run_event(void) {
    uint64_t one = 1;
    struct epoll_event e;
    TRY(write(event_fd, &one, sizeof one));
    if (TRY(epoll_wait(epoll_fd, &e, 1, -1)) != 1)
        return EIO;
    TRY(read(event_fd, &one, sizeof one));
    return 0;
}

static int event_close(void) {
    close(event_fd);
    close(epoll_fd);
    return 0;
}

/* The driver makes these files before the first round. */
static int run_stats(void) {
    char name[32];
    struct stat st;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "many/%d", i);
        TRY(stat(name, &st));
    }
    return 0;
}

static int run_readdir(void) {
    int n = 0;
    DIR *dir = opendir("many");
    if (!dir)
        return errno;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n == MANY + 2 ? 0 : EIO;
}

const struct row call_rows[] = {
    {.name = "getpid", .run = run_getpid},
    {.name = "getppid", .run = run_getppid},
    {.name = "getppid by syscall()", .run = run_getppid_syscall},
    {.name = "clock_gettime", .run = run_clock},
    {.name = "stat", .run = run_stat, .open = data_open, .close = data_close},
    {.name = "open+close", .run = run_open_close, .open = data_open, .close = data_close},
    {.name = "pread 1 KiB", .run = run_pread, .open = data_open, .close = data_close},
    {.name = "pwrite 4 KiB", .run = run_pwrite, .open = data_open, .close = data_close},
    {.name = "read 1 KiB", .run = run_read, .open = data_open, .close = data_close},
    {.name = "write 4 KiB", .run = run_write, .open = data_open, .close = data_close},
    {.name = "pipe write+read", .run = run_pipe, .open = pipe_open, .close = pipe_close},
    {.name = "epoll_wait+eventfd", .run = run_event, .open = event_open, .close = event_close},
    {.name = "signal to self", .run = run_signal, .open = signal_open},
    {.name = "stat of 10,000 files", .run = run_stats, .single = 1},
    {.name = "readdir of 10,000 names", .run = run_readdir, .single = 1},
    {0},
};
