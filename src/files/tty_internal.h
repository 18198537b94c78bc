/*
 * Inside files/: terminals. A struct tty is what all terminals have in common (session, foreground
 * process group, job control, the ioctls); a driver behind it is the outer terminal (tty_host.c) or
 * a pseudo-terminal (pty.c).
 */
#ifndef STARLING_TTY_INTERNAL_H
#define STARLING_TTY_INTERNAL_H

#include <asm/termbits.h>
#include <sys/ioctl.h>

#include "files/files_internal.h"

struct tty;

/* The kernel's struct termios2 (asm-generic/termbits.h); its first TERMIOS_SIZE bytes are its
 * struct termios. libc's own structs differ. */
struct kernel_termios {
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line;
    uint8_t cc[19];
    uint32_t ispeed, ospeed;
};
#define TERMIOS_SIZE 36

/* How TCSETS* wants a change: at once, after the output, that and with input flushed. */
enum termios_when { TERMIOS_NOW, TERMIOS_DRAIN, TERMIOS_FLUSH };

/* No lock is held over any of these; job control has been checked. 0/positive or -errno. */
struct tty_driver {
    ssize_t (*read)(struct tty *tty, struct file *file, void *buffer, size_t size);
    ssize_t (*write)(struct tty *tty, struct file *file, const void *buffer, size_t size);
    uint32_t (*poll)(struct tty *tty, struct file *file, struct poll_table *table);
    int (*get_termios)(struct tty *tty, struct kernel_termios *termios);
    int (*set_termios)(struct tty *tty, const struct kernel_termios *termios,
                       enum termios_when when);
    int (*get_winsize)(struct tty *tty, struct winsize *size);
    int (*set_winsize)(struct tty *tty, const struct winsize *size);
    int (*flush)(struct tty *tty, int queue); /* TCIFLUSH, TCOFLUSH, TCIOFLUSH */
    int (*drain)(struct tty *tty);
    int (*flow)(struct tty *tty, int action); /* TCOOFF ... */
    int (*queued)(struct tty *tty, bool input);
    /* A further file of it: before it counts (-EIO), and when it was closed; may be NULL. */
    int (*opened)(struct tty *tty);
    void (*closed)(struct tty *tty);
    void (*hangup)(struct tty *tty);  /* its session's leader has ended; may be NULL */
    void (*release)(struct tty *tty); /* the last reference is gone: frees it */
};

struct tty {
    struct ref ref;
    const struct tty_driver *driver;
    dev_t rdev;            /* immutable */
    struct list_head link; /* guarded by the list's lock in tty.c */
    struct wait_queue wait;
    struct lock lock;      /* class TTY */
    pid_t session;         /* guarded by lock: 0: none */
    pid_t foreground;      /* guarded by lock */
    struct kernel *kernel; /* weak, of the session; guarded by lock */
};

void tty_init(struct tty *tty, const struct tty_driver *driver, dev_t rdev);
void tty_fini(struct tty *tty);    /* for driver->release */
void tty_discard(struct tty *tty); /* one that nobody else has seen yet */
struct tty *tty_get(struct tty *tty);
void tty_put(struct tty *tty);
DEFINE_CLEANUP(struct tty *, tty_put)
/* The caller's controlling terminal: owned, or NULL. */
struct tty *tty_of_session(struct task *task);
/* A file of it was opened: a session leader without a terminal gets it (open(2) O_NOCTTY). */
void tty_opened(struct tty *tty, int flags);
/* To the foreground process group; nothing when there is none. */
void tty_signal(struct tty *tty, int signal);
/* Every member of the session: SIGHUP and SIGCONT to leader and foreground; it has no terminal any
 * more. */
void tty_hangup(struct tty *tty);
/* ioctl_tty(2) of a slave or the outer terminal. -ENOTTY: none of tty.c's. */
int64_t tty_ioctl(struct tty *tty, struct host_thread *thread, unsigned command,
                  struct user_address argument);
/* The foreground process group as TIOCGPGRP shows it; TIOCSPGRP by `current`. */
pid_t tty_foreground(struct tty *tty);
int MUST_CHECK tty_host_register(void);
/* A file whose private is a struct tty (one reference). */
extern const struct file_ops tty_file_ops;

#endif
