/*
 * timeout: 120
 * run-args: --user 0
 *
 * /proc, /sys and /dev against a hostile reader: offsets, sizes and positions from nowhere, writes
 * into everything, processes that end and exec while they are read, the memory of others and of the
 * stub through /proc/PID/mem, and a look for anything of the host's. Each call gets an errno or
 * Linux's answer; the kernel goes on serving.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "stub_probe.h"

static const off_t offsets[] = {0,        1,        -1,        4095,          4096,
                                INT_MAX,  UINT_MAX, INT64_MAX, INT64_MAX - 1, INT64_MIN,
                                1l << 47, -4096,    (1l << 62)};
#define OFFSETS (sizeof(offsets) / sizeof(offsets[0]))

static char buffer[1 << 16];
static int files_seen;
static char *volatile nowhere = (char *)8;

static void read_badly(int fd) {
    for (size_t i = 0; i < OFFSETS; i++) {
        (void)!pread(fd, buffer, sizeof(buffer), offsets[i]);
        (void)!pread(fd, buffer, 0, offsets[i]);
        (void)!pread(fd, nowhere, 100, offsets[i]);
        for (int whence = -1; whence < 6; whence++) {
            (void)lseek(fd, offsets[i], whence);
            (void)!read(fd, buffer, 3);
        }
        (void)syscall(SYS_getdents64, fd, buffer, i * 7);
        (void)syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
        (void)syscall(SYS_getdents64, fd, 8, sizeof(buffer));
    }
    for (unsigned command = 0x5400; command < 0x5470; command++)
        (void)ioctl(fd, command, buffer);
    for (int prot = 0; prot < 8; prot++) {
        void *map = mmap(NULL, 4096, prot, prot & 1 ? MAP_SHARED : MAP_PRIVATE, fd, 0);

        if (map != MAP_FAILED)
            munmap(map, 4096);
    }
    (void)!ftruncate(fd, 0);
    (void)!ftruncate(fd, INT64_MAX);
    (void)fsync(fd);
    (void)fchmod(fd, 0777);
    (void)fchown(fd, 1, 1);
}

/* Not what would rightly change this process, or wait for ever. */
static bool spared(const char *path) {
    static const char *const names[] = {"/hostname", "/domainname", "/oom_adj", "/oom_score_adj",
                                        "/mem",      "/tty",        "/console", "/ptmx"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(path + strlen(path) - strlen(names[i]), names[i]) == 0)
            return true;
    return strncmp(path, "/dev/shm", 8) == 0;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    char link[256];
    int fd;

    files_seen++;
    (void)!readlink(path, link, sizeof(link));
    if (S_ISLNK(st->st_mode) || spared(path))
        return 0;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0) {
        read_badly(fd);
        close(fd);
    }
    fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0) {
        memset(buffer, '9', sizeof(buffer));
        for (size_t size = 0; size < sizeof(buffer); size = size * 3 + 1)
            (void)!write(fd, buffer, size);
        for (size_t i = 0; i < OFFSETS; i++)
            (void)!pwrite(fd, "\0\n-x", 4, offsets[i]);
        (void)!write(fd, nowhere, 100);
        close(fd);
    }
    return 0;
}

TEST(every_file_is_read_and_written_badly) {
    REQUIRE_OK(nftw("/proc/self", visit, 16, FTW_PHYS));
    REQUIRE_OK(nftw("/proc/sys", visit, 16, FTW_PHYS));
    REQUIRE_OK(nftw("/sys", visit, 16, FTW_PHYS));
    REQUIRE_OK(nftw("/dev", visit, 16, FTW_PHYS));
    CHECK(files_seen > 150);
    check_kernel_serves();
}

TEST(names_are_not_made_or_taken) {
    static const char *const directories[] = {"/proc",       "/proc/self",      "/proc/self/fd",
                                              "/proc/sys",   "/proc/self/task", "/sys",
                                              "/sys/devices"};
    struct stat st;

    for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
        int fd = open(directories[i], O_RDONLY | O_DIRECTORY);

        REQUIRE(fd >= 0);
        CHECK(openat(fd, "made", O_CREAT | O_RDWR, 0666) < 0);
        CHECK(mkdirat(fd, "made", 0777) < 0);
        CHECK(symlinkat("x", fd, "made") < 0);
        CHECK(mknodat(fd, "made", S_IFCHR | 0666, 0x103) < 0);
        CHECK(linkat(AT_FDCWD, "/dev/null", fd, "made", 0) < 0);
        CHECK(open(directories[i], O_TMPFILE | O_RDWR, 0600) < 0);
        CHECK_ERR(fstatat(fd, "made", &st, 0), ENOENT);
        close(fd);
    }
    CHECK(rename("/proc/self", "/proc/other") < 0);
    CHECK(unlink("/proc/self/status") < 0);
    CHECK(rmdir("/proc/self") < 0);
}

/* ---- processes that end while they are looked at ---- */

static atomic_bool stop;

static void *look_at_everybody(void *arg) {
    static const char *const names[] = {"stat",    "status", "maps", "smaps", "cmdline",
                                        "environ", "exe",    "cwd",  "fd",    "fdinfo",
                                        "task",    "mounts", "comm", "io",    "limits"};
    char path[64], text[4096];

    while (!stop) {
        DIR *dir = opendir("/proc");

        for (struct dirent *e; dir && (e = readdir(dir));) {
            if (e->d_name[0] < '1' || e->d_name[0] > '9')
                continue;
            for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                int fd;

                snprintf(path, sizeof(path), "/proc/%.20s/%s", e->d_name, names[i]);
                (void)!readlink(path, text, sizeof(text));
                fd = open(path, O_RDONLY | O_NONBLOCK);
                if (fd >= 0) {
                    (void)!read(fd, text, sizeof(text));
                    (void)syscall(SYS_getdents64, fd, text, sizeof(text));
                    close(fd);
                }
            }
        }
        if (dir)
            closedir(dir);
    }
    return arg;
}

TEST(processes_end_and_exec_while_they_are_read) {
    pthread_t readers[2];

    for (int i = 0; i < 2; i++)
        REQUIRE_EQ(pthread_create(&readers[i], NULL, look_at_everybody, NULL), 0);
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            if (i % 2)
                execl("/bin/true", "true", NULL);
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    }
    stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    check_kernel_serves();
}

/* ---- memory ---- */

TEST(the_stub_is_not_in_mem) {
    unsigned char *stub = stub_find(), before[64];
    int fd = open("/proc/self/mem", O_RDWR);
    static const unsigned long places[] = {0, 4096, STUB_SLOTS, STUB_SLOTS + STUB_SLOT_STRIDE,
                                           STUB_STACKS};

    REQUIRE(stub != NULL);
    REQUIRE(fd >= 0);
    memcpy(before, stub, sizeof(before));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        off_t at = (off_t)(uintptr_t)stub + (off_t)places[i];

        CHECK_ERR(pread(fd, buffer, 64, at), EIO);
        CHECK_ERR(pwrite(fd, buffer, 64, at), EIO);
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct iovec mine = {buffer, 64}, theirs = {stub + places[i], 64};

        CHECK_ERR(process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0), EFAULT);
        CHECK_ERR(process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0), EFAULT);
        CHECK_ERR(process_vm_readv(getpid(), &theirs, 1, &mine, 1, 0), EFAULT);
        CHECK_ERR(process_vm_writev(getpid(), &theirs, 1, &mine, 1, 0), EFAULT);
    }
    CHECK_EQ(memcmp(before, stub, sizeof(before)), 0);
    for (size_t i = 0; i < OFFSETS; i++) {
        struct iovec mine = {buffer, 64}, theirs = {(void *)offsets[i], 64};

        CHECK(process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) < 0);
        CHECK(process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) < 0);
        CHECK(pread(fd, buffer, 64, offsets[i]) < 0);
        CHECK(pwrite(fd, buffer, 64, offsets[i]) < 0);
    }
    close(fd);
}

TEST(the_stub_is_in_no_list) {
    uintptr_t stub = (uintptr_t)stub_find();
    static const char *const names[] = {"/proc/self/maps", "/proc/self/smaps"};

    REQUIRE(stub != 0);
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(names[i], "re");
        unsigned long start, end;

        REQUIRE(file != NULL);
        while (fgets(buffer, sizeof(buffer), file))
            if (sscanf(buffer, "%lx-%lx ", &start, &end) == 2)
                CHECK(end <= stub || start > stub);
        fclose(file);
    }
}

TEST(memory_of_another_user) {
    int ends[2], fd;
    char path[64];
    pid_t victim, attacker;

    REQUIRE_OK(pipe(ends));
    victim = fork();
    if (victim == 0) {
        (void)!read(ends[0], buffer, 1);
        _exit(0);
    }
    snprintf(path, sizeof(path), "/proc/%d/mem", victim);
    attacker = fork();
    if (attacker == 0) {
        if (setgid(4321) || setuid(4321))
            _exit(1);
        fd = open(path, O_RDWR);
        _exit(fd < 0 && errno == EACCES ? 0 : 2);
    }
    CHECK_CHILD_OK(attacker);
    /* Opened before it ends: then there is nothing more to read. */
    fd = open(path, O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_EQ(pread(fd, buffer, 8, (off_t)(uintptr_t)&files_seen), 8);
    kill(victim, SIGKILL);
    REQUIRE_EQ(waitpid(victim, NULL, 0), victim);
    CHECK_EQ(pread(fd, buffer, 8, (off_t)(uintptr_t)&files_seen), 0);
    CHECK_EQ(pwrite(fd, buffer, 8, (off_t)(uintptr_t)&files_seen), 0);
    close(fd);
    close(ends[0]);
    close(ends[1]);
}

/* ---- the host ---- */

TEST(nothing_of_the_host_shows) {
    DIR *dir = opendir("/proc");
    int processes = 0;
    struct stat st;

    REQUIRE(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));)
        processes += e->d_name[0] >= '1' && e->d_name[0] <= '9';
    closedir(dir);
    CHECK_EQ(processes, 1);
    for (int pid = 1; pid < 5000; pid++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d", pid);
        if (stat(path, &st) == 0)
            CHECK_EQ(pid, getpid());
    }
    int fd = open("/proc/cmdline", O_RDONLY);
    REQUIRE(fd >= 0);
    CHECK_EQ(read(fd, buffer, sizeof(buffer)), 1);
    close(fd);
    FILE *file = fopen("/proc/mounts", "re");
    REQUIRE(file != NULL);
    while (fgets(buffer, sizeof(buffer), file)) {
        CHECK(strstr(buffer, "/dev/sd") == NULL);
        CHECK(strstr(buffer, "/dev/vd") == NULL);
        CHECK(strstr(buffer, "ext4") == NULL);
    }
    fclose(file);
    /* Up and out through what leads into the tree: the root is the root. */
    struct stat root;
    REQUIRE_OK(stat("/", &root));
    REQUIRE_OK(stat("/proc/self/root/proc/self/cwd/../../../../../../..", &st));
    CHECK_EQ(st.st_ino, root.st_ino);
    CHECK_EQ(st.st_dev, root.st_dev);
}

TEST_MAIN()
