/* What the files of pseudo-terminals share; pty.c tells about the whole. */
#ifndef STARLING_PTY_INTERNAL_H
#define STARLING_PTY_INTERNAL_H

#include "files/line_discipline.h"
#include "files/tty_internal.h"

#define PTS_MAJOR 136

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

static inline struct pty *pty_of(struct tty *tty) {
    return container_of(tty, struct pty, tty);
}
static inline void pty_wake_master(struct pty *pty) {
    wait_queue_wake(&pty->master_wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
}
static inline void pty_wake_slaves(struct pty *pty) {
    wait_queue_wake(&pty->tty.wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
}

/* pty_slave.c, pty_master.c */
extern const struct tty_driver pty_slave_driver;
extern const struct file_ops ptmx_file_ops;
/* Sleeps on `queue`, on which the entry is put the first time: 0: look again. */
int MUST_CHECK pty_sleep(struct wait_queue *queue, struct wait_entry *entry, deadline_ns deadline);
/* One open file more (-EIO: hung up, locked), one less. */
int MUST_CHECK pty_slave_opened(struct tty *tty);
void pty_slave_closed(struct tty *tty);
/* TIOCOUTQ, TIOCINQ; bytes. */
int pty_queued(struct tty *tty, bool input);

/* pty.c */
int MUST_CHECK pty_register(void);
/* The last reference to its tty has gone. */
void pty_release(struct tty *tty);
int MUST_CHECK pty_open_master(struct inode *inode, struct file *file);
int MUST_CHECK pty_open_slave(unsigned index, struct file *file);
/* What devpts shows. */
bool pty_exists(unsigned index);
int pty_next(unsigned from); /* the next one's number, or -1 */
int MUST_CHECK pty_attributes(unsigned index, struct kstat *stat);
int MUST_CHECK pty_change_attributes(unsigned index, const struct iattr *attr);

extern const struct file_system_type devpts_type;

#endif
