/* Signals and timers of tasks and thread groups: signal(7), sigaction(2), timer_create(2). */
#ifndef STARLING_TASK_SIGNAL_H
#define STARLING_TASK_SIGNAL_H

#include <signal.h>

#include "host/host.h"
#include "uapi/uapi.h"

struct task;
struct thread_group;

/* ---- signal.c ---- */

struct signal_info {
    int signal, code, error; /* si_signo, si_code, si_errno */
    siginfo_t info;          /* the rest, as the guest will see it */
};
void signal_info_kernel(struct signal_info *info, int signal); /* SI_KERNEL */
void signal_info_user(struct signal_info *info, int signal, int code,
                      struct task *from); /* SI_USER, SI_TKILL */
void signal_info_fault(struct signal_info *info, int signal, int code, uint64_t address);
/* The whole as the guest sees it: siginfo_t of sigaction(2). */
void signal_info_to_user(const struct signal_info *info, siginfo_t *user);
/* To the group, or to one thread. 0, -EAGAIN (RLIMIT_SIGPENDING). Ignored signals are dropped;
 * wakes whoever shall take it. */
int MUST_CHECK signal_send_group(struct thread_group *group, const struct signal_info *info);
int MUST_CHECK signal_send_task(struct task *task, const struct signal_info *info);
/* The same with kernel->pids_lock held by the caller, for reading or writing (exit.c's SIGCHLD,
 * process_group_signal). */
int MUST_CHECK signal_send_group_locked(struct thread_group *group, const struct signal_info *info);
/* Decides the end of the whole group: every task is marked killed and notified; the first decision
 * stands. The caller holds kernel->pids_lock (either way). task_exit_group() is this with the lock
 * taken. */
void signal_group_exit_locked(struct thread_group *group, int wait_status);
/* A fault of the guest: cannot be blocked or ignored (kills then). Own thread. */
void signal_force(struct task *current, const struct signal_info *info);
bool signal_pending(struct task *current); /* something to deliver, or killed */
void task_notify_work(
    struct task *task); /* sets work, interrupts its sleep, kicks its host thread */
/* The mask of a ppoll-like call for its duration: the task loop puts the old one back, after the
 * handler of a signal that came, or when the call returned anything but EINTR or a restart code.
 * Calling it again when the call is restarted keeps the mask saved first. */
void signal_set_temporary_mask(struct task *current, kernel_sigset mask);
kernel_sigset signal_get_mask(struct task *task);
void signal_set_mask(struct task *current, kernel_sigset mask);
/* Takes the next pending signal in `set` (sigtimedwait, signalfd): true and *info. */
bool signal_dequeue(struct task *current, kernel_sigset set, struct signal_info *info);
kernel_sigset signal_pending_set(struct task *task); /* thread's and group's */
struct wait_queue *
signal_wait_queue(struct thread_group *group); /* announces new signals: signalfd, sigtimedwait */
/* Does the group ignore this signal at present (SIG_IGN, or default with default action ignore)? */
bool signal_ignored(struct thread_group *group, int signal);
/* SIGCHLD as seen by exit.c: flags of the action (SA_NOCLDWAIT, SA_NOCLDSTOP) and whether it is
 * SIG_IGN. Takes signal_lock. */
void signal_get_action(struct thread_group *group, int signal, struct user_sigaction *action);
/* rt_sigaction(2): either may be NULL. -EINVAL. */
int MUST_CHECK signal_set_action(struct thread_group *group, int signal,
                                 const struct user_sigaction *new_action,
                                 struct user_sigaction *old_action);
/* For /proc/PID/status: what is pending for the thread alone, and for its group. */
void signal_pending_sets(struct task *task, kernel_sigset *own, kernel_sigset *shared);
/* For /proc/PID/status: the sets of ignored and of caught signals, and how many are queued. */
void signal_get_sets(struct thread_group *group, kernel_sigset *ignored, kernel_sigset *caught);
size_t signal_queued(struct thread_group *group);
/* --strace's printers; set once at start. `trace`: a task takes the signal, no lock held.
 * `untaken`: it is ignored and forgotten when it is sent, or ends the group; called with locks up
 * to SIGHAND, must not sleep. */
typedef void signal_trace_fn(struct task *task, const struct signal_info *info);
typedef void signal_untaken_fn(pid_t task, const struct signal_info *info);
void signal_set_trace(signal_trace_fn *trace, signal_untaken_fn *untaken);

/* Action tables: one reference a thread group; CLONE_SIGHAND shares, fork copies. The table has a
 * lock of its own (SIGHAND, taken after a signal_lock), so that groups can share it. NULL: out of
 * memory. */
struct signal_action_table *signal_action_table_new(void); /* all default */
struct signal_action_table *signal_action_table_copy(struct signal_action_table *table);
struct signal_action_table *signal_action_table_get(struct signal_action_table *table);
void signal_action_table_put(struct signal_action_table *table);
DEFINE_CLEANUP(struct signal_action_table *, signal_action_table_put)
/* execve(2): the group gets a table of its own, in which caught signals are default and ignored
 * ones stay. -ENOMEM. */
int MUST_CHECK signal_exec(struct thread_group *group);
/* A queue of pending signals (one a task, one a group); free drops what is queued. */
struct signal_pending *signal_pending_new(void);
void signal_pending_free(struct signal_pending *pending);
/* A task has left its group: what is queued for it is dropped, shared signals that it alone was
 * woken for go to another task, and a stop that waited for it completes. Called by the task loop.
 */
void signal_task_left(struct task *task);
/* Tells its stub which signals are pending; the caller holds signal_lock. */
void signal_publish_pending_locked(struct task *task);

/* ---- timers.c ---- */

/* Interval timers and POSIX timers of one thread group (weak back pointer). NULL: out of memory. */
struct posix_timers *posix_timers_new(struct thread_group *group);
void posix_timers_free(struct posix_timers *timers);
/* execve(2): POSIX timers go, interval timers stay. */
void posix_timers_exec(struct posix_timers *timers);
/* RLIMIT_CPU has changed, or is a new group's. -errno: it cannot be watched. No lock held. */
int MUST_CHECK posix_timers_limit_cpu(struct posix_timers *timers);
/* The group ends: every timer is disarmed, no signal comes any more. No lock held. */
void posix_timers_stop(struct posix_timers *timers);

/* Times in ns; value 0: disarmed, interval 0: one-shot. The values of a guest are checked before.
 */
struct timer_spec {
    int64_t interval, value;
};
/* setitimer(2). -EINVAL: no such timer; `old` may be NULL. */
int MUST_CHECK itimer_get(struct thread_group *group, int which, struct timer_spec *spec);
int MUST_CHECK itimer_set(struct thread_group *group, int which, const struct timer_spec *spec,
                          struct timer_spec *old);
struct posix_timer_params {
    clockid_t clock;
    int notify, signal; /* SIGEV_SIGNAL or SIGEV_NONE */
    pid_t tid;          /* SIGEV_THREAD_ID; 0: the group */
    bool has_value;     /* else si_value is the id */
    union sigval value;
};
/* timer_create(2): the id, -EINVAL, -EOPNOTSUPP, -EAGAIN. The others: -EINVAL for no such timer. */
int MUST_CHECK posix_timer_create(struct task *current, const struct posix_timer_params *params);
int MUST_CHECK posix_timer_settime(struct thread_group *group, int id, bool absolute,
                                   const struct timer_spec *spec, struct timer_spec *old);
int MUST_CHECK posix_timer_gettime(struct thread_group *group, int id, struct timer_spec *spec);
int MUST_CHECK posix_timer_getoverrun(struct thread_group *group, int id);
int MUST_CHECK posix_timer_delete(struct thread_group *group, int id);

/* ---- sigframe_x86_64.c ---- */

/* rt_sigreturn(2): the registers are as the frame says and call.number is TASK_CALL_DONE; a bad
 * frame raises SIGSEGV. */
void signal_return(struct task *current);
#define SIGNAL_STACK_MIN 2048 /* MINSIGSTKSZ of the kernel; libc's is another */
/* sigaltstack(2), with sp the guest's stack pointer. -EPERM on that stack, -EINVAL, -ENOMEM. */
int MUST_CHECK signal_stack_set(struct task *current, const struct user_sigaltstack *stack,
                                uint64_t sp, uint64_t minimum);
/* As sigaltstack(2) reports it but for SS_ONSTACK. */
struct user_sigaltstack signal_stack_get(const struct task *current);
/* Is sp on that alternate stack (never, with SS_AUTODISARM)? */
bool signal_on_stack(const struct user_sigaltstack *stack, uint64_t sp);
void signal_stack_reset(struct user_sigaltstack *stack); /* none: exec, new threads */

#endif
