/*
 * Reference counts. An object starts with one reference, owned by whoever made it. ref_tryget() is
 * the weak upgrade: it fails once the count has reached zero; the memory must still be valid then,
 * which the weak table's lock guarantees (an object leaves its tables, under their lock, before it
 * is freed).
 */
#ifndef STARLING_REF_H
#define STARLING_REF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct ref {
    _Atomic int32_t count;
};

static inline void ref_init(struct ref *ref) {
    atomic_init(&ref->count, 1);
}

/* Ends the process when a count overflows or an object is used after its end. */
void ref_broken(const struct ref *ref) NORETURN;

static inline void ref_get(struct ref *ref) {
    int32_t old = atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);

    if (unlikely(old <= 0 || old == INT32_MAX)) {
        ref_broken(ref);
    }
}

static inline bool MUST_CHECK ref_tryget(struct ref *ref) {
    int32_t old = atomic_load_explicit(&ref->count, memory_order_relaxed);

    while (old > 0) {
        if (atomic_compare_exchange_weak_explicit(&ref->count, &old, old + 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* True when this was the last reference: the caller frees the object. */
static inline bool MUST_CHECK ref_put(struct ref *ref) {
    int32_t old = atomic_fetch_sub_explicit(&ref->count, 1, memory_order_acq_rel);

    if (unlikely(old <= 0)) {
        ref_broken(ref);
    }
    return old == 1;
}

#endif
