/*
 * What /proc and /sys tell of the machine and the kernel, and the memory devices of /dev: formats,
 * and agreement with the calls that tell the same. proc(5), sysfs(5), null(4), random(4).
 */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

static char text[1 << 20];

static ssize_t slurp(const char *path) {
    int fd = open(path, O_RDONLY);
    size_t length = 0;
    ssize_t got = -1;

    text[0] = 0;
    if (fd < 0)
        return -1;
    while (length < sizeof(text) - 1 &&
           (got = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
        length += (size_t)got;
    close(fd);
    text[length] = 0;
    return got < 0 ? -1 : (ssize_t)length;
}

static char *line(const char *name) {
    for (char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, name, strlen(name)) == 0)
            return at;
    return NULL;
}

static int lines_with(const char *name) {
    int count = 0;

    for (char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        count += strncmp(at, name, strlen(name)) == 0;
    return count;
}

TEST(uptime_is_the_clock_s) {
    double up, idle;
    struct timespec now;

    REQUIRE(slurp("/proc/uptime") > 0);
    CHECK_EQ(sscanf(text, "%lf %lf\n", &up, &idle), 2);
    clock_gettime(CLOCK_BOOTTIME, &now);
    CHECK(up <= (double)now.tv_sec + 1);
    CHECK(up >= (double)now.tv_sec - 2);
}

TEST(meminfo_names) {
    static const char *const names[] = {
        "MemTotal:",     "MemFree:",     "MemAvailable:", "Buffers:",   "Cached:",
        "SwapCached:",   "Active:",      "Inactive:",     "SwapTotal:", "SwapFree:",
        "Dirty:",        "AnonPages:",   "Mapped:",       "Shmem:",     "Slab:",
        "SReclaimable:", "CommitLimit:", "Committed_AS:"};
    const char *last = text;
    unsigned long long total, available;

    REQUIRE(slurp("/proc/meminfo") > 0);
    CHECK(line("MemTotal:") == text);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *at = line(names[i]);

        CHECK(at != NULL);
        CHECK(at >= last);
        if (at)
            last = at;
    }
    CHECK_EQ(sscanf(text, "MemTotal: %llu kB\n", &total), 1);
    CHECK_EQ(sscanf(line("MemAvailable:"), "MemAvailable: %llu kB\n", &available), 1);
    CHECK(available <= total);
    CHECK_EQ(total / 4, (unsigned long long)sysconf(_SC_PHYS_PAGES));
}

TEST(processors) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned first;
    cpu_set_t set;
    int in_stat = 0, directories = 0;

    REQUIRE(slurp("/proc/cpuinfo") > 0);
    CHECK_EQ(lines_with("processor\t: "), online);
    CHECK_EQ(lines_with("flags\t\t: "), online);
    REQUIRE(slurp("/proc/stat") > 0);
    CHECK_EQ(strncmp(text, "cpu  ", 5), 0);
    for (char *at = strstr(text, "\ncpu"); at; at = strstr(at + 1, "\ncpu"))
        in_stat++;
    CHECK_EQ(in_stat, online);
    CHECK(line("btime ") != NULL);
    CHECK(line("processes ") != NULL);
    CHECK(line("procs_running ") != NULL);
    REQUIRE(slurp("/sys/devices/system/cpu/online") > 0);
    CHECK_EQ(sscanf(text, "%u", &first), 1);
    CHECK_EQ(text[strlen(text) - 1], '\n');
    REQUIRE_OK(sched_getaffinity(0, sizeof(set), &set));
    CHECK(CPU_COUNT(&set) >= 1);
    CHECK(CPU_COUNT(&set) <= online);
    CHECK(slurp("/sys/devices/system/cpu/possible") > 0);
    CHECK(slurp("/sys/devices/system/cpu/cpu0/topology/core_id") > 0);
    DIR *dir = opendir("/sys/devices/system/cpu");
    REQUIRE(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        unsigned cpu;
        char rest;

        directories += sscanf(e->d_name, "cpu%u%c", &cpu, &rest) == 1;
    }
    closedir(dir);
    CHECK(directories >= online);
}

TEST(boot_time_and_now) {
    long long boot;

    REQUIRE(slurp("/proc/stat") > 0);
    REQUIRE(line("btime ") != NULL);
    boot = atoll(line("btime ") + 6);
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    CHECK(llabs(boot + up.tv_sec - (long long)time(NULL)) <= 2);
}

TEST(loadavg) {
    double a, b, c;
    unsigned running, total;
    int last;

    REQUIRE(slurp("/proc/loadavg") > 0);
    CHECK_EQ(sscanf(text, "%lf %lf %lf %u/%u %d\n", &a, &b, &c, &running, &total, &last), 6);
    CHECK(running >= 1);
    CHECK(total >= running);
    CHECK(last >= getpid() || last < getpid());
}

TEST(names_are_those_of_uname) {
    struct utsname name;
    char expected[sizeof(name.release) + 2];

    REQUIRE_OK(uname(&name));
    snprintf(expected, sizeof(expected), "%s\n", name.sysname);
    REQUIRE(slurp("/proc/sys/kernel/ostype") > 0);
    CHECK_STREQ(text, expected);
    snprintf(expected, sizeof(expected), "%s\n", name.release);
    REQUIRE(slurp("/proc/sys/kernel/osrelease") > 0);
    CHECK_STREQ(text, expected);
    snprintf(expected, sizeof(expected), "%s\n", name.version);
    REQUIRE(slurp("/proc/sys/kernel/version") > 0);
    CHECK_STREQ(text, expected);
    snprintf(expected, sizeof(expected), "%s\n", name.nodename);
    REQUIRE(slurp("/proc/sys/kernel/hostname") > 0);
    CHECK_STREQ(text, expected);
    REQUIRE(slurp("/proc/version") > 0);
    CHECK_EQ(strncmp(text, "Linux version ", 14), 0);
    CHECK(strstr(text, name.release) != NULL);
}

TEST(numbers_in_sys) {
    static const char *const names[] = {
        "kernel/pid_max",
        "kernel/threads-max",
        "kernel/ngroups_max",
        "kernel/cap_last_cap",
        "vm/overcommit_memory",
        "vm/max_map_count",
        "vm/mmap_min_addr",
        "fs/file-max",
        "fs/nr_open",
        "fs/pipe-max-size",
        "fs/inotify/max_user_watches",
        "kernel/random/entropy_avail",
        "kernel/randomize_va_space",
        "net/core/somaxconn",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        unsigned long long value;

        snprintf(path, sizeof(path), "/proc/sys/%s", names[i]);
        CHECK(slurp(path) > 0);
        CHECK_EQ(sscanf(text, "%llu\n", &value), 1);
        CHECK_EQ(text[strlen(text) - 1], '\n');
    }
    REQUIRE(slurp("/proc/sys/kernel/ngroups_max") > 0);
    CHECK_EQ(atol(text), sysconf(_SC_NGROUPS_MAX));
}

TEST(random_ids) {
    char first[64];

    REQUIRE(slurp("/proc/sys/kernel/random/uuid") == 37);
    strcpy(first, text);
    CHECK_EQ(first[14], '4');
    REQUIRE(slurp("/proc/sys/kernel/random/uuid") == 37);
    CHECK(strcmp(first, text) != 0);
    REQUIRE(slurp("/proc/sys/kernel/random/boot_id") == 37);
    strcpy(first, text);
    REQUIRE(slurp("/proc/sys/kernel/random/boot_id") == 37);
    CHECK_STREQ(text, first);
}

TEST(filesystems_knows_what_is_mounted) {
    REQUIRE(slurp("/proc/filesystems") > 0);
    CHECK(line("nodev\tproc\n") != NULL);
    CHECK(line("nodev\tsysfs\n") != NULL);
    CHECK(line("nodev\ttmpfs\n") != NULL);
}

TEST(tables_have_their_headers) {
    REQUIRE(slurp("/proc/net/dev") > 0);
    CHECK(strstr(text, " face |bytes ") != NULL);
    REQUIRE(slurp("/proc/net/tcp") > 0);
    CHECK_EQ(strncmp(text, "  sl  local_address rem_address   st ", 37), 0);
    REQUIRE(slurp("/proc/net/unix") > 0);
    CHECK_EQ(strncmp(text, "Num       RefCount Protocol Flags    Type St Inode Path\n", 56), 0);
    REQUIRE(slurp("/proc/swaps") > 0);
    CHECK_EQ(strncmp(text, "Filename\t\t\t\tType\t\t", 18), 0);
    CHECK(slurp("/proc/devices") > 0);
    CHECK(line("Character devices:\n") == text);
    CHECK(line("  1 mem\n") != NULL);
}

/* ---- /dev ---- */

static int device(const char *name, unsigned minor_number, int flags) {
    struct stat st;
    int fd = open(name, flags);

    REQUIRE(fd >= 0);
    REQUIRE_OK(fstat(fd, &st));
    CHECK(S_ISCHR(st.st_mode));
    CHECK_EQ(st.st_rdev, makedev(1, minor_number));
    CHECK_EQ(st.st_mode & 0777, 0666);
    return fd;
}

TEST(null) {
    int fd = device("/dev/null", 3, O_RDWR);
    char byte;

    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_EQ(read(fd, &byte, 1), 0);
    CHECK_EQ(lseek(fd, 100, SEEK_SET), 0);
    CHECK_EQ(pread(fd, &byte, 1, 5), 0);
    CHECK_ERR((long)(intptr_t)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), ENODEV);
    close(fd);
    fd = open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600);
    CHECK(fd >= 0);
    close(fd);
}

TEST(zero) {
    int fd = device("/dev/zero", 5, O_RDWR);
    static char buffer[100000];

    memset(buffer, 1, sizeof(buffer));
    CHECK_EQ(read(fd, buffer, sizeof(buffer)), (ssize_t)sizeof(buffer));
    CHECK_EQ(buffer[0], 0);
    CHECK_EQ(memcmp(buffer, buffer + 1, sizeof(buffer) - 1), 0);
    CHECK_EQ(write(fd, buffer, 10), 10);
    close(fd);
}

TEST(zero_can_be_mapped) {
    int fd = device("/dev/zero", 5, O_RDWR);
    char *shared, *private;
    pid_t pid;

    shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(shared != MAP_FAILED);
    private = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 1 << 20);
    REQUIRE(private != MAP_FAILED);
    close(fd);
    CHECK_EQ(shared[0], 0);
    CHECK_EQ(private[(1 << 20) - 1], 0);
    private[0] = 1;
    pid = fork();
    if (pid == 0) {
        shared[4096] = 7;
        private[0] = 8;
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(shared[4096], 7);
    CHECK_EQ(private[0], 1);
    munmap(shared, 8192);
    munmap(private, 1 << 20);
}

TEST(two_mappings_of_zero_are_two_memories) {
    int fd = device("/dev/zero", 5, O_RDWR);
    char *a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    REQUIRE(a != MAP_FAILED && b != MAP_FAILED);
    a[0] = 1;
    CHECK_EQ(b[0], 0);
    munmap(a, 4096);
    munmap(b, 4096);
    close(fd);
}

TEST(full) {
    int fd = device("/dev/full", 7, O_RDWR);
    char byte = 1;

    CHECK_ERR(write(fd, "a", 1), ENOSPC);
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(byte, 0);
    close(fd);
}

TEST(random_devices) {
    static const char *const names[] = {"/dev/random", "/dev/urandom"};

    for (int i = 0; i < 2; i++) {
        int fd = device(names[i], 8 + (unsigned)i, O_RDWR);
        unsigned char buffer[4096];
        int counts[256] = {0}, most = 0;

        CHECK_EQ(read(fd, buffer, sizeof(buffer)), (ssize_t)sizeof(buffer));
        for (size_t n = 0; n < sizeof(buffer); n++)
            counts[buffer[n]]++;
        for (int n = 0; n < 256; n++)
            most = counts[n] > most ? counts[n] : most;
        CHECK(most < 64);
        CHECK_EQ(write(fd, "entropy", 7), 7);
        close(fd);
    }
}

TEST(links_to_descriptors) {
    char link[64] = "", byte;
    int fd, fds[2];
    char path[32];

    CHECK(readlink("/dev/fd", link, sizeof(link) - 1) > 0);
    CHECK_STREQ(link, "/proc/self/fd");
    REQUIRE_OK(pipe(fds));
    REQUIRE_EQ(write(fds[1], "x", 1), 1);
    snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
    fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0);
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    close(fd);
    close(fds[0]);
    close(fds[1]);
}

TEST(shm_is_a_place_to_write) {
    char name[] = "/dev/shm/proc_system.XXXXXX";
    struct stat st;
    int fd = mkstemp(name);

    REQUIRE(fd >= 0);
    CHECK_OK(unlink(name));
    close(fd);
    REQUIRE_OK(stat("/dev/shm", &st));
    CHECK_EQ(st.st_mode & 07777, 01777);
}

TEST(there_is_room) {
    struct statfs root, shm;

    REQUIRE_OK(statfs("/tmp", &root));
    REQUIRE_OK(statfs("/dev/shm", &shm));
    CHECK(root.f_blocks > 0 && root.f_bavail > 0);
    CHECK(shm.f_blocks > 0 && shm.f_bavail > 0);
    CHECK(root.f_bavail <= root.f_blocks);
    CHECK_EQ(root.f_bsize, 4096);
    REQUIRE_OK(statfs("/proc", &root));
    CHECK_EQ(root.f_type, PROC_SUPER_MAGIC);
    CHECK_EQ(root.f_blocks, 0);
    REQUIRE_OK(statfs("/sys", &root));
    CHECK_EQ(root.f_type, SYSFS_MAGIC);
}

TEST_MAIN()
