/*
 * hostfs: what can be done with a name or an inode. The VFS has checked the guest's permissions;
 * what the host itself refuses to the kernel process (EACCES, EROFS, EDQUOT ...) comes through.
 *
 * A guest makes no device nodes and no set-id programs on the host: those are the two things whose
 * mere existence could give rights to somebody outside.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fs/hostfs_internal.h"

/* statx of the inode: by a descriptor if there is one, else by its name, checked. */
static int hostfs_statx(struct inode *inode, struct statx *stat) {
    struct hostfs_inode *node = hostfs_node(inode);
    struct inode *parent CLEANUP(inode_put) = NULL;
    char *name CLEANUP(free) = NULL;

    if (!hostfs_has_handle(inode) && !S_ISDIR(inode->type) &&
        hostfs_location(inode, &parent, &name)) {
        struct host_handle *dir CLEANUP(host_handle_put) = hostfs_handle(parent);
        int error = IS_ERR(dir) ? (int)PTR_ERR(dir) : host_statx(dir->fd, name, stat);

        if (error) {
            return error == -ENOENT || error == -ENOTDIR ? -ESTALE : error;
        }
        return hostfs_same(node, stat) ? 0 : -ESTALE;
    }
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);

    return IS_ERR(handle) ? (int)PTR_ERR(handle) : host_statx(handle->fd, "", stat);
}

static int hostfs_getattr(struct inode *inode, struct kstat *kstat) {
    struct hostfs_inode *node = hostfs_node(inode);
    struct statx stat;
    int error;

    if (node->stat_known) {
        *kstat = node->stat;
        return 0;
    }
    error = hostfs_statx(inode, &stat);
    if (!error) {
        hostfs_kstat(&stat, kstat);
    }
    return error;
}

/* ---- names ---- */

static int hostfs_lookup_stat(struct inode *dir, const char *name, struct inode **child,
                              struct kstat *kstat) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct statx stat;
    struct inode *inode;
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_statx(handle->fd, name, &stat);

    if (error) {
        return error;
    }
    inode = hostfs_inode_find(dir->sb, dir, name, &stat);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    hostfs_kstat(&stat, kstat);
    *child = inode;
    return 0;
}

static int hostfs_lookup(struct inode *dir, const char *name, struct inode **child) {
    struct kstat stat;

    return hostfs_lookup_stat(dir, name, child, &stat);
}

static bool hostfs_revalidate(struct inode *dir, const char *name, struct inode *child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct statx stat;
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_statx(handle->fd, name, &stat);

    if (error) {
        return error == -ENOENT && !child;
    }
    /* It may have had another name since this one was looked up. */
    return child && hostfs_same(hostfs_node(child), &stat) && !hostfs_moved(child, dir, name);
}

/*
 * One statx for many names: it finds the child's identity at their end, or does not. That the inner
 * directories are the same as before is not asked: whatever they are, the path leads there now. The
 * mounts refuse symlinks, so it never leads out of the tree.
 */
static bool hostfs_confirm(struct inode *dir, const char *path, struct inode *child,
                           struct kstat *kstat) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct statx stat;
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_statx_below(handle->fd, path, &stat);

    if (error) {
        return error == -ENOENT && !child;
    }
    if (!child || !hostfs_same(hostfs_node(child), &stat)) {
        return false;
    }
    hostfs_kstat(&stat, kstat);
    return true;
}

static int hostfs_peek(struct inode *dir, const char *path, struct kstat *kstat, ino_t *ino) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct statx stat;
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_statx_below(handle->fd, path, &stat);

    if (error) {
        return error == -ENOENT ? error : PEEK_UNKNOWN;
    }
    hostfs_kstat(&stat, kstat);
    if (S_ISDIR(kstat->mode) || S_ISLNK(kstat->mode) || hostfs_is_known(dir->sb, &stat)) {
        return PEEK_UNKNOWN;
    }
    *ino = hostfs_ino(dir->sb, kstat);
    return 0;
}

#define TARGET_KEPT 255 /* longer ones are rare, and read again each time */

/* Keeps a text that was read whole: a symlink has one for its life. */
static void target_keep(struct inode *inode, const char *text, size_t length) {
    char *copy = length <= TARGET_KEPT ? strndup(text, length) : NULL;

    lock_acquire(&inode->sb->lock);
    if (!hostfs_node(inode)->target) {
        hostfs_node(inode)->target = STEAL(copy);
    }
    lock_release(&inode->sb->lock);
    free(copy);
}

static ssize_t hostfs_readlink(struct inode *inode, char *buffer, size_t size) {
    struct host_handle *handle CLEANUP(host_handle_put) = NULL;
    const char *known;
    ssize_t length;

    lock_acquire(&inode->sb->lock);
    known = hostfs_node(inode)->target;
    lock_release(&inode->sb->lock);
    if (known) { /* it stays as long as the inode */
        size_t whole = strlen(known);

        memcpy(buffer, known, MIN(whole, size));
        return (ssize_t)MIN(whole, size);
    }
    handle = hostfs_handle(inode);
    if (IS_ERR(handle)) {
        return PTR_ERR(handle);
    }
    length = host_readlinkat(handle->fd, "", buffer, size);
    if (length > 0 && (size_t)length < size) {
        target_keep(inode, buffer, (size_t)length);
    }
    return length;
}

/* chmod, mknod and open with set-id bits. */
static int check_mode(mode_t type, mode_t mode) {
    if (S_ISREG(type) && (mode & (S_ISUID | S_ISGID))) {
        log_once(LOG_WARN, "hostfs", 1,
                 "a program may not be made set-user-ID or set-group-ID on the host (mode %o): "
                 "EPERM",
                 mode & 07777);
        return -EPERM;
    }
    return 0;
}

/*
 * The new file `name`, made by the kernel process, becomes the guest's: owner and mode as Linux
 * gives them to a new child. A host that does not let us give it away (we are not root) leaves it
 * ours, which is what a guest user mapped to us means.
 */
static int hostfs_new_child(struct inode *dir, const char *name, mode_t mode,
                            const struct credentials *creds, struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct host_handle *made CLEANUP(host_handle_put) = NULL;
    struct inode *inode CLEANUP(inode_put) = NULL;
    struct kstat dir_stat;
    struct statx stat;
    uid_t uid;
    gid_t gid;
    int error;

    if (IS_ERR(handle)) {
        return (int)PTR_ERR(handle);
    }
    error = hostfs_getattr(dir, &dir_stat);
    if (!error) {
        error = host_statx(handle->fd, name, &stat);
    }
    if (error) {
        return error;
    }
    inode_init_owner(&dir_stat, creds, &mode, &uid, &gid);
    inode = hostfs_inode_find(dir->sb, dir, name, &stat);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(STEAL(inode));
    }
    made = hostfs_handle(inode);
    if (IS_ERR(made)) {
        return (int)PTR_ERR(made);
    }
    if (stat.stx_uid != uid || stat.stx_gid != gid) {
        error = host_fchown(made->fd, uid, gid);
        if (error) {
            log_once(LOG_INFO, "hostfs", 2,
                     "new files on the host stay owned by %u:%u; giving one to %u:%u failed: %s",
                     stat.stx_uid, stat.stx_gid, uid, gid, strerror(-error));
        }
    }
    if (!S_ISLNK(mode) && (stat.stx_mode & 07777) != (mode & 07777)) {
        error = host_fchmod(made->fd, mode & 07777);
        if (error) {
            log_once(LOG_WARN, "hostfs", 3, "setting mode %o of a new file on the host failed: %s",
                     mode & 07777, strerror(-error));
        }
    }
    *child = STEAL(inode);
    return 0;
}

static int hostfs_mknod(struct inode *dir, const char *name, mode_t mode, dev_t dev,
                        const struct credentials *creds, struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : check_mode(mode & S_IFMT, mode);

    if (error) {
        return error;
    }
    if (S_ISCHR(mode) || S_ISBLK(mode)) {
        log_once(LOG_WARN, "hostfs", 4, "a device node may not be made on the host: EPERM");
        return -EPERM;
    }
    error = host_mknodat(handle->fd, name, mode, 0);
    return error ? error : hostfs_new_child(dir, name, mode, creds, child);
}

static int hostfs_create(struct inode *dir, const char *name, mode_t mode,
                         const struct credentials *creds, struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct host_handle *made CLEANUP(host_handle_put) = NULL;
    int fd, error = IS_ERR(handle) ? (int)PTR_ERR(handle) : check_mode(S_IFREG, mode);

    if (error) {
        return error;
    }
    fd = host_openat(handle->fd, name, O_CREAT | O_EXCL | O_RDWR | O_NOCTTY, mode & 07777);
    if (fd < 0) {
        return fd;
    }
    made = host_handle_new(fd);
    if (IS_ERR(made)) {
        return (int)PTR_ERR(made);
    }
    error = hostfs_new_child(dir, name, S_IFREG | (mode & 07777), creds, child);
    if (!error) {
        LOCK_GUARD(&dir->sb->lock);
        struct hostfs_inode *node = hostfs_node(*child);

        if (!node->fresh) {
            node->fresh = STEAL(made);
        }
    }
    return error;
}

static int hostfs_mkdir(struct inode *dir, const char *name, mode_t mode,
                        const struct credentials *creds, struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_mkdirat(handle->fd, name, mode);

    return error ? error : hostfs_new_child(dir, name, S_IFDIR | (mode & 07777), creds, child);
}

static int hostfs_symlink(struct inode *dir, const char *name, const char *target,
                          const struct credentials *creds, struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : host_symlinkat(target, handle->fd, name);

    return error ? error : hostfs_new_child(dir, name, S_IFLNK | 0777, creds, child);
}

static int hostfs_link(struct inode *dir, const char *name, struct inode *target) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct host_handle *file CLEANUP(host_handle_put) = hostfs_handle(target);

    if (IS_ERR(handle) || IS_ERR(file)) {
        return (int)(IS_ERR(handle) ? PTR_ERR(handle) : PTR_ERR(file));
    }
    return host_linkat(file->fd, "", handle->fd, name);
}

static int hostfs_remove(struct inode *dir, const char *name, struct inode *child, int flags) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : hostfs_pin(child);

    /* A child that was replaced meanwhile (ESTALE) is not the one the guest means. */
    return error ? error : host_unlinkat(handle->fd, name, flags);
}

static int hostfs_unlink(struct inode *dir, const char *name, struct inode *child) {
    return hostfs_remove(dir, name, child, 0);
}

static int hostfs_rmdir(struct inode *dir, const char *name, struct inode *child) {
    return hostfs_remove(dir, name, child, AT_REMOVEDIR);
}

static int hostfs_rename(struct inode *from_dir, const char *from, struct inode *child,
                         struct inode *to_dir, const char *to, struct inode *replaced,
                         unsigned flags) {
    struct host_handle *from_handle CLEANUP(host_handle_put) = hostfs_handle(from_dir);
    struct host_handle *to_handle CLEANUP(host_handle_put) = hostfs_handle(to_dir);
    int error = 0;

    if (IS_ERR(from_handle) || IS_ERR(to_handle)) {
        return (int)(IS_ERR(from_handle) ? PTR_ERR(from_handle) : PTR_ERR(to_handle));
    }
    if (replaced && !(flags & RENAME_EXCHANGE)) {
        error = hostfs_pin(replaced);
    }
    if (!error) {
        error = host_renameat2(from_handle->fd, from, to_handle->fd, to, flags);
    }
    if (error) {
        return error;
    }
    /* Without memory for the new name the inode is stale until it is looked up again. */
    if (hostfs_moved(child, to_dir, to) ||
        (replaced && (flags & RENAME_EXCHANGE) && hostfs_moved(replaced, from_dir, from))) {
        log_once(LOG_WARN, "hostfs", 5, "out of memory for the name of a renamed file");
    }
    return 0;
}

static int hostfs_tmpfile(struct inode *dir, mode_t mode, const struct credentials *creds,
                          struct inode **child) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(dir);
    struct host_handle *made CLEANUP(host_handle_put) = NULL;
    struct inode *inode;
    struct statx stat;
    int fd, error = IS_ERR(handle) ? (int)PTR_ERR(handle) : check_mode(S_IFREG, mode);

    if (error) {
        return error;
    }
    fd = host_openat(handle->fd, "", O_TMPFILE | O_RDWR, mode & 07777);
    if (fd < 0) {
        return fd;
    }
    made = host_handle_new(fd);
    if (IS_ERR(made)) {
        return (int)PTR_ERR(made);
    }
    error = host_statx(fd, "", &stat);
    if (error) {
        return error;
    }
    inode = hostfs_inode_find(dir->sb, NULL, NULL, &stat);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    if (stat.stx_uid != creds->fsuid || stat.stx_gid != creds->fsgid) {
        error = host_fchown(fd, creds->fsuid, creds->fsgid);
        if (error) {
            log_once(LOG_INFO, "hostfs", 2, "an unnamed file on the host stays owned by %u: %s",
                     stat.stx_uid, strerror(-error));
        }
    }
    lock_acquire(&inode->sb->lock);
    hostfs_node(inode)->handle = STEAL(made);
    hostfs_node(inode)->pinned = true;
    lock_release(&inode->sb->lock);
    *child = inode;
    return 0;
}

/* ---- attributes ---- */

/* A descriptor that can be written: a file that is open for writing, else opened for the purpose.
 */
static struct host_handle *writable_handle(struct inode *inode) {
    struct hostfs_file *file;
    struct host_handle *handle CLEANUP(host_handle_put) = NULL;
    int fd;

    lock_acquire(&inode->sb->lock);
    list_for_each_entry (file, &hostfs_node(inode)->open_files, link) {
        if (file->writable) {
            struct host_handle *open_handle = host_handle_get(file->handle);

            lock_release(&inode->sb->lock);
            return open_handle;
        }
    }
    lock_release(&inode->sb->lock);
    handle = hostfs_handle(inode);
    if (IS_ERR(handle)) {
        return STEAL(handle);
    }
    fd = host_reopen(handle->fd, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? ERR_PTR(fd) : host_handle_new(fd);
}

static struct timespec attr_time(unsigned valid, unsigned set, unsigned now,
                                 const struct timespec *time) {
    if (!(valid & set)) {
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    }
    return valid & now ? (struct timespec){.tv_nsec = UTIME_NOW} : *time;
}

static int hostfs_setattr(struct inode *inode, const struct iattr *attr) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);
    int error = IS_ERR(handle) ? (int)PTR_ERR(handle) : 0;

    if (!error && (attr->valid & ATTR_SIZE)) {
        struct host_handle *writable CLEANUP(host_handle_put) = writable_handle(inode);

        error =
            IS_ERR(writable) ? (int)PTR_ERR(writable) : host_ftruncate(writable->fd, attr->size);
    }
    if (!error && (attr->valid & (ATTR_UID | ATTR_GID))) {
        error = host_fchown(handle->fd, attr->valid & ATTR_UID ? attr->uid : (uid_t)-1,
                            attr->valid & ATTR_GID ? attr->gid : (gid_t)-1);
    }
    if (!error && (attr->valid & ATTR_MODE)) {
        error = check_mode(inode->type, attr->mode);
        if (!error) {
            error = host_fchmod(handle->fd, attr->mode & 07777);
        }
    }
    if (!error && (attr->valid & (ATTR_ATIME | ATTR_MTIME))) {
        struct timespec times[2] = {
            attr_time(attr->valid, ATTR_ATIME, ATTR_ATIME_NOW, &attr->atime),
            attr_time(attr->valid, ATTR_MTIME, ATTR_MTIME_NOW, &attr->mtime),
        };

        error = host_utimens(handle->fd, times);
    }
    return error;
}

static ssize_t hostfs_getxattr(struct inode *inode, const char *name, void *value, size_t size) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);

    return IS_ERR(handle) ? PTR_ERR(handle) : host_getxattr(handle->fd, name, value, size);
}

static ssize_t hostfs_listxattr(struct inode *inode, char *list, size_t size) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);

    return IS_ERR(handle) ? PTR_ERR(handle) : host_listxattr(handle->fd, list, size);
}

/* Only user.*: capabilities, labels and ACLs are the host administrator's. */
static struct host_handle *xattr_handle(struct inode *inode, const char *name) {
    struct host_handle *handle CLEANUP(host_handle_put) = NULL;
    int fd;

    if (strncmp(name, "user.", 5) != 0 || (!S_ISREG(inode->type) && !S_ISDIR(inode->type))) {
        return ERR_PTR(-EOPNOTSUPP);
    }
    handle = hostfs_handle(inode);
    if (IS_ERR(handle)) {
        return STEAL(handle);
    }
    fd = host_reopen(handle->fd, O_RDONLY | O_NONBLOCK | (S_ISDIR(inode->type) ? O_DIRECTORY : 0));
    return fd < 0 ? ERR_PTR(fd) : host_handle_new(fd);
}

static int hostfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size,
                           int flags) {
    struct host_handle *handle CLEANUP(host_handle_put) = xattr_handle(inode, name);

    return IS_ERR(handle) ? (int)PTR_ERR(handle)
                          : host_setxattr(handle->fd, name, value, size, flags);
}

static int hostfs_removexattr(struct inode *inode, const char *name) {
    struct host_handle *handle CLEANUP(host_handle_put) = xattr_handle(inode, name);

    return IS_ERR(handle) ? (int)PTR_ERR(handle) : host_removexattr(handle->fd, name);
}

/* One table a type: the VFS asks by which ops are there. */
#define HOSTFS_COMMON_OPS                                                                          \
    .getattr = hostfs_getattr, .setattr = hostfs_setattr, .getxattr = hostfs_getxattr,             \
    .setxattr = hostfs_setxattr, .listxattr = hostfs_listxattr, .removexattr = hostfs_removexattr, \
    .release = hostfs_inode_release
#define HOSTFS_DIRECTORY_OPS                                                                       \
    HOSTFS_COMMON_OPS, .lookup = hostfs_lookup, .lookup_stat = hostfs_lookup_stat,                 \
                       .create = hostfs_create, .mkdir = hostfs_mkdir, .mknod = hostfs_mknod,      \
                       .symlink = hostfs_symlink, .link = hostfs_link, .unlink = hostfs_unlink,    \
                       .rmdir = hostfs_rmdir, .rename = hostfs_rename, .tmpfile = hostfs_tmpfile,  \
                       .open = hostfs_open

static const struct inode_ops directory_ops = {HOSTFS_DIRECTORY_OPS};
static const struct inode_ops shared_directory_ops = {HOSTFS_DIRECTORY_OPS,
                                                      .revalidate = hostfs_revalidate};
static const struct inode_ops confirming_directory_ops = {
    HOSTFS_DIRECTORY_OPS, .revalidate = hostfs_revalidate, .confirm = hostfs_confirm,
    .peek = hostfs_peek, .opens_by_name = true};
static const struct inode_ops regular_ops = {HOSTFS_COMMON_OPS, .open = hostfs_open,
                                             .opens_by_name = true};
static const struct inode_ops symlink_ops = {HOSTFS_COMMON_OPS, .readlink = hostfs_readlink};
static const struct inode_ops special_ops = {HOSTFS_COMMON_OPS};

const struct inode_ops *hostfs_ops(mode_t type, const struct hostfs_super *super) {
    switch (type & S_IFMT) {
    case S_IFDIR:
        return super->exclusive     ? &directory_ops
               : super->no_symlinks ? &confirming_directory_ops
                                    : &shared_directory_ops;
    case S_IFREG:
        return &regular_ops;
    case S_IFLNK:
        return &symlink_ops;
    default:
        return &special_ops;
    }
}
