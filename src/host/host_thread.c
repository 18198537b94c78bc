/*
 * host_thread: the host thread of one task, and the hand-over between it and the task's kernel
 * thread. All but kick, put and the death mark is for the own kernel thread.
 *
 * What a slot holds is hostile. Each field that the kernel uses is fetched once, after the turn has
 * come to the kernel, into the host_thread; the guest may go on writing there, it changes nothing.
 */
#include "host/host_internal.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(struct slot_regs) == sizeof(struct user_regs),
               "slot.h and uapi.h must agree");
_Static_assert(sizeof(struct slot) <= STUB_SLOT_STRIDE, "a slot must fit its stride");

/* Larger than any extended state that Linux makes (AMX: 11 KiB). */
#define FPSTATE_MAX 16384

struct host_thread *host_thread_new(struct host_process *process, struct host_aspace *aspace,
                                    uint32_t index, bool leader) {
    struct host_thread *thread = calloc(1, sizeof(*thread));

    if (!thread) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&thread->ref);
    thread->process = host_process_get(process);
    thread->aspace = host_aspace_get(aspace);
    thread->index = index;
    thread->leader = leader;
    thread->kernel_cpu = -1;
    atomic_store(&thread->pinned_to, -1);
    atomic_store(&thread->cpu, -1);
    atomic_store(&thread->move_to, -1);
    thread->slot = aspace->mock ? NULL : host_aspace_slot(aspace, index);
    if (thread->slot) {
        host_aspace_public(aspace, index)->table = 0; /* of the slot's thread before */
        thread->slot->direct = thread->slot->close_count = 0;
        thread->slot->signal_mask = 0;
        memset(&thread->slot->told, 0, sizeof(thread->slot->told));
        host_aspace_public(aspace, index)->pending = 0;
        memset(thread->slot->direct_io, 0, sizeof(thread->slot->direct_io));
    }
    pthread_mutex_init(&thread->start_mutex, NULL);
    list_init(&thread->process_link);
    LOCK_GUARD(&process->lock);
    list_add_tail(&thread->process_link, &process->threads);
    return thread;
}

struct host_thread *host_thread_new_mock(struct host_process *process) {
    struct host_aspace *aspace CLEANUP(host_aspace_put) = NULL;
    struct host_thread *thread;

    aspace = host_aspace_new_mock();
    if (IS_ERR(aspace)) {
        return (struct host_thread *)STEAL(aspace);
    }
    thread = host_thread_new(process, aspace, 0, true);
    if (!IS_ERR(thread)) {
        thread->mock = true;
        thread->started = true;
    }
    return thread;
}

struct host_thread *host_thread_get(struct host_thread *thread) {
    ref_get(&thread->ref);
    return thread;
}

static uint64_t fetch64(const uint64_t *field) {
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static uint32_t fetch32(const uint32_t *field) {
    return __atomic_load_n(field, __ATOMIC_RELAXED);
}

static void count_calls(struct host_thread *thread) {
    struct host_call_counts *counts = thread->process->job->call_counts;

    for (size_t i = 0; counts && i < SLOT_ANSWERED; i++) {
        uint32_t *failed = &thread->slot->failed[i];

        atomic_fetch_add(&counts[i].failed, fetch32(failed));
        __atomic_store_n(failed, 0, __ATOMIC_RELAXED);
        for (size_t path = 0; path < 2; path++) {
            uint64_t *from = &thread->slot->answered[i][path];
            uint64_t count = fetch64(from);

            if (count) { /* the slot's next thread begins with 0 */
                __atomic_store_n(from, 0, __ATOMIC_RELAXED);
                atomic_fetch_add(path ? &counts[i].patched : &counts[i].trapped, count);
            }
        }
    }
}

void host_thread_put(struct host_thread *thread) {
    struct host_process *process = thread->process;

    if (!ref_put(&thread->ref)) {
        return;
    }
    lock_acquire(&process->lock);
    list_del(&thread->process_link);
    lock_release(&process->lock);
    if (!thread->mock) {
        count_calls(thread);
        host_aspace_slot_free(thread->aspace, thread->index);
    }
    pthread_mutex_destroy(&thread->start_mutex);
    host_aspace_put(thread->aspace);
    host_process_put(process);
    free(thread);
}

struct user_regs *host_thread_regs(struct host_thread *thread) {
    return &thread->regs;
}

void host_thread_regs_changed(struct host_thread *thread) {
    thread->regs_changed = true;
}

void host_thread_publish(struct host_thread *thread, const struct slot_ids *ids) {
    const uint32_t *from = (const uint32_t *)ids;
    struct slot_public *public;

    if (thread->mock) {
        return;
    }
    public = host_aspace_public(thread->aspace, thread->index);
    for (size_t i = 0; i < sizeof(*ids) / sizeof(*from); i++) {
        __atomic_store_n((uint32_t *)&public->ids + i, from[i], __ATOMIC_RELAXED);
    }
    __atomic_store_n(&public->flags, thread->process->job->public_flags, __ATOMIC_RELEASE);
}

static uint64_t *mask_word(const struct host_thread *thread) {
    return thread->mock ? (uint64_t *)&thread->mock_mask : &thread->slot->signal_mask;
}

uint64_t host_thread_signal_mask(const struct host_thread *thread) {
    return __atomic_load_n(mask_word(thread), __ATOMIC_SEQ_CST);
}

void host_thread_set_signal_mask(struct host_thread *thread, uint64_t mask) {
    __atomic_store_n(mask_word(thread), mask, __ATOMIC_SEQ_CST);
}

void host_thread_may_pend(struct host_thread *thread, uint64_t signals) {
    if (!thread->mock) {
        __atomic_fetch_or(&host_aspace_public(thread->aspace, thread->index)->pending, signals,
                          __ATOMIC_SEQ_CST);
    }
}

void host_thread_set_pending(struct host_thread *thread, uint64_t signals) {
    if (!thread->mock) {
        __atomic_store_n(&host_aspace_public(thread->aspace, thread->index)->pending, signals,
                         __ATOMIC_SEQ_CST);
    }
}

struct slot_told host_thread_told(const struct host_thread *thread) {
    const struct slot_told *from = thread->mock ? &thread->mock_told : &thread->slot->told;

    return (struct slot_told){
        .robust_list = fetch64(&from->robust_list),
        .clear_child_tid = fetch64(&from->clear_child_tid),
        .rseq_address = fetch64(&from->rseq_address),
        .rseq_size = fetch32(&from->rseq_size),
        .rseq_signature = fetch32(&from->rseq_signature),
    };
}

void host_thread_set_told(struct host_thread *thread, const struct slot_told *told) {
    *(thread->mock ? &thread->mock_told : &thread->slot->told) = *told;
}

pid_t host_thread_tid(const struct host_thread *thread) {
    return atomic_load(&thread->tid);
}

struct host_process *host_thread_process(const struct host_thread *thread) {
    return thread->process;
}

struct host_aspace *host_thread_aspace(const struct host_thread *thread) {
    return thread->aspace;
}

static void fetch_fpstate(struct host_thread *thread) {
    thread->fpstate = fetch64(&thread->slot->fpstate);
    thread->fpstate_size = MIN(fetch64(&thread->slot->fpstate_size), (uint64_t)FPSTATE_MAX);
}

static void fetch_regs(struct host_thread *thread) {
    const uint64_t *from = thread->slot->regs.gregs;
    uint64_t *to = (uint64_t *)&thread->regs;

    for (size_t i = 0; i < sizeof(struct user_regs) / sizeof(uint64_t); i++) {
        to[i] = fetch64(&from[i]);
    }
    fetch_fpstate(thread);
}

int host_thread_hand_over(struct host_thread *thread, enum slot_command command) {
    bool sleeps = command == SLOT_CALLS && thread->call_sleeps;
    int result;

    lock_assert_none_held();
    result = host_thread_ensure_started(thread);
    if (result) {
        return result;
    }
    pairing_enter(thread, sleeps);
    /* Before the turn is given: host_donation.c takes one that is not there for one that will look
     * at its table again. */
    atomic_store_explicit(&thread->in_user, !sleeps, memory_order_relaxed);
    thread->slot->command = command;
    result = turn_give(thread);
    host_close_queued(!thread->mock);
    if (result == 0 && command != SLOT_EXIT_THREAD) {
        result = turn_await(thread);
    }
    if (unlikely(fetch32(&thread->slot->direct))) {
        atomic_store(&thread->holds, true);
    }
    atomic_store_explicit(&thread->in_user, false, memory_order_release);
    pairing_leave(thread, sleeps);
    if (result || command == SLOT_EXIT_THREAD) {
        return result;
    }
    return (int)(fetch32(&thread->slot->event) & 0xff);
}

/* The first error of the deferred calls, which have been made as far as that. */
static int deferred_result(struct host_thread *thread) {
    uint32_t count = thread->deferred;
    uint32_t done = MIN(fetch32(&thread->slot->calls_done), count);

    thread->deferred = 0;
    for (uint32_t i = 0; i < done; i++) {
        int64_t result = (int64_t)fetch64((const uint64_t *)&thread->slot->results[i]);

        if (result < 0 && result >= -MAX_ERRNO) {
            return (int)result;
        }
    }
    return done == count ? 0 : -EIO;
}

int host_thread_resume(struct host_thread *thread, struct host_event *event) {
    int kind;

    if (thread->mock) {
        return -ESRCH;
    }
    kind = host_thread_ensure_started(thread);
    if (kind) {
        return kind;
    }
    if (thread->regs_changed || thread->fpstate_reset) {
        if (host_thread_answer_flush(thread)) {
            thread->regs.rax = (uint64_t)-EFAULT;
        }
        memcpy(&thread->slot->regs, &thread->regs, sizeof(thread->regs));
        thread->slot->fpstate_reset = thread->fpstate_reset;
        thread->regs_changed = thread->fpstate_reset = false;
        kind = host_thread_hand_over(thread, SLOT_RESUME_REGS);
    } else {
        thread->slot->regs.gregs[offsetof(struct user_regs, rax) / 8] = thread->regs.rax;
        thread->slot->answer_address = thread->answer_address;
        thread->slot->answer_size = thread->answer_size;
        thread->answer_size = 0;
        kind = host_thread_hand_over(thread,
                                     thread->deferred ? SLOT_CALLS_RESUME : SLOT_RESUME_RESULT);
    }
    if (thread->closing_count) {
        host_thread_closed(thread);
    }
    if (kind < 0) {
        return kind;
    }
    event->kind = (enum slot_event)kind;
    if (kind == SLOT_EVENT_CALLS && thread->deferred) {
        event->calls_result = deferred_result(thread);
        return 0; /* the guest has not run: its registers are as they were */
    }
    thread->deferred = 0;
    fetch_regs(thread);
    thread->brought_size = 0;
    if (kind == SLOT_EVENT_SYSCALL) {
        thread->brought_address = fetch64(&thread->slot->brought_address);
        thread->brought_size =
            MIN(fetch32(&thread->slot->brought_size), (uint32_t)SLOT_BOUNCE_SIZE);
    }
    thread->direct_done = kind == SLOT_EVENT_SYSCALL ? fetch64(&thread->slot->direct_done) : 0;
    if (thread->direct_done) {
        thread->slot->direct_done = 0;
    }
    if (kind == SLOT_EVENT_FAULT) {
        event->fault.signo = (int)fetch32((const uint32_t *)&thread->slot->fault.signo);
        event->fault.code = (int)fetch32((const uint32_t *)&thread->slot->fault.code);
        event->fault.address = fetch64(&thread->slot->fault.address);
        event->fault.trapno = fetch64(&thread->slot->fault.trapno);
        event->fault.error = fetch64(&thread->slot->fault.error);
    }
    return 0;
}

int host_thread_calls(struct host_thread *thread, const struct slot_call *calls, size_t count,
                      int64_t *results) {
    uint32_t done;
    int kind;

    if (count > SLOT_MAX_CALLS) {
        return -EINVAL;
    }
    if (thread->mock) {
        for (size_t i = 0; i < count; i++) {
            results[i] = calls[i].number == SYS_mmap ? (int64_t)calls[i].args[0] : 0;
        }
        return (int)count;
    }
    kind = host_thread_ensure_started(thread);
    if (kind) {
        return kind;
    }
    memcpy(thread->slot->calls, calls, count * sizeof(*calls));
    thread->call_sleeps = count > 0 && (calls[count - 1].flags & SLOT_CALL_BLOCKING);
    thread->slot->call_count = (uint32_t)count;
    kind = host_thread_hand_over(thread, SLOT_CALLS);
    if (kind < 0) {
        return kind;
    }
    if (kind != SLOT_EVENT_CALLS) {
        return -ESRCH; /* a stub that answers something else is no stub any more */
    }
    done = MIN(fetch32(&thread->slot->calls_done), (uint32_t)count);
    for (uint32_t i = 0; i < done; i++) {
        results[i] = (int64_t)fetch64((const uint64_t *)&thread->slot->results[i]);
    }
    return (int)done;
}

bool host_thread_calls_defer(struct host_thread *thread, const struct slot_call *calls,
                             size_t count) {
    if (count > SLOT_MAX_CALLS || (thread->mock && !thread->mock_defers)) {
        return false;
    }
    thread->deferred = (uint32_t)count;
    if (thread->mock) {
        return true;
    }
    memcpy(thread->slot->calls, calls, count * sizeof(*calls));
    thread->call_sleeps = false;
    thread->slot->call_count = (uint32_t)count;
    __atomic_store_n(&thread->slot->calls_finished, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&thread->slot->calls_report, 0, __ATOMIC_RELAXED);
    return true;
}

bool host_thread_calls_deferred(const struct host_thread *thread) {
    return thread->deferred > 0;
}

int host_thread_calls_flush(struct host_thread *thread) {
    int kind;

    if (thread->mock) {
        thread->deferred = 0;
        return 0;
    }
    kind = host_thread_hand_over(thread, SLOT_CALLS);
    if (kind != SLOT_EVENT_CALLS) {
        thread->deferred = 0;
        return -ESRCH;
    }
    return deferred_result(thread);
}

bool host_thread_calls_finished(const struct host_thread *thread) {
    if (thread->mock) {
        return thread->mock_finished;
    }
    __atomic_store_n(&thread->slot->calls_report, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&thread->slot->calls_finished, __ATOMIC_SEQ_CST) != 0;
}

void host_thread_mock_defers(struct host_thread *thread, bool finished) {
    thread->mock_defers = true;
    thread->mock_finished = finished;
}

int64_t host_thread_call(struct host_thread *thread, long number, uint64_t a0, uint64_t a1,
                         uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5) {
    struct slot_call call = {.number = (uint64_t)number, .args = {a0, a1, a2, a3, a4, a5}};
    int64_t result = 0;
    int done = host_thread_calls(thread, &call, 1, &result);

    return done == 1 ? result : -ESRCH;
}

int host_thread_send_fds(struct host_thread *thread, const int *fds, size_t count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(SLOT_MAX_FDS * sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec vec = {&byte, 1};
    struct msghdr message = {.msg_iov = &vec,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};

    if (count > SLOT_MAX_FDS) {
        return -EINVAL;
    }
    if (thread->mock) {
        return 0;
    }
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    while (sendmsg(thread->aspace->control_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

int host_thread_send_fd(struct host_thread *thread, int fd) {
    return host_thread_send_fds(thread, &fd, 1);
}

uint64_t host_thread_bounce(struct host_thread *thread, const void *data, size_t size) {
    if (thread->mock || size > SLOT_BOUNCE_SIZE) {
        return 0;
    }
    thread->brought_size = 0;
    memcpy(thread->slot->bounce, data, size);
    return thread->aspace->stub_base + STUB_SLOTS_OFFSET + thread->index * STUB_SLOT_STRIDE +
           offsetof(struct slot, bounce);
}

/*
 * A kick is not lost. The caller has set task->work before; the task's kernel thread looks at that
 * flag after every event, before it lets the guest run again. What if it looked just before? The
 * guest's thread is then
 *  - not started: the kick is kept in kick_wanted. It is set before `started` is looked at here,
 *    and looked at after `started` is set (host_thread_ensure_started), so one of the two sends it;
 *  - in the stub, where the signal is blocked: it stays pending until the stub returns to the guest
 *    and arrives there at once (SLOT_EVENT_KICK), or until it is let in for a host call that may
 *    block, which it ends or keeps from beginning (stub_blocking_call);
 *  - in the guest, or trapped from there: it arrives now, or behind the event that is being
 *    reported, as above.
 * `kicked` in the stub is forgotten with every event: rightly so, since the look at task->work that
 * follows the event comes after the kick. A guest that blocks the signal by a forged frame loses
 * only its own promptness: at its next call the flag is seen.
 */
void host_thread_kick(struct host_thread *thread) {
    if (thread->mock) {
        return;
    }
    atomic_store(&thread->kick_wanted, true);
    if (atomic_load(&thread->started) && !atomic_load(&thread->dead)) {
        host_thread_send_kick(thread);
    }
}

void host_thread_send_kick(struct host_thread *thread) {
    syscall(SYS_tgkill, thread->process->pid, atomic_load(&thread->tid), STUB_KICK_SIGNAL);
}

void host_thread_exit(struct host_thread *thread, const struct slot_call *calls, size_t count) {
    if (!thread->mock && !atomic_load(&thread->dead)) {
        int result;

        for (size_t i = 0; i < count; i++) {
            thread->slot->calls[i] = calls[i];
        }
        thread->slot->call_count = (uint32_t)count;
        result = host_thread_hand_over(thread, SLOT_EXIT_THREAD);

        (void)result; /* gone already: what was wanted */
    }
}

ssize_t host_thread_path(struct host_thread *thread, uint64_t address, char *to, size_t size) {
    size_t length = thread->brought_size;

    if (thread->brought_address != address || length == 0 || length > size) {
        return -EAGAIN;
    }
    memcpy(to, thread->slot->bounce, length);
    /* What was copied counts, not what stands in the slot by now. */
    return to[length - 1] == '\0' && strnlen(to, length) == length - 1 ? (ssize_t)length - 1
                                                                       : -EAGAIN;
}

int host_thread_brought(struct host_thread *thread, uint64_t address, void *to, size_t size) {
    uint64_t offset = address - thread->brought_address;

    if (offset >= thread->brought_size || size > thread->brought_size - offset) {
        return -EAGAIN;
    }
    memcpy(to, thread->slot->bounce + offset, size);
    return 0;
}

int host_thread_answer(struct host_thread *thread, uint64_t address, const void *from,
                       size_t size) {
    if (thread->fpstate != SLOT_FPSTATE_LIVE || thread->answer_size || size > SLOT_BOUNCE_SIZE) {
        return -EAGAIN;
    }
    thread->brought_size = 0;
    memcpy(thread->slot->bounce, from, size);
    thread->answer_address = address;
    thread->answer_size = (uint32_t)size;
    return 0;
}

int host_thread_answer_flush(struct host_thread *thread) {
    char copy[SLOT_BOUNCE_SIZE];
    size_t size = thread->answer_size;

    if (likely(size == 0)) {
        return 0;
    }
    thread->answer_size = 0;
    memcpy(copy, thread->slot->bounce, size);
    return host_memory_write(thread, thread->answer_address, copy, size) == (ssize_t)size ? 0
                                                                                          : -EFAULT;
}

bool host_thread_came_patched(const struct host_thread *thread) {
    return thread->fpstate == SLOT_FPSTATE_LIVE;
}

/* After a call that came without a signal the state is in the thread's registers: has it put where
 * it can be read. */
static void frame_fpstate(struct host_thread *thread) {
    if (thread->fpstate != SLOT_FPSTATE_LIVE) {
        return;
    }
    thread->fpstate = 0;
    if (host_thread_hand_over(thread, SLOT_FRAME) == SLOT_EVENT_CALLS) {
        fetch_fpstate(thread);
    }
    if (thread->fpstate == SLOT_FPSTATE_LIVE) {
        thread->fpstate = 0; /* a stub that does not obey: the guest's loss */
    }
}

size_t host_thread_fpstate_size(struct host_thread *thread) {
    frame_fpstate(thread);
    return thread->fpstate ? thread->fpstate_size : 0;
}

int host_thread_fpstate_read(struct host_thread *thread, void *buffer, size_t size) {
    ssize_t copied = host_memory_read(thread, buffer, thread->fpstate, size);

    return copied == (ssize_t)size ? 0 : -EFAULT;
}

int host_thread_fpstate_write(struct host_thread *thread, const void *buffer, size_t size) {
    ssize_t copied;

    if (size > thread->fpstate_size) {
        return -EINVAL;
    }
    copied = host_memory_write(thread, thread->fpstate, buffer, size);
    return copied == (ssize_t)size ? 0 : -EFAULT;
}

bool host_thread_fpstate_is_reset(const struct host_thread *thread) {
    return thread->fpstate_reset;
}

void host_thread_fpstate_reset(struct host_thread *thread) {
    thread->fpstate_reset = true;
}
