/*
 * madvise(2), msync(2), mincore(2), mlock(2): what is said or asked about mappings that exist.
 *
 * Advice goes to the host as it is, but never over the stub's range, and only advice that concerns
 * the caller's memory alone: MADV_HWPOISON and its kin stay out, and so does KSM, whose page
 * sharing lets one sandbox learn about another. mlock(2) faults the pages in and counts them; pages
 * of a guest are never pinned on the host, whose limit for that is not the guest's.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* 0, or why the host does not hear of it. */
static int advice_check(int advice) {
    switch (advice) {
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_DONTFORK:
    case MADV_DOFORK:
    case MADV_HUGEPAGE:
    case MADV_NOHUGEPAGE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case MADV_WIPEONFORK:
    case MADV_KEEPONFORK:
    case MADV_COLD:
    case MADV_PAGEOUT:
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
    case MADV_COLLAPSE:
    case MADV_GUARD_INSTALL:
    case MADV_GUARD_REMOVE:
        return 0;
    case MADV_HWPOISON:
    case 101: /* MADV_SOFT_OFFLINE */
        return -EPERM;
    default:
        log_once(LOG_WARN, "madvise", (uint64_t)advice, "madvise: advice %d is not supported",
                 advice);
        return -EINVAL;
    }
}

/* Locked pages are neither dropped nor reclaimed: EINVAL, mlock(2). */
static bool advice_meets_locked(const struct memory_manager *mm, uint64_t start, uint64_t end,
                                int advice) {
    if (advice != MADV_DONTNEED && advice != MADV_FREE && advice != MADV_COLD &&
        advice != MADV_PAGEOUT) {
        return false;
    }
    for (size_t i = tree_index(&mm->tree, start);
         i < mm->tree.count && tree_row(&mm->tree, i)->start < end; i++) {
        if (tree_row(&mm->tree, i)->flags & MAP_LOCKED) {
            return true;
        }
    }
    return false;
}

static int advise_with_token(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                             uint64_t end, int advice) {
    int set = advice == MADV_DONTFORK     ? MAPPING_DONTFORK
              : advice == MADV_WIPEONFORK ? MAPPING_WIPEONFORK
                                          : 0;
    int clear = advice == MADV_DOFORK       ? MAPPING_DONTFORK
                : advice == MADV_KEEPONFORK ? MAPPING_WIPEONFORK
                                            : 0;
    struct slot_call calls[2];
    int64_t results[2];
    size_t count = 0;
    struct tree_edit edit;
    int result, hole = 0;

    if (advice_meets_locked(mm, start, end, advice)) {
        return -EINVAL;
    }
    if (!memory_reserved(mm, start, end)) {
        calls[count++] = memory_call(SYS_madvise, start, end - start, (uint64_t)advice, 0, 0, 0);
    } else {
        hole = -ENOMEM;
        if (start < mm->reserved_start) {
            calls[count++] = memory_call(SYS_madvise, start, mm->reserved_start - start,
                                         (uint64_t)advice, 0, 0, 0);
        }
        if (end > mm->reserved_end) {
            calls[count++] = memory_call(SYS_madvise, mm->reserved_end, end - mm->reserved_end,
                                         (uint64_t)advice, 0, 0, 0);
        }
    }
    if (count == 0) {
        return hole;
    }
    if (set || clear) {
        LOCK_GUARD(&mm->lock);
        if (mm->tree.count + 2 > MAPPING_COUNT_MAX) {
            return -ENOMEM;
        }
        result = tree_edit_begin(&mm->tree, &edit, start, end);
        if (result) {
            return result;
        }
    }
    for (size_t i = 0; i < count; i++) {
        calls[i].flags = SLOT_CALL_MAY_FAIL; /* over a hole it does the rest, then says ENOMEM */
    }
    /* With marks to be set, or a hole, the result decides about more than the guest's rax. */
    memory_deferrable(mm, !set && !clear && !hole && count == 1);
    if (memory_defer(mm, thread, calls, 1, start, end, DEFERRED_ADVICE, NULL)) {
        return 0;
    }
    result = memory_host_calls(thread, calls, count, results);
    for (size_t i = 0; i < count && !result; i++) {
        if (results[i] < 0 && results[i] >= -MAX_ERRNO) {
            result = (int)results[i];
        }
    }
    if (set || clear) {
        if (!result || result == -ENOMEM) {
            LOCK_GUARD(&mm->lock);
            tree_update(&mm->tree, &edit, start, end, -1, set, clear);
        }
        tree_edit_end(&edit);
    }
    return result ? result : hole;
}

int memory_advise(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                  uint64_t size, int advice) {
    int result = advice_check(advice);
    uint64_t length = ALIGN_UP(size, PAGE_SIZE);

    if (result) {
        return result;
    }
    if (!IS_ALIGNED(address, PAGE_SIZE) || (size && !length) || address + length < address) {
        return -EINVAL;
    }
    if (length == 0) {
        return 0;
    }
    if (address + length > USER_TASK_SIZE) {
        return -ENOMEM;
    }
    result = memory_change_begin(mm);
    if (result) {
        return result;
    }
    memory_patch_forget(mm, thread, address, address + length);
    result = advise_with_token(mm, thread, address, address + length, advice);
    memory_change_end(mm);
    return result;
}

int memory_sync(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                uint64_t size, int flags) {
    struct memory_object *object CLEANUP(memory_object_put) = NULL;
    uint64_t at = address, end;
    int result = 0;

    if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || !IS_ALIGNED(address, PAGE_SIZE) ||
        ((flags & MS_ASYNC) && (flags & MS_SYNC))) {
        return -EINVAL;
    }
    end = address + ALIGN_UP(size, PAGE_SIZE);
    if (end < address) {
        return -ENOMEM;
    }
    /*
     * The kernel's own descriptor is synced: the host writes back what any map of the file has made
     * dirty. The tree may change between two rows, as Linux's may while it drops its lock.
     */
    while (at < end) {
        int prot = 0;
        {
            LOCK_GUARD(&mm->lock);
            size_t i = tree_index(&mm->tree, at);
            const struct mapping *row = i < mm->tree.count ? tree_row(&mm->tree, i) : NULL;

            if (!row || row->start >= end) {
                return -ENOMEM;
            }
            if (row->start > at) {
                result = -ENOMEM;
            }
            if ((flags & MS_INVALIDATE) && (row->flags & MAP_LOCKED)) {
                return -EBUSY;
            }
            if ((flags & MS_SYNC) && row->object && (row->flags & MAP_SHARED)) {
                object = memory_object_get(row->object);
                prot = row->prot;
            }
            at = row->end;
        }
        /* With no lock held: the object may take its own, or make the descriptor. */
        int fd = object ? object->ops->host_fd(object, prot, true) : -1;

        if (fd >= 0) {
            int error = host_fsync(fd, true);

            if (error && error != -EINVAL) {
                return error;
            }
        }
        if (object) {
            memory_object_put(STEAL(object));
        }
    }
    return result;
}

int memory_resident(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                    uint64_t size, struct user_address vector) {
    uint64_t length = ALIGN_UP(size, PAGE_SIZE), pages = length >> PAGE_SHIFT, end;
    int result;

    if (!IS_ALIGNED(address, PAGE_SIZE)) {
        return -EINVAL;
    }
    if ((size && !length) || address > USER_TASK_SIZE || length > USER_TASK_SIZE - address) {
        return -ENOMEM;
    }
    if (vector.value > USER_TASK_SIZE || pages > USER_TASK_SIZE - vector.value ||
        memory_reserved(mm, vector.value, vector.value + pages)) {
        return -EFAULT;
    }
    if (length == 0) {
        return 0;
    }
    result = memory_change_begin(mm);
    if (result) {
        return result;
    }
    end = tree_hole(&mm->tree, address, address + length);
    if (end > address) {
        struct slot_call call =
            memory_call(SYS_mincore, address, end - address, vector.value, 0, 0, 0);
        int64_t host_result;

        result = memory_host_calls(thread, &call, 1, &host_result);
    }
    memory_change_end(mm);
    return result ? result : end < address + length ? -ENOMEM : 0;
}

static int lock_with_token(struct memory_manager *mm, struct host_thread *thread,
                           const struct memory_limits *limits, uint64_t start, uint64_t end,
                           bool lock, bool populate) {
    struct tree_edit edit;
    uint64_t extent = tree_hole(&mm->tree, start, end);
    int result;

    if (lock) {
        struct memory_totals totals;
        uint64_t fresh = end - start;

        memory_totals_locked(mm, &totals);
        for (size_t i = tree_index(&mm->tree, start);
             i < mm->tree.count && tree_row(&mm->tree, i)->start < end; i++) {
            const struct mapping *row = tree_row(&mm->tree, i);

            if (row->flags & MAP_LOCKED) {
                fresh -= MIN(row->end, end) - MAX(row->start, start);
            }
        }
        if (fresh > limits->locked || totals.locked > limits->locked - fresh) {
            return -ENOMEM;
        }
    }
    if (extent > start) {
        LOCK_GUARD(&mm->lock);
        if (mm->tree.count + 2 > MAPPING_COUNT_MAX) {
            return -ENOMEM;
        }
        result = tree_edit_begin(&mm->tree, &edit, start, extent);
        if (result) {
            return result;
        }
        tree_update(&mm->tree, &edit, start, extent, -1, lock ? MAP_LOCKED : 0,
                    lock ? 0 : MAP_LOCKED);
    }
    if (extent > start) {
        tree_edit_end(&edit);
        if (lock && populate) {
            memory_populate_token(mm, thread, start, extent);
        }
    }
    return extent < end ? -ENOMEM : 0;
}

int memory_lock(struct memory_manager *mm, struct host_thread *thread,
                const struct memory_limits *limits, uint64_t address, uint64_t size, int flags,
                bool lock) {
    uint64_t start = ALIGN_DOWN(address, PAGE_SIZE), end;

    if (flags & ~MLOCK_ONFAULT) {
        return -EINVAL;
    }
    if (lock && limits->locked == 0) {
        return -EPERM;
    }
    end = ALIGN_UP(size + (address - start), PAGE_SIZE) + start;
    if (end < start) {
        return -EINVAL;
    }
    if (end == start) {
        return 0;
    }
    if (end > USER_TASK_SIZE) {
        return -ENOMEM;
    }
    int result = memory_change_begin(mm);

    if (result) {
        return result;
    }
    result = lock_with_token(mm, thread, limits, start, end, lock, !(flags & MLOCK_ONFAULT));
    memory_change_end(mm);
    return result;
}

int memory_lock_all(struct memory_manager *mm, struct host_thread *thread,
                    const struct memory_limits *limits, int flags, bool lock) {
    struct memory_totals totals;
    struct tree_edit edit;
    int result;

    if (lock &&
        (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)) {
        return -EINVAL;
    }
    if (lock && limits->locked == 0) {
        return -EPERM;
    }
    result = memory_change_begin(mm);
    if (result) {
        return result;
    }
    memory_totals_locked(mm, &totals);
    if (lock && (flags & MCL_CURRENT) && totals.mapped > limits->locked) {
        memory_change_end(mm);
        return -ENOMEM;
    }
    {
        LOCK_GUARD(&mm->lock);
        result = tree_edit_begin(&mm->tree, &edit, 0, USER_TASK_SIZE);
        if (!result) {
            mm->lock_future = lock ? flags & (MCL_FUTURE | MCL_ONFAULT) : 0;
            if (!lock || (flags & MCL_CURRENT)) {
                tree_update(&mm->tree, &edit, 0, USER_TASK_SIZE, -1, lock ? MAP_LOCKED : 0,
                            lock ? 0 : MAP_LOCKED);
            }
        }
    }
    if (!result) {
        tree_edit_end(&edit);
        if (lock && (flags & MCL_CURRENT) && !(flags & MCL_ONFAULT)) {
            memory_populate_token(mm, thread, 0, USER_TASK_SIZE);
        }
    }
    memory_change_end(mm);
    return result;
}
