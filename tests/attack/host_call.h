/*
 * A host call by any `syscall` instruction that the guest can see, and what came of it in the
 * host's own words. A forged rt_sigreturn, which the stub's instructions are free to make, sets
 * every register, stands on the instruction with single-stepping on, and moves the host's signal
 * stack to where the parent looks. So the host leaves a frame there: of the filter's SIGSYS with
 * the number of the call, or of a SIGTRAP one instruction after a call that was made, with its
 * result. The stub, which finds nothing of its own on that stack, faults with all signals blocked:
 * that ends the process. Each call has a process of its own.
 */
#ifndef HOST_CALL_H
#define HOST_CALL_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "host/slot.h"
#include "stub_probe.h"

/* Where a call can be made from. */
struct call_site {
    const unsigned char *at;
    bool int80; /* int $0x80: a call of 32-bit programs */
};

/* As an argument: the only descriptor of the host's that every guest process has. */
#define HOST_CONTROL_FD (-0x10000l)

struct call_outcome {
    int signal;      /* of the first frame; 0: there is none */
    bool trapped;    /* by the filter, this very call at this very place */
    long result;     /* rax, if not */
    uint64_t behind; /* rip */
};

/* The kernel's: glibc's ucontext_t has a longer mask. */
#define HOST_UCONTEXT_SIZE 304

static const unsigned char *host_stub, *host_sigreturn;
static unsigned char *host_stack; /* one stub stack, shared with the children */

/* false: there is no stub. */
__attribute__((unused)) static bool host_call_start(void) {
    unsigned char *pages;

    host_stub = stub_find();
    host_sigreturn = host_stub ? stub_syscall_site() : NULL;
    pages =
        mmap(NULL, 2 * STUB_STACK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!host_sigreturn || pages == MAP_FAILED) {
        return false;
    }
    host_stack = (unsigned char *)(((uintptr_t)pages + STUB_STACK_SIZE - 1) &
                                   ~(uintptr_t)(STUB_STACK_SIZE - 1));
    return true;
}

/* Never returns. */
static void host_call_enter(const struct call_site *site, long number, const long args[6]) {
    static const int places[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    static const int places_of_int80[] = {REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP};
    static unsigned char scratch[4096];
    const struct stub_thread *own = (const struct stub_thread *)(host_stub + STUB_STACKS_OFFSET);
    ucontext_t frame = {.uc_flags = 6 /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */};
    greg_t *regs = frame.uc_mcontext.gregs;

    frame.uc_stack = (stack_t){.ss_sp = host_stack, .ss_size = STUB_STACK_SIZE};
    regs[REG_RAX] = number;
    for (int i = 0; i < 6; i++) {
        regs[(site->int80 ? places_of_int80 : places)[i]] =
            args[i] == HOST_CONTROL_FD ? own->control_fd : args[i];
    }
    regs[REG_RIP] = (greg_t)site->at;
    regs[REG_RSP] = (greg_t)(scratch + sizeof(scratch) / 2);
    regs[REG_EFL] = 0x302; /* TF: one instruction */
    regs[REG_CSGSFS] = 0x2b000000000033;
    __asm__ volatile("movq %0, %%rsp\n\t"
                     "jmp *%1"
                     :
                     : "r"(&frame), "r"(host_sigreturn), "a"(SYS_rt_sigreturn)
                     : "memory");
    __builtin_unreachable();
}

/* The frame that the host has left: it begins with the address of the stub's restorer. */
static const uint64_t *host_frame(void) {
    uint64_t restorer = (uintptr_t)host_stub + ((const struct stub_header *)host_stub)->restorer;
    const uint64_t *words = (const uint64_t *)host_stack;

    for (size_t i = STUB_STACK_SIZE / 8 - (HOST_UCONTEXT_SIZE + sizeof(siginfo_t)) / 8; i > 0;
         i--) {
        if (words[i] == restorer) {
            return words + i;
        }
    }
    return NULL;
}

__attribute__((unused)) static struct call_outcome host_call(const struct call_site *site,
                                                             long number, const long args[6]) {
    struct call_outcome outcome = {0};
    const ucontext_t *context;
    const siginfo_t *info;
    const uint64_t *frame;
    pid_t child;

    CHECK_OK(madvise(host_stack, STUB_STACK_SIZE, MADV_REMOVE)); /* zeros */
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        host_call_enter(site, number, args);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    frame = host_frame();
    if (frame) {
        context = (const ucontext_t *)(frame + 1);
        info = (const siginfo_t *)((const char *)context + HOST_UCONTEXT_SIZE);
        outcome.signal = info->si_signo;
        outcome.result = context->uc_mcontext.gregs[REG_RAX];
        outcome.behind = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
        outcome.trapped = info->si_signo == SIGSYS && info->si_code == 1 /* SYS_SECCOMP */ &&
                          info->si_call_addr == site->at + 2 && info->si_syscall == (int)number;
    }
    return outcome;
}

#endif
