/*
 * timeout: 300
 *
 * Makes calls that would open, connect, execute, kill, trace, fork or map what nobody counts, with
 * arguments that the host would take, by every instruction that makes a call and that this process
 * can see: the stub's, its own program's, the vDSO's, one that ends where the stub begins. The host
 * itself says what came of each (host_call.h): the filter's trap, and nothing else; clone from the
 * stub is refused. Then every number: those off the filter's list trap wherever they come from.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "host_call.h"

#define PAGE         4096ul
#define MAX_SITES    1024
#define MAX_ATTEMPTS 128
#define X32_BIT      0x40000000l
#define HERE         AT_FDCWD
#define ANY_FORK     (SIGCHLD | CLONE_PARENT_SETTID)

/* Two processes that attempts aim at, by the host's numbers: a brother of the attacker and the
 * kernel process. */
static long brother, kernel_process;
static int to_brother;

static struct call_site sites[MAX_SITES];
static size_t site_count, stub_sites; /* the stub's come first */
static bool told[MAX_SITES];          /* a result there is seen */

static struct attempt {
    const char *what;
    long number;
    long args[6];
} attempts[MAX_ATTEMPTS];
static size_t attempt_count;

static pid_t *made; /* shared: where a clone that succeeds leaves a number */

/* ---- where ---- */

/* syscall, int $0x80 */
static bool is_site(const unsigned char *at) {
    return (at[0] == 0x0f && at[1] == 0x05) || (at[0] == 0xcd && at[1] == 0x80);
}

static void add_sites(const unsigned char *from, const unsigned char *to) {
    for (const unsigned char *at = from; at + 1 < to; at++) {
        if (is_site(at)) {
            REQUIRE(site_count < MAX_SITES);
            sites[site_count++] = (struct call_site){at, at[0] == 0xcd};
        }
    }
}

/* The filter compares the address behind the instruction. */
static void add_site_below_the_stub(void) {
    unsigned char *page = (unsigned char *)host_stub - PAGE;
    void *mapped = mmap(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    REQUIRE(mapped == page);
    page[PAGE - 2] = 0x0f;
    page[PAGE - 1] = 0x05;
    add_sites(page, page + PAGE);
}

static void find_sites(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end;
    char line[512], mode[8];
    bool vdso = false;

    REQUIRE(maps);
    add_sites(host_stub, host_stub + STUB_TEXT_SIZE);
    CHECK(site_count > 4);
    stub_sites = site_count;
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[0] == 'r' &&
            mode[2] == 'x') {
            add_sites((unsigned char *)start, (unsigned char *)end);
            vdso = vdso || strstr(line, "[vdso]");
        }
    }
    fclose(maps);
    CHECK(vdso);
    CHECK(site_count > stub_sites);
    add_site_below_the_stub();
}

/* ---- what ---- */

static void attempt(const char *what, long number, long a, long b, long c, long d) {
    REQUIRE(attempt_count < MAX_ATTEMPTS);
    attempts[attempt_count++] = (struct attempt){what, number, {a, b, c, d}};
}

static void attempts_to_open_and_connect(void) {
    static struct sockaddr_un address = {AF_UNIX, "\0starling-stub-jump"};
    static struct open_how how = {.flags = O_PATH};
    static char byte[] = "x";
    static struct iovec vec = {byte, 1};
    static struct msghdr message = {.msg_iov = &vec, .msg_iovlen = 1};
    static int pair[2];
    const long size = sizeof(sa_family_t) + 20;

    attempt("open", SYS_open, (long)"/", O_RDONLY | O_DIRECTORY, 0, 0);
    attempt("creat", SYS_creat, (long)"/escaped", 0644, 0, 0);
    attempt("openat a directory", SYS_openat, HERE, (long)".", O_RDONLY | O_DIRECTORY, 0);
    attempt("openat a path", SYS_openat, HERE, (long)"/", O_PATH, 0);
    attempt("openat a new file", SYS_openat, HERE, (long)"escaped", O_CREAT | O_WRONLY, 0644);
    attempt("openat2", SYS_openat2, HERE, (long)"/", (long)&how, sizeof how);
    attempt("mkdir", SYS_mkdir, (long)"/escaped", 0755, 0, 0);
    attempt("mount", SYS_mount, (long)"none", (long)"/", (long)"tmpfs", 0);
    attempt("memfd_create", SYS_memfd_create, (long)"escaped", 0, 0, 0);
    attempt("socket, unix", SYS_socket, AF_UNIX, SOCK_STREAM, 0, 0);
    attempt("socket, inet", SYS_socket, AF_INET, SOCK_STREAM, 0, 0);
    attempt("socket, netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0);
    attempt("socketpair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (long)pair);
    attempt("connect", SYS_connect, HOST_CONTROL_FD, (long)&address, size, 0);
    attempt("bind", SYS_bind, HOST_CONTROL_FD, (long)&address, size, 0);
    attempt("listen", SYS_listen, HOST_CONTROL_FD, 1, 0, 0);
    attempt("accept", SYS_accept, HOST_CONTROL_FD, 0, 0, 0);
    attempt("sendto", SYS_sendto, HOST_CONTROL_FD, (long)byte, 1, MSG_DONTWAIT);
    attempt("sendmsg", SYS_sendmsg, HOST_CONTROL_FD, (long)&message, MSG_DONTWAIT, 0);
    attempt("setsockopt", SYS_setsockopt, HOST_CONTROL_FD, SOL_SOCKET, SO_PASSCRED, (long)pair);
    attempt("dup", SYS_dup, HOST_CONTROL_FD, 0, 0, 0);
    attempt("fcntl", SYS_fcntl, HOST_CONTROL_FD, F_DUPFD, 10, 0);
    attempt("ioctl", SYS_ioctl, HOST_CONTROL_FD, 0x541b /* FIONREAD */, (long)pair, 0);
}

static void attempts_to_execute_and_fork(void) {
    static const char *const argv[] = {"escaped", NULL};
    static struct clone_args args = {.exit_signal = SIGCHLD};

    attempt("execve", SYS_execve, (long)"/proc/self/exe", (long)argv, 0, 0);
    attempt("execveat", SYS_execveat, HOST_CONTROL_FD, (long)"", (long)argv, 0);
    attempts[attempt_count - 1].args[4] = AT_EMPTY_PATH;
    attempt("fork", SYS_fork, 0, 0, 0, 0);
    attempt("vfork", SYS_vfork, 0, 0, 0, 0);
    attempt("clone3", SYS_clone3, (long)&args, sizeof args, 0, 0);
    attempt("clone, a process", SYS_clone, ANY_FORK, 0, (long)made, 0);
    attempt("clone, shared memory", SYS_clone, ANY_FORK | CLONE_VM | CLONE_VFORK, 0, (long)made, 0);
    attempt("clone, a thread", SYS_clone,
            CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_PARENT_SETTID,
            0, (long)made, 0);
    attempt("clone, a user namespace", SYS_clone, ANY_FORK | CLONE_NEWUSER, 0, (long)made, 0);
    attempt("unshare", SYS_unshare, CLONE_NEWUSER, 0, 0, 0);
}

/* Where everybody is hit the signal is one that is ignored: if it came through, it would be the
 * machine of whoever runs this test. */
static void attempts_to_kill_and_trace(void) {
    static siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    static long word;
    static struct iovec here = {&word, sizeof word};
    static const struct sigaction ignore = {.sa_handler = SIG_IGN};
    static const unsigned long affinity = 1;

    attempt("kill", SYS_kill, brother, SIGUSR1, 0, 0);
    attempt("kill the kernel process", SYS_kill, kernel_process, SIGTERM, 0, 0);
    attempt("kill the group", SYS_kill, 0, SIGWINCH, 0, 0);
    attempt("kill everybody", SYS_kill, -1, SIGWINCH, 0, 0);
    attempt("tkill", SYS_tkill, brother, SIGUSR1, 0, 0);
    attempt("tgkill", SYS_tgkill, brother, brother, SIGKILL, 0);
    attempt("tgkill the kernel process", SYS_tgkill, kernel_process, kernel_process, SIGTERM, 0);
    attempt("rt_sigqueueinfo", SYS_rt_sigqueueinfo, brother, SIGUSR1, (long)&info, 0);
    attempt("rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo, brother, brother, SIGUSR1, (long)&info);
    attempt("pidfd_open", SYS_pidfd_open, brother, 0, 0, 0);
    attempt("pidfd_send_signal", SYS_pidfd_send_signal, 0, SIGUSR1, 0, 0);
    attempt("pidfd_getfd", SYS_pidfd_getfd, 0, 0, 0, 0);
    attempt("rt_sigaction", SYS_rt_sigaction, SIGSYS, (long)&ignore, 0, 8);
    attempt("ptrace, attach", SYS_ptrace, PTRACE_ATTACH, brother, 0, 0);
    attempt("ptrace, seize", SYS_ptrace, PTRACE_SEIZE, kernel_process, 0, 0);
    attempt("process_vm_readv", SYS_process_vm_readv, brother, (long)&here, 1, (long)&here);
    attempts[attempt_count - 1].args[4] = 1;
    attempt("process_vm_writev", SYS_process_vm_writev, kernel_process, (long)&here, 1,
            (long)&here);
    attempts[attempt_count - 1].args[4] = 1;
    attempt("prlimit64", SYS_prlimit64, brother, 7 /* RLIMIT_NOFILE */, 0, (long)&word);
    attempt("setpriority", SYS_setpriority, 0, brother, 19, 0);
    attempt("sched_setaffinity", SYS_sched_setaffinity, brother, sizeof affinity, (long)&affinity,
            0);
    attempt("setpgid", SYS_setpgid, 0, 0, 0, 0);
    attempt("prctl, live on", SYS_prctl, 1 /* PR_SET_PDEATHSIG */, 0, 0, 0);
    attempt("prctl, another signal", SYS_prctl, 1, SIGWINCH, 0, 0);
    attempt("prctl, undumpable", SYS_prctl, 4 /* PR_SET_DUMPABLE */, 0, 0, 0);
}

/* Memory that would be in no figure; and calls that take orders for others. */
static void attempts_at_the_rest(void) {
    static uint32_t ring[30]; /* struct io_uring_params */
    const long rw = PROT_READ | PROT_WRITE;

    attempt("io_uring_setup", SYS_io_uring_setup, 1, (long)ring, 0, 0);
    attempt("bpf", SYS_bpf, 0, (long)ring, sizeof ring, 0);
    attempt("userfaultfd", SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */, 0, 0, 0);
    attempt("perf_event_open", SYS_perf_event_open, (long)ring, 0, -1, -1);
    attempt("seccomp", SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, (long)ring, 0);
    attempt("shmget", SYS_shmget, 0 /* IPC_PRIVATE */, PAGE, 0600, 0);
    attempt("add_key", SYS_add_key, (long)"user", (long)"escaped", (long)"x", 1);
    attempt("mmap, shared and anonymous", SYS_mmap, 0, PAGE, rw, MAP_SHARED | MAP_ANONYMOUS);
    attempt("mmap, validated", SYS_mmap, 0, PAGE, rw, MAP_SHARED_VALIDATE | MAP_ANONYMOUS);
    attempt("mmap, huge", SYS_mmap, 0, 2 << 20, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
    attempt("mmap, huge and shared", SYS_mmap, 0, 2 << 20, rw,
            MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB);
    /* Last: if it came through, the host would stop the process for ever. */
    attempt("ptrace, traceme", SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

/* ---- how it went ---- */

static void failed(const char *what, const struct call_site *site,
                   const struct call_outcome *outcome) {
    guest_test_fail(__FILE__, __LINE__, "%s at %p (the stub %+ld): signal %d, result %ld", what,
                    (const void *)site->at, (long)(site->at - host_stub), outcome->signal,
                    outcome->result);
}

/* A call that is on the list is seen as one that was made, else nothing is seen at all. Behind some
 * of the stub's instructions rax is overwritten at once: results are not told there. */
static void find_told(void) {
    const long args[6] = {-1};
    size_t count = 0;

    for (size_t i = 0; i < site_count; i++) {
        if (i < stub_sites || sites[i].at + 2 == host_stub) {
            struct call_outcome outcome = host_call(&sites[i], SYS_lseek, args);

            if (outcome.signal == 0 || outcome.signal == SIGSYS) {
                failed("lseek was not made", &sites[i], &outcome);
            }
            told[i] = outcome.result == -EBADF;
            count += told[i];
        }
    }
    REQUIRE(count > 4);
}

static void try_from_the_stub(const struct call_site *site, const struct attempt *attempt) {
    struct call_outcome outcome = host_call(site, attempt->number, attempt->args);

    if (attempt->number != SYS_clone) {
        if (!outcome.trapped) {
            failed(attempt->what, site, &outcome);
        }
    } else if (outcome.signal == 0 || *made != 0 ||
               (told[site - sites] && outcome.result != -EPERM)) {
        failed(attempt->what, site, &outcome);
        *made = 0;
    }
}

/* Calls of 32-bit programs may be none at all on the host. A place where this test calls much
 * becomes a jump (src/mm/memory_patch.c) and is none any more. */
static void try_from_elsewhere(const struct call_site *site, const struct attempt *attempt) {
    struct call_outcome outcome = host_call(site, attempt->number, attempt->args);

    if (!outcome.trapped && is_site(site->at) && !(site->int80 && outcome.signal == SIGSEGV)) {
        failed(attempt->what, site, &outcome);
    }
}

static void start_brother(void) {
    const struct slot *slot = (const struct slot *)(host_stub + STUB_SLOTS_OFFSET);
    int ends[2];
    pid_t pid;
    char byte;

    REQUIRE_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        while (read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1) {
        }
        _exit(1);
    }
    REQUIRE_OK(pid);
    close(ends[1]);
    to_brother = ends[0];
    brother = slot->clone_result; /* the host's number of the latest child */
    CHECK(brother > 1);
}

/* No signal came: each one would have killed it. */
static void check_brother(void) {
    char byte = 'b';

    CHECK_EQ(send(to_brother, &byte, 1, MSG_NOSIGNAL), 1);
    CHECK_EQ(read(to_brother, &byte, 1), 1);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), 0);
}

/* The filter lets stubs ask for it where it is not the first of its namespace (host_job.c). */
static void find_kernel_process(void) {
    const struct call_site site = {host_sigreturn, false};
    const long args[6] = {0};
    struct call_outcome outcome = host_call(&site, SYS_getppid, args);

    kernel_process = outcome.signal == SIGTRAP && outcome.result > 1 ? outcome.result : 1;
}

static void set_up(void) {
    if (site_count) {
        return;
    }
    REQUIRE(host_call_start());
    made = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(made != MAP_FAILED);
    find_sites();
    find_told();
    start_brother();
    find_kernel_process();
    attempts_to_open_and_connect();
    attempts_to_execute_and_fork();
    attempts_to_kill_and_trace();
    attempts_at_the_rest();
}

TEST(jump_into_the_stub) {
    set_up();
    for (size_t i = 0; i < stub_sites; i++) {
        for (size_t k = 0; k < attempt_count; k++) {
            try_from_the_stub(&sites[i], &attempts[k]);
        }
    }
    check_brother();
    check_kernel_serves();
}

TEST(call_from_elsewhere) {
    set_up();
    for (size_t i = stub_sites; i < site_count; i++) {
        for (size_t k = 0; k < attempt_count; k++) {
            if (told[i]) { /* what ends where the stub begins: the filter takes it for the stub */
                try_from_the_stub(&sites[i], &attempts[k]);
            } else {
                try_from_elsewhere(&sites[i], &attempts[k]);
            }
        }
    }
    check_brother();
    check_kernel_serves();
}

/* Harmless with any arguments, each with its reason in src/host/filter.c. */
static bool is_allowed(long number) {
    static const int allowed[] = {
        SYS_read,    SYS_write,        SYS_pread64,        SYS_pwrite64,    SYS_lseek,
        SYS_futex,   SYS_readv,        SYS_writev,         SYS_close,       SYS_recvmsg,
        SYS_mmap,    SYS_munmap,       SYS_mprotect,       SYS_mremap,      SYS_madvise,
        SYS_mincore, SYS_membarrier,   SYS_rt_sigprocmask, SYS_sigaltstack, SYS_arch_prctl,
        SYS_rseq,    SYS_rt_sigreturn, SYS_exit,           SYS_exit_group,  SYS_clone,
        SYS_getppid,
    };

    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        if (number == allowed[i]) {
            return true;
        }
    }
    return false;
}

/* Two calls of the host's own uprobes, which it lets past every filter and refuses anywhere but in
 * its own code: uretprobe since Linux 6.14, uprobe since 6.18. */
static bool is_refused_uprobe(long number, const struct call_outcome *outcome) {
    return (number == 335 && outcome->signal == SIGILL) ||
           (number == 336 && outcome->signal != 0 && outcome->result == -ENXIO);
}

static void try_number(const struct call_site *site, long number) {
    const long args[6] = {-1};
    struct call_outcome outcome = host_call(site, number, args);
    char what[32];

    if (!outcome.trapped && !is_refused_uprobe(number, &outcome)) {
        snprintf(what, sizeof what, "number %#lx", number);
        failed(what, site, &outcome);
    }
}

/* The filter's list is this one and no longer. From two of the stub's instructions each, and from
 * each of those some. */
TEST(every_number) {
    size_t next = 0;

    set_up();
    for (long number = 0; number < 1024; number++) {
        for (int times = 0; times < 2; times++) {
            do {
                next = (next + 1) % stub_sites;
            } while (!told[next]);
            if (!is_allowed(number)) {
                try_number(&sites[next], number);
            }
            try_number(&sites[next], number | X32_BIT);
        }
    }
    check_brother();
    check_kernel_serves();
}

/* The host answers calls into this page itself, on behalf of an instruction that is not there. */
TEST(vsyscall_page) {
    const long args[6] = {0};

    set_up();
    for (unsigned long at = 0xffffffffff600000; at < 0xffffffffff600c00; at += 0x400) {
        const struct call_site site = {(unsigned char *)at, false};
        struct call_outcome outcome = host_call(&site, 0, args);

        if (outcome.signal != SIGSYS && outcome.signal != SIGSEGV) {
            failed("vsyscall", &site, &outcome);
        }
    }
    check_kernel_serves();
}

TEST_MAIN()
