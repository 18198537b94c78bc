/* What the files of overlayfs share. overlayfs.c tells about the whole. */
#ifndef STARLING_OVERLAYFS_INTERNAL_H
#define STARLING_OVERLAYFS_INTERNAL_H

#include "fs/file.h"

#define OVERLAY_WORK_NAME 24

struct overlay_node {
    struct inode *inode;         /* weak: the inode whose private this is; immutable */
    struct inode *lower;         /* owned; immutable; NULL: made in the upper file system */
    struct inode *_Atomic upper; /* owned; set once, under inode->lock; NULL: not copied up */
    /* guarded by sb->lock */
    struct overlay_node *lower_next, *upper_next; /* in the tables */
    struct list_head pin_link;                    /* on the super block's list when pinned */
    bool pinned;         /* has a reference to its own inode: what it knows stands nowhere else */
    int link_change;     /* names given less names taken, against the lower's link count */
    uint32_t base_nlink; /* the lower's link count when it was copied up */
    /* guarded by inode->lock */
    char work_name[OVERLAY_WORK_NAME]; /* where upper is in the work directory; "": elsewhere */
    struct overlay_listing *listing;   /* directories: the merged entries, while they are good */
};

struct overlay_super {
    struct super_block *lower_sb, *upper_sb; /* owned; immutable */
    struct inode *work;                      /* owned; immutable: a directory of upper_sb */
    struct inode *whiteout;                  /* owned; immutable: every whiteout is a link to it */
    struct credentials *creds;               /* owned; immutable: the kernel's own */
    struct inode *root;                      /* weak: to know when everything is over */
    _Atomic uint64_t next_work;
    /* guarded by sb->lock */
    struct overlay_node **by_lower, **by_upper;
    size_t bucket_count, lower_count, upper_count;
    struct list_head pinned;
};

/* The entries of a merged directory, in the order in which they are told. */
struct overlay_entry {
    ino_t ino;
    uint32_t name; /* offset in names */
    uint8_t type;
};
struct overlay_listing {
    struct ref ref;
    struct overlay_entry *entries;
    size_t count, capacity;
    char *names;
    size_t names_size, names_capacity;
};

static inline struct overlay_node *overlay_node(const struct inode *inode) {
    return inode->private;
}
static inline struct overlay_super *overlay_super(const struct super_block *sb) {
    return sb->private;
}
/* Both borrowed from the node, which lives as long as its inode. */
static inline struct inode *overlay_upper(const struct inode *inode) {
    return atomic_load_explicit(&overlay_node(inode)->upper, memory_order_acquire);
}
static inline struct inode *overlay_real(const struct inode *inode) {
    struct inode *upper = overlay_upper(inode);

    return upper ? upper : overlay_node(inode)->lower;
}
static inline bool overlay_is_whiteout(const struct super_block *sb, const struct inode *upper) {
    return upper == overlay_super(sb)->whiteout;
}

/* overlayfs_inode.c */

/* The inode for this pair (either may be NULL, not both); takes its own references. ERR_PTR. */
struct inode *overlay_inode_get(struct super_block *sb, struct inode *lower, struct inode *upper);
/* The number that stat(2) shows for the file behind an inode of the upper file system. */
ino_t overlay_shown_ino(struct super_block *sb, const struct inode *upper);
/* The copy of `inode` is ready: makes it the real one. The caller holds inode->lock. */
void overlay_set_upper(struct inode *inode, struct inode *upper, uint32_t base_nlink);
/* It got a name (+1) or lost one (-1); without a name it is forgotten. No sb->lock held. */
void overlay_count_link(struct inode *inode, int change);
/* A directory was removed. */
void overlay_forget(struct inode *inode);
int overlay_getattr(struct inode *inode, struct kstat *stat);
/* What the overlay shows instead of the attributes of the real inode: the lower, or `upper`. */
void overlay_show(struct inode *inode, const struct inode *upper, struct kstat *stat);
void overlay_inode_release(struct inode *inode);

/* overlayfs_copy_up.c */

/* Makes sure that there is an upper inode; no more than `size` bytes of a regular file are copied.
 * _locked: the caller holds inode->lock. */
int MUST_CHECK overlay_copy_up(struct inode *inode, int64_t size);
int MUST_CHECK overlay_copy_up_locked(struct inode *inode, int64_t size);
void overlay_work_name(struct super_block *sb, char name[OVERLAY_WORK_NAME]);
/* A file over an inode of the lower or the upper file system. */
int MUST_CHECK overlay_open_real(struct inode *real, int flags, const struct credentials *creds,
                                 struct file **file);
/* The same over the lower inode, by the name that the walk came by where it gave one. */
int MUST_CHECK overlay_open_lower(struct inode *inode, int flags, const struct credentials *creds,
                                  const struct open_name *opening, struct file **file);

/* overlayfs_lookup.c */
int overlay_lookup(struct inode *dir, const char *name, struct inode **child);
int overlay_lookup_stat(struct inode *dir, const char *name, struct inode **child,
                        struct kstat *stat);
bool overlay_revalidate(struct inode *dir, const char *name, struct inode *child);
bool overlay_confirm(struct inode *dir, const char *path, struct inode *child, struct kstat *stat);
int overlay_peek(struct inode *dir, const char *path, struct kstat *stat, ino_t *ino);
/* Would the name be seen if the upper file system had nothing to say about it? 1, 0, -errno. */
int overlay_lower_has(struct inode *dir, const char *name);
/* The upper entry, whiteouts too; owned; NULL and 0 when there is none. */
int MUST_CHECK overlay_upper_lookup(struct inode *upper_dir, const char *name,
                                    struct inode **found);

/* overlayfs_names.c */
int overlay_create(struct inode *dir, const char *name, mode_t mode,
                   const struct credentials *creds, struct inode **child);
int overlay_mkdir(struct inode *dir, const char *name, mode_t mode, const struct credentials *creds,
                  struct inode **child);
int overlay_mknod(struct inode *dir, const char *name, mode_t mode, dev_t dev,
                  const struct credentials *creds, struct inode **child);
int overlay_symlink(struct inode *dir, const char *name, const char *target,
                    const struct credentials *creds, struct inode **child);
int overlay_link(struct inode *dir, const char *name, struct inode *target);
int overlay_unlink(struct inode *dir, const char *name, struct inode *child);
int overlay_rmdir(struct inode *dir, const char *name, struct inode *child);
int overlay_rename(struct inode *from_dir, const char *from, struct inode *child,
                   struct inode *to_dir, const char *to, struct inode *replaced, unsigned flags);
int overlay_tmpfile(struct inode *dir, mode_t mode, const struct credentials *creds,
                    struct inode **child);

/* overlayfs_readdir.c */

/* The merged entries without dots; owned; ERR_PTR. The caller holds dir->lock. */
struct overlay_listing *overlay_listing_get_locked(struct inode *dir);
void overlay_listing_put(struct overlay_listing *listing);
DEFINE_CLEANUP(struct overlay_listing *, overlay_listing_put)
/* A name of the directory changed. The caller holds dir->lock. */
void overlay_listing_drop_locked(struct inode *dir);
/* Calls fn for every name but the dots of a real directory; a negative result ends it. */
int MUST_CHECK overlay_each_name(struct inode *real,
                                 int (*fn)(void *arg, const char *name, ino_t ino,
                                           unsigned char type),
                                 void *arg);
int overlay_open_directory(struct inode *inode, struct file *file);
extern const struct file_ops overlay_directory_file_ops;

/* overlayfs_file.c */
int overlay_open(struct inode *inode, struct file *file);
extern const struct file_ops overlay_file_ops;

#endif
