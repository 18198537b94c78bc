/*
 * exec's part: a whole program laid out in a fresh address space, in as few hand-overs to the stub
 * as the slot's table of calls allows (one for most programs). Nobody else can see the address
 * space yet, so there is no token and a failure part way just throws it away.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

/* Calls collected for one hand-over; descriptor tokens are good within one only. */
struct load_batch {
    struct host_thread *thread;
    struct slot_call calls[SLOT_MAX_CALLS];
    size_t count;
    struct memory_object *object; /* whose descriptor is open at `fd_call`; NULL: none */
    size_t fd_call;
};

static int batch_flush(struct load_batch *batch) {
    int64_t results[SLOT_MAX_CALLS];
    int result = 0;

    if (batch->object) {
        batch->calls[batch->count++] =
            memory_call(SYS_close, SLOT_RESULT(batch->fd_call), 0, 0, 0, 0, 0);
        batch->object = NULL;
    }
    if (batch->count) {
        result = memory_host_calls(batch->thread, batch->calls, batch->count, results);
        batch->count = 0;
    }
    return result;
}

static int batch_add(struct load_batch *batch, const struct mapping *row, int host_flags) {
    uint64_t fd = UINT64_MAX;

    /* Room for close, receive, mmap and the last close. */
    if (batch->count + 4 > SLOT_MAX_CALLS) {
        int result = batch_flush(batch);

        if (result) {
            return result;
        }
    }
    if (row->object) {
        if (batch->object != row->object) {
            if (batch->object) {
                batch->calls[batch->count++] =
                    memory_call(SYS_close, SLOT_RESULT(batch->fd_call), 0, 0, 0, 0, 0);
                batch->object = NULL;
            }
            int host_fd = row->object->ops->host_fd(row->object, row->prot, false);

            if (host_fd < 0) {
                return host_fd;
            }
            int result = host_thread_send_fd(batch->thread, host_fd);

            if (result) {
                return result;
            }
            batch->fd_call = batch->count;
            batch->calls[batch->count++] = (struct slot_call){.flags = SLOT_CALL_RECEIVE_FD};
            batch->object = row->object;
        }
        fd = SLOT_RESULT(batch->fd_call);
    } else {
        host_flags |= MAP_ANONYMOUS;
    }
    batch->calls[batch->count++] =
        memory_call(SYS_mmap, row->start, row->end - row->start, (uint64_t)row->prot,
                    (uint64_t)(MAP_PRIVATE | MAP_FIXED | host_flags), fd, row->offset);
    return 0;
}

static int load_segment(struct memory_manager *mm, struct load_batch *batch,
                        const struct memory_segment *segment) {
    uint64_t end = segment->start + segment->size;
    bool stack = segment->kind == MAPPING_STACK;
    struct tree_edit edit;
    int result;

    if (!IS_ALIGNED(segment->start | segment->size | segment->offset, PAGE_SIZE) ||
        segment->size == 0 || end <= segment->start || end > USER_TASK_SIZE ||
        segment->start < USER_MMAP_MIN || memory_reserved(mm, segment->start, end)) {
        return -ENOMEM;
    }
    struct mapping row = {.start = segment->start,
                          .end = end,
                          .prot = segment->prot,
                          .flags = MAP_PRIVATE | (segment->object ? 0 : MAP_ANONYMOUS) |
                                   (stack ? MAP_NORESERVE : 0),
                          .kind = segment->kind,
                          .offset = segment->offset,
                          .object = segment->object};

    /* MAP_STACK: no huge page for a stack that may never use more than a few. */
    result = batch_add(batch, &row, stack ? MAP_NORESERVE | MAP_STACK : 0);
    if (result) {
        return result;
    }
    LOCK_GUARD(&mm->lock);
    result = tree_edit_begin(&mm->tree, &edit, row.start, row.end);
    if (result) {
        return result;
    }
    tree_remove(&mm->tree, &edit, row.start, row.end);
    if (row.object) {
        memory_object_get(row.object);
    }
    tree_insert(&mm->tree, &edit, &row);
    /* Objects of a file that is being loaded are held by the caller: no last put can happen here.
     */
    tree_edit_end(&edit);
    return 0;
}

/* The rest of the page behind a segment's file contents reads as zeros: where bss begins. */
static int load_clear(struct host_thread *thread, const struct memory_segment *segment) {
    static const char zeros[PAGE_SIZE];
    size_t size = ALIGN_UP(segment->zero_start, PAGE_SIZE) - segment->zero_start;

    if (size == 0) {
        return 0;
    }
    if (!(segment->prot & PROT_WRITE)) {
        /* Linux's padzero() does not fail for these either; the page just keeps the file's bytes.
         */
        (void)!host_memory_write(thread, segment->zero_start, zeros, size);
        return 0;
    }
    ssize_t written = host_memory_write(thread, segment->zero_start, zeros, size);

    return written == (ssize_t)size ? 0 : written < 0 ? (int)written : -EFAULT;
}

int memory_load(struct memory_manager *mm, struct host_thread *thread,
                const struct memory_segment *segments, size_t count) {
    struct load_batch batch = {.thread = thread};
    int result = 0;

    for (size_t i = 0; i < count && !result; i++) {
        result = load_segment(mm, &batch, &segments[i]);
    }
    if (!result) {
        result = batch_flush(&batch);
    }
    for (size_t i = 0; i < count && !result; i++) {
        if (segments[i].zero_start) {
            result = load_clear(thread, &segments[i]);
        }
    }
    return result;
}

static const struct memory_segment *
place_conflict(uint64_t start, uint64_t size, const struct memory_segment *taken, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (start < taken[i].start + taken[i].size && start + size > taken[i].start) {
            return &taken[i];
        }
    }
    return NULL;
}

int64_t memory_place(struct memory_manager *mm, uint64_t hint, uint64_t size, uint64_t align,
                     const struct memory_segment *taken, size_t count) {
    const struct memory_segment *conflict;
    int64_t place = memory_choose(mm, hint, size, align, false);

    /* Each round steps below one of the taken ranges, so it ends. */
    for (size_t i = 0; i <= count && place >= 0; i++) {
        conflict = place_conflict((uint64_t)place, size, taken, count);
        if (!conflict) {
            return place;
        }
        if (conflict->start < size + USER_MMAP_MIN) {
            return -ENOMEM;
        }
        hint = ALIGN_DOWN(conflict->start - size, align);
        place = memory_choose(mm, hint, size, align, false);
        if (place >= 0 && (uint64_t)place > hint) {
            return -ENOMEM;
        }
    }
    return -ENOMEM;
}
