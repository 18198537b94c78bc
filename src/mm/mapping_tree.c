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

        if (tree->rows[middle].end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

struct mapping *tree_find(const struct mapping_tree *tree, uint64_t address) {
    size_t i = tree_index(tree, address);

    return i < tree->count && tree->rows[i].start <= address ? &tree->rows[i] : NULL;
}

bool tree_overlaps(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    size_t i = tree_index(tree, start);

    return i < tree->count && tree->rows[i].start < end;
}

uint64_t tree_mapped(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    uint64_t total = 0;

    for (size_t i = tree_index(tree, start); i < tree->count && tree->rows[i].start < end; i++) {
        total += MIN(tree->rows[i].end, end) - MAX(tree->rows[i].start, start);
    }
    return total;
}

uint64_t tree_hole(const struct mapping_tree *tree, uint64_t start, uint64_t end) {
    for (size_t i = tree_index(tree, start); i < tree->count && start < end; i++) {
        if (tree->rows[i].start > start) {
            return start;
        }
        start = tree->rows[i].end;
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
        uint64_t start = mapping_guarded_start(&tree->rows[above]);

        if (start < top) {
            top = start;
        }
        if (tree->rows[above].start >= high + STACK_GUARD) {
            break;
        }
    }
    for (;;) {
        uint64_t bottom = i > 0 ? MAX(tree->rows[i - 1].end, low) : low;

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
        top = MIN(top, mapping_guarded_start(&tree->rows[i]));
    }
}

int tree_edit_begin(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start,
                    uint64_t end) {
    size_t first = tree_index(tree, start), last = first;

    while (last < tree->count && tree->rows[last].start < end) {
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
    if (tree->count + 8 > tree->capacity) {
        size_t capacity = (tree->count + 8) * 3 / 2;
        struct mapping *rows = realloc(tree->rows, capacity * sizeof(*rows));

        if (!rows) {
            tree_edit_end(edit);
            return -ENOMEM;
        }
        tree->rows = rows;
        tree->capacity = capacity;
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

static void rows_open(struct mapping_tree *tree, size_t at) {
    if (tree->count == tree->capacity) {
        panic("mapping tree: more rows than were reserved (%zu)", tree->capacity);
    }
    memmove(&tree->rows[at + 1], &tree->rows[at], (tree->count - at) * sizeof(*tree->rows));
    tree->count++;
}

static void rows_close(struct mapping_tree *tree, size_t at, size_t count) {
    memmove(&tree->rows[at], &tree->rows[at + count],
            (tree->count - at - count) * sizeof(*tree->rows));
    tree->count -= count;
}

/* Makes `address` a border between rows. */
static void tree_split(struct mapping_tree *tree, uint64_t address) {
    struct mapping *row = tree_find(tree, address);

    if (!row || row->start == address) {
        return;
    }
    size_t i = (size_t)(row - tree->rows);

    rows_open(tree, i);
    row = &tree->rows[i];
    if (row->object) {
        memory_object_get(row->object);
        row_count(row, 1);
        row[1].offset += address - row->start;
    }
    row->end = address;
    row[1].start = address;
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
        struct mapping *row = &tree->rows[i];

        if (rows_merge(row, row + 1)) {
            row->end = row[1].end;
            row_drop(edit, row + 1);
            rows_close(tree, i + 1, 1);
            last--;
        } else {
            i++;
        }
    }
}

void tree_remove(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end) {
    tree_split(tree, start);
    tree_split(tree, end);

    size_t first = tree_index(tree, start), last = first;

    while (last < tree->count && tree->rows[last].start < end) {
        row_drop(edit, &tree->rows[last++]);
    }
    rows_close(tree, first, last - first);
}

void tree_insert(struct mapping_tree *tree, struct tree_edit *edit, const struct mapping *row) {
    size_t i = tree_index(tree, row->start);

    rows_open(tree, i);
    tree->rows[i] = *row;
    row_count(row, 1);
    tree_merge(tree, edit, i, i + 1);
}

void tree_update(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end,
                 int prot, int set_flags, int clear_flags) {
    tree_split(tree, start);
    tree_split(tree, end);

    size_t first = tree_index(tree, start), last = first;

    for (; last < tree->count && tree->rows[last].start < end; last++) {
        struct mapping *row = &tree->rows[last];

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
        const struct mapping *row = &from->rows[i];

        if (fork && (row->flags & MAPPING_DONTFORK)) {
            continue;
        }
        struct mapping *copy = &to->rows[to->count++];

        *copy = *row;
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
        row_count(&tree->rows[i], -1);
        if (tree->rows[i].object) {
            memory_object_put(tree->rows[i].object);
        }
    }
    free(tree->rows);
    *tree = (struct mapping_tree){0};
}
