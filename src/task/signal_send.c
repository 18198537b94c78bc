/*
 * Sending: a signal joins a queue, or is dropped, and a task that may take it is told. A signal
 * whose end is the death of the group decides that death here, as Linux's complete_signal() does.
 */
#include "task/signal_internal.h"

/* The caller holds signal_lock. What a stopped task could take waits for SIGCONT, but for SIGKILL.
 */
static bool task_wants(struct task *task, int signal) {
    if (signal == SIGKILL) {
        return !task->killed;
    }
    return !task->killed && task->thread_group->stop_state == GROUP_RUNNING &&
           !(signal_mask_locked(task) & SIGNAL_BIT(signal));
}

/* Would the signal be forgotten if it came now? A blocked one is kept, since the action may change
 * before it is taken; for the group its leader's mask counts, as in Linux. Both locks held. */
static bool dropped_locked(struct thread_group *group, struct task *task, int signal,
                           const struct user_sigaction *action) {
    if (!signal_action_ignores(action, signal)) {
        return false;
    }
    if (!task && !list_empty(&group->tasks)) {
        task = list_first_entry(&group->tasks, struct task, group_link);
    }
    return !task || !(signal_mask_locked(task) & SIGNAL_BIT(signal));
}

struct task *signal_choose_locked(struct thread_group *group, int signal) {
    struct task *task, *any = NULL, *free_one = NULL;

    list_for_each_entry (task, &group->tasks, group_link) {
        if (!task_wants(task, signal)) {
            continue;
        }
        if (task->id == group->leader) {
            return task;
        }
        any = any ? any : task;
        if (!free_one && !atomic_load(&task->work)) {
            free_one = task;
        }
    }
    return free_one ? free_one : any;
}

/* Sends to `task`, or to the group when it is NULL. The caller holds both locks. *notify: the CLD_*
 * code to tell the parent when the locks are gone. `force`: the signal is not dropped. `timer`: 0,
 * or the POSIX timer's number; the result is then an enum signal_timer_result, or -errno. */
static int send_both_locked(struct thread_group *group, struct task *task,
                            const struct signal_info *info, uint64_t timer, bool force,
                            int *notify) {
    int signal = info->signal;
    struct signal_pending *pending = task ? task->pending : group->pending;
    struct user_sigaction action;
    struct task *taker;
    int result;

    if (group->exiting && !force) {
        return timer ? SIGNAL_TIMER_DROPPED : 0;
    }
    if (SIGNALS_STOP & SIGNAL_BIT(signal)) {
        signal_discard_all_locked(group, SIGNAL_BIT(SIGCONT));
    } else if (signal == SIGCONT) {
        signal_discard_all_locked(group, SIGNALS_STOP);
        *notify = signal_continue_locked(group);
    }
    action = signal_action_locked(group, signal);
    signal_publish_locked(group, task, SIGNAL_BIT(signal));
    taker = task ? (task_wants(task, signal) ? task : NULL) : signal_choose_locked(group, signal);
    if (!force && dropped_locked(group, task, signal, &action)) {
        signal_report_untaken(task ? task->id : group->leader, info);
        return timer ? SIGNAL_TIMER_DROPPED : 0;
    }
    if (timer && signal_timer_pending_locked(pending, timer)) {
        return SIGNAL_TIMER_PENDING;
    }
    /* Standard signals coalesce; POSIX timers have an entry each. */
    if (signal < __SIGRTMIN && (pending->set & SIGNAL_BIT(signal)) && !force &&
        info->code != SI_TIMER) {
        return timer ? SIGNAL_TIMER_DROPPED : 0;
    }
    result = signal_enqueue_locked(group, pending, info, timer);
    if (result < 0) {
        return result;
    }
    wait_queue_wake(&group->pending->wait, EPOLLIN);
    if (!taker) {
        return 0;
    }
    if (signal == SIGKILL || signal_action_kills(&action, signal)) {
        if (signal != SIGKILL) {
            signal_report_untaken(taker->id, info);
        }
        signal_group_exit_both_locked(group, signal);
        return 0;
    }
    task_notify_work(taker);
    return 0;
}

/* The same for a caller that holds pids_lock alone. */
static int send_and_notify_locked(struct thread_group *group, struct task *task,
                                  const struct signal_info *info, uint64_t timer) {
    int notify = 0;
    int result;

    lock_acquire(&group->signal_lock);
    result = send_both_locked(group, task, info, timer, false, &notify);
    lock_release(&group->signal_lock);
    if (notify) {
        signal_notify_parent_locked(group, notify, SIGCONT);
    }
    return result;
}

int signal_send_group_locked(struct thread_group *group, const struct signal_info *info) {
    return send_and_notify_locked(group, NULL, info, 0);
}

int signal_send_group(struct thread_group *group, const struct signal_info *info) {
    READ_GUARD(&group->kernel->pids_lock);
    return signal_send_group_locked(group, info);
}

int signal_send_task(struct task *task, const struct signal_info *info) {
    struct thread_group *group = task->thread_group;

    READ_GUARD(&group->kernel->pids_lock);
    return task->exited ? 0 : send_and_notify_locked(group, task, info, 0);
}

enum signal_timer_result signal_send_timer(struct thread_group *group, pid_t tid,
                                           const struct signal_info *info, uint64_t timer) {
    struct task *task, *target = NULL;
    int result;

    READ_GUARD(&group->kernel->pids_lock);
    list_for_each_entry (task, &group->tasks, group_link) {
        if (tid && task->id == tid) {
            target = task;
        }
    }
    if (tid && !target) {
        return SIGNAL_TIMER_DROPPED;
    }
    result = send_and_notify_locked(group, target, info, timer);
    return result < 0 ? SIGNAL_TIMER_DROPPED : (enum signal_timer_result)result;
}

void signal_force(struct task *current, const struct signal_info *info) {
    struct thread_group *group = current->thread_group;
    struct user_sigaction action;
    int notify = 0;

    READ_GUARD(&group->kernel->pids_lock);
    lock_acquire(&group->signal_lock);
    action = signal_action_locked(group, info->signal);
    if ((signal_mask_locked(current) & SIGNAL_BIT(info->signal)) ||
        action.handler == HANDLER_IGNORE) {
        lock_acquire(&group->actions->lock);
        group->actions->actions[info->signal - 1].handler = HANDLER_DEFAULT;
        lock_release(&group->actions->lock);
        signal_store_mask_locked(current, signal_mask_locked(current) & ~SIGNAL_BIT(info->signal));
    }
    if (send_both_locked(group, current, info, 0, true, &notify)) {
        signal_group_exit_both_locked(group, info->signal);
    }
    lock_release(&group->signal_lock);
}

void signal_frame_failed(struct task *current, int signal) {
    struct signal_info info;

    if (signal == SIGSEGV) {
        struct thread_group *group = current->thread_group;

        lock_acquire(&group->signal_lock);
        lock_acquire(&group->actions->lock);
        group->actions->actions[SIGSEGV - 1].handler = HANDLER_DEFAULT;
        lock_release(&group->actions->lock);
        lock_release(&group->signal_lock);
    }
    signal_info_kernel(&info, SIGSEGV);
    signal_force(current, &info);
}
