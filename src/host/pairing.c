/*
 * Pairing: the two threads of a task, its host thread and its kernel thread, run on the same core,
 * since a wake-up across cores costs twenty times one on the same core (design §3). A new pair goes
 * to the core with the fewest pairs, its parent's core when that is no worse.
 */
#include "host/host_internal.h"

#include <sched.h>

#define MAX_CPUS 1024

static struct {
    pthread_once_t once;
    int count;                   /* cores that we may use */
    int cpus[MAX_CPUS];          /* their numbers */
    _Atomic int pairs[MAX_CPUS]; /* by index in cpus */
} pairing = {.once = PTHREAD_ONCE_INIT};

static void pairing_start(void) {
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0) {
        return;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE && pairing.count < MAX_CPUS; cpu++) {
        if (CPU_ISSET(cpu, &set)) {
            pairing.cpus[pairing.count++] = cpu;
        }
    }
}

void pairing_assign(struct host_thread *thread, const struct host_thread *near) {
    int best;

    pthread_once(&pairing.once, pairing_start);
    if (pairing.count < 2) {
        return;
    }
    best = near && near->cpu >= 0 ? near->cpu : 0;
    for (int i = 0; i < pairing.count; i++) {
        if (atomic_load(&pairing.pairs[i]) < atomic_load(&pairing.pairs[best])) {
            best = i;
        }
    }
    atomic_fetch_add(&pairing.pairs[best], 1);
    thread->cpu = best;
}

void pairing_release(struct host_thread *thread) {
    if (thread->cpu >= 0) {
        atomic_fetch_sub(&pairing.pairs[thread->cpu], 1);
        thread->cpu = -1;
    }
}

/* Own kernel thread, before a hand-over: puts both threads where the pair belongs, once. */
void pairing_apply(struct host_thread *thread) {
    cpu_set_t set;

    if (thread->cpu == thread->kernel_cpu || thread->cpu < 0) {
        return;
    }
    CPU_ZERO(&set);
    CPU_SET(pairing.cpus[thread->cpu], &set);
    if (sched_setaffinity(thread->tid, sizeof(set), &set) == 0 &&
        sched_setaffinity(0, sizeof(set), &set) == 0) {
        thread->kernel_cpu = thread->cpu;
    }
}
