/*
 * Within task/: the parts of the process tree that nobody outside needs to see: what stands behind
 * a pid, process groups, sessions, zombies. All of it is guarded by kernel->pids_lock.
 */
#ifndef STARLING_TASK_INTERNAL_H
#define STARLING_TASK_INTERNAL_H

#include "task/task.h"

/* ---- pid_table.c ---- */

/* What a number stands for. All pointers are weak; the entry goes when all are NULL. */
struct pid_entry {
    struct list_head link; /* of its bucket */
    pid_t id;
    struct task *task;
    struct thread_group *thread_group; /* until its zombie is gone: the id may not be reused */
    struct process_group *process_group;
    struct session *session;
};
struct pid_entry *pid_table_find(struct pid_table *pids, pid_t id); /* NULL: unused */
/* Finds or makes it; NULL: out of memory. A new one that stays empty must be released. */
struct pid_entry *pid_table_obtain(struct pid_table *pids, pid_t id);
void pid_table_release(struct pid_table *pids, struct pid_entry *entry); /* frees when unused */

/* ---- session.c ---- */

struct session {
    int count; /* process groups in it; guarded by pids_lock */
    struct kernel *kernel;
    pid_t id;
    void *terminal; /* weak: files/tty.c takes itself out by session_set_terminal(NULL) */
};
struct process_group {
    struct kernel *kernel;
    pid_t id;
    struct session *session;
    struct list_head members; /* thread groups (zombies too), by process_group_link; it ends with
                                 the last */
};
/* pids_lock held for writing. A group joins a process group of its own in a new session, in the
 * same session, or an existing one; leaves the one it is in. -ENOMEM. */
int MUST_CHECK session_start_locked(struct thread_group *group);
int MUST_CHECK process_group_start_locked(struct thread_group *group);
void process_group_join_locked(struct thread_group *group, struct process_group *pgrp);
void process_group_leave_locked(struct thread_group *group);
/* No member has a parent outside the process group but in its session; `ignored` does not count. */
bool process_group_orphaned_locked(struct process_group *pgrp, struct thread_group *ignored);
/* A session leader ends: forgets the terminal and returns it for session_hangup(). */
void *session_leader_exit_locked(struct thread_group *group);
void session_hangup(void *terminal); /* NULL is fine; no lock held */

/* ---- thread_group.c ---- */

/* The record that a parent owns until it waits for it. */
struct zombie {
    struct list_head link;      /* in parent->zombies; guarded by pids_lock */
    struct thread_group *group; /* owned once the group is dead; NULL before */
    struct task *leader;        /* owned from the leader's exit on: persistent info, its pid */
    int status;                 /* wait status */
    uid_t uid;
};
void zombie_free(struct zombie *zombie); /* no lock held */
/* Takes it out of every table; the caller frees it without the lock. pids_lock held for writing. */
void zombie_reap_locked(struct zombie *zombie);

/* What is left to do when the lock is released. */
struct group_end {
    struct list_head reaped; /* zombies */
    void *terminal;
};
void group_end_init(struct group_end *end);
void group_end_finish(struct group_end *end); /* no lock held */

/* Out of the members; true: it was the last. pids_lock held for writing. */
bool MUST_CHECK thread_group_remove_locked(struct thread_group *group, struct task *task);
/* The last task has left. With `zombie` the parent gets a zombie and SIGCHLD (unless it does not
 * care), without the group is gone at once. pids_lock held for writing. */
void thread_group_end_locked(struct thread_group *group, bool zombie, struct group_end *end);
/* task_publish_locked() for all its tasks: parent, process group or session have changed. pids_lock
 * held for writing. */
void thread_group_publish_locked(struct thread_group *group);
void thread_group_add_locked(struct thread_group *group, struct task *task);
/* From now on the end of the host process is the end of the group (SIGKILL). */
int MUST_CHECK thread_group_watch_process(struct thread_group *group);
void thread_group_end_process(struct thread_group *group);
/* PR_SET_PDEATHSIG of the child's leader. pids_lock held. */
void send_death_signal_locked(struct thread_group *child, struct thread_group *parent);

/* ---- usage.c ---- */

void usage_add(struct usage *to, const struct usage *more);
/* The group leaves its present host process (exec, exit): what that has used becomes the group's.
 */
void thread_group_account(struct thread_group *group);
/* Kills a host process that the group has left, once its figures are known. */
void thread_group_kill_process(struct thread_group *group, struct host_process *process);
/* `heir` has waited for the group: what that has used becomes its children's. pids_lock held. */
void usage_inherit(struct thread_group *group, struct thread_group *heir);
/* Of a process that has ended, with its children. */
void thread_group_whole_usage(struct thread_group *group, struct usage *usage);

/* ---- task.c ---- */

/* Drops what a task holds while it runs. Own kernel thread (or the owner of a mock). */
void task_drop_running(struct task *task);
/* Out of the pid table and the kernel's list. pids_lock held for writing. */
void task_leave_table_locked(struct task *task);

/* Counts what its stub read and wrote by itself. task->lock held; before it loses its host thread.
 */
void task_fold_io_locked(struct task *task);
/* Tells the task's stub its ids. pids_lock held. */
void task_publish_locked(struct task *task);
/* The same without the lock: after the task's credentials or its host thread have changed. */
void task_publish(struct task *task);

/* ---- run.c ---- */

/* All of a task's life, by its own kernel thread, which takes the owner's part over. */
void task_main(struct task *current);

/* ---- kernel_thread.c ---- */

/* A kernel thread runs task_main(task), all signals blocked. -errno. */
int MUST_CHECK kernel_thread_start(struct task *task);

/* ---- exit.c ---- */

/* A sleep that no signal ends, only a kill (-EINTR) or rest (-ERESTARTNOINTR). 0: woken, look
 * again. When the wait is over the caller sets `work`, for the signals that came meanwhile. */
int MUST_CHECK task_sleep_killable(struct task *current);

/* ---- clone.c ---- */

/* Shared by a vfork child and its waiting parent. */
struct vfork_completion {
    struct ref ref;
    struct wait_queue queue;
    _Atomic bool done;
    pid_t child; /* the result of the parent's call */
};
void vfork_completion_put(struct vfork_completion *completion); /* NULL is fine */

#endif
