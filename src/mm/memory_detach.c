/*
 * shmdt(2): what is left of one attachment goes, in however many rows mprotect and munmap have left
 * it.
 */
#include "mm/mm_internal.h"

/* Where the row's object would begin, had it been mapped whole. */
static uint64_t attached_at(const struct mapping *row) {
    return row->start - row->offset;
}

/* The first row that is left of an object attached at `address`; NULL: none. */
static const struct mapping *find(const struct memory_manager *mm, uint64_t address,
                                  uint64_t (*size_of)(const struct memory_object *object)) {
    for (size_t i = tree_index(&mm->tree, address); i < mm->tree.count; i++) {
        const struct mapping *row = tree_row(&mm->tree, i);

        if (row->object && row->start >= address && attached_at(row) == address &&
            size_of(row->object)) {
            return row;
        }
    }
    return NULL;
}

static int detach_with_token(struct memory_manager *mm, struct host_thread *thread,
                             uint64_t address, uint64_t size, const struct memory_object *object) {
    uint64_t at = address, end = address + ALIGN_UP(size, PAGE_SIZE);
    int result = 0;

    while (!result && at < end) {
        size_t i = tree_index(&mm->tree, at);
        const struct mapping *row = i < mm->tree.count ? tree_row(&mm->tree, i) : NULL;

        if (!row || row->start >= end) {
            break;
        }
        at = row->end;
        if (row->object == object && attached_at(row) == address) {
            result = memory_unmap_token(mm, thread, row->start, row->end);
        }
    }
    return result;
}

int memory_detach(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                  uint64_t (*size_of)(const struct memory_object *object),
                  struct memory_object **detached) {
    const struct mapping *row;
    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    row = find(mm, address, size_of);
    if (row) {
        *detached = memory_object_get(row->object);
        result = detach_with_token(mm, thread, address, size_of(*detached), *detached);
    } else {
        result = -EINVAL;
    }
    memory_change_end(mm);
    return result;
}
