/*
 * What the files of the stub share: the host's calls and structures, as far as the stub touches
 * them. Everything is static or hidden: the stub has no relocation and no data.
 */
#ifndef STARLING_STUB_INTERNAL_H
#define STARLING_STUB_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "host/slot.h"

#define SYS_write           1
#define SYS_open            2
#define SYS_close           3
#define SYS_stat            4
#define SYS_lstat           6
#define SYS_poll            7
#define SYS_mmap            9
#define SYS_munmap          11
#define SYS_rt_sigaction    13
#define SYS_rt_sigprocmask  14
#define SYS_rt_sigreturn    15
#define SYS_pwrite64        18
#define SYS_access          21
#define SYS_madvise         28
#define SYS_nanosleep       35
#define SYS_sendto          44
#define SYS_recvmsg         47
#define SYS_clone           56
#define SYS_fork            57
#define SYS_vfork           58
#define SYS_execve          59
#define SYS_exit            60
#define SYS_readlink        89
#define SYS_getppid         110
#define SYS_rt_sigsuspend   130
#define SYS_sigaltstack     131
#define SYS_prctl           157
#define SYS_arch_prctl      158
#define SYS_futex           202
#define SYS_clock_nanosleep 230
#define SYS_exit_group      231
#define SYS_epoll_ctl       233
#define SYS_openat          257
#define SYS_newfstatat      262
#define SYS_readlinkat      267
#define SYS_faccessat       269
#define SYS_timerfd_settime 286
#define SYS_execveat        322
#define SYS_statx           332
#define SYS_clone3          435
#define SYS_faccessat2      439

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#define SIGTRAP_NR 5
#define EINTR_NR   4
#define EFAULT_NR  14
#define SIGSYS_NR  31
#define EFAULT_NR  14

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
#define REG_R8               0
#define REG_R9               1
#define REG_R10              2
#define REG_R11              3
#define REG_R12              4
#define REG_R13              5
#define REG_R14              6
#define REG_R15              7
#define REG_RDI              8
#define REG_RSI              9
#define REG_RBP              10
#define REG_RBX              11
#define REG_RDX              12
#define REG_RAX              13
#define REG_RCX              14
#define REG_RSP              15
#define REG_RIP              16
#define REG_EFLAGS           17

struct host_siginfo {
    int32_t signo, error, code, pad;
    uint64_t address;
    int32_t call; /* of SIGSYS */
    uint32_t arch;
};
#define ARCH_X86_64 0xc000003eu /* AUDIT_ARCH_X86_64 */

/* entry_x86_64.S */
long stub_clone(uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                uint64_t tls);
void stub_sigreturn(void *ucontext) __attribute__((noreturn));
long stub_blocking_call(const struct slot_call *call, const uint64_t args[6],
                        volatile uint32_t *kicked);
extern const char stub_window_start[] __attribute__((visibility("hidden")));
extern const char stub_window_end[] __attribute__((visibility("hidden")));
extern const char stub_window_abort[] __attribute__((visibility("hidden")));
extern const char stub_leave_start[] __attribute__((visibility("hidden")));
extern const char stub_leave_end[] __attribute__((visibility("hidden")));
extern const char stub_kicked_trap[] __attribute__((visibility("hidden")));
extern const char stub_call_trap[] __attribute__((visibility("hidden")));
extern const char stub_reframe_trap[] __attribute__((visibility("hidden")));
uint64_t stub_copy_string(char *to, const char *from, uint64_t size)
    __attribute__((visibility("hidden")));
/* 1: copied; 0: one of the two could not be touched, and a part may have been copied. */
int stub_copy_bytes(void *to, const void *from, uint64_t size)
    __attribute__((visibility("hidden")));
extern const char stub_copy_end[] __attribute__((visibility("hidden")));
extern const char stub_copy_fault[] __attribute__((visibility("hidden")));
/* Hidden, as its address is taken: the linker would make a fixed one of it. */
void stub_reframe(void) __attribute__((noreturn, visibility("hidden")));
/* stub.c, called from there */
struct fast_frame;
int stub_fast(struct fast_frame *frame);
void stub_begin(struct stub_thread *thread);
void stub_child(struct stub_thread *thread);
void stub_handler(int signo, struct host_siginfo *info, struct host_ucontext *context);

/* What stub_fast_entry has pushed. */
struct fast_frame {
    uint64_t args[6];
    uint64_t r15, r14, r13, r12, rbp, rbx;
    uint64_t rax; /* the number; then the result */
    uint64_t rcx; /* where the guest goes on */
    uint64_t flags;
};

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

static inline void copy_bytes(void *to, const void *from, size_t size) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void __attribute__((noreturn)) die(void) {
    for (;;) {
        host_call(SYS_exit_group, 139, 0, 0, 0);
    }
}

/* %gs is the stub's as long as the guest has not set it (arch_prctl(2)). */
static inline uint64_t read_gs(void) {
    uint64_t base;

    __asm__ volatile("rdgsbase %0" : "=r"(base));
    return base;
}

static inline void own_gs(struct stub_thread *thread) {
    if (thread->has_fsgsbase) {
        __asm__ volatile("wrgsbase %0" : : "r"(thread));
    }
}

static inline struct stub_thread *thread_of_stack(const void *stack) {
    return (struct stub_thread *)((uint64_t)stack & ~(STUB_STACK_SIZE - 1));
}

/* hand_over.c: gives the turn to the kernel with an event and waits until it comes back. */
void hand_over(struct stub_thread *thread, uint32_t event);

/* direct.c: 1 when the call is made, with what it gives in *result. Then thread->kicked may be set:
 * the kernel has something to do before the guest runs on. 0: the kernel must make it. */
int direct_call(struct stub_thread *thread, long number, const uint64_t args[6], int64_t *result);
/* One host call that a kick ends (-EINTR), wherever the stub was entered from. */
int64_t direct_blocking(struct stub_thread *thread, uint64_t number, const uint64_t args[6]);

/* direct_futex.c: as direct_call(). */
int direct_futex(struct stub_thread *thread, const uint64_t args[6], int64_t *result);
int direct_sleep(struct stub_thread *thread, const uint64_t args[6], int64_t *result);

/* told.c: 1 when the call is answered, in *result. New programs and threads make it once and
 * first: it is not worth a patch of its site. */
int told_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
              int64_t *result);

/* local.c: 1 when the call is answered, in *result. `argument` is its first. */
int local_call(const struct stub_thread *thread, uint32_t number, uint64_t argument,
               int64_t *result);

/* descriptor.c: likewise; and has a stub of the process closed the descriptor? */
int descriptor_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
                    int64_t *result);
int descriptor_noted(const struct stub_thread *thread, uint64_t fd);

/* signal_mask.c: likewise. Only from a patched call, where a fault in the copying is survived. */
int mask_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
              int64_t *result);

/* How many of the `size` bytes at `address` are before the stub's own memory, which is none of the
 * guest's. */
uint64_t guest_extent(const struct stub_thread *thread, uint64_t address, uint64_t size);

/* stub_calls.c: the host calls that the kernel ordered (slot->calls). 1: all were made, and none
 * failed. */
int make_calls(struct stub_thread *thread);
/* The same, and says so in the slot; 1: nobody waits to hear it. */
int make_calls_and_resume(struct stub_thread *thread);
/* A host call, and nothing made of its answer: whoever jumps to it gets that and no more. */
long plain_call(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* One message of so many descriptors (at most SLOT_MAX_FDS) from the control socket: 0, or -errno.
 */
long receive_fds(const struct stub_thread *thread, int32_t *fds, uint32_t count);

/* stub_clone.c: new threads and processes on the kernel's order. */
void clone_thread(struct stub_thread *thread);
/* True in a fork child. */
int clone_process(struct stub_thread *thread);
/* Where no pid namespace ends us with the kernel process, the host's parent-death signal does. */
void tie_to_kernel(const struct stub_thread *thread);

#endif
