/*
 * timeout: 120
 *
 * Every memory call over the stub, its slots and its stacks: to the guest that range is a hole that
 * nothing can be put into, taken out of, or changed in. Each call gets Linux's answer for a hole,
 * and the stub goes on serving.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "host/slot.h"
#include "stub_probe.h"

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static unsigned char *stub;
static unsigned char text[STUB_TEXT]; /* as it was */

static const unsigned long places[] = {0,
                                       PAGE,
                                       STUB_TEXT - PAGE,
                                       STUB_SLOTS,
                                       STUB_SLOTS + PAGE,
                                       STUB_STACKS,
                                       STUB_STACKS + 16 * PAGE,
                                       STUB_PUBLIC_OFFSET,
                                       STUB_PUBLIC_OFFSET + STUB_TABLES_OFFSET};

static bool find_stub(void) {
    if (!stub) {
        stub = stub_find();
        if (stub)
            memcpy(text, stub, sizeof text);
    }
    return stub != NULL;
}

static void check_stub(void) {
    CHECK_EQ(memcmp(stub, text, sizeof text), 0);
    CHECK_OK(getppid());
}

TEST(map_over) {
    REQUIRE(find_stub());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *p = stub + places[i];
        CHECK_ERR((long)mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
        CHECK_ERR((long)mmap(p - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
        CHECK_ERR((long)mmap(p, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
        CHECK_ERR((long)mmap(p, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                  ENOMEM);
        unsigned char *q = mmap(p, PAGE, RW, ANON, -1, 0); /* a hint: goes elsewhere */
        CHECK(q != MAP_FAILED && q != p);
        munmap(q, PAGE);
        check_stub();
    }
    /* From below into it, from within it out at the top, all around it. */
    CHECK_ERR((long)mmap(stub - 16 * PAGE, 64 * PAGE, RW, ANON | MAP_FIXED, -1, 0), ENOMEM);
    CHECK_ERR(
        (long)mmap(stub - PAGE, 1UL << 30, PROT_NONE, ANON | MAP_FIXED | MAP_NORESERVE, -1, 0),
        ENOMEM);
    check_stub();
}

TEST(protect) {
    REQUIRE(find_stub());
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        CHECK_ERR(mprotect(stub + places[i], PAGE, PROT_NONE), ENOMEM);
        CHECK_ERR(mprotect(stub + places[i], PAGE, RW | PROT_EXEC), ENOMEM);
        check_stub();
    }
    /* Beginning in a mapping of our own just below: that part changes, the stub does not. */
    unsigned char *p = mmap(stub - PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != MAP_FAILED) {
        CHECK_ERR(mprotect(p, 3 * PAGE, PROT_NONE), ENOMEM);
        check_stub();
        munmap(p, PAGE);
    }
}

TEST(unmap) {
    REQUIRE(find_stub());
    /* Nothing is mapped there: success, without effect. */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        CHECK_OK(munmap(stub + places[i], PAGE));
        check_stub();
    }
    unsigned char *p = mmap(stub - PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    if (p != MAP_FAILED) {
        CHECK_OK(munmap(p, 1UL << 29));
        check_stub();
        unsigned char v;
        CHECK_ERR(mincore(p, PAGE, &v), ENOMEM);
    }
}

TEST(remap) {
    REQUIRE(find_stub());
    unsigned char *own = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
    unsigned char *shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(own != MAP_FAILED && shared != MAP_FAILED);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *p = stub + places[i];
        CHECK_ERR((long)mremap(own, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p), ENOMEM);
        CHECK_ERR((long)mremap(shared, 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p), ENOMEM);
        CHECK_ERR((long)mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, own), EFAULT);
        CHECK_ERR((long)mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE), EFAULT);
        CHECK_ERR((long)mremap(p, 2 * PAGE, PAGE, 0), EFAULT);
        check_stub();
    }
    unsigned char *below = mmap(stub - PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    if (below != MAP_FAILED) {
        CHECK_ERR((long)mremap(below, PAGE, 8 * PAGE, 0), ENOMEM); /* would grow into it */
        check_stub();
        munmap(below, PAGE);
    }
    munmap(own, 4 * PAGE);
    munmap(shared, PAGE);
}

TEST(advise_lock_sync) {
    REQUIRE(find_stub());
    static const int advice[] = {
        MADV_DONTNEED,   MADV_FREE,    MADV_REMOVE, MADV_DONTFORK,
        MADV_WIPEONFORK, MADV_PAGEOUT, MADV_DOFORK, 102 /* MADV_GUARD_INSTALL */};
    unsigned char v[4];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *p = stub + places[i];
        for (size_t k = 0; k < sizeof advice / sizeof *advice; k++) {
            CHECK_ERR(madvise(p, PAGE, advice[k]), ENOMEM);
            CHECK_ERR(madvise(p - PAGE, 2 * PAGE, advice[k]), ENOMEM);
        }
        CHECK_ERR(mlock(p, PAGE), ENOMEM);
        CHECK_ERR(munlock(p, PAGE), ENOMEM);
        CHECK_ERR(msync(p, PAGE, MS_SYNC), ENOMEM);
        CHECK_ERR(msync(p, PAGE, MS_INVALIDATE), ENOMEM);
        CHECK_ERR(mincore(p, PAGE, v), ENOMEM);
        check_stub();
    }
    check_kernel_serves(); /* fork copies the stub still */
}

/* Calls that Starling may not have, or not with these flags: an errno is all that matters. */
TEST(remap_by_rarer_calls) {
    REQUIRE(find_stub());
    unsigned char *own = mmap(NULL, PAGE, RW, ANON, -1, 0);
    int segment = shmget(IPC_PRIVATE, 2 * PAGE, 0600 | IPC_CREAT);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    unsigned long nodes = 1;

    REQUIRE(own != MAP_FAILED);
    REQUIRE_OK(segment);
    REQUIRE_OK(self);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *p = stub + places[i];
        struct iovec vec = {p, PAGE};
        const int moving = MREMAP_MAYMOVE | MREMAP_DONTUNMAP;

        CHECK(mremap(own, PAGE, PAGE, moving | MREMAP_FIXED, p) == MAP_FAILED);
        CHECK(mremap(p, PAGE, PAGE, moving) == MAP_FAILED);
        CHECK(mremap(p, PAGE, PAGE, moving | MREMAP_FIXED, own) == MAP_FAILED);
        CHECK(mremap(p, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
        CHECK(shmat(segment, p, 0) == MAP_FAILED);
        CHECK(shmat(segment, p, SHM_REMAP) == MAP_FAILED);
        CHECK(shmat(segment, p - PAGE, SHM_REMAP | SHM_EXEC) == MAP_FAILED);
        CHECK(shmdt(p) == -1);
        CHECK(remap_file_pages(p, PAGE, 0, 1, 0) == -1);
        CHECK(syscall(SYS_pkey_mprotect, p, PAGE, RW | PROT_EXEC, -1) == -1);
        CHECK(syscall(SYS_pkey_mprotect, p, PAGE, PROT_NONE, 0) == -1);
        CHECK(syscall(SYS_process_madvise, self, &vec, 1, MADV_DONTNEED, 0) == -1);
        CHECK(syscall(SYS_process_madvise, self, &vec, 1, MADV_PAGEOUT, 0) == -1);
        CHECK(syscall(SYS_mlock2, p, PAGE, 1 /* MLOCK_ONFAULT */) == -1);
        CHECK(syscall(SYS_mbind, p, PAGE, 2 /* MPOL_BIND */, &nodes, 8, 2) == -1);
        CHECK(syscall(462 /* mseal */, p, PAGE, 0) == -1);
        CHECK(syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */) == -1);
        check_stub();
    }
    CHECK_OK(shmctl(segment, IPC_RMID, NULL));
    close(self);
    munmap(own, PAGE);
    check_kernel_serves();
}

TEST(calls_that_copy) {
    REQUIRE(find_stub());
    /* The kernel neither reads nor writes there for a guest. */
    int zero = open("/dev/zero", O_RDWR), ends[2];
    CHECK_OK(pipe(ends));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *p = stub + places[i];
        struct iovec vec = {p, 16};
        CHECK_ERR(read(zero, p, 16), EFAULT);
        CHECK_ERR(readv(zero, &vec, 1), EFAULT);
        CHECK_ERR(write(ends[1], p, 16), EFAULT);
        CHECK_ERR(open((char *)p, O_RDONLY), EFAULT);
        CHECK_ERR(pipe((int *)p), EFAULT);
        unsigned char *own = mmap(NULL, PAGE, RW, ANON, -1, 0);
        CHECK_ERR(mincore(own, PAGE, p), EFAULT);
        munmap(own, PAGE);
        check_stub();
    }
    close(ends[0]);
    close(ends[1]);
    close(zero);
}

TEST(heap_does_not_reach_it) {
    REQUIRE(find_stub());
    char *now = (char *)syscall(SYS_brk, NULL);
    CHECK((char *)syscall(SYS_brk, stub + 8 * PAGE) == now);
    check_stub();
}

TEST(much_memory_goes_around_it) {
    REQUIRE(find_stub());
    /* Fill the neighbourhood page by page: no placement may touch it. */
    for (int i = 0; i < 200; i++) {
        unsigned char *p = mmap(stub - (size_t)i * 7 * PAGE, 64 * PAGE, PROT_NONE, ANON, -1, 0);
        CHECK(p != MAP_FAILED);
        CHECK(p + 64 * PAGE <= stub || p >= stub + STUB_STACKS);
    }
    check_stub();
    check_kernel_serves();
}

TEST_MAIN()
