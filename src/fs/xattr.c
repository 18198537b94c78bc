/*
 * Extended attributes: who may do what in which name space (xattr(7)).
 *   user.      contents' permissions; regular files and directories only; in a sticky directory's
 *              own attributes only the owner writes
 *   trusted.   CAP_SYS_ADMIN, invisible to others
 *   security.  readable; writing wants CAP_SYS_ADMIN (security.capability: CAP_SETFCAP)
 *   system.    POSIX ACLs: no file system here has them
 */
#include <sys/xattr.h>

#include "fs/vfs_internal.h"

#define LIST_BYTES_MAX (256 * 1024)

static bool has_prefix(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int xattr_permission(struct inode *inode, const char *name, int mask,
                            const struct credentials *creds) {
    struct kstat stat;
    int error;

    if (has_prefix(name, "trusted.")) {
        if (!credentials_capable(creds, CAP_SYS_ADMIN)) {
            return mask == MAY_WRITE ? -EPERM : -ENODATA;
        }
        return name[8] ? 0 : -EINVAL;
    }
    if (has_prefix(name, "security.")) {
        int capability = strcmp(name, "security.capability") == 0 ? CAP_SETFCAP : CAP_SYS_ADMIN;

        if (mask == MAY_WRITE && !credentials_capable(creds, capability)) {
            return -EPERM;
        }
        return name[9] ? 0 : -EINVAL;
    }
    if (!has_prefix(name, "user.")) {
        return -EOPNOTSUPP;
    }
    if (!name[5]) {
        return -EINVAL;
    }
    if (!S_ISREG(inode->type) && !S_ISDIR(inode->type)) {
        return mask == MAY_WRITE ? -EPERM : -ENODATA;
    }
    if (S_ISDIR(inode->type) && mask == MAY_WRITE) {
        error = inode_getattr(inode, &stat);
        if (error) {
            return error;
        }
        if ((stat.mode & S_ISVTX) && !inode_owner_or_capable(&stat, creds)) {
            return -EPERM;
        }
    }
    return inode_permission(inode, mask, creds);
}

ssize_t path_getxattr(const struct path *path, const char *name, void *value, size_t size,
                      const struct credentials *creds) {
    struct inode *inode = path->dentry->inode;
    int error = xattr_permission(inode, name, MAY_READ, creds);

    if (error) {
        return error;
    }
    if (!inode->ops || !inode->ops->getxattr) {
        return -EOPNOTSUPP;
    }
    return inode->ops->getxattr(inode, name, value, size);
}

int path_setxattr(const struct path *path, const char *name, const void *value, size_t size,
                  int flags, const struct credentials *creds) {
    struct inode *inode = path->dentry->inode;
    int error = path_want_write(path);

    if (!error) {
        error = xattr_permission(inode, name, MAY_WRITE, creds);
    }
    if (error) {
        return error;
    }
    if (!inode->ops || !inode->ops->setxattr) {
        return -EOPNOTSUPP;
    }
    error = inode->ops->setxattr(inode, name, value, size, flags);
    if (!error) {
        fs_event_dentry(path->dentry, IN_ATTRIB);
    }
    return error;
}

ssize_t path_listxattr(const struct path *path, char *list, size_t size,
                       const struct credentials *creds) {
    struct inode *inode = path->dentry->inode;
    char *all CLEANUP(free) = NULL;
    ssize_t length, kept = 0;

    if (!inode->ops || !inode->ops->listxattr) {
        return 0;
    }
    /* Always the whole list: what is left after hiding trusted.* decides about ERANGE. */
    length = inode->ops->listxattr(inode, NULL, 0);
    if (length <= 0) {
        return length;
    }
    length = MIN(length, (ssize_t)LIST_BYTES_MAX);
    all = malloc((size_t)length);
    if (!all) {
        return -ENOMEM;
    }
    length = inode->ops->listxattr(inode, all, (size_t)length);
    for (ssize_t at = 0; at < length;) {
        size_t name = strnlen(all + at, (size_t)(length - at)) + 1;

        if (at + (ssize_t)name > length) {
            break;
        }
        if (!has_prefix(all + at, "trusted.") || credentials_capable(creds, CAP_SYS_ADMIN)) {
            memmove(all + kept, all + at, name);
            kept += (ssize_t)name;
        }
        at += (ssize_t)name;
    }
    if (length < 0 || size == 0) {
        return length < 0 ? length : kept;
    }
    if ((size_t)kept > size) {
        return -ERANGE;
    }
    memcpy(list, all, (size_t)kept);
    return kept;
}

int path_removexattr(const struct path *path, const char *name, const struct credentials *creds) {
    struct inode *inode = path->dentry->inode;
    int error = path_want_write(path);

    if (!error) {
        error = xattr_permission(inode, name, MAY_WRITE, creds);
    }
    if (error) {
        return error;
    }
    if (!inode->ops || !inode->ops->removexattr) {
        return -EOPNOTSUPP;
    }
    error = inode->ops->removexattr(inode, name);
    if (!error) {
        fs_event_dentry(path->dentry, IN_ATTRIB);
    }
    return error;
}
