/*
 * POSIX timers: timer_create(2) and the calls on an id. The engine is timers.c's.
 */
#include "task/timers_internal.h"

static bool in_group(struct task *current, pid_t tid) {
    struct task *task CLEANUP(task_put) = kernel_get_task(current->thread_group->kernel, tid);

    return task && task->thread_group == current->thread_group;
}

/* The source of a CPU-time clock id: of the caller, or of a thread of its own process
 * (clock_getcpuclockid(3); other processes' are refused). */
static int cpu_clock_source(struct task *current, clockid_t clock, struct posix_timer *timer) {
    pid_t pid = ~(clock >> 3);

    switch (clock & 7) {
    case 0: /* PROF */
    case 2: /* SCHED */
    case 1: /* VIRT */
        if (pid != 0 && pid != task_get_pid(current)) {
            return -EINVAL;
        }
        timer->source = (clock & 7) == 1 ? SOURCE_GROUP_USER : SOURCE_GROUP_CPU;
        return 0;
    case 4:
    case 6: /* the same of one thread */
        if (pid != 0 && !in_group(current, pid)) {
            return -EINVAL;
        }
        timer->source = SOURCE_THREAD_CPU;
        timer->source_tid = pid ? pid : task_get_tid(current);
        return 0;
    default:
        return -EINVAL;
    }
}

static int clock_source(struct task *current, clockid_t clock, struct posix_timer *timer) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
        timer->source = SOURCE_WALL;
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        timer->source = SOURCE_GROUP_CPU;
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        timer->source = SOURCE_THREAD_CPU;
        timer->source_tid = task_get_tid(current);
        return 0;
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_TAI:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
        return -EOPNOTSUPP;
    default:
        return clock < 0 ? cpu_clock_source(current, clock, timer) : -EINVAL;
    }
}

int posix_timer_create(struct task *current, const struct posix_timer_params *params) {
    struct posix_timers *timers = current->thread_group->timers;
    struct posix_timer *timer CLEANUP(free) = NULL;
    uint64_t limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_SIGPENDING);
    int result, id;

    if (params->notify != SIGEV_NONE && (params->signal < 1 || params->signal > SIGNAL_MAX)) {
        return -EINVAL;
    }
    if (params->tid && !in_group(current, params->tid)) {
        return -EINVAL;
    }
    timer = calloc(1, sizeof(*timer));
    if (!timer) {
        return -EAGAIN;
    }
    result = clock_source(current, params->clock, timer);
    if (result < 0) {
        return result;
    }
    timer_init(timers, timer);
    timer->clock = params->clock;
    timer->notify = params->notify;
    timer->signal = params->signal;
    timer->tid = params->tid;
    timer->value = params->value;

    LOCK_GUARD(&timers->lock);
    /* Linux keeps a queue entry for each timer, which counts against this limit. */
    if (timers->count >= limit) {
        return -EAGAIN;
    }
    id = timers->next_id;
    timers->next_id = id == INT32_MAX ? 0 : id + 1;
    timer->id = id;
    if (!params->has_value) {
        timer->value.sival_int = id;
    }
    list_add_tail(&timer->link, &timers->list);
    timers->count++;
    timer = NULL;
    return id;
}

static struct posix_timer *find_id_locked(struct posix_timers *timers, int id) {
    struct posix_timer *timer;

    list_for_each_entry (timer, &timers->list, link) {
        if (timer->id == id) {
            return timer;
        }
    }
    return NULL;
}

/*
 * A timer of the caller's own group that cannot be freed meanwhile: deleting it (by another thread)
 * is put off by the pin. NULL: no such timer.
 */
static struct posix_timer *timer_pin(struct posix_timers *timers, int id) {
    struct posix_timer *timer;

    LOCK_GUARD(&timers->lock);
    timer = find_id_locked(timers, id);
    if (timer) {
        timer->pins++;
    }
    return timer;
}

int posix_timer_settime(struct thread_group *group, int id, bool absolute,
                        const struct timer_spec *spec, struct timer_spec *old) {
    struct posix_timer *timer = timer_pin(group->timers, id);
    int result;

    if (!timer) {
        return -EINVAL;
    }
    result = timer_set(timer, absolute, spec, old);
    timer_unpin(timer);
    return result;
}

int posix_timer_gettime(struct thread_group *group, int id, struct timer_spec *spec) {
    struct posix_timer *timer = timer_pin(group->timers, id);
    int64_t now;

    if (!timer) {
        return -EINVAL;
    }
    now = timer_source_now(timer);
    lock_acquire(&group->timers->lock);
    timer_get_locked(timer, now, spec);
    lock_release(&group->timers->lock);
    timer_unpin(timer);
    return 0;
}

int posix_timer_getoverrun(struct thread_group *group, int id) {
    struct posix_timer *timer;

    LOCK_GUARD(&group->timers->lock);
    timer = find_id_locked(group->timers, id);
    return timer ? timer_overrun_count(timer->last_overrun) : -EINVAL;
}

int posix_timer_delete(struct thread_group *group, int id) {
    struct posix_timers *timers = group->timers;
    struct posix_timer *timer;

    lock_acquire(&timers->lock);
    timer = find_id_locked(timers, id);
    if (timer) {
        timer_unlink_locked(timer);
    }
    lock_release(&timers->lock);
    if (!timer) {
        return -EINVAL;
    }
    timer_unpin(timer);
    return 0;
}
