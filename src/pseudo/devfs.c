/*
 * /dev: a tmpfs that the kernel fills with nodes and links before anybody sees it, as Linux's
 * devtmpfs is.
 */
#include "pseudo/pseudo_internal.h"

#include <linux/magic.h>
#include <sys/sysmacros.h>

static const struct {
    const char *name;
    mode_t mode;
    unsigned major, minor;
} nodes[] = {
    {"console", S_IFCHR | 0666, 5, 1}, {"full", S_IFCHR | 0666, 1, 7},
    {"null", S_IFCHR | 0666, 1, 3},    {"random", S_IFCHR | 0666, 1, 8},
    {"tty", S_IFCHR | 0666, 5, 0},     {"urandom", S_IFCHR | 0666, 1, 9},
    {"zero", S_IFCHR | 0666, 1, 5},
};

static const struct {
    const char *name, *target;
} links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

static const struct {
    const char *name;
    mode_t mode;
} directories[] = {{"pts", 0755}, {"shm", 01777}};

static int fill(struct inode *root, const struct credentials *creds) {
    LOCK_GUARD(&root->lock);
    struct inode *child;
    int error = 0;

    for (size_t i = 0; !error && i < ARRAY_SIZE(nodes); i++) {
        error = root->ops->mknod(root, nodes[i].name, nodes[i].mode,
                                 makedev(nodes[i].major, nodes[i].minor), creds, &child);
        if (!error) {
            inode_put(child);
        }
    }
    for (size_t i = 0; !error && i < ARRAY_SIZE(links); i++) {
        error = root->ops->symlink(root, links[i].name, links[i].target, creds, &child);
        if (!error) {
            inode_put(child);
        }
    }
    for (size_t i = 0; !error && i < ARRAY_SIZE(directories); i++) {
        error = root->ops->mkdir(root, directories[i].name, S_IFDIR | directories[i].mode, creds,
                                 &child);
        if (!error) {
            inode_put(child);
        }
    }
    return error;
}

struct super_block *devfs_new(void) {
    struct credentials *creds CLEANUP(credentials_put) = credentials_new(0, 0);
    struct super_block *sb;
    int error;

    if (!creds) {
        return ERR_PTR(-ENOMEM);
    }
    sb = tmpfs_new(0, 0755);
    if (IS_ERR(sb)) {
        return sb;
    }
    error = fill(sb->root, creds);
    if (error) {
        super_block_kill(sb);
        super_block_put(sb);
        return ERR_PTR(error);
    }
    return sb;
}

static struct super_block *devfs_mount(const char *source, const char *data,
                                       const struct credentials *creds) {
    return devfs_new();
}

/* Only mount(2) sees this type: the super block itself is a tmpfs's. */
const struct file_system_type devfs_type = {
    .name = "devtmpfs",
    .nodev = true,
    .magic = TMPFS_MAGIC,
    .mount = devfs_mount,
};
