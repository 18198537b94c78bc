/*
 * Calls that change the tree by name: mkdir, mknod, symlink, link, unlink, rmdir, rename; and the
 * attributes of a path.
 *
 * Each walks to the directory, takes its lock, looks the name up under it, checks, calls the file
 * system and tells the dentry table, all under that lock. rename takes two directories' locks:
 * under sb->rename_lock when they differ, the ancestor first, else by address.
 */
#include "fs/vfs_internal.h"

static bool lookup_is_unlocked(const struct dentry *dir) {
    return dir->inode->ops && dir->inode->ops->lookup_unlocked;
}

/* A name that is to be made: the walk, and the directory locked (unless an error came). */
static int name_create_begin(struct nameidata *nd, const struct walk *walk, const char *name,
                             bool is_dir) {
    struct dentry *child;
    int error = walk_to_parent(nd, walk, name, 0);

    if (error) {
        return error;
    }
    if (nd->last_type != LAST_NORMAL) {
        return -EEXIST;
    }
    if (lookup_is_unlocked(nd->path.dentry)) {
        /* procfs and the like: nothing is made there. */
        error = dentry_lookup(nd->path.dentry, nd->last, &child);
        if (!error) {
            dentry_put(child);
            return -EEXIST;
        }
        return error == -ENOENT && path_want_write(&nd->path) ? -EROFS : error;
    }
    lock_acquire(&nd->path.dentry->inode->lock);
    error = dentry_lookup_locked(nd->path.dentry, nd->last, &child);
    if (!error) {
        dentry_put(child);
        error = -EEXIST;
    } else if (error == -ENOENT) {
        error = nd->trailing_slash && !is_dir ? -ENOENT : path_want_write(&nd->path);
        if (!error) {
            error = may_create(nd->path.dentry, walk->creds);
        }
    }
    if (error) {
        lock_release(&nd->path.dentry->inode->lock);
    }
    return error;
}

/* Ends it: the dentry of the new inode (whose reference it takes), unless `error`. */
static int name_create_end(struct nameidata *nd, int error, struct inode *inode,
                           struct path *made) {
    struct dentry *child = NULL, *dir = nd->path.dentry;
    bool is_dir = false;

    if (!error) {
        is_dir = S_ISDIR(inode->type);
        child = dentry_add(dir, nd->last, inode);
        inode_put(inode);
    }
    lock_release(&dir->inode->lock);
    if (!error) {
        fs_event(dir->inode, IN_CREATE | (is_dir ? IN_ISDIR : 0), 0, nd->last);
    }
    if (made && !error) {
        if (!child) {
            return -ENOMEM;
        }
        made->mount = nd->path.mount;
        made->dentry = child;
        path_get(made);
    }
    if (child) {
        dentry_put(child);
    }
    return error;
}

int vfs_mkdir(const struct walk *walk, const char *name, mode_t mode) {
    struct nameidata nd CLEANUP(nameidata);
    struct inode *dir, *inode = NULL;
    mode_t umask = fs_context_umask(walk->fs);
    int error = name_create_begin(&nd, walk, name, true);

    if (error) {
        return error;
    }
    dir = nd.path.dentry->inode;
    mode &= 01777 & ~umask;
    error = dir->ops->mkdir ? dir->ops->mkdir(dir, nd.last, mode, walk->creds, &inode) : -EPERM;
    return name_create_end(&nd, error, inode, NULL);
}

static int do_mknod(const struct walk *walk, const char *name, mode_t mode, dev_t dev,
                    struct path *made) {
    struct nameidata nd CLEANUP(nameidata);
    struct inode *dir, *inode = NULL;
    mode_t umask = fs_context_umask(walk->fs);
    int error = name_create_begin(&nd, walk, name, false);

    if (error) {
        return error;
    }
    dir = nd.path.dentry->inode;
    mode = (mode & S_IFMT) | (mode & 07777 & ~umask);
    if (S_ISREG(mode)) {
        error =
            dir->ops->create ? dir->ops->create(dir, nd.last, mode, walk->creds, &inode) : -EPERM;
    } else {
        error = dir->ops->mknod ? dir->ops->mknod(dir, nd.last, mode, dev, walk->creds, &inode)
                                : -EPERM;
    }
    return name_create_end(&nd, error, inode, made);
}

int vfs_mknod(const struct walk *walk, const char *name, mode_t mode, dev_t dev) {
    switch (mode & S_IFMT) {
    case 0:
        mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    case S_IFCHR:
    case S_IFBLK:
        /* 0:0 is overlayfs's whiteout: anyone may make one. */
        if (!(S_ISCHR(mode) && dev == 0) && !credentials_capable(walk->creds, CAP_MKNOD)) {
            return -EPERM;
        }
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return do_mknod(walk, name, mode, S_ISCHR(mode) || S_ISBLK(mode) ? dev : 0, NULL);
}

int vfs_bind_socket(const struct walk *walk, const char *name, mode_t mode, struct path *path) {
    int error = do_mknod(walk, name, S_IFSOCK | (mode & 07777), 0, path);

    return error == -EEXIST ? -EADDRINUSE : error;
}

int vfs_symlink(const struct walk *walk, const char *target, const char *name) {
    struct nameidata nd CLEANUP(nameidata);
    struct inode *dir, *inode = NULL;
    int error;

    nameidata_clear(&nd);
    if (!*target) {
        return -ENOENT;
    }
    if (strlen(target) >= PATH_MAX) {
        return -ENAMETOOLONG;
    }
    error = name_create_begin(&nd, walk, name, false);
    if (error) {
        return error;
    }
    dir = nd.path.dentry->inode;
    error =
        dir->ops->symlink ? dir->ops->symlink(dir, nd.last, target, walk->creds, &inode) : -EPERM;
    return name_create_end(&nd, error, inode, NULL);
}

int vfs_link(const struct walk *from_walk, const char *from, const struct walk *to_walk,
             const char *to, int flags) {
    struct nameidata nd CLEANUP(nameidata);
    struct path target = {0};
    struct inode *dir, *inode;
    int error;

    nameidata_clear(&nd);
    error = path_lookup(from_walk, from,
                        (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) |
                            (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
                        &target);
    if (error) {
        return error;
    }
    inode = target.dentry->inode;
    error = name_create_begin(&nd, to_walk, to, false);
    if (!error) {
        dir = nd.path.dentry->inode;
        if (target.mount != nd.path.mount || inode->sb != dir->sb) {
            error = -EXDEV;
        } else if (S_ISDIR(inode->type)) {
            error = -EPERM;
        } else if (atomic_load(&inode->no_link)) {
            error = -ENOENT;
        } else if (!dir->ops->link) {
            error = -EPERM;
        } else {
            error = dir->ops->link(dir, nd.last, inode);
        }
        if (!error) {
            fs_event(inode, IN_ATTRIB, 0, NULL);
        }
        error = name_create_end(&nd, error, error ? NULL : inode_get(inode), NULL);
    }
    path_put(&target);
    return error;
}

/* ---- removing ---- */

static void tell_deleted(struct dentry *dir, const char *name, struct inode *inode, bool is_dir) {
    struct kstat stat;

    fs_event(dir->inode, IN_DELETE | (is_dir ? IN_ISDIR : 0), 0, name);
    if (atomic_load(&inode->watch_count)) {
        bool last = inode_getattr(inode, &stat) || stat.nlink == 0 || is_dir;

        /* unlink changes the link count first, which is an event of its own. */
        if (!is_dir) {
            fs_event(inode, IN_ATTRIB, 0, NULL);
        }
        if (last) {
            fs_event(inode, IN_DELETE_SELF, 0, NULL);
        }
    }
}

static int name_remove(const struct walk *walk, const char *name, bool is_dir) {
    struct nameidata nd CLEANUP(nameidata);
    struct dentry *dir, *victim = NULL;
    int error = walk_to_parent(&nd, walk, name, 0);

    if (error) {
        return error;
    }
    switch (nd.last_type) {
    case LAST_NORMAL:
        break;
    case LAST_DOTDOT:
        return is_dir ? -ENOTEMPTY : -EISDIR;
    case LAST_DOT:
        return is_dir ? -EINVAL : -EISDIR;
    case LAST_ROOT:
        return is_dir ? -EBUSY : -EISDIR;
    }
    error = path_want_write(&nd.path);
    if (error) {
        return error;
    }
    dir = nd.path.dentry;
    if (lookup_is_unlocked(dir)) {
        error = dentry_lookup(dir, nd.last, &victim);
        if (!error) {
            dentry_put(victim);
        }
        return error ? error : -EPERM;
    }
    lock_acquire(&dir->inode->lock);
    error = dentry_lookup_locked(dir, nd.last, &victim);
    if (!error && nd.trailing_slash && !is_dir) {
        error = S_ISDIR(victim->inode->type) ? -EISDIR : -ENOTDIR;
    }
    if (!error) {
        error = may_delete(dir, victim, is_dir, walk->creds);
    }
    if (!error && is_dir) {
        lock_acquire(&victim->inode->lock);
        error = dir->inode->ops->rmdir ? dir->inode->ops->rmdir(dir->inode, nd.last, victim->inode)
                                       : -EPERM;
        if (!error) {
            victim->inode->dead = true;
            dentry_unlink(victim);
        }
        lock_release(&victim->inode->lock);
    } else if (!error) {
        error = dir->inode->ops->unlink
                    ? dir->inode->ops->unlink(dir->inode, nd.last, victim->inode)
                    : -EPERM;
        if (!error) {
            dentry_unlink(victim);
        }
    }
    lock_release(&dir->inode->lock);
    if (!error) {
        inode_lost_name(victim->inode);
        tell_deleted(dir, nd.last, victim->inode, is_dir);
    }
    if (victim) {
        dentry_put(victim);
    }
    return error;
}

int vfs_unlink(const struct walk *walk, const char *name) {
    return name_remove(walk, name, false);
}

int vfs_rmdir(const struct walk *walk, const char *name) {
    return name_remove(walk, name, true);
}

/* ---- rename ---- */

static _Atomic uint32_t rename_cookie = 1;

static void lock_two(struct dentry *a, struct dentry *b) {
    if (a == b || a->inode == b->inode) {
        lock_acquire(&a->inode->lock);
        return;
    }
    lock_acquire(&a->sb->rename_lock);
    if (dentry_is_below(a, b) || (!dentry_is_below(b, a) && a->inode > b->inode)) {
        struct dentry *swap = a;

        a = b;
        b = swap;
    }
    lock_acquire(&a->inode->lock);
    lock_acquire(&b->inode->lock);
}

static void unlock_two(struct dentry *a, struct dentry *b) {
    lock_release(&a->inode->lock);
    if (a->inode != b->inode) {
        lock_release(&b->inode->lock);
        lock_release(&a->sb->rename_lock);
    }
}

struct rename {
    struct nameidata *from, *to;
    struct dentry *old, *new; /* owned; new NULL: nothing there */
    unsigned flags;
    const struct credentials *creds;
};

static int rename_check(struct rename *r) {
    struct dentry *from_dir = r->from->path.dentry, *to_dir = r->to->path.dentry;
    bool is_dir = S_ISDIR(r->old->inode->type), exchange = r->flags & RENAME_EXCHANGE;
    int error;

    if (r->new && (r->flags & RENAME_NOREPLACE)) {
        return -EEXIST;
    }
    if (!r->new &&exchange) {
        return -ENOENT;
    }
    if (exchange && !S_ISDIR(r->new->inode->type) && r->to->trailing_slash) {
        return -ENOTDIR;
    }
    if (!is_dir && (r->from->trailing_slash || (!exchange && r->to->trailing_slash))) {
        return -ENOTDIR;
    }
    /* Into itself; onto a directory that it is in. */
    if (is_dir && dentry_is_below(to_dir, r->old)) {
        return -EINVAL;
    }
    if (r->new &&S_ISDIR(r->new->inode->type) && dentry_is_below(from_dir, r->new)) {
        return exchange ? -EINVAL : -ENOTEMPTY;
    }
    if (r->new && r->new->inode == r->old->inode) {
        return 0;
    }
    error = may_delete(from_dir, r->old, is_dir, r->creds);
    if (error) {
        return error;
    }
    if (!r->new) {
        error = may_create(to_dir, r->creds);
    } else {
        error =
            may_delete(to_dir, r->new, exchange ? S_ISDIR(r->new->inode->type) : is_dir, r->creds);
    }
    /* A directory's ".." changes: that is writing to it. */
    if (!error && from_dir != to_dir && is_dir) {
        error = inode_permission(r->old->inode, MAY_WRITE, r->creds);
    }
    if (!error && from_dir != to_dir && exchange && S_ISDIR(r->new->inode->type)) {
        error = inode_permission(r->new->inode, MAY_WRITE, r->creds);
    }
    if (!error && !from_dir->inode->ops->rename) {
        error = -EPERM;
    }
    return error;
}

/* Both directories are locked. */
static int rename_locked(struct rename *r) {
    struct dentry *from_dir = r->from->path.dentry, *to_dir = r->to->path.dentry;
    bool over_dir = r->new &&S_ISDIR(r->new->inode->type) && !(r->flags & RENAME_EXCHANGE);
    struct dentry_move move;
    int error = rename_check(r);

    if (error || (r->new && r->new->inode == r->old->inode)) {
        return error;
    }
    error = dentry_move_prepare(&move, r->from->last, r->to->last);
    if (error) {
        return error;
    }
    if (over_dir) {
        lock_acquire(&r->new->inode->lock);
    }
    error =
        from_dir->inode->ops->rename(from_dir->inode, r->from->last, r->old->inode, to_dir->inode,
                                     r->to->last, r->new ? r->new->inode : NULL, r->flags);
    if (!error && over_dir) {
        r->new->inode->dead = true;
    }
    if (error) {
        dentry_move_abort(&move);
    } else if (r->flags & RENAME_EXCHANGE) {
        dentry_exchange(&move, r->old, r->new);
    } else {
        dentry_move(&move, r->old, to_dir, r->new);
    }
    if (over_dir) {
        lock_release(&r->new->inode->lock);
    }
    return error;
}

static void tell_renamed(struct rename *r) {
    uint32_t is_dir = S_ISDIR(r->old->inode->type) ? IN_ISDIR : 0;
    uint32_t cookie = atomic_fetch_add(&rename_cookie, 1);

    fs_event(r->from->path.dentry->inode, IN_MOVED_FROM | is_dir, cookie, r->from->last);
    fs_event(r->to->path.dentry->inode, IN_MOVED_TO | is_dir, cookie, r->to->last);
    fs_event(r->old->inode, IN_MOVE_SELF, 0, NULL);
    if (r->new && !(r->flags & RENAME_EXCHANGE)) {
        fs_event(r->new->inode, IN_DELETE_SELF, 0, NULL);
    }
}

int vfs_rename(const struct walk *from_walk, const char *from, const struct walk *to_walk,
               const char *to, unsigned flags) {
    struct nameidata nd_from CLEANUP(nameidata), nd_to CLEANUP(nameidata);
    struct rename r = {.from = &nd_from, .to = &nd_to, .flags = flags, .creds = from_walk->creds};
    struct dentry *from_dir, *to_dir;
    int error;

    nameidata_clear(&nd_from);
    nameidata_clear(&nd_to);
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
        flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return -EINVAL;
    }
    error = walk_to_parent(&nd_from, from_walk, from, 0);
    if (!error) {
        error = walk_to_parent(&nd_to, to_walk, to, 0);
    }
    if (error) {
        return error;
    }
    if (nd_from.path.mount != nd_to.path.mount) {
        return -EXDEV;
    }
    if (nd_from.last_type != LAST_NORMAL) {
        return -EBUSY;
    }
    if (nd_to.last_type != LAST_NORMAL) {
        return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    }
    error = path_want_write(&nd_from.path);
    if (error) {
        return error;
    }
    from_dir = nd_from.path.dentry;
    to_dir = nd_to.path.dentry;
    if (lookup_is_unlocked(from_dir) || lookup_is_unlocked(to_dir)) {
        return -EPERM;
    }
    lock_two(from_dir, to_dir);
    error = dentry_lookup_locked(from_dir, nd_from.last, &r.old);
    if (!error) {
        error = dentry_lookup_locked(to_dir, nd_to.last, &r.new);
        error = error == -ENOENT ? 0 : error;
    }
    if (!error) {
        error = rename_locked(&r);
    }
    unlock_two(from_dir, to_dir);
    if (!error && !(r.new &&r.new->inode == r.old->inode)) {
        if (r.new && !(flags & RENAME_EXCHANGE)) {
            inode_lost_name(r.new->inode);
        }
        tell_renamed(&r);
    }
    if (r.old) {
        dentry_put(r.old);
    }
    if (r.new) {
        dentry_put(r.new);
    }
    return error;
}

/* ---- attributes ---- */

ssize_t vfs_readlink(const struct path *path, char *buffer, size_t size) {
    struct inode *inode = path->dentry->inode;

    if (!S_ISLNK(inode->type)) {
        return -EINVAL;
    }
    if (inode->ops->readlink) {
        return inode->ops->readlink(inode, buffer, size);
    }
    if (inode->ops->follow) {
        struct path target = {0};
        char *name CLEANUP(free) = NULL;
        ssize_t length = inode->ops->follow(inode, &target);

        if (length) {
            return length;
        }
        name = malloc(PATH_MAX);
        length = name ? path_name(&target, NULL, name, PATH_MAX) : -ENOMEM;
        path_put(&target);
        if (length < 0) {
            return length;
        }
        size = MIN(size, (size_t)length - 1);
        memcpy(buffer, name, size);
        return (ssize_t)size;
    }
    return -EINVAL;
}

int path_getattr(const struct path *path, struct kstat *stat) {
    return inode_getattr(path->dentry->inode, stat);
}

int path_setattr(const struct path *path, struct iattr *attr, const struct credentials *creds) {
    int error = path_want_write(path);

    if (!error) {
        error = dentry_setattr(path->dentry, attr, creds);
    }
    return error;
}

int vfs_truncate(const struct path *path, const struct credentials *creds, int64_t size) {
    struct inode *inode = path->dentry->inode;
    struct iattr attr = {.valid = ATTR_SIZE, .size = size};
    int error;

    if (size < 0) {
        return -EINVAL;
    }
    if (!S_ISREG(inode->type)) {
        return S_ISDIR(inode->type) ? -EISDIR : -EINVAL;
    }
    error = path_want_write(path);
    if (!error) {
        error = inode_permission(inode, MAY_WRITE, creds);
    }
    if (!error) {
        error = inode_get_write(inode);
    }
    if (error) {
        return error;
    }
    error = dentry_setattr(path->dentry, &attr, creds);
    inode_put_write(inode);
    return error;
}
