/*
 * Threads that are amid a patch: in its trampoline, or trapped where its text is changing, has
 * changed, or was changed back (memory_patch.c). And what a program's text says without patches.
 */
#include "mm/mm_internal.h"

#define SYSCALL_SIZE 2
#define INT3         0xcc
#define INT          0xcd

/* ---- where a thread is ---- */

enum patch_place memory_patch_translate(struct memory_manager *mm, struct user_regs *regs,
                                        uint64_t *start) {
    LOCK_GUARD(&mm->lock);
    const struct patch *patch = patch_by_trampoline(&mm->patches, regs->rip);
    uint64_t offset, behind;

    if (!patch) {
        return PATCH_NOWHERE;
    }
    offset = regs->rip - patch->trampoline;
    behind = patch_moved(patch, patch->shape.before + SYSCALL_SIZE) - patch->trampoline;
    *start = patch->start;
    if (patch_covers(patch) && regs->rcx == patch->trampoline + patch_return(patch)) {
        regs->rcx = patch_site(patch) + SYSCALL_SIZE;
    }
    regs->rip = patch_original(patch, offset);
    return offset && (offset <= patch->shape.before || offset > behind) ? PATCH_RAN : PATCH_CAME;
}

/* With the lock held. */
static bool enter_locked(const struct patch_set *set, struct user_regs *regs, uint64_t address,
                         bool at_start) {
    const struct patch *patch = patch_live_at(set, address);
    uint64_t bound = patch ? address - patch->start : 0;

    if (!patch || !(bound ? patch->shape.bounds >> bound & 1 : at_start)) {
        return false;
    }
    regs->rip = patch_moved(patch, bound);
    return true;
}

bool memory_patch_enter(struct memory_manager *mm, struct user_regs *regs) {
    LOCK_GUARD(&mm->lock);

    return enter_locked(&mm->patches, regs, regs->rip, false);
}

/* A retired patch that a thread may have met before it was. */
static bool was_retired(const struct patch_set *set, uint64_t address, bool breakpoint) {
    for (size_t i = 0; i < set->retired.count; i++) {
        const struct patch *patch = &set->retired.rows[i];
        uint64_t bound = address - patch->start;

        if (bound < PATCH_JUMP && (bound ? patch->shape.bounds >> bound & 1 : breakpoint)) {
            return true;
        }
    }
    return false;
}

/* A trap where a patch was. The program's own int3 is there still: false. Any other instruction
 * that faults does so again when it is retried: then it is the program's, unless another patch was
 * undone meanwhile. */
static bool trapped_before(struct memory_manager *mm, struct host_thread *thread,
                           struct user_regs *regs, bool breakpoint, uint64_t undone) {
    uint64_t address = regs->rip - 1, seen;

    if (!breakpoint) {
        return true;
    }
    do {
        uint8_t text[2] = {0};
        bool read = host_memory_read_force(thread, text, address - 1, sizeof(text)) == sizeof(text);
        LOCK_GUARD(&mm->lock);

        if (enter_locked(&mm->patches, regs, address, true)) {
            return true; /* patched again: what was read may be the patch's */
        }
        seen = undone;
        undone = mm->patches.undone;
        if (seen == undone && read && (text[1] == INT3 || (text[0] == INT && text[1] == 3))) {
            return false;
        }
    } while (seen != undone);
    regs->rip = address;
    return true;
}

bool memory_patch_trap(struct memory_manager *mm, struct host_thread *thread,
                       struct user_regs *regs, bool breakpoint, struct patch_retry *retry) {
    struct patch_retry this = {.rip = regs->rip};
    uint64_t address = regs->rip - breakpoint;
    bool live, retired, unfinished = false;

    lock_acquire(&mm->lock);
    live = enter_locked(&mm->patches, regs, address, breakpoint);
    if (live) {
        const struct patch *patch = patch_live_at(&mm->patches, address);

        unfinished = patch->state != patch->target;
    }
    this.undone = mm->patches.undone;
    retired = !live && was_retired(&mm->patches, address, breakpoint);
    lock_release(&mm->lock);
    if (unfinished && memory_change_begin(mm) == 0) {
        /* Mostly somebody has just done it. */
        struct patch_guest guest CLEANUP(patch_guest) = patch_guest(thread, true);

        (void)patch_settle(mm, &guest);
        memory_change_end(mm);
    }
    if (!live && retired && (retry->rip != this.rip || retry->undone != this.undone)) {
        *retry = this;
        return trapped_before(mm, thread, regs, breakpoint, this.undone);
    }
    return live;
}

ssize_t memory_read_force(struct memory_manager *mm, struct host_thread *thread, void *to,
                          uint64_t from, size_t size) {
    ssize_t done = host_memory_read_force(thread, to, from, size);
    LOCK_GUARD(&mm->lock);

    for (size_t i = patch_first_above(&mm->patches.live, from);
         done > 0 && i < mm->patches.live.count; i++) {
        const struct patch *patch = &mm->patches.live.rows[i];

        if (patch->start >= from + (uint64_t)done) {
            break;
        }
        for (uint64_t k = 0; k < PATCH_JUMP; k++) {
            if (patch->start + k - from < (uint64_t)done) {
                ((uint8_t *)to)[patch->start + k - from] = patch->original[k];
            }
        }
    }
    return done;
}
