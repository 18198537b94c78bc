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
#include <sys/ioctl.h>

#include "files/files_internal.h"
#include "host/host_buffer.h"

#define PIPE_MAX_SIZE (1 << 20) /* pipe(7): /proc/sys/fs/pipe-max-size */
#define PIPEFS_MAGIC  0x50495045u

struct pipe {
    struct ref ref;
    struct wait_queue wait;         /* readers, writers, openers */
    struct lock lock;               /* class PIPE */
    _Atomic bool direct;            /* an end was donated once */
    struct lock watch_lock;         /* class DEVICE */
    struct poller_watch watches[2]; /* of the host's two ends; guarded by watch_lock */
    bool watching;                  /* likewise */
    /* guarded by lock */
    unsigned readers, writers;               /* open files */
    unsigned readers_opened, writers_opened; /* ever: openers wait for these to change */
    /* changed under lock, from and to -1, only while no end is open; so stable for an open end */
    int host_read, host_write;
    struct host_buffer buffer; /* owns them */
};

static struct super_block *pipefs; /* made once, stays */

struct pipe_end {
    struct pipe *pipe;       /* owned */
    unsigned writers_before; /* writers_opened at open: no EPOLLHUP before a first writer came */
};

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

/* ---- waiting for what guests do by themselves ---- */

#define WATCH_IN  (EPOLLIN | EPOLLET)
#define WATCH_OUT (EPOLLOUT | EPOLLET)

/* Event thread. Goes on watching only while somebody waits. */
static void pipe_moved(void *arg, uint32_t events) {
    struct pipe *pipe = arg;
    bool waited;

    wait_queue_wake(&pipe->wait, EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM);
    LOCK_GUARD(&pipe->watch_lock);
    lock_acquire(&pipe->wait.lock);
    waited = !list_empty(&pipe->wait.entries);
    lock_release(&pipe->wait.lock);
    if (!waited && pipe->watching) {
        pipe->watching = false;
        for (int i = 0; i < 2; i++) {
            if (pipe->watches[i].active) {
                (void)!poller_modify(&pipe->watches[i], 0);
            }
        }
    }
}

static void watch_one(struct pipe *pipe, int index, int fd, uint32_t events) {
    struct poller_watch *watch = &pipe->watches[index];
    int result;

    if (watch->active) {
        result = poller_modify(watch, events);
    } else {
        *watch = (struct poller_watch){.fd = fd, .fn = pipe_moved, .arg = pipe, .events = events};
        result = poller_add(watch);
    }
    if (result) {
        log_once(LOG_WARN, "pipe", (uint64_t)-result, "cannot watch a pipe: %s", strerror(-result));
    }
}

/* After the caller has put itself on the queue and before it looks. */
static void pipe_watch(struct pipe *pipe) {
    if (!atomic_load(&pipe->direct)) {
        return;
    }
    LOCK_GUARD(&pipe->watch_lock);
    if (!pipe->watching && atomic_load(&pipe->direct)) {
        pipe->watching = true;
        watch_one(pipe, 0, pipe->host_read, WATCH_IN);
        watch_one(pipe, 1, pipe->host_write, WATCH_OUT);
    }
}

/* The kernel moves every byte from now on. */
static void pipe_unwatch(struct pipe *pipe) {
    bool direct;

    lock_acquire(&pipe->watch_lock);
    direct = atomic_exchange(&pipe->direct, false);
    /* Before the watches go, one by one: pipe_moved() may run for the other just now. */
    pipe->watching = false;
    lock_release(&pipe->watch_lock);
    if (!direct) {
        return;
    }
    poller_remove(&pipe->watches[0]);
    poller_remove(&pipe->watches[1]);
    wait_queue_wake(&pipe->wait, 0); /* what was on its way */
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

static struct pipe_end *file_pipe_end(struct file *file) {
    return file->ops == &fifo_file_ops ? file->private : NULL;
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

/* O_DIRECT at any end makes packets of what is written through it; the host has one flag. */
static int pipe_set_packets(struct pipe *pipe, bool packets) {
    return host_fcntl(pipe->host_write, F_SETFL, O_NONBLOCK | (packets ? O_DIRECT : 0));
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

static bool pipe_has_writers(struct pipe *pipe) {
    LOCK_GUARD(&pipe->lock);
    return pipe->writers > 0;
}

static bool pipe_has_readers(struct pipe *pipe) {
    LOCK_GUARD(&pipe->lock);
    return pipe->readers > 0;
}

static ssize_t fifo_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    ssize_t result;

    if (size == 0) {
        return 0;
    }
    entry.events = EPOLLIN | EPOLLHUP;
    for (;;) {
        bool writers = pipe_has_writers(pipe);

        result = host_read(pipe->host_read, buffer, size);
        if (result != -EAGAIN) {
            break;
        }
        if (!writers) {
            result = 0;
            break;
        }
        if (file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&pipe->wait, &entry);
            pipe_watch(pipe);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    if (result > 0) {
        wait_queue_wake(&pipe->wait, EPOLLOUT | EPOLLWRNORM);
    }
    return result;
}

static ssize_t pipe_broken(void) {
    struct task *current = current_task();

    if (current) {
        struct signal_info info;

        signal_info_user(&info, SIGPIPE, SI_USER, current);
        (void)!signal_send_task(current, &info);
    }
    return -EPIPE;
}

static ssize_t fifo_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t done = 0;
    ssize_t result = 0;

    if (size == 0) {
        return 0;
    }
    entry.events = EPOLLOUT | EPOLLERR;
    while (done < size) {
        if (!pipe_has_readers(pipe)) {
            result = pipe_broken();
            break;
        }
        result = host_write(pipe->host_write, (const char *)buffer + done, size - done);
        if (result > 0) {
            done += (size_t)result;
            result = 0;
            wait_queue_wake(&pipe->wait, EPOLLIN | EPOLLRDNORM);
            continue;
        }
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&pipe->wait, &entry);
            pipe_watch(pipe);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return done ? (ssize_t)done : result;
}

static uint32_t fifo_poll(struct file *file, struct poll_table *table) {
    struct pipe_end *end = file->private;
    struct pipe *pipe = end->pipe;
    uint32_t mask = 0;

    if (table) {
        if (table->wake) {
            donation_forbid(file->inode);
            pipe_unwatch(pipe);
        }
        poll_table_add(table, &pipe->wait);
        pipe_watch(pipe);
    }
    lock_acquire(&pipe->lock);
    bool hangup = !pipe->writers && pipe->writers_opened != end->writers_before;
    bool broken = !pipe->readers;

    lock_release(&pipe->lock);
    if (file->mode & FMODE_READ) {
        if (host_poll_now(pipe->host_read, EPOLLIN) & EPOLLIN) {
            mask |= EPOLLIN | EPOLLRDNORM;
        }
        if (hangup) {
            mask |= EPOLLHUP;
        }
    }
    if (file->mode & FMODE_WRITE) {
        if (host_poll_now(pipe->host_write, EPOLLOUT) & EPOLLOUT) {
            mask |= EPOLLOUT | EPOLLWRNORM;
        }
        if (broken) {
            mask |= EPOLLERR;
        }
    }
    return mask;
}

static int64_t fifo_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                          struct user_address argument) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    int value = 0;
    int error;

    if (command != FIONREAD) {
        return -ENOTTY;
    }
    error = host_ioctl(pipe->host_read, FIONREAD, &value);
    return error ? error : put_user(thread, value, argument);
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

/* A description that blocks unless the file's flags say otherwise. Packets are left to the kernel.
 */
static int fifo_donate(struct file *file, uint32_t *rights) {
    struct pipe *pipe = ((struct pipe_end *)file->private)->pipe;
    bool reads = file->mode & FMODE_READ, writes = file->mode & FMODE_WRITE, waited;
    int flags = atomic_load(&file->flags);
    int fd;

    /* Without its other side a call would sleep for good: the kernel holds both ends. Whoever
     * leaves after this look takes back what comes of it. */
    if ((flags & (O_DIRECT | O_ASYNC)) || (reads && !pipe_has_writers(pipe)) ||
        (writes && !pipe_has_readers(pipe))) {
        return -EAGAIN;
    }
    host_pipe_lend(&pipe->buffer);
    *rights = SLOT_FD_BLOCKS | (reads ? SLOT_FD_READ : 0) | (writes ? SLOT_FD_WRITE : 0);
    fd = host_reopen(reads ? pipe->host_read : pipe->host_write, (reads && writes ? O_RDWR
                                                                  : writes        ? O_WRONLY
                                                                                  : O_RDONLY) |
                                                                     (flags & O_NONBLOCK));
    if (fd < 0) {
        return fd;
    }
    lock_acquire(&pipe->watch_lock);
    if (!atomic_load(&file->inode->not_donated)) {
        atomic_store(&pipe->direct, true);
    }
    lock_release(&pipe->watch_lock);
    lock_acquire(&pipe->wait.lock);
    waited = !list_empty(&pipe->wait.entries);
    lock_release(&pipe->wait.lock);
    if (waited) {
        pipe_watch(pipe);
    }
    return fd;
}

static int fifo_donated_flags(struct file *file, int fd, int flags) {
    return flags & (O_DIRECT | O_ASYNC) ? -EAGAIN : host_fcntl(fd, F_SETFL, flags & O_NONBLOCK);
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
