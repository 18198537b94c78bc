/*
 * The frame of a signal handler and what returns from it: registers, extended state, alternate
 * stacks, the values of faults. Linux's arch/x86 layout; sigreturn(2), sigaltstack(2),
 * sigaction(2).
 */
#include "guest_test.h"

#include <fcntl.h>
#include <sched.h>
#include <cpuid.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile sig_atomic_t runs;
static siginfo_t seen;
static ucontext_t *volatile seen_context;
static uint64_t seen_gregs[NGREG];
static volatile uintptr_t handler_sp;
static volatile uint64_t handler_flags;
static stack_t seen_stack;

static void set_handler(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    REQUIRE_OK(sigaction(signal, &action, NULL));
}

static void note(int signal, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0" : "=r"(flags));
    handler_flags = flags;
    handler_sp = (uintptr_t)__builtin_frame_address(0);
    seen = *info;
    seen_context = uc;
    memcpy(seen_gregs, uc->uc_mcontext.gregs, sizeof seen_gregs);
    seen_stack = uc->uc_stack;
    runs++;
    (void)signal;
}

/* ---- registers ---- */

/* Loads every general register, makes the call, compares them after the handler. */
TEST(registers_survive_a_handler) {
    uint64_t in[12], out[12];
    long result;
    set_handler(SIGUSR1, note, 0);
    runs = 0;
    for (int i = 0; i < 12; i++)
        in[i] = 0x1111111111111111ull * (unsigned)(i + 1);
    pid_t pid = getpid();
    uint64_t *arrays[2] = {in, out}, **pointers = arrays;
    __asm__ volatile("subq $128, %%rsp\n" /* the compiler's red zone */
                     "pushq %%rbp\n pushq %%rbx\n pushq %%rcx\n"
                     "movq 0(%%rcx), %%rcx\n"
                     "movq 0(%%rcx), %%rbx\n movq 8(%%rcx), %%rbp\n"
                     "movq 16(%%rcx), %%r12\n movq 24(%%rcx), %%r13\n"
                     "movq 32(%%rcx), %%r14\n movq 40(%%rcx), %%r15\n"
                     "movq 48(%%rcx), %%r8\n movq 56(%%rcx), %%r9\n"
                     "movq 64(%%rcx), %%r10\n movq 72(%%rcx), %%rdx\n"
                     "std\n syscall\n pushfq\n cld\n popq %%r11\n"
                     "popq %%rcx\n movq 8(%%rcx), %%rcx\n"
                     "movq %%rbx, 0(%%rcx)\n movq %%rbp, 8(%%rcx)\n"
                     "movq %%r12, 16(%%rcx)\n movq %%r13, 24(%%rcx)\n"
                     "movq %%r14, 32(%%rcx)\n movq %%r15, 40(%%rcx)\n"
                     "movq %%r8, 48(%%rcx)\n movq %%r9, 56(%%rcx)\n"
                     "movq %%r10, 64(%%rcx)\n movq %%rdx, 72(%%rcx)\n"
                     "movq %%r11, 80(%%rcx)\n"
                     "popq %%rbx\n popq %%rbp\n addq $128, %%rsp\n"
                     : "=a"(result), "+c"(pointers)
                     : "a"(SYS_kill), "D"(pid), "S"(SIGUSR1)
                     : "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    CHECK_EQ(out[10] & 0x400, 0x400);
    CHECK_EQ(result, 0);
    CHECK_EQ(runs, 1);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(out[i], in[i]);
    CHECK_EQ(seen_gregs[REG_RBX], in[0]);
    CHECK_EQ(seen_gregs[REG_R15], in[5]);
    CHECK_EQ(seen_gregs[REG_RAX], 0);
    CHECK_EQ(seen_gregs[REG_RDI], pid);
    CHECK_EQ(handler_flags & 0x400, 0);           /* DF is clear in the handler */
    CHECK_EQ(seen_gregs[REG_EFL] & 0x400, 0x400); /* and set again after it */
}

TEST(frame_layout) {
    set_handler(SIGUSR1, note, 0);
    raise(SIGUSR1);
    /* Segments as gdb and unwinders expect them. */
    CHECK_EQ(seen_gregs[REG_CSGSFS] & 0xffff, 0x33);
    CHECK_EQ(seen_gregs[REG_CSGSFS] >> 48, 0x2b);
    CHECK_EQ((uintptr_t)seen_context & 15, 0);
    CHECK(handler_sp < (uintptr_t)seen_context);
    CHECK_EQ(seen_context->uc_flags & 6, 6);
}

static volatile uint32_t sw_magic1, sw_size, sw_magic2;
static volatile uint64_t sw_features;
static void look_at_fpstate(int signal, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    uint8_t *image = (uint8_t *)uc->uc_mcontext.fpregs;
    memcpy((void *)&sw_magic1, image + 464, 4);
    memcpy((void *)&sw_size, image + 468, 4);
    memcpy((void *)&sw_features, image + 472, 8);
    if (sw_magic1 == 0x46505853)
        memcpy((void *)&sw_magic2, image + sw_size - 4, 4);
    runs = (uintptr_t)image % 64 == 0 && (uc->uc_flags & 1);
    (void)signal;
    (void)info;
}

TEST(extended_state_carries_its_magic) {
    unsigned a, b, c, d;
    set_handler(SIGUSR1, look_at_fpstate, 0);
    for (int i = 0; i < 5;
         i++) { /* however the call that raises it is made after the first times */
        runs = 0;
        sw_magic1 = sw_magic2 = 0;
        raise(SIGUSR1);
    }
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        SKIP("no XSAVE on this machine");
    CHECK_EQ(runs, 1);
    CHECK_EQ(sw_magic1, 0x46505853);
    CHECK_EQ(sw_magic2, 0x46505845);
    CHECK(sw_size >= 512 + 64 + 4);
    CHECK_EQ(sw_features & 3, 3);
    CHECK(getauxval(AT_MINSIGSTKSZ) >= sw_size);
}

/* ---- extended state ---- */

static void clobber(int signal, siginfo_t *info, void *context) {
    __asm__ volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pcmpeqb %%xmm15, %%xmm15\n" ::
                         : "xmm0", "xmm7", "xmm15");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroall" :::);
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile("vpternlogd $0xff, %%zmm16, %%zmm16, %%zmm16\n"
                         "vpternlogd $0xff, %%zmm31, %%zmm31, %%zmm31\n"
                         "kxnorw %%k3, %%k3, %%k3\n" ::
                             : "memory");
    uint32_t mxcsr = 0x1f80 | 0x6000;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    runs++;
    (void)signal;
    (void)info;
    (void)context;
}

static long raw_kill(pid_t pid, int signal) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_kill), "D"((long)pid), "S"((long)signal)
                     : "rcx", "r11", "memory");
    return result;
}

TEST(sse_survives_a_handler) {
    uint8_t in[3][16], out[3][16];
    uint32_t mxcsr = 0x1f80 | 0x2000, after = 0;
    pid_t pid = getpid();
    long result;
    for (int i = 0; i < 3; i++)
        memset(in[i], 0x30 + i, 16);
    set_handler(SIGUSR1, clobber, 0);
    runs = 0;
    __asm__ volatile(
        "ldmxcsr %[csr]\n"
        "movdqu 0(%[in]), %%xmm0\n movdqu 16(%[in]), %%xmm7\n movdqu 32(%[in]), %%xmm15\n"
        "syscall\n"
        "movdqu %%xmm0, 0(%[out])\n movdqu %%xmm7, 16(%[out])\n movdqu %%xmm15, 32(%[out])\n"
        "stmxcsr %[after]\n"
        : "=a"(result), [after] "=m"(after)
        : "a"(SYS_kill), "D"((long)pid),
          "S"((long)SIGUSR1), [in] "r"(in), [out] "r"(out), [csr] "m"(mxcsr)
        : "rcx", "r11", "xmm0", "xmm7", "xmm15", "memory");
    CHECK_EQ(result, 0);
    CHECK_EQ(runs, 1);
    CHECK(memcmp(in, out, sizeof in) == 0);
    CHECK_EQ(after & 0x6000, 0x2000);
    mxcsr = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

__attribute__((target("avx512f"))) static long
kill_with_avx512(pid_t pid, uint8_t (*in)[64], uint8_t (*out)[64], uint16_t *mask) {
    long result;
    uint32_t k = 0xa5c3;
    __asm__ volatile(
        "vmovdqu64 0(%[in]), %%zmm1\n vmovdqu64 64(%[in]), %%zmm16\n vmovdqu64 128(%[in]), "
        "%%zmm31\n"
        "kmovw %[k], %%k3\n"
        "syscall\n"
        "vmovdqu64 %%zmm1, 0(%[out])\n vmovdqu64 %%zmm16, 64(%[out])\n vmovdqu64 %%zmm31, "
        "128(%[out])\n"
        "kmovw %%k3, %%ecx\n movw %%cx, 0(%[mask])\n"
        : "=a"(result)
        : "a"(SYS_kill), "D"((long)pid),
          "S"((long)SIGUSR1), [in] "r"(in), [out] "r"(out), [k] "r"(k), [mask] "r"(mask)
        : "rcx", "r11", "xmm1", "xmm16", "xmm31", "k3", "memory");
    return result;
}

TEST(avx512_survives_a_handler) {
    uint8_t in[3][64], out[3][64];
    uint16_t mask = 0;
    if (!__builtin_cpu_supports("avx512f"))
        SKIP("no AVX-512 on this machine");
    for (int i = 0; i < 3; i++)
        for (int b = 0; b < 64; b++)
            in[i][b] = (uint8_t)(i * 64 + b + 1);
    set_handler(SIGUSR1, clobber, 0);
    runs = 0;
    CHECK_EQ(kill_with_avx512(getpid(), in, out, &mask), 0);
    CHECK_EQ(runs, 1);
    CHECK(memcmp(in, out, sizeof in) == 0);
    CHECK_EQ(mask, 0xa5c3);
}

__attribute__((target("avx"))) static void kill_with_avx(pid_t pid, uint8_t (*in)[32],
                                                         uint8_t (*out)[32]) {
    long result;
    __asm__ volatile("vmovdqu 0(%[in]), %%ymm2\n vmovdqu 32(%[in]), %%ymm14\n"
                     "syscall\n"
                     "vmovdqu %%ymm2, 0(%[out])\n vmovdqu %%ymm14, 32(%[out])\n"
                     : "=a"(result)
                     : "a"(SYS_kill), "D"((long)pid),
                       "S"((long)SIGUSR1), [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "xmm2", "xmm14", "memory");
}

TEST(avx_survives_a_handler) {
    uint8_t in[2][32], out[2][32];
    if (!__builtin_cpu_supports("avx"))
        SKIP("no AVX on this machine");
    for (int b = 0; b < 64; b++)
        in[b / 32][b % 32] = (uint8_t)(b + 7);
    set_handler(SIGUSR1, clobber, 0);
    kill_with_avx(getpid(), in, out);
    CHECK(memcmp(in, out, sizeof in) == 0);
}

static void change_xmm(int signal, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    memset((uint8_t *)uc->uc_mcontext.fpregs + 160, 0x5a, 16); /* xmm0 */
    uint64_t features;
    memcpy(&features, (uint8_t *)uc->uc_mcontext.fpregs + 512, 8);
    features |= 2;
    memcpy((uint8_t *)uc->uc_mcontext.fpregs + 512, &features, 8);
    uc->uc_mcontext.gregs[REG_R12] = 0x777;
    (void)signal;
    (void)info;
}

TEST(handler_changes_what_it_returns_to) {
    uint8_t out[16];
    uint64_t r12;
    long result;
    set_handler(SIGUSR1, change_xmm, 0);
    __asm__ volatile("pxor %%xmm0, %%xmm0\n xorl %%r12d, %%r12d\n syscall\n movdqu %%xmm0, "
                     "(%[out])\n movq %%r12, %[r12]\n"
                     : "=a"(result), [r12] "=r"(r12)
                     : "a"(SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1), [out] "r"(out)
                     : "rcx", "r11", "r12", "xmm0", "memory");
    CHECK_EQ(r12, 0x777);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(out[i], 0x5a);
}

/* The initial state in the handler, whatever the program had (fninit, default MXCSR). */
static volatile uint32_t handler_mxcsr;
static void note_mxcsr(int signal, siginfo_t *info, void *context) {
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    handler_mxcsr = mxcsr;
    (void)signal;
    (void)info;
    (void)context;
}

TEST(handler_begins_with_fresh_state) {
    uint32_t mxcsr = 0x1f80 | 0x8000, now = 0;
    set_handler(SIGUSR1, note_mxcsr, 0);
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    raw_kill(getpid(), SIGUSR1);
    __asm__ volatile("stmxcsr %0" : "=m"(now));
    CHECK_EQ(handler_mxcsr, 0x1f80);
    CHECK_EQ(now & 0xffc0, 0x9f80);
    mxcsr = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

/* ---- the red zone ---- */

static void use_stack(int signal, siginfo_t *info, void *context) {
    volatile char space[4096];
    memset((void *)space, 0xee, sizeof space);
    (void)signal;
    (void)info;
    (void)context;
}

TEST(red_zone_survives) {
    uint64_t got[2];
    long result;
    set_handler(SIGUSR1, use_stack, 0);
    __asm__ volatile("movq $0x1234567, -8(%%rsp)\n movq $0x7654321, -128(%%rsp)\n syscall\n"
                     "movq -8(%%rsp), %%rcx\n movq %%rcx, 0(%[got])\n movq -128(%%rsp), %%rcx\n "
                     "movq %%rcx, 8(%[got])\n"
                     : "=a"(result)
                     : "a"(SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1), [got] "r"(got)
                     : "rcx", "r11", "memory");
    CHECK_EQ(got[0], 0x1234567);
    CHECK_EQ(got[1], 0x7654321);
}

/* ---- alternate stacks ---- */

static uint8_t *alt;
#define ALT_SIZE 65536

static stack_t use_alt(int flags) {
    stack_t stack = {.ss_sp = alt, .ss_size = ALT_SIZE, .ss_flags = flags}, old;
    if (!alt) {
        alt = mmap(NULL, ALT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stack.ss_sp = alt;
    }
    memset(&old, 0, sizeof old);
    CHECK_OK(sigaltstack(&stack, &old));
    return old;
}

static void drop_alt(void) {
    stack_t stack = {.ss_flags = SS_DISABLE};
    CHECK_OK(sigaltstack(&stack, NULL));
}

static stack_t inside;
static volatile int inside_errno;
static void on_alt(int signal, siginfo_t *info, void *context) {
    stack_t other = {.ss_sp = alt, .ss_size = ALT_SIZE};
    note(signal, info, context);
    sigaltstack(NULL, &inside);
    inside_errno = sigaltstack(&other, NULL) < 0 ? errno : 0;
}

TEST(alternate_stack_is_used) {
    stack_t now;
    use_alt(0);
    set_handler(SIGUSR1, on_alt, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(handler_sp > (uintptr_t)alt && handler_sp < (uintptr_t)alt + ALT_SIZE);
    CHECK_EQ(inside.ss_flags, SS_ONSTACK);
    CHECK_EQ(inside_errno, EPERM);
    CHECK(seen_stack.ss_sp == alt && seen_stack.ss_size == ALT_SIZE);
    CHECK_EQ(seen_stack.ss_flags, 0);
    CHECK_OK(sigaltstack(NULL, &now));
    CHECK_EQ(now.ss_flags, 0);
    set_handler(SIGUSR1, on_alt, 0);
    raise(SIGUSR1);
    CHECK(!(handler_sp > (uintptr_t)alt && handler_sp < (uintptr_t)alt + ALT_SIZE));
    drop_alt();
    CHECK_OK(sigaltstack(NULL, &now));
    CHECK_EQ(now.ss_flags, SS_DISABLE);
}

TEST(alternate_stack_checks) {
    stack_t stack = {.ss_sp = &stack, .ss_size = 1000};
    CHECK_ERR(sigaltstack(&stack, NULL), ENOMEM);
    stack.ss_size = 65536;
    stack.ss_flags = 0x55;
    CHECK_ERR(sigaltstack(&stack, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_sigaltstack, 8L, NULL), EFAULT);
}

static void look_at_stack(int signal, siginfo_t *info, void *context) {
    note(signal, info, context);
    sigaltstack(NULL, &inside);
}

TEST(autodisarm) {
    stack_t now;
    use_alt((int)(1u << 31));
    set_handler(SIGUSR1, look_at_stack, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(handler_sp > (uintptr_t)alt && handler_sp < (uintptr_t)alt + ALT_SIZE);
    CHECK_EQ(inside.ss_flags, SS_DISABLE);
    CHECK_OK(sigaltstack(NULL, &now)); /* rt_sigreturn put it back */
    CHECK_EQ((unsigned)now.ss_flags, 1u << 31);
    CHECK(now.ss_sp == alt);
    drop_alt();
}

static volatile int nested;
static void nest_on_alt(int signal, siginfo_t *info, void *context) {
    note(signal, info, context);
    if (nested++ == 0)
        raise(SIGUSR2);
}

TEST(nested_on_alternate_stack) {
    use_alt(0);
    set_handler(SIGUSR1, nest_on_alt, SA_ONSTACK);
    set_handler(SIGUSR2, nest_on_alt, SA_ONSTACK);
    nested = 0;
    raise(SIGUSR1);
    CHECK_EQ(nested, 2);
    CHECK(handler_sp > (uintptr_t)alt && handler_sp < (uintptr_t)alt + ALT_SIZE);
    drop_alt();
}

static int overflow(int n) {
    volatile char space[8192];
    space[0] = (char)n;
    return n <= 0 ? 0 : overflow(n - 1) + space[0];
}

static void exit_zero(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    (void)context;
    _exit(guest_test_failures ? 1 : 0);
}

TEST(stack_overflow_reaches_the_alternate_stack) {
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        use_alt(0);
        set_handler(SIGSEGV, exit_zero, SA_ONSTACK);
        overflow(1 << 30);
        _exit(3);
    }
    CHECK_CHILD_OK(child);
}

TEST(no_room_for_the_frame_kills) {
    int status;
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        set_handler(SIGUSR1, note, 0);
        __asm__ volatile("movq $0x1000, %%rsp\n syscall\n hlt"
                         :
                         : "a"(SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1)
                         : "memory");
    }
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* ---- faults ---- */

static sigjmp_buf back;
static void jump_back(int signal, siginfo_t *info, void *context) {
    note(signal, info, context);
    siglongjmp(back, 1);
}

#define FAULT(sig, statement)                                                                      \
    do {                                                                                           \
        set_handler(sig, jump_back, 0);                                                            \
        runs = 0;                                                                                  \
        if (sigsetjmp(back, 1) == 0) {                                                             \
            statement;                                                                             \
            guest_test_fail(__FILE__, __LINE__, "%s: no %s came", #statement, #sig);               \
        }                                                                                          \
        signal(sig, SIG_DFL);                                                                      \
    } while (0)

TEST(fault_on_unmapped_memory) {
    FAULT(SIGSEGV, *(volatile int *)0x10 = 1);
    CHECK_EQ(seen.si_code, SEGV_MAPERR);
    CHECK_EQ((uintptr_t)seen.si_addr, 0x10);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 14);
    CHECK_EQ(seen_gregs[REG_ERR], 6); /* user, write */
    CHECK_EQ(seen_gregs[REG_CR2], 0x10);
    FAULT(SIGSEGV, (void)*(volatile int *)0x20);
    CHECK_EQ(seen_gregs[REG_ERR], 4);
}

TEST(fault_on_protected_memory) {
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    FAULT(SIGSEGV, *(volatile char *)(page + 5) = 1);
    CHECK_EQ(seen.si_code, SEGV_ACCERR);
    CHECK(seen.si_addr == page + 5);
    FAULT(SIGSEGV, ((void (*)(void))(uintptr_t)page)());
    CHECK_EQ(seen.si_code, SEGV_ACCERR);
    CHECK(seen.si_addr == page);
    munmap(page, 4096);
}

TEST(fault_on_a_non_canonical_address) {
    FAULT(SIGSEGV, (void)*(volatile int *)0x8000000000000000);
    CHECK_EQ(seen.si_code, SI_KERNEL);
    CHECK_EQ((uintptr_t)seen.si_addr, 0);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 13);
}

TEST(fault_behind_the_end_of_a_file) {
    char name[] = "/tmp/guest-test-XXXXXX";
    int fd = mkstemp(name);
    REQUIRE_OK(fd);
    unlink(name);
    REQUIRE_OK(ftruncate(fd, 100));
    char *map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    CHECK_EQ(map[200], 0);
    FAULT(SIGBUS, (void)*(volatile char *)(map + 4096));
    CHECK_EQ(seen.si_code, BUS_ADRERR);
    CHECK(seen.si_addr == map + 4096);
    munmap(map, 8192);
    close(fd);
}

TEST(integer_division_by_zero) {
    int n, zero = 0;
    FAULT(SIGFPE, __asm__ volatile("cltd; idivl %1" : "=a"(n) : "r"(zero), "a"(1) : "edx", "cc"));
    CHECK_EQ(seen.si_code, FPE_INTDIV);
    CHECK_EQ((uint64_t)(uintptr_t)seen.si_addr, seen_gregs[REG_RIP]);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 0);
    (void)n;
}

TEST(floating_point_exception) {
    uint32_t mxcsr = 0x1f80 & ~0x200u; /* division by zero unmasked */
    volatile double a = 1, b = 0;
    set_handler(SIGFPE, jump_back, 0);
    if (sigsetjmp(back, 1) == 0) {
        __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
        a = a / b;
        CHECK(!"an exception");
    }
    signal(SIGFPE, SIG_DFL);
    CHECK_EQ(seen.si_code, FPE_FLTDIV);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 19);
    mxcsr = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

TEST(illegal_instruction) {
    FAULT(SIGILL, __asm__ volatile("ud2"));
    CHECK_EQ(seen.si_code, ILL_ILLOPN);
    CHECK_EQ((uint64_t)(uintptr_t)seen.si_addr, seen_gregs[REG_RIP]);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 6);
}

TEST(privileged_instruction) {
    FAULT(SIGSEGV, __asm__ volatile("hlt"));
    CHECK_EQ(seen.si_code, SI_KERNEL);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 13);
}

TEST(breakpoint_and_single_step) {
    set_handler(SIGTRAP, note, 0);
    runs = 0;
    __asm__ volatile("int3");
    CHECK_EQ(runs, 1);
    CHECK_EQ(seen.si_code, SI_KERNEL);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 3);
    runs = 0;
    __asm__ volatile(
        "pushfq; orq $0x100, (%%rsp); popfq; nop; nop; nop; pushfq; andq $~0x100, (%%rsp); popfq" ::
            : "cc", "memory");
    CHECK(runs >= 4);
    CHECK_EQ(seen.si_code, TRAP_TRACE);
    CHECK_EQ(seen_gregs[REG_TRAPNO], 1);
    CHECK_EQ(handler_flags & 0x100, 0);
}

TEST(blocked_fault_kills) {
    int status;
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGSEGV);
        set_handler(SIGSEGV, exit_zero, 0);
        sigprocmask(SIG_BLOCK, &set, NULL);
        *(volatile int *)8 = 1;
        _exit(0);
    }
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        signal(SIGSEGV, SIG_IGN);
        *(volatile int *)8 = 1;
        _exit(0);
    }
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A handler repairs the cause and the instruction runs again. */
static char *repair_page;
static void repair(int signal, siginfo_t *info, void *context) {
    note(signal, info, context);
    mprotect(repair_page, 4096, PROT_READ | PROT_WRITE);
}

TEST(handler_repairs_and_goes_on) {
    repair_page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(repair_page != MAP_FAILED);
    set_handler(SIGSEGV, repair, 0);
    runs = 0;
    for (int i = 0; i < 100; i++) {
        *(volatile char *)(repair_page + i) = (char)i;
        CHECK_EQ(repair_page[i], i);
        mprotect(repair_page, 4096, PROT_NONE);
    }
    CHECK_EQ(runs, 100);
    munmap(repair_page, 4096);
}

static void skip_instruction(int signal, siginfo_t *info, void *context) {
    note(signal, info, context);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

TEST(handler_skips_an_instruction) {
    set_handler(SIGILL, skip_instruction, 0);
    runs = 0;
    __asm__ volatile("ud2");
    CHECK_EQ(runs, 1);
}

/* A loop that computes is interrupted, wherever it is, and goes on exactly. */
static void tick(int signal, siginfo_t *info, void *context) {
    runs++;
    (void)signal;
    (void)info;
    (void)context;
}

TEST(computing_is_interrupted_unharmed) {
    pid_t parent = getpid();
    set_handler(SIGUSR1, tick, 0);
    runs = 0;
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        for (int i = 0; i < 200; i++) {
            kill(parent, SIGUSR1);
            sched_yield();
        }
        _exit(0);
    }
    uint64_t a = 1, b = 0, wanted_a = 1, wanted_b = 0;
    double x = 1.5, wanted_x = 1.5;
    int status;
    while (waitpid(child, &status, WNOHANG) == 0 || runs == 0) {
        for (int i = 0; i < 10000; i++) {
            a = a * 6364136223846793005ull + 1442695040888963407ull;
            b ^= a >> 7;
            x = x * 1.0000001 + 1e-9;
        }
        for (int i = 0; i < 10000; i++) {
            wanted_a = wanted_a * 6364136223846793005ull + 1442695040888963407ull;
            wanted_b ^= wanted_a >> 7;
            wanted_x = wanted_x * 1.0000001 + 1e-9;
        }
        if (a != wanted_a || b != wanted_b || x != wanted_x)
            break;
    }
    CHECK_EQ(a, wanted_a);
    CHECK_EQ(b, wanted_b);
    CHECK(x == wanted_x);
    CHECK(runs > 0);
}

TEST_MAIN()
