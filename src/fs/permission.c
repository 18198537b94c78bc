/*
 * Who may do what: mode bits, capabilities, sticky directories (path_resolution(7),
 * capabilities(7), unlink(2)).
 */
#include "fs/vfs_internal.h"

int generic_permission(const struct kstat *stat, int mask, const struct credentials *creds) {
    mode_t mode = stat->mode;

    if (creds->fsuid == stat->uid) {
        mode >>= 6;
    } else if (credentials_in_group(creds, stat->gid)) {
        mode >>= 3;
    }
    if ((mask & ~mode & (MAY_READ | MAY_WRITE | MAY_EXEC)) == 0) {
        return 0;
    }
    if (S_ISDIR(stat->mode)) {
        if (!(mask & MAY_WRITE) && credentials_capable(creds, CAP_DAC_READ_SEARCH)) {
            return 0;
        }
        return credentials_capable(creds, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
    }
    if (mask == MAY_READ && credentials_capable(creds, CAP_DAC_READ_SEARCH)) {
        return 0;
    }
    /* Even root runs nothing that nobody may run. */
    if ((!(mask & MAY_EXEC) || (stat->mode & 0111)) &&
        credentials_capable(creds, CAP_DAC_OVERRIDE)) {
        return 0;
    }
    return -EACCES;
}

int inode_permission(struct inode *inode, int mask, const struct credentials *creds) {
    struct kstat stat UNINITIALIZED;
    int error;

    if (inode->ops && inode->ops->permission) {
        return inode->ops->permission(inode, mask, creds);
    }
    /* What generic_permission() will say anyhow, without asking for the attributes. */
    if (credentials_capable(creds, CAP_DAC_OVERRIDE) &&
        (S_ISDIR(inode->type) || !(mask & MAY_EXEC))) {
        return 0;
    }
    error = inode_getattr(inode, &stat);
    return error ? error : generic_permission(&stat, mask, creds);
}

int may_lookup(struct dentry *dir, const struct credentials *creds) {
    if (!S_ISDIR(dir->inode->type)) {
        return -ENOTDIR;
    }
    return inode_permission(dir->inode, MAY_EXEC, creds);
}

int may_create(struct dentry *dir, const struct credentials *creds) {
    if (dir->inode->dead) {
        return -ENOENT;
    }
    return inode_permission(dir->inode, MAY_WRITE | MAY_EXEC, creds);
}

int may_delete(struct dentry *dir, struct dentry *victim, bool is_dir,
               const struct credentials *creds) {
    struct kstat dir_stat, stat;
    int error = inode_permission(dir->inode, MAY_WRITE | MAY_EXEC, creds);

    if (!error) {
        error = inode_getattr(dir->inode, &dir_stat);
    }
    if (error) {
        return error;
    }
    if (dir_stat.mode & S_ISVTX) {
        error = inode_getattr(victim->inode, &stat);
        if (error) {
            return error;
        }
        if (creds->fsuid != stat.uid && creds->fsuid != dir_stat.uid &&
            !credentials_capable(creds, CAP_FOWNER)) {
            return -EPERM;
        }
    }
    if (is_dir) {
        if (!S_ISDIR(victim->inode->type)) {
            return -ENOTDIR;
        }
    } else if (S_ISDIR(victim->inode->type)) {
        return -EISDIR;
    }
    if (atomic_load(&victim->mounted)) {
        return -EBUSY;
    }
    return dir->inode->dead ? -ENOENT : 0;
}

void inode_init_owner(const struct kstat *dir, const struct credentials *creds, mode_t *mode,
                      uid_t *uid, gid_t *gid) {
    *uid = creds->fsuid;
    *gid = creds->fsgid;
    if (dir->mode & S_ISGID) {
        *gid = dir->gid;
        if (S_ISDIR(*mode)) {
            *mode |= S_ISGID;
            return;
        }
    }
    /* A program that would run with a group its maker is not in: the bit goes (inode(7)). */
    if ((*mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
        !credentials_in_group(creds, *gid) && !credentials_capable(creds, CAP_FSETID)) {
        *mode &= ~(mode_t)S_ISGID;
    }
}
