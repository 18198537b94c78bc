/*
 * kernel: the root of the task hierarchy. It owns the pid table and the job (the set of host
 * processes); thread groups hold the kernel, so it outlives every task, and it knows tasks weakly.
 *
 * Its life: kernel_new(), the first task (task_new: the init), tasks come and go; `idle` is
 * announced when the last one has gone; the last reference frees it.
 */
#include "task/task_internal.h"

#include <stdio.h>

struct kernel *kernel_new(struct host_job *job, const char *name) {
    struct kernel *kernel = calloc(1, sizeof(*kernel));

    if (!kernel) {
        return ERR_PTR(-ENOMEM);
    }
    kernel->pids = pid_table_new();
    kernel->rest = rest_new();
    kernel->ipc = ipc_namespace_new();
    if (!kernel->pids || !kernel->rest || !kernel->ipc) {
        pid_table_free(kernel->pids);
        if (kernel->rest) {
            rest_free(kernel->rest);
        }
        if (kernel->ipc) {
            ipc_namespace_free(kernel->ipc);
        }
        free(kernel);
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&kernel->ref);
    kernel->job = host_job_get(job);
    rwlock_init(&kernel->pids_lock, LOCK_PIDS);
    list_init(&kernel->all_tasks);
    lock_init(&kernel->lock, LOCK_KERNEL);
    snprintf(kernel->hostname, sizeof(kernel->hostname), "%s", name);
    snprintf(kernel->domainname, sizeof(kernel->domainname), "(none)");
    kernel->boot_time_ns = host_clock_boottime();
    wait_queue_init(&kernel->idle);
    return kernel;
}

struct kernel *kernel_get(struct kernel *kernel) {
    ref_get(&kernel->ref);
    return kernel;
}

void kernel_put(struct kernel *kernel) {
    if (!ref_put(&kernel->ref)) {
        return;
    }
    wait_queue_destroy(&kernel->idle);
    ipc_namespace_free(kernel->ipc);
    rest_free(kernel->rest);
    pid_table_free(kernel->pids);
    rwlock_destroy(&kernel->pids_lock);
    lock_destroy(&kernel->lock);
    host_job_put(kernel->job);
    free(kernel);
}

struct task *kernel_get_task(struct kernel *kernel, pid_t pid) {
    READ_GUARD(&kernel->pids_lock);

    return pid_table_get_task(kernel->pids, pid);
}

struct thread_group *kernel_get_thread_group(struct kernel *kernel, pid_t pid) {
    READ_GUARD(&kernel->pids_lock);
    struct pid_entry *entry = pid_table_find(kernel->pids, pid);

    return entry && entry->thread_group ? thread_group_get(entry->thread_group) : NULL;
}

static int compare_ids(const void *a, const void *b) {
    const struct task *const *left = a, *const *right = b;

    return ((*left)->id > (*right)->id) - ((*left)->id < (*right)->id);
}

struct task **kernel_tasks(struct kernel *kernel, bool leaders_only) {
    struct task **tasks, *task;
    size_t count = 0;

    {
        READ_GUARD(&kernel->pids_lock);

        tasks = malloc((kernel->pids->count + 1) * sizeof(struct task *));
        if (!tasks) {
            return NULL;
        }
        list_for_each_entry (task, &kernel->all_tasks, kernel_link) {
            if (leaders_only ? task->id == task->thread_group->leader : !task->exited) {
                tasks[count++] = task_get(task);
            }
        }
    }
    tasks[count] = NULL;
    qsort(tasks, count, sizeof(struct task *), compare_ids);
    return tasks;
}

int kernel_wait_idle(struct kernel *kernel, deadline_ns deadline) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    wait_queue_add(&kernel->idle, &entry);
    while (atomic_load(&kernel->task_count) > 0) {
        result = wait_sleep(deadline);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return result;
}

/* The end of the init ends the others (exit.c), but one whose init has already gone, or never was,
 * must end too. */
void kernel_kill_all(struct kernel *kernel) {
    struct task *task;

    READ_GUARD(&kernel->pids_lock);
    list_for_each_entry (task, &kernel->all_tasks, kernel_link) {
        if (!task->thread_group->dead) {
            signal_group_exit_locked(task->thread_group, SIGKILL);
        }
    }
}
