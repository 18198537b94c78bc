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

/* Asked once, before the jail, which leaves clock_getres(2) out; negative: -errno. Immutable. */
static int64_t resolutions[CLOCK_TAI + 1];

void host_clock_setup(void) {
    for (clockid_t clock = 0; clock <= CLOCK_TAI; clock++) {
        struct timespec resolution;

        resolutions[clock] = clock_getres(clock, &resolution)
                                 ? -errno
                                 : resolution.tv_sec * 1000000000 + resolution.tv_nsec;
    }
}

int host_clock_getres(clockid_t clock, struct timespec *resolution) {
    int64_t ns = clock >= 0 && clock <= CLOCK_TAI ? resolutions[clock] : -EINVAL;

    if (ns < 0) {
        return (int)ns;
    }
    *resolution = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return 0;
}
