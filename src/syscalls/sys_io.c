/*
 * read(2), write(2) and their families. Data goes through a buffer of the kernel thread: from the
 * object into it, from it to the guest, a chunk at a time. A chunk that is short ends the call, as
 * does an EFAULT behind a first part: the caller gets the count of what was done. Pipes, terminals
 * and the like get one chunk only: a second could block behind data that has already come.
 */
#include <linux/fs.h>
#include <signal.h>

#include "syscalls/syscalls.h"

/* As much as a pipe holds; larger transfers loop. */
#define CHUNK_SIZE 65536

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

/* RLIMIT_FSIZE (setrlimit(2)): how many of size bytes may be written at pos. 0 and SIGXFSZ when
 * none. */
static size_t file_size_room(struct task *current, struct file *file, int64_t pos, size_t size) {
    uint64_t limit;
    struct signal_info info;

    if (!S_ISREG(file->inode->type)) {
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
    } else if (pos < 0) {
        pos = file->pos; /* a racing writer moves it: then the limit is as soft as Linux's check */
    }
    if ((uint64_t)pos < limit) {
        return MIN(size, limit - (uint64_t)pos);
    }
    signal_info_kernel(&info, SIGXFSZ);
    int sent UNUSED = signal_send_task(current, &info);
    return 0;
}

static void broken_pipe(struct task *current) {
    struct signal_info info;

    signal_info_user(&info, SIGPIPE, SI_USER, current);
    int sent UNUSED = signal_send_task(current, &info);
}

/* pos < 0: the file's own. */
static ssize_t read_chunk(struct file *file, void *buffer, size_t size, int64_t pos) {
    return pos < 0 ? file_read(file, buffer, size) : file_pread(file, buffer, size, pos);
}

static ssize_t write_chunk(struct file *file, const void *buffer, size_t size, int64_t pos) {
    return pos < 0 ? file_write(file, buffer, size) : file_pwrite(file, buffer, size, pos);
}

static int64_t do_read(struct task *current, struct file *file, struct user_buffer *to,
                       int64_t pos) {
    char *buffer = scratch_buffer();
    int64_t done = 0;

    if (!buffer) {
        return -ENOMEM;
    }
    do {
        size_t size = MIN(to->total, (size_t)CHUNK_SIZE);
        ssize_t count = read_chunk(file, buffer, size, pos);
        ssize_t copied;

        if (count <= 0) {
            return done ? done : count;
        }
        copied = user_buffer_write(current->thread, to, buffer, (size_t)count);
        if (copied < count && pos < 0 && (file->mode & FMODE_SEEK)) {
            /* What could not be handed out was not read. */
            int64_t back UNUSED = file_llseek(file, MAX(copied, (ssize_t)0) - count, SEEK_CUR);
        }
        if (copied < 0) {
            return done ? done : copied;
        }
        done += copied;
        pos = pos < 0 ? pos : pos + copied;
        if (copied < count || (size_t)count < size) {
            break;
        }
    } while (to->total && (file->mode & FMODE_SEEK));
    return done;
}

static int64_t do_write(struct task *current, struct file *file, struct user_buffer *from,
                        int64_t pos) {
    char *buffer = scratch_buffer();
    int64_t done = 0;

    if (!buffer) {
        return -ENOMEM;
    }
    do {
        size_t size = MIN(from->total, (size_t)CHUNK_SIZE);
        size_t room = size ? file_size_room(current, file, pos, size) : 0;
        ssize_t copied = 0, count;

        if (size && !room) {
            return done ? done : -EFBIG;
        }
        if (room) {
            copied = user_buffer_read(current->thread, from, buffer, room);
            if (copied < 0) {
                return done ? done : copied;
            }
        }
        count = write_chunk(file, buffer, (size_t)copied, pos);
        if (count == -EPIPE) {
            broken_pipe(current);
        }
        if (count < 0) {
            return done ? done : count;
        }
        done += count;
        pos = pos < 0 ? pos : pos + count;
        if (count < copied || (size_t)copied < size) {
            break;
        }
    } while (from->total);
    return done;
}

/* The descriptor's file if it is open for `mode`; owned, or NULL (EBADF). */
static struct file *get_file(struct task *current, int fd, mode_t mode) {
    struct file *file = fd_table_get(current->files, fd);

    if (file && !(file->mode & mode)) {
        file_put(STEAL(file));
    }
    return file;
}

static int64_t transfer(struct task *current, int fd, struct user_buffer *buffer, int64_t pos,
                        bool write) {
    struct file *file CLEANUP(file_put) = get_file(current, fd, write ? FMODE_WRITE : FMODE_READ);

    if (!file) {
        return -EBADF;
    }
    return write ? do_write(current, file, buffer, pos) : do_read(current, file, buffer, pos);
}

#define MAX_RW_COUNT 0x7ffff000ul /* read(2) NOTES */

static int64_t transfer_single(struct task *current, int fd, struct user_address base, size_t size,
                               int64_t pos, bool write) {
    struct user_buffer buffer;

    if ((ssize_t)size < 0) {
        return -EINVAL;
    }
    user_buffer_single(&buffer, base, MIN(size, MAX_RW_COUNT));
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

/* preadv2(2): position -1 means the file's own. Of the flags HIPRI is a hint. */
int64_t sys_preadv2(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                    unsigned long pos_l, unsigned long pos_h, int flags) {
    if (flags & ~RWF_HIPRI) {
        return unsupported_flags("preadv2", (uint64_t)flags, RWF_HIPRI, EOPNOTSUPP);
    }
    if ((int64_t)pos_l < -1) {
        return -EINVAL;
    }
    return transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, false);
}

int64_t sys_pwritev2(struct task *current, int fd, struct user_address iov, unsigned long iovcnt,
                     unsigned long pos_l, unsigned long pos_h, int flags) {
    if (flags & ~RWF_HIPRI) {
        return unsupported_flags("pwritev2", (uint64_t)flags, RWF_HIPRI, EOPNOTSUPP);
    }
    if ((int64_t)pos_l < -1) {
        return -EINVAL;
    }
    return transfer_vector(current, fd, iov, iovcnt, (int64_t)pos_l, true);
}

int64_t sys_lseek(struct task *current, int fd, int64_t offset, int whence) {
    struct file *file CLEANUP(file_put) = fd_table_get(current->files, fd);

    return file ? file_llseek(file, offset, whence) : -EBADF;
}
