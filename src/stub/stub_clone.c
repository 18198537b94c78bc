/*
 * New threads and processes, made on the kernel's order: what the child finds in its slot and on
 * its stack, and its first steps. What the kernel then does to know who it is stands in
 * host_clone.c.
 */
#include "stub/stub_internal.h"

static struct stub_thread *thread_at(const struct stub_thread *thread, uint32_t index) {
    return (struct stub_thread *)(thread->stub_base + STUB_STACKS_OFFSET + index * STUB_STACK_SIZE);
}

static struct slot *slot_at(const struct stub_thread *thread, uint32_t index) {
    return (struct slot *)(thread->stub_base + STUB_SLOTS_OFFSET + index * STUB_SLOT_STRIDE);
}

static const struct slot_public *public_at(const struct stub_thread *thread, uint32_t index) {
    return (const struct slot_public *)(thread->stub_base + STUB_PUBLIC_OFFSET +
                                        index * STUB_PUBLIC_STRIDE);
}

/* Gives `child` a copy of this thread's host frame, so that it starts with the same registers and
 * extended state. */
static uint64_t prepare_child(struct stub_thread *thread, uint32_t index) {
    struct stub_thread *child = thread_at(thread, index);
    uint64_t distance = (uint64_t)child - (uint64_t)thread;
    uint64_t top = (uint64_t)thread + STUB_STACK_SIZE;
    struct host_ucontext *context = thread->frame;

    child->slot = slot_at(thread, index);
    child->public = public_at(thread, index);
    child->stub_base = thread->stub_base;
    child->control_fd = thread->control_fd;
    child->index = index;
    child->kicked = 0;
    child->masked = 1;
    child->fast_sp = (uint64_t)child + STUB_FAST_SP_OFFSET;
    child->inherits_gs = thread->has_fsgsbase && read_gs() != (uint64_t)thread;
    child->has_fsgsbase = thread->has_fsgsbase;
    child->announces = 0;
    child->kernel_pid = thread->kernel_pid;
    child->frame = NULL;
    if (!context) {
        return (uint64_t)child + STUB_STACK_SIZE - 512;
    }
    /* The frame and its extended state lie between the ucontext and the top of the stack. */
    copy_bytes((void *)((uint64_t)context + distance), context, top - (uint64_t)context);
    context = (void *)((uint64_t)context + distance);
    if (context->fpstate) {
        context->fpstate += distance;
    }
    context->stack.sp = (uint64_t)child;
    child->frame = context;
    return ((uint64_t)context - 256) & ~15ull;
}

void clone_thread(struct stub_thread *thread) {
    struct slot *slot = thread->slot;
    uint32_t index = slot->clone_slot;
    uint64_t stack;

    if (index >= STUB_MAX_SLOTS) {
        slot->clone_result = -22;
        return;
    }
    stack = prepare_child(thread, index);
    slot->clone_result = stub_clone(slot->clone_flags, stack, 0,
                                    (uint64_t)&slot_at(thread, index)->turn, slot->clone_tls);
}

void tie_to_kernel(const struct stub_thread *thread) {
    if (thread->kernel_pid) {
        host_call(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, 9 /* SIGKILL */, 0, 0);
        /* It may have ended before we asked. */
        if (host_call(SYS_getppid, 0, 0, 0, 0) != thread->kernel_pid) {
            die();
        }
    }
}

/* Maps one of the areas that are shared with the kernel, whose descriptor is used up. */
static void map_area(uint64_t address, uint64_t size, uint64_t protection, int fd) {
    if (host_call6(SYS_mmap, address, size, protection, 0x11 /* MAP_SHARED | MAP_FIXED */,
                   (uint64_t)fd, 0) != (long)address) {
        die();
    }
    host_call(SYS_madvise, address, size, 10 /* MADV_DONTFORK */, 0);
    host_call(SYS_close, fd, 0, 0, 0);
}

/* What a fork child is given, in this order. */
enum { FD_CONTEXT, FD_PUBLIC, FD_CONTROL, FD_COUNT };
_Static_assert(FD_COUNT <= SLOT_MAX_FDS, "they come in one message");

/* The fork child's first steps: its own areas in place of the parent's, which were not copied
 * (MADV_DONTFORK). */
static void enter_own_process(struct stub_thread *thread, const int32_t fds[FD_COUNT]) {
    int control_fd = fds[FD_CONTROL];

    map_area(thread->stub_base + STUB_SLOTS_OFFSET, STUB_SLOTS_SIZE, 3 /* PROT_READ | PROT_WRITE */,
             fds[FD_CONTEXT]);
    map_area(thread->stub_base + STUB_PUBLIC_OFFSET, STUB_PUBLIC_SIZE, 1 /* PROT_READ */,
             fds[FD_PUBLIC]);
    host_call(SYS_close, thread->control_fd, 0, 0, 0);
    thread->control_fd = control_fd;
    tie_to_kernel(thread);
    /* The kernel learns from the sender's credentials who this is. */
    thread->announces = 1;
}

int clone_process(struct stub_thread *thread) {
    struct slot *slot = thread->slot;
    uint64_t flags = slot->clone_flags;
    uint32_t index = slot->clone_slot;
    int32_t fds[FD_COUNT] = {-1, -1, -1};
    long result;

    if (flags & CLONE_VM) {
        uint64_t stack;

        if (index >= STUB_MAX_SLOTS) {
            slot->clone_result = -22;
            return 0;
        }
        stack = prepare_child(thread, index);
        slot->clone_result =
            stub_clone(flags, stack, 0, (uint64_t)&slot_at(thread, index)->turn, slot->clone_tls);
        return 0;
    }
    result = receive_fds(thread, fds, FD_COUNT);
    if (result == 0) {
        /* Its slot is at the same address, as soon as it has its own area. */
        result = stub_clone(flags, 0, 0, (uint64_t)&slot->turn, slot->clone_tls);
        if (result == 0) {
            enter_own_process(thread, fds);
            return 1;
        }
    }
    for (int i = 0; i < FD_COUNT; i++) {
        if (fds[i] >= 0) {
            host_call(SYS_close, fds[i], 0, 0, 0);
        }
    }
    slot->clone_result = result;
    return 0;
}
