/*
 * The dispatcher: a call's number to its handler, through the table, with what --strace and --stats
 * want to know on the way.
 *
 * Owns the counters of --stats: one cache line of atomics a call, bumped without a lock.
 */
#include "syscalls/syscalls.h"

#include <inttypes.h>
#include <stdio.h>

#include "syscalls/table_internal.h"

static struct { _Atomic uint64_t calls, errors, time_ns; } stats[SYSCALL_COUNT];
static _Atomic bool stats_on;

/* NULL: missing, which has been logged. */
static const struct syscall_row *find_handler(long number) {
    const struct syscall_row *row = NULL;

    if (number >= 0 && number < SYSCALL_COUNT) {
        row = &syscall_table[number];
    }
    if (row && row->call) {
        return row;
    }
    if (row && row->name) {
        log_once(LOG_WARN, "syscall", (uint64_t)number, "not supported: %s(2)", row->name);
    } else {
        log_once(LOG_INFO, "syscall", (uint64_t)number, "there is no system call %ld", number);
    }
    return NULL;
}

int64_t syscall_dispatch(struct task *current, long number, const uint64_t args[6]) {
    const struct syscall_row *row = find_handler(number);
    bool traced = trace_enabled();
    bool counted = atomic_load_explicit(&stats_on, memory_order_relaxed) && number >= 0 &&
                   number < SYSCALL_COUNT;
    int64_t start = 0, result;

    if (unlikely(traced)) {
        trace_enter(current, number, args);
    }
    if (unlikely(counted)) {
        start = host_clock_monotonic();
        /* Counted before it runs: exit_group and the like do not come back to be counted. */
        atomic_fetch_add_explicit(&stats[number].calls, 1, memory_order_relaxed);
    }
    result = row ? row->call(current, args) : -ENOSYS;
    if (unlikely(counted)) {
        atomic_fetch_add_explicit(&stats[number].time_ns,
                                  (uint64_t)(host_clock_monotonic() - start), memory_order_relaxed);
        if (result < 0 && result >= -MAX_ERRNO) {
            atomic_fetch_add_explicit(&stats[number].errors, 1, memory_order_relaxed);
        }
    }
    if (unlikely(traced)) {
        if (current->thread && host_thread_answer_flush(current->thread)) {
            result = -EFAULT;
        }
        trace_exit(current, number, args, result);
    }
    return result;
}

bool syscall_describe(long number, struct syscall_info *info) {
    if (number < 0 || number >= SYSCALL_COUNT || !syscall_table[number].name) {
        return false;
    }
    info->name = syscall_table[number].name;
    info->note = syscall_table[number].note ? syscall_table[number].note : "";
    info->level = syscall_table[number].level;
    return true;
}

int unsupported_flags(const char *call, uint64_t flags, uint64_t known, int error) {
    /* An int flag with bit 31 comes sign-extended. */
    uint64_t unknown = (flags >> 31 == (1ull << 33) - 1 ? (uint32_t)flags : flags) & ~known;

    if (unknown) {
        log_once(LOG_WARN, call, unknown, "not supported: %s(2) with flags 0x%" PRIx64, call,
                 unknown);
        return -error;
    }
    return 0;
}

void syscall_stats_start(void) {
    atomic_store(&stats_on, true);
}

static int stats_compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    uint64_t calls_x = atomic_load(&stats[x].calls), calls_y = atomic_load(&stats[y].calls);

    if (calls_x != calls_y) {
        return calls_x < calls_y ? 1 : -1;
    }
    return x < y ? -1 : x > y;
}

static void stats_line(int fd, const char *line, int length) {
    /* Nobody is left to tell when standard error is gone. */
    if (host_write(fd, line, (size_t)length) < 0) {
        return;
    }
}

void syscall_stats_print(int fd, const struct host_job *job) {
    struct host_call_counts own;
    long order[SYSCALL_COUNT];
    size_t count = 0;
    uint64_t calls = 0, errors = 0;
    char line[160];

    for (long number = 0; number < SYSCALL_COUNT; number++) {
        if (atomic_load(&stats[number].calls)) {
            order[count++] = number;
        }
    }
    qsort(order, count, sizeof(order[0]), stats_compare);
    stats_line(fd, line,
               snprintf(line, sizeof(line), "%10s %10s %12s %10s  %s\n", "calls", "errors",
                        "total µs", "ns/call", "call"));
    for (size_t i = 0; i < count; i++) {
        long number = order[i];
        uint64_t n = atomic_load(&stats[number].calls), ns = atomic_load(&stats[number].time_ns);
        uint64_t failed = atomic_load(&stats[number].errors);
        const char *name = syscall_table[number].name;

        calls += n;
        errors += failed;
        stats_line(fd, line,
                   snprintf(line, sizeof(line),
                            "%10" PRIu64 " %10" PRIu64 " %12" PRIu64 " %10" PRIu64 "  %s\n", n,
                            failed, ns / 1000, ns / n, name ? name : "(no such call)"));
    }
    stats_line(fd, line,
               snprintf(line, sizeof(line), "%10" PRIu64 " %10" PRIu64 " %12s %10s  total\n", calls,
                        errors, "", ""));
    host_job_call_counts(job, &own);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"calls", calls + own.local + own.direct}, /* all that programs made */
        {"handovers", calls},                      /* of these, the kernel process answered */
        {"local", own.local},                      /* the stub did, from what it knows */
        {"direct", own.direct},                    /* the stub did, by one host call */
        {"patched", own.patched},                  /* of both, without a signal */
    };

    for (size_t i = 0; i < ARRAY_SIZE(figures); i++) {
        stats_line(fd, line,
                   snprintf(line, sizeof(line), "starling: stats: %s %" PRIu64 "\n",
                            figures[i].name, figures[i].value));
    }
}
