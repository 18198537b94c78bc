/*
 * New host threads and processes, made by a stub on the kernel's order, and how the kernel learns
 * for certain who they are.
 *
 * Every clone is announced to the notifier (host_job.c) before the stub is told, with its exact
 * flags; the filter lets no other through. A new process writes one byte to its control socket with
 * its first report; the host puts its pid beside it, which no guest can forge. A new thread's tid
 * comes from its parent's stub and is believed only if it is a thread of that very process.
 */
#include "host/host_internal.h"

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The pid of whoever wrote the next byte to the control socket; -ESRCH when nobody is left to write
 * one. */
static pid_t receive_sender(const struct host_aspace *aspace) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    char byte;
    struct iovec vec = {&byte, 1};
    struct msghdr message = {.msg_iov = &vec,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct ucred creds;
    ssize_t size;

    do {
        size = recvmsg(aspace->control_fd, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size <= 0 || message.msg_controllen < sizeof(control.header) ||
        control.header.cmsg_type != SCM_CREDENTIALS) {
        return -ESRCH;
    }
    memcpy(&creds, CMSG_DATA(&control.header), sizeof(creds));
    return creds.pid > 0 ? creds.pid : -ESRCH;
}

static int identify_process(struct host_thread *thread) {
    pid_t pid = receive_sender(thread->aspace);

    if (pid < 0 || host_job_pid_in_use(thread->process->job, pid)) {
        return -ESRCH;
    }
    atomic_store(&thread->tid, pid);
    return host_process_bind(thread->process, pid);
}

int host_thread_ensure_started(struct host_thread *thread) {
    _Atomic uint32_t *turn;
    int result = 0;

    if (atomic_load_explicit(&thread->started, memory_order_acquire)) {
        return 0;
    }
    if (thread->mock) {
        return -ESRCH;
    }
    turn = (_Atomic uint32_t *)&thread->slot->turn;
    pthread_mutex_lock(&thread->start_mutex);
    if (!atomic_load(&thread->started)) {
        if (atomic_load(&thread->tid) == 0) {
            result = identify_process(thread);
        }
        if (result == 0) {
            turn_await_first(thread);
        }
        if (result == 0 && atomic_load(turn) != SLOT_KERNEL) {
            result = -ESRCH;
        }
        if (result == 0) {
            atomic_store(&thread->started, true);
            if (atomic_load(&thread->kick_wanted)) {
                host_thread_send_kick(thread); /* it came too early: see host_thread_kick() */
            }
        } else {
            atomic_store(&thread->dead, true);
        }
    }
    pthread_mutex_unlock(&thread->start_mutex);
    return result;
}

/* Orders the clone and reads what came of it: a tid or -errno. */
static int64_t order_clone(struct host_thread *parent, enum slot_command command, uint64_t flags,
                           uint32_t slot, bool set_tls, uint64_t tls) {
    int kind;

    parent->slot->clone_flags = flags | (set_tls ? CLONE_SETTLS : 0);
    parent->slot->clone_slot = slot;
    parent->slot->clone_tls = tls;
    parent->slot->clone_result = -EIO;
    parent->clone_flags = flags | (set_tls ? CLONE_SETTLS : 0);
    atomic_store(&parent->clone_expected, 1);
    kind = host_thread_hand_over(parent, command);
    atomic_store(&parent->clone_expected, 0);
    if (kind < 0) {
        return kind;
    }
    return (int64_t)__atomic_load_n(&parent->slot->clone_result, __ATOMIC_RELAXED);
}

/* The child starts with its parent's registers; its host frame lies where the parent's does, in its
 * own stack. */
static void inherit_state(struct host_thread *child, const struct host_thread *parent) {
    child->regs = parent->regs;
    child->regs_changed = true;
    if (parent->fpstate) {
        child->fpstate =
            parent->fpstate + ((uint64_t)child->index - parent->index) * STUB_STACK_SIZE;
        child->fpstate_size = parent->fpstate_size;
    }
}

/* The host has made it with its parent's core. Read afterwards: who was unpinned meanwhile may have
 * been so before. */
static void inherit_core(struct host_thread *child, const struct host_thread *parent) {
    atomic_store(&child->pinned_to, atomic_load(&parent->pinned_to));
    pairing_assign(child, parent);
}

static void expect_start(struct host_thread *child, bool announce) {
    child->slot->announce = announce;
    __atomic_store_n(&child->slot->turn, SLOT_GUEST, __ATOMIC_RELEASE);
}

static bool tid_in_use(struct host_process *process, pid_t tid) {
    struct host_thread *thread;
    LOCK_GUARD(&process->lock);

    list_for_each_entry (thread, &process->threads, process_link) {
        if (atomic_load(&thread->tid) == tid && !atomic_load(&thread->dead)) {
            return true;
        }
    }
    return false;
}

int host_thread_clone(struct host_thread *parent, bool set_tls, uint64_t tls,
                      struct host_thread **child) {
    uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                     CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
    struct host_thread *thread CLEANUP(host_thread_put) = NULL;
    uint32_t index;
    int64_t tid;
    int result;

    if (parent->mock) {
        thread = host_thread_new_mock(parent->process);
        if (IS_ERR(thread)) {
            return (int)PTR_ERR(STEAL(thread));
        }
        *child = STEAL(thread);
        return 0;
    }
    result = host_aspace_slot_allocate(parent->aspace, &index);
    if (result) {
        return result;
    }
    thread = host_thread_new(parent->process, parent->aspace, index, false);
    if (IS_ERR(thread)) {
        host_aspace_slot_free(parent->aspace, index);
        return (int)PTR_ERR(STEAL(thread));
    }
    inherit_state(thread, parent);
    expect_start(thread, false);
    tid = order_clone(parent, SLOT_CLONE_THREAD, flags, index, set_tls, tls);
    if (tid < 0 || tid > INT32_MAX) {
        __atomic_store_n(&thread->slot->turn, SLOT_DEAD, __ATOMIC_RELEASE);
        return tid < 0 && tid >= -MAX_ERRNO ? (int)tid : -ESRCH;
    }
    if (tid_in_use(parent->process, (pid_t)tid) ||
        syscall(SYS_tgkill, parent->process->pid, (pid_t)tid, 0) < 0) {
        return -ESRCH;
    }
    atomic_store(&thread->tid, (pid_t)tid);
    inherit_core(thread, parent);
    *child = STEAL(thread);
    return 0;
}

/* CLONE_VM without CLONE_THREAD: another host process on the same memory, slots and socket. */
static int clone_sharing(struct host_thread *parent, struct host_process *process, bool set_tls,
                         uint64_t tls, struct host_aspace **aspace_out,
                         struct host_thread **child) {
    uint64_t flags = CLONE_VM | CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD;
    struct host_thread *thread CLEANUP(host_thread_put) = NULL;
    uint32_t index;
    int64_t pid;
    int result = host_aspace_slot_allocate(parent->aspace, &index);

    if (result) {
        return result;
    }
    thread = host_thread_new(process, parent->aspace, index, true);
    if (IS_ERR(thread)) {
        host_aspace_slot_free(parent->aspace, index);
        return (int)PTR_ERR(STEAL(thread));
    }
    inherit_state(thread, parent);
    expect_start(thread, true);
    pid = order_clone(parent, SLOT_CLONE_PROCESS, flags, index, set_tls, tls);
    if (pid < 0) {
        __atomic_store_n(&thread->slot->turn, SLOT_DEAD, __ATOMIC_RELEASE);
        return pid >= -MAX_ERRNO ? (int)pid : -ESRCH;
    }
    /* The socket is shared: hear this child out before another one is made. */
    result = host_thread_ensure_started(thread);
    if (result) {
        return result;
    }
    inherit_core(thread, parent);
    *aspace_out = host_aspace_get(parent->aspace);
    *child = STEAL(thread);
    return 0;
}

static int clone_copying(struct host_thread *parent, struct host_process *process, bool set_tls,
                         uint64_t tls, struct host_aspace **aspace_out,
                         struct host_thread **child) {
    struct host_thread *thread CLEANUP(host_thread_put) = NULL;
    struct host_aspace *aspace CLEANUP(host_aspace_put) = NULL;
    int guest_socket = -1;
    int64_t pid;
    int result;

    aspace = spares_take_aspace(process->job, parent == process->job->zygote, &guest_socket);
    if (IS_ERR(aspace)) {
        return (int)PTR_ERR(STEAL(aspace));
    }
    result = host_aspace_slot_claim(aspace, parent->index);
    if (result == 0) {
        thread = host_thread_new(process, aspace, parent->index, true);
        if (IS_ERR(thread)) {
            result = (int)PTR_ERR(STEAL(thread));
        }
    }
    if (result == 0) {
        inherit_state(thread, parent);
        expect_start(thread, false);
        const int fds[] = {aspace->context_fd, aspace->public_fd, guest_socket};

        result = host_thread_send_fds(parent, fds, ARRAY_SIZE(fds));
    }
    close(guest_socket);
    if (result) {
        return result;
    }
    pid = order_clone(parent, SLOT_CLONE_PROCESS, CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD,
                      parent->index, set_tls, tls);
    if (pid < 0) {
        return pid >= -MAX_ERRNO ? (int)pid : -ESRCH;
    }
    inherit_core(thread, parent);
    *aspace_out = STEAL(aspace);
    *child = STEAL(thread);
    return 0;
}

int host_process_clone(struct host_thread *parent, bool share_memory, bool set_tls, uint64_t tls,
                       struct host_process **process, struct host_aspace **aspace,
                       struct host_thread **child) {
    struct host_process *made CLEANUP(host_process_put) = NULL;
    int result;

    made = parent->mock ? host_process_new_mock(parent->process->job)
                        : host_process_new(parent->process->job);
    if (IS_ERR(made)) {
        return (int)PTR_ERR(STEAL(made));
    }
    if (parent->mock) {
        struct host_thread *mock = host_thread_new_mock(made);

        result = IS_ERR(mock) ? (int)PTR_ERR(mock) : 0;
        if (result == 0) {
            *child = mock;
            *aspace = host_aspace_get(mock->aspace);
        }
    } else {
        result = host_process_reserve_fd(made);
        if (result == 0) {
            result = share_memory ? clone_sharing(parent, made, set_tls, tls, aspace, child)
                                  : clone_copying(parent, made, set_tls, tls, aspace, child);
        }
    }
    if (result == -EMFILE || result == -ENFILE) {
        result = -EAGAIN; /* fork(2) knows no other limit */
    }
    if (result == 0) {
        *process = STEAL(made);
    }
    return result;
}

int host_process_make(struct host_job *job, struct host_process **process,
                      struct host_aspace **aspace, struct host_thread **thread) {
    int result;

    pthread_mutex_lock(&job->zygote_mutex);
    result = host_job_notifier_start_locked(job);
    if (result == 0) {
        result = host_process_clone(job->zygote, false, false, 0, process, aspace, thread);
    }
    pthread_mutex_unlock(&job->zygote_mutex);
    if (result == 0) {
        memset(&(*thread)->regs, 0, sizeof((*thread)->regs));
    }
    return result;
}

int host_process_create(struct host_job *job, const struct host_thread *near,
                        struct host_process **process, struct host_aspace **aspace,
                        struct host_thread **thread) {
    int result;

    if (job->mock) {
        *process = host_process_new_mock(job);
        if (IS_ERR(*process)) {
            return (int)PTR_ERR(*process);
        }
        *thread = host_thread_new_mock(*process);
        if (IS_ERR(*thread)) {
            host_process_put(*process);
            return (int)PTR_ERR(*thread);
        }
        *aspace = host_aspace_get((*thread)->aspace);
        return 0;
    }
    result = 0;
    if (!near || !spares_take_process(job, process, aspace, thread)) {
        result = host_process_make(job, process, aspace, thread);
    }
    if (result == 0 && near) {
        pairing_assign(*thread, near);
    }
    return result;
}
