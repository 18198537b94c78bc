/*
 * A host descriptor that came from outside, mostly the sandbox's standard ones: a pipe, a socket, a
 * regular file, /dev/null. (A terminal is files/tty.c's.) Its description is shared with processes
 * that know nothing of us: its flags stay as they are, and its position, if it has one, is the
 * host's.
 *
 * A read or write never blocks in the host where the host offers RWF_NOWAIT; elsewhere it is tried
 * only when poll says that it will not. Waiting is for the event thread: a one-shot watch that is
 * armed while somebody sleeps.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "fs/vfs_internal.h"

struct host_descriptor {
    int fd;                    /* owned */
    bool watchable;            /* regular files are always ready and cannot be watched */
    struct lock lock;          /* class DEVICE */
    struct poller_watch watch; /* guarded by lock */
    struct wait_queue wait;
};

static struct host_descriptor *descriptor_of(struct file *file) {
    return file->private;
}

/* Event thread. */
static void became_ready(void *arg, uint32_t events) {
    struct host_descriptor *descriptor = arg;

    wait_queue_wake(&descriptor->wait, 0);
}

/* Has the event thread tell of the next change. */
static void arm(struct host_descriptor *descriptor) {
    int result;
    LOCK_GUARD(&descriptor->lock);

    if (descriptor->watch.active) {
        result = poller_modify(&descriptor->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLONESHOT);
    } else {
        descriptor->watch = (struct poller_watch){
            .fd = descriptor->fd,
            .fn = became_ready,
            .arg = descriptor,
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLONESHOT,
        };
        result = poller_add(&descriptor->watch);
    }
    if (result) {
        log_once(LOG_WARN, "host_descriptor", (uint64_t)-result,
                 "cannot watch a standard descriptor: %s", strerror(-result));
    }
}

static uint32_t descriptor_poll(struct file *file, struct poll_table *table) {
    struct host_descriptor *descriptor = descriptor_of(file);

    if (!descriptor->watchable) {
        return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
    }
    if (table) {
        poll_table_add(table, &descriptor->wait);
    }
    uint32_t mask = host_poll_now(descriptor->fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP);

    if (table && !(mask & (table->events | EPOLLERR | EPOLLHUP))) {
        arm(descriptor);
    }
    return mask;
}

typedef ssize_t move_fn(struct host_descriptor *descriptor, void *buffer, size_t size, int flags);

static ssize_t move_in(struct host_descriptor *descriptor, void *buffer, size_t size, int flags) {
    return host_read_flags(descriptor->fd, buffer, size, -1, flags);
}

static ssize_t move_out(struct host_descriptor *descriptor, void *buffer, size_t size, int flags) {
    return host_write_flags(descriptor->fd, buffer, size, -1, flags);
}

/* As read(2) and write(2) would, but for where it sleeps. */
static ssize_t move(struct file *file, void *buffer, size_t size, uint32_t event, move_fn *fn) {
    struct host_descriptor *descriptor = descriptor_of(file);

    if (!descriptor->watchable) {
        return fn(descriptor, buffer, size, 0);
    }
    for (;;) {
        ssize_t count = fn(descriptor, buffer, size, RWF_NOWAIT);
        int result;

        if (count == -EOPNOTSUPP || count == -EINVAL) {
            /* The kind of file does not know RWF_NOWAIT: only after poll, and then no more than a
             * page, which does not block. */
            if (host_poll_now(descriptor->fd, event) & (event | EPOLLHUP | EPOLLERR)) {
                return fn(descriptor, buffer, MIN(size, PAGE_SIZE), 0);
            }
            count = -EAGAIN;
        }
        if (count != -EAGAIN) {
            return count;
        }
        result = file_wait(file, event, WAIT_FOREVER);
        if (result) {
            return result;
        }
    }
}

static ssize_t descriptor_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    if (pos && pos != &file->pos) {
        return host_pread(descriptor_of(file)->fd, buffer, size, *pos);
    }
    return move(file, buffer, size, EPOLLIN, move_in);
}

static ssize_t descriptor_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    if (pos && pos != &file->pos) {
        return host_pwrite(descriptor_of(file)->fd, buffer, size, *pos);
    }
    return move(file, (void *)buffer, size, EPOLLOUT, move_out);
}

static int64_t descriptor_llseek(struct file *file, int64_t offset, int whence) {
    return host_lseek(descriptor_of(file)->fd, offset, whence);
}

static int descriptor_host_fd(struct file *file) {
    return descriptor_of(file)->fd;
}

static int mapped_fd(struct file *file, int prot, bool shared) {
    return descriptor_of(file)->fd;
}

static struct memory_object *descriptor_mmap(struct file *file, int prot, int flags) {
    return file_object_new(file, mapped_fd);
}

static int descriptor_fsync(struct file *file, bool data_only) {
    return host_fsync(descriptor_of(file)->fd, data_only);
}

static void descriptor_release(struct file *file) {
    struct host_descriptor *descriptor = descriptor_of(file);

    poller_remove(&descriptor->watch);
    wait_queue_destroy(&descriptor->wait);
    lock_destroy(&descriptor->lock);
    (void)host_close(descriptor->fd);
    free(descriptor);
}

/* Attributes are the host's; the file's inode carries no other state. */
static int descriptor_getattr(struct inode *inode, struct kstat *stat) {
    const struct host_descriptor *descriptor = inode->private;
    struct stat host;
    int result = host_fstat(descriptor->fd, &host);

    if (result) {
        return result;
    }
    *stat = (struct kstat){
        .dev = host.st_dev,
        .ino = host.st_ino,
        .mode = host.st_mode,
        .nlink = (uint32_t)host.st_nlink,
        .uid = host.st_uid,
        .gid = host.st_gid,
        .rdev = host.st_rdev,
        .size = host.st_size,
        .blocks = host.st_blocks,
        .blksize = (uint32_t)host.st_blksize,
        .atime = host.st_atim,
        .mtime = host.st_mtim,
        .ctime = host.st_ctim,
    };
    return 0;
}

/* ftruncate(2) of a standard output that is a regular file; the rest is not the guest's to change.
 */
static int descriptor_setattr(struct inode *inode, const struct iattr *attr) {
    const struct host_descriptor *descriptor = inode->private;

    if (attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID)) {
        return -EPERM;
    }
    return attr->valid & ATTR_SIZE ? host_ftruncate(descriptor->fd, attr->size) : 0;
}

static const struct inode_ops descriptor_inode_ops = {
    .getattr = descriptor_getattr,
    .setattr = descriptor_setattr,
};

static const struct file_ops descriptor_ops = {
    .read = descriptor_read,
    .write = descriptor_write,
    .llseek = descriptor_llseek,
    .poll = descriptor_poll,
    .mmap = descriptor_mmap,
    .host_fd = descriptor_host_fd,
    .fsync = descriptor_fsync,
    .release = descriptor_release,
};

/* Pipes and sockets: neither a position nor pages. */
static const struct file_ops stream_ops = {
    .read = descriptor_read,
    .write = descriptor_write,
    .poll = descriptor_poll,
    .host_fd = descriptor_host_fd,
    .release = descriptor_release,
};

/* As /proc/PID/fd shows it: Linux's names where there is one that tells nothing of the host. */
static void descriptor_name(const struct stat *stat, char *name, size_t size) {
    unsigned long long ino = stat->st_ino;

    if (S_ISCHR(stat->st_mode) && stat->st_rdev == makedev(1, 3)) {
        snprintf(name, size, "/dev/null");
    } else {
        snprintf(name, size, "%s:[%llu]",
                 S_ISFIFO(stat->st_mode)   ? "pipe"
                 : S_ISSOCK(stat->st_mode) ? "socket"
                                           : "host",
                 ino);
    }
}

int host_descriptor_file_new(int fd, int flags, struct file **file) {
    struct host_descriptor *descriptor;
    struct stat stat;
    char name[32];
    int result = host_fstat(fd, &stat);

    if (result) {
        return result;
    }
    descriptor = calloc(1, sizeof(*descriptor));
    if (!descriptor) {
        return -ENOMEM;
    }
    descriptor->fd = fd;
    descriptor->watchable = !S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode);
    lock_init(&descriptor->lock, LOCK_DEVICE);
    wait_queue_init(&descriptor->wait);
    descriptor_name(&stat, name, sizeof(name));
    result = file_new_anonymous(name, stat.st_mode & S_IFMT,
                                S_ISREG(stat.st_mode) ? &descriptor_ops : &stream_ops, descriptor,
                                flags, file);
    if (result) {
        wait_queue_destroy(&descriptor->wait);
        lock_destroy(&descriptor->lock);
        free(descriptor);
        return result;
    }
    (*file)->inode->ops = &descriptor_inode_ops;
    (*file)->inode->private = descriptor;
    return 0;
}
