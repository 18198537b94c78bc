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

bool aside_place(_Atomic int *place, cpu_set_t *set) {
    int core = pairing.count > 1 ? free_core() : -1;

    if (core < 0 || atomic_exchange(place, core) == core) {
        return false;
    }
    CPU_ZERO(set);
    CPU_SET(pairing.numbers[core], set);
    return true;
}

void aside_send(pid_t pid, _Atomic int *place) {
    cpu_set_t set;

    if (pid > 0 && aside_place(place, &set)) {
        (void)sched_setaffinity(pid, sizeof(set), &set); /* what fails costs speed alone */
    }
}
