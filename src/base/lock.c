/* Ranked locks: see lock.h. In DEBUG_LOCKS builds each thread keeps a short stack of the locks it
 * holds. */
#include "base/base.h"

#ifdef DEBUG_LOCKS
#define MAX_HELD 16

static const struct {
    const char *name;
    bool nestable;
} classes[] = {
#define LOCK_CLASS(name, nestable, doc) {#name, nestable},
#include "base/lock_order.def"
#undef LOCK_CLASS
};

static _Thread_local struct {
    const void *lock;
    enum lock_class class;
} held[MAX_HELD];
static _Thread_local int held_count;

static void held_push(const void *lock, enum lock_class class) {
    for (int i = 0; i < held_count; i++) {
        if (held[i].lock == lock) {
            panic("lock %s taken twice by one thread", classes[class].name);
        }
        if (held[i].class > class || (held[i].class == class && !classes[class].nestable)) {
            panic("lock order: %s taken while %s is held", classes[class].name,
                  classes[held[i].class].name);
        }
    }
    if (held_count == MAX_HELD) {
        panic("more than %d locks held by one thread", MAX_HELD);
    }
    held[held_count].lock = lock;
    held[held_count++].class = class;
}

static void held_pop(const void *lock) {
    for (int i = held_count - 1; i >= 0; i--) {
        if (held[i].lock == lock) {
            held[i] = held[--held_count];
            return;
        }
    }
    panic("a lock released by a thread that does not hold it");
}

void lock_assert_held(const struct lock *lock) {
    for (int i = 0; i < held_count; i++) {
        if (held[i].lock == lock) {
            return;
        }
    }
    panic("lock %s should be held here", classes[lock->class].name);
}

void lock_assert_none_held(void) {
    if (held_count) {
        panic("about to sleep while lock %s is held", classes[held[held_count - 1].class].name);
    }
}
#else
static inline void held_push(const void *lock UNUSED, enum lock_class class UNUSED) {
}
static inline void held_pop(const void *lock UNUSED) {
}
void lock_assert_held(const struct lock *lock UNUSED) {
}
void lock_assert_none_held(void) {
}
#endif

static void check(int error, const char *what) {
    if (unlikely(error)) {
        panic("%s: %s", what, strerror(error));
    }
}

void lock_init(struct lock *lock, enum lock_class class) {
    check(pthread_mutex_init(&lock->mutex, NULL), "pthread_mutex_init");
    lock->class = class;
}

void lock_destroy(struct lock *lock) {
    check(pthread_mutex_destroy(&lock->mutex), "pthread_mutex_destroy");
}

void lock_acquire(struct lock *lock) {
    held_push(lock, lock->class);
    check(pthread_mutex_lock(&lock->mutex), "pthread_mutex_lock");
}

void lock_release(struct lock *lock) {
    held_pop(lock);
    check(pthread_mutex_unlock(&lock->mutex), "pthread_mutex_unlock");
}

void rwlock_init(struct rwlock *lock, enum lock_class class) {
    check(pthread_rwlock_init(&lock->rwlock, NULL), "pthread_rwlock_init");
    lock->class = class;
}

void rwlock_destroy(struct rwlock *lock) {
    check(pthread_rwlock_destroy(&lock->rwlock), "pthread_rwlock_destroy");
}

void rwlock_read_acquire(struct rwlock *lock) {
    held_push(lock, lock->class);
    check(pthread_rwlock_rdlock(&lock->rwlock), "pthread_rwlock_rdlock");
}

void rwlock_read_release(struct rwlock *lock) {
    held_pop(lock);
    check(pthread_rwlock_unlock(&lock->rwlock), "pthread_rwlock_unlock");
}

void rwlock_write_acquire(struct rwlock *lock) {
    held_push(lock, lock->class);
    check(pthread_rwlock_wrlock(&lock->rwlock), "pthread_rwlock_wrlock");
}

void rwlock_write_release(struct rwlock *lock) {
    held_pop(lock);
    check(pthread_rwlock_unlock(&lock->rwlock), "pthread_rwlock_unlock");
}
