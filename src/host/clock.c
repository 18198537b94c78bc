/*
 * The host's clocks (clock_gettime(2)), through its vDSO: no host call in the usual case.
 */
#include "host/wait.h"

#include <time.h>

static int64_t clock_now(clockid_t clock) {
    struct timespec now;

    if (clock_gettime(clock, &now)) {
        panic("clock_gettime(%d): %s", (int)clock, strerror(errno));
    }
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t host_clock_monotonic(void) {
    return clock_now(CLOCK_MONOTONIC);
}

int64_t host_clock_realtime(void) {
    return clock_now(CLOCK_REALTIME);
}

int64_t host_clock_boottime(void) {
    return clock_now(CLOCK_BOOTTIME);
}

int host_clock_gettime(clockid_t clock, struct timespec *now) {
    return clock_gettime(clock, now) ? -errno : 0;
}

int host_clock_getres(clockid_t clock, struct timespec *resolution) {
    return clock_getres(clock, resolution) ? -errno : 0;
}
