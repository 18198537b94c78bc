/* madvise(2), mincore(2), mlock(2) and its kin. */
#include "guest_test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char *map_anon(size_t size) {
    return mmap(NULL, size, RW, ANON, -1, 0);
}

TEST(dontneed_drops) {
    char *p = map_anon(4 * PAGE);
    memset(p, 1, 4 * PAGE);
    CHECK_OK(madvise(p + PAGE, PAGE, MADV_DONTNEED));
    CHECK_EQ(p[0], 1);
    CHECK_EQ(p[PAGE], 0);
    CHECK_EQ(p[2 * PAGE], 1);
    munmap(p, 4 * PAGE);
}

TEST(shared_memory_survives_dontneed) {
    char *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[0] = 2;
    CHECK_OK(madvise(p, PAGE, MADV_DONTNEED));
    CHECK_EQ(p[0], 2);
    CHECK_OK(madvise(p, PAGE, MADV_REMOVE));
    CHECK_EQ(p[0], 0);
    munmap(p, PAGE);
}

TEST(madvise_errors) {
    char *p = map_anon(4 * PAGE);
    CHECK_ERR(madvise(p + 1, PAGE, MADV_DONTNEED), EINVAL);
    CHECK_ERR(madvise(p, PAGE, 12345), EINVAL);
    CHECK_ERR(madvise(p, (size_t)-1, MADV_DONTNEED), EINVAL);
    CHECK_OK(madvise(p, 0, MADV_DONTNEED));
    CHECK_OK(munmap(p + 2 * PAGE, PAGE));
    memset(p + 3 * PAGE, 9, PAGE);
    CHECK_ERR(madvise(p, 4 * PAGE, MADV_DONTNEED), ENOMEM);
    CHECK_EQ(p[3 * PAGE], 0); /* what lies behind the hole was done all the same */
    munmap(p, 4 * PAGE);
}

TEST(dontfork_and_wipeonfork) {
    char *p = map_anon(4 * PAGE);
    memset(p, 4, 4 * PAGE);
    CHECK_OK(madvise(p + PAGE, PAGE, MADV_DONTFORK));
    CHECK_OK(madvise(p + 2 * PAGE, PAGE, MADV_WIPEONFORK));
    CHECK_OK(madvise(p + 3 * PAGE, PAGE, MADV_DONTFORK));
    CHECK_OK(madvise(p + 3 * PAGE, PAGE, MADV_DOFORK));
    pid_t pid = fork();
    if (pid == 0) {
        unsigned char v;
        CHECK_EQ(p[0], 4);
        CHECK_ERR(mincore(p + PAGE, PAGE, &v), ENOMEM);
        CHECK_EQ(p[2 * PAGE], 0);
        CHECK_EQ(p[3 * PAGE], 4);
        /* The place is free for the child. */
        CHECK(mmap(p + PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p + PAGE);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(p[PAGE], 4);
    munmap(p, 4 * PAGE);
}

TEST(other_advice_is_taken) {
    static const int advice[] = {MADV_NORMAL,     MADV_RANDOM,   MADV_SEQUENTIAL, MADV_WILLNEED,
                                 MADV_DONTDUMP,   MADV_DODUMP,   MADV_FREE,       MADV_COLD,
                                 MADV_KEEPONFORK, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_PAGEOUT};
    char *p = map_anon(4 * PAGE);
    for (size_t i = 0; i < sizeof advice / sizeof *advice; i++) {
        int r = madvise(p, 4 * PAGE, advice[i]);
        CHECK(r == 0 || errno == EINVAL); /* huge pages may be configured out */
    }
    munmap(p, 4 * PAGE);
}

TEST(mincore_tells_residence) {
    unsigned char v[4] = {9, 9, 9, 9};
    char *p = map_anon(4 * PAGE);
    p[PAGE] = 1;
    p[3 * PAGE] = 1;
    CHECK_OK(mincore(p, 4 * PAGE, v));
    CHECK_EQ(v[0] & 1, 0);
    CHECK_EQ(v[1] & 1, 1);
    CHECK_EQ(v[2] & 1, 0);
    CHECK_EQ(v[3] & 1, 1);
    CHECK_ERR(mincore(p + 1, PAGE, v), EINVAL);
    CHECK_ERR(mincore(p, PAGE, (unsigned char *)-1), EFAULT);
    CHECK_OK(munmap(p + 2 * PAGE, PAGE));
    CHECK_ERR(mincore(p, 4 * PAGE, v), ENOMEM);
    munmap(p, 4 * PAGE);
}

TEST(populate) {
    unsigned char v[4] = {0};
    char *p = mmap(NULL, 4 * PAGE, RW, ANON | MAP_POPULATE, -1, 0);
    CHECK_OK(mincore(p, 4 * PAGE, v));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(v[i] & 1, 1);
    munmap(p, 4 * PAGE);
}

TEST(mlock_faults_in) {
    unsigned char v[4] = {0};
    char *p = map_anon(4 * PAGE);
    CHECK_OK(mlock(p + 100, 2 * PAGE));
    CHECK_OK(mincore(p, 4 * PAGE, v));
    CHECK_EQ(v[0] & 1, 1);
    CHECK_EQ(v[2] & 1, 1);
    CHECK_EQ(v[3] & 1, 0);
    CHECK_ERR(madvise(p, PAGE, MADV_DONTNEED), EINVAL); /* locked */
    CHECK_OK(munlock(p, 4 * PAGE));
    CHECK_OK(madvise(p, PAGE, MADV_DONTNEED));
    CHECK_OK(munmap(p + 3 * PAGE, PAGE));
    CHECK_ERR(mlock(p, 4 * PAGE), ENOMEM);
    CHECK_ERR(mlock2(p, PAGE, 0x10), EINVAL);
    CHECK_ERR(mlockall(0), EINVAL);
    munmap(p, 4 * PAGE);
}

TEST_MAIN()
