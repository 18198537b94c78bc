/*
 * Counts the instructions that threads execute, one by one: for where.py, on processors that do not
 * count for us.
 *
 *     steps COUNT TID...     COUNT steps of these threads; then one line per place:
 *                            TID<tab>address<tab>times<tab>1 when a call of the host begins there
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>

enum { PLACES = 1 << 16, THREADS = 64 };

static struct place {
    pid_t tid;
    unsigned long address, times;
    int calls;
} places[PLACES];

static int count_at(pid_t tid, unsigned long address) {
    size_t i = (address * 0x9e3779b97f4a7c15ul + (unsigned long)tid) >> 48;

    for (size_t n = 0; n < PLACES; n++, i = (i + 1) % PLACES) {
        struct place *place = &places[i];

        if (place->times == 0) {
            long code;

            errno = 0;
            code = ptrace(PTRACE_PEEKTEXT, tid, (void *)address, NULL);
            *place = (struct place){tid, address, 0, !errno && (code & 0xffff) == 0x050f};
        }
        if (place->tid == tid && place->address == address) {
            place->times++;
            return 0;
        }
    }
    return -1;
}

static int fail(const char *what) {
    fprintf(stderr, "steps: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    long left = argc > 2 ? atol(argv[1]) : 0;
    int threads = argc - 2;

    if (left <= 0 || threads < 1 || threads > THREADS) {
        fprintf(stderr, "usage: steps COUNT TID...\n");
        return 2;
    }
    for (int i = 0; i < threads; i++) {
        pid_t tid = (pid_t)atoi(argv[2 + i]);

        if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 ||
            ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
            return fail("ptrace(PTRACE_SEIZE)");
    }
    while (left > 0) {
        int status, signal = 0;
        pid_t tid = waitpid(-1, &status, __WALL);

        if (tid < 0)
            return fail("waitpid");
        if (!WIFSTOPPED(status))
            continue;
        if (status >> 16 == 0 && WSTOPSIG(status) == SIGTRAP) {
            unsigned long address = (unsigned long)ptrace(
                PTRACE_PEEKUSER, tid, (void *)offsetof(struct user, regs.rip), NULL);

            if (count_at(tid, address))
                return fail("more places than expected");
            left--;
        } else if (status >> 16 == 0) {
            signal = WSTOPSIG(status); /* its own */
        }
        ptrace(PTRACE_SINGLESTEP, tid, NULL, (void *)(long)signal);
    }
    /* Our end leaves the threads in a state that they do not survive: the caller ends them. */
    for (size_t i = 0; i < PLACES; i++)
        if (places[i].times)
            printf("%d\t%lx\t%lu\t%d\n", places[i].tid, places[i].address, places[i].times,
                   places[i].calls);
    return 0;
}
