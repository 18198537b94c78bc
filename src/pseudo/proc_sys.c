/*
 * /proc/sys (proc(5), sysctl(8)): what programs ask about the kernel's limits. Values that the
 * kernel enforces are shown from where they are defined; the rest are Linux's defaults. Only
 * hostname, domainname and a few that change nothing outside this kernel can be written.
 */
#include "pseudo/pseudo_internal.h"

#include <linux/capability.h>
#include <stdio.h>

static int may_administrate(void) {
    struct task *current = current_task();

    return !current || credentials_capable(current->creds, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static char *kernel_name(struct kernel *kernel, long which) {
    return which ? kernel->domainname : kernel->hostname;
}

static int name_show(const struct pseudo_node *node, struct text *text) {
    char name[sizeof(node->kernel->hostname)];

    lock_acquire(&node->kernel->lock);
    memcpy(name, kernel_name(node->kernel, node->entry->value), sizeof(name));
    lock_release(&node->kernel->lock);
    text_printf(text, "%s\n", name);
    return 0;
}

static int name_store(const struct pseudo_node *node, struct file *file, char *data, size_t size) {
    int error = may_administrate();

    if (error) {
        return error;
    }
    data[strcspn(data, "\n")] = '\0';
    LOCK_GUARD(&node->kernel->lock);
    snprintf(kernel_name(node->kernel, node->entry->value), sizeof(node->kernel->hostname), "%s",
             data);
    return 0;
}

static int pid_max_show(const struct pseudo_node *node, struct text *text) {
    READ_GUARD(&node->kernel->pids_lock);

    text_printf(text, "%d\n", node->kernel->pids->pid_max);
    return 0;
}

static int last_pid_show(const struct pseudo_node *node, struct text *text) {
    READ_GUARD(&node->kernel->pids_lock);

    text_printf(text, "%d\n", node->kernel->pids->last_pid);
    return 0;
}

static int threads_max_show(const struct pseudo_node *node, struct text *text) {
    size_t limit = node->kernel->pid_limit;

    text_printf(text, "%zu\n", limit ? limit : (size_t)PID_MAX_DEFAULT);
    return 0;
}

/* ---- random/ ---- */

static int put_uuid(struct text *text, const uint8_t bytes[16]) {
    for (int i = 0; i < 16; i++) {
        uint8_t byte = bytes[i];

        byte = i == 6 ? (byte & 0x0f) | 0x40 : i == 8 ? (byte & 0x3f) | 0x80 : byte;
        text_printf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", byte);
    }
    text_puts(text, "\n");
    return 0;
}

static int uuid_show(const struct pseudo_node *node, struct text *text) {
    uint8_t bytes[16];

    return host_getrandom(bytes, sizeof(bytes)) == sizeof(bytes) ? put_uuid(text, bytes) : -EIO;
}

/* One for the life of this kernel process, which runs one kernel. */
static uint8_t boot_id[16];
static int boot_id_error;
static pthread_once_t boot_id_once = PTHREAD_ONCE_INIT;

static void boot_id_make(void) {
    boot_id_error = host_getrandom(boot_id, sizeof(boot_id)) == sizeof(boot_id) ? 0 : -EIO;
}

static int boot_id_show(const struct pseudo_node *node, struct text *text) {
    pthread_once(&boot_id_once, boot_id_make);
    return boot_id_error ? boot_id_error : put_uuid(text, boot_id);
}

static const struct pseudo_entry random_entries[] = {
    PSEUDO_FILE("boot_id", 0444, .show = boot_id_show),
    PSEUDO_FILE("entropy_avail", 0444, .text = "256\n"),
    PSEUDO_FILE("poolsize", 0444, .text = "256\n"),
    PSEUDO_FILE("urandom_min_reseed_secs", 0444, .text = "60\n"),
    PSEUDO_FILE("uuid", 0444, .show = uuid_show),
    PSEUDO_FILE("write_wakeup_threshold", 0444, .text = "256\n"),
    {0},
};

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)
#define VALUE(n, x)   PSEUDO_FILE(n, 0444, .text = x "\n")

static const struct pseudo_entry pty_entries[] = {
    VALUE("max", "4096"),
    {0},
};

static const struct pseudo_entry kernel_entries[] = {
    VALUE("cap_last_cap", "40"),
    VALUE("core_pattern", "core"),
    VALUE("core_uses_pid", "0"),
    VALUE("dmesg_restrict", "1"),
    PSEUDO_FILE("domainname", 0644, .show = name_show, .store = name_store, .value = 1),
    PSEUDO_FILE("hostname", 0644, .show = name_show, .store = name_store),
    VALUE("io_uring_disabled", "2"),
    VALUE("kptr_restrict", "1"),
    VALUE("msgmax", "8192"),
    VALUE("msgmnb", "16384"),
    VALUE("msgmni", "32000"),
    VALUE("ngroups_max", STRINGIFY(NGROUPS_LIMIT)),
    PSEUDO_FILE("ns_last_pid", 0444, .show = last_pid_show),
    VALUE("osrelease", UTS_RELEASE),
    VALUE("ostype", UTS_SYSNAME),
    VALUE("overflowgid", "65534"),
    VALUE("overflowuid", "65534"),
    VALUE("perf_event_paranoid", "4"),
    PSEUDO_FILE("pid_max", 0444, .show = pid_max_show),
    VALUE("printk", "4\t4\t1\t7"),
    PSEUDO_DIR("pty", 0555, .children = pty_entries),
    PSEUDO_DIR("random", 0555, .children = random_entries),
    VALUE("randomize_va_space", "2"),
    VALUE("sched_rt_period_us", "1000000"),
    VALUE("sched_rt_runtime_us", "950000"),
    VALUE("sem", STRINGIFY(SEMMSL) "\t" STRINGIFY(SEM_TOTAL_MAX) "\t" STRINGIFY(
                     SEMOPM) "\t" STRINGIFY(SEMMNI)),
    VALUE("shmall", "18446744073692774399"),
    VALUE("shmmax", "18446744073692774399"),
    VALUE("shmmni", "4096"),
    VALUE("tainted", "0"),
    PSEUDO_FILE("threads-max", 0444, .show = threads_max_show),
    VALUE("unprivileged_bpf_disabled", "2"),
    VALUE("version", UTS_VERSION),
    {0},
};

static const struct pseudo_entry vm_entries[] = {
    VALUE("admin_reserve_kbytes", "8192"),
    VALUE("dirty_background_ratio", "10"),
    VALUE("dirty_ratio", "20"),
    VALUE("max_map_count", "65530"),
    VALUE("min_free_kbytes", "67584"),
    VALUE("mmap_min_addr", "65536"),
    VALUE("nr_hugepages", "0"),
    VALUE("overcommit_memory", "0"),
    VALUE("overcommit_ratio", "50"),
    VALUE("panic_on_oom", "0"),
    VALUE("swappiness", "60"),
    VALUE("vfs_cache_pressure", "100"),
    {0},
};

static const struct pseudo_entry inotify_entries[] = {
    VALUE("max_queued_events", "16384"),
    VALUE("max_user_instances", "128"),
    VALUE("max_user_watches", "65536"),
    {0},
};
static const struct pseudo_entry epoll_entries[] = {
    VALUE("max_user_watches", "3573637"),
    {0},
};
static const struct pseudo_entry mqueue_entries[] = {
    VALUE("msg_max", "10"),
    VALUE("msgsize_max", "8192"),
    VALUE("queues_max", "256"),
    {0},
};
static const struct pseudo_entry no_entries[] = {{0}};
static const struct pseudo_entry fs_entries[] = {
    VALUE("aio-max-nr", "65536"),
    VALUE("aio-nr", "0"),
    PSEUDO_DIR("binfmt_misc", 0555, .children = no_entries),
    PSEUDO_DIR("epoll", 0555, .children = epoll_entries),
    VALUE("file-max", "9223372036854775807"),
    VALUE("file-nr", "0\t0\t9223372036854775807"),
    PSEUDO_DIR("inotify", 0555, .children = inotify_entries),
    VALUE("lease-break-time", "45"),
    VALUE("leases-enable", "1"),
    VALUE("mount-max", "100000"),
    PSEUDO_DIR("mqueue", 0555, .children = mqueue_entries),
    VALUE("nr_open", STRINGIFY(1048576)),
    VALUE("overflowgid", "65534"),
    VALUE("overflowuid", "65534"),
    VALUE("pipe-max-size", "1048576"),
    VALUE("pipe-user-pages-hard", "0"),
    VALUE("pipe-user-pages-soft", "16384"),
    VALUE("protected_fifos", "0"),
    VALUE("protected_hardlinks", "0"),
    VALUE("protected_regular", "0"),
    VALUE("protected_symlinks", "0"),
    VALUE("suid_dumpable", "0"),
    {0},
};

static const struct pseudo_entry core_entries[] = {
    VALUE("optmem_max", "20480"),
    VALUE("rmem_default", "212992"),
    VALUE("rmem_max", "212992"),
    VALUE("somaxconn", "4096"),
    VALUE("wmem_default", "212992"),
    VALUE("wmem_max", "212992"),
    {0},
};
static const struct pseudo_entry ipv4_entries[] = {
    VALUE("ip_forward", "0"),
    VALUE("ip_local_port_range", "32768\t60999"),
    VALUE("ip_unprivileged_port_start", "1024"),
    VALUE("ping_group_range", "1\t0"),
    VALUE("tcp_keepalive_intvl", "75"),
    VALUE("tcp_keepalive_probes", "9"),
    VALUE("tcp_keepalive_time", "7200"),
    VALUE("tcp_rmem", "4096\t131072\t6291456"),
    VALUE("tcp_wmem", "4096\t16384\t4194304"),
    {0},
};
static const struct pseudo_entry unix_entries[] = {
    VALUE("max_dgram_qlen", "512"),
    {0},
};
static const struct pseudo_entry net_entries[] = {
    PSEUDO_DIR("core", 0555, .children = core_entries),
    PSEUDO_DIR("ipv4", 0555, .children = ipv4_entries),
    PSEUDO_DIR("unix", 0555, .children = unix_entries),
    {0},
};
static const struct pseudo_entry user_entries[] = {
    VALUE("max_user_namespaces", "0"),
    {0},
};

const struct pseudo_entry proc_sys_entries[] = {
    PSEUDO_DIR("fs", 0555, .children = fs_entries),
    PSEUDO_DIR("kernel", 0555, .children = kernel_entries),
    PSEUDO_DIR("net", 0555, .children = net_entries),
    PSEUDO_DIR("user", 0555, .children = user_entries),
    PSEUDO_DIR("vm", 0555, .children = vm_entries),
    {0},
};
