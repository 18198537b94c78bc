/*
 * Host files by name. A name is one component below a directory descriptor, and no host symlink is
 * ever followed: openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS, or O_NOFOLLOW on one
 * checked component where the host has no openat2. Several components at once are for openat2
 * alone, and for statx(2) where the mounts themselves refuse symlinks.
 *
 * Owns one descriptor: /proc/self/fd as it was before the jail, for the few calls that Linux offers
 * by path only. Where "." of a directory does the same, that is used.
 */
#include "host/host_internal.h"

#include <errno.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/base.h"

static _Atomic int proc_fd = -1; /* O_PATH of /proc/self/fd; -1: not open */

static int host_proc_fd_setup(void) {
    int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    /* After a fork the old one names the parent's descriptors. */
    int old = atomic_exchange(&proc_fd, fd);

    if (old >= 0) {
        (void)host_close(old);
    }
    return 0;
}

static int proc_fd_get(void) {
    int fd = atomic_load_explicit(&proc_fd, memory_order_acquire);

    if (fd < 0) {
        int error = host_proc_fd_setup();

        if (error) {
            return error;
        }
        fd = atomic_load(&proc_fd);
    }
    return fd;
}

static unsigned fd_limit; /* set once by host_files_setup() */

int host_files_setup(void) {
    struct rlimit limit;

    (void)umask(0);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t before = limit.rlim_cur;

        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            limit.rlim_cur = before;
        }
    }
    fd_limit = (unsigned)MIN(limit.rlim_cur, (rlim_t)1 << 20);
    return host_proc_fd_setup();
}

unsigned host_fd_limit(void) {
    return fd_limit ? fd_limit : 1024;
}

/* The VFS gives single components only; a slash or ".." here would be an escape, so it is checked
 * where the host call is made. */
static bool name_is_component(const char *name) {
    return strcmp(name, "..") != 0 && !strchr(name, '/');
}

bool host_openat2_missing(void) {
    static _Atomic int answer; /* 0: not asked yet; 1: missing; 2: there */
    int known = atomic_load_explicit(&answer, memory_order_relaxed);

    if (!known) {
        /* Nothing to open: a host that has the call finds fault with the size. */
        known = syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno != EINVAL ? 1 : 2;
        atomic_store_explicit(&answer, known, memory_order_relaxed);
    }
    return known == 1;
}

/* A relative path of one or more components, none of them "..". */
static bool path_is_below(const char *path) {
    const char *at = path;

    if (*path == '/') {
        return false;
    }
    for (;;) {
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || !at[2])) {
            return false;
        }
        at = strchr(at, '/');
        if (!at) {
            return true;
        }
        at++;
    }
}

int host_open_path(int dirfd, const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC)};

    return host_openat2_missing()
               ? (int)RETRY(openat(dirfd, path, flags | O_CLOEXEC))
               : (int)RETRY(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

static int open_resolved(int dirfd, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = flags & (O_CREAT | __O_TMPFILE) ? mode & 07777 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int tries = 0;

    for (;;) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        if (fd >= 0) {
            return (int)fd;
        }
        /* EAGAIN: a rename on the host raced with the walk. */
        if (errno != EINTR && (errno != EAGAIN || tries++ >= 64)) {
            return -errno;
        }
    }
}

int host_open_below(int dirfd, const char *path, int flags) {
    if (!path_is_below(path)) {
        return -EINVAL;
    }
    return host_openat2_missing() ? -ENOSYS
                                  : open_resolved(dirfd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0);
}

int host_openat(int dirfd, const char *name, int flags, mode_t mode) {
    if (!name_is_component(name)) {
        return -EINVAL;
    }
    if (!*name) {
        name = "."; /* a directory, again with other rights */
    }
    flags |= O_CLOEXEC | O_NOFOLLOW;
    return host_openat2_missing() ? (int)RETRY(openat(dirfd, name, flags, mode))
                                  : open_resolved(dirfd, name, flags, mode);
}

static int statx_path(int dirfd, const char *path, struct statx *stat) {
    int flags = AT_SYMLINK_NOFOLLOW | AT_STATX_SYNC_AS_STAT | (*path ? 0 : AT_EMPTY_PATH);

    return statx(dirfd, path, flags, STATX_BASIC_STATS | STATX_BTIME, stat) < 0 ? -errno : 0;
}

int host_statx(int dirfd, const char *name, struct statx *stat) {
    return name_is_component(name) ? statx_path(dirfd, name, stat) : -EINVAL;
}

int host_statx_below(int dirfd, const char *path, struct statx *stat) {
    return path_is_below(path) ? statx_path(dirfd, path, stat) : -EINVAL;
}

ssize_t host_readlinkat(int dirfd, const char *name, char *buffer, size_t size) {
    ssize_t length = readlinkat(dirfd, name, buffer, size);

    return length < 0 ? -errno : length;
}

int host_mkdirat(int dirfd, const char *name, mode_t mode) {
    if (!name_is_component(name)) {
        return -EINVAL;
    }
    return mkdirat(dirfd, name, mode) < 0 ? -errno : 0;
}

int host_mknodat(int dirfd, const char *name, mode_t mode, dev_t dev) {
    if (!name_is_component(name)) {
        return -EINVAL;
    }
    return mknodat(dirfd, name, mode, dev) < 0 ? -errno : 0;
}

int host_symlinkat(const char *target, int dirfd, const char *name) {
    if (!name_is_component(name)) {
        return -EINVAL;
    }
    return symlinkat(target, dirfd, name) < 0 ? -errno : 0;
}

int host_linkat(int fromfd, const char *from, int tofd, const char *to) {
    if (!name_is_component(from) || !name_is_component(to)) {
        return -EINVAL;
    }
    if (*from) {
        return linkat(fromfd, from, tofd, to, 0) < 0 ? -errno : 0;
    }
    /* AT_EMPTY_PATH asks for CAP_DAC_READ_SEARCH on older hosts; the magic link does not. */
    if (linkat(fromfd, "", tofd, to, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (errno != ENOENT && errno != EPERM) {
        return -errno;
    }
    char number[16];
    int proc = proc_fd_get();

    if (proc < 0) {
        return proc;
    }
    snprintf(number, sizeof(number), "%d", fromfd);
    return linkat(proc, number, tofd, to, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int host_unlinkat(int dirfd, const char *name, int flags) {
    if (!name_is_component(name)) {
        return -EINVAL;
    }
    return unlinkat(dirfd, name, flags) < 0 ? -errno : 0;
}

int host_renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags) {
    if (!name_is_component(from) || !name_is_component(to)) {
        return -EINVAL;
    }
    /* Not the libc's renameat2(): without flags that is renameat(), which the jail does not know.
     */
    return syscall(SYS_renameat2, fromfd, from, tofd, to, flags) < 0 ? -errno : 0;
}

/* By the magic link, which works for O_PATH descriptors as well. */
int host_fchmod(int fd, mode_t mode) {
    char number[16];
    int proc = proc_fd_get();

    if (proc < 0) {
        return proc;
    }
    snprintf(number, sizeof(number), "%d", fd);
    return fchmodat(proc, number, mode, 0) < 0 ? -errno : 0;
}

int host_fchown(int fd, uid_t uid, gid_t gid) {
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int host_utimens(int fd, const struct timespec times[2]) {
    if (utimensat(fd, "", times, AT_EMPTY_PATH) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOENT) {
        return -errno;
    }
    /* Before Linux 5.8 there was no AT_EMPTY_PATH here. */
    char number[16];
    int proc = proc_fd_get();

    if (proc < 0) {
        return proc;
    }
    snprintf(number, sizeof(number), "%d", fd);
    return utimensat(proc, number, times, 0) < 0 ? -errno : 0;
}

int host_reopen(int fd, int flags) {
    if (flags & O_DIRECTORY) {
        return host_openat(fd, "", flags, 0);
    }
    char number[16];
    int proc = proc_fd_get();

    if (proc < 0) {
        return proc;
    }
    snprintf(number, sizeof(number), "%d", fd);
    return host_open_path(proc, number, flags);
}

/*
 * Extended attributes of an O_PATH descriptor, for which Linux has no call: the file is opened for
 * reading, which only regular files and directories can bear. One that we may not read has none.
 */
static int reopen_for_xattr(int fd) {
    struct stat stat;
    int error = host_fstat(fd, &stat);

    if (error) {
        return error;
    }
    if (S_ISDIR(stat.st_mode)) {
        return host_reopen(fd, O_RDONLY | O_DIRECTORY);
    }
    if (S_ISREG(stat.st_mode)) {
        return host_reopen(fd, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    }
    return -EOPNOTSUPP;
}

ssize_t host_getxattr(int fd, const char *name, void *value, size_t size) {
    ssize_t length = fgetxattr(fd, name, value, size);

    if (length >= 0 || errno != EBADF) {
        return length < 0 ? -errno : length;
    }
    int CLEANUP(host_fd) readable = reopen_for_xattr(fd);

    if (readable < 0) {
        return readable == -EACCES ? -ENODATA : readable;
    }
    length = fgetxattr(readable, name, value, size);
    return length < 0 ? -errno : length;
}

ssize_t host_listxattr(int fd, char *list, size_t size) {
    ssize_t length = flistxattr(fd, list, size);

    if (length >= 0 || errno != EBADF) {
        return length < 0 ? -errno : length;
    }
    int CLEANUP(host_fd) readable = reopen_for_xattr(fd);

    if (readable < 0) {
        return readable == -EACCES || readable == -EOPNOTSUPP ? 0 : readable;
    }
    length = flistxattr(readable, list, size);
    return length < 0 ? -errno : length;
}

/* Only what a guest may set: user.* on what is open for reading or writing. */
int host_setxattr(int fd, const char *name, const void *value, size_t size, int flags) {
    return fsetxattr(fd, name, value, size, flags) < 0 ? -errno : 0;
}

int host_removexattr(int fd, const char *name) {
    return fremovexattr(fd, name) < 0 ? -errno : 0;
}
