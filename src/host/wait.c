/*
 * The one wait primitive: waiters, wait queues, poll tables. See wait.h for the protocol.
 *
 * A waiter is one futex word of three flags. WOKEN is set by wakers and consumed by wait_sleep();
 * INTERRUPTED stays until the owner clears it; SLEEPING tells a waker that the owner is inside (or
 * on its way into) the futex call, so that waking a running thread costs no host call. The owner
 * sets SLEEPING by compare-and-exchange from a value in which nothing was pending, and the futex
 * call checks that very value again: a wake in between is never lost.
 *
 * Wake callbacks run with the queue's lock held and wait_queue_remove() takes that lock, so once it
 * has returned no callback of the entry runs. A queue must outlive the entries on it, but for
 * wait_queue_destroy(), which takes them off.
 */
#include "host/wait.h"
#include "host/pairing.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uapi/uapi.h"

#define WAITER_WOKEN       1u
#define WAITER_INTERRUPTED 2u
#define WAITER_SLEEPING    4u

static _Thread_local struct waiter this_waiter;

struct waiter *waiter_current(void) {
    return &this_waiter;
}

static void waiter_set(struct waiter *waiter, uint32_t flag) {
    uint32_t old = atomic_fetch_or(&waiter->state, flag);

    if ((old & WAITER_SLEEPING) && !(old & flag)) {
        pairing_wakes(waiter);
        (void)syscall(SYS_futex, &waiter->state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    }
}

void waiter_wake(struct waiter *waiter) {
    waiter_set(waiter, WAITER_WOKEN);
}

void waiter_interrupt(struct waiter *waiter) {
    waiter_set(waiter, WAITER_INTERRUPTED);
}

void waiter_clear_interrupt(struct waiter *waiter) {
    (void)atomic_fetch_and(&waiter->state, ~WAITER_INTERRUPTED);
}

bool waiter_interrupted(const struct waiter *waiter) {
    return atomic_load(&waiter->state) & WAITER_INTERRUPTED;
}

bool waiter_asleep(const struct waiter *waiter) {
    return atomic_load(&waiter->state) & WAITER_SLEEPING;
}

static int sleep_until(deadline_ns deadline, uint32_t heeded) {
    struct waiter *waiter = &this_waiter;
    struct timespec until = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
    const struct timespec *timeout = deadline == WAIT_FOREVER ? NULL : &until;
    uint32_t state = atomic_load(&waiter->state);

    lock_assert_none_held();
    for (;;) {
        /* Interruption first: however often somebody wakes this thread, it ends the wait. */
        if (state & heeded & WAITER_INTERRUPTED) {
            return -ERESTARTSYS;
        }
        if (state & WAITER_WOKEN) {
            (void)atomic_fetch_and(&waiter->state, ~WAITER_WOKEN);
            return 0;
        }
        if (deadline <= 0) {
            return -ETIMEDOUT;
        }
        if (!atomic_compare_exchange_weak(&waiter->state, &state, state | WAITER_SLEEPING)) {
            continue;
        }
        pairing_sleeps(waiter);
        long result = syscall(SYS_futex, &waiter->state, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
                              state | WAITER_SLEEPING, timeout, NULL, FUTEX_BITSET_MATCH_ANY);
        int error = result ? errno : 0;

        pairing_woke(waiter);
        state = atomic_fetch_and(&waiter->state, ~WAITER_SLEEPING) & ~WAITER_SLEEPING;
        if (error == ETIMEDOUT && !(state & heeded)) {
            return -ETIMEDOUT;
        }
        if (error && error != EAGAIN && error != EINTR && error != ETIMEDOUT) {
            panic("futex wait: %s", strerror(error));
        }
    }
}

int wait_sleep(deadline_ns deadline) {
    return sleep_until(deadline, WAITER_WOKEN | WAITER_INTERRUPTED);
}

int wait_sleep_uninterruptible(deadline_ns deadline) {
    return sleep_until(deadline, WAITER_WOKEN);
}

/* ---- queues ---- */

void wait_queue_init(struct wait_queue *queue) {
    lock_init(&queue->lock, LOCK_WAIT_QUEUE);
    list_init(&queue->entries);
}

void wait_queue_destroy(struct wait_queue *queue) {
    struct wait_entry *entry, *next;

    lock_acquire(&queue->lock);
    list_for_each_entry_safe (entry, next, &queue->entries, link) {
        list_del(&entry->link);
        __atomic_store_n(&entry->queue, NULL, __ATOMIC_RELEASE);
    }
    lock_release(&queue->lock);
    lock_destroy(&queue->lock);
}

void wait_queue_add(struct wait_queue *queue, struct wait_entry *entry) {
    lock_acquire(&queue->lock);
    /* Exclusive entries at the tail: the longest waiting of them is the one to be woken. */
    if (entry->exclusive) {
        list_add_tail(&entry->link, &queue->entries);
    } else {
        list_add(&entry->link, &queue->entries);
    }
    __atomic_store_n(&entry->queue, queue, __ATOMIC_RELEASE);
    lock_release(&queue->lock);
}

void wait_queue_remove(struct wait_entry *entry) {
    struct wait_queue *queue = __atomic_load_n(&entry->queue, __ATOMIC_ACQUIRE);

    if (!queue) {
        return;
    }
    lock_acquire(&queue->lock);
    if (entry->queue) {
        list_del(&entry->link);
        __atomic_store_n(&entry->queue, NULL, __ATOMIC_RELEASE);
    }
    lock_release(&queue->lock);
}

static void queue_wake_locked(struct wait_queue *queue, uint32_t events, bool all) {
    struct wait_entry *entry, *next;

    list_for_each_entry_safe (entry, next, &queue->entries, link) {
        if (events && entry->events && !(entry->events & events)) {
            continue;
        }
        bool exclusive = entry->exclusive;

        if (entry->wake) {
            entry->wake(entry, events);
        } else {
            waiter_wake(entry->waiter);
        }
        if (exclusive && !all) {
            /* To the end of the line, so that turns are taken while entries stay on the queue. */
            list_del(&entry->link);
            list_add_tail(&entry->link, &queue->entries);
            break;
        }
    }
}

void wait_queue_wake(struct wait_queue *queue, uint32_t events) {
    LOCK_GUARD(&queue->lock);
    queue_wake_locked(queue, events, true);
}

void wait_queue_wake_one(struct wait_queue *queue, uint32_t events) {
    LOCK_GUARD(&queue->lock);
    queue_wake_locked(queue, events, false);
}

void wait_queue_wake_one_locked(struct wait_queue *queue, uint32_t events) {
    queue_wake_locked(queue, events, false);
}

/* ---- poll tables ---- */

void poll_table_add(struct poll_table *table, struct wait_queue *queue) {
    if (!table || table->error) {
        return;
    }
    struct wait_entry *entry = table->new_entry(table);

    if (!entry) {
        table->error = -ENOMEM;
        return;
    }
    entry->waiter = table->waiter;
    entry->wake = table->wake;
    entry->events = table->events;
    wait_queue_add(queue, entry);
}

#define CHUNK_ENTRIES 32

struct poll_chunk {
    struct list_head link;
    struct wait_entry entries[CHUNK_ENTRIES];
};

static struct wait_entry *poll_waits_new_entry(struct poll_table *table) {
    struct poll_waits *waits = container_of(table, struct poll_waits, table);

    if (list_empty(&waits->chunks)) {
        if (waits->used < POLL_WAITS_INLINE) {
            struct wait_entry *entry = &waits->first[waits->used++];

            memset(entry, 0, sizeof(*entry));
            return entry;
        }
        waits->used = CHUNK_ENTRIES;
    }
    if (waits->used == CHUNK_ENTRIES) {
        struct poll_chunk *chunk = calloc(1, sizeof(*chunk));

        if (!chunk) {
            return NULL;
        }
        list_add(&chunk->link, &waits->chunks);
        waits->used = 0;
    }
    return &list_first_entry(&waits->chunks, struct poll_chunk, link)->entries[waits->used++];
}

void poll_waits_init(struct poll_waits *waits, uint32_t events) {
    waits->table = (struct poll_table){
        .events = events, .waiter = waiter_current(), .new_entry = poll_waits_new_entry};
    list_init(&waits->chunks);
    waits->used = 0;
}

void poll_waits_finish(struct poll_waits *waits) {
    struct poll_chunk *chunk, *next;
    unsigned used = waits->used;

    list_for_each_entry_safe (chunk, next, &waits->chunks, link) {
        for (unsigned i = 0; i < used; i++) {
            wait_queue_remove(&chunk->entries[i]);
        }
        used = CHUNK_ENTRIES; /* all chunks but the newest are full */
        list_del(&chunk->link);
        free(chunk);
        waits->used = POLL_WAITS_INLINE;
    }
    for (unsigned i = 0; i < waits->used; i++) {
        wait_queue_remove(&waits->first[i]);
    }
    waits->used = 0;
}
