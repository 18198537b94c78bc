/* What the files of pipes share; pipe.c tells about the whole. */
#ifndef STARLING_PIPE_INTERNAL_H
#define STARLING_PIPE_INTERNAL_H

#include "files/files_internal.h"
#include "host/host_buffer.h"

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

struct pipe_end {
    struct pipe *pipe;       /* owned */
    unsigned writers_before; /* writers_opened at open: no EPOLLHUP before a first writer came */
};

static inline struct pipe_end *file_pipe_end(struct file *file) {
    return file->ops == &fifo_file_ops ? file->private : NULL;
}

static inline bool pipe_has_writers(struct pipe *pipe) {
    LOCK_GUARD(&pipe->lock);
    return pipe->writers > 0;
}

static inline bool pipe_has_readers(struct pipe *pipe) {
    LOCK_GUARD(&pipe->lock);
    return pipe->readers > 0;
}

/* O_DIRECT at any end makes packets of what is written through it; the host has one flag. */
static inline int MUST_CHECK pipe_set_packets(struct pipe *pipe, bool packets) {
    return host_fcntl(pipe->host_write, F_SETFL, O_NONBLOCK | (packets ? O_DIRECT : 0));
}

/* pipe_io.c: file_ops */
ssize_t fifo_read(struct file *file, void *buffer, size_t size, int64_t *pos);
ssize_t fifo_write(struct file *file, const void *buffer, size_t size, int64_t *pos);
uint32_t fifo_poll(struct file *file, struct poll_table *table);
int64_t fifo_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                   struct user_address argument);

/* pipe_direct.c */
/* After the caller has put itself on the queue and before it looks. */
void pipe_watch(struct pipe *pipe);
/* The kernel moves every byte from now on. */
void pipe_unwatch(struct pipe *pipe);
int fifo_donate(struct file *file, uint32_t *rights);
int fifo_donated_flags(struct file *file, int fd, int flags);

#endif
