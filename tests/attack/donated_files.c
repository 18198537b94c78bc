/*
 * timeout: 120
 * run-args: --bind .:$TMPDIR --user 0
 *
 * Descriptors that the guest reads and writes by itself (class D), in the hands of a guest that
 * does not keep to the rules: it reads, writes, seeks and closes every host number by the stub's
 * own `syscall` instructions, and claims to use numbers that it does not. What it may reach is what
 * it was given; others that share a file or a pipe with it go on as if it were not there.
 */
#include <fcntl.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "bystander.h"
#include "host/slot.h"
#include "stub_probe.h"

static unsigned char *stub;

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
    const unsigned char *site = stub_syscall_site_of(stub);
    struct stat before, after;
    int files = 0;
    char byte;

    REQUIRE(site != NULL);
    REQUIRE_OK(fstat(file, &before));
    for (int number = 0; number < 64; number++) {
        bool is_file = stub_call(site, SYS_lseek, number, 0, SEEK_SET) == 0;
        long written = stub_call(site, SYS_write, number, (long)"escaped", 7);

        /* One of them is the control socket, which takes what its own guest writes. */
        CHECK(written < 0 || !is_file);
        CHECK(stub_call(site, SYS_pwrite64, number, (long)"escaped", 7) < 0);
        files += is_file;
        (void)stub_call(site, SYS_pread64, number, (long)&byte, 1);
        (void)stub_call(site, SYS_close, number, 0, 0);
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
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    REQUIRE_OK(file);
    bystander_start();
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
    bystander_check();
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
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    REQUIRE_OK(file);
    REQUIRE_OK(pipe(ends));
    bystander_start();
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
    bystander_check();
    check_kernel_serves();
}

/* The host's number of a descriptor, as the kernel has told the stub; -1: it is not donated. */
static int number_of(int fd) {
    const unsigned char *public = stub + STUB_PUBLIC_OFFSET;
    const struct slot_fd *table =
        (const struct slot_fd *)(public + ((const struct slot_public *)public)->table);

    return table[fd].word ? (int)(table[fd].word & SLOT_FD_NUMBER) : -1;
}

/* Has its stub close nothing, whatever the kernel orders. */
static void *keep(void *arg) {
    volatile struct slot *slots = (volatile struct slot *)(stub + STUB_SLOTS);

    for (;;) {
        slots->close_count = 0;
    }
    return arg;
}

#define PIPES 8

/* Closes pipes, and tells whether it has kept the host's number of one such end. */
static void keep_ends(int pipes[PIPES][2], int end, int told) {
    const unsigned char *site = stub_syscall_site_of(stub);
    pthread_t threads[2];
    char kept = '-';

    for (int i = 0; i < 2; i++) {
        if (!site || pthread_create(&threads[i], NULL, keep, NULL)) {
            _exit(1);
        }
    }
    for (int i = 0; i < PIPES; i++) {
        int number = number_of(pipes[i][end]);

        close(pipes[i][0]);
        close(pipes[i][1]);
        for (int calls = 0; calls < 10; calls++) {
            (void)syscall(SYS_getppid);
            (void)syscall(SYS_dup, -1);
        }
        if (number >= 0 && stub_call(site, SYS_lseek, number, 0, SEEK_CUR) == -ESPIPE) {
            kept = 'k';
        }
    }
    (void)!write(told, &kept, 1);
    for (;;) {
        pause();
    }
}

static bool try_to_keep(int end) {
    int pipes[PIPES][2], told[2];
    char kept, byte;
    pid_t pid;

    REQUIRE_OK(pipe(told));
    for (int i = 0; i < PIPES; i++) {
        REQUIRE_OK(pipe(pipes[i]));
        warm_up(pipes[i][0], pipes[i][1]);
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        keep_ends(pipes, end, told[1]);
    }
    CHECK_EQ(read(told[0], &kept, 1), 1);
    for (int i = 0; i < PIPES; i++) {
        CHECK_OK(close(pipes[i][end]));
        if (end) {
            CHECK_EQ(read(pipes[i][0], &byte, 1), 0);
        } else {
            CHECK_ERR(write(pipes[i][1], "x", 1), EPIPE);
        }
        CHECK_OK(close(pipes[i][!end]));
    }
    CHECK_OK(kill(pid, SIGKILL));
    (void)wait_or_kill(pid, 20000);
    CHECK_OK(close(told[0]));
    CHECK_OK(close(told[1]));
    return kept == 'k';
}

/* An end of a pipe has gone when every guest has closed it, whatever a stub still has. */
TEST(kept_ends_of_pipes) {
    block_sigchld();
    signal(SIGPIPE, SIG_IGN);
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    for (int end = 0; end < 2; end++) {
        while (!try_to_keep(end) && !guest_test_failures) {
        }
    }
    check_kernel_serves();
}

static const char *const places[] = {".", "/tmp"};

/* A file of eight bytes, open with these flags and hot. */
static int hot_file(const char *dir, int flags) {
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "%s/donated_files", dir);
    fd = open(path, flags | O_CREAT | O_TRUNC, 0644);
    REQUIRE_OK(fd);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pwrite(fd, "original", 8, 0), 8);
    }
    if (flags & O_APPEND) {
        CHECK_OK(ftruncate(fd, 8));
    }
    return fd;
}

static void done(int fd, const char *dir) {
    char path[64];

    snprintf(path, sizeof(path), "%s/donated_files", dir);
    CHECK_OK(close(fd));
    CHECK_OK(unlink(path));
}

/* Writes to every number at an offset. How many files took it; -1: there is none at all. */
static int write_every_number(off_t offset) {
    const unsigned char *site = stub_syscall_site_of(stub);
    int files = 0, written = 0;

    REQUIRE(site != NULL);
    for (int number = 0; number < 64; number++) {
        files += stub_call(site, SYS_lseek, number, 0, SEEK_CUR) >= 0;
        written += stub_call(site, SYS_pwrite64, number, (long)"overwrit", 8, offset) == 8;
    }
    return files ? written : -1;
}

/* A file that is open for appending can be appended to, by whatever call. */
TEST(appends_alone) {
    block_sigchld();
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    for (size_t place = 0; place < 2; place++) {
        int fd = hot_file(places[place], O_RDWR | O_APPEND);
        char bytes[8];
        pid_t pid = fork();

        REQUIRE_OK(pid);
        if (pid == 0) {
            CHECK_EQ(write_every_number(0), 1);
            CHILD_EXIT();
        }
        CHECK_EQ(wait_or_kill(pid, 20000), 0);
        CHECK_EQ(pread(fd, bytes, 8, 0), 8);
        CHECK(memcmp(bytes, "original", 8) == 0);
        CHECK_EQ(pread(fd, bytes, 8, 8), 8);
        CHECK(memcmp(bytes, "overwrit", 8) == 0);
        done(fd, places[place]);
    }
    check_kernel_serves();
}

/* What RLIMIT_FSIZE has been set for, before it runs what it does not trust, has no number that
 * could go beyond. */
TEST(file_size_limit) {
    struct rlimit limit = {4096, 4096};

    block_sigchld();
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    for (size_t place = 0; place < 2; place++) {
        int fd = hot_file(places[place], O_RDWR);
        struct stat stat;
        pid_t pid = fork();

        REQUIRE_OK(pid);
        if (pid == 0) {
            int exe = open("/proc/self/exe", O_RDONLY);

            CHECK_EQ(write_every_number(0), 1); /* else nothing is tried below */
            CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
            for (int i = 0; i < 8; i++) {
                CHECK_EQ(pwrite(fd, "original", 8, 0), 8);
                CHECK_EQ(pread(exe, &stat, 8, 0), 8);
            }
            CHECK_EQ(write_every_number(1 << 20), 0);
            CHILD_EXIT();
        }
        CHECK_EQ(wait_or_kill(pid, 20000), 0);
        CHECK_OK(fstat(fd, &stat));
        CHECK_EQ(stat.st_size, 8);
        done(fd, places[place]);
    }
    check_kernel_serves();
}

/* Nor does a file on a tmpfs with a size limit. */
TEST(tmpfs_limit) {
    struct stat stat;
    int fd;
    pid_t pid;

    block_sigchld();
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    CHECK(mkdir("/tmp/limited", 0755) == 0 || errno == EEXIST);
    REQUIRE_OK(mount("none", "/tmp/limited", "tmpfs", 0, "size=65536"));
    fd = hot_file("/tmp/limited", O_RDWR);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(pread(fd, &stat, 8, 0), 8);
    }
    pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0) {
        CHECK_EQ(write_every_number(1 << 20), 0);
        CHILD_EXIT();
    }
    CHECK_EQ(wait_or_kill(pid, 20000), 0);
    CHECK_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_size, 8);
    CHECK_OK(close(fd));
    check_kernel_serves();
}

TEST_MAIN()
