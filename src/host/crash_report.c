/*
 * The last words of a kernel process that breaks: which signal, at which address, and how it came
 * there, as offsets into the binary (`addr2line -e build/starling OFFSET`). A guest must never
 * bring this about: each report is a bug of ours.
 */
#include "host/host_internal.h"

#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#define MAX_FRAMES 32

/* In sanitizer builds: where their reports go; standard error leads nowhere in the kernel process.
 */
__attribute__((weak)) void __sanitizer_set_report_fd(void *fd);

static uintptr_t load_base;

static int note_base(struct dl_phdr_info *info, size_t size, void *arg) {
    load_base = info->dlpi_addr; /* the first is the program itself */
    return 1;
}

/* By the unwinder that is linked in: backtrace(3) loads a library for it, a good part of a
 * sandbox's start, which the jail would not let happen later. */
struct trace {
    uintptr_t frames[MAX_FRAMES];
    int count;
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg) {
    struct trace *trace = arg;

    if (trace->count == MAX_FRAMES) {
        return _URC_END_OF_STACK;
    }
    trace->frames[trace->count++] = _Unwind_GetIP(context);
    return _URC_NO_REASON;
}

static void report(int signo, siginfo_t *info, void *context) {
    const ucontext_t *state = context;
    uintptr_t pc = (uintptr_t)state->uc_mcontext.gregs[REG_RIP];
    struct trace trace = {.count = 0};

    (void)_Unwind_Backtrace(note_frame, &trace);
    log_line(LOG_ERROR, "the kernel process broke: %s at address %p, pc +%#lx; please report this",
             strsignal(signo), info->si_addr, (unsigned long)(pc - load_base));
    for (int i = 2; i < trace.count; i++) { /* 0 and 1 are this function and the trampoline */
        log_line(LOG_ERROR, "  +%#lx", (unsigned long)(trace.frames[i] - load_base));
    }
    /* This signal has its default again (SA_RESETHAND). The jail has no rt_sigreturn; the trap ends
     * the process, by way of one more report unless this is its. */
    __builtin_trap();
}

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

void host_signals_blocked(sigset_t *set) {
    sigfillset(set);
    for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
        sigdelset(set, fatal[i]);
    }
}

void host_crash_report_start(void) {
    struct sigaction action = {.sa_sigaction = report,
                               .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER};

    if (__sanitizer_set_report_fd) {
        __sanitizer_set_report_fd((void *)(intptr_t)log_descriptor());
        return; /* they catch these signals themselves */
    }
    dl_iterate_phdr(note_base, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
        sigaction(fatal[i], &action, NULL);
    }
}
