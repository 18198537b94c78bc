/*
 * Where inotify(7) listens in: a hook that files/inotify.c sets, behind a count in each inode, so
 * that files nobody watches cost one load.
 */
#include "fs/vfs_internal.h"

static fs_event_fn *_Atomic event_hook;

void fs_event_set_hook(fs_event_fn *hook) {
    atomic_store(&event_hook, hook);
}

void fs_event(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name) {
    fs_event_fn *hook;

    if (likely(atomic_load_explicit(&inode->watch_count, memory_order_relaxed) == 0)) {
        return;
    }
    hook = atomic_load(&event_hook);
    if (hook) {
        if (S_ISDIR(inode->type) && !name && !(mask & (IN_DELETE_SELF | IN_MOVE_SELF))) {
            mask |= IN_ISDIR;
        }
        hook(inode, mask, cookie, name);
    }
}

void fs_event_dentry(struct dentry *dentry, uint32_t mask) {
    char name[NAME_MAX + 1];
    struct dentry *parent;

    if (!atomic_load(&event_hook)) {
        return;
    }
    parent = dentry_parent(dentry);
    if (parent != dentry && atomic_load(&parent->inode->watch_count) && dentry_name(dentry, name)) {
        fs_event(parent->inode, S_ISDIR(dentry->inode->type) ? mask | IN_ISDIR : mask, 0, name);
    }
    dentry_put(parent);
    fs_event(dentry->inode, mask, 0, NULL);
}
