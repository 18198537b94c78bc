/*
 * Pairing: the two threads of a task, its host thread and its kernel thread, run on the same core,
 * since a wake-up across cores costs twenty times one on the same core (docs/performance.md).
 *
 * A pair is pinned to one core as long as its guest keeps calling. What moves it:
 *  - a new pair starts on the core where the fewest tasks are active, its parent's when that is no
 *    worse;
 *  - a task that is woken by tasks of another core, which then sleep (the other end of a pipe that
 *    is written and answered in turns), follows them there: the wake-ups stay on one core;
 *  - where two tasks were active at once for long, and some core has none, the tick moves one. An
 *    overlap of some microseconds is not long: it is what two that take turns make;
 *  - a guest that has not called for a whole tick computes, or sleeps in a call of its own on a
 *    descriptor that it was given. It is unpinned, and counts no more as active: the host's
 *    scheduler places it better than we can. Its next call pins the pair again, where the guest is
 *    then.
 * The tick runs in the event thread, and only while a task is active: an idle sandbox has no
 * wake-ups.
 *
 * A task is active unless its kernel thread sleeps in wait_sleep() or waits for a host call that
 * sleeps. Each kernel thread counts itself, but for one thing: who wakes it counts it as active
 * from that moment on, so that whoever spins on its core makes room before it comes.
 */
#include "host/pairing.h"

#define TICK_NS      10000000
#define OVERLAP_US   50        /* shorter ones are not counted */
#define FOLLOW_AFTER 3         /* such wake-ups in a row */
#define STAY_NS      100000000 /* once moved away for want of room, it follows nobody so long */

struct pairing pairing = {.once = PTHREAD_ONCE_INIT};

static struct {
    _Atomic bool set; /* the timer is, or its callback runs */
    struct host_job *_Atomic job;
    struct poller_timer timer;
    uint64_t last; /* cycles; event thread only */
} ticking;

/* What the calling kernel thread is to us. Numbers of cores are one more, 0: none. */
static _Thread_local struct {
    uint32_t core;     /* where its task is counted */
    int pinned;        /* where it may run alone */
    uint32_t follow;   /* where it shall move at its next turn */
    uint32_t followed; /* wake-ups in a row that say so */
    int64_t stay_until;
    uint64_t given; /* cycles: when the guest got its turn */
} seat;

static void pairing_start(void) {
    uint64_t mask[HOST_CPU_WORDS];
    size_t words = host_cpu_mask(mask); /* as it was before the jail, which forbids to ask */

    CPU_ZERO(&pairing.all);
    for (size_t cpu = 0; cpu < words * 64 && pairing.count < PAIRING_MAX_CORES; cpu++) {
        if (mask[cpu / 64] & (1ull << (cpu % 64))) {
            CPU_SET(cpu, &pairing.all);
            pairing.numbers[pairing.count++] = (int)cpu;
        }
    }
    pairing.start_ns = (uint64_t)host_clock_monotonic();
    pairing.start_cycles = cycles();
}

/* ---- who is active where ---- */

static int core_active(int core) {
    return atomic_load_explicit(&pairing.cores[core].active, memory_order_relaxed);
}

static void core_enter(int number) {
    struct pairing_core *core = &pairing.cores[number];

    if (atomic_fetch_add(&core->active, 1) == 1) {
        atomic_store(&core->since, cycles());
    }
    atomic_fetch_add(&pairing.active, 1);
}

static void core_add_crowded(struct pairing_core *core, uint64_t now) {
    int64_t piece = (int64_t)(now - atomic_load(&core->since));

    if (piece > (int64_t)(OVERLAP_US * atomic_load(&pairing.cycles_per_us))) {
        atomic_fetch_add(&core->crowded, (uint64_t)piece);
    }
}

static void core_leave(int number) {
    struct pairing_core *core = &pairing.cores[number];

    if (atomic_fetch_sub(&core->active, 1) == 2) {
        core_add_crowded(core, cycles());
    }
    atomic_fetch_sub(&pairing.active, 1);
}

static void set_seat(uint32_t core) {
    if (seat.core != core) {
        if (seat.core) {
            core_leave((int)seat.core - 1);
        }
        seat.core = core;
        if (core) {
            core_enter((int)core - 1);
        }
    }
}

void pairing_sleeps(struct waiter *waiter) {
    if (seat.core) {
        host_close_queued(true);
        spread_stop(SPREAD_SLOW);
        atomic_store_explicit(&waiter->woken_from, 0, memory_order_relaxed);
        core_leave((int)seat.core - 1);
        atomic_store(&waiter->idle_at, seat.core);
    }
}

/* Whoever comes first counts it as active again. */
static uint32_t count_in(struct waiter *waiter) {
    uint32_t core = atomic_exchange(&waiter->idle_at, 0);

    if (core) {
        core_enter((int)core - 1);
    }
    return core;
}

void pairing_wakes(struct waiter *waiter) {
    uint32_t core = count_in(waiter);

    if (core && seat.core && core != seat.core) {
        atomic_store_explicit(&waiter->woken_from, seat.core, memory_order_relaxed);
    }
}

void pairing_woke(struct waiter *waiter) {
    uint32_t from;

    if (!seat.core) {
        return;
    }
    (void)count_in(waiter);
    from = atomic_load_explicit(&waiter->woken_from, memory_order_relaxed);
    if (!from) {
        return;
    }
    if (core_active((int)from - 1) > 0) {
        seat.followed = 0; /* the waker has other things to do */
    } else if (++seat.followed >= FOLLOW_AFTER && host_clock_monotonic() >= seat.stay_until) {
        seat.followed = 0;
        seat.follow = from;
    }
}

void wait_thread_ends(void) {
    host_close_queued(false);
    spread_end();
    set_seat(0);
}

/* ---- where a pair runs ---- */

/* `except`: where the caller's own task is counted, which is about to start another one. */
static int least_active(int preferred, int except) {
    int best = preferred;

    for (int i = 0; i < pairing.count; i++) {
        if (core_active(i) - (i == except) < core_active(best) - (best == except)) {
            best = i;
        }
    }
    return best;
}

void pairing_assign(struct host_thread *thread, const struct host_thread *near) {
    pthread_once(&pairing.once, pairing_start);
    atomic_store(&ticking.job, thread->process->job);
    if (pairing.count > 1) {
        int preferred = MAX(near ? atomic_load(&near->cpu) : 0, 0);

        atomic_store(&thread->cpu, least_active(preferred, (int)seat.core - 1));
    }
}

/* The core that the stub says it is on, when that is one of ours: a hint, which a guest may forge
 * to its own loss. */
static int reported_core(const struct host_thread *thread) {
    uint32_t number = __atomic_load_n(&thread->slot->cpu, __ATOMIC_RELAXED) & 0xfff;

    for (int i = 0; i < pairing.count; i++) {
        if ((uint32_t)pairing.numbers[i] == number) {
            return i;
        }
    }
    return atomic_load(&thread->cpu);
}

static void core_set(int core, cpu_set_t *set) {
    CPU_ZERO(set);
    CPU_SET(pairing.numbers[core], set);
}

void pairing_pin_self(int core) {
    cpu_set_t set;

    if (seat.pinned == core + 1) {
        return;
    }
    seat.pinned = core + 1;
    core_set(core, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* what fails costs speed alone */
}

void pairing_leave_core(void) {
    pthread_once(&pairing.once, pairing_start);
    if (pairing.count > 1) {
        (void)sched_setaffinity(0, sizeof(pairing.all), &pairing.all);
    }
}

void host_cores_visit(void) {
    spread_stop(SPREAD_SLOW);
    for (int i = 0; i < pairing.count; i++) {
        pairing_pin_self(i);
    }
    if (seat.core) {
        pairing_pin_self((int)seat.core - 1);
    } else {
        pairing_leave_core();
    }
}

static void pin(struct host_thread *thread, int core) {
    cpu_set_t set;

    spread_stop(SPREAD_CROWDED);
    if (atomic_exchange(&thread->pinned_to, core) != core) {
        core_set(core, &set);
        (void)sched_setaffinity(thread->tid, sizeof(set), &set);
    }
    pairing_pin_self(core);
    thread->kernel_cpu = core;
    atomic_store(&thread->cpu, core);
}

/* Moves the pair where it is wanted. */
static void settle(struct host_thread *thread) {
    int cpu = atomic_load_explicit(&thread->cpu, memory_order_relaxed);
    int move_to = atomic_load_explicit(&thread->move_to, memory_order_relaxed);

    if (atomic_load_explicit(&thread->unpinned, memory_order_relaxed)) {
        pin(thread, reported_core(thread));
        atomic_store(&thread->unpinned, false);
    } else if (move_to >= 0) {
        pin(thread, move_to);
        seat.follow = seat.followed = 0;
        seat.stay_until = host_clock_monotonic() + STAY_NS;
    } else if (seat.follow) {
        pin(thread, (int)seat.follow - 1);
        seat.follow = 0;
    } else if (cpu != thread->kernel_cpu) {
        pin(thread, cpu);
    }
    if (move_to >= 0) {
        atomic_store(&thread->move_to, -1);
    }
    set_seat((uint32_t)atomic_load_explicit(&thread->cpu, memory_order_relaxed) + 1);
}

/* ---- the tick ---- */

static void measure_cycles(uint64_t now) {
    uint64_t ns = (uint64_t)host_clock_monotonic() - pairing.start_ns;

    if (atomic_load(&pairing.cycles_per_us) == 0 && ns > TICK_NS / 2) {
        atomic_store(&pairing.cycles_per_us, (now - pairing.start_cycles) * 1000 / ns);
    }
}

/* The core from which a task should go to another one, which nobody uses; -1: none. */
static int crowded_core(uint64_t now, int *free_core) {
    uint64_t passed = now - ticking.last;
    int found = -1;

    *free_core = least_active(0, -1);
    for (int i = 0; i < pairing.count; i++) {
        struct pairing_core *core = &pairing.cores[i];
        bool still = core_active(i) > 1;

        if (still) {
            core_add_crowded(core, now);
            atomic_store(&core->since, now);
        }
        if (atomic_exchange(&core->crowded, 0) > passed / 3 && still) {
            found = i;
        }
    }
    return core_active(*free_core) == 0 ? found : -1;
}

/* Unpins every guest that has not called since the last tick. If `move_to` is a core, one that did
 * not, and belongs to the core `crowded`, is told to go there. True: that was done. */
static bool look_at_threads(struct host_process *process, int crowded, int move_to) {
    struct host_thread *thread;
    bool moved = false;
    LOCK_GUARD(&process->lock);

    list_for_each_entry (thread, &process->threads, process_link) {
        uint32_t turns = atomic_load(&thread->turns);

        if (turns != thread->tick_turns) {
            if (!moved && move_to >= 0 && atomic_load(&thread->cpu) == crowded) {
                atomic_store(&thread->move_to, move_to);
                moved = true;
            }
        } else {
            uint32_t core = atomic_exchange(&thread->user_at, 0);

            if (core) {
                core_leave((int)core - 1);
                atomic_store(&thread->unpinned, true);
                /* Fails only when the thread has just gone. */
                (void)sched_setaffinity(thread->tid, sizeof(pairing.all), &pairing.all);
                atomic_store(&thread->pinned_to, -1); /* last: whoever pins it now may be late */
            }
        }
        thread->tick_turns = turns;
    }
    return moved;
}

static void start_ticking(void);

static void tick(void *arg, uint32_t events) {
    struct host_job *job = atomic_load(&ticking.job);
    uint64_t now = cycles();
    struct host_process *process;
    int move_to, crowded;

    measure_cycles(now);
    crowded = crowded_core(now, &move_to);
    move_to = crowded < 0 ? -1 : move_to;
    ticking.last = now;
    lock_acquire(&job->lock);
    list_for_each_entry (process, &job->processes, job_link) {
        if (look_at_threads(process, crowded, move_to)) {
            move_to = -1;
        }
    }
    lock_release(&job->lock);
    atomic_store(&ticking.set, false);
    if (atomic_load(&pairing.active) > 0) {
        start_ticking();
    }
}

static void start_ticking(void) {
    if (!atomic_load_explicit(&ticking.set, memory_order_relaxed) &&
        !atomic_exchange(&ticking.set, true)) {
        ticking.timer.fn = tick;
        if (poller_timer_set(&ticking.timer, host_clock_monotonic() + TICK_NS)) {
            atomic_store(&ticking.set, false);
        }
    }
}

/* ---- around a turn of the guest's ---- */

/*
 * Own kernel thread, just before the guest runs. `sleeps`: it only goes to wait in a host call, and
 * takes no core meanwhile.
 */
void pairing_enter(struct host_thread *thread, bool sleeps) {
    if (atomic_load_explicit(&thread->cpu, memory_order_relaxed) < 0) {
        return;
    }
    settle(thread);
    if (sleeps) {
        pairing_sleeps(waiter_current());
        return;
    }
    spread_consider((int)seat.core - 1);
    atomic_fetch_add_explicit(&thread->turns, 1, memory_order_relaxed);
    atomic_store(&thread->user_at, seat.core);
    start_ticking();
    seat.given = cycles();
}

/* Own kernel thread, when the guest has handed over (or is gone). */
void pairing_leave(struct host_thread *thread, bool sleeps) {
    if (atomic_load_explicit(&thread->cpu, memory_order_relaxed) < 0) {
        return;
    }
    if (sleeps) {
        (void)count_in(waiter_current());
        return;
    }
    if (atomic_exchange(&thread->user_at, 0) == 0) {
        core_enter((int)seat.core - 1); /* the tick had given it up */
    }
    spread_call(cycles() - seat.given);
}
