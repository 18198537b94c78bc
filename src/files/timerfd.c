/*
 * timerfd_create(2). The state (next expiration, interval, expirations not yet read) is a function
 * of the clock: it is brought up to date whenever somebody looks. The event thread's timer only
 * announces that there is something to see, once for each read: a short interval that nobody reads
 * costs nothing.
 */
#include <stdio.h>
#include <sys/timerfd.h>

#include "files/files_internal.h"

struct timerfd {
    struct wait_queue wait;
    clockid_t clock; /* immutable */
    struct poller_timer timer;
    struct lock lock;     /* class DEVICE */
    deadline_ns next;     /* of CLOCK_MONOTONIC; WAIT_FOREVER: disarmed; guarded by lock */
    int64_t interval;     /* ns, 0: once; guarded by lock */
    uint64_t expirations; /* not yet read; guarded by lock */
    int set_flags;        /* guarded by lock; for /proc/PID/fdinfo */
};

static const struct file_ops timerfd_file_ops;

static void timerfd_update_locked(struct timerfd *timer, int64_t now) {
    if (timer->next > now) {
        return;
    }
    if (!timer->interval) {
        timer->expirations++;
        timer->next = WAIT_FOREVER;
        return;
    }
    int64_t passed = (now - timer->next) / timer->interval + 1;

    timer->expirations += (uint64_t)passed;
    if (__builtin_mul_overflow(passed, timer->interval, &passed) ||
        __builtin_add_overflow(timer->next, passed, &timer->next)) {
        timer->next = WAIT_FOREVER;
    }
}

/* In the event thread. */
static void timerfd_expired(void *arg, uint32_t events) {
    struct timerfd *timer = arg;

    lock_acquire(&timer->lock);
    timerfd_update_locked(timer, host_clock_monotonic());
    bool expired = timer->expirations != 0;

    /* Moved on meanwhile: come again. */
    if (!expired && timer->next != WAIT_FOREVER) {
        (void)!poller_timer_set(&timer->timer, timer->next);
    }
    lock_release(&timer->lock);
    if (expired) {
        wait_queue_wake(&timer->wait, EPOLLIN);
    }
}

static ssize_t timerfd_take(struct timerfd *timer, uint64_t *count) {
    LOCK_GUARD(&timer->lock);

    timerfd_update_locked(timer, host_clock_monotonic());
    if (!timer->expirations) {
        return -EAGAIN;
    }
    *count = timer->expirations;
    timer->expirations = 0;
    if (timer->next != WAIT_FOREVER) {
        int error = poller_timer_set(&timer->timer, timer->next);

        if (error) {
            return error;
        }
    }
    return sizeof(*count);
}

static ssize_t timerfd_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct timerfd *timer = file->private;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    uint64_t count = 0;
    ssize_t result;

    if (size < sizeof(count)) {
        return -EINVAL;
    }
    for (;;) {
        result = timerfd_take(timer, &count);
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&timer->wait, &entry);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        memcpy(buffer, &count, sizeof(count));
    }
    return result;
}

static uint32_t timerfd_poll(struct file *file, struct poll_table *table) {
    struct timerfd *timer = file->private;

    poll_table_add(table, &timer->wait);
    LOCK_GUARD(&timer->lock);
    timerfd_update_locked(timer, host_clock_monotonic());
    return timer->expirations ? EPOLLIN : 0;
}

static void timerfd_free(struct timerfd *timer) {
    poller_timer_cancel(&timer->timer);
    wait_queue_destroy(&timer->wait);
    lock_destroy(&timer->lock);
    free(timer);
}

static void timerfd_release(struct file *file) {
    timerfd_free(file->private);
}

static void timerfd_value_locked(struct timerfd *timer, int64_t now, struct itimerspec *value) {
    timerfd_update_locked(timer, now);
    value->it_interval = timespec_from_ns(timer->interval);
    value->it_value = timespec_from_ns(timer->next == WAIT_FOREVER ? 0 : timer->next - now);
}

static int timerfd_show_fdinfo(struct file *file, char *buffer, size_t size) {
    struct timerfd *timer = file->private;
    struct itimerspec value;
    LOCK_GUARD(&timer->lock);

    timerfd_value_locked(timer, host_clock_monotonic(), &value);
    return snprintf(buffer, size,
                    "clockid: %d\nticks: %lu\nsettime flags: 0%o\nit_value: (%ld, %ld)\n"
                    "it_interval: (%ld, %ld)\n",
                    (int)timer->clock, (unsigned long)timer->expirations, timer->set_flags,
                    (long)value.it_value.tv_sec, value.it_value.tv_nsec,
                    (long)value.it_interval.tv_sec, value.it_interval.tv_nsec);
}

static const struct file_ops timerfd_file_ops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .show_fdinfo = timerfd_show_fdinfo,
    .release = timerfd_release,
};

int timerfd_new(clockid_t clock, int flags, struct file **file) {
    struct timerfd *timer;
    int error;

    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
        break;
    default:
        return -EINVAL;
    }
    timer = calloc(1, sizeof(*timer));
    if (!timer) {
        return -ENOMEM;
    }
    wait_queue_init(&timer->wait);
    lock_init(&timer->lock, LOCK_DEVICE);
    timer->clock = clock;
    timer->next = WAIT_FOREVER;
    timer->timer.fn = timerfd_expired;
    timer->timer.arg = timer;
    error = file_new_anonymous("anon_inode:[timerfd]", 0, &timerfd_file_ops, timer,
                               O_RDWR | (flags & TFD_NONBLOCK), file);
    if (error) {
        timerfd_free(timer);
    }
    return error;
}

int timerfd_set_time(struct file *file, int flags, const struct itimerspec *new_value,
                     struct itimerspec *old_value) {
    struct timerfd *timer;
    int64_t now = host_clock_monotonic();
    int64_t value;

    if (file->ops != &timerfd_file_ops || !timespec_valid(&new_value->it_value) ||
        !timespec_valid(&new_value->it_interval)) {
        return -EINVAL;
    }
    timer = file->private;
    value = timespec_to_ns(&new_value->it_value);
    if (value == 0) {
        value = WAIT_FOREVER;
    } else if (!(flags & TFD_TIMER_ABSTIME)) {
        value = value > WAIT_FOREVER - now ? WAIT_FOREVER : value + now;
    } else if (timer->clock == CLOCK_REALTIME || timer->clock == CLOCK_REALTIME_ALARM) {
        value = value == WAIT_FOREVER ? value : value - host_clock_realtime() + now;
    } else if (timer->clock != CLOCK_MONOTONIC) {
        value = value == WAIT_FOREVER ? value : value - host_clock_boottime() + now;
    }
    LOCK_GUARD(&timer->lock);
    if (old_value) {
        timerfd_value_locked(timer, now, old_value);
    }
    timer->next = value;
    timer->interval = timespec_to_ns(&new_value->it_interval);
    timer->expirations = 0;
    timer->set_flags = flags;
    return poller_timer_set(&timer->timer, value);
}

int timerfd_get_time(struct file *file, struct itimerspec *value) {
    struct timerfd *timer = file->private;

    if (file->ops != &timerfd_file_ops) {
        return -EINVAL;
    }
    LOCK_GUARD(&timer->lock);
    timerfd_value_locked(timer, host_clock_monotonic(), value);
    return 0;
}
