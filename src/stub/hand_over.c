/*
 * The stub's side of a turn: slot.h says who may touch what when.
 */
#include "stub/stub_internal.h"

/* The core's number from the limit of the segment that Linux keeps it in
 * (arch/x86/include/asm/segment.h, __CPUNODE_SEG). */
static uint32_t current_cpu(void) {
    uint32_t limit;

    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
    return limit & 0xfff;
}

void hand_over(struct stub_thread *thread, uint32_t event) {
    struct slot *slot = thread->slot;

    slot->event = event;
    slot->cpu = current_cpu();
    thread->kicked = 0;
    __atomic_store_n(&slot->turn, SLOT_KERNEL, __ATOMIC_RELEASE);
    host_call(SYS_futex, &slot->turn, FUTEX_WAKE, 1, 0);
    while (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) != SLOT_GUEST) {
        host_call(SYS_futex, &slot->turn, FUTEX_WAIT, SLOT_KERNEL, 0);
    }
}
