/* Who may change how a task is scheduled. */
#ifndef STARLING_SYS_PRIORITY_H
#define STARLING_SYS_PRIORITY_H

#include <sched.h>
#include <sys/resource.h>

#include "syscalls/syscalls.h"

#define PRIORITY_NICE_MIN (-20)
#define PRIORITY_NICE_MAX 19

/* setpriority(2), sched_setscheduler(2): is it the caller's, or has that CAP_SYS_NICE? */
bool priority_may_change(struct task *current, struct task *task);
/* RLIMIT_NICE, getrlimit(2). */
bool priority_may_nice(struct task *current, struct task *task, int nice);

#endif
