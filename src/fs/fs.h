/*
 * fs: the virtual file system. fd_table -> file (open file description) -> dentry/inode with ops
 * tables -> file systems. Names and shapes are Linux's (Documentation/filesystems/vfs.rst); objects
 * see kernel buffers, never guest pointers.
 *
 * Ownership. A file holds its path (mount + dentry); a dentry holds its parent and its inode; an
 * inode holds its super_block. The dentry table is weak: it finds a dentry that somebody holds
 * (plus a bounded list of recent ones that the cache keeps). So two walks to one name meet in one
 * dentry, and a rename is seen by every holder (getcwd, /proc/PID/fd).
 */
#ifndef STARLING_FS_H
#define STARLING_FS_H

#include <fcntl.h>
#include <limits.h>
#include <stdio.h> /* RENAME_* */
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include "auth/auth.h"
#include "base/base.h"
#include "host/host.h"
#include "mm/mm.h"
#include "uapi/uapi.h"

struct dentry;
struct file;
struct file_lock_context;
struct inode;
struct mount;
struct path;
struct mount_namespace;
struct super_block;

/* ---- attributes ---- */

struct kstat {
    dev_t dev;
    ino_t ino;
    mode_t mode;
    uint32_t nlink;
    uid_t uid;
    gid_t gid;
    dev_t rdev;
    int64_t size, blocks; /* blocks of 512 bytes */
    uint32_t blksize;
    struct timespec atime, mtime, ctime, btime;
    bool has_btime;
};

#define ATTR_MODE      (1u << 0)
#define ATTR_UID       (1u << 1)
#define ATTR_GID       (1u << 2)
#define ATTR_SIZE      (1u << 3)
#define ATTR_ATIME     (1u << 4) /* to iattr.atime; with _NOW to the present */
#define ATTR_MTIME     (1u << 5)
#define ATTR_ATIME_NOW (1u << 6)
#define ATTR_MTIME_NOW (1u << 7)
struct iattr {
    unsigned valid;
    mode_t mode; /* permission bits with suid, sgid, sticky */
    uid_t uid;
    gid_t gid;
    int64_t size;
    struct timespec atime, mtime;
};

/* ---- inode ---- */

struct inode {
    struct ref ref;
    struct super_block *sb; /* owned */
    ino_t ino;
    mode_t type; /* S_IFMT bits; immutable */
    dev_t rdev;  /* devices; immutable */
    /* Where ops has no getattr: who made it, and what chmod(2) and chown(2) made of that. */
    _Atomic uid_t uid;
    _Atomic gid_t gid;
    _Atomic mode_t mode; /* without the type */
    const struct inode_ops *ops;
    const struct file_ops *file_ops; /* of files opened on it, unless ops->open replaces them */
    void *private;                   /* the file system's */
    struct lock lock;                /* class INODE: see lock_order.def */
    bool dead;                       /* guarded by lock: a removed directory, nothing enters it */
    struct list_head watches;        /* inotify's; guarded by its own lock, see fs_event() */
    _Atomic bool no_link;            /* O_TMPFILE with O_EXCL: it will never have a name */
    _Atomic bool settled;            /* its names are the guest's alone: never asked to confirm */
    _Atomic bool many_names;         /* was seen under several: each walk asks for it by itself */
    _Atomic unsigned watch_count;    /* entries of watches: 0 makes fs_event() cost nothing */
    _Atomic unsigned donated_count;  /* files on it that are donated: see donation_revoke_inode() */
    _Atomic unsigned donation_epoch; /* a donation that was prepared in an earlier one is void */
    _Atomic bool not_donated;        /* for good: see donation_forbid() */
    _Atomic bool lost_name;          /* a name of it was removed, or it never had one */
    _Atomic unsigned shown;          /* descriptors of it that stubs are shown: fd_page.c */
    _Atomic int write_count;         /* > 0: open for writing so often; < 0: being executed */
    struct file_lock_context *_Atomic locks; /* record locks and flock, made on first use; owned */
    void *_Atomic
        endpoint; /* FIFO's pipe or bound socket, made on first use; see endpoint_release */
    void (*endpoint_release)(void *endpoint);
};

/*
 * Every op returns 0/positive or -errno. `dir` and children: `name` is one component, never "", "."
 * or "..", at most NAME_MAX bytes. The VFS has checked permissions, type and read-only mounts
 * before it calls, and holds dir->lock over lookup and every change of a directory (both, parent
 * first, for rename). It also holds child->lock over rmdir, and replaced->lock when rename replaces
 * a directory (so the op can tell whether it is empty). No lock is held over the others (readlink,
 * follow, getattr, setattr, permission, open, xattrs, revalidate, release): they take what they
 * need. Link counts and times are the file system's business, and so is clearing suid and sgid
 * when data is written.
 */
struct inode_ops {
    /* lookup is called without dir->lock: for procfs and the like, whose locks rank before INODE.
     */
    bool lookup_unlocked;
    /* A failed or successful lookup may not be remembered as "absent" (no negative dentries). */
    bool no_negative;
    /* The child, with one reference; -ENOENT. */
    int (*lookup)(struct inode *dir, const char *name, struct inode **child);
    /* Optional: the same with the child's attributes, where finding it tells them. */
    int (*lookup_stat)(struct inode *dir, const char *name, struct inode **child,
                       struct kstat *stat);
    int (*create)(struct inode *dir, const char *name, mode_t mode, const struct credentials *creds,
                  struct inode **child); /* regular file */
    int (*mkdir)(struct inode *dir, const char *name, mode_t mode, const struct credentials *creds,
                 struct inode **child);
    int (*mknod)(struct inode *dir, const char *name, mode_t mode, dev_t dev,
                 const struct credentials *creds, struct inode **child);
    int (*symlink)(struct inode *dir, const char *name, const char *target,
                   const struct credentials *creds, struct inode **child);
    int (*link)(struct inode *dir, const char *name, struct inode *target);
    int (*unlink)(struct inode *dir, const char *name, struct inode *child);
    int (*rmdir)(struct inode *dir, const char *name, struct inode *child);
    /* flags: RENAME_NOREPLACE (already checked), RENAME_EXCHANGE. `replaced` may be NULL. */
    int (*rename)(struct inode *from_dir, const char *from, struct inode *child,
                  struct inode *to_dir, const char *to, struct inode *replaced, unsigned flags);
    /* An unnamed file for O_TMPFILE; linked later by link(). */
    int (*tmpfile)(struct inode *dir, mode_t mode, const struct credentials *creds,
                   struct inode **child);
    /* At most size bytes, not terminated: the length. */
    ssize_t (*readlink)(struct inode *inode, char *buffer, size_t size);
    /* Magic links (/proc/PID/fd/N, exe, cwd, root): jumps there instead of reading a text. */
    int (*follow)(struct inode *inode, struct path *target);
    int (*getattr)(struct inode *inode, struct kstat *stat);
    int (*setattr)(struct inode *inode, const struct iattr *attr);
    /* NULL: generic_permission(). mask: MAY_READ|MAY_WRITE|MAY_EXEC. */
    int (*permission)(struct inode *inode, int mask, const struct credentials *creds);
    /* Fills file->private, may replace file->ops. NULL: nothing to do. */
    int (*open)(struct inode *inode, struct file *file);
    /* open takes file->opening, which spares the walk its confirmation. */
    bool opens_by_name;
    ssize_t (*getxattr)(struct inode *inode, const char *name, void *value, size_t size);
    int (*setxattr)(struct inode *inode, const char *name, const void *value, size_t size,
                    int flags);
    ssize_t (*listxattr)(struct inode *inode, char *list, size_t size);
    int (*removexattr)(struct inode *inode, const char *name);
    /* NULL: a cached dentry stays valid. Otherwise: does `name` in dir still mean child (NULL:
     * still absent)? */
    bool (*revalidate)(struct inode *dir, const char *name, struct inode *child);
    /*
     * Optional, beside revalidate: the same for a `path` of one or more names below dir, joined by
     * slashes, whose inner ones were directories when the walk passed them. So a walk asks once, at
     * its end. *stat: the child's attributes at this moment.
     */
    bool (*confirm)(struct inode *dir, const char *path, struct inode *child, struct kstat *stat);
    /*
     * Beside confirm: what `path` leads to, as for confirm, when nobody knows it and it is neither
     * a directory nor a symlink, without making an inode: *stat as getattr would tell it, *ino as
     * inode->ino would be. 0, -ENOENT, or PEEK_UNKNOWN: it is to be looked up.
     */
    int (*peek)(struct inode *dir, const char *path, struct kstat *stat, ino_t *ino);
    /* The last reference is gone: free private. */
    void (*release)(struct inode *inode);
};

#define PEEK_UNKNOWN 1

#define MAY_EXEC  1
#define MAY_WRITE 2
#define MAY_READ  4

/* A new inode with one reference (ERR_PTR). */
struct inode *inode_new(struct super_block *sb, ino_t ino, mode_t type, const struct inode_ops *ops,
                        const struct file_ops *file_ops, void *private);
struct inode *inode_get(struct inode *inode);
void inode_put(struct inode *inode);
DEFINE_CLEANUP(struct inode *, inode_put)
int MUST_CHECK inode_getattr(struct inode *inode, struct kstat *stat);
/* notify_change: permission rules of chmod(2), chown(2), truncate(2), utimensat(2), suid/sgid
 * clearing, then setattr. */
int MUST_CHECK dentry_setattr(struct dentry *dentry, struct iattr *attr,
                              const struct credentials *creds);
int MUST_CHECK inode_permission(struct inode *inode, int mask, const struct credentials *creds);
int MUST_CHECK generic_permission(const struct kstat *stat, int mask,
                                  const struct credentials *creds);
/* Owner and mode of a new child of the directory `dir`: fsuid, fsgid or a set-group-ID directory's
 * group, whose S_ISGID a new directory inherits (inode(7)). `mode` carries the type bits. */
void inode_init_owner(const struct kstat *dir, const struct credentials *creds, mode_t *mode,
                      uid_t *uid, gid_t *gid);
/* Does the caller own it, or have CAP_FOWNER? */
bool inode_owner_or_capable(const struct kstat *stat, const struct credentials *creds);
/* execve(2) ETXTBSY: forbid writers while a program runs. 0, -ETXTBSY when it is open for writing.
 */
int MUST_CHECK inode_deny_write(struct inode *inode);
void inode_allow_write(struct inode *inode);
/* Now, with CLOCK_REALTIME, for times of inodes. */
struct timespec inode_now(void);

/* ---- super blocks and file system types ---- */

struct super_block {
    struct ref ref;
    const struct file_system_type *type;
    dev_t
        dev; /* what stat(2) shows: anonymous device number unless the file system reports others */
    struct inode *root;         /* owned until the last mount goes; set before the first */
    struct dentry *root_dentry; /* likewise; made on first use */
    struct lock lock;           /* class SUPER_BLOCK: the file system's own state */
    struct lock rename_lock;    /* class RENAME: over renames that change a parent */
    struct lock dentry_lock;    /* class DENTRY: names, parents and unlinked of its dentries */
    _Atomic int mounts;         /* when the last mount goes, root is dropped */
    _Atomic ino_t next_ino;     /* super_block_next_ino() */
    bool read_only;             /* immutable: the file system itself can not be written */
    void *private;
};
struct file_system_type {
    const char *name; /* as in /proc/filesystems */
    bool nodev;
    bool names_pass; /* most names go by themselves (/proc/PID): what nobody holds is not kept */
    uint32_t magic;  /* statfs(2) f_type */
    /* mount(2): `data` is the option string. ERR_PTR. NULL op: only the kernel itself makes one. */
    struct super_block *(*mount)(const char *source, const char *data,
                                 const struct credentials *creds);
    int (*statfs)(struct super_block *sb, struct statfs *stat);
    void (*release)(struct super_block *sb);
};
struct super_block *super_block_new(const struct file_system_type *type, void *private);
struct super_block *super_block_get(struct super_block *sb);
void super_block_put(struct super_block *sb);
DEFINE_CLEANUP(struct super_block *, super_block_put)
/* Drops ->root and what the dentry table keeps: done when the last mount goes; by whoever made a
 * super block that was never mounted. The caller's reference stays. */
void super_block_kill(struct super_block *sb);
ino_t super_block_next_ino(struct super_block *sb);
/* The types that mount(2) and /proc/filesystems know. Registered at start by whoever knows the type
 * (tmpfs by the VFS itself, procfs and the like from higher folders); never taken out again. Twice
 * is harmless. -ENOSPC. */
int MUST_CHECK file_system_register(const struct file_system_type *type);
const struct file_system_type *file_system_find(const char *name);   /* NULL: unknown */
const struct file_system_type *file_system_by_index(unsigned index); /* NULL: behind the last */

/*
 * What opening a device node or a FIFO means. type: S_IFCHR, S_IFBLK, or S_IFIFO (numbers are
 * ignored then; files/ registers its fifo_file_ops so). `open` (may be NULL) runs with no lock held
 * after the file was made with `ops`; it may replace file->ops and file->private, may sleep
 * (FIFOs), and its error is open(2)'s. A node without a registered device gives ENXIO.
 */
struct device {
    mode_t type;
    unsigned major, minor, count; /* minors minor .. minor+count-1 */
    const char *name;             /* static, as in /proc/devices */
    const struct file_ops *ops;
    int (*open)(struct inode *inode, struct file *file);
};
int MUST_CHECK device_register(const struct device *device); /* copied; -ENOSPC */
bool device_find(mode_t type, dev_t rdev, struct device *device);

/* ---- dentries, mounts, paths ---- */

struct dentry {
    struct ref ref;
    struct super_block *sb; /* owned */
    struct inode *inode;    /* owned; never NULL for a dentry somebody can hold */
    struct dentry *parent;  /* owned; itself for a root; guarded by sb's dentry lock (read by
                               dentry_* functions) */
    char *name;             /* guarded likewise */
    bool unlinked;          /* guarded likewise: no longer reachable by its name */
    _Atomic int mounted;    /* mounts on it, in any namespace */
    /* private to dentry.c */
    struct dentry *hash_next, **hash_prev; /* guarded by its bucket's lock; hash_prev NULL: not in
                                              the table */
    struct list_head lru_link;             /* guarded by the list's lock */
    uint64_t hash;                         /* of (parent, name); guarded by the dentry lock */
    bool cached;         /* guarded by the list's lock: the list holds a reference */
    _Atomic bool recent; /* used since the list last looked at it */
};
struct dentry *dentry_get(struct dentry *dentry);
void dentry_put(struct dentry *dentry);
DEFINE_CLEANUP(struct dentry *, dentry_put)
/* A dentry that has no place in a tree (pipe:[1], socket:[2], memfd:x): name as /proc/PID/fd shows
 * it. */
struct dentry *dentry_new_anonymous(struct inode *inode, const char *name);
/* Its parent (itself for a root), owned; the name and whether it is unlinked, copied. */
struct dentry *dentry_parent(struct dentry *dentry);
bool dentry_name(struct dentry *dentry, char name[NAME_MAX + 1]);
/* The file system found that the name means something else now: forget it. */
void dentry_invalidate(struct dentry *dentry);
/* How many dentries that nobody else holds the table keeps (default 8192). */
void dentry_set_limit(size_t limit);

bool dentry_unlinked(struct dentry *dentry);

struct path {
    struct mount *mount;   /* owned; NULL for anonymous files */
    struct dentry *dentry; /* owned */
};
void path_get(struct path *path);
void path_put(struct path *path);
static inline void path_put_cleanup(struct path *path) {
    if (path->dentry) {
        path_put(path);
    }
}
bool path_equal(const struct path *a, const struct path *b);
/* The name seen from `root`, as getcwd(2) and /proc show it: length with NUL, " (deleted)" appended
 * when unlinked, "(unreachable)" before it. */
ssize_t MUST_CHECK path_name(const struct path *path, const struct path *root, char *buffer,
                             size_t size);

struct mount {
    struct ref ref;
    struct super_block *sb; /* owned */
    struct dentry *root;    /* owned */
    int id;
    _Atomic unsigned long flags; /* MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC ... */
    char *source;                /* immutable */
    /* private to mount.c, guarded by the mount tree's lock */
    struct mount *parent;
    struct dentry *mountpoint;
    struct list_head link, children, child_link;
    struct mount_namespace *ns;
};
struct mount_namespace *mount_namespace_new(struct super_block *root, const char *source,
                                            unsigned long flags);
struct mount_namespace *mount_namespace_get(struct mount_namespace *ns);
void mount_namespace_put(struct mount_namespace *ns);
void mount_namespace_root(struct mount_namespace *ns, struct path *root); /* owned result */
struct mount *mount_get(struct mount *mount);
void mount_put(struct mount *mount);
/* Mounts sb on `at`. 0 or -errno. */
int MUST_CHECK mount_attach(struct mount_namespace *ns, struct super_block *sb, struct dentry *root,
                            const struct path *at, const char *source, unsigned long flags);
/* MS_BIND (with MS_REC): a second view of `from`. */
int MUST_CHECK mount_bind(struct mount_namespace *ns, const struct path *from,
                          const struct path *at, bool recursive);
/* MS_MOVE */
int MUST_CHECK mount_move(struct mount_namespace *ns, const struct path *from,
                          const struct path *at);
/* umount2(2): `at` is the root of a mount, else -EINVAL; -EBUSY while in use, unless MNT_DETACH. */
int MUST_CHECK mount_detach(struct mount_namespace *ns, const struct path *at, int flags);
int MUST_CHECK mount_remount(struct mount_namespace *ns, const struct path *at,
                             unsigned long flags);
/* pivot_root(2) for the whole namespace; fs_contexts that were at the old root are the caller's. */
int MUST_CHECK mount_pivot_root(struct mount_namespace *ns, const struct path *new_root,
                                const struct path *put_old);
/* unshare(CLONE_NEWNS): a copy of the tree. ERR_PTR. */
struct mount_namespace *mount_namespace_copy(struct mount_namespace *ns);
/* Each mount in order, for /proc/PID/mounts and mountinfo. */
int mount_namespace_walk(struct mount_namespace *ns,
                         int (*fn)(const struct mount *mount, int parent_id, void *arg), void *arg);

/* ---- fs_context: the reference's FileSystem ---- */

struct fs_context {
    struct ref ref;
    struct lock lock;                  /* class FS_CONTEXT */
    struct mount_namespace *namespace; /* owned; immutable */
    struct path root, cwd;             /* guarded by lock */
    mode_t umask;                      /* guarded by lock */
};
struct fs_context *
fs_context_new(struct mount_namespace *ns); /* root and cwd at the namespace's root, umask 022 */
struct fs_context *fs_context_fork(struct fs_context *fs);
struct fs_context *fs_context_get(struct fs_context *fs);
void fs_context_put(struct fs_context *fs);
DEFINE_CLEANUP(struct fs_context *, fs_context_put)
void fs_context_root(struct fs_context *fs, struct path *root); /* owned result */
void fs_context_cwd(struct fs_context *fs, struct path *cwd);
void fs_context_set_root(struct fs_context *fs, const struct path *root);
void fs_context_set_cwd(struct fs_context *fs, const struct path *cwd);
/* unshare(CLONE_NEWNS), clone(CLONE_NEWNS): a copy of the mount tree for this fs_context, which
 * nobody else may use at the time. */
int MUST_CHECK fs_context_unshare_mounts(struct fs_context *fs);
mode_t fs_context_umask(struct fs_context *fs);
mode_t fs_context_set_umask(struct fs_context *fs, mode_t umask);
/* An fs_context over an empty tmpfs, for tests: the reference's create_test_file_system(). */
struct fs_context *fs_context_new_test(void);

/* ---- path walk (path_resolution(7)) ---- */

#define LOOKUP_FOLLOW      (1u << 0) /* follow a final symlink */
#define LOOKUP_DIRECTORY   (1u << 1) /* the result must be a directory */
#define LOOKUP_EMPTY       (1u << 2) /* AT_EMPTY_PATH */
#define LOOKUP_NO_SYMLINKS (1u << 3) /* openat2 RESOLVE_* from here */
#define LOOKUP_NO_MAGIC    (1u << 4)
#define LOOKUP_NO_XDEV     (1u << 5)
#define LOOKUP_BENEATH     (1u << 6)
#define LOOKUP_IN_ROOT     (1u << 7)
#define LOOKUP_REVAL       (1u << 8) /* each step is confirmed by itself: after -ESTALE */

/* Who walks. `start` is where a relative name begins (the directory of an *at call); NULL: the cwd.
 */
struct walk {
    struct fs_context *fs;
    const struct credentials *creds;
    const struct path *start;
};
/* 0 with an owned path, or -errno. */
int MUST_CHECK path_lookup(const struct walk *walk, const char *name, unsigned flags,
                           struct path *path);
/* Its attributes, at the price of the walk where that learns them anyhow; *place (or NULL): where
 * it is. */
struct stat_place {
    int mount_id;
    bool mount_root;
};
int MUST_CHECK path_stat(const struct walk *walk, const char *name, unsigned flags,
                         struct kstat *stat, struct stat_place *place);
/* The directory and the last component, for calls that make or remove names. `last` holds
 * NAME_MAX+1 bytes; `trailing_slash` tells whether the name had one. A last component of "", "." or
 * ".." gives last_special. */
enum last_type { LAST_NORMAL, LAST_DOT, LAST_DOTDOT, LAST_ROOT };
int MUST_CHECK path_lookup_parent(const struct walk *walk, const char *name, unsigned flags,
                                  struct path *parent, char last[NAME_MAX + 1],
                                  enum last_type *type, bool *trailing_slash);

/* The calls by path, as the man pages of section 2 say; each does its own permission checks. */
int MUST_CHECK vfs_open(const struct walk *walk, const char *name, int flags, mode_t mode,
                        unsigned lookup_flags, struct file **file);
int MUST_CHECK vfs_mkdir(const struct walk *walk, const char *name, mode_t mode);
int MUST_CHECK vfs_mknod(const struct walk *walk, const char *name, mode_t mode, dev_t dev);
int MUST_CHECK vfs_symlink(const struct walk *walk, const char *target, const char *name);
int MUST_CHECK vfs_link(const struct walk *from_walk, const char *from, const struct walk *to_walk,
                        const char *to, int flags);
int MUST_CHECK vfs_unlink(const struct walk *walk, const char *name);
int MUST_CHECK vfs_rmdir(const struct walk *walk, const char *name);
int MUST_CHECK vfs_rename(const struct walk *from_walk, const char *from,
                          const struct walk *to_walk, const char *to, unsigned flags);
ssize_t MUST_CHECK vfs_readlink(const struct path *path, char *buffer, size_t size);
/* bind(2) of a Unix socket: makes the S_IFSOCK inode (-EEXIST) and gives its path. */
int MUST_CHECK vfs_bind_socket(const struct walk *walk, const char *name, mode_t mode,
                               struct path *path);
/* For execve(2): a regular file, executable for the walker, on a mount without noexec; opened for
 * reading with FMODE_EXEC. lookup_flags: LOOKUP_FOLLOW, LOOKUP_EMPTY. */
int MUST_CHECK vfs_open_exec(const struct walk *walk, const char *name, unsigned lookup_flags,
                             struct file **file);
/* truncate(2), ftruncate(2); RLIMIT_FSIZE is the handler's. */
int MUST_CHECK vfs_truncate(const struct path *path, const struct credentials *creds, int64_t size);
int MUST_CHECK file_truncate(struct file *file, int64_t size);
int MUST_CHECK path_setattr(const struct path *path, struct iattr *attr,
                            const struct credentials *creds);
int MUST_CHECK path_statfs(const struct path *path, struct statfs *stat);
/* xattr(7): the rules of the name spaces, then the file system's. `size` 0 asks for the size. */
ssize_t MUST_CHECK path_getxattr(const struct path *path, const char *name, void *value,
                                 size_t size, const struct credentials *creds);
int MUST_CHECK path_setxattr(const struct path *path, const char *name, const void *value,
                             size_t size, int flags, const struct credentials *creds);
ssize_t MUST_CHECK path_listxattr(const struct path *path, char *list, size_t size,
                                  const struct credentials *creds);
int MUST_CHECK path_removexattr(const struct path *path, const char *name,
                                const struct credentials *creds);
/* statx/stat of a path. */
int MUST_CHECK path_getattr(const struct path *path, struct kstat *stat);
/* -EROFS when the mount or the file system is read-only. */
int MUST_CHECK path_want_write(const struct path *path);

/* ---- events for inotify(7) ---- */

/* Set once at start by files/inotify.c. `mask`: IN_*; `name` NULL: the inode itself. Called with no
 * FILE_POS or INODE lock needed; may hold any lock up to INODE. */
typedef void fs_event_fn(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name);
void fs_event_set_hook(fs_event_fn *hook);
/* Cheap when nobody watches. */
void fs_event(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name);
/* To the inode of the dentry and, with its name, to its parent. */
void fs_event_dentry(struct dentry *dentry, uint32_t mask);

/* ---- the file systems ---- */

extern const struct file_system_type tmpfs_type, hostfs_type, overlayfs_type;
struct super_block *tmpfs_new(uint64_t size_limit,
                              mode_t root_mode); /* ERR_PTR; size 0: no limit */
/* A file without a name, open for both ways: memfd_create(2). `seals`: F_SEAL_*. */
int MUST_CHECK tmpfs_file_new(const char *name, mode_t mode, unsigned seals, struct file **file);
/* fcntl(2) F_ADD_SEALS, F_GET_SEALS: the seals, 0 or -EPERM, -EINVAL (no file of a tmpfs), -EBUSY.
 */
int MUST_CHECK tmpfs_seals(struct file *file, int command, unsigned seals);
/* A host directory; takes over the O_PATH descriptor. */
#define HOSTFS_READ_ONLY   (1u << 0)
#define HOSTFS_EXCLUSIVE   (1u << 1) /* nobody else changes it while we run */
#define HOSTFS_NO_SYMLINKS (1u << 2) /* the host follows no symlink in it: host_tree_open() */
struct super_block *hostfs_new(int dirfd, unsigned flags);
struct super_block *overlayfs_new(struct super_block *lower, struct super_block *upper);
/* A host descriptor that came from outside (stdin, stdout, stderr): takes over fd. Terminals become
 * files/tty's business. */
int MUST_CHECK host_descriptor_file_new(int fd, int flags, struct file **file);

#endif
