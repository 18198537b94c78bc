/*
 * Spreading: while a core is free, the kernel thread of a task that calls often leaves its guest's
 * core for that one, and both sides spin on the turn for some microseconds before they sleep. A
 * hand-over is then ten times faster than between two threads of one core (docs/performance.md),
 * and costs a second core.
 *
 * A kernel thread spreads when its guest has made a number of calls in a row with only short pauses
 * between them, none of which slept, and there is room: fewer active tasks than cores, this one
 * counted twice, and no more threads that run on the whole host than it has cores. It goes back to
 * its guest's core, always before it sleeps, so that the wake-up comes from the same core:
 *  - when the guest takes too long, or a call sleeps. A long pause is paid for by the calls before
 *    it: each one earns some time that may be spun away (`credit`). Going to and fro costs as much
 *    as some fifty calls gain, so if it had stayed only for a while, more calls are asked for the
 *    next time;
 *  - when an active task wants one of the two cores, or when the spinning sides find several times
 *    that they had been pushed aside (a hole in the processor's time stamps; single holes come from
 *    interrupts and from a hypervisor). Then it tries again after a time, which doubles with each
 *    failure.
 */
#include "host/pairing.h"

#include <stdio.h>
#include <stdlib.h>

#include "host/host_facts.h"

#define PAUSE_US        100  /* a longer pause between two calls is not short */
#define KERNEL_SPIN_US  150  /* for the guest's next call, without credit */
#define CREDIT_FIRST_US 1000 /* moving takes the host some hundred */
#define CREDIT_CALL_US  2    /* what a call gains, about a third of it */
#define CREDIT_MAX_US   2000
#define GUEST_SPIN_US   100  /* for the end of a call */
#define GUEST_FIRST_US  2000 /* for the end of the first one, while the kernel's side moves */
#define HOLE_US         200  /* between two looks: the spinning thread did not run */
#define HOLES_MAX       4
#define HOLE_FADES_US   10000 /* after so long without another one, it counts no more */
#define CALLS_MIN       32    /* such calls in a row before a kernel thread spreads */
#define CALLS_MAX       4096
#define STAY_SHORT      256 /* calls: it was not worth it */
#define LATE_COST       8   /* one call that slept after all weighs as many that did not */
#define LATE_MAX        64
#define RETRY_MIN_US    1000
#define RETRY_MAX_US    300000

static _Thread_local struct spread {
    bool decided, on; /* it takes a core; it is there */
    int home, core;
    uint32_t pace;  /* calls in a row after short pauses */
    uint32_t after; /* how many must be */
    uint32_t stay;  /* calls since it spread */
    uint32_t late;
    uint32_t holes;
    uint64_t hole_at;            /* cycles: the last one */
    uint64_t credit;             /* cycles that may be spun away */
    uint64_t retry_at, retry_us; /* cycles, time */
} spread = {.after = CALLS_MIN, .retry_us = RETRY_MIN_US};

void spread_end(void) {
    spread_stop(SPREAD_SLOW);
    spread = (struct spread){.after = CALLS_MIN, .retry_us = RETRY_MIN_US};
}

static uint64_t us(uint64_t count) {
    return count * atomic_load_explicit(&pairing.cycles_per_us, memory_order_relaxed);
}

static bool crowded(void) {
    return atomic_load_explicit(&pairing.cores[spread.core].active, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&pairing.cores[spread.home].active, memory_order_relaxed) > 1 ||
           atomic_load_explicit(&pairing.active, memory_order_relaxed) +
                   atomic_load_explicit(&pairing.spreads, memory_order_relaxed) >
               pairing.count;
}

/* Does somebody else use the host's cores? It may hide that: then the holes tell. */
static bool host_busy(void) {
    char *text = host_facts_proc("loadavg");
    unsigned running;
    bool busy = false;

    /* "0.20 0.18 0.12 1/80 11206": how many run, this thread being one. */
    if (text && sscanf(text, "%*s %*s %*s %u/", &running) == 1) {
        busy = running >= host_facts_cpu_count();
    }
    free(text);
    return busy;
}

static bool take_core(int home) {
    for (int i = 0; i < pairing.count; i++) {
        struct pairing_core *core = &pairing.cores[i];

        if (i != home && atomic_load(&core->active) == 0 && !atomic_exchange(&core->spun, true)) {
            atomic_fetch_add(&pairing.spreads, 1);
            spread.home = home;
            spread.core = i;
            return true;
        }
    }
    return false;
}

static void release_core(void) {
    atomic_fetch_sub(&pairing.spreads, 1);
    atomic_store(&pairing.cores[spread.core].spun, false);
}

static void retry_later(uint64_t now) {
    spread.retry_at = now + us(spread.retry_us);
    spread.retry_us = MIN(spread.retry_us * 2, (uint64_t)RETRY_MAX_US);
}

void spread_consider(int home) {
    uint64_t now;

    if (spread.on) {
        if (crowded()) {
            spread_stop(SPREAD_CROWDED);
        }
        return;
    }
    if (spread.pace < spread.after) {
        return;
    }
    spread.pace = 0;
    now = cycles();
    if (now < spread.retry_at || us(1) == 0 || !take_core(home)) {
        return;
    }
    if (crowded() || host_busy()) {
        release_core();
        retry_later(now);
        return;
    }
    spread.decided = true;
    spread.stay = spread.late = spread.holes = 0;
    spread.credit = us(CREDIT_FIRST_US);
}

uint32_t spread_guest_cycles(void) {
    if (!spread.decided) {
        return 0;
    }
    return (uint32_t)us(spread.on ? GUEST_SPIN_US : GUEST_FIRST_US);
}

void spread_hole(void) {
    uint64_t now = cycles();

    if (!spread.on) {
        return;
    }
    spread.holes = now - spread.hole_at > us(HOLE_FADES_US) ? 1 : spread.holes + 1;
    spread.hole_at = now;
    if (spread.holes > HOLES_MAX) {
        spread_stop(SPREAD_TORN);
    }
}

void spread_given(bool late) {
    if (!spread.decided) {
        return;
    }
    if (!spread.on) {
        spread.on = true;
        pairing_pin_self(spread.core);
        return;
    }
    if (!late) {
        spread.late -= spread.late > 0;
        return;
    }
    spread.late += LATE_COST;
    if (spread.late > LATE_MAX) {
        spread_stop(SPREAD_SLOW);
    }
}

bool spread_watch(uint64_t since, uint64_t *last) {
    uint64_t now;

    if (!spread.on) {
        return false;
    }
    now = cycles();
    if (now - *last > us(HOLE_US)) {
        spread_hole();
    } else if (now - since > us(KERNEL_SPIN_US) + spread.credit) {
        spread_stop(SPREAD_SLOW);
    } else if (crowded()) {
        spread_stop(SPREAD_CROWDED);
    }
    *last = now;
    return spread.on;
}

void spread_call(uint64_t gap) {
    uint64_t spent = gap > us(KERNEL_SPIN_US) ? gap - us(KERNEL_SPIN_US) : 0;

    spread.credit = MIN(spread.credit + us(CREDIT_CALL_US), us(CREDIT_MAX_US));
    spread.credit -= MIN(spent, spread.credit);
    spread.stay++;
    spread.pace = gap < us(PAUSE_US) ? spread.pace + 1 : spread.pace / 2;
}

void spread_stop(enum spread_why why) {
    if (!spread.decided) {
        spread.pace /= 2;
        return;
    }
    if (spread.on) {
        pairing_pin_self(spread.home);
    }
    release_core();
    spread.decided = spread.on = false;
    spread.pace = 0;
    if (spread.stay >= STAY_SHORT) {
        spread.retry_us = RETRY_MIN_US;
    }
    if (why != SPREAD_SLOW) {
        retry_later(cycles());
    } else if (spread.stay < STAY_SHORT) {
        spread.after = MIN(spread.after * 2, (uint32_t)CALLS_MAX);
    } else {
        spread.after = MAX(spread.after / 2, (uint32_t)CALLS_MIN);
    }
}
