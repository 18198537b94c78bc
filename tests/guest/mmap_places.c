/*
 * mmap(2) and munmap(2): where mappings go, what is refused with which errno, partial unmaps,
 * MAP_FIXED and MAP_FIXED_NOREPLACE, MAP_32BIT, guard pages.
 */
#include "guest_test.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char *map_anon(size_t size) {
    return mmap(NULL, size, RW, ANON, -1, 0);
}

static sigjmp_buf fault_return;
static volatile siginfo_t fault_info;

static void on_fault(int signo, siginfo_t *info, void *context) {
    fault_info = *info;
    siglongjmp(fault_return, signo);
}

/* The signal that touching `p` gives, 0 for none. */
static int touch(volatile char *p, bool write) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old[2];
    sigaction(SIGSEGV, &action, &old[0]);
    sigaction(SIGBUS, &action, &old[1]);
    int signo = sigsetjmp(fault_return, 1);
    if (signo == 0) {
        if (write)
            *p = 1;
        else
            (void)*p;
    }
    sigaction(SIGSEGV, &old[0], NULL);
    sigaction(SIGBUS, &old[1], NULL);
    return signo;
}

TEST(memory_is_zero_and_writable) {
    char *p = map_anon(16 * PAGE);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ((uintptr_t)p % PAGE, 0);
    for (size_t i = 0; i < 16 * PAGE; i += 511)
        CHECK_EQ(p[i], 0);
    memset(p, 0x5a, 16 * PAGE);
    CHECK_EQ(p[16 * PAGE - 1], 0x5a);
    CHECK_OK(munmap(p, 16 * PAGE));
    CHECK_EQ(touch(p, false), SIGSEGV);
    CHECK_EQ(fault_info.si_code, SEGV_MAPERR);
    CHECK((char *)fault_info.si_addr == p);
}

TEST(errors) {
    char *p = map_anon(PAGE);
    CHECK_ERR((long)mmap(NULL, 0, RW, ANON, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(p + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL);
    CHECK_ERR((long)mmap(NULL, (size_t)-1, RW, ANON, -1, 0), ENOMEM);
    CHECK_ERR((long)mmap(NULL, 1UL << 47, RW, ANON | MAP_NORESERVE, -1, 0), ENOMEM);
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0), EBADF);
    CHECK_ERR((long)mmap((void *)(1UL << 47), PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERR((long)mmap((void *)0x7ffffffff000, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERR(munmap(p + 1, PAGE), EINVAL);
    CHECK_ERR(munmap(p, 0), EINVAL);
    CHECK_ERR(munmap((void *)0x7fffffffe000, 2 * PAGE), EINVAL);
    CHECK_ERR(munmap(p, (size_t)-1), EINVAL);
    CHECK_OK(munmap(p, PAGE));
    CHECK_OK(munmap(p, PAGE)); /* nothing there: no error */
}

TEST(partial_unmap) {
    char *p = map_anon(8 * PAGE);
    memset(p, 7, 8 * PAGE);
    CHECK_OK(munmap(p + 2 * PAGE, PAGE + 1)); /* rounds up: pages 2 and 3 */
    CHECK_EQ(p[2 * PAGE - 1], 7);
    CHECK_EQ(p[4 * PAGE], 7);
    CHECK_EQ(touch(p + 2 * PAGE, false), SIGSEGV);
    CHECK_EQ(touch(p + 3 * PAGE, true), SIGSEGV);
    CHECK_OK(munmap(p, 8 * PAGE)); /* over the hole */
    CHECK_EQ(touch(p, false), SIGSEGV);
    CHECK_EQ(touch(p + 7 * PAGE, false), SIGSEGV);
}

TEST(fixed_replaces) {
    char *p = map_anon(4 * PAGE);
    memset(p, 9, 4 * PAGE);
    CHECK(mmap(p + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == p + PAGE);
    CHECK_EQ(p[PAGE - 1], 9);
    CHECK_EQ(p[PAGE], 0);
    CHECK_EQ(p[2 * PAGE], 9);
    CHECK_OK(munmap(p, 4 * PAGE));
}

TEST(fixed_noreplace) {
    char *p = map_anon(4 * PAGE);
    CHECK_ERR((long)mmap(p, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR((long)mmap(p, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK(mmap(p + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p + PAGE);
    CHECK_OK(munmap(p, 4 * PAGE));
}

TEST(hints) {
    char *p = map_anon(16 * PAGE);
    CHECK_OK(munmap(p + 4 * PAGE, 4 * PAGE));
    /* A free place is taken, rounded down to its page. */
    CHECK(mmap(p + 5 * PAGE + 100, PAGE, RW, ANON, -1, 0) == p + 5 * PAGE);
    /* One that is not is replaced by another, not refused. */
    char *q = mmap(p, PAGE, RW, ANON, -1, 0);
    CHECK(q != MAP_FAILED &&
          (q < p || q >= p + 16 * PAGE || (q >= p + 4 * PAGE && q < p + 8 * PAGE)));
    munmap(q, PAGE);
    CHECK_OK(munmap(p, 16 * PAGE));
}

TEST(below_2g) {
    char *p = mmap(NULL, 3 * PAGE, RW, ANON | MAP_32BIT, -1, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK((uintptr_t)p + 3 * PAGE <= 1UL << 31);
    p[0] = 1;
    CHECK_OK(munmap(p, 3 * PAGE));
}

TEST(protections) {
    char *p = mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0);
    CHECK_EQ(touch(p, false), SIGSEGV);
    CHECK_EQ(fault_info.si_code, SEGV_ACCERR);
    CHECK_OK(mprotect(p, PAGE, PROT_READ));
    CHECK_EQ(touch(p, false), 0);
    CHECK_EQ(touch(p, true), SIGSEGV);
    CHECK_EQ(fault_info.si_code, SEGV_ACCERR);
    CHECK_OK(mprotect(p, PAGE, RW));
    CHECK_EQ(touch(p, true), 0);
    CHECK_OK(munmap(p, PAGE));
}

TEST(mprotect_over_holes) {
    char *p = map_anon(4 * PAGE);
    CHECK_OK(munmap(p + 2 * PAGE, PAGE));
    CHECK_ERR(mprotect(p, 4 * PAGE, PROT_READ), ENOMEM);
    CHECK_EQ(touch(p + PAGE, true), SIGSEGV); /* the part before the hole has changed */
    CHECK_EQ(touch(p + 3 * PAGE, true), 0);   /* the part behind it has not */
    CHECK_ERR(mprotect(p + 1, PAGE, PROT_READ), EINVAL);
    CHECK_ERR(mprotect(p + 2 * PAGE, PAGE, PROT_READ), ENOMEM);
    CHECK_OK(mprotect(p, 0, PROT_READ));
    CHECK_ERR(mprotect(p, PAGE, 0x40), EINVAL);
    CHECK_OK(munmap(p, 4 * PAGE));
}

TEST(code_runs_where_it_may) {
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    char *p = map_anon(PAGE);
    memcpy(p, code, sizeof code);
    CHECK_OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
    CHECK_EQ(((int (*)(void))(uintptr_t)p)(), 42);
    CHECK_OK(munmap(p, PAGE));
}

TEST(low_addresses_are_refused) {
    /* vm.mmap_min_addr; a privileged caller may natively, so only that the page stays unusable by
     * accident. */
    void *p = mmap((void *)PAGE, PAGE, RW, ANON, -1, 0);
    CHECK(p != MAP_FAILED && (uintptr_t)p >= 65536);
    munmap(p, PAGE);
}

TEST(address_space_limit) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {64UL << 20, 64UL << 20};
        CHECK_OK(setrlimit(RLIMIT_AS, &limit));
        CHECK_ERR((long)mmap(NULL, 128UL << 20, RW, ANON, -1, 0), ENOMEM);
        CHECK(mmap(NULL, 1UL << 20, RW, ANON, -1, 0) != MAP_FAILED);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(many_mappings) {
    /* Alternating protections, so that they stay apart. */
    enum { COUNT = 3000 };
    char *p = mmap(NULL, COUNT * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    REQUIRE(p != MAP_FAILED);
    for (int i = 0; i < COUNT; i += 2)
        CHECK_OK(mprotect(p + i * PAGE, PAGE, RW));
    for (int i = 0; i < COUNT; i += 2)
        p[i * PAGE] = (char)i;
    for (int i = 0; i < COUNT; i += 2)
        CHECK_EQ(p[i * PAGE], (char)i);
    CHECK_OK(munmap(p, COUNT * PAGE));
}

TEST(shared_anonymous_memory_is_shared_with_children) {
    int *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int *q = mmap(NULL, PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED && q != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        *p = 11;
        *q = 12;
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(*p, 11);
    CHECK_EQ(*q, 0);
    munmap(p, PAGE);
    munmap(q, PAGE);
}

TEST_MAIN()
