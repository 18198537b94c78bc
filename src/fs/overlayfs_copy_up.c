/*
 * overlayfs: copy-up. A lower file that is about to change is copied into the work directory with
 * its owner, mode, times and extended attributes, and becomes the real one when it is complete:
 * nobody sees half a copy. inode->lock, held over it, makes two tasks that want the same copy make
 * one.
 *
 * A directory is copied without its entries: they go on coming from the lower one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/overlayfs_internal.h"

#define COPY_CHUNK (256 * 1024)

void overlay_work_name(struct super_block *sb, char name[OVERLAY_WORK_NAME]) {
    snprintf(name, OVERLAY_WORK_NAME, "#%" PRIx64,
             atomic_fetch_add(&overlay_super(sb)->next_work, 1));
}

static int open_real(struct inode *real, int flags, const struct credentials *creds,
                     const struct open_name *opening, struct file **file) {
    struct path path = {.dentry = dentry_new_anonymous(real, "overlay")};
    int error;

    if (!path.dentry) {
        return -ENOMEM;
    }
    error = file_open_named(&path, flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC), creds,
                            opening, file);
    dentry_put(path.dentry);
    return error;
}

int overlay_open_real(struct inode *real, int flags, const struct credentials *creds,
                      struct file **file) {
    return open_real(real, flags, creds, NULL, file);
}

int overlay_open_lower(struct inode *inode, int flags, const struct credentials *creds,
                       const struct open_name *opening, struct file **file) {
    struct open_name lower;

    if (opening) {
        lower = (struct open_name){overlay_node(opening->base)->lower, opening->names};
    }
    return open_real(overlay_node(inode)->lower, flags, creds, opening ? &lower : NULL, file);
}

/* Writes the whole buffer: 0, -errno. */
static int write_all(struct file *to, const char *buffer, size_t size, int64_t pos) {
    while (size > 0) {
        ssize_t done = to->ops->write(to, buffer, size, &pos);

        if (done <= 0) {
            return done ? (int)done : -ENOSPC;
        }
        buffer += done;
        size -= (size_t)done;
    }
    return 0;
}

/* Holes stay holes. */
static int copy_ranges(struct file *from, struct file *to, int64_t size, bool sparse,
                       char *buffer) {
    int64_t pos = 0;

    while (pos < size) {
        if (sparse && from->ops->llseek) {
            int64_t data = from->ops->llseek(from, pos, SEEK_DATA);

            if (data == -ENXIO) {
                return 0;
            }
            pos = data > pos ? data : pos;
            if (pos >= size) {
                return 0;
            }
        }
        int64_t at = pos;
        ssize_t done =
            from->ops->read(from, buffer, (size_t)MIN(size - pos, (int64_t)COPY_CHUNK), &at);

        if (done <= 0) {
            return (int)done; /* 0: it shrank on the host meanwhile */
        }
        int error = write_all(to, buffer, (size_t)done, pos);

        if (error) {
            return error;
        }
        pos += done;
    }
    return 0;
}

static int copy_data(struct inode *lower, struct inode *upper, const struct kstat *stat,
                     int64_t size) {
    struct file *from CLEANUP(file_put) = NULL, *to CLEANUP(file_put) = NULL;
    char *buffer CLEANUP(free) = NULL;
    struct iattr attr = {.valid = ATTR_SIZE, .size = size};
    bool sparse = stat->blocks * 512 < stat->size;
    int error;

    if (size == 0) {
        return 0;
    }
    buffer = malloc(COPY_CHUNK);
    error = buffer ? overlay_open_real(lower, O_RDONLY, NULL, &from) : -ENOMEM;
    if (!error) {
        error = overlay_open_real(upper, O_WRONLY, NULL, &to);
    }
    if (!error) {
        error = copy_ranges(from, to, size, sparse, buffer);
    }
    if (!error && sparse) {
        error = upper->ops->setattr(upper, &attr);
    }
    return error;
}

static int copy_xattr(struct inode *lower, struct inode *upper, const char *name) {
    char *value CLEANUP(free) = NULL;
    ssize_t size = lower->ops->getxattr(lower, name, NULL, 0);

    if (size < 0) {
        return 0; /* gone, or not for us */
    }
    value = malloc((size_t)size + 1);
    if (!value) {
        return -ENOMEM;
    }
    size = lower->ops->getxattr(lower, name, value, (size_t)size);
    if (size < 0) {
        return 0;
    }
    int error = upper->ops->setxattr(upper, name, value, (size_t)size, 0);

    /* What the upper file system has no room or no place for is left behind, as Linux does. */
    return error == -ENOMEM ? error : 0;
}

static int copy_xattrs(struct inode *lower, struct inode *upper) {
    char *list CLEANUP(free) = NULL;
    ssize_t size;

    if (!lower->ops->listxattr || !lower->ops->getxattr || !upper->ops->setxattr) {
        return 0;
    }
    size = lower->ops->listxattr(lower, NULL, 0);
    if (size <= 0) {
        return 0;
    }
    list = malloc((size_t)size + 1);
    if (!list) {
        return -ENOMEM;
    }
    size = lower->ops->listxattr(lower, list, (size_t)size);
    if (size > 0) {
        list[size] = '\0';
    }
    for (ssize_t at = 0; at < size; at += (ssize_t)strlen(list + at) + 1) {
        int error = copy_xattr(lower, upper, list + at);

        if (error) {
            return error;
        }
    }
    return 0;
}

/* An empty file of the same type in the work directory. */
static int make_like(struct inode *inode, const struct kstat *stat, const char *name,
                     struct inode **made) {
    struct overlay_super *super = overlay_super(inode->sb);
    struct inode *lower = overlay_node(inode)->lower, *work = super->work;
    char *target CLEANUP(free) = NULL;
    mode_t mode = stat->mode & 07777;

    if (S_ISLNK(inode->type)) {
        ssize_t length;

        target = malloc(PATH_MAX + 1);
        length = target ? lower->ops->readlink(lower, target, PATH_MAX) : -ENOMEM;
        if (length < 0) {
            return (int)length;
        }
        target[length] = '\0';
    }
    LOCK_GUARD(&work->lock);
    switch (inode->type) {
    case S_IFREG:
        return work->ops->create(work, name, mode, super->creds, made);
    case S_IFDIR:
        return work->ops->mkdir(work, name, mode, super->creds, made);
    case S_IFLNK:
        return work->ops->symlink(work, name, target, super->creds, made);
    default:
        return work->ops->mknod(work, name, stat->mode, stat->rdev, super->creds, made);
    }
}

static int fill_copy(struct inode *inode, struct inode *upper, const struct kstat *stat,
                     int64_t size) {
    struct inode *lower = overlay_node(inode)->lower;
    int error = 0;

    if (S_ISREG(inode->type)) {
        error = copy_data(lower, upper, stat, MIN(size, stat->size));
    }
    if (!error) {
        error = copy_xattrs(lower, upper);
    }
    if (!error && upper->ops->setattr) {
        struct iattr attr = {
            .valid = ATTR_UID | ATTR_GID | ATTR_ATIME | ATTR_MTIME |
                     (S_ISLNK(inode->type) ? 0 : ATTR_MODE),
            .mode = stat->mode & 07777,
            .uid = stat->uid,
            .gid = stat->gid,
            .atime = stat->atime,
            .mtime = stat->mtime,
        };

        error = upper->ops->setattr(upper, &attr);
    }
    return error;
}

int overlay_copy_up_locked(struct inode *inode, int64_t size) {
    struct overlay_super *super = overlay_super(inode->sb);
    struct overlay_node *node = overlay_node(inode);
    struct inode *upper CLEANUP(inode_put) = NULL;
    char name[OVERLAY_WORK_NAME];
    struct kstat stat;
    int error;

    lock_assert_held(&inode->lock);
    if (overlay_upper(inode)) {
        return 0;
    }
    error = inode_getattr(node->lower, &stat);
    if (error) {
        return error;
    }
    overlay_work_name(inode->sb, name);
    error = make_like(inode, &stat, name, &upper);
    if (error) {
        return error;
    }
    error = fill_copy(inode, upper, &stat, size);
    if (!error) {
        bool nameless;

        overlay_set_upper(inode, upper, stat.nlink);
        donation_revoke_inode(inode, false); /* what is donated is the lower file */
        lock_acquire(&inode->sb->lock);
        nameless = !node->pinned && inode != super->root;
        lock_release(&inode->sb->lock);
        if (!nameless) {
            memcpy(node->work_name, name, sizeof(name));
            return 0;
        }
    }
    /* It failed; or the file was unlinked before, and only its descriptors hold it. */
    lock_acquire(&super->work->lock);
    if (S_ISDIR(inode->type)) {
        lock_acquire(&upper->lock);
        (void)super->work->ops->rmdir(super->work, name, upper);
        lock_release(&upper->lock);
    } else {
        (void)super->work->ops->unlink(super->work, name, upper);
    }
    lock_release(&super->work->lock);
    return error;
}

int overlay_copy_up(struct inode *inode, int64_t size) {
    if (overlay_upper(inode)) {
        return 0;
    }
    LOCK_GUARD(&inode->lock);
    return overlay_copy_up_locked(inode, size);
}
