/*
 * Host descriptors: plain I/O on what is already open, and making descriptors that have no name.
 * host_path.c has the calls that take a name.
 *
 * Owns nothing. Every function returns 0/positive or -errno. A call that a host signal interrupted
 * before it did anything is made again: the only signals the kernel process gets are its own.
 */
#include "host/host_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Never again after EINTR: Linux has released the number by then (close(2)). */
int host_close(int fd) {
    if (close(fd) < 0 && errno != EINTR) {
        return -errno;
    }
    return 0;
}

static _Thread_local struct {
    bool on; /* this thread comes by again */
    size_t count;
    int fds[8];
} closing;

void host_close_later(int fd) {
    if (closing.on && closing.count < ARRAY_SIZE(closing.fds)) {
        closing.fds[closing.count++] = fd;
    } else {
        (void)host_close(fd);
    }
}

void host_close_queued(bool more) {
    closing.on = more;
    while (closing.count) {
        (void)host_close(closing.fds[--closing.count]);
    }
}

int host_fstat(int fd, struct stat *stat) {
    struct statx found;

    /* By statx, which the jail allows anyway. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS, &found) < 0) {
        return -errno;
    }
    *stat = (struct stat){
        .st_dev = makedev(found.stx_dev_major, found.stx_dev_minor),
        .st_ino = found.stx_ino,
        .st_nlink = found.stx_nlink,
        .st_mode = found.stx_mode,
        .st_uid = found.stx_uid,
        .st_gid = found.stx_gid,
        .st_rdev = makedev(found.stx_rdev_major, found.stx_rdev_minor),
        .st_size = (off_t)found.stx_size,
        .st_blksize = found.stx_blksize,
        .st_blocks = (blkcnt_t)found.stx_blocks,
        .st_atim = {.tv_sec = found.stx_atime.tv_sec, .tv_nsec = found.stx_atime.tv_nsec},
        .st_mtim = {.tv_sec = found.stx_mtime.tv_sec, .tv_nsec = found.stx_mtime.tv_nsec},
        .st_ctim = {.tv_sec = found.stx_ctime.tv_sec, .tv_nsec = found.stx_ctime.tv_nsec},
    };
    return 0;
}

int host_fstatfs(int fd, struct statfs *stat) {
    return (int)RETRY(fstatfs(fd, stat));
}

ssize_t host_getdents64(int fd, void *buffer, size_t size) {
    return (ssize_t)RETRY(syscall(SYS_getdents64, fd, buffer, size));
}

/* All plain I/O goes by two calls: they are two fewer each for the jail to leave open. */
ssize_t host_read_flags(int fd, void *buffer, size_t size, off_t offset, int flags) {
    struct iovec iov = {.iov_base = buffer, .iov_len = size};

    return RETRY(preadv2(fd, &iov, 1, offset, flags));
}

ssize_t host_write_flags(int fd, const void *buffer, size_t size, off_t offset, int flags) {
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buffer, .iov_len = size};

    return RETRY(pwritev2(fd, &iov, 1, offset, flags));
}

ssize_t host_read(int fd, void *buffer, size_t size) {
    return host_read_flags(fd, buffer, size, -1, 0);
}

ssize_t host_write(int fd, const void *buffer, size_t size) {
    return host_write_flags(fd, buffer, size, -1, 0);
}

/* An offset below zero would mean the descriptor's own position there. */
ssize_t host_pread(int fd, void *buffer, size_t size, off_t offset) {
    return offset < 0 ? -EINVAL : host_read_flags(fd, buffer, size, offset, 0);
}

ssize_t host_pwrite(int fd, const void *buffer, size_t size, off_t offset) {
    return offset < 0 ? -EINVAL : host_write_flags(fd, buffer, size, offset, 0);
}

off_t host_lseek(int fd, off_t offset, int whence) {
    off_t result = lseek(fd, offset, whence);

    return result < 0 ? -errno : result;
}

int host_ftruncate(int fd, off_t size) {
    return RETRY(ftruncate(fd, size));
}

int host_fallocate(int fd, int mode, off_t offset, off_t size) {
    return RETRY(fallocate(fd, mode, offset, size));
}

int host_fsync(int fd, bool data_only) {
    return RETRY(data_only ? fdatasync(fd) : fsync(fd));
}

ssize_t host_tee(int from, int to, size_t size, unsigned flags) {
    return RETRY(tee(from, to, size, flags));
}

int host_dup(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    return copy < 0 ? -errno : copy;
}

int host_fcntl(int fd, int command, uintptr_t argument) {
    return RETRY(fcntl(fd, command, argument));
}

int host_ioctl(int fd, unsigned long request, void *argument) {
    return RETRY(ioctl(fd, request, argument));
}

uint32_t host_poll_now(int fd, uint32_t events) {
    /* POLL* and EPOLL* have the same values up to POLLRDHUP (epoll_ctl(2), poll(2)). */
    struct pollfd entry = {.fd = fd, .events = (short)(events & 0x3fff)};
    const struct timespec now = {0};
    int result;

    do {
        result = ppoll(&entry, 1, &now, NULL);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return EPOLLERR;
    }
    return entry.revents & POLLNVAL ? EPOLLERR : (uint16_t)entry.revents;
}

ssize_t host_getrandom(void *buffer, size_t size) {
    return RETRY(getrandom(buffer, size, 0));
}
