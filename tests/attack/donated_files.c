/*
 * timeout: 120
 *
 * Descriptors that the guest reads and writes by itself (class D), in the hands of a guest that
 * does not keep to the rules: it reads, writes, seeks and closes every host number by the stub's
 * own `syscall` instructions, and claims to use numbers that it does not. What it may reach is what
 * it was given; others that share a file or a pipe with it go on as if it were not there.
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "host/slot.h"
#include "stub_probe.h"

static unsigned char *stub;

/* Calls the host by way of a `syscall; ret` of the stub. */
static long host(const unsigned char *site, long number, long a, long b, long c) {
    register long r10 __asm__("r10") = 0;
    long result = number;

    __asm__ volatile("call *%1"
                     : "+a"(result)
                     : "r"(site), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static const unsigned char *find_site(void) {
    for (size_t at = 0; at + 2 < STUB_TEXT; at++) {
        if (stub[at] == 0x0f && stub[at + 1] == 0x05 && stub[at + 2] == 0xc3) {
            return stub + at;
        }
    }
    return NULL;
}

static void warm_up(int in, int out) {
    char bytes[16];

    for (int i = 0; i < 10; i++) {
        CHECK_EQ(write(out, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
        CHECK_EQ(read(in, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    }
}

/* The files are open for reading alone: whatever number they have in this process, none can be
 * written to, and the end of the pipe that was closed is not there. */
static void use_every_number(int file) {
    const unsigned char *site = find_site();
    struct stat before, after;
    int files = 0;
    char byte;

    REQUIRE(site != NULL);
    REQUIRE_OK(fstat(file, &before));
    for (int number = 1; number < 64; number++) {
        bool is_file = host(site, SYS_lseek, number, 0, SEEK_SET) == 0;
        long written = host(site, SYS_write, number, (long)"escaped", 7);

        /* One of them is the control socket, which takes what its own guest writes. */
        CHECK(written < 0 || !is_file);
        CHECK(host(site, SYS_pwrite64, number, (long)"escaped", 7) < 0);
        files += is_file;
        (void)host(site, SYS_pread64, number, (long)&byte, 1);
        (void)host(site, SYS_close, number, 0, 0);
    }
    CHECK(files > 0); /* else nothing was tried */
    /* Its own descriptor is the kernel's to serve now. */
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    CHECK_EQ(read(file, &byte, 1), 1);
    CHECK_OK(fstat(file, &after));
    CHECK_EQ(before.st_size, after.st_size);
}

TEST(numbers_behind_the_kernels_back) {
    int file = open("/proc/self/exe", O_RDONLY);
    pid_t pid;
    char bytes[16];

    block_sigchld();
    stub = stub_find();
    REQUIRE(stub != NULL);
    REQUIRE_OK(file);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(pread(file, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        use_every_number(file);
        CHILD_EXIT();
    }
    CHECK_EQ(wait_or_kill(pid, 20000), 0);
    CHECK_EQ(pread(file, bytes, sizeof(bytes), 0), (ssize_t)sizeof(bytes));
    CHECK_OK(close(file));
    check_kernel_serves();
}

/* Says of every number that it is in use, all the time. */
static void claim(void) {
    for (;;) {
        for (unsigned slot = 0; slot < 4; slot++) {
            volatile unsigned *mark =
                (volatile unsigned *)(stub + STUB_SLOTS + slot * STUB_SLOT_STRIDE +
                                      offsetof(struct slot, direct));

            for (unsigned number = 1; number < 16; number++) {
                *mark = number + 1;
            }
        }
    }
}

TEST(claims_do_not_stop_others) {
    int ends[2], file = open("/proc/self/exe", O_RDONLY);
    char bytes[16], *volatile nowhere = (char *)16;
    pid_t pid;

    block_sigchld();
    stub = stub_find();
    REQUIRE(stub != NULL);
    REQUIRE_OK(file);
    REQUIRE_OK(pipe(ends));
    warm_up(ends[0], ends[1]);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(read(file, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        (void)read(file, bytes, sizeof(bytes));
        close(ends[1]);
        claim();
    }
    /* The kernel takes the position back (a bad address is its business), whoever claims what. */
    for (int i = 0; i < 5; i++) {
        CHECK_ERR(read(file, nowhere, 8), EFAULT);
        CHECK_EQ(read(file, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    }
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_OK(close(ends[0]));
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(wait_or_kill(pid, 20000), SIGKILL);
    CHECK_OK(close(ends[1]));
    CHECK_OK(close(file));
    check_kernel_serves();
}

TEST_MAIN()
