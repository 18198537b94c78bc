/*
 * Rest (design §12): the whole sandbox at its user boundary. kernel_rest() announces the wish,
 * notifies every task (its sleep ends with a restart code, its guest is kicked), and waits until
 * each one has arrived in rest_boundary(); kernel_release() lets them go on, and run.c makes the
 * interrupted calls again.
 *
 * A task in a job-control stop waits at its boundary too: it is woken, rests here, and goes back to
 * its stop. A task that is made while rest is being reached begins at its boundary; a task that
 * ends leaves the table, which is announced as an arrival.
 */
#include "task/signal_internal.h"

struct rest {
    struct lock lock;          /* class KERNEL */
    _Atomic unsigned requests; /* written under lock */
    struct wait_queue arrived; /* for kernel_rest */
    struct wait_queue released;
};

struct rest *rest_new(void) {
    struct rest *rest = calloc(1, sizeof(*rest));

    if (rest) {
        lock_init(&rest->lock, LOCK_KERNEL);
        wait_queue_init(&rest->arrived);
        wait_queue_init(&rest->released);
    }
    return rest;
}

void rest_free(struct rest *rest) {
    if (rest) {
        lock_destroy(&rest->lock);
        wait_queue_destroy(&rest->arrived);
        wait_queue_destroy(&rest->released);
        free(rest);
    }
}

static bool requested(struct kernel *kernel) {
    return kernel->rest && atomic_load(&kernel->rest->requests) > 0;
}

bool task_rest_wanted(struct task *task) {
    return requested(task->thread_group->kernel);
}

void rest_boundary(struct task *current) {
    struct rest *rest = current->thread_group->kernel->rest;
    struct wait_entry entry = WAIT_ENTRY_INIT;

    if (!rest || atomic_load(&rest->requests) == 0) {
        return;
    }
    fd_table_settle(current->files);
    wait_queue_add(&rest->released, &entry);
    lock_acquire(&rest->lock);
    while (atomic_load(&rest->requests) > 0) {
        current->at_rest = true;
        lock_release(&rest->lock);
        wait_queue_wake(&rest->arrived, 0);
        int woken UNUSED = wait_sleep_uninterruptible(WAIT_FOREVER);
        lock_acquire(&rest->lock);
    }
    current->at_rest = false;
    lock_release(&rest->lock);
    wait_queue_remove(&entry);
}

void rest_task_left(struct kernel *kernel) {
    if (requested(kernel)) {
        wait_queue_wake(&kernel->rest->arrived, 0);
    }
}

/* How many tasks are not at rest yet; each is notified. -ENOMEM. */
static int count_moving(struct kernel *kernel) {
    struct task **tasks = kernel_tasks(kernel, false);
    int moving = 0;

    if (!tasks) {
        return -ENOMEM;
    }
    for (size_t i = 0; tasks[i]; i++) {
        bool at_rest;

        lock_acquire(&kernel->rest->lock);
        at_rest = tasks[i]->at_rest;
        lock_release(&kernel->rest->lock);
        if (!at_rest) {
            moving++;
            /* With work set it is on its way already. */
            if (!atomic_load(&tasks[i]->work)) {
                task_notify_work(tasks[i]);
            }
        }
        task_put(tasks[i]);
    }
    free(tasks);
    return moving;
}

int kernel_rest(struct kernel *kernel, deadline_ns deadline) {
    struct rest *rest = kernel->rest;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result;

    wait_queue_add(&rest->arrived, &entry);
    lock_acquire(&rest->lock);
    atomic_fetch_add(&rest->requests, 1);
    lock_release(&rest->lock);
    /* One look that finds all at rest is enough: a task that could make others was moving then. */
    while ((result = count_moving(kernel)) > 0) {
        result = wait_sleep(deadline);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result) {
        kernel_release(kernel);
    }
    return result;
}

void kernel_release(struct kernel *kernel) {
    struct rest *rest = kernel->rest;
    unsigned before;

    lock_acquire(&rest->lock);
    before = atomic_fetch_sub(&rest->requests, 1);
    lock_release(&rest->lock);
    if (before == 0) {
        panic("kernel_release() without kernel_rest()");
    }
    if (before == 1) {
        wait_queue_wake(&rest->released, 0);
    }
}
