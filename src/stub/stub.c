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
#include "stub/stub_internal.h"

_Static_assert(offsetof(struct stub_thread, guest_rsp) == 0 &&
                   offsetof(struct stub_thread, fast_sp) == 8 &&
                   offsetof(struct stub_thread, kicked) == 16,
               "entry_x86_64.S knows these");

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

static void close_fds(struct slot *slot) {
    for (uint32_t i = 0; i < slot->close_count && i < SLOT_MAX_CLOSES; i++) {
        plain_call(SYS_close, (uint64_t)slot->close_fds[i], 0, 0, 0);
    }
    slot->close_count = 0;
}

/* Does what the kernel has ordered. 1: the guest shall run, thread->frame holds its registers. 0:
 * *event is to be reported. */
static int obey(struct stub_thread *thread, uint32_t command, uint32_t *event) {
    struct slot *slot = thread->slot;
    struct host_ucontext *context = thread->frame;

    *event = SLOT_EVENT_CALLS;
    switch (command) {
    case SLOT_CALLS_RESUME:
        if (!make_calls_and_resume(thread)) {
            return 0;
        }
        __attribute__((fallthrough));
    case SLOT_RESUME_RESULT:
        if (!context) {
            die();
        }
        context->gregs[REG_RAX] = slot->regs.gregs[REG_RAX];
        return 1;
    case SLOT_RESUME_REGS:
        if (context) {
            copy_bytes(context->gregs, slot->regs.gregs, sizeof(context->gregs));
            if (slot->fpstate_reset) {
                context->fpstate = 0;
            }
        }
        return 1;
    case SLOT_CALLS:
        make_calls(thread);
        return 0;
    case SLOT_CLONE_THREAD:
        clone_thread(thread);
        return 0;
    case SLOT_CLONE_PROCESS:
        if (clone_process(thread)) {
            *event = SLOT_EVENT_STARTED;
        }
        return 0;
    case SLOT_FRAME:
        return 0;
    case SLOT_EXIT_THREAD:
        make_calls(thread);
        for (;;) {
            host_call(SYS_exit, 0, 0, 0, 0);
        }
    default:
        die();
    }
}

static uint32_t report(struct stub_thread *thread, uint32_t event) {
    struct slot *slot = thread->slot;

    hand_over(thread, event);
    if (slot->close_count) {
        close_fds(slot);
    }
    return slot->command;
}

/* Reports, obeys, and comes back when the guest shall run: thread->frame then holds its registers.
 */
static void serve(struct stub_thread *thread, uint32_t event) {
    while (!obey(thread, report(thread, event), &event)) {
    }
}

/* Serves a new thread and enters the guest, through the parent's frame or a fresh one. */
static void __attribute__((noreturn)) serve_new(struct stub_thread *thread) {
    /* Room for a fresh frame above this function's own. */
    struct host_ucontext fresh;
    uint8_t *bytes = (uint8_t *)&fresh;

    serve(thread, SLOT_EVENT_STARTED);
    thread->masked = 0;
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
    own_gs(thread);
    set_signal_stack(thread);
    serve_new(thread);
}

void stub_child(struct stub_thread *thread) {
    if (thread->inherits_gs) {
        thread->inherits_gs = 0;
    } else {
        own_gs(thread);
    }
    set_signal_stack(thread);
    if (thread->slot->announce) {
        tie_to_kernel(thread);
        thread->announces = 1;
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

/* Has this site not trapped here before, or often by now? Then the kernel is to see it, which may
 * patch it. */
static int new_site(struct stub_thread *thread, uint64_t rip) {
    uint32_t index = (rip ^ rip >> 8) % STUB_SITES;

    if (!(thread->public->flags & SLOT_PUBLIC_PATCH)) {
        return 0;
    }
    if (thread->sites[index] != rip) {
        thread->sites[index] = rip;
        thread->site_calls[index] = 0;
    }
    return thread->site_calls[index]++ % 16 == 0;
}

/* Only where somebody asks: it would cost every process another page of its slot. */
static void count_answer(const struct stub_thread *thread, uint32_t number, int patched,
                         int64_t result) {
    struct slot *slot = thread->slot;

    if (thread->public->flags & SLOT_PUBLIC_COUNT) {
        slot->answered[number % SLOT_ANSWERED][patched]++;
        slot->failed[number % SLOT_ANSWERED] += result < 0;
    }
}

/* The call that was trapped; 1: it is answered in the registers. A site that is new here the kernel
 * is to see, which may patch it; those where a thread tells of itself are not worth that. */
static int answer_trapped(struct stub_thread *thread, struct host_ucontext *context) {
    const uint64_t *regs = context->gregs;
    const uint64_t args[6] = {regs[REG_RDI], regs[REG_RSI], regs[REG_RDX],
                              regs[REG_R10], regs[REG_R8],  regs[REG_R9]};
    uint32_t number = (uint32_t)regs[REG_RAX];
    int64_t result;

    if (told_call(thread, number, args, &result) ||
        (!new_site(thread, regs[REG_RIP]) &&
         (local_call(thread, number, args[0], &result) ||
          descriptor_call(thread, number, args, &result) ||
          direct_call(thread, (int32_t)number, args, &result)))) {
        context->gregs[REG_RAX] = (uint64_t)result;
        count_answer(thread, number, 0, result);
        return 1;
    }
    return 0;
}

/* Calls after which the guest goes on with other registers than it came with, or in another thread
 * too: the kernel needs a host frame at once. */
static int needs_frame(uint32_t number) {
    switch (number) {
    case SYS_rt_sigreturn:
    case SYS_clone:
    case SYS_fork:
    case SYS_vfork:
    case SYS_execve:
    case SYS_execveat:
    case SYS_clone3:
        return 1;
    default:
        return 0;
    }
}

static void capture(struct stub_thread *thread, const struct fast_frame *frame) {
    struct slot *slot = thread->slot;
    uint64_t *regs = slot->regs.gregs;

    regs[REG_RDI] = frame->args[0];
    regs[REG_RSI] = frame->args[1];
    regs[REG_RDX] = frame->args[2];
    regs[REG_R10] = frame->args[3];
    regs[REG_R8] = frame->args[4];
    regs[REG_R9] = frame->args[5];
    regs[REG_RAX] = frame->rax;
    regs[REG_RBX] = frame->rbx;
    regs[REG_RBP] = frame->rbp;
    regs[REG_R12] = frame->r12;
    regs[REG_R13] = frame->r13;
    regs[REG_R14] = frame->r14;
    regs[REG_R15] = frame->r15;
    regs[REG_RCX] = regs[REG_RIP] = frame->rcx;
    regs[REG_R11] = regs[REG_EFLAGS] = frame->flags;
    regs[REG_RSP] = thread->guest_rsp;
    slot->regs.fs_base = read_base(thread, 0);
    slot->regs.gs_base = 0;
    slot->fpstate = SLOT_FPSTATE_LIVE;
    slot->fpstate_size = 0;
}

/* Which argument of the call is a path, -1: none. */
static int path_argument(uint32_t number) {
    switch (number) {
    case SYS_open:
    case SYS_stat:
    case SYS_lstat:
    case SYS_access:
    case SYS_readlink:
        return 0;
    case SYS_openat:
    case SYS_newfstatat:
    case SYS_readlinkat:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_statx:
        return 1;
    default:
        return -1;
    }
}

/* A small structure or buffer that the kernel is going to read: *address and its size, 0 when the
 * call has none. */
static uint64_t input_argument(uint32_t number, const uint64_t args[6], uint64_t *address) {
    int index;
    uint64_t size;

    switch (number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_sendto:
        index = 1;
        size = args[2];
        break;
    case SYS_poll:
        index = 0;
        size = args[1] <= SLOT_BOUNCE_SIZE ? args[1] * 8 : 0;
        break;
    case SYS_rt_sigaction:
        index = 1;
        size = 32;
        break;
    case SYS_rt_sigprocmask:
        index = 1;
        size = 8;
        break;
    case SYS_rt_sigsuspend:
        index = 0;
        size = 8;
        break;
    case SYS_epoll_ctl:
        index = 3;
        size = 12;
        break;
    case SYS_nanosleep:
        index = 0;
        size = 16;
        break;
    case SYS_clock_nanosleep:
        index = 2;
        size = 16;
        break;
    case SYS_timerfd_settime:
        index = 2;
        size = 32;
        break;
    default:
        return 0;
    }
    *address = args[index];
    return size <= SLOT_BOUNCE_SIZE ? size : 0;
}

uint64_t guest_extent(const struct stub_thread *thread, uint64_t address, uint64_t size) {
    if (address == 0 || address - thread->stub_base < STUB_TOTAL_SIZE) {
        return 0;
    }
    if (address < thread->stub_base && thread->stub_base - address < size) {
        return thread->stub_base - address;
    }
    return size;
}

/* Spares the kernel a look into the guest's memory. */
static void bring_argument(const struct stub_thread *thread, const struct fast_frame *frame) {
    struct slot *slot = thread->slot;
    uint32_t number = (uint32_t)frame->rax;
    int path = path_argument(number);
    uint64_t address = 0, size;

    slot->brought_size = 0;
    if (path >= 0) {
        address = frame->args[path];
        size = stub_copy_string((char *)slot->bounce, (const char *)address,
                                guest_extent(thread, address, SLOT_BOUNCE_SIZE));
    } else {
        size = input_argument(number, frame->args, &address);
        if (size == 0 || guest_extent(thread, address, size) != size ||
            !stub_copy_bytes(slot->bounce, (const void *)address, size)) {
            return;
        }
    }
    slot->brought_address = address;
    slot->brought_size = (uint32_t)size;
}

/* The result, and what goes with it to the guest's memory. */
static uint64_t take_answer(const struct slot *slot) {
    uint32_t size = slot->answer_size;

    if (size && (size > SLOT_BOUNCE_SIZE ||
                 !stub_copy_bytes((void *)slot->answer_address, slot->bounce, size))) {
        return (uint64_t)-EFAULT_NR;
    }
    return slot->regs.gregs[REG_RAX];
}

/* The kernel answers, with no frame: the guest's vector registers stay where they are, and of the
 * others only rax changes. For all else that the kernel may order, a frame is made. */
static uint64_t serve_fast(struct stub_thread *thread, const struct fast_frame *frame) {
    uint32_t event = SLOT_EVENT_SYSCALL;

    thread->frame = NULL;
    capture(thread, frame);
    bring_argument(thread, frame);
    for (;;) {
        uint32_t command = report(thread, event);

        event = SLOT_EVENT_CALLS;
        switch (command) {
        case SLOT_CALLS_RESUME:
            if (!make_calls_and_resume(thread)) {
                break;
            }
            __attribute__((fallthrough));
        case SLOT_RESUME_RESULT:
            return take_answer(thread->slot);
        case SLOT_CALLS:
            make_calls(thread);
            break;
        default:
            thread->reframe = command;
            stub_reframe();
        }
    }
}

/* A patched call. 1: answered, in frame->rax. */
int stub_fast(struct fast_frame *frame) {
    struct stub_thread *thread = thread_of_stack(frame);
    uint32_t number = (uint32_t)frame->rax;
    int64_t result;

    if (local_call(thread, number, frame->args[0], &result) ||
        mask_call(thread, number, frame->args, &result) ||
        descriptor_call(thread, number, frame->args, &result) ||
        direct_call(thread, (int32_t)number, frame->args, &result) ||
        told_call(thread, number, frame->args, &result)) {
        count_answer(thread, number, 1, result);
    } else if (needs_frame(number)) {
        return 0;
    } else {
        result = (int64_t)serve_fast(thread, frame);
    }
    frame->rax = (uint64_t)result;
    return 1;
}

static void report_fpstate(struct slot *slot, const struct host_ucontext *context) {
    slot->fpstate = context->fpstate;
    slot->fpstate_size = 0;
    if (context->fpstate) {
        const uint32_t *software = (const uint32_t *)(context->fpstate + 464);

        /* struct _fpx_sw_bytes: magic1, extended_size */
        slot->fpstate_size = software[0] == 0x46505853 ? software[1] : 512;
    }
}

/* serve_fast() goes on here, in the handler of its own trap. */
static void serve_reframed(struct stub_thread *thread, struct host_ucontext *context) {
    uint32_t event;

    thread->frame = context;
    copy_bytes(context->gregs, thread->slot->regs.gregs, sizeof(context->gregs));
    report_fpstate(thread->slot, context);
    if (!obey(thread, thread->reframe, &event)) {
        serve(thread, event);
    }
}

void stub_handler(int signo, struct host_siginfo *info, struct host_ucontext *context) {
    struct stub_thread *thread = thread_of_stack(context);
    struct slot *slot = thread->slot;
    uint64_t rip = context->gregs[REG_RIP];
    void *outer = thread->frame;
    uint32_t event;

    if (signo == STUB_KICK_SIGNAL && rip == (uint64_t)stub_leave_end) {
        rip = context->gregs[REG_RIP] = context->gregs[REG_RCX];
    }
    if (signo == STUB_KICK_SIGNAL && rip - thread->stub_base < STUB_TEXT_SIZE) {
        thread->kicked = 1;
        if (rip >= (uint64_t)stub_leave_start && rip < (uint64_t)stub_leave_end) {
            context->gregs[REG_RIP] = (uint64_t)stub_leave_start;
        }
        if (rip >= (uint64_t)stub_window_start && rip <= (uint64_t)stub_window_end) {
            context->gregs[REG_RIP] = (uint64_t)stub_window_abort;
        }
        return;
    }
    if (rip >= (uint64_t)stub_copy_string && rip < (uint64_t)stub_copy_end) {
        context->gregs[REG_RIP] = (uint64_t)stub_copy_fault; /* who called it knows what to do */
        return;
    }
    thread->masked = 1;
    slot->brought_size = 0;
    if (signo == SIGTRAP_NR && rip == (uint64_t)stub_reframe_trap) {
        serve_reframed(thread, context);
        thread->masked = 0;
        return;
    }
    if (signo == SIGSYS_NR) {
        event = info->arch == ARCH_X86_64 && answer_trapped(thread, context) ? SLOT_EVENT_KICK
                                                                             : SLOT_EVENT_SYSCALL;
        if (event == SLOT_EVENT_KICK && !thread->kicked) {
            thread->masked = 0;
            return; /* answered, and the kernel has nothing to do before the guest runs on */
        }
    } else if (signo == STUB_KICK_SIGNAL) {
        event = SLOT_EVENT_KICK;
    } else if (signo == SIGTRAP_NR && rip == (uint64_t)stub_kicked_trap) {
        context->gregs[REG_RIP] = context->gregs[REG_RCX];
        event = SLOT_EVENT_KICK;
    } else if (signo == SIGTRAP_NR && rip == (uint64_t)stub_call_trap) {
        context->gregs[REG_RIP] = context->gregs[REG_RCX];
        event = SLOT_EVENT_SYSCALL;
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
    if (slot->regs.gs_base == (uint64_t)thread) {
        slot->regs.gs_base = 0; /* the guest has set none */
    }
    report_fpstate(slot, context);
    serve(thread, event);
    thread->frame = outer;
    thread->masked = 0;
}
