/* What the files of hostfs share. hostfs.c tells about the whole. */
#ifndef STARLING_HOSTFS_INTERNAL_H
#define STARLING_HOSTFS_INTERNAL_H

#include "fs/file.h"

/* A host descriptor that several may be using; the last one closes it. */
struct host_handle {
    struct ref ref;
    int fd;
    bool unseen; /* nobody can see when it is closed; set before the last reference goes */
};

struct hostfs_inode {
    struct inode *inode; /* weak: the inode whose private this is; immutable */
    dev_t dev;           /* on the host; immutable, like ino */
    ino_t ino;
    struct statx_timestamp btime; /* zero where the host has none; hosts use inode numbers again */
    /* guarded by sb->lock */
    struct hostfs_inode *hash_next;
    struct inode *parent; /* owned; where it was last seen; NULL: the root, or it has no name */
    char *name;
    struct host_handle *handle; /* O_PATH, or NULL while it is not cached */
    bool pinned;                /* the handle is the only way to it: never evicted */
    struct host_handle *fresh;  /* of the open that made the file, for its first open: the mode of a
                                   new file does not bind who makes it */
    struct list_head lru_link;  /* on the super block's list while the handle may be evicted */
    struct list_head open_files; /* struct hostfs_file */
    char *target;                /* symlinks: their text, once read; it never changes */
    /* immutable */
    bool stat_known; /* the tree is constant: stat never changes */
    struct kstat stat;
};

#define HOSTFS_DEVICES  256
#define HOSTFS_INO_BITS 52

struct hostfs_super {
    /* immutable */
    bool exclusive;
    bool no_symlinks; /* the host follows none in the tree: several names at once */
    /* guarded by sb->lock */
    struct hostfs_inode **buckets;
    size_t bucket_count, inode_count;
    struct list_head lru; /* least recently used first */
    size_t lru_count, lru_limit;
    dev_t devices[HOSTFS_DEVICES]; /* seen so far; the root's is first */
    size_t device_count;
};

struct hostfs_file {
    struct host_handle *handle; /* owned; immutable: opened with the guest's own rights */
    struct hostfs_inode *node;  /* of file->inode, or of the inode that an overlay shows */
    struct inode *inode;        /* owned */
    struct list_head link;      /* guarded by sb->lock */
    bool writable;              /* immutable */
    /* directories; guarded by the file's pos_lock */
    char *buffer;
    size_t start, end;
    int64_t next;  /* the position of buffer[start] */
    bool was_read; /* the descriptor is no longer at the start */
};

static inline struct hostfs_inode *hostfs_node(const struct inode *inode) {
    return inode->private;
}
static inline struct hostfs_super *hostfs_super(const struct super_block *sb) {
    return sb->private;
}

/* Exclusive and read-only: nothing in it changes, names and attributes stay what they are. */
static inline bool hostfs_is_constant(const struct super_block *sb) {
    return hostfs_super(sb)->exclusive && sb->read_only;
}

struct host_handle *host_handle_new(int fd); /* takes fd over, always; ERR_PTR */
struct host_handle *host_handle_get(struct host_handle *handle);
void host_handle_put(struct host_handle *handle);
static inline void host_handle_put_cleanup(struct host_handle **handle) {
    if (*handle && !IS_ERR(*handle)) {
        host_handle_put(*handle);
    }
}

/* A descriptor of the inode, O_PATH or better; owned. -ESTALE: its name means something else now.
 */
struct host_handle *hostfs_handle(struct inode *inode);
bool hostfs_has_handle(struct inode *inode); /* without a host call */
/* The same, and it stays for as long as the inode lives: before its last known name goes. */
int MUST_CHECK hostfs_pin(struct inode *inode);
/* The inode of that file, which was found as `name` in `parent`; owned; ERR_PTR. */
struct inode *hostfs_inode_find(struct super_block *sb, struct inode *parent, const char *name,
                                const struct statx *stat);
/* Is there an inode of that file? */
bool hostfs_is_known(struct super_block *sb, const struct statx *stat);
/* What inode->ino of that file is. */
ino_t hostfs_ino(struct super_block *sb, const struct kstat *stat);
/* After a rename: it has this name now. */
int MUST_CHECK hostfs_moved(struct inode *inode, struct inode *parent, const char *name);
/* Where it was last seen; false: nowhere. Both are owned by the caller. */
bool hostfs_location(struct inode *inode, struct inode **parent, char **name);
/* Closes cached descriptors because the host ran out of them. */
void hostfs_shrink(struct super_block *sb);
void hostfs_kstat(const struct statx *from, struct kstat *to);
bool hostfs_same(const struct hostfs_inode *node, const struct statx *stat);

void hostfs_inode_release(struct inode *inode);
int MUST_CHECK hostfs_open(struct inode *inode, struct file *file);
const struct inode_ops *hostfs_ops(mode_t type, const struct hostfs_super *super);
extern const struct file_ops hostfs_file_ops, hostfs_directory_file_ops;

#endif
