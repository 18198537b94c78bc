/*
 * task_wait: wait4(2) and waitid(2). A parent looks through its zombies and children under
 * pids_lock; whatever changes in a child wakes the parent's child_wait. Taking a zombie ends its
 * record: what it used becomes the parent's children_usage, its id is free again.
 */
#include "task/task_internal.h"

static bool matches_id(const struct thread_group *group, idtype_t idtype, pid_t id) {
    switch (idtype) {
    case P_PID:
    case P_PIDFD:
        return group->leader == id;
    case P_PGID:
        return group->process_group && group->process_group->id == id;
    default:
        return true;
    }
}

/* waitpid(2), "Linux notes": clone children are those that do not send SIGCHLD. */
static bool is_eligible(const struct task *current, const struct thread_group *group,
                        const struct task *leader, idtype_t idtype, pid_t id, int options) {
    bool clone_child = group->exit_signal != SIGCHLD;

    if (!matches_id(group, idtype, id)) {
        return false;
    }
    if ((options & __WNOTHREAD) && leader && leader->parent != current->id) {
        return false;
    }
    return (options & __WALL) || clone_child == ((options & __WCLONE) != 0);
}

static struct task *leader_of(const struct thread_group *group) {
    struct pid_entry *entry = pid_table_find(group->kernel->pids, group->leader);

    return entry ? entry->task : NULL;
}

static void fill_result(const struct thread_group *group, uid_t uid, int status,
                        struct wait_result *result) {
    result->pid = group->leader;
    result->uid = uid;
    result->status = status;
}

static void take_zombie(struct thread_group *self, struct zombie *zombie, bool keep,
                        struct wait_result *result) {
    fill_result(zombie->group, zombie->uid, zombie->status, result);
    if (!keep) {
        usage_inherit(zombie->group, self);
        zombie_reap_locked(zombie);
    }
}

/* A child that runs: has it stopped or continued since somebody asked? */
static bool take_news(struct thread_group *group, int options, struct wait_result *result) {
    bool keep = options & WNOWAIT, found = false;
    struct task *leader = leader_of(group);
    int status = 0;

    lock_acquire(&group->signal_lock);
    if ((options & WUNTRACED) && group->stop_state == GROUP_STOPPED && !group->stop_reported) {
        status = (group->stop_signal << 8) | 0x7f;
        group->stop_reported = !keep;
        found = true;
    } else if ((options & WCONTINUED) && group->continued) {
        status = 0xffff;
        group->continued = keep;
        found = true;
    }
    lock_release(&group->signal_lock);
    if (found) {
        struct credentials *creds CLEANUP(credentials_put) = leader ? task_creds(leader) : NULL;

        fill_result(group, creds ? creds->uid : 0, status, result);
    }
    return found;
}

/* What is done with a zombie that was found when the lock is no more held. */
struct taken {
    struct zombie *reaped;
    struct thread_group *group; /* owned */
};

/* 1: found; 0: there are such children but no news; -ECHILD: there are none. */
static int look(struct task *current, idtype_t idtype, pid_t id, int options,
                struct wait_result *result, struct taken *taken) {
    struct thread_group *self = current->thread_group, *child;
    struct zombie *zombie;
    bool any = false;

    WRITE_GUARD(&self->kernel->pids_lock);
    list_for_each_entry (zombie, &self->zombies, link) {
        /* Who does not ask for the dead has no such child: it will never stop or continue. */
        if ((options & WEXITED) &&
            is_eligible(current, zombie->group, zombie->leader, idtype, id, options)) {
            take_zombie(self, zombie, options & WNOWAIT, result);
            taken->group = thread_group_get(zombie->group);
            taken->reaped = options & WNOWAIT ? NULL : zombie;
            return 1;
        }
    }
    list_for_each_entry (child, &self->children, sibling_link) {
        if (!is_eligible(current, child, leader_of(child), idtype, id, options)) {
            continue;
        }
        any = true;
        if (take_news(child, options, result)) {
            return 1;
        }
    }
    return any ? 0 : -ECHILD;
}

int task_wait(struct task *current, idtype_t idtype, pid_t id, int options,
              struct wait_result *result, struct usage *usage) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    struct taken taken = {0};
    int found;

    memset(result, 0, sizeof(*result));
    if (usage) {
        memset(usage, 0, sizeof(*usage));
    }
    wait_queue_add(&current->thread_group->child_wait, &entry);
    for (;;) {
        found = look(current, idtype, id, options, result, &taken);
        if (found != 0 || (options & WNOHANG)) {
            break;
        }
        found = wait_sleep(WAIT_FOREVER);
        if (found) {
            /* The signal may be the very SIGCHLD of the child that we wait for: then it was no
             * interruption, and the handler runs after we have the child. */
            int now = look(current, idtype, id, options, result, &taken);

            found = now ? now : found;
            break;
        }
    }
    wait_queue_remove(&entry);
    if (taken.group) {
        if (usage) {
            thread_group_whole_usage(taken.group, usage);
        }
        thread_group_put(taken.group);
    }
    if (taken.reaped) {
        zombie_free(taken.reaped);
    }
    return found < 0 ? found : 0;
}
