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
    int error = task ? pseudo_may_access(task) : -ESRCH;

    if (error) {
        return error;
    }
    mm = task_mm(task);
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

            mapping_describe(&piece[i], name, PATH_MAX, &dev, &ino);
            fn(text, &piece[i], name, dev, ino, arg);
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

struct smaps_total {
    uint64_t first, last, size, anonymous;
};

/* How much of a mapping is resident is the host's knowledge alone and is not asked for each one:
 * what is shown as resident is 0. */
static void put_figures(struct text *text, uint64_t resident, uint64_t anonymous) {
    static const char *const zeros[] = {
        "Shared_Clean",    "Shared_Dirty",   "Private_Clean", "Private_Dirty",
        "Referenced",      "Anonymous",      "KSM",           "LazyFree",
        "AnonHugePages",   "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb",
        "Private_Hugetlb", "Swap",           "SwapPss",       "Locked",
    };

    text_printf(text, "Rss:            %8llu kB\nPss:            %8llu kB\n",
                (unsigned long long)resident >> 10, (unsigned long long)resident >> 10);
    text_printf(text, "Pss_Dirty:      %8llu kB\n", (unsigned long long)anonymous >> 10);
    for (size_t i = 0; i < ARRAY_SIZE(zeros); i++) {
        uint64_t value =
            strcmp(zeros[i], "Private_Dirty") == 0 || strcmp(zeros[i], "Anonymous") == 0 ? anonymous
                                                                                         : 0;

        text_printf(text, "%s:%*s%8llu kB\n", zeros[i], (int)(15 - strlen(zeros[i])), "",
                    (unsigned long long)value >> 10);
    }
}

static void put_smaps(struct text *text, const struct mapping *mapping, const char *name, dev_t dev,
                      ino_t ino, void *arg) {
    put_line(text, mapping, name, dev, ino, NULL);
    text_printf(text, "Size:           %8llu kB\nKernelPageSize: %8d kB\nMMUPageSize:    %8d kB\n",
                (unsigned long long)(mapping->end - mapping->start) >> 10, 4, 4);
    put_figures(text, 0, 0);
    text_printf(text, "THPeligible:    %8d\nVmFlags:%s%s%s%s mr mw me%s%s \n", 0,
                mapping->prot & PROT_READ ? " rd" : "", mapping->prot & PROT_WRITE ? " wr" : "",
                mapping->prot & PROT_EXEC ? " ex" : "", mapping->flags & MAP_SHARED ? " sh" : "",
                mapping->kind == MAPPING_STACK || mapping->flags & MAP_GROWSDOWN ? " gd" : "",
                mapping->flags & MAP_PRIVATE ? " ac" : "");
}

int proc_smaps_show(const struct pseudo_node *node, struct text *text) {
    return walk_mappings(node, text, put_smaps, NULL);
}

static void add_total(struct text *text, const struct mapping *mapping, const char *name, dev_t dev,
                      ino_t ino, void *arg) {
    struct smaps_total *total = arg;

    total->first = total->first ? total->first : mapping->start;
    total->last = mapping->end;
}

int proc_smaps_rollup_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct host_process *process CLEANUP(host_process_put) = NULL;
    struct smaps_total total = {0};
    uint64_t resident, minor, major_faults;
    int error = walk_mappings(node, text, add_total, &total);

    if (error) {
        return error;
    }
    if (!task || total.last == 0) {
        return -ESRCH;
    }
    process = thread_group_process(task->thread_group);
    if (host_process_memory(process, &resident, &minor, &major_faults)) {
        resident = 0;
    }
    put_line(text, &(struct mapping){.start = total.first, .end = total.last, .flags = MAP_PRIVATE},
             "[rollup]", 0, 0, NULL);
    put_figures(text, resident, resident);
    return 0;
}
