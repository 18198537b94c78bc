/*
 * Makes allocations fail, one at a time, in the thread that asks for it. A test that includes this
 * (once; list it in tests/unit/meson.build under unit_tests_fail_alloc, which wraps the symbols)
 * has every allocation of the kernel's code go through it.
 *
 *     FAIL_EACH_ALLOCATION(n) {
 *         result = thing_new(&thing);      // the n-th allocation in here fails
 *         if (result == 0) thing_put(thing);
 *         else assert_int_equal(result, -ENOMEM);
 *     }
 *
 * The body runs with n = 1, 2, 3 ... until it has run through without reaching the n-th allocation.
 */
#ifndef FAIL_ALLOC_H
#define FAIL_ALLOC_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static _Thread_local unsigned long fail_alloc_nth, fail_alloc_count;

/* The nth allocation of this thread from now on (1: the next) fails, once; 0: none. */
static inline void fail_alloc_at(unsigned long nth) {
    fail_alloc_nth = nth;
    fail_alloc_count = 0;
}

/* Has that one been reached? */
static inline bool fail_alloc_reached(void) {
    return fail_alloc_nth && fail_alloc_count >= fail_alloc_nth;
}

static bool fail_alloc_now(void) {
    if (++fail_alloc_count == fail_alloc_nth) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *__wrap_malloc(size_t size) {
    return fail_alloc_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fail_alloc_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fail_alloc_now() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fail_alloc_now() ? NULL : __real_reallocarray(old, count, size);
}

char *__wrap_strdup(const char *text) {
    return fail_alloc_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size) {
    return fail_alloc_now() ? NULL : __real_strndup(text, size);
}

#define FAIL_EACH_ALLOCATION(n)                                                                    \
    for (unsigned long n = (fail_alloc_at(1), 1), fail_alloc_more = 1; fail_alloc_more;            \
         fail_alloc_more = fail_alloc_reached(), n++, fail_alloc_at(fail_alloc_more ? n : 0))

#endif
