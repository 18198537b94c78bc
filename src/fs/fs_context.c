/*
 * fs_context: the reference's FileSystem: a root, a working directory and an umask, shared by the
 * tasks of CLONE_FS.
 */
#include "fs/vfs_internal.h"

static struct fs_context *fs_context_alloc(struct mount_namespace *ns) {
    struct fs_context *fs = calloc(1, sizeof(*fs));

    if (!fs) {
        return NULL;
    }
    ref_init(&fs->ref);
    lock_init(&fs->lock, LOCK_FS_CONTEXT);
    fs->namespace = mount_namespace_get(ns);
    fs->umask = 022;
    return fs;
}

struct fs_context *fs_context_new(struct mount_namespace *ns) {
    struct fs_context *fs = fs_context_alloc(ns);

    if (!fs) {
        return ERR_PTR(-ENOMEM);
    }
    mount_namespace_root(ns, &fs->root);
    mount_namespace_root(ns, &fs->cwd);
    return fs;
}

struct fs_context *fs_context_fork(struct fs_context *fs) {
    struct fs_context *copy = fs_context_alloc(fs->namespace);

    if (!copy) {
        return ERR_PTR(-ENOMEM);
    }
    lock_acquire(&fs->lock);
    copy->root = fs->root;
    copy->cwd = fs->cwd;
    path_get(&copy->root);
    path_get(&copy->cwd);
    copy->umask = fs->umask;
    lock_release(&fs->lock);
    return copy;
}

struct fs_context *fs_context_get(struct fs_context *fs) {
    ref_get(&fs->ref);
    return fs;
}

void fs_context_put(struct fs_context *fs) {
    if (!ref_put(&fs->ref)) {
        return;
    }
    path_put(&fs->root);
    path_put(&fs->cwd);
    mount_namespace_put(fs->namespace);
    lock_destroy(&fs->lock);
    free(fs);
}

void fs_context_root(struct fs_context *fs, struct path *root) {
    LOCK_GUARD(&fs->lock);
    *root = fs->root;
    path_get(root);
}

void fs_context_cwd(struct fs_context *fs, struct path *cwd) {
    LOCK_GUARD(&fs->lock);
    *cwd = fs->cwd;
    path_get(cwd);
}

static void fs_context_set(struct fs_context *fs, struct path *which, const struct path *path) {
    struct path new = *path, old;

    path_get(&new);
    lock_acquire(&fs->lock);
    old = *which;
    *which = new;
    lock_release(&fs->lock);
    path_put(&old);
}

void fs_context_set_root(struct fs_context *fs, const struct path *root) {
    fs_context_set(fs, &fs->root, root);
}

void fs_context_set_cwd(struct fs_context *fs, const struct path *cwd) {
    fs_context_set(fs, &fs->cwd, cwd);
}

mode_t fs_context_umask(struct fs_context *fs) {
    LOCK_GUARD(&fs->lock);
    return fs->umask;
}

mode_t fs_context_set_umask(struct fs_context *fs, mode_t umask) {
    mode_t old;
    LOCK_GUARD(&fs->lock);

    old = fs->umask;
    fs->umask = umask & 0777;
    return old;
}

int fs_context_unshare_mounts(struct fs_context *fs) {
    struct mount_namespace *old = fs->namespace, *new = mount_namespace_copy(old);
    struct path root, cwd;

    if (IS_ERR(new)) {
        return (int)PTR_ERR(new);
    }
    fs_context_root(fs, &root);
    fs_context_cwd(fs, &cwd);
    if (mount_namespace_translate(new, &root)) {
        fs_context_set_root(fs, &root);
    }
    if (mount_namespace_translate(new, &cwd)) {
        fs_context_set_cwd(fs, &cwd);
    }
    path_put(&root);
    path_put(&cwd);
    fs->namespace = new;
    mount_namespace_put(old);
    return 0;
}

struct fs_context *fs_context_new_test(void) {
    struct super_block *sb = tmpfs_new(0, 0755);
    struct mount_namespace *ns;
    struct fs_context *fs;

    if (IS_ERR(sb)) {
        return ERR_PTR(PTR_ERR(sb));
    }
    ns = mount_namespace_new(sb, "tmpfs", 0);
    if (IS_ERR(ns)) {
        super_block_kill(sb);
        super_block_put(sb);
        return ERR_PTR(PTR_ERR(ns));
    }
    super_block_put(sb);
    fs = fs_context_new(ns);
    mount_namespace_put(ns);
    return fs;
}
