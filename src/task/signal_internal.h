/*
 * What the files of signals share: signal_send.c, signal_queue.c, signal_blocked.c (masks),
 * signal_action.c, signal.c (taking), signal_stop.c (job control), sigframe, timers.c and the task
 * loop.
 */
#ifndef STARLING_SIGNAL_INTERNAL_H
#define STARLING_SIGNAL_INTERNAL_H

#include "task/task.h"

struct signal_action_table {
    struct ref ref;
    struct lock lock; /* class SIGHAND; after a signal_lock, since groups may share the table */
    struct user_sigaction actions[SIGNAL_MAX]; /* guarded by lock */
};

/* One queued signal. A signal can be in the set without an entry: its info was lost (no memory,
 * RLIMIT_SIGPENDING), as in Linux. */
struct signal_entry {
    struct list_head link;
    struct signal_info info;
    uint64_t timer; /* the POSIX timer it came from (unique number), 0: none */
};

/* Guarded by the group's signal_lock. */
struct signal_pending {
    kernel_sigset set;
    struct list_head entries; /* in order of arrival */
    /* a group's shared queue only */
    size_t queued;          /* entries in this and in all its tasks' queues */
    uint32_t continues;     /* how often SIGCONT came: cancels a stop that is being decided */
    struct wait_queue wait; /* signal_wait_queue() */
};

#define SIGNALS_STOP                                                                               \
    (SIGNAL_BIT(SIGSTOP) | SIGNAL_BIT(SIGTSTP) | SIGNAL_BIT(SIGTTIN) | SIGNAL_BIT(SIGTTOU))
#define SIGNALS_IGNORED                                                                            \
    (SIGNAL_BIT(SIGCONT) | SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGWINCH) | SIGNAL_BIT(SIGURG))
#define SIGNALS_SYNCHRONOUS                                                                        \
    (SIGNAL_BIT(SIGSEGV) | SIGNAL_BIT(SIGBUS) | SIGNAL_BIT(SIGILL) | SIGNAL_BIT(SIGTRAP) |         \
     SIGNAL_BIT(SIGFPE) | SIGNAL_BIT(SIGSYS))

/* Handlers as numbers: SIG_DFL and SIG_IGN are pointers in libc. */
#define HANDLER_DEFAULT 0ULL
#define HANDLER_IGNORE  1ULL

/* What a task finds at its boundary. */
enum signal_verdict {
    SIGNAL_NOTHING,
    SIGNAL_HANDLER, /* *info and *action: push a frame */
    SIGNAL_STOP,    /* the group is stopping or stopped: signal_stop_wait() */
    SIGNAL_EXIT,    /* the task must end */
};
enum signal_verdict signal_next(struct task *current, struct signal_info *info,
                                struct user_sigaction *action);
/* A handler's frame has been pushed: its mask comes into force. */
void signal_handler_started(struct task *current, const struct user_sigaction *action, int signal);
/* sigframe_x86_64.c: pushes a frame for `action` and points the registers at the handler; `mask` is
 * what the handler's return restores. -EFAULT: the frame cannot be written. */
int MUST_CHECK sigframe_push(struct task *current, const struct user_sigaction *action,
                             const struct signal_info *info, kernel_sigset mask);
/* A frame could not be pushed or popped: SIGSEGV, fatal when it was SIGSEGV that failed. */
void signal_frame_failed(struct task *current, int signal);

/* signal_action.c. The caller holds group->signal_lock. */
struct user_sigaction signal_action_locked(struct thread_group *group, int signal);
bool signal_action_ignores(const struct user_sigaction *action, int signal);
/* The default action ends the group. */
bool signal_action_kills(const struct user_sigaction *action, int signal);

/* signal_blocked.c. The caller holds group->signal_lock. */
kernel_sigset signal_mask_locked(struct task *task);
void signal_store_mask_locked(struct task *task, kernel_sigset mask);
/* Before a signal is sent to `task`, or to the group (NULL): see signal_mask_locked(). */
void signal_publish_locked(struct thread_group *group, struct task *task, kernel_sigset signals);

/* signal_send.c: who takes a signal of the group: the leader when it may (Linux does so, programs
 * rely on it), else a task that has nothing else to look at, else any. NULL: all block it. The
 * caller holds kernel->pids_lock and group->signal_lock. */
struct task *signal_choose_locked(struct thread_group *group, int signal);
/* To the trace: a signal that this task does not take, since it is ignored or kills the group. */
void signal_report_untaken(pid_t tid, const struct signal_info *info);

/* signal_queue.c. The caller holds group->signal_lock. */
/* Takes the next of the signals in `set`. */
bool signal_dequeue_locked(struct task *task, kernel_sigset set, struct signal_info *info);
/* Enters the signal into a queue. 0, or -EAGAIN when its info may not be lost and cannot be kept.
 */
int MUST_CHECK signal_enqueue_locked(struct thread_group *group, struct signal_pending *pending,
                                     const struct signal_info *info, uint64_t timer);
bool signal_timer_pending_locked(struct signal_pending *pending, uint64_t timer);
void signal_discard_locked(struct thread_group *group, struct signal_pending *pending,
                           kernel_sigset set);
/* The caller holds kernel->pids_lock and group->signal_lock. */
void signal_discard_all_locked(struct thread_group *group, kernel_sigset set);
void signal_group_exit_both_locked(struct thread_group *group, int wait_status);

/* signal_stop.c. Takes a stop signal's default action; `continues` as it was when the signal was
 * taken. */
void signal_stop_begin(struct task *current, int signal, uint32_t continues);
/* Counts as stopped and sleeps until woken, for whatever reason. */
void signal_stop_wait(struct task *current);
/* SIGCONT or SIGKILL: the group runs again. The caller holds both locks. Returns the CLD_* code to
 * tell the parent, 0: none. */
int signal_continue_locked(struct thread_group *group);
/* The caller holds kernel->pids_lock, no signal_lock. */
void signal_notify_parent_locked(struct thread_group *group, int code, int status);

/* timers.c: a timer's signal was taken from its queue: fills in si_overrun. The caller holds
 * signal_lock. */
void posix_timer_taken(struct posix_timers *timers, uint64_t timer, struct signal_info *info);
/* Sends a timer's signal, to the task `tid` or to the group (0). No lock held. */
enum signal_timer_result {
    SIGNAL_TIMER_QUEUED,  /* posix_timer_taken() will come */
    SIGNAL_TIMER_PENDING, /* the previous one is still pending: an overrun */
    SIGNAL_TIMER_DROPPED, /* ignored, or the group ends, or no room, or no such task */
};
enum signal_timer_result MUST_CHECK signal_send_timer(struct thread_group *group, pid_t tid,
                                                      const struct signal_info *info,
                                                      uint64_t timer);

/* run.c; here for the unit tests. Both: false when the task must end. The boundary's *restart is
 * the restart code of an interrupted call or 0; still set on return when the call is to be made
 * again. */
bool task_user_boundary(struct task *current, int64_t *restart);
/* Makes the call that the registers hold, and whatever waits at the boundary after it. */
bool task_handle_call(struct task *current);
/* run.c: the fault of a guest access at `address`: true when a stack grew over it. */
bool task_grow_stack(struct task *current, uint64_t address);

/* rest.c: at the boundary; waits there while the sandbox is at rest. */
void rest_boundary(struct task *current);
/* A task has left the table. */
void rest_task_left(struct kernel *kernel);

#endif
