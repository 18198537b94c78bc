/*
 * clone: fork(2), vfork(2), clone(2), clone3(2). The host makes the new host thread or process from
 * the parent's stub; it waits in its slot until the new task's kernel thread resumes it.
 *
 *   CLONE_THREAD        a host thread in the same host process
 *   CLONE_VM alone      a second host process on the same memory (vfork, posix_spawn)
 *   neither             the host's fork, with the parent's change token held so that the two trees
 *                       of mappings are of one moment
 *
 * Everything that may fail happens before the child's kernel thread starts; until then the child is
 * undone by dropping its owner.
 */
#include "task/task_internal.h"

#include <sched.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define NAMESPACES                                                                                 \
    ((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |      \
                CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME))

/* ---- vfork ---- */

void vfork_completion_put(struct vfork_completion *completion) {
    if (completion && ref_put(&completion->ref)) {
        wait_queue_destroy(&completion->queue);
        free(completion);
    }
}

static struct vfork_completion *vfork_completion_new(void) {
    struct vfork_completion *completion = calloc(1, sizeof(*completion));

    if (completion) {
        ref_init(&completion->ref);
        wait_queue_init(&completion->queue);
    }
    return completion;
}

void task_vfork_done(struct task *current) {
    struct vfork_completion *completion = STEAL(current->vfork);

    if (completion) {
        atomic_store(&completion->done, true);
        wait_queue_wake(&completion->queue, 0);
        vfork_completion_put(completion);
    }
}

/*
 * Waits until the child has its own memory or none. Signals stay pending: only a kill ends it
 * (vfork(2)). For rest the call is left and made again, with what it has done in
 * current->vfork_wait.
 */
static pid_t vfork_wait(struct task *current) {
    struct vfork_completion *completion = current->vfork_wait;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int interrupted = 0;

    wait_queue_add(&completion->queue, &entry);
    while (!interrupted && !atomic_load(&completion->done)) {
        interrupted = task_sleep_killable(current);
    }
    wait_queue_remove(&entry);
    atomic_store(&current->work, true); /* for the signals that were put off */
    if (interrupted != -ERESTARTNOINTR) {
        pid_t child = completion->child;

        vfork_completion_put(STEAL(current->vfork_wait));
        return child;
    }
    return interrupted;
}

/* ---- checks ---- */

static int check_namespaces(struct task *current, const char *call, uint64_t flags) {
    flags &= NAMESPACES;
    if (flags == CLONE_NEWNS) {
        return credentials_capable(current->creds, CAP_SYS_ADMIN) ? 0 : -EPERM;
    }
    if (flags == 0) {
        return 0;
    }
    log_once(LOG_WARN, "namespaces", flags, "%s: new namespaces (flags %#llx) are not supported",
             call, (unsigned long long)flags);
    return credentials_capable(current->creds, CAP_SYS_ADMIN) || (flags & CLONE_NEWUSER) ? -EINVAL
                                                                                         : -EPERM;
}

/* clone(2), ERRORS. */
static int check_flags(struct task *current, uint64_t flags) {
    struct thread_group *group = current->thread_group;
    int result;

    if (((flags & CLONE_SIGHAND) && !(flags & CLONE_VM)) ||
        ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND)) ||
        ((flags & CLONE_FS) && (flags & (CLONE_NEWNS | CLONE_NEWUSER))) ||
        ((flags & (CLONE_THREAD | CLONE_PARENT)) && (flags & (CLONE_NEWPID | CLONE_NEWUSER))) ||
        ((flags & CLONE_SIGHAND) && (flags & CLONE_CLEAR_SIGHAND)) ||
        ((flags & CLONE_PIDFD) && (flags & CLONE_THREAD))) {
        return -EINVAL;
    }
    result = check_namespaces(current, "clone", flags);
    if (result) {
        return result;
    }
    if (flags & CLONE_PARENT) {
        READ_GUARD(&group->kernel->pids_lock);

        if (!group->parent) {
            return -EINVAL; /* the init's siblings would have no reaper */
        }
    }
    return 0;
}

/* RLIMIT_NPROC counts the tasks of the real uid; root and two capabilities are free of it
 * (getrlimit(2)). */
static bool over_process_limit(struct task *current) {
    struct kernel *kernel = current->thread_group->kernel;
    const struct credentials *creds = current->creds;
    uint64_t limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_NPROC), count = 0;
    struct task *task;

    if (limit == RLIM64_INFINITY || creds->uid == 0 ||
        credentials_capable(creds, CAP_SYS_RESOURCE) || credentials_capable(creds, CAP_SYS_ADMIN)) {
        return false;
    }
    READ_GUARD(&kernel->pids_lock);
    list_for_each_entry (task, &kernel->all_tasks, kernel_link) {
        LOCK_GUARD(&task->lock);

        count += task->creds->uid == creds->uid;
    }
    return count >= limit;
}

/* ---- the child's parts ---- */

struct child {
    struct host_process *process;
    struct host_aspace *aspace;
    struct host_thread *thread;
    struct memory_manager *mm;
    struct fd_table *files;
    struct fs_context *fs;
    struct signal_action_table *actions;
    bool started;
};

static void child_cleanup(struct child *child) {
    if (child->thread) {
        /* In a process of its own it dies with that; a thread must be sent away. */
        if (!child->started && !child->aspace && child->process) {
            host_thread_exit(child->thread, NULL, 0);
        }
        host_thread_put(child->thread);
    }
    if (child->mm) {
        memory_manager_put(child->mm);
    }
    if (child->files) {
        fd_table_put(child->files);
    }
    if (child->fs) {
        fs_context_put(child->fs);
    }
    if (child->actions) {
        signal_action_table_put(child->actions);
    }
    if (child->aspace) {
        host_aspace_put(child->aspace);
    }
    if (child->process) {
        host_process_put(child->process);
    }
}

/* A copy of the fs_context, with CLONE_NEWNS in a copy of the mount tree; ERR_PTR. */
static struct fs_context *copy_fs(struct fs_context *fs, uint64_t flags) {
    struct fs_context *copy = fs_context_fork(fs);
    int error = !IS_ERR(copy) && (flags & CLONE_NEWNS) ? fs_context_unshare_mounts(copy) : 0;

    if (error) {
        fs_context_put(copy);
        return ERR_PTR(error);
    }
    return copy;
}

/* The parts that need nothing of the host. */
static int make_kernel_parts(struct task *current, uint64_t flags, struct child *child) {
    child->files =
        flags & CLONE_FILES ? fd_table_get_ref(current->files) : fd_table_fork(current->files);
    if (IS_ERR(child->files)) {
        return (int)PTR_ERR(STEAL(child->files));
    }
    child->fs = flags & CLONE_FS ? fs_context_get(current->fs) : copy_fs(current->fs, flags);
    if (IS_ERR(child->fs)) {
        return (int)PTR_ERR(STEAL(child->fs));
    }
    if (flags & CLONE_SIGHAND) {
        child->actions = signal_action_table_get(current->thread_group->actions);
    } else {
        child->actions = signal_action_table_copy(current->thread_group->actions);
        if (!child->actions) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int make_host_parts(struct task *current, const struct clone_params *params,
                           struct child *child) {
    bool set_tls = params->flags & CLONE_SETTLS;
    int result;

    if (params->flags & CLONE_THREAD) {
        child->process = thread_group_process(current->thread_group);
        child->mm = memory_manager_get(current->mm);
        return host_thread_clone(current->thread, set_tls, params->tls, &child->thread);
    }
    if (params->flags & CLONE_VM) {
        child->mm = memory_manager_get(current->mm);
    }
    result = memory_change_begin(current->mm);
    if (result) {
        return result;
    }
    fd_table_inherit_begin(current->files, child->files);
    result = host_process_clone(current->thread, params->flags & CLONE_VM, set_tls, params->tls,
                                &child->process, &child->aspace, &child->thread);
    if (result == 0 && !child->mm) {
        child->mm = memory_manager_fork(current->mm, child->aspace);
        if (IS_ERR(child->mm)) {
            result = (int)PTR_ERR(STEAL(child->mm));
        }
    }
    fd_table_inherit_end(current->files);
    memory_change_end(current->mm);
    return result;
}

static void set_child_registers(const struct clone_params *params, struct host_thread *thread) {
    struct user_regs *regs = host_thread_regs(thread);

    regs->rax = 0;
    if (params->stack) {
        regs->rsp = params->stack;
    }
    host_thread_regs_changed(thread);
}

/* The parent side of what the new task finds in memory; the child's own is task_begin(). */
static void set_child_words(struct task *current, const struct clone_params *params,
                            struct task *task) {
    struct slot_told told = host_thread_told(current->thread);

    told.robust_list = told.clear_child_tid = 0;
    if (params->flags & CLONE_CHILD_SETTID) {
        task->set_child_tid = params->child_tid;
    }
    if (params->flags & CLONE_CHILD_CLEARTID) {
        told.clear_child_tid = params->child_tid.value;
    }
    /* clone(2): a thread on the same memory would share the alternate stack, so it has none. */
    if ((params->flags & (CLONE_VM | CLONE_VFORK)) == CLONE_VM) {
        task->signal_stack = (struct user_sigaltstack){.flags = SS_DISABLE};
    }
    /* As the host does: only a copy of the memory keeps its rseq area. */
    if (params->flags & CLONE_VM) {
        told.rseq_address = 0;
    }
    host_thread_set_told(task->thread, &told);
    if (params->flags & CLONE_PARENT_SETTID) {
        pid_t id = task->id;

        /* As in Linux a bad address here is the caller's loss. */
        (void)!put_user(current->thread, id, params->parent_tid);
    }
}

void task_begin(struct task *current) {
    pid_t id = current->id;

    if (!user_address_is_null(current->set_child_tid)) {
        (void)!put_user(current->thread, id, current->set_child_tid);
    }
}

/* clone(2) CLONE_SYSVSEM: what both do is taken back when the last of them ends. */
static int share_sem_undo(struct task *current, struct task *child) {
    if (!current->sem_undo) {
        current->sem_undo = sem_undo_list_new(current->thread_group->kernel->ipc);
    }
    child->sem_undo = current->sem_undo ? sem_undo_list_get(current->sem_undo) : NULL;
    return child->sem_undo ? 0 : -ENOMEM;
}

static int unshare_files(struct task *current) {
    struct fd_table *old = current->files, *copy;

    if (!fd_table_shared(old)) {
        return 0;
    }
    copy = fd_table_fork(old);
    if (IS_ERR(copy)) {
        return (int)PTR_ERR(copy);
    }
    lock_acquire(&current->lock);
    current->files = copy;
    lock_release(&current->lock);
    fd_table_put(old);
    return 0;
}

static int unshare_fs(struct task *current, uint64_t flags) {
    struct fs_context *old = current->fs, *copy = copy_fs(old, flags);

    if (IS_ERR(copy)) {
        return (int)PTR_ERR(copy);
    }
    lock_acquire(&current->lock);
    current->fs = copy;
    lock_release(&current->lock);
    fs_context_put(old);
    return 0;
}

int task_unshare(struct task *current, uint64_t flags) {
    const uint64_t whole_process = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    struct thread_group *group = current->thread_group;
    int result;

    if (flags & ~(NAMESPACES | whole_process | CLONE_FILES | CLONE_FS | CLONE_SYSVSEM)) {
        return -EINVAL;
    }
    result = check_namespaces(current, "unshare", flags);
    if (result) {
        return result;
    }
    /* These are never shared by a process of one thread, and cannot be given up by one of many. */
    if (flags & whole_process) {
        LOCK_GUARD(&group->signal_lock);

        if (group->task_count > 1) {
            return -EINVAL;
        }
    }
    if (flags & CLONE_FILES) {
        result = unshare_files(current);
    }
    if (result == 0 && (flags & (CLONE_FS | CLONE_NEWNS))) {
        result = unshare_fs(current, flags);
    }
    if (result == 0 && (flags & CLONE_SYSVSEM) && current->sem_undo) {
        sem_undo_list_put(STEAL(current->sem_undo), group->leader);
    }
    return result;
}

pid_t task_clone(struct task *current, const struct clone_params *params) {
    struct thread_group *group = current->thread_group;
    struct vfork_completion *completion = NULL;
    struct child child CLEANUP(child) = {0};
    struct task_owner owner = {0};
    uint64_t flags = params->flags;
    pid_t id;
    int result;

    if (current->vfork_wait) {
        return vfork_wait(current); /* made again after rest */
    }
    result = check_flags(current, flags);
    if (result) {
        return result;
    }
    if (over_process_limit(current)) {
        return -EAGAIN;
    }
    /* A signal that came before the fork is the parent's alone: it is handled first. */
    if (signal_pending(current)) {
        return -ERESTARTNOINTR;
    }
    result = make_kernel_parts(current, flags, &child);
    if (result) {
        return result;
    }
    if (flags & CLONE_VFORK) {
        completion = vfork_completion_new();
        if (!completion) {
            return -ENOMEM;
        }
    }
    result = make_host_parts(current, params, &child);
    if (result == 0) {
        set_child_registers(params, child.thread);
        result = task_create(
            group->kernel,
            &(struct task_params){
                .creator = current,
                .group = flags & CLONE_THREAD ? group : NULL,
                .sibling = flags & CLONE_PARENT,
                .actions = child.actions,
                .process = child.process,
                .thread = child.thread,
                .files = child.files,
                .mm = child.mm,
                .fs = child.fs,
                .creds = current->creds,
                .exit_signal = flags & CLONE_PARENT ? group->exit_signal : params->exit_signal,
            },
            &owner);
    }
    if (result == 0 && !(flags & CLONE_THREAD)) {
        result = thread_group_watch_process(owner.task->thread_group);
    }
    if (result == 0 && !(flags & CLONE_THREAD)) {
        result = thread_group_limits_changed(owner.task->thread_group, RLIMIT_FSIZE);
    }
    if (result == 0 && !(flags & CLONE_THREAD)) {
        result = thread_group_limits_changed(owner.task->thread_group, RLIMIT_CPU);
    }
    if (result == 0 && (flags & CLONE_CLEAR_SIGHAND)) {
        result = signal_exec(owner.task->thread_group);
    }
    if (result == 0 && (flags & CLONE_SYSVSEM)) {
        result = share_sem_undo(current, owner.task);
    }
    if (result == 0 && params->prepare) {
        result = params->prepare(current, owner.task, params->prepare_arg);
    }
    if (result == 0) {
        id = owner.task->id;
        set_child_words(current, params, owner.task);
        if (completion) {
            ref_get(&completion->ref);
            owner.task->vfork = completion;
            completion->child = id;
        }
        result = task_start(&owner);
    }
    if (result) {
        task_owner_release(&owner);
        vfork_completion_put(completion);
        return result;
    }
    child.started = true;
    if (completion) {
        current->vfork_wait = completion;
        return vfork_wait(current);
    }
    return id;
}
