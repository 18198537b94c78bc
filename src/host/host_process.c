/*
 * host_process: the host process of one thread group. It is made unbound, is bound to a host pid
 * once that is known for certain (the credentials on its control socket, host_clone.c), and is
 * killed with its last reference. Its end, however it came, is seen by the event thread through the
 * pidfd: threads that wait for it are woken as dead, then on_exit runs.
 */
#include "host/pairing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

struct host_process *host_process_new(struct host_job *job) {
    struct host_process *process = calloc(1, sizeof(*process));

    if (!process) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&process->ref);
    host_job_get(job);
    process->job = job;
    process->pidfd = -1;
    lock_init(&process->lock, LOCK_HOST_PROCESS);
    list_init(&process->threads);
    list_init(&process->job_link);
    {
        LOCK_GUARD(&job->lock);
        list_add(&process->job_link, &job->processes);
    }
    return process;
}

struct host_process *host_process_new_mock(struct host_job *job) {
    struct host_process *process = host_process_new(job);

    if (!IS_ERR(process)) {
        process->mock = true;
    }
    return process;
}

struct host_process *host_process_get(struct host_process *process) {
    ref_get(&process->ref);
    return process;
}

void host_process_put(struct host_process *process) {
    struct host_job *job = process->job;

    if (!ref_put(&process->ref)) {
        return;
    }
    poller_timer_cancel(&process->deadline);
    poller_remove(&process->watch); /* waits for process_exited(), if that runs just now */
    if (process->pidfd >= 0) {
        if (!process->exited) {
            syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
        }
        close(process->pidfd);
    }
    {
        LOCK_GUARD(&job->lock);
        list_del(&process->job_link);
    }
    host_donation_end(process);
    lock_destroy(&process->lock);
    free(process);
    host_job_put(job);
}

/* The caller holds the lock, and calls what it gets without it. */
static void take_on_exit(struct host_process *process, void (**fn)(void *), void **arg) {
    *fn = process->exited ? STEAL(process->on_exit) : NULL;
    *arg = process->on_exit_arg;
}

int host_process_kill(struct host_process *process) {
    void (*on_exit)(void *) = NULL;
    void *on_exit_arg = NULL;
    int result = 0;

    lock_acquire(&process->lock);
    if (!process->killed) {
        process->killed = true;
        atomic_fetch_add(&process->kill_count, 1);
        if (!process->exited) {
            _Atomic int place = -1;

            aside_send(process->pid, &place);
        }
        if (process->pidfd >= 0 &&
            syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0) < 0 &&
            errno != ESRCH) {
            result = -errno;
        }
        /* A mock has no event thread to see its end. */
        process->exited = process->exited || process->mock;
        take_on_exit(process, &on_exit, &on_exit_arg);
    }
    lock_release(&process->lock);
    if (on_exit) {
        on_exit(on_exit_arg);
    }
    return result;
}

/* Event thread. */
static void deadline_passed(void *arg, uint32_t events) {
    struct host_process *process = arg;

    (void)!host_process_kill(process);
}

void host_process_kill_by(struct host_process *process, deadline_ns deadline) {
    if (process->mock) {
        return;
    }
    {
        LOCK_GUARD(&process->lock);

        if (process->killed || process->exited || process->deadline_set) {
            return;
        }
        process->deadline_set = true;
        process->deadline.fn = deadline_passed;
        process->deadline.arg = process;
    }
    if (poller_timer_set(&process->deadline, deadline)) {
        (void)!host_process_kill(process); /* better too early than never */
    }
}

int host_process_kill_count(const struct host_process *process) {
    return atomic_load(&process->kill_count);
}

void host_process_on_exit(struct host_process *process, void (*fn)(void *arg), void *arg) {
    lock_acquire(&process->lock);
    process->on_exit = fn;
    process->on_exit_arg = arg;
    take_on_exit(process, &fn, &arg); /* it may have ended already */
    lock_release(&process->lock);
    if (fn) {
        fn(arg);
    }
}

/* Event thread. */
static void process_exited(void *arg, uint32_t events) {
    struct host_process *process = arg;
    void (*on_exit)(void *) = NULL;
    void *on_exit_arg = NULL;
    struct host_thread *thread;

    lock_acquire(&process->lock);
    process->exited = true;
    list_for_each_entry (thread, &process->threads, process_link) {
        turn_mark_dead(thread);
    }
    take_on_exit(process, &on_exit, &on_exit_arg);
    lock_release(&process->lock);
    if (on_exit) {
        on_exit(on_exit_arg);
    }
}

int host_process_bind(struct host_process *process, pid_t pid) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int result;

    if (pidfd < 0) {
        return -errno;
    }
    lock_acquire(&process->lock);
    process->pid = pid;
    process->pidfd = pidfd;
    process->bound = true;
    if (process->killed) {
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
    process->watch = (struct poller_watch){
        .fd = pidfd, .fn = process_exited, .arg = process, .events = EPOLLIN | EPOLLONESHOT};
    lock_release(&process->lock);
    result = poller_add(&process->watch);
    return result;
}

pid_t host_process_pid(const struct host_process *process) {
    return process->pid;
}

/* What there is of a small file of /proc, NUL-terminated; -ESRCH when its process has gone. */
static int read_text(const char *path, char *text, size_t size) {
    int fd = host_proc_open(path, O_RDONLY);
    ssize_t got;

    if (fd < 0) {
        return fd;
    }
    got = host_read(fd, text, size - 1);
    close(fd);
    if (got <= 0) {
        return -ESRCH;
    }
    text[got] = '\0';
    return 0;
}

/* One numbered field (from 1) and those behind it of /proc/PID/stat, past the name, which may hold
 * anything. */
static int read_stat(const char *path, unsigned long long *fields, int count) {
    char text[1024], *at;
    int result = read_text(path, text, sizeof(text));

    if (result) {
        return result;
    }
    at = strrchr(text, ')');
    if (!at) {
        return -ESRCH;
    }
    at += 2; /* field 3, the state, is a letter */
    for (int i = 0; i < count; i++) {
        at = strchr(at, ' ');
        if (!at) {
            return -ESRCH;
        }
        fields[i] = strtoull(++at, NULL, 10); /* field 4 + i */
    }
    return 0;
}

/* The clock of another process's CPU time (include/linux/posix-timers_types.h): all of it or only
 * that in user mode, counted in ticks; or all of it, exactly. */
#define PROCESS_CLOCK(pid, kind) ((clockid_t)((~(unsigned)(pid) << 3) | (kind)))
#define CLOCK_KIND_PROF          0
#define CLOCK_KIND_VIRT          1
#define CLOCK_KIND_SCHED         2

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;

    if (clock_gettime(clock, &now) < 0) {
        return 0; /* it has gone */
    }
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Ticks go to whoever runs when one comes: beside the exact total only their proportion is of use,
 * and it changes, while neither part may ever shrink. */
static void cpu_times_update(struct cpu_times *times, int64_t total, int64_t user_ticks,
                             int64_t system_ticks) {
    int64_t ticks = user_ticks + system_ticks, user = total;

    if (total <= times->user + times->system) {
        return;
    }
    if (ticks > 0) {
        user = (int64_t)((double)total * (double)user_ticks / (double)ticks);
    }
    user = MIN(MAX(user, times->user), total - times->system);
    *times = (struct cpu_times){.user = user, .system = total - user};
}

int host_process_cpu_time(struct host_process *process, int64_t *user, int64_t *system) {
    int64_t total, user_ticks, all_ticks;

    *user = *system = 0;
    if (process->mock || process->pid == 0) {
        return 0;
    }
    user_ticks = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_VIRT));
    all_ticks = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_PROF));
    total = clock_ns(PROCESS_CLOCK(process->pid, CLOCK_KIND_SCHED));
    lock_acquire(&process->lock);
    cpu_times_update(&process->cpu_times, total, user_ticks, MAX(all_ticks - user_ticks, 0));
    *user = process->cpu_times.user;
    *system = process->cpu_times.system;
    lock_release(&process->lock);
    return 0;
}

int host_thread_cpu_time(struct host_thread *thread, int64_t *user, int64_t *system) {
    unsigned long long fields[12];
    int64_t tick_ns = 1000000000 / sysconf(_SC_CLK_TCK), total, user_ticks, system_ticks;
    char path[64], text[128];
    int result;

    *user = *system = 0;
    if (thread->mock || thread->tid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/task/%d/stat", thread->process->pid,
             atomic_load(&thread->tid));
    result = read_stat(path, fields, 12);
    if (result) {
        return result;
    }
    user_ticks = (int64_t)fields[14 - 4] * tick_ns;
    system_ticks = (int64_t)fields[15 - 4] * tick_ns;
    /* Those count whole ticks, by sampling; the sum is known exactly where the host keeps it
     * (CONFIG_SCHED_INFO). */
    snprintf(path, sizeof(path), "%d/task/%d/schedstat", thread->process->pid,
             atomic_load(&thread->tid));
    total = read_text(path, text, sizeof(text)) ? user_ticks + system_ticks
                                                : (int64_t)strtoull(text, NULL, 10);
    lock_acquire(&thread->process->lock);
    cpu_times_update(&thread->cpu_times, total, user_ticks, system_ticks);
    *user = thread->cpu_times.user;
    *system = thread->cpu_times.system;
    lock_release(&thread->process->lock);
    return 0;
}

/* "Pss_Anon:      96 kB" of proc_pid_smaps_rollup, "VmPTE:" of proc_pid_status; in bytes. */
static uint64_t size_field(const char *text, const char *field) {
    const char *found = strstr(text, field);

    return found ? strtoull(found + strlen(field), NULL, 10) * 1024 : 0;
}

int host_process_memory_share(struct host_process *process, uint64_t *anonymous, uint64_t *shared) {
    char path[64], text[2048];
    ssize_t size;
    int fd;

    *anonymous = *shared = 0;
    if (process->mock || process->pid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/smaps_rollup", process->pid);
    fd = host_proc_open(path, O_RDONLY);
    if (fd < 0) {
        return fd;
    }
    size = host_read(fd, text, sizeof(text) - 1);
    close(fd);
    if (size <= 0) {
        return -ESRCH;
    }
    text[size] = '\0';
    *anonymous = size_field(text, "Pss_Anon:");
    *shared = size_field(text, "Pss_Shmem:");
    return 0;
}

int host_process_memory(struct host_process *process, uint64_t *resident, uint64_t *minor_faults,
                        uint64_t *major_faults) {
    unsigned long long fields[21];
    char path[64];
    int result;

    *resident = *minor_faults = *major_faults = 0;
    if (process->mock || process->pid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/stat", process->pid);
    result = read_stat(path, fields, 21);
    if (result == 0) {
        *minor_faults = fields[10 - 4];
        *major_faults = fields[12 - 4];
        *resident = fields[24 - 4] * PAGE_SIZE;
    }
    return result;
}

uint64_t host_process_page_tables(struct host_process *process) {
    char path[64], text[4096];

    if (process->mock || process->pid == 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "%d/status", process->pid);
    return read_text(path, text, sizeof(text)) ? 0 : size_field(text, "VmPTE:");
}
