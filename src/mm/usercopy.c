/*
 * The only way to a guest's memory: range checks, then the host's process_vm_readv/writev.
 *
 * A range that is not the guest's (beyond USER_TASK_SIZE, or of the stub) is EFAULT before the host
 * is asked; what is merely unmapped or protected is EFAULT by the host's answer. Nothing here takes
 * a lock: the mappings may change while a copy runs, as they may on Linux.
 */
#include <limits.h>

#include "mm/mm_internal.h"

#define MAX_RW_COUNT ALIGN_DOWN((uint64_t)INT_MAX, PAGE_SIZE)
#define IOV_LIMIT    1024
#define CLEAR_CHUNK  4096
#define STRING_CHUNK 512

/* How much of address..address+size the guest owns, from its start. */
static size_t user_extent(struct host_thread *thread, uint64_t address, size_t size) {
    uint64_t start, end;

    if (address >= USER_TASK_SIZE) {
        return 0;
    }
    size = MIN(size, USER_TASK_SIZE - address);
    host_aspace_reserved(host_thread_aspace(thread), &start, &end);
    if (address < end && address + size > start) {
        size = address < start ? start - address : 0;
    }
    return size;
}

ssize_t copy_from_user_partial(struct host_thread *thread, void *to, struct user_address from,
                               size_t size) {
    size_t extent;

    if (size == 0) {
        return 0;
    }
    extent = user_extent(thread, from.value, size);
    if (extent == 0) {
        return -EFAULT;
    }
    if (extent == size && host_thread_brought(thread, from.value, to, size) == 0) {
        return (ssize_t)size;
    }
    ssize_t copied = host_memory_read(thread, to, from.value, extent);

    return copied == 0 ? -EFAULT : copied;
}

ssize_t copy_to_user_partial(struct host_thread *thread, struct user_address to, const void *from,
                             size_t size) {
    size_t extent;

    if (size == 0) {
        return 0;
    }
    extent = user_extent(thread, to.value, size);
    if (extent == 0) {
        return -EFAULT;
    }
    ssize_t copied = host_memory_write(thread, to.value, from, extent);

    return copied == 0 ? -EFAULT : copied;
}

int copy_from_user(struct host_thread *thread, void *to, struct user_address from, size_t size) {
    ssize_t copied = copy_from_user_partial(thread, to, from, size);

    return copied < 0 ? (int)copied : (size_t)copied == size ? 0 : -EFAULT;
}

int copy_to_user(struct host_thread *thread, struct user_address to, const void *from,
                 size_t size) {
    ssize_t copied = copy_to_user_partial(thread, to, from, size);

    return copied < 0 ? (int)copied : (size_t)copied == size ? 0 : -EFAULT;
}

int answer_to_user(struct host_thread *thread, struct user_address to, const void *from,
                   size_t size) {
    if (size && user_extent(thread, to.value, size) == size &&
        host_thread_answer(thread, to.value, from, size) == 0) {
        return 0;
    }
    return copy_to_user(thread, to, from, size);
}

int clear_user(struct host_thread *thread, struct user_address to, size_t size) {
    static const char zeros[CLEAR_CHUNK];

    while (size) {
        size_t part = MIN(size, sizeof(zeros));
        int result = copy_to_user(thread, to, zeros, part);

        if (result) {
            return result;
        }
        to = user_address_add(to, part);
        size -= part;
    }
    return 0;
}

ssize_t copy_string_from_user(struct host_thread *thread, char *to, struct user_address from,
                              size_t size) {
    size_t done = 0;

    /* Never past the end of a page in one step: the next may not be mapped, and need not be. */
    while (done < size) {
        uint64_t address = from.value + done;
        size_t part = MIN(size - done, PAGE_SIZE - address % PAGE_SIZE);

        part = MIN(part, (size_t)STRING_CHUNK);

        ssize_t copied = copy_from_user_partial(thread, to + done, user_address(address), part);

        if (copied < 0) {
            return copied;
        }
        const char *nul = memchr(to + done, 0, (size_t)copied);

        if (nul) {
            return nul - to;
        }
        done += (size_t)copied;
    }
    return -ENAMETOOLONG;
}

int copy_path_from_user(struct host_thread *thread, char **path, struct user_address from) {
    char buffer[PATH_MAX];
    ssize_t length = host_thread_path(thread, from.value, buffer, sizeof(buffer));

    if (length < 0) {
        length = copy_string_from_user(thread, buffer, from, sizeof(buffer));
    }
    if (length < 0) {
        return (int)length;
    }
    *path = malloc((size_t)length + 1);
    if (!*path) {
        return -ENOMEM;
    }
    memcpy(*path, buffer, (size_t)length + 1);
    return 0;
}

int user_buffer_import(struct host_thread *thread, struct user_buffer *buffer,
                       struct user_address vec, size_t count) {
    *buffer = (struct user_buffer){.count = count};
    if (count > IOV_LIMIT) {
        return -EINVAL;
    }
    if (count == 0) {
        buffer->vec = &buffer->single;
        return 0;
    }
    buffer->vec = malloc(count * sizeof(*buffer->vec));
    if (!buffer->vec) {
        return -ENOMEM;
    }
    int result = copy_from_user(thread, buffer->vec, vec, count * sizeof(*buffer->vec));

    for (size_t i = 0; i < count && !result; i++) {
        struct user_iovec *part = &buffer->vec[i];

        if ((int64_t)part->len < 0) {
            result = -EINVAL;
        } else if (part->base > USER_TASK_SIZE || part->len > USER_TASK_SIZE - part->base) {
            result = -EFAULT;
        } else {
            part->len = MIN(part->len, MAX_RW_COUNT - buffer->total);
            buffer->total += part->len;
        }
    }
    if (result) {
        free(buffer->vec);
        buffer->vec = &buffer->single;
        buffer->count = 0;
        buffer->total = 0;
    }
    return result;
}

void user_buffer_single(struct user_buffer *buffer, struct user_address base, size_t size) {
    *buffer = (struct user_buffer){.count = 1, .single = {base.value, MIN(size, MAX_RW_COUNT)}};
    buffer->vec = &buffer->single;
    buffer->total = buffer->single.len;
}

void user_buffer_destroy(struct user_buffer *buffer) {
    if (buffer->vec != &buffer->single) {
        free(buffer->vec);
    }
    buffer->vec = &buffer->single;
    buffer->count = 0;
    buffer->total = 0;
}

void user_buffer_skip(struct user_buffer *buffer, size_t size) {
    size = MIN(size, buffer->total);
    buffer->total -= size;
    while (size) {
        size_t rest = MIN(buffer->vec[buffer->index].len - buffer->offset, size);

        size -= rest;
        buffer->offset += rest;
        if (buffer->offset == buffer->vec[buffer->index].len) {
            buffer->index++;
            buffer->offset = 0;
        }
    }
}

/* Copies piece by piece: `piece` moves one part of guest memory, to or from data. */
static ssize_t buffer_copy(struct host_thread *thread, struct user_buffer *buffer, char *data,
                           size_t size, bool to_guest) {
    size_t done = 0;

    size = MIN(size, buffer->total);
    while (done < size) {
        const struct user_iovec *part = &buffer->vec[buffer->index];
        size_t rest = MIN(part->len - buffer->offset, size - done);

        if (rest) {
            struct user_address at = user_address(part->base + buffer->offset);
            ssize_t copied = to_guest ? copy_to_user_partial(thread, at, data + done, rest)
                                      : copy_from_user_partial(thread, data + done, at, rest);

            if (copied < 0) {
                return done ? (ssize_t)done : copied;
            }
            done += (size_t)copied;
            buffer->offset += (size_t)copied;
            buffer->total -= (size_t)copied;
            if ((size_t)copied < rest) {
                return (ssize_t)done;
            }
        }
        if (buffer->offset == part->len) {
            buffer->index++;
            buffer->offset = 0;
        }
    }
    return (ssize_t)done;
}

ssize_t user_buffer_read(struct host_thread *thread, struct user_buffer *from, void *to,
                         size_t size) {
    return buffer_copy(thread, from, to, size, false);
}

ssize_t user_buffer_write(struct host_thread *thread, struct user_buffer *to, const void *from,
                          size_t size) {
    if (to->answers && size && size <= to->total) {
        struct user_address at = user_address(to->vec->base + to->offset);

        to->answers = false;
        if (answer_to_user(thread, at, from, size) == 0) {
            user_buffer_skip(to, size);
            return (ssize_t)size;
        }
    }
    /* Only read: the cast is for the shared loop. */
    return buffer_copy(thread, to, (char *)(uintptr_t)from, size, true);
}
