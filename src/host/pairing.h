/*
 * What pairing.c (which core a task belongs to) and spreading.c (spinning on two cores) share. All
 * of it is hints for speed: the figures may be a moment old, nothing is wrong when they are.
 */
#ifndef STARLING_PAIRING_H
#define STARLING_PAIRING_H

#include "host/host_internal.h"

#include <sched.h>

#define PAIRING_MAX_CORES 256

struct pairing_core {
    /* Tasks that belong here and do not sleep: their guest runs, or their kernel thread. */
    _Alignas(64) _Atomic int active;
    _Atomic uint64_t since;   /* cycles: `active` has been 2 or more since then */
    _Atomic uint64_t crowded; /* cycles spent so since the last tick, in long pieces */
    _Atomic bool spun;        /* a kernel thread spins here for a guest elsewhere */
};

struct pairing {
    pthread_once_t once;
    int count;                       /* cores that we may use; one: nothing is ever pinned */
    int numbers[PAIRING_MAX_CORES];  /* the host's numbers of them */
    cpu_set_t all;                   /* these five are immutable once `once` is done */
    uint64_t start_cycles, start_ns; /* when that was: */
    _Atomic uint64_t cycles_per_us;  /* measured by the first tick; 0: not yet */
    _Atomic int active;              /* of all cores */
    _Atomic int spreads;             /* tasks that take two cores */
    struct pairing_core cores[PAIRING_MAX_CORES];
};
extern struct pairing pairing;

/* The calling kernel thread alone to that core. */
void pairing_pin_self(int core);

/* aside.c: sends a process that sleeps to a core that no task uses, if there is one. *place: where
 * it was sent before, -1: nowhere. */
void aside_send(pid_t pid, _Atomic int *place);

/* wait.c's: the calling thread goes to sleep on its waiter, has come back, wakes another one's. */
void pairing_sleeps(struct waiter *waiter);
void pairing_woke(struct waiter *waiter);
void pairing_wakes(struct waiter *waiter);

/* spreading.c; all for the calling kernel thread and the task that it serves. */
enum spread_why {
    SPREAD_SLOW,    /* the guest, or the call, took longer than one should spin, or slept */
    SPREAD_CROWDED, /* another task of ours wants one of the two cores */
    SPREAD_TORN,    /* somebody else does: the spinning sides are pushed aside */
};
/* Before the turn is given: decides whether it is time to spread, or to end it. */
void spread_consider(int home);
void spread_call(uint64_t gap); /* the guest ran so long, in cycles, before it called */
void spread_stop(enum spread_why why);
void spread_end(void); /* the task has ended: nothing of it is remembered for the next one */
/* One of the two sides had not run for a while. */
void spread_hole(void);
/* For how many cycles the guest's side may spin in its next wait; 0: not at all. */
uint32_t spread_guest_cycles(void);
/* When the turn has been given: this thread goes to its own core, if that was decided. `late`: the
 * guest's side slept. */
void spread_given(bool late);
/* One look while the turn is the guest's: true when this thread shall look again at once. `since`:
 * when it began to wait, `*last`: its last look, both in cycles. */
bool spread_watch(uint64_t since, uint64_t *last);

#endif
