/* Compiler words, small macros and the cleanup helpers. */
#ifndef STARLING_COMPILER_H
#define STARLING_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN          __attribute__((noreturn))
#define UNUSED            __attribute__((unused))
/* A large variable that is filled in before it is read: not zeroed first, as others are. */
#define UNINITIALIZED __attribute__((uninitialized))
#define likely(x)     __builtin_expect(!!(x), 1)
#define unlikely(x)   __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member)                                                            \
    ((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __auto_type min_a_ = (a);                                                                  \
        __auto_type min_b_ = (b);                                                                  \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __auto_type max_a_ = (a);                                                                  \
        __auto_type max_b_ = (b);                                                                  \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                         \
    })
/* `align` is a power of two. Rounding up may wrap: check the range first. */
#define ALIGN_DOWN(x, align) ((x) & ~((__typeof__(x))(align)-1))
#define ALIGN_UP(x, align)   ALIGN_DOWN((x) + (__typeof__(x))(align)-1, align)
#define IS_ALIGNED(x, align) (((x) & ((__typeof__(x))(align)-1)) == 0)

#define PAGE_SIZE  4096UL
#define PAGE_SHIFT 12

/*
 * CLEANUP(fn) runs fn(&variable) when the variable leaves its scope. DEFINE_CLEANUP(T, put) makes
 * such a function, `put_cleanup`, from one that takes the pointer itself; STEAL(p) hands the
 * pointer on and leaves NULL.
 */
#define CLEANUP(fn) __attribute__((cleanup(fn##_cleanup)))
#define DEFINE_CLEANUP(type, fn)                                                                   \
    static inline void fn##_cleanup(type *variable) {                                              \
        if (*variable) {                                                                           \
            fn(*variable);                                                                         \
        }                                                                                          \
    }
#define STEAL(p)                                                                                   \
    ({                                                                                             \
        __auto_type stolen_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        stolen_;                                                                                   \
    })

static inline void free_cleanup(void *variable) {
    free(*(void **)variable);
}

/* Error pointers, as in Linux: a pointer return that carries -errno. */
#define MAX_ERRNO 4095
static inline void *ERR_PTR(long error) {
    return (void *)error;
}
static inline long PTR_ERR(const void *ptr) {
    return (long)ptr;
}
static inline void *ERR_CAST(const void *ptr) {
    return (void *)ptr;
}
static inline bool IS_ERR(const void *ptr) {
    return unlikely((uintptr_t)ptr >= (uintptr_t)-MAX_ERRNO);
}

#endif
