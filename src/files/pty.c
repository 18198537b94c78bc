/*
 * Pseudo-terminals: pty(7), pts(4). A pty is a struct tty (the slave side) with a line discipline,
 * and a master that feeds and drains it. All of it is in kernel memory; both sides wait on queues
 * of their own and are woken by the other side's kernel thread.
 *
 * Life: opening /dev/ptmx makes one; the master's file, every slave's file and the session that it
 * controls hold it. When the master is closed the slave is hung up: end of file for readers, EIO
 * for writers, SIGHUP for the session. Its number is free again when nobody holds it any more.
 */
#include <stdio.h>
#include <sys/sysmacros.h>

#include "files/line_discipline.h"
#include "files/pty_internal.h"

#define PTYS_MAX        1024
#define PTS_MAJOR       136
#define PTMX_MAJOR      5
#define PTMX_MINOR      2
#define TIOCSIG_REQUEST 0x40045436u

struct pty {
    struct tty tty; /* tty.wait: the slave side */
    unsigned index; /* immutable */
    struct wait_queue master_wait;
    struct lock lock; /* class PIPE; guards what follows */
    struct line_discipline line;
    struct winsize size;
    bool master_open, locked, slave_was_open;
    unsigned slaves; /* open files */
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

static struct lock ptys_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static struct pty *ptys[PTYS_MAX]; /* weak; guarded by ptys_lock */

static struct pty *pty_of(struct tty *tty) {
    return container_of(tty, struct pty, tty);
}

static struct pty *pty_find(unsigned index) {
    LOCK_GUARD(&ptys_lock);
    struct pty *pty = index < PTYS_MAX ? ptys[index] : NULL;

    return pty && ref_tryget(&pty->tty.ref) ? pty : NULL;
}

static void wake_master(struct pty *pty) {
    wait_queue_wake(&pty->master_wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
}
static void wake_slaves(struct pty *pty) {
    wait_queue_wake(&pty->tty.wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
}

/* ---- the slave ---- */

/* Sleeps on `queue`, on which the entry is put the first time: 0: look again. */
static int pty_sleep(struct wait_queue *queue, struct wait_entry *entry, deadline_ns deadline) {
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
        wake_master(pty);
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
            wake_master(pty);
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
    wake_slaves(pty);
    wake_master(pty);
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
    wake_slaves(pty);
    wake_master(pty);
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
    wake_slaves(pty);
    return 0;
}

static int pty_queued(struct tty *tty, bool input) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    if (input) {
        return line_readable(&pty->line, 1) ? (int)pty->line.count : 0;
    }
    return (int)pty->line.output.count;
}

static void pty_slave_closed(struct tty *tty) {
    struct pty *pty = pty_of(tty);

    lock_acquire(&pty->lock);
    bool last = --pty->slaves == 0;

    lock_release(&pty->lock);
    if (last) {
        wait_queue_wake(&pty->master_wait, EPOLLHUP | EPOLLIN | EPOLLRDNORM);
    }
}

static int pty_slave_opened(struct tty *tty) {
    struct pty *pty = pty_of(tty);
    LOCK_GUARD(&pty->lock);

    if (!pty->master_open || pty->locked) {
        return -EIO;
    }
    pty->slaves++;
    pty->slave_was_open = true;
    return 0;
}

static void pty_release(struct tty *tty) {
    struct pty *pty = pty_of(tty);

    lock_acquire(&ptys_lock);
    ptys[pty->index] = NULL;
    lock_release(&ptys_lock);
    line_fini(&pty->line);
    wait_queue_destroy(&pty->master_wait);
    lock_destroy(&pty->lock);
    tty_fini(tty);
    free(pty);
}

static const struct tty_driver pty_driver = {
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

/* Opens the slave's side into `file`. */
int pty_open_slave(unsigned index, struct file *file) {
    struct pty *pty = pty_find(index);
    int error = pty ? pty_slave_opened(&pty->tty) : -ENXIO;

    if (error) {
        if (pty) {
            tty_put(&pty->tty);
        }
        return error;
    }
    file->private = &pty->tty;
    file->ops = &tty_file_ops;
    tty_opened(&pty->tty, atomic_load(&file->flags));
    return 0;
}

/* ---- for devpts ---- */

int pty_next(unsigned from) {
    for (unsigned index = from; index < PTYS_MAX; index++) {
        if (pty_exists(index)) {
            return (int)index;
        }
    }
    return -1;
}

bool pty_exists(unsigned index) {
    struct pty *pty = pty_find(index);
    bool open = false;

    if (pty) {
        lock_acquire(&pty->lock);
        open = pty->master_open;
        lock_release(&pty->lock);
        tty_put(&pty->tty);
    }
    return open;
}

int pty_attributes(unsigned index, struct kstat *stat) {
    struct pty *pty = pty_find(index);

    if (!pty) {
        return -ENOENT;
    }
    lock_acquire(&pty->lock);
    stat->mode = S_IFCHR | pty->mode;
    stat->uid = pty->uid;
    stat->gid = pty->gid;
    lock_release(&pty->lock);
    stat->rdev = makedev(PTS_MAJOR, index);
    tty_put(&pty->tty);
    return 0;
}

int pty_change_attributes(unsigned index, const struct iattr *attr) {
    struct pty *pty = pty_find(index);

    if (!pty) {
        return -ENOENT;
    }
    lock_acquire(&pty->lock);
    if (attr->valid & ATTR_MODE) {
        pty->mode = attr->mode & 07777;
    }
    if (attr->valid & ATTR_UID) {
        pty->uid = attr->uid;
    }
    if (attr->valid & ATTR_GID) {
        pty->gid = attr->gid;
    }
    lock_release(&pty->lock);
    tty_put(&pty->tty);
    return 0;
}

/* ---- the master ---- */

static ssize_t ptmx_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct pty *pty = file->private;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    ssize_t result;

    if (size == 0) {
        return 0;
    }
    for (;;) {
        lock_acquire(&pty->lock);
        result = (ssize_t)line_take_output(&pty->line, buffer, size);
        bool over = pty->slave_was_open && !pty->slaves;

        lock_release(&pty->lock);
        if (result) {
            break;
        }
        if (over || file_nonblocking(file)) {
            result = over ? -EIO : -EAGAIN;
            break;
        }
        result = pty_sleep(&pty->master_wait, &entry, WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        wake_slaves(pty);
    }
    return result;
}

static ssize_t ptmx_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct pty *pty = file->private;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t done = 0;
    ssize_t result = 0;

    while (done < size) {
        int signal;

        lock_acquire(&pty->lock);
        size_t used =
            line_receive(&pty->line, (const uint8_t *)buffer + done, size - done, &signal);

        lock_release(&pty->lock);
        if (signal) {
            tty_signal(&pty->tty, signal);
        }
        if (used) {
            done += used;
            wake_slaves(pty);
            /* The echo is there for ourselves to read. */
            wait_queue_wake(&pty->master_wait, EPOLLIN | EPOLLRDNORM);
            continue;
        }
        if (file_nonblocking(file)) {
            result = -EAGAIN;
            break;
        }
        result = pty_sleep(&pty->master_wait, &entry, WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return done ? (ssize_t)done : result;
}

static uint32_t ptmx_poll(struct file *file, struct poll_table *table) {
    struct pty *pty = file->private;
    uint32_t mask = 0;

    poll_table_add(table, &pty->master_wait);
    LOCK_GUARD(&pty->lock);
    if (pty->line.output.count) {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    if (line_has_room(&pty->line)) {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    if (pty->slave_was_open && !pty->slaves) {
        mask |= EPOLLHUP;
    }
    return mask;
}

/* The slave's file: by its name in the devpts that the master was opened in, so that fstat(2) and
 * /proc show the same as for everybody; without a name when there is no such place. */
static int ptmx_peer_file(struct pty *pty, struct file *master, struct task *current, int flags,
                          struct file **file) {
    struct mount *mount = master->path.mount;
    char name[32];
    int error;

    if (mount && mount->sb->type == &devpts_type) {
        struct path root = {.mount = mount, .dentry = mount->root};
        struct walk walk = task_walk(current, &root);

        snprintf(name, sizeof(name), "%u", pty->index);
        return vfs_open(&walk, name, flags, 0, LOOKUP_FOLLOW, file);
    }
    error = pty_slave_opened(&pty->tty);
    if (error) {
        return error;
    }
    snprintf(name, sizeof(name), "/dev/pts/%u", pty->index);
    error = file_new_anonymous(name, S_IFCHR, &tty_file_ops, tty_get(&pty->tty), flags, file);
    if (error) {
        pty_slave_closed(&pty->tty);
        tty_put(&pty->tty);
        return error;
    }
    (*file)->inode->rdev = makedev(PTS_MAJOR, pty->index);
    tty_opened(&pty->tty, flags);
    return 0;
}

/* TIOCGPTPEER: the slave without a walk by the caller. */
static int64_t ptmx_open_peer(struct pty *pty, struct file *master, int flags) {
    struct task *current = current_task();
    struct file *file;
    int error;

    if (!current || (flags & ~(O_ACCMODE | O_NOCTTY | O_NONBLOCK | O_CLOEXEC))) {
        return -EINVAL;
    }
    error = ptmx_peer_file(pty, master, current, flags, &file);
    if (error) {
        return error;
    }
    uint64_t limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_NOFILE);

    error = fd_table_install(current->files, file, 0, (int)MIN(limit, (uint64_t)FD_TABLE_MAX),
                             flags & O_CLOEXEC);
    file_put(file);
    return error;
}

static int64_t ptmx_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                          struct user_address argument) {
    struct pty *pty = file->private;
    int32_t value = 0;
    int error;

    switch (command) {
    case TIOCGPTN:
        value = (int32_t)pty->index;
        return put_user(thread, value, argument);
    case TIOCSPTLCK:
        error = get_user(thread, value, argument);
        if (!error) {
            LOCK_GUARD(&pty->lock);
            pty->locked = value != 0;
        }
        return error;
    case TIOCGPTLCK:
        lock_acquire(&pty->lock);
        value = pty->locked;
        lock_release(&pty->lock);
        return put_user(thread, value, argument);
    case TIOCGPTPEER:
        return ptmx_open_peer(pty, file, (int)argument.value);
    case TIOCGPGRP:
        value = tty_foreground(&pty->tty);
        return put_user(thread, value, argument);
    case TIOCSIG_REQUEST:
        if (argument.value != SIGINT && argument.value != SIGQUIT && argument.value != SIGTSTP) {
            return -EINVAL;
        }
        tty_signal(&pty->tty, (int)argument.value);
        return 0;
    case FIONREAD:
        value = pty_queued(&pty->tty, false);
        return put_user(thread, value, argument);
    case TIOCSCTTY:
    case TIOCNOTTY:
        return -ENOTTY;
    default:
        return tty_ioctl(&pty->tty, thread, command, argument);
    }
}

static void ptmx_release(struct file *file) {
    struct pty *pty = file->private;

    if (!pty) {
        return;
    }
    lock_acquire(&pty->lock);
    pty->master_open = false;
    lock_release(&pty->lock);
    wait_queue_wake(&pty->tty.wait, 0);
    tty_hangup(&pty->tty);
    tty_put(&pty->tty);
}

static const struct file_ops ptmx_file_ops = {
    .read = ptmx_read,
    .write = ptmx_write,
    .poll = ptmx_poll,
    .ioctl = ptmx_ioctl,
    .release = ptmx_release,
};

static int pty_take_index(struct pty *pty) {
    LOCK_GUARD(&ptys_lock);

    for (unsigned index = 0; index < PTYS_MAX; index++) {
        if (!ptys[index]) {
            ptys[index] = pty;
            pty->index = index;
            pty->tty.rdev = makedev(PTS_MAJOR, index);
            return 0;
        }
    }
    return -ENOSPC;
}

int pty_open_master(struct inode *inode, struct file *file) {
    struct pty *pty = calloc(1, sizeof(*pty));
    int error;

    if (!pty) {
        return -ENOMEM;
    }
    error = line_init(&pty->line);
    if (error) {
        free(pty);
        return error;
    }
    lock_init(&pty->lock, LOCK_PIPE);
    wait_queue_init(&pty->master_wait);
    pty->master_open = pty->locked = true;
    pty->mode = 0620;
    if (file->creds) {
        pty->uid = file->creds->fsuid;
        pty->gid = 5; /* the group tty, as devpts is mounted everywhere */
    }
    tty_init(&pty->tty, &pty_driver, 0);
    error = pty_take_index(pty);
    if (error) {
        pty->index = PTYS_MAX;
        line_fini(&pty->line);
        tty_discard(&pty->tty);
        wait_queue_destroy(&pty->master_wait);
        lock_destroy(&pty->lock);
        free(pty);
        return error;
    }
    file->private = pty;
    file->ops = &ptmx_file_ops;
    return 0;
}

int pty_register(void) {
    static const struct device ptmx = {.type = S_IFCHR,
                                       .major = PTMX_MAJOR,
                                       .minor = PTMX_MINOR,
                                       .count = 1,
                                       .name = "/dev/ptmx",
                                       .ops = &ptmx_file_ops,
                                       .open = pty_open_master};

    return device_register(&ptmx);
}
