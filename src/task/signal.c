/*
 * Signals: actions, pending queues, and who takes what.
 *
 * Guest signals exist only in the kernel. A signal that is sent joins a queue (the thread's or the
 * group's) under the group's signal_lock; then a task that may take it is notified: its work flag
 * is set, its sleep interrupted, its host thread kicked out of user mode. The task takes the signal
 * at its user boundary (run.c), by signal_next(). A signal whose end is the death of the group
 * decides that death when it is sent, as Linux's complete_signal() does.
 *
 * Locks: kernel->pids_lock (members of the group) before signal_lock before an action table's lock.
 * Sending takes pids_lock for reading; the _locked forms are for callers that hold it.
 *
 * Differences from Linux: RLIMIT_SIGPENDING is counted per thread group, not per user; the first
 * program of the sandbox has no init's immunity.
 */
#include "task/signal_internal.h"

static signal_trace_fn *trace_hook;
static signal_dropped_fn *dropped_hook;

void signal_set_trace(signal_trace_fn *trace, signal_dropped_fn *dropped) {
    trace_hook = trace;
    dropped_hook = dropped;
}

/* ---- action tables and queues ---- */

struct signal_action_table *signal_action_table_new(void) {
    struct signal_action_table *table = calloc(1, sizeof(*table));

    if (table) {
        ref_init(&table->ref);
        lock_init(&table->lock, LOCK_SIGHAND);
    }
    return table;
}

struct signal_action_table *signal_action_table_copy(struct signal_action_table *table) {
    struct signal_action_table *copy = signal_action_table_new();

    if (copy) {
        LOCK_GUARD(&table->lock);
        memcpy(copy->actions, table->actions, sizeof(copy->actions));
    }
    return copy;
}

struct signal_action_table *signal_action_table_get(struct signal_action_table *table) {
    ref_get(&table->ref);
    return table;
}

void signal_action_table_put(struct signal_action_table *table) {
    if (ref_put(&table->ref)) {
        lock_destroy(&table->lock);
        free(table);
    }
}

static void action_table_exec(struct signal_action_table *table) {
    LOCK_GUARD(&table->lock);
    for (size_t i = 0; i < SIGNAL_MAX; i++) {
        uint64_t handler = table->actions[i].handler;

        table->actions[i] = (struct user_sigaction){
            .handler = handler == HANDLER_IGNORE ? HANDLER_IGNORE : HANDLER_DEFAULT,
        };
    }
}

int signal_exec(struct thread_group *group) {
    struct signal_action_table *own = signal_action_table_copy(group->actions);
    struct signal_action_table *old;

    if (!own) {
        return -ENOMEM;
    }
    action_table_exec(own);
    lock_acquire(&group->signal_lock);
    old = group->actions;
    group->actions = own;
    lock_release(&group->signal_lock);
    signal_action_table_put(old);
    return 0;
}

struct signal_pending *signal_pending_new(void) {
    struct signal_pending *pending = calloc(1, sizeof(*pending));

    if (pending) {
        list_init(&pending->entries);
        wait_queue_init(&pending->wait);
    }
    return pending;
}

void signal_pending_free(struct signal_pending *pending) {
    struct signal_entry *entry, *next;

    if (!pending) {
        return;
    }
    list_for_each_entry_safe (entry, next, &pending->entries, link) {
        list_del(&entry->link);
        free(entry);
    }
    wait_queue_destroy(&pending->wait);
    free(pending);
}

/* ---- infos ---- */

void signal_info_kernel(struct signal_info *info, int signal) {
    *info = (struct signal_info){.signal = signal, .code = SI_KERNEL};
}

void signal_info_user(struct signal_info *info, int signal, int code, struct task *from) {
    struct credentials *creds CLEANUP(credentials_put) = task_creds(from);

    *info = (struct signal_info){.signal = signal, .code = code};
    info->info.si_pid = task_get_pid(from);
    info->info.si_uid = creds->uid;
}

void signal_info_fault(struct signal_info *info, int signal, int code, uint64_t address) {
    *info = (struct signal_info){.signal = signal, .code = code};
    info->info.si_addr = (void *)(uintptr_t)address; /* never followed */
}

void signal_info_to_user(const struct signal_info *info, siginfo_t *user) {
    *user = info->info;
    user->si_signo = info->signal;
    user->si_code = info->code;
    user->si_errno = info->error;
}

/* ---- actions ---- */

struct user_sigaction signal_action_locked(struct thread_group *group, int signal) {
    LOCK_GUARD(&group->actions->lock);
    return group->actions->actions[signal - 1];
}

static bool action_ignores(const struct user_sigaction *action, int signal) {
    return action->handler == HANDLER_IGNORE ||
           (action->handler == HANDLER_DEFAULT && (SIGNALS_IGNORED & SIGNAL_BIT(signal)));
}

/* The default action ends the group. */
static bool action_kills(const struct user_sigaction *action, int signal) {
    return action->handler == HANDLER_DEFAULT &&
           !((SIGNALS_IGNORED | SIGNALS_STOP) & SIGNAL_BIT(signal));
}

bool signal_ignored(struct thread_group *group, int signal) {
    LOCK_GUARD(&group->signal_lock);
    struct user_sigaction action = signal_action_locked(group, signal);

    return action_ignores(&action, signal);
}

void signal_get_action(struct thread_group *group, int signal, struct user_sigaction *action) {
    LOCK_GUARD(&group->signal_lock);
    *action = signal_action_locked(group, signal);
}

int signal_set_action(struct thread_group *group, int signal,
                      const struct user_sigaction *new_action, struct user_sigaction *old_action) {
    struct kernel *kernel = group->kernel;

    if (signal < 1 || signal > SIGNAL_MAX ||
        (new_action && (SIGNAL_BIT(signal) & SIGNAL_UNMASKABLE))) {
        return -EINVAL;
    }
    READ_GUARD(&kernel->pids_lock);
    LOCK_GUARD(&group->signal_lock);
    if (old_action) {
        *old_action = signal_action_locked(group, signal);
    }
    if (new_action) {
        struct user_sigaction action = *new_action;

        action.mask &= ~SIGNAL_UNMASKABLE;
        lock_acquire(&group->actions->lock);
        group->actions->actions[signal - 1] = action;
        lock_release(&group->actions->lock);
        /* POSIX 3.3.1.3: setting an action to ignore discards what is pending, blocked or not. */
        if (action_ignores(&action, signal)) {
            signal_discard_all_locked(group, SIGNAL_BIT(signal));
        }
    }
    return 0;
}

void signal_get_sets(struct thread_group *group, kernel_sigset *ignored, kernel_sigset *caught) {
    LOCK_GUARD(&group->signal_lock);
    LOCK_GUARD(&group->actions->lock);
    *ignored = *caught = 0;
    for (int signal = 1; signal <= SIGNAL_MAX; signal++) {
        uint64_t handler = group->actions->actions[signal - 1].handler;

        if (handler == HANDLER_IGNORE) {
            *ignored |= SIGNAL_BIT(signal);
        } else if (handler != HANDLER_DEFAULT) {
            *caught |= SIGNAL_BIT(signal);
        }
    }
}

size_t signal_queued(struct thread_group *group) {
    LOCK_GUARD(&group->signal_lock);
    return group->pending->queued;
}

/* ---- queues ---- */

static void entry_free_locked(struct thread_group *group, struct signal_entry *entry) {
    list_del(&entry->link);
    group->pending->queued--;
    free(entry);
}

void signal_discard_locked(struct thread_group *group, struct signal_pending *pending,
                           kernel_sigset set) {
    struct signal_entry *entry, *next;

    if (!(pending->set & set)) {
        return;
    }
    pending->set &= ~set;
    list_for_each_entry_safe (entry, next, &pending->entries, link) {
        if (SIGNAL_BIT(entry->info.signal) & set) {
            entry_free_locked(group, entry);
        }
    }
}

void signal_discard_all_locked(struct thread_group *group, kernel_sigset set) {
    struct task *task;

    signal_discard_locked(group, group->pending, set);
    list_for_each_entry (task, &group->tasks, group_link) {
        signal_discard_locked(group, task->pending, set);
    }
}

/* Takes `signal` from a queue that has it. */
static void pending_take_locked(struct thread_group *group, struct signal_pending *pending,
                                int signal, struct signal_info *info) {
    struct signal_entry *entry, *found = NULL;
    bool more = false;

    list_for_each_entry (entry, &pending->entries, link) {
        if (entry->info.signal == signal) {
            if (found) {
                more = true;
                break;
            }
            found = entry;
        }
    }
    if (!more) {
        pending->set &= ~SIGNAL_BIT(signal);
    }
    if (!found) {
        *info = (struct signal_info){.signal = signal, .code = SI_USER};
        return;
    }
    *info = found->info;
    if (found->timer && group->timers) {
        posix_timer_taken(group->timers, found->timer, info);
    }
    entry_free_locked(group, found);
}

/* The next of the signals in `set`: faults first, then the lowest number. 0: none. */
static int pending_next(const struct signal_pending *pending, kernel_sigset set) {
    kernel_sigset ready = pending->set & set;

    if (ready & SIGNALS_SYNCHRONOUS) {
        ready &= SIGNALS_SYNCHRONOUS;
    }
    return ready ? __builtin_ctzll(ready) + 1 : 0;
}

static bool dequeue_locked(struct task *task, kernel_sigset set, struct signal_info *info) {
    struct thread_group *group = task->thread_group;
    struct signal_pending *pending = task->pending;
    struct signal_entry *entry;
    int signal;

    /* A fault that the guest's last instruction raised goes before anything that was sent, since
     * its handler must see the registers of the fault. */
    list_for_each_entry (entry, &pending->entries, link) {
        if ((SIGNAL_BIT(entry->info.signal) & SIGNALS_SYNCHRONOUS & set) && entry->info.code > 0) {
            pending_take_locked(group, pending, entry->info.signal, info);
            return true;
        }
    }
    signal = pending_next(pending, set);
    if (!signal) {
        pending = group->pending;
        signal = pending_next(pending, set);
    }
    if (!signal) {
        return false;
    }
    pending_take_locked(group, pending, signal, info);
    return true;
}

bool signal_dequeue(struct task *current, kernel_sigset set, struct signal_info *info) {
    LOCK_GUARD(&current->thread_group->signal_lock);
    return dequeue_locked(current, set & ~SIGNAL_UNMASKABLE, info);
}

void signal_pending_sets(struct task *task, kernel_sigset *own, kernel_sigset *shared) {
    struct thread_group *group = task->thread_group;

    LOCK_GUARD(&group->signal_lock);
    *own = task->pending ? task->pending->set : 0;
    *shared = group->pending->set;
}

kernel_sigset signal_pending_set(struct task *task) {
    struct thread_group *group = task->thread_group;

    LOCK_GUARD(&group->signal_lock);
    return (task->pending ? task->pending->set : 0) | group->pending->set;
}

struct wait_queue *signal_wait_queue(struct thread_group *group) {
    return &group->pending->wait;
}

/*
 * A running task's mask is in its host thread's slot, where the stub changes it too: every look
 * goes there, and is one value. So that no signal falls between a look here and a change there, it
 * is first published as pending (publish_locked), then looked at; the stub changes, then looks at
 * what is published.
 */
static kernel_sigset mask_locked(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->thread ? host_thread_signal_mask(task->thread) & ~SIGNAL_UNMASKABLE
                        : task->signal_mask;
}

static void store_mask_locked(struct task *task, kernel_sigset mask) {
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

static void publish_locked(struct thread_group *group, struct task *task, kernel_sigset signals) {
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
           ((task->pending->set | group->pending->set) & ~mask_locked(task));
}

/* Signals that would only be forgotten do not count: no call should end for them. */
bool signal_pending(struct task *current) {
    struct thread_group *group = current->thread_group;
    kernel_sigset ready;

    LOCK_GUARD(&group->signal_lock);
    if (current->killed || group->exiting || group->stop_state != GROUP_RUNNING) {
        return true;
    }
    ready = (current->pending->set | group->pending->set) & ~mask_locked(current);
    for (; ready; ready &= ready - 1) {
        int signal = __builtin_ctzll(ready) + 1;
        struct user_sigaction action = signal_action_locked(group, signal);

        if (!action_ignores(&action, signal)) {
            return true;
        }
    }
    return false;
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

/* The caller holds signal_lock. What a stopped task could take waits for SIGCONT, but for SIGKILL.
 */
static bool task_wants(struct task *task, int signal) {
    if (signal == SIGKILL) {
        return !task->killed;
    }
    return !task->killed && task->thread_group->stop_state == GROUP_RUNNING &&
           !(mask_locked(task) & SIGNAL_BIT(signal));
}

/* Would the signal be forgotten if it came now? A blocked one is kept, since the action may change
 * before it is taken; for the group its leader's mask counts, as in Linux. Both locks held. */
static bool dropped_locked(struct thread_group *group, struct task *task, int signal,
                           const struct user_sigaction *action) {
    if (!action_ignores(action, signal)) {
        return false;
    }
    if (!task && !list_empty(&group->tasks)) {
        task = list_first_entry(&group->tasks, struct task, group_link);
    }
    return !task || !(mask_locked(task) & SIGNAL_BIT(signal));
}

/* Who takes a signal of the group: the leader when it may (Linux does so, programs rely on it),
 * else a task that has nothing else to look at, else any. NULL: all block it. */
static struct task *choose_locked(struct thread_group *group, int signal) {
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

/* ---- sending ---- */

/* Enters the signal into a queue. 0, or -EAGAIN when its info may not be lost and cannot be kept.
 */
static int enqueue_locked(struct thread_group *group, struct signal_pending *pending,
                          const struct signal_info *info, uint64_t timer) {
    struct signal_entry *entry = NULL;
    bool realtime = info->signal >= __SIGRTMIN;
    bool over = group->pending->queued >= rlimits_get(&group->rlimits, RLIMIT_SIGPENDING);

    /* Linux (__send_signal_locked): what the kernel sends for a standard signal goes over the
     * limit; kill() of a real-time signal may lose its info; all else that is queued must fit. */
    if (!over || (!realtime && (info->code == SI_KERNEL || info->code > 0))) {
        entry = malloc(sizeof(*entry));
    }
    if (!entry) {
        if (realtime && info->code != SI_USER) {
            return -EAGAIN;
        }
    } else {
        entry->info = *info;
        entry->timer = timer;
        list_add_tail(&entry->link, &pending->entries);
        group->pending->queued++;
    }
    pending->set |= SIGNAL_BIT(info->signal);
    return 0;
}

static bool timer_pending_locked(struct signal_pending *pending, uint64_t timer) {
    struct signal_entry *entry;

    list_for_each_entry (entry, &pending->entries, link) {
        if (entry->timer == timer) {
            return true;
        }
    }
    return false;
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
    publish_locked(group, task, SIGNAL_BIT(signal));
    taker = task ? (task_wants(task, signal) ? task : NULL) : choose_locked(group, signal);
    if (!force && dropped_locked(group, task, signal, &action)) {
        if (dropped_hook) {
            dropped_hook(task ? task->id : group->leader, info);
        }
        return timer ? SIGNAL_TIMER_DROPPED : 0;
    }
    if (timer && timer_pending_locked(pending, timer)) {
        return SIGNAL_TIMER_PENDING;
    }
    /* Standard signals coalesce; POSIX timers have an entry each. */
    if (signal < __SIGRTMIN && (pending->set & SIGNAL_BIT(signal)) && !force &&
        info->code != SI_TIMER) {
        return timer ? SIGNAL_TIMER_DROPPED : 0;
    }
    result = enqueue_locked(group, pending, info, timer);
    if (result < 0) {
        return result;
    }
    wait_queue_wake(&group->pending->wait, EPOLLIN);
    if (!taker) {
        return 0;
    }
    if (signal == SIGKILL || action_kills(&action, signal)) {
        signal_group_exit_both_locked(group, signal);
        return 0;
    }
    task_notify_work(taker);
    return 0;
}

int signal_send_group_locked(struct thread_group *group, const struct signal_info *info) {
    int notify = 0;
    int result;

    lock_acquire(&group->signal_lock);
    result = send_both_locked(group, NULL, info, 0, false, &notify);
    lock_release(&group->signal_lock);
    if (notify) {
        signal_notify_parent_locked(group, notify, SIGCONT);
    }
    return result;
}

int signal_send_group(struct thread_group *group, const struct signal_info *info) {
    READ_GUARD(&group->kernel->pids_lock);
    return signal_send_group_locked(group, info);
}

int signal_send_task(struct task *task, const struct signal_info *info) {
    struct thread_group *group = task->thread_group;
    int notify = 0;
    int result;

    READ_GUARD(&group->kernel->pids_lock);
    if (task->exited) {
        return 0;
    }
    lock_acquire(&group->signal_lock);
    result = send_both_locked(group, task, info, 0, false, &notify);
    lock_release(&group->signal_lock);
    if (notify) {
        signal_notify_parent_locked(group, notify, SIGCONT);
    }
    return result;
}

enum signal_timer_result signal_send_timer(struct thread_group *group, pid_t tid,
                                           const struct signal_info *info, uint64_t timer) {
    struct task *task, *target = NULL;
    int notify = 0;
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
    lock_acquire(&group->signal_lock);
    result = send_both_locked(group, target, info, timer, false, &notify);
    lock_release(&group->signal_lock);
    if (notify) {
        signal_notify_parent_locked(group, notify, SIGCONT);
    }
    return result < 0 ? SIGNAL_TIMER_DROPPED : (enum signal_timer_result)result;
}

void signal_force(struct task *current, const struct signal_info *info) {
    struct thread_group *group = current->thread_group;
    struct user_sigaction action;
    int notify = 0;

    READ_GUARD(&group->kernel->pids_lock);
    lock_acquire(&group->signal_lock);
    action = signal_action_locked(group, info->signal);
    if ((mask_locked(current) & SIGNAL_BIT(info->signal)) || action.handler == HANDLER_IGNORE) {
        lock_acquire(&group->actions->lock);
        group->actions->actions[info->signal - 1].handler = HANDLER_DEFAULT;
        lock_release(&group->actions->lock);
        store_mask_locked(current, mask_locked(current) & ~SIGNAL_BIT(info->signal));
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

/* ---- masks ---- */

kernel_sigset signal_get_mask(struct task *task) {
    LOCK_GUARD(&task->thread_group->signal_lock);
    return mask_locked(task);
}

/* Signals of the group that `current` no longer takes are announced to others that do. */
static void retarget(struct task *current, kernel_sigset signals) {
    struct thread_group *group = current->thread_group;

    READ_GUARD(&group->kernel->pids_lock);
    LOCK_GUARD(&group->signal_lock);
    for (signals &= group->pending->set; signals; signals &= signals - 1) {
        struct task *task = choose_locked(group, __builtin_ctzll(signals) + 1);

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
    blocked = mask & ~mask_locked(current) & group->pending->set;
    store_mask_locked(current, mask);
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
        current->saved_mask = mask_locked(current);
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
        task = choose_locked(group, __builtin_ctzll(signals) + 1);
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
        if (!dequeue_locked(current, ~mask_locked(current), info)) {
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

        if (trace_hook && !action_ignores(action, signal)) {
            trace_hook(current, info);
        }
        if (action->handler > HANDLER_IGNORE) {
            return SIGNAL_HANDLER;
        }
        if (action_ignores(action, signal)) {
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
