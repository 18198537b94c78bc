/*
 * Changing files' attributes: mode, owner, times, size.
 */
#include <sys/time.h>
#include <utime.h>

#include "syscalls/sys_at.h"

static int64_t set_attr(struct task *current, const struct path *path, struct iattr *attr) {
    return path_setattr(path, attr, current->creds);
}

static int64_t set_attr_fd(struct task *current, int fd, struct iattr *attr) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, false);

    return file ? set_attr(current, &file->path, attr) : -EBADF;
}

/* ---- mode ---- */

int64_t sys_fchmodat2(struct task *current, int dirfd, struct user_address address, mode_t mode,
                      unsigned flags) {
    struct iattr attr = {.valid = ATTR_MODE, .mode = mode & 07777};
    struct path path CLEANUP(path_put) = {0};
    int error;

    if (flags & ~(unsigned)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    error = at_lookup(current, dirfd, address, at_lookup_flags((int)flags), &path);
    if (error) {
        return error;
    }
    /* The mode of a symlink is not to be changed (symlink(7)). */
    if (S_ISLNK(path.dentry->inode->type)) {
        return -EOPNOTSUPP;
    }
    return set_attr(current, &path, &attr);
}

int64_t sys_fchmodat(struct task *current, int dirfd, struct user_address path, mode_t mode) {
    return sys_fchmodat2(current, dirfd, path, mode, 0);
}

int64_t sys_chmod(struct task *current, struct user_address path, mode_t mode) {
    return sys_fchmodat2(current, AT_FDCWD, path, mode, 0);
}

int64_t sys_fchmod(struct task *current, int fd, mode_t mode) {
    struct iattr attr = {.valid = ATTR_MODE, .mode = mode & 07777};

    return set_attr_fd(current, fd, &attr);
}

/* ---- owner ---- */

/* chown(2): -1 leaves an id as it is. */
static struct iattr owner_attr(uid_t uid, gid_t gid) {
    struct iattr attr = {.uid = uid, .gid = gid};

    attr.valid = (uid != (uid_t)-1 ? ATTR_UID : 0) | (gid != (gid_t)-1 ? ATTR_GID : 0);
    return attr;
}

int64_t sys_fchownat(struct task *current, int dirfd, struct user_address address, uid_t uid,
                     gid_t gid, int flags) {
    struct iattr attr = owner_attr(uid, gid);
    struct path path CLEANUP(path_put) = {0};
    int error;

    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    error = at_lookup(current, dirfd, address, at_lookup_flags(flags), &path);
    return error ? error : set_attr(current, &path, &attr);
}

int64_t sys_chown(struct task *current, struct user_address path, uid_t uid, gid_t gid) {
    return sys_fchownat(current, AT_FDCWD, path, uid, gid, 0);
}

int64_t sys_lchown(struct task *current, struct user_address path, uid_t uid, gid_t gid) {
    return sys_fchownat(current, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int64_t sys_fchown(struct task *current, int fd, uid_t uid, gid_t gid) {
    struct iattr attr = owner_attr(uid, gid);

    return set_attr_fd(current, fd, &attr);
}

/* ---- times ---- */

static bool time_is_valid(const struct timespec *time) {
    return time->tv_nsec == UTIME_NOW || time->tv_nsec == UTIME_OMIT ||
           (time->tv_nsec >= 0 && time->tv_nsec < 1000000000);
}

static unsigned time_attr(const struct timespec *time, unsigned set, unsigned now) {
    return time->tv_nsec == UTIME_OMIT ? 0 : time->tv_nsec == UTIME_NOW ? set | now : set;
}

/* times NULL: now. */
static int64_t set_times(struct task *current, int dirfd, struct user_address address,
                         const struct timespec times[2], int flags) {
    struct path path CLEANUP(path_put) = {0};
    struct iattr attr = {0};
    int error;

    if (times) {
        attr.valid = time_attr(&times[0], ATTR_ATIME, ATTR_ATIME_NOW) |
                     time_attr(&times[1], ATTR_MTIME, ATTR_MTIME_NOW);
        attr.atime = times[0];
        attr.mtime = times[1];
    } else {
        attr.valid = ATTR_ATIME | ATTR_ATIME_NOW | ATTR_MTIME | ATTR_MTIME_NOW;
    }
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    if (user_address_is_null(address) && dirfd != AT_FDCWD && !(flags & AT_EMPTY_PATH)) {
        return flags ? -EINVAL : set_attr_fd(current, dirfd, &attr);
    }
    error = at_lookup(current, dirfd, address, at_lookup_flags(flags), &path);
    return error ? error : set_attr(current, &path, &attr);
}

int64_t sys_utimensat(struct task *current, int dirfd, struct user_address path,
                      struct user_address address, int flags) {
    struct timespec times[2];
    int error;

    if (user_address_is_null(address)) {
        return set_times(current, dirfd, path, NULL, flags);
    }
    error = get_user(current->thread, times, address);
    if (error) {
        return error;
    }
    if (!time_is_valid(&times[0]) || !time_is_valid(&times[1])) {
        return -EINVAL;
    }
    /* Nothing to change: the path is not even looked at. */
    if (times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT) {
        return 0;
    }
    return set_times(current, dirfd, path, times, flags);
}

int64_t sys_futimesat(struct task *current, int dirfd, struct user_address path,
                      struct user_address address) {
    struct timespec times[2];
    struct timeval values[2];
    int error;

    if (user_address_is_null(address)) {
        return set_times(current, dirfd, path, NULL, 0);
    }
    error = get_user(current->thread, values, address);
    if (error) {
        return error;
    }
    for (int i = 0; i < 2; i++) {
        if (values[i].tv_usec < 0 || values[i].tv_usec >= 1000000) {
            return -EINVAL;
        }
        times[i] = (struct timespec){values[i].tv_sec, values[i].tv_usec * 1000};
    }
    return set_times(current, dirfd, path, times, 0);
}

int64_t sys_utimes(struct task *current, struct user_address path, struct user_address times) {
    return sys_futimesat(current, AT_FDCWD, path, times);
}

int64_t sys_utime(struct task *current, struct user_address path, struct user_address address) {
    struct timespec times[2] = {{0}};
    struct utimbuf values;
    int error;

    if (user_address_is_null(address)) {
        return set_times(current, AT_FDCWD, path, NULL, 0);
    }
    error = get_user(current->thread, values, address);
    if (error) {
        return error;
    }
    times[0].tv_sec = values.actime;
    times[1].tv_sec = values.modtime;
    return set_times(current, AT_FDCWD, path, times, 0);
}

/* ---- size ---- */

/* A file may not grow beyond RLIMIT_FSIZE (setrlimit(2)): SIGXFSZ and EFBIG. */
static int check_file_size(struct task *current, const struct path *path, int64_t size) {
    uint64_t limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_FSIZE);
    struct signal_info info;
    struct kstat stat;
    int error;

    if (size < 0 || (uint64_t)size <= limit) {
        return 0;
    }
    error = path_getattr(path, &stat);
    if (error || size <= stat.size) {
        return error;
    }
    signal_info_kernel(&info, SIGXFSZ);
    error = signal_send_task(current, &info);
    return error ? error : -EFBIG;
}

int64_t sys_truncate(struct task *current, struct user_address address, int64_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error;

    if (size < 0) {
        return -EINVAL;
    }
    error = at_lookup(current, AT_FDCWD, address, LOOKUP_FOLLOW, &path);
    if (!error && S_ISREG(path.dentry->inode->type)) {
        error = check_file_size(current, &path, size);
    }
    return error ? error : vfs_truncate(&path, current->creds, size);
}

int64_t sys_ftruncate(struct task *current, int fd, int64_t size) {
    struct file *file CLEANUP(file_put) = NULL;
    int error;

    if (size < 0) {
        return -EINVAL;
    }
    file = fd_file(current, fd, false);
    if (!file) {
        return -EBADF;
    }
    error = S_ISREG(file->inode->type) ? check_file_size(current, &file->path, size) : 0;
    return error ? error : file_truncate(file, size);
}
