/*
 * memory_manager: one guest address space, its life, its change token, and what others may look at.
 *
 * Life cycle: made by exec (memory_manager_new, then memory_load) or fork (memory_manager_fork),
 * shared by the tasks of a CLONE_VM, gone with the last reference. It owns the host_aspace and one
 * reference to the object of each row.
 *
 * Invariants: the tree changes only by the holder of the change token, with the lock held for the
 * change itself; the token's holder reads it without the lock. Objects are put without the lock.
 * No row ever touches the stub's reserved range.
 */
#include <sys/syscall.h>

#include "mm/mm_internal.h"

struct memory_object *memory_object_get(struct memory_object *object) {
    ref_get(&object->ref);
    return object;
}

void memory_object_put(struct memory_object *object) {
    if (ref_put(&object->ref)) {
        object->ops->release(object);
    }
}

static struct memory_manager *manager_alloc(struct host_aspace *aspace) {
    struct memory_manager *mm = calloc(1, sizeof(*mm));

    if (!mm) {
        return NULL;
    }
    ref_init(&mm->ref);
    mm->aspace = host_aspace_get(aspace);
    host_aspace_reserved(aspace, &mm->reserved_start, &mm->reserved_end);
    mm->reserved_start = ALIGN_DOWN(mm->reserved_start, PAGE_SIZE);
    mm->reserved_end = ALIGN_UP(mm->reserved_end, PAGE_SIZE);
    lock_init(&mm->lock, LOCK_MM);
    wait_queue_init(&mm->change_queue);
    return mm;
}

/* The host maps its vDSO into every process; here it is rows like any other, that exec finds. */
static int manager_add_vdso(struct memory_manager *mm) {
    uint64_t vdso = 0, start = 0, end = 0;
    struct tree_edit edit;

    host_aspace_vdso(mm->aspace, &vdso, &start, &end);
    mm->layout.vdso = vdso;
    if (!vdso || start > vdso || end <= vdso) {
        return 0;
    }
    LOCK_GUARD(&mm->lock);
    int result = tree_edit_begin(&mm->tree, &edit, start, end);

    if (result) {
        return result;
    }
    if (start < vdso) {
        tree_insert(&mm->tree, &edit,
                    &(struct mapping){.start = start,
                                      .end = vdso,
                                      .prot = PROT_READ,
                                      .flags = MAP_PRIVATE | MAPPING_NO_WRITE | MAPPING_NO_EXEC,
                                      .kind = MAPPING_VVAR});
    }
    tree_insert(&mm->tree, &edit,
                &(struct mapping){.start = vdso,
                                  .end = ALIGN_UP(end, PAGE_SIZE),
                                  .prot = PROT_READ | PROT_EXEC,
                                  .flags = MAP_PRIVATE,
                                  .kind = MAPPING_VDSO});
    tree_edit_end(&edit);
    return 0;
}

struct memory_manager *memory_manager_new(struct host_aspace *aspace) {
    struct memory_manager *mm = manager_alloc(aspace);

    if (!mm) {
        return ERR_PTR(-ENOMEM);
    }
    mm->layout.mmap_base = memory_random_mmap_base(8UL << 20, true);
    int result = manager_add_vdso(mm);

    if (result) {
        memory_manager_put(mm);
        return ERR_PTR(result);
    }
    return mm;
}

struct memory_manager *memory_manager_get(struct memory_manager *mm) {
    ref_get(&mm->ref);
    return mm;
}

void memory_manager_put(struct memory_manager *mm) {
    if (!ref_put(&mm->ref)) {
        return;
    }
    tree_destroy(&mm->tree);
    memory_patch_destroy(mm);
    if (mm->program) {
        mm->program_ops->put(mm->program);
    }
    wait_queue_destroy(&mm->change_queue);
    lock_destroy(&mm->lock);
    host_aspace_put(mm->aspace);
    free(mm);
}

struct memory_manager *memory_manager_fork(struct memory_manager *mm, struct host_aspace *aspace) {
    struct memory_manager *child = manager_alloc(aspace);

    if (!child) {
        return ERR_PTR(-ENOMEM);
    }
    int result;
    {
        LOCK_GUARD(&mm->lock);
        child->layout = mm->layout;
        memory_set_brk_locked(child, mm->layout.brk);
        if (mm->program) {
            child->program = mm->program_ops->get(mm->program);
            child->program_ops = mm->program_ops;
        }
        result = tree_copy(&child->tree, &mm->tree, true);
        if (!result) {
            result = memory_patch_fork(child, mm);
        }
    }
    if (result) {
        memory_manager_put(child);
        return ERR_PTR(result);
    }
    return child;
}

size_t memory_manager_users(const struct memory_manager *mm) {
    return (size_t)atomic_load(&mm->ref.count);
}

bool memory_manager_is_shared(const struct memory_manager *mm) {
    return memory_manager_users(mm) > 1;
}

struct host_aspace *memory_manager_aspace(const struct memory_manager *mm) {
    return mm->aspace;
}

int memory_change_begin(struct memory_manager *mm) {
    if (memory_take_over(mm)) {
        return 0;
    }
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    entry.exclusive = true;
    wait_queue_add(&mm->change_queue, &entry);
    while (!memory_take_over(mm)) {
        if (wait_sleep(WAIT_FOREVER)) {
            /* Linux's wait for mmap_lock is not seen by programs: no EINTR, run the call again. */
            result = -ERESTARTNOINTR;
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result) {
        /* The one wake for a free token may have come to this thread, which does not want it. */
        wait_queue_wake_one(&mm->change_queue, 0);
    }
    return result;
}

/* Who sleeps already has seen a change that was not deferred yet, and asked for no report of it. */
static bool is_awaited(struct memory_manager *mm) {
    LOCK_GUARD(&mm->change_queue.lock);

    return !list_empty(&mm->change_queue.entries);
}

void memory_change_end(struct memory_manager *mm) {
    struct host_thread *deferred;

    mm->deferrable = false;
    lock_acquire(&mm->lock);
    deferred = mm->deferred.thread;
    mm->changing = deferred != NULL;
    lock_release(&mm->lock);
    if (!deferred) {
        wait_queue_wake_one(&mm->change_queue, 0);
    } else if (is_awaited(mm)) {
        /* memory_settle() ends it: soon, not when the guest next calls. */
        bool finished UNUSED = host_thread_calls_finished(deferred);
    }
}

void memory_manager_set_layout(struct memory_manager *mm, const struct memory_layout *layout) {
    LOCK_GUARD(&mm->lock);
    mm->layout = *layout;
    memory_set_brk_locked(mm, layout->brk);
}

void memory_manager_layout(struct memory_manager *mm, struct memory_layout *layout) {
    LOCK_GUARD(&mm->lock);
    *layout = mm->layout;
}

void memory_manager_set_program(struct memory_manager *mm, void *program,
                                const struct memory_program_ops *ops) {
    const struct memory_program_ops *old_ops;
    void *old;
    {
        LOCK_GUARD(&mm->lock);
        old = mm->program;
        old_ops = mm->program_ops;
        mm->program = program;
        mm->program_ops = ops;
    }
    if (old) {
        old_ops->put(old);
    }
}

void *memory_manager_program(struct memory_manager *mm) {
    LOCK_GUARD(&mm->lock);
    return mm->program ? mm->program_ops->get(mm->program) : NULL;
}

bool memory_is_writable(struct memory_manager *mm, uint64_t address, size_t size) {
    LOCK_GUARD(&mm->lock);
    const struct mapping *row = tree_find(&mm->tree, address);

    return row && size <= row->end - address && !row->object && (row->prot & PROT_WRITE) &&
           !(row->flags & MAP_SHARED) && !memory_manager_is_shared(mm);
}

bool memory_manager_fresh(struct memory_manager *mm) {
    LOCK_GUARD(&mm->lock);
    for (size_t i = 0; i < mm->tree.count; i++) {
        if (tree_row(&mm->tree, i)->kind != MAPPING_VDSO &&
            tree_row(&mm->tree, i)->kind != MAPPING_VVAR) {
            return false;
        }
    }
    return mm->program == NULL;
}

int memory_manager_walk(struct memory_manager *mm,
                        int (*fn)(const struct mapping *mapping, void *arg), void *arg) {
    LOCK_GUARD(&mm->lock);
    for (size_t i = 0; i < mm->tree.count; i++) {
        int result = fn(tree_row(&mm->tree, i), arg);

        if (result) {
            return result;
        }
    }
    return 0;
}

size_t memory_manager_snapshot(struct memory_manager *mm, uint64_t from, struct mapping *out,
                               size_t count) {
    LOCK_GUARD(&mm->lock);
    size_t first = tree_index(&mm->tree, from), copied = 0;

    for (; copied < count && first + copied < mm->tree.count; copied++) {
        out[copied] = *tree_row(&mm->tree, first + copied);
        if (out[copied].object) {
            memory_object_get(out[copied].object);
        }
    }
    return copied;
}

size_t memory_mapped_extent(struct memory_manager *mm, uint64_t from, size_t size, int prot) {
    uint64_t end = from;
    LOCK_GUARD(&mm->lock);

    for (size_t i = tree_index(&mm->tree, from); end - from < size && i < mm->tree.count; i++) {
        const struct mapping *row = tree_row(&mm->tree, i);

        if (row->start > end || (row->prot & prot) != prot) {
            break;
        }
        end = row->end;
    }
    return (size_t)MIN(end - from, (uint64_t)size);
}

void memory_totals_locked(const struct memory_manager *mm, struct memory_totals *totals) {
    *totals = (struct memory_totals){0};
    for (size_t i = 0; i < mm->tree.count; i++) {
        const struct mapping *row = tree_row(&mm->tree, i);
        uint64_t size = row->end - row->start;

        if (row->kind == MAPPING_STACK) {
            size = MIN(size, STACK_COUNTED);
            totals->stack += size;
        } else if (row->flags & MAP_GROWSDOWN) {
            totals->stack += size;
        } else if ((row->prot & PROT_WRITE) && (row->flags & MAP_PRIVATE)) {
            totals->data += size;
        }
        totals->mapped += size;
        if (row->prot & PROT_EXEC) {
            totals->exec += size;
        }
        if (row->flags & MAP_LOCKED) {
            totals->locked += size;
        }
        if (row->flags & MAP_SHARED) {
            totals->shared += size;
        }
    }
}

void memory_manager_totals(struct memory_manager *mm, struct memory_totals *totals) {
    LOCK_GUARD(&mm->lock);
    memory_totals_locked(mm, totals);
}

struct slot_call memory_call(long number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
                             uint64_t a4, uint64_t a5) {
    return (struct slot_call){.number = (uint64_t)number, .args = {a0, a1, a2, a3, a4, a5}};
}

int memory_host_calls(struct host_thread *thread, const struct slot_call *calls, size_t count,
                      int64_t *results) {
    for (size_t i = 0; i < count; i++) {
        results[i] = -EIO;
    }
    int made = host_thread_calls(thread, calls, count, results);

    if (made < 0) {
        return made;
    }
    for (size_t i = 0; i < count; i++) {
        if (results[i] < 0 && results[i] >= -MAX_ERRNO && !(calls[i].flags & SLOT_CALL_MAY_FAIL)) {
            return (int)results[i];
        }
    }
    return 0;
}
