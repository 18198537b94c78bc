/*
 * The patches of an address space: the lists of live and retired ones, and the areas that hold
 * their trampolines. A cell of an area stays with its patch until that is forgotten for good.
 */
#include "mm/mm_internal.h"

struct patch_guest patch_guest(struct host_thread *thread, bool own) {
    return (struct patch_guest){.thread = thread, .own = own, .memory_fd = -1};
}

void patch_guest_cleanup(struct patch_guest *guest) {
    if (guest->memory_fd >= 0) {
        (void)host_close(guest->memory_fd);
    }
}

bool patch_write(struct patch_guest *guest, uint64_t to, const void *from, size_t size) {
    if (guest->memory_fd < 0) {
        guest->memory_fd = host_memory_open_force(guest->thread);
    }
    return guest->memory_fd >= 0 &&
           host_pwrite(guest->memory_fd, from, size, (off_t)to) == (ssize_t)size;
}

/* ---- lists ---- */

/* The first row that ends above the address. */
size_t patch_first_above(const struct patch_list *list, uint64_t address) {
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list->rows[middle].start + PATCH_JUMP > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Of the live ones, the one with a jump over the address. */
struct patch *patch_live_at(const struct patch_set *set, uint64_t address) {
    size_t i = patch_first_above(&set->live, address);

    return i < set->live.count && set->live.rows[i].start <= address ? &set->live.rows[i] : NULL;
}

/* The one of the `syscall` at the address. */
struct patch *patch_live_of(const struct patch_set *set, uint64_t site) {
    for (size_t i = patch_first_above(&set->live, site - PATCH_CELL); i < set->live.count; i++) {
        if (set->live.rows[i].start > site) {
            break;
        }
        if (patch_site(&set->live.rows[i]) == site) {
            return &set->live.rows[i];
        }
    }
    return NULL;
}

bool patch_list_reserve(struct memory_manager *mm, struct patch_list *list, size_t more) {
    LOCK_GUARD(&mm->lock);
    struct patch *rows;

    if (list->count + more <= list->capacity) {
        return true;
    }
    rows = reallocarray(list->rows, list->count + more + 32, sizeof(*rows));
    if (!rows) {
        return false;
    }
    list->rows = rows;
    list->capacity = list->count + more + 32;
    return true;
}

void patch_list_insert(struct patch_list *list, size_t at, const struct patch *patch) {
    memmove(&list->rows[at + 1], &list->rows[at], (list->count - at) * sizeof(*list->rows));
    list->rows[at] = *patch;
    list->count++;
}

void patch_list_remove(struct patch_list *list, size_t at) {
    list->count--;
    memmove(&list->rows[at], &list->rows[at + 1], (list->count - at) * sizeof(*list->rows));
}

static bool in_areas(const struct patch_set *set, uint64_t address) {
    for (size_t i = 0; i < set->area_count; i++) {
        if (address - set->areas[i].start < PATCH_AREA) {
            return true;
        }
    }
    return false;
}

static struct patch *list_by_trampoline(const struct patch_list *list, uint64_t address) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->rows[i].trampoline && address - list->rows[i].trampoline < PATCH_CELL) {
            return &list->rows[i];
        }
    }
    return NULL;
}

struct patch *patch_by_trampoline(const struct patch_set *set, uint64_t address) {
    struct patch *patch = NULL;

    if (in_areas(set, address)) {
        patch = list_by_trampoline(&set->live, address);
        patch = patch ? patch : list_by_trampoline(&set->retired, address);
    }
    return patch;
}

/* ---- trampolines ---- */

void patch_mark_cell(struct patch_set *set, uint64_t trampoline, bool used) {
    for (size_t i = 0; i < set->area_count; i++) {
        uint64_t cell = (trampoline - set->areas[i].start) / PATCH_CELL;

        if (trampoline >= set->areas[i].start && cell < (uint64_t)PATCH_CELLS) {
            uint64_t bit = 1ull << (cell % 64), *word = &set->areas[i].used[cell / 64];

            *word = used ? *word | bit : *word & ~bit;
        }
    }
}

/* A free cell of the area that suits the patch, which gets it. The first is the area's own. */
static bool take_cell(const struct patch_area *area, struct patch *patch) {
    for (int i = 1; i < PATCH_CELLS; i++) {
        uint64_t trampoline = area->start + (uint64_t)i * PATCH_CELL;
        int64_t distance = (int64_t)(trampoline - patch->start);

        if (!(area->used[i / 64] >> (i % 64) & 1) && distance == (int32_t)distance &&
            patch_suits(&patch->shape, patch->start, trampoline)) {
            patch->trampoline = trampoline;
            return true;
        }
    }
    return false;
}

static struct patch_area *new_area(struct memory_manager *mm, struct patch_guest *guest,
                                   uint64_t start) {
    uint64_t entry = host_aspace_fast_entry(mm->aspace);
    struct patch_area *areas;

    lock_acquire(&mm->lock);
    areas = reallocarray(mm->patches.areas, mm->patches.area_count + 1, sizeof(*areas));
    mm->patches.areas = areas ? areas : mm->patches.areas;
    lock_release(&mm->lock);
    if (!areas) {
        return NULL;
    }
    if (memory_map_anonymous_token(mm, guest->thread, start, start + PATCH_AREA,
                                   PROT_READ | PROT_EXEC, 0, MAPPING_TRAMPOLINE) ||
        !patch_write(guest, start, &entry, sizeof(entry))) {
        return NULL;
    }
    LOCK_GUARD(&mm->lock);
    areas[mm->patches.area_count] = (struct patch_area){.start = start};
    return &areas[mm->patches.area_count++];
}

/* Finds the patch a cell. The area, or NULL: there can be none. */
const struct patch_area *patch_place(struct memory_manager *mm, struct patch_guest *guest,
                                     struct patch *patch) {
    uint64_t low, high;
    int round = 0;

    for (size_t i = 0; i < mm->patches.area_count; i++) {
        if (take_cell(&mm->patches.areas[i], patch)) {
            return &mm->patches.areas[i];
        }
    }
    while (patch_window(&patch->shape, patch->start, &round, &low, &high)) {
        uint64_t start;

        low = ALIGN_UP(low, PAGE_SIZE);
        high = MIN(MAX(high, low + PATCH_AREA), USER_TASK_SIZE);
        start = tree_gap(&mm->tree, PATCH_AREA, PAGE_SIZE, low, high);
        if (start && !memory_reserved(mm, start, start + PATCH_AREA)) {
            const struct patch_area *area = new_area(mm, guest, start);

            return area && take_cell(area, patch) ? area : NULL;
        }
    }
    return NULL;
}

/* ---- life ---- */

static int copy_list(struct patch_list *to, const struct patch_list *from, size_t capacity) {
    if (capacity == 0) {
        return 0;
    }
    to->rows = reallocarray(NULL, capacity, sizeof(*to->rows));
    if (!to->rows) {
        return -ENOMEM;
    }
    if (from->count) {
        memcpy(to->rows, from->rows, from->count * sizeof(*to->rows));
    }
    to->count = from->count;
    to->capacity = capacity;
    return 0;
}

int memory_patch_fork(struct memory_manager *child, const struct memory_manager *mm) {
    const struct patch_set *from = &mm->patches;
    struct patch_set *to = &child->patches;

    to->off = from->off;
    if (from->area_count == 0) {
        return 0;
    }
    to->areas = reallocarray(NULL, from->area_count, sizeof(*to->areas));
    if (!to->areas || copy_list(&to->live, &from->live, from->live.count) ||
        copy_list(&to->retired, &from->retired, from->live.count + from->retired.count)) {
        return -ENOMEM; /* memory_patch_destroy() frees what there is */
    }
    memcpy(to->areas, from->areas, from->area_count * sizeof(*to->areas));
    to->area_count = from->area_count;
    return 0;
}

void memory_patch_destroy(struct memory_manager *mm) {
    free(mm->patches.live.rows);
    free(mm->patches.retired.rows);
    free(mm->patches.areas);
}
