/*
 * overlayfs: any file system seen through a writable layer. The lower one is never written; what
 * changes is copied up into the upper one (a tmpfs), which nobody else uses.
 *
 * An inode here is a pair: `lower`, what was there, and `upper`, what became of it. A name means
 * its upper entry if there is one (a whiteout: nothing), else its lower one. Unlike Linux's
 * overlayfs, which writes what it must remember into the upper file system (opaque and redirect
 * attributes), we remember it in memory: a node that has both inodes is pinned, and found by either
 * of them. So
 *   - a copy needs no place in the upper tree: it stays in the work directory until its name is
 *     changed, and hard links below go on meeting in one inode after a copy-up;
 *   - a renamed directory takes its lower with it: no EXDEV, no copying of what is below;
 *   - a directory made over a whiteout has no lower and hides what was there.
 *
 * st_ino is the lower's where there is one, before and after the copy-up; st_dev is the overlay's.
 *
 * Locks: those of the overlay's inodes first (the VFS takes the directories'), then those of upper
 * or lower inodes, two upper directories by address. inode->lock also makes copy-up happen once.
 * sb->lock guards the tables, and nothing is called under it.
 *
 * Life: pinned nodes go when the last name goes, or all together when the root's inode is released.
 */
#include <errno.h>
#include <string.h>

#include "fs/overlayfs_internal.h"

#define OVERLAYFS_MAGIC 0x794c7630 /* statfs(2) */

static int overlay_statfs(struct super_block *sb, struct statfs *stat) {
    struct super_block *upper = overlay_super(sb)->upper_sb;
    int error = upper->type->statfs ? upper->type->statfs(upper, stat) : 0;

    stat->f_type = OVERLAYFS_MAGIC;
    return error;
}

/* A layer that was given to us alone ends with us. */
static void drop_layer(struct super_block *sb) {
    if (sb) {
        if (atomic_load(&sb->mounts) == 0) {
            super_block_kill(sb);
        }
        super_block_put(sb);
    }
}

static void overlay_super_free(struct overlay_super *super) {
    if (super->whiteout) {
        inode_put(super->whiteout);
    }
    if (super->work) {
        inode_put(super->work);
    }
    drop_layer(super->upper_sb);
    drop_layer(super->lower_sb);
    if (super->creds) {
        credentials_put(super->creds);
    }
    free(super->by_lower);
    free(super->by_upper);
    free(super);
}

static void overlay_release(struct super_block *sb) {
    if (sb->private) {
        overlay_super_free(sb->private);
    }
}

const struct file_system_type overlayfs_type = {
    .name = "overlay",
    .nodev = true,
    .magic = OVERLAYFS_MAGIC,
    .statfs = overlay_statfs,
    .release = overlay_release,
};

/* Two directories in the upper root: `upper` is what shows, `work` is ours. */
static int overlay_prepare(struct super_block *sb, struct super_block *lower,
                           struct super_block *upper) {
    struct overlay_super *super = overlay_super(sb);
    struct inode *base = upper->root, *top CLEANUP(inode_put) = NULL;
    int error;

    super->creds = credentials_new(0, 0);
    super->bucket_count = 256;
    super->by_lower = calloc(super->bucket_count, sizeof(struct overlay_node *));
    super->by_upper = calloc(super->bucket_count, sizeof(struct overlay_node *));
    if (!super->creds || !super->by_lower || !super->by_upper) {
        return -ENOMEM;
    }
    lock_acquire(&base->lock);
    error = base->ops->mkdir(base, "work", 0700, super->creds, &super->work);
    if (!error) {
        error = base->ops->mkdir(base, "upper", 0755, super->creds, &top);
    }
    lock_release(&base->lock);
    if (!error) {
        lock_acquire(&super->work->lock);
        error = super->work->ops->mknod(super->work, "#whiteout", S_IFCHR, 0, super->creds,
                                        &super->whiteout);
        lock_release(&super->work->lock);
    }
    if (error) {
        return error;
    }
    super->root = overlay_inode_get(sb, lower->root, NULL);
    if (IS_ERR(super->root)) {
        return (int)PTR_ERR(STEAL(super->root));
    }
    sb->root = super->root;
    struct kstat stat;

    error = inode_getattr(lower->root, &stat);
    if (!error) {
        struct iattr attr = {
            .valid = ATTR_MODE | ATTR_UID | ATTR_GID | ATTR_ATIME | ATTR_MTIME,
            .mode = stat.mode & 07777,
            .uid = stat.uid,
            .gid = stat.gid,
            .atime = stat.atime,
            .mtime = stat.mtime,
        };

        error = top->ops->setattr(top, &attr);
    }
    if (!error) {
        lock_acquire(&sb->root->lock);
        overlay_set_upper(sb->root, top, 1);
        lock_release(&sb->root->lock);
    }
    return error;
}

struct super_block *overlayfs_new(struct super_block *lower, struct super_block *upper) {
    struct overlay_super *super = calloc(1, sizeof(*super));
    struct super_block *sb = super ? super_block_new(&overlayfs_type, super) : ERR_PTR(-ENOMEM);
    int error;

    if (IS_ERR(sb)) {
        free(super);
        return sb;
    }
    list_init(&super->pinned);
    super->lower_sb = super_block_get(lower);
    super->upper_sb = super_block_get(upper);
    error = overlay_prepare(sb, lower, upper);
    if (error) {
        super_block_kill(sb);
        super_block_put(sb);
        return ERR_PTR(error);
    }
    return sb;
}
