/* What the files of tmpfs share. tmpfs.c tells about the whole. */
#ifndef STARLING_TMPFS_INTERNAL_H
#define STARLING_TMPFS_INTERNAL_H

#include "fs/vfs_internal.h"
#include "host/host_buffer.h"

struct tmpfs_super {
    uint64_t page_limit, inode_limit; /* 0: none; immutable */
    _Atomic uint64_t pages;
    _Atomic uint64_t inodes;
};

struct tmpfs_entry {
    struct tmpfs_entry *next; /* of its bucket */
    struct inode *inode;      /* owned */
    int64_t cookie;
    uint32_t hash;
    char name[];
};

struct tmpfs_xattr {
    struct list_head link;
    char *name;
    size_t size;
    char value[];
};

struct tmpfs_node {
    struct lock lock; /* class SUPER_BLOCK; attributes and xattrs */
    /* guarded by lock */
    mode_t mode; /* without type */
    uid_t uid;
    gid_t gid;
    uint32_t nlink;
    bool linkable; /* O_TMPFILE without O_EXCL: link() may give it a name */
    struct timespec atime, mtime, ctime, btime;
    struct tmpfs_direct {
        bool watched;                  /* a description has been donated: the host's times tell */
        struct timespec seen, ignored; /* access times of the host's */
        struct timespec modified;      /* its modification time as it was seen last */
        struct timespec set;           /* when utimensat(2) last set ours */
    } direct;
    struct list_head xattrs;
    size_t xattr_bytes;
    /* guarded by the inode's lock */
    union {
        struct tmpfs_directory {
            struct tmpfs_entry **buckets;
            size_t bucket_count, count;
            /* Every entry by ascending cookie; entry NULL: removed since. */
            struct tmpfs_slot {
                int64_t cookie;
                struct tmpfs_entry *entry;
            } * order;
            size_t order_count, order_capacity;
            int64_t next_cookie;
        } directory;
        struct tmpfs_data {
            char *bytes; /* small contents; NULL once there is a memfd */
            size_t capacity;
            int64_t size;              /* while there is no memfd; then the host knows */
            _Atomic int memfd;         /* -1: none yet; never changes back */
            struct host_buffer memory; /* owns the memfd */
            int memfd_read_only;       /* -1: none yet */
            unsigned seals;            /* F_SEAL_*; changed under node->lock too */
            _Atomic uint64_t pages;    /* charged to the super block */
        } data;
        char *target; /* symlink; immutable */
    };
};

static inline struct tmpfs_node *tmpfs_node(const struct inode *inode) {
    return inode->private;
}

/* A new inode with nlink 0 (1 of "." for a directory is counted when it is entered). ERR_PTR. */
struct inode *tmpfs_inode_new(struct super_block *sb, const struct inode *dir, mode_t mode,
                              dev_t rdev, const struct credentials *creds);
/* Charges (or gives back) pages: 0 or -ENOSPC. */
int MUST_CHECK tmpfs_charge(struct super_block *sb, uint64_t pages);
void tmpfs_uncharge(struct super_block *sb, uint64_t pages);
/* What may still be charged; without a limit, what the machine has. */
uint64_t tmpfs_pages_left(struct super_block *sb);
/* More or fewer than charged, limit or no limit. */
void tmpfs_recount(struct super_block *sb, int64_t pages);

/* tmpfs_directory.c */
void tmpfs_directory_release(struct tmpfs_directory *directory);
extern const struct inode_ops tmpfs_directory_inode_ops;
extern const struct file_ops tmpfs_directory_file_ops;

/* tmpfs_data.c */
extern const struct file_ops tmpfs_file_ops;
void tmpfs_data_init(struct tmpfs_data *data);
void tmpfs_data_release(struct super_block *sb, struct tmpfs_data *data);
int MUST_CHECK tmpfs_data_truncate(struct inode *inode, int64_t size);
void tmpfs_data_getattr(struct inode *inode, struct kstat *stat);
/* For a donation; -EAGAIN: not while descriptors are scarce. */
int MUST_CHECK tmpfs_data_memfd_locked(struct inode *inode);

/* tmpfs_direct.c */
int tmpfs_donate(struct file *file, uint32_t *rights);
/* Takes over the times of what guests did by themselves; node->lock held, as below. `stat`: of the
 * memfd. */
void tmpfs_direct_times_locked(struct tmpfs_node *node);
void tmpfs_direct_apply_locked(struct tmpfs_node *node, const struct stat *stat);
/* The present for a change that the kernel makes: not before any that a guest has made. */
struct timespec tmpfs_direct_now_locked(const struct tmpfs_node *node);
/* Other times are about to be set: what has been done by now does not count against them. */
void tmpfs_direct_forget_locked(struct tmpfs_node *node);
/* mount(8) relatime: once after each change, else once a day. node->lock held. */
bool tmpfs_atime_is_due(const struct tmpfs_node *node, struct timespec now);
/* A read through it changes no time. */
bool tmpfs_keeps_atime(const struct file *file);

/* tmpfs_seals.c */
/* 0, or -EPERM: the file may not become smaller (inode->lock held), its execute bits may not change
 * (a regular file's node->lock held). */
int MUST_CHECK tmpfs_seals_allow_size_locked(const struct tmpfs_data *data, int64_t from,
                                             int64_t to);
int MUST_CHECK tmpfs_seals_allow_mode_locked(const struct tmpfs_node *node, mode_t mode);

/* tmpfs.c, tmpfs_xattr.c: ops that all types share */
int tmpfs_getattr(struct inode *inode, struct kstat *stat);
int tmpfs_setattr(struct inode *inode, const struct iattr *attr);
void tmpfs_release_inode(struct inode *inode);
void tmpfs_touch(struct tmpfs_node *node, unsigned what); /* ATTR_MTIME: mtime and ctime */
ssize_t tmpfs_getxattr(struct inode *inode, const char *name, void *value, size_t size);
int tmpfs_setxattr(struct inode *inode, const char *name, const void *value, size_t size,
                   int flags);
ssize_t tmpfs_listxattr(struct inode *inode, char *list, size_t size);
int tmpfs_removexattr(struct inode *inode, const char *name);
void tmpfs_xattrs_release(struct tmpfs_node *node);
#define TMPFS_TOUCH_CTIME 1u
#define TMPFS_TOUCH_MTIME 2u

#endif
