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

static long map_by(const unsigned char *site, long flags) {
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = -1;
    register long r9 __asm__("r9") = 0;
    long result = SYS_mmap;

    __asm__ volatile("call *%1"
                     : "+a"(result)
                     : "r"(site), "D"(NULL), "S"(TOTAL), "d"(PROT_READ | PROT_WRITE), "r"(r10),
                       "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

TEST(drops_shared_pages) {
    const unsigned char *site = stub_syscall_site();
    char *memory;

    REQUIRE(site != NULL);
    memory = (char *)map_by(site, MAP_SHARED | MAP_ANONYMOUS);
    REQUIRE((unsigned long)memory < -4095ul);
    for (long at = 0; at < TOTAL; at += STEP) {
        memset(memory + at, 1, STEP);
        CHECK_OK(madvise(memory + at, STEP, MADV_DONTNEED));
    }
    CHECK(false); /* 4 GiB were written */
}

TEST_MAIN()
