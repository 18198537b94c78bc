/*
 * tmpfs: files that guests use by themselves (donation.c). The memfd is the contents, so the size
 * and the blocks are exact whoever reads or writes; this file keeps the times, and what --memory
 * counts.
 *
 * The host notes each access by a guest in the memfd's own times. The kernel's own reads leave no
 * trace there (its descriptors are O_NOATIME from the first donation on); after its own writes it
 * looks at them. So a host time that is another than the one that was seen last tells of an access
 * that the kernel has not seen.
 *
 * Who has a memfd to write to, by a donated description or for a shared map, can make it as large
 * as it likes, whatever the stub would let through. So only files of a file system without a size
 * limit are donated for writing, which is then the guest's right. Even who can only read it makes
 * pages, by reading holes through a map. So what files hold is counted when --memory asks for it
 * (host_buffer.c), not when it is written.
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

void tmpfs_direct_apply_locked(struct tmpfs_node *node, const struct stat *stat) {
    struct tmpfs_direct *direct = &node->direct;
    struct timespec seen = direct->seen;

    if (!direct->watched) {
        return;
    }
    if (!same(stat->st_mtim, direct->modified)) {
        direct->modified = node->mtime = stat->st_mtim;
        if (later(stat->st_mtim, node->ctime)) {
            node->ctime = stat->st_mtim;
        }
    }
    direct->seen = stat->st_atim;
    /* Within one tick of the host's clock there may be two reads, and a write between them. */
    if (!same(stat->st_atim, direct->ignored) &&
        (!same(stat->st_atim, seen) || !later(node->mtime, stat->st_atim)) &&
        later(stat->st_atim, node->atime) && tmpfs_atime_is_due(node, stat->st_atim)) {
        node->atime = stat->st_atim;
    }
}

void tmpfs_direct_times_locked(struct tmpfs_node *node) {
    struct stat stat;

    if (node->direct.watched && host_fstat(atomic_load(&node->data.memfd), &stat) == 0) {
        tmpfs_direct_apply_locked(node, &stat);
    }
}

void tmpfs_direct_forget_locked(struct tmpfs_node *node) {
    tmpfs_direct_times_locked(node);
    node->direct.ignored = node->direct.seen;
    node->direct.set = inode_now();
}

struct timespec tmpfs_direct_now_locked(const struct tmpfs_node *node) {
    struct timespec now = inode_now();

    return node->direct.watched && later(node->direct.modified, now) ? node->direct.modified : now;
}

/* ---- giving ---- */

static unsigned long mount_flags(const struct file *file) {
    return file->path.mount ? atomic_load(&file->path.mount->flags) : 0;
}

bool tmpfs_keeps_atime(const struct file *file) {
    return (atomic_load(&file->flags) & O_NOATIME) ||
           (mount_flags(file) & (MS_NOATIME | MS_RDONLY));
}

/* An access in the same tick of the host's clock would leave no trace. */
static bool just_now(struct timespec time) {
    struct timespec now = inode_now();
    int64_t ns = (now.tv_sec - time.tv_sec) * 1000000000 + now.tv_nsec - time.tv_nsec;

    return ns >= 0 && ns < 20000000;
}

/* From now on the host's times are watched. */
static int watch_times(struct tmpfs_node *node, int memfd) {
    struct stat stat;
    int error;
    LOCK_GUARD(&node->lock);

    if (just_now(node->direct.set)) {
        return -EAGAIN;
    }
    if (node->direct.watched) {
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
        node->direct = (struct tmpfs_direct){
            .watched = true,
            .seen = stat.st_atim,
            .ignored = stat.st_atim,
            .modified = stat.st_mtim,
        };
    }
    return error;
}

/* write(2) clears set-id bits, but for who has CAP_FSETID. */
static bool has_set_id(struct tmpfs_node *node) {
    LOCK_GUARD(&node->lock);

    return node->mode & (S_ISUID | S_ISGID);
}

int tmpfs_donate(struct file *file, uint32_t *rights) {
    struct inode *inode = file->inode;
    struct tmpfs_node *node = tmpfs_node(inode);
    bool limited = ((struct tmpfs_super *)inode->sb->private)->page_limit;
    bool reads = file->mode & FMODE_READ;
    bool writes = (file->mode & FMODE_WRITE) && !limited && !has_set_id(node);
    int flags = atomic_load(&file->flags), memfd, error;

    if (!reads && limited) {
        return -EACCES;
    }
    if ((!reads && !writes) || (flags & (O_DIRECT | O_ASYNC)) ||
        (mount_flags(file) & MS_STRICTATIME)) {
        return -EAGAIN;
    }
    lock_acquire(&inode->lock);
    memfd = tmpfs_data_memfd_locked(inode);
    error = memfd < 0 ? memfd : watch_times(node, memfd);
    lock_release(&inode->lock);
    if (error) {
        return error;
    }
    *rights = SLOT_FD_SEEK | (reads ? SLOT_FD_READ : 0) | (writes ? SLOT_FD_WRITE : 0);
    return host_reopen(memfd, (!writes ? O_RDONLY
                               : reads ? O_RDWR
                                       : O_WRONLY) |
                                  (writes ? flags & O_APPEND : 0) |
                                  (tmpfs_keeps_atime(file) ? O_NOATIME : 0));
}
