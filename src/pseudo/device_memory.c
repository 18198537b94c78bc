/*
 * The memory devices, major 1: null(4), zero, full(4), random(4), urandom. They own nothing; a
 * mapping of /dev/zero owns a memfd of its own, as large as anybody can map, whose pages exist when
 * they are touched.
 */
#include "pseudo/pseudo_internal.h"

#include <stdio.h>
#include <sys/sysmacros.h>

#include "host/host_buffer.h"

static ssize_t null_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    return 0;
}

static ssize_t sink_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    return (ssize_t)size;
}

static ssize_t zero_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    memset(buffer, 0, size);
    return (ssize_t)size;
}

static ssize_t full_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    return -ENOSPC;
}

static ssize_t random_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    size_t done = 0;

    while (done < size) {
        ssize_t got = host_getrandom((char *)buffer + done, size - done);

        if (got <= 0) {
            return done ? (ssize_t)done : got;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* lseek(2) on these devices: the position stays 0 (null, zero, full); random ones take any. */
static int64_t null_llseek(struct file *file, int64_t offset, int whence) {
    return file->pos = 0;
}

static int64_t random_llseek(struct file *file, int64_t offset, int whence) {
    return whence == SEEK_SET || whence == SEEK_CUR || whence == SEEK_END ? 0 : -EINVAL;
}

/* ---- mapping /dev/zero ---- */

struct zero_object {
    struct memory_object object;
    struct host_buffer memory;
    bool shared;
    ino_t ino; /* of the device node */
    dev_t dev;
};

/* More than any guest address space. */
#define ZERO_SIZE ((off_t)1 << 47)

static int zero_host_fd(struct memory_object *object, int prot, bool shared) {
    return container_of(object, struct zero_object, object)->memory.fd;
}

/* A shared mapping is of memory of its own, which Linux calls so. */
static int zero_describe(struct memory_object *object, char *name, size_t size, dev_t *dev,
                         ino_t *ino) {
    struct zero_object *self = container_of(object, struct zero_object, object);

    snprintf(name, size, self->shared ? "/dev/zero (deleted)" : "/dev/zero");
    *dev = self->dev;
    *ino = self->ino;
    return 0;
}

static void zero_release(struct memory_object *object) {
    struct zero_object *self = container_of(object, struct zero_object, object);

    host_memfd_close(&self->memory);
    free(self);
}

static const struct memory_object_ops zero_object_ops = {
    .host_fd = zero_host_fd,
    .describe = zero_describe,
    .release = zero_release,
};

static struct memory_object *zero_mmap(struct file *file, int prot, int flags) {
    struct zero_object *self = calloc(1, sizeof(*self));
    int error;

    if (!self) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&self->object.ref);
    self->object.ops = &zero_object_ops;
    self->shared = flags & MAP_SHARED;
    self->ino = file->inode->ino;
    self->dev = file->inode->sb->dev;
    error = host_memfd_open(&self->memory, "zero");
    if (error) {
        free(self);
        return ERR_PTR(error == -EMFILE || error == -ENFILE ? -ENOMEM : error);
    }
    error = host_ftruncate(self->memory.fd, ZERO_SIZE);
    if (error) {
        zero_release(&self->object);
        return ERR_PTR(error);
    }
    return &self->object;
}

static const struct file_ops null_ops = {
    .read = null_read,
    .write = sink_write,
    .llseek = null_llseek,
};
static const struct file_ops zero_ops = {
    .read = zero_read,
    .write = sink_write,
    .llseek = null_llseek,
    .mmap = zero_mmap,
};
static const struct file_ops full_ops = {
    .read = zero_read,
    .write = full_write,
    .llseek = null_llseek,
};
/* What is written would be mixed into the pool; the host's needs none of it. */
static const struct file_ops random_ops = {
    .read = random_read,
    .write = sink_write,
    .llseek = random_llseek,
};

int device_memory_register(void) {
    static const struct {
        unsigned minor;
        const struct file_ops *ops;
    } devices[] = {
        {3, &null_ops}, {5, &zero_ops}, {7, &full_ops}, {8, &random_ops}, {9, &random_ops}};

    for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
        int error = device_register(&(struct device){
            .type = S_IFCHR,
            .major = 1,
            .minor = devices[i].minor,
            .count = 1,
            .name = "mem",
            .ops = devices[i].ops,
        });

        if (error) {
            return error;
        }
    }
    return 0;
}
