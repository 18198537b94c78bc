/*
 * pipe(2), pipe2(2), splice(2), tee(2), vmsplice(2).
 *
 * splice moves pages on Linux; here it moves bytes through a buffer: what a program can see of it
 * is the same, but for its speed.
 */
#include <linux/limits.h>
#include <sys/ioctl.h>

#include "syscalls/sys_install.h"

#define SPLICE_FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)
#define SPLICE_CHUNK 65536

int64_t sys_pipe2(struct task *current, struct user_address pipefd, int flags) {
    struct credentials *creds CLEANUP(credentials_put) = NULL;
    struct file *read_end, *write_end;
    int fds[2];
    int error;

    if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) {
        return unsupported_flags("pipe2", (uint64_t)flags, O_CLOEXEC | O_NONBLOCK | O_DIRECT,
                                 EINVAL);
    }
    creds = task_creds(current);
    error = pipe_new(flags & ~O_CLOEXEC, creds->fsuid, creds->fsgid, &read_end, &write_end);
    if (error) {
        return error;
    }
    fds[0] = install_file(current, read_end, flags);
    if (fds[0] < 0) {
        file_put(write_end);
        return fds[0];
    }
    fds[1] = install_file(current, write_end, flags);
    error = fds[1] < 0 ? fds[1] : copy_to_user(current->thread, pipefd, fds, sizeof(fds));
    if (error) {
        (void)!fd_table_close(current->files, fds[0]);
        if (fds[1] >= 0) {
            (void)!fd_table_close(current->files, fds[1]);
        }
    }
    return error;
}

int64_t sys_pipe(struct task *current, struct user_address pipefd) {
    return sys_pipe2(current, pipefd, 0);
}

/* Would an operation on the file wait for `events`? 0: it may go on. */
static int splice_wait(struct file *file, uint32_t events, bool nonblocking) {
    for (;;) {
        if (file_poll(file, NULL) & (events | EPOLLHUP | EPOLLERR)) {
            return 0;
        }
        if (nonblocking) {
            return -EAGAIN;
        }
        int error = file_wait(file, events, WAIT_FOREVER);

        if (error) {
            return error;
        }
    }
}

/* Never more is taken out of `in` than `out` surely takes: bytes of a pipe can not be put back. */
static ssize_t splice_room(struct file *out, size_t size) {
    int room = 0;
    int fd;

    if (!file_is_pipe(out)) {
        return (ssize_t)MIN(size, (size_t)SPLICE_CHUNK);
    }
    fd = out->ops->host_fd(out);
    int capacity = pipe_get_size(out);
    int error = fd < 0 ? fd : host_ioctl(fd, FIONREAD, &room);

    if (error || capacity < 0) {
        return error ? error : capacity;
    }
    /* Each write takes whole pages of the host's pipe, so only full free pages are sure. */
    room = capacity - room;
    return (ssize_t)MIN(size, (size_t)MAX(room, (int)PIPE_BUF));
}

static ssize_t splice_bytes(struct task *current, struct file *in, int64_t *in_pos,
                            struct file *out, int64_t *out_pos, size_t size, bool nonblocking) {
    char *buffer CLEANUP(free) = NULL;
    size_t done = 0;

    buffer = malloc(MIN(size, (size_t)SPLICE_CHUNK));
    if (!buffer) {
        return -ENOMEM;
    }
    while (done < size) {
        ssize_t chunk, got, put = 0;
        bool wait = !nonblocking && done == 0;
        int error = in_pos || !in->ops->poll ? 0 : splice_wait(in, EPOLLIN, !wait);

        if (!error && !out_pos && out->ops->poll) {
            error = splice_wait(out, EPOLLOUT, !wait);
        }
        if (error) {
            return done ? (ssize_t)done : error;
        }
        chunk = splice_room(out, MIN(size - done, (size_t)SPLICE_CHUNK));
        if (chunk <= 0) {
            return done ? (ssize_t)done : chunk;
        }
        if (S_ISREG(out->inode->type)) {
            if (!(file_poll(in, NULL) & EPOLLIN)) {
                break; /* the end of the pipe, which breaks no limit */
            }
            int64_t pos = out_pos ? *out_pos : file_pos_peek(out);

            chunk = (ssize_t)file_size_room(current, out, pos, (size_t)chunk);
            if (chunk == 0) {
                return done ? (ssize_t)done : -EFBIG;
            }
        }
        got = in_pos ? file_pread(in, buffer, (size_t)chunk, *in_pos)
                     : file_read(in, buffer, (size_t)chunk);
        if (got <= 0) {
            return done ? (ssize_t)done : got;
        }
        while (put < got) {
            ssize_t written =
                out_pos ? file_pwrite(out, buffer + put, (size_t)(got - put), *out_pos + put)
                        : file_write(out, buffer + put, (size_t)(got - put));

            if (written == -EAGAIN && !splice_wait(out, EPOLLOUT, false)) {
                continue;
            }
            if (written < 0) {
                return done + (size_t)put ? (ssize_t)(done + (size_t)put) : written;
            }
            put += written;
        }
        done += (size_t)got;
        if (in_pos) {
            *in_pos += got;
        }
        if (out_pos) {
            *out_pos += got;
        }
        if (got < chunk) {
            break;
        }
    }
    return (ssize_t)done;
}

int64_t sys_splice(struct task *current, int fd_in, struct user_address off_in, int fd_out,
                   struct user_address off_out, size_t len, unsigned flags) {
    struct file *in CLEANUP(file_put) = NULL, *out CLEANUP(file_put) = NULL;
    bool has_in = !user_address_is_null(off_in), has_out = !user_address_is_null(off_out);
    int64_t in_pos = 0, out_pos = 0;
    ssize_t result;
    int error = 0;

    if (len == 0) {
        return 0;
    }
    if (flags & ~SPLICE_FLAGS) {
        return unsupported_flags("splice", flags, SPLICE_FLAGS, EINVAL);
    }
    in = task_call_file(current, fd_in);
    out = task_call_file(current, fd_out);
    if (!in || !out || !(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE)) {
        return -EBADF;
    }
    bool in_pipe = file_is_pipe(in), out_pipe = file_is_pipe(out);

    if (!in_pipe && !out_pipe) {
        return -EINVAL;
    }
    if ((in_pipe && has_in) || (out_pipe && has_out)) {
        return -ESPIPE;
    }
    if (pipe_same(in, out) || (atomic_load(&out->flags) & O_APPEND)) {
        return -EINVAL;
    }
    if ((has_in && !(in->mode & FMODE_SEEK)) || (has_out && !(out->mode & FMODE_SEEK))) {
        return -EINVAL;
    }
    if (has_in) {
        error = get_user(current->thread, in_pos, off_in);
    }
    if (!error && has_out) {
        error = get_user(current->thread, out_pos, off_out);
    }
    if (error) {
        return error;
    }
    if (in_pos < 0 || out_pos < 0) {
        return -EINVAL;
    }
    bool nonblocking = (flags & SPLICE_F_NONBLOCK) ||
                       ((atomic_load(&in->flags) | atomic_load(&out->flags)) & O_NONBLOCK);

    result = splice_bytes(current, in, has_in ? &in_pos : NULL, out, has_out ? &out_pos : NULL,
                          MIN(len, (size_t)INT32_MAX), nonblocking);
    if (result > 0 && has_in) {
        error = put_user(current->thread, in_pos, off_in);
    }
    if (result > 0 && has_out && !error) {
        error = put_user(current->thread, out_pos, off_out);
    }
    return error ? error : result;
}

int64_t sys_tee(struct task *current, int fd_in, int fd_out, size_t len, unsigned flags) {
    struct file *in CLEANUP(file_put) = NULL, *out CLEANUP(file_put) = NULL;
    ssize_t result;

    if (flags & ~SPLICE_FLAGS) {
        return unsupported_flags("tee", flags, SPLICE_FLAGS, EINVAL);
    }
    if (len == 0) {
        return 0;
    }
    in = task_call_file(current, fd_in);
    out = task_call_file(current, fd_out);
    if (!in || !out || !(in->mode & FMODE_READ) || !(out->mode & FMODE_WRITE)) {
        return -EBADF;
    }
    if (!file_is_pipe(in) || !file_is_pipe(out) || pipe_same(in, out)) {
        return -EINVAL;
    }
    bool nonblocking = (flags & SPLICE_F_NONBLOCK) ||
                       ((atomic_load(&in->flags) | atomic_load(&out->flags)) & O_NONBLOCK);

    for (;;) {
        int error = splice_wait(in, EPOLLIN, nonblocking);

        if (!error && !(file_poll(in, NULL) & EPOLLIN)) {
            return 0; /* the end */
        }
        if (!error) {
            error = splice_wait(out, EPOLLOUT, nonblocking);
        }
        if (error) {
            return error;
        }
        result = host_tee(in->ops->host_fd(in), out->ops->host_fd(out), MIN(len, (size_t)INT32_MAX),
                          SPLICE_F_NONBLOCK);
        if (result > 0) {
            pipe_host_moved(out);
        }
        if (result != -EAGAIN || nonblocking) {
            return result;
        }
    }
}

int64_t sys_vmsplice(struct task *current, int fd, struct user_address iov, unsigned long nr_segs,
                     unsigned flags) {
    struct file *file CLEANUP(file_put) = NULL;
    struct user_buffer buffer;
    char *bytes CLEANUP(free) = NULL;
    size_t done = 0;
    ssize_t result;

    if (flags & ~SPLICE_FLAGS) {
        return unsupported_flags("vmsplice", flags, SPLICE_FLAGS, EINVAL);
    }
    file = task_call_file(current, fd);
    if (!file || !file_is_pipe(file)) {
        return -EBADF;
    }
    bool writes = file->mode & FMODE_WRITE;

    result = user_buffer_import(current->thread, &buffer, iov, nr_segs);
    if (result) {
        return result;
    }
    bytes = malloc(SPLICE_CHUNK);
    if (!bytes) {
        user_buffer_destroy(&buffer);
        return -ENOMEM;
    }
    result = 0;
    while (buffer.total) {
        result =
            splice_wait(file, writes ? EPOLLOUT : EPOLLIN, done || (flags & SPLICE_F_NONBLOCK));
        if (result) {
            break;
        }
        /* Page by page: what was taken from the guest is surely taken by the pipe. */
        size_t chunk = MIN(buffer.total, (size_t)PIPE_BUF);

        if (writes) {
            result = user_buffer_read(current->thread, &buffer, bytes, chunk);
            if (result > 0) {
                result = file_write(file, bytes, (size_t)result);
            }
        } else {
            result = file_read(file, bytes, chunk);
            if (result > 0) {
                result = user_buffer_write(current->thread, &buffer, bytes, (size_t)result);
            }
        }
        if (result <= 0) {
            break;
        }
        done += (size_t)result;
    }
    user_buffer_destroy(&buffer);
    return done ? (int64_t)done : result;
}
