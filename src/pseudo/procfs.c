/*
 * procfs: the root of /proc (proc(5)) and its super block.
 *
 * The super block holds the kernel whose tasks it shows; nothing of the host's /proc is reachable
 * through it.
 */
#include "pseudo/pseudo_internal.h"

#include <linux/magic.h>
#include <stdio.h>

/* Of mounts that no task asks for; borrowed. */
static struct kernel *_Atomic start_kernel;

int pseudo_register(struct kernel *kernel) {
    static const struct file_system_type *const types[] = {&procfs_type, &sysfs_type, &devfs_type};

    atomic_store(&start_kernel, kernel);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        int error = file_system_register(types[i]);

        if (error) {
            return error;
        }
    }
    return device_memory_register();
}

struct kernel *pseudo_kernel(void) {
    struct task *current = current_task();

    return current ? current->thread_group->kernel : atomic_load(&start_kernel);
}

static ssize_t copy_link(const char *text, int length, char *buffer, size_t size) {
    size = MIN((size_t)length, size);
    memcpy(buffer, text, size);
    return (ssize_t)size;
}

static ssize_t self_readlink(const struct pseudo_node *node, char *buffer, size_t size) {
    struct task *current = current_task();
    char text[16];

    if (!current || current->thread_group->kernel != node->kernel) {
        return -ENOENT;
    }
    return copy_link(text, snprintf(text, sizeof(text), "%d", task_get_pid(current)), buffer, size);
}

static ssize_t thread_self_readlink(const struct pseudo_node *node, char *buffer, size_t size) {
    struct task *current = current_task();
    char text[40];

    if (!current || current->thread_group->kernel != node->kernel) {
        return -ENOENT;
    }
    return copy_link(
        text,
        snprintf(text, sizeof(text), "%d/task/%d", task_get_pid(current), task_get_tid(current)),
        buffer, size);
}

static const struct pseudo_entry no_entries[] = {{0}};

/* What ps(1) makes names of terminals from. */
static const struct pseudo_entry tty_entries[] = {
    PSEUDO_FILE("drivers", 0444,
                .text = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"
                        "/dev/console         /dev/console    5       1 system:console\n"
                        "/dev/ptmx            /dev/ptmx       5       2 system\n"
                        "pty_slave            /dev/pts      136 0-1048575 pty:slave\n"
                        "pty_master           /dev/ptm      128 0-1048575 pty:master\n"),
    {0},
};

static const struct pseudo_entry root_entries[] = {
    PSEUDO_FILE("cgroups", 0444, .text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"),
    PSEUDO_FILE("cmdline", 0444, .text = "\n"),
    PSEUDO_FILE("cpuinfo", 0444, .show = proc_cpuinfo_show),
    PSEUDO_FILE("devices", 0444, .show = proc_devices_show),
    PSEUDO_FILE("diskstats", 0444, .text = ""),
    PSEUDO_DIR("driver", 0555, .children = no_entries),
    PSEUDO_FILE("filesystems", 0444, .show = proc_filesystems_show),
    PSEUDO_DIR("fs", 0555, .children = no_entries),
    PSEUDO_FILE("loadavg", 0444, .show = proc_loadavg_show),
    PSEUDO_FILE("meminfo", 0444, .show = proc_meminfo_show),
    PSEUDO_FILE("modules", 0444, .text = ""),
    PSEUDO_LINK("mounts", .text = "self/mounts"),
    PSEUDO_LINK("net", .text = "self/net"),
    PSEUDO_FILE("partitions", 0444, .text = "major minor  #blocks  name\n\n"),
    PSEUDO_LINK("self", .readlink = self_readlink),
    PSEUDO_FILE("stat", 0444, .show = proc_system_stat_show),
    PSEUDO_FILE("swaps", 0444, .text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    PSEUDO_DIR("sys", 0555, .children = proc_sys_entries),
    PSEUDO_DIR("sysvipc", 0555, .children = proc_sysvipc_entries),
    PSEUDO_LINK("thread-self", .readlink = thread_self_readlink),
    PSEUDO_DIR("tty", 0555, .children = tty_entries),
    PSEUDO_FILE("uptime", 0444, .show = proc_uptime_show),
    PSEUDO_FILE("version", 0444, .show = proc_version_show),
    PSEUDO_FILE("vmstat", 0444, .show = proc_vmstat_show),
    {0},
};

static const struct pseudo_entry root_entry =
    PSEUDO_DIR("/", 0555, .children = root_entries, .list = &proc_pid_list);

struct super_block *procfs_new(struct kernel *kernel) {
    struct super_block *sb = super_block_new(&procfs_type, kernel_get(kernel));
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

static struct super_block *procfs_mount(const char *source, const char *data,
                                        const struct credentials *creds) {
    struct kernel *kernel = pseudo_kernel();

    return kernel ? procfs_new(kernel) : ERR_PTR(-EINVAL);
}

static void procfs_release(struct super_block *sb) {
    kernel_put(sb->private);
}

const struct file_system_type procfs_type = {
    .name = "proc",
    .nodev = true,
    .names_pass = true,
    .magic = PROC_SUPER_MAGIC,
    .mount = procfs_mount,
    .release = procfs_release,
};
