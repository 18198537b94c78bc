/*
 * The outer terminal, passed through: its host line discipline edits and echoes; what is read and
 * written goes straight to the host descriptor. Session and job control of the guest are tty.c's:
 * the host knows one foreground group only, the launcher's.
 *
 * The descriptor is ours alone (reopened, so that O_NONBLOCK does not reach the user's shell) where
 * the host lets us; else reads ask poll(2) first. The event thread announces the edges of readable
 * and, while somebody waits for it, writable.
 */
#include <sys/sysmacros.h>

#include "files/tty_internal.h"

struct tty_host {
    struct tty tty;
    dev_t host_rdev; /* the host\'s number of it; immutable */
    int fd;          /* owned */
    struct poller_watch watch;
    _Atomic bool wants_output;
};

static struct lock host_ttys_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_TTY};
static struct tty_host *outer; /* weak; guarded by host_ttys_lock: the terminal of the launcher */

#define WATCH_INPUT (EPOLLIN | EPOLLET)

static struct tty_host *host_of(struct tty *tty) {
    return container_of(tty, struct tty_host, tty);
}

static void host_ready(void *arg, uint32_t events) {
    struct tty_host *host = arg;

    if ((events & EPOLLOUT) && atomic_exchange(&host->wants_output, false)) {
        (void)!poller_modify(&host->watch, WATCH_INPUT);
    }
    wait_queue_wake(&host->tty.wait, events | (events & EPOLLHUP ? EPOLLIN | EPOLLOUT : 0));
}

static void want_output(struct tty_host *host) {
    if (!atomic_exchange(&host->wants_output, true)) {
        (void)!poller_modify(&host->watch, WATCH_INPUT | EPOLLOUT);
    }
}

/* One look: what the host says, -EAGAIN without sleeping. */
static ssize_t host_try_read(struct tty_host *host, void *buffer, size_t size) {
    if (!(host_poll_now(host->fd, EPOLLIN) & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        return -EAGAIN;
    }
    return host_read(host->fd, buffer, size);
}

static ssize_t tty_host_read(struct tty *tty, struct file *file, void *buffer, size_t size) {
    struct tty_host *host = host_of(tty);
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = WAIT_FOREVER;
    ssize_t result;

    if (size == 0) {
        return 0;
    }
    entry.events = EPOLLIN | EPOLLHUP;
    for (;;) {
        result = host_try_read(host, buffer, size);
        if (result != -EAGAIN) {
            break;
        }
        if (!entry.queue) {
            struct kernel_termios termios;

            /* termios(3): without canonical mode VMIN 0 means do not wait, or VTIME at most. */
            if (tty->driver->get_termios(tty, &termios) == 0 && !(termios.lflag & ICANON) &&
                termios.cc[VMIN] == 0) {
                if (termios.cc[VTIME] == 0) {
                    result = 0;
                    break;
                }
                deadline = task_call_deadline(current_task(), termios.cc[VTIME] * 100000000LL);
            }
            if (file_nonblocking(file)) {
                break;
            }
            wait_queue_add(&tty->wait, &entry);
            continue;
        }
        result = wait_sleep(deadline);
        if (result) {
            result = result == -ETIMEDOUT ? 0 : result;
            break;
        }
    }
    wait_queue_remove(&entry);
    return result;
}

static ssize_t tty_host_write(struct tty *tty, struct file *file, const void *buffer, size_t size) {
    struct tty_host *host = host_of(tty);
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t done = 0;
    ssize_t result = 0;

    entry.events = EPOLLOUT | EPOLLHUP | EPOLLERR;
    while (done < size) {
        result = host_write(host->fd, (const char *)buffer + done, size - done);
        if (result > 0) {
            done += (size_t)result;
            continue;
        }
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&tty->wait, &entry);
        }
        want_output(host);
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return done ? (ssize_t)done : result;
}

static uint32_t tty_host_poll(struct tty *tty, struct file *file, struct poll_table *table) {
    struct tty_host *host = host_of(tty);
    uint32_t mask = host_poll_now(host->fd, EPOLLIN | EPOLLOUT | EPOLLPRI);

    if (!(mask & EPOLLOUT) && (!table || !table->events || (table->events & EPOLLOUT))) {
        want_output(host);
    }
    return mask | (mask & EPOLLIN ? EPOLLRDNORM : 0) | (mask & EPOLLOUT ? EPOLLWRNORM : 0);
}

static int tty_host_get_termios(struct tty *tty, struct kernel_termios *termios) {
    memset(termios, 0, sizeof(*termios));
    return host_ioctl(host_of(tty)->fd, TCGETS2, termios);
}

static int tty_host_set_termios(struct tty *tty, const struct kernel_termios *termios,
                                enum termios_when when) {
    static const unsigned long requests[] = {TCSETS2, TCSETSW2, TCSETSF2};
    struct kernel_termios copy = *termios;

    return host_ioctl(host_of(tty)->fd, requests[when], &copy);
}

static int tty_host_get_winsize(struct tty *tty, struct winsize *size) {
    return host_ioctl(host_of(tty)->fd, TIOCGWINSZ, size);
}

static int tty_host_set_winsize(struct tty *tty, const struct winsize *size) {
    struct winsize copy = *size;

    return host_ioctl(host_of(tty)->fd, TIOCSWINSZ, &copy);
}

static int tty_host_flush(struct tty *tty, int queue) {
    return host_ioctl(host_of(tty)->fd, TCFLSH, (void *)(intptr_t)queue);
}

static int tty_host_drain(struct tty *tty) {
    return host_ioctl(host_of(tty)->fd, TCSBRK, (void *)1);
}

static int tty_host_flow(struct tty *tty, int action) {
    /* TCOOFF and TCOON stop and start the outer terminal itself, for everybody: only its user may.
     */
    return action >= TCOOFF && action <= TCION ? 0 : -EINVAL;
}

static int tty_host_queued(struct tty *tty, bool input) {
    int value = 0;
    int error = host_ioctl(host_of(tty)->fd, input ? FIONREAD : TIOCOUTQ, &value);

    return error ? error : value;
}

static void tty_host_release(struct tty *tty) {
    struct tty_host *host = host_of(tty);

    lock_acquire(&host_ttys_lock);
    if (outer == host) {
        outer = NULL;
    }
    lock_release(&host_ttys_lock);
    poller_remove(&host->watch);
    (void)host_close(host->fd);
    tty_fini(tty);
    free(host);
}

static const struct tty_driver tty_host_driver = {
    .read = tty_host_read,
    .write = tty_host_write,
    .poll = tty_host_poll,
    .get_termios = tty_host_get_termios,
    .set_termios = tty_host_set_termios,
    .get_winsize = tty_host_get_winsize,
    .set_winsize = tty_host_set_winsize,
    .flush = tty_host_flush,
    .drain = tty_host_drain,
    .flow = tty_host_flow,
    .queued = tty_host_queued,
    .release = tty_host_release,
};

static struct tty_host *tty_host_find(dev_t rdev) {
    LOCK_GUARD(&host_ttys_lock);
    return outer && outer->host_rdev == rdev && ref_tryget(&outer->tty.ref) ? outer : NULL;
}

static struct tty_host *tty_host_new(int fd, dev_t rdev) {
    struct tty_host *host = calloc(1, sizeof(*host));

    if (!host) {
        return ERR_PTR(-ENOMEM);
    }
    int own = host_reopen(fd, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (own < 0) {
        own = host_dup(fd);
    }
    if (own < 0) {
        free(host);
        return ERR_PTR(own);
    }
    tty_init(&host->tty, &tty_host_driver, makedev(5, 1)); /* /dev/console */
    host->host_rdev = rdev;
    host->fd = own;
    host->watch =
        (struct poller_watch){.fd = own, .fn = host_ready, .arg = host, .events = WATCH_INPUT};
    int error = poller_add(&host->watch);

    if (error) {
        tty_put(&host->tty);
        return ERR_PTR(error);
    }
    LOCK_GUARD(&host_ttys_lock);
    if (!outer) {
        outer = host;
    }
    return host;
}

int tty_host_file_new(int fd, int flags, struct file **file) {
    struct tty_host *host;
    struct stat stat;
    int error = host_fstat(fd, &stat);

    if (error) {
        return error;
    }
    host = tty_host_find(stat.st_rdev);
    if (!host) {
        host = tty_host_new(fd, stat.st_rdev);
    }
    if (IS_ERR(host)) {
        return (int)PTR_ERR(host);
    }
    /* By its name where the guest has one for it, so that ttyname(3) finds it. */
    struct task *current = current_task();

    error = -ENOENT;
    if (current && current->fs) {
        struct walk walk = task_walk(current, NULL);

        error = vfs_open(&walk, "/dev/console", (flags & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY, 0,
                         LOOKUP_FOLLOW, file);
        if (!error && ((*file)->ops != &tty_file_ops || (*file)->private != &host->tty)) {
            file_put(*file);
            error = -ENOENT;
        }
    }
    if (!error) {
        tty_put(&host->tty);
    } else {
        error = file_new_anonymous("/dev/console", S_IFCHR, &tty_file_ops, &host->tty, flags, file);
        if (error) {
            tty_put(&host->tty);
            return error;
        }
        (*file)->inode->rdev = makedev(5, 1);
    }
    (void)host_close(fd);
    return 0;
}

/* /dev/console is the outer terminal. */
static int console_open(struct inode *inode, struct file *file) {
    struct tty *tty = NULL;

    lock_acquire(&host_ttys_lock);
    if (outer && ref_tryget(&outer->tty.ref)) {
        tty = &outer->tty;
    }
    lock_release(&host_ttys_lock);
    if (!tty) {
        return -EIO;
    }
    file->private = tty;
    tty_opened(tty, atomic_load(&file->flags));
    return 0;
}

int tty_host_register(void) {
    static const struct device console = {.type = S_IFCHR,
                                          .major = 5,
                                          .minor = 1,
                                          .count = 1,
                                          .name = "/dev/console",
                                          .ops = &tty_file_ops,
                                          .open = console_open};

    return device_register(&console);
}

void tty_host_signal(struct kernel *kernel, int signal) {
    struct tty *tty = NULL;
    struct signal_info info;

    lock_acquire(&host_ttys_lock);
    if (outer && ref_tryget(&outer->tty.ref)) {
        tty = &outer->tty;
    }
    lock_release(&host_ttys_lock);
    if (tty && tty_foreground(tty) > 0) {
        tty_signal(tty, signal);
        tty_put(tty);
        return;
    }
    if (tty) {
        tty_put(tty);
    }
    /* No terminal among the guest's descriptors: the program that was started gets it. */
    struct task *init CLEANUP(task_put) = kernel_get_task(kernel, 1);

    if (init) {
        signal_info_kernel(&info, signal);
        (void)!process_group_signal(kernel, task_get_pgrp(init), &info);
    }
}
