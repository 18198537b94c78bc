/*
 * mmap(2) of files: private and shared, coherence with read and write, rights, truncation under a
 * map (SIGBUS), msync(2).
 */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096UL
#define RW   (PROT_READ | PROT_WRITE)

static char path[64];

static int make_file(size_t size) {
    snprintf(path, sizeof path, "mmap_file.%d", (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (size_t i = 0; fd >= 0 && i < size; i += PAGE) {
        char page[PAGE];
        memset(page, 'a' + (int)(i / PAGE), PAGE);
        if (write(fd, page, PAGE) != (ssize_t)PAGE)
            return -1;
    }
    return fd;
}

static sigjmp_buf fault_return;
static volatile siginfo_t fault_info;

static void on_fault(int signo, siginfo_t *info, void *context) {
    fault_info = *info;
    siglongjmp(fault_return, signo);
}

static int touch(volatile char *p) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    int signo = sigsetjmp(fault_return, 1);
    if (signo == 0)
        (void)*p;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    return signo;
}

TEST(private_does_not_reach_the_file) {
    int fd = make_file(3 * PAGE);
    REQUIRE(fd >= 0);
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, PAGE);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ(p[0], 'b');
    CHECK_EQ(p[PAGE], 'c');
    p[0] = 'X';
    char c = 0;
    CHECK_EQ(pread(fd, &c, 1, PAGE), 1);
    CHECK_EQ(c, 'b');
    munmap(p, 2 * PAGE);
    close(fd);
    unlink(path);
}

TEST(shared_and_write_see_each_other) {
    int fd = make_file(2 * PAGE);
    REQUIRE(fd >= 0);
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    char *q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
    REQUIRE(p != MAP_FAILED && q != MAP_FAILED);
    p[PAGE + 5] = 'Z';
    CHECK_EQ(q[5], 'Z');
    char c = 0;
    CHECK_EQ(pread(fd, &c, 1, PAGE + 5), 1);
    CHECK_EQ(c, 'Z');
    CHECK_EQ(pwrite(fd, "Y", 1, 7), 1);
    CHECK_EQ(p[7], 'Y');
    CHECK_OK(msync(p, 2 * PAGE, MS_SYNC));
    CHECK_OK(msync(p, 2 * PAGE, MS_ASYNC));
    CHECK_ERR(msync(p, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
    CHECK_ERR(msync(p + 1, PAGE, MS_SYNC), EINVAL);
    close(fd); /* the mapping outlives the descriptor */
    CHECK_EQ(p[7], 'Y');
    pid_t pid = fork();
    if (pid == 0) {
        p[9] = 'W';
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(p[9], 'W');
    munmap(p, 2 * PAGE);
    CHECK_ERR(msync(p, PAGE, MS_SYNC), ENOMEM);
    munmap(q, PAGE);
    unlink(path);
}

TEST(rights_of_the_descriptor) {
    int fd = make_file(PAGE);
    REQUIRE(fd >= 0);
    int read_only = open(path, O_RDONLY), write_only = open(path, O_WRONLY);
    int path_only = open(path, O_PATH), dir = open(".", O_RDONLY | O_DIRECTORY);
    CHECK_ERR((long)mmap(NULL, PAGE, RW, MAP_SHARED, read_only, 0), EACCES);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, write_only, 0), EACCES);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, path_only, 0), EBADF);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100), EINVAL);
    char *p = mmap(NULL, PAGE, RW, MAP_PRIVATE, read_only, 0);
    CHECK(p != MAP_FAILED);
    p[0] = 1;
    munmap(p, PAGE);
    p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 0);
    CHECK(p != MAP_FAILED);
    CHECK_ERR(mprotect(p, PAGE, RW), EACCES);
    CHECK_EQ(p[0], 'a');
    munmap(p, PAGE);
    p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK_OK(mprotect(p, PAGE, RW));
    p[0] = 'M';
    char c = 0;
    CHECK_EQ(pread(read_only, &c, 1, 0), 1);
    CHECK_EQ(c, 'M');
    munmap(p, PAGE);
    int pipes[2];
    CHECK_OK(pipe(pipes));
    CHECK_ERR((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, pipes[0], 0), ENODEV);
    close(pipes[0]);
    close(pipes[1]);
    close(read_only);
    close(write_only);
    close(path_only);
    close(dir);
    close(fd);
    unlink(path);
}

TEST(beyond_the_end) {
    int fd = make_file(PAGE);
    REQUIRE(fd >= 0);
    CHECK_OK(ftruncate(fd, 100));
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ(p[99], 'a');
    CHECK_EQ(p[100], 0); /* the rest of the last page reads as zeros */
    CHECK_EQ(touch(p + PAGE), SIGBUS);
    CHECK_EQ(fault_info.si_code, BUS_ADRERR);
    CHECK((char *)fault_info.si_addr == p + PAGE);
    CHECK_OK(ftruncate(fd, 2 * PAGE)); /* grows under the map */
    CHECK_EQ(touch(p + PAGE), 0);
    p[PAGE] = 'g';
    CHECK_OK(ftruncate(fd, 0)); /* and is cut */
    CHECK_EQ(touch(p), SIGBUS);
    munmap(p, 2 * PAGE);
    close(fd);
    unlink(path);
}

TEST(memfd) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    REQUIRE_OK(fd);
    CHECK_OK(ftruncate(fd, 2 * PAGE));
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ(pwrite(fd, "hello", 5, PAGE), 5);
    CHECK_EQ(memcmp(p + PAGE, "hello", 5), 0);
    munmap(p, 2 * PAGE);
    close(fd);
}

TEST(dev_zero) {
    int fd = open("/dev/zero", O_RDWR);
    REQUIRE_OK(fd);
    char *p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
    REQUIRE(p != MAP_FAILED);
    CHECK_EQ(p[0], 0);
    p[PAGE] = 3;
    munmap(p, 2 * PAGE);
    close(fd);
}

TEST_MAIN()
