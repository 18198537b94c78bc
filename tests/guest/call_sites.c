/*
 * Code that makes system calls may be jumped into, made, changed, moved and removed, stepped
 * through and interrupted at every instruction, and each `syscall` in it does what it does the
 * first time. The code here is made by the test: getppid(2) by number, which needs nothing else.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#define PAGE 4096
#define AT   512 /* where the code stands: with some of other kind before it */

/* mov $110,%eax; syscall; cmp $-4096,%rax; ret: as in a libc. */
static const unsigned char behind[] = {0xb8, 110,  0,    0,    0,    0x0f, 0x05,
                                       0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0xc3};
/* mov $110,%eax; syscall; ret */
static const unsigned char before[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3};
/* xor %eax,%eax; mov $110,%al; syscall; inc %rax; ret: nothing that is long enough */
static const unsigned char tight[] = {0x31, 0xc0, 0xb0, 110, 0x0f, 0x05, 0x48, 0xff, 0xc0, 0xc3};

static unsigned char *make(const unsigned char *code, size_t size) {
    unsigned char *page =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(page != MAP_FAILED);
    memset(page, 0x90, 2 * PAGE);
    memcpy(page + AT, code, size);
    REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
    return page;
}

static long call(unsigned char *at) {
    long (*code)(void) = (long (*)(void))(void *)at;

    return code();
}

static void call_often(unsigned char *at, long wanted) {
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(call(at), wanted);
    }
}

TEST(every_shape) {
    call_often(make(behind, sizeof(behind)) + AT, getppid());
    call_often(make(before, sizeof(before)) + AT, getppid());
    call_often(make(tight, sizeof(tight)) + AT, getppid() + 1);
}

/* Enters at an instruction other than the first, with rax as given. */
static long enter(unsigned char *at, long rax) {
    long result;

    __asm__ volatile("call *%2" : "=a"(result) : "a"(rax), "r"(at) : "rcx", "r11", "memory", "cc");
    return result;
}

TEST(jumps_into_the_middle) {
    unsigned char *one = make(behind, sizeof(behind)) + AT,
                  *two = make(before, sizeof(before)) + AT;

    for (int i = 0; i < 50; i++) {
        CHECK_EQ(call(one), getppid());
        CHECK_EQ(enter(one + 5, SYS_getpid), getpid()); /* at the syscall */
        CHECK_EQ(enter(one + 7, 4711), 4711);           /* behind it */
        CHECK_EQ(enter(one + 13, 42), 42);
        CHECK_EQ(call(two), getppid());
        CHECK_EQ(enter(two + 5, SYS_getpid), getpid());
        CHECK_EQ(enter(two + 7, 4711), 4711);
    }
}

/* Every register but rax, rcx and r11 is as before; rcx and r11 are the address behind and the
 * flags. */
TEST(registers_survive) {
    unsigned char *codes[] = {make(behind, sizeof(behind)) + AT, make(before, sizeof(before)) + AT};

    for (int i = 0; i < 60; i++) {
        unsigned char *code = codes[i % 2];
        unsigned long out[8], rcx, flags, *to = out;
        unsigned char *where = code;

        __asm__ volatile("pushq %%rbp\n\t"
                         "pushq %%rbx\n\t"
                         "movq %%rdi, %%r13\n\t"
                         "movq %%rsi, %%rbp\n\t"
                         "movl $1, %%edi\n\t"
                         "movl $2, %%esi\n\t"
                         "movl $3, %%edx\n\t"
                         "movl $4, %%r8d\n\t"
                         "movl $5, %%r9d\n\t"
                         "movl $6, %%r10d\n\t"
                         "movl $7, %%ebx\n\t"
                         "movl $8, %%r12d\n\t"
                         "stc\n\t"
                         "std\n\t"
                         "call *%%r13\n\t"
                         "pushfq\n\t"
                         "popq %%r14\n\t"
                         "cld\n\t"
                         "movq %%rdi, 0(%%rbp)\n\t"
                         "movq %%rsi, 8(%%rbp)\n\t"
                         "movq %%rdx, 16(%%rbp)\n\t"
                         "movq %%r8, 24(%%rbp)\n\t"
                         "movq %%r9, 32(%%rbp)\n\t"
                         "movq %%r10, 40(%%rbp)\n\t"
                         "movq %%rbx, 48(%%rbp)\n\t"
                         "movq %%r12, 56(%%rbp)\n\t"
                         "movq %%rcx, %%rax\n\t"
                         "movq %%r14, %%rdx\n\t"
                         "popq %%rbx\n\t"
                         "popq %%rbp\n\t"
                         : "=a"(rcx), "=d"(flags), "+D"(where), "+S"(to)
                         :
                         : "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "memory", "cc");
        for (unsigned long k = 0; k < 8; k++) {
            CHECK_EQ(out[k], k + 1);
        }
        CHECK_EQ(rcx, (unsigned long)(code + 7));
        CHECK(flags & 0x400);
        if (i % 2) {
            CHECK(flags & 1); /* no cmp behind this one */
        }
    }
}

/* The red zone below rsp is the program's. */
TEST(red_zone_survives) {
    unsigned char *code = make(before, sizeof(before)) + AT;

    for (int i = 0; i < 60; i++) {
        long seen;

        __asm__ volatile("subq $256, %%rsp\n\t"
                         "movq $0x1234567, -120(%%rsp)\n\t"
                         "movq $0x7654321, -24(%%rsp)\n\t"
                         "leaq 1f(%%rip), %%r12\n\t"
                         "pushq %%r12\n\t"
                         "addq $8, %%rsp\n\t"
                         "subq $8, %%rsp\n\t"
                         "jmp *%1\n\t"
                         "1: movq -120(%%rsp), %0\n\t"
                         "subq $0x1234567, %0\n\t"
                         "addq -24(%%rsp), %0\n\t"
                         "addq $256, %%rsp\n\t"
                         : "=&r"(seen)
                         : "r"(code)
                         : "rax", "rcx", "r11", "r12", "memory", "cc");
        CHECK_EQ(seen, 0x7654321);
    }
}

TEST(code_that_is_rewritten) {
    unsigned char *page = make(behind, sizeof(behind)), *code = page + AT;

    for (int round = 0; round < 8; round++) {
        unsigned char number = round % 2 ? SYS_getppid : SYS_getpid;

        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE));
        if (round > 0) { /* its owner finds what it wrote */
            CHECK(code[0] == 0xb8 && memcmp(code + 2, behind + 2, sizeof(behind) - 2) == 0);
        }
        code[1] = number;
        REQUIRE_OK(mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC));
        call_often(code, number == SYS_getpid ? getpid() : getppid());
    }
}

TEST(code_that_moves_and_goes) {
    unsigned char *page = make(behind, sizeof(behind));
    void *place = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    call_often(page + AT, getppid());
    REQUIRE(mremap(page, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    call_often((unsigned char *)place + AT, getppid());
    REQUIRE_OK(munmap(place, 2 * PAGE));
    REQUIRE(mmap(place, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0) == place);
    memcpy((unsigned char *)place + AT, before, sizeof(before));
    REQUIRE_OK(mprotect(place, 2 * PAGE, PROT_READ | PROT_EXEC));
    call_often((unsigned char *)place + AT, getppid());
    REQUIRE_OK(munmap(place, 2 * PAGE));
}

TEST(fork_and_its_child) {
    unsigned char *code = make(behind, sizeof(behind)) + AT;
    pid_t self = getpid(), child;

    call_often(code, getppid());
    child = fork();
    if (child == 0) {
        call_often(code, self);
        CHECK_OK(mprotect(code - AT, 2 * PAGE, PROT_READ));
        CHECK(memcmp(code, behind, sizeof(behind)) == 0);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    call_often(code, getppid());
}

/* ---- signals ---- */

static volatile sig_atomic_t fired;
static unsigned char *watched;
static volatile sig_atomic_t strange; /* rip was near the code, but at none of its instructions */

static void on_alarm(int signal, siginfo_t *info, void *context) {
    unsigned long rip = (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    unsigned long offset = rip - (unsigned long)watched;

    fired = fired + 1;
    if (offset < sizeof(behind) && offset != 0 && offset != 5 && offset != 7 && offset != 13) {
        strange = strange + 1;
    }
}

/* A handler that finds the program in the code returns there, and no call is lost or made twice. */
TEST(signals_at_every_instruction) {
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    pid_t parent = getppid();

    watched = make(behind, sizeof(behind)) + AT;
    REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
    REQUIRE_OK(setitimer(ITIMER_REAL, &often, NULL));
    for (long i = 0; fired < 1000; i++) {
        long got = call(watched);

        if (got != parent) {
            CHECK_EQ(got, parent);
            break;
        }
    }
    REQUIRE_OK(setitimer(ITIMER_REAL, &never, NULL));
    CHECK_EQ(strange, 0);
    signal(SIGALRM, SIG_DFL);
}

/* ---- single steps ---- */

static unsigned long steps[64];
static volatile int step_count;

static void on_step(int signal, siginfo_t *info, void *context) {
    unsigned long offset =
        (unsigned long)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] - (unsigned long)watched;

    if (offset < sizeof(behind) && step_count < 64) {
        steps[step_count++] = offset;
    }
}

/* With the trap flag each instruction of the code traps once (the processor takes `syscall` and the
 * next for one), before and after it has run often. */
TEST(single_steps) {
    static const unsigned long wanted[] = {0, 5, 13};
    struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};

    watched = make(behind, sizeof(behind)) + AT;
    REQUIRE_OK(sigaction(SIGTRAP, &action, NULL));
    for (int round = 0; round < 3; round++) {
        long result;

        step_count = 0;
        __asm__ volatile("pushfq\n\t"
                         "orq $0x100, (%%rsp)\n\t"
                         "popfq\n\t"
                         "call *%1\n\t"
                         "pushfq\n\t"
                         "andq $~0x100, (%%rsp)\n\t"
                         "popfq\n\t"
                         : "=a"(result)
                         : "r"(watched)
                         : "rcx", "r11", "memory", "cc");
        CHECK_EQ(result, getppid());
        CHECK_EQ(step_count, 3);
        for (int i = 0; i < 3 && i < step_count; i++) {
            CHECK_EQ(steps[i], wanted[i]);
        }
        call_often(watched, getppid());
    }
    signal(SIGTRAP, SIG_DFL);
}

/* Paths, however often their call has been made: at the end of memory, too long, changed between.
 */
TEST(paths) {
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *end = pages + 2 * PAGE;
    char name[32];

    REQUIRE(pages != MAP_FAILED);
    REQUIRE_OK(mprotect(end, PAGE, PROT_NONE));
    for (int i = 0; i < 20; i++) {
        memcpy(end - 5, "/dev", 5);
        CHECK_OK(access(end - 5, F_OK));
        memcpy(end - 4, "/dev", 4); /* no NUL before the end */
        CHECK_ERR(access(end - 4, F_OK), EFAULT);
        CHECK_ERR(access(end, F_OK), EFAULT);
        CHECK_ERR(access((char *)16, F_OK), EFAULT);
        CHECK_ERR(access((char *)-4096l, F_OK), EFAULT);
        memset(pages, '/', 2 * PAGE);
        pages[PATH_MAX - 1] = 0;
        CHECK_OK(access(pages, F_OK)); /* the longest */
        pages[PATH_MAX - 1] = '/';
        pages[PATH_MAX] = 0;
        CHECK_ERR(access(pages, F_OK), ENAMETOOLONG);
        CHECK_ERR(access("", F_OK), ENOENT);
        snprintf(name, sizeof(name), "made-%d", i);
        CHECK_ERR(access(name, F_OK), ENOENT);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        CHECK_OK(fd);
        close(fd);
        CHECK_OK(access(name, F_OK));
        CHECK_OK(unlink(name));
    }
    munmap(pages, 3 * PAGE);
}

/* %gs is the program's when it wants it. */
TEST(gs_base) {
    static unsigned long words[4] = {11, 22, 33, 44};
    unsigned char *code = make(behind, sizeof(behind)) + AT;
    pid_t child = fork();

    if (child == 0) {
        unsigned long base = 1, value;

        call_often(code, getppid());
        CHECK_OK(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &base));
        CHECK_EQ(base, 0);
        CHECK_OK(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, words));
        for (int i = 0; i < 50; i++) {
            CHECK_EQ(call(code), getppid());
            __asm__ volatile("movq %%gs:8, %0" : "=r"(value));
            CHECK_EQ(value, 22);
        }
        CHECK(words[0] == 11 && words[1] == 22 && words[2] == 33 && words[3] == 44);
        CHECK_OK(syscall(SYS_arch_prctl, 0x1004, &base));
        CHECK_EQ(base, (unsigned long)words);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
}

TEST_MAIN()
