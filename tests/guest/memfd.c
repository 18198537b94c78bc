/* memfd_create(2) and file seals, fcntl(2). */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC        16u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)

TEST(memfd_seals) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    REQUIRE_OK(fd);
    CHECK_OK(ftruncate(fd, PAGE));
    char *p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY); /* a writable map of it is there */
    munmap(p, PAGE);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK));
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    CHECK_ERR(write(fd, "x", 1), EPERM);
    CHECK_ERR(ftruncate(fd, 2 * PAGE), EPERM);
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0), EPERM);
    p = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    munmap(p, PAGE);
    close(fd);
    fd = memfd_create("open", 0);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    close(fd);
    CHECK_ERR(memfd_create("x", 0x8000), EINVAL);
}

TEST(memfd_seals_of_size) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING);

    REQUIRE_OK(fd);
    CHECK_OK(ftruncate(fd, 2 * PAGE));
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CHECK_ERR(ftruncate(fd, PAGE), EPERM);
    CHECK_OK(ftruncate(fd, 2 * PAGE));
    CHECK_OK(ftruncate(fd, 3 * PAGE));
    CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    CHECK_ERR(ftruncate(fd, 4 * PAGE), EPERM);
    CHECK_ERR(pwrite(fd, "x", 1, 3 * PAGE), EPERM);
    CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, 0), EPERM);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, 0x1000), EINVAL);
    close(fd);
}

TEST(memfd_reopened) {
    int fd = memfd_create("sealed", MFD_ALLOW_SEALING), other;
    char path[40];

    REQUIRE_OK(fd);
    CHECK_OK(ftruncate(fd, PAGE));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    other = open(path, O_RDONLY);
    REQUIRE_OK(other);
    CHECK_ERR(fcntl(other, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CHECK_EQ(fcntl(other, F_GET_SEALS), F_SEAL_SHRINK);
    CHECK_ERR(open(path, O_RDWR | O_TRUNC), EPERM);
    close(other);
    close(fd);
    fd = open("/etc/passwd", O_RDONLY);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), EPERM);
    close(fd);
}

TEST(memfd_sealed_execute_bits) {
    int fd = memfd_create("data", MFD_NOEXEC_SEAL);
    struct stat st;

    if (fd < 0 && errno == EINVAL)
        return; /* Linux before 6.3 */
    REQUIRE_OK(fd);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 0666);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_EXEC);
    CHECK_ERR(fchmod(fd, 0700), EPERM);
    CHECK_OK(fchmod(fd, 0600));
    CHECK_EQ(write(fd, "x", 1), 1);
    close(fd);

    fd = memfd_create("program", MFD_ALLOW_SEALING | MFD_EXEC);
    REQUIRE_OK(fd);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 0777);
    CHECK_OK(ftruncate(fd, PAGE));
    char *p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC), EBUSY); /* which would seal writing too */
    munmap(p, PAGE);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_EXEC));
    CHECK_EQ(fcntl(fd, F_GET_SEALS),
             F_SEAL_EXEC | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
    CHECK_ERR(fchmod(fd, 0600), EPERM);
    CHECK_OK(fchmod(fd, 0711));
    CHECK_ERR(pwrite(fd, "x", 1, 0), EPERM);
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0), EPERM);
    close(fd);
}

TEST_MAIN()
