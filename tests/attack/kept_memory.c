/*
 * timeout: 60
 *
 * A guest that keeps a map of a file in memory behind the kernel's back, by the stub's own
 * `syscall` instructions, when the file has been closed and removed: no page of it is left, and
 * there will be no new one.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "stub_probe.h"

#define PAGE 4096ul
#define SIZE (64 * PAGE)

static sigjmp_buf faulted;

static void on_fault(int signal) {
    siglongjmp(faulted, signal);
}

/* The signal that reading there gives, or 0. */
static int touch(const volatile char *at) {
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER}, old;
    int signal;

    sigaction(SIGBUS, &action, &old);
    signal = sigsetjmp(faulted, 1);
    if (signal == 0)
        (void)*at;
    sigaction(SIGBUS, &old, NULL);
    return signal;
}

/* A file of SIZE that this process writes by itself; where the host has mapped it, unseen. */
static char *map_unseen(const unsigned char *site, int fd) {
    static char bytes[SIZE];

    CHECK_EQ(write(fd, bytes, SIZE), (ssize_t)SIZE);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(pwrite(fd, "kept", 4, 0), 4);
    for (int number = 1; number < 64; number++) {
        long map;

        if (stub_call(site, SYS_pread64, number, (long)bytes, 4) != 4 || memcmp(bytes, "kept", 4))
            continue;
        map = stub_call(site, SYS_mmap, 0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, number);
        if ((unsigned long)map < -4095ul)
            return (char *)map;
    }
    return NULL;
}

static void keep(int fd) {
    const unsigned char *site = stub_syscall_site();
    char *map;

    REQUIRE_OK(fd);
    REQUIRE(site != NULL);
    map = map_unseen(site, fd);
    REQUIRE(map != NULL); /* else nothing was tried */
    CHECK_EQ(touch(map), 0);
    CHECK_OK(close(fd));
    CHECK_EQ(touch(map), SIGBUS);
    CHECK_EQ(touch(map + SIZE - PAGE), SIGBUS);
    check_kernel_serves();
}

TEST(removed_file) {
    int fd = open("kept", O_RDWR | O_CREAT | O_EXCL, 0600);

    CHECK_OK(unlink("kept"));
    keep(fd);
}

TEST(memfd) {
    keep(memfd_create("kept", 0));
}

TEST_MAIN()
