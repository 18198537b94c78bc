/*
 * timeout: 300
 *
 * Every call number from 0 to 1023, with hostile arguments, each in a child of its own: expected is
 * an errno, a signal or the death of that child; the kernel goes on serving. And every number that
 * this machine's Linux does not have, those of x32 and those of `int 0x80` among them: with the
 * same arguments and with such as would open, write and end, it is ENOSYS, and nothing else
 * changes.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bystander.h"
#include "stub_probe.h"

#define X32_BIT 0x40000000l

static long raw_syscall(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

long raw_int80(long number, const long args[6]);
__asm__("raw_int80:\n\t"
        "pushq %rbx\n\t"
        "pushq %rbp\n\t"
        "movq %rdi, %rax\n\t"
        "movq 0(%rsi), %rbx\n\t"
        "movq 8(%rsi), %rcx\n\t"
        "movq 16(%rsi), %rdx\n\t"
        "movq 32(%rsi), %rdi\n\t"
        "movq 40(%rsi), %rbp\n\t"
        "movq 24(%rsi), %rsi\n\t"
        "int $0x80\n\t"
        "popq %rbp\n\t"
        "popq %rbx\n\t"
        "ret");

/* What 32-bit programs can name too; begins with the name of a directory. */
#define PAGE ((char *)0x10000000)
#define SIZE 4096

#define KERNEL_HALF ((long)0xffff888000000000)

#define SETS 8
static const long hostile[SETS][6] = {
    {0},
    {-1, -1, -1, -1, -1, -1},
    {1, 2, 3, 4, 5, 6},
    {(long)PAGE, (long)PAGE, (long)PAGE, (long)PAGE, (long)PAGE, (long)PAGE},
    {KERNEL_HALF, KERNEL_HALF, KERNEL_HALF, KERNEL_HALF, KERNEL_HALF, KERNEL_HALF},
    {0x7fffffffffff, 0x7fffffffffff, 0x7fffffffffff, 0x7fffffffffff, 0x7fffffffffff,
     0x7fffffffffff},
    {2, (long)PAGE, 1, 0, 0, 0},                             /* write */
    {AT_FDCWD, (long)PAGE, O_RDONLY | O_DIRECTORY, 0, 0, 0}, /* openat */
};

static void set_up(void) {
    static bool done;

    if (!done) {
        REQUIRE(mmap(PAGE, SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == PAGE);
        strcpy(PAGE, "/");
        block_sigchld();
        signal(SIGHUP, SIG_IGN); /* kill(1, 1) and its like */
        signal(SIGINT, SIG_IGN);
        signal(SIGQUIT, SIG_IGN);
        done = true;
    }
}

static void in_child(long number, const long args[6]) {
    pid_t child = fork();

    REQUIRE_OK(child);
    if (child == 0) {
        /* ftruncate(2) of what this test says */
        int null = open("/dev/null", O_RDWR);

        for (int fd = 0; fd < 3; fd++) {
            dup2(null, fd);
        }
        raw_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
        _exit(0);
    }
    wait_or_kill(child, 50); /* it may sleep as long as it likes */
}

TEST(every_number) {
    set_up();
    bystander_start();
    for (long number = 0; number < 1024; number++) {
        for (int i = 0; i < SETS; i++) {
            /* kill(-1) and kill(0) of everything we can reach includes this test itself. */
            if ((number == SYS_kill || number == SYS_reboot) && (int)hostile[i][0] <= 0) {
                continue;
            }
            in_child(number, hostile[i]);
        }
        bystander_check();
    }
    check_kernel_serves();
}

/* ---- what is no call ---- */

static long by_syscall(long number, const long args[6]) {
    return raw_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static void check_state(int lowest) {
    int fd = dup(2);

    CHECK_EQ(fd, lowest);
    close(fd);
    CHECK_STREQ(PAGE, "/");
    for (int i = 1; i < SIZE; i++) {
        CHECK_EQ(PAGE[i], 0);
    }
}

/* In a child, which any of these might end. */
static void check_lacking(long (*call)(long number, const long args[6]), long first, long end) {
    pid_t child = fork();

    REQUIRE_OK(child);
    if (child == 0) {
        int lowest = dup(2);

        close(lowest);
        for (long number = first; number < end; number++) {
            for (int i = 0; i < SETS; i++) {
                long result = call(number, hostile[i]);

                GUEST_CHECK(result == -ENOSYS, , "number %#lx, arguments %d: %ld", number, i,
                            result);
            }
        }
        check_state(lowest);
        _exit(guest_test_failures ? 1 : 42);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    check_kernel_serves();
}

/* Between the two tables of Linux (335 and 336 are the host's uprobes'), and behind them. */
TEST(numbers_that_linux_lacks) {
    set_up();
    check_lacking(by_syscall, 337, 424);
    check_lacking(by_syscall, 480, 1024);
    check_lacking(by_syscall, 0x3ffffff0, 0x40000000);
    check_lacking(by_syscall, 0x7ffffff0, 0x80000000);
    check_lacking(by_syscall, -16, 0);
}

TEST(x32_numbers) {
    set_up();
    check_lacking(by_syscall, X32_BIT, X32_BIT + 1024);
}

TEST(int_0x80) {
    set_up();
    check_lacking(raw_int80, 0, 1024);
    check_lacking(raw_int80, X32_BIT, X32_BIT + 16);
    check_lacking(raw_int80, -16, 0);
}

TEST_MAIN()
