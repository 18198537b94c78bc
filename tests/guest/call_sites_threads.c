/*
 * timeout: 180
 *
 * Code that makes system calls, run by several threads at once, from its first time on: while it is
 * new, while one of them rewrites, protects, moves or removes what is beside it, while signals come
 * at every instruction, while one of them steps through it. Each call does what it does the first
 * time, each thread gets its own answer, and a program's own traps are delivered, once each.
 *
 * The code is made by the test: gettid(2), getppid(2) or getpid(2) by number.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#define PAGE   4096UL
#define STRIDE 192 /* from one piece of code to the next, with nops between */
#define RACERS 2

struct shape {
    unsigned char code[24];
    unsigned char number; /* where the number of the call stands */
    unsigned char site;   /* where its `syscall` stands */
    unsigned char size;
    unsigned char adds; /* the result is so much more than the call's */
};

static const struct shape shapes[] = {
    /* mov $nr,%eax; syscall; cmp $-4096,%rax; ret: as in a libc */
    {{0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff, 0xc3}, 1, 5, 14, 0},
    /* mov $nr,%eax; syscall; ret */
    {{0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3}, 1, 5, 8, 0},
    /* xor %eax,%eax; mov $nr,%al; syscall; inc %rax; ret */
    {{0x31, 0xc0, 0xb0, 0, 0x0f, 0x05, 0x48, 0xff, 0xc0, 0xc3}, 3, 4, 10, 1},
    /* xor %eax,%eax; mov $nr,%al; syscall; ret */
    {{0x31, 0xc0, 0xb0, 0, 0x0f, 0x05, 0xc3}, 3, 4, 7, 0},
    /* xor %eax,%eax; mov $nr,%al; mov %rcx,%r10; syscall; ret */
    {{0x31, 0xc0, 0xb0, 0, 0x49, 0x89, 0xca, 0x0f, 0x05, 0xc3}, 3, 7, 10, 0},
    /* mov $nr,%al after 4 bytes; syscall; test %eax,%eax; inc %eax; ret */
    {{0x31, 0xc0, 0xb0, 0, 0x0f, 0x05, 0x85, 0xc0, 0xff, 0xc0, 0xc3}, 3, 4, 11, 1},
    /* mov $nr,%eax; syscall; xchg %eax,%edx; xchg %eax,%edx; nop; ret: one byte each behind */
    {{0xb8, 0, 0, 0, 0, 0x90, 0x0f, 0x05, 0x92, 0x92, 0x90, 0xc3}, 1, 6, 12, 0},
    /* mov $nr,%eax; three nops; syscall; ret, and filling behind it */
    {{0xb8, 0, 0, 0, 0, 0x90, 0x90, 0x90, 0x0f, 0x05, 0xc3, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
     1,
     8,
     19,
     0},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static unsigned char *fresh(size_t size) {
    unsigned char *text =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(text != MAP_FAILED);
    memset(text, 0x90, size);
    return text;
}

static void put(unsigned char *at, const struct shape *shape, unsigned char number) {
    memcpy(at, shape->code, shape->size);
    at[shape->number] = number;
}

/* `count` pieces of code of all shapes in turn, each gettid(2). */
static unsigned char *make(size_t count, size_t *size) {
    unsigned char *text;

    *size = (count * STRIDE + 2 * PAGE) & ~(PAGE - 1);
    text = fresh(*size);
    for (size_t i = 0; i < count; i++) {
        put(text + STRIDE * (i + 1), &shapes[i % SHAPES], SYS_gettid);
    }
    REQUIRE_OK(mprotect(text, *size, PROT_READ | PROT_EXEC));
    return text;
}

static long call(const unsigned char *at) {
    long (*code)(void) = (long (*)(void))(void *)at;

    return code();
}

/* Enters at an instruction other than the first, with rax as given. */
static long enter(const unsigned char *at, long rax) {
    long result;

    __asm__ volatile("call *%2"
                     : "=a"(result)
                     : "a"(rax), "r"(at)
                     : "rcx", "rdx", "r10", "r11", "memory", "cc");
    return result;
}

/* ---- racing for new sites ---- */

static unsigned char *text;
static atomic_size_t at_now; /* the piece that all of them run */
static atomic_bool over;
static atomic_ulong wrong;

/* The number stands in code[number]; what comes back is this thread's. */
static void check(size_t i, long self) {
    const struct shape *shape = &shapes[i % SHAPES];
    const unsigned char *at = text + STRIDE * (i + 1);

    wrong += call(at) != self + shape->adds;
    wrong += enter(at + shape->site, SYS_gettid) != self + shape->adds;
    wrong += enter(at + shape->site + 2, 4711) != 4711 + shape->adds;
}

static void *racer(void *arg) {
    long self = syscall(SYS_gettid);

    (void)arg;
    while (!over) {
        check(at_now, self);
    }
    return NULL;
}

static void start(pthread_t threads[RACERS], void *(*run)(void *)) {
    over = false;
    wrong = 0;
    for (int i = 0; i < RACERS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, run, NULL) == 0);
    }
}

static void finish(pthread_t threads[RACERS]) {
    over = true;
    for (int i = 0; i < RACERS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_EQ(wrong, 0);
}

/* Thousands of sites that no thread has run before, each run by all threads at that moment. */
TEST(racing_for_new_sites) {
    const size_t count = 1400;
    long self = syscall(SYS_gettid);
    pthread_t threads[RACERS];
    size_t size;

    text = make(count, &size);
    at_now = 0;
    start(threads, racer);
    for (size_t i = 0; i < count; i++) {
        at_now = i;
        for (int k = 0; k < 6; k++) {
            check(i, self);
        }
        if (i % 16 == 0) {
            sched_yield();
        }
    }
    /* Again, now that all have run. */
    for (size_t i = 0; i < count; i++) {
        check(i, self);
    }
    finish(threads);
    REQUIRE_OK(munmap(text, size));
}

/* ---- signals ---- */

static atomic_ulong strange, handled;

/* Is rip at an instruction of the piece that it is in? */
static bool is_boundary(unsigned long offset) {
    const struct shape *shape = &shapes[(offset / STRIDE - 1) % SHAPES];
    static const unsigned char starts[SHAPES][10] = {
        {0, 5, 7, 13},   {0, 5, 7},           {0, 2, 4, 6, 9},         {0, 2, 4, 6},
        {0, 2, 4, 7, 9}, {0, 2, 4, 6, 8, 10}, {0, 5, 6, 8, 9, 10, 11}, {0, 5, 6, 7, 8, 10},
    };
    unsigned long within = offset % STRIDE;

    if (offset < STRIDE || within >= shape->size) {
        return true;
    }
    return memchr(starts[shape - shapes], (int)within, sizeof(starts[0])) != NULL;
}

static size_t text_size;

static void on_signal(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    unsigned long offset = (unsigned long)regs[REG_RIP] - (unsigned long)text;

    (void)signal;
    (void)info;
    handled++;
    strange += offset < text_size && !is_boundary(offset);
}

/* One after the other, each at another moment. */
static void *signaller(void *arg) {
    const pthread_t *target = arg;

    for (unsigned round = 0; !over; round++) {
        unsigned long before = handled;

        pthread_kill(*target, SIGUSR1);
        while (handled == before && !over) {
            sched_yield();
        }
        for (volatile unsigned i = 0; i < round % 997; i++) {
        }
    }
    return NULL;
}

/* A handler finds the program at its own instructions only, and returns to any of them. */
TEST(signals_while_sites_are_new) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    const size_t count = 800;
    long self = syscall(SYS_gettid);
    pthread_t threads[RACERS], signals, main_thread = pthread_self();

    REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
    text = make(count, &text_size);
    at_now = 0;
    start(threads, racer);
    REQUIRE(pthread_create(&signals, NULL, signaller, &main_thread) == 0);
    for (size_t i = 0; i < count; i++) {
        at_now = i;
        for (int k = 0; k < 6; k++) {
            check(i, self);
        }
    }
    for (size_t i = 0; handled < 150; i = (i + 1) % count) {
        check(i, self);
    }
    finish(threads);
    REQUIRE(pthread_join(signals, NULL) == 0);
    CHECK_EQ(strange, 0);
    REQUIRE_OK(munmap(text, text_size));
    text_size = 0;
    signal(SIGUSR1, SIG_DFL);
}

/* ---- code that changes beside code that runs ---- */

/* Every piece is in a page of its own. */
static void *neighbour(void *arg) {
    const long self = syscall(SYS_gettid);
    size_t i = 1;

    (void)arg;
    while (!over) {
        const struct shape *shape = &shapes[i % SHAPES];

        wrong += call(text + PAGE * i + STRIDE) != self + shape->adds;
        i = i % 6 + 1;
    }
    return NULL;
}

TEST(code_is_rewritten_beside) {
    const pid_t pid = getpid(), parent = getppid();
    pthread_t threads[RACERS];
    unsigned char *mine, *away;

    text = fresh(9 * PAGE);
    for (size_t i = 1; i < 7; i++) {
        put(text + PAGE * i + STRIDE, &shapes[i % SHAPES], SYS_gettid);
    }
    REQUIRE_OK(mprotect(text, 9 * PAGE, PROT_READ | PROT_EXEC));
    away = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    start(threads, neighbour);
    mine = text + 7 * PAGE;
    for (unsigned round = 0; round < 200; round++) {
        const struct shape *shape = &shapes[round % SHAPES];
        unsigned char number = round % 2 ? SYS_getpid : SYS_getppid;
        long expected = (round % 2 ? pid : parent) + shape->adds;

        REQUIRE_OK(mprotect(mine, PAGE, PROT_READ | PROT_WRITE));
        for (size_t i = 0; round && i < 24; i++) { /* what it wrote is there */
            const struct shape *last = &shapes[(round - 1) % SHAPES];
            unsigned char wanted = i < last->size ? last->code[i] : mine[STRIDE + i];

            wrong += i != last->number && mine[STRIDE + i] != wanted;
        }
        put(mine + STRIDE, shape, number);
        REQUIRE_OK(mprotect(mine, PAGE, PROT_READ | PROT_EXEC));
        for (int k = 0; k < 12; k++) {
            CHECK_EQ(call(mine + STRIDE), expected);
        }
        if (round % 8 == 3) { /* moved there and back */
            REQUIRE(mremap(mine, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, away) == away);
            CHECK_EQ(call(away + STRIDE), expected);
            REQUIRE(mremap(away, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, mine) == mine);
            CHECK_EQ(call(mine + STRIDE), expected);
        }
        if (round % 8 == 6) { /* removed */
            REQUIRE_OK(munmap(mine, PAGE));
            REQUIRE(mmap(mine, PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mine);
            memset(mine, 0x90, PAGE);
            put(mine + STRIDE, shape, number);
            REQUIRE_OK(mprotect(mine, PAGE, PROT_READ | PROT_EXEC));
            CHECK_EQ(call(mine + STRIDE), expected);
        }
    }
    finish(threads);
    REQUIRE_OK(munmap(text, 9 * PAGE));
}

/* The page that all threads run in becomes writable and executable again: no byte of it changes,
 * and nobody notices. */
TEST(running_code_is_protected_anew) {
    const size_t count = 16;
    pthread_t threads[RACERS];
    size_t size;

    text = make(count, &size);
    at_now = 0;
    start(threads, racer);
    for (unsigned round = 0; round < 300; round++) {
        at_now = round % count;
        REQUIRE_OK(mprotect(text, size, PROT_READ | PROT_WRITE | PROT_EXEC));
        if (round % 3 == 0) {
            sched_yield();
        }
        REQUIRE_OK(mprotect(text, size, PROT_READ | PROT_EXEC));
        check(at_now, syscall(SYS_gettid));
    }
    finish(threads);
    REQUIRE_OK(munmap(text, size));
}

/* A program reads what it has written, by its own memory file too, and writes there. */
TEST(own_code_is_read_and_written) {
    const size_t count = 40;
    const long self = syscall(SYS_gettid);
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    pthread_t threads[RACERS];
    size_t size;

    REQUIRE_OK(fd);
    text = make(count, &size);
    at_now = 0;
    start(threads, racer);
    for (size_t i = 0; i < count; i++) {
        const struct shape *shape = &shapes[i % SHAPES];
        off_t at = (off_t)(text + STRIDE * (i + 1));
        unsigned char wanted[24] = {0}, found[24] = {0};

        put(wanted, shape, SYS_gettid);
        at_now = i;
        for (int k = 0; k < 20; k++) {
            check(i, self);
            CHECK_EQ(pread(fd, found, shape->size, at), shape->size);
            CHECK(memcmp(found, wanted, shape->size) == 0);
            if (k % 5 == 4) { /* the same again: nothing changes */
                CHECK_EQ(pwrite(fd, wanted, shape->size, at), shape->size);
            }
        }
    }
    finish(threads);
    close(fd);
    REQUIRE_OK(munmap(text, size));
}

/* ---- the program's own traps ---- */

static volatile int traps;
static volatile unsigned long trapped_at;
static unsigned char *skipping; /* where a handler goes on */

static void on_trap(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)signal;
    (void)info;
    traps = traps + 1;
    trapped_at = (unsigned long)regs[REG_RIP];
    if (skipping) {
        regs[REG_RIP] = (greg_t)(unsigned long)skipping;
    }
}

/* int3, and an instruction that faults, where `syscall` instructions were before, or beside them:
 * one signal each. */
TEST(own_traps) {
    /* mov $nr,%eax; syscall; mov (%rdx),%rcx; ret */
    static const unsigned char faulty[] = {0xb8, SYS_gettid, 0,    0,    0,   0x0f,
                                           0x05, 0x48,       0x8b, 0x0a, 0xc3};
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
    pthread_t threads[RACERS];
    unsigned char *code, *page;

    REQUIRE_OK(sigaction(SIGTRAP, &action, NULL));
    REQUIRE_OK(sigaction(SIGSEGV, &action, NULL));
    size_t size;
    text = make(SHAPES, &size);
    at_now = 0;
    start(threads, racer);
    page = fresh(2 * PAGE);
    code = page + STRIDE;
    for (unsigned round = 0; round < 60; round++) {
        long result;

        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE));
        memcpy(code, faulty, sizeof(faulty));
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
        at_now = round % SHAPES;
        skipping = code + 10;
        for (int k = 0; k < 6; k++) {
            traps = 0;
            __asm__ volatile("call *%2"
                             : "=a"(result)
                             : "d"(0x8000000000000000ul), "r"(code)
                             : "rcx", "r11", "memory", "cc");
            CHECK_EQ(result, syscall(SYS_gettid));
            CHECK_EQ(traps, 1);
            CHECK_EQ(trapped_at, (unsigned long)code + 7);
        }
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE));
        code[5] = 0xcc;
        code[6] = 0x90;
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
        for (int k = 0; k < 3; k++) {
            traps = 0;
            CHECK_EQ(call(code), SYS_gettid);
            CHECK_EQ(traps, 1);
            CHECK_EQ(trapped_at, (unsigned long)code + 6);
        }
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE));
        code[5] = 0xcd; /* int $3 */
        code[6] = 0x03;
        code[7] = 0xcc;
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
        traps = 0;
        CHECK_EQ(call(code), SYS_gettid);
        CHECK_EQ(traps, 1);
        CHECK_EQ(trapped_at, (unsigned long)code + 7);
        traps = 0;
        CHECK_EQ(enter(code + 7, 12), 12);
        CHECK_EQ(trapped_at, (unsigned long)code + 8);
        CHECK_EQ(traps, 1);
    }
    finish(threads);
    signal(SIGTRAP, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    skipping = NULL;
    REQUIRE_OK(munmap(page, 2 * PAGE));
    REQUIRE_OK(munmap(text, size));
}

/* ---- single steps ---- */

static _Thread_local volatile int steps;
static _Thread_local volatile bool stepping_wrong;

static void on_step(int signal, siginfo_t *info, void *context) {
    unsigned long offset =
        (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] - (unsigned long)text;

    (void)signal;
    (void)info;
    if (offset < text_size) {
        steps = steps + 1;
        stepping_wrong = stepping_wrong || !is_boundary(offset);
    }
}

/* One thread steps, the others run. How many steps there are depends on where `syscall` lies. */
TEST(single_steps_beside) {
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    const size_t count = 60;
    const long self = syscall(SYS_gettid);
    pthread_t threads[RACERS];
    int expected[SHAPES] = {0};

    REQUIRE_OK(sigaction(SIGTRAP, &action, NULL));
    text = make(count, &text_size);
    at_now = 0;
    start(threads, racer);
    for (size_t i = 0; i < count; i++) {
        const struct shape *shape = &shapes[i % SHAPES];

        at_now = i;
        for (int k = 0; k < 4; k++) {
            long result;

            steps = 0;
            __asm__ volatile("pushfq\n\t"
                             "orq $0x100, (%%rsp)\n\t"
                             "popfq\n\t"
                             "call *%1\n\t"
                             "pushfq\n\t"
                             "andq $~0x100, (%%rsp)\n\t"
                             "popfq\n\t"
                             : "=a"(result)
                             : "r"(text + STRIDE * (i + 1))
                             : "rcx", "rdx", "r10", "r11", "memory", "cc");
            CHECK_EQ(result, self + shape->adds);
            if (i < SHAPES && k == 0) {
                expected[i] = steps;
            }
            CHECK_EQ(steps, expected[i % SHAPES]);
            check(i, self);
        }
    }
    CHECK(!stepping_wrong);
    finish(threads);
    REQUIRE_OK(munmap(text, text_size));
    text_size = 0;
    signal(SIGTRAP, SIG_DFL);
}

/* ---- new processes ---- */

static void *forker(void *arg) {
    const size_t count = *(const size_t *)arg;

    for (size_t i = 0; i < count; i += 20) {
        pid_t child;

        at_now = i;
        child = i % 40 ? fork() : vfork();
        if (child == 0) {
            const char *args[] = {"/proc/self/exe", "new_program", NULL};

            if (i % 40) { /* the child's own memory is complete, and its own to change */
                wrong = 0;
                check(i, syscall(SYS_gettid));
                check(i + 1, syscall(SYS_gettid));
                CHECK_OK(mprotect(text, PAGE, PROT_READ));
                CHECK_OK(mprotect(text, PAGE, PROT_READ | PROT_EXEC));
                check(0, syscall(SYS_gettid));
                CHECK_EQ(wrong, 0);
            } else { /* a site that is new in the child is the parent's too */
                call(text + STRIDE * (i + 1));
                call(text + STRIDE * (i + 1));
            }
            if (i % 100 == 0 && guest_test_failures == 0) {
                execv(args[0], (char **)args);
            }
            _exit(guest_test_failures ? 1 : 0);
        }
        CHECK_CHILD_OK(child);
        check(i, syscall(SYS_gettid));
    }
    return NULL;
}

TEST(new_program) {
    CHECK_EQ(syscall(SYS_gettid), getpid());
}

/* fork, vfork and exec by one thread while the others run new sites. */
TEST(fork_and_exec_from_a_thread) {
    size_t count = 400, size;
    pthread_t threads[RACERS], forks;

    text = make(count + 1, &size);
    at_now = 0;
    start(threads, racer);
    REQUIRE(pthread_create(&forks, NULL, forker, &count) == 0);
    REQUIRE(pthread_join(forks, NULL) == 0);
    finish(threads);
    REQUIRE_OK(munmap(text, size));
}

#define PIECES 100 /* for each child */
static atomic_size_t progress;

/* With no thread-local storage of its own: it uses none. */
static int run_new_sites(void *arg) {
    const size_t from = *(const size_t *)arg;

    for (size_t i = from; !over; i = i < from + PIECES - 1 ? i + 1 : from) {
        progress = i;
        wrong += call(text + STRIDE * (i + 1)) - shapes[i % SHAPES].adds != getpid();
        call(text + STRIDE * (i + 1));
    }
    return 0;
}

/* A child that shares the memory is killed while it runs new sites: its parent's threads go on. */
TEST(killed_amid_new_sites) {
    static char stack[65536] __attribute__((aligned(16)));
    const size_t rounds = 40, count = rounds * PIECES;
    const long self = syscall(SYS_gettid);
    pthread_t threads[RACERS];
    size_t size;

    text = make(count, &size);
    at_now = 0;
    start(threads, racer);
    for (size_t round = 0; round < rounds; round++) {
        size_t from = round * PIECES, until = from + 3 + round % 40;
        pid_t child;

        progress = from;
        child = clone(run_new_sites, stack + sizeof(stack), CLONE_VM | SIGCHLD, &from);
        REQUIRE(child > 0);
        while (progress < until) {
            sched_yield();
        }
        REQUIRE_OK(kill(child, SIGKILL));
        REQUIRE(waitpid(child, NULL, 0) == child);
        for (size_t i = from; i < from + PIECES; i++) {
            at_now = i;
            check(i, self);
        }
    }
    finish(threads);
    REQUIRE_OK(munmap(text, size));
}

TEST_MAIN()
