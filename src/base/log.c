/* The log: see log.h. A line is formatted into one buffer and written with one call, so lines never
 * mix. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024
#define ONCE_SLOTS     1024 /* a power of two; when full, further topics are not logged */

static int log_fd = STDERR_FILENO;
static enum log_level log_threshold = LOG_WARN;
static struct {
    const char *_Atomic topic;
    _Atomic uint64_t key;
} once_seen[ONCE_SLOTS];

void log_start(int fd, enum log_level level) {
    log_fd = fd;
    log_threshold = level;
}

int log_descriptor(void) {
    return log_fd;
}

bool log_enabled(enum log_level level) {
    return level <= log_threshold;
}

PRINTF(2, 0)
static void line_write(const char *prefix, const char *format, va_list args) {
    char line[LINE_MAX_BYTES];
    int used = snprintf(line, sizeof(line), "starling: %s", prefix);
    int body = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);

    used = body < 0 ? used : MIN(used + body, (int)sizeof(line) - 2);
    line[used++] = '\n';
    const struct iovec all = {.iov_base = line, .iov_len = (size_t)used};

    /* By pwritev2, the one call for writing that the kernel process's jail leaves open. Nobody is
     * left to tell when the log itself cannot be written. */
    if (pwritev2(log_fd, &all, 1, -1, 0) < 0) {
        return;
    }
}

static const char *const level_prefix[] = {"error: ", "warning: ", "", "debug: "};

void log_line(enum log_level level, const char *format, ...) {
    va_list args;

    if (!log_enabled(level)) {
        return;
    }
    va_start(args, format);
    line_write(level_prefix[level], format, args);
    va_end(args);
}

/* True the first time that the pair is seen. Lock-free: a slot is claimed by its topic, then its
 * key is checked. */
static bool once_claim(const char *topic, uint64_t key) {
    uint64_t hash = ((uint64_t)(uintptr_t)topic ^ (key * 0x9e3779b97f4a7c15u)) >> 7;

    for (size_t i = 0; i < ONCE_SLOTS; i++) {
        size_t slot = (hash + i) & (ONCE_SLOTS - 1);
        const char *expected = NULL;

        if (atomic_compare_exchange_strong(&once_seen[slot].topic, &expected, topic)) {
            atomic_store(&once_seen[slot].key, key);
            return true;
        }
        if (expected == topic && atomic_load(&once_seen[slot].key) == key) {
            return false;
        }
    }
    return false; /* so many different lines come from a guest that asks for them */
}

void log_once(enum log_level level, const char *topic, uint64_t key, const char *format, ...) {
    va_list args;

    if (!log_enabled(level) || !once_claim(topic, key)) {
        return;
    }
    va_start(args, format);
    line_write(level_prefix[level], format, args);
    va_end(args);
}

void panic_at(const char *file, int line, const char *format, ...) {
    char prefix[160];
    va_list args;

    snprintf(prefix, sizeof(prefix), "panic: %s:%d: ", file, line);
    va_start(args, format);
    line_write(prefix, format, args);
    va_end(args);
    abort();
}

void ref_broken(const struct ref *ref) {
    panic("reference count is %d: used after its end, or overflowed", atomic_load(&ref->count));
}
