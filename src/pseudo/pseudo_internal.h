/*
 * The mechanism that procfs and sysfs share: trees of static tables, directories whose children are
 * made up at each look, and files whose text is made when somebody reads it.
 */
#ifndef STARLING_PSEUDO_INTERNAL_H
#define STARLING_PSEUDO_INTERNAL_H

#include "pseudo/pseudo.h"

/* ---- pseudo_text.c: a growing text; running out of memory sticks ---- */

struct text {
    char *data;
    size_t length, capacity;
    bool failed;
};
void text_printf(struct text *text, const char *format, ...) PRINTF(2, 3);
void text_put(struct text *text, const void *data, size_t size);
void text_puts(struct text *text, const char *string);
/* With the bytes of `special` and backslashes as \ooo, as /proc/PID/mounts writes them. */
void text_put_escaped(struct text *text, const char *string, const char *special);
void text_destroy(struct text *text);
static inline void text_destroy_cleanup(struct text *text) {
    text_destroy(text);
}

/* ---- pseudo_node.c ---- */

struct pseudo_entry;

/*
 * What one inode stands for: an entry of a table, and whose it is. A process or thread is named by
 * its number and the time its process started, so that a node keeps nothing alive and never comes
 * to mean a later process of the same number.
 */
struct pseudo_node {
    const struct pseudo_entry *entry; /* static */
    pid_t tid;                        /* 0: of the whole kernel */
    int64_t start_time_ns;            /* of its thread group */
    bool thread;                      /* below task/: the thread, not the process */
    long number;                      /* which of a list: descriptor, processor ... */
    ino_t ino;
    struct timespec time;   /* when the inode was made */
    struct kernel *kernel;  /* borrowed from the super block, which owns it */
    struct super_block *sb; /* borrowed: the inode holds it */
};

/* Children that are made up. They are known by number, which is also the position in readdir. */
struct pseudo_list {
    /* Fills *child (entry, tid, start, thread, number; preset to the directory's). -ENOENT. */
    int (*find)(const struct pseudo_node *dir, const char *name, struct pseudo_node *child);
    /* Calls emit for each with a number >= from, ascending, until it says false. -errno. */
    int (*iterate)(const struct pseudo_node *dir, int64_t from,
                   bool (*emit)(void *arg, const char *name, const struct pseudo_node *child),
                   void *arg);
};

struct pseudo_entry {
    const char *name;
    mode_t mode;                         /* with the type */
    const struct pseudo_entry *children; /* directories: up to an entry without name */
    const struct pseudo_list *list;      /* directories: further children */
    /* Regular files: the text. Runs without locks; also at open, so its error is open(2)'s. */
    int (*show)(const struct pseudo_node *node, struct text *text);
    /* Regular files: one write, at most PSEUDO_WRITE_MAX bytes, NUL-terminated. */
    int (*store)(const struct pseudo_node *node, struct file *file, char *data, size_t size);
    ssize_t (*readlink)(const struct pseudo_node *node, char *buffer, size_t size);
    int (*follow)(const struct pseudo_node *node, struct path *target); /* magic links */
    /* Regular files that are no text: replaces file->ops, sets file->private. */
    int (*open)(const struct pseudo_node *node, struct file *file);
    const char *text; /* links: a fixed target; files: a fixed contents */
    int64_t size;     /* what stat(2) shows; 0 but for the links of fd/ */
    long value;       /* for functions that serve several entries */
    bool guarded; /* show and open need ptrace access to the task (ptrace(2), access mode checking)
                   */
};
#define PSEUDO_WRITE_MAX 4096

#define PSEUDO_DIR(n, p, ...)                                                                      \
    { .name = (n), .mode = S_IFDIR | (p), __VA_ARGS__ }
#define PSEUDO_FILE(n, p, ...)                                                                     \
    { .name = (n), .mode = S_IFREG | (p), __VA_ARGS__ }
#define PSEUDO_LINK(n, ...)                                                                        \
    { .name = (n), .mode = S_IFLNK | 0777, __VA_ARGS__ }

/* The root inode over a table; ERR_PTR. sb->private is the kernel. */
struct inode *pseudo_root_new(struct super_block *sb, const struct pseudo_entry *root);
const struct pseudo_node *pseudo_inode_node(const struct inode *inode);

/* Whose tasks a new mount shows: the caller's kernel, borrowed. procfs.c */
struct kernel *pseudo_kernel(void);
/* The node's task: owned; NULL when it has gone. */
struct task *pseudo_task(const struct pseudo_node *node);
/* 0, or -EACCES unless the calling task may look into `task`. */
int MUST_CHECK pseudo_may_access(struct task *task);
/* What readlink(2) says of a magic link that leads to `target`, as seen from the caller's root. */
ssize_t MUST_CHECK pseudo_path_link(const struct path *target, char *buffer, size_t size);
/* A decimal number without sign or leading zeros, as names are; -ENOENT. */
int MUST_CHECK pseudo_parse_name(const char *name, long *number);
/* A written number, with white space around it; -EINVAL. */
int MUST_CHECK pseudo_parse_number(const char *data, long long *number);

/* ---- the tables ---- */

extern const struct pseudo_entry proc_sys_entries[];            /* proc_sys.c */
extern const struct pseudo_entry proc_sysvipc_entries[];        /* proc_sysvipc.c */
extern const struct pseudo_entry proc_net_entries[];            /* proc_net.c */
extern const struct pseudo_list proc_pid_list;                  /* proc_pid.c: /proc/PID */
extern const struct pseudo_list proc_fd_list, proc_fdinfo_list; /* proc_fd.c */

int proc_status_show(const struct pseudo_node *node, struct text *text); /* proc_status.c */
int proc_stat_show(const struct pseudo_node *node, struct text *text);
int proc_statm_show(const struct pseudo_node *node, struct text *text);
int proc_maps_show(const struct pseudo_node *node, struct text *text); /* proc_maps.c */
int proc_smaps_show(const struct pseudo_node *node, struct text *text);
int proc_smaps_rollup_show(const struct pseudo_node *node, struct text *text);
int proc_mounts_show(const struct pseudo_node *node, struct text *text); /* proc_mounts.c */
int proc_mountinfo_show(const struct pseudo_node *node, struct text *text);
int proc_mountstats_show(const struct pseudo_node *node, struct text *text);
int proc_cmdline_show(const struct pseudo_node *node, struct text *text); /* proc_memory.c */
int proc_environ_show(const struct pseudo_node *node, struct text *text);
int proc_auxv_show(const struct pseudo_node *node, struct text *text);
int proc_mem_open(const struct pseudo_node *node, struct file *file);

int proc_cpuinfo_show(const struct pseudo_node *node, struct text *text); /* proc_system.c */
int proc_meminfo_show(const struct pseudo_node *node, struct text *text);
int proc_uptime_show(const struct pseudo_node *node, struct text *text);
int proc_loadavg_show(const struct pseudo_node *node, struct text *text);
int proc_system_stat_show(const struct pseudo_node *node, struct text *text);
int proc_vmstat_show(const struct pseudo_node *node, struct text *text);
int proc_version_show(const struct pseudo_node *node, struct text *text);
int proc_filesystems_show(const struct pseudo_node *node, struct text *text);
int proc_devices_show(const struct pseudo_node *node, struct text *text);

/* ---- device_memory.c ---- */

int MUST_CHECK device_memory_register(void);

#define TICKS_PER_SECOND 100 /* sysconf(_SC_CLK_TCK), times(2) */
static inline uint64_t ns_to_ticks(int64_t ns) {
    return (uint64_t)ns / (1000000000 / TICKS_PER_SECOND);
}

#endif
