/*
 * What is asked of a task, by others and by its own calls: its ids, its parts as owned references,
 * the files of the call that it is in, and who may do what to it.
 */
#include "task/task_internal.h"

pid_t task_get_pid(const struct task *task) {
    return task->thread_group->leader;
}

pid_t task_get_tid(const struct task *task) {
    return task->id;
}

pid_t task_get_pgrp(const struct task *task) {
    READ_GUARD(&task->thread_group->kernel->pids_lock);
    struct process_group *pgrp = task->thread_group->process_group;

    return pgrp ? pgrp->id : 0;
}

pid_t task_get_sid(const struct task *task) {
    READ_GUARD(&task->thread_group->kernel->pids_lock);
    struct process_group *pgrp = task->thread_group->process_group;

    return pgrp ? pgrp->session->id : 0;
}

pid_t task_get_ppid(const struct task *task) {
    READ_GUARD(&task->thread_group->kernel->pids_lock);
    struct thread_group *parent = task->thread_group->parent;

    return parent ? parent->leader : 0;
}

struct credentials *task_creds(struct task *task) {
    LOCK_GUARD(&task->lock);

    return credentials_get(task->creds);
}

/*
 * The stub answers calls about these ids from what is published here, so every change of one of
 * them is published before anybody can see it otherwise. With pids_lock held, for reading at least:
 * two that publish for the same task must not overtake one another, hence the task's lock over it
 * too.
 */
void task_publish_locked(struct task *task) {
    struct thread_group *group = task->thread_group, *parent = group->parent;
    struct process_group *pgrp = group->process_group;
    LOCK_GUARD(&task->lock);

    if (task->thread) {
        host_thread_publish(task->thread, &(struct slot_ids){
                                              .pid = group->leader,
                                              .tid = task->id,
                                              .ppid = parent ? parent->leader : 0,
                                              .pgid = pgrp ? pgrp->id : 0,
                                              .sid = pgrp ? pgrp->session->id : 0,
                                              .uid = task->creds->uid,
                                              .euid = task->creds->euid,
                                              .gid = task->creds->gid,
                                              .egid = task->creds->egid,
                                          });
    }
}

void task_publish(struct task *task) {
    READ_GUARD(&task->thread_group->kernel->pids_lock);

    task_publish_locked(task);
}

void task_set_creds(struct task *task, struct credentials *creds) {
    struct credentials *old;

    lock_acquire(&task->lock);
    old = task->creds;
    task->creds = creds;
    lock_release(&task->lock);
    credentials_put(old);
    task_publish(task);
}

struct fd_table *task_files(struct task *task) {
    struct fd_table *files;

    lock_acquire(&task->lock);
    files = task->files ? fd_table_peek_get(task->files) : NULL;
    lock_release(&task->lock);
    if (files) {
        fd_table_settle(files);
    }
    return files;
}

struct memory_manager *task_mm(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->mm ? memory_manager_get(task->mm) : NULL;
}

struct fs_context *task_fs(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->fs ? fs_context_get(task->fs) : NULL;
}

struct host_thread *task_thread(struct task *task) {
    LOCK_GUARD(&task->lock);

    return task->thread ? host_thread_get(task->thread) : NULL;
}

void task_memory(struct task *task, struct memory_manager **mm, struct host_thread **thread) {
    LOCK_GUARD(&task->lock);

    *mm = task->mm && task->thread ? memory_manager_get(task->mm) : NULL;
    *thread = *mm ? host_thread_get(task->thread) : NULL;
}

struct walk task_walk(struct task *current, const struct path *start) {
    return (struct walk){.fs = current->fs, .creds = current->creds, .start = start};
}

deadline_ns task_call_deadline(struct task *current, int64_t timeout_ns) {
    if (timeout_ns < 0) {
        return WAIT_FOREVER;
    }
    if (current->call.deadline == 0) {
        int64_t now = host_clock_monotonic();

        current->call.deadline =
            timeout_ns > WAIT_FOREVER - 1 - now ? WAIT_FOREVER - 1 : now + timeout_ns;
    }
    return current->call.deadline;
}

struct file *task_call_file(struct task *current, int fd) {
    struct file *file;

    for (size_t i = 0; i < TASK_CALL_FILES && current->call.files[i].file; i++) {
        if (current->call.files[i].fd == fd) {
            return file_get(current->call.files[i].file);
        }
    }
    file = fd_table_get(current->files, fd);
    if (file && fd_table_shared(current->files)) {
        for (size_t i = 0; i < TASK_CALL_FILES; i++) {
            if (!current->call.files[i].file) {
                current->call.files[i].fd = fd;
                current->call.files[i].file = file_get(file);
                break;
            }
        }
    }
    return file;
}

void task_call_file_direct(struct task *current, int fd, int number) {
    current->call.files[0].fd = fd;
    current->call.files[0].file = number > 0 ? donation_file(current->files, number) : NULL;
}

void task_call_files_put(struct task *current) {
    for (size_t i = 0; i < TASK_CALL_FILES && current->call.files[i].file; i++) {
        file_put(STEAL(current->call.files[i].file));
    }
}

/* kill(2): the sender's real or effective uid is the target's real or saved one, or CAP_KILL; for
 * SIGCONT the same session is enough. */
bool task_may_signal(struct task *current, struct task *target, int signal) {
    struct credentials *target_creds CLEANUP(credentials_put) = NULL;
    const struct credentials *creds = current->creds;

    if (current->thread_group == target->thread_group) {
        return true;
    }
    target_creds = task_creds(target);
    if (creds->euid == target_creds->suid || creds->euid == target_creds->uid ||
        creds->uid == target_creds->suid || creds->uid == target_creds->uid ||
        credentials_capable(creds, CAP_KILL)) {
        return true;
    }
    return signal == SIGCONT && task_get_sid(current) == task_get_sid(target);
}

/* ptrace(2), "Ptrace access mode checking", with PTRACE_MODE_REALCREDS. */
bool task_may_access(struct task *current, struct task *target) {
    struct credentials *target_creds CLEANUP(credentials_put) = NULL;
    const struct credentials *creds = current->creds;
    bool same;

    if (current->thread_group == target->thread_group ||
        credentials_capable(creds, CAP_SYS_PTRACE)) {
        return true;
    }
    target_creds = task_creds(target);
    same = creds->uid == target_creds->euid && creds->uid == target_creds->suid &&
           creds->uid == target_creds->uid && creds->gid == target_creds->egid &&
           creds->gid == target_creds->sgid && creds->gid == target_creds->gid;
    return same && atomic_load(&target->thread_group->dumpable) == 1 &&
           (target_creds->cap_permitted & ~creds->cap_permitted) == 0;
}
