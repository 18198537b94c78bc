/*
 * task: one thread of a guest. Whoever runs it holds its task_owner; everybody else finds it by its
 * pid (weakly) and may keep it alive by a reference: then its persistent part (ids, name,
 * credentials) stays readable, while its running part (files, mm, fs, thread) is gone after exit.
 *
 * Life: task_create() makes it whole, in the pid table and in its group, or not at all; it runs
 * (run.c) or is a mock; task_exit_finish() (exit.c) or task_destroy() takes it out of its group.
 * The leader's pid stays in the table until its process is waited for; another thread's goes with
 * its exit.
 */
#include "task/task_internal.h"

#include <stdio.h>

static _Thread_local struct task *this_task;

struct task *current_task(void) {
    return this_task;
}

void current_task_set(struct task *task) {
    this_task = task;
}

struct task *task_get(struct task *task) {
    ref_get(&task->ref);
    return task;
}

void task_put(struct task *task) {
    if (!ref_put(&task->ref)) {
        return;
    }
    if (task->in_table || !list_empty(&task->group_link)) {
        panic("task %d is freed while it is linked", task->id);
    }
    task_drop_running(task);
    vfork_completion_put(task->vfork);
    vfork_completion_put(task->vfork_wait);
    if (task->pending) {
        signal_pending_free(task->pending);
    }
    if (task->creds) {
        credentials_put(task->creds);
    }
    if (task->thread_group) {
        thread_group_put(task->thread_group);
    }
    lock_destroy(&task->lock);
    free(task);
}

/* ---- making ---- */

/* What a new task has from the one that made it: clone(2), credentials(7), signal(7), sched(7). */
static void inherit(struct task *task, struct task *creator) {
    {
        LOCK_GUARD(&creator->lock);

        task->no_new_privs = creator->no_new_privs;
        task->nice = creator->nice;
        task->io_priority = creator->io_priority;
        task->sched_policy = creator->sched_policy;
        task->sched_priority = creator->sched_priority;
        memcpy(task->cpu_mask, creator->cpu_mask, sizeof(task->cpu_mask));
    }
    task->signal_mask = signal_get_mask(creator);
    host_thread_set_signal_mask(task->thread, task->signal_mask);
    task->signal_stack = creator->signal_stack;
    task->timer_slack_ns = task->default_timer_slack_ns = creator->timer_slack_ns;
    task->personality = creator->personality;
}

static struct task *task_alloc(const struct task_params *params) {
    struct task *task = calloc(1, sizeof(*task));

    if (!task) {
        return NULL;
    }
    ref_init(&task->ref);
    lock_init(&task->lock, LOCK_TASK);
    list_init(&task->group_link);
    list_init(&task->kernel_link);
    task->pending = signal_pending_new();
    if (!task->pending) {
        task_put(task);
        return NULL;
    }
    task->thread = host_thread_get(params->thread);
    task->files = fd_table_get_ref(params->files);
    task->mm = memory_manager_get(params->mm);
    task->fs = fs_context_get(params->fs);
    task->creds = credentials_get(params->creds);
    task->signal_stack.flags = SS_DISABLE;
    task->timer_slack_ns = task->default_timer_slack_ns = TASK_TIMER_SLACK_NS;
    atomic_init(&task->state, TASK_RUNNING);
    if (params->creator) {
        inherit(task, params->creator);
        task->parent = params->creator->id;
    }
    if (params->name) {
        snprintf(task->comm, sizeof(task->comm), "%s", params->name);
    } else if (params->creator) {
        LOCK_GUARD(&params->creator->lock);

        memcpy(task->comm, params->creator->comm, sizeof(task->comm));
    }
    return task;
}

/* The process around a first task, in its place among processes. */
static int start_group_locked(struct kernel *kernel, const struct task_params *params,
                              struct signal_action_table *actions, pid_t id,
                              struct thread_group **result) {
    struct thread_group *creator = params->creator ? params->creator->thread_group : NULL;
    struct thread_group *group = thread_group_new(kernel, params->process, id, actions);
    struct thread_group *parent = params->sibling ? creator->parent : creator;
    struct pid_entry *entry = pid_table_find(kernel->pids, id); /* the task's: it exists */

    if (!group) {
        return -ENOMEM;
    }
    if (creator) {
        rlimits_copy(&group->rlimits, &creator->rlimits);
        group->oom_score_adj = atomic_load(&creator->oom_score_adj);
        group->dumpable = atomic_load(&creator->dumpable);
    }
    /* A parent may be about to end, but not have ended: its creator is a member of it. With
     * CLONE_PARENT it is whoever is the creator's parent now. */
    if (creator && creator->process_group) {
        process_group_join_locked(group, creator->process_group);
    } else if (session_start_locked(group)) {
        thread_group_put(group);
        return -ENOMEM;
    }
    entry->thread_group = group;
    group->exit_signal = params->exit_signal;
    group->parent = parent;
    if (parent) {
        list_add_tail(&group->sibling_link, &parent->children);
    } else if (!creator && !kernel->init) {
        kernel->init = group;
    }
    *result = group;
    return 0;
}

static bool is_full_locked(struct kernel *kernel) {
    return kernel->pid_limit && kernel->pids->count >= kernel->pid_limit;
}

static int join_tables_locked(struct kernel *kernel, const struct task_params *params,
                              struct signal_action_table *actions, struct task *task) {
    pid_t id;
    int result;

    if (is_full_locked(kernel)) {
        return -EAGAIN;
    }
    if (params->creator) {
        struct thread_group *group = params->creator->thread_group;
        LOCK_GUARD(&group->signal_lock);

        /* A process that is being killed makes no more of itself: fork(2) of Linux checks here, so
         * that a kill of a whole process group leaves nobody. */
        if (group->exiting) {
            return -ERESTARTNOINTR;
        }
    }
    id = pid_table_allocate(kernel->pids);
    if (id < 0) {
        return id;
    }
    task->id = id;
    result = pid_table_add_task(kernel->pids, task);
    if (result) {
        return result;
    }
    if (params->group) {
        task->thread_group = thread_group_get(params->group);
    } else {
        result = start_group_locked(kernel, params, actions, id, &task->thread_group);
        if (result) {
            pid_table_remove_task(kernel->pids, id);
            return result;
        }
    }
    task->in_table = true;
    list_add_tail(&task->kernel_link, &kernel->all_tasks);
    thread_group_add_locked(task->thread_group, task);
    task_publish_locked(task);
    atomic_fetch_add(&kernel->task_count, 1);
    return 0;
}

int task_create(struct kernel *kernel, const struct task_params *params, struct task_owner *owner) {
    struct signal_action_table *actions CLEANUP(signal_action_table_put) = NULL;
    struct task *task;
    bool full;
    int result;

    owner->task = NULL;
    if (!params->group) {
        if (params->actions) {
            actions = signal_action_table_get(params->actions);
        } else if (params->creator) {
            actions = signal_action_table_copy(params->creator->thread_group->actions);
        } else {
            actions = signal_action_table_new();
        }
        if (!actions) {
            return -ENOMEM;
        }
    }
    task = task_alloc(params);
    if (!task) {
        return -ENOMEM;
    }
    rwlock_write_acquire(&kernel->pids_lock);
    result = join_tables_locked(kernel, params, actions, task);
    full = result == -EAGAIN && is_full_locked(kernel);
    rwlock_write_release(&kernel->pids_lock);
    if (full) {
        log_once(LOG_WARN, "pids", 0, "the guests have %zu tasks, no more are made (--pids)",
                 kernel->pid_limit);
    }
    if (result) {
        task_put(task);
        return result;
    }
    owner->task = task;
    return 0;
}

int task_new(struct kernel *kernel, const char *name, struct fs_context *fs,
             struct credentials *creds, struct task_owner *owner) {
    struct host_process *process CLEANUP(host_process_put) = NULL;
    struct host_aspace *aspace CLEANUP(host_aspace_put) = NULL;
    struct host_thread *thread CLEANUP(host_thread_put) = NULL;
    struct memory_manager *mm CLEANUP(memory_manager_put) = NULL;
    struct fd_table *files CLEANUP(fd_table_put) = NULL;
    int result;

    owner->task = NULL;
    result = host_process_create(kernel->job, NULL, &process, &aspace, &thread);
    if (result) {
        return result;
    }
    mm = memory_manager_new(aspace);
    if (IS_ERR(mm)) {
        return (int)PTR_ERR(STEAL(mm));
    }
    files = fd_table_new();
    if (IS_ERR(files)) {
        return (int)PTR_ERR(STEAL(files));
    }
    result = task_create(kernel,
                         &(struct task_params){
                             .name = name,
                             .process = process,
                             .thread = thread,
                             .files = files,
                             .mm = mm,
                             .fs = fs,
                             .creds = creds,
                             .exit_signal = SIGCHLD,
                         },
                         owner);
    if (result) {
        return result;
    }
    result = thread_group_watch_process(owner->task->thread_group);
    if (result) {
        task_owner_release(owner);
    }
    return result;
}

/* Mocks: the same tables and life, with host objects that stand for nothing. */
static int task_new_mock_in(struct kernel *kernel, struct task *creator, bool thread_of,
                            struct fs_context *fs, struct task_owner *owner) {
    struct host_process *process CLEANUP(host_process_put) = NULL;
    struct host_thread *thread CLEANUP(host_thread_put) = NULL;
    struct memory_manager *mm CLEANUP(memory_manager_put) = NULL;
    struct fd_table *files CLEANUP(fd_table_put) = NULL;
    struct credentials *creds CLEANUP(credentials_put) = NULL;

    owner->task = NULL;
    process = thread_of ? thread_group_process(creator->thread_group)
                        : host_process_new_mock(kernel->job);
    if (IS_ERR(process)) {
        return (int)PTR_ERR(STEAL(process));
    }
    thread = host_thread_new_mock(process);
    if (IS_ERR(thread)) {
        return (int)PTR_ERR(STEAL(thread));
    }
    mm = thread_of ? memory_manager_get(creator->mm)
                   : memory_manager_new(host_thread_aspace(thread));
    if (IS_ERR(mm)) {
        return (int)PTR_ERR(STEAL(mm));
    }
    files = thread_of ? fd_table_get_ref(creator->files) : fd_table_new();
    if (IS_ERR(files)) {
        return (int)PTR_ERR(STEAL(files));
    }
    creds = creator ? task_creds(creator) : credentials_new(0, 0);
    if (!creds) {
        return -ENOMEM;
    }
    return task_create(kernel,
                       &(struct task_params){
                           .name = "mock",
                           .creator = creator,
                           .group = thread_of ? creator->thread_group : NULL,
                           .process = process,
                           .thread = thread,
                           .files = files,
                           .mm = mm,
                           .fs = fs,
                           .creds = creds,
                           .exit_signal = SIGCHLD,
                       },
                       owner);
}

int task_new_mock(struct kernel *kernel, struct fs_context *fs, struct task_owner *owner) {
    return task_new_mock_in(kernel, NULL, false, fs, owner);
}

int task_new_mock_thread(struct task *leader, struct task_owner *owner) {
    return task_new_mock_in(leader->thread_group->kernel, leader, true, leader->fs, owner);
}

int task_new_mock_child(struct task *parent, struct task_owner *owner) {
    return task_new_mock_in(parent->thread_group->kernel, parent, false, parent->fs, owner);
}

/* ---- ending ---- */

void task_drop_running(struct task *task) {
    struct host_thread *thread;
    struct fd_table *files;
    struct memory_manager *mm;
    struct fs_context *fs;

    lock_acquire(&task->lock);
    task_fold_io_locked(task);
    if (task->thread) {
        task->signal_mask = host_thread_signal_mask(task->thread);
    }
    thread = STEAL(task->thread);
    files = STEAL(task->files);
    mm = STEAL(task->mm);
    fs = STEAL(task->fs);
    task->waiter = NULL;
    lock_release(&task->lock);
    if (task->sem_undo) {
        sem_undo_list_put(STEAL(task->sem_undo), task->thread_group->leader);
    }
    /* Without the lock: closing files may do anything. */
    if (files) {
        fd_table_put(files);
    }
    if (fs) {
        fs_context_put(fs);
    }
    if (mm) {
        memory_manager_put(mm);
    }
    if (thread) {
        host_thread_put(thread);
    }
}

void task_leave_table_locked(struct task *task) {
    struct kernel *kernel = task->thread_group->kernel;

    if (task->in_table) {
        task->in_table = false;
        list_del(&task->kernel_link);
        pid_table_remove_task(kernel->pids, task->id);
    }
}

/* The kernel's count goes down when the task is not run any more: after that nothing of it is left
 * to wait for. */
static void count_down(struct kernel *kernel) {
    if (atomic_fetch_sub(&kernel->task_count, 1) == 1) {
        wait_queue_wake(&kernel->idle, 0);
    }
}

void task_destroy(struct task *task) {
    struct kernel *kernel = task->thread_group->kernel;

    thread_group_remove(task->thread_group, task);
    task_drop_running(task);
    {
        WRITE_GUARD(&kernel->pids_lock);

        /* After exit(2) a leader stays until it is waited for (exit.c). */
        if (!task->finished) {
            task_leave_table_locked(task);
        }
    }
}

void task_owner_release(struct task_owner *owner) {
    struct task *task = STEAL(owner->task);
    struct kernel *kernel CLEANUP(kernel_put) = NULL;

    if (task) {
        kernel = kernel_get(task->thread_group->kernel);
        task_destroy(task);
        task_put(task);
        count_down(kernel);
    }
}
