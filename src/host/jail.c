/* The kernel process's jail: see jail.h. */
#include "host/host_internal.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_RDONLY
#error "needs linux/mount.h of Linux 5.12 or newer"
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

static bool tree_restrict(int fd, uint64_t attributes) {
    /* Private: no mount of the host comes into it later, which would have its own attributes. */
    struct mount_attr attr = {.attr_set = attributes, .propagation = MS_PRIVATE};

    return syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) ==
           0;
}

int host_tree_open(const char *path, bool writable, bool *no_symlinks) {
    uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY);
    int fd = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                          OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    if (fd >= 0) {
        *no_symlinks = tree_restrict(fd, attributes | MOUNT_ATTR_NOSYMFOLLOW);
        if (*no_symlinks || tree_restrict(fd, attributes)) {
            return fd;
        }
        close(fd);
    }
    *no_symlinks = false;
    fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* A detached, empty, read-only file system becomes the root; what was mounted before is let go. */
static int enter_empty_root(void) {
    int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
    int root = -1;
    int result = 0;

    if (context >= 0 && syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        root = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                MOUNT_ATTR_NOEXEC);
    }
    if (root < 0 || fchdir(root) < 0 || chroot(".") < 0) {
        result = -errno;
    }
    if (context >= 0) {
        close(context);
    }
    if (root >= 0) {
        close(root);
    }
    return result;
}

#define CAPABILITY(name) (1u << CAP_##name)

/*
 * What stays of root's powers, for a caller who has them: to read what he may read, and in writable
 * trees to do what he could do there. In a user namespace of an ordinary user they reach no more
 * than his own files.
 */
static int drop_capabilities(bool writable) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {0};
    uint32_t kept = CAPABILITY(DAC_READ_SEARCH);

    if (writable) {
        kept |=
            CAPABILITY(CHOWN) | CAPABILITY(DAC_OVERRIDE) | CAPABILITY(FOWNER) | CAPABILITY(FSETID);
    }
    if (syscall(SYS_capget, &header, sets) < 0) {
        return -errno;
    }
    sets[0].permitted &= kept;
    sets[0].effective = sets[0].permitted;
    sets[0].inheritable = 0;
    sets[1] = (struct __user_cap_data_struct){0};
    return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

/*
 * One line for each call, or for each value of an argument with which it is allowed: several lines
 * of one call are alternatives. `mask` picks the bits of the argument that must equal `value`.
 */
struct rule {
    int call;
    unsigned char checked; /* how many of `arguments` count */
    struct {
        unsigned char index;
        uint64_t mask, value;
    } arguments[2];
};

#define ANY(name)                                                                                  \
    { .call = SCMP_SYS(name) }
#define WHEN(name, argument, bits, wanted)                                                         \
    {                                                                                              \
        .call = SCMP_SYS(name), .checked = 1, .arguments = {                                       \
            {.index = (argument), .mask = (bits), .value = (wanted)}                               \
        }                                                                                          \
    }
#define ALL_BITS UINT64_MAX

/* What pthread_create() asks for, and nothing that makes a process or a namespace. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define NO_THREAD_FLAGS                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET | CLONE_PTRACE | CLONE_PARENT | CLONE_VFORK)

/*
 * What every kernel process calls. What it does rarely goes by what is here anyway: all plain I/O
 * by preadv2 and pwritev2, fstat by statx, threads by clone (the libc falls back to it).
 */
static const struct rule rules[] = {
    /* hand-overs, threads, time */
    ANY(futex),
    ANY(restart_syscall), /* a wait goes on after SIGSTOP and SIGCONT */
    WHEN(clone, 0, THREAD_FLAGS | NO_THREAD_FLAGS, THREAD_FLAGS),
    ANY(rseq),
    ANY(exit),
    ANY(exit_group),
    ANY(rt_sigprocmask),
    ANY(sched_setaffinity),
    ANY(sched_yield),
    ANY(clock_gettime),
    ANY(getrandom),
    /* own memory, never executable */
    WHEN(mmap, 2, PROT_EXEC, 0),
    WHEN(mprotect, 2, PROT_EXEC, 0),
    ANY(munmap),
    ANY(madvise),
    ANY(brk),
    /* guests */
    ANY(process_vm_readv),
    ANY(process_vm_writev),
    ANY(pidfd_open),
    ANY(pidfd_send_signal),
    WHEN(tgkill, 2, ALL_BITS, 0),
    WHEN(tgkill, 2, ALL_BITS, STUB_KICK_SIGNAL),
    ANY(sendmsg),
    ANY(recvmsg),
    WHEN(socketpair, 0, ALL_BITS, AF_UNIX),
    {.call = SCMP_SYS(setsockopt),
     .checked = 2,
     .arguments = {{.index = 1, .mask = ALL_BITS, .value = SOL_SOCKET},
                   {.index = 2, .mask = ALL_BITS, .value = SO_PASSCRED}}},
    ANY(memfd_create),
    /* descriptors */
    ANY(preadv2),
    ANY(pwritev2),
    ANY(lseek),
    ANY(close),
    WHEN(fcntl, 1, ALL_BITS, F_DUPFD_CLOEXEC),
    WHEN(fcntl, 1, ALL_BITS, F_GETFL),
    WHEN(fcntl, 1, ALL_BITS, F_SETFL),
    WHEN(fcntl, 1, ALL_BITS, F_GETPIPE_SZ),
    WHEN(fcntl, 1, ALL_BITS, F_SETPIPE_SZ),
    WHEN(fcntl, 1, ALL_BITS, F_ADD_SEALS),
    WHEN(ioctl, 1, ALL_BITS, SECCOMP_IOCTL_NOTIF_RECV),
    WHEN(ioctl, 1, ALL_BITS, SECCOMP_IOCTL_NOTIF_SEND),
    WHEN(ioctl, 1, ALL_BITS, SECCOMP_IOCTL_NOTIF_SET_FLAGS),
    WHEN(ioctl, 1, ALL_BITS, FIONREAD),
    WHEN(ioctl, 1, ALL_BITS, TIOCOUTQ),
    WHEN(ioctl, 1, ALL_BITS, TIOCGWINSZ),
    WHEN(ioctl, 1, ALL_BITS, TIOCSWINSZ),
    WHEN(ioctl, 1, ALL_BITS, TCGETS2),
    WHEN(ioctl, 1, ALL_BITS, TCSETS2),
    WHEN(ioctl, 1, ALL_BITS, TCSETSW2),
    WHEN(ioctl, 1, ALL_BITS, TCSETSF2),
    WHEN(ioctl, 1, ALL_BITS, TCFLSH),
    WHEN(ioctl, 1, ALL_BITS, TCSBRK),
    ANY(pipe2),
    ANY(tee),
    ANY(epoll_ctl),
    ANY(epoll_wait),
    ANY(timerfd_settime),
    ANY(ppoll),
    ANY(ftruncate),
    ANY(fallocate),
    ANY(fsync),
    ANY(fdatasync),
    /* host files: looking and reading */
    ANY(openat2),
    ANY(statx),
    ANY(fstatfs),
    ANY(readlinkat),
    ANY(getdents64),
    ANY(fgetxattr),
    ANY(flistxattr),
};

/* Where the host, or what confines us already, has no openat2. */
static const struct rule old_host_rules[] = {ANY(openat)};

/* What a writable tree needs on top. */
static const struct rule write_rules[] = {
    ANY(mkdirat),  ANY(mknodat),  ANY(symlinkat), ANY(linkat),    ANY(unlinkat),     ANY(renameat2),
    ANY(fchmodat), ANY(fchownat), ANY(utimensat), ANY(fsetxattr), ANY(fremovexattr),
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The sanitizers' own run-time, in test builds. */
static const struct rule sanitizer_rules[] = {
    ANY(read),         ANY(write),     ANY(getpid),          ANY(gettid),
    ANY(sigaltstack),  ANY(open),      ANY(openat),          ANY(rt_sigaction),
    ANY(rt_sigreturn), ANY(stat),      ANY(newfstatat),      ANY(fstat),
    ANY(readlink),     ANY(prlimit64), ANY(clock_nanosleep), ANY(sched_getaffinity),
    ANY(sysinfo),      ANY(nanosleep), ANY(prctl),           ANY(mremap),
};
#endif

struct rule_list {
    const struct rule *rules;
    size_t count;
};

/* The lists that hold for this jail; their number. */
static size_t choose(const struct host_jail *jail, struct rule_list lists[4]) {
    size_t count = 0;

    lists[count++] = (struct rule_list){rules, ARRAY_SIZE(rules)};
    if (jail->writable) {
        lists[count++] = (struct rule_list){write_rules, ARRAY_SIZE(write_rules)};
    }
    if (host_openat2_missing()) {
        lists[count++] = (struct rule_list){old_host_rules, ARRAY_SIZE(old_host_rules)};
    }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    lists[count++] = (struct rule_list){sanitizer_rules, ARRAY_SIZE(sanitizer_rules)};
#endif
    return count;
}

size_t host_jail_calls(const struct host_jail *jail, int *calls, size_t room) {
    struct rule_list lists[4];
    size_t list_count = choose(jail, lists);
    size_t count = 0;

    for (size_t i = 0; i < list_count; i++) {
        for (size_t j = 0; j < lists[i].count; j++) {
            int call = lists[i].rules[j].call;

            if (j > 0 && lists[i].rules[j - 1].call == call) {
                continue; /* alternatives of one call stand together */
            }
            if (count < room) {
                calls[count] = call;
            }
            count++;
        }
    }
    return count;
}

static int allow(scmp_filter_ctx filter, const struct rule *rule) {
    struct scmp_arg_cmp comparisons[ARRAY_SIZE(rule->arguments)];

    for (unsigned i = 0; i < rule->checked; i++) {
        comparisons[i] = SCMP_CMP(rule->arguments[i].index, SCMP_CMP_MASKED_EQ,
                                  rule->arguments[i].mask, rule->arguments[i].value);
    }
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rule->call, rule->checked, comparisons);
}

static struct sock_fprog program; /* made by host_jail_prepare(), before there are threads */

/* libseccomp's answer as what the host wants. */
static int take_program(scmp_filter_ctx filter) {
    int fd = memfd_create("starling-jail", MFD_CLOEXEC);
    int result = fd < 0 ? -errno : seccomp_export_bpf(filter, fd);
    off_t size = result ? 0 : lseek(fd, 0, SEEK_END);
    struct sock_filter *code = size > 0 ? malloc((size_t)size) : NULL;

    if (code && pread(fd, code, (size_t)size, 0) == size) {
        program = (struct sock_fprog){.len = (unsigned short)((size_t)size / sizeof(*code)),
                                      .filter = code};
    } else {
        free(code);
        result = result ? result : -ENOMEM;
    }
    if (fd >= 0) {
        close(fd);
    }
    return result;
}

int host_jail_prepare(const struct host_jail *jail) {
    /* A call off the list is a bug of ours, or no longer us: it fails, visibly, and changes
     * nothing. */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    struct rule_list lists[4];
    size_t count = choose(jail, lists);
    int result = 0;

    if (!filter) {
        return -ENOMEM;
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        for (size_t j = 0; result == 0 && j < lists[i].count; j++) {
            result = allow(filter, &lists[i].rules[j]);
        }
    }
    if (result == 0) {
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    if (result == 0) {
        result = take_program(filter);
    }
    seccomp_release(filter);
    return result;
}

static int install_filter(void) {
    const unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;

    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0 ? -errno : 0;
}

int host_jail_enter(const struct host_jail *jail) {
    int result = enter_empty_root();

    if (result) {
        log_line(LOG_INFO, "the kernel process keeps the host's root directory: %s",
                 strerror(-result));
    }
    result = drop_capabilities(jail->writable);
    if (result) {
        log_line(LOG_INFO, "the kernel process keeps its capabilities: %s", strerror(-result));
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    /* Its descriptors can not be made behind the filter; its thread shall not have capabilities. */
    result = poller_start();
    if (result) {
        return result;
    }
    return install_filter();
}
