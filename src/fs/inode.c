/*
 * Inodes: their life, attributes and who may change them.
 *
 * Life: a file system makes one (inode_new) when it looks a file up or creates it, and keeps its
 * own weak or owning table so that one file has one inode. The last inode_put() frees it through
 * ops->release. Freeing a directory may free its children; they are queued, not recursed into, so
 * that a tree as deep as a guest likes does not overflow a kernel thread's stack.
 */
#include "fs/vfs_internal.h"

struct inode *inode_new(struct super_block *sb, ino_t ino, mode_t type, const struct inode_ops *ops,
                        const struct file_ops *file_ops, void *private) {
    struct inode *inode = calloc(1, sizeof(*inode));

    if (!inode) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&inode->ref);
    inode->sb = super_block_get(sb);
    inode->ino = ino;
    inode->type = type & S_IFMT;
    inode->mode = S_ISSOCK(type) ? 0777 : 0600;
    inode->ops = ops;
    inode->file_ops = file_ops;
    inode->private = private;
    lock_init(&inode->lock, LOCK_INODE);
    list_init(&inode->watches);
    return inode;
}

struct inode *inode_get(struct inode *inode) {
    ref_get(&inode->ref);
    return inode;
}

/* Inodes whose last reference went while this thread was already freeing one. They are linked by
 * ->watches, which nobody uses any more (a watch holds its inode). */
static _Thread_local struct list_head *freeing;

static void inode_free(struct inode *inode) {
    struct super_block *sb = inode->sb;
    void *endpoint = atomic_load(&inode->endpoint);
    struct file_lock_context *locks = atomic_load(&inode->locks);

    if (endpoint && inode->endpoint_release) {
        inode->endpoint_release(endpoint);
    }
    if (locks) {
        file_lock_context_free(locks);
    }
    if (inode->ops && inode->ops->release) {
        inode->ops->release(inode);
    }
    lock_destroy(&inode->lock);
    free(inode);
    super_block_put(sb);
}

void inode_put(struct inode *inode) {
    struct list_head queue;

    if (!ref_put(&inode->ref)) {
        return;
    }
    if (freeing) {
        list_add_tail(&inode->watches, freeing);
        return;
    }
    list_init(&queue);
    freeing = &queue;
    inode_free(inode);
    while (!list_empty(&queue)) {
        struct inode *next = list_first_entry(&queue, struct inode, watches);

        list_del(&next->watches);
        inode_free(next);
    }
    freeing = NULL;
}

/* The clock of the host's own files, so that times from there compare with ours. */
struct timespec inode_now(void) {
    struct timespec now;

    if (host_clock_gettime(CLOCK_REALTIME_COARSE, &now)) {
        now = timespec_from_ns(host_clock_realtime());
    }
    return now;
}

int inode_getattr(struct inode *inode, struct kstat *stat) {
    memset(stat, 0, sizeof(*stat));
    if (inode->ops && inode->ops->getattr) {
        return inode->ops->getattr(inode, stat);
    }
    /* Pipes, sockets, anonymous files. */
    stat->dev = inode->sb->dev;
    stat->ino = inode->ino;
    stat->mode = inode->type | inode->mode;
    stat->uid = inode->uid;
    stat->gid = inode->gid;
    stat->nlink = 1;
    stat->rdev = inode->rdev;
    stat->blksize = PAGE_SIZE;
    return 0;
}

bool inode_owner_or_capable(const struct kstat *stat, const struct credentials *creds) {
    return creds->fsuid == stat->uid || credentials_capable(creds, CAP_FOWNER);
}

/* chown(2): the owner may give the file to one of his groups; anything else wants CAP_CHOWN. */
static int may_chown(const struct iattr *attr, const struct kstat *stat,
                     const struct credentials *creds) {
    bool capable = credentials_capable(creds, CAP_CHOWN);

    if ((attr->valid & ATTR_UID) && !capable &&
        !(creds->fsuid == stat->uid && attr->uid == stat->uid)) {
        return -EPERM;
    }
    if ((attr->valid & ATTR_GID) && !capable &&
        !(creds->fsuid == stat->uid &&
          (attr->gid == stat->gid || credentials_in_group(creds, attr->gid)))) {
        return -EPERM;
    }
    return 0;
}

/* utimensat(2): who may write may set "now"; any other time wants the owner. */
static int may_set_times(struct inode *inode, const struct iattr *attr, const struct kstat *stat,
                         const struct credentials *creds) {
    const unsigned touch = ATTR_ATIME | ATTR_MTIME | ATTR_ATIME_NOW | ATTR_MTIME_NOW;

    if (!(attr->valid & (ATTR_ATIME | ATTR_MTIME)) || inode_owner_or_capable(stat, creds)) {
        return 0;
    }
    if ((attr->valid & touch) == touch) {
        return inode_permission(inode, MAY_WRITE, creds);
    }
    return -EPERM;
}

/* What inotify(7) is told of a change that was asked for. */
static uint32_t setattr_event(unsigned valid) {
    uint32_t mask = valid & (ATTR_UID | ATTR_GID | ATTR_MODE) ? IN_ATTRIB : 0;

    if (valid & ATTR_SIZE) {
        mask |= IN_MODIFY;
    }
    if ((valid & ATTR_ATIME) && (valid & ATTR_MTIME)) {
        mask |= IN_ATTRIB;
    } else if (valid & ATTR_ATIME) {
        mask |= IN_ACCESS;
    } else if (valid & ATTR_MTIME) {
        mask |= IN_MODIFY;
    }
    return mask;
}

/* Pipes and sockets have an owner and a mode for as long as they are open; no times. */
static int keep_attributes(struct inode *inode, const struct iattr *attr) {
    if ((!S_ISFIFO(inode->type) && !S_ISSOCK(inode->type)) || (inode->ops && inode->ops->getattr) ||
        (attr->valid & (ATTR_ATIME | ATTR_MTIME))) {
        return -EPERM;
    }
    if (attr->valid & ATTR_UID) {
        inode->uid = attr->uid;
    }
    if (attr->valid & ATTR_GID) {
        inode->gid = attr->gid;
    }
    if (attr->valid & ATTR_MODE) {
        inode->mode = attr->mode;
    }
    return 0;
}

int dentry_setattr(struct dentry *dentry, struct iattr *attr, const struct credentials *creds) {
    struct inode *inode = dentry->inode;
    struct kstat stat;
    int error = inode_getattr(inode, &stat);

    if (error) {
        return error;
    }
    error = may_chown(attr, &stat, creds);
    if (!error) {
        error = may_set_times(inode, attr, &stat, creds);
    }
    if (error) {
        return error;
    }
    if (attr->valid & ATTR_MODE) {
        gid_t gid = attr->valid & ATTR_GID ? attr->gid : stat.gid;

        if (!inode_owner_or_capable(&stat, creds)) {
            return -EPERM;
        }
        attr->mode &= 07777;
        /* chmod(2): S_ISGID silently goes when the caller is not of the file's group. */
        if (!credentials_in_group(creds, gid) && !credentials_capable(creds, CAP_FSETID)) {
            attr->mode &= ~(mode_t)S_ISGID;
        }
    } else if ((attr->valid & (ATTR_UID | ATTR_GID | ATTR_SIZE)) && S_ISREG(inode->type)) {
        mode_t mode = stat.mode & 07777;
        bool keep = (attr->valid & ATTR_SIZE) && !(attr->valid & (ATTR_UID | ATTR_GID)) &&
                    credentials_capable(creds, CAP_FSETID);

        /* chown(2), truncate(2): suid goes; sgid when it means "run with the group". */
        if (!keep) {
            mode &= ~(mode_t)S_ISUID;
            if (mode & S_IXGRP) {
                mode &= ~(mode_t)S_ISGID;
            }
        }
        if (mode != (stat.mode & 07777)) {
            attr->valid |= ATTR_MODE;
            attr->mode = mode;
        }
    }
    error = inode->ops && inode->ops->setattr ? inode->ops->setattr(inode, attr)
                                              : keep_attributes(inode, attr);
    if (!error && ((attr->valid & (ATTR_ATIME | ATTR_MTIME)) ||
                   ((attr->valid & ATTR_MODE) && (attr->mode & (S_ISUID | S_ISGID))))) {
        /* What guests do by themselves from now on leaves other traces: new times, no set-id. */
        donation_revoke_inode(inode, true);
    }
    if (!error) {
        fs_event_dentry(dentry, setattr_event(attr->valid));
    }
    return error;
}

/* ---- writers against programs being run ---- */

int inode_get_write(struct inode *inode) {
    int count = atomic_load(&inode->write_count);

    do {
        if (count < 0) {
            return -ETXTBSY;
        }
    } while (!atomic_compare_exchange_weak(&inode->write_count, &count, count + 1));
    return 0;
}

void inode_put_write(struct inode *inode) {
    atomic_fetch_sub(&inode->write_count, 1);
}

int inode_deny_write(struct inode *inode) {
    int count = atomic_load(&inode->write_count);

    do {
        if (count > 0) {
            return -ETXTBSY;
        }
    } while (!atomic_compare_exchange_weak(&inode->write_count, &count, count - 1));
    return 0;
}

void inode_allow_write(struct inode *inode) {
    atomic_fetch_add(&inode->write_count, 1);
}
