/*
 * Walking over names that somebody outside may change (a shared host directory) without asking the
 * host at every step.
 *
 * The walk goes by the dentry table and remembers the names that it has passed since `base`. Where
 * it matters (at its end, before a symlink's text is used, before an absence is believed, where a
 * directory's attributes decide) one question to the file system, inode_ops.confirm, tells whether
 * base and these names still lead to this inode. A "no" says nothing about which of them changed:
 * the walk gives up with -ESTALE and is made again with LOOKUP_REVAL, a question at each step, as
 * on Linux. So its result is one that Linux could have given during the call.
 *
 * A row of names ends at a mount and at an inode that is settled (copied up): what is below has
 * another base. Symlinks do not end it: their text goes on from the directory that they are in.
 */
#include "fs/vfs_internal.h"

void walk_settle(struct nameidata *nd) {
    if (nd->base) {
        dentry_put(STEAL(nd->base));
    }
    nd->names_length = 0;
    nd->confirmed = true;
    nd->stat_known = false;
}

/* False: it would be longer than what the host takes. */
static bool names_push(struct nameidata *nd, const char *name) {
    size_t length = strlen(name), slash = nd->names_length > 0;

    if (nd->names_length + slash + length >= sizeof(nd->names)) {
        return false;
    }
    if (slash) {
        nd->names[nd->names_length++] = '/';
    }
    memcpy(nd->names + nd->names_length, name, length + 1);
    nd->names_length += length;
    return true;
}

static void names_cut(struct nameidata *nd, size_t length) {
    nd->names_length = length;
    nd->names[length] = '\0';
}

/* Do base and the names lead to `inode` (NULL: to nothing)? */
static int names_ask(struct nameidata *nd, struct inode *inode) {
    struct inode *dir = (nd->base ? nd->base : nd->path.dentry)->inode;

    return dir->ops->confirm(dir, nd->names, inode, &nd->stat) ? 0 : -ESTALE;
}

int walk_confirm(struct nameidata *nd) {
    int error;

    if (nd->confirmed) {
        return 0;
    }
    error = names_ask(nd, nd->path.dentry->inode);
    nd->confirmed = nd->stat_known = !error;
    return error;
}

int walk_confirm_parent(struct nameidata *nd) {
    int error = walk_confirm(nd);
    struct dentry *parent;
    const char *slash;

    slash = nd->names_length ? strrchr(nd->names, '/') : NULL;
    if (error || !slash) {
        return error;
    }
    names_cut(nd, (size_t)(slash - nd->names));
    parent = dentry_parent(nd->path.dentry);
    error = names_ask(nd, parent->inode);
    dentry_put(parent);
    return error;
}

/* The child is what nd->last means if the names are right. */
static int walk_unconfirmed(struct nameidata *nd, struct dentry *child, bool follow) {
    size_t length = nd->names_length;
    int error;

    if (!names_push(nd, nd->last)) {
        error = walk_confirm(nd);
        if (error) {
            return error;
        }
        walk_settle(nd);
        length = 0;
        (void)names_push(nd, nd->last); /* one name always fits */
    }
    if (!child->inode) {
        error = names_ask(nd, NULL);
        names_cut(nd, length);
        return error ? error : -ENOENT;
    }
    if (S_ISLNK(child->inode->type) && follow) {
        error = names_ask(nd, child->inode);
        nd->stat_known = false;
        names_cut(nd, length);
        return error ? error : walk_symlink(nd, child->inode);
    }
    if (nd->base) {
        dentry_put(nd->path.dentry);
    } else {
        nd->base = nd->path.dentry;
    }
    nd->path.dentry = dentry_get(child);
    nd->confirmed = nd->stat_known = false;
    return 0;
}

/*
 * A name that the table does not know, of which only the attributes are wanted, costs one question
 * and leaves nothing behind: a program that looks at ten thousand files once needs no inode of
 * each. An answer about the host's file is the guest's truth only while no inode stands for the
 * file (copied up, it would know better), which is the file system's to know.
 */
static int walk_peek(struct nameidata *nd) {
    struct inode *dir = (nd->base ? nd->base : nd->path.dentry)->inode;
    size_t length = nd->names_length;
    ino_t ino;
    int error;

    if (!dir->ops->peek || !names_push(nd, nd->last)) {
        return PEEK_UNKNOWN;
    }
    error = dir->ops->peek(dir, nd->names, &nd->stat, &ino);
    names_cut(nd, length);
    nd->peeked = !error;
    return error;
}

/* Is something mounted on it here, and not only in another namespace? */
static bool is_mount_point(const struct nameidata *nd, struct dentry *child) {
    struct path path = {nd->path.mount, child};
    bool moved;

    if (!atomic_load_explicit(&child->mounted, memory_order_acquire)) {
        return false;
    }
    path_get(&path);
    moved = path_follow_mounts(&path);
    path_put(&path);
    return moved;
}

static bool is_settled(struct dentry *child) {
    return child->inode && atomic_load_explicit(&child->inode->settled, memory_order_acquire);
}

int walk_quick(struct nameidata *nd, bool follow) {
    struct dentry *parent = nd->path.dentry, *child;
    int error;

    if (!parent->inode->ops || !parent->inode->ops->confirm || (nd->flags & LOOKUP_REVAL)) {
        return WALK_UNKNOWN;
    }
    child = dentry_find(parent, nd->last);
    if (!child && nd->peeks) {
        error = walk_peek(nd);
        if (error != PEEK_UNKNOWN) {
            return error;
        }
    }
    if (!child || (child->inode && atomic_load(&child->inode->many_names))) {
        if (child) {
            dentry_put(child);
        }
        error = walk_confirm(nd);
        return error ? error : WALK_UNKNOWN;
    }
    if (is_settled(child) || is_mount_point(nd, child)) {
        /* The name stands, but not without the directory that it is in. */
        error = walk_confirm(nd);
        if (!error) {
            error = walk_step(nd, child, follow);
        }
    } else {
        error = walk_unconfirmed(nd, child, follow);
    }
    dentry_put(child);
    return error;
}

int walk_may_lookup(struct nameidata *nd) {
    struct inode *dir = nd->path.dentry->inode;
    int error = 0;

    if (!nd->base) {
        return may_lookup(nd->path.dentry, nd->creds);
    }
    if (S_ISDIR(dir->type) && (credentials_capable(nd->creds, CAP_DAC_OVERRIDE) ||
                               credentials_capable(nd->creds, CAP_DAC_READ_SEARCH))) {
        return 0;
    }
    error = walk_confirm(nd);
    if (error) {
        return error;
    }
    if (S_ISDIR(dir->type) && nd->stat_known && !dir->ops->permission) {
        return generic_permission(&nd->stat, MAY_EXEC, nd->creds);
    }
    return may_lookup(nd->path.dentry, nd->creds);
}
