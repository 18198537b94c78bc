/*
 * --tty: a pseudo-terminal of the guest's own, with the launcher in between. Owns the master and,
 * while it is raw, the settings of the outer terminal (when standard input is one).
 *
 * The slave becomes the controlling terminal of the kernel process, so that the keys which the line
 * discipline turns into signals reach it as signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/launcher_internal.h"

static void window_copy(const struct launcher *launcher) {
    struct winsize window;

    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &window) == 0 ||
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) {
        ioctl(launcher->master, TIOCSWINSZ, &window);
    }
}

static void outer_raw(struct launcher *launcher) {
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &launcher->saved) == 0) {
        raw = launcher->saved;
        cfmakeraw(&raw);
        launcher->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
    }
}

static void outer_restore(struct launcher *launcher) {
    if (launcher->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &launcher->saved);
        launcher->raw = false;
    }
}

int launcher_tty_start(struct launcher *launcher) {
    struct termios settings;
    char name[64];

    launcher->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (launcher->master < 0 || unlockpt(launcher->master) < 0 ||
        ptsname_r(launcher->master, name, sizeof(name)) != 0) {
        return -errno;
    }
    launcher->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (launcher->slave < 0) {
        return -errno;
    }
    if (tcgetattr(STDIN_FILENO, &settings) == 0) {
        tcsetattr(launcher->slave, TCSANOW, &settings);
    }
    window_copy(launcher);
    launcher->terminal = true;
    for (int i = 0; i < 3; i++) {
        launcher->std_fds[i] = launcher->slave;
    }
    return 0;
}

void launcher_tty_started(struct launcher *launcher) {
    if (launcher->terminal) {
        close(launcher->slave);
        launcher->slave = -1;
        outer_raw(launcher);
    }
}

void launcher_tty_poll(struct launcher *launcher, struct pollfd *fds) {
    fds[0] = fds[1] = (struct pollfd){.fd = -1};
    if (!launcher->terminal || launcher->master < 0) {
        return;
    }
    fds[0].fd = launcher->master;
    fds[0].events = launcher->pending_size ? POLLIN | POLLOUT : POLLIN;
    if (!launcher->input_ended && !launcher->pending_size) {
        fds[1].fd = STDIN_FILENO;
        fds[1].events = POLLIN;
    }
}

static bool write_all(int fd, const char *text, size_t size) {
    while (size) {
        ssize_t written = write(fd, text, size);

        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        if (written > 0) {
            text += written;
            size -= (size_t)written;
        }
    }
    return true;
}

/* False when there is nothing to read at present, or ever again. */
static bool output_move(struct launcher *launcher) {
    char buffer[4096];
    ssize_t size = read(launcher->master, buffer, sizeof(buffer));

    if (size > 0) {
        return write_all(STDOUT_FILENO, buffer, (size_t)size);
    }
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        close(launcher->master); /* EIO: nobody has the slave any more */
        launcher->master = -1;
    }
    return false;
}

static void input_flush(struct launcher *launcher) {
    ssize_t size = write(launcher->master, launcher->pending, launcher->pending_size);

    if (size > 0) {
        launcher->pending_size -= (size_t)size;
        memmove(launcher->pending, launcher->pending + size, launcher->pending_size);
    }
}

static void input_take(struct launcher *launcher) {
    ssize_t size = read(STDIN_FILENO, launcher->pending, sizeof(launcher->pending));

    if (size > 0) {
        launcher->pending_size = (size_t)size;
    } else if (size == 0) {
        struct termios settings;

        /* The end of a file or pipe: as if the user typed the end-of-file key. */
        launcher->input_ended = true;
        if (tcgetattr(launcher->master, &settings) == 0 && settings.c_cc[VEOF]) {
            launcher->pending[0] = (char)settings.c_cc[VEOF];
            launcher->pending_size = 1;
        }
    } else if (errno != EAGAIN && errno != EINTR) {
        launcher->input_ended = true;
    }
    input_flush(launcher);
}

void launcher_tty_serve(struct launcher *launcher, const struct pollfd *fds) {
    if (launcher->terminal && launcher->master >= 0) {
        if (fds[0].revents & POLLOUT) {
            input_flush(launcher);
        }
        if (fds[1].revents) {
            input_take(launcher);
        }
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
            (void)output_move(launcher);
        }
    }
}

void launcher_tty_stopped(struct launcher *launcher) {
    outer_restore(launcher);
}

void launcher_tty_resumed(struct launcher *launcher) {
    if (launcher->terminal && launcher->master >= 0) {
        if (!launcher->raw) {
            outer_raw(launcher);
        }
        window_copy(launcher);
    }
}

void launcher_tty_finish(struct launcher *launcher) {
    while (launcher->terminal && launcher->master >= 0 && output_move(launcher)) {
    }
    outer_restore(launcher);
}
