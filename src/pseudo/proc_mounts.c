/*
 * /proc/PID/mounts, mountinfo and mountstats: the guest's mount tree as seen from the task's root
 * (proc(5), fstab(5)).
 *
 * The tree's lock is held only while the mounts are collected; their names are made without it.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

struct row {
    struct mount *mount; /* owned */
    int parent_id;
};
struct rows {
    struct row *rows;
    size_t count, capacity;
};

static int collect(const struct mount *mount, int parent_id, void *arg) {
    struct rows *rows = arg;

    if (rows->count == rows->capacity) {
        size_t capacity = rows->capacity ? rows->capacity * 2 : 32;
        struct row *grown = realloc(rows->rows, capacity * sizeof(*grown));

        if (!grown) {
            return -ENOMEM;
        }
        rows->rows = grown;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = (struct row){mount_get((struct mount *)mount), parent_id};
    return 0;
}

static void put_options(struct text *text, unsigned long flags, bool read_only) {
    text_puts(text, read_only ? "ro" : "rw");
    text_puts(text, flags & MS_NOSUID ? ",nosuid" : "");
    text_puts(text, flags & MS_NODEV ? ",nodev" : "");
    text_puts(text, flags & MS_NOEXEC ? ",noexec" : "");
    text_puts(text, flags & MS_NOATIME ? ",noatime" : "");
    text_puts(text, flags & MS_NODIRATIME ? ",nodiratime" : "");
    text_puts(text, flags & MS_RELATIME ? ",relatime" : "");
}

static const char escaped[] = " \t\n#";

static void put_mounts_line(struct text *text, const struct row *row, const char *where,
                            const char *root) {
    const struct mount *mount = row->mount;
    unsigned long flags = atomic_load(&mount->flags);

    text_put_escaped(text, mount->source, escaped);
    text_puts(text, " ");
    text_put_escaped(text, where, escaped);
    text_printf(text, " %s ", mount->sb->type->name);
    put_options(text, flags, flags & MS_RDONLY || mount->sb->read_only);
    text_puts(text, " 0 0\n");
}

static void put_mountinfo_line(struct text *text, const struct row *row, const char *where,
                               const char *root) {
    const struct mount *mount = row->mount;
    unsigned long flags = atomic_load(&mount->flags);

    text_printf(text, "%d %d %u:%u ", mount->id, row->parent_id ? row->parent_id : mount->id,
                major(mount->sb->dev), minor(mount->sb->dev));
    text_put_escaped(text, root, escaped);
    text_puts(text, " ");
    text_put_escaped(text, where, escaped);
    text_puts(text, " ");
    put_options(text, flags, flags & MS_RDONLY);
    text_printf(text, " - %s ", mount->sb->type->name);
    text_put_escaped(text, mount->source, escaped);
    text_printf(text, " %s\n", mount->sb->read_only ? "ro" : "rw");
}

static void put_mountstats_line(struct text *text, const struct row *row, const char *where,
                                const char *root) {
    text_puts(text, "device ");
    text_put_escaped(text, row->mount->source, escaped);
    text_puts(text, " mounted on ");
    text_put_escaped(text, where, escaped);
    text_printf(text, " with fstype %s\n", row->mount->sb->type->name);
}

/* The mount's root within its file system: "/" but for bind mounts of a part. */
static void root_name(struct mount *mount, char *buffer, size_t size) {
    char *end = buffer + size - 1;
    struct dentry *dentry = dentry_get(mount->root);

    *end = '\0';
    for (;;) {
        struct dentry *parent = dentry_parent(dentry);
        char name[NAME_MAX + 1];
        size_t length;

        if (parent == dentry) {
            dentry_put(parent);
            break;
        }
        (void)dentry_name(dentry, name);
        dentry_put(dentry);
        dentry = parent;
        length = strlen(name);
        if ((size_t)(end - buffer) < length + 1) {
            break;
        }
        end -= length;
        memcpy(end, name, length);
        *--end = '/';
    }
    dentry_put(dentry);
    if (!*end) {
        *--end = '/';
    }
    memmove(buffer, end, strlen(end) + 1);
}

static int show(const struct pseudo_node *node, struct text *text,
                void (*put)(struct text *text, const struct row *row, const char *where,
                            const char *root)) {
    struct task *task CLEANUP(task_put) = pseudo_task(node);
    struct fs_context *fs CLEANUP(fs_context_put) = task ? task_fs(task) : NULL;
    struct path task_root CLEANUP(path_put) = {0};
    struct rows rows = {0};
    char *where CLEANUP(free) = malloc(PATH_MAX), *root CLEANUP(free) = malloc(PATH_MAX);
    int error;

    if (!fs) {
        return task ? -EINVAL : -ESRCH; /* a zombie's mounts: EINVAL, as in Linux */
    }
    if (!where || !root) {
        return -ENOMEM;
    }
    fs_context_root(fs, &task_root);
    error = mount_namespace_walk(fs->namespace, collect, &rows);
    for (size_t i = 0; i < rows.count; i++) {
        struct mount *mount = rows.rows[i].mount;
        struct path path = {mount, mount->root};
        ssize_t length = path_name(&path, &task_root, where, PATH_MAX);

        /* What is outside the task's root is not shown. */
        if (!error && length > 0 && where[0] == '/') {
            root_name(mount, root, PATH_MAX);
            put(text, &rows.rows[i], where, root);
        }
        mount_put(mount);
    }
    free(rows.rows);
    return error;
}

int proc_mounts_show(const struct pseudo_node *node, struct text *text) {
    return show(node, text, put_mounts_line);
}

int proc_mountinfo_show(const struct pseudo_node *node, struct text *text) {
    return show(node, text, put_mountinfo_line);
}

int proc_mountstats_show(const struct pseudo_node *node, struct text *text) {
    return show(node, text, put_mountstats_line);
}
