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

TEST(fills_a_file) {
    static char bytes[STEP];
    const unsigned char *site = stub_syscall_site();
    int fd = open("/tmp/big", O_RDWR | O_CREAT, 0600), number = 0;

    REQUIRE_OK(fd);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(write(fd, bytes, 1), 1);
    }
    REQUIRE(site != NULL);
    while (number < 64 && stub_call(site, SYS_pwrite64, number, (long)bytes, STEP, 0) != STEP) {
        number++;
    }
    REQUIRE(number < 64);
    for (long at = STEP; at < 4096 * STEP; at += STEP) {
        CHECK_EQ(stub_call(site, SYS_pwrite64, number, (long)bytes, STEP, at), STEP);
    }
    CHECK(false); /* 4 GiB were written */
}

TEST_MAIN()
