/* Which processors the host gives us, and giving one up for a moment. */
#include <pthread.h>
#include <sched.h>

#include "host/host.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t mask[HOST_CPU_WORDS];
static size_t words;

_Static_assert(HOST_CPU_WORDS * 64 == CPU_SETSIZE, "the whole of cpu_set_t");

/* By whichever thread comes first: before any of them was bound to one core (pairing.c). */
static void look(void) {
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        CPU_ZERO(&set);
        CPU_SET(0, &set);
    }
    for (size_t cpu = 0; cpu < HOST_CPU_WORDS * 64; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            mask[cpu / 64] |= 1ULL << (cpu % 64);
            words = cpu / 64 + 1;
        }
    }
}

size_t host_cpu_mask(uint64_t out[HOST_CPU_WORDS]) {
    pthread_once(&once, look);
    memcpy(out, mask, sizeof(mask));
    return words;
}

void host_yield(void) {
    sched_yield();
}
