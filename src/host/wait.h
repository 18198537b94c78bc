/*
 * The one wait primitive. Every kernel thread has one `waiter`; to wait for something, put wait
 * entries on the queues that announce it, look, and sleep:
 *
 *     struct wait_entry entry = WAIT_ENTRY_INIT;
 *     wait_queue_add(&queue, &entry);              // wakes this thread's waiter
 *     for (;;) {
 *         if (condition) { result = 0; break; }
 *         result = wait_sleep(deadline);           // 0: woken, look again
 *         if (result) break;                       // -ERESTARTSYS or -ETIMEDOUT
 *     }
 *     wait_queue_remove(&entry);
 *
 * A wake between the look and the sleep is not lost: wait_sleep() returns at once if the waiter was
 * woken since the last wait_sleep(). Interruption (a signal, a kill, rest) is sticky until the task
 * loop clears it: what must hold when a sleep is interrupted is that the call can be run again from
 * its start (design §12).
 */
#ifndef STARLING_WAIT_H
#define STARLING_WAIT_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/base.h"

struct waiter {
    _Atomic uint32_t state; /* futex word: WAITER_WOKEN | WAITER_INTERRUPTED | WAITER_SLEEPING */
    /* pairing.c: numbers of cores, one more each; 0: none */
    _Atomic uint32_t idle_at;    /* its task belongs there, and is not counted as active */
    _Atomic uint32_t woken_from; /* where the task that woke it belongs */
};

/* The calling kernel thread's waiter (thread-local; threads of unit tests have one too). */
struct waiter *waiter_current(void);
void waiter_wake(struct waiter *waiter);
/* Makes every wait_sleep() of that thread return -ERESTARTSYS until waiter_clear_interrupt(). Any
 * thread may call. */
void waiter_interrupt(struct waiter *waiter);
/* By the waiter's own thread, before it looks at what the interruption was for. */
void waiter_clear_interrupt(struct waiter *waiter);
bool waiter_interrupted(const struct waiter *waiter);
/* Is that thread asleep in wait_sleep() at this moment? */
bool waiter_asleep(const struct waiter *waiter);
/* The calling thread serves no task any more. */
void wait_thread_ends(void);

/* Nanoseconds of CLOCK_MONOTONIC; WAIT_FOREVER: no deadline. 0 is a time long past: look without
 * sleeping. */
typedef int64_t deadline_ns;
#define WAIT_FOREVER INT64_MAX

/* 0: woken (look again). -ERESTARTSYS: interrupted. -ETIMEDOUT: the deadline passed. Holds no lock
 * while asleep. */
int MUST_CHECK wait_sleep(deadline_ns deadline);
/* The same, but only wakes count, no interruption (for waits on another kernel thread that is sure
 * to go on). */
int MUST_CHECK wait_sleep_uninterruptible(deadline_ns deadline);

struct wait_entry;
/* Called with the queue's lock held; must not sleep, nor take locks ranked at or below WAIT_QUEUE
 * but a nested queue. */
typedef void wait_wake_fn(struct wait_entry *entry, uint32_t events);

struct wait_queue {
    struct lock lock;
    struct list_head entries; /* guarded by lock */
};

struct wait_entry {
    struct list_head link;    /* guarded by queue->lock */
    struct wait_queue *queue; /* NULL when on none */
    struct waiter *waiter;    /* woken when wake is NULL */
    wait_wake_fn *wake;
    uint32_t events; /* EPOLL* mask of interest; 0 means all */
    bool exclusive;  /* wait_queue_wake_one() wakes one of these */
    void *owner;     /* for `wake` */
};
#define WAIT_ENTRY_INIT                                                                            \
    { .waiter = waiter_current() }

void wait_queue_init(struct wait_queue *queue);
/* The owner ends: entries still on it are taken off. */
void wait_queue_destroy(struct wait_queue *queue);
void wait_queue_add(struct wait_queue *queue, struct wait_entry *entry);
/* After it returns no wake of this entry is running or will run. Harmless when it is on no queue.
 */
void wait_queue_remove(struct wait_entry *entry);
/* Wakes entries whose mask meets `events` (0: all). */
void wait_queue_wake(struct wait_queue *queue, uint32_t events);
void wait_queue_wake_one(struct wait_queue *queue, uint32_t events);
/* The same as wake_one with queue->lock held: for owners that let it guard more than the entries.
 */
void wait_queue_wake_one_locked(struct wait_queue *queue, uint32_t events);

/*
 * poll: a file's poll op calls poll_table_add() for each queue that announces its changes, then
 * returns its present EPOLL* mask. With a NULL table it only returns the mask. The table belongs to
 * one kernel thread's poll/select/blocking read.
 */
struct poll_table {
    uint32_t events; /* the interest, handed to every entry */
    struct waiter *waiter;
    wait_wake_fn *wake; /* NULL: wake the waiter */
    struct wait_entry *(*new_entry)(
        struct poll_table *table); /* NULL result: out of memory; sets error */
    int error;
};
void poll_table_add(struct poll_table *table, struct wait_queue *queue);

/* The usual table: entries from a growing array, removed together. The first few need no memory. */
#define POLL_WAITS_INLINE 4
struct poll_waits {
    struct poll_table table;
    struct list_head chunks;
    unsigned used; /* of `first`, then of the newest chunk */
    struct wait_entry first[POLL_WAITS_INLINE];
};
void poll_waits_init(struct poll_waits *waits, uint32_t events);
void poll_waits_finish(struct poll_waits *waits);

/* Now, in ns. */
int64_t host_clock_monotonic(void);
int64_t host_clock_realtime(void);
int64_t host_clock_boottime(void);
int host_clock_gettime(clockid_t clock, struct timespec *now);
/* Before the jail: host_facts_setup() calls it. */
void host_clock_setup(void);
int host_clock_getres(clockid_t clock, struct timespec *resolution);

#endif
