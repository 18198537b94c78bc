/*
 * The stub: what lives in every guest process. It turns host signals (a trapped call, a fault, the
 * kernel's kick) into events in its thread's slot, waits for the kernel's command, makes the host
 * calls that the kernel orders, and returns to the guest.
 *
 * It is untrusted: it shares the guest's address space, and a guest may jump to any instruction of
 * it with any registers, or change its private memory. What protects the host is the filter; what
 * protects the kernel is that it believes nothing a slot says.
 *
 * Life of a thread: started by the zygote or by clone (SLOT_EVENT_STARTED), then event after event,
 * until SLOT_EXIT_THREAD. Every host signal is blocked while it runs, except STUB_KICK_SIGNAL
 * inside a blocking host call.
 */
#include <stddef.h>
#include <stdint.h>

#include "host/slot.h"

#define SYS_write           1
#define SYS_mmap            9
#define SYS_munmap          11
#define SYS_rt_sigprocmask  14
#define SYS_madvise         28
#define SYS_recvmsg         47
#define SYS_close           3
#define SYS_exit            60
#define SYS_getppid         110
#define SYS_sigaltstack     131
#define SYS_prctl           157
#define SYS_arch_prctl      158
#define SYS_futex           202
#define SYS_set_tid_address 218
#define SYS_exit_group      231

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#define SIGSYS_NR 31

#define CLONE_VM             0x00000100u
#define CLONE_SETTLS         0x00080000u
#define CLONE_CHILD_CLEARTID 0x00200000u

/* The host's struct ucontext, as far as the stub touches it (arch/x86/include/uapi/asm/ucontext.h,
 * sigcontext.h). */
struct host_stack {
    uint64_t sp;
    int32_t flags, pad;
    uint64_t size;
};
struct host_ucontext {
    uint64_t flags, link;
    struct host_stack stack;
    uint64_t gregs[18];
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2;
    uint64_t fpstate;
    uint64_t reserved[8];
    uint64_t sigmask;
};
#define UC_SIGCONTEXT_SS     2
#define UC_STRICT_RESTORE_SS 4
#define REG_RAX              13
#define REG_RIP              16

struct host_siginfo {
    int32_t signo, error, code, pad;
    uint64_t address;
    int32_t call; /* of SIGSYS */
    uint32_t arch;
};
#define ARCH_X86_64 0xc000003eu /* AUDIT_ARCH_X86_64 */

/* Defined in entry_x86_64.S. */
long stub_clone(uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                uint64_t tls);
void stub_sigreturn(void *ucontext) __attribute__((noreturn));
long stub_blocking_call(const struct slot_call *call, const uint64_t args[6],
                        volatile uint32_t *kicked);
extern const char stub_window_start[] __attribute__((visibility("hidden")));
extern const char stub_window_end[] __attribute__((visibility("hidden")));
extern const char stub_window_abort[] __attribute__((visibility("hidden")));

/* Called from there. */
void stub_begin(struct stub_thread *thread);
void stub_child(struct stub_thread *thread);
void stub_handler(int signo, struct host_siginfo *info, struct host_ucontext *context);

static inline long host_call6(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                              uint64_t e, uint64_t f) {
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define host_call(number, a, b, c, d)                                                              \
    host_call6((number), (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), 0, 0)

static void copy_bytes(void *to, const void *from, size_t size) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static void __attribute__((noreturn)) die(void) {
    for (;;) {
        host_call(SYS_exit_group, 139, 0, 0, 0);
    }
}

static struct stub_thread *thread_of_stack(const void *stack) {
    return (struct stub_thread *)((uint64_t)stack & ~(STUB_STACK_SIZE - 1));
}

static uint64_t read_base(const struct stub_thread *thread, int gs) {
    uint64_t base = 0;

    if (thread->has_fsgsbase) {
        if (gs) {
            __asm__ volatile("rdgsbase %0" : "=r"(base));
        } else {
            __asm__ volatile("rdfsbase %0" : "=r"(base));
        }
    } else {
        host_call(SYS_arch_prctl, gs ? 0x1004 : 0x1003, &base, 0, 0);
    }
    return base;
}

/* The core's number from the limit of the segment that Linux keeps it in
 * (arch/x86/include/asm/segment.h, __CPUNODE_SEG). */
static uint32_t current_cpu(void) {
    uint32_t limit;

    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b));
    return limit & 0xfff;
}

/* Gives the turn to the kernel and waits until it comes back. */
static void hand_over(struct stub_thread *thread, uint32_t event) {
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

struct host_msghdr {
    uint64_t name;
    uint64_t name_length;
    uint64_t vec, vec_count;
    uint64_t control, control_size;
    uint64_t flags;
};

/* One descriptor from the control socket: its number, or -errno. */
static long receive_fd(const struct stub_thread *thread) {
    uint8_t byte;
    uint64_t vec[2] = {(uint64_t)&byte, 1};
    struct {
        uint64_t size;
        int32_t level, type;
        int32_t fd, pad;
    } control = {.fd = -1};
    struct host_msghdr message = {.vec = (uint64_t)vec,
                                  .vec_count = 1,
                                  .control = (uint64_t)&control,
                                  .control_size = sizeof(control)};
    long result =
        host_call(SYS_recvmsg, thread->control_fd, &message, 0x40000000 /* MSG_CMSG_CLOEXEC */, 0);

    if (result < 0) {
        return result;
    }
    return control.fd >= 0 ? control.fd : -9;
}

static uint64_t argument(const struct slot *slot, uint64_t value) {
    uint64_t index = value - SLOT_RESULT(0);

    return index < SLOT_MAX_CALLS ? (uint64_t)slot->results[index] : value;
}

static long blocking_call(struct stub_thread *thread, const struct slot_call *call,
                          const uint64_t args[6]) {
    uint64_t mask = ~(1ull << (STUB_KICK_SIGNAL - 1));
    long result;

    host_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
    result = stub_blocking_call(call, args, &thread->kicked);
    mask = ~0ull;
    host_call(SYS_rt_sigprocmask, 2, &mask, 0, 8);
    return result;
}

static void make_calls(struct stub_thread *thread) {
    struct slot *slot = thread->slot;
    uint32_t count = slot->call_count;
    uint32_t done = 0;

    while (done < count && done < SLOT_MAX_CALLS) {
        const struct slot_call *call = &slot->calls[done];
        uint64_t args[6];
        long result;

        for (int i = 0; i < 6; i++) {
            args[i] = argument(slot, call->args[i]);
        }
        if (call->flags & SLOT_CALL_RECEIVE_FD) {
            result = receive_fd(thread);
        } else if (call->flags & SLOT_CALL_BLOCKING) {
            result = blocking_call(thread, call, args);
        } else {
            result = host_call6((long)call->number, args[0], args[1], args[2], args[3], args[4],
                                args[5]);
        }
        slot->results[done++] = result;
        if (result < 0 && result >= -4095 && !(call->flags & SLOT_CALL_MAY_FAIL)) {
            break;
        }
    }
    slot->calls_done = done;
}

static struct stub_thread *thread_at(const struct stub_thread *thread, uint32_t index) {
    return (struct stub_thread *)(thread->stub_base + STUB_STACKS_OFFSET + index * STUB_STACK_SIZE);
}

static struct slot *slot_at(const struct stub_thread *thread, uint32_t index) {
    return (struct slot *)(thread->stub_base + STUB_SLOTS_OFFSET + index * STUB_SLOT_STRIDE);
}

/* Gives `child` a copy of this thread's host frame, so that it starts with the same registers and
 * extended state. */
static uint64_t prepare_child(struct stub_thread *thread, uint32_t index) {
    struct stub_thread *child = thread_at(thread, index);
    uint64_t distance = (uint64_t)child - (uint64_t)thread;
    uint64_t top = (uint64_t)thread + STUB_STACK_SIZE;
    struct host_ucontext *context = thread->frame;

    child->slot = slot_at(thread, index);
    child->stub_base = thread->stub_base;
    child->control_fd = thread->control_fd;
    child->index = index;
    child->kicked = 0;
    child->has_fsgsbase = thread->has_fsgsbase;
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

static void clone_thread(struct stub_thread *thread) {
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

/* Where no pid namespace ends us with the kernel process, the host's parent-death signal does. */
static void tie_to_kernel(const struct stub_thread *thread) {
    if (thread->kernel_pid) {
        host_call(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, 9 /* SIGKILL */, 0, 0);
        /* It may have ended before we asked. */
        if (host_call(SYS_getppid, 0, 0, 0, 0) != thread->kernel_pid) {
            die();
        }
    }
}

/* The fork child's first steps: its own context area in place of the parent's, which was not copied
 * (MADV_DONTFORK). */
static void enter_own_process(struct stub_thread *thread, int context_fd, int control_fd) {
    uint64_t slots = thread->stub_base + STUB_SLOTS_OFFSET;
    uint8_t byte = 0;

    if (host_call6(SYS_mmap, slots, STUB_SLOTS_SIZE, 3, 0x11 /* MAP_SHARED | MAP_FIXED */,
                   (uint64_t)context_fd, 0) != (long)slots) {
        die();
    }
    host_call(SYS_madvise, slots, STUB_SLOTS_SIZE, 10 /* MADV_DONTFORK */, 0);
    host_call(SYS_close, context_fd, 0, 0, 0);
    host_call(SYS_close, thread->control_fd, 0, 0, 0);
    thread->control_fd = control_fd;
    host_call(SYS_set_tid_address, &thread->slot->turn, 0, 0, 0);
    tie_to_kernel(thread);
    /* The kernel learns from the sender's credentials who this is. */
    host_call(SYS_write, control_fd, &byte, 1, 0);
}

/* True in a fork child. */
static int clone_process(struct stub_thread *thread) {
    struct slot *slot = thread->slot;
    uint64_t flags = slot->clone_flags;
    uint32_t index = slot->clone_slot;
    long context_fd, control_fd, result;

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
    context_fd = receive_fd(thread);
    control_fd = receive_fd(thread);
    if (context_fd < 0 || control_fd < 0) {
        result = -9;
    } else {
        result = stub_clone(flags, 0, 0, 0, slot->clone_tls);
    }
    if (result == 0) {
        enter_own_process(thread, (int)context_fd, (int)control_fd);
        return 1;
    }
    if (context_fd >= 0) {
        host_call(SYS_close, context_fd, 0, 0, 0);
    }
    if (control_fd >= 0) {
        host_call(SYS_close, control_fd, 0, 0, 0);
    }
    slot->clone_result = result;
    return 0;
}

/* Reports, obeys, and comes back when the guest shall run: thread->frame then holds its registers.
 */
static void serve(struct stub_thread *thread, uint32_t event) {
    for (;;) {
        struct slot *slot = thread->slot;
        struct host_ucontext *context = thread->frame;

        hand_over(thread, event);
        event = SLOT_EVENT_CALLS;
        switch (slot->command) {
        case SLOT_RESUME_RESULT:
            if (context) {
                context->gregs[REG_RAX] = slot->regs.gregs[REG_RAX];
                return;
            }
            die();
        case SLOT_RESUME_REGS:
            if (context) {
                copy_bytes(context->gregs, slot->regs.gregs, sizeof(context->gregs));
                if (slot->fpstate_reset) {
                    context->fpstate = 0;
                }
            }
            return;
        case SLOT_CALLS:
            make_calls(thread);
            break;
        case SLOT_CLONE_THREAD:
            clone_thread(thread);
            break;
        case SLOT_CLONE_PROCESS:
            if (clone_process(thread)) {
                event = SLOT_EVENT_STARTED;
            }
            break;
        case SLOT_EXIT_THREAD:
            for (;;) {
                host_call(SYS_exit, 0, 0, 0, 0);
            }
        default:
            die();
        }
    }
}

/* Serves a new thread and enters the guest, through the parent's frame or a fresh one. */
static void __attribute__((noreturn)) serve_new(struct stub_thread *thread) {
    /* Room for a fresh frame above this function's own. */
    struct host_ucontext fresh;
    uint8_t *bytes = (uint8_t *)&fresh;

    serve(thread, SLOT_EVENT_STARTED);
    if (thread->frame) {
        stub_sigreturn(thread->frame);
    }
    for (size_t i = 0; i < sizeof(fresh); i++) {
        ((volatile uint8_t *)bytes)[i] = 0;
    }
    fresh.flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
    fresh.stack.sp = (uint64_t)thread;
    fresh.stack.size = STUB_STACK_SIZE;
    copy_bytes(fresh.gregs, thread->slot->regs.gregs, sizeof(fresh.gregs));
    fresh.cs = 0x33;
    fresh.ss = 0x2b;
    stub_sigreturn(&fresh);
}

static void set_signal_stack(struct stub_thread *thread) {
    struct host_stack stack = {.sp = (uint64_t)thread + sizeof(struct stub_thread),
                               .size = STUB_STACK_SIZE - sizeof(struct stub_thread)};

    if (host_call(SYS_sigaltstack, &stack, 0, 0, 0) < 0) {
        die();
    }
}

void stub_begin(struct stub_thread *thread) {
    for (size_t i = 0; i < 4; i++) {
        if (thread->unmap[i][1]) {
            host_call(SYS_munmap, thread->unmap[i][0], thread->unmap[i][1], 0, 0);
        }
    }
    host_call(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, 0, 0, 0);
    set_signal_stack(thread);
    serve_new(thread);
}

void stub_child(struct stub_thread *thread) {
    uint8_t byte = 0;

    set_signal_stack(thread);
    if (thread->slot->announce) {
        tie_to_kernel(thread);
        host_call(SYS_write, thread->control_fd, &byte, 1, 0);
    }
    serve_new(thread);
}

static void report_fault(struct slot *slot, int signo, const struct host_siginfo *info,
                         const struct host_ucontext *context) {
    slot->fault.signo = signo;
    slot->fault.code = info->code;
    slot->fault.address = info->address;
    slot->fault.trapno = context->trapno;
    slot->fault.error = context->err;
}

void stub_handler(int signo, struct host_siginfo *info, struct host_ucontext *context) {
    struct stub_thread *thread = thread_of_stack(context);
    struct slot *slot = thread->slot;
    uint64_t rip = context->gregs[REG_RIP];
    void *outer = thread->frame;
    uint32_t event;

    if (signo == STUB_KICK_SIGNAL && rip - thread->stub_base < STUB_TEXT_SIZE) {
        thread->kicked = 1;
        if (rip >= (uint64_t)stub_window_start && rip <= (uint64_t)stub_window_end) {
            context->gregs[REG_RIP] = (uint64_t)stub_window_abort;
        }
        return;
    }
    if (signo == SIGSYS_NR) {
        event = SLOT_EVENT_SYSCALL;
    } else if (signo == STUB_KICK_SIGNAL) {
        event = SLOT_EVENT_KICK;
    } else {
        event = SLOT_EVENT_FAULT;
        report_fault(slot, signo, info, context);
    }
    thread->frame = context;
    copy_bytes(slot->regs.gregs, context->gregs, sizeof(context->gregs));
    if (signo == SIGSYS_NR && info->arch != ARCH_X86_64) {
        slot->regs.gregs[REG_RAX] = ~0ull; /* int 0x80: no call of ours has that number */
    }
    slot->regs.fs_base = read_base(thread, 0);
    slot->regs.gs_base = read_base(thread, 1);
    slot->fpstate = context->fpstate;
    slot->fpstate_size = 0;
    if (context->fpstate) {
        const uint32_t *software = (const uint32_t *)(context->fpstate + 464);

        /* struct _fpx_sw_bytes: magic1, extended_size */
        slot->fpstate_size = software[0] == 0x46505853 ? software[1] : 512;
    }
    serve(thread, event);
    thread->frame = outer;
}
