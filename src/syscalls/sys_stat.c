/*
 * Looking at files: stat and statx, statfs, readlink, access, directory entries.
 */
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "syscalls/sys_at.h"

#ifndef AT_STATX_SYNC_TYPE
#define AT_STATX_SYNC_TYPE 0x6000
#endif

/* ---- stat ---- */

static int put_stat(struct task *current, const struct kstat *from, struct user_address address) {
    struct stat stat;

    memset(&stat, 0, sizeof(stat));
    stat.st_dev = from->dev;
    stat.st_ino = from->ino;
    stat.st_mode = from->mode;
    stat.st_nlink = from->nlink;
    stat.st_uid = from->uid;
    stat.st_gid = from->gid;
    stat.st_rdev = from->rdev;
    stat.st_size = from->size;
    stat.st_blksize = from->blksize;
    stat.st_blocks = from->blocks;
    stat.st_atim = from->atime;
    stat.st_mtim = from->mtime;
    stat.st_ctim = from->ctime;
    return answer_user(current->thread, stat, address);
}

static int64_t stat_fd(struct task *current, int fd, struct user_address statbuf) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, true);
    struct kstat stat;
    int error;

    if (!file) {
        return -EBADF;
    }
    error = path_getattr(&file->path, &stat);
    return error ? error : put_stat(current, &stat, statbuf);
}

int64_t sys_newfstatat(struct task *current, int dirfd, struct user_address address,
                       struct user_address statbuf, int flags) {
    struct kstat stat;
    int error;

    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) {
        return -EINVAL;
    }
    error = at_stat(current, dirfd, address, flags, &stat, NULL);
    return error ? error : put_stat(current, &stat, statbuf);
}

int64_t sys_stat(struct task *current, struct user_address path, struct user_address statbuf) {
    return sys_newfstatat(current, AT_FDCWD, path, statbuf, 0);
}

int64_t sys_lstat(struct task *current, struct user_address path, struct user_address statbuf) {
    return sys_newfstatat(current, AT_FDCWD, path, statbuf, AT_SYMLINK_NOFOLLOW);
}

int64_t sys_fstat(struct task *current, int fd, struct user_address statbuf) {
    return stat_fd(current, fd, statbuf);
}

static struct statx_timestamp statx_time(struct timespec time) {
    return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

int64_t sys_statx(struct task *current, int dirfd, struct user_address address, int flags,
                  unsigned mask, struct user_address statxbuf) {
    struct stat_place place = {0};
    struct statx statx;
    struct kstat stat;
    int error;

    if ((mask & STATX__RESERVED) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE ||
        (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))) {
        return -EINVAL;
    }
    error = at_stat(current, dirfd, address, flags, &stat, &place);
    if (error) {
        return error;
    }
    memset(&statx, 0, sizeof(statx));
    statx.stx_mask = STATX_BASIC_STATS | (stat.has_btime ? STATX_BTIME : 0);
    statx.stx_blksize = stat.blksize;
    statx.stx_nlink = stat.nlink;
    statx.stx_uid = stat.uid;
    statx.stx_gid = stat.gid;
    statx.stx_mode = (uint16_t)stat.mode;
    statx.stx_ino = stat.ino;
    statx.stx_size = (uint64_t)stat.size;
    statx.stx_blocks = (uint64_t)stat.blocks;
    statx.stx_atime = statx_time(stat.atime);
    statx.stx_mtime = statx_time(stat.mtime);
    statx.stx_ctime = statx_time(stat.ctime);
    if (stat.has_btime) {
        statx.stx_btime = statx_time(stat.btime);
    }
    statx.stx_dev_major = major(stat.dev);
    statx.stx_dev_minor = minor(stat.dev);
    statx.stx_rdev_major = major(stat.rdev);
    statx.stx_rdev_minor = minor(stat.rdev);
#ifdef STATX_MNT_ID
    if (place.mount_id) {
        statx.stx_mask |= STATX_MNT_ID;
        statx.stx_mnt_id = (uint64_t)place.mount_id;
        statx.stx_attributes_mask |= STATX_ATTR_MOUNT_ROOT;
        statx.stx_attributes |= place.mount_root ? STATX_ATTR_MOUNT_ROOT : 0;
    }
#endif
    return answer_user(current->thread, statx, statxbuf);
}

/* ---- statfs ---- */

int64_t sys_statfs(struct task *current, struct user_address address, struct user_address buffer) {
    struct path path CLEANUP(path_put) = {0};
    struct statfs stat;
    int error = at_lookup(current, AT_FDCWD, address, LOOKUP_FOLLOW, &path);

    if (!error) {
        error = path_statfs(&path, &stat);
    }
    return error ? error : answer_user(current->thread, stat, buffer);
}

int64_t sys_fstatfs(struct task *current, int fd, struct user_address buffer) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, true);
    struct statfs stat;
    int error;

    if (!file) {
        return -EBADF;
    }
    error = path_statfs(&file->path, &stat);
    return error ? error : answer_user(current->thread, stat, buffer);
}

/* ---- readlink ---- */

int64_t sys_readlinkat(struct task *current, int dirfd, struct user_address address,
                       struct user_address buffer, int size) {
    struct path path CLEANUP(path_put) = {0};
    struct at at CLEANUP(at) = {0};
    char *text CLEANUP(free) = NULL;
    ssize_t length;
    int error;

    if (size <= 0) {
        return -EINVAL;
    }
    error = at_begin(current, &at, dirfd, address, false);
    if (!error) {
        error = path_lookup(&at.walk, at.name, LOOKUP_EMPTY, &path);
    }
    if (error) {
        return error;
    }
    if (!S_ISLNK(path.dentry->inode->type)) {
        return at.name[0] ? -EINVAL : -ENOENT;
    }
    text = malloc(PATH_MAX);
    if (!text) {
        return -ENOMEM;
    }
    length = vfs_readlink(&path, text, MIN((size_t)size, (size_t)PATH_MAX));
    if (length < 0) {
        return length;
    }
    error = answer_to_user(current->thread, buffer, text, (size_t)length);
    return error ? error : length;
}

int64_t sys_readlink(struct task *current, struct user_address path, struct user_address buffer,
                     int size) {
    return sys_readlinkat(current, AT_FDCWD, path, buffer, size);
}

/* ---- access ---- */

/* access(2) asks with the real ids and, for root, all permitted capabilities. */
static struct credentials *real_credentials(struct task *current) {
    struct credentials *real = credentials_dup(current->creds);

    if (!IS_ERR(real) && real) {
        real->fsuid = real->uid;
        real->fsgid = real->gid;
        real->cap_effective = real->uid == 0 ? real->cap_permitted : 0;
    }
    return real;
}

static int check_access(const struct path *path, int mode, const struct credentials *creds) {
    struct inode *inode = path->dentry->inode;
    int error;

    if ((mode & X_OK) && S_ISREG(inode->type) && path->mount &&
        (atomic_load(&path->mount->flags) & MS_NOEXEC)) {
        return -EACCES;
    }
    error = mode ? inode_permission(inode, mode, creds) : 0;
    if (!error && (mode & W_OK) &&
        (S_ISREG(inode->type) || S_ISDIR(inode->type) || S_ISLNK(inode->type))) {
        error = path_want_write(path);
    }
    return error;
}

int64_t sys_faccessat2(struct task *current, int dirfd, struct user_address address, int mode,
                       int flags) {
    const struct credentials *creds = current->creds;
    struct credentials *real CLEANUP(credentials_put) = NULL;
    struct path path CLEANUP(path_put) = {0};
    struct at at CLEANUP(at) = {0};
    int error;

    if ((mode & ~(R_OK | W_OK | X_OK)) ||
        (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))) {
        return -EINVAL;
    }
    error = at_begin(current, &at, dirfd, address, false);
    if (error) {
        return error;
    }
    if (!(flags & AT_EACCESS) &&
        (creds->fsuid != creds->uid || creds->fsgid != creds->gid ||
         creds->cap_effective != (creds->uid == 0 ? creds->cap_permitted : 0))) {
        real = real_credentials(current);
        if (IS_ERR(real) || !real) {
            real = NULL;
            return -ENOMEM;
        }
        creds = real;
    }
    at.walk.creds = creds;
    error = path_lookup(&at.walk, at.name, at_lookup_flags(flags), &path);
    return error ? error : check_access(&path, mode, creds);
}

int64_t sys_faccessat(struct task *current, int dirfd, struct user_address path, int mode) {
    return sys_faccessat2(current, dirfd, path, mode, 0);
}

int64_t sys_access(struct task *current, struct user_address path, int mode) {
    return sys_faccessat2(current, AT_FDCWD, path, mode, 0);
}

/* ---- directory entries ---- */

#define DIRENTS_MAX ((size_t)256 * 1024) /* at one call: a guest may ask for more, not get it */

struct dirents {
    struct dir_context context;
    char *bytes;
    size_t size, used;
    bool old; /* getdents(2)'s layout: the type in the last byte */
    bool full;
};

static bool dirents_emit(struct dir_context *context, const char *name, size_t length, ino_t ino,
                         unsigned char type, int64_t next) {
    struct dirents *out = container_of(context, struct dirents, context);
    size_t header =
        out->old ? offsetof(struct user_dirent64, type) : offsetof(struct user_dirent64, name);
    size_t record = ALIGN_UP(header + length + (out->old ? 2 : 1), sizeof(uint64_t));
    struct user_dirent64 entry = {
        .ino = ino, .off = next, .reclen = (uint16_t)record, .type = type};
    char *to = out->bytes + out->used;

    if (out->size - out->used < record) {
        out->full = true;
        return false;
    }
    memset(to, 0, record);
    memcpy(to, &entry, header);
    memcpy(to + header, name, length);
    if (out->old) {
        to[record - 1] = (char)type;
    }
    out->used += record;
    return true;
}

static int64_t do_getdents(struct task *current, int fd, struct user_address dirp, unsigned count,
                           bool old) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, false);
    struct dirents out = {.context = {.emit = dirents_emit}, .old = old};
    char *bytes CLEANUP(free) = NULL;
    int64_t before;
    int error;

    if (!file) {
        return -EBADF;
    }
    if (!file->ops->readdir) {
        return -ENOTDIR;
    }
    out.size = MIN((size_t)count, DIRENTS_MAX);
    bytes = out.bytes = malloc(MAX(out.size, (size_t)1));
    if (!bytes) {
        return -ENOMEM;
    }
    before = file_llseek(file, 0, SEEK_CUR);
    error = file_readdir(file, &out.context);
    if (error && !out.used) {
        return error;
    }
    if (!out.used) {
        return out.full ? -EINVAL : 0;
    }
    error = memory_is_writable(current->mm, dirp.value, out.used)
                ? answer_to_user(current->thread, dirp, out.bytes, out.used)
                : copy_to_user(current->thread, dirp, out.bytes, out.used);
    if (error) {
        /* Nothing arrived, so nothing was read. */
        if (before >= 0) {
            (void)!file_llseek(file, before, SEEK_SET);
        }
        return error;
    }
    return (int64_t)out.used;
}

int64_t sys_getdents64(struct task *current, int fd, struct user_address dirp, unsigned count) {
    return do_getdents(current, fd, dirp, count, false);
}

int64_t sys_getdents(struct task *current, int fd, struct user_address dirp, unsigned count) {
    return do_getdents(current, fd, dirp, count, true);
}
