/* overlayfs: the pairs, how they are found, and what becomes of them. overlayfs.c tells the whole.
 */
#include <string.h>

#include "fs/overlayfs_internal.h"

#define UPPER_INO (1ull << 51)

/* ---- the tables ---- */

static size_t pointer_hash(const struct overlay_super *super, const struct inode *inode) {
    return ((uintptr_t)inode * 0x9e3779b97f4a7c15ull >> 32) & (super->bucket_count - 1);
}

static void tables_grow_locked(struct overlay_super *super) {
    size_t old_count = super->bucket_count;
    struct overlay_node **lower = calloc(old_count * 2, sizeof(struct overlay_node *));
    struct overlay_node **upper = calloc(old_count * 2, sizeof(struct overlay_node *));
    struct overlay_node **old_lower = super->by_lower, **old_upper = super->by_upper;

    if (!lower || !upper) {
        free(lower);
        free(upper);
        return; /* longer chains, no harm */
    }
    super->bucket_count = old_count * 2;
    super->by_lower = lower;
    super->by_upper = upper;
    for (size_t i = 0; i < old_count; i++) {
        struct overlay_node *node, *next;

        for (node = old_lower[i]; node; node = next) {
            size_t at = pointer_hash(super, node->lower);

            next = node->lower_next;
            node->lower_next = lower[at];
            lower[at] = node;
        }
        for (node = old_upper[i]; node; node = next) {
            size_t at = pointer_hash(super, atomic_load(&node->upper));

            next = node->upper_next;
            node->upper_next = upper[at];
            upper[at] = node;
        }
    }
    free(old_lower);
    free(old_upper);
}

static void insert_lower_locked(struct overlay_super *super, struct overlay_node *node) {
    if (super->lower_count + super->upper_count >= super->bucket_count * 2) {
        tables_grow_locked(super);
    }
    size_t at = pointer_hash(super, node->lower);

    node->lower_next = super->by_lower[at];
    super->by_lower[at] = node;
    super->lower_count++;
}

static void insert_upper_locked(struct overlay_super *super, struct overlay_node *node) {
    if (super->lower_count + super->upper_count >= super->bucket_count * 2) {
        tables_grow_locked(super);
    }
    size_t at = pointer_hash(super, atomic_load(&node->upper));

    node->upper_next = super->by_upper[at];
    super->by_upper[at] = node;
    super->upper_count++;
}

static void remove_locked(struct overlay_super *super, struct overlay_node *node) {
    struct inode *upper = atomic_load(&node->upper);
    struct overlay_node **link;

    if (node->lower) {
        link = &super->by_lower[pointer_hash(super, node->lower)];
        while (*link && *link != node) {
            link = &(*link)->lower_next;
        }
        if (*link) {
            *link = node->lower_next;
            super->lower_count--;
        }
    }
    if (upper) {
        link = &super->by_upper[pointer_hash(super, upper)];
        while (*link && *link != node) {
            link = &(*link)->upper_next;
        }
        if (*link) {
            *link = node->upper_next;
            super->upper_count--;
        }
    }
}

/* Owned, or NULL. */
static struct inode *find_locked(struct overlay_super *super, const struct inode *lower,
                                 const struct inode *upper) {
    struct overlay_node *node;

    if (upper) {
        for (node = super->by_upper[pointer_hash(super, upper)]; node; node = node->upper_next) {
            if (atomic_load(&node->upper) == upper && ref_tryget(&node->inode->ref)) {
                return node->inode;
            }
        }
        return NULL;
    }
    for (node = super->by_lower[pointer_hash(super, lower)]; node; node = node->lower_next) {
        if (node->lower == lower && ref_tryget(&node->inode->ref)) {
            return node->inode;
        }
    }
    return NULL;
}

ino_t overlay_shown_ino(struct super_block *sb, const struct inode *upper) {
    struct overlay_super *super = overlay_super(sb);
    struct overlay_node *node;
    LOCK_GUARD(&sb->lock);

    for (node = super->by_upper[pointer_hash(super, upper)]; node; node = node->upper_next) {
        if (atomic_load(&node->upper) == upper && node->lower) {
            return node->inode->ino; /* pinned, so it is here when there is one */
        }
    }
    return upper->ino | UPPER_INO;
}

/* ---- inodes ---- */

static ssize_t overlay_readlink(struct inode *inode, char *buffer, size_t size) {
    struct inode *real = overlay_real(inode);

    return real->ops->readlink ? real->ops->readlink(real, buffer, size) : -EINVAL;
}

void overlay_show(struct inode *inode, const struct inode *upper, struct kstat *stat) {
    struct overlay_node *node = overlay_node(inode);

    stat->dev = inode->sb->dev;
    stat->ino = inode->ino;
    if (!node->lower) {
        return;
    }
    if (S_ISDIR(inode->type)) {
        /* As Linux: how many subdirectories a merged one has is not counted. */
        stat->nlink = upper ? 1 : stat->nlink;
        return;
    }
    LOCK_GUARD(&inode->sb->lock);
    int nlink = (int)(upper ? node->base_nlink : stat->nlink) + node->link_change;

    stat->nlink = (uint32_t)MAX(nlink, 0);
}

int overlay_getattr(struct inode *inode, struct kstat *stat) {
    struct inode *upper = overlay_upper(inode);
    int error = inode_getattr(upper ? upper : overlay_node(inode)->lower, stat);

    if (!error) {
        overlay_show(inode, upper, stat);
    }
    return error;
}

static int overlay_setattr(struct inode *inode, const struct iattr *attr) {
    int64_t size = attr->valid & ATTR_SIZE ? attr->size : INT64_MAX;
    int error = overlay_copy_up(inode, size);
    struct inode *upper = overlay_upper(inode);

    if (error) {
        return error;
    }
    return upper->ops->setattr ? upper->ops->setattr(upper, attr) : -EPERM;
}

static ssize_t overlay_getxattr(struct inode *inode, const char *name, void *value, size_t size) {
    struct inode *real = overlay_real(inode);

    return real->ops->getxattr ? real->ops->getxattr(real, name, value, size) : -EOPNOTSUPP;
}

static ssize_t overlay_listxattr(struct inode *inode, char *list, size_t size) {
    struct inode *real = overlay_real(inode);

    return real->ops->listxattr ? real->ops->listxattr(real, list, size) : 0;
}

static int overlay_setxattr(struct inode *inode, const char *name, const void *value, size_t size,
                            int flags) {
    int error = overlay_copy_up(inode, INT64_MAX);
    struct inode *upper = overlay_upper(inode);

    if (error) {
        return error;
    }
    return upper->ops->setxattr ? upper->ops->setxattr(upper, name, value, size, flags)
                                : -EOPNOTSUPP;
}

static int overlay_removexattr(struct inode *inode, const char *name) {
    int error = overlay_copy_up(inode, INT64_MAX);
    struct inode *upper = overlay_upper(inode);

    if (error) {
        return error;
    }
    return upper->ops->removexattr ? upper->ops->removexattr(upper, name) : -EOPNOTSUPP;
}

/* One table a type: the VFS asks by which ops are there. */
#define OVERLAY_COMMON_OPS                                                                         \
    .getattr = overlay_getattr, .setattr = overlay_setattr, .getxattr = overlay_getxattr,          \
    .setxattr = overlay_setxattr, .listxattr = overlay_listxattr,                                  \
    .removexattr = overlay_removexattr, .release = overlay_inode_release
#define OVERLAY_DIRECTORY_OPS                                                                      \
    OVERLAY_COMMON_OPS,                                                                            \
        .lookup = overlay_lookup, .lookup_stat = overlay_lookup_stat, .create = overlay_create,    \
        .mkdir = overlay_mkdir, .mknod = overlay_mknod, .symlink = overlay_symlink,                \
        .link = overlay_link, .unlink = overlay_unlink, .rmdir = overlay_rmdir,                    \
        .rename = overlay_rename, .tmpfile = overlay_tmpfile, .open = overlay_open_directory

static const struct inode_ops directory_ops = {OVERLAY_DIRECTORY_OPS};
static const struct inode_ops shared_directory_ops = {OVERLAY_DIRECTORY_OPS,
                                                      .revalidate = overlay_revalidate};
static const struct inode_ops confirming_directory_ops = {
    OVERLAY_DIRECTORY_OPS, .revalidate = overlay_revalidate, .confirm = overlay_confirm,
    .peek = overlay_peek, .opens_by_name = true};
static const struct inode_ops regular_ops = {OVERLAY_COMMON_OPS, .open = overlay_open,
                                             .opens_by_name = true};
static const struct inode_ops symlink_ops = {OVERLAY_COMMON_OPS, .readlink = overlay_readlink};
static const struct inode_ops special_ops = {OVERLAY_COMMON_OPS};

static const struct inode_ops *overlay_ops(mode_t type, const struct inode *lower) {
    switch (type) {
    case S_IFDIR:
        return !lower || !lower->ops->revalidate ? &directory_ops
               : lower->ops->confirm             ? &confirming_directory_ops
                                                 : &shared_directory_ops;
    case S_IFREG:
        return &regular_ops;
    case S_IFLNK:
        return &symlink_ops;
    default:
        return &special_ops;
    }
}

static struct inode *overlay_inode_new(struct super_block *sb, struct inode *lower,
                                       struct inode *upper) {
    struct overlay_node *node = calloc(1, sizeof(*node));
    struct inode *real = upper ? upper : lower, *inode;
    const struct file_ops *file_ops = S_ISREG(real->type)   ? &overlay_file_ops
                                      : S_ISDIR(real->type) ? &overlay_directory_file_ops
                                                            : NULL;

    if (!node) {
        return ERR_PTR(-ENOMEM);
    }
    inode = inode_new(sb, lower ? lower->ino : upper->ino | UPPER_INO, real->type,
                      overlay_ops(real->type, lower), file_ops, node);
    if (IS_ERR(inode)) {
        free(node);
        return inode;
    }
    inode->rdev = real->rdev;
    node->inode = inode;
    node->lower = lower ? inode_get(lower) : NULL;
    atomic_init(&node->upper, upper ? inode_get(upper) : NULL);
    atomic_init(&inode->settled, upper != NULL);
    list_init(&node->pin_link);
    return inode;
}

struct inode *overlay_inode_get(struct super_block *sb, struct inode *lower, struct inode *upper) {
    struct overlay_super *super = overlay_super(sb);
    struct inode *inode, *fresh;

    lock_acquire(&sb->lock);
    inode = find_locked(super, lower, upper);
    lock_release(&sb->lock);
    if (inode) {
        return inode;
    }
    fresh = overlay_inode_new(sb, lower, upper);
    if (IS_ERR(fresh)) {
        return fresh;
    }
    lock_acquire(&sb->lock);
    inode = find_locked(super, lower, upper); /* somebody may have been faster */
    if (!inode) {
        if (lower) {
            insert_lower_locked(super, overlay_node(fresh));
        }
        if (upper) {
            insert_upper_locked(super, overlay_node(fresh));
        }
        inode = STEAL(fresh);
    }
    lock_release(&sb->lock);
    if (fresh) {
        inode_put(fresh);
    }
    return inode;
}

static void pin_locked(struct overlay_super *super, struct overlay_node *node) {
    if (!node->pinned) {
        node->pinned = true;
        inode_get(node->inode);
        list_add_tail(&node->pin_link, &super->pinned);
    }
}

/* True when the caller has a reference to put now. */
static bool unpin_locked(struct overlay_node *node) {
    if (!node->pinned) {
        return false;
    }
    node->pinned = false;
    list_del(&node->pin_link);
    return true;
}

void overlay_set_upper(struct inode *inode, struct inode *upper, uint32_t base_nlink) {
    struct overlay_node *node = overlay_node(inode);
    struct overlay_super *super = overlay_super(inode->sb);
    LOCK_GUARD(&inode->sb->lock);

    atomic_store_explicit(&node->upper, inode_get(upper), memory_order_release);
    atomic_store_explicit(&inode->settled, true, memory_order_release);
    insert_upper_locked(super, node);
    node->base_nlink = base_nlink;
    /* The root's own life is the super block's. */
    if (inode != super->root && (S_ISDIR(inode->type) || (int)base_nlink + node->link_change > 0)) {
        pin_locked(super, node);
    }
}

/* Takes the copy out of the work directory, if it is there: nobody can come to it by a name. */
static void leave_work(struct inode *inode) {
    struct overlay_super *super = overlay_super(inode->sb);
    struct overlay_node *node = overlay_node(inode);
    struct inode *upper = overlay_upper(inode);
    int error;

    if (!upper || !node->work_name[0]) {
        return;
    }
    lock_acquire(&super->work->lock);
    if (S_ISDIR(inode->type)) {
        lock_acquire(&upper->lock);
        error = super->work->ops->rmdir(super->work, node->work_name, upper);
        lock_release(&upper->lock);
    } else {
        error = super->work->ops->unlink(super->work, node->work_name, upper);
    }
    lock_release(&super->work->lock);
    if (error) {
        log_once(LOG_WARN, "overlayfs", (uint64_t)-error,
                 "a removed file stays in the work directory: %s", strerror(-error));
    }
    node->work_name[0] = '\0';
}

void overlay_forget(struct inode *inode) {
    bool put;

    leave_work(inode);
    lock_acquire(&inode->sb->lock);
    put = unpin_locked(overlay_node(inode));
    lock_release(&inode->sb->lock);
    if (put) {
        inode_put(inode);
    }
}

void overlay_count_link(struct inode *inode, int change) {
    struct overlay_node *node = overlay_node(inode);
    struct inode *upper;
    struct kstat stat = {0};
    bool gone;

    if (!node->lower) {
        return; /* the upper file system counts */
    }
    LOCK_GUARD(&inode->lock);
    upper = overlay_upper(inode);
    if (!upper && inode_getattr(node->lower, &stat)) {
        stat.nlink = 1;
    }
    lock_acquire(&inode->sb->lock);
    node->link_change += change;
    gone = (int)(upper ? node->base_nlink : stat.nlink) + node->link_change <= 0;
    if (!gone) {
        pin_locked(overlay_super(inode->sb), node); /* the count stands nowhere else */
    }
    lock_release(&inode->sb->lock);
    if (gone) {
        /* The caller holds the inode, so this is not the last reference. */
        overlay_forget(inode);
    }
}

void overlay_inode_release(struct inode *inode) {
    struct overlay_node *node = overlay_node(inode);
    struct super_block *sb = inode->sb;
    struct overlay_super *super = overlay_super(sb);
    struct inode *upper;

    lock_acquire(&sb->lock);
    remove_locked(super, node);
    lock_release(&sb->lock);
    while (super->root == inode) {
        struct overlay_node *other = NULL;

        lock_acquire(&sb->lock);
        if (!list_empty(&super->pinned)) {
            other = list_first_entry(&super->pinned, struct overlay_node, pin_link);
            (void)unpin_locked(other);
        }
        lock_release(&sb->lock);
        if (!other) {
            break;
        }
        inode_put(other->inode);
    }
    if (node->listing) {
        overlay_listing_put(node->listing);
    }
    upper = atomic_load(&node->upper);
    if (upper) {
        inode_put(upper);
    }
    if (node->lower) {
        inode_put(node->lower);
    }
    free(node);
}
