/*
 * Aside: work that nobody waits for goes to a core where no task of the sandbox is active: the end
 * of a guest process, which takes the host longer than all that came before it, and the making of
 * spares. On the core of the task that caused it, it would delay that task's parent.
 *
 * Which core that is, the one who causes the work decides, before the work begins: moving a thread
 * that sleeps costs the host little, moving one that runs a wake-up more. Where no core is free the
 * work stays where it was.
 */
#include "host/pairing.h"

/* -1: none. A task that is about to end is active itself. */
static int free_core(void) {
    for (int i = 0; i < pairing.count; i++) {
        if (atomic_load(&pairing.cores[i].active) == 0 && !atomic_load(&pairing.cores[i].spun)) {
            return i;
        }
    }
    return -1;
}

void aside_send(pid_t tid, _Atomic int *place) {
    int core = pairing.count > 1 ? free_core() : -1;
    cpu_set_t set;

    if (tid > 0 && core >= 0 && atomic_exchange(place, core) != core) {
        CPU_ZERO(&set);
        CPU_SET(pairing.numbers[core], &set);
        (void)sched_setaffinity(tid, sizeof(set), &set); /* what fails costs speed alone */
    }
}
