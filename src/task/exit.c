/*
 * exit: the end of a task and of its process, in the three lifetimes of task.h.
 *
 * Whoever decides on an end only marks: task_exit() one thread, task_exit_group() and fatal signals
 * (signal.c) all of a group. Each task finds the mark at its boundary, and its own kernel thread
 * calls task_exit_finish(), which works with the stub as long as it is there (futexes), then drops
 * the running state, then takes the task out of its group. The last one makes the zombie. No lock
 * is held while a stub works or files are closed.
 */
#include "task/task_internal.h"

#include <linux/futex.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#define ROBUST_LIST_LIMIT 2048 /* get_robust_list(2), Linux's include/uapi/linux/futex.h */

void task_exit(struct task *current, int code) {
    LOCK_GUARD(&current->thread_group->signal_lock);

    current->exit_code = (code & 0xff) << 8;
    current->killed = true;
    atomic_store(&current->work, true);
}

void task_exit_group(struct thread_group *group, int wait_status) {
    READ_GUARD(&group->kernel->pids_lock);

    signal_group_exit_locked(group, wait_status);
}

/* ---- what a task leaves in its memory ---- */

static void wake_futex(struct task *current, struct user_address address) {
    /* By the own stub: the host's futexes are keyed by its memory. When the stub has gone, so has
     * the memory, or its sharers find out by OWNER_DIED. */
    (void)!host_thread_call(current->thread, SYS_futex, address.value, FUTEX_WAKE, 1, 0, 0, 0);
}

/* A lock that the task held when it ended, set_robust_list(2): the next owner is told, one waiter
 * is woken. False: the walk cannot go on. */
static bool robust_futex_died(struct task *current, struct user_address address, bool pi,
                              bool pending) {
    uint32_t value, died;

    if (address.value & 3) {
        return false;
    }
    if (get_user(current->thread, value, address)) {
        return false;
    }
    if (pending && !pi && value == 0) {
        /* It was unlocked, and the task ended before it could wake anybody. */
        wake_futex(current, address);
        return true;
    }
    if ((value & FUTEX_TID_MASK) != (uint32_t)current->id) {
        return true;
    }
    died = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
    if (put_user(current->thread, died, address)) {
        return false;
    }
    /* Even without FUTEX_WAITERS: a waiter may have set it after the look above; it then sleeps,
     * and is woken here, or has yet to sleep, and finds another value. */
    if (!pi) {
        wake_futex(current, address);
    }
    return true;
}

struct robust_head {
    uint64_t next;
    int64_t offset;
    uint64_t pending;
};

static void walk_robust_list(struct task *current, struct user_address head_address) {
    struct robust_head head;
    uint64_t entry, pending;

    if (user_address_is_null(head_address) || get_user(current->thread, head, head_address)) {
        return;
    }
    /* Bit 0 of a pointer says that the lock is a PI futex. */
    pending = head.pending & ~1ULL;
    entry = head.next;
    for (int i = 0; i < ROBUST_LIST_LIMIT && (entry & ~1ULL) != head_address.value; i++) {
        struct user_address node = user_address(entry & ~1ULL);
        uint64_t next = 0;
        /* First the next one: the entry may be reused as soon as its lock is free. */
        bool more = get_user(current->thread, next, node) == 0;

        if (node.value != pending &&
            !robust_futex_died(current, user_address_add(node, (uint64_t)head.offset), entry & 1,
                               false)) {
            return;
        }
        if (!more) {
            return;
        }
        entry = next;
    }
    if (pending) {
        (void)robust_futex_died(current, user_address(pending + (uint64_t)head.offset),
                                head.pending & 1, true);
    }
}

/* What the stub has to do last for those who go on using the memory. */
struct last_calls {
    struct slot_call calls[2];
    size_t count;
};

static void add_last_call(struct last_calls *last, const struct slot_call *call) {
    last->calls[last->count] = *call;
    last->calls[last->count++].flags = SLOT_CALL_MAY_FAIL;
}

/* The host writes into a registered rseq area whenever it moves the host thread, and kills the
 * process when it cannot: it must not do so once the memory's other users think this task gone. */
static void unregister_rseq(const struct slot_told *told, struct last_calls *last) {
    if (told->rseq_address) {
        add_last_call(last,
                      &(struct slot_call){.number = SYS_rseq,
                                          .args = {told->rseq_address, told->rseq_size,
                                                   RSEQ_FLAG_UNREGISTER, told->rseq_signature}});
    }
}

/* set_tid_address(2): tells whoever joins this thread; one host call stores the zero and wakes. */
static void clear_child_tid(struct task *current, struct user_address address,
                            struct last_calls *last) {
    uint32_t zero = 0;

    if (address.value % sizeof(zero)) {
        (void)!put_user(current->thread, zero, address); /* no futex: nobody can wait for it */
    } else if (!user_address_is_null(address)) {
        /* The comparison is never true of a tid: nobody is woken twice. */
        add_last_call(
            last, &(struct slot_call){.number = SYS_futex,
                                      .args = {address.value, FUTEX_WAKE_OP, 1, 0, address.value,
                                               FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_LT, 0)}});
    }
}

/* Pointless when nobody else has the memory. */
static struct last_calls release_memory(struct task *current) {
    struct slot_told told = host_thread_told(current->thread);
    struct last_calls last = {0};

    host_thread_set_told(current->thread, &(struct slot_told){0});
    walk_robust_list(current, user_address(told.robust_list));
    if (memory_manager_is_shared(current->mm)) {
        unregister_rseq(&told, &last);
        clear_child_tid(current, user_address(told.clear_child_tid), &last);
    }
    return last;
}

static void make_last_calls(struct task *current, struct last_calls *last) {
    int64_t results[ARRAY_SIZE(last->calls)];

    if (last->count) {
        (void)!host_thread_calls(current->thread, last->calls, last->count, results);
        last->count = 0;
    }
}

void task_release_memory(struct task *current) {
    struct last_calls last = release_memory(current);

    make_last_calls(current, &last);
}

/* Do others than this group's tasks use its memory? */
static bool memory_goes_further(struct task *current) {
    struct thread_group *group = current->thread_group;
    LOCK_GUARD(&group->signal_lock);

    return memory_manager_users(current->mm) > group->task_count;
}

/* ---- leaving ---- */

/* PR_SET_PDEATHSIG counts the thread that made the child as its parent. */
static void send_death_signals_locked(struct task *task) {
    struct thread_group *group = task->thread_group, *child;

    list_for_each_entry (child, &group->children, sibling_link) {
        struct pid_entry *entry = pid_table_find(group->kernel->pids, child->leader);

        if (entry && entry->task && entry->task->parent == task->id) {
            send_death_signal_locked(child, group);
        }
    }
}

/* Nobody decided for all: the status of the process is that of the thread that ends last. */
static void decide_status(struct task *task) {
    struct thread_group *group = task->thread_group;
    LOCK_GUARD(&group->signal_lock);

    if (!group->exiting) {
        group->exiting = true;
        group->exit_status = task->exit_code;
    }
}

/* True: the whole group has ended. */
static bool leave_group(struct task *task, struct group_end *end) {
    struct thread_group *group = task->thread_group;
    bool last;

    WRITE_GUARD(&group->kernel->pids_lock);
    if (task->id == group->leader) {
        /* Its pid and its persistent part stay until the process is waited for. */
        group->zombie->leader = task_get(task);
        atomic_store(&task->state, TASK_ZOMBIE);
    } else {
        atomic_store(&task->state, TASK_DEAD);
    }
    task->finished = true;
    last = thread_group_remove_locked(group, task);
    if (last) {
        thread_group_end_locked(group, true, end);
    } else {
        send_death_signals_locked(task);
    }
    if (task->id != group->leader) {
        task_leave_table_locked(task);
    }
    /* task_become_only_thread() waits for this. */
    wait_queue_wake(&group->exit_wait, 0);
    return last;
}

void task_exit_finish(struct task *current) {
    struct thread_group *group = current->thread_group;
    struct host_thread *thread;
    struct last_calls last = release_memory(current);
    struct group_end end;

    /* They go along with the order to leave, for a thread of a group; the last one's memory ends
     * with it, unless others have it, who shall not miss the call when the process is killed. */
    if (memory_goes_further(current)) {
        make_last_calls(current, &last);
    }
    task_vfork_done(current);
    if (atomic_fetch_sub(&group->live, 1) == 1) {
        decide_status(current);
        posix_timers_stop(group->timers);
        thread_group_account(group);
    }

    /* Files first: their ends (a pipe's EOF, a lock) are to be seen before the SIGCHLD. */
    thread = host_thread_get(current->thread);
    task_drop_running(current);

    group_end_init(&end);
    if (leave_group(current, &end)) {
        thread_group_end_process(group);
    } else {
        host_thread_exit(thread, last.calls, last.count);
    }
    host_thread_put(thread);
    group_end_finish(&end);
}

/* ---- exec of one among several ---- */

static bool is_killed(struct task *current) {
    LOCK_GUARD(&current->thread_group->signal_lock);

    return current->killed || current->thread_group->exiting;
}

int task_sleep_killable(struct task *current) {
    if (wait_sleep(WAIT_FOREVER) == 0) {
        return 0;
    }
    /* Cleared before looking, both: whoever finds `work` set does not notify again (rest.c). */
    waiter_clear_interrupt(waiter_current());
    atomic_store(&current->work, false);
    if (is_killed(current)) {
        return -EINTR;
    }
    /* The call is left, and made again. */
    return task_rest_wanted(current) ? -ERESTARTNOINTR : 0;
}

/* Marks the others; false: this task is itself marked (another thread was first). */
static bool kill_other_threads(struct task *current) {
    struct thread_group *group = current->thread_group;
    struct task *task;

    LOCK_GUARD(&group->signal_lock);
    if (current->killed || group->exiting) {
        return false;
    }
    list_for_each_entry (task, &group->tasks, group_link) {
        if (task != current && !task->killed) {
            task->killed = true;
            task_notify_work(task);
        }
    }
    return true;
}

/* The only thread left takes the leader's place and id. */
static void take_over_leader(struct task *current) {
    struct thread_group *group = current->thread_group;
    struct pid_table *pids = group->kernel->pids;
    struct task *old;
    struct pid_entry *entry;

    rwlock_write_acquire(&group->kernel->pids_lock);
    old = STEAL(group->zombie->leader);
    entry = pid_table_find(pids, group->leader); /* the group's own: it exists */
    pid_table_remove_task(pids, current->id);
    list_del(&current->kernel_link);
    if (old) {
        task_leave_table_locked(old);
    }
    current->id = group->leader;
    entry->task = current;
    pids->count++;
    list_add_tail(&current->kernel_link, &group->kernel->all_tasks);
    group->exit_signal = SIGCHLD;
    rwlock_write_release(&group->kernel->pids_lock);
    if (old) {
        task_put(old);
    }
}

int task_become_only_thread(struct task *current) {
    struct thread_group *group = current->thread_group;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    if (!kill_other_threads(current)) {
        return -EINTR;
    }
    wait_queue_add(&group->exit_wait, &entry);
    for (;;) {
        size_t count;

        lock_acquire(&group->signal_lock);
        count = group->task_count;
        lock_release(&group->signal_lock);
        if (count == 1) {
            break;
        }
        result = task_sleep_killable(current);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    atomic_store(&current->work, true); /* for the signals that were put off */
    if (result == 0 && current->id != group->leader) {
        take_over_leader(current);
    }
    return result;
}
