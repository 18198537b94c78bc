/*
 * open(2): the walk to the last component, creation, permission, truncation.
 *
 * With O_CREAT the last component is looked up under its directory's lock, so that of two openers
 * only one creates, and O_EXCL is exact.
 */
#include "fs/vfs_internal.h"

struct open_how_kernel {
    int flags;   /* O_* */
    int access;  /* MAY_* that the inode is asked for */
    mode_t mode; /* of a created file, umask applied */
    bool created;
    bool truncate;
    const struct open_name *opening; /* the name is not confirmed */
};

/* openat(2), openat2(2): which flags go together. */
static int check_flags(int *flags, struct open_how_kernel *how) {
    if (*flags & O_PATH) {
        *flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        how->flags = *flags;
        return 0;
    }
    if ((*flags & O_TMPFILE) == O_TMPFILE) {
        if (*flags & O_CREAT || (*flags & O_ACCMODE) == O_RDONLY) {
            return -EINVAL;
        }
    } else if (*flags & (O_TMPFILE & ~O_DIRECTORY)) {
        return -EINVAL; /* __O_TMPFILE without O_DIRECTORY */
    } else if ((*flags & O_CREAT) && (*flags & O_DIRECTORY)) {
        return -EINVAL;
    }
    switch (*flags & O_ACCMODE) {
    case O_RDONLY:
        how->access = MAY_READ;
        break;
    case O_WRONLY:
        how->access = MAY_WRITE;
        break;
    default:
        how->access = MAY_READ | MAY_WRITE;
        break;
    }
    if (*flags & O_TRUNC) {
        how->access |= MAY_WRITE;
    }
    how->flags = *flags;
    how->truncate = *flags & O_TRUNC;
    return 0;
}

/* May the file at `path` be opened like this? */
static int may_open(const struct nameidata *nd, struct open_how_kernel *how) {
    const struct credentials *creds = nd->creds;
    const struct path *path = &nd->path;
    struct inode *inode = path->dentry->inode;
    unsigned long mount_flags = path->mount ? atomic_load(&path->mount->flags) : 0;
    struct kstat stat;
    int error;

    switch (inode->type) {
    case S_IFLNK:
        return -ELOOP;
    case S_IFDIR:
        if (how->access & MAY_WRITE) {
            return -EISDIR;
        }
        break;
    case S_IFBLK:
    case S_IFCHR:
        if (mount_flags & MS_NODEV) {
            return -EACCES;
        }
        how->truncate = false;
        break;
    case S_IFIFO:
    case S_IFSOCK:
        how->truncate = false;
        break;
    }
    if (!how->created) {
        error = nd->stat_known && !inode->ops->permission
                    ? generic_permission(&nd->stat, how->access, creds)
                    : inode_permission(inode, how->access, creds);
        if (error) {
            return error;
        }
    }
    if ((how->access & MAY_WRITE) && S_ISREG(inode->type)) {
        error = path_want_write(path);
        if (error) {
            return error;
        }
    }
    if (how->flags & O_NOATIME) {
        error = inode_getattr(inode, &stat);
        if (error) {
            return error;
        }
        if (!inode_owner_or_capable(&stat, creds)) {
            return -EPERM;
        }
    }
    return 0;
}

/* The file at nd->path. */
static int open_here(struct nameidata *nd, struct open_how_kernel *how, struct file **file) {
    struct inode *inode = nd->path.dentry->inode;
    int error;

    if (((how->flags & O_DIRECTORY) || nd->trailing_slash) && !S_ISDIR(inode->type)) {
        return -ENOTDIR;
    }
    if (how->flags & O_PATH) {
        return file_open_path(&nd->path, how->flags, nd->creds, file);
    }
    if ((how->flags & O_CREAT) && !how->created) {
        if (how->flags & O_EXCL) {
            return -EEXIST;
        }
        if (S_ISDIR(inode->type)) {
            return -EISDIR;
        }
    }
    error = may_open(nd, how);
    if (error) {
        return error;
    }
    error = file_open_named(&nd->path, how->flags, nd->creds, how->opening, file);
    if (error) {
        return error;
    }
    if (how->truncate && !how->created) {
        struct iattr attr = {.valid = ATTR_SIZE};

        error = dentry_setattr(nd->path.dentry, &attr, nd->creds);
        if (error) {
            file_put(STEAL(*file));
            return error;
        }
    }
    return 0;
}

/* O_CREAT: looks the last component up, or makes it. 0: nd->path is the file; 1: a symlink was
 * pushed. */
static int walk_create(struct nameidata *nd, struct open_how_kernel *how) {
    struct dentry *parent = nd->path.dentry, *child = NULL;
    struct inode *dir = parent->inode, *inode;
    bool locked = !(dir->ops && dir->ops->lookup_unlocked);
    int error;

    if (nd->last_type != LAST_NORMAL) {
        /* ".", ".." and "/" are directories: open_here() says EISDIR. */
        return walk_last(nd, true);
    }
    if (nd->trailing_slash) {
        return -EISDIR;
    }
    /* Most of the time it exists: no lock then. */
    error = dentry_lookup(parent, nd->last, &child);
    if (error == -ENOENT) {
        if (locked) {
            lock_acquire(&dir->lock);
        }
        error = dentry_lookup_locked(parent, nd->last, &child);
        if (error == -ENOENT && locked) {
            error = path_want_write(&nd->path);
            if (!error) {
                error = may_create(parent, nd->creds);
            }
            if (!error && !dir->ops->create) {
                error = -EACCES;
            }
            if (!error) {
                error = dir->ops->create(dir, nd->last, how->mode, nd->creds, &inode);
            }
            if (!error) {
                child = dentry_add(parent, nd->last, inode);
                inode_put(inode);
                how->created = true;
                error = child ? 0 : -ENOMEM;
            }
        }
        if (locked) {
            lock_release(&dir->lock);
        }
        if (!error && how->created) {
            fs_event(dir, IN_CREATE, 0, nd->last);
        }
    }
    if (error) {
        return error;
    }
    if ((how->flags & O_EXCL) && !how->created) {
        error = -EEXIST;
    } else {
        error = walk_step(nd, child, !(how->flags & O_NOFOLLOW));
    }
    dentry_put(child);
    return error;
}

static int open_tmpfile(struct nameidata *nd, struct open_how_kernel *how, struct file **file) {
    struct inode *dir = nd->path.dentry->inode, *inode;
    struct path path = {.mount = nd->path.mount};
    mode_t mode = how->mode;
    int error;

    if (!S_ISDIR(dir->type)) {
        return -ENOTDIR;
    }
    error = path_want_write(&nd->path);
    if (!error) {
        error = inode_permission(dir, MAY_WRITE | MAY_EXEC, nd->creds);
    }
    if (!error && !(dir->ops && dir->ops->tmpfile)) {
        error = -EOPNOTSUPP;
    }
    if (error) {
        return error;
    }
    lock_acquire(&dir->lock);
    error = dir->dead ? -ENOENT : dir->ops->tmpfile(dir, mode, nd->creds, &inode);
    lock_release(&dir->lock);
    if (error) {
        return error;
    }
    atomic_store(&inode->no_link, how->flags & O_EXCL);
    path.dentry = dentry_new_tmpfile(nd->path.dentry, inode);
    inode_put(inode);
    if (!path.dentry) {
        return -ENOMEM;
    }
    how->created = true;
    /* O_TMPFILE contains O_DIRECTORY; neither stays in the file's flags but for F_GETFL. */
    error = file_open_path(&path, how->flags, nd->creds, file);
    dentry_put(path.dentry);
    return error;
}

/* Will the open itself confirm the name? Only where nothing else depends on it: no attributes, no
 * error that is known before. */
static bool open_confirms(const struct nameidata *nd, const struct open_how_kernel *how) {
    const struct inode *inode = nd->path.dentry->inode;

    return !nd->confirmed && inode->ops && inode->ops->opens_by_name &&
           !(how->flags & (O_ACCMODE | O_CREAT | O_TRUNC | O_PATH | O_NOATIME)) &&
           (S_ISDIR(inode->type) || !((how->flags & O_DIRECTORY) || nd->trailing_slash)) &&
           credentials_capable(nd->creds, CAP_DAC_OVERRIDE);
}

static int walk_and_open(const struct walk *walk, const char *name, unsigned lookup_flags,
                         struct open_how_kernel *how, struct file **file) {
    struct nameidata nd CLEANUP(nameidata) UNINITIALIZED;
    struct open_name opening;
    int error = nameidata_init(&nd, walk, name, lookup_flags);

    if (error) {
        return error;
    }
    how->opening = NULL;
    do {
        error = walk_parent(&nd);
        if (!error && (how->flags & O_CREAT)) {
            error = walk_confirm(&nd);
            if (!error) {
                error = walk_create(&nd, how);
            }
        } else if (!error) {
            error = walk_last(&nd, !(how->flags & O_NOFOLLOW));
        }
    } while (error == 1);
    if (!error && open_confirms(&nd, how)) {
        opening = (struct open_name){nd.base->inode, nd.names};
        how->opening = &opening;
    } else if (!error) {
        error = walk_confirm(&nd);
    }
    if (!error) {
        error = (how->flags & O_TMPFILE) == O_TMPFILE ? open_tmpfile(&nd, how, file)
                                                      : open_here(&nd, how, file);
    }
    how->opening = NULL;
    return error;
}

int vfs_open(const struct walk *walk, const char *name, int flags, mode_t mode,
             unsigned lookup_flags, struct file **file) {
    struct open_how_kernel how = {0};
    int error = check_flags(&flags, &how);

    if (error) {
        return error;
    }
    how.mode = mode & 07777 & ~fs_context_umask(walk->fs);
    error = walk_and_open(walk, name, lookup_flags, &how, file);
    for (int i = 0; error == -ESTALE && !how.created && i < STALE_TRIES; i++) {
        error = walk_and_open(walk, name, lookup_flags | LOOKUP_REVAL, &how, file);
    }
    if (!error && !(how.flags & O_PATH)) {
        fs_event_dentry((*file)->path.dentry, IN_OPEN);
    }
    return error;
}

static int open_exec_once(const struct walk *walk, const char *name, unsigned lookup_flags,
                          struct file **file) {
    struct path path = {0};
    struct inode *inode;
    int error = path_lookup(walk, name, lookup_flags, &path);

    if (error) {
        return error;
    }
    inode = path.dentry->inode;
    if (S_ISLNK(inode->type)) {
        error = -ELOOP;
    } else if (!S_ISREG(inode->type) ||
               (path.mount && (atomic_load(&path.mount->flags) & MS_NOEXEC))) {
        error = -EACCES;
    } else {
        error = inode_permission(inode, MAY_EXEC, walk->creds);
    }
    if (!error) {
        error = inode_deny_write(inode);
    }
    if (!error) {
        error = file_open_path(&path, O_RDONLY | O_LARGEFILE, walk->creds, file);
        if (error) {
            inode_allow_write(inode);
        } else {
            /* file_put() lets writers in again. */
            (*file)->mode |= FMODE_EXEC;
        }
    }
    path_put(&path);
    return error;
}

int vfs_open_exec(const struct walk *walk, const char *name, unsigned lookup_flags,
                  struct file **file) {
    int error = open_exec_once(walk, name, lookup_flags, file);

    for (int i = 0; error == -ESTALE && i < STALE_TRIES; i++) {
        error = open_exec_once(walk, name, lookup_flags | LOOKUP_REVAL, file);
    }
    return error;
}
