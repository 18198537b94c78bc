/* Pipes: reading, writing and polling by way of the kernel. pipe(7). */
#include <sys/ioctl.h>

#include "files/pipe_internal.h"

ssize_t fifo_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    ssize_t result;

    if (size == 0) {
        return 0;
    }
    entry.events = EPOLLIN | EPOLLHUP;
    for (;;) {
        bool writers = pipe_has_writers(pipe);

        result = host_read(pipe->host_read, buffer, size);
        if (result != -EAGAIN) {
            break;
        }
        if (!writers) {
            result = 0;
            break;
        }
        if (file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&pipe->wait, &entry);
            pipe_watch(pipe);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        wait_queue_wake(&pipe->wait, EPOLLOUT | EPOLLWRNORM);
    }
    return result;
}

static ssize_t pipe_broken(void) {
    struct task *current = current_task();

    if (current) {
        struct signal_info info;

        signal_info_user(&info, SIGPIPE, SI_USER, current);
        (void)!signal_send_task(current, &info);
    }
    return -EPIPE;
}

ssize_t fifo_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t done = 0;
    ssize_t result = 0;

    if (size == 0) {
        return 0;
    }
    entry.events = EPOLLOUT | EPOLLERR;
    while (done < size) {
        if (!pipe_has_readers(pipe)) {
            result = pipe_broken();
            break;
        }
        result = host_write(pipe->host_write, (const char *)buffer + done, size - done);
        if (result > 0) {
            done += (size_t)result;
            result = 0;
            wait_queue_wake(&pipe->wait, EPOLLIN | EPOLLRDNORM);
            continue;
        }
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&pipe->wait, &entry);
            pipe_watch(pipe);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return done ? (ssize_t)done : result;
}

uint32_t fifo_poll(struct file *file, struct poll_table *table) {
    struct pipe_end *end = file->private;
    struct pipe *pipe = end->pipe;
    uint32_t mask = 0;

    if (table) {
        if (table->wake) {
            donation_forbid(file->inode);
            pipe_unwatch(pipe);
        }
        poll_table_add(table, &pipe->wait);
        pipe_watch(pipe);
    }
    lock_acquire(&pipe->lock);
    bool hangup = !pipe->writers && pipe->writers_opened != end->writers_before;
    bool broken = !pipe->readers;

    lock_release(&pipe->lock);
    if (file->mode & FMODE_READ) {
        if (host_poll_now(pipe->host_read, EPOLLIN) & EPOLLIN) {
            mask |= EPOLLIN | EPOLLRDNORM;
        }
        if (hangup) {
            mask |= EPOLLHUP;
        }
    }
    if (file->mode & FMODE_WRITE) {
        if (host_poll_now(pipe->host_write, EPOLLOUT) & EPOLLOUT) {
            mask |= EPOLLOUT | EPOLLWRNORM;
        }
        if (broken) {
            mask |= EPOLLERR;
        }
    }
    return mask;
}

int64_t fifo_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                   struct user_address argument) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    int value = 0;
    int error;

    if (command != FIONREAD) {
        return -ENOTTY;
    }
    error = host_ioctl(pipe->host_read, FIONREAD, &value);
    return error ? error : put_user(thread, value, argument);
}
