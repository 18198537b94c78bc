/*
 * The dispatcher: a call's number to its handler, through the table, with what --strace and --stats
 * want to know on the way.
 *
 * Owns the counters of --stats: one cache line of atomics a call, bumped without a lock.
 */
#include "syscalls/syscalls.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "syscalls/table_internal.h"

static struct { _Atomic uint64_t calls, patched, errors, time_ns; } stats[SYSCALL_COUNT];
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
        if (host_thread_came_patched(current->thread)) {
            atomic_fetch_add_explicit(&stats[number].patched, 1, memory_order_relaxed);
        }
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
        trace_exit(current, args, result);
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

/* What was counted of one call, here and in the stubs. */
struct counts {
    long number;
    uint64_t calls, handed_over, patched, errors, time_ns;
};

static int counts_compare(const void *a, const void *b) {
    const struct counts *x = a, *y = b;

    if (x->calls != y->calls) {
        return x->calls < y->calls ? 1 : -1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

static void PRINTF(2, 3) stats_line(int fd, const char *format, ...) {
    char line[160];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    /* Nobody is left to tell when standard error is gone. */
    if (host_write(fd, line, (size_t)length) < 0) {
        return;
    }
}

enum { LOCAL, DIRECT, HANDED_OVER, CLASSES };

void syscall_stats_print(int fd, const struct host_job *job) {
    static const char *const names[CLASSES] = {"local", "direct", "handovers"};
    const struct host_call_counts *answered = host_job_call_counts(job);
    struct counts rows[SYSCALL_COUNT], all = {0};
    uint64_t calls[CLASSES] = {0}, patched[CLASSES] = {0};
    size_t count = 0;

    for (long number = 0; number < SYSCALL_COUNT; number++) {
        struct counts *row = &rows[count];
        uint64_t own = 0, own_patched = 0;
        int class = task_stub_asks_host(number) ? DIRECT : LOCAL;

        if (answered && number < (long)SLOT_ANSWERED) {
            own_patched = atomic_load(&answered[number].patched);
            own = atomic_load(&answered[number].trapped) + own_patched;
        }
        *row = (struct counts){.number = number,
                               .handed_over = atomic_load(&stats[number].calls),
                               .patched = atomic_load(&stats[number].patched),
                               .errors = atomic_load(&stats[number].errors),
                               .time_ns = atomic_load(&stats[number].time_ns)};
        calls[HANDED_OVER] += row->handed_over;
        patched[HANDED_OVER] += row->patched;
        calls[class] += own;
        patched[class] += own_patched;
        if (own) {
            row->errors += atomic_load(&answered[number].failed);
        }
        row->calls = row->handed_over + own;
        row->patched += own_patched;
        all.calls += row->calls;
        all.handed_over += row->handed_over;
        all.patched += row->patched;
        all.errors += row->errors;
        count += row->calls != 0;
    }
    qsort(rows, count, sizeof(rows[0]), counts_compare);
    stats_line(fd, "%10s %10s %10s %10s %12s %10s  %s\n", "calls", "handovers", "patched", "errors",
               "total µs", "ns/call", "call");
    for (size_t i = 0; i < count; i++) {
        const struct counts *row = &rows[i];
        const char *name = syscall_table[row->number].name;

        stats_line(fd,
                   "%10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12" PRIu64
                   " %10" PRIu64 "  %s\n",
                   row->calls, row->handed_over, row->patched, row->errors, row->time_ns / 1000,
                   row->handed_over ? row->time_ns / row->handed_over : 0,
                   name ? name : "(no such call)");
    }
    stats_line(fd, "%10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12s %10s  total\n",
               all.calls, all.handed_over, all.patched, all.errors, "", "");
    stats_line(fd, "starling: stats: calls %" PRIu64 "\n", all.calls);
    stats_line(fd, "starling: stats: patched %" PRIu64 "\n", all.patched);
    for (int class = 0; class < CLASSES; class ++) {
        stats_line(fd, "starling: stats: %s %" PRIu64 "\n", names[class], calls[class]);
        stats_line(fd, "starling: stats: %s_patched %" PRIu64 "\n", names[class], patched[class]);
    }
}
