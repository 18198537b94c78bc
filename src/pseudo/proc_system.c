/*
 * The files of /proc about the machine and the kernel as a whole. Processors, memory and load are
 * the host's (host/host_facts.h); processes, boot and version are the guest kernel's. Clocks are
 * the host's as well (the vDSO tells them to every guest), so "boot" is the host's boot.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>
#include <sys/sysmacros.h>

int proc_version_show(const struct pseudo_node *node, struct text *text) {
    text_printf(text, "%s version %s (starling@localhost) (%s) %s\n", UTS_SYSNAME, UTS_RELEASE,
#ifdef __clang__
                "clang",
#else
                "gcc",
#endif
                UTS_VERSION);
    return 0;
}

int proc_cpuinfo_show(const struct pseudo_node *node, struct text *text) {
    char *host CLEANUP(free) = host_facts_proc("cpuinfo");

    if (host) {
        text_puts(text, host);
        return 0;
    }
    for (unsigned cpu = 0; cpu < host_facts_cpu_count(); cpu++) {
        text_printf(text, "processor\t: %u\n\n", cpu);
    }
    return 0;
}

/* The value of a "Name:  123 kB" or "name 123" line, or 0. */
static unsigned long long host_value(const char *host, const char *name, char separator) {
    size_t length = strlen(name);

    for (const char *line = host; line && *line;) {
        if (strncmp(line, name, length) == 0 && line[length] == separator) {
            return strtoull(line + length + 1, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return 0;
}

/* Each line that proc(5) lists, in its order; what the host has no figure for is 0. */
static const char *const meminfo_names[] = {
    "MemTotal",      "MemFree",        "MemAvailable",   "Buffers",        "Cached",
    "SwapCached",    "Active",         "Inactive",       "Active(anon)",   "Inactive(anon)",
    "Active(file)",  "Inactive(file)", "Unevictable",    "Mlocked",        "SwapTotal",
    "SwapFree",      "Dirty",          "Writeback",      "AnonPages",      "Mapped",
    "Shmem",         "KReclaimable",   "Slab",           "SReclaimable",   "SUnreclaim",
    "KernelStack",   "PageTables",     "NFS_Unstable",   "Bounce",         "WritebackTmp",
    "CommitLimit",   "Committed_AS",   "VmallocTotal",   "VmallocUsed",    "VmallocChunk",
    "Percpu",        "AnonHugePages",  "ShmemHugePages", "ShmemPmdMapped", "FileHugePages",
    "FilePmdMapped",
};

int proc_meminfo_show(const struct pseudo_node *node, struct text *text) {
    char *host CLEANUP(free) = host_facts_proc("meminfo");

    for (size_t i = 0; i < ARRAY_SIZE(meminfo_names); i++) {
        text_printf(text, "%s:%*s%8llu kB\n", meminfo_names[i],
                    (int)(15 - MIN(strlen(meminfo_names[i]), 15ul)), "",
                    host_value(host, meminfo_names[i], ':'));
    }
    text_puts(text, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n"
                    "HugePages_Surp:        0\nHugepagesize:       2048 kB\n"
                    "Hugetlb:               0 kB\n");
    return 0;
}

int proc_uptime_show(const struct pseudo_node *node, struct text *text) {
    unsigned long long up = (unsigned long long)host_clock_boottime() / 10000000;
    char *host CLEANUP(free) = host_facts_proc("uptime");
    double idle = 0;

    if (host) {
        (void)sscanf(host, "%*s %lf", &idle);
    }
    text_printf(text, "%llu.%02llu %.2f\n", up / 100, up % 100, idle);
    return 0;
}

static size_t count_tasks(struct kernel *kernel, size_t *running) {
    struct task **tasks = kernel_tasks(kernel, false);
    size_t count = 0;

    *running = 0;
    for (; tasks && tasks[count]; count++) {
        *running += task_current_state(tasks[count]) == TASK_RUNNING;
        task_put(tasks[count]);
    }
    free(tasks);
    return count;
}

static pid_t last_pid(struct kernel *kernel) {
    READ_GUARD(&kernel->pids_lock);

    return kernel->pids->last_pid;
}

int proc_loadavg_show(const struct pseudo_node *node, struct text *text) {
    char *host CLEANUP(free) = host_facts_proc("loadavg");
    double load[3] = {0};
    size_t running, tasks = count_tasks(node->kernel, &running);

    if (host) {
        (void)sscanf(host, "%lf %lf %lf", &load[0], &load[1], &load[2]);
    }
    text_printf(text, "%.2f %.2f %.2f %zu/%zu %d\n", load[0], load[1], load[2], running, tasks,
                last_pid(node->kernel));
    return 0;
}

/* The processors' lines are the host's; what counts processes is the guest's. */
int proc_system_stat_show(const struct pseudo_node *node, struct text *text) {
    char *host CLEANUP(free) = host_facts_proc("stat");
    int64_t boot = (host_clock_realtime() - host_clock_boottime()) / 1000000000;
    size_t running;

    (void)count_tasks(node->kernel, &running);
    for (const char *line = host; line && strncmp(line, "cpu", 3) == 0;) {
        size_t length = strcspn(line, "\n");

        text_put(text, line, length);
        text_puts(text, "\n");
        line += length + (line[length] == '\n');
    }
    if (!host) {
        text_puts(text, "cpu  0 0 0 0 0 0 0 0 0 0\n");
        for (unsigned cpu = 0; cpu < host_facts_cpu_count(); cpu++) {
            text_printf(text, "cpu%u 0 0 0 0 0 0 0 0 0 0\n", cpu);
        }
    }
    text_printf(text, "intr 0\nctxt 0\nbtime %lld\nprocesses %d\nprocs_running %zu\n",
                (long long)boot, last_pid(node->kernel), running);
    text_puts(text, "procs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n");
    return 0;
}

/* The counters that vmstat(8) and free(1) read, of the whole machine as in meminfo; the rest would
 * only say more about its other users. */
int proc_vmstat_show(const struct pseudo_node *node, struct text *text) {
    static const char *const names[] = {"nr_free_pages", "pgpgin",  "pgpgout",   "pswpin",
                                        "pswpout",       "pgfault", "pgmajfault"};
    char *host CLEANUP(free) = host_facts_proc("vmstat");

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        text_printf(text, "%s %llu\n", names[i], host_value(host, names[i], ' '));
    }
    return 0;
}

int proc_filesystems_show(const struct pseudo_node *node, struct text *text) {
    const struct file_system_type *type;

    for (unsigned i = 0; (type = file_system_by_index(i)); i++) {
        text_printf(text, "%s\t%s\n", type->nodev ? "nodev" : "", type->name);
    }
    return 0;
}

int proc_devices_show(const struct pseudo_node *node, struct text *text) {
    unsigned last = UINT32_MAX;

    text_puts(text, "Character devices:\n");
    for (unsigned number = 0; number < 512; number++) {
        for (unsigned minor_number = 0; minor_number < 16; minor_number++) {
            struct device device;

            if (number != last && device_find(S_IFCHR, makedev(number, minor_number), &device)) {
                text_printf(text, "%3u %s\n", number, device.name);
                last = number;
            }
        }
    }
    text_puts(text, "\nBlock devices:\n");
    return 0;
}
