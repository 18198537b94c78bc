/* The master of a pseudo-terminal: the file of /dev/ptmx. ioctl_tty(2). */
#include <stdio.h>
#include <sys/sysmacros.h>

#include "files/pty_internal.h"

#define TIOCSIG_REQUEST 0x40045436u

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
        pty_wake_slaves(pty);
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
            pty_wake_slaves(pty);
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

const struct file_ops ptmx_file_ops = {
    .read = ptmx_read,
    .write = ptmx_write,
    .poll = ptmx_poll,
    .ioctl = ptmx_ioctl,
    .release = ptmx_release,
};
