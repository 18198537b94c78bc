/*
 * Micro-benchmarks of system calls, run by bench/run natively and under Starling and its peers.
 *
 *     bench [--time SECONDS] [ROW...]    one line per row: ROW<tab>nanoseconds per operation
 *     bench count N ROW              N operations of the row, and their mean time
 *     bench hello | idle | burn          programs for the driver: print and end; print and wait for
 *                                        the end of input; compute until killed
 *
 * A row runs in batches of about 2 ms for the given time; its figure is the median batch, so that
 * one preemption does not show. Files are made in the current directory. A row that fails says so
 * and the others go on.
 */
#include "bench.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BATCHES = 100000 };

const char *self;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int wait_for(pid_t pid) {
    int status;
    TRY(waitpid(pid, &status, 0));
    return status == 0 ? 0 : ECHILD;
}

void burn(long rounds) {
    volatile unsigned x = 1;
    for (long i = 0; i < rounds; i++)
        x = x * 1103515245u + 12345u;
}

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
        if (end == 0 && stop - start < 2000000 && !row->single) {
            per_batch *= 2;
            continue;
        }
        if (end == 0 && !row->single)
            end = stop + (int64_t)(seconds * 1e9);
        else
            batches[n++] = (double)(stop - start) / (double)per_batch / (row->per ? row->per : 1);
        if (row->single || n == MAX_BATCHES || (n >= 3 && stop >= end))
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

static int print_row(const struct row *row, double seconds) {
    int err = row->open ? row->open() : 0;
    double ns = err ? -err : measure(row, seconds);
    if (!err && row->close && (err = row->close()) && ns >= 0)
        ns = -err;
    if (ns < 0)
        fprintf(stderr, "bench: %s: %s\n", row->name, strerror((int)-ns));
    else
        printf("%s\t%.2f\n", row->name, ns);
    fflush(stdout);
    return ns < 0;
}

/* Exactly so many operations, for those who count what they take. */
static int count_row(const struct row *row, double operations) {
    double per = row->per ? row->per : 1;
    int err = row->open ? row->open() : 0;
    int64_t start = now_ns();

    for (double i = 0; !err && i < operations; i += per)
        err = row->run();
    if (err)
        fprintf(stderr, "bench: %s: %s\n", row->name, strerror(err));
    else
        printf("%s\t%.2f\n", row->name, (double)(now_ns() - start) / operations);
    if (row->close)
        row->close();
    return err != 0;
}

int main(int argc, char **argv) {
    const struct row *const tables[] = {call_rows, thread_rows, process_rows};
    double seconds = 0.3;
    int first = 1, failed = 0;

    self = argv[0];
    if (argc == 2 && strcmp(argv[1], "true") == 0)
        return 0;
    if (argc == 2 && strcmp(argv[1], "hello") == 0)
        return puts("hello") < 0;
    if (argc == 2 && strcmp(argv[1], "burn") == 0)
        for (;;)
            burn(1000000);
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
    if (argc == 4 && strcmp(argv[1], "count") == 0)
        first = 3;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct row *row = tables[i]; row->name; row++)
            if (argc == 4 && strcmp(argv[1], "count") == 0 && strcmp(row->name, argv[3]) == 0)
                return count_row(row, atof(argv[2]));
            else if (wanted(row->name, argc, argv, first))
                failed |= print_row(row, seconds);
    return failed;
}
