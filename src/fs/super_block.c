/*
 * Super blocks: one mounted file system each, however many mounts show it. And the table of file
 * system types.
 *
 * Life: super_block_new() gives the file system a block with one reference; it sets ->root. Inodes
 * hold their super block and ->root is an inode: that circle is cut when the last mount goes
 * (super_block_kill), which drops ->root. A super block that was never mounted is ended by the
 * same call.
 */
#include <stdio.h>
#include <sys/sysmacros.h>

#include "fs/vfs_internal.h"

/* Anonymous device numbers: major 0, as Linux gives to file systems without a block device. */
static _Atomic unsigned next_anonymous_device = 1;

struct super_block *super_block_new(const struct file_system_type *type, void *private) {
    struct super_block *sb = calloc(1, sizeof(*sb));

    if (!sb) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&sb->ref);
    sb->type = type;
    sb->dev = makedev(0, atomic_fetch_add(&next_anonymous_device, 1) & 0xfffff);
    lock_init(&sb->lock, LOCK_SUPER_BLOCK);
    lock_init(&sb->rename_lock, LOCK_RENAME);
    lock_init(&sb->dentry_lock, LOCK_DENTRY);
    atomic_init(&sb->next_ino, 1);
    sb->private = private;
    return sb;
}

struct super_block *super_block_get(struct super_block *sb) {
    ref_get(&sb->ref);
    return sb;
}

void super_block_put(struct super_block *sb) {
    if (!ref_put(&sb->ref)) {
        return;
    }
    if (sb->type->release) {
        sb->type->release(sb);
    }
    lock_destroy(&sb->lock);
    lock_destroy(&sb->rename_lock);
    lock_destroy(&sb->dentry_lock);
    free(sb);
}

void super_block_kill(struct super_block *sb) {
    struct inode *root;
    struct dentry *root_dentry;

    lock_acquire(&sb->dentry_lock);
    root = STEAL(sb->root);
    root_dentry = STEAL(sb->root_dentry);
    lock_release(&sb->dentry_lock);
    dentry_forget_super_block(sb);
    if (root_dentry) {
        dentry_put(root_dentry);
    }
    if (root) {
        inode_put(root);
    }
}

ino_t super_block_next_ino(struct super_block *sb) {
    return atomic_fetch_add_explicit(&sb->next_ino, 1, memory_order_relaxed);
}

/* ---- types ---- */

#define TYPES_MAX 32
static struct lock types_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_SUPER_BLOCK};
/* Written under types_lock, only appended to; read without it. */
static const struct file_system_type *_Atomic types[TYPES_MAX] = {&tmpfs_type};

int file_system_register(const struct file_system_type *type) {
    LOCK_GUARD(&types_lock);

    for (int i = 0; i < TYPES_MAX; i++) {
        const struct file_system_type *have = atomic_load(&types[i]);

        if (have == type) {
            return 0;
        }
        if (!have) {
            atomic_store(&types[i], type);
            return 0;
        }
    }
    return -ENOSPC;
}

const struct file_system_type *file_system_by_index(unsigned index) {
    return index < TYPES_MAX ? atomic_load(&types[index]) : NULL;
}

const struct file_system_type *file_system_find(const char *name) {
    const struct file_system_type *type;

    for (unsigned i = 0; (type = file_system_by_index(i)); i++) {
        if (strcmp(type->name, name) == 0) {
            return type;
        }
    }
    return NULL;
}
