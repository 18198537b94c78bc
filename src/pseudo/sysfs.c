/*
 * sysfs: what run-time libraries read of /sys: the processors (glibc's get_nprocs, lscpu, the JVM),
 * the memory node, transparent huge pages, and empty class trees. The processors' files are the
 * host's, read when they are asked for.
 */
#include "pseudo/pseudo_internal.h"

#include <linux/magic.h>
#include <stdio.h>

/* ---- devices/system/cpu ---- */

static int cpu_list_show(const struct pseudo_node *node, struct text *text) {
    char *host CLEANUP(free) = host_facts_cpu(node->entry->name);
    unsigned count = host_facts_cpu_count();

    if (host) {
        text_puts(text, host);
    } else {
        text_printf(text, count > 1 ? "0-%u\n" : "%u\n", count - 1);
    }
    return 0;
}

/* The host's file of that processor: node->number, with node->entry->text the path in its folder.
 */
static int cpu_file_show(const struct pseudo_node *node, struct text *text) {
    char path[96];
    char *host CLEANUP(free) = NULL;

    snprintf(path, sizeof(path), "cpu%ld/%s", node->number & 0xffff, node->entry->text);
    host = host_facts_cpu(path);
    if (!host) {
        return -ENOENT;
    }
    text_puts(text, host);
    return 0;
}

/* cache/indexN: the level is in the upper half of node->number. */
static int cache_file_show(const struct pseudo_node *node, struct text *text) {
    char path[96];
    char *host CLEANUP(free) = NULL;

    snprintf(path, sizeof(path), "cpu%ld/cache/index%ld/%s", node->number & 0xffff,
             node->number >> 16, node->entry->name);
    host = host_facts_cpu(path);
    if (!host) {
        return -ENOENT;
    }
    text_puts(text, host);
    return 0;
}

#define CPU_FILE(n, p) PSEUDO_FILE(n, 0444, .show = cpu_file_show, .text = p)
#define CACHE_FILE(n)  PSEUDO_FILE(n, 0444, .show = cache_file_show)

static const struct pseudo_entry topology_entries[] = {
    CPU_FILE("cluster_cpus", "topology/cluster_cpus"),
    CPU_FILE("cluster_cpus_list", "topology/cluster_cpus_list"),
    CPU_FILE("cluster_id", "topology/cluster_id"),
    CPU_FILE("core_cpus", "topology/core_cpus"),
    CPU_FILE("core_cpus_list", "topology/core_cpus_list"),
    CPU_FILE("core_id", "topology/core_id"),
    CPU_FILE("core_siblings", "topology/core_siblings"),
    CPU_FILE("core_siblings_list", "topology/core_siblings_list"),
    CPU_FILE("die_cpus", "topology/die_cpus"),
    CPU_FILE("die_cpus_list", "topology/die_cpus_list"),
    CPU_FILE("die_id", "topology/die_id"),
    CPU_FILE("package_cpus", "topology/package_cpus"),
    CPU_FILE("package_cpus_list", "topology/package_cpus_list"),
    CPU_FILE("physical_package_id", "topology/physical_package_id"),
    CPU_FILE("thread_siblings", "topology/thread_siblings"),
    CPU_FILE("thread_siblings_list", "topology/thread_siblings_list"),
    {0},
};

static const struct pseudo_entry cache_index_entries[] = {
    CACHE_FILE("coherency_line_size"),
    CACHE_FILE("id"),
    CACHE_FILE("level"),
    CACHE_FILE("number_of_sets"),
    CACHE_FILE("shared_cpu_list"),
    CACHE_FILE("shared_cpu_map"),
    CACHE_FILE("size"),
    CACHE_FILE("type"),
    CACHE_FILE("ways_of_associativity"),
    {0},
};
static const struct pseudo_entry cache_index_entry =
    PSEUDO_DIR("", 0555, .children = cache_index_entries);

typedef bool emit_fn(void *arg, const char *name, const struct pseudo_node *child);

static bool has_cache_index(long cpu, long index) {
    char path[64];
    char *host CLEANUP(free) = NULL;

    snprintf(path, sizeof(path), "cpu%ld/cache/index%ld/level", cpu, index);
    host = host_facts_cpu(path);
    return host != NULL;
}

static int cache_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    long cpu = dir->number & 0xffff, index;

    if (strncmp(name, "index", 5) != 0 || pseudo_parse_name(name + 5, &index) || index > 15 ||
        !has_cache_index(cpu, index)) {
        return -ENOENT;
    }
    child->entry = &cache_index_entry;
    child->number = index << 16 | cpu;
    return 0;
}

static int cache_iterate(const struct pseudo_node *dir, int64_t from, emit_fn *emit, void *arg) {
    for (long index = (long)from; index < 16 && has_cache_index(dir->number & 0xffff, index);
         index++) {
        struct pseudo_node child = *dir;
        char name[32];

        child.entry = &cache_index_entry;
        child.number = index;
        snprintf(name, sizeof(name), "index%ld", index);
        if (!emit(arg, name, &child)) {
            break;
        }
    }
    return 0;
}

static const struct pseudo_list cache_list = {.find = cache_find, .iterate = cache_iterate};

static const struct pseudo_entry cpu_n_entries[] = {
    PSEUDO_DIR("cache", 0555, .list = &cache_list),
    PSEUDO_FILE("online", 0444, .text = "1\n"),
    PSEUDO_DIR("topology", 0555, .children = topology_entries),
    {0},
};
static const struct pseudo_entry cpu_n_entry = PSEUDO_DIR("", 0555, .children = cpu_n_entries);

static int cpu_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    long cpu;

    if (strncmp(name, "cpu", 3) != 0 || pseudo_parse_name(name + 3, &cpu) ||
        cpu >= host_facts_cpu_count()) {
        return -ENOENT;
    }
    child->entry = &cpu_n_entry;
    child->number = cpu;
    return 0;
}

static int cpu_iterate(const struct pseudo_node *dir, int64_t from, emit_fn *emit, void *arg) {
    for (long cpu = (long)from; cpu < host_facts_cpu_count(); cpu++) {
        struct pseudo_node child = *dir;
        char name[24];

        child.entry = &cpu_n_entry;
        child.number = cpu;
        snprintf(name, sizeof(name), "cpu%ld", cpu);
        if (!emit(arg, name, &child)) {
            break;
        }
    }
    return 0;
}

static const struct pseudo_list cpu_list = {.find = cpu_find, .iterate = cpu_iterate};

static const struct pseudo_entry cpu_entries[] = {
    PSEUDO_FILE("isolated", 0444, .text = "\n"),
    PSEUDO_FILE("kernel_max", 0444, .text = "8191\n"),
    PSEUDO_FILE("offline", 0444, .text = "\n"),
    PSEUDO_FILE("online", 0444, .show = cpu_list_show),
    PSEUDO_FILE("possible", 0444, .show = cpu_list_show),
    PSEUDO_FILE("present", 0444, .show = cpu_list_show),
    {0},
};

/* ---- devices/system/node: one node with everything ---- */

static int node_cpus_show(const struct pseudo_node *node, struct text *text) {
    unsigned count = host_facts_cpu_count();

    text_printf(text, count > 1 ? "0-%u\n" : "%u\n", count - 1);
    return 0;
}

static int node_cpumap_show(const struct pseudo_node *node, struct text *text) {
    unsigned count = host_facts_cpu_count();

    for (unsigned word = (count + 31) / 32; word-- > 0;) {
        unsigned valid = MIN(count - word * 32, 32u);

        text_printf(text, "%08x%s", valid == 32 ? UINT32_MAX : (1u << valid) - 1,
                    word ? "," : "\n");
    }
    return 0;
}

static const struct pseudo_entry node0_entries[] = {
    PSEUDO_FILE("cpulist", 0444, .show = node_cpus_show),
    PSEUDO_FILE("cpumap", 0444, .show = node_cpumap_show),
    PSEUDO_FILE("distance", 0444, .text = "10\n"),
    {0},
};
static const struct pseudo_entry node_entries[] = {
    PSEUDO_FILE("has_cpu", 0444, .text = "0\n"),
    PSEUDO_FILE("has_memory", 0444, .text = "0\n"),
    PSEUDO_FILE("has_normal_memory", 0444, .text = "0\n"),
    PSEUDO_DIR("node0", 0555, .children = node0_entries),
    PSEUDO_FILE("online", 0444, .text = "0\n"),
    PSEUDO_FILE("possible", 0444, .text = "0\n"),
    {0},
};

/* ---- the rest ---- */

static const struct pseudo_entry no_entries[] = {{0}};

static const struct pseudo_entry system_entries[] = {
    PSEUDO_DIR("cpu", 0555, .children = cpu_entries, .list = &cpu_list),
    PSEUDO_DIR("node", 0555, .children = node_entries),
    {0},
};
static const struct pseudo_entry devices_entries[] = {
    PSEUDO_DIR("system", 0555, .children = system_entries),
    PSEUDO_DIR("virtual", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry huge_page_entries[] = {
    PSEUDO_FILE("defrag", 0444, .text = "always defer defer+madvise [madvise] never\n"),
    PSEUDO_FILE("enabled", 0444, .text = "always [madvise] never\n"),
    PSEUDO_FILE("hpage_pmd_size", 0444, .text = "2097152\n"),
    PSEUDO_FILE("shmem_enabled", 0444, .text = "always within_size advise [never] deny force\n"),
    {0},
};
static const struct pseudo_entry mm_entries[] = {
    PSEUDO_DIR("hugepages", 0555, .children = no_entries),
    PSEUDO_DIR("transparent_hugepage", 0555, .children = huge_page_entries),
    {0},
};
static const struct pseudo_entry kernel_entries[] = {
    PSEUDO_DIR("debug", 0700, .children = no_entries),
    PSEUDO_DIR("mm", 0555, .children = mm_entries),
    PSEUDO_DIR("security", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry class_entries[] = {
    PSEUDO_DIR("block", 0555, .children = no_entries),
    PSEUDO_DIR("net", 0555, .children = no_entries),
    PSEUDO_DIR("tty", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry fs_entries[] = {
    PSEUDO_DIR("cgroup", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry dev_entries[] = {
    PSEUDO_DIR("block", 0555, .children = no_entries),
    PSEUDO_DIR("char", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry root_entries[] = {
    PSEUDO_DIR("block", 0555, .children = no_entries),
    PSEUDO_DIR("bus", 0555, .children = no_entries),
    PSEUDO_DIR("class", 0555, .children = class_entries),
    PSEUDO_DIR("dev", 0555, .children = dev_entries),
    PSEUDO_DIR("devices", 0555, .children = devices_entries),
    PSEUDO_DIR("firmware", 0555, .children = no_entries),
    PSEUDO_DIR("fs", 0555, .children = fs_entries),
    PSEUDO_DIR("kernel", 0555, .children = kernel_entries),
    PSEUDO_DIR("module", 0555, .children = no_entries),
    {0},
};
static const struct pseudo_entry root_entry = PSEUDO_DIR("/", 0555, .children = root_entries);

struct super_block *sysfs_new(struct kernel *kernel) {
    struct super_block *sb = super_block_new(&sysfs_type, kernel_get(kernel));
    struct inode *root;

    if (IS_ERR(sb)) {
        kernel_put(kernel);
        return sb;
    }
    root = pseudo_root_new(sb, &root_entry);
    if (IS_ERR(root)) {
        super_block_put(sb);
        return (struct super_block *)root;
    }
    sb->root = root;
    return sb;
}

static struct super_block *sysfs_mount(const char *source, const char *data,
                                       const struct credentials *creds) {
    struct kernel *kernel = pseudo_kernel();

    return kernel ? sysfs_new(kernel) : ERR_PTR(-EINVAL);
}

static void sysfs_release(struct super_block *sb) {
    kernel_put(sb->private);
}

const struct file_system_type sysfs_type = {
    .name = "sysfs",
    .nodev = true,
    .magic = SYSFS_MAGIC,
    .mount = sysfs_mount,
    .release = sysfs_release,
};
