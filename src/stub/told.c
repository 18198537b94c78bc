/*
 * Calls of every program's start, each made once or twice. In most of them a new program or thread
 * tells the kernel about itself: what the kernel needs later is noted where it looks (struct
 * slot_told), and what is the thread's own (its %fs, its rseq area, known to the host) is set here.
 * In one it asks where its heap ends, which the kernel has published.
 *
 * The kernel makes the same calls when it is asked: what is not plain goes there.
 */
#include "stub/stub_internal.h"

#define SYS_brk             12
#define SYS_set_tid_address 218
#define SYS_set_robust_list 273
#define SYS_rseq            334

#define ROBUST_LIST_SIZE 24 /* struct robust_list_head */
#define ARCH_SET_FS      0x1002
#define USER_TASK_SIZE   0x7ffffffff000ul

static int set_fs(const struct stub_thread *thread, const uint64_t args[6]) {
    if ((uint32_t)args[0] != ARCH_SET_FS || args[1] >= USER_TASK_SIZE) {
        return 0;
    }
    if (thread->has_fsgsbase) {
        __asm__ volatile("wrfsbase %0" : : "r"(args[1]));
        return 1;
    }
    return plain_call(SYS_arch_prctl, ARCH_SET_FS, args[1], 0, 0) == 0;
}

/* A thread's first one. */
static int register_rseq(struct slot_told *told, const uint64_t args[6]) {
    if ((uint32_t)args[2] != 0 || told->rseq_address || args[0] >= USER_TASK_SIZE ||
        plain_call(SYS_rseq, args[0], (uint32_t)args[1], 0, (uint32_t)args[3]) != 0) {
        return 0;
    }
    told->rseq_address = args[0];
    told->rseq_size = (uint32_t)args[1];
    told->rseq_signature = (uint32_t)args[3];
    return 1;
}

static int heap_end(const struct stub_thread *thread, uint64_t wanted, int64_t *result) {
    const struct slot_public *first =
        (const struct slot_public *)(thread->stub_base + STUB_PUBLIC_OFFSET);
    uint64_t end = __atomic_load_n(&first->brk, __ATOMIC_ACQUIRE);

    *result = (int64_t)end;
    return wanted == 0 && end != 0;
}

int told_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
              int64_t *result) {
    struct slot_told *told = &thread->slot->told;

    if (!(thread->public->flags & SLOT_PUBLIC_LOCAL)) {
        return 0;
    }
    *result = 0;
    switch (number) {
    case SYS_brk:
        return heap_end(thread, args[0], result);
    case SYS_arch_prctl:
        return set_fs(thread, args);
    case SYS_set_tid_address:
        told->clear_child_tid = args[0];
        *result = thread->public->ids.tid;
        return 1;
    case SYS_set_robust_list:
        if (args[1] != ROBUST_LIST_SIZE) {
            return 0;
        }
        told->robust_list = args[0];
        return 1;
    case SYS_rseq:
        return register_rseq(told, args);
    default:
        return 0;
    }
}
