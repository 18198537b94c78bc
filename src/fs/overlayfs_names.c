/*
 * overlayfs: changing names. The VFS holds the overlay directories' locks, so
 * what several steps in the upper file system do is seen as one.
 *
 * In each change the step that can fail for want of memory comes before those that cannot: a
 * whiteout that hides a lower name is made (or exchanged in) in one step.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/overlayfs_internal.h"

/* ---- steps in the upper file system ---- */

static void lock_two(struct inode *a, struct inode *b) {
    if (a > b) {
        struct inode *swap = a;

        a = b;
        b = swap;
    }
    lock_acquire(&a->lock);
    if (b != a) {
        lock_acquire(&b->lock);
    }
}

static void unlock_two(struct inode *a, struct inode *b) {
    lock_release(&a->lock);
    if (b != a) {
        lock_release(&b->lock);
    }
}

static int upper_rename(struct inode *from_dir, const char *from, struct inode *child,
                        struct inode *to_dir, const char *to, struct inode *replaced,
                        unsigned flags) {
    bool over_dir = replaced && S_ISDIR(replaced->type) && !(flags & RENAME_EXCHANGE);
    int error;

    lock_two(from_dir, to_dir);
    if (over_dir) {
        lock_acquire(&replaced->lock);
    }
    error = from_dir->ops->rename(from_dir, from, child, to_dir, to, replaced, flags);
    if (over_dir) {
        lock_release(&replaced->lock);
    }
    unlock_two(from_dir, to_dir);
    return error;
}

static int upper_link(struct inode *dir, const char *name, struct inode *target) {
    LOCK_GUARD(&dir->lock);
    return dir->ops->link(dir, name, target);
}

static int upper_remove(struct inode *dir, const char *name, struct inode *child) {
    int error;
    LOCK_GUARD(&dir->lock);

    if (!S_ISDIR(child->type)) {
        return dir->ops->unlink(dir, name, child);
    }
    lock_acquire(&child->lock);
    error = dir->ops->rmdir(dir, name, child);
    lock_release(&child->lock);
    return error;
}

/*
 * The name means nothing from now on: `entry`, its upper entry, goes (NULL: it has none), and a
 * whiteout comes if the lower directory knows the name. All or nothing.
 */
static int hide(struct inode *dir, const char *name, struct inode *entry) {
    struct overlay_super *super = overlay_super(dir->sb);
    struct inode *upper = overlay_upper(dir);
    char work_name[OVERLAY_WORK_NAME];
    int error, covers = overlay_lower_has(dir, name);

    if (covers < 0) {
        return covers;
    }
    if (!covers) {
        return entry ? upper_remove(upper, name, entry) : 0;
    }
    if (!entry) {
        return upper_link(upper, name, super->whiteout);
    }
    overlay_work_name(dir->sb, work_name);
    error = upper_link(super->work, work_name, super->whiteout);
    if (error) {
        return error;
    }
    error =
        upper_rename(super->work, work_name, super->whiteout, upper, name, entry, RENAME_EXCHANGE);
    if (upper_remove(super->work, work_name, error ? super->whiteout : entry) && !error) {
        log_once(LOG_WARN, "overlayfs", 1, "a removed file stays in the work directory");
    }
    return error;
}

/* A whiteout goes to make room: `hidden` says whether it must come back when the rest fails. */
static int unhide(struct inode *dir, const char *name, bool *hidden) {
    struct inode *entry CLEANUP(inode_put) = NULL;
    struct inode *upper = overlay_upper(dir);
    int error = overlay_upper_lookup(upper, name, &entry);

    *hidden = false;
    if (error || !entry) {
        return error;
    }
    if (!overlay_is_whiteout(dir->sb, entry)) {
        return -EEXIST;
    }
    error = upper_remove(upper, name, entry);
    *hidden = !error;
    return error;
}

static void hide_again(struct inode *dir, const char *name, bool hidden) {
    if (hidden && upper_link(overlay_upper(dir), name, overlay_super(dir->sb)->whiteout)) {
        log_once(LOG_ERROR, "overlayfs", 2,
                 "out of memory: the removed file '%s' shows again from the lower layer", name);
    }
}

/* ---- making ---- */

struct making {
    mode_t mode;
    dev_t dev;
    const char *target;
    const struct credentials *creds;
};

static int make_upper(struct inode *upper, const char *name, const struct making *making,
                      struct inode **made) {
    LOCK_GUARD(&upper->lock);
    switch (making->mode & S_IFMT) {
    case S_IFREG:
        return upper->ops->create(upper, name, making->mode & 07777, making->creds, made);
    case S_IFDIR:
        return upper->ops->mkdir(upper, name, making->mode & 07777, making->creds, made);
    case S_IFLNK:
        return upper->ops->symlink(upper, name, making->target, making->creds, made);
    default:
        return upper->ops->mknod(upper, name, making->mode, making->dev, making->creds, made);
    }
}

static int make(struct inode *dir, const char *name, const struct making *making,
                struct inode **child) {
    struct inode *made CLEANUP(inode_put) = NULL;
    struct inode *inode;
    bool hidden;
    int error = overlay_copy_up_locked(dir, 0);

    if (!error) {
        error = unhide(dir, name, &hidden);
    }
    if (error) {
        return error;
    }
    error = make_upper(overlay_upper(dir), name, making, &made);
    if (error) {
        hide_again(dir, name, hidden);
        return error;
    }
    overlay_listing_drop_locked(dir);
    inode = overlay_inode_get(dir->sb, NULL, made);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    *child = inode;
    return 0;
}

int overlay_create(struct inode *dir, const char *name, mode_t mode,
                   const struct credentials *creds, struct inode **child) {
    struct making making = {.mode = S_IFREG | (mode & 07777), .creds = creds};

    return make(dir, name, &making, child);
}

int overlay_mkdir(struct inode *dir, const char *name, mode_t mode, const struct credentials *creds,
                  struct inode **child) {
    struct making making = {.mode = S_IFDIR | (mode & 07777), .creds = creds};

    return make(dir, name, &making, child);
}

int overlay_mknod(struct inode *dir, const char *name, mode_t mode, dev_t dev,
                  const struct credentials *creds, struct inode **child) {
    struct making making = {.mode = mode, .dev = dev, .creds = creds};

    return make(dir, name, &making, child);
}

int overlay_symlink(struct inode *dir, const char *name, const char *target,
                    const struct credentials *creds, struct inode **child) {
    struct making making = {.mode = S_IFLNK | 0777, .target = target, .creds = creds};

    return make(dir, name, &making, child);
}

/* In the work directory, whose owner is not the right one, but then it is given away. */
int overlay_tmpfile(struct inode *dir, mode_t mode, const struct credentials *creds,
                    struct inode **child) {
    struct overlay_super *super = overlay_super(dir->sb);
    struct inode *made CLEANUP(inode_put) = NULL;
    struct iattr attr = {.valid = ATTR_UID | ATTR_GID | ATTR_MODE};
    struct inode *inode;
    struct kstat stat;
    int error = overlay_getattr(dir, &stat);

    if (error) {
        return error;
    }
    if (!super->work->ops->tmpfile) {
        return -EOPNOTSUPP;
    }
    mode = S_IFREG | (mode & 07777);
    inode_init_owner(&stat, creds, &mode, &attr.uid, &attr.gid);
    attr.mode = mode & 07777;
    lock_acquire(&super->work->lock);
    error = super->work->ops->tmpfile(super->work, attr.mode, super->creds, &made);
    lock_release(&super->work->lock);
    if (!error) {
        error = made->ops->setattr(made, &attr);
    }
    if (error) {
        return error;
    }
    inode = overlay_inode_get(dir->sb, NULL, made);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    *child = inode;
    return 0;
}

int overlay_link(struct inode *dir, const char *name, struct inode *target) {
    bool hidden;
    int error = overlay_copy_up_locked(dir, 0);

    if (!error) {
        error = overlay_copy_up(target, INT64_MAX);
    }
    if (!error) {
        error = unhide(dir, name, &hidden);
    }
    if (error) {
        return error;
    }
    error = upper_link(overlay_upper(dir), name, overlay_upper(target));
    if (error) {
        hide_again(dir, name, hidden);
        return error;
    }
    overlay_listing_drop_locked(dir);
    overlay_count_link(target, 1);
    return 0;
}

/* ---- taking away ---- */

int overlay_unlink(struct inode *dir, const char *name, struct inode *child) {
    struct inode *entry CLEANUP(inode_put) = NULL;
    int error = overlay_copy_up_locked(dir, 0);

    if (!error) {
        error = overlay_upper_lookup(overlay_upper(dir), name, &entry);
    }
    if (!error) {
        error = hide(dir, name, entry);
    }
    if (error) {
        return error;
    }
    overlay_listing_drop_locked(dir);
    overlay_count_link(child, -1);
    return 0;
}

struct whiteouts {
    struct inode *dir; /* of the upper file system */
    struct super_block *sb;
    char (*names)[NAME_MAX + 1];
    size_t count, capacity;
};

static int collect_name(void *arg, const char *name, ino_t ino, unsigned char type) {
    struct whiteouts *whiteouts = arg;

    if (whiteouts->count == whiteouts->capacity) {
        size_t capacity = whiteouts->capacity ? whiteouts->capacity * 2 : 8;
        void *names = realloc(whiteouts->names, capacity * sizeof(*whiteouts->names));

        if (!names) {
            return -ENOMEM;
        }
        whiteouts->names = names;
        whiteouts->capacity = capacity;
    }
    snprintf(whiteouts->names[whiteouts->count++], NAME_MAX + 1, "%s", name);
    return 0;
}

/*
 * A directory that shows nothing may go: its upper one holds only whiteouts, which are cleared away
 * (they hide what nobody will see any more). -ENOTEMPTY. The caller holds dir->lock.
 */
static int clear_empty(struct inode *dir) {
    struct overlay_listing *listing CLEANUP(overlay_listing_put) = overlay_listing_get_locked(dir);
    struct whiteouts whiteouts = {.dir = overlay_upper(dir), .sb = dir->sb};
    size_t count;
    int error = 0;

    if (IS_ERR(listing)) {
        return (int)PTR_ERR(STEAL(listing));
    }
    count = listing->count;
    if (count) {
        return -ENOTEMPTY;
    }
    if (whiteouts.dir) {
        error = overlay_each_name(whiteouts.dir, collect_name, &whiteouts);
        for (size_t i = 0; i < whiteouts.count && !error; i++) {
            error =
                upper_remove(whiteouts.dir, whiteouts.names[i], overlay_super(dir->sb)->whiteout);
        }
        free(whiteouts.names);
    }
    return error;
}

int overlay_rmdir(struct inode *dir, const char *name, struct inode *child) {
    struct inode *entry CLEANUP(inode_put) = NULL;
    int error = overlay_copy_up_locked(dir, 0);

    if (!error) {
        error = clear_empty(child);
    }
    if (!error) {
        error = overlay_upper_lookup(overlay_upper(dir), name, &entry);
    }
    if (!error) {
        error = hide(dir, name, entry);
    }
    if (error) {
        return error;
    }
    overlay_listing_drop_locked(dir);
    overlay_forget(child);
    return 0;
}

/* ---- renaming ---- */

/* The child, which is copied up, has an entry of its own in the upper directory: not only in the
 * work directory. */
static int place(struct inode *dir, const char *name, struct inode *child) {
    struct overlay_super *super = overlay_super(dir->sb);
    struct overlay_node *node = overlay_node(child);
    struct inode *entry CLEANUP(inode_put) = NULL;
    struct inode *upper = overlay_upper(child);
    int error = overlay_upper_lookup(overlay_upper(dir), name, &entry);

    if (error || entry == upper) {
        return error;
    }
    if (entry) {
        return -ESTALE; /* the dentry and the directory do not agree */
    }
    if (!S_ISDIR(child->type)) {
        return upper_link(overlay_upper(dir), name, upper);
    }
    LOCK_GUARD(&child->lock);
    if (!node->work_name[0]) {
        return -EXDEV; /* the lower directory shows in two places, and was moved from the other */
    }
    error = upper_rename(super->work, node->work_name, upper, overlay_upper(dir), name, NULL, 0);
    if (!error) {
        node->work_name[0] = '\0';
    }
    return error;
}

static int prepare_child(struct inode *dir, const char *name, struct inode *child) {
    int error = overlay_copy_up_locked(dir, 0);

    if (!error) {
        error = overlay_copy_up(child, INT64_MAX);
    }
    return error ? error : place(dir, name, child);
}

static int rename_exchange(struct inode *from_dir, const char *from, struct inode *child,
                           struct inode *to_dir, const char *to, struct inode *other) {
    int error = prepare_child(from_dir, from, child);

    if (!error) {
        error = prepare_child(to_dir, to, other);
    }
    if (!error) {
        error = upper_rename(overlay_upper(from_dir), from, overlay_upper(child),
                             overlay_upper(to_dir), to, overlay_upper(other), RENAME_EXCHANGE);
    }
    return error;
}

/* The upper directories are ready and `child` has its entry: moves it, and hides the lower name
 * that it leaves. */
static int move(struct inode *from_dir, const char *from, struct inode *child, struct inode *to_dir,
                const char *to) {
    struct overlay_super *super = overlay_super(from_dir->sb);
    struct inode *entry CLEANUP(inode_put) = NULL;
    struct inode *upper = overlay_upper(child);
    bool hidden = false;
    int error, covers = overlay_lower_has(from_dir, from);

    if (covers < 0) {
        return covers;
    }
    error = overlay_upper_lookup(overlay_upper(to_dir), to, &entry);
    if (!error && entry && overlay_is_whiteout(to_dir->sb, entry)) {
        error = unhide(to_dir, to, &hidden);
        inode_put(STEAL(entry));
    }
    if (error) {
        return error;
    }
    if (!covers) {
        error =
            upper_rename(overlay_upper(from_dir), from, upper, overlay_upper(to_dir), to, entry, 0);
    } else {
        /* A whiteout takes the old name in the same step: by way of the work directory. */
        char name[OVERLAY_WORK_NAME];

        overlay_work_name(from_dir->sb, name);
        error = upper_link(super->work, name, super->whiteout);
        if (!error) {
            error = upper_rename(super->work, name, super->whiteout, overlay_upper(from_dir), from,
                                 upper, RENAME_EXCHANGE);
            if (error) {
                (void)upper_remove(super->work, name, super->whiteout);
            }
        }
        if (!error) {
            error = upper_rename(super->work, name, upper, overlay_upper(to_dir), to, entry, 0);
            if (error) {
                (void)upper_rename(super->work, name, upper, overlay_upper(from_dir), from,
                                   super->whiteout, RENAME_EXCHANGE);
                (void)upper_remove(super->work, name, super->whiteout);
            }
        }
    }
    if (error) {
        hide_again(to_dir, to, hidden);
    }
    return error;
}

int overlay_rename(struct inode *from_dir, const char *from, struct inode *child,
                   struct inode *to_dir, const char *to, struct inode *replaced, unsigned flags) {
    int error;

    overlay_listing_drop_locked(from_dir);
    overlay_listing_drop_locked(to_dir);
    if (flags & RENAME_EXCHANGE) {
        return rename_exchange(from_dir, from, child, to_dir, to, replaced);
    }
    if (replaced && S_ISDIR(replaced->type)) {
        error = clear_empty(replaced); /* the VFS holds its lock */
        if (error) {
            return error;
        }
    }
    error = prepare_child(from_dir, from, child);
    if (!error) {
        error = overlay_copy_up_locked(to_dir, 0);
    }
    if (!error) {
        error = move(from_dir, from, child, to_dir, to);
    }
    if (error || !replaced) {
        return error;
    }
    if (S_ISDIR(replaced->type)) {
        overlay_forget(replaced);
    } else {
        overlay_count_link(replaced, -1);
    }
    return 0;
}
