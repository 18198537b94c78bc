/*
 * Actions (sigaction(2)): what a thread group does about each signal. The table is shared by groups
 * that were made with CLONE_SIGHAND; exec gives a group its own.
 */
#include "task/signal_internal.h"

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

struct user_sigaction signal_action_locked(struct thread_group *group, int signal) {
    LOCK_GUARD(&group->actions->lock);
    return group->actions->actions[signal - 1];
}

bool signal_action_ignores(const struct user_sigaction *action, int signal) {
    return action->handler == HANDLER_IGNORE ||
           (action->handler == HANDLER_DEFAULT && (SIGNALS_IGNORED & SIGNAL_BIT(signal)));
}

bool signal_action_kills(const struct user_sigaction *action, int signal) {
    return action->handler == HANDLER_DEFAULT &&
           !((SIGNALS_IGNORED | SIGNALS_STOP) & SIGNAL_BIT(signal));
}

bool signal_ignored(struct thread_group *group, int signal) {
    LOCK_GUARD(&group->signal_lock);
    struct user_sigaction action = signal_action_locked(group, signal);

    return signal_action_ignores(&action, signal);
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
        if (signal_action_ignores(&action, signal)) {
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
