/*
 * Clocks, sleeping and timers: clock_gettime(2), nanosleep(2), setitimer(2), timer_create(2).
 *
 * Wall clocks are the host's. CPU-time clocks are the guest's host threads', not those of the
 * kernel threads that serve them. No guest can set a clock, with whatever capability: EPERM, as in
 * a container.
 */
#include <sys/time.h>
#include <sys/timex.h>

#include "syscalls/syscalls.h"

/* The clock ids of other processes' and threads' CPU time (clock_getcpuclockid(3)). */
#define CPU_CLOCK_PER_THREAD 4
#define CPU_CLOCK_KIND       3
enum { CPU_CLOCK_PROF, CPU_CLOCK_VIRT, CPU_CLOCK_SCHED, CPU_CLOCK_FD };

/* A host clock that reads the same for every process. */
static bool clock_is_wall(clockid_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
    case CLOCK_TAI:
        return true;
    default:
        return false;
    }
}

/* The CPU time in ns that a clock id stands for. -EINVAL: no such clock, process or thread. */
static int64_t cpu_clock(struct task *current, clockid_t clock) {
    struct task *task CLEANUP(task_put) = NULL;
    struct usage usage;
    bool per_thread = clock == CLOCK_THREAD_CPUTIME_ID;
    int kind = CPU_CLOCK_SCHED;

    if (clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID) {
        task = task_get(current);
    } else if (clock < 0) {
        pid_t pid = ~(clock >> 3);

        kind = clock & CPU_CLOCK_KIND;
        per_thread = clock & CPU_CLOCK_PER_THREAD;
        if (kind == CPU_CLOCK_FD) {
            return -EINVAL;
        }
        task = pid ? kernel_get_task(current->thread_group->kernel, pid) : task_get(current);
        /* A thread's clock is for its own process alone; a process's is named by its leader. */
        if (!task || (per_thread ? task->thread_group != current->thread_group
                                 : pid != 0 && task_get_pid(task) != pid)) {
            return -EINVAL;
        }
    } else {
        return -EINVAL;
    }
    if (per_thread) {
        task_usage(task, &usage);
    } else {
        thread_group_usage(task->thread_group, &usage);
    }
    return usage.user + (kind == CPU_CLOCK_VIRT ? 0 : usage.system);
}

int64_t sys_clock_gettime(struct task *current, int clockid, struct user_address tp) {
    struct timespec now;

    if (clock_is_wall(clockid)) {
        int result = host_clock_gettime(clockid, &now);

        if (result < 0) {
            return result;
        }
    } else {
        int64_t used = cpu_clock(current, clockid);

        if (used < 0) {
            return used;
        }
        now = timespec_from_ns(used);
    }
    return put_user(current->thread, now, tp);
}

int64_t sys_clock_getres(struct task *current, int clockid, struct user_address res) {
    struct timespec resolution = {.tv_nsec = 1};

    if (clock_is_wall(clockid)) {
        int result = host_clock_getres(clockid, &resolution);

        if (result < 0) {
            return result;
        }
    } else {
        int64_t used = cpu_clock(current, clockid);

        if (used < 0) {
            return used;
        }
    }
    return user_address_is_null(res) ? 0 : put_user(current->thread, resolution, res);
}

int64_t sys_clock_settime(struct task *current, int clockid, struct user_address tp) {
    struct timespec time;
    int result;

    if (clockid != CLOCK_REALTIME) {
        return -EINVAL;
    }
    result = get_user(current->thread, time, tp);
    if (result < 0) {
        return result;
    }
    return timespec_valid(&time) ? -EPERM : -EINVAL;
}

int64_t sys_gettimeofday(struct task *current, struct user_address tv, struct user_address tz) {
    int64_t now = host_clock_realtime();
    struct timeval time = {.tv_sec = now / NSEC_PER_SEC, .tv_usec = now % NSEC_PER_SEC / 1000};
    struct timezone zone = {0};
    int result = 0;

    if (!user_address_is_null(tv)) {
        result = put_user(current->thread, time, tv);
    }
    if (result == 0 && !user_address_is_null(tz)) {
        result = put_user(current->thread, zone, tz);
    }
    return result;
}

int64_t sys_settimeofday(struct task *current, struct user_address tv, struct user_address tz) {
    struct timeval time;
    struct timezone zone;
    int result;

    if (!user_address_is_null(tv)) {
        result = get_user(current->thread, time, tv);
        if (result < 0) {
            return result;
        }
        if (time.tv_usec < 0 || time.tv_usec >= 1000000) {
            return -EINVAL;
        }
    }
    if (!user_address_is_null(tz)) {
        result = get_user(current->thread, zone, tz);
        if (result < 0) {
            return result;
        }
    }
    return -EPERM;
}

int64_t sys_time(struct task *current, struct user_address tloc) {
    int64_t now = host_clock_realtime() / NSEC_PER_SEC;

    if (!user_address_is_null(tloc)) {
        int result = put_user(current->thread, now, tloc);

        if (result < 0) {
            return result;
        }
    }
    return now;
}

/* ---- sleeping ---- */

/* A deadline of CLOCK_MONOTONIC for an absolute time of another clock. */
static deadline_ns deadline_from(clockid_t clock, int64_t time) {
    switch (clock) {
    case CLOCK_REALTIME:
        return time - host_clock_realtime() + host_clock_monotonic();
    case CLOCK_BOOTTIME:
        return time - host_clock_boottime() + host_clock_monotonic();
    case CLOCK_TAI: {
        struct timespec now;

        if (host_clock_gettime(CLOCK_TAI, &now) < 0) {
            return time;
        }
        return time - timespec_to_ns(&now) + host_clock_monotonic();
    }
    default:
        return time;
    }
}

static int sleep_until(deadline_ns deadline) {
    int result;

    do {
        result = wait_sleep(deadline);
    } while (result == 0);
    return result == -ETIMEDOUT ? 0 : result;
}

static int64_t sleep_relative(struct task *current, int64_t span, struct user_address remain) {
    deadline_ns deadline = task_call_deadline(current, span);
    int result = sleep_until(deadline);
    struct timespec left;

    if (result == 0) {
        return 0;
    }
    /* Written now: whether the guest sees EINTR is decided after this. */
    if (!user_address_is_null(remain)) {
        left = timespec_from_ns(MAX(deadline - host_clock_monotonic(), (int64_t)0));
        result = put_user(current->thread, left, remain);
        if (result < 0) {
            return result;
        }
    }
    return -ERESTART_RESTARTBLOCK;
}

static int get_timespec(struct task *current, struct user_address from, int64_t *ns) {
    struct timespec time;
    int result = get_user(current->thread, time, from);

    if (result < 0) {
        return result;
    }
    if (!timespec_valid(&time)) {
        return -EINVAL;
    }
    *ns = timespec_to_ns(&time);
    return 0;
}

int64_t sys_nanosleep(struct task *current, struct user_address req, struct user_address rem) {
    int64_t span;
    int result = get_timespec(current, req, &span);

    return result < 0 ? result : sleep_relative(current, span, rem);
}

int64_t sys_clock_nanosleep(struct task *current, int clockid, int flags,
                            struct user_address request, struct user_address remain) {
    int64_t time;
    int result;

    switch (clockid) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
        break;
    case CLOCK_THREAD_CPUTIME_ID:
        return -EOPNOTSUPP;
    case CLOCK_PROCESS_CPUTIME_ID:
        log_once(LOG_WARN, "clock_nanosleep", (uint64_t)clockid,
                 "not supported: clock_nanosleep(2) on a CPU-time clock");
        return -EOPNOTSUPP;
    default:
        return clock_is_wall(clockid) ? -EOPNOTSUPP : -EINVAL;
    }
    result = get_timespec(current, request, &time);
    if (result < 0) {
        return result;
    }
    if (!(flags & TIMER_ABSTIME)) {
        return sleep_relative(current, time, remain);
    }
    return sleep_until(MAX(deadline_from(clockid, time), (deadline_ns)0)) ? -ERESTARTNOHAND : 0;
}

/* ---- interval timers ---- */

static struct itimerval itimerval_from(const struct timer_spec *spec) {
    /* Less than a microsecond that is left must not read as "disarmed". */
    int64_t value = spec->value && spec->value < 1000 ? 1000 : spec->value;

    return (struct itimerval){
        .it_interval = {.tv_sec = spec->interval / NSEC_PER_SEC,
                        .tv_usec = spec->interval % NSEC_PER_SEC / 1000},
        .it_value = {.tv_sec = value / NSEC_PER_SEC, .tv_usec = value % NSEC_PER_SEC / 1000},
    };
}

static int timeval_to_ns(const struct timeval *time, int64_t *ns) {
    struct timespec spec = {.tv_sec = time->tv_sec, .tv_nsec = time->tv_usec * 1000};

    if (time->tv_sec < 0 || time->tv_usec < 0 || time->tv_usec >= 1000000) {
        return -EINVAL;
    }
    *ns = timespec_to_ns(&spec);
    return 0;
}

int64_t sys_getitimer(struct task *current, int which, struct user_address curr_value) {
    struct timer_spec spec;
    int result = itimer_get(current->thread_group, which, &spec);

    return result < 0 ? result : put_user(current->thread, itimerval_from(&spec), curr_value);
}

int64_t sys_setitimer(struct task *current, int which, struct user_address new_value,
                      struct user_address old_value) {
    struct itimerval value = {0};
    struct timer_spec spec, old;
    int result = 0;

    /* A missing value disarms (Linux warns and does so). */
    if (!user_address_is_null(new_value)) {
        result = get_user(current->thread, value, new_value);
    }
    result = result < 0 ? result : timeval_to_ns(&value.it_interval, &spec.interval);
    result = result < 0 ? result : timeval_to_ns(&value.it_value, &spec.value);
    result = result < 0 ? result : itimer_set(current->thread_group, which, &spec, &old);
    if (result < 0 || user_address_is_null(old_value)) {
        return result;
    }
    return put_user(current->thread, itimerval_from(&old), old_value);
}

int64_t sys_alarm(struct task *current, unsigned int seconds) {
    struct timer_spec spec = {.value = seconds * NSEC_PER_SEC}, old;
    int result = itimer_set(current->thread_group, ITIMER_REAL, &spec, &old);

    if (result < 0 || old.value == 0) {
        return result;
    }
    /* Rounded, but not to 0, which would say that none was set. */
    return MAX((old.value + NSEC_PER_SEC / 2) / NSEC_PER_SEC, 1LL);
}

/* ---- POSIX timers ---- */

/* sigevent(7) in the kernel's layout. */
struct user_sigevent {
    union sigval value;
    int32_t signo, notify, tid, pad[11];
};
_Static_assert(sizeof(struct user_sigevent) == 64, "struct sigevent");

int64_t sys_timer_create(struct task *current, int clockid, struct user_address sevp,
                         struct user_address timerid) {
    struct posix_timer_params params = {
        .clock = clockid, .notify = SIGEV_SIGNAL, .signal = SIGALRM};
    struct user_sigevent event;
    int id, result;

    if (!user_address_is_null(sevp)) {
        result = get_user(current->thread, event, sevp);
        if (result < 0) {
            return result;
        }
        switch (event.notify) {
        case SIGEV_THREAD_ID:
            if (event.tid <= 0) {
                return -EINVAL;
            }
            params.tid = event.tid;
            break;
        case SIGEV_SIGNAL:
        case SIGEV_THREAD: /* the C library's; for the kernel a signal */
            break;
        case SIGEV_NONE:
            params.notify = SIGEV_NONE;
            break;
        default:
            return -EINVAL;
        }
        params.signal = event.signo;
        params.value = event.value;
        params.has_value = true;
    }
    id = posix_timer_create(current, &params);
    if (id < 0) {
        return id;
    }
    result = put_user(current->thread, (int32_t)id, timerid);
    if (result < 0) {
        int gone UNUSED = posix_timer_delete(current->thread_group, id);
    }
    return result;
}

static struct itimerspec itimerspec_from(const struct timer_spec *spec) {
    return (struct itimerspec){.it_interval = timespec_from_ns(spec->interval),
                               .it_value = timespec_from_ns(spec->value)};
}

int64_t sys_timer_settime(struct task *current, int timerid, int flags,
                          struct user_address new_value, struct user_address old_value) {
    struct itimerspec value;
    struct timer_spec spec, old;
    int result;

    if (user_address_is_null(new_value)) {
        return -EINVAL;
    }
    result = get_user(current->thread, value, new_value);
    if (result < 0) {
        return result;
    }
    if (!timespec_valid(&value.it_interval) || !timespec_valid(&value.it_value)) {
        return -EINVAL;
    }
    spec.interval = timespec_to_ns(&value.it_interval);
    spec.value = timespec_to_ns(&value.it_value);
    result =
        posix_timer_settime(current->thread_group, timerid, flags & TIMER_ABSTIME, &spec, &old);
    if (result < 0 || user_address_is_null(old_value)) {
        return result;
    }
    return put_user(current->thread, itimerspec_from(&old), old_value);
}

int64_t sys_timer_gettime(struct task *current, int timerid, struct user_address curr_value) {
    struct timer_spec spec;
    int result = posix_timer_gettime(current->thread_group, timerid, &spec);

    return result < 0 ? result : put_user(current->thread, itimerspec_from(&spec), curr_value);
}

int64_t sys_timer_getoverrun(struct task *current, int timerid) {
    return posix_timer_getoverrun(current->thread_group, timerid);
}

int64_t sys_timer_delete(struct task *current, int timerid) {
    return posix_timer_delete(current->thread_group, timerid);
}
