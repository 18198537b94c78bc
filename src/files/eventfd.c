/*
 * eventfd(2): a 64-bit counter with a queue. Reads wait until it is not zero, writes until the sum
 * fits below UINT64_MAX.
 */
#include <stdio.h>
#include <sys/eventfd.h>

#include "files/files_internal.h"

struct eventfd {
    struct wait_queue wait;
    struct lock lock; /* class DEVICE */
    uint64_t count;   /* guarded by lock */
    bool semaphore;   /* immutable */
};

/* 8 bytes were moved, or -EAGAIN. */
static ssize_t eventfd_take(struct eventfd *event, uint64_t *value) {
    LOCK_GUARD(&event->lock);

    if (!event->count) {
        return -EAGAIN;
    }
    *value = event->semaphore ? 1 : event->count;
    event->count -= *value;
    return sizeof(*value);
}

static ssize_t eventfd_give(struct eventfd *event, uint64_t *value) {
    LOCK_GUARD(&event->lock);

    if (UINT64_MAX - event->count <= *value) {
        return -EAGAIN;
    }
    event->count += *value;
    return sizeof(*value);
}

static ssize_t eventfd_move(struct file *file, uint64_t *value, uint32_t event_wanted,
                            uint32_t event_given,
                            ssize_t (*move)(struct eventfd *event, uint64_t *value)) {
    struct eventfd *event = file->private;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    ssize_t result;

    entry.events = event_wanted;
    for (;;) {
        result = move(event, value);
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&event->wait, &entry);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        wait_queue_wake(&event->wait, event_given);
    }
    return result;
}

static ssize_t eventfd_op_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    uint64_t value = 0;
    ssize_t result;

    if (size < sizeof(value)) {
        return -EINVAL;
    }
    result = eventfd_move(file, &value, EPOLLIN, EPOLLOUT, eventfd_take);
    if (result > 0) {
        memcpy(buffer, &value, sizeof(value));
    }
    return result;
}

static ssize_t eventfd_op_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    uint64_t value;

    if (size < sizeof(value)) {
        return -EINVAL;
    }
    memcpy(&value, buffer, sizeof(value));
    if (value == UINT64_MAX) {
        return -EINVAL;
    }
    return eventfd_move(file, &value, EPOLLOUT, EPOLLIN, eventfd_give);
}

static uint32_t eventfd_poll(struct file *file, struct poll_table *table) {
    struct eventfd *event = file->private;

    poll_table_add(table, &event->wait);
    LOCK_GUARD(&event->lock);
    return (event->count ? EPOLLIN : 0) | (event->count < UINT64_MAX - 1 ? EPOLLOUT : 0);
}

static void eventfd_release(struct file *file) {
    struct eventfd *event = file->private;

    wait_queue_destroy(&event->wait);
    lock_destroy(&event->lock);
    free(event);
}

static int eventfd_show_fdinfo(struct file *file, char *buffer, size_t size) {
    struct eventfd *event = file->private;
    LOCK_GUARD(&event->lock);

    return snprintf(buffer, size, "eventfd-count: %16lx\n", (unsigned long)event->count);
}

static const struct file_ops eventfd_file_ops = {
    .read = eventfd_op_read,
    .write = eventfd_op_write,
    .poll = eventfd_poll,
    .show_fdinfo = eventfd_show_fdinfo,
    .release = eventfd_release,
};

int eventfd_new(uint64_t count, int flags, struct file **file) {
    struct eventfd *event = calloc(1, sizeof(*event));
    int error;

    if (!event) {
        return -ENOMEM;
    }
    wait_queue_init(&event->wait);
    lock_init(&event->lock, LOCK_DEVICE);
    event->count = count;
    event->semaphore = flags & EFD_SEMAPHORE;
    error = file_new_anonymous("anon_inode:[eventfd]", 0, &eventfd_file_ops, event,
                               O_RDWR | (flags & EFD_NONBLOCK), file);
    if (error) {
        wait_queue_destroy(&event->wait);
        lock_destroy(&event->lock);
        free(event);
    }
    return error;
}
