/*
 * Processes: clone(2) and its kin, exit(2), wait4(2) and waitid(2), ids, process groups and
 * sessions, unshare(2). The rules are task/'s; here the guest's arguments are fetched and checked.
 */
#include "syscalls/syscalls.h"

#include <linux/sched.h>
#include <sys/resource.h>

#include "syscalls/sys_install.h"
#include "syscalls/sys_usage.h"

/* ---- clone ---- */

/* Makes the pidfd of CLONE_PIDFD while the child cannot yet have ended. */
struct pidfd_request {
    struct user_address address;
    int fd; /* -1: not made */
};

static int make_pidfd(struct task *current, struct task *child, void *arg) {
    struct pidfd_request *request = arg;
    struct file *file;
    int fd, result = pidfd_new(child, 0, &file);

    if (result) {
        return result;
    }
    fd = install_file(current, file, O_CLOEXEC);
    if (fd < 0) {
        return fd;
    }
    request->fd = fd;
    return put_user(current->thread, fd, request->address);
}

static int64_t do_clone(struct task *current, struct clone_params *params,
                        struct user_address pidfd) {
    struct pidfd_request request = {.address = pidfd, .fd = -1};
    pid_t result;

    if (params->flags & CLONE_PIDFD) {
        params->prepare = make_pidfd;
        params->prepare_arg = &request;
    }
    result = task_clone(current, params);
    if (result < 0 && request.fd >= 0) {
        (void)!fd_table_close(current->files, request.fd);
    }
    return result;
}

int64_t sys_fork(struct task *current) {
    struct clone_params params = {.exit_signal = SIGCHLD};

    return task_clone(current, &params);
}

int64_t sys_vfork(struct task *current) {
    struct clone_params params = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};

    return task_clone(current, &params);
}

int64_t sys_clone(struct task *current, unsigned long flags, uint64_t stack,
                  struct user_address parent_tid, struct user_address child_tid,
                  unsigned long tls) {
    struct clone_params params = {
        .flags = (uint32_t)flags & ~(uint64_t)CSIGNAL,
        .exit_signal = (int)(flags & CSIGNAL),
        .stack = stack,
        .tls = tls,
        .parent_tid = parent_tid,
        .child_tid = child_tid,
    };

    /* The pidfd goes where the tid would. */
    if ((flags & CLONE_PIDFD) && (flags & (CLONE_PARENT_SETTID | CLONE_DETACHED))) {
        return -EINVAL;
    }
    return do_clone(current, &params, parent_tid);
}

/* The structure of clone3(2), which may grow: what we do not know must be zero. */
static int fetch_clone_args(struct task *current, struct clone_args *args, struct user_address from,
                            size_t size) {
    uint8_t rest[PAGE_SIZE];

    if (size < CLONE_ARGS_SIZE_VER0) {
        return -EINVAL;
    }
    if (size > PAGE_SIZE) {
        return -E2BIG;
    }
    memset(args, 0, sizeof(*args));
    if (copy_from_user(current->thread, rest, from, size)) {
        return -EFAULT;
    }
    memcpy(args, rest, MIN(size, sizeof(*args)));
    for (size_t i = sizeof(*args); i < size; i++) {
        if (rest[i]) {
            return -E2BIG;
        }
    }
    return 0;
}

static int check_clone_args(const struct clone_args *args, size_t size) {
    const uint64_t known = 0xffffffffULL | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;

    if ((args->flags & ~known) || (args->flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))) ||
        args->exit_signal > SIGNAL_MAX ||
        ((args->flags & (CLONE_THREAD | CLONE_PARENT)) && args->exit_signal) ||
        (args->stack == 0) != (args->stack_size == 0) || args->stack > USER_TASK_SIZE ||
        args->stack_size > USER_TASK_SIZE - args->stack ||
        (args->set_tid == 0) != (args->set_tid_size == 0) || args->set_tid_size > 32) {
        return -EINVAL;
    }
    if (args->flags & CLONE_INTO_CGROUP) {
        return size < CLONE_ARGS_SIZE_VER2
                   ? -EINVAL
                   : unsupported_flags("clone3", args->flags, known & ~CLONE_INTO_CGROUP, EINVAL);
    }
    if (args->set_tid) {
        log_once(LOG_WARN, "clone3", 0, "clone3: choosing the pid (set_tid) is not supported");
        return -EINVAL;
    }
    return 0;
}

int64_t sys_clone3(struct task *current, struct user_address cl_args, size_t size) {
    struct clone_args args;
    struct clone_params params;
    int result = fetch_clone_args(current, &args, cl_args, size);

    if (result == 0) {
        result = check_clone_args(&args, size);
    }
    if (result) {
        return result;
    }
    params = (struct clone_params){
        .flags = args.flags,
        .exit_signal = (int)args.exit_signal,
        .stack = args.stack ? args.stack + args.stack_size : 0,
        .tls = args.tls,
        .parent_tid = user_address(args.parent_tid),
        .child_tid = user_address(args.child_tid),
    };
    return do_clone(current, &params, user_address(args.pidfd));
}

int64_t sys_unshare(struct task *current, unsigned long flags) {
    return task_unshare(current, flags);
}

int64_t sys_set_tid_address(struct task *current, struct user_address tidptr) {
    struct slot_told told = host_thread_told(current->thread);

    told.clear_child_tid = tidptr.value;
    host_thread_set_told(current->thread, &told);
    return task_get_tid(current);
}

/* ---- exit and wait ---- */

int64_t sys_exit(struct task *current, int status) {
    task_exit(current, status);
    return 0;
}

int64_t sys_exit_group(struct task *current, int status) {
    task_exit_group(current->thread_group, (status & 0xff) << 8);
    return 0;
}

#define WAIT_KINDS (__WNOTHREAD | __WCLONE | (int)__WALL)

static int put_rusage(struct task *current, struct user_address to, const struct usage *usage) {
    struct rusage rusage;

    if (user_address_is_null(to)) {
        return 0;
    }
    usage_to_rusage(usage, &rusage);
    return put_user(current->thread, rusage, to);
}

int64_t sys_wait4(struct task *current, pid_t pid, struct user_address wstatus, int options,
                  struct user_address rusage) {
    struct wait_result waited;
    struct usage usage = {0};
    idtype_t idtype = P_ALL;
    int result;

    if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | WAIT_KINDS)) {
        return -EINVAL;
    }
    if (pid == INT32_MIN) {
        return -ESRCH;
    }
    if (pid > 0) {
        idtype = P_PID;
    } else if (pid != -1) {
        idtype = P_PGID;
        pid = pid == 0 ? task_get_pgrp(current) : -pid;
    }
    result = task_wait(current, idtype, pid, options | WEXITED, &waited,
                       user_address_is_null(rusage) ? NULL : &usage);
    if (result < 0 || waited.pid == 0) {
        return result;
    }
    if (!user_address_is_null(wstatus) && answer_user(current->thread, waited.status, wstatus)) {
        return -EFAULT;
    }
    result = put_rusage(current, rusage, &usage);
    return result ? result : waited.pid;
}

/* The fields that waitid(2) names; the rest of the siginfo stays as it was. */
static int put_wait_info(struct task *current, struct user_address to,
                         const struct wait_result *waited) {
    struct {
        int signo, error, code;
    } head = {0};
    struct {
        pid_t pid;
        uid_t uid;
        int status;
    } child = {0};
    int status = waited->status;

    if (waited->pid) {
        head.signo = SIGCHLD;
        child.pid = waited->pid;
        child.uid = waited->uid;
        if (status == 0xffff) {
            head.code = CLD_CONTINUED;
            child.status = SIGCONT;
        } else if (WIFSTOPPED(status)) {
            head.code = CLD_STOPPED;
            child.status = WSTOPSIG(status);
        } else if (WIFEXITED(status)) {
            head.code = CLD_EXITED;
            child.status = WEXITSTATUS(status);
        } else {
            head.code = WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
            child.status = WTERMSIG(status);
        }
    }
    if (put_user(current->thread, head, to)) {
        return -EFAULT;
    }
    return put_user(current->thread, child, user_address_add(to, offsetof(siginfo_t, si_pid)));
}

/* P_PIDFD: the process behind the descriptor. */
static int pidfd_to_pid(struct task *current, int fd, pid_t *pid, int *options) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
    struct task *task CLEANUP(task_put) = NULL;

    if (!file) {
        return -EBADF;
    }
    task = pidfd_task(file);
    if (!task) {
        return -EBADF;
    }
    *pid = task_get_pid(task);
    if (atomic_load(&file->flags) & O_NONBLOCK) {
        *options |= WNOHANG;
    }
    return 0;
}

int64_t sys_waitid(struct task *current, int idtype, pid_t id, struct user_address infop,
                   int options, struct user_address rusage) {
    struct wait_result waited = {0};
    struct usage usage = {0};
    int given = options, result = 0;

    if ((options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WAIT_KINDS)) ||
        !(options & (WEXITED | WSTOPPED | WCONTINUED))) {
        return -EINVAL;
    }
    switch (idtype) {
    case P_ALL:
        break;
    case P_PID:
        if (id <= 0) {
            return -EINVAL;
        }
        break;
    case P_PGID:
        if (id < 0) {
            return -EINVAL;
        }
        id = id == 0 ? task_get_pgrp(current) : id;
        break;
    case P_PIDFD:
        if (id < 0) {
            return -EINVAL;
        }
        result = pidfd_to_pid(current, id, &id, &options);
        break;
    default:
        return -EINVAL;
    }
    if (result) {
        return result;
    }
    result = task_wait(current, (idtype_t)idtype, id, options, &waited,
                       user_address_is_null(rusage) ? NULL : &usage);
    if (result == 0 && waited.pid == 0 && !(given & WNOHANG)) {
        result = -EAGAIN; /* only the pidfd's own O_NONBLOCK said not to wait */
    }
    if (waited.pid) {
        result = put_rusage(current, rusage, &usage);
    }
    if (result == 0 && !user_address_is_null(infop)) {
        result = put_wait_info(current, infop, &waited);
    }
    return result;
}

/* ---- ids ---- */

int64_t sys_getpid(struct task *current) {
    return task_get_pid(current);
}

int64_t sys_gettid(struct task *current) {
    return task_get_tid(current);
}

int64_t sys_getppid(struct task *current) {
    return task_get_ppid(current);
}

int64_t sys_getpgrp(struct task *current) {
    return task_get_pgrp(current);
}

int64_t sys_getpgid(struct task *current, pid_t pid) {
    return task_getpgid(current, pid);
}

int64_t sys_setpgid(struct task *current, pid_t pid, pid_t pgid) {
    return task_setpgid(current, pid, pgid);
}

int64_t sys_getsid(struct task *current, pid_t pid) {
    return task_getsid(current, pid);
}

int64_t sys_setsid(struct task *current) {
    return task_setsid(current);
}
