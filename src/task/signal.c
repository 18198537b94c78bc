/*
 * Signals: the whole, and how a task takes one.
 *
 * Guest signals exist only in the kernel. A signal that is sent (signal_send.c) joins a queue, the
 * thread's or the group's (signal_queue.c), under the group's signal_lock; then a task that may
 * take it, by its mask (signal_blocked.c), is notified: its work flag is set, its sleep
 * interrupted, its host thread kicked out of user mode. The task takes the signal at its user
 * boundary (run.c), by signal_next(), and does what the action says (signal_action.c).
 *
 * Locks: kernel->pids_lock (members of the group) before signal_lock before an action table's lock.
 * Sending takes pids_lock for reading; the _locked forms are for callers that hold it.
 *
 * Differences from Linux: RLIMIT_SIGPENDING is counted per thread group, not per user; the first
 * program of the sandbox has no init's immunity.
 */
#include "task/signal_internal.h"

static signal_trace_fn *trace_hook;
static signal_untaken_fn *untaken_hook;

void signal_set_trace(signal_trace_fn *trace, signal_untaken_fn *untaken) {
    trace_hook = trace;
    untaken_hook = untaken;
}

void signal_report_untaken(pid_t tid, const struct signal_info *info) {
    if (untaken_hook) {
        untaken_hook(tid, info);
    }
}

/* ---- notifying ---- */

void task_notify_work(struct task *task) {
    atomic_store(&task->work, true);
    LOCK_GUARD(&task->lock);
    if (task->waiter) {
        waiter_interrupt(task->waiter);
    }
    /* A task that notifies itself is on its way to the boundary already. */
    if (task->thread && task != current_task()) {
        host_thread_kick(task->thread);
    }
}

/* How long the threads of a group that ends have to come in by themselves, in ns. */
#define EXIT_GRACE_NS 2000000000

void signal_group_exit_both_locked(struct thread_group *group, int wait_status) {
    struct task *task;
    bool others = false;

    if (!group->exiting) {
        group->exiting = true;
        group->exit_status = wait_status;
    }
    group->stop_state = GROUP_RUNNING;
    list_for_each_entry (task, &group->tasks, group_link) {
        task->killed = true;
        task->stopped = false;
        task_notify_work(task);
        others |= task != current_task();
    }
    if (others) {
        host_process_kill_by(group->process, host_clock_monotonic() + EXIT_GRACE_NS);
    }
}

void signal_group_exit_locked(struct thread_group *group, int wait_status) {
    LOCK_GUARD(&group->signal_lock);
    signal_group_exit_both_locked(group, wait_status);
}

void signal_task_left(struct task *left) {
    struct thread_group *group = left->thread_group;
    struct task *task;
    kernel_sigset signals;
    bool stopped = false;
    int signal = 0;

    READ_GUARD(&group->kernel->pids_lock);
    lock_acquire(&group->signal_lock);
    signal_discard_locked(group, left->pending, ~0ULL);
    for (signals = group->pending->set; signals; signals &= signals - 1) {
        task = signal_choose_locked(group, __builtin_ctzll(signals) + 1);
        if (task) {
            task_notify_work(task);
        }
    }
    if (group->stop_state == GROUP_STOPPING && !list_empty(&group->tasks)) {
        stopped = true;
        list_for_each_entry (task, &group->tasks, group_link) {
            stopped = stopped && task->stopped;
        }
        if (stopped) {
            group->stop_state = GROUP_STOPPED;
            signal = group->stop_signal;
        }
    }
    lock_release(&group->signal_lock);
    if (stopped) {
        signal_notify_parent_locked(group, CLD_STOPPED, signal);
    }
}

/* ---- taking at the boundary ---- */

enum signal_verdict signal_next(struct task *current, struct signal_info *info,
                                struct user_sigaction *action) {
    struct thread_group *group = current->thread_group;

    for (;;) {
        uint32_t continues;
        int signal;

        lock_acquire(&group->signal_lock);
        if (current->killed || group->exiting) {
            lock_release(&group->signal_lock);
            return SIGNAL_EXIT;
        }
        if (current->vfork_wait) {
            /* The child runs on this task's stack: only death may come between (vfork(2)). */
            lock_release(&group->signal_lock);
            return SIGNAL_NOTHING;
        }
        if (group->stop_state != GROUP_RUNNING) {
            lock_release(&group->signal_lock);
            return SIGNAL_STOP;
        }
        if (!signal_dequeue_locked(current, ~signal_mask_locked(current), info)) {
            lock_release(&group->signal_lock);
            return SIGNAL_NOTHING;
        }
        signal = info->signal;
        continues = group->pending->continues;
        *action = signal_action_locked(group, signal);
        if (action->handler > HANDLER_IGNORE && (action->flags & SA_RESETHAND)) {
            lock_acquire(&group->actions->lock);
            group->actions->actions[signal - 1].handler = HANDLER_DEFAULT;
            lock_release(&group->actions->lock);
        }
        lock_release(&group->signal_lock);

        if (trace_hook && !signal_action_ignores(action, signal)) {
            trace_hook(current, info);
        }
        if (action->handler > HANDLER_IGNORE) {
            return SIGNAL_HANDLER;
        }
        if (signal_action_ignores(action, signal)) {
            continue;
        }
        if (SIGNALS_STOP & SIGNAL_BIT(signal)) {
            signal_stop_begin(current, signal, continues);
            continue;
        }
        READ_GUARD(&group->kernel->pids_lock);
        signal_group_exit_locked(group, signal);
    }
}
