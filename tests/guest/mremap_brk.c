/*
 * mremap(2): growing in place and by moving, shrinking, MREMAP_FIXED, MREMAP_DONTUNMAP, copies of
 * shared memory; brk(2) and sbrk(3).
 */
#include "guest_test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static bool is_mapped(void *p) {
    unsigned char v;
    return mincore(p, PAGE, &v) == 0;
}

TEST(grows_in_place) {
    char *p = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    memset(p, 3, 8 * PAGE);
    CHECK_OK(munmap(p + 2 * PAGE, 6 * PAGE));
    CHECK(mremap(p, 2 * PAGE, 5 * PAGE, 0) == p);
    CHECK_EQ(p[2 * PAGE - 1], 3);
    CHECK_EQ(p[2 * PAGE], 0);
    p[5 * PAGE - 1] = 1;
    CHECK_OK(munmap(p, 5 * PAGE));
}

TEST(moves_when_it_must) {
    char *p = mmap(NULL, 3 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    memset(p, 4, 3 * PAGE);
    /* Page 2 has another protection, so the first two cannot grow. */
    CHECK_OK(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
    CHECK_ERR((long)mremap(p, 2 * PAGE, 4 * PAGE, 0), ENOMEM);
    char *q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    CHECK(q != p);
    CHECK_EQ(q[2 * PAGE - 1], 4);
    CHECK_EQ(q[2 * PAGE], 0);
    CHECK(!is_mapped(p));
    CHECK(is_mapped(p + 2 * PAGE));
    munmap(q, 4 * PAGE);
    munmap(p + 2 * PAGE, PAGE);
}

TEST(shrinks) {
    char *p = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK(mremap(p, 4 * PAGE, PAGE, 0) == p);
    CHECK(is_mapped(p));
    CHECK(!is_mapped(p + PAGE));
    munmap(p, PAGE);
}

TEST(to_a_fixed_place) {
    char *p = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    memset(p, 5, 8 * PAGE);
    p[0] = 'm';
    CHECK(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 4 * PAGE) == p + 4 * PAGE);
    CHECK_EQ(p[4 * PAGE], 'm');
    CHECK_EQ(p[5 * PAGE], 0);
    CHECK_EQ(p[6 * PAGE], 5);
    CHECK(!is_mapped(p));
    munmap(p, 8 * PAGE);
}

TEST(errors) {
    char *p = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_ERR((long)mremap(p + 1, PAGE, PAGE, 0), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, 0, 0), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, PAGE, 0x100), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, PAGE, MREMAP_FIXED, p), EINVAL);
    CHECK_ERR((long)mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE), EINVAL);
    CHECK_ERR((long)mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE + 1), EINVAL);
    CHECK_ERR((long)mremap(p, 0, PAGE, MREMAP_MAYMOVE), EINVAL); /* private */
    CHECK_OK(munmap(p + PAGE, PAGE));
    CHECK_ERR((long)mremap(p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
    CHECK_ERR((long)mremap(p, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE), EFAULT);
    munmap(p, 4 * PAGE);
}

TEST(a_second_view_of_shared_memory) {
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    p[PAGE] = 's';
    char *q = mremap(p, 0, 2 * PAGE, MREMAP_MAYMOVE);
    REQUIRE(q != MAP_FAILED);
    CHECK(q != p);
    CHECK_EQ(q[PAGE], 's');
    q[PAGE + 1] = 't';
    CHECK_EQ(p[PAGE + 1], 't');
    munmap(p, 2 * PAGE);
    munmap(q, 2 * PAGE);
}

TEST(dontunmap) {
    char *p = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
    REQUIRE(p != MAP_FAILED);
    p[0] = 'd';
    /* The raw call: a new address counts as a hint, which the C library would leave undefined. */
    char *q =
        (char *)syscall(SYS_mremap, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    REQUIRE(q != MAP_FAILED);
    CHECK_EQ(q[0], 'd');
    CHECK_EQ(p[0], 0); /* still mapped, empty */
    munmap(p, 2 * PAGE);
    munmap(q, 2 * PAGE);
}

static char *raw_brk(void *to) {
    return (char *)syscall(SYS_brk, to);
}

TEST(brk_moves_by_bytes) {
    char *start = raw_brk(NULL);
    CHECK(raw_brk(start + 10000) == start + 10000);
    CHECK_EQ(start[9999], 0);
    memset(start, 6, 10000);
    CHECK(raw_brk(start + 20000) == start + 20000);
    CHECK_EQ(start[9999], 6);
    CHECK_EQ(start[19999], 0);
    CHECK(raw_brk(start) == start);
    CHECK(raw_brk(start + 10000) == start + 10000);
    char *page = (char *)(((uintptr_t)start + PAGE - 1) & -PAGE);
    CHECK_EQ(page[PAGE], 0); /* given back and fresh again */
    CHECK(raw_brk(start) == start);
}

static void *brk_grows_on(void *arg) {
    CHECK(raw_brk(NULL) == arg);
    return raw_brk((char *)arg + 3 * 4096 + 5);
}

/* One for the whole address space; a copy of it goes its own way. */
TEST(brk_is_everybodys) {
    char *start = raw_brk(NULL);
    for (int i = 0; i < 100; i++) {
        char *now = raw_brk(start + 4096 + i);
        pthread_t thread;
        void *grown;
        CHECK(raw_brk(NULL) == now);
        REQUIRE_EQ(pthread_create(&thread, NULL, brk_grows_on, now), 0);
        REQUIRE_EQ(pthread_join(thread, &grown), 0);
        CHECK(grown == now + 3 * 4096 + 5);
        CHECK(raw_brk(NULL) == grown);
        if (i % 10 == 0) {
            pid_t pid = fork();
            if (pid == 0) {
                CHECK(raw_brk(NULL) == grown);
                CHECK(raw_brk(start) == start);
                CHECK(raw_brk(NULL) == start);
                CHILD_EXIT();
            }
            CHECK_CHILD_OK(pid);
            CHECK(raw_brk(NULL) == grown);
        }
        CHECK(raw_brk(start) == start);
        CHECK(raw_brk(NULL) == start);
    }
}

TEST(brk_refuses) {
    char *now = raw_brk(NULL);
    CHECK(raw_brk((void *)1) == now);
    CHECK(raw_brk((void *)-1) == now);
    CHECK(raw_brk((void *)(1UL << 47)) == now);
    /* Something in the way. */
    char *page = (char *)(((uintptr_t)now + PAGE - 1) & -PAGE);
    void *block = mmap(page + 4 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    if (block == MAP_FAILED)
        SKIP("the place behind the heap is taken");
    CHECK(raw_brk(page + 8 * PAGE) == now);
    CHECK(raw_brk(page + 2 * PAGE) == page + 2 * PAGE);
    CHECK(raw_brk(now) == now);
    munmap(block, PAGE);
}

TEST(brk_keeps_the_data_limit) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {1 << 20, 1 << 20};
        char *now = raw_brk(NULL);
        CHECK_OK(setrlimit(RLIMIT_DATA, &limit));
        CHECK(raw_brk(now + (8 << 20)) == now);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST_MAIN()
