/*
 * /proc/PID and /proc/PID/task/TID: which processes and threads there are, and the tables of their
 * files. Files that need more than a few lines are in proc_*.c beside this one.
 */
#include "pseudo/pseudo_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>

/* ---- small files ---- */

static int comm_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    char comm[TASK_COMM_SIZE];

    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    memcpy(comm, task->comm, sizeof(comm));
    lock_release(&task->lock);
    text_printf(text, "%s\n", comm);
    return 0;
}

/* proc(5): only threads of the same process may write it. */
static int comm_store(const struct pseudo_node *node, struct file *file, char *data, size_t size) {
    struct task *task CLEANUP(task_put) = pseudo_task(node), *current = current_task();

    if (!task) {
        return -ESRCH;
    }
    if (current && current->thread_group != task->thread_group) {
        return -EINVAL;
    }
    data[strcspn(data, "\n")] = '\0';
    LOCK_GUARD(&task->lock);
    snprintf(task->comm, sizeof(task->comm), "%s", data);
    return 0;
}

static const struct {
    const char *name, *unit;
    int resource;
} limit_names[] = {
    {"Max cpu time", "seconds", RLIMIT_CPU},
    {"Max file size", "bytes", RLIMIT_FSIZE},
    {"Max data size", "bytes", RLIMIT_DATA},
    {"Max stack size", "bytes", RLIMIT_STACK},
    {"Max core file size", "bytes", RLIMIT_CORE},
    {"Max resident set", "bytes", RLIMIT_RSS},
    {"Max processes", "processes", RLIMIT_NPROC},
    {"Max open files", "files", RLIMIT_NOFILE},
    {"Max locked memory", "bytes", RLIMIT_MEMLOCK},
    {"Max address space", "bytes", RLIMIT_AS},
    {"Max file locks", "locks", RLIMIT_LOCKS},
    {"Max pending signals", "signals", RLIMIT_SIGPENDING},
    {"Max msgqueue size", "bytes", RLIMIT_MSGQUEUE},
    {"Max nice priority", "", RLIMIT_NICE},
    {"Max realtime priority", "", RLIMIT_RTPRIO},
    {"Max realtime timeout", "us", RLIMIT_RTTIME},
};

static void limit_put(struct text *text, uint64_t value) {
    if (value == RLIM64_INFINITY) {
        text_printf(text, "%-20s ", "unlimited");
    } else {
        text_printf(text, "%-20llu ", (unsigned long long)value);
    }
}

static int limits_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);

    if (!task) {
        return -ESRCH;
    }
    text_printf(text, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (size_t i = 0; i < ARRAY_SIZE(limit_names); i++) {
        struct rlimits *limits = &task->thread_group->rlimits;
        struct rlimit64 limit;

        lock_acquire(&limits->lock);
        limit = limits->limits[limit_names[i].resource];
        lock_release(&limits->lock);
        text_printf(text, "%-25s ", limit_names[i].name);
        limit_put(text, limit.rlim_cur);
        limit_put(text, limit.rlim_max);
        text_printf(text, limit_names[i].unit[0] ? "%-10s\n" : "\n", limit_names[i].unit);
    }
    return 0;
}

/* The last three are of block devices, of which there are none. */
static int io_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct io_counts io;

    if (!task) {
        return -ESRCH;
    }
    if (node->thread) {
        task_io(task, &io);
    } else {
        thread_group_io(task->thread_group, &io);
    }
    text_printf(text, "rchar: %llu\nwchar: %llu\nsyscr: %llu\nsyscw: %llu\n",
                (unsigned long long)io.read_bytes, (unsigned long long)io.written_bytes,
                (unsigned long long)io.reads, (unsigned long long)io.writes);
    text_puts(text, "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n");
    return 0;
}

static int oom_score_adj_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);

    if (!task) {
        return -ESRCH;
    }
    text_printf(text, "%d\n", atomic_load(&task->thread_group->oom_score_adj));
    return 0;
}

static int set_oom_score_adj(const struct pseudo_node *node, long long value) {
    struct task *task CLEANUP(task_put) = pseudo_task(node), *current = current_task();

    if (!task) {
        return -ESRCH;
    }
    /* proc(5): less than before wants CAP_SYS_RESOURCE. */
    if (value < atomic_load(&task->thread_group->oom_score_adj) && current &&
        !credentials_capable(current->creds, CAP_SYS_RESOURCE)) {
        return -EACCES;
    }
    atomic_store(&task->thread_group->oom_score_adj, (int)value);
    return 0;
}

static int oom_score_adj_store(const struct pseudo_node *node, struct file *file, char *data,
                               size_t size) {
    long long value;

    if (pseudo_parse_number(data, &value) || value < -1000 || value > 1000) {
        return -EINVAL;
    }
    return set_oom_score_adj(node, value);
}

/* How much of the memory it has in thousandths, and what was added, as Linux's oom_badness() mixes
 * them: 666 for a small process. */
static int oom_score_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct host_process *process CLEANUP(host_process_put) = NULL;
    uint64_t resident, minor, major, total = host_facts_memory(NULL);
    int64_t score;

    if (!task) {
        return -ESRCH;
    }
    score = atomic_load(&task->thread_group->oom_score_adj);
    process = thread_group_process(task->thread_group);
    if (score == -1000 || host_process_memory(process, &resident, &minor, &major)) {
        text_puts(text, "0\n");
        return 0;
    }
    score = (1000 + score + (int64_t)(total ? resident * 1000 / total : 0)) * 2 / 3;
    text_printf(text, "%lld\n", (long long)MAX(score, (int64_t)0));
    return 0;
}

/* The older scale, -17 .. 15. */
static int oom_adj_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    int value;

    if (!task) {
        return -ESRCH;
    }
    value = atomic_load(&task->thread_group->oom_score_adj);
    text_printf(text, "%d\n", value == 1000 ? 15 : value * 17 / 1000);
    return 0;
}

static int oom_adj_store(const struct pseudo_node *node, struct file *file, char *data,
                         size_t size) {
    long long value;

    if (pseudo_parse_number(data, &value) || value < -17 || value > 15) {
        return -EINVAL;
    }
    return set_oom_score_adj(node, value == 15 ? 1000 : value * 1000 / 17);
}

static int sched_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    char comm[TASK_COMM_SIZE];
    int policy, priority;

    if (!task) {
        return -ESRCH;
    }
    lock_acquire(&task->lock);
    memcpy(comm, task->comm, sizeof(comm));
    policy = task->sched_policy;
    priority = 120 + task->nice;
    lock_release(&task->lock);
    text_printf(text, "%s (%d, #threads: %zu)\n", comm, task_get_tid(task),
                task->thread_group->task_count);
    text_puts(text, "-------------------------------------------------------------------\n");
    text_printf(text, "%-45s:%21d\n%-45s:%21d\n", "policy", policy, "prio", priority);
    return 0;
}

static int schedstat_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct usage usage;

    if (!task) {
        return -ESRCH;
    }
    task_usage(task, &usage);
    text_printf(text, "%" PRId64 " 0 0\n", usage.user + usage.system);
    return 0;
}

/* proc(5): the children of this thread; here all of its process's are its leader's. */
static int children_show(const struct pseudo_node *node, struct text *text) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct task **tasks;

    if (!task) {
        return -ESRCH;
    }
    if (task_get_tid(task) != task_get_pid(task)) {
        return 0;
    }
    tasks = kernel_tasks(node->kernel, true);
    if (!tasks) {
        return -ENOMEM;
    }
    for (size_t i = 0; tasks[i]; i++) {
        if (task_get_ppid(tasks[i]) == task_get_pid(task)) {
            text_printf(text, "%d ", task_get_pid(tasks[i]));
        }
        task_put(tasks[i]);
    }
    free(tasks);
    return 0;
}

static int id_map_show(const struct pseudo_node *node, struct text *text) {
    text_printf(text, "%10u %10u %10u\n", 0, 0, UINT32_MAX);
    return 0;
}

/* proc(5): 1 to 5; what it would change is the host's business. */
static int clear_refs_store(const struct pseudo_node *node, struct file *file, char *data,
                            size_t size) {
    long long value;

    return pseudo_parse_number(data, &value) || value < 1 || value > 5 ? -EINVAL : 0;
}

static int personality_show(const struct pseudo_node *node, struct text *text) {
    text_puts(text, "00000000\n");
    return 0;
}

/* ---- cwd, root, exe ---- */

static int fs_path(const struct pseudo_node *node, void (*get)(struct fs_context *, struct path *),
                   struct path *target) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct fs_context *fs CLEANUP(fs_context_put) = NULL;
    int error = task ? pseudo_may_access(task) : -ENOENT;

    if (error) {
        return error;
    }
    fs = task_fs(task);
    if (!fs) {
        return -ENOENT;
    }
    get(fs, target);
    return 0;
}

static int cwd_follow(const struct pseudo_node *node, struct path *target) {
    return fs_path(node, fs_context_cwd, target);
}

static int root_follow(const struct pseudo_node *node, struct path *target) {
    return fs_path(node, fs_context_root, target);
}

static int exe_follow(const struct pseudo_node *node, struct path *target) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct file *program CLEANUP(file_put) = NULL;
    int error = task ? pseudo_may_access(task) : -ENOENT;

    if (error) {
        return error;
    }
    program = task_program(task);
    if (!program) {
        return -ENOENT;
    }
    *target = program->path;
    path_get(target);
    return 0;
}

static ssize_t link_readlink(const struct pseudo_node *node, char *buffer, size_t size) {
    struct path target CLEANUP(path_put) = {0};
    int error = node->entry->follow(node, &target);

    return error ? error : pseudo_path_link(&target, buffer, size);
}

/* ---- ns/: further namespaces are not made, so all tasks are in the first ones ---- */

static long ns_id(const struct pseudo_node *node) {
    return 4026531834 + node->entry->value;
}

static int ns_getattr(struct inode *inode, struct kstat *stat) {
    *stat = (struct kstat){
        .dev = inode->sb->dev,
        .ino = inode->ino,
        .mode = S_IFREG | 0444,
        .nlink = 1,
        .blksize = PAGE_SIZE,
        .atime = inode_now(),
    };
    stat->mtime = stat->ctime = stat->atime;
    return 0;
}

/* "pid_for_children" and "time_for_children" name the same kind as without the ending. */
static int ns_follow(const struct pseudo_node *node, struct path *target) {
    static const struct inode_ops ns_inode_ops = {.getattr = ns_getattr};
    static const struct file_ops ns_file_ops;
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    const char *name = node->entry->name;
    int error = task ? pseudo_may_access(task) : -ENOENT;
    struct inode *inode;
    char text[48];

    if (error) {
        return error;
    }
    snprintf(text, sizeof(text), "%.*s:[%ld]", (int)strcspn(name, "_"), name, ns_id(node));
    inode = inode_new(node->sb, (ino_t)ns_id(node), S_IFREG, &ns_inode_ops, &ns_file_ops, NULL);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    target->mount = NULL;
    target->dentry = dentry_new_anonymous(inode, text);
    inode_put(inode);
    return target->dentry ? 0 : -ENOMEM;
}

#define NS(n, id)                                                                                  \
    {                                                                                              \
        .name = (n), .mode = S_IFLNK | 0777, .readlink = link_readlink, .follow = ns_follow,       \
        .value = (id)                                                                              \
    }
static const struct pseudo_entry ns_entries[] = {
    NS("cgroup", 1),
    NS("ipc", 5),
    NS("mnt", 7),
    NS("net", 6),
    NS("pid", 2),
    NS("pid_for_children", 2),
    NS("time", 0),
    NS("time_for_children", 0),
    NS("user", 3),
    NS("uts", 4),
    {0},
};

/* ---- the tables ---- */

static int sessionid_show(const struct pseudo_node *node, struct text *text) {
    text_printf(text, "%u", UINT32_MAX); /* not set: nobody logs in here */
    return 0;
}

static const struct pseudo_list task_list;

/* Files that threads have too. */
#define PROC_TASK_ENTRIES                                                                          \
    PSEUDO_FILE("auxv", 0400, .show = proc_auxv_show, .guarded = true),                            \
        PSEUDO_FILE("cgroup", 0444, .text = "0::/\n"),                                             \
        PSEUDO_FILE("clear_refs", 0200, .store = clear_refs_store),                                \
        PSEUDO_FILE("cmdline", 0444, .show = proc_cmdline_show),                                   \
        PSEUDO_FILE("comm", 0644, .show = comm_show, .store = comm_store),                         \
        PSEUDO_LINK("cwd", .readlink = link_readlink, .follow = cwd_follow),                       \
        PSEUDO_FILE("environ", 0400, .show = proc_environ_show, .guarded = true),                  \
        PSEUDO_LINK("exe", .readlink = link_readlink, .follow = exe_follow),                       \
        PSEUDO_DIR("fd", 0500, .list = &proc_fd_list, .guarded = true),                            \
        PSEUDO_DIR("fdinfo", 0555, .list = &proc_fdinfo_list, .guarded = true),                    \
        PSEUDO_FILE("gid_map", 0644, .show = id_map_show),                                         \
        PSEUDO_FILE("io", 0400, .show = io_show, .guarded = true),                                 \
        PSEUDO_FILE("limits", 0444, .show = limits_show),                                          \
        PSEUDO_FILE("loginuid", 0644, .show = sessionid_show),                                     \
        PSEUDO_FILE("maps", 0444, .show = proc_maps_show, .guarded = true),                        \
        PSEUDO_FILE("mem", 0600, .open = proc_mem_open, .guarded = true),                          \
        PSEUDO_FILE("mountinfo", 0444, .show = proc_mountinfo_show),                               \
        PSEUDO_FILE("mounts", 0444, .show = proc_mounts_show),                                     \
        PSEUDO_DIR("net", 0555, .children = proc_net_entries),                                     \
        PSEUDO_DIR("ns", 0511, .children = ns_entries),                                            \
        PSEUDO_FILE("oom_adj", 0644, .show = oom_adj_show, .store = oom_adj_store),                \
        PSEUDO_FILE("oom_score", 0444, .show = oom_score_show),                                    \
        PSEUDO_FILE("oom_score_adj", 0644, .show = oom_score_adj_show,                             \
                    .store = oom_score_adj_store),                                                 \
        PSEUDO_FILE("personality", 0400, .show = personality_show, .guarded = true),               \
        PSEUDO_FILE("projid_map", 0644, .show = id_map_show),                                      \
        PSEUDO_LINK("root", .readlink = link_readlink, .follow = root_follow),                     \
        PSEUDO_FILE("sched", 0644, .show = sched_show),                                            \
        PSEUDO_FILE("schedstat", 0444, .show = schedstat_show),                                    \
        PSEUDO_FILE("sessionid", 0444, .show = sessionid_show),                                    \
        PSEUDO_FILE("setgroups", 0644, .text = "allow\n"),                                         \
        PSEUDO_FILE("smaps", 0444, .show = proc_smaps_show, .guarded = true),                      \
        PSEUDO_FILE("smaps_rollup", 0444, .show = proc_smaps_rollup_show, .guarded = true),        \
        PSEUDO_FILE("stat", 0444, .show = proc_stat_show),                                         \
        PSEUDO_FILE("statm", 0444, .show = proc_statm_show),                                       \
        PSEUDO_FILE("status", 0444, .show = proc_status_show),                                     \
        PSEUDO_FILE("uid_map", 0644, .show = id_map_show), PSEUDO_FILE("wchan", 0444, .text = "0")

static const struct pseudo_entry pid_entries[] = {
    PROC_TASK_ENTRIES,
    PSEUDO_FILE("mountstats", 0400, .show = proc_mountstats_show, .guarded = true),
    PSEUDO_DIR("task", 0555, .list = &task_list),
    {0},
};
static const struct pseudo_entry thread_entries[] = {
    PROC_TASK_ENTRIES,
    PSEUDO_FILE("children", 0444, .show = children_show),
    {0},
};
static const struct pseudo_entry pid_entry = PSEUDO_DIR("", 0555, .children = pid_entries);

struct task *procfs_file_task(const struct file *file) {
    const struct pseudo_node *node;
    struct task *task;

    if (file->inode->sb->type != &procfs_type) {
        return NULL;
    }
    node = pseudo_inode_node(file->inode);
    if (node->entry != &pid_entry) {
        return NULL;
    }
    task = pseudo_task(node);
    return task ? task : ERR_PTR(-ESRCH);
}
static const struct pseudo_entry thread_entry = PSEUDO_DIR("", 0555, .children = thread_entries);

static void node_set_task(struct pseudo_node *child, const struct pseudo_entry *entry,
                          const struct task *task, bool thread) {
    child->entry = entry;
    child->tid = task->id;
    child->start_time_ns = task->thread_group->start_time_ns;
    child->thread = thread;
    child->number = task->id;
}

/* /proc/PID works for the ids of threads as well, though readdir does not show them (proc(5)). */
static int pid_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    struct task *task CLEANUP(task_put) = NULL;
    long pid;
    int error = pseudo_parse_name(name, &pid);

    if (error || pid > INT_MAX) {
        return -ENOENT;
    }
    task = kernel_get_task(dir->kernel, (pid_t)pid);
    if (!task) {
        return -ENOENT;
    }
    node_set_task(child, &pid_entry, task, false);
    return 0;
}

/* Processes, or with `group` the threads of one. */
static int tasks_iterate(const struct pseudo_node *dir, const struct thread_group *group,
                         int64_t from,
                         bool (*emit)(void *arg, const char *name, const struct pseudo_node *child),
                         void *arg) {
    struct task **tasks = kernel_tasks(dir->kernel, !group);
    bool more = true;

    if (!tasks) {
        return -ENOMEM;
    }
    for (size_t i = 0; tasks[i]; i++) {
        struct pseudo_node child = *dir;
        char name[16];

        if (more && tasks[i]->id >= from && (!group || tasks[i]->thread_group == group)) {
            node_set_task(&child, group ? &thread_entry : &pid_entry, tasks[i], group != NULL);
            snprintf(name, sizeof(name), "%d", tasks[i]->id);
            more = emit(arg, name, &child);
        }
        task_put(tasks[i]);
    }
    free(tasks);
    return 0;
}

static int pid_iterate(const struct pseudo_node *dir, int64_t from,
                       bool (*emit)(void *arg, const char *name, const struct pseudo_node *child),
                       void *arg) {
    return tasks_iterate(dir, NULL, from, emit, arg);
}

const struct pseudo_list proc_pid_list = {.find = pid_find, .iterate = pid_iterate};

static int thread_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    struct task *leader CLEANUP(task_put) = pseudo_task(dir);
    struct task *task CLEANUP(task_put) = NULL;
    long tid;
    int error = pseudo_parse_name(name, &tid);

    if (error || tid > INT_MAX || !leader) {
        return -ENOENT;
    }
    task = kernel_get_task(dir->kernel, (pid_t)tid);
    if (!task || task->thread_group != leader->thread_group) {
        return -ENOENT;
    }
    node_set_task(child, &thread_entry, task, true);
    return 0;
}

static int thread_iterate(const struct pseudo_node *dir, int64_t from,
                          bool (*emit)(void *arg, const char *name,
                                       const struct pseudo_node *child),
                          void *arg) {
    struct task *leader CLEANUP(task_put) = pseudo_task(dir);

    return leader ? tasks_iterate(dir, leader->thread_group, from, emit, arg) : -ENOENT;
}

static const struct pseudo_list task_list = {.find = thread_find, .iterate = thread_iterate};
