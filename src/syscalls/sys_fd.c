/* Descriptors themselves: close(2), dup(2), fcntl(2), ioctl(2), flock(2), fsync(2). */
#include <linux/close_range.h>
#include <sys/file.h>
#include <sys/ioctl.h>

#include "syscalls/sys_install.h"

int64_t sys_close(struct task *current, int fd) {
    int result = fd_table_close(current->files, fd);

    /* The descriptor is gone whatever flush said: a restart would close somebody else's. */
    return result == -ERESTARTSYS || result == -ERESTARTNOINTR ? -EINTR : result;
}

int64_t sys_close_range(struct task *current, unsigned first, unsigned last, unsigned flags) {
    if (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || first > last) {
        return -EINVAL;
    }
    if ((flags & CLOSE_RANGE_UNSHARE) && fd_table_shared(current->files)) {
        struct fd_table *own = fd_table_fork(current->files);

        if (IS_ERR(own)) {
            return PTR_ERR(own);
        }
        lock_acquire(&current->lock);
        struct fd_table *old = current->files;
        current->files = own;
        lock_release(&current->lock);
        fd_table_put(old);
    }
    fd_table_close_range(current->files, first, last, flags & CLOSE_RANGE_CLOEXEC);
    return 0;
}

int64_t sys_dup(struct task *current, int oldfd) {
    struct file *file = fd_table_get(current->files, oldfd);

    return file ? install_file(current, file, 0) : -EBADF;
}

static int64_t do_dup3(struct task *current, int oldfd, int newfd, int flags) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, oldfd);

    if (!file) {
        return -EBADF;
    }
    return fd_table_replace(current->files, newfd, file, current_fd_limit(current),
                            flags & O_CLOEXEC);
}

int64_t sys_dup2(struct task *current, int oldfd, int newfd) {
    if (oldfd == newfd) {
        struct file *file CLEANUP(file_put) = fd_table_get(current->files, oldfd);

        return file ? newfd : -EBADF;
    }
    return do_dup3(current, oldfd, newfd, 0);
}

int64_t sys_dup3(struct task *current, int oldfd, int newfd, int flags) {
    if ((flags & ~O_CLOEXEC) || oldfd == newfd) {
        return -EINVAL;
    }
    return do_dup3(current, oldfd, newfd, flags);
}

static int64_t dup_from(struct task *current, struct file *file, unsigned long minimum, int flags) {
    int limit = current_fd_limit(current);

    if (minimum >= (unsigned long)limit) {
        return -EINVAL;
    }
    return fd_table_install(current->files, file, (int)minimum, limit, flags & O_CLOEXEC);
}

#define FCNTL_DUPFD_QUERY 1027 /* Linux 6.10 */

/* What F_SETFL can change, fcntl(2). */
#define SETTABLE_FLAGS (O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK)

static int64_t set_file_flags(struct task *current, struct file *file, int flags) {
    int old = atomic_load(&file->flags);

    if ((flags & ~old) & O_NOATIME) {
        struct kstat stat;
        int error = inode_getattr(file->inode, &stat);

        if (error || !inode_owner_or_capable(&stat, current->creds)) {
            return error ? error : -EPERM;
        }
    }

    if (flags & ~old & O_ASYNC) {
        log_once(LOG_WARN, "fcntl", O_ASYNC,
                 "not supported: the signals of O_ASYNC are never sent");
    }
    if (file->ops->set_flags) {
        int result = file->ops->set_flags(file, flags);

        if (result) {
            return result;
        }
    }
    while (!atomic_compare_exchange_weak(&file->flags, &old,
                                         (old & ~SETTABLE_FLAGS) | (flags & SETTABLE_FLAGS))) {
    }
    donation_flags_changed(file);
    fd_page_refresh(file->inode);
    return 0;
}

/* Closed by another thread while the lock was taken: that close found no lock to let go, and no
 * later one would. */
static int64_t check_still_open(struct task *current, int fd, struct file *file) {
    struct file *now CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (now == file) {
        return 0;
    }
    file_locks_release(file, current->files);
    return -EBADF;
}

static int64_t record_lock(struct task *current, int fd, struct file *file, int command,
                           struct user_address argument) {
    bool open_file = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    struct flock lock;
    int64_t result = get_user(current->thread, lock, argument);

    if (result) {
        return result;
    }
    if (open_file && lock.l_pid != 0) {
        return -EINVAL;
    }
    result = file_lock_posix(file, open_file ? (const void *)file : current->files,
                             open_file ? -1 : task_get_pid(current), command, &lock);
    if (result == 0 && (command == F_GETLK || command == F_OFD_GETLK)) {
        result = put_user(current->thread, lock, argument);
    }
    if (result == 0 && (command == F_SETLK || command == F_SETLKW) && lock.l_type != F_UNLCK) {
        result = check_still_open(current, fd, file);
    }
    return result;
}

static void set_owner(struct file *file, int type, pid_t id) {
    LOCK_GUARD(&file->lock);

    file->owner.type = type;
    file->owner.id = id;
}

static int64_t owner_ex(struct task *current, struct file *file, bool set,
                        struct user_address argument) {
    struct {
        int type;
        pid_t pid;
    } owner;
    int64_t result;

    if (set) {
        result = get_user(current->thread, owner, argument);
        if (result == 0 && (owner.type < F_OWNER_TID || owner.type > F_OWNER_PGRP)) {
            result = -EINVAL;
        }
        if (result == 0) {
            set_owner(file, owner.type, owner.pid);
        }
        return result;
    }
    lock_acquire(&file->lock);
    owner.type = file->owner.type;
    owner.pid = file->owner.id;
    lock_release(&file->lock);
    return put_user(current->thread, owner, argument);
}

static int64_t get_owner(struct file *file) {
    LOCK_GUARD(&file->lock);

    return file->owner.type == F_OWNER_PGRP ? -file->owner.id : file->owner.id;
}

static int64_t signal_of_owner(struct file *file, bool set, unsigned long signal) {
    LOCK_GUARD(&file->lock);

    if (!set) {
        return file->owner.signal;
    }
    if (signal > SIGNAL_MAX) {
        return -EINVAL;
    }
    file->owner.signal = (int)signal;
    return 0;
}

static int64_t same_file(struct task *current, const struct file *file, unsigned long fd) {
    struct file *other CLEANUP(file_put) =
        fd <= INT_MAX ? fd_table_get(current->files, (int)fd) : NULL;

    return other ? other == file : -EBADF;
}

/* Commands that an O_PATH descriptor has too. */
static bool allowed_on_path(int command) {
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC || command == F_GETFD ||
           command == F_SETFD || command == F_GETFL;
}

int64_t sys_fcntl(struct task *current, int fd, int cmd, unsigned long arg) {
    struct file *file CLEANUP(file_put) = task_call_file(current, fd);
    struct user_address pointer = user_address(arg);

    if (!file || ((file->mode & FMODE_PATH) && !allowed_on_path(cmd))) {
        return -EBADF;
    }
    switch (cmd) {
    case F_DUPFD:
        return dup_from(current, file, arg, 0);
    case F_DUPFD_CLOEXEC:
        return dup_from(current, file, arg, O_CLOEXEC);
    case F_GETFD:
        return fd_table_get_flags(current->files, fd);
    case F_SETFD:
        return fd_table_set_flags(current->files, fd, (int)arg & FD_CLOEXEC);
    case F_GETFL:
        return atomic_load(&file->flags) | (file->mode & FMODE_PATH ? O_PATH : 0);
    case F_SETFL:
        return set_file_flags(current, file, (int)arg);
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return record_lock(current, fd, file, cmd, pointer);
    case F_SETOWN:
        set_owner(file, (int)arg < 0 ? F_OWNER_PGRP : F_OWNER_PID, abs((int)arg));
        return 0;
    case F_GETOWN:
        return get_owner(file);
    case F_SETOWN_EX:
        return owner_ex(current, file, true, pointer);
    case F_GETOWN_EX:
        return owner_ex(current, file, false, pointer);
    case F_SETSIG:
        return signal_of_owner(file, true, arg);
    case F_GETSIG:
        return signal_of_owner(file, false, 0);
    case F_GETPIPE_SZ:
        return pipe_get_size(file);
    case F_SETPIPE_SZ:
        return pipe_set_size(file, (unsigned)MIN(arg, (unsigned long)UINT32_MAX));
    case F_ADD_SEALS:
    case F_GET_SEALS:
        return tmpfs_seals(file, cmd, (unsigned)arg);
    case F_GETLEASE:
        return F_UNLCK; /* none can be taken */
    case FCNTL_DUPFD_QUERY:
        return same_file(current, file, arg);
    default:
        break;
    }
    log_once(LOG_WARN, "fcntl", (uint64_t)cmd, "not supported: fcntl(2) command %d", cmd);
    return -EINVAL;
}

int64_t sys_ioctl(struct task *current, int fd, unsigned request, struct user_address argp) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
    int on;
    int64_t result;

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    switch (request) {
    case FIOCLEX:
        return fd_table_set_flags(current->files, fd, FD_CLOEXEC);
    case FIONCLEX:
        return fd_table_set_flags(current->files, fd, 0);
    case FIONBIO:
    case FIOASYNC:
        result = get_user(current->thread, on, argp);
        if (result == 0) {
            int flag = request == FIONBIO ? O_NONBLOCK : O_ASYNC;
            int flags = atomic_load(&file->flags);

            result = set_file_flags(current, file, on ? flags | flag : flags & ~flag);
        }
        return result;
    case FIONREAD:
        if (S_ISREG(file->inode->type)) {
            struct kstat stat;

            result = inode_getattr(file->inode, &stat);
            on = (int)MIN(MAX(stat.size - file_pos_peek(file), (int64_t)0), (int64_t)INT_MAX);
            return result ? result : put_user(current->thread, on, argp);
        }
        break;
    default:
        break;
    }
    return file->ops->ioctl ? file->ops->ioctl(file, current->thread, request, argp) : -ENOTTY;
}

int64_t sys_flock(struct task *current, int fd, int operation) {
    struct file *file CLEANUP(file_put) = NULL;
    int kind = operation & ~LOCK_NB;

    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN) {
        return -EINVAL; /* before the descriptor is looked at, as Linux */
    }
    file = task_call_file(current, fd);
    return !file || (file->mode & FMODE_PATH) ? -EBADF : file_flock(file, operation);
}

static int64_t sync_file(struct task *current, int fd, bool data_only) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    return file->ops->fsync ? file->ops->fsync(file, data_only) : -EINVAL;
}

int64_t sys_fsync(struct task *current, int fd) {
    return sync_file(current, fd, false);
}

int64_t sys_fdatasync(struct task *current, int fd) {
    return sync_file(current, fd, true);
}
