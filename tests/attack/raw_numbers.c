/*
 * timeout: 180
 *
 * Every call number from 0 to 1023, with hostile arguments, by `syscall`, as x32 numbers and by
 * `int 0x80`: each in a child of its own. Expected is an errno, a signal or the death of that
 * child; the kernel goes on serving. A number that Linux does not have is ENOSYS.
 */
#include <sys/syscall.h>

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

static long raw_int80(long number, long a, long b, long c) {
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "r8", "r9", "r10", "r11", "memory");
    return result;
}

/* Which arguments: small numbers, wild pointers, all ones. */
static const long hostile[] = {0, -1, 0x7fffffffffff, 0x1000, 1};

static void in_child(long number, long argument) {
    pid_t child = fork();

    REQUIRE_OK(child);
    if (child == 0) {
        raw_syscall(number, argument, argument, argument, argument, argument, argument);
        _exit(0);
    }
    wait_or_kill(child, 50);
}

TEST(every_number) {
    block_sigchld();
    signal(SIGHUP, SIG_IGN); /* kill(1, 1) and its like */
    for (long number = 0; number < 1024; number++) {
        for (size_t i = 0; i < (number < 470 ? sizeof(hostile) / sizeof(hostile[0]) : 1); i++) {
            /* kill(-1) and kill(0) of everything we can reach includes this test itself. */
            if ((number == SYS_kill || number == SYS_reboot) && hostile[i] <= 0) {
                continue;
            }
            in_child(number, hostile[i]);
        }
    }
    check_kernel_serves();
}

TEST(numbers_that_linux_lacks) {
    for (long number = 600; number < 1024; number++) {
        CHECK_EQ(raw_syscall(number, 0, 0, 0, 0, 0, 0), -ENOSYS);
    }
    CHECK_EQ(raw_syscall(-1, 0, 0, 0, 0, 0, 0), -ENOSYS);
}

TEST(x32_numbers) {
    for (long number = 0; number < 1024; number++) {
        CHECK_EQ(raw_syscall(number | X32_BIT, 0, 0, 0, 0, 0, 0), -ENOSYS);
    }
}

TEST(int_0x80) {
    for (long number = 0; number < 1024; number++) {
        CHECK_EQ(raw_int80(number, 0, 0, 0), -ENOSYS);
    }
    check_kernel_serves();
}

TEST_MAIN()
