/*
 * read(2), write(2) and their families. Data goes through a buffer of the kernel thread: from the
 * object into it, from it to the guest, a chunk at a time. A chunk that is short ends the call, as
 * does an EFAULT behind a first part: the caller gets the count of what was done. What has no
 * position is read on only while it says that there is more: a further read could block behind data
 * that has already come.
 */
#include <linux/fs.h>
#include <signal.h>

#include "syscalls/syscalls.h"

/* As much as a pipe holds; larger transfers loop. */
#define CHUNK_SIZE 65536
#define WHOLE_SIZE ((size_t)1 << 20)

/* Made at a thread's first larger transfer, freed with it. */
static _Thread_local struct { void *bytes; } scratch;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_start(void) {
    if (pthread_key_create(&scratch_key, free)) {
        panic("pthread_key_create: no key left");
    }
}

static void *scratch_buffer(void) {
    if (!scratch.bytes) {
        pthread_once(&scratch_once, scratch_start);
        scratch.bytes = malloc(CHUNK_SIZE);
        if (scratch.bytes && pthread_setspecific(scratch_key, scratch.bytes)) {
            free(STEAL(scratch.bytes));
        }
    }
    return scratch.bytes;
}

size_t file_size_room(struct task *current, struct file *file, int64_t pos, size_t size) {
    uint64_t limit;
    struct signal_info info;

    if (!S_ISREG(file->inode->type) || !size) {
        return size;
    }
    limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_FSIZE);
    if (limit == RLIM64_INFINITY) {
        return size;
    }
    if (atomic_load(&file->flags) & O_APPEND) {
        struct kstat stat;

        if (inode_getattr(file->inode, &stat) == 0) {
            pos = stat.size;
        }
    }
    if ((uint64_t)pos < limit) {
        return MIN(size, limit - (uint64_t)pos);
    }
    signal_info_user(&info, SIGXFSZ, SI_USER, current);
    int sent UNUSED = signal_send_task(current, &info);
    return 0;
}

static void broken_pipe(struct task *current) {
    struct signal_info info;

    signal_info_user(&info, SIGPIPE, SI_USER, current);
    int sent UNUSED = signal_send_task(current, &info);
}

/*
 * One read(2) or write(2). Without a position of the caller's (pos < 0) a seekable file's own is
 * used, under its lock for the whole call, so that calls that share it follow one another.
 */
struct transfer {
    struct task *current;
    struct file *file;
    struct user_buffer *user;
    int64_t pos;
    int64_t *at; /* what the file's ops get */
    bool own_pos;
    char *buffer, *allocated;
    size_t chunk;
};

/* What must be moved at one stroke gets a buffer of its own, within reason: messages, appends. */
static int transfer_buffer(struct transfer *transfer, bool write) {
    bool whole = S_ISSOCK(transfer->file->inode->type) ||
                 (write && (atomic_load(&transfer->file->flags) & O_APPEND));

    transfer->chunk = CHUNK_SIZE;
    if (whole && transfer->user->total > CHUNK_SIZE) {
        transfer->chunk = MIN(transfer->user->total, WHOLE_SIZE);
        transfer->buffer = transfer->allocated = malloc(transfer->chunk);
    } else {
        transfer->buffer = scratch_buffer();
    }
    return transfer->buffer ? 0 : -ENOMEM;
}

static int transfer_begin(struct transfer *transfer, bool write) {
    bool seekable = transfer->file->mode & FMODE_SEEK;
    int error;

    if (!seekable && transfer->pos >= 0) {
        return -ESPIPE;
    }
    error = transfer_buffer(transfer, write);
    if (error) {
        return error;
    }
    transfer->own_pos = seekable && transfer->pos < 0;
    transfer->at = !seekable ? NULL : transfer->own_pos ? &transfer->file->pos : &transfer->pos;
    if (transfer->own_pos) {
        file_pos_acquire(transfer->file);
    }
    return 0;
}

static void transfer_end(struct transfer *transfer) {
    if (transfer->own_pos) {
        file_pos_release(transfer->file);
    }
    free(transfer->allocated);
}

/* Is there surely more at once? Else a further read could block behind data that has come. */
static bool more_to_read(struct file *file) {
    if (file->mode & FMODE_SEEK) {
        return true;
    }
    return !S_ISSOCK(file->inode->type) && (file_poll(file, NULL) & EPOLLIN);
}

static int64_t read_chunks(struct transfer *transfer) {
    struct file *file = transfer->file;
    int64_t done = 0;

    do {
        size_t size = MIN(transfer->user->total, transfer->chunk);
        ssize_t count = file_read_at(file, transfer->buffer, size, transfer->at);
        ssize_t copied;

        if (count <= 0) {
            return done ? done : count;
        }
        copied = user_buffer_write(transfer->current->thread, transfer->user, transfer->buffer,
                                   (size_t)count);
        if (copied < count && transfer->own_pos) {
            /* What could not be handed out was not read. */
            int64_t back UNUSED =
                file->ops->llseek(file, MAX(copied, (ssize_t)0) - count, SEEK_CUR);
        }
        if (copied < 0) {
            return done ? done : copied;
        }
        done += copied;
        if (copied < count || (size_t)count < size) {
            break;
        }
    } while (transfer->user->total && more_to_read(file));
    return done;
}

static int64_t do_read(struct task *current, struct file *file, struct user_buffer *to,
                       int64_t pos) {
    struct transfer transfer = {.current = current, .file = file, .user = to, .pos = pos};
    int64_t result = transfer_begin(&transfer, false);

    if (!result) {
        result = read_chunks(&transfer);
        transfer_end(&transfer);
    }
    return result;
}

static int64_t write_chunks(struct transfer *transfer) {
    struct task *current = transfer->current;
    struct file *file = transfer->file;
    int64_t done = 0;

    do {
        size_t size = MIN(transfer->user->total, transfer->chunk);
        size_t room = file_size_room(current, file, transfer->at ? *transfer->at : 0, size);
        ssize_t copied = 0, count;

        if (size && !room) {
            return done ? done : -EFBIG;
        }
        if (room) {
            copied = user_buffer_read(current->thread, transfer->user, transfer->buffer, room);
            if (copied < 0) {
                return done ? done : copied;
            }
        }
        count = file_write_at(file, transfer->buffer, (size_t)copied, transfer->at);
        if (count == -EPIPE) {
            broken_pipe(current);
        }
        if (count < 0) {
            return done ? done : count;
        }
        done += count;
        if (count < copied || (size_t)copied < size) {
            break;
        }
    } while (transfer->user->total);
    return done;
}

static int64_t do_write(struct task *current, struct file *file, struct user_buffer *from,
                        int64_t pos) {
    struct transfer transfer = {.current = current, .file = file, .user = from, .pos = pos};
    int64_t result = transfer_begin(&transfer, true);

    if (!result) {
        result = write_chunks(&transfer);
        transfer_end(&transfer);
    }
    return result;
}

/* The descriptor's file if it is open for `mode`; owned, or NULL (EBADF). */
static struct file *get_file(struct task *current, int fd, mode_t mode) {
    struct file *file = task_call_file(current, fd);

    if (file && !(file->mode & mode)) {
        file_put(STEAL(file));
    }
    return file;
}

static bool file_size_limited(struct task *current) {
    return rlimits_get(&current->thread_group->rlimits, RLIMIT_FSIZE) != RLIM64_INFINITY;
}

/* From now on the task's stub may do it alone. */
static void consider_donation(struct task *current, int fd, struct file *file) {
    if (!donation_wanted(current->files, fd, file)) {
        return;
    }
    if (S_ISREG(file->inode->type) && (file->mode & FMODE_WRITE) && file_size_limited(current)) {
        donation_limit(current->files);
    } else if (memory_change_begin(current->mm) == 0) {
        donation_give(current->files, fd, file, current->thread);
        memory_change_end(current->mm);
    }
}

static int64_t transfer(struct task *current, int fd, struct user_buffer *buffer, int64_t pos,
                        bool write) {
    struct file *file CLEANUP(file_put) = get_file(current, fd, write ? FMODE_WRITE : FMODE_READ);

    bool stream = write && !(file && file->mode & FMODE_SEEK);
    size_t wanted = buffer->total;
    int64_t result;

    if (!file) {
        return -EBADF;
    }
    if (stream) {
        user_buffer_skip(buffer, current->call.done);
    }
    result = write ? do_write(current, file, buffer, pos) : do_read(current, file, buffer, pos);
    task_count_io(current, write, result);
    if (result > 0 && (!write || stream || !donation_reads_only(file))) {
        consider_donation(current, fd, file);
    } else if (write && pos < 0) {
        donation_unwanted(file);
    }
    return stream ? task_call_progress(current, result, wanted) : result;
}

#define MAX_RW_COUNT 0x7ffff000ul /* read(2) NOTES */

static int64_t transfer_single(struct task *current, int fd, struct user_address base, size_t size,
                               int64_t pos, bool write) {
    struct user_buffer buffer;

    if ((ssize_t)size < 0) {
        return -EINVAL;
    }
    user_buffer_single(&buffer, base, MIN(size, MAX_RW_COUNT));
    buffer.answers =
        !write && size <= SLOT_BOUNCE_SIZE && memory_is_writable(current->mm, base.value, size);
    return transfer(current, fd, &buffer, pos, write);
}

static int64_t transfer_vector(struct task *current, int fd, struct user_address vec, size_t count,
                               int64_t pos, bool write) {
    struct user_buffer buffer;
    int64_t result = user_buffer_import(current->thread, &buffer, vec, count);

    if (result) {
        return result;
    }
    result = transfer(current, fd, &buffer, pos, write);
    user_buffer_destroy(&buffer);
    return result;
}

int64_t sys_read(struct task *current, int fd, struct user_address buf, size_t count) {
    return transfer_single(current, fd, buf, count, -1, false);
}

int64_t sys_write(struct task *current, int fd, struct user_address buf, size_t count) {
    return transfer_single(current, fd, buf, count, -1, true);
}

int64_t sys_pread64(struct task *current, int fd, struct user_address buf, size_t count,
                    int64_t offset) {
    return offset < 0 ? -EINVAL : transfer_single(current, fd, buf, count, offset, false);
}

int64_t sys_pwrite64(struct task *current, int fd, struct user_address buf, size_t count,
                     int64_t offset) {
    return offset < 0 ? -EINVAL : transfer_single(current, fd, buf, count, offset, true);
}

int64_t sys_readv(struct task *current, int fd, struct user_address iov, unsigned long iovcnt) {
    return transfer_vector(current, fd, iov, iovcnt, -1, false);
}

int64_t sys_writev(struct task *current, int fd, struct user_address iov, unsigned long iovcnt) {
    return transfer_vector(current, fd, iov, iovcnt, -1, true);
}

int64_t sys_preadv(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                   unsigned long pos_l, unsigned long pos_h) {
    return (int64_t)pos_l < 0 ? -EINVAL
                              : transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, false);
}

int64_t sys_pwritev(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                    unsigned long pos_l, unsigned long pos_h) {
    return (int64_t)pos_l < 0 ? -EINVAL
                              : transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, true);
}

/* preadv2(2): position -1 means the file's own. HIPRI is a hint; DSYNC and SYNC are for writes. */
#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC)

int64_t sys_preadv2(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                    unsigned long pos_l, unsigned long pos_h, int flags) {
    if (flags & ~RWF_KNOWN) {
        return unsupported_flags("preadv2", (uint64_t)flags, RWF_KNOWN, EOPNOTSUPP);
    }
    if ((int64_t)pos_l < -1) {
        return -EINVAL;
    }
    return transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, false);
}

int64_t sys_pwritev2(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                     unsigned long pos_l, unsigned long pos_h, int flags) {
    int64_t result;

    if (flags & ~RWF_KNOWN) {
        return unsupported_flags("pwritev2", (uint64_t)flags, RWF_KNOWN, EOPNOTSUPP);
    }
    if ((int64_t)pos_l < -1) {
        return -EINVAL;
    }
    result = transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, true);
    if (result > 0 && (flags & (RWF_DSYNC | RWF_SYNC))) {
        struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
        int error = file && file->ops->fsync ? file->ops->fsync(file, !(flags & RWF_SYNC)) : 0;

        return error ? error : result;
    }
    return result;
}

int64_t sys_lseek(struct task *current, int fd, int64_t offset, int whence) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);
    int64_t result = file ? file_llseek(file, offset, whence) : -EBADF;

    if (result >= 0 && donation_proved(file)) {
        consider_donation(current, fd, file); /* the position was taken back for it */
    }
    return result;
}
