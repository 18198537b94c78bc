/*
 * execve(2): a new program for a process, in a fresh host process.
 *
 * Everything that can fail is done beside the running program: reading the file, making a host
 * process, mapping, the stack. Then the other threads of the group die (task_become_only_thread:
 * the point of no return), the task changes over to the new host process, and the old one is
 * killed: whatever a guest did to its stub or its memory ends there.
 *
 * The first exec of the first task finds its own process empty and loads into that.
 */
#include <stdio.h>
#include <sys/syscall.h>

#include "task/exec_internal.h"
#include "task/task_internal.h"

/* /proc/PID/exe and ETXTBSY: the file that an address space runs, kept by its memory_manager. */
static void *program_get(void *program) {
    struct file *file = program;

    /* Cannot fail: a file that one address space runs is open for writing nowhere. */
    if (inode_deny_write(file->inode)) {
        panic("a running program is open for writing");
    }
    return file_get(file);
}

static void program_put(void *program) {
    struct file *file = program;

    inode_allow_write(file->inode);
    file_put(file);
}

static const struct memory_program_ops program_ops = {.get = program_get, .put = program_put};

struct file *task_program(struct task *task) {
    struct memory_manager *mm CLEANUP(memory_manager_put) = task_mm(task);
    struct file *program = mm ? memory_manager_program(mm) : NULL;

    if (program) {
        file_get(program);
        program_put(program);
    }
    return program;
}

static int exec_begin(struct exec *exec, struct task *current, const struct exec_params *params) {
    size_t count = 0;

    *exec = (struct exec){.current = current, .params = params, .file = file_get(params->file)};
    while (params->argv[count]) {
        count++;
    }
    exec->argv = calloc(MAX(count, (size_t)1) + 1, sizeof(*exec->argv));
    if (!exec->argv) {
        return -ENOMEM;
    }
    memcpy(exec->argv, params->argv, count * sizeof(*exec->argv));
    exec->argc = count;
    if (count == 0) {
        /* Linux, since 5.18: a program always has an argv[0]. */
        exec->argv[exec->argc++] = "";
    }
    return 0;
}

static void exec_end(struct exec *exec) {
    elf_image_destroy(&exec->program);
    elf_image_destroy(&exec->interpreter);
    if (exec->file) {
        file_put(exec->file);
    }
    if (exec->interpreter_file) {
        file_put(exec->interpreter_file);
    }
    if (exec->creds) {
        credentials_put(exec->creds);
    }
    free(exec->argv);
    for (size_t i = 0; i < exec->kept_count; i++) {
        free(exec->kept[i]);
    }
    if (exec->mm) {
        memory_manager_put(exec->mm);
    }
    if (exec->in_place) {
        return;
    }
    if (exec->thread) {
        host_thread_put(exec->thread);
    }
    if (exec->process) {
        (void)!host_process_kill(exec->process);
        host_process_put(exec->process);
    }
    if (exec->aspace) {
        host_aspace_put(exec->aspace);
    }
}

/* The host process that the program is loaded into. */
static int exec_make_process(struct exec *exec) {
    struct task *current = exec->current;

    if (memory_manager_fresh(current->mm)) {
        exec->in_place = true;
        exec->thread = current->thread;
        exec->mm = memory_manager_get(current->mm);
        return 0;
    }
    int result = host_process_create(current->thread_group->kernel->job, current->thread,
                                     &exec->process, &exec->aspace, &exec->thread);

    if (result) {
        exec->process = NULL;
        exec->aspace = NULL;
        exec->thread = NULL;
        return result;
    }
    exec->mm = memory_manager_new(exec->aspace);
    if (IS_ERR(exec->mm)) {
        return (int)PTR_ERR(STEAL(exec->mm));
    }
    return 0;
}

static int exec_prepare(struct exec *exec) {
    int result = exec_find_program(exec);

    if (!result) {
        result = exec_check_arguments(exec);
    }
    if (!result) {
        result = exec_credentials(exec);
    }
    if (!result) {
        result = exec_make_process(exec);
    }
    if (!result) {
        result = exec_map_program(exec);
    }
    if (!result) {
        result = exec_write_stack(exec);
    }
    if (!result) {
        result = inode_deny_write(exec->file->inode);
    }
    if (result) {
        return result;
    }
    memory_manager_set_layout(exec->mm, &exec->layout);
    memory_manager_set_program(exec->mm, file_get(exec->file), &program_ops);
    return 0;
}

/* The task's old memory and host process go; the new ones are its own from here on. */
static int exec_change_process(struct exec *exec) {
    struct task *current = exec->current;
    struct host_process *old_process;
    struct host_thread *old_thread = current->thread;
    struct memory_manager *old_mm = current->mm;

    if (exec->in_place) {
        return 0;
    }
    task_release_memory(current);
    old_process = thread_group_process(current->thread_group);

    int result = thread_group_set_process(current->thread_group, exec->process);

    if (result) {
        host_process_put(old_process);
        return result;
    }
    fd_table_leave_process(current->files);
    lock_acquire(&current->thread_group->signal_lock);
    {
        LOCK_GUARD(&current->lock);
        task_fold_io_locked(current);
        host_thread_set_signal_mask(exec->thread, host_thread_signal_mask(old_thread));
        current->thread = STEAL(exec->thread);
        current->mm = STEAL(exec->mm);
    }
    signal_publish_pending_locked(current);
    lock_release(&current->thread_group->signal_lock);
    task_publish(current);
    thread_group_kill_process(current->thread_group, old_process);
    host_process_put(old_process);
    host_thread_put(old_thread);
    memory_manager_put(old_mm);
    host_process_put(STEAL(exec->process));
    return 0;
}

static void exec_set_comm(struct task *current, const char *filename) {
    const char *slash = strrchr(filename, '/');

    LOCK_GUARD(&current->lock);
    snprintf(current->comm, sizeof(current->comm), "%s", slash ? slash + 1 : filename);
}

static void exec_set_credentials(struct exec *exec) {
    struct task *current = exec->current;
    /* A program that its user may not read does not show its memory either (ptrace(2)). */
    bool readable = inode_permission(exec->file->inode, MAY_READ, exec->creds) == 0;

    atomic_store(&current->thread_group->dumpable, readable && !exec->secure);
    if (exec->secure) {
        LOCK_GUARD(&current->lock);
        current->pdeath_signal = 0;
    }
    task_set_creds(current, STEAL(exec->creds));
}

/* Past the point of no return: what fails here ends the process. */
static int exec_commit(struct exec *exec) {
    struct task *current = exec->current;
    struct thread_group *group = current->thread_group;
    int result = signal_exec(group);

    if (result) {
        return result;
    }
    if (fd_table_shared(current->files)) {
        struct fd_table *own = fd_table_fork(current->files), *old;

        if (IS_ERR(own)) {
            return (int)PTR_ERR(own);
        }
        {
            LOCK_GUARD(&current->lock);
            old = current->files;
            current->files = own;
        }
        fd_table_put(old);
    }
    /* Before the new memory can be seen: who looks at it through /proc finds its owner's rights. */
    exec_set_credentials(exec);
    result = exec_change_process(exec);
    if (result) {
        return result;
    }
    task_vfork_done(current);
    posix_timers_exec(group->timers);
    fd_table_close_on_exec(current->files);
    current->signal_stack = (struct user_sigaltstack){.flags = SS_DISABLE};
    current->set_child_tid = user_address(0);
    exec_set_comm(current, exec->params->filename);
    {
        WRITE_GUARD(&group->kernel->pids_lock);
        group->did_exec = true;
    }
    struct user_regs *regs = host_thread_regs(current->thread);

    *regs = (struct user_regs){.rip = exec->entry, .rsp = exec->stack_pointer, .eflags = 0x202};
    host_thread_regs_changed(current->thread);
    return 0;
}

int task_exec(struct task *current, const struct exec_params *params) {
    struct exec exec;
    int result = exec_begin(&exec, current, params);

    if (!result) {
        result = exec_prepare(&exec);
    }
    if (!result) {
        result = task_become_only_thread(current);
    }
    if (!result && exec_commit(&exec)) {
        log_line(LOG_WARN, "killed process %d: out of memory while it executed %s",
                 task_get_pid(current), params->filename);
        task_exit_group(current->thread_group, SIGKILL);
    }
    exec_end(&exec);
    return result;
}
