/*
 * Makes allocations fail, one at a time, in the thread that asks for it. A test linked with
 * fail_alloc.c (list it in tests/unit/meson.build under unit_tests_fail_alloc) has every malloc,
 * calloc, realloc and strdup of the kernel's code go through it.
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

#include <stdbool.h>

/* The nth allocation of this thread from now on (1: the next) fails, once; 0: none. */
void fail_alloc_at(unsigned long nth);
/* Has that one been reached? */
bool fail_alloc_reached(void);
/* Allocations of this thread since fail_alloc_at(). */
unsigned long fail_alloc_seen(void);

#define FAIL_EACH_ALLOCATION(n)                                                                    \
    for (unsigned long n = (fail_alloc_at(1), 1), fail_alloc_more = 1; fail_alloc_more;            \
         fail_alloc_more = fail_alloc_reached(), n++, fail_alloc_at(fail_alloc_more ? n : 0))

#endif
