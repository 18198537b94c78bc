/*
 * The two mappings that the kernel itself grows: the heap of brk(2) and MAP_GROWSDOWN mappings.
 *
 * The heap is anonymous memory from layout.start_brk; layout.brk moves by bytes, the row by pages.
 * A growing mapping is mapped on the host without MAP_GROWSDOWN (the host's own growth would not be
 * seen here); a fault just below it comes to memory_fault(), which maps more.
 */
#include "mm/mm_internal.h"

void memory_publish_brk_locked(struct memory_manager *mm) {
    host_aspace_publish_brk(mm->aspace, mm->deferred.brk_before ? 0 : mm->layout.brk);
}

void memory_set_brk_locked(struct memory_manager *mm, uint64_t brk) {
    mm->layout.brk = brk;
    memory_publish_brk_locked(mm);
}

static uint64_t brk_with_token(struct memory_manager *mm, struct host_thread *thread,
                               const struct memory_limits *limits, uint64_t brk) {
    struct memory_layout *layout = &mm->layout;
    uint64_t old = layout->brk, old_end, end;

    if (brk < layout->start_brk || brk > USER_TASK_SIZE - PAGE_SIZE) {
        return old;
    }
    if (limits->data != RLIM_INFINITY &&
        (brk - layout->start_brk) + (layout->end_data - layout->start_data) > limits->data) {
        return old;
    }
    old_end = ALIGN_UP(old, PAGE_SIZE);
    end = ALIGN_UP(brk, PAGE_SIZE);
    if (end < old_end) {
        memory_deferrable(mm, true);
        if (memory_unmap_token(mm, thread, end, old_end)) {
            return old;
        }
    } else if (end > old_end) {
        size_t next = tree_index(&mm->tree, old_end);
        int flags = mm->lock_future & MCL_FUTURE ? MAP_LOCKED : 0;

        if (memory_reserved(mm, old_end, end) ||
            (next < mm->tree.count && mapping_guarded_start(tree_row(&mm->tree, next)) < end)) {
            return old;
        }
        memory_deferrable(mm, !mm->lock_future);
        if (mm->tree.count >= MAPPING_COUNT_MAX ||
            memory_may_expand(mm, limits, end - old_end, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE,
                              MAPPING_HEAP) ||
            memory_map_anonymous_token(mm, thread, old_end, end, PROT_READ | PROT_WRITE, flags,
                                       MAPPING_HEAP)) {
            return old;
        }
        if (flags && !(mm->lock_future & MCL_ONFAULT)) {
            memory_populate_token(mm, thread, old_end, end);
        }
    }
    memory_defer_brk(mm, old);
    LOCK_GUARD(&mm->lock);
    memory_set_brk_locked(mm, brk);
    return brk;
}

int64_t memory_brk(struct memory_manager *mm, struct host_thread *thread,
                   const struct memory_limits *limits, uint64_t brk) {
    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    uint64_t now = brk_with_token(mm, thread, limits, brk);

    memory_change_end(mm);
    return (int64_t)now;
}

static bool fault_with_token(struct memory_manager *mm, struct host_thread *thread,
                             const struct memory_limits *limits, uint64_t address) {
    uint64_t page = ALIGN_DOWN(address, PAGE_SIZE);
    size_t i = tree_index(&mm->tree, page);
    const struct mapping *row = i < mm->tree.count ? tree_row(&mm->tree, i) : NULL;

    if (!row || page < USER_MMAP_MIN) {
        return false;
    }
    if (row->start <= page) {
        /* Another thread has grown it over this page since: run the instruction again. */
        return row->flags & MAP_GROWSDOWN;
    }
    if (!(row->flags & MAP_GROWSDOWN) || row->prot == PROT_NONE ||
        memory_reserved(mm, page, row->start)) {
        return false;
    }
    /* acct_stack_growth(): the whole mapping within RLIMIT_STACK; the gap below stays free. */
    if (row->end - page > limits->stack) {
        return false;
    }
    if (i > 0 && tree_row(&mm->tree, i - 1)->prot != PROT_NONE &&
        tree_row(&mm->tree, i - 1)->end + STACK_GUARD > page &&
        !(tree_row(&mm->tree, i - 1)->flags & MAP_GROWSDOWN)) {
        return false;
    }
    if (memory_may_expand(mm, limits, row->start - page, 0, row->prot, row->flags, row->kind)) {
        return false;
    }
    return memory_map_anonymous_token(mm, thread, page, row->start, row->prot, row->flags,
                                      row->kind) == 0;
}

bool memory_fault(struct memory_manager *mm, struct host_thread *thread,
                  const struct memory_limits *limits, uint64_t address) {
    {
        /* Most faults are plain ones: no token for those. */
        LOCK_GUARD(&mm->lock);
        size_t i = tree_index(&mm->tree, ALIGN_DOWN(address, PAGE_SIZE));

        if (i == mm->tree.count || !(tree_row(&mm->tree, i)->flags & MAP_GROWSDOWN)) {
            return false;
        }
    }
    if (memory_change_begin(mm)) {
        return true; /* a signal goes first; then the instruction faults again */
    }
    bool grown = fault_with_token(mm, thread, limits, address);

    memory_change_end(mm);
    return grown;
}
