/*
 * thread_group: what POSIX calls a process. It holds its kernel and its host process, knows its
 * tasks weakly, and is the unit of parents, children, wait and signals.
 *
 * Life: made with its first task (task.c); tasks join and leave under pids_lock and signal_lock;
 * when the last leaves, the host process is killed once and the group is dead: its children go to a
 * reaper, and it becomes a zombie that its parent owns until it waits for it, or ends at once when
 * nobody cares. Until then its id stays reserved and it stays a member of its process group. The
 * memory lives as long as anyone holds a reference (each of its tasks does).
 */
#include "task/task_internal.h"

/* Tells a group of the end of its host process; shared by the group and the host's callback, since
 * either may go first. */
struct process_watch {
    struct ref ref;
    struct lock lock;             /* class GROUP_WATCH */
    struct thread_group *group;   /* weak; guarded by lock; NULL: not interested any more */
    struct host_process *process; /* owned; immutable */
};

static void process_watch_put(struct process_watch *watch) {
    if (watch && ref_put(&watch->ref)) {
        host_process_put(watch->process);
        lock_destroy(&watch->lock);
        free(watch);
    }
}

static void process_watch_detach(struct process_watch *watch) {
    if (watch) {
        lock_acquire(&watch->lock);
        watch->group = NULL;
        lock_release(&watch->lock);
        process_watch_put(watch);
    }
}

/* Event thread: out of memory on the host, or killed from outside, is a SIGKILL for the guest. */
static void process_ended(void *arg) {
    struct process_watch *watch = arg;
    struct thread_group *group = NULL;

    lock_acquire(&watch->lock);
    if (watch->group && ref_tryget(&watch->group->ref)) {
        group = watch->group;
    }
    lock_release(&watch->lock);
    if (group) {
        struct host_process *process = thread_group_process(group);

        if (process == watch->process) {
            task_exit_group(group, SIGKILL);
        }
        host_process_put(process);
        thread_group_put(group);
    }
    process_watch_put(watch);
}

int thread_group_watch_process(struct thread_group *group) {
    struct process_watch *watch = calloc(1, sizeof(*watch));

    if (!watch) {
        return -ENOMEM;
    }
    ref_init(&watch->ref);
    ref_get(&watch->ref); /* the callback's */
    lock_init(&watch->lock, LOCK_GROUP_WATCH);
    watch->group = group;
    watch->process = host_process_get(group->process);
    group->watch = watch;
    host_process_on_exit(watch->process, process_ended, watch);
    return 0;
}

struct thread_group *thread_group_new(struct kernel *kernel, struct host_process *process,
                                      pid_t leader, struct signal_action_table *actions) {
    struct thread_group *group = calloc(1, sizeof(*group));

    if (!group) {
        return NULL;
    }
    group->pending = signal_pending_new();
    group->zombie = calloc(1, sizeof(*group->zombie));
    group->timers = posix_timers_new(group);
    if (!group->pending || !group->zombie || !group->timers) {
        if (group->timers) {
            posix_timers_free(group->timers);
        }
        if (group->pending) {
            signal_pending_free(group->pending);
        }
        free(group->zombie);
        free(group);
        return NULL;
    }
    ref_init(&group->ref);
    list_init(&group->zombie->link);
    group->kernel = kernel_get(kernel);
    group->process = host_process_get(process);
    group->leader = leader;
    group->actions = signal_action_table_get(actions);
    list_init(&group->tasks);
    list_init(&group->children);
    list_init(&group->sibling_link);
    list_init(&group->zombies);
    list_init(&group->process_group_link);
    wait_queue_init(&group->child_wait);
    wait_queue_init(&group->exit_wait);
    wait_queue_init(&group->settled);
    lock_init(&group->signal_lock, LOCK_SIGHAND);
    rlimits_init_default(&group->rlimits);
    group->stop_reported = true;
    group->exit_signal = SIGCHLD;
    group->start_time_ns = host_clock_boottime();
    atomic_init(&group->dumpable, 1);
    return group;
}

struct thread_group *thread_group_get(struct thread_group *group) {
    ref_get(&group->ref);
    return group;
}

void thread_group_put(struct thread_group *group) {
    struct kernel *kernel = group->kernel;
    struct thread_group *heir;

    if (!ref_put(&group->ref)) {
        return;
    }
    if (group->process_group || !list_empty(&group->tasks)) {
        panic("thread group %d is freed while it is linked", group->leader);
    }
    process_watch_detach(group->watch);
    posix_timers_free(group->timers);
    signal_pending_free(group->pending);
    signal_action_table_put(group->actions);
    host_process_put(group->process);
    wait_queue_destroy(&group->child_wait);
    wait_queue_destroy(&group->exit_wait);
    wait_queue_destroy(&group->settled);
    lock_destroy(&group->signal_lock);
    lock_destroy(&group->rlimits.lock);
    free(group->zombie);
    heir = group->heir;
    free(group);
    kernel_put(kernel);
    if (heir) {
        thread_group_put(heir);
    }
}

struct host_process *thread_group_process(struct thread_group *group) {
    LOCK_GUARD(&group->signal_lock);

    return host_process_get(group->process);
}

int thread_group_set_process(struct thread_group *group, struct host_process *process) {
    struct host_process *old;
    struct process_watch *old_watch;
    int result;

    thread_group_account(group);
    lock_acquire(&group->signal_lock);
    old = group->process;
    group->process = host_process_get(process);
    group->accounted = false;
    lock_release(&group->signal_lock);
    old_watch = STEAL(group->watch);
    result = thread_group_watch_process(group);
    process_watch_detach(old_watch);
    host_process_put(old);
    return result;
}

/* ---- members ---- */

void thread_group_add_locked(struct thread_group *group, struct task *task) {
    LOCK_GUARD(&group->signal_lock);

    list_add_tail(&task->group_link, &group->tasks);
    group->task_count++;
    signal_publish_pending_locked(task);
    atomic_fetch_add(&group->live, 1);
}

static void io_add(struct io_counts *to, struct task *task) {
    to->read_bytes += atomic_load_explicit(&task->io_read_bytes, memory_order_relaxed);
    to->written_bytes += atomic_load_explicit(&task->io_written_bytes, memory_order_relaxed);
    to->reads += atomic_load_explicit(&task->io_reads, memory_order_relaxed);
    to->writes += atomic_load_explicit(&task->io_writes, memory_order_relaxed);
}

void task_fold_io_locked(struct task *task) {
    uint64_t counts[4];

    if (!task->thread) {
        return;
    }
    host_thread_direct_io(task->thread, counts);
    atomic_fetch_add(&task->io_read_bytes, counts[0]);
    atomic_fetch_add(&task->io_written_bytes, counts[1]);
    atomic_fetch_add(&task->io_reads, counts[2]);
    atomic_fetch_add(&task->io_writes, counts[3]);
}

static void fold_io(struct task *task) {
    LOCK_GUARD(&task->lock);

    task_fold_io_locked(task);
}

void task_io(struct task *task, struct io_counts *io) {
    memset(io, 0, sizeof(*io));
    fold_io(task);
    io_add(io, task);
}

void thread_group_io(struct thread_group *group, struct io_counts *io) {
    struct task *task;
    LOCK_GUARD(&group->signal_lock);

    *io = group->dead_io;
    list_for_each_entry (task, &group->tasks, group_link) {
        fold_io(task);
        io_add(io, task);
    }
}

bool thread_group_remove_locked(struct thread_group *group, struct task *task) {
    LOCK_GUARD(&group->signal_lock);

    list_del(&task->group_link);
    io_add(&group->dead_io, task);
    task->exited = true;
    return --group->task_count == 0;
}

void thread_group_remove(struct thread_group *group, struct task *task) {
    struct group_end end;
    bool last = false;

    group_end_init(&end);
    {
        WRITE_GUARD(&group->kernel->pids_lock);

        if (!task->exited) {
            last = thread_group_remove_locked(group, task);
            if (last) {
                thread_group_end_locked(group, false, &end);
            }
        }
    }
    if (last) {
        thread_group_end_process(group);
    }
    group_end_finish(&end);
}

void thread_group_end_process(struct thread_group *group) {
    struct host_process *process = thread_group_process(group);

    thread_group_kill_process(group, process);
    host_process_put(process);
}

/* ---- telling the parent ---- */

/* Field by field as waitid(2) and sigaction(2) describe SIGCHLD. pids_lock held. */
static void send_child_signal(struct thread_group *parent, int signal,
                              const struct thread_group *group, uid_t uid, int code, int status,
                              const struct usage *usage) {
    struct signal_info info = {.signal = signal, .code = code};

    info.info.si_signo = signal;
    info.info.si_code = code;
    info.info.si_pid = group->leader;
    info.info.si_uid = uid;
    info.info.si_status = status;
    info.info.si_utime = usage->user / 10000000; /* clock ticks of 10 ms */
    info.info.si_stime = usage->system / 10000000;
    /* SIGCHLD is never queued twice, so it cannot fail for want of RLIMIT_SIGPENDING; another
     * signal that finds no room is lost, as in Linux. */
    (void)!signal_send_group_locked(parent, &info);
}

static uid_t group_uid_locked(struct thread_group *group) {
    struct pid_entry *entry = pid_table_find(group->kernel->pids, group->leader);
    struct task *leader = entry && entry->task ? entry->task : group->zombie->leader;
    uid_t uid = 0;

    if (leader) {
        LOCK_GUARD(&leader->lock);

        uid = leader->creds->uid;
    }
    return uid;
}

/* The parent takes the record over. True: it does not want it (SIGCHLD ignored or SA_NOCLDWAIT,
 * sigaction(2)), so the caller reaps. */
static bool give_zombie_locked(struct thread_group *parent, struct zombie *zombie) {
    struct thread_group *group = zombie->group;
    int signal = group->exit_signal;
    bool reap = false;

    list_del(&group->sibling_link);
    group->parent = parent;
    list_add_tail(&zombie->link, &parent->zombies);
    if (signal == SIGCHLD) {
        struct user_sigaction action;

        signal_get_action(parent, SIGCHLD, &action);
        if (action.handler == (uintptr_t)SIG_IGN) {
            reap = true;
            signal = 0;
        } else if (action.flags & SA_NOCLDWAIT) {
            reap = true;
        }
    }
    if (signal) {
        bool killed = (zombie->status & 0x7f) != 0;
        int code = !killed ? CLD_EXITED : zombie->status & 0x80 ? CLD_DUMPED : CLD_KILLED;
        int status = killed ? zombie->status & 0x7f : zombie->status >> 8;
        struct usage usage;

        lock_acquire(&group->signal_lock);
        usage = group->dead_usage;
        lock_release(&group->signal_lock);
        send_child_signal(parent, signal, group, zombie->uid, code, status, &usage);
    }
    wait_queue_wake(&parent->child_wait, 0);
    return reap;
}

/* ---- the end ---- */

void group_end_init(struct group_end *end) {
    list_init(&end->reaped);
    end->terminal = NULL;
}

void group_end_finish(struct group_end *end) {
    struct zombie *zombie, *next;

    session_hangup(end->terminal);
    list_for_each_entry_safe (zombie, next, &end->reaped, link) {
        list_del(&zombie->link);
        zombie_free(zombie);
    }
}

void zombie_free(struct zombie *zombie) {
    if (zombie->leader) {
        task_put(zombie->leader);
    }
    if (zombie->group) {
        thread_group_put(zombie->group);
    }
    free(zombie);
}

/* Nothing of the group remains visible: no parent, no process group, no id. */
static void release_group_locked(struct thread_group *group) {
    struct pid_table *pids = group->kernel->pids;
    struct pid_entry *entry = pid_table_find(pids, group->leader);

    list_del(&group->sibling_link);
    group->parent = NULL;
    process_group_leave_locked(group);
    if (entry && entry->thread_group == group) {
        entry->thread_group = NULL;
        pid_table_release(pids, entry);
    }
}

void zombie_reap_locked(struct zombie *zombie) {
    list_del(&zombie->link);
    release_group_locked(zombie->group);
    if (zombie->leader) {
        task_leave_table_locked(zombie->leader);
    }
}

static void reap_later_locked(struct zombie *zombie, struct group_end *end) {
    zombie_reap_locked(zombie);
    list_add_tail(&zombie->link, &end->reaped);
}

/* Who adopts the children of `group`: the nearest ancestor that asked for it
 * (PR_SET_CHILD_SUBREAPER), else the init; NULL when that has gone too. */
static struct thread_group *find_reaper_locked(const struct thread_group *group) {
    struct thread_group *init = group->kernel->init;

    for (struct thread_group *up = group->parent; up && up != init; up = up->parent) {
        if (up->child_subreaper && !up->dead) {
            return up;
        }
    }
    return init && init != group && !init->dead ? init : NULL;
}

static void signal_members_locked(struct process_group *pgrp, int signal) {
    struct signal_info info;
    struct thread_group *member;

    signal_info_kernel(&info, signal);
    list_for_each_entry (member, &pgrp->members, process_group_link) {
        (void)!signal_send_group_locked(member, &info);
    }
}

static bool has_stopped_members_locked(struct process_group *pgrp) {
    struct thread_group *member;

    list_for_each_entry (member, &pgrp->members, process_group_link) {
        LOCK_GUARD(&member->signal_lock);

        if (member->stop_state == GROUP_STOPPED) {
            return true;
        }
    }
    return false;
}

/* setpgid(2), exit(3): a process group that becomes orphaned while it has stopped members gets
 * SIGHUP and SIGCONT. `member` loses `parent`; `ignored`: member itself when it is the one that
 * ends. */
static void check_orphaned_locked(struct thread_group *member, struct thread_group *parent,
                                  struct thread_group *ignored) {
    struct process_group *pgrp = member->process_group;

    if (!parent || !pgrp || !parent->process_group || parent->process_group == pgrp ||
        parent->process_group->session != pgrp->session) {
        return;
    }
    if (process_group_orphaned_locked(pgrp, ignored) && has_stopped_members_locked(pgrp)) {
        signal_members_locked(pgrp, SIGHUP);
        signal_members_locked(pgrp, SIGCONT);
    }
}

void thread_group_publish_locked(struct thread_group *group) {
    struct task *task;

    list_for_each_entry (task, &group->tasks, group_link) {
        task_publish_locked(task);
    }
}

int thread_group_limits_changed(struct thread_group *group, int resource) {
    struct task *task;

    if (resource == RLIMIT_CPU) {
        return posix_timers_limit_cpu(group->timers);
    }
    if (resource != RLIMIT_FSIZE || rlimits_get(&group->rlimits, RLIMIT_FSIZE) == RLIM64_INFINITY) {
        return 0;
    }
    READ_GUARD(&group->kernel->pids_lock);
    list_for_each_entry (task, &group->tasks, group_link) {
        LOCK_GUARD(&task->lock);

        if (task->files) {
            donation_limit(task->files);
        }
    }
    return 0;
}

/* prctl(2) PR_SET_PDEATHSIG. Public within task/: a thread's exit counts as its children's parent's
 * death too. */
void send_death_signal_locked(struct thread_group *child, struct thread_group *parent) {
    struct pid_entry *entry = pid_table_find(child->kernel->pids, child->leader);
    struct task *leader = entry ? entry->task : NULL;
    struct signal_info info;
    int signal = 0;

    if (leader) {
        LOCK_GUARD(&leader->lock);

        signal = leader->pdeath_signal;
    }
    if (signal) {
        info = (struct signal_info){.signal = signal, .code = SI_USER};
        info.info.si_pid = parent->leader;
        info.info.si_uid = group_uid_locked(parent);
        (void)!signal_send_group_locked(child, &info);
    }
}

static void reparent_children_locked(struct thread_group *group, struct group_end *end) {
    struct thread_group *reaper = find_reaper_locked(group), *child, *next_child;
    struct zombie *zombie, *next_zombie;

    list_for_each_entry_safe (child, next_child, &group->children, sibling_link) {
        list_del(&child->sibling_link);
        child->parent = reaper;
        child->exit_signal = SIGCHLD;
        thread_group_publish_locked(child);
        if (reaper) {
            list_add_tail(&child->sibling_link, &reaper->children);
        }
        send_death_signal_locked(child, group);
        check_orphaned_locked(child, group, NULL);
    }
    list_for_each_entry_safe (zombie, next_zombie, &group->zombies, link) {
        list_del(&zombie->link);
        zombie->group->exit_signal = SIGCHLD;
        if (!reaper || give_zombie_locked(reaper, zombie)) {
            reap_later_locked(zombie, end);
        }
    }
}

/* The init takes everybody with it, as the end of a PID namespace does (pid_namespaces(7)). */
static void end_init_locked(struct thread_group *group, int status) {
    struct kernel *kernel = group->kernel;
    struct task *task;

    kernel->init = NULL;
    atomic_store(&kernel->init_status, status);
    list_for_each_entry (task, &kernel->all_tasks, kernel_link) {
        if (!task->thread_group->dead) {
            signal_group_exit_locked(task->thread_group, SIGKILL);
        }
    }
}

void thread_group_end_locked(struct thread_group *group, bool zombie, struct group_end *end) {
    struct thread_group *parent = group->parent;
    int status;

    lock_acquire(&group->signal_lock);
    status = group->exit_status; /* 0 for a mock that was destroyed without an exit */
    group->exiting = true;
    lock_release(&group->signal_lock);
    group->dead = true;
    group->zombie->status = status;
    group->zombie->uid = group_uid_locked(group);

    end->terminal = session_leader_exit_locked(group);
    reparent_children_locked(group, end);
    check_orphaned_locked(group, parent, group);
    if (group->kernel->init == group) {
        end_init_locked(group, status);
    }
    if (zombie) {
        struct zombie *record = STEAL(group->zombie);

        record->group = thread_group_get(group);
        if (!parent || give_zombie_locked(parent, record)) {
            reap_later_locked(record, end);
        }
    } else {
        release_group_locked(group);
        if (parent) {
            wait_queue_wake(&parent->child_wait, 0);
        }
    }
    wait_queue_wake(&group->exit_wait, 0);
}
