/*
 * Signal frames of x86-64, laid out as Linux does (arch/x86/kernel/signal_64.c,
 * arch/x86/include/uapi/asm/{sigcontext,ucontext}.h), since unwinders, JITs and debuggers read
 * them:
 *
 *     high   extended state (XSAVE image, 64-byte aligned, FP_XSTATE_MAGIC2 behind it)
 *            siginfo, ucontext, address of the restorer     <- rsp, 8 below a multiple of 16
 *
 * The extended state comes from the frame that the host made when it stopped the guest's thread,
 * byte for byte, and goes back into it: the host's own rt_sigreturn loads it. What the guest left
 * in its frame is hostile and is checked before: an image that the processor would refuse is a
 * segmentation fault of the guest here, as it would be natively, and never a failing return in the
 * stub.
 *
 * Segments: only the 64-bit user code segment can be returned to; a frame with another one gives
 * SIGSEGV (32-bit code is not supported).
 */
#include "task/signal_internal.h"

#define FRAME_UC_FP_XSTATE         0x1
#define FRAME_UC_SIGCONTEXT_SS     0x2
#define FRAME_UC_STRICT_RESTORE_SS 0x4

#ifndef SA_RESTORER
#define SA_RESTORER 0x04000000 /* asm/signal.h; libc hides it */
#endif

#define USER_CS 0x33
#define USER_SS 0x2b

#define RED_ZONE      128
#define AUTODISARM    (1u << 31)
#define FPSTATE_ALIGN 64
#define FPSTATE_MAX   16384

/* FXSAVE image and XSAVE header (Intel SDM vol. 1, 10.5.1 and 13.4). */
#define FXSAVE_SIZE        512
#define XSAVE_HEADER       FXSAVE_SIZE
#define XSAVE_HEADER_SIZE  64
#define FXSAVE_FCW         0
#define FXSAVE_MXCSR       24
#define FXSAVE_MXCSR_MASK  28
#define FXSAVE_SW_RESERVED 464
#define MXCSR_DEFAULT      0x1f80u
#define MXCSR_MASK_DEFAULT 0xffbfu
#define XFEATURES_LEGACY   3ULL /* x87 and SSE */

#define EFLAGS_TF 0x100ULL
#define EFLAGS_DF 0x400ULL
#define EFLAGS_RF 0x10000ULL
/* What a frame may change: AC OF DF TF SF ZF AF PF CF RF (FIX_EFLAGS). */
#define EFLAGS_RESTORED 0x50dd5ULL

struct sigcontext_frame {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2;
    uint64_t fpstate;
    uint64_t reserved[8];
};
struct ucontext_frame {
    uint64_t flags, link;
    struct user_sigaltstack stack;
    struct sigcontext_frame mcontext;
    kernel_sigset sigmask;
};
struct rt_sigframe {
    uint64_t restorer;
    struct ucontext_frame uc;
    siginfo_t info;
};
_Static_assert(sizeof(struct sigcontext_frame) == 256, "struct sigcontext");
_Static_assert(sizeof(struct ucontext_frame) == 304, "struct ucontext");
_Static_assert(sizeof(struct rt_sigframe) == 440, "struct rt_sigframe");
_Static_assert(offsetof(struct user_regs, eflags) == offsetof(struct sigcontext_frame, eflags),
               "user_regs begins like struct sigcontext");
#define REGS_SIZE (offsetof(struct user_regs, eflags) + 8)

static uint32_t load32(const uint8_t *from) {
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

static uint64_t load64(const uint8_t *from) {
    uint64_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* The bounds of the alternate stack as Linux's __on_sig_stack() takes them. */
static bool within_stack(const struct user_sigaltstack *stack, uint64_t sp) {
    return sp > stack->sp && sp - stack->sp <= stack->size;
}

bool signal_on_stack(const struct user_sigaltstack *stack, uint64_t sp) {
    return !((uint32_t)stack->flags & AUTODISARM) && within_stack(stack, sp);
}

void signal_stack_reset(struct user_sigaltstack *stack) {
    *stack = (struct user_sigaltstack){.flags = SS_DISABLE};
}

int signal_stack_set(struct task *current, const struct user_sigaltstack *stack, uint64_t sp,
                     uint64_t minimum) {
    struct user_sigaltstack *own = &current->signal_stack;
    uint32_t flags = (uint32_t)stack->flags;
    uint32_t mode = flags & ~AUTODISARM;

    if (signal_on_stack(own, sp)) {
        return -EPERM;
    }
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) {
        return -EINVAL;
    }
    if (mode == SS_DISABLE) {
        *own = (struct user_sigaltstack){.flags = (int32_t)flags};
        return 0;
    }
    if (stack->size < minimum) {
        return -ENOMEM;
    }
    *own = (struct user_sigaltstack){.sp = stack->sp, .flags = (int32_t)flags, .size = stack->size};
    return 0;
}

/* A stack that was never set is zeros: reads as disabled. */
struct user_sigaltstack signal_stack_get(const struct task *current) {
    struct user_sigaltstack stack = current->signal_stack;

    if (stack.size == 0) {
        stack.flags |= SS_DISABLE;
    }
    stack.pad = 0;
    return stack;
}

/* ---- extended state ---- */

/* Makes an image the initial state, keeping the host's MXCSR mask and software bytes. Of a thread
 * that has not run yet (all zeros) it becomes a legacy image, a frame without xstate. */
static void fpstate_initial(uint8_t *image, size_t size) {
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = MXCSR_DEFAULT;
    uint32_t mask = load32(image + FXSAVE_MXCSR_MASK);

    mask = mask ? mask : MXCSR_MASK_DEFAULT;
    memset(image, 0, FXSAVE_SW_RESERVED);
    memcpy(image + FXSAVE_FCW, &fcw, sizeof(fcw));
    memcpy(image + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    memcpy(image + FXSAVE_MXCSR_MASK, &mask, sizeof(mask));
    if (size >= XSAVE_HEADER + XSAVE_HEADER_SIZE) {
        memset(image + XSAVE_HEADER, 0, XSAVE_HEADER_SIZE);
    }
}

/* What the software bytes of an image say, checked against its size. False: a legacy image. */
static bool fpstate_xstate(const uint8_t *image, size_t size, struct _fpx_sw_bytes *sw) {
    memcpy(sw, image + FXSAVE_SW_RESERVED, sizeof(*sw));
    return sw->magic1 == FP_XSTATE_MAGIC1 && sw->xstate_size >= FXSAVE_SIZE + XSAVE_HEADER_SIZE &&
           sw->extended_size == sw->xstate_size + FP_XSTATE_MAGIC2_SIZE &&
           sw->extended_size <= size && load32(image + sw->xstate_size) == FP_XSTATE_MAGIC2;
}

/* The image of the guest's state as of its last event; NULL: out of memory or no sense in the slot.
 */
static uint8_t *fpstate_get(struct task *current, size_t *size) {
    size_t host_size = host_thread_fpstate_size(current->thread);
    uint8_t *image;

    *size = MAX(host_size, (size_t)FXSAVE_SIZE);
    if (*size > FPSTATE_MAX) {
        return NULL;
    }
    image = calloc(1, *size);
    if (!image) {
        return NULL;
    }
    if (host_size >= FXSAVE_SIZE &&
        host_thread_fpstate_read(current->thread, image, host_size) < 0) {
        free(image);
        return NULL;
    }
    /* Reset: a frame was pushed at this boundary already, this one interrupts its handler. */
    if (host_size < FXSAVE_SIZE || host_thread_fpstate_is_reset(current->thread)) {
        fpstate_initial(image, host_size);
    }
    return image;
}

/*
 * Takes over the guest's image `from` into the host's image `image`, which keeps its own software
 * bytes. -EFAULT: the processor would fault on it.
 */
static int fpstate_merge(uint8_t *image, size_t size, const uint8_t *from, size_t from_size) {
    uint32_t mask = load32(image + FXSAVE_MXCSR_MASK);
    struct _fpx_sw_bytes host, guest;
    bool host_xstate = fpstate_xstate(image, size, &host);
    bool guest_xstate = fpstate_xstate(from, from_size, &guest);
    uint64_t features = XFEATURES_LEGACY;

    if (load32(from + FXSAVE_MXCSR) & ~(mask ? mask : MXCSR_MASK_DEFAULT)) {
        return -EFAULT;
    }
    memcpy(image, from, FXSAVE_MXCSR_MASK);
    memcpy(image + FXSAVE_MXCSR_MASK + 4, from + FXSAVE_MXCSR_MASK + 4,
           FXSAVE_SW_RESERVED - FXSAVE_MXCSR_MASK - 4);
    if (!host_xstate) {
        return 0;
    }
    if (guest_xstate) {
        const uint8_t *header = from + XSAVE_HEADER;

        features = load64(header);
        if (features & ~host.xstate_bv) {
            return -EFAULT;
        }
        /* XCOMP_BV and the reserved bytes: not zero is a general protection fault. */
        for (size_t i = 8; i < XSAVE_HEADER_SIZE; i++) {
            if (header[i]) {
                return -EFAULT;
            }
        }
        features &= guest.xstate_bv | XFEATURES_LEGACY;
        memcpy(image + XSAVE_HEADER, header,
               MIN(guest.xstate_size, host.xstate_size) - XSAVE_HEADER);
        if (guest.xstate_size < host.xstate_size) {
            memset(image + guest.xstate_size, 0, host.xstate_size - guest.xstate_size);
        }
    }
    /* Without xstate in the frame Linux restores the legacy part and initialises the rest. */
    memset(image + XSAVE_HEADER, 0, XSAVE_HEADER_SIZE);
    memcpy(image + XSAVE_HEADER, &features, sizeof(features));
    return 0;
}

/* The part of the host's image that a restored one keeps, as it was seen last. */
struct fpstate_shape {
    size_t size;
    uint32_t mask;
    struct _fpx_sw_bytes sw;
};
_Static_assert(sizeof(struct fpstate_shape) <= sizeof(((struct task *)0)->fpstate_shape),
               "struct task has room for it");

static void shape_note(struct task *current, const uint8_t *image, size_t size) {
    struct fpstate_shape shape = {.mask = load32(image + FXSAVE_MXCSR_MASK)};

    if (fpstate_xstate(image, size, &shape.sw)) {
        shape.size = size;
        memcpy(current->fpstate_shape, &shape, sizeof(shape));
    }
}

/* An image of the host's that a guest's is about to be taken into: from what is known of it where
 * that will do, since its contents do not matter. */
static uint8_t *fpstate_blank(struct task *current, size_t *size) {
    size_t host_size = host_thread_fpstate_size(current->thread);
    struct fpstate_shape shape;
    uint32_t magic = FP_XSTATE_MAGIC2;
    uint8_t *image;

    memcpy(&shape, current->fpstate_shape, sizeof(shape));
    if (shape.size == 0 || shape.size != host_size) {
        image = fpstate_get(current, size);
        if (image) {
            shape_note(current, image, *size);
        }
        return image;
    }
    image = calloc(1, shape.size);
    if (image) {
        memcpy(image + FXSAVE_MXCSR_MASK, &shape.mask, sizeof(shape.mask));
        memcpy(image + FXSAVE_SW_RESERVED, &shape.sw, sizeof(shape.sw));
        memcpy(image + shape.sw.xstate_size, &magic, sizeof(magic));
        *size = shape.size;
    }
    return image;
}

/* Loads the guest's image at `address` (0: the initial state). */
static int fpstate_restore(struct task *current, uint64_t address) {
    uint8_t *image CLEANUP(free) = NULL, *from CLEANUP(free) = NULL;
    struct _fpx_sw_bytes sw;
    size_t size, from_size = FXSAVE_SIZE;
    ssize_t got;
    int result;

    if (address == 0) {
        host_thread_fpstate_reset(current->thread);
        return 0;
    }
    if (host_thread_fpstate_size(current->thread) < FXSAVE_SIZE) {
        return 0;
    }
    image = fpstate_blank(current, &size);
    from = malloc(FPSTATE_MAX);
    if (!image || !from) {
        return -EFAULT;
    }
    /* A frame that was made here is as large as the host's. */
    got = copy_from_user_partial(current->thread, from, user_address(address), size);
    if (got < FXSAVE_SIZE) {
        return -EFAULT;
    }
    memcpy(&sw, from + FXSAVE_SW_RESERVED, sizeof(sw));
    if (sw.magic1 == FP_XSTATE_MAGIC1 && sw.extended_size > FXSAVE_SIZE &&
        sw.extended_size <= FPSTATE_MAX) {
        from_size = sw.extended_size;
    }
    if (from_size > (size_t)got) {
        /* From the start once more: what was fetched first may have changed meanwhile. */
        result = copy_from_user(current->thread, from, user_address(address), from_size);
        if (result < 0) {
            return result;
        }
    }
    result = fpstate_merge(image, size, from, from_size);
    return result < 0 ? result : host_thread_fpstate_write(current->thread, image, size);
}

/* ---- push ---- */

/* Where the frame and the extended state go. -EFAULT: not on the stack it should be on. */
static int frame_place(struct task *current, const struct user_sigaction *action, uint64_t sp,
                       size_t fpstate_size, uint64_t *frame, uint64_t *fpstate) {
    struct user_sigaltstack stack = signal_stack_get(current);
    bool nested = signal_on_stack(&stack, sp);
    bool entering = false;

    sp -= RED_ZONE;
    if ((action->flags & SA_ONSTACK) && stack.size != 0 && !signal_on_stack(&stack, sp)) {
        sp = stack.sp + stack.size;
        entering = true;
    }
    *fpstate = ALIGN_DOWN(sp - fpstate_size, FPSTATE_ALIGN);
    *frame = ALIGN_DOWN(*fpstate - sizeof(struct rt_sigframe), 16) - 8;
    if ((nested || entering) && !within_stack(&stack, *frame)) {
        return -EFAULT;
    }
    return *frame < *fpstate && *fpstate < USER_TASK_SIZE ? 0 : -EFAULT;
}

static void frame_fill(struct task *current, struct rt_sigframe *frame, uint64_t fpstate,
                       bool xstate, const struct user_sigaction *action,
                       const struct signal_info *info, kernel_sigset mask) {
    const struct user_regs *regs = host_thread_regs(current->thread);
    struct sigcontext_frame *mcontext = &frame->uc.mcontext;

    frame->restorer = action->restorer;
    frame->uc.flags = FRAME_UC_SIGCONTEXT_SS | FRAME_UC_STRICT_RESTORE_SS;
    if (xstate) {
        frame->uc.flags |= FRAME_UC_FP_XSTATE;
    }
    frame->uc.stack = signal_stack_get(current);
    memcpy(mcontext, regs, REGS_SIZE);
    mcontext->cs = USER_CS;
    mcontext->ss = USER_SS;
    mcontext->err = current->last_fault.error;
    mcontext->trapno = current->last_fault.trapno;
    mcontext->cr2 = current->last_fault.address;
    mcontext->oldmask = mask;
    mcontext->fpstate = fpstate;
    frame->uc.sigmask = mask;
    if (action->flags & SA_SIGINFO) {
        signal_info_to_user(info, &frame->info);
    }
}

int sigframe_push(struct task *current, const struct user_sigaction *action,
                  const struct signal_info *info, kernel_sigset mask) {
    struct user_regs *regs = host_thread_regs(current->thread);
    uint8_t *image CLEANUP(free) = NULL, *buffer CLEANUP(free) = NULL;
    struct rt_sigframe frame = {0};
    struct _fpx_sw_bytes sw;
    uint64_t frame_address, fpstate_address;
    size_t fpstate_size, size;
    int result;

    if (!(action->flags & SA_RESTORER)) {
        return -EFAULT;
    }
    image = fpstate_get(current, &fpstate_size);
    if (!image) {
        return -EFAULT;
    }
    result =
        frame_place(current, action, regs->rsp, fpstate_size, &frame_address, &fpstate_address);
    if (result < 0) {
        return result;
    }
    frame_fill(current, &frame, fpstate_address, fpstate_xstate(image, fpstate_size, &sw), action,
               info, mask);
    size = fpstate_address + fpstate_size - frame_address;
    buffer = calloc(1, size);
    if (!buffer) {
        return -EFAULT;
    }
    memcpy(buffer, &frame, sizeof(frame));
    memcpy(buffer + (fpstate_address - frame_address), image, fpstate_size);
    result = copy_to_user(current->thread, user_address(frame_address), buffer, size);
    if (result < 0 && task_grow_stack(current, frame_address)) {
        result = copy_to_user(current->thread, user_address(frame_address), buffer, size);
    }
    if (result < 0) {
        return result;
    }

    if ((uint32_t)current->signal_stack.flags & AUTODISARM) {
        signal_stack_reset(&current->signal_stack);
    }
    regs->rdi = (uint64_t)info->signal;
    regs->rsi = frame_address + offsetof(struct rt_sigframe, info);
    regs->rdx = frame_address + offsetof(struct rt_sigframe, uc);
    regs->rax = 0;
    regs->rip = action->handler;
    regs->rsp = frame_address;
    regs->eflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    host_thread_regs_changed(current->thread);
    host_thread_fpstate_reset(current->thread);
    return 0;
}

/* ---- pop ---- */

static int sigframe_pop(struct task *current) {
    struct user_regs *regs = host_thread_regs(current->thread);
    struct ucontext_frame uc;
    /* The restorer's address has been popped by the handler's return. */
    uint64_t address = regs->rsp - sizeof(uint64_t) + offsetof(struct rt_sigframe, uc);
    uint64_t eflags = regs->eflags;
    int result;

    result = copy_from_user(current->thread, &uc, user_address(address), sizeof(uc));
    if (result < 0) {
        return result;
    }
    if ((uc.mcontext.cs | 3) != USER_CS ||
        ((uc.flags & FRAME_UC_STRICT_RESTORE_SS) && (uc.mcontext.ss | 3) != USER_SS)) {
        log_once(LOG_WARN, "sigreturn-segment", uc.mcontext.cs,
                 "rt_sigreturn to segments cs=%#x ss=%#x is not supported: SIGSEGV", uc.mcontext.cs,
                 uc.mcontext.ss);
        return -EFAULT;
    }
    signal_set_mask(current, uc.sigmask);
    current->restore_mask = false;
    /* Linux ignores what this says; it looks at the stack pointer of the handler. */
    int ignored UNUSED = signal_stack_set(current, &uc.stack, regs->rsp, SIGNAL_STACK_MIN);
    memcpy(regs, &uc.mcontext, REGS_SIZE);
    regs->eflags = (eflags & ~EFLAGS_RESTORED) | (uc.mcontext.eflags & EFLAGS_RESTORED);
    host_thread_regs_changed(current->thread);
    current->call.number = TASK_CALL_DONE;
    return fpstate_restore(current, uc.mcontext.fpstate);
}

void signal_return(struct task *current) {
    if (sigframe_pop(current) < 0) {
        current->call.number = TASK_CALL_DONE;
        signal_frame_failed(current, 0);
    }
}
