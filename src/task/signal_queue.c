/*
 * What a signal says (siginfo) and the queues where signals wait: each task has one, each group has
 * one that its tasks share. A standard signal waits there once, a real-time signal as often as it
 * was sent, in order (signal(7)).
 */
#include "task/signal_internal.h"

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

/* ---- queues ---- */

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

size_t signal_queued(struct thread_group *group) {
    LOCK_GUARD(&group->signal_lock);
    return group->pending->queued;
}

int signal_enqueue_locked(struct thread_group *group, struct signal_pending *pending,
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

bool signal_timer_pending_locked(struct signal_pending *pending, uint64_t timer) {
    struct signal_entry *entry;

    list_for_each_entry (entry, &pending->entries, link) {
        if (entry->timer == timer) {
            return true;
        }
    }
    return false;
}

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

bool signal_dequeue_locked(struct task *task, kernel_sigset set, struct signal_info *info) {
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
    return signal_dequeue_locked(current, set & ~SIGNAL_UNMASKABLE, info);
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
