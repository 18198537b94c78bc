/*
 * Mounts and mount namespaces: which tree stands where.
 *
 * Ownership. A namespace owns one reference to each of its mounts; a path holds another. A mount
 * holds its super block, its root dentry and its mount point. parent, mountpoint and the lists are
 * guarded by mounts_lock, one for all namespaces; `parent` is borrowed, since a mount leaves the
 * tree only with everything below it. A mount that was detached lives on, without a place, while
 * paths hold it; with its last mount a super block ends (super_block_kill).
 *
 * A walk only takes the lock at a dentry with ->mounted set, and at the root of a mount for "..".
 */
#include "fs/vfs_internal.h"

struct mount_namespace {
    struct ref ref;
    struct mount *root;      /* borrowed from the list; guarded by mounts_lock */
    struct list_head mounts; /* owned; guarded by mounts_lock; in order of mounting */
};

struct rwlock mounts_lock = {PTHREAD_RWLOCK_INITIALIZER, LOCK_MOUNTS};
static _Atomic int next_mount_id = 1;

#define MOUNTS_MAX 100000 /* fs.mount-max: what one namespace may hold */

/* ---- mounts ---- */

static struct mount *mount_new(struct super_block *sb, struct dentry *root, const char *source,
                               unsigned long flags) {
    struct mount *mount = calloc(1, sizeof(*mount));

    if (!mount) {
        return NULL;
    }
    mount->source = strdup(source ? source : "none");
    if (!mount->source) {
        free(mount);
        return NULL;
    }
    ref_init(&mount->ref);
    mount->sb = super_block_get(sb);
    atomic_fetch_add(&sb->mounts, 1);
    mount->root = dentry_get(root);
    mount->id = atomic_fetch_add(&next_mount_id, 1);
    mount->flags = flags;
    list_init(&mount->link);
    list_init(&mount->children);
    list_init(&mount->child_link);
    return mount;
}

struct mount *mount_get(struct mount *mount) {
    ref_get(&mount->ref);
    return mount;
}

void mount_put(struct mount *mount) {
    if (!ref_put(&mount->ref)) {
        return;
    }
    dentry_put(mount->root);
    if (atomic_fetch_sub(&mount->sb->mounts, 1) == 1) {
        super_block_kill(mount->sb);
    }
    super_block_put(mount->sb);
    free(mount->source);
    free(mount);
}

/* Puts the mount, with one reference for the namespace, at (parent, mountpoint). */
static void mount_link_locked(struct mount_namespace *ns, struct mount *mount, struct mount *parent,
                              struct dentry *mountpoint) {
    mount->ns = ns;
    list_add_tail(&mount->link, &ns->mounts);
    if (parent) {
        mount->parent = parent;
        mount->mountpoint = dentry_get(mountpoint);
        atomic_fetch_add(&mountpoint->mounted, 1);
        list_add_tail(&mount->child_link, &parent->children);
    }
}

/* Takes it from its mount point, which the caller puts after unlocking. */
static struct dentry *mount_unplace_locked(struct mount *mount) {
    struct dentry *mountpoint = STEAL(mount->mountpoint);

    if (mountpoint) {
        atomic_fetch_sub(&mountpoint->mounted, 1);
    }
    list_del(&mount->child_link);
    mount->parent = NULL;
    return mountpoint;
}

struct mount *mount_child_locked(const struct mount *parent, const struct dentry *at) {
    struct mount *child;

    list_for_each_entry (child, &parent->children, child_link) {
        if (child->mountpoint == at) {
            return child;
        }
    }
    return NULL;
}

static bool mount_is_below_locked(const struct mount *mount, const struct mount *ancestor) {
    for (; mount; mount = mount->parent) {
        if (mount == ancestor) {
            return true;
        }
    }
    return false;
}

/* ---- namespaces ---- */

struct mount_namespace *mount_namespace_new(struct super_block *root, const char *source,
                                            unsigned long flags) {
    struct mount_namespace *ns = calloc(1, sizeof(*ns));
    struct dentry *dentry = super_block_root(root);
    struct mount *mount = dentry ? mount_new(root, dentry, source, flags) : NULL;

    if (dentry) {
        dentry_put(dentry);
    }
    if (!ns || !mount) {
        if (mount) {
            mount_put(mount);
        }
        free(ns);
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&ns->ref);
    list_init(&ns->mounts);
    rwlock_write_acquire(&mounts_lock);
    mount_link_locked(ns, mount, NULL, NULL);
    ns->root = mount;
    rwlock_write_release(&mounts_lock);
    return ns;
}

struct mount_namespace *mount_namespace_get(struct mount_namespace *ns) {
    ref_get(&ns->ref);
    return ns;
}

/* Takes out `mount` and everything below it. Moves them to `gone`; mount_put_gone() ends them. */
static void mount_unlink_tree_locked(struct mount *mount, struct list_head *gone) {
    struct mount *child, *next;

    /* Depth first without recursion: down to a leaf, out with it, and again from the top. */
    while (!list_empty(&mount->children)) {
        struct mount *leaf = mount;

        while (!list_empty(&leaf->children)) {
            leaf = list_first_entry(&leaf->children, struct mount, child_link);
        }
        list_del(&leaf->child_link);
        list_del(&leaf->link);
        list_add_tail(&leaf->link, gone);
    }
    list_del(&mount->child_link);
    list_del(&mount->link);
    list_add_tail(&mount->link, gone);
    list_for_each_entry_safe (child, next, gone, link) {
        child->parent = NULL;
        child->ns = NULL;
        if (child->mountpoint) {
            atomic_fetch_sub(&child->mountpoint->mounted, 1);
        }
    }
}

static void mount_put_gone(struct list_head *gone) {
    while (!list_empty(gone)) {
        struct mount *mount = list_first_entry(gone, struct mount, link);
        struct dentry *mountpoint = STEAL(mount->mountpoint);

        list_del(&mount->link);
        if (mountpoint) {
            dentry_put(mountpoint);
        }
        mount_put(mount);
    }
}

void mount_namespace_put(struct mount_namespace *ns) {
    struct list_head gone;

    if (!ref_put(&ns->ref)) {
        return;
    }
    list_init(&gone);
    rwlock_write_acquire(&mounts_lock);
    mount_unlink_tree_locked(ns->root, &gone);
    rwlock_write_release(&mounts_lock);
    mount_put_gone(&gone);
    free(ns);
}

void mount_namespace_root(struct mount_namespace *ns, struct path *root) {
    READ_GUARD(&mounts_lock);
    root->mount = ns->root;
    root->dentry = ns->root->root;
    path_get(root);
}

/* ---- mount(2) and umount2(2) ---- */

static size_t mount_count_locked(const struct mount_namespace *ns) {
    size_t count = 0;
    struct mount *mount;

    list_for_each_entry (mount, &ns->mounts, link) {
        count++;
    }
    return count;
}

/* Adds a mount (with the reference that becomes the namespace's) at `at`, on top of what is mounted
 * there already. */
static int mount_attach_locked(struct mount_namespace *ns, struct mount *mount,
                               const struct path *at) {
    struct mount *parent = at->mount, *above;
    struct dentry *mountpoint = at->dentry;

    while (parent && (above = mount_child_locked(parent, mountpoint))) {
        parent = above;
        mountpoint = above->root;
    }
    if (!parent || parent->ns != ns) {
        return -EINVAL;
    }
    if (S_ISDIR(mountpoint->inode->type) != S_ISDIR(mount->root->inode->type)) {
        return -ENOTDIR;
    }
    if (dentry_unlinked(mountpoint)) {
        return -ENOENT;
    }
    if (mount_count_locked(ns) >= MOUNTS_MAX) {
        return -ENOSPC;
    }
    mount_link_locked(ns, mount, parent, mountpoint);
    return 0;
}

int mount_attach(struct mount_namespace *ns, struct super_block *sb, struct dentry *root,
                 const struct path *at, const char *source, unsigned long flags) {
    struct dentry *made = root ? NULL : super_block_root(sb);
    struct mount *mount;
    int error;

    if (!root && !made) {
        return -ENOMEM;
    }
    mount = mount_new(sb, root ? root : made, source, flags);
    if (made) {
        dentry_put(made);
    }
    if (!mount) {
        return -ENOMEM;
    }
    rwlock_write_acquire(&mounts_lock);
    error = mount_attach_locked(ns, mount, at);
    rwlock_write_release(&mounts_lock);
    if (error) {
        mount_put(mount);
    }
    return error;
}

/* A copy of one mount with `root` instead of its own, linked nowhere. */
static struct mount *mount_clone(const struct mount *mount, struct dentry *root) {
    return mount_new(mount->sb, root, mount->source, atomic_load(&mount->flags));
}

/* Copies the mounts below `from` (of those that stand below `from->root`'s dentry) under `to`. */
static int mount_copy_children_locked(struct mount_namespace *ns, const struct mount *from,
                                      struct mount *to, struct dentry *below, int depth) {
    struct mount *child;

    if (depth > 64) {
        return -ELOOP;
    }
    list_for_each_entry (child, &from->children, child_link) {
        struct mount *copy;
        int error;

        if (!dentry_is_below(child->mountpoint, below)) {
            continue;
        }
        copy = mount_clone(child, child->root);
        if (!copy) {
            return -ENOMEM;
        }
        mount_link_locked(ns, copy, to, child->mountpoint);
        error = mount_copy_children_locked(ns, child, copy, child->root, depth + 1);
        if (error) {
            return error;
        }
    }
    return 0;
}

int mount_bind(struct mount_namespace *ns, const struct path *from, const struct path *at,
               bool recursive) {
    struct mount *mount;
    struct list_head gone;
    int error;

    if (!from->mount) {
        return -EINVAL;
    }
    mount = mount_clone(from->mount, from->dentry);
    if (!mount) {
        return -ENOMEM;
    }
    list_init(&gone);
    rwlock_write_acquire(&mounts_lock);
    error = from->mount->ns == ns ? 0 : -EINVAL;
    /* The copy is complete before it hangs in the tree, so it never copies itself. */
    if (!error && recursive) {
        error = mount_copy_children_locked(ns, from->mount, mount, from->dentry, 0);
    }
    if (!error) {
        error = mount_attach_locked(ns, mount, at);
    }
    if (error) {
        mount_unlink_tree_locked(mount, &gone);
    }
    rwlock_write_release(&mounts_lock);
    mount_put_gone(&gone);
    return error;
}

int mount_move(struct mount_namespace *ns, const struct path *from, const struct path *at) {
    struct mount *mount = from->mount, *parent = at->mount, *above;
    struct dentry *mountpoint = at->dentry, *old = NULL;
    int error = 0;

    rwlock_write_acquire(&mounts_lock);
    while (parent && (above = mount_child_locked(parent, mountpoint))) {
        parent = above;
        mountpoint = above->root;
    }
    if (!mount || mount->ns != ns || !mount->parent || from->dentry != mount->root || !parent ||
        parent->ns != ns || S_ISDIR(mountpoint->inode->type) != S_ISDIR(mount->root->inode->type)) {
        error = -EINVAL;
    } else if (mount_is_below_locked(parent, mount)) {
        error = -ELOOP;
    } else {
        old = mount_unplace_locked(mount);
        mount->parent = parent;
        mount->mountpoint = dentry_get(mountpoint);
        atomic_fetch_add(&mountpoint->mounted, 1);
        list_add_tail(&mount->child_link, &parent->children);
    }
    rwlock_write_release(&mounts_lock);
    if (old) {
        dentry_put(old);
    }
    return error;
}

int mount_detach(struct mount_namespace *ns, const struct path *at, int flags) {
    struct mount *mount = at->mount;
    struct list_head gone;
    int error = 0;

    list_init(&gone);
    if (!(flags & MNT_DETACH)) {
        fd_page_refresh(NULL); /* what is closed keeps nothing busy */
    }
    rwlock_write_acquire(&mounts_lock);
    if (!mount || mount->ns != ns || at->dentry != mount->root || !mount->parent) {
        error = -EINVAL;
    } else if (!(flags & MNT_DETACH) &&
               /* two references: the namespace's and that of `at` */
               (!list_empty(&mount->children) || atomic_load(&mount->ref.count) > 2)) {
        error = -EBUSY;
    } else {
        mount_unlink_tree_locked(mount, &gone);
    }
    rwlock_write_release(&mounts_lock);
    mount_put_gone(&gone);
    return error;
}

int mount_remount(struct mount_namespace *ns, const struct path *at, unsigned long flags) {
    struct mount *mount = at->mount;
    WRITE_GUARD(&mounts_lock);

    if (!mount || mount->ns != ns || at->dentry != mount->root) {
        return -EINVAL;
    }
    atomic_store(&mount->flags, flags);
    return 0;
}

int mount_pivot_root(struct mount_namespace *ns, const struct path *new_root,
                     const struct path *put_old) {
    struct mount *mount = new_root->mount, *old, *under = put_old->mount;
    struct dentry *mountpoint = NULL;
    int error = 0;

    rwlock_write_acquire(&mounts_lock);
    old = ns->root;
    if (!mount || mount->ns != ns || new_root->dentry != mount->root || !mount->parent || !under ||
        under->ns != ns || !mount_is_below_locked(under, mount)) {
        error = -EINVAL;
    } else if (mount == old || under == old) {
        error = -EBUSY;
    } else {
        mountpoint = mount_unplace_locked(mount);
        ns->root = mount;
        old->parent = under;
        old->mountpoint = dentry_get(put_old->dentry);
        atomic_fetch_add(&put_old->dentry->mounted, 1);
        list_add_tail(&old->child_link, &under->children);
    }
    rwlock_write_release(&mounts_lock);
    if (mountpoint) {
        dentry_put(mountpoint);
    }
    return error;
}

struct mount_namespace *mount_namespace_copy(struct mount_namespace *ns) {
    struct mount_namespace *copy = calloc(1, sizeof(*copy));
    struct mount *root = NULL;
    struct list_head gone;
    int error = -ENOMEM;

    if (!copy) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&copy->ref);
    list_init(&copy->mounts);
    list_init(&gone);
    rwlock_write_acquire(&mounts_lock);
    root = mount_clone(ns->root, ns->root->root);
    if (root) {
        mount_link_locked(copy, root, NULL, NULL);
        copy->root = root;
        error = mount_copy_children_locked(copy, ns->root, root, ns->root->root, 0);
        if (error) {
            mount_unlink_tree_locked(root, &gone);
        }
    }
    rwlock_write_release(&mounts_lock);
    if (error) {
        mount_put_gone(&gone);
        free(copy);
        return ERR_PTR(error);
    }
    return copy;
}

bool mount_namespace_translate(struct mount_namespace *ns, struct path *path) {
    struct path found = {0};
    struct mount *mount;

    /* The same tree in the same order: the twin stands on the same mount point and shows the same
     * root. */
    rwlock_read_acquire(&mounts_lock);
    list_for_each_entry (mount, &ns->mounts, link) {
        if (path->mount && mount->root == path->mount->root &&
            mount->mountpoint == path->mount->mountpoint) {
            found.mount = mount;
            found.dentry = path->dentry;
            path_get(&found);
            break;
        }
    }
    rwlock_read_release(&mounts_lock);
    if (!found.mount) {
        return false;
    }
    path_put(path);
    *path = found;
    return true;
}

int mount_namespace_walk(struct mount_namespace *ns,
                         int (*fn)(const struct mount *mount, int parent_id, void *arg),
                         void *arg) {
    struct mount *mount;
    READ_GUARD(&mounts_lock);

    list_for_each_entry (mount, &ns->mounts, link) {
        int result = fn(mount, mount->parent ? mount->parent->id : mount->id, arg);

        if (result) {
            return result;
        }
    }
    return 0;
}
