/*
 * eventfd(2), timerfd_create(2), signalfd(2), pidfd_open(2), inotify(7) and what goes with them.
 */
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "pseudo/pseudo.h"
#include "syscalls/sys_install.h"

int64_t sys_eventfd2(struct task *current, unsigned initval, int flags) {
    struct file *file;
    int error;

    if (flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) {
        return unsupported_flags("eventfd2", (uint64_t)flags,
                                 EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE, EINVAL);
    }
    error = eventfd_new(initval, flags, &file);
    return error ? error : install_file(current, file, flags);
}

int64_t sys_eventfd(struct task *current, unsigned initval) {
    return sys_eventfd2(current, initval, 0);
}

int64_t sys_timerfd_create(struct task *current, int clockid, int flags) {
    struct file *file;
    int error;

    if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) {
        return unsupported_flags("timerfd_create", (uint64_t)flags, TFD_CLOEXEC | TFD_NONBLOCK,
                                 EINVAL);
    }
    error = timerfd_new(clockid, flags, &file);
    return error ? error : install_file(current, file, flags);
}

int64_t sys_timerfd_settime(struct task *current, int fd, int flags, struct user_address new_value,
                            struct user_address old_value) {
    struct file *file CLEANUP(file_put) = NULL;
    struct itimerspec new, old;
    int error;

    error = get_user(current->thread, new, new_value);
    if (error) {
        return error;
    }
    if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) {
        return unsupported_flags("timerfd_settime", (uint64_t)flags,
                                 TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, EINVAL);
    }
    file = fd_table_get(current->files, fd);
    if (!file) {
        return -EBADF;
    }
    error = timerfd_set_time(file, flags, &new, &old);
    if (error || user_address_is_null(old_value)) {
        return error;
    }
    return put_user(current->thread, old, old_value);
}

int64_t sys_timerfd_gettime(struct task *current, int fd, struct user_address curr_value) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
    struct itimerspec value;
    int error;

    if (!file) {
        return -EBADF;
    }
    error = timerfd_get_time(file, &value);
    return error ? error : put_user(current->thread, value, curr_value);
}

int64_t sys_signalfd4(struct task *current, int fd, struct user_address mask, size_t sizemask,
                      int flags) {
    struct file *file;
    kernel_sigset set;
    int error;

    if (sizemask != sizeof(set)) {
        return -EINVAL;
    }
    error = get_user(current->thread, set, mask);
    if (error) {
        return error;
    }
    if (flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) {
        return unsupported_flags("signalfd4", (uint64_t)flags, SFD_CLOEXEC | SFD_NONBLOCK, EINVAL);
    }
    if (fd == -1) {
        error = signalfd_new(set, flags, &file);
        return error ? error : install_file(current, file, flags);
    }
    file = fd_table_get(current->files, fd);
    if (!file) {
        return -EBADF;
    }
    error = signalfd_set_mask(file, set);
    file_put(file);
    return error ? error : fd;
}

int64_t sys_signalfd(struct task *current, int fd, struct user_address mask, size_t sizemask) {
    return sys_signalfd4(current, fd, mask, sizemask, 0);
}

int64_t sys_pidfd_open(struct task *current, pid_t pid, unsigned flags) {
    struct task *task CLEANUP(task_put) = NULL;
    struct file *file;
    int error;

    if (flags & ~(unsigned)O_NONBLOCK) {
        return unsupported_flags("pidfd_open", flags, O_NONBLOCK, EINVAL);
    }
    if (pid <= 0) {
        return -EINVAL;
    }
    task = kernel_get_task(current->thread_group->kernel, pid);
    if (!task) {
        return -ESRCH;
    }
    /* A thread that leads no group: pidfd_open(2) EINVAL (ENOENT since Linux 6.9). */
    if (task_get_pid(task) != task_get_tid(task)) {
        return -EINVAL;
    }
    error = pidfd_new(task, (int)flags, &file);
    /* Always close-on-exec. */
    return error ? error : install_file(current, file, O_CLOEXEC);
}

int64_t sys_pidfd_send_signal(struct task *current, int pidfd, int sig, struct user_address info,
                              unsigned flags) {
    struct file *file CLEANUP(file_put) = NULL;
    struct task *task CLEANUP(task_put) = NULL;
    struct signal_info signal;

    if (flags) {
        return unsupported_flags("pidfd_send_signal", flags, 0, EINVAL);
    }
    file = fd_table_get(current->files, pidfd);
    task = file ? pidfd_task(file) : NULL;
    if (file && !task) {
        task = procfs_file_task(file);
        if (IS_ERR(task)) {
            return PTR_ERR(STEAL(task));
        }
    }
    if (!task) {
        return -EBADF;
    }
    if (sig < 0 || sig > SIGNAL_MAX) {
        return -EINVAL;
    }
    signal_info_user(&signal, sig, SI_USER, current);
    if (!user_address_is_null(info)) {
        int error = get_user(current->thread, signal.info, info);

        if (error) {
            return error;
        }
        if (signal.info.si_signo != sig) {
            return -EINVAL;
        }
        signal.code = signal.info.si_code;
        signal.error = signal.info.si_errno;
        /* Only to oneself may one pretend that the kernel or kill(2) sent it. */
        if (task->thread_group != current->thread_group &&
            (signal.code >= 0 || signal.code == SI_TKILL)) {
            return -EPERM;
        }
    }
    if (!task_may_signal(current, task, sig)) {
        return -EPERM;
    }
    struct task *alive CLEANUP(task_put) =
        kernel_get_task(current->thread_group->kernel, task_get_pid(task));

    if (!alive || alive->thread_group != task->thread_group) {
        return -ESRCH;
    }
    return sig ? signal_send_group(task->thread_group, &signal) : 0;
}

int64_t sys_pidfd_getfd(struct task *current, int pidfd, int targetfd, unsigned flags) {
    struct file *file CLEANUP(file_put) = NULL, *wanted = NULL;
    struct task *task CLEANUP(task_put) = NULL;
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;

    if (flags) {
        return unsupported_flags("pidfd_getfd", flags, 0, EINVAL);
    }
    file = fd_table_get(current->files, pidfd);
    task = file ? pidfd_task(file) : NULL;
    if (!task) {
        return -EBADF;
    }
    if (!task_may_access(current, task)) {
        return -EPERM;
    }
    files = task_files(task);
    if (!files) {
        return -ESRCH;
    }
    wanted = fd_table_get(files, targetfd);
    return wanted ? install_file(current, wanted, O_CLOEXEC) : -EBADF;
}

int64_t sys_inotify_init1(struct task *current, int flags) {
    struct file *file;
    int error;

    if (flags & ~(IN_CLOEXEC | IN_NONBLOCK)) {
        return unsupported_flags("inotify_init1", (uint64_t)flags, IN_CLOEXEC | IN_NONBLOCK,
                                 EINVAL);
    }
    error = inotify_new(flags, &file);
    return error ? error : install_file(current, file, flags);
}

int64_t sys_inotify_init(struct task *current) {
    return sys_inotify_init1(current, 0);
}

#define INOTIFY_MASK                                                                               \
    (IN_ALL_EVENTS | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE | \
     IN_ONESHOT | IN_ISDIR | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED)

int64_t sys_inotify_add_watch(struct task *current, int fd, struct user_address pathname,
                              unsigned mask) {
    struct file *file CLEANUP(file_put) = NULL;
    struct path path CLEANUP(path_put) = {0};
    char *name CLEANUP(free) = NULL;
    struct walk walk = task_walk(current, NULL);
    int error;

    if (!(mask & IN_ALL_EVENTS) || ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE))) {
        return -EINVAL;
    }
    if (mask & ~(unsigned)INOTIFY_MASK) {
        return unsupported_flags("inotify_add_watch", mask, INOTIFY_MASK, EINVAL);
    }
    file = fd_table_get(current->files, fd);
    if (!file) {
        return -EBADF;
    }
    if (!file_is_inotify(file)) {
        return -EINVAL;
    }
    error = copy_path_from_user(current->thread, &name, pathname);
    if (!error) {
        error = path_lookup(&walk, name,
                            (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) |
                                (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0),
                            &path);
    }
    if (!error) {
        error = inode_permission(path.dentry->inode, MAY_READ, walk.creds);
    }
    return error ? error : inotify_add(file, path.dentry->inode, mask);
}

int64_t sys_inotify_rm_watch(struct task *current, int fd, int wd) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file) {
        return -EBADF;
    }
    return file_is_inotify(file) ? inotify_remove(file, wd) : -EINVAL;
}
