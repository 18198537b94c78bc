/*
 * Nodes: the inodes of procfs and sysfs over their tables.
 *
 * Life: a look-up finds the entry in the directory's table (or its list makes one up) and makes an
 * inode, whose private is a pseudo_node; nothing is kept but what dentries hold. An inode's number
 * is a hash of its parent's and its name: the same path has the same number, however often it is
 * looked up. A node of a process that has gone answers ESRCH, and its names are looked up anew
 * (revalidate).
 *
 * Text files make their text at the first read and again whenever somebody reads at position 0, so
 * a reader of several pieces sees one state, and top(1), which keeps its files open and seeks back,
 * sees the present one.
 */
#include "pseudo/pseudo_internal.h"

#include <ctype.h>
#include <stdio.h>

static const struct inode_ops directory_ops, file_inode_ops, link_ops, magic_link_ops;
static const struct file_ops directory_file_ops, text_file_ops;

const struct pseudo_node *pseudo_inode_node(const struct inode *inode) {
    return inode->private;
}

/* ---- tasks ---- */

struct task *pseudo_task(const struct pseudo_node *node) {
    struct task *task = kernel_get_task(node->kernel, node->tid);

    if (task && task->thread_group->start_time_ns != node->start_time_ns) {
        task_put(task);
        return NULL;
    }
    return task;
}

/* Tasks alone know who asks; a kernel thread without one (unit tests, the kernel's own look-ups)
 * may do everything. */
int pseudo_may_access(struct task *task) {
    struct task *current = current_task();

    return !current || task_may_access(current, task) ? 0 : -EACCES;
}

static bool node_is_alive(const struct pseudo_node *node) {
    struct task *task CLEANUP(task_put) = NULL;

    if (node->tid == 0) {
        return true;
    }
    task = pseudo_task(node);
    return task != NULL;
}

/* ---- names ---- */

ssize_t pseudo_path_link(const struct path *target, char *buffer, size_t size) {
    struct task *current = current_task();
    struct path root CLEANUP(path_put) = {0};
    char *text CLEANUP(free) = malloc(PATH_MAX);
    ssize_t length;

    if (!text) {
        return -ENOMEM;
    }
    if (current && current->fs) {
        fs_context_root(current->fs, &root);
    }
    length = path_name(target, root.dentry ? &root : NULL, text, PATH_MAX);
    if (length < 0) {
        return length;
    }
    size = MIN((size_t)length - 1, size);
    memcpy(buffer, text, size);
    return (ssize_t)size;
}

int pseudo_parse_name(const char *name, long *number) {
    char *end;

    if (!isdigit((unsigned char)name[0]) || (name[0] == '0' && name[1]) || strlen(name) > 10) {
        return -ENOENT;
    }
    *number = strtol(name, &end, 10);
    return *end ? -ENOENT : 0;
}

int pseudo_parse_number(const char *data, long long *number) {
    char *end;

    errno = 0;
    *number = strtoll(data, &end, 0);
    if (end == data || errno) {
        return -EINVAL;
    }
    while (isspace((unsigned char)*end)) {
        end++;
    }
    return *end ? -EINVAL : 0;
}

/* Stable, and of 32 bits as Linux's are: programs print it in columns and keep it in doubles. */
static ino_t child_ino(ino_t parent, const char *name) {
    uint64_t hash = parent * 0x9e3779b97f4a7c15ull;

    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
    }
    hash ^= hash >> 29;
    hash = hash * 0xbf58476d1ce4e5b9ull >> 32;
    return hash > 1 ? hash : 2;
}

/* ---- inodes ---- */

static struct inode *node_inode_new(struct super_block *sb, const struct pseudo_node *node) {
    const struct pseudo_entry *entry = node->entry;
    struct pseudo_node *copy = malloc(sizeof(*copy));
    struct inode *inode;

    if (!copy) {
        return ERR_PTR(-ENOMEM);
    }
    *copy = *node;
    copy->time = inode_now();
    copy->sb = sb;
    if (S_ISDIR(entry->mode)) {
        inode = inode_new(sb, node->ino, entry->mode, &directory_ops, &directory_file_ops, copy);
    } else if (S_ISLNK(entry->mode)) {
        inode = inode_new(sb, node->ino, entry->mode, entry->follow ? &magic_link_ops : &link_ops,
                          NULL, copy);
    } else {
        inode = inode_new(sb, node->ino, entry->mode, &file_inode_ops, &text_file_ops, copy);
    }
    if (IS_ERR(inode)) {
        free(copy);
    }
    return inode;
}

struct inode *pseudo_root_new(struct super_block *sb, const struct pseudo_entry *root) {
    struct pseudo_node node = {.entry = root, .ino = 1, .kernel = sb->private};

    return node_inode_new(sb, &node);
}

static void node_release(struct inode *inode) {
    free(inode->private);
}

static bool count_directory(void *arg, const char *name, const struct pseudo_node *child) {
    *(uint32_t *)arg += S_ISDIR(child->entry->mode);
    return true;
}

static int node_getattr(struct inode *inode, struct kstat *stat) {
    const struct pseudo_node *node = inode->private;
    const struct pseudo_entry *entry = node->entry;

    stat->dev = inode->sb->dev;
    stat->ino = inode->ino;
    stat->mode = entry->mode;
    stat->nlink = 1;
    stat->size = entry->size;
    stat->blksize = 1024;
    stat->atime = stat->mtime = stat->ctime = node->time;
    if (S_ISDIR(entry->mode)) {
        stat->nlink = 2;
        for (const struct pseudo_entry *child = entry->children; child && child->name; child++) {
            stat->nlink += S_ISDIR(child->mode);
        }
        if (entry->list) {
            (void)entry->list->iterate(node, 0, count_directory, &stat->nlink);
        }
    }
    if (node->tid) {
        struct task *task CLEANUP(task_put) = pseudo_task(node);
        struct credentials *creds CLEANUP(credentials_put) = NULL;

        if (!task) {
            return -ENOENT;
        }
        /* proc(5): the effective ids; root's when the process is not dumpable. */
        creds = task_creds(task);
        if (atomic_load(&task->thread_group->dumpable) == 1 || S_ISDIR(entry->mode)) {
            stat->uid = creds->euid;
            stat->gid = creds->egid;
        }
    }
    return 0;
}

/* Truncation by open(2) means nothing here; modes and owners cannot be changed. */
static int node_setattr(struct inode *inode, const struct iattr *attr) {
    return attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID) && !(attr->valid & ATTR_SIZE) ? -EPERM
                                                                                         : 0;
}

/* proc(5): a process may always look into its own directories; those of one that has gone answer
 * ESRCH. */
static int directory_permission(struct inode *inode, int mask, const struct credentials *creds) {
    const struct pseudo_node *node = inode->private;
    struct task *current = current_task();
    struct kstat stat = {0};
    int error;

    if (node->tid) {
        struct task *task CLEANUP(task_put) = pseudo_task(node);

        if (!task) {
            return -ESRCH;
        }
        if (current && current->thread_group == task->thread_group && !(mask & MAY_WRITE)) {
            return 0;
        }
    }
    error = node_getattr(inode, &stat);
    return error ? error : generic_permission(&stat, mask, creds);
}

/* ---- directories ---- */

/* The child called `name` as a node: 0, -ENOENT. */
static int find_child(const struct pseudo_node *dir, const char *name, struct pseudo_node *child) {
    const struct pseudo_entry *entry = dir->entry;

    *child = *dir;
    child->ino = child_ino(dir->ino, name);
    for (const struct pseudo_entry *e = entry->children; e && e->name; e++) {
        if (strcmp(e->name, name) == 0) {
            child->entry = e;
            return 0;
        }
    }
    return entry->list ? entry->list->find(dir, name, child) : -ENOENT;
}

static int node_lookup(struct inode *dir, const char *name, struct inode **result) {
    const struct pseudo_node *node = dir->private;
    struct pseudo_node child;
    struct inode *inode;
    int error = node_is_alive(node) ? find_child(node, name, &child) : -ENOENT;

    if (error) {
        return error;
    }
    inode = node_inode_new(dir->sb, &child);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    *result = inode;
    return 0;
}

static bool node_revalidate(struct inode *dir, const char *name, struct inode *child) {
    const struct pseudo_node *node = dir->private, *known = child ? child->private : NULL;
    struct pseudo_node now;

    if (!known || !node_is_alive(known)) {
        return false;
    }
    if (!node->entry->list) {
        return true;
    }
    return find_child(node, name, &now) == 0 && now.entry == known->entry &&
           now.tid == known->tid && now.start_time_ns == known->start_time_ns;
}

struct emit_state {
    struct dir_context *context;
    const struct pseudo_node *dir;
    int64_t base; /* position of the list's number 0 */
};

static bool emit_child(struct emit_state *state, const char *name, mode_t mode, int64_t pos) {
    state->context->pos = pos;
    if (!state->context->emit(state->context, name, strlen(name), child_ino(state->dir->ino, name),
                              (unsigned char)((mode & S_IFMT) >> 12), pos + 1)) {
        return false;
    }
    state->context->pos = pos + 1;
    return true;
}

static bool emit_listed(void *arg, const char *name, const struct pseudo_node *child) {
    struct emit_state *state = arg;

    return emit_child(state, name, child->entry->mode, state->base + child->number);
}

static int node_readdir(struct file *file, struct dir_context *context) {
    const struct pseudo_node *node = file->inode->private;
    const struct pseudo_entry *entry = node->entry;
    struct emit_state state = {context, node, 2};

    if (!node_is_alive(node)) {
        return -ENOENT;
    }
    if (!dir_emit_dots(file, context)) {
        return 0;
    }
    for (const struct pseudo_entry *e = entry->children; e && e->name; e++, state.base++) {
        if (context->pos <= state.base && !emit_child(&state, e->name, e->mode, state.base)) {
            return 0;
        }
    }
    if (!entry->list) {
        return 0;
    }
    return entry->list->iterate(node, MAX(context->pos - state.base, (int64_t)0), emit_listed,
                                &state);
}

/* ---- links ---- */

static ssize_t node_readlink(struct inode *inode, char *buffer, size_t size) {
    const struct pseudo_node *node = inode->private;
    size_t length;

    if (node->entry->readlink) {
        return node->entry->readlink(node, buffer, size);
    }
    length = MIN(strlen(node->entry->text), size);
    memcpy(buffer, node->entry->text, length);
    return (ssize_t)length;
}

static int node_follow(struct inode *inode, struct path *target) {
    const struct pseudo_node *node = inode->private;

    return node->entry->follow(node, target);
}

/* ---- text files ---- */

struct text_file {
    struct lock lock; /* class DEVICE */
    struct text text; /* guarded by lock */
    bool made;        /* guarded by lock */
};

static int make_text(const struct pseudo_node *node, struct text *text) {
    const struct pseudo_entry *entry = node->entry;
    int error = 0;

    if (!node_is_alive(node)) {
        return -ESRCH;
    }
    if (entry->show) {
        error = entry->show(node, text);
    } else if (entry->text) {
        text_puts(text, entry->text);
    }
    return error ? error : text->failed ? -ENOMEM : 0;
}

static ssize_t text_file_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct text_file *state = file->private;
    bool make;

    lock_acquire(&state->lock);
    make = *pos == 0 || !state->made;
    lock_release(&state->lock);
    if (make) {
        struct text text CLEANUP(text_destroy) = {0}, old;
        int error = make_text(file->inode->private, &text);

        if (error) {
            return error;
        }
        lock_acquire(&state->lock);
        old = state->text;
        state->text = text;
        state->made = true;
        lock_release(&state->lock);
        text = old;
    }
    LOCK_GUARD(&state->lock);
    return text_read(state->text.data, state->text.length, buffer, size, pos);
}

static ssize_t text_file_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    const struct pseudo_node *node = file->inode->private;
    char *data;
    int error;

    if (!node->entry->store) {
        return -EIO; /* what proc(5) files without a write operation answer */
    }
    if (size > PSEUDO_WRITE_MAX) {
        return -EINVAL;
    }
    if (!node_is_alive(node)) {
        return -ESRCH;
    }
    data = malloc(size + 1);
    if (!data) {
        return -ENOMEM;
    }
    memcpy(data, buffer, size);
    data[size] = '\0';
    error = node->entry->store(node, file, data, size);
    free(data);
    if (error) {
        return error;
    }
    *pos += (int64_t)size;
    return (ssize_t)size;
}

static void text_file_release(struct file *file) {
    struct text_file *state = file->private;

    text_destroy(&state->text);
    lock_destroy(&state->lock);
    free(state);
}

static int node_open(struct inode *inode, struct file *file) {
    const struct pseudo_node *node = inode->private;
    const struct pseudo_entry *entry = node->entry;
    struct text_file *state;

    if (!node_is_alive(node)) {
        return -ENOENT;
    }
    if (entry->guarded) {
        struct task *task CLEANUP(task_put) = pseudo_task(node);
        int error = task ? pseudo_may_access(task) : -ESRCH;

        if (error) {
            return error;
        }
    }
    if (entry->open) {
        return entry->open(node, file);
    }
    state = calloc(1, sizeof(*state));
    if (!state) {
        return -ENOMEM;
    }
    lock_init(&state->lock, LOCK_DEVICE);
    file->private = state;
    return 0;
}

static const struct inode_ops directory_ops = {
    .lookup_unlocked = true,
    .no_negative = true,
    .lookup = node_lookup,
    .getattr = node_getattr,
    .setattr = node_setattr,
    .permission = directory_permission,
    .revalidate = node_revalidate,
    .release = node_release,
};
static const struct inode_ops file_inode_ops = {
    .getattr = node_getattr,
    .setattr = node_setattr,
    .open = node_open,
    .release = node_release,
};
static const struct inode_ops link_ops = {
    .readlink = node_readlink,
    .getattr = node_getattr,
    .setattr = node_setattr,
    .release = node_release,
};
static const struct inode_ops magic_link_ops = {
    .readlink = node_readlink,
    .follow = node_follow,
    .getattr = node_getattr,
    .setattr = node_setattr,
    .release = node_release,
};
static const struct file_ops directory_file_ops = {
    .llseek = directory_llseek,
    .readdir = node_readdir,
};
static const struct file_ops text_file_ops = {
    .read = text_file_read,
    .write = text_file_write,
    .llseek = generic_llseek,
    .release = text_file_release,
};
