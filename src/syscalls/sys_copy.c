/*
 * Whole ranges of files: sendfile(2), copy_file_range(2), fallocate(2), and what tells the page
 * cache about ranges: fadvise64, readahead, sync_file_range, sync, syncfs.
 *
 * Copies go through a buffer of the kernel's; no lock is held between reading and writing, since
 * what is written to may block.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <signal.h>

#include "syscalls/syscalls.h"

#define COPY_CHUNK   65536
#define MAX_RW_COUNT 0x7ffff000ul /* read(2) NOTES */

/* ---- positions: the caller's own, or the file's ---- */

struct place {
    struct file *file;
    struct user_address address; /* where the guest keeps it; null: the file's own */
    int64_t pos;
};

static int place_begin(struct task *current, struct place *place, struct file *file,
                       struct user_address address) {
    int error = 0;

    place->file = file;
    place->address = address;
    place->pos = 0;
    if (!user_address_is_null(address)) {
        error = get_user(current->thread, place->pos, address);
        if (!error && !(file->mode & FMODE_SEEK)) {
            error = -ESPIPE;
        }
        if (!error && place->pos < 0) {
            error = -EINVAL;
        }
    } else if (file->mode & FMODE_SEEK) {
        int64_t pos = file_llseek(file, 0, SEEK_CUR);

        error = pos < 0 ? (int)pos : 0;
        place->pos = pos;
    }
    return error;
}

static int place_end(struct task *current, const struct place *place) {
    if (!user_address_is_null(place->address)) {
        return put_user(current->thread, place->pos, place->address);
    }
    if (place->file->mode & FMODE_SEEK) {
        int64_t pos = file_llseek(place->file, place->pos, SEEK_SET);

        return pos < 0 ? (int)pos : 0;
    }
    return 0;
}

static ssize_t place_read(const struct place *from, void *buffer, size_t size) {
    return from->file->mode & FMODE_SEEK ? file_pread(from->file, buffer, size, from->pos)
                                         : file_read(from->file, buffer, size);
}

static ssize_t place_write(const struct place *to, const void *buffer, size_t size) {
    return to->file->mode & FMODE_SEEK ? file_pwrite(to->file, buffer, size, to->pos)
                                       : file_write(to->file, buffer, size);
}

/* Bytes copied; an error only when there are none. The places move on by it. */
static int64_t copy_bytes(struct task *current, struct place *from, struct place *to, size_t size) {
    char *buffer CLEANUP(free) = malloc(MIN(size, (size_t)COPY_CHUNK));
    int64_t done = 0;

    if (!buffer) {
        return -ENOMEM;
    }
    while (size > 0) {
        size_t chunk = MIN(size, (size_t)COPY_CHUNK);
        ssize_t got = place_read(from, buffer, chunk), put = got;

        if (got > 0) {
            size_t room = file_size_room(current, to->file, to->pos, (size_t)got);

            put = room ? place_write(to, buffer, room) : -EFBIG;
        }
        if (put <= 0) {
            return done ? done : put;
        }
        from->pos += put;
        to->pos += put;
        done += put;
        size -= (size_t)put;
        if (put < got || (size_t)got < chunk) {
            break;
        }
    }
    return done;
}

/* ---- the calls ---- */

int64_t sys_sendfile(struct task *current, int out_fd, int in_fd, struct user_address offset,
                     size_t count) {
    struct file *in CLEANUP(file_put) = fd_table_get(current->files, in_fd);
    struct file *out CLEANUP(file_put) = fd_table_get(current->files, out_fd);
    struct place from, to;
    int64_t result;
    int error;

    if (!in || !out || !(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE)) {
        return -EBADF;
    }
    if ((ssize_t)count < 0) {
        return -EINVAL;
    }
    /* What sendfile reads from must have pages: nothing that is taken away by reading. */
    if (!S_ISREG(in->inode->type) && !S_ISBLK(in->inode->type) && !S_ISCHR(in->inode->type)) {
        return !user_address_is_null(offset) && !(in->mode & FMODE_SEEK) ? -ESPIPE : -EINVAL;
    }
    if (atomic_load(&out->flags) & O_APPEND) {
        return -EINVAL;
    }
    error = place_begin(current, &from, in, offset);
    if (!error) {
        error = place_begin(current, &to, out, user_address(0));
    }
    if (error) {
        return error;
    }
    result = copy_bytes(current, &from, &to, MIN(count, MAX_RW_COUNT));
    if (result == -EPIPE) {
        struct signal_info info;

        signal_info_user(&info, SIGPIPE, SI_USER, current);
        int sent UNUSED = signal_send_task(current, &info);
    }
    /* The guest's own offset is written whatever came of it, as Linux does. */
    if (result > 0 || !user_address_is_null(offset)) {
        error = place_end(current, &from);
    }
    if (result > 0 && !error) {
        error = place_end(current, &to);
    }
    return error ? error : result;
}

static int check_copy(const struct file *in, const struct file *out) {
    if (S_ISDIR(in->inode->type) || S_ISDIR(out->inode->type)) {
        return -EISDIR;
    }
    if (!S_ISREG(in->inode->type) || !S_ISREG(out->inode->type)) {
        return -EINVAL;
    }
    if (!(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE) ||
        (atomic_load(&out->flags) & O_APPEND)) {
        return -EBADF;
    }
    return 0;
}

int64_t sys_copy_file_range(struct task *current, int fd_in, struct user_address off_in, int fd_out,
                            struct user_address off_out, size_t len, unsigned flags) {
    struct file *in CLEANUP(file_put) = fd_table_get(current->files, fd_in);
    struct file *out CLEANUP(file_put) = fd_table_get(current->files, fd_out);
    struct place from, to;
    int64_t result;
    int error = in && out ? 0 : -EBADF;

    if (!error && flags) {
        error = -EINVAL;
    }
    if (!error) {
        error = check_copy(in, out);
    }
    if (!error) {
        error = place_begin(current, &from, in, off_in);
    }
    if (!error) {
        error = place_begin(current, &to, out, off_out);
    }
    if (error) {
        return error;
    }
    len = MIN(len, MAX_RW_COUNT);
    if (from.pos > INT64_MAX - (int64_t)len || to.pos > INT64_MAX - (int64_t)len) {
        return -EOVERFLOW;
    }
    if (in->inode == out->inode && from.pos < to.pos + (int64_t)len &&
        to.pos < from.pos + (int64_t)len) {
        return -EINVAL;
    }
    if (len == 0) {
        return 0;
    }
    result = copy_bytes(current, &from, &to, len);
    if (result > 0) {
        error = place_end(current, &from);
        if (!error) {
            error = place_end(current, &to);
        }
    }
    return error ? error : result;
}

#define FALLOC_KNOWN                                                                               \
    (FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |                       \
     FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE)

int64_t sys_fallocate(struct task *current, int fd, int mode, int64_t offset, int64_t len) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
    uint64_t limit;

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    if (offset < 0 || len <= 0) {
        return -EINVAL;
    }
    if (mode & ~FALLOC_KNOWN) {
        return unsupported_flags("fallocate", (uint64_t)mode, FALLOC_KNOWN, EOPNOTSUPP);
    }
    if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE)) {
        return -EOPNOTSUPP;
    }
    if (!(file->mode & FMODE_WRITE)) {
        return -EBADF;
    }
    if ((atomic_load(&file->flags) & O_APPEND) && (mode & ~FALLOC_FL_KEEP_SIZE)) {
        return -EPERM;
    }
    if (S_ISFIFO(file->inode->type)) {
        return -ESPIPE;
    }
    if (S_ISDIR(file->inode->type)) {
        return -EISDIR;
    }
    if (!S_ISREG(file->inode->type)) {
        return -ENODEV;
    }
    if (offset > INT64_MAX - len) {
        return -EFBIG;
    }
    limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_FSIZE);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && limit != RLIM64_INFINITY &&
        (uint64_t)(offset + len) > limit) {
        struct signal_info info;

        signal_info_user(&info, SIGXFSZ, SI_USER, current);
        int sent UNUSED = signal_send_task(current, &info);
        return -EFBIG;
    }
    return file->ops->fallocate ? file->ops->fallocate(file, mode, offset, len) : -EOPNOTSUPP;
}

/* Advice may be ignored; what is wrong with the call may not. The host's own read-ahead serves. */
int64_t sys_fadvise64(struct task *current, int fd, int64_t offset, int64_t len, int advice) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    if (S_ISFIFO(file->inode->type)) {
        return -ESPIPE;
    }
    return len < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE ? -EINVAL : 0;
}

int64_t sys_readahead(struct task *current, int fd, int64_t offset, size_t count) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file || !(file->mode & FMODE_READ)) {
        return -EBADF;
    }
    return S_ISREG(file->inode->type) || S_ISBLK(file->inode->type) ? 0 : -EINVAL;
}

#define SYNC_RANGE_KNOWN                                                                           \
    (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

int64_t sys_sync_file_range(struct task *current, int fd, int64_t offset, int64_t nbytes,
                            unsigned flags) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    if ((flags & ~SYNC_RANGE_KNOWN) || offset < 0 || nbytes < 0 || offset > INT64_MAX - nbytes) {
        return -EINVAL;
    }
    if (!S_ISREG(file->inode->type) && !S_ISBLK(file->inode->type) && !S_ISDIR(file->inode->type)) {
        return -ESPIPE;
    }
    /* All of it instead of the range: more than was asked, never less. */
    return flags && file->ops->fsync ? file->ops->fsync(file, true) : 0;
}

static int sync_mount(const struct mount *mount, int parent, void *arg) {
    if (mount->sb->type == &hostfs_type && !mount->sb->read_only) {
        bool *found = arg;

        *found = true;
    }
    return 0;
}

/* What a guest wrote is in memory, or in host files whose data the host has: only files of a
 * writable
 * --bind reach a disk, each by its own fsync(2). */
int64_t sys_sync(struct task *current) {
    bool writable_host = false;

    if (mount_namespace_walk(current->fs->namespace, sync_mount, &writable_host) == 0 &&
        writable_host) {
        log_once(LOG_INFO, "sync", 0,
                 "sync(2) leaves it to the host when files of a --bind directory reach its disk");
    }
    return 0;
}

int64_t sys_syncfs(struct task *current, int fd) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    if (!file || (file->mode & FMODE_PATH)) {
        return -EBADF;
    }
    if (file->inode->sb->type == &hostfs_type && file->ops->fsync) {
        return file->ops->fsync(file, false);
    }
    return 0;
}
