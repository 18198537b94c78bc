/*
 * /proc/PID and its files, as proc(5) describes them: formats, agreement with the calls that tell
 * the same, and what becomes of them when the process changes or ends.
 */
#include "guest_test.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static char text[1 << 20];

/* The whole file, NUL-terminated; its length, or -1. */
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
    int saved = errno;
    close(fd);
    errno = saved;
    text[length] = 0;
    return got < 0 ? -1 : (ssize_t)length;
}

/* The line that starts with name, in `text`. */
static char *line(const char *name) {
    for (char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (strncmp(at, name, strlen(name)) == 0)
            return at;
    return NULL;
}

static unsigned long long field(const char *name, int base) {
    char *at = line(name);

    return at ? strtoull(at + strlen(name), NULL, base) : ~0ull;
}

/* Fields of stat from the third on: out[0] is unused, out[3] the state's letter ... out[52]. */
static int stat_fields(const char *path, long long out[53]) {
    int count = 2;
    ssize_t length = slurp(path);
    char *at = length > 0 ? strrchr(text, ')') : NULL;

    if (!at)
        return 0;
    for (char *save = NULL, *f = strtok_r(at + 1, " \n", &save); f && count < 52;
         f = strtok_r(NULL, " \n", &save)) {
        count++;
        out[count] = count == 3 ? f[0] : (long long)strtoull(f, NULL, 10);
    }
    return count;
}

TEST(self_is_us) {
    char link[64] = "", expected[64];

    REQUIRE(readlink("/proc/self", link, sizeof(link) - 1) > 0);
    CHECK_EQ(atoi(link), getpid());
    memset(link, 0, sizeof(link));
    REQUIRE(readlink("/proc/thread-self", link, sizeof(link) - 1) > 0);
    snprintf(expected, sizeof(expected), "%d/task/%d", getpid(), getpid());
    CHECK_STREQ(link, expected);
}

TEST(stat_has_its_fields) {
    long long f[53];

    REQUIRE_EQ(stat_fields("/proc/self/stat", f), 52);
    CHECK_EQ(atoi(text), getpid());
    CHECK_EQ(f[3], 'R');
    CHECK_EQ(f[4], getppid());
    CHECK_EQ(f[5], getpgrp());
    CHECK_EQ(f[6], getsid(0));
    CHECK_EQ(f[20], 1);
    CHECK_EQ(f[21], 0);
    CHECK(f[23] > 100 * 1024);
    CHECK(f[24] > 10);
    CHECK_EQ(f[38], SIGCHLD);
    CHECK_EQ(f[18], 20 + getpriority(PRIO_PROCESS, 0));
    /* start_code <= main < end_code */
    CHECK((unsigned long long)f[26] <= (uintptr_t)stat_fields);
    CHECK((unsigned long long)f[27] > (uintptr_t)stat_fields);
    CHECK((unsigned long long)f[28] > (uintptr_t)f);
}

TEST(start_time_lies_between_boot_and_now) {
    long long f[53];
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    REQUIRE_EQ(stat_fields("/proc/self/stat", f), 52);
    long long ticks = now.tv_sec * 100 + now.tv_nsec / 10000000;
    CHECK(f[22] <= ticks + 1);
    CHECK(f[22] > ticks - 60 * 60 * 100);
}

TEST(cpu_time_grows) {
    long long before[53], after[53];
    volatile unsigned sink __attribute__((unused)) = 0;

    REQUIRE_EQ(stat_fields("/proc/self/stat", before), 52);
    clock_t start = clock();
    while (clock() - start < CLOCKS_PER_SEC / 5)
        for (int i = 0; i < 100000; i++)
            sink += (unsigned)i;
    REQUIRE_EQ(stat_fields("/proc/self/stat", after), 52);
    CHECK(after[14] + after[15] >= before[14] + before[15] + 5);
}

TEST(a_name_with_parentheses) {
    long long f[53];

    REQUIRE_OK(prctl(PR_SET_NAME, "x) R (1 2"));
    REQUIRE_EQ(stat_fields("/proc/self/stat", f), 52);
    CHECK_EQ(f[3], 'R');
    REQUIRE(slurp("/proc/self/stat") > 0);
    CHECK(strstr(text, " (x) R (1 2) R ") != NULL);
    REQUIRE(slurp("/proc/self/comm") > 0);
    CHECK_STREQ(text, "x) R (1 2\n");
}

TEST(comm_can_be_written) {
    char name[16];
    int fd = open("/proc/self/comm", O_WRONLY);

    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, "a name that is too long", 23), 23);
    close(fd);
    REQUIRE_OK(prctl(PR_GET_NAME, name));
    CHECK_STREQ(name, "a name that is ");
}

TEST(status_names) {
    static const char *const names[] = {
        "Name:",
        "Umask:",
        "State:",
        "Tgid:",
        "Ngid:",
        "Pid:",
        "PPid:",
        "TracerPid:",
        "Uid:",
        "Gid:",
        "FDSize:",
        "Groups:",
        "VmPeak:",
        "VmSize:",
        "VmLck:",
        "VmHWM:",
        "VmRSS:",
        "RssAnon:",
        "RssFile:",
        "VmData:",
        "VmStk:",
        "VmExe:",
        "VmLib:",
        "VmPTE:",
        "VmSwap:",
        "Threads:",
        "SigQ:",
        "SigPnd:",
        "ShdPnd:",
        "SigBlk:",
        "SigIgn:",
        "SigCgt:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Cpus_allowed:",
        "Cpus_allowed_list:",
        "Mems_allowed:",
        "voluntary_ctxt_switches:",
        "nonvoluntary_ctxt_switches:",
    };
    const char *last = text;

    REQUIRE(slurp("/proc/self/status") > 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *at = line(names[i]);

        CHECK(at != NULL);
        CHECK(at >= last);
        if (at) {
            CHECK_EQ(at[strlen(names[i])], '\t');
            last = at;
        }
    }
    CHECK_EQ(field("Pid:", 10), getpid());
    CHECK_EQ(field("PPid:", 10), getppid());
    CHECK_EQ(field("Uid:", 10), getuid());
    CHECK_EQ(field("Gid:", 10), getgid());
    CHECK_EQ(field("Threads:", 10), 1);
}

TEST(status_follows_signals_and_umask) {
    sigset_t set, old;
    mode_t mask = umask(037);

    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, (void (*)(int))exit);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGTERM);
    REQUIRE(slurp("/proc/self/status") > 0);
    CHECK(field("SigIgn:", 16) & 1ull << (SIGUSR1 - 1));
    CHECK(field("SigCgt:", 16) & 1ull << (SIGUSR2 - 1));
    CHECK(field("SigBlk:", 16) & 1ull << (SIGTERM - 1));
    CHECK_EQ(field("ShdPnd:", 16), 1ull << (SIGTERM - 1));
    CHECK_EQ(field("SigPnd:", 16), 0);
    CHECK(line("Umask:\t0037\n") != NULL);
    signal(SIGTERM, SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
    umask(mask);
}

TEST(resident_memory_grows_when_touched) {
    unsigned long size, before, after;
    const size_t length = 8 << 20;

    REQUIRE(slurp("/proc/self/statm") > 0);
    CHECK_EQ(sscanf(text, "%lu %lu %*u %*u %*u %*u %*u\n", &size, &before), 2);
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    for (size_t i = 0; i < length; i += 4096)
        memory[i] = 1;
    REQUIRE(slurp("/proc/self/statm") > 0);
    CHECK_EQ(sscanf(text, "%*u %lu", &after), 1);
    /* A margin: Linux counts in batches per thread. */
    CHECK(after >= before + length / 4096 - 128);
    munmap(memory, length);
}

struct map {
    unsigned long start, end, offset, inode;
    char perms[8];
    unsigned major, minor;
    char name[256];
};

/* The row that holds the address; checks the form of every row before it. */
static int find_map(const void *address, struct map *map) {
    unsigned long last = 0;

    if (slurp("/proc/self/maps") <= 0)
        return 0;
    for (char *save = NULL, *row = strtok_r(text, "\n", &save); row;
         row = strtok_r(NULL, "\n", &save)) {
        int at = 0;

        if (sscanf(row, "%lx-%lx %7s %lx %x:%x %lu%n", &map->start, &map->end, map->perms,
                   &map->offset, &map->major, &map->minor, &map->inode, &at) != 7) {
            CHECK_STREQ(row, "a row of maps");
            return 0;
        }
        if (map->start < last || map->start >= map->end) {
            CHECK_STREQ(row, "in order");
        }
        last = map->end;
        CHECK_EQ(row[at], ' ');
        if (row[at + 1]) {
            CHECK_EQ(strspn(row + at, " ") + (size_t)at >= 73, 1);
        }
        snprintf(map->name, sizeof(map->name), "%s", row + at + strspn(row + at, " "));
        if (map->start <= (uintptr_t)address && (uintptr_t)address < map->end)
            return 1;
    }
    return 0;
}

TEST(maps_shows_program_stack_and_heap) {
    struct map map;
    char exe[PATH_MAX] = "";
    struct stat st;
    int local;
    void *heap = sbrk(4096);

    REQUIRE(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
    REQUIRE_OK(stat("/proc/self/exe", &st));
    REQUIRE(find_map((void *)find_map, &map));
    CHECK_EQ(strncmp(map.perms, "r-xp", 4), 0);
    CHECK_STREQ(map.name, exe);
    CHECK_EQ(map.inode, st.st_ino);
    REQUIRE(find_map(&local, &map));
    CHECK_EQ(strncmp(map.perms, "rw-p", 4), 0);
    CHECK_STREQ(map.name, "[stack]");
    REQUIRE(find_map(heap, &map));
    CHECK_STREQ(map.name, "[heap]");
    if (getauxval(AT_SYSINFO_EHDR)) {
        REQUIRE(find_map((void *)getauxval(AT_SYSINFO_EHDR), &map));
        CHECK_STREQ(map.name, "[vdso]");
    }
}

TEST(maps_follows_the_memory_calls) {
    struct map map;
    char *memory = mmap(NULL, 5 * 4096, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    REQUIRE(memory != MAP_FAILED);
    REQUIRE(find_map(memory, &map));
    CHECK_EQ(strncmp(map.perms, "---s", 4), 0);
    CHECK_STREQ(map.name, "/dev/zero (deleted)");
    REQUIRE_OK(mprotect(memory + 4096, 4096, PROT_READ));
    REQUIRE(find_map(memory + 4096, &map));
    CHECK_EQ(strncmp(map.perms, "r--s", 4), 0);
    CHECK_EQ(map.start, (uintptr_t)memory + 4096);
    CHECK_EQ(map.end, (uintptr_t)memory + 8192);
    CHECK_EQ(map.offset, 4096);
    REQUIRE_OK(munmap(memory, 5 * 4096));
    CHECK(!find_map(memory, &map) || map.end - map.start != 4096);
}

TEST(a_deleted_file_in_maps) {
    char name[] = "/tmp/proc_self.XXXXXX", expected[64];
    struct map map;
    int fd = mkstemp(name);

    REQUIRE(fd >= 0);
    REQUIRE_OK(ftruncate(fd, 8192));
    char *memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(find_map(memory, &map));
    CHECK_STREQ(map.name, name);
    CHECK_EQ(map.offset, 4096);
    REQUIRE_OK(unlink(name));
    REQUIRE(find_map(memory, &map));
    snprintf(expected, sizeof(expected), "%s (deleted)", name);
    CHECK_STREQ(map.name, expected);
    munmap(memory, 4096);
    close(fd);
}

TEST(smaps_has_the_rows_of_maps) {
    REQUIRE(slurp("/proc/self/smaps") > 0);
    CHECK(line("Size:           ") != NULL);
    CHECK(line("Rss:            ") != NULL);
    CHECK(line("VmFlags: ") != NULL);
    REQUIRE(slurp("/proc/self/smaps_rollup") > 0);
    CHECK(strstr(text, "[rollup]\n") != NULL);
    CHECK(field("Rss:", 10) > 0);
}

TEST(smaps_counts_what_was_touched) {
    const size_t length = 1 << 20;
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char row[64], *at;

    REQUIRE(memory != MAP_FAILED);
    /* Apart from its neighbours, so that it has a row of its own. */
    REQUIRE_OK(mprotect(memory, 4096, PROT_NONE));
    REQUIRE_OK(mprotect(memory + length - 4096, 4096, PROT_NONE));
    memset(memory + 4096, 1, 64 * 4096);
    REQUIRE(slurp("/proc/self/smaps") > 0);
    snprintf(row, sizeof(row), "%lx-", (unsigned long)(uintptr_t)memory + 4096);
    at = line(row);
    REQUIRE(at != NULL);
    at = strstr(at, "\nRss:");
    REQUIRE(at != NULL);
    CHECK_EQ(strtoul(at + 5, NULL, 10), 64 * 4);
    munmap(memory, length);
}

extern char **environ;

TEST(cmdline_and_environ_are_those_of_exec) {
    int fds[2];
    pid_t pid;
    char path[64];

    REQUIRE_OK(pipe(fds));
    pid = fork();
    if (pid == 0) {
        static const char *const argv[] = {"sh", "-c", "echo; read x", "an argument", "", NULL};
        static const char *const envp[] = {"A=1", "B=two words", NULL};
        int in[2];

        if (pipe(in))
            _exit(1);
        dup2(in[0], 0);
        dup2(fds[1], 1);
        close(fds[0]);
        execve("/bin/sh", (char **)(uintptr_t)argv, (char **)(uintptr_t)envp);
        _exit(1);
    }
    close(fds[1]);
    REQUIRE_EQ(read(fds[0], path, 1), 1); /* it runs */
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    static const char expected[] = "sh\0-c\0echo; read x\0an argument\0\0";
    CHECK_EQ(slurp(path), sizeof(expected) - 1);
    CHECK_EQ(memcmp(text, expected, sizeof(expected) - 1), 0);
    snprintf(path, sizeof(path), "/proc/%d/environ", pid);
    CHECK_EQ(slurp(path), 16);
    CHECK_EQ(memcmp(text, "A=1\0B=two words", 16), 0);
    kill(pid, SIGKILL);
    REQUIRE_EQ(waitpid(pid, NULL, 0), pid);
    close(fds[0]);
}

TEST(cmdline_can_be_overwritten) {
    REQUIRE(slurp("/proc/self/cmdline") > 2);
    long long f[53];
    REQUIRE_EQ(stat_fields("/proc/self/stat", f), 52);
    char *args = (char *)(uintptr_t)f[48], kept = args[0];

    args[0] = '@';
    REQUIRE(slurp("/proc/self/cmdline") > 0);
    CHECK_EQ(text[0], '@');
    args[0] = kept;
}

TEST(auxv_is_ours) {
    ssize_t length = slurp("/proc/self/auxv");
    const Elf64_auxv_t *entry = (const Elf64_auxv_t *)text;
    int seen = 0;

    REQUIRE(length > 0);
    CHECK_EQ(length % (ssize_t)sizeof(*entry), 0);
    for (; (char *)entry < text + length && entry->a_type != AT_NULL; entry++) {
        /* glibc answers AT_HWCAP from its own look at the processor. */
        if (entry->a_type != AT_HWCAP)
            CHECK_EQ(entry->a_un.a_val, getauxval(entry->a_type));
        seen++;
    }
    CHECK(seen > 10);
    CHECK((char *)entry < text + length);
}

TEST(cwd_follows_and_forgets) {
    char name[] = "/tmp/proc_self.XXXXXX", link[128], expected[64], old[PATH_MAX];

    REQUIRE(getcwd(old, sizeof(old)) != NULL);
    REQUIRE(mkdtemp(name) != NULL);
    REQUIRE_OK(chdir(name));
    memset(link, 0, sizeof(link));
    CHECK(readlink("/proc/self/cwd", link, sizeof(link) - 1) > 0);
    CHECK_STREQ(link, name);
    REQUIRE_OK(rmdir(name));
    memset(link, 0, sizeof(link));
    CHECK(readlink("/proc/self/cwd", link, sizeof(link) - 1) > 0);
    snprintf(expected, sizeof(expected), "%s (deleted)", name);
    CHECK_STREQ(link, expected);
    CHECK_ERR(open("/proc/self/cwd/x", O_CREAT | O_WRONLY, 0600), ENOENT);
    REQUIRE_OK(chdir(old));
}

TEST(descriptors) {
    char name[] = "/tmp/proc_self.XXXXXX", path[64], link[128] = "", byte;
    int fd = mkstemp(name), again, fds[2], seen = 0, others = 0;
    struct stat a, b;

    REQUIRE(fd >= 0);
    REQUIRE_EQ(write(fd, "0123456789", 10), 10);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK_EQ(readlink(path, link, sizeof(link)), (ssize_t)strlen(name));
    CHECK_STREQ(link, name);
    REQUIRE_OK(lstat(path, &a));
    CHECK_EQ(a.st_mode, S_IFLNK | 0700);
    CHECK_EQ(a.st_size, 64);
    /* A description of its own: at the start. */
    again = open(path, O_RDONLY);
    REQUIRE(again >= 0);
    CHECK_EQ(read(again, &byte, 1), 1);
    CHECK_EQ(byte, '0');
    REQUIRE_OK(fstat(fd, &a));
    REQUIRE_OK(fstat(again, &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    close(again);
    REQUIRE_OK(unlink(name));
    memset(link, 0, sizeof(link));
    CHECK(readlink(path, link, sizeof(link) - 1) > 0);
    CHECK(strstr(link, " (deleted)") != NULL);
    /* Even so it can be opened. */
    again = open(path, O_RDWR);
    CHECK(again >= 0);
    close(again);

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    REQUIRE(slurp(path) > 0);
    CHECK_EQ(field("pos:", 10), 10);
    CHECK_EQ(field("flags:", 8) & O_ACCMODE, O_RDWR);
    REQUIRE_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    REQUIRE(slurp(path) > 0);
    CHECK(field("flags:", 8) & O_CLOEXEC);
    CHECK(line("mnt_id:") != NULL);

    REQUIRE_OK(pipe(fds));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
    memset(link, 0, sizeof(link));
    CHECK(readlink(path, link, sizeof(link) - 1) > 0);
    CHECK_EQ(strncmp(link, "pipe:[", 6), 0);
    REQUIRE_OK(lstat(path, &a));
    CHECK_EQ(a.st_mode, S_IFLNK | 0500);
    close(fds[0]);
    close(fds[1]);
    CHECK_ERR(lstat(path, &a), ENOENT);

    DIR *dir = opendir("/proc/self/fd");
    REQUIRE(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        CHECK_EQ(e->d_type, DT_LNK);
        seen += atoi(e->d_name) == fd;
        others += fcntl(atoi(e->d_name), F_GETFD) < 0;
    }
    closedir(dir);
    CHECK_EQ(seen, 1);
    CHECK_EQ(others, 0);
    close(fd);
}

TEST(limits_are_those_of_getrlimit) {
    struct rlimit limit;
    char expected[128];

    REQUIRE_OK(getrlimit(RLIMIT_NOFILE, &limit));
    REQUIRE(slurp("/proc/self/limits") > 0);
    CHECK(line("Limit                     Soft Limit           Hard Limit           Units") ==
          text);
    snprintf(expected, sizeof(expected), "Max open files            %-20llu %-20llu files",
             (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
    CHECK(line(expected) != NULL);
}

TEST(mem_reads_and_writes_past_protections) {
    int fd = open("/proc/self/mem", O_RDWR);
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char got[16];

    REQUIRE(fd >= 0);
    REQUIRE(page != MAP_FAILED);
    strcpy(page, "before");
    REQUIRE_OK(mprotect(page, 4096, PROT_READ));
    CHECK_EQ(pread(fd, got, 7, (off_t)(uintptr_t)page), 7);
    CHECK_STREQ(got, "before");
    CHECK_EQ(pwrite(fd, "after", 6, (off_t)(uintptr_t)page), 6);
    CHECK_STREQ(page, "after");
    REQUIRE_OK(munmap(page + 4096, 4096));
    CHECK_ERR(pread(fd, got, 1, 0), EIO);
    CHECK_ERR(pwrite(fd, got, 1, 0), EIO);
    CHECK_EQ(lseek(fd, (off_t)(uintptr_t)page, SEEK_SET), (off_t)(uintptr_t)page);
    CHECK_EQ(read(fd, got, 6), 6);
    CHECK_STREQ(got, "after");
    CHECK_ERR(lseek(fd, 0, SEEK_END), EINVAL);
    close(fd);
    munmap(page, 4096);
}

static int ready[2], go_on[2];

static void *named_thread(void *arg) {
    char byte = 0;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    prctl(PR_SET_NAME, "worker");
    if (write(ready[1], &tid, sizeof(tid)) != sizeof(tid) || read(go_on[0], &byte, 1) != 1)
        return arg;
    return NULL;
}

TEST(threads_in_task) {
    pthread_t thread;
    pid_t tid;
    char path[64];
    struct stat st;
    long long f[53];
    int seen = 0;

    REQUIRE_OK(pipe(ready));
    REQUIRE_OK(pipe(go_on));
    REQUIRE_EQ(pthread_create(&thread, NULL, named_thread, NULL), 0);
    REQUIRE_EQ(read(ready[0], &tid, sizeof(tid)), (ssize_t)sizeof(tid));
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
    REQUIRE(slurp(path) > 0);
    CHECK_STREQ(text, "worker\n");
    REQUIRE(slurp("/proc/self/status") > 0);
    CHECK_EQ(field("Threads:", 10), 2);
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
    REQUIRE(slurp(path) > 0);
    CHECK_EQ(field("Pid:", 10), tid);
    CHECK_EQ(field("Tgid:", 10), getpid());
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", getpid(), tid);
    CHECK_EQ(stat_fields(path, f), 52);
    CHECK_EQ(atoi(text), tid);
    /* Not listed, but there. */
    snprintf(path, sizeof(path), "/proc/%d", tid);
    CHECK_OK(stat(path, &st));
    DIR *dir = opendir("/proc");
    REQUIRE(dir != NULL);
    for (struct dirent *e; (e = readdir(dir));) {
        CHECK(atoi(e->d_name) != tid);
        seen += atoi(e->d_name) == getpid();
    }
    closedir(dir);
    CHECK_EQ(seen, 1);
    dir = opendir("/proc/self/task");
    REQUIRE(dir != NULL);
    seen = 0;
    for (struct dirent *e; (e = readdir(dir));)
        seen += isdigit((unsigned char)e->d_name[0]) != 0;
    closedir(dir);
    CHECK_EQ(seen, 2);
    REQUIRE_EQ(write(go_on[1], "", 1), 1);
    pthread_join(thread, NULL);
    close(ready[0]);
    close(ready[1]);
    close(go_on[0]);
    close(go_on[1]);
}

TEST(a_zombie_and_its_end) {
    char path[64], status[64], byte;
    siginfo_t info;
    pid_t pid = fork();
    int fd, dir;

    if (pid == 0)
        _exit(3);
    REQUIRE_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
    snprintf(status, sizeof(status), "/proc/%d/status", pid);
    REQUIRE(slurp(status) > 0);
    CHECK(line("State:\tZ (zombie)\n") != NULL);
    CHECK_EQ(field("PPid:", 10), getpid());
    CHECK(line("VmSize:") == NULL);
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    CHECK_EQ(slurp(path), 0);
    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    CHECK_EQ(slurp(path), 0);
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    CHECK_ERR(readlink(path, text, 100), ENOENT);
    fd = open(status, O_RDONLY);
    REQUIRE(fd >= 0);
    snprintf(path, sizeof(path), "/proc/%d", pid);
    dir = open(path, O_RDONLY | O_DIRECTORY);
    REQUIRE(dir >= 0);
    REQUIRE_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_ERR(read(fd, &byte, 1), ESRCH);
    CHECK_ERR(openat(dir, "status", O_RDONLY), ESRCH);
    CHECK_ERR(open(status, O_RDONLY), ENOENT);
    close(fd);
    close(dir);
}

TEST(stopped_and_sleeping) {
    char path[64];
    int fds[2];
    long long f[53];
    pid_t pid;

    REQUIRE_OK(pipe(fds));
    pid = fork();
    if (pid == 0) {
        char byte;

        close(fds[1]);
        _exit(read(fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    do {
        REQUIRE_EQ(stat_fields(path, f), 52);
    } while (f[3] == 'R');
    CHECK_EQ(f[3], 'S');
    REQUIRE_OK(kill(pid, SIGSTOP));
    REQUIRE_EQ(waitpid(pid, NULL, WUNTRACED), pid);
    REQUIRE_EQ(stat_fields(path, f), 52);
    CHECK_EQ(f[3], 'T');
    REQUIRE_OK(kill(pid, SIGCONT));
    close(fds[1]);
    close(fds[0]);
    CHECK_CHILD_OK(pid);
}

TEST(others_may_not_look) {
    char path[64];
    pid_t parent = getpid(), pid;

    if (geteuid() != 0)
        SKIP("needs root to become somebody else");
    pid = fork();
    if (pid == 0) {
        int before = guest_test_failures;
        static const char *const names[] = {"environ", "mem", "maps", "auxv", "io", "smaps"};
        struct stat st;

        if (setgid(12345) || setuid(12345))
            _exit(1);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            snprintf(path, sizeof(path), "/proc/%d/%s", parent, names[i]);
            CHECK_ERR(open(path, O_RDONLY), EACCES);
        }
        snprintf(path, sizeof(path), "/proc/%d/fd", parent);
        CHECK_ERR(open(path, O_RDONLY), EACCES);
        snprintf(path, sizeof(path), "/proc/%d/cwd", parent);
        CHECK_ERR(readlink(path, text, 100), EACCES);
        CHECK_ERR(stat(path, &st), EACCES);
        snprintf(path, sizeof(path), "/proc/%d/status", parent);
        CHECK(slurp(path) > 0);
        snprintf(path, sizeof(path), "/proc/%d", parent);
        CHECK_OK(stat(path, &st));
        CHECK_EQ(st.st_uid, 0);
        _exit(guest_test_failures != before);
    }
    CHECK_CHILD_OK(pid);
}

TEST(files_that_cannot_be_written) {
    char byte = '0';
    int fd;

    CHECK_ERR(open("/proc/self/nothing", O_RDONLY), ENOENT);
    CHECK_ERR(open("/proc/self/nothing", O_RDWR | O_CREAT, 0600), ENOENT);
    CHECK_ERR(mkdir("/proc/self/x", 0700), ENOENT);
    CHECK_ERR(unlink("/proc/self/stat"), EPERM);
    CHECK_ERR(rmdir("/proc/self/task"), EPERM);
    CHECK_ERR(chmod("/proc/self/stat", 0666), EPERM);
    fd = open("/proc/self/oom_score_adj", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK_ERR(write(fd, "2000", 4), EINVAL);
    CHECK_ERR(write(fd, "x", 1), EINVAL);
    CHECK_EQ(write(fd, "500\n", 4), 4);
    CHECK_EQ(pread(fd, text, 16, 0), 4);
    CHECK_EQ(memcmp(text, "500\n", 4), 0);
    close(fd);
    (void)byte;
}

TEST(a_file_read_in_pieces_is_one_text) {
    static char once[65536], pieces[65536];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t length, at = 0, got;

    REQUIRE(fd >= 0);
    length = pread(fd, once, sizeof(once), 0);
    REQUIRE(length > 100);
    while ((got = read(fd, pieces + at, 7)) > 0)
        at += got;
    CHECK_EQ(at, length);
    CHECK_EQ(memcmp(once, pieces, 20), 0);
    /* And again from the start: top(1) keeps its files open. */
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(read(fd, pieces, 5), 5);
    CHECK_EQ(pread(fd, pieces, 5, 1 << 30), 0);
    close(fd);
}

TEST(mounts_and_mountinfo_agree) {
    int root = 0, proc = 0;

    REQUIRE(slurp("/proc/self/mountinfo") > 0);
    for (char *save = NULL, *row = strtok_r(text, "\n", &save); row;
         row = strtok_r(NULL, "\n", &save)) {
        int id, parent, at = 0;
        unsigned major, minor;
        char from[256], where[256], options[256];

        CHECK_EQ(sscanf(row, "%d %d %u:%u %255s %255s %255s%n", &id, &parent, &major, &minor, from,
                        where, options, &at),
                 7);
        CHECK(strstr(row + at, " - ") != NULL);
        root += strcmp(where, "/") == 0;
        proc += strcmp(where, "/proc") == 0 && strstr(row, " - proc ") != NULL;
    }
    CHECK(root >= 1);
    CHECK(proc >= 1);
    REQUIRE(slurp("/proc/mounts") > 0);
    for (char *save = NULL, *row = strtok_r(text, "\n", &save); row;
         row = strtok_r(NULL, "\n", &save)) {
        char words[4][256];
        int dump, pass;

        CHECK_EQ(sscanf(row, "%255s %255s %255s %255s %d %d", words[0], words[1], words[2],
                        words[3], &dump, &pass),
                 6);
    }
}

TEST(io_counts_calls_and_bytes) {
    unsigned long long before[4], after[4];
    char buffer[1000] = {0};
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY);
    static const char format[] = "rchar: %llu\nwchar: %llu\nsyscr: %llu\nsyscw: %llu\n";

    REQUIRE(null >= 0 && zero >= 0);
    REQUIRE(slurp("/proc/self/io") > 0);
    REQUIRE_EQ(sscanf(text, format, &before[0], &before[1], &before[2], &before[3]), 4);
    CHECK_EQ(read(zero, buffer, 1000), 1000);
    CHECK_EQ(write(null, buffer, 500), 500);
    REQUIRE(slurp("/proc/self/io") > 0);
    REQUIRE_EQ(sscanf(text, format, &after[0], &after[1], &after[2], &after[3]), 4);
    CHECK(after[0] - before[0] >= 1000);
    CHECK(after[1] - before[1] >= 500);
    CHECK(after[2] - before[2] >= 1);
    CHECK_EQ(after[3] - before[3], 1);
    close(null);
    close(zero);
}

TEST(namespaces_are_links) {
    struct stat a, b;
    char link[64] = "";

    CHECK(readlink("/proc/self/ns/pid", link, sizeof(link) - 1) > 0);
    CHECK_EQ(strncmp(link, "pid:[", 5), 0);
    REQUIRE_OK(stat("/proc/self/ns/pid", &a));
    REQUIRE_OK(stat("/proc/thread-self/ns/pid", &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_ino, strtoul(link + 5, NULL, 10));
    CHECK(S_ISREG(a.st_mode));
}

TEST_MAIN()
