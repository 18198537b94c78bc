/*
 * timeout: 120
 *
 * What a guest finds when it reads its own text where it has made calls, a jump, leads it to its
 * trampolines (src/mm/memory_patch.c). It removes them, writes over them, jumps to every byte of
 * them, also while its other threads are there. One thread alone is answered rightly all the same;
 * else the guest may hurt itself, and nobody else.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest_test.h"

#define PAGE   4096UL
#define AREA   0x10000UL
#define STRIDE 128
#define SITES  64

/* mov $39 (getpid), %eax; syscall; cmp $-4096,%rax; ret */
static const unsigned char code[] = {0xb8, 39,   0,    0,    0,    0x0f, 0x05,
                                     0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0xc3};

static unsigned char *text;

static void make(void) {
    text = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED)
        _exit(2);
    memset(text, 0x90, 4 * PAGE);
    for (unsigned long i = 1; i <= SITES; i++)
        memcpy(text + STRIDE * i, code, sizeof(code));
    if (mprotect(text, 4 * PAGE, PROT_READ | PROT_EXEC) < 0)
        _exit(2);
}

static long call(unsigned long site) {
    long (*function)(void) = (long (*)(void))(void *)(text + STRIDE * site);

    return function();
}

static void call_all(int times) {
    for (int i = 0; i < times; i++)
        for (unsigned long site = 1; site <= SITES; site++)
            CHECK_EQ(call(site), getpid());
}

/* Where the jump at the site leads, NULL: there is none. */
static unsigned char *trampoline(unsigned long site) {
    const unsigned char *at = text + STRIDE * site + 5;
    int distance;

    if (at[0] != 0xe9)
        return NULL;
    memcpy(&distance, at + 1, sizeof(distance));
    return (unsigned char *)at + 5 + distance;
}

/* The pages around it that may be of its area, but not the text. */
static unsigned char *pages_of(unsigned char *cell, unsigned long *size) {
    unsigned char *start = (unsigned char *)((unsigned long)cell & ~(PAGE - 1));

    *size = PAGE;
    return start;
}

TEST(removed_and_overwritten) {
    make();
    call_all(20);
    if (!trampoline(1))
        SKIP("sites are not patched here"); /* --no-patch, or a processor without fsgsbase */
    for (int round = 0; round < 60; round++) {
        unsigned char *cell = trampoline(1 + (unsigned long)round % SITES), *start;
        unsigned long size;

        if (cell) {
            start = pages_of(cell, &size);
            switch (round % 4) {
            case 0:
                munmap(start, size);
                break;
            case 1: /* as if nothing were there, or as on memory of its own */
                if (mprotect(start, size, PROT_READ | PROT_WRITE) == 0) {
                    memset(start, 0xcc, size);
                    mprotect(start, size, PROT_READ | PROT_EXEC);
                }
                break;
            case 2:
                if (mmap(start, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == start)
                    memset(start, 0xcc, size);
                break;
            default:
                madvise(start, size, MADV_DONTNEED);
            }
        }
        call_all(20);
    }
}

/* ---- what may kill the one who does it ---- */

static void expect_world_alive(void) {
    pid_t child = fork();

    if (child == 0) {
        make();
        call_all(20);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_OK(getppid());
}

static void *caller(void *arg) {
    for (;;)
        for (unsigned long site = 1; site <= SITES; site++)
            call(site);
    return arg;
}

static void attack_from_threads(int seed) {
    pthread_t threads[3];

    make();
    call_all(10);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, caller, NULL);
    for (int i = 0; i < 200; i++) {
        unsigned char *cell = trampoline(1 + (unsigned long)(i + seed) % SITES);
        unsigned char *start = (unsigned char *)((unsigned long)cell & ~(AREA - 1));

        if (!cell)
            continue;
        if ((i + seed) % 3 == 0)
            munmap(start, AREA);
        else if ((i + seed) % 3 == 1)
            mprotect(start, AREA, i % 2 ? PROT_NONE : PROT_READ | PROT_WRITE);
        else
            mprotect(text, 4 * PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_EXEC);
    }
    _exit(0);
}

TEST(removed_under_threads) {
    for (int seed = 0; seed < 12; seed++) {
        pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0) {
            alarm(20);
            attack_from_threads(seed);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        expect_world_alive();
    }
}

/* Every byte of the site and of its trampoline as an entry, with registers that mean nothing. */
TEST(entered_anywhere) {
    for (int offset = -4; offset < 96; offset++) {
        pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0) {
            unsigned char *at;

            alarm(5);
            make();
            call_all(10);
            at = offset < 14 || !trampoline(1) ? text + STRIDE + offset
                                               : trampoline(1) + offset - 14;
            __asm__ volatile("call *%0"
                             :
                             : "r"(at), "a"(39), "c"(0x7ea000000000ul), "D"(1), "S"(2), "d"(3)
                             : "r8", "r9", "r10", "r11", "memory", "cc");
            _exit(0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
    }
    expect_world_alive();
}

TEST_MAIN()
