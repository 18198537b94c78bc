/*
 * Open files: the description (file), the tables of descriptors, what guests are given to use by
 * themselves, and locks.
 */
#ifndef STARLING_FILE_H
#define STARLING_FILE_H

#include "fs/fs.h"

/* ---- files ---- */

/* By what name a file is being opened, unconfirmed: open finds the inode there or says -ESTALE. */
struct open_name {
    struct inode *base; /* borrowed, as names is */
    const char *names;  /* below base, as for inode_ops.confirm */
};

struct file {
    struct ref ref;
    struct path path;                /* owned; immutable */
    struct inode *inode;             /* of path.dentry; immutable */
    const struct file_ops *ops;      /* immutable after open */
    void *private;                   /* the ops' */
    const struct open_name *opening; /* NULL but while inode_ops.open runs, and often then */
    struct lock pos_lock; /* class FILE_POS; held over read/write/lseek that use the position */
    int64_t pos;          /* guarded by pos_lock */
    struct lock lock;     /* class FILE */
    _Atomic int flags; /* O_*: access mode immutable; O_APPEND|O_NONBLOCK|O_ASYNC|O_DIRECT|O_NOATIME
                          change by F_SETFL */
    mode_t mode;       /* FMODE_READ|FMODE_WRITE|FMODE_PATH ... immutable */
    struct list_head epoll_links; /* guarded by lock; kept by files/epoll.c */
    atomic_bool watched;          /* epoll_links was not empty once; set by who holds a reference */
    struct {
        int type; /* F_OWNER_* ; 0: none */
        pid_t id;
        int signal;
    } owner;                   /* guarded by lock */
    struct credentials *creds; /* of the opener; owned; immutable */
    _Atomic int fd_refs; /* descriptors that name it: flush and lock release on the last close */
    struct {
        _Atomic unsigned uses;   /* reads and writes by the kernel so far */
        _Atomic bool reads_only; /* its description is not for writing, as the file is */
        int fd;                 /* the guests' own host description, owned; -1: none; by pos_lock */
        uint32_t rights;        /* SLOT_FD_* of it; guarded by pos_lock */
        unsigned epoch;         /* of the inode when fd was opened; guarded by pos_lock */
        bool has_pos;           /* the position is that of fd; guarded by pos_lock */
        unsigned seq;           /* how often it was published; guarded by the donation lock */
        struct list_head given; /* its donations; likewise */
        struct list_head link;  /* of all donated files; likewise */
    } donated;
};
#define FMODE_READ  1u
#define FMODE_WRITE 2u
#define FMODE_PATH  4u
#define FMODE_SEEK  8u /* lseek, pread, pwrite make sense */
#define FMODE_EXEC  16u

/* Told once for each entry; false: the buffer is full, stop (this entry comes again). `next` is the
 * position behind the entry. */
struct dir_context {
    bool (*emit)(struct dir_context *context, const char *name, size_t length, ino_t ino,
                 unsigned char type, int64_t next);
    int64_t pos; /* where to go on: 0 at the start */
};

/*
 * A file's operations; NULL means what Linux answers (EINVAL, ENOTTY, ESPIPE ...). read/write: with
 * the position in *pos for seekable files, pos NULL for others. They block unless O_NONBLOCK is in
 * file->flags or `nowait`; a blocked one that is interrupted returns what was done, or -ERESTARTSYS
 * when nothing was. With O_APPEND in file->flags, write goes to the end of the file at one stroke,
 * whatever *pos says, and leaves *pos behind what it wrote. No lock but pos_lock (the outermost of
 * all) is held over any of them.
 */
struct file_ops {
    /* Nobody can tell when a file that was only read is released, but by its locks, by inotify, and
     * when it was removed before. No flush. */
    bool closes_unseen;
    ssize_t (*read)(struct file *file, void *buffer, size_t size, int64_t *pos);
    ssize_t (*write)(struct file *file, const void *buffer, size_t size, int64_t *pos);
    int64_t (*llseek)(struct file *file, int64_t offset, int whence);
    /* Goes on at context->pos, moves it behind each entry that was taken. "." and ".." too: see
     * dir_emit_dots(). */
    int (*readdir)(struct file *file, struct dir_context *context);
    /* The present EPOLL* mask; NULL op: always readable and writable. */
    uint32_t (*poll)(struct file *file, struct poll_table *table);
    /* `thread` to copy the argument. */
    int64_t (*ioctl)(struct file *file, struct host_thread *thread, unsigned command,
                     struct user_address argument);
    /* What a mapping of it maps (one reference), or ERR_PTR. */
    struct memory_object *(*mmap)(struct file *file, int prot, int flags);
    /* The host descriptor of the contents, borrowed, or -errno: for splice, sendfile,
     * copy_file_range, donation. */
    int (*host_fd)(struct file *file);
    int (*fsync)(struct file *file, bool data_only);
    int (*fallocate)(struct file *file, int mode, int64_t offset, int64_t size);
    /* A descriptor of it was closed. */
    int (*flush)(struct file *file);
    /* The last reference is gone. */
    void (*release)(struct file *file);
    /* One line each for /proc/PID/fdinfo/N. */
    int (*show_fdinfo)(struct file *file, char *buffer, size_t size);
    int (*set_flags)(struct file *file, int flags); /* F_SETFL beyond the generic part */
    /* A new host description for guests, with no more rights than the file's own and its flags;
     * *rights: SLOT_FD_*. NULL op or -errno: not to be donated, for good unless -EAGAIN. pos_lock
     * held. */
    int (*donate)(struct file *file, uint32_t *rights);
    /* F_SETFL: gives the description the new flags. NULL op or -errno: it is taken back. pos_lock
     * held. */
    int (*donated_flags)(struct file *file, int fd, int flags);
};

/* A file over a path; takes its own references. ops NULL: inode->file_ops. Runs inode_ops.open. */
int MUST_CHECK file_open_path(const struct path *path, int flags, const struct credentials *creds,
                              struct file **file);
/* The same by a name that is not confirmed (NULL: it is). */
int MUST_CHECK file_open_named(const struct path *path, int flags, const struct credentials *creds,
                               const struct open_name *opening, struct file **file);
/* A file with no place in a tree: `name` as in /proc/PID/fd ("pipe:[7]", "anon_inode:[eventfd]").
 * Owns private from success on. */
int MUST_CHECK file_new_anonymous(const char *name, mode_t type, const struct file_ops *ops,
                                  void *private, int flags, struct file **file);
/* Who is told that a watched file ends: files/epoll.c, once at start. */
void file_set_forget_hook(void (*forget)(struct file *file));
struct file *file_get(struct file *file);
void file_put(struct file *file);
DEFINE_CLEANUP(struct file *, file_put)
/* read(2)/write(2) at the file's position, and pread/pwrite: mode checks, position lock, O_APPEND,
 * RLIMIT_FSIZE is the handler's. */
ssize_t MUST_CHECK file_read(struct file *file, void *buffer, size_t size);
ssize_t MUST_CHECK file_write(struct file *file, const void *buffer, size_t size);
ssize_t MUST_CHECK file_pread(struct file *file, void *buffer, size_t size, int64_t pos);
ssize_t MUST_CHECK file_pwrite(struct file *file, const void *buffer, size_t size, int64_t pos);
/* One step of the above. pos: &file->pos, with pos_lock held by the caller; the caller's own; or
 * NULL for a file without FMODE_SEEK. */
ssize_t MUST_CHECK file_read_at(struct file *file, void *buffer, size_t size, int64_t *pos);
ssize_t MUST_CHECK file_write_at(struct file *file, const void *buffer, size_t size, int64_t *pos);
int64_t MUST_CHECK file_llseek(struct file *file, int64_t offset, int whence);
uint32_t file_poll(struct file *file, struct poll_table *table);
/* Sleeps until file_poll() meets `events` (or EPOLLERR|EPOLLHUP): 0, -ERESTARTSYS, -ETIMEDOUT,
 * -EAGAIN with O_NONBLOCK. */
int MUST_CHECK file_wait(struct file *file, uint32_t events, deadline_ns deadline);
/* getdents(2): the directory's entries from the file's position on, which it moves. 0, -ENOTDIR,
 * -ENOENT when the directory was removed. */
int MUST_CHECK file_readdir(struct file *file, struct dir_context *context);
/* For ops->readdir: entries "." and ".." at positions 0 and 1; false: the buffer is full. The file
 * system's own positions start at 2. */
bool dir_emit_dots(struct file *file, struct dir_context *context);
/* llseek ops: over a size that `inode_getattr` tells (SEEK_DATA and SEEK_HOLE as if there were no
 * holes); for directories and others where only SEEK_SET and SEEK_CUR make sense. */
int64_t generic_llseek(struct file *file, int64_t offset, int whence);
int64_t directory_llseek(struct file *file, int64_t offset, int whence);
/* A memory_object over ops->host_fd for ops->mmap; keeps the file. `fd` gives the descriptor
 * (borrowed) for a mapping with these rights: it must not carry more rights than the guest has. */
struct memory_object *file_object_new(struct file *file,
                                      int (*fd)(struct file *file, int prot, bool shared));
/* For memory: its memory_object (one reference) or ERR_PTR. */
struct memory_object *file_memory_object(struct file *file, int prot, int flags);
/* The whole of a small kernel-made text at once, for procfs-like files. */
ssize_t MUST_CHECK text_read(const char *text, size_t length, void *buffer, size_t size,
                             int64_t *pos);

/* ---- fd_table ---- */

struct fd_table;
#define FD_TABLE_MAX (1 << 20)
struct fd_table *fd_table_new(void);
struct fd_table *fd_table_fork(struct fd_table *table); /* a copy; shares the files */
struct fd_table *fd_table_get_ref(struct fd_table *table);
void fd_table_put(struct fd_table *table); /* the last reference closes all */
DEFINE_CLEANUP(struct fd_table *, fd_table_put)
/* For those who look at it and are no users: its last user closes all, whoever looks. */
struct fd_table *fd_table_peek_get(struct fd_table *table);
void fd_table_peek_put(struct fd_table *table);
DEFINE_CLEANUP(struct fd_table *, fd_table_peek_put)
/* Does anybody else use it? execve(2) then gives the task a table of its own. */
bool fd_table_shared(const struct fd_table *table);
/* The file with one reference, or NULL (EBADF). */
struct file *fd_table_get(struct fd_table *table, int fd);
/* The lowest free number >= minimum and < limit (RLIMIT_NOFILE): the number, -EMFILE, -ENOMEM.
 * Takes its own reference. */
int MUST_CHECK fd_table_install(struct fd_table *table, struct file *file, int minimum, int limit,
                                bool close_on_exec);
/* Is a number below `limit` free just now? */
bool fd_table_has_room(struct fd_table *table, int limit);
/* dup2/dup3: puts file at fd, closing what was there (the closed file is flushed). */
int MUST_CHECK fd_table_replace(struct fd_table *table, int fd, struct file *file, int limit,
                                bool close_on_exec);
/* Takes fd out and flushes: 0, -EBADF, or what flush said. `owner`: whose record locks go (the
 * fd_table itself). */
int MUST_CHECK fd_table_close(struct fd_table *table, int fd);
void fd_table_close_range(struct fd_table *table, unsigned first, unsigned last,
                          bool set_cloexec_only);
void fd_table_close_on_exec(struct fd_table *table);
int MUST_CHECK fd_table_get_flags(struct fd_table *table, int fd); /* FD_CLOEXEC or 0, -EBADF */
int MUST_CHECK fd_table_set_flags(struct fd_table *table, int fd, int flags);
/* The next used number >= from, or -1: for /proc/PID/fd. */
int fd_table_next(struct fd_table *table, int from);

/* ---- the descriptor page: fd_page.c ---- */

/* Once at start: stubs answer for descriptors by themselves. */
void fd_page_enable(void);
/* Closes what the guest's stubs have closed by themselves (slot.h). Before a call of a task that
 * uses the table is acted on; and before anybody else looks at it. No lock but pos_lock held. */
void fd_table_begin_call(struct fd_table *table);
void fd_table_settle(struct fd_table *table);
/* Something has changed that is shown of the inode's files: shows it to all. NULL: of all inodes;
 * then nothing that a stub has closed before is open afterwards. No lock held. */
void fd_page_refresh(const struct inode *inode);

/* ---- donation (design §6): donation*.c ---- */

/* Once at start: guests are given descriptors to use by themselves. */
void donation_enable(void);
/* The file behind fd was used by way of the kernel: is it time to donate it to this task? */
bool donation_wanted(struct fd_table *table, int fd, struct file *file);
/* May the stub use the descriptor by itself? */
bool donation_is_live(struct fd_table *table, int fd);
/* The file has proved hot before. */
bool donation_proved(const struct file *file);
/* The kernel itself has used the position, and may soon do so again: the count begins anew. */
void donation_unwanted(struct file *file);
/* Are writes by way of the kernel no reason to donate it: its description will be for reading? */
bool donation_reads_only(const struct file *file);
/* RLIMIT_FSIZE is set for a user of the table, and is the kernel's to keep: files open for writing
 * are taken back and closed in its process, for good. */
void donation_limit(struct fd_table *table);
/* Does so, if it may. Own kernel thread of a task that uses the table, with the change token of its
 * memory; no lock held. */
void donation_give(struct fd_table *table, int fd, struct file *file, struct host_thread *thread);
/* Before a guest thread runs on: its table is the one it looks at, and what was closed is closed
 * there. */
void fd_table_before_resume(struct fd_table *table, struct host_thread *thread);
/* The task has another host process from now on, which has no donated descriptors (exec). */
void fd_table_leave_process(struct fd_table *table);
/* Around the host's fork: the child's process has the parent's host descriptors. `end` in any case.
 * The caller holds the change token. */
void fd_table_inherit_begin(struct fd_table *parent, struct fd_table *child);
void fd_table_inherit_end(struct fd_table *parent);
/*
 * What a guest does by itself the kernel does not see. Who must see it takes back what is donated
 * of the inode: after these return no guest starts another call on it by itself. `wait`: none is
 * inside one either; no lock held then, but the caller may be a guest's kernel thread. Without
 * `wait`, calls that sleep are ended all the same.
 */
void donation_revoke_inode(struct inode *inode, bool wait);
/* The file's flags have changed (F_SETFL). */
void donation_flags_changed(struct file *file);
/* For good. */
void donation_forbid(struct inode *inode);
/* The file that a process with this table uses by the host's `number`, though its descriptor may be
 * closed by now: owned, or NULL. */
struct file *donation_file(struct fd_table *table, int number);
/* Somebody watches files by their path (inotify): none is donated until release. */
void donation_hold(void);
void donation_release(void);
/* pos_lock for whoever uses file->pos: takes the position back from a donated description. */
void file_pos_acquire(struct file *file);
void file_pos_release(struct file *file);
/* Where the position is just now, for those who only show it. */
int64_t file_pos_peek(struct file *file);

/* ---- record locks and flock (fcntl(2), flock(2)) ---- */

/* owner: the fd_table for POSIX locks, the file for OFD locks and flock. May sleep (F_SETLKW). */
int MUST_CHECK file_lock_posix(struct file *file, const void *owner, pid_t pid, int command,
                               struct flock *lock);
int MUST_CHECK file_flock(struct file *file, int operation);
void file_locks_release(struct file *file, const void *owner);

#endif
