/*
 * The slot: one task's mailbox between its stub (in the guest process) and its kernel thread. It
 * lies in the context area, a memfd mapped shared by both. Both sides include this file; it depends
 * on nothing.
 *
 * EVERYTHING here can be written by the guest at any time. The kernel copies a slot once into its
 * own memory (host_thread.c), checks the copy, and acts on the copy alone.
 *
 * Turns: `turn` is SLOT_GUEST while the stub may run, SLOT_KERNEL when the stub has filled in an
 * event, and becomes SLOT_DEAD when the host thread ends (the host clears it: the word is the
 * thread's CLONE_CHILD_CLEARTID address).
 */
#ifndef STARLING_SLOT_H
#define STARLING_SLOT_H

#include <stdint.h>

/*
 * Where things are, from the stub's base (random, a multiple of 2 MiB). Text: read-only,
 * executable, the only place that the filter lets make host calls. Slots: the context area. Stacks:
 * private memory; the base of each holds struct stub_thread. Public: what the kernel tells the
 * stub, read-only for the guest; first a struct slot_public for each slot, then descriptor tables.
 */
#define STUB_TEXT_SIZE     0x10000ul
#define STUB_SLOTS_OFFSET  0x100000ul
#define STUB_SLOT_STRIDE   16384ul
#define STUB_MAX_SLOTS     4096ul /* threads in one address space */
#define STUB_SLOTS_SIZE    (STUB_SLOT_STRIDE * STUB_MAX_SLOTS)
#define STUB_STACKS_OFFSET (STUB_SLOTS_OFFSET + STUB_SLOTS_SIZE)
#define STUB_STACK_SIZE    0x10000ul
#define STUB_PUBLIC_OFFSET (STUB_STACKS_OFFSET + STUB_STACK_SIZE * STUB_MAX_SLOTS)
#define STUB_PUBLIC_STRIDE 256ul
#define STUB_PUBLIC_SIZE   0x1000000ul
#define STUB_TABLES_OFFSET                                                                         \
    (STUB_PUBLIC_STRIDE * STUB_MAX_SLOTS) /* from the public area's start                          \
                                           */
#define STUB_TOTAL_SIZE 0x15200000ul

/* The host signal that the kernel sends to make a thread in user mode come in. Nothing else sends
 * it. */
#define STUB_KICK_SIGNAL 23 /* SIGURG: ignored by default, and never pending twice */

/* The stub image begins with this; offsets from its start. */
struct stub_header {
    char magic[8]; /* "STARSTUB" */
    uint64_t size;
    uint64_t start;    /* first code of the zygote */
    uint64_t handler;  /* every host signal's handler */
    uint64_t restorer; /* SA_RESTORER */
    uint64_t fast;     /* where patched calls enter, from a trampoline (mm/memory_patch.c) */
};

#define STUB_SITES 16

/* At the base of a thread's stub stack; private to the guest process. %gs points to it where the
 * processor has FSGSBASE and the guest does not use %gs itself; the first three are for the
 * assembly. */
struct stub_thread {
    uint64_t guest_rsp;       /* the guest's stack pointer during a patched call */
    uint64_t fast_sp;         /* where its flags are saved, the top of a patched call's stack */
    volatile uint32_t kicked; /* the reserved signal came while in the stub */
    struct slot *slot;
    const struct slot_public *public;
    void *frame; /* the host signal frame's ucontext that resuming returns to; NULL: none yet */
    uint64_t stub_base;
    int32_t control_fd;
    uint32_t index;
    uint32_t masked;  /* the reserved signal is blocked: in a handler, or not yet in the guest */
    uint32_t reframe; /* the command that stub_reframe() is called for */
    uint32_t has_fsgsbase;
    uint32_t inherits_gs; /* a new thread: its parent's %gs is the guest's own */
    uint32_t announces;   /* a new process: its first report goes with a byte to control_fd */
    uint32_t kernel_pid;  /* the parent that new processes must ask to die with; 0: need not */
    uint64_t sites[STUB_SITES]; /* by hash: sites whose calls the kernel has seen, and may patch */
    uint32_t site_calls[STUB_SITES];
    uint64_t unmap[4][2]; /* the zygote's first act: what to unmap (start, size) */
};

/*
 * What the kernel tells a thread's stub, so that it can answer calls by itself. A second memfd,
 * sealed against every writable mapping but the kernel's own. Each field is written before anybody
 * can see the change that it stands for.
 */
struct slot_public {
    uint32_t flags; /* SLOT_PUBLIC_* */
    struct slot_ids {
        int32_t pid, tid, ppid, pgid, sid;
        uint32_t uid, euid, gid, egid;
    } ids;
    uint32_t table; /* its descriptor table, from the public area's start; 0: none */
    /* The signals that may be pending for it (bit 0: signal 1). Set before the kernel looks whether
     * the thread blocks them: who changes slot->signal_mask and then finds one of the changed here
     * asks the kernel. */
    uint64_t pending;
    uint64_t brk; /* only in the first one, for the whole address space: brk(2)'s; 0: ask */
};
#define SLOT_PUBLIC_LOCAL 1u /* calls about these ids are the stub's to answer */
#define SLOT_PUBLIC_PATCH 2u /* the kernel patches sites whose calls the stub answers */
#define SLOT_PUBLIC_FUTEX 4u /* futex(2) is the stub's to make */
#define SLOT_PUBLIC_COUNT 8u /* what the stub answers is counted: --stats */

#define STUB_FAST_SP_OFFSET (STUB_STACK_SIZE - 64) /* from struct stub_thread; 16-byte aligned */

/*
 * A descriptor table: what the stub may do by itself with the guest's descriptor of that number.
 * One word, so that it is looked at and changed at one stroke: the host's number of the descriptor
 * in the guest's process, and rights. 0: ask the kernel.
 *
 * Before the stub uses a host number it writes it into its slot (slot->direct) and looks at the
 * word again; the kernel changes the word and then looks at the slots of the table's users. So
 * either the stub sees the change, or the kernel knows that the number is in use. A call that the
 * reserved signal ended leaves the mark: the kernel goes on with the file that it stands for,
 * whatever the guest's number means by then, and clears it.
 */
struct slot_fd {
    uint64_t word;
    uint64_t shown; /* SLOT_SHOWN_*; 0: ask the kernel about it */
};
#define SLOT_TABLE_FDS  4096u
#define SLOT_TABLE_SIZE (SLOT_TABLE_FDS * 16ul)
#define SLOT_MAX_TABLES ((STUB_PUBLIC_SIZE - STUB_TABLES_OFFSET) / SLOT_TABLE_SIZE)
#define SLOT_FD_NUMBER  0xffffu
#define SLOT_FD_READ    0x10000u
#define SLOT_FD_WRITE   0x20000u
#define SLOT_FD_SEEK    0x40000u /* it has a position, which is the host's */
#define SLOT_FD_BLOCKS  0x80000u /* a call on it may sleep */

/*
 * What else the kernel shows of the first descriptors, so that the stub answers for them: one word,
 * with the flags that F_GETFL gives in its lower bits. Its upper half is new each time that the
 * number is given.
 *
 * close(2) of a SLOT_SHOWN_CLOSES is a note in guest memory (slot->notes), which the kernel takes
 * before it acts on any call of a thread with that table, and before anybody else looks there. Who
 * puts the note there has closed the descriptor, and whoever finds it there meets a closed one.
 * The kernel hides the word and then looks for the note; the stub leaves its note and then looks at
 * the word. A note whose word has gone is taken back, unless the kernel was first: then it has
 * closed the descriptor for it. The kernel takes a note for nothing but the wish to close that
 * number.
 */
#define SLOT_SHOWN_FDS     256u
#define SLOT_SHOWN_FLAGS   0xffffffu
#define SLOT_SHOWN         0x1000000u
#define SLOT_SHOWN_CLOEXEC 0x2000000u
#define SLOT_SHOWN_NOTTY   0x4000000u /* a terminal's ioctls give ENOTTY */
#define SLOT_SHOWN_CLOSES  0x8000000u /* nobody sees when it is closed */
#define SLOT_NOTES         8u         /* that of descriptor N is the Nth, modulo this */
#define SLOT_NOTE(shown, fd)                                                                       \
    (((shown) & ~0xffffffffull) | 0x80000000u | (fd)) /* of that word's descriptor; 0: none */

#define SLOT_DIRECT_FUTEX                                                                          \
    0x40000000u /* in slot->direct, for a number: it waits for a futex, or sleeps */
#define SLOT_DIRECT_WAITED 0x80000000u /* in slot->direct: somebody sleeps until it changes */

#define SLOT_DEAD   0u
#define SLOT_GUEST  1u
#define SLOT_KERNEL 2u

/* What the stub reports. */
enum slot_event {
    SLOT_EVENT_NONE,
    SLOT_EVENT_STARTED, /* a new host thread waits; no guest registers yet, or its parent's */
    SLOT_EVENT_SYSCALL, /* regs hold the call (rax = number), rip behind the instruction */
    SLOT_EVENT_FAULT,   /* signo, code, address, trapno, error of a host
                           SIGSEGV/SIGBUS/SIGFPE/SIGILL/SIGTRAP */
    SLOT_EVENT_KICK,    /* the reserved signal found the thread in user mode */
    SLOT_EVENT_CALLS,   /* the ordered host calls are done, results in place */
};

/* What the kernel orders. */
enum slot_command {
    SLOT_RESUME_RESULT, /* return to the guest; only rax changes (regs.rax) */
    SLOT_RESUME_REGS,   /* return to the guest with all of regs */
    SLOT_CALLS,         /* make host calls 0..call_count-1 in order, then report */
    SLOT_CALLS_RESUME,  /* the same, but when all succeed and calls_report is 0 go on as
                           SLOT_RESUME_RESULT does, else report */
    SLOT_CLONE_THREAD,  /* clone a host thread into slot clone_slot */
    SLOT_CLONE_PROCESS, /* fork or vfork-like clone: see clone_* */
    SLOT_EXIT_THREAD,   /* make host calls as SLOT_CALLS does, then leave: exit(2) */
    SLOT_FRAME,         /* make a host frame with the extended state, then report */
};
#define SLOT_FPSTATE_LIVE 1u

#define SLOT_MAX_CALLS   24
#define SLOT_MAX_CLOSES  8
#define SLOT_MAX_FDS     4 /* in one message of the control socket */
#define SLOT_BOUNCE_SIZE 2048
#define SLOT_ANSWERED    512 /* numbers of calls */

/* A host call that the stub makes. An argument equal to a SLOT_RESULT(n) token is replaced by the
 * result of call n. */
struct slot_call {
    uint64_t number;
    uint64_t args[6];
    uint32_t flags;
    uint32_t pad;
};
#define SLOT_CALL_MAY_FAIL 1u /* go on when this one fails */
#define SLOT_CALL_BLOCKING 2u /* may block: the reserved signal ends it with -EINTR */
#define SLOT_CALL_RECEIVE_FD                                                                       \
    4u /* number is ignored: receive one descriptor from the control socket; the result is its     \
          number */
#define SLOT_RESULT(n) (0xfffe000000000000ull + (n))

/* Same layout as struct user_regs (uapi.h); checked in host_thread.c. */
struct slot_regs {
    uint64_t gregs[18]; /* r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags */
    uint64_t fs_base, gs_base;
};

/*
 * What a thread has said about itself and the kernel needs later, mostly when the thread ends: by
 * the stub or the kernel. Addresses of the guest's, which may write here what it likes: it goes no
 * further than the guest's own memory.
 */
struct slot_told {
    uint64_t robust_list;     /* set_robust_list(2) */
    uint64_t clear_child_tid; /* set_tid_address(2) */
    uint64_t rseq_address;    /* rseq(2), as the host thread is registered with the host; 0: not */
    uint32_t rseq_size, rseq_signature;
};

struct slot {
    _Alignas(64) uint32_t turn; /* futex word of both directions */
    /* Set by a side before it sleeps on `turn`: the other one wakes it only then. Whoever forges
     * them is left asleep, or wakes in vain. */
    uint32_t stub_sleeps, kernel_sleeps;
    uint32_t spin;   /* kernel: how many cycles the stub may watch `turn` before it sleeps */
    uint32_t torn;   /* stub: a hole in such a watch: somebody else wants this core */
    uint32_t work;   /* written by the kernel: the stub must not start a blocking direct call */
    uint32_t cpu;    /* where the stub ran when it reported */
    uint32_t direct; /* host number + 1 that the stub uses just now (see slot_fd); a futex word */
    uint32_t event;
    uint32_t command;
    /* SLOT_EVENT_SYSCALL: so many bytes of the guest's memory stand in bounce; with a path's NUL.
     * 0: none do. */
    uint32_t brought_size;
    uint64_t brought_address;
    /* SLOT_RESUME_RESULT after a call that came without a signal: the stub copies so many bytes of
     * bounce there before the guest goes on, and the call's result is -EFAULT when it cannot. */
    uint64_t answer_address;
    uint32_t answer_size;
    struct slot_regs regs;
    /* SLOT_FPSTATE_LIVE: in the registers still, SLOT_FRAME brings it to memory. Else: */
    uint64_t fpstate; /* guest address of the extended state in the host frame, 0 when none; and its
                         size */
    uint64_t fpstate_size;
    uint32_t fpstate_reset; /* kernel: resume with the initial extended state */
    struct {
        int32_t signo, code;
        uint64_t address, trapno, error;
    } fault;
    uint32_t call_count;
    uint32_t calls_done; /* how many were made: less than call_count when one failed */
    /* SLOT_CALLS_RESUME. Each side writes its own word, then looks at the other's: either the
     * kernel sees that the calls are made, or the stub that it is to report. */
    uint32_t calls_finished; /* the stub: all are made and succeeded */
    uint32_t calls_report;   /* the kernel: somebody waits for that */
    struct slot_call calls[SLOT_MAX_CALLS];
    int64_t results[SLOT_MAX_CALLS];
    /* SLOT_CLONE_*: flags for the host's clone, the child's slot index, descriptors the child shall
     * use. */
    uint64_t clone_flags;
    uint64_t clone_tls;
    uint32_t announce; /* in a child's slot: it is a process that shares memory and writes to the
                          control socket first */
    uint32_t clone_slot;
    int32_t clone_ctx_fd, clone_sock_fd;
    int64_t clone_result; /* tid or -errno */
    /* The thread's signal mask, by the stub or the kernel: what it says is the guest's own affair.
     */
    uint64_t signal_mask;
    struct slot_told told;
    uint64_t direct_done; /* SLOT_EVENT_SYSCALL, a write: so many bytes are written already */
    /* Bytes read and written, reads and writes that the stub has made by itself: figures for
     * /proc/PID/io and nothing else. */
    uint64_t direct_io[4];
    /* Not the thread's, but of the process with the descriptor table of the slot's index: what its
     * stubs have closed. */
    _Alignas(64) uint64_t notes[SLOT_NOTES];
    /* Before it resumes, the stub closes these. */
    uint32_t close_count;
    int32_t close_fds[SLOT_MAX_CLOSES];
    uint8_t bounce[SLOT_BOUNCE_SIZE];
    /* How many calls the stub has answered by itself, by number, with a signal and (1) without:
     * figures for --stats and nothing else. */
    uint64_t answered[SLOT_ANSWERED][2];
    uint32_t failed[SLOT_ANSWERED]; /* how many of them with an error */
};

#endif
