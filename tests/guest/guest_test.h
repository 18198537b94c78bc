/*
 * What a guest test needs. A test is a C program that asserts Linux's behaviour; it runs natively
 * and under Starling, and must pass in both, so it never asks which of the two it is in.
 *
 *     #include "guest_test.h"
 *
 *     TEST(brk_grows) {
 *         char *old = sbrk(0);
 *         CHECK_OK(brk(old + 4096));          // not -1
 *         CHECK_EQ((char *)sbrk(0) - old, 4096);
 *         CHECK_ERR(brk_raw(1), ENOMEM);      // -1 with this errno
 *     }
 *
 *     TEST_MAIN()
 *
 * A failed CHECK prints file:line, what was expected and what came, and the test goes on; REQUIRE_*
 * ends that TEST. TESTs run in the order of the file, in one process; `prog NAME...` runs only
 * these. SKIP("reason") ends a TEST without a verdict; the program exits 77 when every TEST was
 * skipped, 1 when a check failed, else 0.
 */
#ifndef GUEST_TEST_H
#define GUEST_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

struct guest_test {
    const char *name;
    void (*run)(void);
};

/* Shared by all threads of the program; a count is only ever increased. */
static int guest_test_failures;
static const char *guest_test_skipped;
static jmp_buf guest_test_end;

/* One write() per line, so that lines of threads and forked children do not mix. */
__attribute__((format(printf, 3, 4), unused)) static void
guest_test_fail(const char *file, int line, const char *format, ...) {
    char text[1024];
    int n = snprintf(text, sizeof text, "%s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    n += vsnprintf(text + n, sizeof text - (size_t)n - 1, format, args);
    va_end(args);
    if (n > (int)sizeof text - 2)
        n = (int)sizeof text - 2;
    text[n++] = '\n';
    ssize_t written = write(2, text, (size_t)n);
    (void)written;
    __atomic_fetch_add(&guest_test_failures, 1, __ATOMIC_RELAXED);
}

/* In a forked child: end it with a status that says whether a check failed there; the parent does
 * CHECK_CHILD_OK. */
#define CHILD_EXIT() _exit(guest_test_failures ? 1 : 0)

#define GUEST_CHECK(condition, then, ...)                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            guest_test_fail(__FILE__, __LINE__, __VA_ARGS__);                                      \
            then;                                                                                  \
        }                                                                                          \
    } while (0)

#define GUEST_OK(call, then)                                                                       \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long gt_r = (long)(call);                                                                  \
        GUEST_CHECK(gt_r != -1, then, "%s: failed with %s (%d)", #call, strerrorname_np(errno),    \
                    errno);                                                                        \
    } while (0)

#define GUEST_EQ(actual, expected, then)                                                           \
    do {                                                                                           \
        long long gt_a = (long long)(actual), gt_e = (long long)(expected);                        \
        GUEST_CHECK(gt_a == gt_e, then, "%s: is %lld (0x%llx), expected %s = %lld (0x%llx)",       \
                    #actual, gt_a, gt_a, #expected, gt_e, gt_e);                                   \
    } while (0)

#define GUEST_ERR(call, expected, then)                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long gt_r = (long)(call);                                                                  \
        int gt_errno = errno;                                                                      \
        GUEST_CHECK(gt_r == -1 && gt_errno == (expected), then,                                    \
                    "%s: returned %ld with errno %s, expected -1 with %s", #call, gt_r,            \
                    gt_r == -1 ? strerrorname_np(gt_errno) : "unchanged",                          \
                    strerrorname_np(expected));                                                    \
    } while (0)

#define GUEST_STREQ(actual, expected, then)                                                        \
    do {                                                                                           \
        const char *gt_a = (actual), *gt_e = (expected);                                           \
        GUEST_CHECK(strcmp(gt_a, gt_e) == 0, then, "%s: is \"%s\", expected \"%s\"", #actual,      \
                    gt_a, gt_e);                                                                   \
    } while (0)

#define GUEST_CHILD_OK(pid, then)                                                                  \
    do {                                                                                           \
        int gt_status = -1;                                                                        \
        pid_t gt_pid = (pid);                                                                      \
        pid_t gt_r = waitpid(gt_pid, &gt_status, 0);                                               \
        GUEST_CHECK(gt_r == gt_pid && gt_status == 0, then,                                        \
                    "child %s: waitpid gives %d, status 0x%x (%s %d)", #pid, (int)gt_r,            \
                    (unsigned)gt_status, WIFSIGNALED(gt_status) ? "signal" : "exit",               \
                    WIFSIGNALED(gt_status) ? WTERMSIG(gt_status) : WEXITSTATUS(gt_status));        \
    } while (0)

#define CHECK(condition)              GUEST_CHECK(condition, , "%s: is false (errno %d)", #condition, errno)
#define CHECK_OK(call)                GUEST_OK(call, )
#define CHECK_EQ(actual, expected)    GUEST_EQ(actual, expected, )
#define CHECK_ERR(call, expected)     GUEST_ERR(call, expected, )
#define CHECK_STREQ(actual, expected) GUEST_STREQ(actual, expected, )
/* Waits for the forked child; it must end with status 0. Needs <sys/wait.h>. */
#define CHECK_CHILD_OK(pid) GUEST_CHILD_OK(pid, )

/* The same, but a failure ends the TEST. Only in the main thread, and not in a forked child (use
 * CHECK there). */
#define REQUIRE(condition)                                                                         \
    GUEST_CHECK(condition, longjmp(guest_test_end, 1), "%s: is false (errno %d)", #condition, errno)
#define REQUIRE_OK(call)             GUEST_OK(call, longjmp(guest_test_end, 1))
#define REQUIRE_EQ(actual, expected) GUEST_EQ(actual, expected, longjmp(guest_test_end, 1))

#define SKIP(reason)                                                                               \
    do {                                                                                           \
        guest_test_skipped = (reason);                                                             \
        longjmp(guest_test_end, 1);                                                                \
    } while (0)

#define TEST(test)                                                                                 \
    static void test_##test(void);                                                                 \
    static const struct guest_test guest_test_##test                                               \
        __attribute__((used, section("guest_tests"), aligned(16))) = {#test, test_##test};         \
    static void test_##test(void)

extern const struct guest_test __start_guest_tests[], __stop_guest_tests[];

#define TEST_MAIN()                                                                                \
    int main(int argc, char **argv) {                                                              \
        return guest_test_main(argc, argv);                                                        \
    }

/* Apart from its caller, so that no local variable lives across the setjmp. */
__attribute__((unused, noinline)) static void guest_test_run(const struct guest_test *t) {
    if (setjmp(guest_test_end) == 0)
        t->run();
}

__attribute__((unused)) static int guest_test_main(int argc, char **argv) {
    int ran = 0, skipped = 0;
    for (const struct guest_test *t = __start_guest_tests; t < __stop_guest_tests; t++) {
        bool wanted = argc < 2;
        for (int i = 1; i < argc; i++)
            wanted = wanted || strcmp(argv[i], t->name) == 0;
        if (!wanted)
            continue;
        int before = guest_test_failures;
        guest_test_skipped = NULL;
        guest_test_run(t);
        ran++;
        fflush(stdout);
        if (guest_test_skipped) {
            skipped++;
            printf("skipped %s: %s\n", t->name, guest_test_skipped);
        } else {
            printf("%s %s\n", guest_test_failures == before ? "passed" : "FAILED", t->name);
        }
        fflush(stdout);
    }
    if (ran == 0) {
        fprintf(stderr, "%s: no such test\n", argv[0]);
        return 2;
    }
    if (guest_test_failures)
        return 1;
    return skipped == ran ? 77 : 0;
}

#endif
