/*
 * Masks (sigprocmask(2), sigsuspend(2)): which signals a task does not take now, and so whether one
 * that waits is to interrupt it.
 */
#include "task/signal_internal.h"

/*
 * A running task's mask is in its host thread's slot, where the stub changes it too: every look
 * goes there, and is one value. So that no signal falls between a look here and a change there, it
 * is first published as pending (publish_locked), then looked at; the stub changes, then looks at
 * what is published.
 */
kernel_sigset signal_mask_locked(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->thread ? host_thread_signal_mask(task->thread) & ~SIGNAL_UNMASKABLE
                        : task->signal_mask;
}

void signal_store_mask_locked(struct task *task, kernel_sigset mask) {
    LOCK_GUARD(&task->lock);

    task->signal_mask = mask;
    if (task->thread) {
        host_thread_set_signal_mask(task->thread, mask);
    }
}

static void may_pend_locked(struct task *task, kernel_sigset signals) {
    LOCK_GUARD(&task->lock);

    if (task->thread) {
        host_thread_may_pend(task->thread, signals);
    }
}

void signal_publish_locked(struct thread_group *group, struct task *task, kernel_sigset signals) {
    if (task) {
        may_pend_locked(task, signals);
        return;
    }
    list_for_each_entry (task, &group->tasks, group_link) {
        may_pend_locked(task, signals);
    }
}

void signal_publish_pending_locked(struct task *task) {
    kernel_sigset pending = task->thread_group->pending->set | task->pending->set;
    LOCK_GUARD(&task->lock);

    if (task->thread) {
        host_thread_set_pending(task->thread, pending);
    }
}

static bool deliverable_locked(struct task *task) {
    struct thread_group *group = task->thread_group;

    return task->killed || group->exiting || group->stop_state != GROUP_RUNNING ||
           ((task->pending->set | group->pending->set) & ~signal_mask_locked(task));
}

/* Signals that would only be forgotten do not count: no call should end for them. */
bool signal_pending(struct task *current) {
    struct thread_group *group = current->thread_group;
    kernel_sigset ready;

    LOCK_GUARD(&group->signal_lock);
    if (current->killed || group->exiting || group->stop_state != GROUP_RUNNING) {
        return true;
    }
    ready = (current->pending->set | group->pending->set) & ~signal_mask_locked(current);
    for (; ready; ready &= ready - 1) {
        int signal = __builtin_ctzll(ready) + 1;
        struct user_sigaction action = signal_action_locked(group, signal);

        if (!signal_action_ignores(&action, signal)) {
            return true;
        }
    }
    return false;
}

kernel_sigset signal_get_mask(struct task *task) {
    LOCK_GUARD(&task->thread_group->signal_lock);
    return signal_mask_locked(task);
}

/* Signals of the group that `current` no longer takes are announced to others that do. */
static void retarget(struct task *current, kernel_sigset signals) {
    struct thread_group *group = current->thread_group;

    READ_GUARD(&group->kernel->pids_lock);
    LOCK_GUARD(&group->signal_lock);
    for (signals &= group->pending->set; signals; signals &= signals - 1) {
        struct task *task = signal_choose_locked(group, __builtin_ctzll(signals) + 1);

        if (task && task != current) {
            task_notify_work(task);
        }
    }
}

/* Sets the mask; the caller holds signal_lock. Returns the group's pending signals that are newly
 * blocked, for retarget(). */
static kernel_sigset set_mask_locked(struct task *current, kernel_sigset mask) {
    struct thread_group *group = current->thread_group;
    kernel_sigset blocked;

    mask &= ~SIGNAL_UNMASKABLE;
    blocked = mask & ~signal_mask_locked(current) & group->pending->set;
    signal_store_mask_locked(current, mask);
    signal_publish_pending_locked(current);
    if (deliverable_locked(current)) {
        task_notify_work(current);
    }
    return blocked;
}

void signal_set_mask(struct task *current, kernel_sigset mask) {
    kernel_sigset blocked;

    lock_acquire(&current->thread_group->signal_lock);
    blocked = set_mask_locked(current, mask);
    lock_release(&current->thread_group->signal_lock);
    if (blocked) {
        retarget(current, blocked);
    }
}

void signal_set_temporary_mask(struct task *current, kernel_sigset mask) {
    kernel_sigset blocked;

    lock_acquire(&current->thread_group->signal_lock);
    if (!current->restore_mask) {
        current->saved_mask = signal_mask_locked(current);
        current->restore_mask = true;
    }
    blocked = set_mask_locked(current, mask);
    lock_release(&current->thread_group->signal_lock);
    if (blocked) {
        retarget(current, blocked);
    }
}

void signal_handler_started(struct task *current, const struct user_sigaction *action, int signal) {
    kernel_sigset mask = signal_get_mask(current) | action->mask;

    if (!(action->flags & SA_NODEFER)) {
        mask |= SIGNAL_BIT(signal);
    }
    current->restore_mask = false;
    signal_set_mask(current, mask);
}
