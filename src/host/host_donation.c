/*
 * Descriptors that a guest process uses by itself: its descriptor table in the public area, the
 * marks by which its threads say what they are using, and orders to close.
 *
 * The table is the kernel's word to the stub and cannot be changed by the guest. The marks are the
 * guest's: a guest that forges them, or clears them too early, spoils its own calls; one that never
 * clears them is waited for once.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(SLOT_MAX_TABLES <= 4 * 64, "host_aspace.tables has a bit for each");
_Static_assert(sizeof(struct slot_fd) * SLOT_TABLE_FDS == SLOT_TABLE_SIZE, "slot.h");

#define SETTLE_NS      1000000000
#define SETTLE_AT_ONCE 16 /* threads that are waited for in one look */

static struct slot_fd *table_at(const struct host_aspace *aspace, uint32_t index) {
    return (struct slot_fd *)(aspace->public + STUB_TABLES_OFFSET + index * SLOT_TABLE_SIZE);
}

static struct slot_fd *table_allocate(struct host_aspace *aspace) {
    LOCK_GUARD(&aspace->lock);

    for (uint32_t i = 0; i < SLOT_MAX_TABLES; i++) {
        if (!(aspace->tables[i / 64] & (1ull << (i % 64)))) {
            aspace->tables[i / 64] |= 1ull << (i % 64);
            return table_at(aspace, i);
        }
    }
    return NULL;
}

static uint32_t table_index(const struct host_process *process) {
    return (uint32_t)((process->table - table_at(process->table_aspace, 0)) / SLOT_TABLE_FDS);
}

void host_donation_end(struct host_process *process) {
    struct host_aspace *aspace = process->table_aspace;

    if (!aspace) {
        return;
    }
    memset(process->table, 0, atomic_load(&process->table_top) * sizeof(*process->table));
    {
        uint32_t index = table_index(process);
        LOCK_GUARD(&aspace->lock);

        aspace->tables[index / 64] &= ~(1ull << (index % 64));
    }
    host_aspace_put(aspace);
}

/* The process's table, made on first use; NULL: none is left. Its threads take turns: see
 * host_thread_use_table(). */
static struct slot_fd *process_table(struct host_process *process, struct host_aspace *aspace) {
    if (!process->table) {
        process->table = table_allocate(aspace);
        if (process->table) {
            process->table_aspace = host_aspace_get(aspace);
            process->notes = host_aspace_slot(aspace, table_index(process))->notes;
            memset(process->notes, 0, SLOT_NOTES * sizeof(*process->notes));
        }
    }
    return process->table;
}

bool host_process_claim_table(struct host_process *process, const void *owner) {
    LOCK_GUARD(&process->lock);

    if (!process->table_owner) {
        process->table_owner = owner;
    }
    return process->table_owner == owner;
}

bool host_process_owns(struct host_process *process, const void *owner) {
    LOCK_GUARD(&process->lock);

    return process->table_owner == owner;
}

void host_process_disown(struct host_process *process, const void *owner) {
    LOCK_GUARD(&process->lock);

    if (process->table_owner == owner) {
        process->table_owner = NULL;
    }
}

void host_thread_use_table(struct host_thread *thread, const void *owner, bool use) {
    struct slot_fd *table = NULL;
    uint32_t offset = 0;

    thread->table_owner = owner;
    if (thread->mock) {
        return;
    }
    if (use && !atomic_load(&thread->process->direct_refused)) {
        table = process_table(thread->process, thread->aspace);
    }
    if (table) {
        offset = (uint32_t)((char *)table - thread->aspace->public);
    }
    __atomic_store_n(&host_aspace_public(thread->aspace, thread->index)->table, offset,
                     __ATOMIC_RELEASE);
}

const void *host_thread_table_owner(const struct host_thread *thread) {
    return thread->table_owner;
}

int host_thread_give_fd(struct host_thread *thread, int fd) {
    struct slot_call call = {.flags = SLOT_CALL_RECEIVE_FD};
    int64_t number = 0, closed;
    int result;

    if (thread->mock || atomic_load(&thread->process->direct_refused)) {
        return -EPERM;
    }
    result = host_thread_send_fd(thread, fd);
    if (result == 0) {
        result = host_thread_calls(thread, &call, 1, &number);
    }
    if (result < 0) {
        return result;
    }
    if (number < 0 && number >= -MAX_ERRNO) {
        return (int)number;
    }
    if (number <= 0 || number >= GUEST_FDS) {
        return -EBADF;
    }
    if (number >= GUEST_FDS_KEPT) {
        call = (struct slot_call){.number = SYS_close, .args = {(uint64_t)number}};
        result = host_thread_calls(thread, &call, 1, &closed);
        return result < 0 ? result : -EMFILE;
    }
    return (int)number;
}

static void used_up_to(struct host_process *process, uint32_t fd) {
    if (fd >= atomic_load(&process->table_top)) {
        atomic_store(&process->table_top, fd + 1);
    }
}

bool host_process_set_fd(struct host_process *process, int fd, uint64_t word) {
    if (!process->table || fd < 0 || fd >= (int)SLOT_TABLE_FDS ||
        (word && atomic_load(&process->direct_refused))) {
        return false;
    }
    if (word) {
        used_up_to(process, (uint32_t)fd);
    }
    __atomic_store_n(&process->table[fd].word, word, __ATOMIC_SEQ_CST);
    return true;
}

bool host_process_show_fd(struct host_process *process, int fd, uint64_t word) {
    if (!process->table) {
        return false;
    }
    used_up_to(process, (uint32_t)fd);
    __atomic_store_n(&process->table[fd].shown, word, __ATOMIC_SEQ_CST);
    return true;
}

uint64_t host_process_shown_fd(const struct host_process *process, int fd) {
    return process->table ? __atomic_load_n(&process->table[fd].shown, __ATOMIC_RELAXED) : 0;
}

bool host_process_has_notes(const struct host_process *process) {
    uint64_t any = 0;

    for (uint32_t i = 0; process->notes && i < SLOT_NOTES; i++) {
        any |= __atomic_load_n(&process->notes[i], __ATOMIC_RELAXED);
    }
    return any != 0;
}

int host_process_noted_fd(const struct host_process *process, uint32_t index) {
    uint64_t note = process->notes ? __atomic_load_n(&process->notes[index], __ATOMIC_SEQ_CST) : 0;
    uint32_t fd = (uint32_t)note & ~0x80000000u;

    return note && fd < SLOT_SHOWN_FDS && fd % SLOT_NOTES == index &&
                   note == SLOT_NOTE(host_process_shown_fd(process, (int)fd), fd)
               ? (int)fd
               : -1;
}

bool host_process_take_note(struct host_process *process, int fd, uint64_t word) {
    uint64_t note = SLOT_NOTE(word, (uint32_t)fd);

    return process->notes &&
           __atomic_compare_exchange_n(&process->notes[(uint32_t)fd % SLOT_NOTES], &note, 0, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static uint32_t *mark_of(const struct host_thread *thread) {
    return &thread->slot->direct;
}

/* One that is in the kernel will look at the table again before it uses anything. */
static bool thread_uses(const struct host_thread *thread, int number, uint32_t *mark) {
    if (thread->mock || atomic_load(&thread->dead) ||
        (!atomic_load(&thread->in_user) && !atomic_load(&thread->holds))) {
        return false;
    }
    *mark = __atomic_load_n(mark_of(thread), __ATOMIC_SEQ_CST);
    return (*mark & ~SLOT_DIRECT_WAITED) == (uint32_t)number + 1;
}

bool host_process_uses(struct host_process *process, int number) {
    struct host_thread *thread;
    uint32_t mark;

    if (atomic_load(&process->direct_refused)) {
        return false;
    }
    LOCK_GUARD(&process->lock);
    list_for_each_entry (thread, &process->threads, process_link) {
        if (thread_uses(thread, number, &mark)) {
            return true;
        }
    }
    return false;
}

static size_t find_users(struct host_process *process, int number,
                         struct host_thread *users[SETTLE_AT_ONCE]) {
    struct host_thread *thread;
    size_t count = 0;
    uint32_t mark;
    LOCK_GUARD(&process->lock);

    list_for_each_entry (thread, &process->threads, process_link) {
        if (count < SETTLE_AT_ONCE && thread_uses(thread, number, &mark) &&
            ref_tryget(&thread->ref)) {
            users[count++] = thread;
        }
    }
    return count;
}

/* Until the thread has left its call: false when the time is over. */
static bool wait_for_user(struct host_thread *thread, int number, int64_t deadline) {
    uint32_t mark;

    while (thread_uses(thread, number, &mark)) {
        int64_t left = deadline - host_clock_monotonic();
        struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};

        if (left <= 0) {
            return false;
        }
        if (!(mark & SLOT_DIRECT_WAITED) &&
            !__atomic_compare_exchange_n(mark_of(thread), &mark, mark | SLOT_DIRECT_WAITED, false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            continue;
        }
        syscall(SYS_futex, mark_of(thread), FUTEX_WAIT, mark | SLOT_DIRECT_WAITED, &timeout, NULL,
                0);
    }
    return true;
}

void host_process_settle(struct host_process *process, int number, bool kick, bool wait) {
    struct host_thread *users[SETTLE_AT_ONCE];
    int64_t deadline = host_clock_monotonic() + SETTLE_NS;
    bool settled = true;
    size_t count;

    if (wait) {
        lock_assert_none_held();
    }
    while (settled && !atomic_load(&process->direct_refused) &&
           (count = find_users(process, number, users)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (kick) {
                host_thread_kick(users[i]);
            }
            settled = settled && (!wait || wait_for_user(users[i], number, deadline));
            host_thread_put(users[i]);
        }
        if (!wait) {
            return;
        }
    }
    if (!settled) {
        log_line(LOG_WARN, "a guest process holds on to a descriptor that was taken back: it gets "
                           "no more of them");
        atomic_store(&process->direct_refused, true);
        for (uint32_t fd = 0; fd < atomic_load(&process->table_top); fd++) {
            __atomic_store_n(&process->table[fd].word, 0, __ATOMIC_SEQ_CST);
        }
    }
}

void host_thread_close_fds(struct host_thread *thread, const int *numbers, size_t count) {
    if (thread->mock) {
        return;
    }
    LOCK_GUARD(&thread->process->lock);
    for (size_t i = 0; i < count; i++) {
        thread->closing[i] = numbers[i];
        thread->slot->close_fds[i] = numbers[i];
    }
    thread->closing_count = (uint32_t)count;
    thread->slot->close_count = (uint32_t)count;
}

void host_thread_closed(struct host_thread *thread) {
    LOCK_GUARD(&thread->process->lock);

    thread->closing_count = thread->slot->close_count = 0;
}

size_t host_process_closing(struct host_process *process, int *numbers, size_t room) {
    struct host_thread *thread;
    size_t count = 0;
    LOCK_GUARD(&process->lock);

    list_for_each_entry (thread, &process->threads, process_link) {
        for (uint32_t i = 0; i < thread->closing_count && count < room; i++) {
            numbers[count++] = thread->closing[i];
        }
    }
    return count;
}

int host_thread_direct_held(const struct host_thread *thread) {
    if (likely(!atomic_load_explicit(&thread->holds, memory_order_relaxed))) {
        return 0;
    }
    uint32_t mark = __atomic_load_n(mark_of(thread), __ATOMIC_SEQ_CST) & ~SLOT_DIRECT_WAITED;

    return mark - 1 <= SLOT_FD_NUMBER ? (int)mark - 1 : -EBADF;
}

void host_thread_direct_release(struct host_thread *thread) {
    uint32_t mark = __atomic_exchange_n(mark_of(thread), 0, __ATOMIC_SEQ_CST);

    atomic_store(&thread->holds, false);
    if (mark & SLOT_DIRECT_WAITED) {
        host_futex_wake((_Atomic uint32_t *)mark_of(thread), INT32_MAX);
    }
}

uint64_t host_thread_direct_done(const struct host_thread *thread) {
    return thread->direct_done;
}

bool host_thread_sleeps(struct host_thread *thread) {
    char path[64], text[256], *at;
    ssize_t size;
    int fd;

    if (thread->mock || !atomic_load(&thread->in_user) ||
        __atomic_load_n(mark_of(thread), __ATOMIC_RELAXED) == 0) {
        return false;
    }
    snprintf(path, sizeof(path), "%d/task/%d/stat", host_process_pid(thread->process),
             host_thread_tid(thread));
    fd = host_proc_open(path, O_RDONLY);
    if (fd < 0) {
        return false;
    }
    size = host_read(fd, text, sizeof(text) - 1);
    close(fd);
    text[MAX(size, (ssize_t)0)] = '\0';
    at = strrchr(text, ')');
    return at && at[1] == ' ' && at[2] == 'S';
}

void host_thread_direct_io(struct host_thread *thread, uint64_t counts[4]) {
    for (int i = 0; i < 4; i++) {
        uint64_t now =
            thread->mock ? 0 : __atomic_load_n(&thread->slot->direct_io[i], __ATOMIC_RELAXED);

        counts[i] = now - thread->direct_io[i];
        thread->direct_io[i] = now;
    }
}
