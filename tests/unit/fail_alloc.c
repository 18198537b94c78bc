/* See fail_alloc.h. Linked with -Wl,--wrap of the four functions. */
#include "fail_alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static _Thread_local unsigned long fail_at, seen;

void fail_alloc_at(unsigned long nth) {
    fail_at = nth;
    seen = 0;
}

bool fail_alloc_reached(void) {
    return fail_at && seen >= fail_at;
}

unsigned long fail_alloc_seen(void) {
    return seen;
}

static bool fails(void) {
    if (++seen == fail_at) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}
