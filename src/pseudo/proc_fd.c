/*
 * /proc/PID/fd and fdinfo: the descriptors of a task as magic links, and what is known of each.
 */
#include "pseudo/pseudo_internal.h"

#include <limits.h>
#include <stdio.h>

/* The task's descriptor table, owned; only for who may look into the task. */
static int node_files(const struct pseudo_node *node, struct fd_table **files) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    int error = task ? pseudo_may_access(task) : -ENOENT;

    if (error) {
        return error;
    }
    *files = task_files(task);
    return *files ? 0 : -ENOENT;
}

static int node_file(const struct pseudo_node *node, struct file **file) {
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;
    int error = node_files(node, &files);

    if (error) {
        return error;
    }
    *file = fd_table_get(files, (int)node->number);
    return *file ? 0 : -ENOENT;
}

static int fd_follow(const struct pseudo_node *node, struct path *target) {
    struct file *file CLEANUP(file_put) = NULL;
    int error = node_file(node, &file);

    if (!error) {
        *target = file->path;
        path_get(target);
    }
    return error;
}

static ssize_t fd_readlink(const struct pseudo_node *node, char *buffer, size_t size) {
    struct file *file CLEANUP(file_put) = NULL;
    int error = node_file(node, &file);

    return error ? error : pseudo_path_link(&file->path, buffer, size);
}

static int fdinfo_show(const struct pseudo_node *node, struct text *text) {
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;
    struct file *file CLEANUP(file_put) = NULL;
    char more[PAGE_SIZE] = "";
    int64_t pos;
    int flags, error = node_files(node, &files);

    if (error) {
        return error;
    }
    file = fd_table_get(files, (int)node->number);
    flags = fd_table_get_flags(files, (int)node->number);
    if (!file || flags < 0) {
        return -ENOENT;
    }
    pos = file_pos_peek(file);
    flags = (flags & FD_CLOEXEC ? O_CLOEXEC : 0) | atomic_load(&file->flags);
    text_printf(text, "pos:\t%lld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%llu\n", (long long)pos, flags,
                file->path.mount ? file->path.mount->id : 0, (unsigned long long)file->inode->ino);
    if (file->ops->show_fdinfo && !(file->mode & FMODE_PATH)) {
        int length = file->ops->show_fdinfo(file, more, sizeof(more));

        if (length > 0) {
            text_put(text, more, MIN((size_t)length, sizeof(more) - 1));
        }
    }
    return 0;
}

/* The bits say how the descriptor is open, as Linux shows them. */
static const struct pseudo_entry link_entries[] = {
    {.name = "", .mode = S_IFLNK, .readlink = fd_readlink, .follow = fd_follow, .size = 64},
    {.name = "", .mode = S_IFLNK | 0500, .readlink = fd_readlink, .follow = fd_follow, .size = 64},
    {.name = "", .mode = S_IFLNK | 0300, .readlink = fd_readlink, .follow = fd_follow, .size = 64},
    {.name = "", .mode = S_IFLNK | 0700, .readlink = fd_readlink, .follow = fd_follow, .size = 64},
};
static const struct pseudo_entry info_entry = {
    .name = "", .mode = S_IFREG | 0444, .show = fdinfo_show, .guarded = true};

static void child_set(struct pseudo_node *child, const struct file *file, bool info, long fd) {
    child->entry =
        info
            ? &info_entry
            : &link_entries[(file->mode & FMODE_READ ? 1 : 0) | (file->mode & FMODE_WRITE ? 2 : 0)];
    child->number = fd;
}

static int find(const struct pseudo_node *dir, const char *name, bool info,
                struct pseudo_node *child) {
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;
    struct file *file CLEANUP(file_put) = NULL;
    long fd;
    int error = pseudo_parse_name(name, &fd);

    if (error || fd >= FD_TABLE_MAX) {
        return -ENOENT;
    }
    error = node_files(dir, &files);
    if (error) {
        return error;
    }
    file = fd_table_get(files, (int)fd);
    if (!file) {
        return -ENOENT;
    }
    child_set(child, file, info, fd);
    return 0;
}

typedef bool emit_fn(void *arg, const char *name, const struct pseudo_node *child);

static int iterate(const struct pseudo_node *dir, int64_t from, bool info, emit_fn *emit,
                   void *arg) {
    struct fd_table *files CLEANUP(fd_table_peek_put) = NULL;
    int fd, error = node_files(dir, &files);
    bool more = true;

    if (error) {
        return error;
    }
    if (from >= FD_TABLE_MAX) {
        return 0;
    }
    for (fd = fd_table_next(files, (int)from); fd >= 0 && more; fd = fd_table_next(files, fd + 1)) {
        struct file *file CLEANUP(file_put) = fd_table_get(files, fd);
        struct pseudo_node child = *dir;
        char name[16];

        if (file) {
            child_set(&child, file, info, fd);
            snprintf(name, sizeof(name), "%d", fd);
            more = emit(arg, name, &child);
        }
    }
    return 0;
}

static int fd_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    return find(dir, name, false, child);
}

static int fd_iterate(const struct pseudo_node *dir, int64_t from, emit_fn *emit, void *arg) {
    return iterate(dir, from, false, emit, arg);
}

static int fdinfo_find(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    return find(dir, name, true, child);
}

static int fdinfo_iterate(const struct pseudo_node *dir, int64_t from, emit_fn *emit, void *arg) {
    return iterate(dir, from, true, emit, arg);
}

const struct pseudo_list proc_fd_list = {.find = fd_find, .iterate = fd_iterate};
const struct pseudo_list proc_fdinfo_list = {.find = fdinfo_find, .iterate = fdinfo_iterate};
