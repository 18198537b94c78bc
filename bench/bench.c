/*
 * Micro-benchmarks of system calls, run by bench/run natively and under Starling and its peers.
 *
 *     bench [--time SECONDS] [ROW...]    one line per row: ROW<tab>nanoseconds per operation
 *     bench hello | idle                 programs for the driver: print and end; print and wait for
 * the end of input
 *
 * A row runs in batches of about 2 ms for the given time; its figure is the median batch, so that
 * one preemption does not show. Files are made in the current directory. A row that fails says so
 * and the others go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, TOUCHES = 16, MAX_BATCHES = 100000 };

static const char *self;
static int data_fd = -1;
static int pipe_fds[2];
static int there[2], back[2];
static pid_t partner;

#define TRY(call)                                                                                  \
    ({                                                                                             \
        long try_result = (long)(call);                                                            \
        if (try_result == -1)                                                                      \
            return errno;                                                                          \
        try_result;                                                                                \
    })

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int data_open(void) {
    static const char page[PAGE];
    data_fd = (int)TRY(open("bench.data", O_RDWR | O_CREAT | O_TRUNC, 0644));
    TRY(write(data_fd, page, PAGE));
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

static int run_map(void) {
    volatile char *p =
        mmap(NULL, TOUCHES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return errno;
    for (int i = 0; i < TOUCHES; i++)
        p[i * PAGE] = 1;
    TRY(munmap((void *)p, TOUCHES * PAGE));
    return 0;
}

static int wait_for(pid_t pid) {
    int status;
    TRY(waitpid(pid, &status, 0));
    return status == 0 ? 0 : ECHILD;
}

static int run_fork(void) {
    pid_t pid = (pid_t)TRY(fork());
    if (pid == 0)
        _exit(0);
    return wait_for(pid);
}

static int run_vfork_exec(void) {
    pid_t pid = vfork();
    if (pid == -1)
        return errno;
    if (pid == 0) {
        execl(self, self, "true", (char *)NULL);
        _exit(127);
    }
    return wait_for(pid);
}

static int ping_open(void) {
    TRY(pipe(there));
    TRY(pipe(back));
    partner = (pid_t)TRY(fork());
    if (partner == 0) {
        char c;
        close(there[1]);
        close(back[0]);
        while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
            ;
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    return 0;
}

static int run_ping(void) {
    char c = 0;
    TRY(write(there[1], &c, 1));
    TRY(read(back[0], &c, 1));
    return 0;
}

static int ping_close(void) {
    close(there[1]);
    close(back[0]);
    return wait_for(partner);
}

static const struct row {
    const char *name;
    int (*run)(void); /* One operation; 0 or an errno. */
    int (*open)(void);
    int (*close)(void);
} rows[] = {
    {"getppid", run_getppid, NULL, NULL},
    {"stat", run_stat, data_open, data_close},
    {"open+close", run_open_close, data_open, data_close},
    {"pread 1 KiB", run_pread, data_open, data_close},
    {"pwrite 4 KiB", run_pwrite, data_open, data_close},
    {"pipe write+read", run_pipe, pipe_open, pipe_close},
    {"map+16 touches+unmap", run_map, NULL, NULL},
    {"fork+wait", run_fork, NULL, NULL},
    {"vfork+exec+wait", run_vfork_exec, NULL, NULL},
    {"pipe ping-pong", run_ping, ping_open, ping_close},
};

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median nanoseconds of one operation, or minus an errno. */
static double measure(const struct row *row, double seconds) {
    static double batches[MAX_BATCHES];
    size_t n = 0;
    long per_batch = 1;
    int64_t end = 0;

    for (;;) {
        int64_t start = now_ns();
        for (long i = 0; i < per_batch; i++) {
            int err = row->run();
            if (err)
                return -err;
        }
        int64_t stop = now_ns();
        if (end == 0 && stop - start < 2000000) {
            per_batch *= 2;
            continue;
        }
        if (end == 0)
            end = stop + (int64_t)(seconds * 1e9);
        else
            batches[n++] = (double)(stop - start) / (double)per_batch;
        if (n == MAX_BATCHES || (n >= 3 && stop >= end))
            break;
    }
    qsort(batches, n, sizeof batches[0], compare_doubles);
    return batches[n / 2];
}

/* Prints the median time of a command whose output goes nowhere. */
static int spawn(int count, char **argv) {
    static double times[1000];
    posix_spawn_file_actions_t actions;

    if (count < 1 || count > 1000)
        return 2;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    for (int i = 0; i < count; i++) {
        pid_t pid;
        int64_t start = now_ns();
        int err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        if (!err)
            err = wait_for(pid);
        if (err) {
            fprintf(stderr, "bench: %s: %s\n", argv[0], strerror(err));
            return 1;
        }
        times[i] = (double)(now_ns() - start);
    }
    qsort(times, (size_t)count, sizeof times[0], compare_doubles);
    printf("%.1f\n", times[count / 2]);
    return 0;
}

static bool wanted(const char *name, int argc, char **argv, int first) {
    for (int i = first; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return first == argc;
}

int main(int argc, char **argv) {
    double seconds = 0.3;
    int first = 1, failed = 0;

    self = argv[0];
    if (argc == 2 && strcmp(argv[1], "true") == 0)
        return 0;
    if (argc == 2 && strcmp(argv[1], "hello") == 0)
        return puts("hello") < 0;
    if (argc == 2 && strcmp(argv[1], "idle") == 0) {
        char c;
        puts("ready");
        fflush(stdout);
        return read(0, &c, 1) < 0;
    }
    if (argc > 3 && strcmp(argv[1], "spawn") == 0)
        return spawn(atoi(argv[2]), argv + 3);
    if (argc > 2 && strcmp(argv[1], "--time") == 0) {
        seconds = atof(argv[2]);
        first = 3;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!wanted(rows[i].name, argc, argv, first))
            continue;
        int err = rows[i].open ? rows[i].open() : 0;
        double ns = err ? -err : measure(&rows[i], seconds);
        if (!err && rows[i].close && rows[i].close() && ns >= 0)
            ns = -ECHILD;
        if (ns < 0) {
            fprintf(stderr, "bench: %s: %s\n", rows[i].name, strerror((int)-ns));
            failed = 1;
        } else {
            printf("%s\t%.1f\n", rows[i].name, ns);
        }
        fflush(stdout);
    }
    return failed;
}
