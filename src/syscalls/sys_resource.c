/*
 * Resources: limits, usage and scheduling (getrlimit(2), getrusage(2), times(2), sched(7)).
 * Policies, priorities and affinity are remembered, inherited and reported; the host's scheduler
 * goes its own way with the guest's threads.
 */
#include "syscalls/syscalls.h"

#include <sched.h>
#include <sys/times.h>

#include "syscalls/sys_priority.h"
#include "syscalls/sys_usage.h"

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif

/* ---- limits ---- */

int64_t sys_getrlimit(struct task *current, int resource, struct user_address rlim) {
    struct rlimit64 limit;

    if (resource < 0 || resource >= RLIM_NLIMITS) {
        return -EINVAL;
    }
    limit = rlimits_both(&current->thread_group->rlimits, resource);
    return answer_user(current->thread, limit, rlim);
}

static bool may_raise(const struct task *current) {
    return credentials_capable(current->creds, CAP_SYS_RESOURCE);
}

static int change_limit(struct task *current, struct thread_group *group, int resource,
                        const struct rlimit64 *new, struct rlimit64 *old) {
    int result = rlimits_change(&group->rlimits, resource, new, old, may_raise(current));

    return result == 0 && new ? thread_group_limits_changed(group, resource) : result;
}

int64_t sys_setrlimit(struct task *current, int resource, struct user_address rlim) {
    struct rlimit64 limit;

    if (get_user(current->thread, limit, rlim)) {
        return -EFAULT;
    }
    return change_limit(current, current->thread_group, resource, &limit, NULL);
}

/* prlimit(2): all of the target's ids are the caller's real ones, or CAP_SYS_RESOURCE. */
static bool may_limit(struct task *current, struct task *target) {
    const struct credentials *creds = current->creds;
    struct credentials *other CLEANUP(credentials_put) = task_creds(target);

    return target->thread_group == current->thread_group ||
           (creds->uid == other->euid && creds->uid == other->suid && creds->uid == other->uid &&
            creds->gid == other->egid && creds->gid == other->sgid && creds->gid == other->gid) ||
           may_raise(current);
}

int64_t sys_prlimit64(struct task *current, pid_t pid, int resource, struct user_address new_limit,
                      struct user_address old_limit) {
    struct task *target CLEANUP(task_put) = NULL;
    struct rlimit64 new = {0}, old;
    bool set = !user_address_is_null(new_limit);
    int result;

    if (set && get_user(current->thread, new, new_limit)) {
        return -EFAULT;
    }
    target = pid ? kernel_get_task(current->thread_group->kernel, pid) : task_get(current);
    if (!target) {
        return -ESRCH;
    }
    if (!may_limit(current, target)) {
        return -EPERM;
    }
    result = change_limit(current, target->thread_group, resource, set ? &new : NULL, &old);
    if (result || user_address_is_null(old_limit)) {
        return result;
    }
    return answer_user(current->thread, old, old_limit);
}

/* ---- usage ---- */

static void children_usage(struct thread_group *group, struct usage *usage) {
    LOCK_GUARD(&group->signal_lock);

    *usage = group->children_usage;
}

int64_t sys_getrusage(struct task *current, int who, struct user_address usage_address) {
    struct usage usage;
    struct rusage rusage;

    if (who != RUSAGE_THREAD) {
        thread_group_await_settled(current->thread_group);
    }
    switch (who) {
    case RUSAGE_SELF:
        thread_group_usage(current->thread_group, &usage);
        break;
    case RUSAGE_CHILDREN:
        children_usage(current->thread_group, &usage);
        break;
    case RUSAGE_THREAD:
        task_usage(current, &usage);
        break;
    default:
        return -EINVAL;
    }
    usage_to_rusage(&usage, &rusage);
    return answer_user(current->thread, rusage, usage_address);
}

#define NS_PER_TICK 10000000 /* sysconf(_SC_CLK_TCK) is 100 */

int64_t sys_times(struct task *current, struct user_address buf) {
    struct usage self, children;

    if (!user_address_is_null(buf)) {
        struct tms tms;

        thread_group_usage(current->thread_group, &self);
        children_usage(current->thread_group, &children);
        tms = (struct tms){
            .tms_utime = self.user / NS_PER_TICK,
            .tms_stime = self.system / NS_PER_TICK,
            .tms_cutime = children.user / NS_PER_TICK,
            .tms_cstime = children.system / NS_PER_TICK,
        };
        if (put_user(current->thread, tms, buf)) {
            return -EFAULT;
        }
    }
    return host_clock_boottime() / NS_PER_TICK;
}

/* ---- scheduling ---- */

int64_t sys_sched_yield(struct task *current) {
    host_yield();
    return 0;
}

static struct task *find_scheduled(struct task *current, pid_t pid) {
    return pid ? kernel_get_task(current->thread_group->kernel, pid) : task_get(current);
}

static bool is_realtime(int policy) {
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

static int set_scheduler(struct task *current, pid_t pid, int policy, int priority, int nice,
                         bool with_nice) {
    struct task *task CLEANUP(task_put) = NULL;
    bool reset = policy >= 0 && (policy & SCHED_RESET_ON_FORK);

    if (pid < 0) {
        return -EINVAL;
    }
    task = find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    if (policy < 0) { /* sched_setparam: as it is */
        LOCK_GUARD(&task->lock);

        policy = task->sched_policy;
    }
    if (reset) {
        return unsupported_flags("sched_setscheduler", SCHED_RESET_ON_FORK, 0, EINVAL);
    }
    if (policy == SCHED_DEADLINE) {
        return unsupported_flags("sched_setscheduler", SCHED_DEADLINE, 0, EINVAL);
    }
    if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE &&
        !is_realtime(policy)) {
        return -EINVAL;
    }
    if (is_realtime(policy) ? priority < 1 || priority > 99 : priority != 0) {
        return -EINVAL;
    }
    if (!priority_may_change(current, task)) {
        return -EPERM;
    }
    if (!credentials_capable(current->creds, CAP_SYS_NICE) &&
        ((is_realtime(policy) &&
          (uint64_t)priority > rlimits_get(&task->thread_group->rlimits, RLIMIT_RTPRIO)) ||
         (with_nice && !priority_may_nice(current, task, nice)))) {
        return -EPERM;
    }
    LOCK_GUARD(&task->lock);
    task->sched_policy = policy;
    task->sched_priority = priority;
    if (with_nice) {
        task->nice = nice;
    }
    return 0;
}

int64_t sys_sched_setscheduler(struct task *current, pid_t pid, int policy,
                               struct user_address param) {
    int priority;

    if (policy < 0 || user_address_is_null(param)) {
        return -EINVAL;
    }
    if (get_user(current->thread, priority, param)) {
        return -EFAULT;
    }
    return set_scheduler(current, pid, policy, priority, 0, false);
}

int64_t sys_sched_setparam(struct task *current, pid_t pid, struct user_address param) {
    int priority;

    if (user_address_is_null(param)) {
        return -EINVAL;
    }
    if (get_user(current->thread, priority, param)) {
        return -EFAULT;
    }
    return set_scheduler(current, pid, -1, priority, 0, false);
}

int64_t sys_sched_getscheduler(struct task *current, pid_t pid) {
    struct task *task CLEANUP(task_put) = pid < 0 ? NULL : find_scheduled(current, pid);

    if (!task) {
        return pid < 0 ? -EINVAL : -ESRCH;
    }
    LOCK_GUARD(&task->lock);
    return task->sched_policy;
}

int64_t sys_sched_getparam(struct task *current, pid_t pid, struct user_address param) {
    struct task *task CLEANUP(task_put) = NULL;
    int priority;

    if (pid < 0 || user_address_is_null(param)) {
        return -EINVAL;
    }
    task = find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    priority = task->sched_priority;
    lock_release(&task->lock);
    return put_user(current->thread, priority, param);
}

int64_t sys_sched_get_priority_max(struct task *current, int policy) {
    switch (policy) {
    case SCHED_FIFO:
    case SCHED_RR:
        return 99;
    case SCHED_OTHER:
    case SCHED_BATCH:
    case SCHED_IDLE:
    case SCHED_DEADLINE:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_sched_get_priority_min(struct task *current, int policy) {
    int64_t max = sys_sched_get_priority_max(current, policy);

    return max > 0 ? 1 : max;
}

int64_t sys_sched_rr_get_interval(struct task *current, pid_t pid, struct user_address tp) {
    struct task *task CLEANUP(task_put) = NULL;
    struct timespec interval = {0};
    int policy;

    if (pid < 0) {
        return -EINVAL;
    }
    task = find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    policy = task->sched_policy;
    lock_release(&task->lock);
    if (policy == SCHED_RR) {
        interval.tv_nsec = 100000000; /* /proc/sys/kernel/sched_rr_timeslice_ms */
    } else if (policy != SCHED_FIFO) {
        interval.tv_nsec = 4000000;
    }
    return put_user(current->thread, interval, tp);
}

/* struct sched_attr of sched_setattr(2), its first published form. */
struct user_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int64_t sys_sched_getattr(struct task *current, pid_t pid, struct user_address attr, unsigned size,
                          unsigned flags) {
    struct task *task CLEANUP(task_put) = NULL;
    struct user_sched_attr out = {.size = sizeof(out)};

    if (user_address_is_null(attr) || pid < 0 || flags || size < sizeof(out) || size > PAGE_SIZE) {
        return -EINVAL;
    }
    task = find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    out.policy = (uint32_t)task->sched_policy;
    out.priority = (uint32_t)task->sched_priority;
    out.nice = is_realtime(task->sched_policy) ? 0 : task->nice;
    lock_release(&task->lock);
    return put_user(current->thread, out, attr);
}

int64_t sys_sched_setattr(struct task *current, pid_t pid, struct user_address attr,
                          unsigned flags) {
    struct user_sched_attr in;

    if (user_address_is_null(attr) || pid < 0 || flags) {
        return -EINVAL;
    }
    if (get_user(current->thread, in.size, attr)) {
        return -EFAULT;
    }
    if (in.size != 0 && in.size < sizeof(in)) {
        return -E2BIG;
    }
    if (get_user(current->thread, in, attr)) {
        return -EFAULT;
    }
    if (in.policy > INT32_MAX) {
        return -EINVAL;
    }
    if (in.flags) {
        return unsupported_flags("sched_setattr", in.flags, 0, EINVAL);
    }
    in.nice = in.nice < PRIORITY_NICE_MIN   ? PRIORITY_NICE_MIN
              : in.nice > PRIORITY_NICE_MAX ? PRIORITY_NICE_MAX
                                            : in.nice;
    return set_scheduler(current, pid, (int)in.policy, (int)MIN(in.priority, 100u), in.nice,
                         !is_realtime((int)in.policy));
}

/* ---- affinity ---- */

int64_t sys_sched_getaffinity(struct task *current, pid_t pid, size_t cpusetsize,
                              struct user_address mask) {
    struct task *task CLEANUP(task_put) = NULL;
    uint64_t cpus[HOST_CPU_WORDS], limited[HOST_CPU_WORDS];
    size_t words = host_cpu_mask(cpus), size;
    bool any = false;

    if (cpusetsize < words * sizeof(uint64_t) || cpusetsize % sizeof(uint64_t)) {
        return -EINVAL;
    }
    task = pid < 0 ? NULL : find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    for (size_t i = 0; i < words; i++) {
        limited[i] = cpus[i] & task->cpu_mask[i];
        any = any || limited[i];
    }
    lock_release(&task->lock);
    size = words * sizeof(uint64_t);
    if (copy_to_user(current->thread, mask, any ? limited : cpus, size)) {
        return -EFAULT;
    }
    return (int64_t)size;
}

int64_t sys_sched_setaffinity(struct task *current, pid_t pid, size_t cpusetsize,
                              struct user_address mask) {
    struct task *task CLEANUP(task_put) = NULL;
    uint64_t cpus[HOST_CPU_WORDS], wanted[HOST_CPU_WORDS] = {0};
    size_t words = host_cpu_mask(cpus);
    bool any = false;

    if (copy_from_user(current->thread, wanted, mask, MIN(cpusetsize, sizeof(wanted)))) {
        return -EFAULT;
    }
    task = pid < 0 ? NULL : find_scheduled(current, pid);
    if (!task) {
        return -ESRCH;
    }
    if (!priority_may_change(current, task)) {
        return -EPERM;
    }
    for (size_t i = 0; i < words; i++) {
        any = any || (wanted[i] & cpus[i]);
    }
    if (!any) {
        return -EINVAL;
    }
    LOCK_GUARD(&task->lock);
    memcpy(task->cpu_mask, wanted, sizeof(wanted));
    return 0;
}
