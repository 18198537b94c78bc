/*
 * Process groups and sessions (credentials(7), setpgid(2), setsid(2)). A process group lives as
 * long as it has members, zombies included; a session as long as it has process groups. Both are in
 * the pid table under their number, which therefore is not given to a new task meanwhile. All is
 * guarded by kernel->pids_lock.
 */
#include "task/task_internal.h"

static void (*hangup_hook)(void *terminal);

void session_set_hangup(void (*hangup)(void *terminal)) {
    hangup_hook = hangup;
}

void session_hangup(void *terminal) {
    if (terminal && hangup_hook) {
        hangup_hook(terminal);
    }
}

static void session_put_locked(struct session *session) {
    struct pid_table *pids = session->kernel->pids;
    struct pid_entry *entry;

    if (--session->count > 0) {
        return;
    }
    entry = pid_table_find(pids, session->id);
    entry->session = NULL;
    pid_table_release(pids, entry);
    free(session);
}

/* A process group of that id in `session` with no member yet. */
static struct process_group *process_group_new_locked(struct kernel *kernel, pid_t id,
                                                      struct session *session) {
    struct process_group *pgrp = calloc(1, sizeof(*pgrp));
    struct pid_entry *entry;

    if (!pgrp) {
        return NULL;
    }
    entry = pid_table_obtain(kernel->pids, id);
    if (!entry) {
        free(pgrp);
        return NULL;
    }
    pgrp->kernel = kernel;
    pgrp->id = id;
    pgrp->session = session;
    session->count++;
    list_init(&pgrp->members);
    entry->process_group = pgrp;
    return pgrp;
}

void process_group_leave_locked(struct thread_group *group) {
    struct process_group *pgrp = STEAL(group->process_group);
    struct pid_entry *entry;

    list_del(&group->process_group_link);
    if (!pgrp || !list_empty(&pgrp->members)) {
        return;
    }
    entry = pid_table_find(pgrp->kernel->pids, pgrp->id);
    entry->process_group = NULL;
    session_put_locked(pgrp->session);
    /* When the session had the same number its end may have freed the entry. */
    entry = pid_table_find(pgrp->kernel->pids, pgrp->id);
    if (entry) {
        pid_table_release(pgrp->kernel->pids, entry);
    }
    free(pgrp);
}

void process_group_join_locked(struct thread_group *group, struct process_group *pgrp) {
    if (group->process_group != pgrp) {
        process_group_leave_locked(group);
        group->process_group = pgrp;
        list_add_tail(&group->process_group_link, &pgrp->members);
        thread_group_publish_locked(group);
    }
}

int process_group_start_locked(struct thread_group *group) {
    struct process_group *pgrp =
        process_group_new_locked(group->kernel, group->leader, group->process_group->session);

    if (!pgrp) {
        return -ENOMEM;
    }
    process_group_join_locked(group, pgrp);
    return 0;
}

int session_start_locked(struct thread_group *group) {
    struct kernel *kernel = group->kernel;
    struct session *session = calloc(1, sizeof(*session));
    struct process_group *pgrp;
    struct pid_entry *entry;

    if (!session) {
        return -ENOMEM;
    }
    session->kernel = kernel;
    session->id = group->leader;
    pgrp = process_group_new_locked(kernel, group->leader, session);
    if (!pgrp) {
        free(session);
        return -ENOMEM;
    }
    entry = pid_table_find(kernel->pids, group->leader);
    entry->session = session;
    process_group_join_locked(group, pgrp);
    return 0;
}

bool process_group_orphaned_locked(struct process_group *pgrp, struct thread_group *ignored) {
    struct thread_group *member;

    list_for_each_entry (member, &pgrp->members, process_group_link) {
        struct thread_group *parent = member->parent;

        if (member == pgrp->kernel->init && member != ignored &&
            pgrp->kernel->init_can_be_continued) {
            return false;
        }
        /* Our init counts as a parent, as the init of a container does: it may be a shell. */
        if (member == ignored || member->dead || !parent) {
            continue;
        }
        if (parent->process_group && parent->process_group != pgrp &&
            parent->process_group->session == pgrp->session) {
            return false;
        }
    }
    return true;
}

void *session_leader_exit_locked(struct thread_group *group) {
    struct session *session = group->process_group ? group->process_group->session : NULL;

    return session && session->id == group->leader ? STEAL(session->terminal) : NULL;
}

static struct process_group *find_group_locked(struct kernel *kernel, pid_t pgid) {
    struct pid_entry *entry = pid_table_find(kernel->pids, pgid);

    return entry ? entry->process_group : NULL;
}

/* setpgid(2) */
int task_setpgid(struct task *current, pid_t pid, pid_t pgid) {
    struct thread_group *self = current->thread_group, *group = self;
    struct kernel *kernel = self->kernel;
    struct pid_entry *entry;
    struct process_group *pgrp;

    WRITE_GUARD(&kernel->pids_lock);
    if (pid < 0 || pgid < 0) {
        return pid < 0 ? -ESRCH : -EINVAL;
    }
    if (pid != 0 && pid != self->leader) {
        entry = pid_table_find(kernel->pids, pid);
        if (entry && entry->task && !entry->thread_group) {
            return -EINVAL; /* a thread that is no leader */
        }
        group = entry ? entry->thread_group : NULL;
        if (!group || group->parent != self) {
            return -ESRCH;
        }
        if (group->process_group->session != self->process_group->session) {
            return -EPERM;
        }
        if (group->did_exec) {
            return -EACCES;
        }
    }
    if (group->process_group->session->id == group->leader) {
        return -EPERM; /* a session leader stays where it is */
    }
    if (pgid == 0) {
        pgid = group->leader;
    }
    pgrp = find_group_locked(kernel, pgid);
    if (pgrp && pgrp->session == group->process_group->session) {
        process_group_join_locked(group, pgrp);
        return 0;
    }
    if (pgrp || pgid != group->leader) {
        return -EPERM;
    }
    return process_group_start_locked(group);
}

/* The group that getpgid(2) and getsid(2) speak of: of any thread of it. */
static struct thread_group *find_target_locked(struct task *current, pid_t pid) {
    struct pid_entry *entry;

    if (pid == 0) {
        return current->thread_group;
    }
    entry = pid_table_find(current->thread_group->kernel->pids, pid);
    if (!entry) {
        return NULL;
    }
    return entry->thread_group ? entry->thread_group
                               : (entry->task ? entry->task->thread_group : NULL);
}

pid_t task_getpgid(struct task *current, pid_t pid) {
    READ_GUARD(&current->thread_group->kernel->pids_lock);
    struct thread_group *group = find_target_locked(current, pid);

    return group && group->process_group ? group->process_group->id : -ESRCH;
}

pid_t task_getsid(struct task *current, pid_t pid) {
    READ_GUARD(&current->thread_group->kernel->pids_lock);
    struct thread_group *group = find_target_locked(current, pid);

    return group && group->process_group ? group->process_group->session->id : -ESRCH;
}

/* setsid(2) */
pid_t task_setsid(struct task *current) {
    struct thread_group *group = current->thread_group;
    int result;

    WRITE_GUARD(&group->kernel->pids_lock);
    if (find_group_locked(group->kernel, group->leader)) {
        return -EPERM;
    }
    result = session_start_locked(group);
    return result ? result : group->leader;
}

int process_group_signal(struct kernel *kernel, pid_t pgid, const struct signal_info *info) {
    READ_GUARD(&kernel->pids_lock);
    struct process_group *pgrp = find_group_locked(kernel, pgid);
    struct thread_group *member;
    int result = -ESRCH;

    if (!pgrp) {
        return -ESRCH;
    }
    list_for_each_entry (member, &pgrp->members, process_group_link) {
        int sent = signal_send_group_locked(member, info);

        if (result) {
            result = sent; /* one success is a success */
        }
    }
    return result;
}

void *session_terminal(struct task *task) {
    READ_GUARD(&task->thread_group->kernel->pids_lock);
    struct process_group *pgrp = task->thread_group->process_group;

    return pgrp ? pgrp->session->terminal : NULL;
}

int session_set_terminal(struct task *task, void *terminal) {
    WRITE_GUARD(&task->thread_group->kernel->pids_lock);
    struct process_group *pgrp = task->thread_group->process_group;

    /* ioctl_tty(2): TIOCSCTTY and TIOCNOTTY of the session are its leader's to call. */
    if (!pgrp || pgrp->session->id != task->thread_group->leader) {
        return -EPERM;
    }
    pgrp->session->terminal = terminal;
    return 0;
}

bool process_group_orphaned(struct kernel *kernel, pid_t pgid) {
    READ_GUARD(&kernel->pids_lock);
    struct process_group *pgrp = find_group_locked(kernel, pgid);

    return !pgrp || process_group_orphaned_locked(pgrp, NULL);
}

bool process_group_in_session(struct kernel *kernel, pid_t pgid, pid_t sid) {
    READ_GUARD(&kernel->pids_lock);
    struct process_group *pgrp = find_group_locked(kernel, pgid);

    return pgrp && pgrp->session->id == sid;
}
