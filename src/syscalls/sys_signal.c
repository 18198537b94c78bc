/*
 * Signals: actions, masks, sending, waiting (sigaction(2), sigprocmask(2), kill(2), tgkill(2),
 * rt_sigqueueinfo(2), sigtimedwait(2), sigsuspend(2), sigaltstack(2), sigreturn(2)).
 */
#include "syscalls/syscalls.h"

/* What Linux keeps of sa_flags (UAPI_SA_FLAGS and SA_RESTORER): the rest reads back as zero, which
 * is how programs probe for support. */
#define SIGACTION_RESTORER 0x04000000
#define SIGACTION_FLAGS                                                                            \
    (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |             \
     (unsigned)SA_RESETHAND | SIGACTION_RESTORER)

static bool signal_valid(int signal) {
    return signal >= 0 && signal <= SIGNAL_MAX;
}

static int get_sigset(struct task *current, kernel_sigset *set, struct user_address from,
                      size_t size) {
    if (size != sizeof(*set)) {
        return -EINVAL;
    }
    return get_user(current->thread, *set, from);
}

int64_t sys_rt_sigaction(struct task *current, int signum, struct user_address act,
                         struct user_address oldact, size_t sigsetsize) {
    struct user_sigaction new_action, old_action;
    bool set = !user_address_is_null(act);
    int result;

    if (sigsetsize != sizeof(kernel_sigset)) {
        return -EINVAL;
    }
    if (set) {
        result = get_user(current->thread, new_action, act);
        if (result < 0) {
            return result;
        }
        new_action.flags &= SIGACTION_FLAGS;
    }
    result =
        signal_set_action(current->thread_group, signum, set ? &new_action : NULL, &old_action);
    if (result < 0 || user_address_is_null(oldact)) {
        return result;
    }
    return answer_user(current->thread, old_action, oldact);
}

int64_t sys_rt_sigprocmask(struct task *current, int how, struct user_address set,
                           struct user_address oldset, size_t sigsetsize) {
    kernel_sigset old = signal_get_mask(current), new;
    int result;

    if (sigsetsize != sizeof(kernel_sigset)) {
        return -EINVAL;
    }
    if (!user_address_is_null(set)) {
        result = get_user(current->thread, new, set);
        if (result < 0) {
            return result;
        }
        switch (how) {
        case SIG_BLOCK:
            new |= old;
            break;
        case SIG_UNBLOCK:
            new = old & ~new;
            break;
        case SIG_SETMASK:
            break;
        default:
            return -EINVAL;
        }
        signal_set_mask(current, new);
    }
    return user_address_is_null(oldset) ? 0 : answer_user(current->thread, old, oldset);
}

int64_t sys_rt_sigpending(struct task *current, struct user_address set, size_t sigsetsize) {
    kernel_sigset pending = signal_pending_set(current) & signal_get_mask(current);

    /* Linux lets old programs ask for less. */
    if (sigsetsize > sizeof(pending)) {
        return -EINVAL;
    }
    return copy_to_user(current->thread, set, &pending, sigsetsize);
}

int64_t sys_rt_sigreturn(struct task *current) {
    signal_return(current);
    return 0; /* the registers are complete: run.c leaves them alone */
}

int64_t sys_restart_syscall(struct task *current) {
    /* A restart happens within the kernel: a guest that makes this call has nothing to restart. */
    return -EINTR;
}

/* ---- waiting ---- */

int64_t sys_pause(struct task *current) {
    int result;

    do {
        result = wait_sleep(WAIT_FOREVER);
    } while (result == 0);
    return -ERESTARTNOHAND;
}

int64_t sys_rt_sigsuspend(struct task *current, struct user_address mask, size_t sigsetsize) {
    kernel_sigset set;
    int result = get_sigset(current, &set, mask, sigsetsize);

    if (result < 0) {
        return result;
    }
    signal_set_temporary_mask(current, set);
    return sys_pause(current);
}

/* 0: *info is set; else -EAGAIN at the deadline, or an interruption. */
static int wait_for_signal(struct task *current, kernel_sigset set, struct signal_info *info,
                           deadline_ns deadline) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    wait_queue_add(signal_wait_queue(current->thread_group), &entry);
    while (!signal_dequeue(current, set, info)) {
        if (result) {
            break;
        }
        result = wait_sleep(deadline);
    }
    wait_queue_remove(&entry);
    if (info->signal) {
        return 0;
    }
    if (result == -ETIMEDOUT) {
        return -EAGAIN;
    }
    /* sigtimedwait(2) fails with EINTR even after a stop (signal(7)); only what no signal caused
     * goes unseen. */
    return signal_pending(current) ? -EINTR : -ERESTARTNOHAND;
}

int64_t sys_rt_sigtimedwait(struct task *current, struct user_address set, struct user_address info,
                            struct user_address timeout, size_t sigsetsize) {
    kernel_sigset wanted;
    struct signal_info taken = {0};
    struct timespec limit;
    deadline_ns deadline = WAIT_FOREVER;
    siginfo_t user;
    int result = get_sigset(current, &wanted, set, sigsetsize);

    if (result < 0) {
        return result;
    }
    if (!user_address_is_null(timeout)) {
        result = get_user(current->thread, limit, timeout);
        if (result < 0) {
            return result;
        }
        if (!timespec_valid(&limit)) {
            return -EINVAL;
        }
        deadline = task_call_deadline(current, timespec_to_ns(&limit));
    }
    result = wait_for_signal(current, wanted, &taken, deadline);
    if (result < 0) {
        return result;
    }
    if (!user_address_is_null(info)) {
        signal_info_to_user(&taken, &user);
        result = put_user(current->thread, user, info);
        if (result < 0) {
            return result;
        }
    }
    return taken.signal;
}

/* ---- sending ---- */

/* Signal 0 only checks. */
static int send_checked(struct task *current, struct task *target, const struct signal_info *info,
                        bool to_thread) {
    if (!task_may_signal(current, target, info->signal)) {
        return -EPERM;
    }
    if (info->signal == 0) {
        return 0;
    }
    return to_thread ? signal_send_task(target, info)
                     : signal_send_group(target->thread_group, info);
}

/* To every process of process group `pgrp`, or (-1) to every one but the init and the caller's own.
 * kill(2): done when at least one could be signalled. */
static int kill_many(struct task *current, pid_t pgrp, const struct signal_info *info) {
    struct task **tasks = kernel_tasks(current->thread_group->kernel, true);
    int result = -ESRCH;

    if (!tasks) {
        return -ENOMEM;
    }
    for (size_t i = 0; tasks[i]; i++) {
        struct task *task CLEANUP(task_put) = tasks[i];
        bool wanted = pgrp == -1
                          ? task_get_pid(task) > 1 && task->thread_group != current->thread_group
                          : task_get_pgrp(task) == pgrp;

        if (wanted) {
            int sent = send_checked(current, task, info, false);

            if (result == -ESRCH || sent == 0) {
                result = sent;
            }
        }
    }
    free(tasks);
    return result;
}

int64_t sys_kill(struct task *current, pid_t pid, int sig) {
    struct kernel *kernel = current->thread_group->kernel;
    struct signal_info info;

    if (!signal_valid(sig)) {
        return -EINVAL;
    }
    signal_info_user(&info, sig, SI_USER, current);
    if (pid > 0) {
        struct task *target CLEANUP(task_put) = kernel_get_task(kernel, pid);

        return target ? send_checked(current, target, &info, false) : -ESRCH;
    }
    if (pid == INT32_MIN) {
        return -ESRCH;
    }
    return kill_many(current, pid == 0 ? task_get_pgrp(current) : pid == -1 ? -1 : -pid, &info);
}

/* tgid 0: whatever group (tkill). */
static int64_t send_to_thread(struct task *current, pid_t tgid, pid_t tid,
                              const struct signal_info *info) {
    struct task *target CLEANUP(task_put) = kernel_get_task(current->thread_group->kernel, tid);

    if (!target || (tgid && task_get_pid(target) != tgid)) {
        return -ESRCH;
    }
    return send_checked(current, target, info, true);
}

int64_t sys_tgkill(struct task *current, pid_t tgid, pid_t tid, int sig) {
    struct signal_info info;

    if (tgid <= 0 || tid <= 0 || !signal_valid(sig)) {
        return -EINVAL;
    }
    signal_info_user(&info, sig, SI_TKILL, current);
    return send_to_thread(current, tgid, tid, &info);
}

int64_t sys_tkill(struct task *current, pid_t tid, int sig) {
    struct signal_info info;

    if (tid <= 0 || !signal_valid(sig)) {
        return -EINVAL;
    }
    signal_info_user(&info, sig, SI_TKILL, current);
    return send_to_thread(current, 0, tid, &info);
}

/* The guest's siginfo for a signal to `target`; only to itself may it claim to come from the kernel
 * or from kill(). */
static int get_siginfo(struct task *current, struct signal_info *info, pid_t target, int sig,
                       struct user_address from) {
    siginfo_t user;
    int result = get_user(current->thread, user, from);

    if (result < 0) {
        return result;
    }
    if (!signal_valid(sig)) {
        return -EINVAL;
    }
    if ((user.si_code >= 0 || user.si_code == SI_TKILL) && target != task_get_pid(current)) {
        return -EPERM;
    }
    *info = (struct signal_info){
        .signal = sig, .code = user.si_code, .error = user.si_errno, .info = user};
    return 0;
}

int64_t sys_rt_sigqueueinfo(struct task *current, pid_t pid, int sig, struct user_address info) {
    struct signal_info queued;
    int result = get_siginfo(current, &queued, pid, sig, info);

    if (result < 0) {
        return result;
    }
    struct task *target CLEANUP(task_put) = kernel_get_task(current->thread_group->kernel, pid);

    return target ? send_checked(current, target, &queued, false) : -ESRCH;
}

int64_t sys_rt_tgsigqueueinfo(struct task *current, pid_t tgid, pid_t tid, int sig,
                              struct user_address info) {
    struct signal_info queued;
    int result;

    if (tgid <= 0 || tid <= 0) {
        return -EINVAL;
    }
    result = get_siginfo(current, &queued, tgid, sig, info);
    return result < 0 ? result : send_to_thread(current, tgid, tid, &queued);
}

/* ---- alternate stack ---- */

int64_t sys_sigaltstack(struct task *current, struct user_address ss, struct user_address old_ss) {
    struct user_sigaltstack old = signal_stack_get(current), new;
    uint64_t sp = host_thread_regs(current->thread)->rsp;
    int result;

    if (signal_on_stack(&old, sp)) {
        old.flags |= SS_ONSTACK;
    }
    if (!user_address_is_null(ss)) {
        result = get_user(current->thread, new, ss);
        result = result < 0 ? result : signal_stack_set(current, &new, sp, SIGNAL_STACK_MIN);
        if (result < 0) {
            return result;
        }
    }
    return user_address_is_null(old_ss) ? 0 : answer_user(current->thread, old, old_ss);
}
