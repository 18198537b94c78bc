/*
 * Deferred changes: mmap(2) and its like in one hand-over instead of two. The tree is changed
 * first; the host calls go along with the order to resume the guest, which is not reported unless
 * one fails. Then the change of the tree is undone and the guest gets the error.
 *
 * The change token stays with the calling thread until its host calls are known to be made: from
 * its next event (memory_settle), or, when another task of the guest wants the token sooner, from a
 * word in the slot (host_thread_calls_finished), after which the stub either has said that all are
 * made or will report. So no other change of the tree comes between this one and its host calls.
 *
 * Deferred are only changes that are simple to undo: few rows, and none whose object could lose its
 * last reference by it, since the copies kept for the undoing would put that off. Everything else
 * goes in two steps: the host calls, then the tree.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

static _Atomic bool deferring = true;

void memory_set_deferring(bool on) {
    atomic_store(&deferring, on);
}

static bool memory_deferring(void) {
    return atomic_load_explicit(&deferring, memory_order_relaxed);
}

void memory_deferrable(struct memory_manager *mm, bool yes) {
    mm->deferrable = yes && memory_deferring();
}

/* Copies of what is in the range now, for the undoing. False: that is too much. */
static bool save_rows(struct memory_manager *mm, struct memory_deferred *record, bool removes,
                      const struct memory_object *same) {
    size_t i = tree_index(&mm->tree, record->start), first = i;

    for (; i < mm->tree.count && tree_row(&mm->tree, i)->start < record->end; i++) {
        const struct mapping *row = tree_row(&mm->tree, i);

        if (i - first == DEFERRED_ROWS || (removes && row->object && row->object != same)) {
            return false;
        }
    }
    for (size_t n = first; n < i; n++) {
        struct mapping *copy = &record->saved[record->saved_count++];

        *copy = *tree_row(&mm->tree, n);
        if (copy->start < record->start) {
            copy->offset += copy->object ? record->start - copy->start : 0;
            copy->start = record->start;
        }
        copy->end = MIN(copy->end, record->end);
        if (copy->object) {
            memory_object_get(copy->object);
        }
    }
    return true;
}

static void drop_saved(struct memory_deferred *record) {
    for (size_t i = 0; i < record->saved_count; i++) {
        if (record->saved[i].object) {
            memory_object_put(record->saved[i].object);
        }
    }
    record->saved_count = 0;
}

bool memory_defer(struct memory_manager *mm, struct host_thread *thread,
                  const struct slot_call *calls, size_t count, uint64_t start, uint64_t end,
                  enum deferred_kind kind, const struct memory_object *same) {
    struct memory_deferred record = {.start = start, .end = end, .kind = kind};

    if (!mm->deferrable || count == 0) {
        return false;
    }
    mm->deferrable = false;
    if (kind != DEFERRED_ADVICE &&
        !save_rows(mm, &record, kind == DEFERRED_MAP || kind == DEFERRED_UNMAP, same)) {
        return false;
    }
    if (!host_thread_calls_defer(thread, calls, count)) {
        drop_saved(&record);
        return false;
    }
    record.thread = thread;
    LOCK_GUARD(&mm->lock);
    mm->deferred = record;
    return true;
}

void memory_defer_brk(struct memory_manager *mm, uint64_t before) {
    LOCK_GUARD(&mm->lock);
    mm->deferred.brk_before = mm->deferred.thread ? before : 0;
}

/* The range as it was. The room for it was reserved with the change (tree_edit_begin). */
static void undo_locked(struct memory_manager *mm, struct memory_deferred *record,
                        struct tree_edit *edit) {
    *edit = (struct tree_edit){.capacity = ARRAY_SIZE(edit->few)};
    edit->dead = edit->few;
    if (record->kind == DEFERRED_ADVICE) {
        return;
    }
    tree_remove(&mm->tree, edit, record->start, record->end);
    for (size_t i = 0; i < record->saved_count; i++) {
        if (record->saved[i].object) {
            memory_object_get(record->saved[i].object);
        }
        tree_insert(&mm->tree, edit, &record->saved[i]);
    }
    if (record->brk_before) {
        memory_set_brk_locked(mm, record->brk_before);
    }
}

int64_t memory_settle(struct memory_manager *mm, struct host_thread *thread, int outcome) {
    struct memory_deferred record;
    struct tree_edit undone = {.dead = undone.few};
    int64_t result = outcome;

    lock_acquire(&mm->lock);
    if (mm->deferred.thread != thread) {
        lock_release(&mm->lock);
        return outcome; /* another task has found the calls made, and gone on from there */
    }
    record = mm->deferred;
    mm->deferred = (struct memory_deferred){0};
    /* What a host thread that has gone did of it is unknown; so is its memory soon. */
    if (outcome < 0 && outcome != -ESRCH) {
        undo_locked(mm, &record, &undone);
        result = record.brk_before ? (int64_t)record.brk_before : outcome;
    }
    memory_publish_brk_locked(mm);
    mm->changing = false;
    lock_release(&mm->lock);
    wait_queue_wake_one(&mm->change_queue, 0);
    tree_edit_end(&undone);
    drop_saved(&record);
    return result;
}

bool memory_take_over(struct memory_manager *mm) {
    struct memory_deferred record;

    lock_acquire(&mm->lock);
    if (!mm->changing) {
        mm->changing = true;
        lock_release(&mm->lock);
        return true;
    }
    if (!mm->deferred.thread || !host_thread_calls_finished(mm->deferred.thread)) {
        lock_release(&mm->lock);
        return false;
    }
    record = mm->deferred;
    mm->deferred = (struct memory_deferred){0};
    memory_publish_brk_locked(mm);
    lock_release(&mm->lock);
    drop_saved(&record);
    return true;
}
