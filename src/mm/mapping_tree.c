/*
 * The tree of mappings: rows in an array sorted by address, found by binary search.
 *
 * An array instead of a balanced tree: processes have tens to hundreds of mappings, a fork copies
 * them in one go, /proc/PID/maps walks them, and moving 64 bytes a row costs less than the host
 * call that goes with every change.
 *
 * Invariants: rows are page-aligned, not empty, in ascending order and do not overlap; two
 * neighbours that touch and could be one row are one row. Each row owns a reference to its object
 * and is counted there (memory_object_ops.mapped).
 */
#include "mm/mm_internal.h"

size_t tree_index(const struct mapping_tree *tree, uint64_t address) {
    size_t low = 0, high = tree->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (tree_row(tree, middle)->end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

struct mapping *tree_find(const struct mapping_tree *tree, uint64_t address) {
    size_t i = tree_index(tree, address);

    return i < tree->count && tree_row(tree, i)->start <= address ? tree_row(tree, i) : NULL;
}

bool tree_overlaps(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    size_t i = tree_index(tree, start);

    return i < tree->count && tree_row(tree, i)->start < end;
}

uint64_t tree_mapped(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    uint64_t total = 0;

    for (size_t i = tree_index(tree, start); i < tree->count && tree_row(tree, i)->start < end;
         i++) {
        total += MIN(tree_row(tree, i)->end, end) - MAX(tree_row(tree, i)->start, start);
    }
    return total;
}

uint64_t tree_hole(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    for (size_t i = tree_index(tree, start); i < tree->count && start < end; i++) {
        if (tree_row(tree, i)->start > start) {
            return start;
        }
        start = tree_row(tree, i)->end;
    }
    return MIN(start, end);
}

uint64_t mapping_guarded_start(const struct mapping *row) {
    if ((row->flags & MAP_GROWSDOWN) || row->kind == MAPPING_STACK) {
        return row->start > STACK_GUARD ? row->start - STACK_GUARD : 0;
    }
    return row->start;
}

uint64_t tree_gap(const struct mapping_tree *tree, uint64_t size, uint64_t align, uint64_t low,
                  uint64_t high) {
    uint64_t top = high;
    size_t i = tree_index(tree, high);

    /* Rows from i on end above `high`; they matter where they (or their guard) reach below it. */
    for (size_t above = i; above < tree->count; above++) {
        uint64_t start = mapping_guarded_start(tree_row(tree, above));

        if (start < top) {
            top = start;
        }
        if (tree_row(tree, above)->start >= high + STACK_GUARD) {
            break;
        }
    }
    for (;;) {
        uint64_t bottom = i > 0 ? MAX(tree_row(tree, i - 1)->end, low) : low;

        if (top > bottom && top - bottom >= size) {
            uint64_t address = ALIGN_DOWN(top - size, align);

            if (address >= bottom) {
                return address;
            }
        }
        if (i == 0 || top <= low) {
            return 0;
        }
        i--;
        top = MIN(top, mapping_guarded_start(tree_row(tree, i)));
    }
}

/* Rows that a change may add, and its undoing after that (memory_deferred.c). */
#define EDIT_ROOM 16

int tree_edit_begin(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start,
                    uint64_t end) {
    size_t first = tree_index(tree, start), last = first;

    while (last < tree->count && tree_row(tree, last)->start < end) {
        last++;
    }
    *edit = (struct tree_edit){.capacity = ARRAY_SIZE(edit->few)};
    edit->dead = edit->few;
    if (last - first + 6 > edit->capacity) {
        edit->capacity = last - first + 6;
        edit->dead = calloc(edit->capacity, sizeof(*edit->dead));
        if (!edit->dead) {
            return -ENOMEM;
        }
    }
    if (tree->count + EDIT_ROOM > tree->capacity) {
        size_t capacity = (tree->count + EDIT_ROOM) * 3 / 2;
        struct mapping *rows = calloc(capacity, sizeof(*rows));

        if (!rows) {
            tree_edit_end(edit);
            return -ENOMEM;
        }
        for (size_t i = 0; i < tree->count; i++) {
            rows[i] = *tree_row(tree, i);
        }
        free(tree->rows);
        tree->rows = rows;
        tree->capacity = capacity;
        tree->gap = tree->count;
    }
    return 0;
}

void tree_edit_end(struct tree_edit *edit) {
    for (size_t i = 0; i < edit->count; i++) {
        memory_object_put(edit->dead[i]);
    }
    edit->count = 0;
    if (edit->dead != edit->few) {
        free(edit->dead);
    }
    edit->dead = edit->few;
}

static void row_count(const struct mapping *row, int change) {
    if (row->object && row->object->ops->mapped) {
        row->object->ops->mapped(row->object, row->prot, row->flags & MAP_SHARED, change);
    }
}

static void row_drop(struct tree_edit *edit, const struct mapping *row) {
    row_count(row, -1);
    if (row->object) {
        if (edit->count == edit->capacity) {
            panic("mapping tree: more rows end than were reserved (%zu)", edit->capacity);
        }
        edit->dead[edit->count++] = row->object;
    }
}

/* The free room goes to before row `at`: most changes come close to the one before. */
static void rows_move_gap(struct mapping_tree *tree, size_t at) {
    size_t room = tree->capacity - tree->count;
    struct mapping *rows = tree->rows;

    if (at < tree->gap) {
        memmove(&rows[at + room], &rows[at], (tree->gap - at) * sizeof(*rows));
    } else if (at > tree->gap) {
        memmove(&rows[tree->gap], &rows[tree->gap + room], (at - tree->gap) * sizeof(*rows));
    }
    tree->gap = at;
}

static void rows_open(struct mapping_tree *tree, size_t at) {
    if (tree->count == tree->capacity) {
        panic("mapping tree: more rows than were reserved (%zu)", tree->capacity);
    }
    rows_move_gap(tree, at);
    tree->gap++;
    tree->count++;
}

static void rows_close(struct mapping_tree *tree, size_t at, size_t count) {
    if (count) {
        rows_move_gap(tree, at);
        tree->count -= count;
    }
}

/* Makes `address` a border between rows. */
static void tree_split(struct mapping_tree *tree, uint64_t address) {
    size_t i = tree_index(tree, address);
    struct mapping *low, *high;

    if (i == tree->count || tree_row(tree, i)->start >= address) {
        return;
    }
    rows_open(tree, i);
    low = tree_row(tree, i);
    high = tree_row(tree, i + 1);
    *low = *high;
    if (low->object) {
        memory_object_get(low->object);
        row_count(low, 1);
        high->offset += address - low->start;
    }
    low->end = address;
    high->start = address;
}

static bool rows_merge(const struct mapping *low, const struct mapping *high) {
    return low->end == high->start && low->prot == high->prot && low->flags == high->flags &&
           low->kind == high->kind && low->object == high->object &&
           (!low->object || low->offset + (low->end - low->start) == high->offset);
}

/* Merges where rows first-1 .. last touch. */
static void tree_merge(struct mapping_tree *tree, struct tree_edit *edit, size_t first,
                       size_t last) {
    size_t i = first > 0 ? first - 1 : 0;

    while (i + 1 < tree->count && i < last) {
        struct mapping *row = tree_row(tree, i), *next = tree_row(tree, i + 1);

        if (rows_merge(row, next)) {
            row->end = next->end;
            row_drop(edit, next);
            rows_close(tree, i + 1, 1);
            last--;
        } else {
            i++;
        }
    }
}

static unsigned size_class(uint64_t pages) {
    unsigned class = 63 - (unsigned)__builtin_clzll(pages);

    return MIN(class, (unsigned)TREE_SIZES - 1);
}

/* Rows before `at` went: what is free there may be more than was remembered. */
static void gap_made(struct mapping_tree *tree, size_t at) {
    uint64_t low = at > 0 ? tree_row(tree, at - 1)->end : 0;
    uint64_t high = at < tree->count ? tree_row(tree, at)->start : UINT64_MAX;

    for (unsigned class = 0; class <= size_class((high - low) >> PAGE_SHIFT); class ++) {
        if (tree->full_above[class] && tree->full_above[class] < high) {
            tree->full_above[class] = high;
        }
    }
}

uint64_t tree_gap_remembered(struct mapping_tree *tree, uint64_t size, uint64_t low,
                             uint64_t high) {
    uint64_t pages = size >> PAGE_SHIFT, full = tree->full_above[size_class(pages)], found;

    if (full && full < high) {
        high = MAX(full, low);
    }
    found = tree_gap(tree, size, PAGE_SIZE, low, high);
    if (found) {
        /* Nothing above it was large enough, so neither for any larger class. */
        unsigned class = size_class(pages);

        for (class += (pages & (pages - 1)) != 0; class < TREE_SIZES; class ++) {
            if (!tree->full_above[class] || tree->full_above[class] > found + size) {
                tree->full_above[class] = found + size;
            }
        }
    }
    return found;
}

void tree_remove(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end) {
    tree_split(tree, start);
    tree_split(tree, end);

    size_t first = tree_index(tree, start), last = first;

    while (last < tree->count && tree_row(tree, last)->start < end) {
        row_drop(edit, tree_row(tree, last++));
    }
    rows_close(tree, first, last - first);
    if (last > first) {
        gap_made(tree, first);
    }
}

void tree_insert(struct mapping_tree *tree, struct tree_edit *edit, const struct mapping *row) {
    size_t i = tree_index(tree, row->start);

    rows_open(tree, i);
    *tree_row(tree, i) = *row;
    row_count(row, 1);
    tree_merge(tree, edit, i, i + 1);
}

void tree_update(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end,
                 int prot, int set_flags, int clear_flags) {
    tree_split(tree, start);
    tree_split(tree, end);

    size_t first = tree_index(tree, start), last = first;

    for (; last < tree->count && tree_row(tree, last)->start < end; last++) {
        struct mapping *row = tree_row(tree, last);

        if (prot != -1 && prot != row->prot) {
            row_count(row, -1);
            row->prot = prot;
            row_count(row, 1);
        }
        row->flags = (row->flags & ~clear_flags) | set_flags;
    }
    tree_merge(tree, edit, first, last);
}

int tree_copy(struct mapping_tree *to, const struct mapping_tree *from, bool fork) {
    *to = (struct mapping_tree){.capacity = from->count + 8};
    to->rows = calloc(to->capacity, sizeof(*to->rows));
    if (!to->rows) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < from->count; i++) {
        const struct mapping *row = tree_row(from, i);

        if (fork && (row->flags & MAPPING_DONTFORK)) {
            continue;
        }
        struct mapping *copy = &to->rows[to->count++];

        *copy = *row;
        to->gap = to->count;
        if (fork) {
            copy->flags &= ~MAP_LOCKED; /* mlock(2): locks are not inherited */
        }
        if (copy->object) {
            memory_object_get(copy->object);
        }
        row_count(copy, 1);
    }
    return 0;
}

void tree_destroy(struct mapping_tree *tree) {
    for (size_t i = 0; i < tree->count; i++) {
        row_count(tree_row(tree, i), -1);
        if (tree_row(tree, i)->object) {
            memory_object_put(tree_row(tree, i)->object);
        }
    }
    free(tree->rows);
    *tree = (struct mapping_tree){0};
}
