/*
 * hostfs: a host directory as a file system.
 *
 * An inode stands for one host file, known by device, inode number and time of birth; while
 * somebody holds it there is only one, so hard links meet in it. It is reached by where it was last
 * seen (parent inode and name); an O_PATH descriptor is opened when one is needed and kept in a
 * bounded list, so a tree of ten thousands of files costs a fixed number of descriptors. Whatever
 * is opened by name is checked against the identity: another file under the name gives ESTALE,
 * never another file's contents. When the guest takes the last known name away (unlink, rename over
 * it), the descriptor is opened first and kept.
 *
 * No host symlink is ever followed, and only regular files and directories are ever opened:
 * devices, FIFOs and sockets of the host are names with attributes. Opening such a node is the
 * VFS's business and means the guest's own device or FIFO.
 *
 * Modes. exclusive: nobody else changes the directory, so dentries stay valid, and attributes too
 * when it is read-only. Otherwise the host is asked at each walk: once for all of its names where
 * the host follows no symlink in the tree (hostfs_confirm), else at each step.
 *
 * Locks: sb->lock guards the table, the list and all mutable fields; no host call but closing
 * descriptors is made under it.
 */
#include "fs/hostfs_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

/* ---- handles ---- */

struct host_handle *host_handle_new(int fd) {
    struct host_handle *handle = malloc(sizeof(*handle));

    if (!handle) {
        (void)host_close(fd);
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&handle->ref);
    handle->fd = fd;
    handle->unseen = false;
    return handle;
}

struct host_handle *host_handle_get(struct host_handle *handle) {
    ref_get(&handle->ref);
    return handle;
}

void host_handle_put(struct host_handle *handle) {
    if (ref_put(&handle->ref)) {
        if (handle->unseen) {
            host_close_later(handle->fd);
        } else {
            (void)host_close(handle->fd);
        }
        free(handle);
    }
}

/* ---- attributes ---- */

void hostfs_kstat(const struct statx *from, struct kstat *to) {
    *to = (struct kstat){
        .dev = makedev(from->stx_dev_major, from->stx_dev_minor),
        .ino = from->stx_ino,
        .mode = from->stx_mode,
        .nlink = from->stx_nlink,
        .uid = from->stx_uid,
        .gid = from->stx_gid,
        .rdev = makedev(from->stx_rdev_major, from->stx_rdev_minor),
        .size = (int64_t)from->stx_size,
        .blocks = (int64_t)from->stx_blocks,
        .blksize = from->stx_blksize,
        .atime = {from->stx_atime.tv_sec, from->stx_atime.tv_nsec},
        .mtime = {from->stx_mtime.tv_sec, from->stx_mtime.tv_nsec},
        .ctime = {from->stx_ctime.tv_sec, from->stx_ctime.tv_nsec},
        .btime = {from->stx_btime.tv_sec, from->stx_btime.tv_nsec},
        .has_btime = (from->stx_mask & STATX_BTIME) != 0,
    };
}

static struct statx_timestamp birth(const struct statx *stat) {
    return stat->stx_mask & STATX_BTIME ? stat->stx_btime : (struct statx_timestamp){0};
}

bool hostfs_same(const struct hostfs_inode *node, const struct statx *stat) {
    struct statx_timestamp btime = birth(stat);

    return node->ino == stat->stx_ino && node->btime.tv_sec == btime.tv_sec &&
           node->btime.tv_nsec == btime.tv_nsec &&
           node->dev == makedev(stat->stx_dev_major, stat->stx_dev_minor) &&
           node->inode->type == (stat->stx_mode & S_IFMT);
}

/* ---- the table of inodes ---- */

static size_t hostfs_hash(const struct hostfs_super *super, dev_t dev, ino_t ino) {
    uint64_t hash = (ino ^ (dev << 40)) * 0x9e3779b97f4a7c15ull;

    return (hash >> 32) & (super->bucket_count - 1);
}

static void table_grow_locked(struct hostfs_super *super) {
    size_t old_count = super->bucket_count;
    struct hostfs_inode **old = super->buckets;
    struct hostfs_inode **buckets = calloc(old_count * 2, sizeof(struct hostfs_inode *));

    if (!buckets) {
        return; /* longer chains, no harm */
    }
    super->buckets = buckets;
    super->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++) {
        struct hostfs_inode *node = old[i];

        while (node) {
            struct hostfs_inode *next = node->hash_next;
            size_t at = hostfs_hash(super, node->dev, node->ino);

            node->hash_next = buckets[at];
            buckets[at] = node;
            node = next;
        }
    }
    free(old);
}

static void table_insert_locked(struct hostfs_super *super, struct hostfs_inode *node) {
    if (super->inode_count >= super->bucket_count * 2) {
        table_grow_locked(super);
    }
    size_t at = hostfs_hash(super, node->dev, node->ino);

    node->hash_next = super->buckets[at];
    super->buckets[at] = node;
    super->inode_count++;
}

static void table_remove_locked(struct hostfs_super *super, struct hostfs_inode *node) {
    struct hostfs_inode **link = &super->buckets[hostfs_hash(super, node->dev, node->ino)];

    while (*link && *link != node) {
        link = &(*link)->hash_next;
    }
    if (*link) {
        *link = node->hash_next;
        super->inode_count--;
    }
}

/* An owned reference, or NULL. One that is being freed is passed by: its memory is valid as long as
 * it is in the table. */
static struct inode *table_find_locked(struct hostfs_super *super, const struct statx *stat) {
    dev_t dev = makedev(stat->stx_dev_major, stat->stx_dev_minor);
    struct hostfs_inode *node = super->buckets[hostfs_hash(super, dev, stat->stx_ino)];

    for (; node; node = node->hash_next) {
        if (hostfs_same(node, stat) && ref_tryget(&node->inode->ref)) {
            return node->inode;
        }
    }
    return NULL;
}

bool hostfs_is_known(struct super_block *sb, const struct statx *stat) {
    struct inode *inode;

    lock_acquire(&sb->lock);
    inode = table_find_locked(hostfs_super(sb), stat);
    lock_release(&sb->lock);
    if (inode) {
        inode_put(inode);
    }
    return inode;
}

/*
 * Inode numbers of this file system are the host's, with a small number for the device above them
 * where the tree crosses into another one: distinct for whoever shows one device (overlayfs).
 */
ino_t hostfs_ino(struct super_block *sb, const struct kstat *stat) {
    struct hostfs_super *super = hostfs_super(sb);
    size_t index = 0;
    LOCK_GUARD(&sb->lock);

    while (index < super->device_count && super->devices[index] != stat->dev) {
        index++;
    }
    if (index == super->device_count) {
        if (index < HOSTFS_DEVICES) {
            super->devices[super->device_count++] = stat->dev;
        } else {
            index = HOSTFS_DEVICES - 1; /* from here on they share one */
        }
    }
    return stat->ino ^ ((ino_t)index << HOSTFS_INO_BITS);
}

static struct inode *hostfs_inode_new(struct super_block *sb, const struct statx *stat) {
    struct hostfs_super *super = hostfs_super(sb);
    struct hostfs_inode *node = calloc(1, sizeof(*node));
    struct kstat kstat;
    const struct file_ops *file_ops = S_ISREG(stat->stx_mode)   ? &hostfs_file_ops
                                      : S_ISDIR(stat->stx_mode) ? &hostfs_directory_file_ops
                                                                : NULL;
    struct inode *inode;

    if (!node) {
        return ERR_PTR(-ENOMEM);
    }
    hostfs_kstat(stat, &kstat);
    inode = inode_new(sb, hostfs_ino(sb, &kstat), stat->stx_mode, hostfs_ops(stat->stx_mode, super),
                      file_ops, node);
    if (IS_ERR(inode)) {
        free(node);
        return inode;
    }
    inode->rdev = kstat.rdev;
    node->inode = inode;
    node->dev = kstat.dev;
    node->ino = kstat.ino;
    node->btime = birth(stat);
    list_init(&node->lru_link);
    list_init(&node->open_files);
    if (hostfs_is_constant(sb)) {
        node->stat = kstat;
        node->stat_known = true;
    }
    return inode;
}

static bool hostfs_is_at(struct inode *inode, const struct inode *parent, const char *name) {
    const struct hostfs_inode *node = hostfs_node(inode);
    LOCK_GUARD(&inode->sb->lock);

    return node->parent == parent && strcmp(node->name, name) == 0;
}

int hostfs_moved(struct inode *inode, struct inode *parent, const char *name) {
    struct hostfs_inode *node = hostfs_node(inode);
    struct inode *old_parent;
    char *copy, *old_name;

    if (hostfs_is_at(inode, parent, name)) {
        return 0;
    }
    copy = strdup(name);
    if (!copy) {
        return -ENOMEM;
    }
    lock_acquire(&inode->sb->lock);
    old_parent = node->parent;
    old_name = node->name;
    node->parent = inode_get(parent);
    node->name = copy;
    lock_release(&inode->sb->lock);
    free(old_name);
    if (old_parent) {
        inode_put(old_parent);
    }
    return 0;
}

bool hostfs_location(struct inode *inode, struct inode **parent, char **name) {
    struct hostfs_inode *node = hostfs_node(inode);
    LOCK_GUARD(&inode->sb->lock);

    if (!node->parent || node->pinned) {
        return false;
    }
    *name = strdup(node->name);
    if (!*name) {
        return false;
    }
    *parent = inode_get(node->parent);
    return true;
}

struct inode *hostfs_inode_find(struct super_block *sb, struct inode *parent, const char *name,
                                const struct statx *stat) {
    struct hostfs_super *super = hostfs_super(sb);
    struct inode *inode, *fresh;
    bool fresh_made = false;
    int error;

    lock_acquire(&sb->lock);
    inode = table_find_locked(super, stat);
    lock_release(&sb->lock);
    if (!inode) {
        fresh = hostfs_inode_new(sb, stat);
        if (IS_ERR(fresh)) {
            return fresh;
        }
        lock_acquire(&sb->lock);
        inode = table_find_locked(super, stat); /* somebody may have been faster */
        if (!inode) {
            table_insert_locked(super, hostfs_node(fresh));
            inode = STEAL(fresh);
            fresh_made = true;
        }
        lock_release(&sb->lock);
        if (fresh) {
            inode_put(fresh);
        }
    }
    /* An old dentry may lead to it as well, and where it says that the file is would be wrong. */
    if (!fresh_made && parent && !hostfs_is_at(inode, parent, name)) {
        atomic_store(&inode->many_names, true);
    }
    error = parent ? hostfs_moved(inode, parent, name) : 0;
    if (error) {
        inode_put(inode);
        return ERR_PTR(error);
    }
    return inode;
}

void hostfs_inode_release(struct inode *inode) {
    struct hostfs_inode *node = hostfs_node(inode);
    struct hostfs_super *super = hostfs_super(inode->sb);

    lock_acquire(&inode->sb->lock);
    table_remove_locked(super, node);
    if (!list_empty(&node->lru_link)) {
        list_del(&node->lru_link);
        super->lru_count--;
    }
    lock_release(&inode->sb->lock);
    if (node->handle) {
        host_handle_put(node->handle);
    }
    if (node->fresh) {
        host_handle_put(node->fresh);
    }
    if (node->parent) {
        inode_put(node->parent);
    }
    free(node->name);
    free(node->target);
    free(node);
}

/* ---- descriptors ---- */

/* Takes the oldest cached handles out of their inodes until `limit` are left. */
static void lru_trim(struct super_block *sb, size_t limit) {
    struct hostfs_super *super = hostfs_super(sb);

    for (;;) {
        struct host_handle *old;

        lock_acquire(&sb->lock);
        if (super->lru_count <= limit) {
            lock_release(&sb->lock);
            return;
        }
        struct hostfs_inode *node = list_first_entry(&super->lru, struct hostfs_inode, lru_link);

        list_del(&node->lru_link);
        super->lru_count--;
        old = STEAL(node->handle);
        lock_release(&sb->lock);
        host_handle_put(old);
    }
}

void hostfs_shrink(struct super_block *sb) {
    lru_trim(sb, 0);
}

/* The handle of the inode as it is at present; owned, or NULL. */
static struct host_handle *handle_present_locked(struct inode *inode) {
    struct hostfs_super *super = hostfs_super(inode->sb);
    struct hostfs_inode *node = hostfs_node(inode);

    if (node->handle) {
        if (!list_empty(&node->lru_link)) {
            list_del(&node->lru_link);
            list_add_tail(&node->lru_link, &super->lru);
        }
        return host_handle_get(node->handle);
    }
    if (!list_empty(&node->open_files)) {
        return host_handle_get(
            list_first_entry(&node->open_files, struct hostfs_file, link)->handle);
    }
    return NULL;
}

/* Gives the inode a handle to keep, unless it has one by now; the one it has, owned. */
static struct host_handle *handle_keep(struct inode *inode, struct host_handle *handle) {
    struct hostfs_super *super = hostfs_super(inode->sb);
    struct hostfs_inode *node = hostfs_node(inode);
    struct host_handle *result;

    lock_acquire(&inode->sb->lock);
    if (!node->handle) {
        node->handle = host_handle_get(handle);
        list_add_tail(&node->lru_link, &super->lru);
        super->lru_count++;
    }
    result = host_handle_get(node->handle);
    lock_release(&inode->sb->lock);
    host_handle_put(handle);
    lru_trim(inode->sb, super->lru_limit);
    return result;
}

/* Opens `name` in the directory, which must be the host file that `inode` stands for. */
static struct host_handle *handle_open(struct inode *inode, struct host_handle *dir,
                                       const char *name) {
    struct statx stat;
    struct host_handle *handle;
    int error, fd = host_openat(dir->fd, name, O_PATH, 0);

    if (fd == -EMFILE || fd == -ENFILE) {
        hostfs_shrink(inode->sb);
        fd = host_openat(dir->fd, name, O_PATH, 0);
    }
    if (fd < 0) {
        return ERR_PTR(fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd);
    }
    error = host_statx(fd, "", &stat);
    if (!error && !hostfs_same(hostfs_node(inode), &stat)) {
        error = -ESTALE;
    }
    if (error) {
        (void)host_close(fd);
        return ERR_PTR(error);
    }
    handle = host_handle_new(fd);
    return IS_ERR(handle) ? handle : handle_keep(inode, handle);
}

struct host_handle *hostfs_handle(struct inode *inode) {
    struct super_block *sb = inode->sb;

    /* From the nearest ancestor that has one, one step down at a time: no recursion, since a guest
     * chooses how deep a writable tree is. */
    for (;;) {
        struct inode *at = inode, *step = NULL;
        struct host_handle *dir CLEANUP(host_handle_put) = NULL;
        char *name CLEANUP(free) = NULL;

        lock_acquire(&sb->lock);
        while (!(dir = handle_present_locked(at)) && hostfs_node(at)->parent) {
            step = at;
            at = hostfs_node(at)->parent;
        }
        if (dir && step) {
            inode_get(step);
            name = strdup(hostfs_node(step)->name);
        }
        lock_release(&sb->lock);
        if (!dir) {
            return ERR_PTR(-ESTALE);
        }
        if (!step) {
            return STEAL(dir);
        }
        struct inode *found CLEANUP(inode_put) = step;
        struct host_handle *handle = name ? handle_open(found, dir, name) : ERR_PTR(-ENOMEM);

        if (IS_ERR(handle) || found == inode) {
            return handle;
        }
        host_handle_put(handle);
    }
}

bool hostfs_has_handle(struct inode *inode) {
    const struct hostfs_inode *node = hostfs_node(inode);
    LOCK_GUARD(&inode->sb->lock);

    return node->handle || !list_empty(&node->open_files);
}

int hostfs_pin(struct inode *inode) {
    struct hostfs_super *super = hostfs_super(inode->sb);
    struct hostfs_inode *node = hostfs_node(inode);
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);

    if (IS_ERR(handle)) {
        return (int)PTR_ERR(handle);
    }
    LOCK_GUARD(&inode->sb->lock);
    if (!node->handle) {
        node->handle = host_handle_get(handle);
    }
    if (!list_empty(&node->lru_link)) {
        list_del(&node->lru_link);
        super->lru_count--;
    }
    node->pinned = true;
    return 0;
}

/* ---- the super block ---- */

static int hostfs_statfs(struct super_block *sb, struct statfs *stat) {
    struct host_handle *root CLEANUP(host_handle_put) = NULL;
    struct inode *inode;

    lock_acquire(&sb->dentry_lock);
    inode = sb->root ? inode_get(sb->root) : NULL;
    lock_release(&sb->dentry_lock);
    if (!inode) {
        return -ENOENT;
    }
    root = hostfs_handle(inode);
    inode_put(inode);
    return IS_ERR(root) ? (int)PTR_ERR(root) : host_fstatfs(root->fd, stat);
}

static void hostfs_release(struct super_block *sb) {
    struct hostfs_super *super = hostfs_super(sb);

    if (super) {
        free(super->buckets);
        free(super);
    }
}

const struct file_system_type hostfs_type = {
    .name = "hostfs",
    .nodev = true,
    .magic = 0x00c0ffee, /* as Linux's UML hostfs; statfs gives the host's own */
    .statfs = hostfs_statfs,
    .release = hostfs_release,
};

struct super_block *hostfs_new(int dirfd, unsigned flags) {
    struct host_handle *root CLEANUP(host_handle_put) = host_handle_new(dirfd);
    struct hostfs_super *super = calloc(1, sizeof(*super));
    struct super_block *sb;
    struct statx stat;
    int error;

    if (IS_ERR(root) || !super) {
        free(super);
        return ERR_PTR(-ENOMEM);
    }
    super->exclusive = flags & HOSTFS_EXCLUSIVE;
    super->no_symlinks = flags & HOSTFS_NO_SYMLINKS;
    super->bucket_count = 256;
    super->buckets = calloc(super->bucket_count, sizeof(struct hostfs_inode *));
    list_init(&super->lru);
    /* An eighth of the descriptors for the cache: the guest's own open files need most of them. */
    super->lru_limit = MIN(MAX(host_fd_limit() / 8, 16u), 1024u);
    sb = super->buckets ? super_block_new(&hostfs_type, super) : ERR_PTR(-ENOMEM);
    if (IS_ERR(sb)) {
        free(super->buckets);
        free(super);
        return sb;
    }
    sb->read_only = flags & HOSTFS_READ_ONLY;
    error = host_statx(root->fd, "", &stat);
    if (!error && !S_ISDIR(stat.stx_mode) && !S_ISREG(stat.stx_mode)) {
        error = -ENOTDIR;
    }
    if (!error) {
        struct inode *inode = hostfs_inode_find(sb, NULL, NULL, &stat);

        if (IS_ERR(inode)) {
            error = (int)PTR_ERR(inode);
        } else {
            hostfs_node(inode)->handle = STEAL(root);
            hostfs_node(inode)->pinned = true;
            sb->dev = hostfs_node(inode)->dev;
            sb->root = inode;
        }
    }
    if (error) {
        super_block_put(sb);
        return ERR_PTR(error);
    }
    return sb;
}
