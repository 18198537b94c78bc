/*
 * timeout: 120
 *
 * Jumps to every `syscall` instruction of the stub with calls that would reach the host. The filter
 * lets a short list through there and nothing else: what is off the list comes back as this guest's
 * own call (answered by Starling), and clone is refused unless ordered. What must not happen is an
 * effect on the host: the runner checks that this test's directory stays empty.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#include "stub_probe.h"

static unsigned char *stub;

/* In a child: never returns. Exit 0: the call failed; else its result, at most 254, and one. The
 * stack is full of the way back, whatever is popped. */
static void jump(const unsigned char *site, long number, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;

    __asm__ volatile("leaq 1f(%%rip), %%r11\n\t"
                     "movl $64, %%ecx\n\t"
                     "2: pushq %%r11\n\t"
                     "decl %%ecx\n\t"
                     "jnz 2b\n\t"
                     "jmp *%%rbx\n\t"
                     "1: xorl %%edi, %%edi\n\t"
                     "testq %%rax, %%rax\n\t"
                     "js 3f\n\t"
                     "movl $254, %%edi\n\t"
                     "cmpq %%rdi, %%rax\n\t"
                     "cmovbq %%rax, %%rdi\n\t"
                     "incl %%edi\n\t"
                     "3: movl $231, %%eax\n\t"
                     "syscall\n\t"
                     "hlt"
                     :
                     : "a"(number), "b"(site), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    __builtin_unreachable();
}

struct attempt {
    const char *what;
    long number;
    long args[4];
    /* The lowest result that would be a success on the host, 0: none can be told. What comes back
     * may also be what the stub's own code behind the call returns, which is 0 or 1 and no success.
     */
    int success;
};

static void attempt_at(const unsigned char *site, const struct attempt *attempt) {
    pid_t child = fork();
    int status;

    REQUIRE_OK(child);
    if (child == 0) {
        jump(site, attempt->number, attempt->args[0], attempt->args[1], attempt->args[2],
             attempt->args[3]);
    }
    status = wait_or_kill(child, 100);
    if (attempt->success && WIFEXITED(status) && WEXITSTATUS(status) > attempt->success) {
        guest_test_fail(__FILE__, __LINE__, "%s succeeded through the stub at +%#lx", attempt->what,
                        (unsigned long)(site - stub));
    }
}

TEST(jump_into_the_stub) {
    static const char *const argv[] = {"/bin/true", NULL};
    const struct attempt attempts[] = {
        {"openat", SYS_openat, {AT_FDCWD, (long)"escaped", O_CREAT | O_WRONLY, 0644}, 0},
        {"socket", SYS_socket, {2, 1, 0}, 0},
        {"execve", SYS_execve, {(long)"/nonexistent/escape", (long)argv, 0}, 0},
        {"kill every process", SYS_kill, {-1, 0}, 0},
        {"ptrace", SYS_ptrace, {16 /* PTRACE_ATTACH */, 1}, 0},
        {"fork", SYS_clone, {SIGCHLD}, 2},
        {"thread",
         SYS_clone,
         {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD},
         2},
        {"io_uring_setup", SYS_io_uring_setup, {1, 0}, 2},
    };
    size_t sites = 0;

    block_sigchld();
    stub = stub_find();
    REQUIRE(stub != NULL);
    for (size_t at = 0; at + 1 < STUB_TEXT; at++) {
        if (stub[at] != 0x0f || stub[at + 1] != 0x05) {
            continue;
        }
        sites++;
        for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
            attempt_at(stub + at, &attempts[i]);
        }
    }
    CHECK(sites > 4);
    check_kernel_serves();
}

TEST_MAIN()
