/*
 * Priorities: getpriority(2), setpriority(2), ioprio_get(2), ioprio_set(2). They are remembered,
 * inherited and reported; the host's schedulers go their own way.
 */
#include "syscalls/sys_priority.h"

#include <linux/ioprio.h>

/* ---- nice ---- */

static int nice_of(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->nice;
}

/* Calls fn for each task that getpriority(2) means. -ESRCH when there is none. */
static int64_t for_each_priority(struct task *current, int which, int who,
                                 int64_t (*fn)(struct task *current, struct task *task,
                                               int64_t so_far, int value),
                                 int value) {
    struct task **tasks;
    int64_t result = -ESRCH;

    if (which < PRIO_PROCESS || which > PRIO_USER) {
        return -EINVAL;
    }
    if (which == PRIO_PROCESS) {
        struct task *task CLEANUP(task_put) =
            who ? kernel_get_task(current->thread_group->kernel, who) : task_get(current);

        return task ? fn(current, task, -ESRCH, value) : -ESRCH;
    }
    if (which == PRIO_PGRP && who == 0) {
        who = task_get_pgrp(current);
    }
    tasks = kernel_tasks(current->thread_group->kernel, false);
    if (!tasks) {
        return -ENOMEM;
    }
    for (size_t i = 0; tasks[i]; i++) {
        struct credentials *creds = task_creds(tasks[i]);

        if (which == PRIO_PGRP ? task_get_pgrp(tasks[i]) == who : creds->uid == (uid_t)who) {
            result = fn(current, tasks[i], result, value);
        }
        credentials_put(creds);
        task_put(tasks[i]);
    }
    free(tasks);
    return result;
}

static int64_t highest(struct task *current, struct task *task, int64_t so_far, int value) {
    return MAX(so_far, 20 - nice_of(task));
}

/* The caller's own user by 0. */
static int user_of(struct task *current, int which, int who) {
    return which == PRIO_USER && who == 0 ? (int)current->creds->uid : who;
}

int64_t sys_getpriority(struct task *current, int which, int who) {
    return for_each_priority(current, which, user_of(current, which, who), highest, 0);
}

bool priority_may_change(struct task *current, struct task *task) {
    const struct credentials *creds = current->creds;
    struct credentials *other CLEANUP(credentials_put) = task_creds(task);

    return creds->euid == other->uid || creds->euid == other->euid ||
           credentials_capable(creds, CAP_SYS_NICE);
}

/* RLIMIT_NICE: the ceiling is 20 - limit. */
bool priority_may_nice(struct task *current, struct task *task, int nice) {
    return nice >= nice_of(task) || credentials_capable(current->creds, CAP_SYS_NICE) ||
           (uint64_t)(20 - nice) <= rlimits_get(&task->thread_group->rlimits, RLIMIT_NICE);
}

static int64_t set_nice(struct task *current, struct task *task, int64_t so_far, int nice) {
    if (!priority_may_change(current, task)) {
        return -EPERM;
    }
    if (!priority_may_nice(current, task, nice)) {
        return -EACCES;
    }
    lock_acquire(&task->lock);
    task->nice = nice;
    lock_release(&task->lock);
    return so_far == -ESRCH ? 0 : so_far;
}

int64_t sys_setpriority(struct task *current, int which, int who, int prio) {
    prio = prio < PRIORITY_NICE_MIN   ? PRIORITY_NICE_MIN
           : prio > PRIORITY_NICE_MAX ? PRIORITY_NICE_MAX
                                      : prio;
    return for_each_priority(current, which, user_of(current, which, who), set_nice, prio);
}

/* ---- of input and output ---- */

/* IOPRIO_WHO_* are PRIO_*, one more each. */
#define WHICH(ioprio_which) ((ioprio_which)-IOPRIO_WHO_PROCESS + PRIO_PROCESS)

/* What it amounts to: without a class of its own, that of its niceness. Smaller is better. */
static int effective_io(struct task *task) {
    LOCK_GUARD(&task->lock);

    if (IOPRIO_PRIO_CLASS(task->io_priority) != IOPRIO_CLASS_NONE) {
        return task->io_priority;
    }
    switch (task->sched_policy) {
    case SCHED_IDLE:
        return IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT;
    case SCHED_FIFO:
    case SCHED_RR:
        return (IOPRIO_CLASS_RT << IOPRIO_CLASS_SHIFT) | (task->nice + 20) / 5;
    default:
        return (IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT) | (task->nice + 20) / 5;
    }
}

/* Of one task what was set; of many the best that they amount to. */
static int64_t best_io(struct task *current, struct task *task, int64_t so_far, int which) {
    int64_t priority = effective_io(task);

    if (which == IOPRIO_WHO_PROCESS) {
        LOCK_GUARD(&task->lock);
        return task->io_priority;
    }
    return so_far == -ESRCH ? priority : MIN(so_far, priority);
}

int64_t sys_ioprio_get(struct task *current, int which, int who) {
    return for_each_priority(current, WHICH(which), who, best_io, which);
}

static int64_t set_io(struct task *current, struct task *task, int64_t so_far, int priority) {
    if (!priority_may_change(current, task)) {
        return -EPERM;
    }
    LOCK_GUARD(&task->lock);
    task->io_priority = priority;
    return so_far == -ESRCH ? 0 : so_far;
}

int64_t sys_ioprio_set(struct task *current, int which, int who, int ioprio) {
    switch (IOPRIO_PRIO_CLASS(ioprio)) {
    case IOPRIO_CLASS_RT:
        if (!credentials_capable(current->creds, CAP_SYS_ADMIN) &&
            !credentials_capable(current->creds, CAP_SYS_NICE)) {
            return -EPERM;
        }
        break;
    case IOPRIO_CLASS_BE:
    case IOPRIO_CLASS_IDLE:
        break;
    case IOPRIO_CLASS_NONE:
        if (IOPRIO_PRIO_DATA(ioprio)) {
            return -EINVAL;
        }
        break;
    default:
        return -EINVAL;
    }
    return for_each_priority(current, WHICH(which), who, set_io, ioprio);
}
