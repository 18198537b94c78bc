/*
 * task: the reference's objects, in C. Kernel, PidTable, ThreadGroup, Task, their ownership; with
 * them sessions, process groups, wait, signals, timers, and the loop that runs a guest.
 *
 * # Ownership
 * The kernel owns the pid table. A task is kept alive by whoever runs it (the task_owner on its
 * kernel thread's stack); the pid table, thread groups and process groups know tasks weakly: a
 * look-up returns a counted reference or nothing. A task holds its thread group and its subsystems
 * (files, mm, fs, creds); a thread group holds the kernel and its host process; a parent owns its
 * zombies.
 *
 * # Three lifetimes
 * running state (files, mm, fs, thread): dropped at exit. Persistent info (ids, comm, creds): as
 * long as anyone holds the task. The zombie record: until it is waited for.
 *
 * # Locks
 * kernel->pids_lock (PIDS, read-write) guards the pid table, membership, parent and child links,
 * process groups and sessions, as Linux's tasklist_lock does. thread_group->signal_lock (SIGHAND)
 * guards signal actions and both kinds of pending queues, job-control stop and the exit decision.
 * task->lock (TASK) the rest of one task. A group's list of tasks changes only with both pids_lock
 * (write) and signal_lock held, so either is enough to walk it.
 */
#ifndef STARLING_TASK_H
#define STARLING_TASK_H

#include <sys/wait.h>

#include "auth/auth.h"
#include "base/base.h"
#include "fs/file.h"
#include "host/host.h"
#include "ipc/ipc.h"
#include "mm/mm.h"
#include "task/task_signal.h"
#include "uapi/uapi.h"

struct kernel;
struct process_group;
struct session;
struct task;
struct thread_group;
struct zombie;

/* ---- pid_table.c ---- */

#define PID_MAX_DEFAULT 32768 /* proc(5) /proc/sys/kernel/pid_max: pids are below it */
#define PID_RESERVED    300   /* where numbering restarts after the wrap */

/* Maps a pid_t to the task, process group and session of that number; an id is free when none of
 * the three uses it. */
struct pid_table {
    pid_t last_pid;            /* the most recently allocated pid */
    struct list_head *buckets; /* pid entries by number */
    size_t bucket_count;       /* a power of two; grows with the entries */
    size_t entry_count;
    size_t count; /* tasks in the table, zombies included */
    pid_t pid_max;
};
struct pid_table *pid_table_new(void);
void pid_table_free(struct pid_table *pids);
/* The caller holds kernel->pids_lock for writing (allocate, add, remove) or reading (get). -EAGAIN
 * when all are in use. */
pid_t MUST_CHECK pid_table_allocate(struct pid_table *pids);
int MUST_CHECK pid_table_add_task(struct pid_table *pids, struct task *task);
void pid_table_remove_task(struct pid_table *pids, pid_t pid);
struct task *pid_table_get_task(struct pid_table *pids, pid_t pid); /* owned, or NULL */

/* ---- kernel.c ---- */

struct kernel {
    struct ref ref;
    struct host_job *job;       /* owned; immutable */
    struct rwlock pids_lock;    /* class PIDS */
    struct pid_table *pids;     /* guarded by pids_lock */
    struct list_head all_tasks; /* guarded by pids_lock; links task->kernel_link */
    struct thread_group *init;  /* guarded by pids_lock: reaper of orphans, weak */
    size_t pid_limit;           /* --pids; tasks at one time; immutable */
    _Atomic size_t task_count;
    struct lock lock;                  /* class KERNEL */
    char hostname[65], domainname[65]; /* guarded by lock */
    int64_t boot_time_ns;              /* CLOCK_BOOTTIME at start; immutable */
    struct wait_queue idle;            /* announced when the last task is gone */
    /* The world outside, as the parent of the first process; set before that runs. init_stopped
     * (may be NULL) hears of a job-control stop, with pids_lock held. */
    void (*init_stopped)(int signal);
    bool init_can_be_continued; /* the launcher is a job of a shell: no orphaned process group */
    _Atomic int init_status;    /* wait status of the first process, once it has exited */
    struct rest *rest;          /* rest.c */
    struct ipc_namespace *ipc;  /* owned; immutable */
};
/* ERR_PTR. Takes a reference of job. */
struct kernel *kernel_new(struct host_job *job, const char *name);
struct kernel *kernel_get(struct kernel *kernel);
void kernel_put(struct kernel *kernel);
DEFINE_CLEANUP(struct kernel *, kernel_put)
struct task *kernel_get_task(struct kernel *kernel,
                             pid_t pid); /* takes pids_lock; owned, or NULL */
/* A snapshot in pid order, NULL-terminated, malloc'ed; each entry owned. All tasks that have not
 * exited; or the leaders, zombies among them, for /proc and kill(-1). */
struct task **kernel_tasks(struct kernel *kernel, bool leaders_only);

/* The group of that id, even when its leader has exited; owned, or NULL. Takes pids_lock. */
struct thread_group *kernel_get_thread_group(struct kernel *kernel, pid_t pid);
/* 0 when no task is left, -ETIMEDOUT, or -ERESTARTSYS. */
int MUST_CHECK kernel_wait_idle(struct kernel *kernel, deadline_ns deadline);
/* Every process dies by SIGKILL: for --timeout and the launcher's end. */
void kernel_kill_all(struct kernel *kernel);

/* rest.c: is this task asked to its user boundary? For calls that look at an interruption by
 * themselves. */
bool task_rest_wanted(struct task *task);

/* §12. Asks every task to its user boundary and waits; release lets them go on. Nestable. */
int MUST_CHECK kernel_rest(struct kernel *kernel, deadline_ns deadline);
void kernel_release(struct kernel *kernel);

/* ---- thread_group.c ---- */

struct signal_action_table; /* signal_action.c: shared by CLONE_SIGHAND */
struct signal_pending;      /* signal.c: a queue of pending signals */
struct posix_timers;        /* timers.c */

struct thread_group {
    struct ref ref;
    struct kernel *kernel;        /* owned; immutable */
    struct host_process *process; /* owned; changed only by exec, under signal_lock */
    struct process_watch *watch;  /* thread_group.c: tells of the end of process */
    pid_t leader;                 /* immutable: the id of the group, getpid(2) */
    struct list_head tasks; /* weak, links task->group_link. Changed with pids_lock (write) and
                               signal_lock held: either is enough to read */
    size_t task_count;      /* likewise */
    _Atomic size_t live;    /* tasks that have not begun to exit */

    /* guarded by kernel->pids_lock */
    struct thread_group *parent; /* weak; NULL for init; cleared or changed before it is freed */
    struct list_head children;   /* thread groups, by sibling_link */
    struct list_head sibling_link;
    struct list_head zombies; /* struct zombie, owned */
    struct zombie *zombie;    /* own record, made with the group so that exit cannot fail; given to
                                 the parent */
    struct process_group *process_group; /* owned */
    struct list_head process_group_link;
    bool did_exec; /* setpgid(2) EACCES */
    bool child_subreaper;
    bool dead; /* the last task has left */

    struct wait_queue
        child_wait; /* children's changes of state, for wait4 and pidfds of the children */
    struct wait_queue exit_wait; /* own exit (pidfd) */

    struct lock signal_lock; /* class SIGHAND */
    struct signal_action_table
        *actions; /* owned; pointer immutable but for exec; contents guarded by signal_lock */
    struct signal_pending *pending; /* owned; guarded by signal_lock: shared pending signals */
    bool exiting;    /* guarded by signal_lock: exit_group or a fatal signal was decided */
    int exit_status; /* wait status, valid when exiting */
    enum { GROUP_RUNNING, GROUP_STOPPING, GROUP_STOPPED } stop_state; /* guarded by signal_lock */
    int stop_signal; /* guarded by signal_lock: which signal stopped it */
    /* guarded by signal_lock: the changes that wait4(2) has not reported yet. stop_reported is
     * false from a stop until a wait consumed it; continued true from a SIGCONT until then. */
    bool continued, stop_reported;
    int exit_signal; /* what the parent gets: SIGCHLD; guarded by pids_lock */

    struct rlimits rlimits;
    struct posix_timers *timers; /* timers.c; owned */
    /* what dead tasks and waited-for children used, in ns; guarded by signal_lock */
    struct usage {
        int64_t user, system;
        uint64_t minor_faults, major_faults, max_rss;
    } dead_usage, children_usage;
    struct io_counts {
        uint64_t read_bytes, written_bytes; /* by read(2), write(2) and the like */
        uint64_t reads, writes;             /* such calls */
    } dead_io;                              /* of threads that have gone; guarded by signal_lock */
    /* usage.c; guarded by signal_lock */
    bool accounted;                /* dead_usage holds what `process` used */
    struct settlement *settlement; /* of the host process that is being left */
    int unsettled;                 /* figures that are yet to come to dead_usage, children_usage */
    struct thread_group *heir;     /* owned: who has waited for it before they came */
    struct wait_queue settled;     /* unsettled is 0 */
    int64_t start_time_ns;         /* CLOCK_BOOTTIME */
    _Atomic int oom_score_adj, dumpable;
};
/* The caller holds kernel->pids_lock for writing. */
struct thread_group *thread_group_new(struct kernel *kernel, struct host_process *process,
                                      pid_t leader, struct signal_action_table *actions);
struct thread_group *thread_group_get(struct thread_group *group);
void thread_group_put(struct thread_group *group);
DEFINE_CLEANUP(struct thread_group *, thread_group_put)
/* Takes the task out; when it was the last, the host process is killed (once). */
void thread_group_remove(struct thread_group *group, struct task *task);
/* exec: the group's host process is another one from now on; what the old one used is accounted;
 * killing that is the caller's. Takes a reference. */
int MUST_CHECK thread_group_set_process(struct thread_group *group, struct host_process *process);
/* The group's host process; owned. */
struct host_process *thread_group_process(struct thread_group *group);

/* ---- task.c, task_look.c ---- */

#define TASK_COMM_SIZE      16
#define TASK_TIMER_SLACK_NS 50000
/* task->call.number after rt_sigreturn: no number that a guest can give. */
#define TASK_CALL_FILES 2
#define TASK_CALL_DONE  LONG_MIN

/* What a task is doing, for /proc/PID/stat. */
enum task_state {
    TASK_RUNNING = 'R',
    TASK_SLEEPING = 'S',
    TASK_DISK = 'D',
    TASK_STOPPED = 'T',
    TASK_TRACED = 't',
    TASK_ZOMBIE = 'Z',
    TASK_DEAD = 'X'
};

struct task {
    /* persistent: valid as long as anybody holds the task */
    struct ref ref;
    pid_t id; /* immutable (but exec by a non-leader takes over the leader's, under pids_lock) */
    struct thread_group *thread_group; /* owned; immutable */
    pid_t parent; /* the reference's field: the creator's pid, 0 for init; immutable */
    struct list_head group_link, kernel_link; /* guarded by kernel->pids_lock */
    struct lock lock;                         /* class TASK */
    char comm[TASK_COMM_SIZE];                /* guarded by lock */
    struct credentials *creds; /* owned; guarded by lock (pointer); see task_creds() */
    bool no_new_privs;         /* own thread writes; guarded by lock */

    /* running state: owned; NULL after exit; pointers guarded by lock, used freely by the own
     * kernel thread */
    struct host_thread *thread;
    struct fd_table *files;
    struct memory_manager *mm;
    struct fs_context *fs;
    struct waiter *waiter; /* the kernel thread's, set by run.c; guarded by lock */

    /* own kernel thread only */
    struct user_address set_child_tid; /* clear_child_tid is in host_thread_told() */
    struct user_sigaltstack signal_stack;
    uint64_t timer_slack_ns;         /* PR_SET_TIMERSLACK */
    uint64_t default_timer_slack_ns; /* its creator's; immutable */
    uint32_t personality;            /* personality(2) */
    kernel_sigset
        saved_mask; /* sigsuspend, ppoll, pselect, epoll_pwait: restored after the handler */
    uint64_t fpstate_shape[8]; /* sigframe_x86_64.c; own kernel thread only */
    bool restore_mask;
    struct {
        uint64_t trapno, error, address;
    } last_fault; /* of the signal frame's sigcontext */
    struct patch_retry patch_retry;
    struct {
        long number; /* TASK_CALL_DONE: the registers are complete, no result and no restart */
        uint64_t args[6];
        deadline_ns deadline; /* of a call with a relative timeout, kept over transparent restarts;
                                 0: not yet computed */
        size_t done; /* bytes that earlier attempts of a transfer moved: task_call_progress */
        bool restarting;
        /* What its descriptors meant when it was made first: task_call_file(); owned. */
        struct {
            int fd;
            struct file *file;
        } files[TASK_CALL_FILES];
    } call;

    struct sem_undo_list *sem_undo; /* owned; NULL: nothing to take back at its end */

    /* guarded by thread_group->signal_lock */
    kernel_sigset signal_mask;      /* of a task without a host thread; else see mask_locked() */
    struct signal_pending *pending; /* owned: signals for this thread */
    bool killed;                    /* must exit at its next boundary (set `work` as well) */
    bool stopped;                   /* waits in a job-control stop at its boundary */
    int exit_code;                  /* wait status of this thread alone: exit(2) */
    int pdeath_signal;              /* PR_SET_PDEATHSIG; guarded by lock */

    /* For /proc/PID/io: the own thread writes, anybody reads. */
    _Atomic uint64_t io_read_bytes, io_written_bytes, io_reads, io_writes;
    _Atomic bool work; /* something waits at the boundary: signals, exit, rest */
    _Atomic int state; /* enum task_state */
    bool at_rest;      /* rest.c; guarded by the rest lock */
    /* owned; own thread: of a vfork child until it execs or exits */
    struct vfork_completion *vfork;
    /* Owned; own thread: set while its clone call waits for a vfork child, over transparent
     * restarts. As long as it is set run.c delivers no signal but a kill: the child runs on this
     * task's stack. */
    struct vfork_completion *vfork_wait;
    bool exited;   /* guarded by kernel->pids_lock: not in the group's member set any more */
    bool in_table; /* guarded by kernel->pids_lock */
    bool finished; /* guarded by kernel->pids_lock: exit.c has dealt with it */
    int nice, sched_policy, sched_priority; /* guarded by lock */
    int io_priority;                        /* ioprio_set(2); guarded by lock */
    uint64_t cpu_mask[16];                  /* sched_setaffinity(2): guarded by lock; 0: all */
};

/* Whoever runs a task holds this; dropping it destroys the task. */
struct task_owner {
    struct task *task;
};
void task_owner_release(struct task_owner *owner); /* task_destroy, then the last reference */

/* The first task of a kernel: a fresh host process. */
int MUST_CHECK task_new(struct kernel *kernel, const char *name, struct fs_context *fs,
                        struct credentials *creds, struct task_owner *owner);
/* A task with no host process behind it: for tests of every kernel object. */
int MUST_CHECK task_new_mock(struct kernel *kernel, struct fs_context *fs,
                             struct task_owner *owner);
/* A further mock task in the same group. */
int MUST_CHECK task_new_mock_thread(struct task *leader, struct task_owner *owner);
/* A mock child process of `parent`. */
int MUST_CHECK task_new_mock_child(struct task *parent, struct task_owner *owner);
/* The common part. group NULL: a new thread group around `process`, child of `parent` (NULL: init).
 * Consumes nothing: takes references. */
struct task_params {
    const char *name;
    struct task *creator;       /* NULL for init */
    struct thread_group *group; /* join this one (CLONE_THREAD) */
    bool sibling;               /* CLONE_PARENT */
    struct signal_action_table
        *actions; /* share (CLONE_SIGHAND); NULL: new default table, or copy of creator's */
    struct host_process *process;
    struct host_thread *thread;
    struct fd_table *files;
    struct memory_manager *mm;
    struct fs_context *fs;
    struct credentials *creds;
    int exit_signal;
};
int MUST_CHECK task_create(struct kernel *kernel, const struct task_params *params,
                           struct task_owner *owner);
/* Called by task_owner_release: leaves every table. Idempotent. */
void task_destroy(struct task *task);
struct task *task_get(struct task *task);
void task_put(struct task *task);
DEFINE_CLEANUP(struct task *, task_put)
pid_t task_get_pid(const struct task *task);
pid_t task_get_tid(const struct task *task);
pid_t task_get_pgrp(const struct task *task);                      /* takes pids_lock */
pid_t task_get_ppid(const struct task *task);                      /* takes pids_lock */
pid_t task_get_sid(const struct task *task);                       /* takes pids_lock */
struct credentials *task_creds(struct task *task);                 /* owned */
void task_set_creds(struct task *task, struct credentials *creds); /* takes over */
/* To be looked at (fd_table_peek_put()) or NULL after exit; what its stubs have closed is closed.
 */
struct fd_table *task_files(struct task *task);
struct memory_manager *task_mm(struct task *task); /* owned or NULL */
struct fs_context *task_fs(struct task *task);     /* owned or NULL */
struct host_thread *
task_thread(struct task *task); /* of another task, for its memory: owned or NULL */
/* Both at one moment, so that the thread reaches that memory and no other (exec changes them
 * together): owned, or both NULL. Whoever needs rights checks them after this. */
void task_memory(struct task *task, struct memory_manager **mm, struct host_thread **thread);
/* The kernel thread's own task; NULL in the event thread and the like. */
struct task *current_task(void);
void current_task_set(struct task *task);
/* A walk from the task's cwd with its credentials (borrowed from the own thread). */
struct walk task_walk(struct task *current, const struct path *start);
/* May `current` signal / trace / inspect `target`? (kill(2), ptrace(2) access mode) */
bool task_may_signal(struct task *current, struct task *target, int signal);
bool task_may_access(struct task *current, struct task *target);

/* Deadline of a call with a relative timeout in ns (< 0: forever): computed once, kept when the
 * call is restarted unseen. */
deadline_ns task_call_deadline(struct task *current, int64_t timeout_ns);
/* fd_table_get() for calls that may block: another thread may close the descriptor, and use its
 * number for something else, while the call is restarted unseen. It goes on with the same file. */
struct file *task_call_file(struct task *current, int fd);
/* The call was under way in the guest's process, on the host's descriptor of that number. */
void task_call_file_direct(struct task *current, int fd, int number);
void task_call_files_put(struct task *current);
/*
 * For calls that block until all of their bytes have gone (write(2) and send(2) on pipes, stream
 * sockets): an attempt that skipped call.done bytes of `wanted` in all returned `result`. Gives
 * what the call returns: when only rest or a forgotten signal cut it short, a restart code, and the
 * next attempt goes on behind call.done; a handler makes the guest see the partial count.
 */
int64_t task_call_progress(struct task *current, int64_t result, size_t wanted);
/* What it is doing at this moment: a running task that waits in a call reads as TASK_SLEEPING. */
enum task_state task_current_state(struct task *task);

/* ---- session.c ---- */

int MUST_CHECK task_setpgid(struct task *current, pid_t pid, pid_t pgid);
pid_t MUST_CHECK task_getpgid(struct task *current, pid_t pid);
pid_t MUST_CHECK task_setsid(struct task *current);
pid_t MUST_CHECK task_getsid(struct task *current, pid_t pid);
/* The process group of that id: a signal to each member. -ESRCH when there is none. */
int MUST_CHECK process_group_signal(struct kernel *kernel, pid_t pgid,
                                    const struct signal_info *info);
/* The controlling terminal of a session (files/tty.c keeps the terminal's side). */
void *session_terminal(struct task *task); /* weak, or NULL */
int MUST_CHECK session_set_terminal(struct task *task, void *terminal);
bool process_group_orphaned(struct kernel *kernel, pid_t pgid);
/* When a session leader exits its terminal is hung up: files/tty.c says how. No lock is held. */
void session_set_hangup(void (*hangup)(void *terminal));
/* Are all members of the process group in this session? pgrp 0 or unknown: false (TIOCSPGRP). */
bool process_group_in_session(struct kernel *kernel, pid_t pgid, pid_t sid);

/* ---- rest.c ---- */

struct rest *rest_new(void); /* NULL: out of memory */
void rest_free(struct rest *rest);

/* ---- clone.c, exec.c, exit.c, wait.c ---- */

struct clone_params {
    uint64_t flags; /* CLONE_*, checked by the handler */
    int exit_signal;
    uint64_t stack; /* new rsp, 0: the parent's */
    uint64_t tls;
    struct user_address parent_tid, child_tid;
    /* Called with the finished child before it runs (pidfds); an error undoes it. May be NULL. */
    int (*prepare)(struct task *current, struct task *child, void *arg);
    void *prepare_arg;
};
pid_t MUST_CHECK task_clone(struct task *current, const struct clone_params *params);
/* unshare(2) */
int MUST_CHECK task_unshare(struct task *current, uint64_t flags);
/* By a new task's own kernel thread before its first resume (run.c): writes child_tid. */
void task_begin(struct task *current);
/* exec and exit of a vfork child: lets the parent go on. */
void task_vfork_done(struct task *current);
struct exec_params {
    struct file *file;      /* already opened for execution */
    const char *filename;   /* as given, for AT_EXECFN and comm */
    char **argv, **envp;    /* kernel copies, NULL-terminated */
    bool path_inaccessible; /* execveat(2) of a descriptor that closes on exec: no `#!` scripts */
};
/* On success the task runs the new program at its next resume; after the point of no return an
 * error kills it. */
int MUST_CHECK task_exec(struct task *current, const struct exec_params *params);
/* The file that the task's address space runs (/proc/PID/exe); owned, or NULL. */
struct file *task_program(struct task *task);
/* Before the task leaves its memory by exit or exec: robust list and clear_child_tid, with their
 * futex wakes. Own thread, its host thread still there. exit.c. */
void task_release_memory(struct task *current);
/* exit(2), exit_group(2): mark; the task loop finishes. status: a wait status (code << 8, or a
 * signal number, | 0x80 for a core dump). Fatal signals too. The first decision stays. */
void task_exit(struct task *current, int code);
void task_exit_group(struct thread_group *group, int wait_status);
/* The end of a task, called once by the task loop after its last boundary, with no lock held:
 * robust list, clear_child_tid, files, mm and fs dropped, zombie and SIGCHLD, host_thread_exit.
 * The loop then drops the owner. */
void task_exit_finish(struct task *current);
/* exec by one of several threads: the others die, and the caller becomes the leader with the
 * group's id. 0, or -EINTR when the caller itself is killed meanwhile. */
int MUST_CHECK task_become_only_thread(struct task *current);
struct wait_result {
    pid_t pid;
    uid_t uid;
    int status; /* wait status */
};
/* wait4(2)/waitid(2): *usage is what the child has used, NULL: not wanted; idtype P_PID, P_PGID,
 * P_ALL, P_PIDFD (id is then a pid). 0 with result->pid 0: WNOHANG and nothing. */
int MUST_CHECK task_wait(struct task *current, idtype_t idtype, pid_t id, int options,
                         struct wait_result *result, struct usage *usage);
/* What the task, or all of its process, moved by read(2), write(2) and the like. */
void task_io(struct task *task, struct io_counts *io);
void thread_group_io(struct thread_group *group, struct io_counts *io);
/* One such call of the own thread has ended. */
static inline void task_count_io(struct task *current, bool write, int64_t result) {
    _Atomic uint64_t *bytes = write ? &current->io_written_bytes : &current->io_read_bytes;
    _Atomic uint64_t *calls = write ? &current->io_writes : &current->io_reads;

    if (result > 0) {
        atomic_store_explicit(bytes,
                              atomic_load_explicit(bytes, memory_order_relaxed) + (uint64_t)result,
                              memory_order_relaxed);
    }
    atomic_store_explicit(calls, atomic_load_explicit(calls, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}
/* After rlimits_change(), and for a new group: what guests do by themselves obeys the limit.
 * -errno: it cannot. */
int MUST_CHECK thread_group_limits_changed(struct thread_group *group, int resource);
void thread_group_usage(struct thread_group *group, struct usage *usage); /* RUSAGE_SELF */
/* Waits until nothing of what it or its waited-for children have used is missing. Not for long. */
void thread_group_await_settled(struct thread_group *group);
void task_usage(struct task *task, struct usage *usage); /* RUSAGE_THREAD */

/* ---- run.c: the task loop ---- */

/* Runs the task on a new kernel thread until it exits; takes over the owner. */
int MUST_CHECK task_start(struct task_owner *owner);
/* What turns a call into its result; set by syscalls/dispatch.c at start so that task/ does not
 * depend on it. */
typedef int64_t syscall_dispatch_fn(struct task *current, long number, const uint64_t args[6]);
void task_set_dispatch(syscall_dispatch_fn *dispatch);
/* A call that its stub answers by one call of the host when it may (class D: stub/direct.c,
 * direct_futex.c), not by what it knows (class L). */
bool task_stub_asks_host(long number);
/* --strace's line at the end of each task; set once at start. */
typedef void task_exit_trace_fn(struct task *task, int wait_status);
void task_set_exit_trace(task_exit_trace_fn *trace);

#endif
