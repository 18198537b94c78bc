/*
 * The kernel process's end of the control socket, and the watch over --memory. All of it runs in
 * the event thread. Owns the watch and the timer; they live as long as the process.
 *
 * --memory: the sum of what the guests' host processes, their files in memory and the kernel
 * process itself hold. Looked at by a timer whose next run depends on how far the limit is: guests
 * cannot touch pages faster than TOUCH_RATE_PER_MS on each core. Without --memory there is no
 * timer, and an idle sandbox stays idle.
 */
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/kernel_internal.h"
#include "host/host_buffer.h"

/* Bytes that one core can fault in per ms, generously (huge pages). */
#define TOUCH_RATE_PER_MS (8ull << 20)
#define LOOK_MIN_NS       2000000ll
#define LOOK_MAX_NS       250000000ll

static struct {
    const struct run_options *options;
    const struct launch *launch;
    struct kernel *kernel;
    struct thread_group *init;
    bool has_terminal;
    bool over_memory;
    uint64_t touch_rate_per_ms; /* of all cores, bytes */
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

/* Adds what the guests' processes hold, by one of the two ways of measuring. */
static int guests_memory(struct task **leaders,
                         int (*measure)(struct host_process *, struct memory_held *),
                         struct memory_held *sum) {
    *sum = (struct memory_held){0};
    for (size_t i = 0; leaders[i]; i++) {
        struct host_process *process CLEANUP(host_process_put) =
            thread_group_process(leaders[i]->thread_group);
        struct memory_held held;
        int error = process ? measure(process, &held) : -ESRCH;

        if (error == -ESRCH || error == -ENOENT) {
            continue; /* one that has ended, or is just ending, holds nothing */
        }
        if (error) {
            return error;
        }
        sum->private += held.private;
        sum->shared += held.shared;
        sum->tables += held.tables;
    }
    return 0;
}

/*
 * What the sandbox holds, in bytes. First the cheap sum, which counts a page once for each process
 * that shares it; only when that is above the limit the exact one. Files in a tmpfs and shared
 * memory that are mapped are in the exact sum's `files` and in its `shared`, so the larger stands
 * for both; `files` has the pipes too. What the kernel process keeps for guests (inodes, names,
 * attributes, small files, messages) is in its own memory.
 */
static int sandbox_memory(uint64_t limit, uint64_t *used) {
    struct task **leaders = kernel_tasks(control.kernel, true);
    struct memory_held guests;
    uint64_t files, own;
    int error;

    if (!leaders) {
        return -ENOMEM;
    }
    error = host_own_memory(&own);
    if (!error) {
        error = host_buffers_held(&files);
    }
    if (!error) {
        error = guests_memory(leaders, host_process_memory_held, &guests);
        *used = own + guests.private + guests.tables + guests.shared + files;
    }
    if (!error && *used > limit) {
        error = guests_memory(leaders, host_process_memory_share, &guests);
        *used = own + guests.private + guests.tables + MAX(guests.shared, files);
    }
    for (size_t i = 0; leaders[i]; i++) {
        task_put(leaders[i]);
    }
    free(leaders);
    return error;
}

static void memory_look(void *arg, uint32_t events) {
    uint64_t limit = control.options->memory_bytes, used = 0;
    int error = sandbox_memory(limit, &used);
    int64_t wait = LOOK_MIN_NS; /* while it is ended: again, until no guest is left */

    /* A guest that takes all descriptors must not hide behind them. */
    if (error || used > limit) {
        if (!control.over_memory) {
            control.over_memory = true;
            (void)control_send(control.launch->control_fd, CONTROL_MEMORY, -error);
        }
        kernel_kill_all(control.kernel);
    } else {
        wait = (int64_t)((limit - used) / control.touch_rate_per_ms) * 1000000;
        wait = MIN(MAX(wait, LOOK_MIN_NS), LOOK_MAX_NS);
    }
    if (poller_timer_set(&control.memory_timer, host_clock_monotonic() + wait) < 0) {
        panic("no timer for --memory");
    }
}

static int memory_watch_start(void) {
    uint64_t cpus[HOST_CPU_WORDS];
    unsigned count = 0;

    (void)host_cpu_mask(cpus);
    for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
        count += (unsigned)__builtin_popcountll(cpus[i]);
    }
    control.touch_rate_per_ms = count * TOUCH_RATE_PER_MS;
    control.memory_timer.fn = memory_look;
    return poller_timer_set(&control.memory_timer, host_clock_monotonic() + LOOK_MIN_NS);
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
        error = memory_watch_start();
    }
    return error;
}
