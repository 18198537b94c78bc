/*
 * How a hostile guest gets at its stub: the address is random and in no map that it is shown, so it
 * tries every place where it can be and sees which one can be read. (src/host/host_job.c picks
 * among these places, src/host/slot.h lays the stub out.)
 */
#ifndef STUB_PROBE_H
#define STUB_PROBE_H

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "guest_test.h"

#define STUB_FIRST       0x7e9000000000ul
#define STUB_STEP        0x200000ul
#define STUB_PLACES      0x2f000ul
#define STUB_TEXT        0x10000ul
#define STUB_SLOTS       0x100000ul
#define STUB_SLOT_STRIDE 16384ul
#define STUB_STACKS      (STUB_SLOTS + 4096 * STUB_SLOT_STRIDE)

static sigjmp_buf probe_failed;

static void probe_fault(int signal) {
    siglongjmp(probe_failed, signal);
}

__attribute__((unused)) static unsigned char *stub_find(void) {
    struct sigaction action = {.sa_handler = probe_fault, .sa_flags = SA_NODEFER}, old;
    unsigned char *volatile found = NULL;

    sigaction(SIGSEGV, &action, &old);
    for (volatile unsigned long i = 0; i < STUB_PLACES && !found; i++) {
        volatile unsigned char *place = (unsigned char *)(STUB_FIRST + i * STUB_STEP);

        if (sigsetjmp(probe_failed, 0) == 0 && place[0] == 'S' && place[1] == 'T') {
            found = (unsigned char *)place;
        }
    }
    sigaction(SIGSEGV, &old, NULL);
    return found;
}

/* The first `syscall; ret` of the stub: for stub_call(). */
__attribute__((unused)) static const unsigned char *
stub_syscall_site_of(const unsigned char *stub) {
    for (size_t at = 0; stub && at + 2 < STUB_TEXT; at++) {
        if (stub[at] == 0x0f && stub[at + 1] == 0x05 && stub[at + 2] == 0xc3) {
            return stub + at;
        }
    }
    return NULL;
}

__attribute__((unused)) static const unsigned char *stub_syscall_site(void) {
    return stub_syscall_site_of(stub_find());
}

/* A call of the host by that site: its result. */
__attribute__((unused)) static long stub_call6(const unsigned char *site, long number,
                                               const long args[6]) {
    register long r10 __asm__("r10") = args[3];
    register long r8 __asm__("r8") = args[4];
    register long r9 __asm__("r9") = args[5];
    long result = number;

    __asm__ volatile("call *%1"
                     : "+a"(result)
                     : "r"(site), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8),
                       "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
/* Arguments that are not given are 0. */
#define stub_call(site, number, ...) stub_call6(site, number, (const long[6]){__VA_ARGS__})

/* Waits for a child at most `ms`, then kills it. Its wait status. */
__attribute__((unused)) static int wait_or_kill(pid_t child, int ms) {
    struct timespec limit = {ms / 1000, ms % 1000 * 1000000L};
    sigset_t set;
    int status = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (sigtimedwait(&set, NULL, &limit) < 0 && errno == EAGAIN) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            break;
        }
    }
    return status;
}

__attribute__((unused)) static void block_sigchld(void) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* The kernel still serves: a fork, a pipe, an exit status. */
__attribute__((unused)) static void check_kernel_serves(void) {
    int status = 0, ends[2];
    char byte = 0;
    pid_t child;

    REQUIRE_OK(pipe(ends));
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        _exit(write(ends[1], "x", 1) == 1 ? 42 : 1);
    }
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(WEXITSTATUS(status), 42);
    close(ends[0]);
    close(ends[1]);
}

#endif
