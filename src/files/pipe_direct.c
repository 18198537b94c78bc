/* Pipes: ends that guests read and write by themselves, and how others hear of it. */
#include <fcntl.h>

#include "files/pipe_internal.h"

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

void pipe_watch(struct pipe *pipe) {
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

void pipe_unwatch(struct pipe *pipe) {
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

/* ---- giving ---- */

/* A description that blocks unless the file's flags say otherwise. Packets are left to the kernel.
 */
int fifo_donate(struct file *file, uint32_t *rights) {
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

int fifo_donated_flags(struct file *file, int fd, int flags) {
    return flags & (O_DIRECT | O_ASYNC) ? -EAGAIN : host_fcntl(fd, F_SETFL, flags & O_NONBLOCK);
}
