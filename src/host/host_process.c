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
    process->pidfd = process->reserved_fd = -1;
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

static void free_reserved(struct host_process *process) {
    if (process->reserved_fd >= 0) {
        close(process->reserved_fd);
        process->reserved_fd = -1;
    }
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
    free_reserved(process);
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

int host_process_reserve_fd(struct host_process *process) {
    process->reserved_fd = host_dup(process->job->notify_fd);
    return process->reserved_fd < 0 ? process->reserved_fd : 0;
}

int host_process_bind(struct host_process *process, pid_t pid) {
    int pidfd, result;

    free_reserved(process);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
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
