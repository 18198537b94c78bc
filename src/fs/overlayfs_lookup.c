/*
 * overlayfs: looking names up. The upper file system is asked first; what it knows, or a whiteout
 * there, hides the lower name.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/overlayfs_internal.h"

/* stat NULL: not wanted; else filled where *known. */
static int real_lookup_stat(struct inode *dir, const char *name, struct inode **found,
                            struct kstat *stat, bool *known) {
    bool locked = !dir->ops->lookup_unlocked;
    int error;

    if (locked) {
        lock_acquire(&dir->lock);
    }
    if (stat && dir->ops->lookup_stat) {
        error = dir->ops->lookup_stat(dir, name, found, stat);
        *known = !error;
    } else {
        error = dir->ops->lookup(dir, name, found);
    }
    if (locked) {
        lock_release(&dir->lock);
    }
    return error;
}

static int real_lookup(struct inode *dir, const char *name, struct inode **found) {
    return real_lookup_stat(dir, name, found, NULL, NULL);
}

int overlay_upper_lookup(struct inode *upper_dir, const char *name, struct inode **found) {
    int error = upper_dir ? real_lookup(upper_dir, name, found) : -ENOENT;

    if (error == -ENOENT) {
        *found = NULL;
        return 0;
    }
    return error;
}

static int lookup(struct inode *dir, const char *name, struct inode **child, struct kstat *stat,
                  bool *known) {
    struct overlay_node *node = overlay_node(dir);
    struct inode *found CLEANUP(inode_put) = NULL;
    struct inode *inode;
    int error = overlay_upper_lookup(overlay_upper(dir), name, &found);

    if (error) {
        return error;
    }
    if (found) {
        if (overlay_is_whiteout(dir->sb, found)) {
            return -ENOENT;
        }
        inode = overlay_inode_get(dir->sb, NULL, found);
    } else {
        error = node->lower ? real_lookup_stat(node->lower, name, &found, stat, known) : -ENOENT;
        if (error) {
            return error;
        }
        inode = overlay_inode_get(dir->sb, found, NULL);
    }
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    if (atomic_load(&found->many_names)) {
        atomic_store(&inode->many_names, true);
    }
    *child = inode;
    return 0;
}

int overlay_lookup(struct inode *dir, const char *name, struct inode **child) {
    return lookup(dir, name, child, NULL, NULL);
}

int overlay_lookup_stat(struct inode *dir, const char *name, struct inode **child,
                        struct kstat *stat) {
    bool known = false;
    int error = lookup(dir, name, child, stat, &known);

    if (error) {
        return error;
    }
    if (known && !overlay_upper(*child)) {
        overlay_show(*child, NULL, stat);
        return 0;
    }
    error = overlay_getattr(*child, stat);
    if (error) {
        inode_put(STEAL(*child));
    }
    return error;
}

/* Only a name that comes from a lower file system with other writers can change behind us. */
bool overlay_revalidate(struct inode *dir, const char *name, struct inode *child) {
    struct inode *lower_dir = overlay_node(dir)->lower;
    struct inode *found CLEANUP(inode_put) = NULL;

    if (child && overlay_upper(child)) {
        return true;
    }
    if (!lower_dir || !lower_dir->ops->revalidate) {
        return true;
    }
    if (!child) {
        if (overlay_upper_lookup(overlay_upper(dir), name, &found)) {
            return false;
        }
        if (found) {
            return overlay_is_whiteout(dir->sb, found);
        }
    }
    return lower_dir->ops->revalidate(lower_dir, name, child ? overlay_node(child)->lower : NULL);
}

/*
 * As above, for many names: between dir and the child nothing is copied up (what is, is settled and
 * ends the row of names), so all of them are the lower file system's.
 */
bool overlay_confirm(struct inode *dir, const char *path, struct inode *child, struct kstat *stat) {
    struct inode *lower_dir = overlay_node(dir)->lower, *upper_dir = overlay_upper(dir);
    struct inode *upper;

    if (child && !overlay_node(child)->lower) {
        return false;
    }
    if (!child && upper_dir && !strchr(path, '/')) {
        struct inode *found CLEANUP(inode_put) = NULL;

        if (overlay_upper_lookup(upper_dir, path, &found)) {
            return false;
        }
        if (found) {
            return overlay_is_whiteout(dir->sb, found);
        }
    }
    if (!lower_dir->ops->confirm(lower_dir, path, child ? overlay_node(child)->lower : NULL,
                                 stat)) {
        return false;
    }
    /* Copied up by now: then what was written to it may be older than our question. */
    upper = child ? overlay_upper(child) : NULL;
    if (upper && inode_getattr(upper, stat)) {
        return false;
    }
    if (child) {
        overlay_show(child, upper, stat);
    }
    return true;
}

/* A file that was copied up or lost a name is known to the lower file system: its overlay inode
 * holds the lower one, and stays. */
int overlay_peek(struct inode *dir, const char *path, struct kstat *stat, ino_t *ino) {
    struct inode *lower_dir = overlay_node(dir)->lower, *upper_dir = overlay_upper(dir);
    int error;

    if (upper_dir && !strchr(path, '/')) {
        struct inode *found CLEANUP(inode_put) = NULL;

        if (overlay_upper_lookup(upper_dir, path, &found) || found) {
            return PEEK_UNKNOWN;
        }
    }
    error = lower_dir->ops->peek ? lower_dir->ops->peek(lower_dir, path, stat, ino) : PEEK_UNKNOWN;
    if (!error) {
        stat->dev = dir->sb->dev;
        stat->ino = *ino;
    }
    return error;
}

int overlay_lower_has(struct inode *dir, const char *name) {
    struct inode *lower = overlay_node(dir)->lower;
    struct inode *found = NULL;
    int error = lower ? real_lookup(lower, name, &found) : -ENOENT;

    if (!error) {
        inode_put(found);
        return 1;
    }
    return error == -ENOENT ? 0 : error;
}
