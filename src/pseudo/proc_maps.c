/*
 * /proc/PID/maps, smaps and smaps_rollup, from the memory manager's own tree of mappings: so the
 * stub, which the tree does not know, never shows.
 *
 * The tree is copied in pieces, each under its lock; descriptions of objects are asked for without
 * it.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>
#include <sys/sysmacros.h>

#define PIECE 64

typedef void mapping_fn(struct text *text, const struct mapping *mapping, const char *name,
                        dev_t dev, ino_t ino, void *arg);

static void mapping_describe(const struct mapping *mapping, char *name, size_t size, dev_t *dev,
                             ino_t *ino) {
    *dev = 0;
    *ino = 0;
    name[0] = '\0';
    switch (mapping->kind) {
    case MAPPING_STACK:
        snprintf(name, size, "[stack]");
        return;
    case MAPPING_HEAP:
        snprintf(name, size, "[heap]");
        return;
    case MAPPING_VDSO:
        snprintf(name, size, "[vdso]");
        return;
    case MAPPING_VVAR:
        snprintf(name, size, "[vvar]");
        return;
    case MAPPING_NORMAL:
    case MAPPING_TRAMPOLINE:
        break;
    }
    if (mapping->object && mapping->object->ops->describe &&
        mapping->object->ops->describe(mapping->object, name, size, dev, ino)) {
        name[0] = '\0';
    }
}

static int walk_mappings(const struct pseudo_node *node, struct text *text, mapping_fn *fn,
                         void *arg) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct memory_manager *mm CLEANUP(memory_manager_put) = NULL;
    char *name CLEANUP(free) = NULL;
    struct mapping piece[PIECE];
    uint64_t from = 0;
    size_t count;
    int error;

    if (!task) {
        return -ESRCH;
    }
    mm = task_mm(task);
    error = pseudo_may_access(task); /* after: exec changes rights first, then the memory */
    if (error) {
        return error;
    }
    if (!mm) {
        return 0; /* a zombie has none */
    }
    name = malloc(PATH_MAX);
    if (!name) {
        return -ENOMEM;
    }
    while (!text->failed && (count = memory_manager_snapshot(mm, from, piece, PIECE)) > 0) {
        for (size_t i = 0; i < count; i++) {
            dev_t dev;
            ino_t ino;

            if (piece[i].kind != MAPPING_TRAMPOLINE) {
                mapping_describe(&piece[i], name, PATH_MAX, &dev, &ino);
                fn(text, &piece[i], name, dev, ino, arg);
            }
            if (piece[i].object) {
                memory_object_put(piece[i].object);
            }
        }
        from = piece[count - 1].end;
    }
    return 0;
}

static void put_line(struct text *text, const struct mapping *mapping, const char *name, dev_t dev,
                     ino_t ino, void *arg) {
    size_t start = text->length, width;

    text_printf(text, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ",
                (unsigned long long)mapping->start, (unsigned long long)mapping->end,
                mapping->prot & PROT_READ ? 'r' : '-', mapping->prot & PROT_WRITE ? 'w' : '-',
                mapping->prot & PROT_EXEC ? 'x' : '-', mapping->flags & MAP_SHARED ? 's' : 'p',
                (unsigned long long)mapping->offset, major(dev), minor(dev),
                (unsigned long long)ino);
    if (name[0]) {
        /* Linux pads names to column 73. */
        width = text->length - start;
        text_printf(text, "%*s", width < 73 ? (int)(73 - width) : 0, "");
        text_put_escaped(text, name, "\n");
    }
    text_puts(text, "\n");
}

int proc_maps_show(const struct pseudo_node *node, struct text *text) {
    return walk_mappings(node, text, put_line, NULL);
}

/* ---- smaps: the tree's mappings with the host's figures ---- */

struct figures {
    struct host_smaps *ranges; /* owned; ascending */
    size_t count;
    uint64_t first, last;               /* of the mappings so far */
    uint64_t total[HOST_SMAPS_FIGURES]; /* bytes */
};

static void figures_cleanup(struct figures *figures) {
    free(figures->ranges);
}

/* The host may hold several of the tree's mappings as one range, or one as several: a range that is
 * only partly within counts by its share. */
static void sum_figures(const struct figures *figures, const struct mapping *mapping,
                        uint64_t sum[HOST_SMAPS_FIGURES]) {
    memset(sum, 0, HOST_SMAPS_FIGURES * sizeof(*sum));
    for (size_t i = 0; i < figures->count; i++) {
        const struct host_smaps *range = &figures->ranges[i];
        uint64_t start = MAX(range->start, mapping->start), end = MIN(range->end, mapping->end);

        if (start >= end) {
            continue;
        }
        for (size_t n = 0; n < HOST_SMAPS_FIGURES; n++) {
            sum[n] += end - start == range->end - range->start
                          ? range->bytes[n]
                          : (uint64_t)((double)range->bytes[n] * (double)(end - start) /
                                       (double)(range->end - range->start));
        }
    }
}

static void put_kilobytes(struct text *text, const char *name, uint64_t bytes) {
    text_printf(text, "%s:%*s%8llu kB\n", name, (int)(15 - strlen(name)), "",
                (unsigned long long)bytes >> 10);
}

static void put_figures(struct text *text, const uint64_t bytes[HOST_SMAPS_FIGURES]) {
    for (size_t i = 0; i < HOST_SMAPS_FIGURES; i++) {
        put_kilobytes(text, host_smaps_name(i), bytes[i]);
    }
}

static void put_smaps(struct text *text, const struct mapping *mapping, const char *name, dev_t dev,
                      ino_t ino, void *arg) {
    uint64_t sum[HOST_SMAPS_FIGURES];

    put_line(text, mapping, name, dev, ino, NULL);
    put_kilobytes(text, "Size", mapping->end - mapping->start);
    put_kilobytes(text, "KernelPageSize", PAGE_SIZE);
    put_kilobytes(text, "MMUPageSize", PAGE_SIZE);
    sum_figures(arg, mapping, sum);
    put_figures(text, sum);
    text_printf(text, "THPeligible:    %8d\nVmFlags:%s%s%s%s mr mw me%s%s \n", 0,
                mapping->prot & PROT_READ ? " rd" : "", mapping->prot & PROT_WRITE ? " wr" : "",
                mapping->prot & PROT_EXEC ? " ex" : "", mapping->flags & MAP_SHARED ? " sh" : "",
                mapping->kind == MAPPING_STACK || mapping->flags & MAP_GROWSDOWN ? " gd" : "",
                mapping->flags & MAP_PRIVATE ? " ac" : "");
}

static int figures_get(const struct pseudo_node *node, struct figures *figures) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct host_process *process CLEANUP(host_process_put) = NULL;

    if (!task) {
        return -ESRCH;
    }
    process = thread_group_process(task->thread_group);
    return host_process_smaps(process, &figures->ranges, &figures->count);
}

int proc_smaps_show(const struct pseudo_node *node, struct text *text) {
    struct figures figures CLEANUP(figures) = {0};
    int error = figures_get(node, &figures);

    return error ? error : walk_mappings(node, text, put_smaps, &figures);
}

static void add_total(struct text *text, const struct mapping *mapping, const char *name, dev_t dev,
                      ino_t ino, void *arg) {
    struct figures *figures = arg;
    uint64_t sum[HOST_SMAPS_FIGURES];

    figures->first = figures->first ? figures->first : mapping->start;
    figures->last = mapping->end;
    sum_figures(figures, mapping, sum);
    for (size_t i = 0; i < HOST_SMAPS_FIGURES; i++) {
        figures->total[i] += sum[i];
    }
}

int proc_smaps_rollup_show(const struct pseudo_node *node, struct text *text) {
    struct figures figures CLEANUP(figures) = {0};
    int error = figures_get(node, &figures);

    if (!error) {
        error = walk_mappings(node, text, add_total, &figures);
    }
    if (error) {
        return error;
    }
    if (figures.last == 0) {
        return -ESRCH; /* a zombie has none to roll up */
    }
    put_line(text,
             &(struct mapping){.start = figures.first, .end = figures.last, .flags = MAP_PRIVATE},
             "[rollup]", 0, 0, NULL);
    put_figures(text, figures.total);
    return 0;
}
