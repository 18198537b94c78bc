/*
 * Signal frames that a guest forged before rt_sigreturn: segments, flags, addresses and extended
 * state that no processor takes. Each dies as it would on Linux, or goes on harmless; nothing of it
 * reaches the kernel, which then serves the next one. Passes natively as well.
 *
 * timeout: 120
 */
#include "guest_test.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

static void (*forge)(ucontext_t *uc);
static uint8_t *image; /* the frame's extended state */

static void handler(int signal, siginfo_t *info, void *context) {
    ucontext_t *uc = context;
    image = (uint8_t *)uc->uc_mcontext.fpregs;
    forge(uc);
    (void)signal;
    (void)info;
}

/* The child's end: 0 when it came back from the forged frame unharmed, else -signal. */
static int try_frame(void (*how)(ucontext_t *)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
        uint64_t flags;
        forge = how;
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
        __asm__ volatile("pushfq; popq %0" : "=r"(flags));
        /* IOPL 0, interrupts on, no NT, no VM. */
        _exit((flags & 0x27200) == 0x200 && getpid() > 0 ? 0 : 99);
    }
    if (waitpid(pid, &status, 0) != pid)
        return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#define EXPECT(how, expected)                                                                      \
    do {                                                                                           \
        int end_ = try_frame(how);                                                                 \
        GUEST_CHECK(end_ == (expected), , "%s: the child's end is %d, expected %d", #how, end_,    \
                    (expected));                                                                   \
    } while (0)

static void untouched(ucontext_t *uc) {
    (void)uc;
}

/* ---- segments, flags, addresses ---- */

static void set_cs(ucontext_t *uc, uint16_t cs) {
    uc->uc_mcontext.gregs[REG_CSGSFS] = (uc->uc_mcontext.gregs[REG_CSGSFS] & ~0xffffll) | cs;
}
static void set_ss(ucontext_t *uc, uint16_t ss) {
    uc->uc_mcontext.gregs[REG_CSGSFS] =
        (long long)(((uint64_t)uc->uc_mcontext.gregs[REG_CSGSFS] & 0xffffffffffffull) | (uint64_t)ss
                                                                                            << 48);
}
static void kernel_cs(ucontext_t *uc) {
    set_cs(uc, 0x10);
}
static void data_cs(ucontext_t *uc) {
    set_cs(uc, 0x2b);
}
static void ldt_cs(ucontext_t *uc) {
    set_cs(uc, 0x07);
}
static void code_ss(ucontext_t *uc) {
    set_ss(uc, 0x33);
}
static void wild_ss(ucontext_t *uc) {
    set_ss(uc, 0xfff8);
}
static void all_flags(ucontext_t *uc) {
    /* All but TF (a trap), AC (alignment faults) and DF (the C code that follows). */
    uc->uc_mcontext.gregs[REG_EFL] |= 0x7fffffffffffffff & ~(0x100ll | 0x40000 | 0x400);
}
static void no_flags(ucontext_t *uc) {
    uc->uc_mcontext.gregs[REG_EFL] = 0;
}
static void non_canonical_rip(ucontext_t *uc) {
    uc->uc_mcontext.gregs[REG_RIP] = (long long)0x8000000000000000ull;
}
static void kernel_rip(ucontext_t *uc) {
    uc->uc_mcontext.gregs[REG_RIP] = (long long)0xffffffff81000000ull;
}
static void rip_at_the_edge(ucontext_t *uc) {
    uc->uc_mcontext.gregs[REG_RIP] = 0x7ffffffff000;
}
static void non_canonical_rsp(ucontext_t *uc) {
    uc->uc_mcontext.gregs[REG_RSP] = (long long)0xdead000000000000ull;
}

TEST(segments_flags_and_addresses) {
    EXPECT(untouched, 0);
    EXPECT(data_cs, -SIGSEGV);
    EXPECT(ldt_cs, -SIGSEGV);
    EXPECT(kernel_cs, -SIGSEGV);
    EXPECT(code_ss, -SIGSEGV);
    EXPECT(wild_ss, -SIGSEGV);
    EXPECT(all_flags, 0);
    EXPECT(no_flags, 0);
    EXPECT(non_canonical_rip, -SIGSEGV);
    EXPECT(kernel_rip, -SIGSEGV);
    EXPECT(rip_at_the_edge, -SIGSEGV);
    int end = try_frame(non_canonical_rsp);
    CHECK(end == -SIGSEGV || end == -SIGBUS);
}

/* ---- extended state ---- */

static uint64_t field(int offset, int size) {
    uint64_t value = 0;
    memcpy(&value, image + offset, (size_t)size);
    return value;
}
static void set_field(int offset, uint64_t value, int size) {
    memcpy(image + offset, &value, (size_t)size);
}
static void all_features(ucontext_t *uc) {
    (void)uc;
    set_field(512, ~0ull, 8);
}
static void supervisor_features(ucontext_t *uc) {
    (void)uc;
    set_field(512, field(512, 8) | 1ull << 8 | 1ull << 11, 8);
}
static void compacted(ucontext_t *uc) {
    (void)uc;
    set_field(520, 1ull << 63 | 7, 8);
}
static void reserved_header(ucontext_t *uc) {
    (void)uc;
    memset(image + 528, 0xff, 48);
}
static void wild_mxcsr(ucontext_t *uc) {
    (void)uc;
    set_field(512, field(512, 8) | 2, 8);
    set_field(24, 0xffffffff, 4);
}
static void no_magic(ucontext_t *uc) {
    (void)uc;
    set_field(464, 0, 4);
}
static void no_second_magic(ucontext_t *uc) {
    (void)uc;
    set_field((int)field(468, 4) - 4, 0, 4);
}
static void huge_size(ucontext_t *uc) {
    (void)uc;
    set_field(468, 0xffffffff, 4);
    set_field(480, 0xfffffffb, 4);
}
static void tiny_size(ucontext_t *uc) {
    (void)uc;
    set_field(468, 4, 4);
    set_field(480, 0, 4);
}
static void no_image(ucontext_t *uc) {
    uc->uc_mcontext.fpregs = NULL;
}
static void kernel_image(ucontext_t *uc) {
    uc->uc_mcontext.fpregs = (void *)0xffff888000000000;
}
static void unmapped_image(ucontext_t *uc) {
    uc->uc_mcontext.fpregs = (void *)0x1000;
}
static void unaligned_image(ucontext_t *uc) {
    static uint8_t copy[16384 + 64];
    memcpy(copy + 8, image, 4096);
    uc->uc_mcontext.fpregs = (void *)(copy + 8);
}
static void random_image(ucontext_t *uc) {
    (void)uc;
    for (int i = 0; i < 464; i++)
        image[i] = (uint8_t)(i * 73 + 11);
    set_field(24, 0x1f80, 4);
    memset(image + 576, 0xa7, field(480, 4) > 576 ? (size_t)(field(480, 4) - 576) : 0);
    set_field(512, field(472, 8) & ~(1ull << 9), 8); /* all but the protection keys */
}

TEST(extended_state) {
    static void (*const forged[])(ucontext_t *) = {
        all_features, supervisor_features, compacted,      reserved_header, wild_mxcsr,  huge_size,
        tiny_size,    kernel_image,        unmapped_image, unaligned_image, random_image};
    EXPECT(no_magic, 0);
    EXPECT(no_second_magic, 0);
    EXPECT(no_image, 0);
    EXPECT(kernel_image, -SIGSEGV);
    EXPECT(unmapped_image, -SIGSEGV);
    EXPECT(reserved_header, -SIGSEGV);
    /* Which of the others fault is the processor's and the host kernel's business; nothing else
     * than a SIGSEGV may come of them. */
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        int end = try_frame(forged[i]);
        GUEST_CHECK(end == 0 || end == -SIGSEGV || end == -SIGFPE, , "forged[%zu]: end %d", i, end);
    }
}

/* ---- no frame at all ---- */

static int sigreturn_from(uint64_t rsp) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        __asm__ volatile("movq %0, %%rsp\n syscall\n hlt"
                         :
                         : "r"(rsp), "a"(SYS_rt_sigreturn)
                         : "memory");
        __builtin_unreachable();
    }
    if (waitpid(pid, &status, 0) != pid)
        return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(frames_in_the_wrong_place) {
    static const uint64_t places[] = {0,
                                      8,
                                      0x1000,
                                      0x7ffffffff000,
                                      0x7fffffffefff,
                                      0x800000000000,
                                      0xffff800000000000,
                                      0xffffffffffffffff,
                                      0xfffffffffffffff8,
                                      0xffffffffff600000};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int end = sigreturn_from(places[i]);
        GUEST_CHECK(end == -SIGSEGV, , "rsp %#" PRIx64 ": end %d", places[i], end);
    }
}

/* ---- random frames ---- */

static uint64_t seed = 20261123;
static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void scribble(ucontext_t *uc) {
    size_t size = sizeof *uc + 128 + 512 + 64;
    for (int i = 0; i < 12; i++) {
        size_t at = next_random() % size;
        if (at >= offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]) &&
            at < offsetof(ucontext_t, uc_mcontext.gregs[REG_EFL]))
            continue;
        ((uint8_t *)uc)[at] = (uint8_t)next_random();
    }
    for (int i = 0; i < 6; i++)
        image[next_random() % 640] = (uint8_t)next_random();
}

TEST(random_frames) {
    for (int i = 0; i < 400; i++) {
        int status;
        next_random();
        pid_t pid = fork();
        REQUIRE_OK(pid);
        if (pid == 0) {
            struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
            forge = scribble;
            sigaction(SIGUSR1, &action, NULL);
            alarm(5);
            raise(SIGUSR1);
            _exit(0);
        }
        REQUIRE_EQ(waitpid(pid, &status, 0), pid);
    }
    /* The kernel is well and serves others. */
    EXPECT(untouched, 0);
}

static void block_everything(ucontext_t *uc) {
    memset(&uc->uc_sigmask, 0xff, sizeof uc->uc_sigmask);
}

TEST(nothing_blocks_sigkill) {
    int status, fds[2];
    char byte;
    REQUIRE_OK(pipe(fds));
    pid_t pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
        forge = block_everything;
        sigaction(SIGUSR1, &action, NULL);
        raise(SIGUSR1);
        if (write(fds[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            ;
    }
    REQUIRE_EQ(read(fds[0], &byte, 1), 1);
    CHECK_OK(kill(pid, SIGSTOP));
    REQUIRE_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_OK(kill(pid, SIGKILL));
    REQUIRE_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_MAIN()
