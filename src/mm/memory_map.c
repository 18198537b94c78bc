/*
 * mmap(2), munmap(2), mprotect(2): choosing addresses, checking limits, ordering the host calls and
 * keeping the tree in step.
 *
 * Order of a change in two steps (memory_deferred.c has the change in one): take the token, decide
 * on the tree as it is, reserve what the change of the tree will need, have the stub make the host
 * calls, then change the tree under the lock. So a host call that fails leaves the tree as it was.
 * The host always gets MAP_FIXED and an address chosen here, which is what keeps guest mappings off
 * the stub.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

/* What mmap passes on to the host besides type and MAP_ANONYMOUS. */
#define HOST_MAP_FLAGS (MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK)
/* What a row remembers: what /proc/PID/smaps and later calls ask for. */
#define ROW_FLAGS                                                                                  \
    (MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE |       \
     MAPPING_NO_WRITE | MAPPING_NO_EXEC)
#define HUGE_PAGE (2UL << 20)

static bool is_data(int prot, int flags, enum mapping_kind kind) {
    return (prot & PROT_WRITE) && (flags & MAP_PRIVATE) && !(flags & MAP_GROWSDOWN) &&
           kind != MAPPING_STACK;
}

int memory_may_expand(const struct memory_manager *mm, const struct memory_limits *limits,
                      uint64_t size, uint64_t freed, int prot, int flags, enum mapping_kind kind) {
    bool data = is_data(prot, flags, kind);
    struct memory_totals totals;

    if (limits->address_space == RLIM_INFINITY && (!data || limits->data == RLIM_INFINITY)) {
        return 0;
    }
    memory_totals_locked(mm, &totals);
    if (size > freed && (size - freed > limits->address_space ||
                         totals.mapped > limits->address_space - (size - freed))) {
        return -ENOMEM;
    }
    if (data && (size > limits->data || totals.data > limits->data - size)) {
        return -ENOMEM;
    }
    return 0;
}

static uint64_t choose_in(struct memory_manager *mm, uint64_t size, uint64_t align, uint64_t low,
                          uint64_t high, bool usual) {
    /* What is remembered about gaps holds for the region of all usual choices. */
    if (usual && align == PAGE_SIZE) {
        return tree_gap_remembered(&mm->tree, size, low, high);
    }
    return tree_gap(&mm->tree, size, align, low, high);
}

/* The gap search around the stub's range. */
static uint64_t choose_between(struct memory_manager *mm, uint64_t size, uint64_t align,
                               uint64_t low, uint64_t high, bool usual) {
    uint64_t found = 0;

    if (high <= low) {
        return 0;
    }
    if (mm->reserved_start >= high || mm->reserved_end <= low) {
        return choose_in(mm, size, align, low, high, usual);
    }
    if (mm->reserved_end < high) {
        found = choose_in(mm, size, align, MAX(low, mm->reserved_end), high, usual);
    }
    if (!found && mm->reserved_start > low) {
        found = choose_in(mm, size, align, low, mm->reserved_start, usual);
    }
    return found;
}

int64_t memory_choose(struct memory_manager *mm, uint64_t hint, uint64_t size, uint64_t align,
                      bool below_2g) {
    uint64_t found;

    if (size > USER_TASK_SIZE - USER_MMAP_MIN) {
        return -ENOMEM;
    }
    hint = ALIGN_DOWN(hint, PAGE_SIZE);
    if (hint && hint < USER_MMAP_MIN) {
        hint = USER_MMAP_MIN;
    }
    if (hint && hint <= USER_TASK_SIZE - size && !memory_reserved(mm, hint, hint + size) &&
        (!below_2g || hint + size <= 1UL << 31)) {
        size_t i = tree_index(&mm->tree, hint);

        if (i == mm->tree.count || mapping_guarded_start(tree_row(&mm->tree, i)) >= hint + size) {
            return (int64_t)hint;
        }
    }
    if (below_2g) {
        found = choose_between(mm, size, align, 1UL << 30, 1UL << 31, false);
        if (!found) {
            found = choose_between(mm, size, align, USER_MMAP_MIN, 1UL << 30, false);
        }
        return found ? (int64_t)found : -ENOMEM;
    }
    found = choose_between(mm, size, align, USER_MMAP_MIN, mm->layout.mmap_base, true);
    if (!found) {
        found = choose_between(mm, size, align, mm->layout.mmap_base, USER_TASK_SIZE, false);
    }
    return found ? (int64_t)found : -ENOMEM;
}

void memory_populate_token(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                           uint64_t end) {
    struct slot_call calls[SLOT_MAX_CALLS];
    int64_t results[SLOT_MAX_CALLS];
    size_t count = 0;

    for (size_t i = tree_index(&mm->tree, start);
         i < mm->tree.count && tree_row(&mm->tree, i)->start < end; i++) {
        const struct mapping *row = tree_row(&mm->tree, i);
        uint64_t from = MAX(row->start, start), to = MIN(row->end, end);
        bool write = (row->prot & PROT_WRITE) && (row->flags & MAP_PRIVATE);

        if (row->prot == PROT_NONE || row->kind == MAPPING_VVAR) {
            continue;
        }
        calls[count] = memory_call(SYS_madvise, from, to - from,
                                   write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ, 0, 0, 0);
        calls[count++].flags = SLOT_CALL_MAY_FAIL;
        if (count == SLOT_MAX_CALLS) {
            (void)!memory_host_calls(thread, calls, count, results);
            count = 0;
        }
    }
    if (count) {
        (void)!memory_host_calls(thread, calls, count, results);
    }
}

/* The host's mmap of `row`, with the object's descriptor passed for the purpose. */
static int host_map(struct memory_manager *mm, struct host_thread *thread,
                    const struct mapping *row, int host_flags) {
    uint64_t size = row->end - row->start;
    int flags = (row->flags & (MAP_SHARED | MAP_PRIVATE)) | MAP_FIXED | host_flags;
    int64_t results[3];

    if (!row->object) {
        struct slot_call call = memory_call(SYS_mmap, row->start, size, (uint64_t)row->prot,
                                            (uint64_t)(flags | MAP_ANONYMOUS), UINT64_MAX, 0);

        if (memory_defer(mm, thread, &call, 1, row->start, row->end, DEFERRED_MAP, NULL)) {
            return 0;
        }
        return memory_host_calls(thread, &call, 1, results);
    }
    int fd = row->object->ops->host_fd(row->object, row->prot, row->flags & MAP_SHARED);

    if (fd < 0) {
        return fd;
    }
    int result = host_thread_send_fd(thread, fd);

    if (result) {
        return result;
    }
    struct slot_call calls[3] = {
        {.flags = SLOT_CALL_RECEIVE_FD},
        memory_call(SYS_mmap, row->start, size, (uint64_t)row->prot, (uint64_t)flags,
                    SLOT_RESULT(0), row->offset),
        memory_call(SYS_close, SLOT_RESULT(0), 0, 0, 0, 0, 0),
    };

    calls[1].flags = SLOT_CALL_MAY_FAIL; /* the descriptor is closed all the same */
    calls[2].flags = SLOT_CALL_MAY_FAIL;
    if (memory_defer(mm, thread, calls, 3, row->start, row->end, DEFERRED_MAP, row->object)) {
        return 0;
    }
    result = memory_host_calls(thread, calls, 3, results);
    if (result) {
        return result;
    }
    return results[1] < 0 && results[1] >= -MAX_ERRNO ? (int)results[1] : 0;
}

/* Puts `row` where it replaces whatever was there. The token is held. Takes over no reference. */
static int map_token(struct memory_manager *mm, struct host_thread *thread,
                     const struct mapping *row, int host_flags) {
    struct tree_edit edit;
    int result;

    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &edit, row->start, row->end);
    }
    if (result) {
        return result;
    }
    result = host_map(mm, thread, row, host_flags);
    if (!result) {
        LOCK_GUARD(&mm->lock);
        tree_remove(&mm->tree, &edit, row->start, row->end);
        if (row->object) {
            memory_object_get(row->object);
        }
        tree_insert(&mm->tree, &edit, row);
    }
    tree_edit_end(&edit);
    return result;
}

int memory_map_anonymous_token(struct memory_manager *mm, struct host_thread *thread,
                               uint64_t start, uint64_t end, int prot, int flags,
                               enum mapping_kind kind) {
    struct mapping row = {.start = start,
                          .end = end,
                          .prot = prot,
                          .flags = (flags & ROW_FLAGS) | MAP_PRIVATE | MAP_ANONYMOUS,
                          .kind = kind};

    return map_token(mm, thread, &row, flags & HOST_MAP_FLAGS);
}

static int64_t map_address(struct memory_manager *mm, uint64_t address, uint64_t size, int flags) {
    if (size > USER_TASK_SIZE) {
        return -ENOMEM;
    }
    if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))) {
        /* Linux places anonymous memory that is made of whole huge pages on their border. */
        uint64_t align =
            (flags & MAP_ANONYMOUS) && IS_ALIGNED(size, HUGE_PAGE) ? HUGE_PAGE : PAGE_SIZE;
        int64_t found = memory_choose(mm, address, size, align, flags & MAP_32BIT);

        if (found == -ENOMEM && align != PAGE_SIZE) {
            found = memory_choose(mm, address, size, PAGE_SIZE, flags & MAP_32BIT);
        }
        return found;
    }
    if (address > USER_TASK_SIZE - size) {
        return -ENOMEM;
    }
    if (!IS_ALIGNED(address, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (address < USER_MMAP_MIN) {
        return -EPERM;
    }
    if (flags & MAP_FIXED_NOREPLACE) {
        if (memory_reserved(mm, address, address + size) ||
            tree_overlaps(&mm->tree, address, address + size)) {
            return -EEXIST;
        }
    } else if (memory_reserved(mm, address, address + size)) {
        return -ENOMEM;
    }
    return (int64_t)address;
}

static int64_t map_with_token(struct memory_manager *mm, struct host_thread *thread,
                              const struct memory_limits *limits, uint64_t address, uint64_t size,
                              int prot, int flags, struct memory_object *object, uint64_t offset,
                              enum mapping_kind kind) {
    if (mm->tree.count >= MAPPING_COUNT_MAX) {
        return -ENOMEM;
    }
    int64_t chosen = map_address(mm, address, size, flags);

    if (chosen < 0) {
        return chosen;
    }
    uint64_t start = (uint64_t)chosen;

    if (flags & MAP_FIXED) {
        memory_patch_forget(mm, thread, start, start + size);
    }
    int result = memory_may_expand(
        mm, limits, size, flags & MAP_FIXED ? tree_mapped(&mm->tree, start, start + size) : 0, prot,
        flags, kind);

    if (result) {
        return result;
    }
    if (mm->lock_future & MCL_FUTURE) {
        flags |= MAP_LOCKED;
    }
    if (flags & MAP_LOCKED) {
        struct memory_totals totals;

        if (limits->locked == 0) {
            return -EPERM;
        }
        memory_totals_locked(mm, &totals);
        if (size > limits->locked || totals.locked > limits->locked - size) {
            return -EAGAIN;
        }
    }
    struct mapping row = {.start = start,
                          .end = start + size,
                          .prot = prot,
                          .flags = flags & ROW_FLAGS,
                          .kind = kind,
                          .offset = offset,
                          .object = object};

    result = map_token(mm, thread, &row, flags & HOST_MAP_FLAGS);
    if (result) {
        return result;
    }
    if ((flags & MAP_LOCKED) && !(mm->lock_future & MCL_ONFAULT)) {
        memory_populate_token(mm, thread, start, start + size);
    }
    return chosen;
}

int64_t memory_map(struct memory_manager *mm, struct host_thread *thread,
                   const struct memory_limits *limits, uint64_t address, uint64_t size, int prot,
                   int flags, struct memory_object *object, uint64_t offset,
                   enum mapping_kind kind) {
    struct memory_object *shared CLEANUP(memory_object_put) = NULL;

    if (size == 0) {
        return -EINVAL;
    }
    size = ALIGN_UP(size, PAGE_SIZE);
    if (size == 0) {
        return -ENOMEM;
    }
    if (!IS_ALIGNED(offset, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (offset + size < offset) {
        return -EOVERFLOW;
    }
    if (!object && size > USER_TASK_SIZE) {
        return -ENOMEM;
    }
    prot &= PROT_READ | PROT_WRITE | PROT_EXEC;
    if ((flags & MAP_GROWSDOWN) && (object || (flags & MAP_SHARED))) {
        return -EINVAL;
    }
    if (!object) {
        offset = 0;
    }
    if (!object && (flags & MAP_SHARED)) {
        shared = shared_memory_new(size);
        if (IS_ERR(shared)) {
            return PTR_ERR(STEAL(shared));
        }
        object = shared;
    }
    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    memory_deferrable(mm, !(flags & MAP_LOCKED) && !mm->lock_future);
    int64_t mapped =
        map_with_token(mm, thread, limits, address, size, prot, flags, object, offset, kind);

    memory_change_end(mm);
    return mapped;
}

int memory_unmap_token(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                       uint64_t end) {
    struct tree_edit edit;
    size_t first = tree_index(&mm->tree, start), last = tree_index(&mm->tree, end);
    int64_t results[2];
    struct slot_call calls[2];
    size_t count = 0;
    int result;

    if (!tree_overlaps(&mm->tree, start, end)) {
        return 0;
    }
    memory_patch_forget(mm, thread, start, end);
    if (first == last && tree_row(&mm->tree, first)->start < start &&
        tree_row(&mm->tree, first)->end > end && mm->tree.count >= MAPPING_COUNT_MAX) {
        return -ENOMEM; /* would make one row more */
    }
    /* The stub is a hole to the guest: unmapping over it succeeds and spares it. */
    if (!memory_reserved(mm, start, end)) {
        calls[count++] = memory_call(SYS_munmap, start, end - start, 0, 0, 0, 0);
    } else {
        if (start < mm->reserved_start) {
            calls[count++] = memory_call(SYS_munmap, start, mm->reserved_start - start, 0, 0, 0, 0);
        }
        if (end > mm->reserved_end) {
            calls[count++] =
                memory_call(SYS_munmap, mm->reserved_end, end - mm->reserved_end, 0, 0, 0, 0);
        }
    }
    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &edit, start, end);
    }
    if (result) {
        return result;
    }
    if (!memory_defer(mm, thread, calls, count, start, end, DEFERRED_UNMAP, NULL)) {
        result = memory_host_calls(thread, calls, count, results);
    }
    if (!result) {
        LOCK_GUARD(&mm->lock);
        tree_remove(&mm->tree, &edit, start, end);
    }
    tree_edit_end(&edit);
    return result;
}

int memory_unmap(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                 uint64_t size) {
    if (!IS_ALIGNED(address, PAGE_SIZE) || address > USER_TASK_SIZE ||
        size > USER_TASK_SIZE - address) {
        return -EINVAL;
    }
    size = ALIGN_UP(size, PAGE_SIZE);
    if (size == 0) {
        return -EINVAL;
    }
    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    memory_deferrable(mm, true);
    result = memory_unmap_token(mm, thread, address, address + size);
    memory_change_end(mm);
    return result;
}

/* How far from start the protection may change: end, or less with the reason in *error. */
static uint64_t protect_extent(const struct memory_manager *mm, uint64_t start, uint64_t end,
                               int prot, int *error) {
    uint64_t at = start;

    *error = 0;
    for (size_t i = tree_index(&mm->tree, start); at < end; i++) {
        const struct mapping *row = i < mm->tree.count ? tree_row(&mm->tree, i) : NULL;

        if (!row || row->start > at) {
            *error = -ENOMEM;
            return at;
        }
        if (((prot & PROT_WRITE) && (row->flags & MAPPING_NO_WRITE)) ||
            ((prot & PROT_EXEC) && (row->flags & MAPPING_NO_EXEC))) {
            *error = -EACCES;
            return at;
        }
        at = MIN(row->end, end);
    }
    return end;
}

static int protect_with_token(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                              uint64_t end, int prot, bool grows_down) {
    struct tree_edit edit;
    struct slot_call call;
    int64_t host_result;
    int error, result;

    if (grows_down) {
        const struct mapping *row = tree_find(&mm->tree, start);

        if (!row) {
            size_t i = tree_index(&mm->tree, start);

            row = i < mm->tree.count && tree_row(&mm->tree, i)->start < end ? tree_row(&mm->tree, i)
                                                                            : NULL;
            if (!row) {
                return -ENOMEM;
            }
        }
        if (!(row->flags & MAP_GROWSDOWN) && row->kind != MAPPING_STACK) {
            return -EINVAL;
        }
        start = row->start;
    }
    end = protect_extent(mm, start, end, prot, &error);
    if (end <= start) {
        return error;
    }
    if (mm->tree.count + 2 > MAPPING_COUNT_MAX) {
        return -ENOMEM;
    }
    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &edit, start, end);
    }
    if (result) {
        return result;
    }
    call = memory_call(SYS_mprotect, start, end - start, (uint64_t)prot, 0, 0, 0);
    /* Of a range with a hole behind it the result is the hole's, whatever the host says. */
    memory_deferrable(mm, error == 0);
    if (!memory_defer(mm, thread, &call, 1, start, end, DEFERRED_PROTECT, NULL)) {
        result = memory_host_calls(thread, &call, 1, &host_result);
    }
    if (!result) {
        LOCK_GUARD(&mm->lock);
        tree_update(&mm->tree, &edit, start, end, prot, 0, 0);
    }
    tree_edit_end(&edit);
    return result ? result : error;
}

int memory_protect(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                   uint64_t size, int prot) {
    bool grows_down = prot & PROT_GROWSDOWN;

    if ((prot & (PROT_GROWSDOWN | PROT_GROWSUP)) == (PROT_GROWSDOWN | PROT_GROWSUP) ||
        (prot & PROT_GROWSUP) || !IS_ALIGNED(address, PAGE_SIZE)) {
        return -EINVAL;
    }
    if (size == 0) {
        return 0;
    }
    size = ALIGN_UP(size, PAGE_SIZE);
    if (size == 0 || address + size <= address) {
        return -ENOMEM;
    }
    prot &= ~PROT_GROWSDOWN;
    if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | 0x8 /* PROT_SEM */)) {
        return -EINVAL;
    }
    prot &= PROT_READ | PROT_WRITE | PROT_EXEC;

    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    memory_patch_forget(mm, thread, address, address + size);
    result = protect_with_token(mm, thread, address, address + size, prot, grows_down);
    memory_change_end(mm);
    return result;
}
