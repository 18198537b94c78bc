/*
 * Paths: a dentry as seen by way of a mount; their names from a root, and what is asked of both
 * together.
 */
#include "fs/vfs_internal.h"

void path_get(struct path *path) {
    if (path->mount) {
        mount_get(path->mount);
    }
    dentry_get(path->dentry);
}

void path_put(struct path *path) {
    struct mount *mount = STEAL(path->mount);

    dentry_put(STEAL(path->dentry));
    if (mount) {
        mount_put(mount);
    }
}

bool path_equal(const struct path *a, const struct path *b) {
    return a->mount == b->mount && a->dentry == b->dentry;
}

int path_follow_mounts(struct path *path) {
    int moved = 0;

    while (path->mount && atomic_load_explicit(&path->dentry->mounted, memory_order_acquire)) {
        struct path next = {0};

        rwlock_read_acquire(&mounts_lock);
        next.mount = mount_child_locked(path->mount, path->dentry);
        if (next.mount) {
            next.dentry = next.mount->root;
            path_get(&next);
        }
        rwlock_read_release(&mounts_lock);
        if (!next.mount) {
            break;
        }
        path_put(path);
        *path = next;
        moved = 1;
    }
    return moved;
}

bool path_climb_mount(struct path *path) {
    struct path next = {0};

    rwlock_read_acquire(&mounts_lock);
    if (path->mount->parent) {
        next.mount = path->mount->parent;
        next.dentry = path->mount->mountpoint;
        path_get(&next);
    }
    rwlock_read_release(&mounts_lock);
    if (!next.mount) {
        return false;
    }
    path_put(path);
    *path = next;
    return true;
}

bool path_is_below(const struct path *path, const struct path *root) {
    const struct mount *mount = path->mount;
    struct dentry *dentry = path->dentry;
    READ_GUARD(&mounts_lock);

    while (mount != root->mount) {
        if (!mount || !mount->parent) {
            return false;
        }
        dentry = mount->mountpoint;
        mount = mount->parent;
    }
    return dentry_is_below(dentry, root->dentry);
}

/* Puts the names from `dentry` up to `stop` or to the top before *end: 0, 1 when it ended at the
 * top without meeting `stop` nor `stop2`, -ENAMETOOLONG. */
static int prepend_names(struct dentry *dentry, const struct dentry *stop,
                         const struct dentry *stop2, char *start, char **end,
                         struct dentry **reached) {
    LOCK_GUARD(&dentry->sb->dentry_lock);

    while (dentry != stop && dentry != stop2) {
        size_t length = strlen(dentry->name);

        if (dentry->parent == dentry) {
            return 1;
        }
        if ((size_t)(*end - start) < length + 1) {
            return -ENAMETOOLONG;
        }
        *end -= length;
        memcpy(*end, dentry->name, length);
        *--*end = '/';
        dentry = dentry->parent;
    }
    *reached = dentry;
    return 0;
}

static int prepend_text(const char *text, char *start, char **end) {
    size_t length = strlen(text);

    if ((size_t)(*end - start) < length) {
        return -ENAMETOOLONG;
    }
    *end -= length;
    memcpy(*end, text, length);
    return 0;
}

static int prepend_path(const struct path *path, const struct path *root, char *start, char **end) {
    const struct mount *mount = path->mount;
    struct dentry *dentry = path->dentry;
    char *first = *end;
    int error = 0;
    READ_GUARD(&mounts_lock);

    for (;;) {
        const struct dentry *stop = root && root->mount == mount ? root->dentry : mount->root;

        error = prepend_names(dentry, stop, mount->root, start, end, &dentry);
        if (error) {
            break;
        }
        if (root && root->mount == mount && dentry == root->dentry) {
            break;
        }
        if (!mount->parent) {
            error = root ? 1 : 0;
            break;
        }
        dentry = mount->mountpoint;
        mount = mount->parent;
    }
    if (error >= 0 && *end == first) {
        int slash = prepend_text("/", start, end);

        error = slash ? slash : error;
    }
    if (error == 1) {
        error = prepend_text("(unreachable)", start, end);
    }
    return error;
}

ssize_t path_name(const struct path *path, const struct path *root, char *buffer, size_t size) {
    char *end = buffer + size;
    bool deleted = dentry_unlinked(path->dentry);
    int error;

    if (size == 0) {
        return -ENAMETOOLONG;
    }
    *--end = '\0';
    error = deleted ? prepend_text(" (deleted)", buffer, &end) : 0;
    if (!error && !path->mount) {
        LOCK_GUARD(&path->dentry->sb->dentry_lock);
        error = prepend_text(path->dentry->name, buffer, &end);
    } else if (!error) {
        error = prepend_path(path, root, buffer, &end);
    }
    if (error) {
        return error;
    }
    size = (size_t)(buffer + size - end);
    memmove(buffer, end, size);
    return (ssize_t)size;
}

int path_want_write(const struct path *path) {
    if (path->dentry->sb->read_only ||
        (path->mount && (atomic_load(&path->mount->flags) & MS_RDONLY))) {
        return -EROFS;
    }
    return 0;
}

int path_statfs(const struct path *path, struct statfs *stat) {
    struct super_block *sb = path->dentry->sb;
    unsigned long flags = path->mount ? atomic_load(&path->mount->flags) : 0;
    int error = 0;

    memset(stat, 0, sizeof(*stat));
    stat->f_type = sb->type->magic;
    stat->f_namelen = NAME_MAX;
    stat->f_bsize = stat->f_frsize = PAGE_SIZE;
    memcpy(&stat->f_fsid, &sb->dev, sizeof(stat->f_fsid));
    if (sb->type->statfs) {
        error = sb->type->statfs(sb, stat);
    }
    /* statfs(2): ST_RDONLY 1, ST_NOSUID 2, ST_NODEV 4, ST_NOEXEC 8 are MS_*'s values; ST_VALID,
     * ST_NOATIME, ST_NODIRATIME, ST_RELATIME are not. */
    stat->f_flags = 0x20 | (flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)) |
                    (flags & MS_NOATIME ? 0x400 : 0) | (flags & MS_NODIRATIME ? 0x800 : 0) |
                    (flags & MS_RELATIME ? 0x1000 : 0) | (sb->read_only ? MS_RDONLY : 0);
    return error;
}
