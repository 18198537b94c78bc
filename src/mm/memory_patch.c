/*
 * Patched call sites: a `syscall` instruction whose calls the stub can answer is reached no more.
 * Five bytes become a jump to a trampoline, which enters the stub without a signal. Two shapes:
 *
 * BEHIND: `syscall` and the instruction behind it (`cmp $-4096,%rax` in a libc) become the jump.
 * The trampoline executes that instruction and goes back. It holds a `syscall` of its own, for
 * calls that are made again after a signal. Who comes to the address between the two (a signal
 * handler's return, a branch) finds a byte of the jump there that faults: the trampoline is chosen
 * so. memory_patch_enter() sends him on.
 *
 * BEFORE: the one instruction before the `syscall` (`mov $nr,%eax`, five bytes at least) becomes
 * the jump. The trampoline executes it and enters the stub. The `syscall` stands where it did, so
 * no address loses its meaning.
 *
 * A site is patched only while its memory has one thread, since five bytes cannot be written at one
 * stroke.
 *
 * The trampolines are guest memory within reach of a 32-bit jump, not shown in /proc/PID/maps and
 * as little trusted as the rest of it. Whatever changes the memory of a site or its trampoline
 * (unmapping, mapping over, protection, advice, moving, a write by force) restores the site first:
 * memory_patch_forget(). An address within a trampoline is never shown: memory_patch_translate().
 *
 * A program that reads its own text sees the jump: `--no-patch` is for those. So is one that sets
 * %gs by wrgsbase behind the kernel's back; arch_prctl(2) switches patching off.
 */
#include <Zydis/Zydis.h>

#include "mm/mm_internal.h"

#define JUMP_SIZE    5
#define REACH        0x70000000ul /* of a jump, with room to spare */
#define LOOK_BACK    80           /* how far before a site decoding begins */
#define LOOK_AHEAD   15           /* the longest instruction */
#define FAR_ENOUGH   16           /* where all ways of decoding have long met */
#define SYSCALL_SIZE 2

/* A trampoline of the shape BEHIND: lea, jmp, `syscall`, lea, the instruction, jmp back. */
#define CELL_SYSCALL 13
#define CELL_RETURN  (CELL_SYSCALL + SYSCALL_SIZE)
#define CELL_MOVED   (CELL_RETURN + 7)

/* Opcodes of one byte that fault in user mode, whatever follows: invalid in 64-bit mode, or
 * privileged. */
static const uint8_t faulting[] = {0xf4, 0xfa, 0xfb, 0xec, 0xed, 0xee, 0xef, 0x06, 0x07,
                                   0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
                                   0x60, 0x61, 0xce, 0xd6, 0x6c, 0x6d, 0x6e, 0x6f};

static bool faults(uint64_t target, uint64_t next) {
    return memchr(faulting, (uint8_t)((target - next) >> 8), sizeof(faulting)) != NULL;
}

static bool may_move(const ZydisDecodedInstruction *instruction) {
    switch (instruction->meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_INTERRUPT:
        return false;
    default:
        return !(instruction->attributes & (ZYDIS_ATTRIB_IS_RELATIVE | ZYDIS_ATTRIB_IS_PRIVILEGED));
    }
}

/*
 * The length of the instruction that ends at text[size], 0 when it cannot be told or must not move.
 * x86 code cannot be decoded backwards; but decoding from different places falls into step soon.
 * All that begin far enough before the end must agree on the last instruction.
 */
static size_t last_instruction(const uint8_t *text, size_t size) {
    ZydisDecodedInstruction last = {0};
    ZydisDecoder decoder;
    size_t length = 0, agreed = 0;

    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64))) {
        return 0;
    }
    for (size_t start = 0; start + FAR_ENOUGH + ZYDIS_MAX_INSTRUCTION_LENGTH <= size; start++) {
        ZydisDecodedInstruction instruction = {0};
        size_t at = start;

        while (at < size && ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, text + at,
                                                                       size - at, &instruction))) {
            at += instruction.length;
        }
        if (at != size) {
            continue; /* this one began within an instruction and has not fallen into step */
        }
        if (agreed && length != instruction.length) {
            return 0;
        }
        length = instruction.length;
        last = instruction;
        agreed++;
    }
    return agreed >= 8 && length >= JUMP_SIZE && may_move(&last) ? length : 0;
}

/* The length of the instruction behind the `syscall`, 0 when it is too short or must not move. */
static size_t next_instruction(const uint8_t *text, size_t size) {
    ZydisDecodedInstruction next = {0};
    ZydisDecoder decoder;

    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
        ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, NULL, text, size, &next))) {
        return 0;
    }
    return SYSCALL_SIZE + next.length >= JUMP_SIZE && may_move(&next) ? next.length : 0;
}

static void put_displacement(uint8_t *at, uint64_t target, uint64_t next) {
    int32_t displacement = (int32_t)(target - next);

    memcpy(at, &displacement, sizeof(displacement));
}

/* lea behind-the-syscall(%rip), %rcx; jmp *entry(%rip). Returns the size so far. */
static size_t put_entry(uint8_t *cell, size_t size, const struct patch *patch, uint64_t behind,
                        uint64_t area) {
    memcpy(cell + size, "\x48\x8d\x0d", 3);
    size += 7;
    put_displacement(cell + size - 4, behind, patch->trampoline + size);
    memcpy(cell + size, "\xff\x25", 2);
    size += 6;
    put_displacement(cell + size - 4, area, patch->trampoline + size);
    return size;
}

static size_t make_cell(uint8_t cell[PATCH_CELL], const struct patch *patch, const uint8_t *moved,
                        uint64_t area) {
    uint64_t behind = patch->site + SYSCALL_SIZE;
    size_t size = 0;

    if (patch->start != patch->site) {
        memcpy(cell, moved, patch->length);
        return put_entry(cell, patch->length, patch, behind, area);
    }
    size = put_entry(cell, size, patch, patch->trampoline + CELL_RETURN, area);
    memcpy(cell + size, "\x0f\x05\x48\x8d\x0d", 5);
    size += SYSCALL_SIZE + 7;
    put_displacement(cell + size - 4, behind, patch->trampoline + size);
    memcpy(cell + size, moved, patch->length);
    size += patch->length;
    cell[size] = 0xe9;
    size += JUMP_SIZE;
    put_displacement(cell + size - 4, behind + patch->length, patch->trampoline + size);
    return size;
}

static bool write_text(struct host_thread *thread, uint64_t to, const void *from, size_t size) {
    return host_memory_write_force(thread, to, from, size) == (ssize_t)size;
}

/* A free cell of the area that suits the patch: its number, or -1. The first is the area's own. */
static int free_cell(const struct patch_area *area, const struct patch *patch) {
    for (int i = 1; i < PATCH_CELLS; i++) {
        if (!(area->used[i / 64] >> (i % 64) & 1) &&
            (patch->start != patch->site ||
             faults(area->start + (uint64_t)i * PATCH_CELL, patch->start + JUMP_SIZE))) {
            return i;
        }
    }
    return -1;
}

static struct patch_area *new_area(struct memory_manager *mm, struct host_thread *thread,
                                   uint64_t low, uint64_t high) {
    uint64_t start = tree_gap(&mm->tree, PATCH_AREA, PAGE_SIZE, low, high);
    uint64_t entry = host_aspace_fast_entry(mm->aspace);
    struct patch_area *areas;

    if (!start || memory_reserved(mm, start, start + PATCH_AREA)) {
        return NULL;
    }
    areas = reallocarray(mm->patches.areas, mm->patches.area_count + 1, sizeof(*areas));
    if (!areas) {
        return NULL;
    }
    lock_acquire(&mm->lock);
    mm->patches.areas = areas;
    lock_release(&mm->lock);
    if (memory_map_anonymous_token(mm, thread, start, start + PATCH_AREA, PROT_READ | PROT_EXEC, 0,
                                   MAPPING_TRAMPOLINE) ||
        !write_text(thread, start, &entry, sizeof(entry))) {
        return NULL;
    }
    LOCK_GUARD(&mm->lock);
    areas[mm->patches.area_count] = (struct patch_area){.start = start};
    return &areas[mm->patches.area_count++];
}

/* The area with a cell for the patch, whose trampoline is set; NULL: there can be none. */
static struct patch_area *place(struct memory_manager *mm, struct host_thread *thread,
                                struct patch *patch, int *cell) {
    uint64_t site = patch->site, low = site > REACH + (1ul << 20) ? site - REACH : 1ul << 20;
    uint64_t high = MIN(site + REACH, USER_TASK_SIZE);
    struct patch_area *area = NULL;

    *cell = -1;
    for (size_t i = 0; i < mm->patches.area_count && *cell < 0; i++) {
        area = &mm->patches.areas[i];
        if (area->start >= low && area->start + PATCH_AREA <= high) {
            *cell = free_cell(area, patch);
        }
    }
    if (*cell < 0) {
        area = new_area(mm, thread, low, high);
        *cell = area ? free_cell(area, patch) : -1;
    }
    if (*cell < 0) {
        return NULL;
    }
    patch->trampoline = area->start + (uint64_t)*cell * PATCH_CELL;
    return area;
}

static bool reserve_row(struct memory_manager *mm) {
    struct patch_set *set = &mm->patches;
    struct patch *rows;

    if (set->count < set->capacity) {
        return true;
    }
    rows = reallocarray(set->rows, set->capacity + 32, sizeof(*rows));
    if (!rows) {
        return false;
    }
    LOCK_GUARD(&mm->lock);
    set->rows = rows;
    set->capacity += 32;
    return true;
}

static bool patch_with_token(struct memory_manager *mm, struct host_thread *thread, uint64_t site) {
    const struct mapping *row = tree_find(&mm->tree, site);
    uint8_t text[LOOK_BACK + SYSCALL_SIZE + LOOK_AHEAD], jump[JUMP_SIZE] = {0xe9};
    uint8_t made[PATCH_CELL];
    const uint8_t *at = text + LOOK_BACK, *moved = at + SYSCALL_SIZE;
    struct patch patch = {.start = site, .site = site};
    struct patch_area *area;
    int cell;

    if (!row || row->kind != MAPPING_NORMAL || row->prot != (PROT_READ | PROT_EXEC) ||
        (row->flags & MAP_SHARED) || site < row->start + LOOK_BACK ||
        site + SYSCALL_SIZE + LOOK_AHEAD > row->end ||
        host_memory_read(thread, text, site - LOOK_BACK, sizeof(text)) != sizeof(text) ||
        memcmp(at, "\x0f\x05", SYSCALL_SIZE) != 0) {
        return false;
    }
    patch.length = (uint8_t)next_instruction(moved, LOOK_AHEAD);
    if (!patch.length) {
        patch.length = (uint8_t)last_instruction(text, LOOK_BACK);
        patch.start -= patch.length;
        moved = at - patch.length;
    }
    if (!patch.length || !reserve_row(mm)) {
        return false;
    }
    area = place(mm, thread, &patch, &cell);
    if (!area) {
        return false;
    }
    memcpy(patch.original, text + LOOK_BACK - (site - patch.start), JUMP_SIZE);
    put_displacement(jump + 1, patch.trampoline, patch.start + JUMP_SIZE);
    if (!write_text(thread, patch.trampoline, made, make_cell(made, &patch, moved, area->start)) ||
        !write_text(thread, patch.start, jump, sizeof(jump))) {
        return false;
    }
    LOCK_GUARD(&mm->lock);
    area->used[cell / 64] |= 1ull << (cell % 64);
    mm->patches.rows[mm->patches.count++] = patch;
    return true;
}

bool memory_patch_site(struct memory_manager *mm, struct host_thread *thread, uint64_t site,
                       bool at_once) {
    uint64_t *seen = &mm->patches.seen[(site ^ site >> 8) % PATCH_SEEN];
    uint64_t before = __atomic_load_n(seen, __ATOMIC_RELAXED);
    bool patched;

    if (before == (site | PATCH_REJECTED) || __atomic_load_n(&mm->patches.off, __ATOMIC_RELAXED)) {
        return false;
    }
    if (before != site && !at_once) {
        __atomic_store_n(seen, site, __ATOMIC_RELAXED);
        return false;
    }
    if (memory_manager_is_shared(mm) || memory_change_begin(mm)) {
        return false;
    }
    patched = patch_with_token(mm, thread, site);
    memory_change_end(mm);
    if (!patched) {
        __atomic_store_n(seen, site | PATCH_REJECTED, __ATOMIC_RELAXED);
    }
    return patched;
}

static bool concerns(const struct patch *patch, uint64_t start, uint64_t end) {
    return (patch->start < end && patch->start + JUMP_SIZE > start) ||
           (patch->trampoline < end && patch->trampoline + PATCH_CELL > start);
}

void memory_patch_forget(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                         uint64_t end) {
    struct patch_set *set = &mm->patches;

    for (size_t i = 0; i < set->count;) {
        struct patch patch = set->rows[i];

        if (!concerns(&patch, start, end)) {
            i++;
            continue;
        }
        /* Fails only when the memory has gone. */
        (void)!write_text(thread, patch.start, patch.original, JUMP_SIZE);
        LOCK_GUARD(&mm->lock);
        set->rows[i] = set->rows[--set->count];
    }
    for (size_t i = 0; i < set->area_count;) {
        if (set->areas[i].start >= end || set->areas[i].start + PATCH_AREA <= start) {
            i++;
            continue;
        }
        LOCK_GUARD(&mm->lock);
        set->areas[i] = set->areas[--set->area_count];
    }
}

int memory_patch_restore(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                         uint64_t end) {
    int result = memory_change_begin(mm);

    if (!result) {
        memory_patch_forget(mm, thread, start, end);
        memory_change_end(mm);
    }
    return result;
}

int memory_patch_off(struct memory_manager *mm, struct host_thread *thread) {
    __atomic_store_n(&mm->patches.off, true, __ATOMIC_RELAXED);
    return memory_patch_restore(mm, thread, 0, USER_TASK_SIZE);
}

/* Where in the program the place in the patch's trampoline is. */
static uint64_t original_of(const struct patch *patch, uint64_t offset) {
    if (patch->start != patch->site) {
        return offset == 0 ? patch->start : patch->site;
    }
    if (offset < CELL_RETURN) {
        return patch->site;
    }
    return patch->site + SYSCALL_SIZE + (offset > CELL_MOVED ? patch->length : 0);
}

bool memory_patch_translate(struct memory_manager *mm, uint64_t *address, uint64_t *site) {
    LOCK_GUARD(&mm->lock);

    for (size_t i = 0; i < mm->patches.count; i++) {
        const struct patch *patch = &mm->patches.rows[i];

        if (*address >= patch->trampoline && *address < patch->trampoline + PATCH_CELL) {
            *site = patch->start;
            *address = original_of(patch, *address - patch->trampoline);
            return true;
        }
    }
    return false;
}

bool memory_patch_enter(struct memory_manager *mm, uint64_t *address) {
    LOCK_GUARD(&mm->lock);

    for (size_t i = 0; i < mm->patches.count; i++) {
        const struct patch *patch = &mm->patches.rows[i];

        if (patch->start == patch->site && *address == patch->site + SYSCALL_SIZE) {
            *address = patch->trampoline + CELL_RETURN;
            return true;
        }
    }
    return false;
}

int memory_patch_fork(struct memory_manager *child, const struct memory_manager *mm) {
    const struct patch_set *from = &mm->patches;
    struct patch_set *to = &child->patches;

    to->off = from->off;
    if (from->count == 0 && from->area_count == 0) {
        return 0;
    }
    to->rows = reallocarray(NULL, MAX(from->count, (size_t)1), sizeof(*to->rows));
    to->areas = reallocarray(NULL, MAX(from->area_count, (size_t)1), sizeof(*to->areas));
    if (!to->rows || !to->areas) {
        return -ENOMEM; /* memory_patch_destroy() frees what there is */
    }
    memcpy(to->rows, from->rows, from->count * sizeof(*to->rows));
    memcpy(to->areas, from->areas, from->area_count * sizeof(*to->areas));
    to->count = to->capacity = from->count;
    to->area_count = from->area_count;
    return 0;
}

void memory_patch_destroy(struct memory_manager *mm) {
    free(mm->patches.rows);
    free(mm->patches.areas);
}
