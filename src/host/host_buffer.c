/*
 * What the host keeps for guests behind the kernel process's descriptors: memfds and pipes. All of
 * them are in one list, so that --memory counts them without having to know whose they are.
 *
 * What a guest is given, to map or to read and write by itself, a hostile one may keep when all
 * others have forgotten it: the stub's own instructions let it. So the end leaves nothing worth
 * keeping: a memfd is cut and may not grow again, a pipe shrinks to one page.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host_buffer.h"

static struct lock buffers_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static struct list_head buffers = LIST_HEAD_INIT(buffers); /* guarded by it */
static _Atomic unsigned count;                             /* of the memfds in it */

static void enter(struct host_buffer *buffer, int fd, int write_fd) {
    buffer->fd = fd;
    buffer->write_fd = write_fd;
    atomic_init(&buffer->lent, false);
    LOCK_GUARD(&buffers_lock);
    list_add(&buffer->link, &buffers);
}

static void leave(struct host_buffer *buffer) {
    LOCK_GUARD(&buffers_lock);

    list_del(&buffer->link);
}

int host_memfd_open(struct host_buffer *buffer, const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        return -errno;
    }
    enter(buffer, fd, -1);
    atomic_fetch_add(&count, 1);
    return 0;
}

/* It counts until its pages are gone. */
void host_memfd_close(struct host_buffer *buffer) {
    if (ftruncate(buffer->fd, 0) < 0 || fcntl(buffer->fd, F_ADD_SEALS, F_SEAL_GROW) < 0) {
        log_once(LOG_WARN, "memfd", (uint64_t)errno, "cannot cut a memfd: %s", strerror(errno));
    }
    leave(buffer);
    atomic_fetch_sub(&count, 1);
    (void)host_close(buffer->fd);
}

unsigned host_memfd_count(void) {
    return atomic_load_explicit(&count, memory_order_relaxed);
}

int host_pipe_open(struct host_buffer *buffer) {
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    enter(buffer, fds[0], fds[1]);
    return 0;
}

/* Its guests may still write: no longer than one full pipe takes. */
static void shrink_pipe(const struct host_buffer *buffer) {
    int left = fcntl(buffer->fd, F_GETPIPE_SZ);
    char bytes[4096];
    ssize_t got;

    while (left > 0 && (got = read(buffer->fd, bytes, sizeof(bytes))) > 0) {
        left -= (int)got;
    }
    (void)fcntl(buffer->fd, F_SETPIPE_SZ, PAGE_SIZE);
}

void host_pipe_close(struct host_buffer *buffer) {
    leave(buffer);
    if (atomic_load(&buffer->lent)) {
        shrink_pipe(buffer);
    }
    (void)host_close(buffer->fd);
    (void)host_close(buffer->write_fd);
}

/* Each byte in a pipe may have a page of its own: one that is not empty counts as full. */
static int64_t pipe_held(int fd) {
    int bytes = 0, error = host_ioctl(fd, FIONREAD, &bytes);

    return error || bytes == 0 ? error : host_fcntl(fd, F_GETPIPE_SZ, 0);
}

static int64_t memfd_held(int fd) {
    struct stat stat;
    int error = host_fstat(fd, &stat);

    return error ? error : stat.st_blocks * 512;
}

int host_buffers_held(uint64_t *bytes) {
    struct host_buffer *buffer;
    LOCK_GUARD(&buffers_lock);

    *bytes = 0;
    list_for_each_entry (buffer, &buffers, link) {
        int64_t held = buffer->write_fd < 0 ? memfd_held(buffer->fd) : pipe_held(buffer->fd);

        if (held < 0) {
            return (int)held;
        }
        *bytes += (uint64_t)held;
    }
    return 0;
}
