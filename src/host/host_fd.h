/*
 * Host descriptors and host files, as thin wrappers that return -errno. Names are Linux's with
 * `host_` before them; nothing here resolves more than one path component unless its name says so.
 */
#ifndef STARLING_HOST_FD_H
#define STARLING_HOST_FD_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/base.h"

struct statfs;

int host_close(int fd);
/* The same, for a descriptor whose end nobody can see: a kernel thread does it when it has let its
 * guest go on. */
void host_close_later(int fd);
/* A kernel thread: closes what was put off, and may put off more (`more`). */
void host_close_queued(bool more);
static inline void host_fd_cleanup(int *fd) {
    if (*fd >= 0) {
        (void)host_close(*fd);
    }
}
static inline int host_fd_steal(int *fd) {
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

/*
 * Once in the kernel process, after its last fork and before its jail: opens /proc/self/fd for the
 * calls that Linux offers by path only (host_reopen and fall-backs on older hosts); raises
 * RLIMIT_NOFILE to the hard limit, since every file that guests hold open is one of ours; umask(0),
 * since modes of what is made on the host are the guest's, whose umask the VFS has applied.
 */
int MUST_CHECK host_files_setup(void);
/* How many descriptors this process may have (RLIMIT_NOFILE). */
unsigned host_fd_limit(void);
/* An old host, or a policy that knows no openat2(2): openat(2) takes its place. */
bool MUST_CHECK host_openat2_missing(void);
/* A path of our own choosing below `dirfd`, O_CLOEXEC; never a guest's. -errno. */
int MUST_CHECK host_open_path(int dirfd, const char *path, int flags);

/* A file that is there, by several components, none of them ".."; what host_openat() says of
 * symlinks. -ENOSYS: the host has no openat2, ask for one component at a time. */
int MUST_CHECK host_open_below(int dirfd, const char *path, int flags);
/* openat2(2) with RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS; O_CLOEXEC and O_NOFOLLOW always;
 * `name` is one component, or "" for the directory itself. */
int MUST_CHECK host_openat(int dirfd, const char *name, int flags, mode_t mode);
/* statx with AT_SYMLINK_NOFOLLOW (AT_EMPTY_PATH for ""), all basic fields and btime. */
int MUST_CHECK host_statx(int dirfd, const char *name, struct statx *stat);
/* The same for several components, none of them "..", below a directory of a tree in which the host
 * follows no symlinks (host_tree_open): -ELOOP for one in the way. */
int MUST_CHECK host_statx_below(int dirfd, const char *path, struct statx *stat);
int MUST_CHECK host_fstat(int fd, struct stat *stat);
int MUST_CHECK host_fstatfs(int fd, struct statfs *stat);
ssize_t MUST_CHECK host_readlinkat(int dirfd, const char *name, char *buffer, size_t size);
ssize_t MUST_CHECK host_getdents64(int fd, void *buffer, size_t size);
int MUST_CHECK host_mkdirat(int dirfd, const char *name, mode_t mode);
int MUST_CHECK host_mknodat(int dirfd, const char *name, mode_t mode, dev_t dev);
int MUST_CHECK host_symlinkat(const char *target, int dirfd, const char *name);
/* from "": the file of the descriptor itself. */
int MUST_CHECK host_linkat(int fromfd, const char *from, int tofd, const char *to);
int MUST_CHECK host_unlinkat(int dirfd, const char *name, int flags);
int MUST_CHECK host_renameat2(int fromfd, const char *from, int tofd, const char *to,
                              unsigned flags);
int MUST_CHECK host_fchmod(int fd, mode_t mode);          /* O_PATH descriptors too */
int MUST_CHECK host_fchown(int fd, uid_t uid, gid_t gid); /* likewise */
int MUST_CHECK host_utimens(int fd, const struct timespec times[2]);
int MUST_CHECK host_reopen(int fd,
                           int flags); /* the same inode by /proc/self/fd with other rights */

ssize_t MUST_CHECK host_read(int fd, void *buffer, size_t size);
ssize_t MUST_CHECK host_write(int fd, const void *buffer, size_t size);
ssize_t MUST_CHECK host_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t MUST_CHECK host_pwrite(int fd, const void *buffer, size_t size, off_t offset);
/* preadv2/pwritev2 with RWF_* flags; offset -1: the descriptor's own position. */
ssize_t MUST_CHECK host_read_flags(int fd, void *buffer, size_t size, off_t offset, int flags);
ssize_t MUST_CHECK host_write_flags(int fd, const void *buffer, size_t size, off_t offset,
                                    int flags);
off_t MUST_CHECK host_lseek(int fd, off_t offset, int whence);
int MUST_CHECK host_ftruncate(int fd, off_t size);
int MUST_CHECK host_fallocate(int fd, int mode, off_t offset, off_t size);
int MUST_CHECK host_fsync(int fd, bool data_only);
ssize_t MUST_CHECK host_tee(int from, int to, size_t size, unsigned flags);

int MUST_CHECK host_dup(int fd);
int MUST_CHECK host_fcntl(int fd, int command, uintptr_t argument);
int MUST_CHECK host_ioctl(int fd, unsigned long request, void *argument);
/* poll(2) on one descriptor without waiting: its EPOLL* mask. */
uint32_t host_poll_now(int fd, uint32_t events);
ssize_t MUST_CHECK host_getrandom(void *buffer, size_t size);

ssize_t MUST_CHECK host_getxattr(int fd, const char *name, void *value,
                                 size_t size); /* O_PATH too */
ssize_t MUST_CHECK host_listxattr(int fd, char *list, size_t size);
/* Not on O_PATH descriptors. */
int MUST_CHECK host_setxattr(int fd, const char *name, const void *value, size_t size, int flags);
int MUST_CHECK host_removexattr(int fd, const char *name);

#endif
