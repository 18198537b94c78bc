/*
 * Class D: futex(2), and clock_nanosleep(2) until a point in time. Guest memory is host memory and
 * its futexes are the host's, so the guest's own thread makes the call, as it would for the kernel
 * (syscalls/sys_futex.c).
 *
 * What is answered here is what needs nobody else: a success, a value that has changed, a deadline
 * that has passed. An interrupted wait has taken no wake-up, and goes to the kernel, which looks at
 * the signals and waits again or not; so does every other failure. Left to the kernel from the
 * start: relative timeouts, whose deadline must outlast interruptions, and the operations that keep
 * thread ids in guest memory.
 *
 * A sleep is a wait on a word that nobody wakes: the host's hrtimers, clocks and slack are the
 * same.
 */
#include "stub/stub_internal.h"

#define FUTEX_REQUEUE        3
#define FUTEX_CMP_REQUEUE    4
#define FUTEX_WAKE_OP        5
#define FUTEX_WAIT_BITSET    9
#define FUTEX_WAKE_BITSET    10
#define FUTEX_PRIVATE_FLAG   128u
#define FUTEX_CLOCK_REALTIME 256u

#define CLOCK_REALTIME  0
#define CLOCK_MONOTONIC 1
#define TIMER_ABSTIME   1

#define EAGAIN_NR    11
#define ETIMEDOUT_NR 110

enum kind { NOT_OURS, AT_ONCE, WAITS };

static enum kind kind_of(const uint64_t args[6]) {
    uint32_t op = (uint32_t)args[1];
    int realtime = (op & FUTEX_CLOCK_REALTIME) != 0;

    switch (op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
    case FUTEX_WAIT:
        return realtime || args[3] ? NOT_OURS : WAITS;
    case FUTEX_WAIT_BITSET:
        return WAITS;
    case FUTEX_WAKE:
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
    case FUTEX_WAKE_BITSET:
        return realtime ? NOT_OURS : AT_ONCE;
    default:
        return NOT_OURS;
    }
}

/* No number's mark: it tells those who ask whether this thread sleeps. */
static int64_t wait_marked(struct stub_thread *thread, const uint64_t args[6]) {
    int64_t result;

    __atomic_store_n(&thread->slot->direct, SLOT_DIRECT_FUTEX, __ATOMIC_RELAXED);
    result = direct_blocking(thread, SYS_futex, args);
    __atomic_store_n(&thread->slot->direct, 0, __ATOMIC_RELAXED);
    return result;
}

int direct_sleep(struct stub_thread *thread, const uint64_t args[6], int64_t *result) {
    uint32_t clock = (uint32_t)args[0], word = 0;
    uint32_t op = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG;
    uint64_t wait[6] = {(uint64_t)&word, op, 0, args[2], 0, 0xffffffff};

    if (!(thread->public->flags & SLOT_PUBLIC_FUTEX) || (uint32_t)args[1] != TIMER_ABSTIME ||
        (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) || !args[2]) {
        return 0; /* a null timeout would be none */
    }
    if (clock == CLOCK_REALTIME) {
        wait[1] |= FUTEX_CLOCK_REALTIME;
    }
    *result = wait_marked(thread, wait);
    if (*result != -ETIMEDOUT_NR) {
        return 0;
    }
    *result = 0;
    return 1;
}

int direct_futex(struct stub_thread *thread, const uint64_t args[6], int64_t *result) {
    enum kind kind = thread->public->flags & SLOT_PUBLIC_FUTEX ? kind_of(args) : NOT_OURS;

    if (kind == WAITS) {
        *result = wait_marked(thread, args);
    } else if (kind == AT_ONCE) {
        *result = host_call6(SYS_futex, args[0], args[1], args[2], args[3], args[4], args[5]);
    } else {
        return 0;
    }
    return *result >= 0 || *result == -EAGAIN_NR || *result == -ETIMEDOUT_NR;
}
