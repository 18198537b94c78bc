/*
 * Extended attributes of tmpfs files: a short list by name, guarded by the node's lock. The rules
 * of the name spaces are xattr.c's.
 */
#include <sys/xattr.h>

#include "fs/tmpfs_internal.h"

#define XATTR_BYTES_MAX (128 * 1024) /* names and values of one file */

static struct tmpfs_xattr *xattr_find_locked(struct tmpfs_node *node, const char *name) {
    struct tmpfs_xattr *xattr;

    list_for_each_entry (xattr, &node->xattrs, link) {
        if (strcmp(xattr->name, name) == 0) {
            return xattr;
        }
    }
    return NULL;
}

static void xattr_free_locked(struct tmpfs_node *node, struct tmpfs_xattr *xattr) {
    node->xattr_bytes -= xattr->size + strlen(xattr->name);
    list_del(&xattr->link);
    free(xattr->name);
    free(xattr);
}

void tmpfs_xattrs_release(struct tmpfs_node *node) {
    while (!list_empty(&node->xattrs)) {
        xattr_free_locked(node, list_first_entry(&node->xattrs, struct tmpfs_xattr, link));
    }
}

ssize_t tmpfs_getxattr(struct inode *inode, const char *name, void *value, size_t size) {
    struct tmpfs_node *node = tmpfs_node(inode);
    const struct tmpfs_xattr *xattr;
    LOCK_GUARD(&node->lock);

    xattr = xattr_find_locked(node, name);
    if (!xattr) {
        return -ENODATA;
    }
    if (size) {
        if (size < xattr->size) {
            return -ERANGE;
        }
        memcpy(value, xattr->value, xattr->size);
    }
    return (ssize_t)xattr->size;
}

int tmpfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size,
                   int flags) {
    struct tmpfs_node *node = tmpfs_node(inode);
    struct tmpfs_xattr *new = malloc(sizeof(*new) + size), *old;
    struct timespec now = inode_now();
    int error = 0;

    if (!new) {
        return -ENOMEM;
    }
    new->name = strdup(name);
    if (!new->name) {
        free(new);
        return -ENOMEM;
    }
    new->size = size;
    if (size) {
        memcpy(new->value, value, size);
    }
    lock_acquire(&node->lock);
    old = xattr_find_locked(node, name);
    if (old && (flags & XATTR_CREATE)) {
        error = -EEXIST;
    } else if (!old && (flags & XATTR_REPLACE)) {
        error = -ENODATA;
    } else if (node->xattr_bytes - (old ? old->size + strlen(name) : 0) + size + strlen(name) >
               XATTR_BYTES_MAX) {
        error = -ENOSPC;
    } else {
        if (old) {
            xattr_free_locked(node, old);
        }
        list_add_tail(&new->link, &node->xattrs);
        node->xattr_bytes += size + strlen(name);
        node->ctime = now;
        new = NULL;
    }
    lock_release(&node->lock);
    if (new) {
        free(new->name);
        free(new);
    }
    return error;
}

ssize_t tmpfs_listxattr(struct inode *inode, char *list, size_t size) {
    struct tmpfs_node *node = tmpfs_node(inode);
    const struct tmpfs_xattr *xattr;
    size_t used = 0;
    LOCK_GUARD(&node->lock);

    list_for_each_entry (xattr, &node->xattrs, link) {
        size_t length = strlen(xattr->name) + 1;

        if (size) {
            if (size - used < length) {
                return -ERANGE;
            }
            memcpy(list + used, xattr->name, length);
        }
        used += length;
    }
    return (ssize_t)used;
}

int tmpfs_removexattr(struct inode *inode, const char *name) {
    struct tmpfs_node *node = tmpfs_node(inode);
    struct timespec now = inode_now();
    struct tmpfs_xattr *xattr;
    LOCK_GUARD(&node->lock);

    xattr = xattr_find_locked(node, name);
    if (!xattr) {
        return -ENODATA;
    }
    xattr_free_locked(node, xattr);
    node->ctime = now;
    return 0;
}
