/*
 * What the files of the VFS core share and no one else sees: the dentry table, mount look-ups, and
 * the steps of a path walk that open and rename need one by one.
 */
#ifndef STARLING_VFS_INTERNAL_H
#define STARLING_VFS_INTERNAL_H

#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/mount.h>

#include "fs/file.h"

/* file->mode: counted in inode->write_count. */
#define FMODE_COUNTED (1u << 8)

/* ---- fd_table.c, donation*.c ---- */

struct fd_table {
    struct ref ref;      /* the last user closes all */
    struct ref memory;   /* all users together, and who looks at it without being one */
    struct lock lock;    /* class FD_TABLE */
    struct file **files; /* owned; guarded by lock, as all to first_free */
    uint64_t *used;      /* a bit for each slot */
    uint64_t *cloexec;
    int size;       /* slots; a multiple of 64 */
    int first_free; /* no free slot is below it */
    /* donation.c: guarded by the donation lock, and `given` by lock as well */
    struct donation **given; /* by descriptor; NULL: never any */
    int given_size;
    struct host_process *process; /* owned: whose tasks use this table; NULL: not known yet;
                                     written under lock as well */
    bool spread;                  /* several processes use it: nothing is donated; likewise */
    bool limited;                 /* regular files open for writing are not: donation_limit() */
    unsigned frozen;              /* a fork is under way: nothing is closed */
    struct list_head closing;     /* donations whose descriptor is closed, not so the host's */
    _Atomic unsigned closing_count;
    uint32_t generation; /* fd_page.c: of the last number that was given; guarded by lock */
    struct page_link {
        struct list_head link;
        struct fd_table *table; /* NULL: where somebody who looks at all of them is */
    } page;                     /* in the list of all tables that a process uses, or has used */
};

/* Takes out and closes what stubs have noted, and shows all descriptors (of this inode, or NULL)
 * as they are now, or none any more. No lock held. */
void fd_table_show_again(struct fd_table *table, const struct inode *inode);
void fd_table_hide(struct fd_table *table);

/* ---- fd_page.c; _locked: the caller holds table->lock ---- */

/* Shows the stub the descriptor, which is new or has changed. */
void fd_page_show_locked(struct fd_table *table, int fd, bool close_on_exec);
/* It means this file no more. True: the stub had closed it already. */
bool fd_page_hide_locked(struct fd_table *table, int fd, struct file *file);
/* May the stub close it? */
bool fd_page_closes_locked(const struct fd_table *table, int fd);
/* A process uses the table from now on; nobody does any more. */
void fd_page_join(struct fd_table *table);
void fd_page_leave(struct fd_table *table);
/* A name of the inode is gone. No lock held. */
void inode_lost_name(struct inode *inode);

/* Does somebody watch files by their path: donation_hold()? */
bool donation_is_held(void);
/* The descriptor is closed or means another file. The caller holds table->lock. */
void donation_closed_locked(struct fd_table *table, int fd);
/* The last reference is gone. */
void donation_file_end(struct file *file);

/* ---- dentry.c ---- */

/* The dentry of sb->root, the same for all its mounts. NULL: no memory. */
struct dentry *super_block_root(struct super_block *sb);
/* An O_TMPFILE file's: unlinked from the start, below `parent`. */
struct dentry *dentry_new_tmpfile(struct dentry *parent, struct inode *inode);
/*
 * The child of that name, from the table or from the file system; a stale entry is looked up anew.
 * 0 with an owned dentry, -ENOENT, or an error of lookup. dentry_lookup() takes the directory's
 * lock where the file system wants that; _locked: the caller holds it.
 */
int MUST_CHECK dentry_lookup(struct dentry *parent, const char *name, struct dentry **child);
/* dentry_lookup(); *known: the attributes came with it. */
int MUST_CHECK dentry_lookup_stat(struct dentry *parent, const char *name, struct dentry **child,
                                  struct kstat *stat, bool *known);
int MUST_CHECK dentry_lookup_locked(struct dentry *parent, const char *name, struct dentry **child);
/* What the table says, unconfirmed; owned; its inode is NULL for an "absent" entry. NULL: nothing.
 */
struct dentry *dentry_find(struct dentry *parent, const char *name);
/* A new child was made (create, link ...): its dentry. Replaces an "absent" entry. The caller holds
 * the directory's lock. */
struct dentry *dentry_add(struct dentry *parent, const char *name, struct inode *inode);
/* The name is gone. The caller holds the directory's lock. */
void dentry_unlink(struct dentry *dentry);
/* Renamed; names or parents change for everybody who holds it. The caller holds the locks of both
 * directories, and sb->rename_lock when they differ. 0 or -ENOMEM before anything changed: so call
 * dentry_move_prepare() first, then the file system, then dentry_move(). */
struct dentry_move {
    char *from_name, *to_name; /* copies */
};
int MUST_CHECK dentry_move_prepare(struct dentry_move *move, const char *from, const char *to);
void dentry_move_abort(struct dentry_move *move);
void dentry_move(struct dentry_move *move, struct dentry *dentry, struct dentry *to_parent,
                 struct dentry *replaced);
void dentry_exchange(struct dentry_move *move, struct dentry *a, struct dentry *b);
/* Is `dentry` below (or the same as) `ancestor`? */
bool dentry_is_below(struct dentry *dentry, struct dentry *ancestor);
/* Its parent, owned, when that is below (or the same as) `ancestor`; else NULL. */
struct dentry *dentry_parent_within(struct dentry *dentry, struct dentry *ancestor);
/* Forget what the table keeps of this file system (its last mount is gone). */
void dentry_forget_super_block(struct super_block *sb);

/* ---- mount.c ---- */

extern struct rwlock mounts_lock; /* class MOUNTS: every mount tree */
/* What is mounted there, borrowed, or NULL. mounts_lock held. */
struct mount *mount_child_locked(const struct mount *parent, const struct dentry *at);
/* After mount_namespace_copy(): moves the path to the copy's mount; false: there is none. */
bool mount_namespace_translate(struct mount_namespace *ns, struct path *path);

/* ---- path.c ---- */

/* While something is mounted on *path: goes there. 1 when it moved, else 0. */
int path_follow_mounts(struct path *path);
/* From the root of a mount to its mount point; false: it has none. */
bool path_climb_mount(struct path *path);
/* Is `path` below (or at) `root`, over mounts as well? */
bool path_is_below(const struct path *path, const struct path *root);

/* ---- namei.c ---- */

#define SYMLINKS_MAX 40 /* path_resolution(7): ELOOP beyond */

struct nameidata {
    struct path path; /* where we are; owned */
    struct path root; /* owned */
    const struct credentials *creds;
    unsigned flags;
    int link_count;
    int depth;
    const char *rest; /* of the innermost name */
    char last[NAME_MAX + 1];
    enum last_type last_type;
    bool trailing_slash;
    /*
     * What is still to be confirmed (namei_confirm.c): `names` lead from base to path.dentry, and
     * have been looked up in the dentry table alone since `confirmed` was last true.
     */
    struct dentry *base; /* owned; NULL: names is empty */
    size_t names_length;
    bool confirmed;
    bool stat_known; /* stat: of path.dentry, when it was confirmed */
    bool peeks;      /* of the last component the attributes are enough */
    bool peeked;     /* stat: of `last`, and path is still the directory */
    struct kstat stat;
    char names[PATH_MAX];
    struct {
        char *buffer;     /* the symlink's text whose rest is being walked; owned */
        const char *rest; /* what follows the symlink in the name that held it */
    } stack[SYMLINKS_MAX + 1];
};
/* Starts a walk: 0, or an error with nothing owned. */
int MUST_CHECK nameidata_init(struct nameidata *nd, const struct walk *walk, const char *name,
                              unsigned flags);
void nameidata_finish(struct nameidata *nd);
/* Nothing owned: what may be finished before it is started. */
static inline void nameidata_clear(struct nameidata *nd) {
    nd->path.dentry = nd->root.dentry = nd->base = NULL;
    nd->depth = 0;
}
static inline void nameidata_cleanup(struct nameidata *nd) {
    nameidata_finish(nd);
}
/* Walks to the directory of the last component: nd->path, nd->last ... */
int MUST_CHECK walk_parent(struct nameidata *nd);
/* From the start: nameidata_init(), walk_parent(), and the directory is confirmed. */
int MUST_CHECK walk_to_parent(struct nameidata *nd, const struct walk *walk, const char *name,
                              unsigned flags);
/* Goes to `child` of nd->path (borrowed), over mounts; a symlink that is to be followed is pushed
 * instead: 1, the caller calls walk_parent() again. 0: nd->path is the child. */
int MUST_CHECK walk_step(struct nameidata *nd, struct dentry *child, bool follow);
/* Pushes the text of `link`, which is in nd->path: 1; 0: a magic link, nd->path is its target. */
int MUST_CHECK walk_symlink(struct nameidata *nd, struct inode *link);
/* The last component after walk_parent(), without creating: like walk_step(). */
int MUST_CHECK walk_last(struct nameidata *nd, bool follow);

/* ---- namei_confirm.c ---- */

/* How often a walk is made again because somebody outside changes what it passes. */
#define STALE_TRIES 8

#define WALK_UNKNOWN 2
/* walk_last() by the dentry table where the file system can confirm many names at once: 0 (or
 * nd->peeked), 1, -errno, or WALK_UNKNOWN with nd->path confirmed: the file system is to be asked
 * for the name. */
int MUST_CHECK walk_quick(struct nameidata *nd, bool follow);
/* Is nd->path still what its name means? 0; -ESTALE: the walk is to be made again with
 * LOOKUP_REVAL. */
int MUST_CHECK walk_confirm(struct nameidata *nd);
/* Before "..": also of the directory that nd->path is in. */
int MUST_CHECK walk_confirm_parent(struct nameidata *nd);
/* nd->path was got at otherwise: names begin anew here. */
void walk_settle(struct nameidata *nd);
/* may_lookup() of nd->path, which is confirmed first where its attributes matter. */
int MUST_CHECK walk_may_lookup(struct nameidata *nd);

/* ---- permission.c ---- */

int MUST_CHECK may_lookup(struct dentry *dir, const struct credentials *creds);
/* Removing or replacing `victim` in `dir`: write permission, sticky directories, is it (not) a
 * directory, is it mounted on. */
int MUST_CHECK may_delete(struct dentry *dir, struct dentry *victim, bool is_dir,
                          const struct credentials *creds);
int MUST_CHECK may_create(struct dentry *dir, const struct credentials *creds);

/* ---- inode.c, file.c, file_io.c ---- */

int MUST_CHECK inode_get_write(struct inode *inode);
void inode_put_write(struct inode *inode);

/* ---- file_locks.c ---- */

void file_lock_context_free(struct file_lock_context *context);

#endif
