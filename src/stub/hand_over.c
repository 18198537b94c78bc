/*
 * The stub's side of a turn; slot.h says who may touch what when, host/turn.c why no wake-up is
 * lost.
 */
#include "stub/stub_internal.h"

/* The core's number from the limit of the segment that Linux keeps it in
 * (arch/x86/include/asm/segment.h, __CPUNODE_SEG). */
static uint32_t current_cpu(void) {
    uint32_t limit;

    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
    return limit & 0xfff;
}

static int has_turn(const struct slot *slot) {
    return __atomic_load_n(&slot->turn, __ATOMIC_SEQ_CST) == SLOT_GUEST;
}

/* Spins while the kernel's side answers on another core, as long as it has allowed. A hole as long
 * as that means that this thread did not run: somebody else does on this core. */
static int watch(struct slot *slot, uint32_t limit) {
    uint64_t start = __builtin_ia32_rdtsc(), last = start;

    while (!has_turn(slot)) {
        uint64_t now = __builtin_ia32_rdtsc();

        if (now - last > limit) {
            __atomic_store_n(&slot->torn, 1, __ATOMIC_RELAXED);
        }
        if (now - start > limit) {
            return 0;
        }
        last = now;
        __builtin_ia32_pause();
    }
    return 1;
}

void hand_over(struct stub_thread *thread, uint32_t event) {
    struct slot *slot = thread->slot;
    uint32_t spin = __atomic_load_n(&slot->spin, __ATOMIC_RELAXED);

    slot->event = event;
    slot->cpu = current_cpu();
    thread->kicked = 0;
    __atomic_store_n(&slot->turn, SLOT_KERNEL, __ATOMIC_SEQ_CST);
    if (thread->announces) {
        thread->announces = 0;
        host_call(SYS_write, thread->control_fd, &event, 1, 0);
    }
    /* It may have answered meanwhile, and sleep for the next event. */
    if (!has_turn(slot) && __atomic_load_n(&slot->kernel_sleeps, __ATOMIC_SEQ_CST)) {
        host_call(SYS_futex, &slot->turn, FUTEX_WAKE, 1, 0);
    }
    if (has_turn(slot) || (spin && watch(slot, spin))) {
        return;
    }
    __atomic_store_n(&slot->stub_sleeps, 1, __ATOMIC_SEQ_CST);
    while (!has_turn(slot)) {
        host_call(SYS_futex, &slot->turn, FUTEX_WAIT, SLOT_KERNEL, 0);
    }
    __atomic_store_n(&slot->stub_sleeps, 0, __ATOMIC_RELAXED);
}
