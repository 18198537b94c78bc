/*
 * tmpfs: files in the kernel's memory.
 *
 * A directory entry owns its inode, so the tree keeps itself; an open file keeps an unlinked one.
 * Small contents are bytes of the kernel process; a file that grows, is mapped or must have a host
 * descriptor moves into a memfd of its own (tmpfs_data.c), so a tree of ten thousand small files
 * costs no descriptors. Directories are in tmpfs_directory.c, extended attributes in tmpfs_xattr.c.
 *
 * Locks: the inode's lock guards entries and contents; the node's lock, which ranks behind it, the
 * attributes.
 */
#include <errno.h>

#include "fs/tmpfs_internal.h"

static const struct inode_ops tmpfs_inode_ops, tmpfs_symlink_inode_ops;

int tmpfs_charge(struct super_block *sb, uint64_t pages) {
    struct tmpfs_super *super = sb->private;
    uint64_t used = atomic_load(&super->pages);

    do {
        if (super->page_limit && (pages > super->page_limit || used > super->page_limit - pages)) {
            return -ENOSPC;
        }
    } while (!atomic_compare_exchange_weak(&super->pages, &used, used + pages));
    return 0;
}

uint64_t tmpfs_pages_left(struct super_block *sb) {
    struct tmpfs_super *super = sb->private;
    uint64_t used = atomic_load(&super->pages), available;

    if (super->page_limit) {
        return super->page_limit - MIN(used, super->page_limit);
    }
    (void)host_facts_memory(&available);
    return available / PAGE_SIZE;
}

void tmpfs_uncharge(struct super_block *sb, uint64_t pages) {
    struct tmpfs_super *super = sb->private;

    atomic_fetch_sub(&super->pages, pages);
}

void tmpfs_recount(struct super_block *sb, int64_t pages) {
    struct tmpfs_super *super = sb->private;

    atomic_fetch_add(&super->pages, (uint64_t)pages);
}

struct inode *tmpfs_inode_new(struct super_block *sb, const struct inode *dir, mode_t mode,
                              dev_t rdev, const struct credentials *creds) {
    struct tmpfs_super *super = sb->private;
    struct tmpfs_node *node;
    const struct inode_ops *ops = &tmpfs_inode_ops;
    const struct file_ops *file_ops = NULL;
    struct inode *inode;

    if (atomic_fetch_add(&super->inodes, 1) >= super->inode_limit && super->inode_limit) {
        atomic_fetch_sub(&super->inodes, 1);
        return ERR_PTR(-ENOSPC);
    }
    node = calloc(1, sizeof(*node));
    if (!node) {
        atomic_fetch_sub(&super->inodes, 1);
        return ERR_PTR(-ENOMEM);
    }
    lock_init(&node->lock, LOCK_SUPER_BLOCK);
    list_init(&node->xattrs);
    if (dir && creds) {
        struct kstat stat = {0};

        (void)tmpfs_getattr((struct inode *)dir, &stat);
        inode_init_owner(&stat, creds, &mode, &node->uid, &node->gid);
    }
    node->mode = mode & 07777;
    node->atime = node->mtime = node->ctime = node->btime = inode_now();
    if (S_ISDIR(mode)) {
        ops = &tmpfs_directory_inode_ops;
        file_ops = &tmpfs_directory_file_ops;
        node->directory.next_cookie = 2;
        node->nlink = 1;
    } else if (S_ISREG(mode)) {
        file_ops = &tmpfs_file_ops;
        tmpfs_data_init(&node->data);
    } else if (S_ISLNK(mode)) {
        ops = &tmpfs_symlink_inode_ops;
    }
    inode = inode_new(sb, super_block_next_ino(sb), mode, ops, file_ops, node);
    if (IS_ERR(inode)) {
        lock_destroy(&node->lock);
        free(node);
        atomic_fetch_sub(&super->inodes, 1);
        return inode;
    }
    inode->rdev = rdev;
    return inode;
}

void tmpfs_release_inode(struct inode *inode) {
    struct tmpfs_super *super = inode->sb->private;
    struct tmpfs_node *node = tmpfs_node(inode);

    if (S_ISDIR(inode->type)) {
        tmpfs_directory_release(&node->directory);
    } else if (S_ISREG(inode->type)) {
        tmpfs_data_release(inode->sb, &node->data);
    } else if (S_ISLNK(inode->type)) {
        free(node->target);
    }
    tmpfs_xattrs_release(node);
    lock_destroy(&node->lock);
    free(node);
    atomic_fetch_sub(&super->inodes, 1);
}

void tmpfs_touch(struct tmpfs_node *node, unsigned what) {
    struct timespec now;
    LOCK_GUARD(&node->lock);

    tmpfs_direct_times_locked(node);
    now = tmpfs_direct_now_locked(node);
    if (what & TMPFS_TOUCH_MTIME) {
        node->mtime = now;
    }
    node->ctime = now;
}

int tmpfs_getattr(struct inode *inode, struct kstat *stat) {
    struct tmpfs_node *node = tmpfs_node(inode);

    stat->dev = inode->sb->dev;
    stat->ino = inode->ino;
    stat->rdev = inode->rdev;
    stat->blksize = PAGE_SIZE;
    stat->size = stat->blocks = 0;
    stat->has_btime = true;
    if (S_ISREG(inode->type)) {
        tmpfs_data_getattr(inode, stat);
    } else if (S_ISLNK(inode->type)) {
        stat->size = (int64_t)strlen(node->target);
    } else if (S_ISDIR(inode->type)) {
        /* Linux counts 20 bytes for each entry, "." and ".." too; racy is good enough here. */
        stat->size = 20 * (2 + (int64_t)__atomic_load_n(&node->directory.count, __ATOMIC_RELAXED));
    }
    LOCK_GUARD(&node->lock);
    tmpfs_direct_times_locked(node);
    stat->mode = inode->type | node->mode;
    stat->nlink = node->nlink;
    stat->uid = node->uid;
    stat->gid = node->gid;
    stat->atime = node->atime;
    stat->mtime = node->mtime;
    stat->ctime = node->ctime;
    stat->btime = node->btime;
    return 0;
}

int tmpfs_setattr(struct inode *inode, const struct iattr *attr) {
    struct tmpfs_node *node = tmpfs_node(inode);
    struct timespec now;

    if (attr->valid & ATTR_SIZE) {
        int error = S_ISREG(inode->type) ? tmpfs_data_truncate(inode, attr->size) : -EINVAL;

        if (error) {
            return error;
        }
    }
    LOCK_GUARD(&node->lock);
    if ((attr->valid & ATTR_MODE) && S_ISREG(inode->type)) {
        int error = tmpfs_seals_allow_mode_locked(node, attr->mode);

        if (error) {
            return error;
        }
    }
    tmpfs_direct_times_locked(node);
    if (attr->valid & (ATTR_ATIME | ATTR_MTIME)) {
        tmpfs_direct_forget_locked(node);
    }
    now = tmpfs_direct_now_locked(node);
    if (attr->valid & ATTR_MODE) {
        node->mode = attr->mode & 07777;
    }
    if (attr->valid & ATTR_UID) {
        node->uid = attr->uid;
    }
    if (attr->valid & ATTR_GID) {
        node->gid = attr->gid;
    }
    if (attr->valid & ATTR_ATIME) {
        node->atime = attr->valid & ATTR_ATIME_NOW ? now : attr->atime;
    }
    if (attr->valid & ATTR_MTIME) {
        node->mtime = attr->valid & ATTR_MTIME_NOW ? now : attr->mtime;
    } else if (attr->valid & ATTR_SIZE) {
        node->mtime = now;
    }
    node->ctime = now;
    return 0;
}

static ssize_t tmpfs_readlink(struct inode *inode, char *buffer, size_t size) {
    const char *target = tmpfs_node(inode)->target;

    size = MIN(size, strlen(target));
    memcpy(buffer, target, size);
    return (ssize_t)size;
}

static const struct inode_ops tmpfs_inode_ops = {
    .getattr = tmpfs_getattr,
    .setattr = tmpfs_setattr,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .release = tmpfs_release_inode,
};

static const struct inode_ops tmpfs_symlink_inode_ops = {
    .readlink = tmpfs_readlink,
    .getattr = tmpfs_getattr,
    .setattr = tmpfs_setattr,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .release = tmpfs_release_inode,
};

/* ---- the super block ---- */

struct tmpfs_options {
    uint64_t bytes, inodes; /* 0: no limit */
    mode_t mode;            /* of the root */
    uid_t uid;
    gid_t gid;
};

static struct super_block *new_super_block(const struct tmpfs_options *options) {
    struct tmpfs_super *super = calloc(1, sizeof(*super));
    struct super_block *sb = super ? super_block_new(&tmpfs_type, super) : ERR_PTR(-ENOMEM);
    struct inode *root;

    if (IS_ERR(sb)) {
        free(super);
        return sb;
    }
    super->page_limit = options->bytes / PAGE_SIZE + (options->bytes % PAGE_SIZE != 0);
    super->inode_limit = options->inodes;
    root = tmpfs_inode_new(sb, NULL, S_IFDIR | options->mode, 0, NULL);
    if (IS_ERR(root)) {
        super_block_put(sb);
        return ERR_PTR(PTR_ERR(root));
    }
    tmpfs_node(root)->nlink = 2;
    tmpfs_node(root)->uid = options->uid;
    tmpfs_node(root)->gid = options->gid;
    sb->root = root;
    return sb;
}

struct super_block *tmpfs_new(uint64_t size_limit, mode_t root_mode) {
    return new_super_block(&(struct tmpfs_options){.bytes = size_limit, .mode = root_mode});
}

/* A number with k, m or g behind it; or, where `whole` is given, with % for a part of that. */
static int parse_amount(const char *text, uint64_t whole, uint64_t *amount) {
    unsigned shift = 0;
    char *end;

    errno = 0;
    *amount = strtoull(text, &end, 10);
    if (end == text || *text == '-' || errno) {
        return -EINVAL;
    }
    switch (*end) {
    case 'g':
    case 'G':
        shift += 10;
        __attribute__((fallthrough));
    case 'm':
    case 'M':
        shift += 10;
        __attribute__((fallthrough));
    case 'k':
    case 'K':
        shift += 10;
        end++;
        break;
    case '%':
        if (whole && *amount <= UINT64_MAX / whole) {
            *amount = *amount * whole / 100;
            end++;
        }
        break;
    default:
        break;
    }
    if (*end || *amount > UINT64_MAX >> shift) {
        return -EINVAL;
    }
    *amount <<= shift;
    return 0;
}

/* tmpfs(5): size=N[kmg%], nr_blocks=N[kmg], nr_inodes=N[kmg], mode=, uid=, gid=; what concerns swap
 * and placing is accepted. */
static int tmpfs_option(char *option, struct tmpfs_options *options) {
    char *value = strchr(option, '=');
    uint64_t number;

    if (!value) {
        return strcmp(option, "noswap") == 0 || strncmp(option, "inode", 5) == 0 ? 0 : -EINVAL;
    }
    *value++ = '\0';
    if (strcmp(option, "huge") == 0 || strcmp(option, "mpol") == 0) {
        return 0;
    }
    if (strcmp(option, "size") == 0) {
        return parse_amount(value, host_facts_memory(NULL), &options->bytes);
    }
    if (strcmp(option, "nr_inodes") == 0) {
        return parse_amount(value, 0, &options->inodes);
    }
    if (strcmp(option, "nr_blocks") == 0) {
        int error = parse_amount(value, 0, &number);

        if (!error && number > UINT64_MAX / PAGE_SIZE) {
            return -EINVAL;
        }
        options->bytes = error ? 0 : number * PAGE_SIZE;
        return error;
    }
    if (strcmp(option, "mode") == 0 || strcmp(option, "uid") == 0 || strcmp(option, "gid") == 0) {
        char *end;

        number = strtoul(value, &end, *option == 'm' ? 8 : 10);
        if (end == value || *end) {
            return -EINVAL;
        }
        switch (*option) {
        case 'm':
            options->mode = (mode_t)number & 07777;
            break;
        case 'u':
            options->uid = (uid_t)number;
            break;
        default:
            options->gid = (gid_t)number;
            break;
        }
        return 0;
    }
    return -EINVAL;
}

static struct super_block *tmpfs_mount(const char *source, const char *data,
                                       const struct credentials *creds) {
    struct tmpfs_options options = {.mode = 01777, .uid = creds->fsuid, .gid = creds->fsgid};
    char *copy CLEANUP(free) = strdup(data ? data : ""), *rest = copy, *option;

    if (!copy) {
        return ERR_PTR(-ENOMEM);
    }
    while ((option = strsep(&rest, ","))) {
        int error = *option ? tmpfs_option(option, &options) : 0;

        if (error) {
            return ERR_PTR(error);
        }
    }
    return new_super_block(&options);
}

static int tmpfs_statfs(struct super_block *sb, struct statfs *stat) {
    struct tmpfs_super *super = sb->private;

    /* Without a limit what bounds it is the machine's memory; programs that look for room before
     * they write must not see a full disk. */
    stat->f_bsize = stat->f_frsize = PAGE_SIZE;
    stat->f_blocks = super->page_limit ? super->page_limit : host_facts_memory(NULL) / PAGE_SIZE;
    stat->f_bfree = stat->f_bavail = tmpfs_pages_left(sb);
    if (super->inode_limit) {
        stat->f_files = super->inode_limit;
        stat->f_ffree = super->inode_limit - MIN(atomic_load(&super->inodes), super->inode_limit);
    }
    return 0;
}

static void tmpfs_release(struct super_block *sb) {
    free(sb->private);
}

const struct file_system_type tmpfs_type = {
    .name = "tmpfs",
    .nodev = true,
    .magic = 0x01021994,
    .mount = tmpfs_mount,
    .statfs = tmpfs_statfs,
    .release = tmpfs_release,
};
