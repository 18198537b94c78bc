/*
 * uapi: the guest's view of the kernel interface on x86-64: what the libc headers do not give in
 * the kernel's own layout. Constants that are the same for host and guest (O_*, S_IF*, PROT_*,
 * signal numbers ...) come from the libc headers.
 */
#ifndef STARLING_UAPI_H
#define STARLING_UAPI_H

#include <linux/types.h>
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/base.h"

/* A guest address. C cannot dereference it: only mm/usercopy.c follows it. */
struct user_address {
    uint64_t value;
};

static inline struct user_address user_address(uint64_t value) {
    return (struct user_address){value};
}
static inline struct user_address user_address_add(struct user_address address, uint64_t offset) {
    return (struct user_address){address.value + offset};
}
static inline bool user_address_is_null(struct user_address address) {
    return address.value == 0;
}

/* The first address that no guest mapping may touch (TASK_SIZE of a 47-bit address space). */
#define USER_TASK_SIZE 0x00007ffffffff000UL
/* Nothing is mapped below (vm.mmap_min_addr): a NULL read must fault. */
#define USER_MMAP_MIN 0x10000UL

/*
 * Kernel-internal results of a call that was interrupted (Linux include/linux/errno.h); task/run.c
 * turns each into a restart or EINTR, no guest ever sees one.
 */
#define ERESTARTSYS    512 /* restart unless a handler without SA_RESTART runs */
#define ERESTARTNOINTR 513 /* restart always */
#define ERESTARTNOHAND 514 /* restart unless a handler runs */
#define ERESTART_RESTARTBLOCK                                                                      \
    516 /* like NOHAND; the call's deadline was kept (task_call_deadline) */

/* A signal set of 64 signals: bit n-1 stands for signal n. */
typedef uint64_t kernel_sigset;
#define SIGNAL_MAX         64
#define SIGNAL_BIT(signal) (1ULL << ((signal)-1))
#define SIGNAL_UNMASKABLE  (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))

/* rt_sigaction(2), the kernel's struct sigaction. */
struct user_sigaction {
    uint64_t handler;
    uint64_t flags;
    uint64_t restorer;
    kernel_sigset mask;
};

/* sigaltstack(2) */
struct user_sigaltstack {
    uint64_t sp;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};

/* General registers in the order of Linux's struct sigcontext
 * (arch/x86/include/uapi/asm/sigcontext.h). */
struct user_regs {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    uint64_t fs_base,
        gs_base; /* valid where the event says so; written only through HOST_CALL arch_prctl */
};

#define NSEC_PER_SEC 1000000000LL

/* A valid time of day or span in ns, cut off at WAIT_FOREVER (292 years). */
static inline bool timespec_valid(const struct timespec *time) {
    return time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < NSEC_PER_SEC;
}
static inline int64_t timespec_to_ns(const struct timespec *time) {
    return time->tv_sec >= INT64_MAX / NSEC_PER_SEC
               ? INT64_MAX
               : (int64_t)time->tv_sec * NSEC_PER_SEC + time->tv_nsec;
}
static inline struct timespec timespec_from_ns(int64_t ns) {
    return (struct timespec){.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};
}

/* What uname(2) and /proc tell of the kernel: one definition. Programs compare the release with the
 * one that brought a feature, so it names the Linux that the calls are modelled on. */
#define UTS_SYSNAME "Linux"
#define UTS_RELEASE "6.6.0-starling"
#define UTS_VERSION "#1 SMP PREEMPT_DYNAMIC Starling " STARLING_VERSION
#define UTS_MACHINE "x86_64"

struct user_iovec {
    uint64_t base;
    uint64_t len;
};

/* getdents64(2); the name follows, then padding to 8 bytes. */
struct user_dirent64 {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

#endif
