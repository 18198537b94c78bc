/*
 * Interval timers (setitimer(2)), POSIX timers (timer_create(2)) and the limit of CPU time
 * (RLIMIT_CPU) of one thread group.
 *
 * One engine for all. A timer has a deadline in the time of its source: CLOCK_MONOTONIC for the
 * wall clocks (an absolute time of CLOCK_REALTIME is converted when it is set; later changes of the
 * host's clock do not move it), or CPU time of the group or a thread. The host gives no alarm for
 * the CPU time of another process, so CPU timers look at it when it can have passed at the
 * earliest, again and again, but at most once a millisecond: they never come early, and late by
 * that.
 *
 * A periodic timer on a wall clock is armed again when its signal is taken, not when it expires:
 * what was missed in between is the overrun count, and a blocked signal costs no wake-ups. One
 * whose signal was dropped (ignored) goes on at once, at most once a millisecond.
 *
 * Locks: timers->lock (TIMERS) guards every timer; posix_timer_taken() runs under signal_lock. The
 * event thread's callback holds none when it sends. Timers end before their group: exit.c calls
 * posix_timers_stop() with no lock held, which waits for a running callback.
 */
#include "task/timers_internal.h"

static _Atomic uint64_t next_number = 1;

static void timer_expired(void *arg, uint32_t events);

void timer_init(struct posix_timers *timers, struct posix_timer *timer) {
    list_init(&timer->link);
    timer->timers = timers;
    timer->number = atomic_fetch_add(&next_number, 1);
    timer->linked = true;
    timer->timer.fn = timer_expired;
    timer->timer.arg = timer;
}

struct posix_timers *posix_timers_new(struct thread_group *group) {
    static const struct {
        int signal;
        enum timer_source source;
    } kinds[] = {
        [ITIMER_REAL] = {SIGALRM, SOURCE_WALL},
        [ITIMER_VIRTUAL] = {SIGVTALRM, SOURCE_GROUP_USER},
        [ITIMER_PROF] = {SIGPROF, SOURCE_GROUP_CPU},
        [ITIMER_LIMIT] = {SIGXCPU, SOURCE_GROUP_CPU},
    };
    struct posix_timers *timers = calloc(1, sizeof(*timers));

    if (!timers) {
        return NULL;
    }
    timers->group = group;
    lock_init(&timers->lock, LOCK_TIMERS);
    list_init(&timers->list);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct posix_timer *timer = &timers->itimers[i];

        timer_init(timers, timer);
        timer->id = -1;
        timer->clock = CLOCK_MONOTONIC;
        timer->source = kinds[i].source;
        timer->notify = SIGEV_SIGNAL;
        timer->signal = kinds[i].signal;
    }
    return timers;
}

void timer_unlink_locked(struct posix_timer *timer) {
    list_del(&timer->link);
    timer->linked = false;
    timer->timers->count--;
    timer->pins++;
}

void timer_unpin(struct posix_timer *timer) {
    bool last;

    lock_acquire(&timer->timers->lock);
    last = --timer->pins == 0 && !timer->linked;
    lock_release(&timer->timers->lock);
    if (last) {
        poller_timer_cancel(&timer->timer);
        free(timer);
    }
}

void posix_timers_exec(struct posix_timers *timers) {
    for (;;) {
        struct posix_timer *timer = NULL;

        lock_acquire(&timers->lock);
        if (!list_empty(&timers->list)) {
            timer = list_first_entry(&timers->list, struct posix_timer, link);
            timer_unlink_locked(timer);
        }
        lock_release(&timers->lock);
        if (!timer) {
            return;
        }
        timer_unpin(timer);
    }
}

void posix_timers_stop(struct posix_timers *timers) {
    lock_acquire(&timers->lock);
    for (size_t i = 0; i < ARRAY_SIZE(timers->itimers); i++) {
        timers->itimers[i].linked = false;
    }
    lock_release(&timers->lock);
    for (size_t i = 0; i < ARRAY_SIZE(timers->itimers); i++) {
        poller_timer_cancel(&timers->itimers[i].timer);
    }
    posix_timers_exec(timers);
}

void posix_timers_free(struct posix_timers *timers) {
    if (timers) {
        posix_timers_stop(timers);
        lock_destroy(&timers->lock);
        free(timers);
    }
}

/* ---- time ---- */

/* Now, in the time of the timer's source. Takes locks of the group: no lock held. */
int64_t timer_source_now(const struct posix_timer *timer) {
    struct thread_group *group = timer->timers->group;
    struct usage usage = {0};

    switch (timer->source) {
    case SOURCE_WALL:
        return host_clock_monotonic();
    case SOURCE_GROUP_CPU:
    case SOURCE_GROUP_USER:
        thread_group_usage(group, &usage);
        return usage.user + (timer->source == SOURCE_GROUP_CPU ? usage.system : 0);
    case SOURCE_THREAD_CPU: {
        struct task *task CLEANUP(task_put) = kernel_get_task(group->kernel, timer->source_tid);

        if (task) {
            task_usage(task, &usage);
        }
        return usage.user + usage.system;
    }
    }
    return 0;
}

/* How many threads can use up the source's time at once. No lock held. */
static int64_t source_threads(const struct posix_timer *timer) {
    struct thread_group *group = timer->timers->group;

    if (timer->source == SOURCE_WALL || timer->source == SOURCE_THREAD_CPU) {
        return 1;
    }
    LOCK_GUARD(&group->signal_lock);
    return (int64_t)MAX(group->task_count, (size_t)1);
}

/* Sets the host's timer for the deadline; the caller holds timers->lock. */
static int timer_arm_locked(struct posix_timer *timer, int64_t now, int64_t threads) {
    int64_t at = timer->deadline;

    timer->armed = true;
    if (timer->source != SOURCE_WALL) {
        at = host_clock_monotonic() + MAX((timer->deadline - now) / threads, MSEC);
    }
    return poller_timer_set(&timer->timer, MAX(at, (int64_t)1));
}

/* Moves the deadline of a periodic timer beyond `now`: how many expirations that passes. */
static int64_t timer_forward_locked(struct posix_timer *timer, int64_t now) {
    int64_t passed = 0;

    if (timer->deadline <= now) {
        passed = (now - timer->deadline) / timer->interval + 1;
        timer->deadline += passed * timer->interval;
    }
    return passed;
}

/* ---- expiry ---- */

static uint64_t nsec(uint64_t seconds) {
    return MIN(seconds, (uint64_t)(TIME_MAX / SECOND)) * SECOND;
}

/* setrlimit(2): SIGKILL at the hard limit; SIGXCPU at the soft one, which then, as in Linux, is a
 * second further on. No lock held. -errno: it is not watched any more. */
static int cpu_limit_reached(struct posix_timers *timers, int64_t used) {
    struct thread_group *group = timers->group;
    struct rlimit64 limit = rlimits_both(&group->rlimits, RLIMIT_CPU);
    bool over = limit.rlim_cur != RLIM64_INFINITY && (uint64_t)used >= nsec(limit.rlim_max);
    struct signal_info info;
    int result = 0;

    signal_info_kernel(&info, over ? SIGKILL : SIGXCPU);
    if (over) {
        return signal_send_group(group, &info);
    }
    if (limit.rlim_cur != RLIM64_INFINITY && (uint64_t)used >= nsec(limit.rlim_cur)) {
        result = signal_send_group(group, &info);
        limit.rlim_cur = MIN(limit.rlim_cur + 1, limit.rlim_max);
        if (result == 0) {
            result = rlimits_change(&group->rlimits, RLIMIT_CPU, &limit, NULL, false);
        }
    }
    return result ? result : posix_timers_limit_cpu(timers);
}

/* In the event thread. */
static void timer_expired(void *arg, uint32_t events) {
    struct posix_timer *timer = arg;
    struct posix_timers *timers = timer->timers;
    struct signal_info info = {.signal = timer->signal};
    bool limit = timer == &timers->itimers[ITIMER_LIMIT];
    int64_t now = timer_source_now(timer), threads = source_threads(timer);
    uint64_t arming;
    int sent = 0, armed = 0;

    lock_acquire(&timers->lock);
    if (!timer->linked || !timer->armed || timer->waiting) {
        lock_release(&timers->lock);
        return;
    }
    if (now < timer->deadline) {
        armed = timer_arm_locked(timer, now, threads);
        lock_release(&timers->lock);
        goto check;
    }
    arming = timer->arming;
    timer->waiting = timer->interval && timer->source == SOURCE_WALL;
    timer->armed = timer->interval != 0;
    lock_release(&timers->lock);

    if (limit) {
        armed = cpu_limit_reached(timers, now);
        goto check;
    }
    if (timer->id < 0) {
        info.code = SI_KERNEL;
    } else {
        info.code = SI_TIMER;
        info.info.si_timerid = timer->id;
        info.info.si_value = timer->value;
    }
    sent = signal_send_timer(timers->group, timer->tid, &info, timer->number);

    lock_acquire(&timers->lock);
    if (timer->linked && timer->arming == arming) {
        int64_t passed = 0;

        if (timer->source != SOURCE_WALL && timer->interval) {
            passed = timer_forward_locked(timer, now) - 1;
            armed = timer_arm_locked(timer, now, threads);
        } else if (timer->waiting && sent != SIGNAL_TIMER_QUEUED && sent != SIGNAL_TIMER_PENDING) {
            /* Nobody will take it: go on, but never faster than once a millisecond. */
            timer->waiting = false;
            (void)timer_forward_locked(timer, now + MSEC);
            armed = timer_arm_locked(timer, now, threads);
        }
        if (sent == SIGNAL_TIMER_PENDING) {
            passed++;
        }
        timer->overrun += passed;
    }
    lock_release(&timers->lock);
check:
    if (armed < 0) {
        log_once(LOG_ERROR, "timer", 0, "a timer stopped: %s", strerror(-armed));
    }
}

int timer_overrun_count(int64_t overrun) {
    return (int)MIN(overrun, (int64_t)INT32_MAX); /* DELAYTIMER_MAX */
}

static struct posix_timer *find_number_locked(struct posix_timers *timers, uint64_t number) {
    struct posix_timer *timer;

    for (size_t i = 0; i < ARRAY_SIZE(timers->itimers); i++) {
        if (timers->itimers[i].number == number) {
            return &timers->itimers[i];
        }
    }
    list_for_each_entry (timer, &timers->list, link) {
        if (timer->number == number) {
            return timer;
        }
    }
    return NULL;
}

void posix_timer_taken(struct posix_timers *timers, uint64_t number, struct signal_info *info) {
    struct posix_timer *timer;

    LOCK_GUARD(&timers->lock);
    timer = find_number_locked(timers, number);
    if (!timer || !timer->linked) {
        return;
    }
    if (timer->waiting) {
        int64_t now = host_clock_monotonic();

        timer->waiting = false;
        timer->overrun += MAX(timer_forward_locked(timer, now) - 1, (int64_t)0);
        if (timer_arm_locked(timer, now, 1) < 0) {
            log_once(LOG_ERROR, "timer", 1, "a timer stopped: out of memory");
        }
    }
    timer->last_overrun = timer->overrun;
    timer->overrun = 0;
    if (timer->id >= 0) {
        info->info.si_overrun = timer_overrun_count(timer->last_overrun);
    }
}

/* ---- setting ---- */

/* What is left; a running timer never reads as 0, which would mean disarmed. */
void timer_get_locked(const struct posix_timer *timer, int64_t now, struct timer_spec *spec) {
    *spec = (struct timer_spec){.interval = timer->interval};
    if (!timer->armed) {
        return;
    }
    spec->value = timer->deadline - now;
    if (spec->value <= 0 && timer->interval) {
        spec->value = timer->interval - (now - timer->deadline) % timer->interval;
    }
    spec->value = MAX(spec->value, (int64_t)1);
    if (timer->notify == SIGEV_NONE && !timer->interval && timer->deadline <= now) {
        spec->value = 0;
    }
}

int timer_set(struct posix_timer *timer, bool absolute, const struct timer_spec *spec,
              struct timer_spec *old) {
    struct posix_timers *timers = timer->timers;
    int64_t now = timer_source_now(timer), threads = source_threads(timer);
    int64_t value = MIN(spec->value, TIME_MAX);

    if (absolute && timer->clock == CLOCK_REALTIME) {
        value -= host_clock_realtime() - host_clock_monotonic();
    } else if (absolute && timer->clock == CLOCK_BOOTTIME) {
        value -= host_clock_boottime() - host_clock_monotonic();
    }
    LOCK_GUARD(&timers->lock);
    if (!timer->linked) {
        return -EINVAL;
    }
    if (old) {
        timer_get_locked(timer, now, old);
    }
    timer->arming++;
    timer->waiting = false;
    timer->armed = false;
    timer->overrun = timer->last_overrun = 0;
    timer->interval = spec->value ? MIN(spec->interval, TIME_MAX) : 0;
    if (spec->value == 0) {
        /* The host's timer may still come: it finds `armed` unset. */
        return 0;
    }
    timer->deadline = absolute ? value : now + value;
    if (timer->notify == SIGEV_NONE) {
        timer->armed = true;
        return 0;
    }
    return timer_arm_locked(timer, now, threads);
}

int posix_timers_limit_cpu(struct posix_timers *timers) {
    uint64_t seconds = rlimits_get(&timers->group->rlimits, RLIMIT_CPU);
    struct timer_spec spec = {0};

    if (seconds != RLIM64_INFINITY) {
        spec.value = (int64_t)nsec(MAX(seconds, (uint64_t)1)); /* 0 is 1, says Linux */
    } else if (!atomic_load(&timers->limited)) {
        return 0;
    }
    atomic_store(&timers->limited, true);
    return timer_set(&timers->itimers[ITIMER_LIMIT], true, &spec, NULL);
}

int itimer_get(struct thread_group *group, int which, struct timer_spec *spec) {
    struct posix_timer *timer;
    int64_t now;

    if (which < 0 || which > ITIMER_PROF) {
        return -EINVAL;
    }
    timer = &group->timers->itimers[which];
    now = timer_source_now(timer);
    LOCK_GUARD(&group->timers->lock);
    timer_get_locked(timer, now, spec);
    return 0;
}

int itimer_set(struct thread_group *group, int which, const struct timer_spec *spec,
               struct timer_spec *old) {
    if (which < 0 || which > ITIMER_PROF) {
        return -EINVAL;
    }
    return timer_set(&group->timers->itimers[which], false, spec, old);
}
