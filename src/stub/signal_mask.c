/*
 * rt_sigprocmask(2) without the kernel: the mask is in the thread's slot, and the kernel looks at
 * it there whenever it asks whether the thread takes a signal.
 *
 * What must not happen: a signal is sent while the thread blocks it, the thread unblocks it, and
 * nobody delivers it; or the thread was chosen to take it, and blocks it. The kernel publishes that
 * a signal may be pending before it looks at the mask; here the mask is changed before that is
 * looked at. So one of the two sees the other. When a changed signal may be pending, the mask is
 * put back and the kernel makes the call.
 */
#include "stub/stub_internal.h"

#define SIG_BLOCK   0
#define SIG_UNBLOCK 1
#define SIG_SETMASK 2

#define UNMASKABLE (1ull << (9 - 1) | 1ull << (19 - 1)) /* SIGKILL, SIGSTOP */

static int copy_mask(const struct stub_thread *thread, uint64_t address, void *to,
                     const void *from) {
    return guest_extent(thread, address, 8) == 8 && stub_copy_bytes(to, from, 8);
}

static int may_pend(const struct stub_thread *thread, uint64_t signals) {
    return (__atomic_load_n(&thread->public->pending, __ATOMIC_SEQ_CST) & signals) != 0;
}

int mask_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
              int64_t *result) {
    uint64_t *mask = &thread->slot->signal_mask;
    uint64_t old, new;

    if (number != SYS_rt_sigprocmask || args[3] != 8 ||
        !(thread->public->flags & SLOT_PUBLIC_LOCAL)) {
        return 0;
    }
    old = new = __atomic_load_n(mask, __ATOMIC_RELAXED);
    if (args[1]) {
        uint64_t set;

        if (!copy_mask(thread, args[1], &set, (const void *)args[1])) {
            return 0;
        }
        switch ((int32_t)args[0]) {
        case SIG_BLOCK:
            new = old | set;
            break;
        case SIG_UNBLOCK:
            new = old & ~set;
            break;
        case SIG_SETMASK:
            new = set;
            break;
        default:
            return 0;
        }
        new &= ~UNMASKABLE;
        __atomic_store_n(mask, new, __ATOMIC_SEQ_CST);
    }
    if (may_pend(thread, old ^ new) ||
        (args[2] && !copy_mask(thread, args[2], (void *)args[2], &old))) {
        __atomic_store_n(mask, old, __ATOMIC_SEQ_CST);
        return 0;
    }
    *result = 0;
    return 1;
}
