/*
 * Patched call sites: a `syscall` instruction that has trapped is reached no more. The text around
 * it becomes a jump to a trampoline (patch_shape.c), which enters the stub without a signal.
 *
 * The text changes while other threads run it. Who has the change token takes it through the states
 * of patch_internal.h, one at a time, and has every core that runs the program forget what it has
 * fetched before the next (membarrier(2)): first int3 at each place where an instruction begins,
 * which is one byte each; then the bytes between; then the first byte. Back likewise. A memory that
 * nobody else runs in is written at one stroke.
 *
 * So who comes meanwhile traps: by int3, or by the byte of the finished jump that faults. A patch
 * is in the list of live ones from before its first change until after its last, so all of these
 * are sent on to the trampoline, which does the same as the text (memory_patch_trap). A patch that
 * is undone goes to the list of retired ones: a thread may have trapped just before and tell only
 * now, or still be in its trampoline. The first is known by the text, which says something else by
 * now. They are forgotten when nobody else is there.
 *
 * If the guest dies within a change that others share (vfork), what it leaves is as good as the
 * finished jump, only slower; the next who traps there finishes it.
 *
 * The trampolines are guest memory within reach of a 32-bit jump, not shown in /proc/PID/maps and
 * as little trusted as the rest of it. Whatever changes the memory of a site or its trampoline
 * (unmapping, mapping over, protection, advice, moving, a write by force) restores the site first:
 * memory_patch_forget(). An address within a trampoline is never shown: memory_patch_translate().
 *
 * A program that reads its own text sees the jump (by /proc/PID/mem it does not): `--no-patch` is
 * for those. So is one that sets %gs by wrgsbase behind the kernel's back; arch_prctl(2) switches
 * patching off.
 */
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "mm/mm_internal.h"

#define SYSCALL_SIZE 2
/* Of a program that has several threads; it makes and removes code all the time. */
#define RETIRED_MAX 8192
/* More than any program has, and what one can make the kernel keep for it. */
#define LIVE_MAX (1 << 17)

/* ---- changing the text ---- */

/* All cores that run the program have forgotten what they have fetched before. False: the thread
 * that was to see to it has gone. */
static bool sync_cores(struct patch_guest *guest) {
    struct slot_call call =
        memory_call(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
    int64_t result = 0;

    call.flags = SLOT_CALL_MAY_FAIL;
    if (guest->own && memory_host_calls(guest->thread, &call, 1, &result)) {
        return false;
    }
    if (!guest->own || result) {
        host_cores_visit();
    }
    return true;
}

/* One step of one patch, at one stroke when nobody else is there. False: its text cannot be
 * written. */
static bool step(struct memory_manager *mm, struct patch_guest *guest, struct patch *patch,
                 bool alone) {
    int next = alone                          ? patch->target
               : patch->target > patch->state ? patch->state + 1
                                              : patch->state - 1;
    uint8_t bytes[PATCH_JUMP];

    patch_bytes(patch, (enum patch_state)next, bytes);
    if (!patch_write(guest, patch->start, bytes, PATCH_JUMP)) {
        return false;
    }
    LOCK_GUARD(&mm->lock);
    patch->state = (uint8_t)next;
    return true;
}

/* Did somebody die within a change, perhaps before all cores had noticed? */
static bool unfinished(const struct patch_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->rows[i].state == PATCH_GUARDED || list->rows[i].state == PATCH_HALF) {
            return true;
        }
    }
    return false;
}

bool patch_settle(struct memory_manager *mm, struct patch_guest *guest) {
    struct patch_list *live = &mm->patches.live, *retired = &mm->patches.retired;
    bool alone = !memory_manager_is_shared(mm), again = true;

    if (unfinished(live) && !sync_cores(guest)) {
        return false;
    }
    while (again) {
        again = false;
        for (size_t i = 0; i < live->count; i++) {
            struct patch *patch = &live->rows[i];

            if (patch->state == patch->target) {
                continue;
            }
            if (!step(mm, guest, patch, alone)) {
                if (!alone && !sync_cores(guest)) {
                    return false;
                }
                /* The memory has gone, by the end of its file. */
                LOCK_GUARD(&mm->lock);
                patch->state = patch->target = PATCH_ORIGINAL;
            }
            again |= patch->state != patch->target;
        }
        if (again && !sync_cores(guest)) {
            return false;
        }
    }
    LOCK_GUARD(&mm->lock);
    for (size_t i = 0; i < live->count;) {
        mm->patches.undone += live->rows[i].state == PATCH_ORIGINAL;
        if (live->rows[i].state != PATCH_ORIGINAL) {
            i++;
            continue;
        }
        patch_list_insert(retired, retired->count,
                          &live->rows[i]); /* patch_with_token(): there is room */
        patch_list_remove(live, i);
    }
    return true;
}

/* ---- patching ---- */

/* Nobody is on the way to a retired patch but the calling thread, perhaps. */
static void prune(struct memory_manager *mm, const struct user_regs *regs) {
    struct patch_list *retired = &mm->patches.retired;
    LOCK_GUARD(&mm->lock);

    for (size_t i = 0; i < retired->count;) {
        const struct patch *patch = &retired->rows[i];

        if (regs->rip - patch->trampoline < PATCH_CELL ||
            regs->rcx - patch->trampoline < PATCH_CELL) {
            i++;
            continue;
        }
        patch_mark_cell(&mm->patches, patch->trampoline, false);
        patch_list_remove(retired, i);
    }
}

/* A site that is as it was before it was restored gets its old trampoline, if that is there: which
 * of the retired ones is to live again; their count: none. */
static size_t revivable(struct memory_manager *mm, struct patch_guest *guest, struct patch *patch,
                        const uint8_t *moved) {
    struct patch_list *retired = &mm->patches.retired;

    for (size_t i = 0; i < retired->count; i++) {
        const struct patch *old = &retired->rows[i];
        uint8_t wanted[PATCH_CELL], there[PATCH_CELL];
        size_t size;

        if (old->start != patch->start || !old->trampoline ||
            memcmp(&old->shape, &patch->shape, sizeof(old->shape)) != 0) {
            continue;
        }
        patch->trampoline = old->trampoline;
        size = patch_cell(wanted, patch, moved, 0);
        for (size_t k = 0; k < mm->patches.area_count; k++) {
            if (patch->trampoline - mm->patches.areas[k].start < PATCH_AREA) {
                size = patch_cell(wanted, patch, moved, mm->patches.areas[k].start);
            }
        }
        if (host_memory_read(guest->thread, there, patch->trampoline, size) != (ssize_t)size ||
            memcmp(wanted, there, size) != 0) {
            continue;
        }
        return i;
    }
    return retired->count;
}

/* Makes the jump at the site in this shape. */
static bool make(struct memory_manager *mm, struct patch_guest *guest, uint64_t site,
                 const struct patch_shape *shape, const uint8_t *text) {
    struct patch patch = {.start = site - shape->before, .shape = *shape, .target = PATCH_JUMPS};
    const uint8_t *moved = text + PATCH_BEFORE - shape->before;
    struct patch_set *set = &mm->patches;
    uint8_t cell[PATCH_CELL];
    size_t at = patch_first_above(&set->live, patch.start), old;

    if (at < set->live.count && set->live.rows[at].start < patch.start + PATCH_JUMP) {
        return false; /* the one before is too near */
    }
    memcpy(patch.original, moved, PATCH_JUMP);
    old = revivable(mm, guest, &patch, moved);
    if (old == set->retired.count) {
        const struct patch_area *area = patch_place(mm, guest, &patch);
        size_t size = area ? patch_cell(cell, &patch, moved, area->start) : 0;

        if (!size || !patch_write(guest, patch.trampoline, cell, size)) {
            return false;
        }
    }
    /* From one list to the other at one stroke: who has trapped there finds it in one of them. */
    lock_acquire(&mm->lock);
    if (old < set->retired.count) {
        patch_list_remove(&set->retired, old);
    }
    patch_mark_cell(set, patch.trampoline, true);
    patch_list_insert(&set->live, at, &patch);
    lock_release(&mm->lock);
    return patch_settle(mm, guest) && patch_live_at(set, patch.start);
}

/* For who looks at how much is patched (bench/sites.py). */
static void log_left(const struct mapping *row, uint64_t site, const uint8_t text[PATCH_TEXT]) {
    char name[200] = "anonymous memory", bytes[3 * 40 + 1];
    dev_t dev;
    ino_t ino;

    if (!log_enabled(LOG_DEBUG)) {
        return;
    }
    if (row->object && row->object->ops->describe(row->object, name, sizeof(name), &dev, &ino)) {
        return;
    }
    for (size_t i = 0; i < 40; i++) {
        snprintf(bytes + 3 * i, 4, "%02x ", text[PATCH_BEFORE - 20 + i]);
    }
    log_line(LOG_DEBUG, "not patched: %s+%#" PRIx64 ": %.60s| %s", name,
             row->offset + site - row->start, bytes, bytes + 60);
}

static bool patch_with_token(struct memory_manager *mm, struct host_thread *thread, uint64_t site) {
    const struct mapping *row = tree_find(&mm->tree, site);
    struct patch_guest guest CLEANUP(patch_guest) = patch_guest(thread, true);
    struct patch_shape shapes[PATCH_SHAPES];
    uint8_t text[PATCH_TEXT];
    size_t count;

    if (!row || row->kind != MAPPING_NORMAL || row->prot != (PROT_READ | PROT_EXEC) ||
        (row->flags & MAP_SHARED) || site < row->start + PATCH_BEFORE ||
        site + PATCH_BEHIND > row->end ||
        host_memory_read(thread, text, site - PATCH_BEFORE, sizeof(text)) != sizeof(text) ||
        memcmp(text + PATCH_BEFORE, "\x0f\x05", SYSCALL_SIZE) != 0 ||
        !patch_list_reserve(mm, &mm->patches.live, 1) ||
        !patch_list_reserve(mm, &mm->patches.retired, mm->patches.live.count + 1)) {
        return false;
    }
    count = patch_shapes(text, shapes);
    for (size_t i = 0; i < count; i++) {
        if (make(mm, &guest, site, &shapes[i], text)) {
            return true;
        }
    }
    log_left(row, site, text);
    return false;
}

bool memory_patch_call(struct memory_manager *mm, struct host_thread *thread,
                       const struct user_regs *regs, unsigned after) {
    struct patch_set *set = &mm->patches;
    uint64_t site = regs->rip - SYSCALL_SIZE;
    uint64_t *seen = &set->seen[(site ^ site >> 8) % PATCH_SEEN];
    uint64_t before = __atomic_load_n(seen, __ATOMIC_RELAXED);
    uint64_t count = before % PATCH_COUNT == site ? before / PATCH_COUNT + 1 : 1;
    bool patched, possible;

    if (before == (site | PATCH_REJECTED) || __atomic_load_n(&set->off, __ATOMIC_RELAXED)) {
        return false;
    }
    if (count < after) {
        __atomic_store_n(seen, site | count * PATCH_COUNT, __ATOMIC_RELAXED);
        return false;
    }
    if (memory_change_begin(mm)) {
        return false;
    }
    if (!memory_manager_is_shared(mm)) {
        prune(mm, regs);
    }
    possible = set->retired.count < RETIRED_MAX && set->live.count < LIVE_MAX && !set->off;
    patched = patch_live_of(set, site) != NULL; /* another thread was faster */
    if (!patched && possible) {
        patched = patch_with_token(mm, thread, site);
    }
    memory_change_end(mm);
    if (!patched && possible) {
        __atomic_store_n(seen, site | PATCH_REJECTED, __ATOMIC_RELAXED);
    }
    return patched;
}

/* ---- undoing ---- */

static bool touches_area(const struct patch_set *set, uint64_t start, uint64_t end) {
    for (size_t i = 0; i < set->area_count; i++) {
        if (set->areas[i].start < end && set->areas[i].start + PATCH_AREA > start) {
            return true;
        }
    }
    return false;
}

/* Its text is in the range, or a part of the area that its trampoline is in and needs. */
static bool concerns(const struct patch_set *set, const struct patch *patch, uint64_t start,
                     uint64_t end) {
    uint64_t moved = patch_covers(patch)
                         ? (uint64_t)patch->shape.before + SYSCALL_SIZE + patch->shape.behind
                         : patch->shape.before;

    if (patch->start < end && patch->start + moved > start) {
        return true;
    }
    for (size_t i = 0; i < set->area_count; i++) {
        uint64_t area = set->areas[i].start;

        if (area < end && area + PATCH_AREA > start && patch->trampoline - area < PATCH_AREA) {
            return true;
        }
    }
    return false;
}

/* Restores what the range concerns. */
static void forget(struct memory_manager *mm, struct host_thread *thread, bool own, uint64_t start,
                   uint64_t end) {
    struct patch_guest guest CLEANUP(patch_guest) = patch_guest(thread, own);
    struct patch_set *set = &mm->patches;
    /* Trampolines are in no order. */
    bool all = touches_area(set, start, end), any = false;
    size_t first =
        all || start < PATCH_CELL ? 0 : patch_first_above(&set->live, start - PATCH_CELL);

    lock_acquire(&mm->lock);
    for (size_t i = first; i < set->live.count && (all || set->live.rows[i].start < end); i++) {
        if (concerns(set, &set->live.rows[i], start, end)) {
            set->live.rows[i].target = PATCH_ORIGINAL;
            any = true;
        }
    }
    lock_release(&mm->lock);
    if (any) {
        (void)patch_settle(mm, &guest); /* or the guest ends, and what it wanted is not done */
    }
}

static void forget_areas(struct memory_manager *mm, uint64_t start, uint64_t end) {
    struct patch_set *set = &mm->patches;
    LOCK_GUARD(&mm->lock);

    for (size_t i = 0; i < set->area_count;) {
        uint64_t area = set->areas[i].start;

        if (area >= end || area + PATCH_AREA <= start) {
            i++;
            continue;
        }
        for (size_t k = 0; k < set->retired.count; k++) {
            if (set->retired.rows[k].trampoline - area < PATCH_AREA) {
                set->retired.rows[k].trampoline = 0;
            }
        }
        set->areas[i] = set->areas[--set->area_count];
    }
}

void memory_patch_forget(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                         uint64_t end) {
    if (mm->patches.area_count) {
        forget(mm, thread, true, start, end);
        forget_areas(mm, start, end);
    }
}

int memory_patch_restore(struct memory_manager *mm, struct host_thread *thread, uint64_t address) {
    int result = memory_change_begin(mm);
    const struct patch *patch;

    if (result) {
        return result;
    }
    patch = patch_live_at(&mm->patches, address);
    if (patch) {
        uint64_t site = patch_site(patch);

        __atomic_store_n(&mm->patches.seen[(site ^ site >> 8) % PATCH_SEEN], site | PATCH_REJECTED,
                         __ATOMIC_RELAXED);
        forget(mm, thread, true, address, address + 1);
    }
    memory_change_end(mm);
    return 0;
}

int memory_patch_off(struct memory_manager *mm, struct host_thread *thread) {
    int result = memory_change_begin(mm);

    if (!result) {
        __atomic_store_n(&mm->patches.off, true, __ATOMIC_RELAXED);
        forget(mm, thread, true, 0, USER_TASK_SIZE);
        memory_change_end(mm);
    }
    return result;
}

ssize_t memory_write_force(struct memory_manager *mm, struct host_thread *thread, bool own,
                           uint64_t to, const void *from, size_t size) {
    ssize_t done = memory_change_begin(mm);

    if (!done) {
        forget(mm, thread, own, to, to + size);
        done = host_memory_write_force(thread, to, from, size);
        memory_change_end(mm);
    }
    return done;
}
