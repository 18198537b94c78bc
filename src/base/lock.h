/*
 * Ranked locks. Every lock belongs to a class listed in lock_order.def, lowest rank first; a thread
 * may take a lock only when its rank is above that of every lock it holds (or equal, for classes
 * marked nestable, where the code that nests says in which order). Builds with DEBUG_LOCKS assert
 * it; others carry no cost.
 *
 * No lock is held while a thread waits for a guest or sleeps in wait_sleep().
 */
#ifndef STARLING_LOCK_H
#define STARLING_LOCK_H

#include <pthread.h>
#include <stdbool.h>

#include "base/compiler.h"

enum lock_class {
#define LOCK_CLASS(name, nestable, doc) LOCK_##name,
#include "base/lock_order.def"
#undef LOCK_CLASS
    LOCK_CLASS_COUNT,
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_class class;
};

struct rwlock {
    pthread_rwlock_t rwlock;
    enum lock_class class;
};

void lock_init(struct lock *lock, enum lock_class class);
void lock_destroy(struct lock *lock);
void lock_acquire(struct lock *lock);
void lock_release(struct lock *lock);
/* Panics in debug builds unless this thread holds the lock. */
void lock_assert_held(const struct lock *lock);
/* Panics in debug builds if this thread holds any lock: called before every sleep and every wait
 * for a guest. */
void lock_assert_none_held(void);

void rwlock_init(struct rwlock *lock, enum lock_class class);
void rwlock_destroy(struct rwlock *lock);
void rwlock_read_acquire(struct rwlock *lock);
void rwlock_read_release(struct rwlock *lock);
void rwlock_write_acquire(struct rwlock *lock);
void rwlock_write_release(struct rwlock *lock);

static inline void lock_guard_cleanup(struct lock **lock) {
    lock_release(*lock);
}
static inline void read_guard_cleanup(struct rwlock **lock) {
    rwlock_read_release(*lock);
}
static inline void write_guard_cleanup(struct rwlock **lock) {
    rwlock_write_release(*lock);
}

#define GUARD_NAME_(line) guard_##line
#define GUARD_NAME(line)  GUARD_NAME_(line)
/* Hold a lock to the end of the scope. */
#define LOCK_GUARD(which)                                                                          \
    struct lock *GUARD_NAME(__LINE__) CLEANUP(lock_guard) UNUSED = (lock_acquire(which), (which))
#define READ_GUARD(which)                                                                          \
    struct rwlock *GUARD_NAME(__LINE__) CLEANUP(read_guard) UNUSED =                               \
        (rwlock_read_acquire(which), (which))
#define WRITE_GUARD(which)                                                                         \
    struct rwlock *GUARD_NAME(__LINE__) CLEANUP(write_guard) UNUSED =                              \
        (rwlock_write_acquire(which), (which))

#endif
