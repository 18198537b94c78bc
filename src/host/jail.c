/* The kernel process's jail: see jail.h. */
#include "host/host_internal.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
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

/* What every kernel process calls. */
static const int calls[] = {
    /* hand-overs, threads, time */
    SCMP_SYS(futex),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(getrandom),
    SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),
    /* own memory */
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(mremap),
    /* guests */
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(tgkill),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(socketpair),
    SCMP_SYS(setsockopt),
    SCMP_SYS(memfd_create),
    /* the launcher */
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    /* descriptors */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv2),
    SCMP_SYS(pwritev2),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fcntl),
    SCMP_SYS(ioctl),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(ppoll),
    SCMP_SYS(splice),
    SCMP_SYS(tee),
    SCMP_SYS(copy_file_range),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fadvise64),
    /* host files: looking and reading */
    SCMP_SYS(openat2),
    SCMP_SYS(openat),
    SCMP_SYS(statx),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(fgetxattr),
    SCMP_SYS(flistxattr),
};

/* What a writable tree needs on top. */
static const int write_calls[] = {
    SCMP_SYS(mkdirat),
    SCMP_SYS(mknodat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(linkat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(renameat2),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(fchownat),
    SCMP_SYS(utimensat),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(fremovexattr),
    452, /* fchmodat2, which libseccomp may not know yet */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The sanitizers' own run-time, in test builds. */
static const int sanitizer_calls[] = {
    SCMP_SYS(getpid),   SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigaction),
    SCMP_SYS(readlink), SCMP_SYS(prlimit64),   SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sysinfo),  SCMP_SYS(nanosleep),   SCMP_SYS(clock_nanosleep),
    SCMP_SYS(prctl),    SCMP_SYS(stat),        SCMP_SYS(open),
};
#endif

static int allow(scmp_filter_ctx filter, const int *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, list[i], 0);

        if (result) {
            return result;
        }
    }
    return 0;
}

static int install_filter(const struct host_jail *jail) {
    /* A call off the list is a bug of ours, or no longer us: it fails, visibly, and changes
     * nothing. */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int result;

    if (!filter) {
        return -ENOMEM;
    }
    result = allow(filter, calls, ARRAY_SIZE(calls));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (result == 0) {
        result = allow(filter, sanitizer_calls, ARRAY_SIZE(sanitizer_calls));
    }
#endif
    if (result == 0 && jail->writable) {
        result = allow(filter, write_calls, ARRAY_SIZE(write_calls));
    }
    if (result == 0) {
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (result == 0) {
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    if (result == 0) {
        result = seccomp_load(filter);
    }
    seccomp_release(filter);
    return result;
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
    return install_filter(jail);
}
