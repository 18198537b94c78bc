/*
 * Pairing: the two threads of a task, its host thread and its kernel thread, run on the same core,
 * since a wake-up across cores costs twenty times one on the same core (design §3).
 *
 * A pair is pinned to one core as long as its guest keeps calling. Three rules spread the pairs:
 *  - a new pair starts on the core where the fewest guests run, its parent's when that is no worse;
 *  - a pair that calls while another guest runs on its core, and some core runs none, moves there;
 *  - a guest that has computed for a whole tick without a call is unpinned: the host's scheduler
 * places it better than we can. Its next call pins the pair again, where the guest is then. The
 * tick runs in the event thread, and only while a guest runs: an idle sandbox has no wake-ups.
 */
#include "host/host_internal.h"

#include <sched.h>

#define MAX_CPUS   256
#define TICK_NS    10000000
#define MOVE_AFTER 8 /* calls in a row that found the own core shared and another free */

static struct {
    pthread_once_t once;
    int count;             /* cores that we may use; pinning is off when there is only one */
    int numbers[MAX_CPUS]; /* the host's numbers of them */
    cpu_set_t all;
    struct {
        _Alignas(64) _Atomic int running; /* guests in user mode that are pinned here */
    } cpus[MAX_CPUS];
    _Atomic int running; /* all of them, unpinned ones too */
    _Atomic bool ticking;
    struct host_job *_Atomic job;
    struct poller_timer timer;
} pairing = {.once = PTHREAD_ONCE_INIT};

static void pairing_start(void) {
    uint64_t mask[HOST_CPU_WORDS];
    size_t words = host_cpu_mask(mask); /* as it was before the jail, which forbids to ask */

    CPU_ZERO(&pairing.all);
    for (size_t cpu = 0; cpu < words * 64 && pairing.count < MAX_CPUS; cpu++) {
        if (mask[cpu / 64] & (1ull << (cpu % 64))) {
            CPU_SET(cpu, &pairing.all);
            pairing.numbers[pairing.count++] = (int)cpu;
        }
    }
}

static int least_running(int preferred) {
    int best = preferred;

    for (int i = 0; i < pairing.count; i++) {
        if (atomic_load_explicit(&pairing.cpus[i].running, memory_order_relaxed) <
            atomic_load_explicit(&pairing.cpus[best].running, memory_order_relaxed)) {
            best = i;
        }
    }
    return best;
}

void pairing_assign(struct host_thread *thread, const struct host_thread *near) {
    pthread_once(&pairing.once, pairing_start);
    atomic_store(&pairing.job, thread->process->job);
    if (pairing.count > 1) {
        thread->cpu = least_running(near && near->cpu >= 0 ? near->cpu : 0);
    }
}

/* The core that the stub says it is on, when that is one of ours: a hint, which a guest may forge
 * to its own loss. */
static int reported_cpu(const struct host_thread *thread) {
    uint32_t number = __atomic_load_n(&thread->slot->cpu, __ATOMIC_RELAXED) & 0xfff;

    for (int i = 0; i < pairing.count; i++) {
        if ((uint32_t)pairing.numbers[i] == number) {
            return i;
        }
    }
    return thread->cpu;
}

static void pin(struct host_thread *thread, int cpu) {
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(pairing.numbers[cpu], &set);
    if (sched_setaffinity(thread->tid, sizeof(set), &set) == 0 &&
        sched_setaffinity(0, sizeof(set), &set) == 0) {
        thread->kernel_cpu = cpu;
    }
    thread->cpu = cpu;
}

/* Event thread. Unpins every guest that has computed since the last tick. */
static void tick(void *arg, uint32_t events) {
    struct host_job *job = atomic_load(&pairing.job);
    struct host_process *process;
    struct host_thread *thread;

    lock_acquire(&job->lock);
    list_for_each_entry (process, &job->processes, job_link) {
        LOCK_GUARD(&process->lock);
        list_for_each_entry (thread, &process->threads, process_link) {
            uint32_t turns = atomic_load(&thread->turns);

            if (atomic_load(&thread->in_user) && turns == thread->tick_turns &&
                !atomic_exchange(&thread->unpinned, true)) {
                /* Fails only when the thread has just gone. */
                (void)sched_setaffinity(thread->tid, sizeof(pairing.all), &pairing.all);
            }
            thread->tick_turns = turns;
        }
    }
    lock_release(&job->lock);
    atomic_store(&pairing.ticking, false);
    if (atomic_load(&pairing.running) > 0 && !atomic_exchange(&pairing.ticking, true) &&
        poller_timer_set(&pairing.timer, host_clock_monotonic() + TICK_NS)) {
        atomic_store(&pairing.ticking, false);
    }
}

static void start_ticking(void) {
    if (!atomic_load_explicit(&pairing.ticking, memory_order_relaxed) &&
        !atomic_exchange(&pairing.ticking, true)) {
        pairing.timer.fn = tick;
        if (poller_timer_set(&pairing.timer, host_clock_monotonic() + TICK_NS)) {
            atomic_store(&pairing.ticking, false);
        }
    }
}

/*
 * Own kernel thread, just before the guest runs. `sleeps`: it only goes to wait in a host call, and
 * takes no core meanwhile.
 */
void pairing_enter(struct host_thread *thread, bool sleeps) {
    thread->running_cpu = -1;
    if (thread->cpu < 0) {
        return;
    }
    if (atomic_load_explicit(&thread->unpinned, memory_order_relaxed)) {
        pin(thread, reported_cpu(thread));
        atomic_store(&thread->unpinned, false);
    } else if (thread->cpu != thread->kernel_cpu) {
        pin(thread, thread->cpu);
    } else if (atomic_load_explicit(&pairing.cpus[thread->cpu].running, memory_order_relaxed) > 0) {
        int best = least_running(thread->cpu);

        if (atomic_load_explicit(&pairing.cpus[best].running, memory_order_relaxed) > 0) {
            thread->crowded = 0;
        } else if (++thread->crowded >= MOVE_AFTER) {
            thread->crowded = 0;
            pin(thread, best);
        }
    } else {
        thread->crowded = 0;
    }
    if (sleeps) {
        return;
    }
    thread->running_cpu = thread->cpu;
    atomic_fetch_add_explicit(&pairing.cpus[thread->cpu].running, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pairing.running, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&thread->turns, 1, memory_order_relaxed);
    atomic_store_explicit(&thread->in_user, true, memory_order_relaxed);
    start_ticking();
}

/* Own kernel thread, when the guest has handed over (or is gone). */
void pairing_leave(struct host_thread *thread) {
    if (thread->running_cpu < 0) {
        return;
    }
    atomic_store_explicit(&thread->in_user, false, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pairing.cpus[thread->running_cpu].running, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pairing.running, 1, memory_order_relaxed);
}
