/*
 * usage: what a process has used, getrusage(2): by its present host process, by those that it had
 * before (exec), and by the children that it has waited for.
 *
 * When a group leaves a host process (exec, exit), it asks the host at once for the time that was
 * used. What is known of the memory, faults and resident size, stands in a file of the host's /proc
 * and costs as much as the rest of an exit: that is settled aside (host_job_aside), and then the
 * process is killed. So these figures come late. `unsettled` counts what is yet to come to a group
 * and to its waited-for children, and who asks for figures waits for it. Who has waited for a group
 * before it was settled is its heir: the figures go to both, and on to the heir's own.
 */
#include "task/task_internal.h"

struct settlement {
    struct host_work work;
    struct thread_group *group;   /* owned */
    struct host_process *process; /* owned */
};

void usage_add(struct usage *to, const struct usage *more) {
    to->user += more->user;
    to->system += more->system;
    to->minor_faults += more->minor_faults;
    to->major_faults += more->major_faults;
    to->max_rss = MAX(to->max_rss, more->max_rss);
}

/* One that has gone has no figures any more. */
static void time_usage(struct host_process *process, struct usage *usage) {
    if (host_process_cpu_time(process, &usage->user, &usage->system)) {
        usage->user = usage->system = 0;
    }
}

static void memory_usage(struct host_process *process, struct usage *usage) {
    if (host_process_memory(process, &usage->max_rss, &usage->minor_faults, &usage->major_faults)) {
        usage->max_rss = usage->minor_faults = usage->major_faults = 0;
    }
}

static void kill_process(struct thread_group *group, struct host_process *process) {
    int result = host_process_kill(process);

    if (result) {
        log_line(LOG_WARN, "killing the host process of process %d failed: %s", group->leader,
                 strerror(-result));
    }
}

/* ---- settling ---- */

static void add_unsettled_locked(struct thread_group *group, int count) {
    group->unsettled += count;
    if (count && group->unsettled == 0) {
        wait_queue_wake(&group->settled, 0);
    }
}

static void settle(struct host_work *work) {
    struct settlement *settlement = container_of(work, struct settlement, work);
    struct thread_group *group = settlement->group;
    struct usage memory = {0}, *to = &group->dead_usage;

    memory_usage(settlement->process, &memory);
    kill_process(group, settlement->process);
    host_process_put(settlement->process);
    free(settlement);
    while (group) {
        struct thread_group *heir;

        lock_acquire(&group->signal_lock);
        usage_add(to, &memory);
        add_unsettled_locked(group, -1);
        heir = group->heir ? thread_group_get(group->heir) : NULL;
        lock_release(&group->signal_lock);
        thread_group_put(group);
        group = heir;
        to = heir ? &heir->children_usage : NULL;
    }
}

static void settle_aside(struct settlement *settlement) {
    if (!host_job_aside(settlement->group->kernel->job, &settlement->work)) {
        settle(&settlement->work);
    }
}

void thread_group_account(struct thread_group *group) {
    struct host_process *process = thread_group_process(group);
    struct settlement *settlement = malloc(sizeof(*settlement)), *before;
    struct usage usage = {0};

    time_usage(process, &usage);
    if (settlement) {
        *settlement = (struct settlement){.work.fn = settle,
                                          .group = thread_group_get(group),
                                          .process = host_process_get(process)};
    } else {
        memory_usage(process, &usage);
    }
    lock_acquire(&group->signal_lock);
    if (!group->accounted) {
        usage_add(&group->dead_usage, &usage);
        group->accounted = true;
        before = group->settlement;
        group->settlement = settlement;
        add_unsettled_locked(group, settlement ? 1 : 0);
        settlement = NULL;
    } else {
        before = NULL;
    }
    lock_release(&group->signal_lock);
    if (before) {
        settle_aside(before);
    }
    if (settlement) {
        thread_group_put(settlement->group);
        host_process_put(settlement->process);
        free(settlement);
    }
    host_process_put(process);
}

void thread_group_kill_process(struct thread_group *group, struct host_process *process) {
    struct settlement *settlement;

    lock_acquire(&group->signal_lock);
    settlement = group->settlement && group->settlement->process == process
                     ? STEAL(group->settlement)
                     : NULL;
    lock_release(&group->signal_lock);
    if (settlement) {
        settle_aside(settlement);
    } else {
        kill_process(group, process);
    }
}

void thread_group_await_settled(struct thread_group *group) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int unsettled;

    wait_queue_add(&group->settled, &entry);
    for (;;) {
        lock_acquire(&group->signal_lock);
        unsettled = group->unsettled;
        lock_release(&group->signal_lock);
        if (unsettled == 0) {
            break;
        }
        (void)!wait_sleep_uninterruptible(WAIT_FOREVER);
    }
    wait_queue_remove(&entry);
}

/* ---- whose figures ---- */

void usage_inherit(struct thread_group *group, struct thread_group *heir) {
    struct usage usage;
    int unsettled;

    lock_acquire(&group->signal_lock);
    usage = group->dead_usage;
    usage_add(&usage, &group->children_usage);
    unsettled = group->unsettled;
    if (unsettled) {
        group->heir = thread_group_get(heir);
    }
    lock_release(&group->signal_lock);
    lock_acquire(&heir->signal_lock);
    usage_add(&heir->children_usage, &usage);
    add_unsettled_locked(heir, unsettled);
    lock_release(&heir->signal_lock);
}

void thread_group_whole_usage(struct thread_group *group, struct usage *usage) {
    thread_group_await_settled(group);
    LOCK_GUARD(&group->signal_lock);
    *usage = group->dead_usage;
    usage_add(usage, &group->children_usage);
}

void thread_group_usage(struct thread_group *group, struct usage *usage) {
    struct host_process *process = thread_group_process(group);
    struct usage live = {0};

    time_usage(process, &live);
    memory_usage(process, &live);
    lock_acquire(&group->signal_lock);
    *usage = group->dead_usage;
    if (!group->accounted) {
        usage_add(usage, &live);
    }
    lock_release(&group->signal_lock);
    host_process_put(process);
}

void task_usage(struct task *task, struct usage *usage) {
    struct host_thread *thread = task_thread(task);

    memset(usage, 0, sizeof(*usage));
    if (thread) {
        if (host_thread_cpu_time(thread, &usage->user, &usage->system)) {
            usage->user = usage->system = 0;
        }
        host_thread_put(thread);
    }
}
