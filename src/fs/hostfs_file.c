/*
 * hostfs: open regular files and directories.
 *
 * An open file has a host descriptor of its own, opened with just the guest's rights, so it can be
 * mapped into the guest or donated to it as it is. The position is the kernel's (file->pos): reads
 * and writes name their offset.
 *
 * Directories: a position is 0 and 1 for the dots, then 2 + the host's d_off of the entry before.
 */
#include <errno.h>
#include <string.h>

#include "fs/hostfs_internal.h"

#define DIRECTORY_BUFFER 32768 /* what a libc reads at once, so no more than it takes */

/* ---- open ---- */

/* O_* that the host shall see: durability belongs to the data, O_APPEND is given with each write.
 */
static int host_flags(struct inode *inode, int flags) {
    int result = (flags & (O_ACCMODE | O_SYNC | O_DSYNC | O_NOATIME)) | O_NONBLOCK | O_NOCTTY;

    return S_ISDIR(inode->type) ? result | O_DIRECTORY : result;
}

/* By the name that the walk came by: any failure may be somebody else's file. */
static int open_named(struct inode *inode, int flags, const struct open_name *name) {
    struct host_handle *base CLEANUP(host_handle_put) = hostfs_handle(name->base);
    struct statx stat;
    int fd = IS_ERR(base) ? (int)PTR_ERR(base) : host_open_below(base->fd, name->names, flags);

    if (fd < 0) {
        return fd == -EMFILE || fd == -ENFILE ? fd : -ESTALE;
    }
    if (host_statx(fd, "", &stat) || !hostfs_same(hostfs_node(inode), &stat)) {
        (void)host_close(fd);
        return -ESTALE;
    }
    return fd;
}

/*
 * By name where there is one, else by the descriptor that was kept. O_NONBLOCK is for the moment in
 * which somebody outside puts a FIFO or a device under the name: the open must not wait for it
 * before the check refuses it.
 */
static int open_fd(struct inode *inode, int flags, const struct open_name *opening) {
    struct inode *parent CLEANUP(inode_put) = NULL;
    char *name CLEANUP(free) = NULL;

    if (opening) {
        return open_named(inode, flags, opening);
    }
    if ((!S_ISDIR(inode->type) || !hostfs_has_handle(inode)) &&
        hostfs_location(inode, &parent, &name)) {
        struct host_handle *dir CLEANUP(host_handle_put) = hostfs_handle(parent);
        struct statx stat;
        int error, fd = IS_ERR(dir) ? (int)PTR_ERR(dir) : host_openat(dir->fd, name, flags, 0);

        if (fd < 0) {
            return fd == -ENOENT || fd == -ELOOP ? -ESTALE : fd;
        }
        if (hostfs_is_constant(inode->sb)) {
            return fd;
        }
        error = host_statx(fd, "", &stat);
        if (!error && hostfs_same(hostfs_node(inode), &stat)) {
            return fd;
        }
        (void)host_close(fd);
        return error ? error : -ESTALE;
    }
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);

    return IS_ERR(handle) ? (int)PTR_ERR(handle) : host_reopen(handle->fd, flags);
}

/*
 * The guest may (the VFS has checked) and the kernel process may not: a file of ours without the
 * owner's bits, just made with mode 0 or opened by the guest's root. We hold no capability over it,
 * but own it: the owner gets the bits for the time of the open. Nobody else gets any. Only in a
 * writable tree: a read-only one is not touched, whatever the guest may.
 */
static int open_denied(struct inode *inode, int flags) {
    struct host_handle *handle CLEANUP(host_handle_put) = hostfs_handle(inode);
    mode_t wanted = S_ISDIR(inode->type) ? 0700 : 0600;
    struct statx stat;
    int fd, error;

    if (IS_ERR(handle)) {
        return (int)PTR_ERR(handle);
    }
    error = host_statx(handle->fd, "", &stat);
    if (error || (stat.stx_mode & wanted) == wanted ||
        host_fchmod(handle->fd, (stat.stx_mode & 07777) | wanted)) {
        return error ? error : -EACCES;
    }
    fd = open_fd(inode, flags, NULL);
    error = host_fchmod(handle->fd, stat.stx_mode & 07777);
    if (error) {
        log_once(LOG_WARN, "hostfs", 5, "a file on the host keeps mode %o after an open: %s",
                 (unsigned)(stat.stx_mode | wanted) & 07777, strerror(-error));
    }
    return fd;
}

/* The descriptor that made the file, for the open that made it; owned, or NULL. It is for both
 * ways, which is what whoever makes a file may do with it. */
static struct host_handle *take_fresh(struct inode *inode) {
    LOCK_GUARD(&inode->sb->lock);
    return STEAL(hostfs_node(inode)->fresh);
}

static struct host_handle *open_handle(struct inode *inode, int flags,
                                       const struct open_name *opening) {
    int fd = open_fd(inode, flags, opening);

    if (fd == -EMFILE || fd == -ENFILE) {
        hostfs_shrink(inode->sb);
        fd = open_fd(inode, flags, opening);
    }
    if (fd == -EPERM && (flags & O_NOATIME)) {
        fd = open_fd(inode, flags & ~O_NOATIME,
                     opening); /* the guest may, the kernel process may not */
    }
    if (fd == -EACCES && !inode->sb->read_only) {
        fd = open_denied(inode, flags);
    }
    return fd < 0 ? ERR_PTR(fd) : host_handle_new(fd);
}

int hostfs_open(struct inode *inode, struct file *file) {
    struct hostfs_file *host_file;
    struct host_handle *handle = take_fresh(inode);
    int file_flags = atomic_load(&file->flags);

    if (handle && (file->opening || (file_flags & O_ACCMODE) == O_RDONLY ||
                   (file_flags & (O_SYNC | O_DSYNC)))) {
        host_handle_put(STEAL(handle));
    }
    if (!handle) {
        handle = open_handle(inode, host_flags(inode, file_flags), file->opening);
    }
    if (IS_ERR(handle)) {
        return (int)PTR_ERR(handle);
    }
    host_file = calloc(1, sizeof(*host_file));
    if (!host_file) {
        host_handle_put(handle);
        return -ENOMEM;
    }
    host_file->handle = handle;
    host_file->node = hostfs_node(inode);
    host_file->inode = inode_get(inode);
    host_file->writable = (file_flags & O_ACCMODE) != O_RDONLY;
    host_file->next = -1;
    lock_acquire(&inode->sb->lock);
    list_add(&host_file->link, &host_file->node->open_files);
    lock_release(&inode->sb->lock);
    file->private = host_file;
    return 0;
}

static void hostfs_file_release(struct file *file) {
    struct hostfs_file *host_file = file->private;
    struct inode *inode = host_file->inode;

    lock_acquire(&inode->sb->lock);
    list_del(&host_file->link);
    lock_release(&inode->sb->lock);
    if (!host_file->writable) {
        host_file->handle->unseen = true;
    }
    host_handle_put(host_file->handle);
    inode_put(inode);
    free(host_file->buffer);
    free(host_file);
}

static int hostfs_host_fd(struct file *file) {
    struct hostfs_file *host_file = file->private;

    return host_file->handle->fd;
}

/* ---- data ---- */

static ssize_t hostfs_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    ssize_t done = host_pread(hostfs_host_fd(file), buffer, size, *pos);

    if (done > 0) {
        *pos += done;
    }
    return done;
}

/* The end of the file at the time of the write is found by the host; the position behind it by
 * asking it, which another writer cannot disturb while file->lock keeps this descriptor's appends
 * apart and RWF_APPEND moves the descriptor's own offset. */
static ssize_t append(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    int fd = hostfs_host_fd(file);
    LOCK_GUARD(&file->lock);
    ssize_t done = host_write_flags(fd, buffer, size, -1, RWF_APPEND);

    if (done > 0) {
        off_t end = host_lseek(fd, 0, SEEK_CUR);

        *pos = end < 0 ? *pos + done : end;
    }
    return done;
}

static ssize_t hostfs_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    ssize_t done;

    if (atomic_load_explicit(&file->flags, memory_order_relaxed) & O_APPEND) {
        return append(file, buffer, size, pos);
    }
    done = host_pwrite(hostfs_host_fd(file), buffer, size, *pos);
    if (done > 0) {
        *pos += done;
    }
    return done;
}

/* Called with pos_lock held: the position is the kernel's, the host only knows the holes. */
static int64_t hostfs_llseek(struct file *file, int64_t offset, int whence) {
    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        off_t found = host_lseek(hostfs_host_fd(file), offset, whence);

        if (found >= 0) {
            file->pos = found;
        }
        return found;
    }
    return generic_llseek(file, offset, whence);
}

static int hostfs_mapping_fd(struct file *file, int prot, bool shared) {
    return hostfs_host_fd(file); /* it has the guest's own rights and no more */
}

static struct memory_object *hostfs_mmap(struct file *file, int prot, int flags) {
    return file_object_new(file, hostfs_mapping_fd);
}

static int hostfs_fsync(struct file *file, bool data_only) {
    return host_fsync(hostfs_host_fd(file), data_only);
}

static int hostfs_fallocate(struct file *file, int mode, int64_t offset, int64_t size) {
    return host_fallocate(hostfs_host_fd(file), mode, offset, size);
}

/* A write by the guest's process takes these bits from the file, whoever the guest's user is. */
static bool has_set_id(struct file *file) {
    struct stat stat;

    return host_fstat(hostfs_host_fd(file), &stat) || (stat.st_mode & (S_ISUID | S_ISGID));
}

/*
 * A description of its own, whose position is the guests'. The kernel keeps nothing of the
 * contents, the size or the times, so guests write as well as they read. What makes them is the
 * host's: the end of the file with O_APPEND, O_SYNC, the times. donation.c keeps RLIMIT_FSIZE and
 * inotify.
 */
static int hostfs_donate(struct file *file, uint32_t *rights) {
    int flags = atomic_load(&file->flags), kept = flags & O_NOATIME;

    if (flags & (O_DIRECT | O_ASYNC)) {
        return -EAGAIN;
    }
    *rights = SLOT_FD_SEEK | (file->mode & FMODE_READ ? SLOT_FD_READ : 0);
    if (file->mode & FMODE_WRITE) {
        if (has_set_id(file)) {
            return -EACCES;
        }
        *rights |= SLOT_FD_WRITE;
        kept |= flags & (O_APPEND | O_SYNC | O_DSYNC);
    }
    return host_reopen(hostfs_host_fd(file), (flags & O_ACCMODE) | kept);
}

/* ---- directories ---- */

/* The host's linux_dirent64 has the layout of the guest's. */
static int fill(struct hostfs_file *host_file, int64_t pos) {
    ssize_t size;

    if (!host_file->buffer) {
        host_file->buffer = malloc(DIRECTORY_BUFFER);
        if (!host_file->buffer) {
            return -ENOMEM;
        }
    }
    if (pos != host_file->next && (host_file->was_read || pos > 2)) {
        off_t offset = host_lseek(host_file->handle->fd, MAX(pos - 2, (int64_t)0), SEEK_SET);

        if (offset < 0) {
            return (int)offset;
        }
    }
    host_file->start = host_file->end = 0;
    host_file->next = -1;
    host_file->was_read = true;
    size = host_getdents64(host_file->handle->fd, host_file->buffer, DIRECTORY_BUFFER);
    if (size < 0) {
        return (int)size;
    }
    host_file->end = (size_t)size;
    host_file->next = pos;
    return size > 0;
}

static bool is_dot(const char *name) {
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Tells the entries of the buffer: false when the taker has had enough. */
static bool emit_buffer(struct hostfs_file *host_file, struct dir_context *context) {
    while (host_file->start < host_file->end) {
        struct user_dirent64 *entry = (void *)(host_file->buffer + host_file->start);
        /* Positions go on from d_off, whatever the host's file system puts there; its largest one
         * means the end and stays itself. */
        int64_t next = entry->off > INT64_MAX - 2 ? INT64_MAX : entry->off + 2;

        if (!is_dot(entry->name) && !context->emit(context, entry->name, strlen(entry->name),
                                                   entry->ino, entry->type, next)) {
            return false;
        }
        host_file->start += entry->reclen;
        host_file->next = next;
        context->pos = next;
    }
    return true;
}

static int hostfs_readdir(struct file *file, struct dir_context *context) {
    struct hostfs_file *host_file = file->private;

    if (context->pos <= 2) {
        host_file->next = -1; /* from the start: what has changed since shall be seen */
        host_file->start = host_file->end = 0;
    }
    if (!dir_emit_dots(file, context)) {
        return 0;
    }
    /* One buffer's worth: what is behind it is the next call's. */
    for (int64_t start = context->pos; context->pos == start;) {
        if (context->pos != host_file->next || host_file->start == host_file->end) {
            int more = fill(host_file, context->pos);

            if (more <= 0) {
                return more;
            }
        }
        if (!emit_buffer(host_file, context)) {
            return 0;
        }
    }
    return 0;
}

const struct file_ops hostfs_file_ops = {
    .closes_unseen = true,
    .read = hostfs_read,
    .write = hostfs_write,
    .llseek = hostfs_llseek,
    .mmap = hostfs_mmap,
    .host_fd = hostfs_host_fd,
    .fsync = hostfs_fsync,
    .fallocate = hostfs_fallocate,
    .donate = hostfs_donate,
    .release = hostfs_file_release,
};

const struct file_ops hostfs_directory_file_ops = {
    .closes_unseen = true,
    .llseek = directory_llseek,
    .readdir = hostfs_readdir,
    .fsync = hostfs_fsync,
    .release = hostfs_file_release,
};
