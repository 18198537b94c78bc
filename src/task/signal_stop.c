/*
 * Job control: stop and continue of a whole thread group (signal(7), wait(2), POSIX 11.1).
 *
 * A stop begins when one task takes a stop signal's default action: the group is GROUP_STOPPING,
 * every task is notified and comes to its boundary, where it waits. The last one to arrive makes it
 * GROUP_STOPPED and tells the parent. SIGCONT (when it is sent, not when it is taken) and the
 * group's death end it. Calls that the stop interrupted are restarted unseen (run.c).
 */
#include "task/signal_internal.h"

void signal_stop_begin(struct task *current, int signal, uint32_t continues) {
    struct thread_group *group = current->thread_group;
    struct kernel *kernel = group->kernel;
    struct task *task;

    /* Nobody could continue an orphaned process group: the terminal's stops do nothing there. */
    if (signal != SIGSTOP && process_group_orphaned(kernel, task_get_pgrp(current))) {
        return;
    }
    READ_GUARD(&kernel->pids_lock);
    LOCK_GUARD(&group->signal_lock);
    if (group->exiting || group->pending->continues != continues ||
        group->stop_state != GROUP_RUNNING) {
        return;
    }
    group->stop_state = GROUP_STOPPING;
    group->stop_signal = signal;
    group->stop_reported = false;
    group->continued = false;
    list_for_each_entry (task, &group->tasks, group_link) {
        task->stopped = false;
        if (task != current) {
            task_notify_work(task);
        }
    }
}

void signal_stop_wait(struct task *current) {
    struct thread_group *group = current->thread_group;
    bool last = false;
    int signal = 0;

    rwlock_read_acquire(&group->kernel->pids_lock);
    lock_acquire(&group->signal_lock);
    if (group->stop_state == GROUP_RUNNING || current->killed) {
        lock_release(&group->signal_lock);
        rwlock_read_release(&group->kernel->pids_lock);
        return;
    }
    current->stopped = true;
    if (group->stop_state == GROUP_STOPPING) {
        struct task *task;

        last = true;
        list_for_each_entry (task, &group->tasks, group_link) {
            last = last && task->stopped;
        }
        if (last) {
            group->stop_state = GROUP_STOPPED;
            signal = group->stop_signal;
        }
    }
    lock_release(&group->signal_lock);
    if (last) {
        signal_notify_parent_locked(group, CLD_STOPPED, signal);
    }
    rwlock_read_release(&group->kernel->pids_lock);

    /* Whatever wakes it, the boundary looks again at everything. */
    atomic_store(&current->state, TASK_STOPPED);
    int woken UNUSED = wait_sleep(WAIT_FOREVER);
    atomic_store(&current->state, TASK_RUNNING);
}

int signal_continue_locked(struct thread_group *group) {
    struct task *task;
    int code;

    group->pending->continues++;
    if (group->stop_state == GROUP_RUNNING) {
        return 0;
    }
    /* Cut off before the stop was complete: Linux tells the parent of the stop alone. */
    code = group->stop_state == GROUP_STOPPED ? CLD_CONTINUED : CLD_STOPPED;
    group->stop_state = GROUP_RUNNING;
    group->stop_reported = true;
    group->continued = code == CLD_CONTINUED;
    list_for_each_entry (task, &group->tasks, group_link) {
        task->stopped = false;
        task_notify_work(task);
    }
    return code;
}

void signal_notify_parent_locked(struct thread_group *group, int code, int status) {
    struct thread_group *parent = group->parent;
    struct signal_info info = {.signal = SIGCHLD, .code = code};
    struct user_sigaction action;
    struct task *task;

    if (!parent) {
        if (code == CLD_STOPPED && group == group->kernel->init && group->kernel->init_stopped) {
            group->kernel->init_stopped(status);
        }
        return;
    }
    info.info.si_pid = group->leader;
    info.info.si_status = status;
    if (!list_empty(&group->tasks)) {
        task = list_first_entry(&group->tasks, struct task, group_link);
        struct credentials *creds CLEANUP(credentials_put) = task_creds(task);
        info.info.si_uid = creds->uid;
    }
    signal_get_action(parent, SIGCHLD, &action);
    if (action.handler != HANDLER_IGNORE && !(action.flags & SA_NOCLDSTOP)) {
        int sent UNUSED =
            signal_send_group_locked(parent, &info); /* a full queue: the wait below tells */
    }
    wait_queue_wake(&parent->child_wait, 0);
}
