/* Rows of memory and processes. */
#include "bench.h"
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOUCHES = 16, BURN = 60000000 };

static const size_t GIB = 1UL << 30, FORK_BYTES = 256UL << 20;
static int there[2], back[2];
static pid_t partner;
static char *fork_memory;

static int run_map(void) {
    volatile char *p =
        mmap(NULL, TOUCHES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return errno;
    for (int i = 0; i < TOUCHES; i++)
        p[i * PAGE] = 1;
    TRY(munmap((void *)p, TOUCHES * PAGE));
    return 0;
}

static int run_fork(void) {
    pid_t pid = (pid_t)TRY(fork());
    if (pid == 0)
        _exit(0);
    return wait_for(pid);
}

static int run_vfork_exec(void) {
    pid_t pid = vfork();
    if (pid == -1)
        return errno;
    if (pid == 0) {
        execl(self, self, "true", (char *)NULL);
        _exit(127);
    }
    return wait_for(pid);
}

static int ping_open(void) {
    TRY(pipe(there));
    TRY(pipe(back));
    partner = (pid_t)TRY(fork());
    if (partner == 0) {
        char c;
        close(there[1]);
        close(back[0]);
        while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
            ;
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    return 0;
}

static int run_ping(void) {
    char c = 0;
    TRY(write(there[1], &c, 1));
    TRY(read(back[0], &c, 1));
    return 0;
}

static int ping_close(void) {
    close(there[1]);
    close(back[0]);
    return wait_for(partner);
}

static int touch(char *p, size_t size) {
    if (p == MAP_FAILED)
        return errno;
    TRY(madvise(p, size, MADV_NOHUGEPAGE));
    for (size_t i = 0; i < size; i += PAGE)
        ((volatile char *)p)[i] = 1;
    return 0;
}

static char *map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int run_faults(void) {
    char *p = map(GIB);
    int err = touch(p, GIB);
    if (!err)
        TRY(munmap(p, GIB));
    return err;
}

static int big_open(void) {
    fork_memory = map(FORK_BYTES);
    return touch(fork_memory, FORK_BYTES);
}

static int big_close(void) {
    TRY(munmap(fork_memory, FORK_BYTES));
    return 0;
}

/* The build puts the dynamic program beside this one. */
static int run_exec_dynamic(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s-dynamic", self);
    pid_t pid = vfork();
    if (pid == -1)
        return errno;
    if (pid == 0) {
        execl(path, path, (char *)NULL);
        _exit(127);
    }
    return wait_for(pid);
}

/* Two processes on one core that wake each other by a futex: natively this is what the host charges
 * for a hand-over between two threads that share a core. */
static _Atomic uint32_t *turn;

static int turn_give(uint32_t mine) {
    *turn = !mine;
    TRY(syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0));
    while (*turn != mine) {
        if (syscall(SYS_futex, turn, FUTEX_WAIT, !mine, NULL, NULL, 0) == -1 && errno != EAGAIN)
            return errno;
    }
    return 0;
}

static int pin(const cpu_set_t *set) {
    TRY(sched_setaffinity(0, sizeof(*set), set));
    return 0;
}

static cpu_set_t all_cores;

static int turn_open(void) {
    cpu_set_t one;

    turn = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (turn == MAP_FAILED)
        return errno;
    TRY(sched_getaffinity(0, sizeof(all_cores), &all_cores));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all_cores))
            CPU_SET(i, &one);
    int err = pin(&one);
    if (err)
        return err;
    partner = (pid_t)TRY(fork());
    if (partner == 0) {
        while (*turn != 1)
            if (syscall(SYS_futex, turn, FUTEX_WAIT, 0, NULL, NULL, 0) == -1 && errno != EAGAIN)
                _exit(1);
        while (turn_give(1) == 0)
            ;
        _exit(1);
    }
    return 0;
}

static int run_turn(void) {
    return turn_give(0);
}

static int turn_close(void) {
    TRY(kill(partner, SIGKILL));
    TRY(waitpid(partner, NULL, 0));
    TRY(munmap((void *)turn, PAGE));
    return pin(&all_cores);
}

static int busy(int count) {
    pid_t pids[4];
    int err = 0;
    for (int i = 0; i < count; i++) {
        pids[i] = (pid_t)TRY(fork());
        if (pids[i] == 0) {
            burn(BURN);
            _exit(0);
        }
    }
    for (int i = 0; i < count; i++) {
        int e = wait_for(pids[i]);
        err = err ? err : e;
    }
    return err;
}

static int run_busy_2(void) {
    return busy(2);
}

static int run_busy_4(void) {
    return busy(4);
}

const struct row process_rows[] = {
    {.name = "map+16 touches+unmap", .run = run_map},
    /* Once beforehand: a virtual machine pays for memory that it has never touched. */
    {.name = "page fault, 1 GiB",
     .run = run_faults,
     .open = run_faults,
     .per = (1 << 30) / PAGE,
     .single = 1},
    {.name = "fork+wait", .run = run_fork},
    {.name = "fork+wait, 256 MiB touched", .run = run_fork, .open = big_open, .close = big_close},
    {.name = "vfork+exec+wait", .run = run_vfork_exec},
    {.name = "vfork+exec+wait, dynamic", .run = run_exec_dynamic},
    {.name = "pipe ping-pong", .run = run_ping, .open = ping_open, .close = ping_close},
    {.name = "futex turn, one core", .run = run_turn, .open = turn_open, .close = turn_close},
    {.name = "two busy processes", .run = run_busy_2, .single = 1},
    {.name = "four busy processes", .run = run_busy_4, .single = 1},
    {0},
};
