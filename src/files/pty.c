/*
 * Pseudo-terminals: pty(7), pts(4). A pty is a struct tty (the slave side) with a line discipline,
 * and a master that feeds and drains it. All of it is in kernel memory; both sides wait on queues
 * of their own and are woken by the other side's kernel thread.
 *
 * Life: opening /dev/ptmx makes one; the master's file, every slave's file and the session that it
 * controls hold it. When the master is closed the slave is hung up: end of file for readers, EIO
 * for writers, SIGHUP for the session. Its number is free again when nobody holds it any more.
 */
#include <sys/sysmacros.h>

#include "files/pty_internal.h"

#define PTYS_MAX   1024
#define PTMX_MAJOR 5
#define PTMX_MINOR 2

static struct lock ptys_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static struct pty *ptys[PTYS_MAX]; /* weak; guarded by ptys_lock */

static struct pty *pty_find(unsigned index) {
    LOCK_GUARD(&ptys_lock);
    struct pty *pty = index < PTYS_MAX ? ptys[index] : NULL;

    return pty && ref_tryget(&pty->tty.ref) ? pty : NULL;
}

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
    tty_init(&pty->tty, &pty_slave_driver, 0);
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

void pty_release(struct tty *tty) {
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

/* ---- start ---- */

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
