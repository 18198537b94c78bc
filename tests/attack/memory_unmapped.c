/*
 * timeout: 60
 * run-args: --memory 64M
 * expect: exit 137
 *
 * A guest that maps shared memory by the stub's own `syscall` instructions and drops its pages, so
 * that they are in no process's figures: --memory ends it all the same.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "stub_probe.h"

#define STEP  (1l << 20)
#define TOTAL (4096 * STEP)

TEST(drops_shared_pages) {
    const unsigned char *site = stub_syscall_site();
    char *memory;

    REQUIRE(site != NULL);
    memory = (char *)stub_call(site, SYS_mmap, 0, TOTAL, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1);
    REQUIRE((unsigned long)memory < -4095ul);
    for (long at = 0; at < TOTAL; at += STEP) {
        memset(memory + at, 1, STEP);
        CHECK_OK(madvise(memory + at, STEP, MADV_DONTNEED));
    }
    CHECK(false); /* 4 GiB were written */
}

TEST_MAIN()
