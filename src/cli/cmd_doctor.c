/*
 * `starling doctor`: what this host offers, by trying it, and what that means for the boundary and
 * the speed. Everything that would change this process is tried in a child.
 */
#include <fcntl.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/host.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define HWCAP2_FSGSBASE_BIT (1ul << 1)

/* How the lack of something is told. */
enum weight {
    REQUIRED, /* Starling cannot run without */
    BOUNDARY, /* it runs; the boundary is weaker */
    SPEED,    /* it runs; slower */
    NOTE,     /* only told */
};

struct report {
    int lacks[NOTE + 1];
};

/* `detail` says why, or how much; may be "". */
static void tell(struct report *report, enum weight weight, bool found, const char *what,
                 const char *detail, const char *with, const char *without) {
    static const char *const marks[] = {
        [REQUIRED] = "MISSING", [BOUNDARY] = "missing", [SPEED] = "missing", [NOTE] = "note"};

    report->lacks[weight] += !found;
    printf("%-8s %-28s %s%s%s\n", found ? "ok" : marks[weight], what, found ? with : without,
           *detail ? ": " : "", detail);
}

/* Runs fn in a child of these namespaces: 0, or the errno that it (or the host) gave. */
static int in_child(unsigned long namespaces, int (*fn)(void *arg), void *arg) {
    pid_t pid;
    int status;

    fflush(stdout);
    pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        int error = fn(arg);

        _exit(error < 0 ? -error : error);
    }
    if (pid < 0) {
        return errno;
    }
    if (waitpid(pid, &status, 0) < 0) {
        return errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
}

static int nothing(void *arg) {
    return 0;
}

static int failed(long result) {
    return result < 0 ? errno : 0;
}

static const char *why(int error) {
    return error ? strerror(error) : "";
}

/* ---- single probes: 0 or an errno ---- */

static int probe_user_namespace(void *arg) {
    return in_child(CLONE_NEWUSER, nothing, NULL);
}

static int probe_all_namespaces(void *arg) {
    unsigned long all = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
    int error = in_child(all | CLONE_NEWUSER, nothing, NULL);

    return error && geteuid() == 0 ? in_child(all, nothing, NULL) : error;
}

static int probe_seccomp_action(void *arg) {
    uint32_t action = *(uint32_t *)arg;

    return failed(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
}

/* A filter that allows everything, for its listener. */
static int install_listener(void) {
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -1;
    }
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                        &program);
}

static int listener_child(void *arg) {
    return failed(install_listener());
}

static int sync_wake_child(void *arg) {
    int listener = install_listener();

    return listener < 0 ? errno : failed(ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1ul));
}

static int addfd_child(void *arg) {
    struct seccomp_notif_addfd addfd = {.id = 1};
    int listener = install_listener();

    if (listener < 0) {
        return errno;
    }
    /* No such notification: ENOENT from a host that knows the request. */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &addfd);
    return errno == ENOENT ? 0 : errno;
}

static int spec_allow_child(void *arg) {
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return failed(
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program));
}

static int probe_pidfd(void *arg) {
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (pidfd < 0) {
        return errno;
    }
    close(pidfd);
    return 0;
}

static int wait_for_byte(int fd) {
    char byte;

    return read(fd, &byte, 1) == 1 ? 0 : EIO;
}

/* process_vm_readv and pidfd_getfd on a child, as the kernel process does with guests. */
static int with_child(int (*probe)(pid_t child, const char *at)) {
    char here[8] = "starlin", mark = 1;
    int pipes[2], error;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0) {
        return errno;
    }
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(pipes[1]);
        _exit(wait_for_byte(pipes[0]));
    }
    error = pid < 0 ? errno : probe(pid, here);
    if (write(pipes[1], &mark, 1) < 0) {
        error = errno;
    }
    close(pipes[0]);
    close(pipes[1]);
    waitpid(pid, NULL, 0);
    return error;
}

static int read_child(pid_t child, const char *at) {
    char copy[8];
    struct iovec local = {copy, sizeof(copy)}, remote = {(void *)(uintptr_t)at, sizeof(copy)};

    return failed(process_vm_readv(child, &local, 1, &remote, 1, 0));
}

static int write_child(pid_t child, const char *at) {
    char copy[8] = "starlin";
    struct iovec local = {copy, sizeof(copy)}, remote = {(void *)(uintptr_t)at, sizeof(copy)};

    return failed(process_vm_writev(child, &local, 1, &remote, 1, 0));
}

static int getfd_child(pid_t child, const char *at) {
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0), fd, error;

    if (pidfd < 0) {
        return errno;
    }
    fd = (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0);
    error = fd < 0 && errno != EBADF ? errno : 0; /* EBADF: its descriptor 0 is closed */
    if (fd >= 0) {
        close(fd);
    }
    close(pidfd);
    return error;
}

static int probe_process_vm(void *arg) {
    int error = with_child(read_child);

    return error ? error : with_child(write_child);
}

static int probe_pidfd_getfd(void *arg) {
    return with_child(getfd_child);
}

static int probe_openat2(void *arg) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int probe_memfd(void *arg) {
    int fd = memfd_create("doctor", MFD_CLOEXEC);

    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int probe_close_range(void *arg) {
    return failed(close_range(~0u, ~0u, 0));
}

static int probe_proc(void *arg) {
    return failed(access("/proc/self/maps", R_OK));
}

static int open_tree_child(void *arg) {
    return failed(
        syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

static int probe_open_tree(void *arg) {
    int error = in_child(CLONE_NEWUSER | CLONE_NEWNS, open_tree_child, NULL);

    return error && geteuid() == 0 ? in_child(CLONE_NEWNS, open_tree_child, NULL) : error;
}

/* ---- the report ---- */

static void check_kernel(struct report *report) {
    struct utsname name = {0};
    unsigned major = 0, minor = 0;

    uname(&name);
    sscanf(name.release, "%u.%u", &major, &minor);
    tell(report, NOTE, major > 5 || (major == 5 && minor >= 10), "Linux 5.10 or newer",
         name.release, "this is", "older hosts are not tested; this is");
    tell(report, REQUIRED, strcmp(name.machine, "x86_64") == 0, "x86-64 processor", name.machine,
         "this is", "guests are x86-64 programs; this is");
    tell(report, REQUIRED, probe_proc(NULL) == 0, "/proc", why(probe_proc(NULL)),
         "mounted and readable", "mount it: mount -t proc proc /proc");
}

static void check_required(struct report *report) {
    uint32_t trap = SECCOMP_RET_TRAP, notify = SECCOMP_RET_USER_NOTIF;
    const struct {
        const char *what;
        int (*probe)(void *arg);
        void *arg;
        const char *meaning;
    } probes[] = {
        {"seccomp filter with SIGSYS", probe_seccomp_action, &trap,
         "turns each guest system call into a message to the kernel process"},
        {"seccomp user notification", probe_seccomp_action, &notify,
         "lets only such processes be made as the kernel process ordered"},
        {"pidfd_open", probe_pidfd, NULL, "tells when a guest process ends"},
        {"pidfd_getfd", probe_pidfd_getfd, NULL, "fetches the filter's listener from the zygote"},
        {"process_vm_readv and writev", probe_process_vm, NULL,
         "reads and writes the arguments of system calls"},
        {"close_range", probe_close_range, NULL, "leaves guests none of the host's descriptors"},
        {"memfd_create", probe_memfd, NULL, "shares memory with guests; files in memory"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
        int error = probes[i].probe(probes[i].arg);

        tell(report, REQUIRED, error == 0, probes[i].what, why(error), probes[i].meaning,
             probes[i].meaning);
    }
    tell(report, REQUIRED, in_child(0, listener_child, NULL) == 0, "filter with a listener",
         why(in_child(0, listener_child, NULL)), "can be installed without privileges",
         "a filter cannot be installed here (is there one already that forbids it?)");
}

static void check_boundary(struct report *report) {
    int error = probe_user_namespace(NULL);

    tell(report, geteuid() == 0 ? NOTE : BOUNDARY, error == 0, "user namespaces", why(error),
         "the kernel process and guests have no rights outside their own",
         "an ordinary user gets no namespaces; see user.max_user_namespaces, "
         "kernel.unprivileged_userns_clone, AppArmor's restriction");
    error = probe_all_namespaces(NULL);
    tell(report, BOUNDARY, error == 0, "pid, mount, net, ipc, uts", why(error),
         "namespaces of their own: an escaped guest sees an empty world",
         "guests are held by the filter and no_new_privs alone");
    int version = host_landlock_version();

    tell(report, BOUNDARY, version > 0, "Landlock", why(version < 0 ? -version : 0),
         "a guest process may open nothing of the host's by a path",
         "only the filter keeps guest processes from the host's paths");
    error = probe_open_tree(NULL);
    tell(report, BOUNDARY, error == 0, "detached mounts", why(error),
         "the host's files are reached through read-only copies of its mounts",
         "host files are reached through plain directory descriptors");
}

static void check_speed(struct report *report) {
    int error = in_child(0, sync_wake_child, NULL);
    cpu_set_t cores;
    char text[64];
    bool fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT) != 0;
    FILE *file;
    int count = 1;

    tell(report, SPEED, error == 0, "synchronous wake-up", why(error),
         "a clone is approved without changing the core",
         "needs Linux 6.6: making processes costs some 10 µs more");
    error = in_child(0, addfd_child, NULL);
    tell(report, NOTE, error == 0, "descriptors by notification", why(error), "ADDFD is there",
         "ADDFD is not there; it is not needed");
    error = in_child(0, spec_allow_child, NULL);
    tell(report, SPEED, error == 0, "filter without mitigation", why(error),
         "guest code is not slowed down by speculation barriers",
         "the host may slow down filtered processes");
    error = probe_openat2(NULL);
    tell(report, SPEED, error == 0, "openat2", why(error),
         "a path of the host is opened by one call", "paths of the host take a call a component");
    tell(report, SPEED, fsgsbase, "fsgsbase", "", "thread pointers are read without a call",
         "thread pointers are read by a system call");
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0) {
        count = CPU_COUNT(&cores);
    }
    snprintf(text, sizeof(text), "%d", count);
    tell(report, SPEED, count > 1, "processors", text, "that this process may use",
         "kernel and guest share one");
    text[0] = 0;
    file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (file) {
        if (fgets(text, sizeof(text), file)) {
            text[strcspn(text, "\n")] = 0;
        }
        fclose(file);
    }
    tell(report, NOTE, strstr(text, "[never]") == NULL, "transparent huge pages", text,
         "guest memory may use them", "guest memory cannot use them");
}

/* The soft limit, raised as the kernel process raises it. */
static void check_limit(struct report *report, int resource, const char *what, uint64_t enough,
                        const char *meaning) {
    struct rlimit limit;
    char text[64] = "unlimited";

    if (getrlimit(resource, &limit) == 0) {
        if (limit.rlim_max != RLIM_INFINITY) {
            snprintf(text, sizeof(text), "%llu", (unsigned long long)limit.rlim_max);
        }
        tell(report, NOTE, limit.rlim_max >= enough, what, text, meaning, meaning);
    }
}

static void help(void) {
    fputs("usage: starling doctor\n"
          "\n"
          "Tries what Starling needs of this host and says what each result means. Status 1 when\n"
          "Starling cannot run here.\n"
          "\n"
          "example:\n"
          "  starling doctor\n",
          stdout);
}

int cmd_doctor(int argc, char **argv) {
    struct report report = {0};

    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help();
        return 0;
    }
    if (argc > 1) {
        cli_error("doctor: unexpected argument '%s'; see 'starling doctor --help'", argv[1]);
        return EXIT_STARLING;
    }
    check_kernel(&report);
    check_required(&report);
    check_boundary(&report);
    check_speed(&report);
    check_limit(&report, RLIMIT_NOFILE, "open files", 1024, "descriptors of all guests together");
    check_limit(&report, RLIMIT_NPROC, "processes", 64,
                "of this user; each guest task takes two threads");
    check_limit(&report, RLIMIT_AS, "address space", 1ull << 36, "of each process");
    putchar('\n');
    if (report.lacks[REQUIRED]) {
        puts("Starling cannot run here: see the lines marked MISSING.");
        return 1;
    }
    printf("Starling can run here, with %s%s.\n",
           report.lacks[BOUNDARY] ? "a weaker boundary: see the lines marked missing"
                                  : "its full boundary",
           report.lacks[SPEED] ? "; slower than it could be" : "");
    return 0;
}
