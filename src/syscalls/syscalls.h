/*
 * syscalls: the table and its thin handlers. syscalls.def has one row a call; tools/gen_syscalls.py
 * makes from it (at build time) syscalls_gen.h   prototypes: int64_t sys_NAME(struct task *current,
 * typed arguments...); syscalls_gen.c   thunks that unpack the six registers, the dispatch table,
 * the --strace descriptions docs/syscalls.md the list of what is supported (by `make docs`) A row
 * whose level is `missing` has no handler: it returns ENOSYS and is logged once by name.
 *
 * A handler decodes, looks up, calls the object, copies out; it returns the result or -errno (or a
 * restart code). It is static to nothing: one file per area, sys_path.c, sys_mm.c, sys_process.c
 * ...
 */
#ifndef STARLING_SYSCALLS_H
#define STARLING_SYSCALLS_H

#include "files/files.h"
#include "fs/file.h"
#include "task/task.h"

#include "syscalls/syscalls_gen.h"

/* The dispatcher for task_set_dispatch(). */
int64_t syscall_dispatch(struct task *current, long number, const uint64_t args[6]);

/* A row of the table, for `starling syscalls`. Number: 0..SYSCALL_COUNT-1; false: no such call. */
enum syscall_level { SYSCALL_MISSING, SYSCALL_PARTIAL, SYSCALL_FULL };
struct syscall_info {
    const char *name, *note; /* note: "" when there is none */
    enum syscall_level level;
};
bool syscall_describe(long number, struct syscall_info *info);

/* --stats: counts calls from now on; print writes the counts, most frequent first, and those of the
 * guests' stubs, to fd. */
void syscall_stats_start(void);
void syscall_stats_print(int fd, const struct host_job *job);

/* --strace: lines go to fd (borrowed). trace.c. */
void trace_start(int fd);
bool trace_enabled(void);
void trace_enter(struct task *current, long number, const uint64_t args[6]);
void trace_exit(struct task *current, const uint64_t args[6], int64_t result);
/* "--- SIGINT {si_signo=SIGINT, ...} ---", "+++ exited with 0 +++" */
void trace_signal(struct task *current, const struct signal_info *info);
/* A signal that the task does not take, being ignored or the end of the group, as strace(1) shows
 * it nevertheless: printed behind the task's present call. Any thread. */
void trace_signal_untaken(pid_t task, const struct signal_info *info);
void trace_exited(struct task *current, int wait_status);

/* The start of a walk for an *at call: AT_FDCWD gives NULL start. The file (when not AT_FDCWD) is
 * kept in *holder. */
int MUST_CHECK walk_at(struct task *current, int dirfd, struct walk *walk, struct file **holder);
/* The limits of the task's process that its memory calls obey. */
void current_memory_limits(struct task *current, struct memory_limits *limits);
/* A flag outside `known` was given: logs once by name and returns -error. */
int unsupported_flags(const char *call, uint64_t flags, uint64_t known, int error);
/* RLIMIT_FSIZE (setrlimit(2)): how many of size bytes may be written at pos. 0 and SIGXFSZ when
 * none. */
size_t file_size_room(struct task *current, struct file *file, int64_t pos, size_t size);

#endif
