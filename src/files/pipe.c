/*
 * Pipes and FIFOs: pipe(7), fifo(7). The bytes are in a host pipe (non-blocking) of which the
 * kernel keeps both ends; who waits for whom is decided here: guest readers and writers are
 * counted, and wait on the pipe's own queue, woken directly by the other side's kernel thread.
 *
 * An end that is used much is donated: its guests read or write a description of their own that
 * blocks, and leave all else to the kernel. Then bytes come and go without a word, so whoever waits
 * here has the event thread watch the host's pipe as well. The last close of an end takes back what
 * is donated of the other, which ends the calls that sleep there: so the end of file and the broken
 * pipe are told by the counts alone, whatever descriptors are left in guest processes. A pipe in an
 * epoll set is not donated: what was an edge, only the kernel's own order of things can tell.
 *
 * Invariants. The host pipe exists as long as readers + writers > 0 (a FIFO that nobody has open
 * keeps no bytes). The host never sees an end of file or a broken pipe: `writers == 0` and
 * `readers == 0` say so, looked at before the host is asked, so that what was written before the
 * last close is still read.
 *
 * Life: the inode owns the pipe through inode->endpoint; each open end has a struct pipe_end that
 * holds a reference too. /proc/self/fd/N of a pipe opens the same inode again, and so the same
 * pipe.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>

#include "files/pipe_internal.h"

#define PIPE_MAX_SIZE (1 << 20) /* pipe(7): /proc/sys/fs/pipe-max-size */
#define PIPEFS_MAGIC  0x50495045u

static struct super_block *pipefs; /* made once, stays */

static struct pipe *pipe_alloc(void) {
    struct pipe *pipe = calloc(1, sizeof(*pipe));

    if (!pipe) {
        return NULL;
    }
    ref_init(&pipe->ref);
    wait_queue_init(&pipe->wait);
    lock_init(&pipe->lock, LOCK_PIPE);
    lock_init(&pipe->watch_lock, LOCK_DEVICE);
    pipe->host_read = pipe->host_write = -1;
    return pipe;
}

/* After pipe_unwatch(). */
static void pipe_close_host_locked(struct pipe *pipe) {
    if (pipe->host_read >= 0) {
        host_pipe_close(&pipe->buffer);
        pipe->host_read = pipe->host_write = -1;
    }
}

static void pipe_put(struct pipe *pipe) {
    if (!ref_put(&pipe->ref)) {
        return;
    }
    pipe_unwatch(pipe);
    pipe_close_host_locked(pipe);
    wait_queue_destroy(&pipe->wait);
    lock_destroy(&pipe->watch_lock);
    lock_destroy(&pipe->lock);
    free(pipe);
}

static void pipe_endpoint_release(void *endpoint) {
    pipe_put(endpoint);
}

/* The pipe of a FIFO's inode, made on first use. */
static struct pipe *inode_pipe(struct inode *inode) {
    void *have = atomic_load(&inode->endpoint);

    if (!have) {
        struct pipe *pipe = pipe_alloc();

        if (!pipe) {
            return NULL;
        }
        inode->endpoint_release = pipe_endpoint_release;
        if (!atomic_compare_exchange_strong(&inode->endpoint, &have, pipe)) {
            pipe_put(pipe);
        } else {
            have = pipe;
        }
    }
    return have;
}

static int pipe_open_host_locked(struct pipe *pipe) {
    int error;

    if (pipe->host_read >= 0) {
        return 0;
    }
    error = host_pipe_open(&pipe->buffer);
    if (error) {
        return error;
    }
    pipe->host_read = pipe->buffer.fd;
    pipe->host_write = pipe->buffer.write_fd;
    return 0;
}

/* An end goes: whoever waits for it learns so. */
static void pipe_leave(struct pipe *pipe, struct inode *inode, mode_t mode) {
    bool alone;

    lock_acquire(&pipe->lock);
    pipe->readers -= (mode & FMODE_READ) != 0;
    pipe->writers -= (mode & FMODE_WRITE) != 0;
    bool last_reader = (mode & FMODE_READ) && !pipe->readers;
    bool last_writer = (mode & FMODE_WRITE) && !pipe->writers;

    alone = !pipe->readers && !pipe->writers;
    lock_release(&pipe->lock);
    if (alone) {
        pipe_unwatch(pipe);
        lock_acquire(&pipe->lock);
        if (!pipe->readers && !pipe->writers) {
            pipe_close_host_locked(pipe);
        }
        lock_release(&pipe->lock);
    }
    if (last_reader || last_writer) {
        donation_revoke_inode(inode, false);
        wait_queue_wake(&pipe->wait, EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM |
                                         (last_writer ? EPOLLHUP : 0) |
                                         (last_reader ? EPOLLERR : 0));
    }
}

/* fifo(7): an open for reading waits for a writer and the other way round: for `opened` to change.
 */
static int pipe_wait_partner(struct pipe *pipe, const unsigned *opened, unsigned before) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    wait_queue_add(&pipe->wait, &entry);
    while (!result) {
        lock_acquire(&pipe->lock);
        bool came = *opened != before;
        lock_release(&pipe->lock);
        if (came) {
            break;
        }
        result = wait_sleep(WAIT_FOREVER);
    }
    wait_queue_remove(&entry);
    return result;
}

static int fifo_open(struct inode *inode, struct file *file) {
    bool reads = file->mode & FMODE_READ, writes = file->mode & FMODE_WRITE;
    /* A pipe opened again by /proc/self/fd does not wait, only a FIFO does. */
    bool waits = inode->sb != pipefs;
    struct pipe *pipe;
    struct pipe_end *end;
    int error;

    if (file->private) {
        return 0;
    }
    pipe = inode_pipe(inode);
    end = calloc(1, sizeof(*end));
    if (!pipe || !end) {
        free(end);
        return -ENOMEM;
    }
    lock_acquire(&pipe->lock);
    if (waits && writes && !reads && file_nonblocking(file) && !pipe->readers) {
        lock_release(&pipe->lock);
        free(end);
        return -ENXIO;
    }
    error = pipe_open_host_locked(pipe);
    if (error) {
        lock_release(&pipe->lock);
        free(end);
        return error;
    }
    pipe->readers += reads;
    pipe->writers += writes;
    pipe->readers_opened += reads;
    pipe->writers_opened += writes;
    end->writers_before = pipe->writers_opened;
    const unsigned *opened = reads ? &pipe->writers_opened : &pipe->readers_opened;
    unsigned before = *opened;
    bool alone = waits && reads != writes && (reads ? pipe->writers : pipe->readers) == 0;

    lock_release(&pipe->lock);
    wait_queue_wake(&pipe->wait, 0);
    if (alone && !file_nonblocking(file)) {
        error = pipe_wait_partner(pipe, opened, before);
        if (error) {
            pipe_leave(pipe, inode, file->mode);
            free(end);
            return error;
        }
    }
    ref_get(&pipe->ref);
    end->pipe = pipe;
    file->private = end;
    return 0;
}

static void fifo_release(struct file *file) {
    struct pipe_end *end = file->private;

    if (!end) {
        return; /* the open itself failed */
    }
    pipe_leave(end->pipe, file->inode, file->mode);
    pipe_put(end->pipe);
    free(end);
}

static int fifo_host_fd(struct file *file) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;

    return file->mode & FMODE_READ ? pipe->host_read : pipe->host_write;
}

static int fifo_set_flags(struct file *file, int flags) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;

    if (!(file->mode & FMODE_WRITE)) {
        return 0;
    }
    return pipe_set_packets(pipe, flags & O_DIRECT);
}

const struct file_ops fifo_file_ops = {
    .read = fifo_read,
    .write = fifo_write,
    .poll = fifo_poll,
    .ioctl = fifo_ioctl,
    .host_fd = fifo_host_fd,
    .set_flags = fifo_set_flags,
    .release = fifo_release,
    .donate = fifo_donate,
    .donated_flags = fifo_donated_flags,
};

int fifo_register(void) {
    static const struct device fifo = {
        .type = S_IFIFO, .name = "fifo", .ops = &fifo_file_ops, .open = fifo_open};

    return device_register(&fifo);
}

bool file_is_pipe(struct file *file) {
    return file_pipe_end(file) != NULL;
}

bool pipe_same(struct file *a, struct file *b) {
    struct pipe_end *one = file_pipe_end(a), *other = file_pipe_end(b);

    return one && other && one->pipe == other->pipe;
}

int pipe_get_size(struct file *file) {
    struct pipe_end *end = file_pipe_end(file);

    return end ? host_fcntl(end->pipe->host_read, F_GETPIPE_SZ, 0) : -EBADF;
}

int pipe_set_size(struct file *file, unsigned size) {
    struct pipe_end *end = file_pipe_end(file);
    int result;

    if (!end) {
        return -EBADF;
    }
    if (size > PIPE_MAX_SIZE) {
        return size > INT32_MAX ? -EINVAL : -EPERM;
    }
    result = host_fcntl(end->pipe->host_write, F_SETPIPE_SZ, size);
    if (result >= 0) {
        wait_queue_wake(&end->pipe->wait, EPOLLOUT | EPOLLWRNORM);
    }
    return result;
}

void pipe_host_moved(struct file *file) {
    struct pipe_end *end = file_pipe_end(file);

    if (end) {
        wait_queue_wake(&end->pipe->wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
    }
}

/* ---- pipe(2) ---- */

static const struct file_system_type pipefs_type = {
    .name = "pipefs", .nodev = true, .magic = PIPEFS_MAGIC};
static const struct inode_ops pipe_inode_ops = {.open = fifo_open};
static pthread_once_t pipefs_once = PTHREAD_ONCE_INIT;

static void pipefs_make(void) {
    pipefs = super_block_new(&pipefs_type, NULL);
}

int pipe_new(int flags, uid_t uid, gid_t gid, struct file **read_end, struct file **write_end) {
    struct inode *inode CLEANUP(inode_put) = NULL;
    struct dentry *dentry CLEANUP(dentry_put) = NULL;
    struct credentials *creds CLEANUP(credentials_put) = files_creds();
    struct file *reader CLEANUP(file_put) = NULL;
    char name[40];
    int error;

    pthread_once(&pipefs_once, pipefs_make);
    if (IS_ERR(pipefs) || !creds) {
        return -ENOMEM;
    }
    ino_t ino = super_block_next_ino(pipefs);
    struct inode *fresh = inode_new(pipefs, ino, S_IFIFO, &pipe_inode_ops, &fifo_file_ops, NULL);

    if (IS_ERR(fresh)) {
        return (int)PTR_ERR(fresh);
    }
    inode = fresh;
    inode->uid = uid;
    inode->gid = gid;
    snprintf(name, sizeof(name), "pipe:[%lu]", (unsigned long)ino);
    dentry = dentry_new_anonymous(inode, name);
    if (!dentry) {
        return -ENOMEM;
    }
    if (IS_ERR(dentry)) {
        return (int)PTR_ERR(STEAL(dentry));
    }
    struct path path = {.dentry = dentry};

    error = file_open_path(&path, O_RDONLY | flags, creds, &reader);
    if (!error) {
        error = file_open_path(&path, O_WRONLY | flags, creds, write_end);
    }
    if (error) {
        return error;
    }
    if (flags & O_DIRECT) {
        struct pipe_end *end = reader->private;

        (void)!pipe_set_packets(end->pipe, true);
    }
    *read_end = STEAL(reader);
    return 0;
}
