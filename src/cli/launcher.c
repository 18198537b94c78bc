/*
 * The launcher: forks the kernel process into new namespaces, then stands between it and the user's
 * shell until it ends: signals go in, the exit status comes out, and nothing stays behind.
 *
 * # Life
 * launcher_run() blocks the signals it forwards (they arrive by a signalfd), clones the kernel
 * process with as many namespaces as the host grants, writes its id maps, tells it to go on
 * (CONTROL_GO), and serves the control socket until the process has been reaped. The kernel process
 * is pid 1 of its pid namespace where there is one, so its end ends every guest; elsewhere each
 * guest asks the host to die with its parent, and the launcher reaps them as their subreaper. When
 * the launcher dies, PR_SET_PDEATHSIG and the closed socket end the kernel process.
 *
 * # Identity
 * The user namespace maps every id that we have to itself, so that host files keep the owners they
 * have: root keeps its access to files and loses its power over the rest of the host. Ordinary
 * users map their own id alone.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/launcher_internal.h"

/* What the user or the terminal sends to the launcher and means for the guest. */
static const int forwarded[] = {SIGINT,  SIGTERM, SIGHUP,   SIGQUIT, SIGTSTP,
                                SIGCONT, SIGUSR1, SIGWINCH, SIGUSR2};

/* How long a sandbox that was told to end may take before it is killed from outside. */
#define KILL_GRACE_NS 2000000000ll

static bool write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written = -1;

    if (fd >= 0) {
        written = write(fd, text, strlen(text));
        close(fd);
    }
    return written == (ssize_t)strlen(text);
}

/* Every id of our own namespace to itself: "0 0 4294967295" for the host's root. */
static bool identity_map_all(const char *own, char *map, size_t size) {
    FILE *file = fopen(own, "re");
    unsigned long inside, outside, count;
    size_t used = 0;

    if (!file) {
        return false;
    }
    while (fscanf(file, "%lu %lu %lu", &inside, &outside, &count) == 3 && used < size) {
        used += (size_t)snprintf(map + used, size - used, "%lu %lu %lu\n", inside, inside, count);
    }
    fclose(file);
    return used > 0 && used < size;
}

static bool write_id_map(pid_t pid, const char *which, unsigned own_id) {
    char path[64], own[32], map[4096];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
    snprintf(own, sizeof(own), "/proc/self/%s", which);
    if (geteuid() == 0 && identity_map_all(own, map, sizeof(map)) && write_file(path, map)) {
        return true;
    }
    if (strcmp(which, "gid_map") == 0) {
        char setgroups[64];

        /* Without CAP_SETGID a group map may be written only when setgroups(2) is given up. */
        snprintf(setgroups, sizeof(setgroups), "/proc/%d/setgroups", (int)pid);
        (void)write_file(setgroups, "deny");
    }
    snprintf(map, sizeof(map), "%u %u 1\n", own_id, own_id);
    return write_file(path, map);
}

/* The new process, until it is the kernel process. */
static void NORETURN child_main(const struct launcher *launcher, struct launch *launch) {
    struct control_message message;
    sigset_t none;

    close(launcher->control_fd);
    close(launcher->signal_fd);
    if (control_receive(launch->control_fd, &message, 0) <= 0 || message.type != CONTROL_GO) {
        _exit(EXIT_STARLING);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The terminal's keys reach the launcher alone, never a guest's host process. */
    setsid();
    if (launch->terminal) {
        ioctl(launch->std_fds[0], TIOCSCTTY, 0); /* kernel_control.c hears of its keys */
    }
    for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
        signal(forwarded[i], SIG_IGN);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    kernel_main(launcher->options, launch);
}

/* One try with these namespaces: the pid, or 0 when the host refuses. */
static pid_t launch_try(struct launcher *launcher, unsigned long namespaces) {
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        cli_error("run: cannot make a socket pair: %s", strerror(errno));
        return -1;
    }
    launcher->control_fd = pair[0];
    /* Raw: glibc's fork() cannot enter namespaces, and unshare() would change the launcher too. */
    pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        struct launch launch = {
            .control_fd = pair[1],
            .own_user_namespace = (namespaces & CLONE_NEWUSER) != 0,
            .own_pid_namespace = (namespaces & CLONE_NEWPID) != 0,
            .own_namespaces = namespaces != 0,
            .terminal = launcher->terminal,
            .job = launcher->job,
            .groups = launcher->groups,
            .group_count = (size_t)launcher->group_count,
        };

        memcpy(launch.std_fds, launcher->std_fds, sizeof(launch.std_fds));
        child_main(launcher, &launch);
    }
    close(pair[1]);
    if (pid > 0 && (namespaces & CLONE_NEWUSER) &&
        !(write_id_map(pid, "uid_map", geteuid()) && write_id_map(pid, "gid_map", getegid()))) {
        log_line(LOG_INFO, "run: the host lets nobody write the id map of a user namespace: %s",
                 strerror(errno));
        close(pair[0]);
        waitpid(pid, NULL, 0);
        return 0;
    }
    if (pid < 0) {
        log_line(LOG_INFO, "run: clone with namespaces 0x%lx: %s", namespaces, strerror(errno));
        close(pair[0]);
        return namespaces ? 0 : -1;
    }
    return pid;
}

/* Step by step down to what the host grants. */
static pid_t launch(struct launcher *launcher) {
    const unsigned long base = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    /* A network namespace comes later: join_network() in host_job.c. */
    const unsigned long steps[] = {base | CLONE_NEWUSER, base, 0};

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        pid_t pid = launch_try(launcher, steps[i]);

        if (pid > 0) {
            launcher->pid_namespace = (steps[i] & CLONE_NEWPID) != 0;
            if (!steps[i]) {
                log_line(LOG_INFO,
                         "run: this host grants no namespaces; the filter alone confines the "
                         "guests ('starling doctor' tells more)");
            }
            return pid;
        }
        if (pid < 0) {
            return -1;
        }
    }
    return -1;
}

/* ---- signals ---- */

static int signals_take(struct launcher *launcher) {
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
        struct sigaction action;

        /* nohup(1) and the like: what was ignored for us stays ignored. */
        if (sigaction(forwarded[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
            sigaddset(&set, forwarded[i]);
        }
    }
    signal(SIGCHLD, SIG_DFL);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &launcher->old_mask);
    launcher->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return launcher->signal_fd < 0 ? -errno : 0;
}

static void signals_serve(struct launcher *launcher) {
    struct signalfd_siginfo info;

    while (read(launcher->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) {
            continue; /* the loop looks for itself */
        }
        if (info.ssi_signo == SIGWINCH || info.ssi_signo == SIGCONT) {
            launcher_tty_resumed(launcher);
        }
        (void)control_send(launcher->control_fd, CONTROL_SIGNAL, (int)info.ssi_signo);
    }
}

/* ---- the control socket ---- */

static void control_serve(struct launcher *launcher) {
    struct control_message message;
    int received = control_receive(launcher->control_fd, &message, MSG_DONTWAIT);

    if (received == -EAGAIN) {
        return;
    }
    if (received <= 0) {
        launcher->control_open = false; /* the end comes by SIGCHLD */
        return;
    }
    switch (message.type) {
    case CONTROL_EXIT:
        launcher->status = message.value;
        break;
    case CONTROL_MEMORY:
        launcher->out_of_memory = true;
        launcher->memory_error = message.value;
        break;
    case CONTROL_STOPPED:
        /* The shell shall see its job stopped. SIGCONT brings us back here, and is forwarded. */
        launcher_tty_stopped(launcher);
        kill(getpid(), SIGSTOP);
        break;
    default:
        break;
    }
}

/* Ends the sandbox in two steps: it is told, then killed. */
static void timer_serve(struct launcher *launcher) {
    uint64_t expirations;

    if (read(launcher->timer_fd, &expirations, sizeof(expirations)) < 0) {
        return;
    }
    if (!launcher->timed_out) {
        struct itimerspec grace = {.it_value = {.tv_sec = KILL_GRACE_NS / 1000000000}};

        launcher->timed_out = true;
        (void)control_send(launcher->control_fd, CONTROL_KILL, 0);
        timerfd_settime(launcher->timer_fd, 0, &grace, NULL);
    } else {
        kill(launcher->pid, SIGKILL);
    }
}

static void timer_start(struct launcher *launcher) {
    struct itimerspec when = {0};

    launcher->timer_fd = -1;
    if (launcher->options->timeout_ns) {
        when.it_value.tv_sec = launcher->options->timeout_ns / 1000000000;
        when.it_value.tv_nsec = launcher->options->timeout_ns % 1000000000;
        launcher->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        timerfd_settime(launcher->timer_fd, 0, &when, NULL);
    }
}

/* True when the kernel process has been reaped: *wait_status. */
static bool reap(struct launcher *launcher, int *wait_status) {
    return waitpid(launcher->pid, wait_status, WNOHANG) == launcher->pid;
}

static void serve(struct launcher *launcher, int *wait_status) {
    while (!reap(launcher, wait_status)) {
        struct pollfd fds[4 + LAUNCHER_TTY_FDS] = {
            {.fd = launcher->signal_fd, .events = POLLIN},
            {.fd = launcher->control_open ? launcher->control_fd : -1, .events = POLLIN},
            {.fd = launcher->timer_fd, .events = POLLIN},
        };

        launcher_tty_poll(launcher, fds + 3);
        if (poll(fds, 3 + LAUNCHER_TTY_FDS, -1) < 0) {
            continue; /* EINTR: SIGSTOP and SIGCONT */
        }
        if (fds[0].revents) {
            signals_serve(launcher);
        }
        if (fds[1].revents) {
            control_serve(launcher);
        }
        if (fds[2].revents) {
            timer_serve(launcher);
        }
        launcher_tty_serve(launcher, fds + 3);
    }
    /* What it said before it ended. */
    while (launcher->control_open) {
        struct pollfd fd = {.fd = launcher->control_fd, .events = POLLIN};

        if (poll(&fd, 1, 0) <= 0) {
            break;
        }
        control_serve(launcher);
    }
}

/* Without a pid namespace the guests are ours when their parent is gone; the host kills them. */
static void reap_guests(void) {
    for (int i = 0; i < 2000; i++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);

        if (pid < 0) {
            return;
        }
        if (pid == 0) {
            poll(NULL, 0, 1);
        }
    }
    log_line(LOG_WARN, "run: a process of the sandbox does not end");
}

static int verdict(const struct launcher *launcher, int wait_status) {
    if (launcher->timed_out) {
        cli_error("run: '%s' was ended after %g s (--timeout)", launcher->options->program[0],
                  (double)launcher->options->timeout_ns / 1e9);
        return EXIT_TIMEOUT;
    }
    if (launcher->memory_error) {
        cli_error("run: '%s' was ended: what its processes hold could not be measured any more "
                  "(--memory): %s",
                  launcher->options->program[0], strerror(launcher->memory_error));
        return 128 + SIGKILL;
    }
    if (launcher->out_of_memory) {
        cli_error("run: '%s' was ended: it held more than %llu bytes of memory (--memory)",
                  launcher->options->program[0],
                  (unsigned long long)launcher->options->memory_bytes);
        return 128 + SIGKILL;
    }
    if (launcher->status >= 0) {
        return launcher->status;
    }
    if (WIFSIGNALED(wait_status)) {
        cli_error("run: the kernel process was killed by signal %d (%s); the sandbox is gone%s",
                  WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)),
                  WTERMSIG(wait_status) == SIGKILL ? "; was the host out of memory?" : "");
    } else {
        cli_error("run: the kernel process ended (status %d) without a word; the sandbox is gone",
                  WEXITSTATUS(wait_status));
    }
    return EXIT_STARLING;
}

/* Which of 0, 1, 2 are open; closed ones get a placeholder, so that no descriptor of ours takes
 * their number. */
static int std_fds_take(struct launcher *launcher) {
    for (int fd = 0; fd < 3; fd++) {
        launcher->std_fds[fd] = fd;
        if (fcntl(fd, F_GETFD) < 0) {
            launcher->std_fds[fd] = -1;
            if (open("/dev/null", O_RDWR) != fd) {
                return -EBADF;
            }
        }
    }
    return 0;
}

int launcher_run(const struct run_options *options) {
    struct launcher launcher = {.options = options, .status = -1, .control_open = true};
    int wait_status = 0, result, error;

    error = std_fds_take(&launcher);
    if (!error) {
        error = signals_take(&launcher);
    }
    if (!error && options->tty) {
        error = launcher_tty_start(&launcher);
    }
    if (error) {
        cli_error("run: cannot prepare the launcher: %s", strerror(-error));
        return EXIT_STARLING;
    }
    /* A process group is not orphaned while a parent outside of it is in its session (POSIX 3.264).
     */
    launcher.job = getsid(getppid()) == getsid(0) && getpgid(getppid()) != getpgrp();
    /* Now: in the new user namespace most of them have no name. */
    launcher.group_count = MAX(getgroups(ARRAY_SIZE(launcher.groups), launcher.groups), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    timer_start(&launcher);
    fflush(NULL);
    launcher.pid = launch(&launcher);
    if (launcher.pid < 0) {
        launcher_tty_finish(&launcher);
        cli_error("run: cannot start the kernel process: %s", strerror(errno));
        return EXIT_STARLING;
    }
    launcher_tty_started(&launcher);
    (void)control_send(launcher.control_fd, CONTROL_GO, 0);
    serve(&launcher, &wait_status);
    if (!launcher.pid_namespace) {
        reap_guests();
    }
    launcher_tty_finish(&launcher);
    result = verdict(&launcher, wait_status);
    close(launcher.control_fd);
    close(launcher.signal_fd);
    sigprocmask(SIG_SETMASK, &launcher.old_mask, NULL);
    return result;
}
