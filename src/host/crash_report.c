/*
 * The last words of a kernel process that breaks: which signal, at which address, and how it came
 * there, as offsets into the binary (`addr2line -e build/starling OFFSET`). A guest must never
 * bring this about: each report is a bug of ours.
 */
#include "host/host_internal.h"

#include <execinfo.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

#define MAX_FRAMES 32

/* In sanitizer builds: where their reports go; standard error leads nowhere in the kernel process.
 */
__attribute__((weak)) void __sanitizer_set_report_fd(void *fd);

static uintptr_t load_base;

static int note_base(struct dl_phdr_info *info, size_t size, void *arg) {
    load_base = info->dlpi_addr; /* the first is the program itself */
    return 1;
}

static void report(int signo, siginfo_t *info, void *context) {
    const ucontext_t *state = context;
    uintptr_t pc = (uintptr_t)state->uc_mcontext.gregs[REG_RIP];
    void *frames[MAX_FRAMES];
    int count = backtrace(frames, MAX_FRAMES);

    log_line(LOG_ERROR, "the kernel process broke: %s at address %p, pc +%#lx; please report this",
             strsignal(signo), info->si_addr, (unsigned long)(pc - load_base));
    for (int i = 2; i < count; i++) { /* 0 and 1 are this function and the trampoline */
        log_line(LOG_ERROR, "  +%#lx", (unsigned long)((uintptr_t)frames[i] - load_base));
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
    void *frame;

    if (__sanitizer_set_report_fd) {
        __sanitizer_set_report_fd((void *)(intptr_t)log_descriptor());
        return; /* they catch these signals themselves */
    }
    dl_iterate_phdr(note_base, NULL);
    /* The first use loads the unwinder, which the jail would not let happen. */
    if (backtrace(&frame, 1) < 0) {
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(fatal); i++) {
        sigaction(fatal[i], &action, NULL);
    }
}
