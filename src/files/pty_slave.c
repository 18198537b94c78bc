/* The slave of a pseudo-terminal: the driver of its struct tty. */
#include "files/pty_internal.h"

int pty_sleep(struct wait_queue *queue, struct wait_entry *entry, deadline_ns deadline) {
    if (!entry->queue) {
        wait_queue_add(queue, entry);
        return 0;
    }
    return wait_sleep(deadline);
}

/* termios(3): how many bytes a raw read waits for, and how long. */
static size_t raw_minimum(const struct kernel_termios *termios, size_t size, int64_t *timeout) {
    *timeout = termios->cc[VTIME] ? termios->cc[VTIME] * 100000000LL : 0;
    return MIN((size_t)termios->cc[VMIN], size);
}

static ssize_t pty_slave_read(struct tty *tty, struct file *file, void *buffer, size_t size) {
    struct pty *pty = pty_of(tty);
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = WAIT_FOREVER;
    size_t seen = 0;
    ssize_t result = 0;

    if (size == 0) {
        return 0;
    }
    for (;;) {
        int64_t timeout;

        lock_acquire(&pty->lock);
        bool canonical = pty->line.termios.lflag & ICANON;
        size_t minimum = raw_minimum(&pty->line.termios, size, &timeout);
        bool take = !pty->master_open || line_readable(&pty->line, minimum) ||
                    (!canonical && minimum == 0 && timeout == 0) || result == -ETIMEDOUT ||
                    (!canonical && file_nonblocking(file) && pty->line.count);

        if (!canonical && timeout && !take &&
            (minimum == 0 ? deadline == WAIT_FOREVER : pty->line.count != seen)) {
            /* VTIME: from the call (VMIN 0), or from byte to byte. */
            deadline = minimum == 0 && current_task() ? task_call_deadline(current_task(), timeout)
                                                      : host_clock_monotonic() + timeout;
        }
        seen = pty->line.count;
        if (take) {
            result = (ssize_t)line_read(&pty->line, buffer, size);
        }
        lock_release(&pty->lock);
        if (take) {
            break;
        }
        if (file_nonblocking(file)) {
            result = -EAGAIN;
            break;
        }
        result = pty_sleep(&tty->wait, &entry, deadline);
        if (result && result != -ETIMEDOUT) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        pty_wake_master(pty);
    }
    return result;
}

static ssize_t pty_slave_write(struct tty *tty, struct file *file, const void *buffer,
                               size_t size) {
    struct pty *pty = pty_of(tty);
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t done = 0;
    ssize_t result = 0;

    while (done < size) {
        lock_acquire(&pty->lock);
        bool open = pty->master_open;
        size_t used =
            open ? line_write(&pty->line, (const uint8_t *)buffer + done, size - done) : 0;

        lock_release(&pty->lock);
        if (!open) {
            result = -EIO;
            break;
        }
        if (used) {
            done += used;
            pty_wake_master(pty);
            continue;
        }
        if (file_nonblocking(file)) {
            result = -EAGAIN;
            break;
        }
        result = pty_sleep(&tty->wait, &entry, WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return done ? (ssize_t)done : result;
}

static uint32_t pty_slave_poll(struct tty *tty, struct file *file, struct poll_table *table) {
    struct pty *pty = pty_of(tty);
    uint32_t mask = 0;
    int64_t timeout;
    LOCK_GUARD(&pty->lock);
    size_t minimum = raw_minimum(&pty->line.termios, LINE_INPUT_SIZE, &timeout);

    if (!pty->master_open) {
        return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM | EPOLLHUP | EPOLLERR;
    }
    if (line_readable(&pty->line, timeout ? 1 : minimum)) {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    if (!pty->line.stopped && pty->line.output.count < OUTPUT_SIZE / 2) {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    return mask;
}

static int pty_get_termios(struct tty *tty, struct kernel_termios *termios) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    *termios = pty->line.termios;
    return 0;
}

static int pty_set_termios(struct tty *tty, const struct kernel_termios *termios,
                           enum termios_when when) {
    struct pty *pty = pty_of(tty);

    /* The output is the master's as soon as it is written: nothing to wait for. */
    lock_acquire(&pty->lock);
    if (when == TERMIOS_FLUSH) {
        line_flush_input(&pty->line);
    }
    line_set_termios(&pty->line, termios);
    lock_release(&pty->lock);
    pty_wake_slaves(pty);
    pty_wake_master(pty);
    return 0;
}

static int pty_get_winsize(struct tty *tty, struct winsize *size) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    *size = pty->size;
    return 0;
}

static int pty_set_winsize(struct tty *tty, const struct winsize *size) {
    struct pty *pty = pty_of(tty);

    lock_acquire(&pty->lock);
    bool changed = memcmp(&pty->size, size, sizeof(*size)) != 0;

    pty->size = *size;
    lock_release(&pty->lock);
    if (changed) {
        tty_signal(tty, SIGWINCH);
    }
    return 0;
}

static int pty_flush(struct tty *tty, int queue) {
    struct pty *pty = pty_of(tty);

    if (queue != TCIFLUSH && queue != TCOFLUSH && queue != TCIOFLUSH) {
        return -EINVAL;
    }
    lock_acquire(&pty->lock);
    if (queue != TCOFLUSH) {
        line_flush_input(&pty->line);
    }
    if (queue != TCIFLUSH) {
        pty->line.output.head = pty->line.output.count = 0;
    }
    lock_release(&pty->lock);
    pty_wake_slaves(pty);
    pty_wake_master(pty);
    return 0;
}

static int pty_drain(struct tty *tty) {
    return 0;
}

static int pty_flow(struct tty *tty, int action) {
    struct pty *pty = pty_of(tty);

    if (action < TCOOFF || action > TCION) {
        return -EINVAL;
    }
    lock_acquire(&pty->lock);
    if (action == TCOOFF || action == TCOON) {
        pty->line.stopped = action == TCOOFF;
    }
    lock_release(&pty->lock);
    pty_wake_slaves(pty);
    return 0;
}

int pty_queued(struct tty *tty, bool input) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    if (input) {
        return line_readable(&pty->line, 1) ? (int)pty->line.count : 0;
    }
    return (int)pty->line.output.count;
}

void pty_slave_closed(struct tty *tty) {
    struct pty *pty = pty_of(tty);

    lock_acquire(&pty->lock);
    bool last = --pty->slaves == 0;

    lock_release(&pty->lock);
    if (last) {
        wait_queue_wake(&pty->master_wait, EPOLLHUP | EPOLLIN | EPOLLRDNORM);
    }
}

int pty_slave_opened(struct tty *tty) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    if (!pty->master_open || pty->locked) {
        return -EIO;
    }
    pty->slaves++;
    pty->slave_was_open = true;
    return 0;
}

const struct tty_driver pty_slave_driver = {
    .read = pty_slave_read,
    .write = pty_slave_write,
    .poll = pty_slave_poll,
    .get_termios = pty_get_termios,
    .set_termios = pty_set_termios,
    .get_winsize = pty_get_winsize,
    .set_winsize = pty_set_winsize,
    .flush = pty_flush,
    .drain = pty_drain,
    .flow = pty_flow,
    .queued = pty_queued,
    .opened = pty_slave_opened,
    .closed = pty_slave_closed,
    .release = pty_release,
};
