/*
 * The kernel process's end of the control socket, and the watch over --memory. All of it runs in
 * the event thread. Owns the watch and the timer; they live as long as the process.
 *
 * --memory: the sum of what the guests' host processes and their files in memory hold. Looked at by
 * a timer whose next run depends on how far the limit is: a guest cannot touch pages faster than
 * TOUCH_RATE. Without
 * --memory there is no timer, and an idle sandbox stays idle.
 */
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/kernel_internal.h"

/* Bytes that one core can fault in per ms, generously (huge pages). */
#define TOUCH_RATE_PER_MS (8ll << 20)
#define LOOK_MIN_NS       2000000ll
#define LOOK_MAX_NS       250000000ll

static struct {
    const struct run_options *options;
    const struct launch *launch;
    struct kernel *kernel;
    struct thread_group *init;
    bool has_terminal;
    bool over_memory;
    struct poller_watch watch, keys_watch;
    struct poller_timer memory_timer;
} control;

static void signal_to_init(int signal) {
    struct signal_info info;

    signal_info_kernel(&info, signal);
    /* A full queue loses it, as on Linux. */
    (void)!signal_send_group(control.init, &info);
}

static void signal_to_foreground(int signal) {
    struct signal_info info;

    signal_info_kernel(&info, signal);
    if (process_group_signal(control.kernel, control.init->leader, &info) < 0) {
        (void)!signal_send_group(control.init, &info);
    }
}

/*
 * From the keyboard and the terminal: to the foreground group, as the terminal would. SIGTERM and
 * the like were sent to one process, the launcher, which stands for the first program.
 */
static void take_signal(int signal) {
    switch (signal) {
    case SIGINT:
    case SIGQUIT:
    case SIGTSTP:
    case SIGHUP:
    case SIGWINCH:
        if (control.has_terminal) {
            tty_host_signal(control.kernel, signal);
        } else {
            signal_to_foreground(signal);
        }
        break;
    case SIGCONT:
        signal_to_foreground(signal);
        break;
    case SIGTERM:
    case SIGUSR1:
    case SIGUSR2:
        signal_to_init(signal);
        break;
    default:
        break;
    }
}

static void control_readable(void *arg, uint32_t events) {
    struct control_message message;

    for (;;) {
        int received = control_receive(control.launch->control_fd, &message, MSG_DONTWAIT);

        if (received == -EAGAIN) {
            return;
        }
        if (received <= 0) {
            /* The launcher is gone: nobody waits for a status. Guests die with us. */
            _exit(EXIT_STARLING);
        }
        if (message.type == CONTROL_SIGNAL) {
            take_signal(message.value);
        } else if (message.type == CONTROL_KILL) {
            kernel_kill_all(control.kernel);
        }
    }
}

/* --tty: the terminal is our controlling one, and its keys come as signals. */
static void keys_readable(void *arg, uint32_t events) {
    struct signalfd_siginfo info;

    while (host_read(control.keys_watch.fd, &info, sizeof(info)) == sizeof(info)) {
        tty_host_signal(control.kernel, (int)info.ssi_signo);
    }
}

int kernel_keys_open(void) {
    static const int keys[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        sigaddset(&set, keys[i]);
    }
    /* Every thread that comes inherits it. */
    sigprocmask(SIG_BLOCK, &set, NULL);
    control.keys_watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return control.keys_watch.fd < 0 ? -errno : 0;
}

/* The first process was stopped: the launcher stops too, for its shell to see. */
static void init_stopped(int signal) {
    (void)control_send(control.launch->control_fd, CONTROL_STOPPED, signal);
}

/*
 * What all guests hold, in bytes, their page tables included. First the cheap sum, which counts a
 * page once for each process that shares it; only when that is above the limit the exact one. Files
 * in a tmpfs and shared memory that are mapped are in both of the exact sum's last two terms, so
 * the larger stands for both.
 */
static uint64_t guests_memory(uint64_t limit) {
    struct task **tasks = kernel_tasks(control.kernel, true);
    uint64_t resident = 0, anonymous = 0, shared = 0, tables = 0;
    uint64_t files = tmpfs_memory_used() + shared_memory_used();
    bool exact = false;

    do {
        exact = resident + files + tables > limit;
        for (size_t i = 0; tasks && tasks[i]; i++) {
            struct host_process *process = thread_group_process(tasks[i]->thread_group);
            uint64_t first, second, third;

            /* One that is just ending holds nothing. */
            if (process && exact && host_process_memory_share(process, &first, &second) == 0) {
                anonymous += first;
                shared += second;
            } else if (process && !exact &&
                       host_process_memory(process, &first, &second, &third) == 0) {
                resident += first;
            }
            if (process) {
                tables += exact ? 0 : host_process_page_tables(process);
                host_process_put(process);
            }
        }
    } while (!exact && resident + files + tables > limit);
    for (size_t i = 0; tasks && tasks[i]; i++) {
        task_put(tasks[i]);
    }
    free(tasks);
    return tables + (exact ? anonymous + MAX(shared, files) : resident + files);
}

static void memory_look(void *arg, uint32_t events) {
    uint64_t limit = control.options->memory_bytes, used = guests_memory(limit);
    int64_t wait;

    if (used > limit) {
        if (!control.over_memory) {
            control.over_memory = true;
            (void)control_send(control.launch->control_fd, CONTROL_MEMORY, 0);
        }
        kernel_kill_all(control.kernel);
        wait = LOOK_MIN_NS; /* again, until none is left */
    } else {
        wait = (int64_t)(limit - used) / TOUCH_RATE_PER_MS * 1000000;
        wait = MIN(MAX(wait, LOOK_MIN_NS), LOOK_MAX_NS);
    }
    if (poller_timer_set(&control.memory_timer, host_clock_monotonic() + wait) < 0) {
        panic("no timer for --memory");
    }
}

int kernel_control_start(const struct run_options *options, const struct launch *launch,
                         struct kernel *kernel, struct thread_group *init, bool has_terminal) {
    int error;

    control.options = options;
    control.launch = launch;
    control.kernel = kernel;
    control.init = init;
    control.has_terminal = has_terminal;
    control.watch = (struct poller_watch){
        .fd = launch->control_fd, .fn = control_readable, .events = EPOLLIN | EPOLLRDHUP};
    error = poller_add(&control.watch);
    kernel->init_stopped = init_stopped;
    kernel->init_can_be_continued = launch->job;
    if (!error && launch->terminal) {
        control.keys_watch.fn = keys_readable;
        control.keys_watch.events = EPOLLIN;
        error = poller_add(&control.keys_watch);
    }
    if (!error && options->memory_bytes) {
        control.memory_timer.fn = memory_look;
        error = poller_timer_set(&control.memory_timer, host_clock_monotonic() + LOOK_MIN_NS);
    }
    return error;
}
