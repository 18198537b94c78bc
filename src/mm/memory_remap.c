/*
 * mremap(2). Checks and errnos follow Linux's mm/mremap.c; where a mapping moves the new place is
 * chosen here and the host gets MREMAP_FIXED.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct remap {
    struct memory_manager *mm;
    struct host_thread *thread;
    const struct memory_limits *limits;
    uint64_t address, old_size, new_size, new_address;
    int flags;
};

/* May the mapping at `address` become new_size bytes? The row, or NULL with *error. */
static const struct mapping *remap_check(const struct remap *remap, int *error) {
    const struct mapping *row = tree_find(&remap->mm->tree, remap->address);
    struct memory_totals totals;

    *error = -EFAULT;
    if (!row) {
        return NULL;
    }
    if (!remap->old_size && !(row->flags & MAP_SHARED)) {
        *error = -EINVAL;
        return NULL;
    }
    if (row->kind == MAPPING_VVAR ||
        (row->kind == MAPPING_VDSO && remap->new_size != remap->old_size)) {
        return NULL;
    }
    if (remap->old_size > row->end - remap->address) {
        return NULL;
    }
    if (remap->new_size <= remap->old_size && !(remap->flags & MREMAP_DONTUNMAP)) {
        return row;
    }
    uint64_t more =
        remap->flags & MREMAP_DONTUNMAP ? remap->new_size : remap->new_size - remap->old_size;

    if (row->object &&
        row->offset + (remap->address - row->start) + remap->new_size < row->offset) {
        *error = -EINVAL;
        return NULL;
    }
    if (row->flags & MAP_LOCKED) {
        memory_totals_locked(remap->mm, &totals);
        if (more > remap->limits->locked || totals.locked > remap->limits->locked - more) {
            *error = -EAGAIN;
            return NULL;
        }
    }
    *error = memory_may_expand(remap->mm, remap->limits, more, 0, row->prot, row->flags, row->kind);
    return *error ? NULL : row;
}

static int host_remap(const struct remap *remap, uint64_t old_size, uint64_t flags, uint64_t to) {
    struct slot_call call =
        memory_call(SYS_mremap, remap->address, old_size, remap->new_size, flags, to, 0);
    int64_t result;

    return memory_host_calls(remap->thread, &call, 1, &result);
}

/* The mapping moves to `to`, replacing what is there. */
static int64_t remap_move(const struct remap *remap, uint64_t to) {
    struct memory_manager *mm = remap->mm;
    struct mapping row = *tree_find(&mm->tree, remap->address);
    struct tree_edit source, target;
    int result;

    if (mm->tree.count + 4 > MAPPING_COUNT_MAX) {
        return -ENOMEM;
    }
    if (row.object) {
        row.offset += remap->address - row.start;
    }
    if (row.kind == MAPPING_HEAP || row.kind == MAPPING_STACK) {
        row.kind = MAPPING_NORMAL;
    }
    row.start = to;
    row.end = to + remap->new_size;
    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &target, row.start, row.end);
        if (!result) {
            result = tree_edit_begin(&mm->tree, &source, remap->address,
                                     remap->address + remap->old_size);
            if (result) {
                tree_edit_end(&target);
            }
        }
    }
    if (result) {
        return result;
    }
    result = host_remap(remap, remap->old_size,
                        MREMAP_MAYMOVE | MREMAP_FIXED | (remap->flags & MREMAP_DONTUNMAP), to);
    if (!result) {
        LOCK_GUARD(&mm->lock);
        if (row.object) {
            memory_object_get(row.object);
        }
        tree_remove(&mm->tree, &target, row.start, row.end);
        if (!(remap->flags & MREMAP_DONTUNMAP) && remap->old_size) {
            tree_remove(&mm->tree, &source, remap->address, remap->address + remap->old_size);
        } else if (remap->flags & MREMAP_DONTUNMAP) {
            tree_update(&mm->tree, &source, remap->address, remap->address + remap->old_size, -1, 0,
                        MAP_LOCKED);
        }
        tree_insert(&mm->tree, &target, &row);
    }
    tree_edit_end(&source);
    tree_edit_end(&target);
    if (result) {
        return result;
    }
    if ((row.flags & MAP_LOCKED) && remap->new_size > remap->old_size) {
        memory_populate_token(mm, remap->thread, to + remap->old_size, row.end);
    }
    return (int64_t)to;
}

/* The new place as the caller gave it, before anything is looked up. */
static int remap_check_target(const struct remap *remap) {
    uint64_t end = remap->address + remap->old_size;

    if (!IS_ALIGNED(remap->new_address, PAGE_SIZE) || remap->new_size > USER_TASK_SIZE ||
        remap->new_address > USER_TASK_SIZE - remap->new_size) {
        return -EINVAL;
    }
    if ((remap->flags & MREMAP_FIXED) && end > remap->new_address &&
        remap->new_address + remap->new_size > remap->address) {
        return -EINVAL;
    }
    return 0;
}

/* MREMAP_FIXED or MREMAP_DONTUNMAP: mremap_to(). */
static int64_t remap_to(struct remap *remap) {
    struct memory_manager *mm = remap->mm;
    uint64_t end = remap->address + remap->old_size;
    int error;

    if (remap->flags & MREMAP_FIXED) {
        if (remap->new_address < USER_MMAP_MIN) {
            return -EPERM;
        }
        if (memory_reserved(mm, remap->new_address, remap->new_address + remap->new_size)) {
            return -ENOMEM;
        }
    }
    if (remap->old_size > remap->new_size) {
        const struct mapping *row = tree_find(&mm->tree, remap->address);

        if (!row) {
            return -EFAULT;
        }
        error = memory_unmap_token(mm, remap->thread, remap->address + remap->new_size, end);
        if (error) {
            return error;
        }
        remap->old_size = remap->new_size;
    }
    if (!remap_check(remap, &error)) {
        return error;
    }
    int64_t to = (int64_t)remap->new_address;

    if (!(remap->flags & MREMAP_FIXED)) {
        to = memory_choose(mm, remap->new_address, remap->new_size, PAGE_SIZE, false);
        if (to < 0) {
            return to;
        }
    }
    return remap_move(remap, (uint64_t)to);
}

/* The mapping's last old_size bytes grow where they are. */
static int remap_grow(const struct remap *remap) {
    struct memory_manager *mm = remap->mm;
    uint64_t end = remap->address + remap->old_size;
    struct mapping row = *tree_find(&mm->tree, remap->address);
    struct tree_edit edit;
    int result;

    if (row.object) {
        row.offset += end - row.start;
    }
    row.start = end;
    row.end = remap->address + remap->new_size;
    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &edit, row.start, row.end);
    }
    if (result) {
        return result;
    }
    result = host_remap(remap, remap->old_size, 0, 0);
    if (!result) {
        LOCK_GUARD(&mm->lock);
        if (row.object) {
            memory_object_get(row.object);
        }
        tree_insert(&mm->tree, &edit, &row);
    }
    tree_edit_end(&edit);
    if (!result && (row.flags & MAP_LOCKED)) {
        memory_populate_token(mm, remap->thread, row.start, row.end);
    }
    return result;
}

static bool remap_room(const struct memory_manager *mm, uint64_t start, uint64_t end) {
    size_t i = tree_index(&mm->tree, start);

    return end > start && end <= USER_TASK_SIZE && !memory_reserved(mm, start, end) &&
           (i == mm->tree.count || mapping_guarded_start(tree_row(&mm->tree, i)) >= end);
}

static int64_t remap_with_token(struct remap *remap) {
    struct memory_manager *mm = remap->mm;
    const struct mapping *row = tree_find(&mm->tree, remap->address);
    int error;

    if (!row) {
        return -EFAULT;
    }
    if (remap->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        return remap_to(remap);
    }
    if (remap->old_size >= remap->new_size) {
        /* Shrinking is unmapping. */
        if (remap->old_size > remap->new_size) {
            if (remap->old_size > USER_TASK_SIZE - remap->address) {
                return -EINVAL;
            }
            error = memory_unmap_token(mm, remap->thread, remap->address + remap->new_size,
                                       remap->address + remap->old_size);
            if (error) {
                return error;
            }
        }
        return (int64_t)remap->address;
    }
    row = remap_check(remap, &error);
    if (!row) {
        return error;
    }
    if (remap->old_size && remap->old_size == row->end - remap->address &&
        remap_room(mm, row->end, remap->address + remap->new_size)) {
        error = remap_grow(remap);
        if (!error) {
            return (int64_t)remap->address;
        }
        if (error != -ENOMEM && error != -EFAULT) {
            return error;
        }
        /* The host could not: fall back to moving, as Linux does when there is no room. */
    }
    if (!(remap->flags & MREMAP_MAYMOVE)) {
        return -ENOMEM;
    }
    int64_t to = memory_choose(mm, 0, remap->new_size, PAGE_SIZE, false);

    return to < 0 ? to : remap_move(remap, (uint64_t)to);
}

int64_t memory_remap(struct memory_manager *mm, struct host_thread *thread,
                     const struct memory_limits *limits, uint64_t address, uint64_t old_size,
                     uint64_t new_size, int flags, uint64_t new_address) {
    struct remap remap = {.mm = mm,
                          .thread = thread,
                          .limits = limits,
                          .address = address,
                          .new_address = new_address,
                          .flags = flags};

    if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        return -EINVAL;
    }
    if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE)) {
        return -EINVAL;
    }
    if ((flags & MREMAP_DONTUNMAP) && old_size != new_size) {
        return -EINVAL;
    }
    if (!IS_ALIGNED(address, PAGE_SIZE)) {
        return -EINVAL;
    }
    remap.old_size = ALIGN_UP(old_size, PAGE_SIZE);
    remap.new_size = ALIGN_UP(new_size, PAGE_SIZE);
    if (remap.new_size == 0 || (old_size && !remap.old_size)) {
        return -EINVAL;
    }
    if (address >= USER_TASK_SIZE) {
        return -EFAULT;
    }
    if (remap.new_size > USER_TASK_SIZE) {
        return -ENOMEM;
    }
    if (remap.old_size > USER_TASK_SIZE - address) {
        return new_size <= old_size ? -EINVAL : -EFAULT;
    }
    int result = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) ? remap_check_target(&remap) : 0;

    if (!result) {
        result = memory_change_begin(mm);
    }

    if (result) {
        return result;
    }
    memory_patch_forget(mm, thread, address, address + remap.old_size);
    if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
        memory_patch_forget(mm, thread, new_address, new_address + remap.new_size);
    }
    int64_t mapped = remap_with_token(&remap);

    memory_change_end(mm);
    return mapped;
}
