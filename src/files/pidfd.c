/*
 * pidfd_open(2): a descriptor for a process. Readable once its last thread has ended. It keeps the
 * task (persistent part), and with it the thread group and its queue.
 */
#include <stdio.h>

#include "files/files_internal.h"

static const struct file_ops pidfd_file_ops;

static bool group_has_ended(struct thread_group *group) {
    READ_GUARD(&group->kernel->pids_lock);
    return group->task_count == 0;
}

static uint32_t pidfd_poll(struct file *file, struct poll_table *table) {
    struct task *task = file->private;

    poll_table_add(table, &task->thread_group->exit_wait);
    return group_has_ended(task->thread_group) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void pidfd_release(struct file *file) {
    task_put(file->private);
}

static int pidfd_show_fdinfo(struct file *file, char *buffer, size_t size) {
    struct task *task = file->private;
    pid_t pid = group_has_ended(task->thread_group) ? -1 : task_get_pid(task);

    return snprintf(buffer, size, "Pid:\t%d\nNSpid:\t%d\n", pid, pid);
}

static const struct file_ops pidfd_file_ops = {
    .poll = pidfd_poll,
    .show_fdinfo = pidfd_show_fdinfo,
    .release = pidfd_release,
};

int pidfd_new(struct task *task, int flags, struct file **file) {
    int error = file_new_anonymous("anon_inode:[pidfd]", 0, &pidfd_file_ops, task_get(task),
                                   O_RDWR | (flags & O_NONBLOCK), file);

    if (error) {
        task_put(task);
    }
    return error;
}

struct task *pidfd_task(struct file *file) {
    return file->ops == &pidfd_file_ops ? task_get(file->private) : NULL;
}
