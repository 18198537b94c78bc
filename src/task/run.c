/*
 * The task loop: one kernel thread for each task. It lets the guest run, answers what the guest
 * reports (a call, a fault, a kick), and at the user boundary, before the guest goes on, does what
 * waits there: the end of the task, rest, job-control stop, signals.
 *
 * # Restart
 * A call that was interrupted gives a restart code (uapi.h) and nothing of it is left on the stack
 * (design §12). If a handler runs, the guest sees EINTR or runs the call again from its own
 * instruction, as Linux decides it (signal(7)). If none does (the signal was ignored or went to
 * another thread, a stop and its continue, rest), the loop itself makes the call again, with the
 * arguments it had and call.restarting set, so that a relative timeout keeps its deadline
 * (task_call_deadline). The guest notices nothing: restart_syscall(2) is never needed.
 *
 * # Trust
 * Registers and events come from the slot, which the guest may write. host_thread.c hands over a
 * checked copy; an event that makes no sense kills that guest.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "task/signal_internal.h"
#include "task/task_internal.h"

/* x86 exception vectors (Intel SDM 6.3.1), as Linux reports them in sigcontext.trapno. */
#define TRAP_DEBUG              1
#define TRAP_BREAKPOINT         3
#define TRAP_INVALID_OPCODE     6
#define TRAP_GENERAL_PROTECTION 13
#define TRAP_PAGE_FAULT         14

/* The length of `syscall`, `int 0x80` and `sysenter`: what a restart goes back by. */
#define SYSCALL_INSTRUCTION_SIZE 2

static syscall_dispatch_fn *dispatch_call;
static task_exit_trace_fn *exit_trace;

void task_set_dispatch(syscall_dispatch_fn *dispatch) {
    dispatch_call = dispatch;
}

void task_set_exit_trace(task_exit_trace_fn *trace) {
    exit_trace = trace;
}

static void trace_exit_of(struct task *current, struct thread_group *group) {
    int status = current->exit_code;

    if (!exit_trace) {
        return;
    }
    lock_acquire(&group->signal_lock);
    if (group->exiting) {
        status = group->exit_status;
    }
    lock_release(&group->signal_lock);
    exit_trace(current, status);
}

enum task_state task_current_state(struct task *task) {
    enum task_state state = (enum task_state)atomic_load(&task->state);

    if (state == TASK_RUNNING) {
        LOCK_GUARD(&task->lock);
        if ((task->waiter && waiter_asleep(task->waiter)) ||
            (task->thread && host_thread_sleeps(task->thread))) {
            return TASK_SLEEPING;
        }
    }
    return state;
}

static bool is_restart(int64_t result) {
    return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND ||
           result == -ERESTART_RESTARTBLOCK;
}

/* The guest's registers after an interrupted call when a handler runs. */
static void resolve_restart(struct task *current, int64_t restart,
                            const struct user_sigaction *action) {
    struct user_regs *regs = host_thread_regs(current->thread);

    if (current->call.done) {
        regs->rax = current->call.done;
    } else if (restart == -ERESTARTNOINTR ||
               (restart == -ERESTARTSYS && (action->flags & SA_RESTART))) {
        regs->rax = (uint64_t)current->call.number;
        regs->rip -= SYSCALL_INSTRUCTION_SIZE;
        host_thread_regs_changed(current->thread);
    } else {
        regs->rax = (uint64_t)-EINTR;
    }
}

int64_t task_call_progress(struct task *current, int64_t result, size_t wanted) {
    size_t before = current->call.done;

    if (result < 0) {
        return is_restart(result) || before == 0 ? result : (int64_t)before;
    }
    if (before + (size_t)result < wanted && waiter_interrupted(waiter_current()) &&
        !signal_pending(current)) {
        current->call.done = before + (size_t)result;
        return -ERESTARTSYS;
    }
    return (int64_t)before + result;
}

static void restore_saved_mask(struct task *current) {
    current->restore_mask = false;
    signal_set_mask(current, current->saved_mask);
}

static void run_handler(struct task *current, const struct signal_info *info,
                        const struct user_sigaction *action) {
    /* The frame saves the mask that the handler's return restores: of sigsuspend and its like, the
     * one before the call. */
    struct user_regs *regs = host_thread_regs(current->thread);
    uint64_t start;
    kernel_sigset mask = current->restore_mask ? current->saved_mask : signal_get_mask(current);

    if (memory_patch_translate(current->mm, regs, &start)) {
        host_thread_regs_changed(current->thread);
    }
    if (sigframe_push(current, action, info, mask) < 0) {
        signal_frame_failed(current, info->signal);
        return;
    }
    signal_handler_started(current, action, info->signal);
}

/*
 * The user boundary. *restart: the restart code of the call that was interrupted, or 0; still set
 * on return when the call is to be made again in the kernel. False: the task must end.
 */
bool task_user_boundary(struct task *current, int64_t *restart) {
    for (;;) {
        struct signal_info info;
        struct user_sigaction action;

        /* Cleared before looking: what comes after this is seen by the look or sets it again. */
        waiter_clear_interrupt(waiter_current());
        atomic_store(&current->work, false);

        rest_boundary(current);
        switch (signal_next(current, &info, &action)) {
        case SIGNAL_EXIT:
            return false;
        case SIGNAL_STOP:
            task_call_files_put(current); /* this restart is one of Linux's too */
            signal_stop_wait(current);
            continue;
        case SIGNAL_HANDLER:
            if (*restart) {
                resolve_restart(current, *restart, &action);
                *restart = 0;
            }
            run_handler(current, &info, &action);
            continue;
        case SIGNAL_NOTHING:
            break;
        }
        if (!*restart && current->restore_mask) {
            restore_saved_mask(current);
        }
        if (!atomic_load(&current->work)) {
            return true;
        }
    }
}

/* The host calls of a memory call that was deferred have been made. */
static void settle_memory(struct task *current, int outcome) {
    int64_t result = memory_settle(current->mm, current->thread, outcome);

    if (outcome < 0) {
        host_thread_regs(current->thread)->rax = (uint64_t)result;
    }
}

/* Makes the call that the registers hold. False: the task must end. */
static bool make_call(struct task *current) {
    struct user_regs *regs = host_thread_regs(current->thread);
    int64_t restart = 0;

    current->call.number = (int32_t)regs->rax; /* Linux looks at eax alone */
    current->call.args[0] = regs->rdi;
    current->call.args[1] = regs->rsi;
    current->call.args[2] = regs->rdx;
    current->call.args[3] = regs->r10;
    current->call.args[4] = regs->r8;
    current->call.args[5] = regs->r9;
    current->call.deadline = 0;
    /* What its stub wrote by itself before it came here. */
    current->call.done = current->call.number == SYS_write || current->call.number == SYS_writev
                             ? host_thread_direct_done(current->thread)
                             : 0;
    current->call.restarting = false;
    do {
        int64_t result = dispatch_call(current, current->call.number, current->call.args);

        restart = 0;
        if (current->call.number == TASK_CALL_DONE) {
            /* rt_sigreturn: the registers are complete. The handler has mostly interrupted a call.
             */
            (void)memory_patch_enter(current->mm, regs);
        } else if (is_restart(result)) {
            restart = result;
        } else {
            /* exec may have given the task another host thread. */
            host_thread_regs(current->thread)->rax = (uint64_t)result;
            if (current->restore_mask && result != -EINTR) {
                restore_saved_mask(current);
            }
        }
        /* A restarted call may have put off signals (vfork): then look in any case. */
        if (!restart && !current->restore_mask && !current->call.restarting &&
            !atomic_load(&current->work)) {
            return true;
        }
        if (host_thread_answer_flush(current->thread)) {
            host_thread_regs(current->thread)->rax = (uint64_t)-EFAULT;
        }
        if (host_thread_calls_deferred(current->thread)) {
            /* A signal's frame, or rest, is to see the call's result. */
            settle_memory(current, host_thread_calls_flush(current->thread));
        }
        if (!task_user_boundary(current, &restart)) {
            return false;
        }
        current->call.restarting = true;
    } while (restart);
    return true;
}

bool task_handle_call(struct task *current) {
    bool goes_on;

    fd_table_begin_call(current->files);
    goes_on = make_call(current);
    task_call_files_put(current);
    return goes_on;
}

static void task_memory_limits(struct task *current, struct memory_limits *limits) {
    struct rlimits *rlimits = &current->thread_group->rlimits;

    limits->address_space = rlimits_get(rlimits, RLIMIT_AS);
    limits->data = rlimits_get(rlimits, RLIMIT_DATA);
    limits->stack = rlimits_get(rlimits, RLIMIT_STACK);
    limits->locked = rlimits_get(rlimits, RLIMIT_MEMLOCK);
}

bool task_grow_stack(struct task *current, uint64_t address) {
    struct memory_limits limits;

    task_memory_limits(current, &limits);
    return memory_fault(current->mm, current->thread, &limits, address);
}

static void kill_guest(struct task *current, const char *why, uint64_t value) {
    log_line(LOG_WARN, "killed process %d: %s (%#llx)", task_get_pid(current), why,
             (unsigned long long)value);
    task_exit_group(current->thread_group, SIGKILL);
}

static void handle_fault(struct task *current, const struct host_event *event) {
    struct signal_info info;

    switch (event->fault.signo) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
        break;
    default:
        kill_guest(current, "it reported a fault with a signal that is none",
                   (uint64_t)event->fault.signo);
        return;
    }
    current->last_fault.trapno = event->fault.trapno;
    current->last_fault.error = event->fault.error;
    if (event->fault.trapno == TRAP_PAGE_FAULT) {
        current->last_fault.address = event->fault.address;
    }
    if (event->fault.signo == SIGSEGV && event->fault.code == SEGV_MAPERR &&
        task_grow_stack(current, event->fault.address)) {
        return;
    }
    signal_info_fault(&info, event->fault.signo, event->fault.code, event->fault.address);
    signal_force(current, &info);
}

/* Calls that the stub can always answer by itself: a site that makes one is worth a patch at once.
 */
static bool stub_knows(long number) {
    switch (number) {
    case SYS_getpid:
    case SYS_gettid:
    case SYS_getppid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_getpgrp:
    case SYS_getpgid:
    case SYS_getsid:
        return true;
    default:
        return false;
    }
}

bool task_stub_asks_host(long number) {
    switch (number) {
    case SYS_read:
    case SYS_write:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_readv:
    case SYS_writev:
    case SYS_lseek:
    case SYS_futex:
    case SYS_clock_nanosleep:
        return true;
    default:
        return false;
    }
}

/* Of these, the ones that need a donated descriptor, their first argument. */
static bool needs_donation(long number) {
    return task_stub_asks_host(number) && number != SYS_futex && number != SYS_clock_nanosleep;
}

/* Calls that the stub answers by itself, when it may. */
static bool stub_answers(long number) {
    return stub_knows(number) || task_stub_asks_host(number) || number == SYS_close ||
           number == SYS_fcntl || number == SYS_ioctl;
}

/* Calls that need a host frame, so that their sites gain nothing: stub.c, needs_frame(). */
static bool needs_frame(long number) {
    switch (number) {
    case SYS_rt_sigreturn:
    case SYS_clone:
    case SYS_fork:
    case SYS_vfork:
    case SYS_execve:
    case SYS_execveat:
    case SYS_clone3:
        return true;
    default:
        return false;
    }
}

/* A handler runs before the next instruction: the site that asks for it needs the frame. */
static bool signals_itself(const struct task *current, const struct user_regs *regs) {
    switch ((int32_t)regs->rax) {
    case SYS_kill:
        return (int32_t)regs->rdi == current->thread_group->leader;
    case SYS_tkill:
        return (int32_t)regs->rdi == current->id;
    case SYS_tgkill:
        return (int32_t)regs->rsi == current->id;
    default:
        return false;
    }
}

/*
 * At which trap that comes here a site is worth a patch, which costs as much as some twenty calls
 * that trap; a short program makes fewer at one site. Of those that the stub answers only each
 * sixteenth of a thread comes here (stub.c, new_site()).
 */
static unsigned patch_after(struct task *current, long number, uint64_t argument) {
    if (stub_knows(number)) {
        return 1;
    }
    return task_stub_asks_host(number) &&
                   (!needs_donation(number) || donation_is_live(current->files, (int)argument))
               ? 2
               : 8;
}

/* A call that came by a signal and need not the next time. True: when it is answered, the guest
 * goes on where the jump is now (enter_site). */
static bool patch_site(struct task *current) {
    struct user_regs *regs = host_thread_regs(current->thread);
    int32_t number = (int32_t)regs->rax;

    if (host_thread_came_patched(current->thread) || needs_frame(number) ||
        signals_itself(current, regs) ||
        !(host_job_allowed(current->thread_group->kernel->job) & SLOT_PUBLIC_PATCH)) {
        return false;
    }
    /* The calls of class K may be left to the resume (memory_deferred.c), which must change no
     * register but rax: they take the fault once. */
    return memory_patch_call(current->mm, current->thread, regs,
                             patch_after(current, number, regs->rdi)) &&
           stub_answers(number);
}

static void enter_site(struct task *current) {
    if (memory_patch_enter(current->mm, host_thread_regs(current->thread))) {
        host_thread_regs_changed(current->thread);
    }
}

/* The guest trapped amid a patched site, or one that is just changing. */
static bool leave_jump(struct task *current, const struct host_event *event) {
    struct user_regs *regs = host_thread_regs(current->thread);
    bool breakpoint = event->fault.trapno == TRAP_BREAKPOINT;

    return event->kind == SLOT_EVENT_FAULT &&
           (breakpoint || event->fault.trapno == TRAP_INVALID_OPCODE ||
            event->fault.trapno == TRAP_GENERAL_PROTECTION) &&
           memory_patch_trap(current->mm, current->thread, regs, breakpoint, &current->patch_retry);
}

/*
 * The guest was found in a trampoline or on its way there: it shall not know. True: nothing has
 * happened to the program: it met a jump, or its single step was one from its text into the
 * trampoline and is made once more. A site that is stepped through is the program's own again.
 */
static bool leave_patch(struct task *current, const struct host_event *event) {
    struct user_regs *regs = host_thread_regs(current->thread);
    enum patch_place place;
    uint64_t start;

    if (leave_jump(current, event)) {
        host_thread_regs_changed(current->thread);
        return true;
    }
    place = memory_patch_translate(current->mm, regs, &start);
    if (place == PATCH_NOWHERE) {
        return false;
    }
    host_thread_regs_changed(current->thread);
    return event->kind == SLOT_EVENT_FAULT && event->fault.trapno == TRAP_DEBUG &&
           memory_patch_restore(current->mm, current->thread, start) == 0 && place == PATCH_CAME;
}

static void run_guest(struct task *current) {
    int64_t no_restart = 0;

    task_begin(current);
    if (!task_user_boundary(current, &no_restart)) {
        return;
    }
    for (;;) {
        bool deferred = host_thread_calls_deferred(current->thread), reported;
        struct host_event event;
        int gone, held;

        fd_table_before_resume(current->files, current->thread);
        gone = host_thread_resume(current->thread, &event);
        if (unlikely((held = host_thread_direct_held(current->thread)) != 0)) {
            if (!gone && event.kind == SLOT_EVENT_SYSCALL) {
                task_call_file_direct(current, (int)host_thread_regs(current->thread)->rdi, held);
            }
            host_thread_direct_release(current->thread);
        }
        reported = deferred && !gone && event.kind == SLOT_EVENT_CALLS;
        if (deferred) {
            settle_memory(current, gone ? -ESRCH : reported ? event.calls_result : 0);
        }
        if (gone) {
            /* The host thread is gone: ended from outside (out of memory), or killed because the
             * group ends, in which case the first decision stands. */
            task_exit_group(current->thread_group, SIGKILL);
        } else if (reported) {
            /* The guest has not run since the call. */
        } else if (event.kind == SLOT_EVENT_SYSCALL) {
            bool patched = patch_site(current);

            if (!task_handle_call(current)) {
                return;
            }
            if (patched) {
                enter_site(current);
            }
            continue;
        } else if (event.kind == SLOT_EVENT_FAULT || event.kind == SLOT_EVENT_KICK) {
            if (!leave_patch(current, &event) && event.kind == SLOT_EVENT_FAULT) {
                handle_fault(current, &event);
            }
        } else {
            kill_guest(current, "its slot reported an event that cannot be", event.kind);
        }
        if (atomic_load(&current->work) && !task_user_boundary(current, &no_restart)) {
            return;
        }
    }
}

void task_main(struct task *current) {
    struct task_owner owner = {.task = current};
    struct thread_group *group = thread_group_get(current->thread_group);

    current_task_set(current);
    lock_acquire(&current->lock);
    current->waiter = waiter_current();
    lock_release(&current->lock);

    run_guest(current);

    /* Nobody may wake a thread that is gone. */
    waiter_clear_interrupt(waiter_current());
    trace_exit_of(current, group);
    task_exit_finish(current);
    lock_acquire(&current->lock);
    current->waiter = NULL;
    lock_release(&current->lock);
    signal_task_left(current);
    current_task_set(NULL);
    task_owner_release(&owner);
    rest_task_left(group->kernel);
    host_job_refill(group->kernel->job);
    thread_group_put(group);
}

int task_start(struct task_owner *owner) {
    struct task *task = owner->task;
    int error;

    /* The first thing it does is to look for what came before it ran: a stop, a kill, rest. */
    atomic_store(&task->work, true);
    error = kernel_thread_start(task);
    if (error) {
        return error;
    }
    owner->task = NULL;
    return 0;
}
