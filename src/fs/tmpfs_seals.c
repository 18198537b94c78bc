/*
 * tmpfs: the seals of a memfd (fcntl(2), memfd_create(2)). The file has them; the host's memfd has
 * those that guests could break by themselves, with a map or a donated descriptor. The others stay
 * here, since the kernel cuts a memfd that nobody uses any more (host_memfd_close).
 */
#include <fcntl.h>

#include "fs/tmpfs_internal.h"

#ifndef F_SEAL_EXEC /* Linux 6.3 */
#define F_SEAL_EXEC 0x20u
#endif
#define EXECUTE 0111u

#define SEALS_ON_HOST (F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)
#define SEALS_ALL     (SEALS_ON_HOST | F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_EXEC)

int tmpfs_seals_allow_size_locked(const struct tmpfs_data *data, int64_t from, int64_t to) {
    return to < from && (data->seals & F_SEAL_SHRINK) ? -EPERM : 0;
}

int tmpfs_seals_allow_mode_locked(const struct tmpfs_node *node, mode_t mode) {
    return ((node->mode ^ mode) & EXECUTE) && (node->data.seals & F_SEAL_EXEC) ? -EPERM : 0;
}

static int add_locked(struct inode *inode, unsigned seals) {
    struct tmpfs_node *node = tmpfs_node(inode);
    struct tmpfs_data *data = &node->data;
    int error;
    LOCK_GUARD(&inode->lock);

    if (data->seals & F_SEAL_SEAL) {
        return -EPERM;
    }
    LOCK_GUARD(&node->lock);
    if ((seals & F_SEAL_EXEC) &&
        (node->mode & EXECUTE)) { /* what may run is not written any more */
        seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    }
    error = host_fcntl(data->memfd, F_ADD_SEALS, seals & SEALS_ON_HOST);
    if (!error) {
        data->seals |= seals;
    }
    return error;
}

int tmpfs_seals(struct file *file, int command, unsigned seals) {
    struct inode *inode = file->inode;

    if (command == F_ADD_SEALS && !(file->mode & FMODE_WRITE)) {
        return -EPERM;
    }
    if (inode->sb->type != &tmpfs_type || !S_ISREG(inode->type) ||
        (command == F_ADD_SEALS && (seals & ~SEALS_ALL))) {
        return -EINVAL;
    }
    if (command == F_ADD_SEALS) {
        return add_locked(inode, seals);
    }
    LOCK_GUARD(&inode->lock);
    return (int)tmpfs_node(inode)->data.seals;
}
