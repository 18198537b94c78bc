/*
 * timeout: 60
 * run-args: --memory 64M
 * expect: exit 137
 *
 * A guest that fills a file in memory by the stub's own `syscall` instructions, so that the kernel
 * hears of no write: --memory ends it all the same.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "stub_probe.h"

#define STEP (1l << 20)

static long pwrite_by(const unsigned char *site, long fd, const void *bytes, long size, long at) {
    register long r10 __asm__("r10") = at;
    long result = SYS_pwrite64;

    __asm__ volatile("call *%1"
                     : "+a"(result)
                     : "r"(site), "D"(fd), "S"(bytes), "d"(size), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

TEST(fills_a_file) {
    static char bytes[STEP];
    const unsigned char *site = stub_syscall_site();
    int fd = open("/tmp/big", O_RDWR | O_CREAT, 0600), number = 0;

    REQUIRE_OK(fd);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(write(fd, bytes, 1), 1);
    }
    REQUIRE(site != NULL);
    while (number < 64 && pwrite_by(site, number, bytes, STEP, 0) != STEP) {
        number++;
    }
    REQUIRE(number < 64);
    for (long at = STEP; at < 4096 * STEP; at += STEP) {
        CHECK_EQ(pwrite_by(site, number, bytes, STEP, at), STEP);
    }
    CHECK(false); /* 4 GiB were written */
}

TEST_MAIN()
