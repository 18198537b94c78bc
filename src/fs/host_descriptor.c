/*
 * A host descriptor that came from outside, mostly the sandbox's standard ones: a pipe, a socket, a
 * regular file, /dev/null. (A terminal is files/tty.c's.) Its description is shared with processes
 * that know nothing of us: its flags stay as they are, and its position, if it has one, is the
 * host's.
 *
 * A read or write never blocks in the host where the host offers RWF_NOWAIT; elsewhere it is tried
 * only when poll says that it will not. Waiting is for the event thread: an edge-triggered watch,
 * made when somebody first waits, announces every change.
 *
 * Life: the inode owns the descriptor, since /proc/self/fd/N leads to it. Opening that anew
 * (/dev/stdout) gives a further file on the same host description; for a regular file a description
 * of its own, where the host lets us.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "fs/vfs_internal.h"

struct host_descriptor {
    int fd;                    /* owned */
    int access;                /* O_ACCMODE bits of the host's description; immutable */
    bool watchable;            /* not regular files, /dev/null and the like: always ready */
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

/* Has the event thread tell of changes from now on. */
static void watch(struct host_descriptor *descriptor) {
    int result = 0;
    LOCK_GUARD(&descriptor->lock);

    if (!descriptor->watch.fn) {
        descriptor->watch = (struct poller_watch){
            .fd = descriptor->fd,
            .fn = became_ready,
            .arg = descriptor,
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        };
        result = poller_add(&descriptor->watch);
    }
    /* EPERM: always ready, like /dev/null. */
    if (result && result != -EPERM) {
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
        watch(descriptor);
        poll_table_add(table, &descriptor->wait);
    }
    return host_poll_now(descriptor->fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP);
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
    bool append = (atomic_load(&file->flags) & O_APPEND) != 0;
    size_t done = 0;

    if (pos && pos != &file->pos) {
        return append ? host_write_flags(descriptor_of(file)->fd, buffer, size, 0, RWF_APPEND)
                      : host_pwrite(descriptor_of(file)->fd, buffer, size, *pos);
    }
    if (pos) {
        return host_write_flags(descriptor_of(file)->fd, buffer, size, -1, append ? RWF_APPEND : 0);
    }
    do {
        ssize_t count =
            move(file, (char *)(uintptr_t)buffer + done, size - done, EPOLLOUT, move_out);

        if (count <= 0) {
            return done ? (ssize_t)done : count;
        }
        done += (size_t)count;
        /* write(2): one that may block goes on until all is written. */
    } while (done < size && !(atomic_load(&file->flags) & O_NONBLOCK));
    return (ssize_t)done;
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

static void descriptor_free(struct host_descriptor *descriptor) {
    if (descriptor->watch.active) {
        poller_remove(&descriptor->watch);
    }
    wait_queue_destroy(&descriptor->wait);
    lock_destroy(&descriptor->lock);
    (void)host_close(descriptor->fd);
    free(descriptor);
}

static struct host_descriptor *descriptor_new(int fd, int access, bool watchable) {
    struct host_descriptor *descriptor = calloc(1, sizeof(*descriptor));

    if (descriptor) {
        descriptor->fd = fd;
        descriptor->access = access;
        descriptor->watchable = watchable;
        lock_init(&descriptor->lock, LOCK_DEVICE);
        wait_queue_init(&descriptor->wait);
    }
    return descriptor;
}

/* FIONREAD and the like are a stream's; nothing that changes the description. */
static int64_t descriptor_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                                struct user_address argument) {
    int count = 0, error;

    if (command != FIONREAD) {
        return -ENOTTY;
    }
    error = host_ioctl(descriptor_of(file)->fd, FIONREAD, &count);
    return error < 0 ? error : put_user(thread, count, argument);
}

/* A file that was opened anew may have a description of its own. */
static void descriptor_release(struct file *file) {
    if (file->private != file->inode->private) {
        descriptor_free(file->private);
    }
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

/* By way of /proc/self/fd/N. */
static int descriptor_open(struct inode *inode, struct file *file) {
    struct host_descriptor *descriptor = inode->private;
    int wanted = atomic_load(&file->flags) & O_ACCMODE;

    if (S_ISREG(inode->type)) {
        int fd = host_reopen(descriptor->fd, wanted | O_NONBLOCK | O_NOCTTY);

        if (fd >= 0) {
            struct host_descriptor *own = descriptor_new(fd, wanted, false);

            if (!own) {
                (void)host_close(fd);
                return -ENOMEM;
            }
            file->private = own;
            return 0;
        }
    }
    if (descriptor->access != O_RDWR && wanted != descriptor->access) {
        return -EACCES;
    }
    file->private = descriptor;
    return 0;
}

static void descriptor_release_inode(struct inode *inode) {
    descriptor_free(inode->private);
}

static const struct inode_ops descriptor_inode_ops = {
    .getattr = descriptor_getattr,
    .setattr = descriptor_setattr,
    .open = descriptor_open,
    .release = descriptor_release_inode,
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
    .ioctl = descriptor_ioctl,
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
    descriptor_name(&stat, name, sizeof(name));
    descriptor = descriptor_new(fd, flags & O_ACCMODE,
                                S_ISFIFO(stat.st_mode) || S_ISSOCK(stat.st_mode) ||
                                    (S_ISCHR(stat.st_mode) && major(stat.st_rdev) != 1));
    if (!descriptor) {
        return -ENOMEM;
    }
    result = file_new_anonymous(name, stat.st_mode & S_IFMT,
                                S_ISREG(stat.st_mode) ? &descriptor_ops : &stream_ops, descriptor,
                                flags, file);
    if (result) {
        descriptor->fd = -1; /* stays the caller's */
        descriptor_free(descriptor);
        return result;
    }
    (*file)->inode->ops = &descriptor_inode_ops;
    (*file)->inode->private = descriptor;
    return 0;
}
