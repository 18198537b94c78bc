/*
 * The kernel's side of a turn; slot.h says who may touch what when, stub/hand_over.c is the other
 * side.
 *
 * # No wake-up is lost
 * Both sides sleep on the futex `turn`. A side that is about to sleep sets its flag (stub_sleeps,
 * kernel_sleeps), then the host looks at `turn` once more, atomically with falling asleep. A side
 * that gives the turn writes `turn`, then looks at the other's flag, and wakes when it is set. Both
 * are sequentially consistent: either the giver sees the flag, or the sleeper sees the turn. So a
 * side that spins, or has not come to its sleep yet, costs no host call.
 *
 * The guest can write the flags and `turn`. What it gains is a kernel thread that sleeps on (its
 * own: its death ends that, turn_mark_dead) or wakes nobody.
 */
#include "host/pairing.h"

static _Atomic uint32_t *turn_of(const struct host_thread *thread) {
    return (_Atomic uint32_t *)&thread->slot->turn;
}

/* Any thread: the host thread is no more; whoever waits for it shall see that. */
void turn_mark_dead(struct host_thread *thread) {
    atomic_store(&thread->dead, true);
    if (thread->slot) {
        atomic_store(turn_of(thread), SLOT_DEAD);
        host_futex_wake(turn_of(thread), INT32_MAX);
    }
}

/* Is the kernel thread's pace that of this guest? The zygote serves everybody. */
static bool paced(const struct host_thread *thread) {
    return atomic_load_explicit(&thread->cpu, memory_order_relaxed) >= 0;
}

int turn_give(struct host_thread *thread) {
    struct slot *slot = thread->slot;
    uint32_t expected = SLOT_KERNEL;
    bool asleep;

    if (paced(thread)) {
        if (__atomic_load_n(&slot->torn, __ATOMIC_RELAXED)) {
            __atomic_store_n(&slot->torn, 0, __ATOMIC_RELAXED);
            spread_hole();
        }
        __atomic_store_n(&slot->spin, spread_guest_cycles(), __ATOMIC_RELAXED);
    }
    if (atomic_load(&thread->dead) ||
        !atomic_compare_exchange_strong(turn_of(thread), &expected, SLOT_GUEST)) {
        atomic_store(&thread->dead, true);
        return -ESRCH;
    }
    asleep = __atomic_load_n(&slot->stub_sleeps, __ATOMIC_SEQ_CST) != 0;
    if (asleep) {
        host_futex_wake(turn_of(thread), 1);
    }
    if (paced(thread)) {
        spread_given(asleep);
    }
    return 0;
}

/* 1: the turn is the kernel's; 0: not yet. Only KERNEL and DEAD mean something. */
static int look(struct host_thread *thread, uint32_t turn) {
    if (atomic_load(&thread->dead)) {
        return -ESRCH;
    }
    if (turn == SLOT_DEAD) {
        /* The host cleared the word: the thread has exited (or lies, and is treated so). */
        atomic_store(&thread->dead, true);
        return -ESRCH;
    }
    return turn == SLOT_KERNEL;
}

int turn_await(struct host_thread *thread) {
    struct slot *slot = thread->slot;
    uint64_t since = cycles(), last = since;
    bool asleep = false;
    int result;

    for (;;) {
        uint32_t turn = atomic_load_explicit(turn_of(thread), memory_order_acquire);

        result = look(thread, turn);
        if (result) {
            break;
        }
        if (paced(thread) && spread_watch(since, &last)) {
            __builtin_ia32_pause();
        } else if (!asleep) {
            asleep = true;
            __atomic_store_n(&slot->kernel_sleeps, 1, __ATOMIC_SEQ_CST);
        } else {
            host_futex_wait(turn_of(thread), turn);
        }
    }
    if (asleep) {
        __atomic_store_n(&slot->kernel_sleeps, 0, __ATOMIC_RELAXED);
    }
    return result < 0 ? result : 0;
}

void turn_await_first(struct host_thread *thread) {
    __atomic_store_n(&thread->slot->kernel_sleeps, 1, __ATOMIC_SEQ_CST);
    while (atomic_load(turn_of(thread)) == SLOT_GUEST) {
        host_futex_wait(turn_of(thread), SLOT_GUEST);
    }
    __atomic_store_n(&thread->slot->kernel_sleeps, 0, __ATOMIC_RELAXED);
}
