/*
 * tmpfs directories. Names are found by a hash table; readdir goes by cookies, numbers that only
 * grow: each new entry gets the next one and keeps it, so a position stays good however many
 * entries come and go meanwhile. The array of cookies is in ascending order; removed ones leave a
 * hole until half of it is holes.
 *
 * All of it is guarded by the directory inode's lock, which the VFS holds over these ops.
 */
#include "fs/tmpfs_internal.h"

static uint32_t entry_hash(const char *name) {
    uint32_t hash = 2166136261u;

    for (; *name; name++) {
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    }
    return hash;
}

static struct tmpfs_entry *entry_find(const struct tmpfs_directory *directory, const char *name) {
    uint32_t hash = entry_hash(name);
    struct tmpfs_entry *entry;

    if (!directory->bucket_count) {
        return NULL;
    }
    for (entry = directory->buckets[hash & (directory->bucket_count - 1)]; entry;
         entry = entry->next) {
        if (entry->hash == hash && strcmp(entry->name, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

/* Index of the first slot with a cookie >= `cookie`. */
static size_t slot_find(const struct tmpfs_directory *directory, int64_t cookie) {
    size_t low = 0, high = directory->order_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (directory->order[middle].cookie < cookie) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int grow_buckets(struct tmpfs_directory *directory) {
    size_t count = MAX(directory->bucket_count * 2, (size_t)8);
    struct tmpfs_entry **buckets;

    if (directory->count < directory->bucket_count) {
        return 0;
    }
    buckets = calloc(count, sizeof(*buckets));
    if (!buckets) {
        return directory->bucket_count ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < directory->order_count; i++) {
        struct tmpfs_entry *entry = directory->order[i].entry;

        if (entry) {
            entry->next = buckets[entry->hash & (count - 1)];
            buckets[entry->hash & (count - 1)] = entry;
        }
    }
    free(directory->buckets);
    directory->buckets = buckets;
    directory->bucket_count = count;
    return 0;
}

static int grow_order(struct tmpfs_directory *directory) {
    size_t capacity = directory->order_capacity;
    struct tmpfs_slot *order;

    if (directory->order_count < capacity) {
        return 0;
    }
    if (directory->count < capacity / 2) {
        size_t kept = 0;

        for (size_t i = 0; i < directory->order_count; i++) {
            if (directory->order[i].entry) {
                directory->order[kept++] = directory->order[i];
            }
        }
        directory->order_count = kept;
        return 0;
    }
    capacity = MAX(capacity * 2, (size_t)8);
    order = realloc(directory->order, capacity * sizeof(*order));
    if (!order) {
        return -ENOMEM;
    }
    directory->order = order;
    directory->order_capacity = capacity;
    return 0;
}

static void count_change(struct tmpfs_directory *directory, ptrdiff_t change) {
    __atomic_store_n(&directory->count, directory->count + (size_t)change, __ATOMIC_RELAXED);
}

/* Room for one more, so that entry_add() after it cannot fail. */
static struct tmpfs_entry *entry_prepare(struct tmpfs_directory *directory, const char *name) {
    size_t length = strlen(name) + 1;
    struct tmpfs_entry *entry;

    if (grow_buckets(directory) || grow_order(directory)) {
        return NULL;
    }
    entry = calloc(1, sizeof(*entry) + length);
    if (entry) {
        memcpy(entry->name, name, length);
        entry->hash = entry_hash(name);
    }
    return entry;
}

static void entry_add(struct tmpfs_directory *directory, struct tmpfs_entry *entry,
                      struct inode *inode) {
    struct tmpfs_entry **bucket = &directory->buckets[entry->hash & (directory->bucket_count - 1)];

    entry->inode = inode_get(inode);
    entry->cookie = directory->next_cookie++;
    entry->next = *bucket;
    *bucket = entry;
    directory->order[directory->order_count++] = (struct tmpfs_slot){entry->cookie, entry};
    count_change(directory, 1);
}

/* The inode, with the entry's reference. */
static struct inode *entry_remove(struct tmpfs_directory *directory, struct tmpfs_entry *entry) {
    struct tmpfs_entry **at = &directory->buckets[entry->hash & (directory->bucket_count - 1)];
    struct inode *inode = entry->inode;

    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    directory->order[slot_find(directory, entry->cookie)].entry = NULL;
    count_change(directory, -1);
    free(entry);
    return inode;
}

void tmpfs_directory_release(struct tmpfs_directory *directory) {
    for (size_t i = 0; i < directory->order_count; i++) {
        if (directory->order[i].entry) {
            inode_put(directory->order[i].entry->inode);
            free(directory->order[i].entry);
        }
    }
    free(directory->order);
    free(directory->buckets);
}

static void add_links(struct inode *inode, int change) {
    struct tmpfs_node *node = tmpfs_node(inode);
    LOCK_GUARD(&node->lock);

    node->nlink = (uint32_t)((int)node->nlink + change);
}

static struct tmpfs_directory *directory_of(struct inode *dir) {
    return &tmpfs_node(dir)->directory;
}

/* A new child under `name`; for a directory its ".." counts. */
static int enter_new(struct inode *dir, const char *name, struct inode *inode) {
    struct tmpfs_entry *entry = entry_prepare(directory_of(dir), name);

    if (!entry) {
        return -ENOMEM;
    }
    entry_add(directory_of(dir), entry, inode);
    add_links(inode, 1);
    if (S_ISDIR(inode->type)) {
        add_links(dir, 1);
    }
    tmpfs_touch(tmpfs_node(dir), TMPFS_TOUCH_MTIME);
    return 0;
}

static int tmpfs_lookup(struct inode *dir, const char *name, struct inode **child) {
    struct tmpfs_entry *entry = entry_find(directory_of(dir), name);

    if (!entry) {
        return -ENOENT;
    }
    *child = inode_get(entry->inode);
    return 0;
}

static int tmpfs_mknod(struct inode *dir, const char *name, mode_t mode, dev_t dev,
                       const struct credentials *creds, struct inode **child) {
    struct inode *inode = tmpfs_inode_new(dir->sb, dir, mode, dev, creds);
    int error;

    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    error = enter_new(dir, name, inode);
    if (error) {
        inode_put(inode);
        return error;
    }
    *child = inode;
    return 0;
}

static int tmpfs_create(struct inode *dir, const char *name, mode_t mode,
                        const struct credentials *creds, struct inode **child) {
    return tmpfs_mknod(dir, name, S_IFREG | (mode & 07777), 0, creds, child);
}

static int tmpfs_mkdir(struct inode *dir, const char *name, mode_t mode,
                       const struct credentials *creds, struct inode **child) {
    return tmpfs_mknod(dir, name, S_IFDIR | (mode & 07777), 0, creds, child);
}

static int tmpfs_symlink(struct inode *dir, const char *name, const char *target,
                         const struct credentials *creds, struct inode **child) {
    char *copy = strdup(target);
    struct inode *inode;
    int error;

    if (!copy) {
        return -ENOMEM;
    }
    inode = tmpfs_inode_new(dir->sb, dir, S_IFLNK | 0777, 0, creds);
    if (IS_ERR(inode)) {
        free(copy);
        return (int)PTR_ERR(inode);
    }
    tmpfs_node(inode)->target = copy;
    error = enter_new(dir, name, inode);
    if (error) {
        inode_put(inode);
        return error;
    }
    *child = inode;
    return 0;
}

static int tmpfs_link(struct inode *dir, const char *name, struct inode *target) {
    struct tmpfs_node *node = tmpfs_node(target);
    bool gone;
    int error;

    lock_acquire(&node->lock);
    gone = node->nlink == 0 && !node->linkable;
    lock_release(&node->lock);
    if (gone) {
        return -ENOENT;
    }
    error = enter_new(dir, name, target);
    if (!error) {
        tmpfs_touch(node, TMPFS_TOUCH_CTIME);
    }
    return error;
}

static int tmpfs_unlink(struct inode *dir, const char *name, struct inode *child) {
    struct tmpfs_entry *entry = entry_find(directory_of(dir), name);
    struct inode *inode;

    if (!entry || entry->inode != child) {
        return -ENOENT;
    }
    inode = entry_remove(directory_of(dir), entry);
    add_links(inode, -1);
    lock_acquire(&tmpfs_node(inode)->lock);
    tmpfs_node(inode)->linkable = false;
    lock_release(&tmpfs_node(inode)->lock);
    tmpfs_touch(tmpfs_node(inode), TMPFS_TOUCH_CTIME);
    tmpfs_touch(tmpfs_node(dir), TMPFS_TOUCH_MTIME);
    inode_put(inode);
    return 0;
}

static int tmpfs_rmdir(struct inode *dir, const char *name, struct inode *child) {
    if (directory_of(child)->count) {
        return -ENOTEMPTY;
    }
    add_links(child, -1); /* "." */
    add_links(dir, -1);   /* its ".." */
    return tmpfs_unlink(dir, name, child);
}

static int tmpfs_rename(struct inode *from_dir, const char *from, struct inode *child,
                        struct inode *to_dir, const char *to, struct inode *replaced,
                        unsigned flags) {
    struct tmpfs_entry *old = entry_find(directory_of(from_dir), from), *new, *over;
    bool is_dir = S_ISDIR(child->type);

    if (!old || old->inode != child) {
        return -ENOENT;
    }
    over = entry_find(directory_of(to_dir), to);
    if (flags & RENAME_EXCHANGE) {
        if (!over || over->inode != replaced) {
            return -ENOENT;
        }
        over->inode = child;
        old->inode = replaced;
        if (from_dir != to_dir && is_dir != S_ISDIR(replaced->type)) {
            add_links(from_dir, is_dir ? -1 : 1);
            add_links(to_dir, is_dir ? 1 : -1);
        }
        tmpfs_touch(tmpfs_node(replaced), TMPFS_TOUCH_CTIME);
    } else {
        if (replaced && is_dir && directory_of(replaced)->count) {
            return -ENOTEMPTY;
        }
        new = entry_prepare(directory_of(to_dir), to);
        if (!new) {
            return -ENOMEM;
        }
        if (replaced) {
            int error =
                is_dir ? tmpfs_rmdir(to_dir, to, replaced) : tmpfs_unlink(to_dir, to, replaced);

            if (error) {
                free(new);
                return error;
            }
        }
        entry_add(directory_of(to_dir), new, child);
        inode_put(entry_remove(directory_of(from_dir), old));
        if (is_dir && from_dir != to_dir) {
            add_links(from_dir, -1);
            add_links(to_dir, 1);
        }
    }
    tmpfs_touch(tmpfs_node(child), TMPFS_TOUCH_CTIME);
    tmpfs_touch(tmpfs_node(from_dir), TMPFS_TOUCH_MTIME);
    tmpfs_touch(tmpfs_node(to_dir), TMPFS_TOUCH_MTIME);
    return 0;
}

static int tmpfs_tmpfile(struct inode *dir, mode_t mode, const struct credentials *creds,
                         struct inode **child) {
    struct inode *inode = tmpfs_inode_new(dir->sb, dir, S_IFREG | (mode & 07777), 0, creds);

    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    tmpfs_node(inode)->linkable = true;
    *child = inode;
    return 0;
}

static int tmpfs_readdir(struct file *file, struct dir_context *context) {
    struct tmpfs_directory *directory = directory_of(file->inode);

    if (!dir_emit_dots(file, context)) {
        return 0;
    }
    LOCK_GUARD(&file->inode->lock);
    for (size_t i = slot_find(directory, context->pos); i < directory->order_count; i++) {
        const struct tmpfs_slot *slot = &directory->order[i];
        const struct tmpfs_entry *entry = slot->entry;

        if (!entry) {
            continue;
        }
        if (!context->emit(context, entry->name, strlen(entry->name), entry->inode->ino,
                           (unsigned char)(entry->inode->type >> 12), slot->cookie + 1)) {
            break;
        }
        context->pos = slot->cookie + 1;
    }
    return 0;
}

const struct inode_ops tmpfs_directory_inode_ops = {
    .lookup = tmpfs_lookup,
    .create = tmpfs_create,
    .mkdir = tmpfs_mkdir,
    .mknod = tmpfs_mknod,
    .symlink = tmpfs_symlink,
    .link = tmpfs_link,
    .unlink = tmpfs_unlink,
    .rmdir = tmpfs_rmdir,
    .rename = tmpfs_rename,
    .tmpfile = tmpfs_tmpfile,
    .getattr = tmpfs_getattr,
    .setattr = tmpfs_setattr,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .release = tmpfs_release_inode,
};

const struct file_ops tmpfs_directory_file_ops = {
    .closes_unseen = true,
    .llseek = directory_llseek,
    .readdir = tmpfs_readdir,
};
