/* What launcher.c and launcher_tty.c share. */
#ifndef STARLING_LAUNCHER_INTERNAL_H
#define STARLING_LAUNCHER_INTERNAL_H

#include <poll.h>
#include <signal.h>
#include <termios.h>

#include "cli/cli.h"

struct launcher {
    const struct run_options *options;
    pid_t pid;
    int control_fd, signal_fd;
    int timer_fd; /* -1: no --timeout */
    int std_fds[3];
    sigset_t old_mask;
    gid_t groups[1024];
    int group_count;
    int status; /* what the kernel process reported; -1: nothing yet */
    bool job;   /* a shell can continue us */
    bool control_open, pid_namespace, timed_out, out_of_memory;
    int memory_error; /* an errno: out_of_memory because nothing could be measured */

    /* launcher_tty.c: --tty */
    bool terminal;     /* the guest has a terminal of its own */
    int master, slave; /* of the pseudo-terminal */
    bool raw;          /* the outer terminal was made raw: saved has its settings */
    bool input_ended;  /* nothing more comes from standard input */
    struct termios saved;
    char pending[4096]; /* what the guest has not taken yet */
    size_t pending_size;
};

/* How many entries launcher_tty_poll() fills: fd -1 where there is nothing to wait for. */
#define LAUNCHER_TTY_FDS 2

/* Makes the pseudo-terminal and puts it in std_fds. -errno. */
int MUST_CHECK launcher_tty_start(struct launcher *launcher);
/* The kernel process has the other end. */
void launcher_tty_started(struct launcher *launcher);
void launcher_tty_poll(struct launcher *launcher, struct pollfd *fds);
void launcher_tty_serve(struct launcher *launcher, const struct pollfd *fds);
/* Before the launcher stops itself, and after it was continued or the window changed. */
void launcher_tty_stopped(struct launcher *launcher);
void launcher_tty_resumed(struct launcher *launcher);
/* Writes what the guest still has in its terminal, restores the outer one. */
void launcher_tty_finish(struct launcher *launcher);

#endif
