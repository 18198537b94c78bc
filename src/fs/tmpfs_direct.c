/*
 * tmpfs: files that guests use by themselves (donation.c). The memfd is the contents, so the size
 * and the blocks are exact whoever reads or writes; this file keeps the times exact.
 *
 * The host notes each access by a guest in the memfd's own times, which only a donated description
 * changes: the kernel's descriptors are O_NOATIME from the first donation on, and its writes set
 * the guest's times by themselves, later than the host's. So a host time that is another than the
 * one that was seen last tells of an access that the kernel has not seen.
 */
#include "fs/tmpfs_internal.h"

static bool later(struct timespec a, struct timespec b) {
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static bool same(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool tmpfs_atime_is_due(const struct tmpfs_node *node, struct timespec now) {
    return !later(node->atime, node->mtime) || !later(node->atime, node->ctime) ||
           now.tv_sec - node->atime.tv_sec >= 24 * 3600;
}

void tmpfs_direct_times_locked(struct tmpfs_node *node) {
    struct tmpfs_direct *direct = &node->direct;
    struct timespec seen = direct->seen;
    struct stat stat;

    if (!direct->reads || host_fstat(atomic_load(&node->data.memfd), &stat)) {
        return;
    }
    direct->seen = stat.st_atim;
    /* Within one tick of the host's clock there may be two reads, and a write between them. */
    if (!same(stat.st_atim, direct->ignored) &&
        (!same(stat.st_atim, seen) || !later(node->mtime, stat.st_atim)) &&
        later(stat.st_atim, node->atime) && tmpfs_atime_is_due(node, stat.st_atim)) {
        node->atime = stat.st_atim;
    }
}

void tmpfs_direct_forget_locked(struct tmpfs_node *node) {
    tmpfs_direct_times_locked(node);
    node->direct.ignored = node->direct.seen;
}

static unsigned long mount_flags(const struct file *file) {
    return file->path.mount ? atomic_load(&file->path.mount->flags) : 0;
}

bool tmpfs_keeps_atime(const struct file *file) {
    return (atomic_load(&file->flags) & O_NOATIME) ||
           (mount_flags(file) & (MS_NOATIME | MS_RDONLY));
}

/* From now on the host's times are watched. */
static int watch_times(struct tmpfs_node *node, int memfd) {
    struct stat stat;
    int error;
    LOCK_GUARD(&node->lock);

    if (node->direct.reads) {
        return 0;
    }
    error = host_fcntl(memfd, F_SETFL, O_NOATIME);
    if (!error && node->data.memfd_read_only >= 0) {
        error = host_fcntl(node->data.memfd_read_only, F_SETFL, O_NOATIME);
    }
    if (!error) {
        error = host_fstat(memfd, &stat);
    }
    if (!error) {
        node->direct = (struct tmpfs_direct){true, stat.st_atim, stat.st_atim};
    }
    return error;
}

int tmpfs_donate(struct file *file, uint32_t *rights) {
    struct inode *inode = file->inode;
    int flags = atomic_load(&file->flags), memfd, error;

    /* What is written the kernel must know of: of limits, and of times. */
    if (!(file->mode & FMODE_READ)) {
        return -EACCES;
    }
    if ((flags & (O_DIRECT | O_ASYNC)) || (mount_flags(file) & MS_STRICTATIME)) {
        return -EAGAIN;
    }
    lock_acquire(&inode->lock);
    memfd = tmpfs_data_memfd_locked(inode);
    error = memfd < 0 ? memfd : watch_times(tmpfs_node(inode), memfd);
    lock_release(&inode->lock);
    if (error) {
        return error;
    }
    *rights = SLOT_FD_READ | SLOT_FD_SEEK;
    return host_reopen(memfd, O_RDONLY | (tmpfs_keeps_atime(file) ? O_NOATIME : 0));
}
