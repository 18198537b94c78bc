/*
 * What all terminals have in common: controlling terminals of sessions, job control, the ioctls of
 * ioctl_tty(2) that we let through, and /dev/tty. Anything that puts input into a terminal
 * (TIOCSTI, TIOCLINUX, keyboard maps ...) is not among them: it would be a way out of the sandbox.
 *
 * Life. A terminal is held by its open files and by the session that it controls (one reference in
 * session->terminal). session_terminal() gives an address that may be stale by the time it is used;
 * so all live terminals stand in a list, and an address is only followed when it is found there.
 */
#include <sys/sysmacros.h>

#include "files/tty_internal.h"

static struct lock ttys_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_TTY};
static struct list_head ttys = LIST_HEAD_INIT(ttys); /* guarded by ttys_lock */

void tty_init(struct tty *tty, const struct tty_driver *driver, dev_t rdev) {
    ref_init(&tty->ref);
    tty->driver = driver;
    tty->rdev = rdev;
    wait_queue_init(&tty->wait);
    lock_init(&tty->lock, LOCK_TTY);
    LOCK_GUARD(&ttys_lock);
    list_add(&tty->link, &ttys);
}

void tty_fini(struct tty *tty) {
    wait_queue_destroy(&tty->wait);
    lock_destroy(&tty->lock);
}

void tty_discard(struct tty *tty) {
    lock_acquire(&ttys_lock);
    list_del(&tty->link);
    lock_release(&ttys_lock);
    tty_fini(tty);
}

struct tty *tty_get(struct tty *tty) {
    ref_get(&tty->ref);
    return tty;
}

void tty_put(struct tty *tty) {
    if (ref_put(&tty->ref)) {
        lock_acquire(&ttys_lock);
        list_del(&tty->link);
        lock_release(&ttys_lock);
        tty->driver->release(tty);
    }
}

struct tty *tty_of_session(struct task *task) {
    void *wanted = session_terminal(task);
    struct tty *tty;

    LOCK_GUARD(&ttys_lock);
    list_for_each_entry (tty, &ttys, link) {
        if (tty == wanted && ref_tryget(&tty->ref)) {
            return tty;
        }
    }
    return NULL;
}

/* ---- sessions and job control ---- */

void tty_signal(struct tty *tty, int signal) {
    struct signal_info info;

    lock_acquire(&tty->lock);
    struct kernel *kernel = tty->kernel;
    pid_t pgid = tty->foreground;

    lock_release(&tty->lock);
    if (kernel && pgid > 0) {
        signal_info_kernel(&info, signal);
        (void)!process_group_signal(kernel, pgid, &info);
    }
}

/* tty->session becomes 0; the reference that the session's pointer held is the caller's. */
static void tty_leave_session(struct tty *tty) {
    tty_signal(tty, SIGHUP);
    tty_signal(tty, SIGCONT);
    lock_acquire(&tty->lock);
    tty->session = tty->foreground = 0;
    tty->kernel = NULL;
    lock_release(&tty->lock);
}

/* The session's leader has ended: hook of task/session.c. */
static void session_lost(void *terminal) {
    struct tty *tty = terminal;

    tty_leave_session(tty);
    if (tty->driver->hangup) {
        tty->driver->hangup(tty);
    }
    tty_put(tty);
}

void tty_hangup(struct tty *tty) {
    lock_acquire(&tty->lock);
    struct kernel *kernel = tty->kernel;
    pid_t sid = tty->session;

    lock_release(&tty->lock);
    if (!kernel || !sid) {
        return;
    }
    struct task *leader CLEANUP(task_put) = kernel_get_task(kernel, sid);
    struct signal_info info;

    if (leader) {
        signal_info_kernel(&info, SIGHUP);
        (void)!signal_send_group(leader->thread_group, &info);
        signal_info_kernel(&info, SIGCONT);
        (void)!signal_send_group(leader->thread_group, &info);
        if (session_terminal(leader) == tty && session_set_terminal(leader, NULL) == 0) {
            tty_leave_session(tty);
            tty_put(tty);
        }
    }
}

bool tty_of_task(struct task *task, dev_t *rdev, pid_t *foreground) {
    struct tty *tty CLEANUP(tty_put) = tty_of_session(task);

    if (!tty) {
        return false;
    }
    *rdev = tty->rdev;
    *foreground = tty_foreground(tty);
    return true;
}

static int tty_become_controlling(struct tty *tty, struct task *task) {
    pid_t sid = task_get_sid(task), pgid = task_get_pgrp(task);
    int error = session_set_terminal(task, tty);

    if (error) {
        return error;
    }
    tty_get(tty); /* the session's */
    session_set_hangup(session_lost);
    LOCK_GUARD(&tty->lock);
    tty->session = sid;
    tty->foreground = pgid;
    tty->kernel = task->thread_group->kernel;
    return 0;
}

static pid_t tty_session(struct tty *tty) {
    LOCK_GUARD(&tty->lock);
    return tty->session;
}

pid_t tty_foreground(struct tty *tty) {
    LOCK_GUARD(&tty->lock);
    return tty->foreground;
}

void tty_opened(struct tty *tty, int flags) {
    struct task *current = current_task();

    if (!(flags & O_NOCTTY) && current && !tty_session(tty) && !session_terminal(current) &&
        task_get_sid(current) == task_get_pid(current)) {
        (void)!tty_become_controlling(tty, current);
    }
}

int tty_attach(struct file *file, struct task *leader) {
    if (file->ops != &tty_file_ops) {
        return -ENOTTY;
    }
    return session_terminal(leader) == file->private
               ? 0
               : tty_become_controlling(file->private, leader);
}

/*
 * A background process group may not read (SIGTTIN), change the terminal or, with TOSTOP, write
 * (SIGTTOU): 0, or what the call returns.
 */
static int tty_check(struct tty *tty, int signal) {
    struct task *current = current_task();
    struct signal_info info;

    if (!current || session_terminal(current) != tty) {
        return 0;
    }
    pid_t pgid = task_get_pgrp(current), foreground = tty_foreground(tty);

    if (!foreground || pgid == foreground) {
        return 0;
    }
    struct kernel *kernel = current->thread_group->kernel;

    if (signal_ignored(current->thread_group, signal) ||
        (signal_get_mask(current) & SIGNAL_BIT(signal))) {
        return signal == SIGTTIN ? -EIO : 0;
    }
    if (process_group_orphaned(kernel, pgid)) {
        return -EIO;
    }
    signal_info_kernel(&info, signal);
    (void)!process_group_signal(kernel, pgid, &info);
    return -ERESTARTSYS;
}

/* ---- ioctl_tty(2) ---- */

static int64_t tty_set_foreground(struct tty *tty, struct host_thread *thread,
                                  struct user_address argument) {
    struct task *current = current_task();
    int32_t pgid;
    int error = tty_check(tty, SIGTTOU);

    if (error) {
        return error;
    }
    if (!current || session_terminal(current) != tty) {
        return -ENOTTY;
    }
    error = get_user(thread, pgid, argument);
    if (error) {
        return error;
    }
    if (pgid < 0) {
        return -EINVAL;
    }
    pid_t sid = task_get_sid(current);

    if (tty_session(tty) != sid) {
        return -ENOTTY;
    }
    if (!process_group_in_session(current->thread_group->kernel, pgid, sid)) {
        struct task *exists CLEANUP(task_put) =
            kernel_get_task(current->thread_group->kernel, pgid);

        return exists ? -EPERM : -ESRCH;
    }
    LOCK_GUARD(&tty->lock);
    tty->foreground = pgid;
    return 0;
}

static int64_t tty_steal_or_take(struct tty *tty, uint64_t force) {
    struct task *current = current_task();

    if (!current) {
        return -EPERM;
    }
    pid_t sid = task_get_sid(current), holder = tty_session(tty);

    if (session_terminal(current) == tty && holder == sid) {
        return 0;
    }
    if (task_get_pid(current) != sid || session_terminal(current)) {
        return -EPERM;
    }
    if (holder) {
        struct credentials *creds CLEANUP(credentials_put) = task_creds(current);

        if (force != 1 || !credentials_capable(creds, 21 /* CAP_SYS_ADMIN */)) {
            return -EPERM;
        }
        struct task *leader CLEANUP(task_put) =
            kernel_get_task(current->thread_group->kernel, holder);

        if (leader && session_terminal(leader) == tty && !session_set_terminal(leader, NULL)) {
            tty_put(tty);
        }
    }
    return tty_become_controlling(tty, current);
}

static int64_t tty_give_up(struct tty *tty) {
    struct task *current = current_task();

    if (!current || session_terminal(current) != tty) {
        return -ENOTTY;
    }
    /* For others than the leader Linux forgets it for that process alone; we keep one terminal a
     * session, so there is nothing to do. */
    if (session_set_terminal(current, NULL) == 0) {
        tty_leave_session(tty);
        tty_put(tty);
    }
    return 0;
}

static int64_t tty_change(struct tty *tty, struct host_thread *thread, struct user_address argument,
                          size_t size, enum termios_when when) {
    struct kernel_termios termios = {0};
    int error = tty_check(tty, SIGTTOU);

    /* What the older struct does not carry stays. */
    if (!error) {
        error = tty->driver->get_termios(tty, &termios);
    }
    uint8_t line = termios.line;

    if (!error) {
        error = copy_from_user(thread, &termios, argument, size);
    }
    if (error) {
        return error;
    }
    termios.line = line; /* no other line disciplines */
    return tty->driver->set_termios(tty, &termios, when);
}

int64_t tty_ioctl(struct tty *tty, struct host_thread *thread, unsigned command,
                  struct user_address argument) {
    const struct tty_driver *driver = tty->driver;
    struct kernel_termios termios;
    struct winsize size;
    int32_t value;
    int error;

    switch (command) {
    case TCGETS:
    case TCGETS2:
        error = driver->get_termios(tty, &termios);
        return error ? error
                     : answer_to_user(thread, argument, &termios,
                                      command == TCGETS ? TERMIOS_SIZE : sizeof(termios));
    case TCSETS:
        return tty_change(tty, thread, argument, TERMIOS_SIZE, TERMIOS_NOW);
    case TCSETSW:
        return tty_change(tty, thread, argument, TERMIOS_SIZE, TERMIOS_DRAIN);
    case TCSETSF:
        return tty_change(tty, thread, argument, TERMIOS_SIZE, TERMIOS_FLUSH);
    case TCSETS2:
        return tty_change(tty, thread, argument, sizeof(termios), TERMIOS_NOW);
    case TCSETSW2:
        return tty_change(tty, thread, argument, sizeof(termios), TERMIOS_DRAIN);
    case TCSETSF2:
        return tty_change(tty, thread, argument, sizeof(termios), TERMIOS_FLUSH);
    case TIOCGWINSZ:
        error = driver->get_winsize(tty, &size);
        return error ? error : answer_user(thread, size, argument);
    case TIOCSWINSZ:
        error = get_user(thread, size, argument);
        return error ? error : driver->set_winsize(tty, &size);
    case TCFLSH:
        error = tty_check(tty, SIGTTOU);
        return error ? error : driver->flush(tty, (int)argument.value);
    case TCXONC:
        error = tty_check(tty, SIGTTOU);
        return error ? error : driver->flow(tty, (int)argument.value);
    case TCSBRK:
    case TCSBRKP:
    case TIOCSBRK:
    case TIOCCBRK:
        error = tty_check(tty, SIGTTOU);
        return error ? error : driver->drain(tty); /* nobody sees a break here */
    case FIONREAD:
    case TIOCOUTQ:
        value = driver->queued(tty, command == FIONREAD);
        return value < 0 ? value : put_user(thread, value, argument);
    case TIOCGPGRP:
    case TIOCGSID: {
        struct task *current = current_task();

        if (!current || session_terminal(current) != tty) {
            return -ENOTTY;
        }
        value = command == TIOCGSID ? tty_session(tty) : tty_foreground(tty);
        return put_user(thread, value, argument);
    }
    case TIOCSPGRP:
        return tty_set_foreground(tty, thread, argument);
    case TIOCSCTTY:
        return tty_steal_or_take(tty, argument.value);
    case TIOCNOTTY:
        return tty_give_up(tty);
    case TIOCGETD:
        value = 0; /* N_TTY */
        return put_user(thread, value, argument);
    case TIOCEXCL:
    case TIOCNXCL:
        return 0;
    case TIOCGSOFTCAR:
        value = 0;
        return put_user(thread, value, argument);
    default:
        return -ENOTTY;
    }
}

/* ---- files ---- */

static ssize_t tty_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct tty *tty = file->private;
    int error = tty_check(tty, SIGTTIN);

    return error ? error : tty->driver->read(tty, file, buffer, size);
}

static ssize_t tty_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct tty *tty = file->private;
    struct task *current = current_task();
    struct kernel_termios termios;

    /* TOSTOP is asked for only when it matters. */
    if (current && session_terminal(current) == tty &&
        tty_foreground(tty) != task_get_pgrp(current)) {
        int error = tty->driver->get_termios(tty, &termios);

        if (!error && (termios.lflag & TOSTOP)) {
            error = tty_check(tty, SIGTTOU);
            if (error) {
                return error;
            }
        }
    }
    return tty->driver->write(tty, file, buffer, size);
}

static uint32_t tty_poll(struct file *file, struct poll_table *table) {
    struct tty *tty = file->private;

    poll_table_add(table, &tty->wait);
    return tty->driver->poll(tty, file, table);
}

static int64_t tty_file_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                              struct user_address argument) {
    return tty_ioctl(file->private, thread, command, argument);
}

static void tty_file_release(struct file *file) {
    struct tty *tty = file->private;

    if (tty->driver->closed) {
        tty->driver->closed(tty);
    }
    tty_put(tty);
}

const struct file_ops tty_file_ops = {
    .read = tty_read,
    .write = tty_write,
    .poll = tty_poll,
    .ioctl = tty_file_ioctl,
    .release = tty_file_release,
};

/* ---- /dev/tty: whatever controls the opener's session ---- */

static int dev_tty_open(struct inode *inode, struct file *file) {
    struct task *current = current_task();
    struct tty *tty = current ? tty_of_session(current) : NULL;

    int error = tty && tty->driver->opened ? tty->driver->opened(tty) : 0;

    if (!tty || error) {
        if (tty) {
            tty_put(tty);
        }
        return tty ? error : -ENXIO;
    }
    file->private = tty;
    return 0;
}

int tty_register(void) {
    static const struct device dev_tty = {.type = S_IFCHR,
                                          .major = 5,
                                          .minor = 0,
                                          .count = 1,
                                          .name = "/dev/tty",
                                          .ops = &tty_file_ops,
                                          .open = dev_tty_open};

    return device_register(&dev_tty);
}
