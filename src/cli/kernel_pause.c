/*
 * --pause-every: brings the whole sandbox to rest (design §12) again and again and lets it go on at
 * once. Its programs notice nothing but lost time: that is what the tests hold it to. One thread,
 * which lives as long as the process.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/kernel_internal.h"
#include "host/jail.h"

/* A sandbox that cannot be brought to rest in this time has a task that ignores the kernel. */
#define REST_LIMIT_NS (10 * NSEC_PER_SEC)

static struct {
    struct kernel *kernel;
    int64_t interval_ns;
    _Atomic uint64_t rests, failed, total_ns, longest_ns;
} pauses;

static void pause_once(void) {
    int64_t start = host_clock_monotonic(), took;
    int result = kernel_rest(pauses.kernel, start + REST_LIMIT_NS);

    if (result < 0) {
        atomic_fetch_add(&pauses.failed, 1);
        log_once(LOG_ERROR, "pause", 0, "the sandbox could not be brought to rest in %d s: %s",
                 (int)(REST_LIMIT_NS / NSEC_PER_SEC), strerror(-result));
        return;
    }
    took = host_clock_monotonic() - start;
    kernel_release(pauses.kernel);
    atomic_fetch_add(&pauses.rests, 1);
    atomic_fetch_add(&pauses.total_ns, (uint64_t)took);
    if ((uint64_t)took > atomic_load(&pauses.longest_ns)) {
        atomic_store(&pauses.longest_ns, (uint64_t)took);
    }
}

static void *pause_main(void *arg) {
    for (;;) {
        deadline_ns next = host_clock_monotonic() + pauses.interval_ns;

        while (wait_sleep(next) == 0) {
        }
        pause_once();
    }
    return NULL;
}

int kernel_pause_start(const struct run_options *options, struct kernel *kernel) {
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all;
    int error;

    if (!options->pause_every_ns) {
        return 0;
    }
    pauses.kernel = kernel;
    pauses.interval_ns = options->pause_every_ns;
    host_signals_blocked(&all);
    error = pthread_attr_init(&attr);
    error = error ? error : pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = error ? error : pthread_attr_setsigmask_np(&attr, &all);
    error = error ? error : pthread_create(&thread, &attr, pause_main, NULL);
    return -error;
}

void kernel_pause_print(int fd) {
    char line[160];
    uint64_t rests = atomic_load(&pauses.rests);
    int length;

    if (!pauses.kernel) {
        return;
    }
    length = snprintf(line, sizeof(line),
                      "starling: brought to rest %" PRIu64 " times, failed %" PRIu64
                      ", mean %" PRIu64 " us, longest %" PRIu64 " us\n",
                      rests, atomic_load(&pauses.failed),
                      rests ? atomic_load(&pauses.total_ns) / rests / 1000 : 0,
                      atomic_load(&pauses.longest_ns) / 1000);
    if (host_write(fd, line, (size_t)length) < 0) {
        return; /* nobody is left to tell */
    }
}
