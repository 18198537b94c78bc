/*
 * overlayfs: open regular files. An overlay file has a file over the real inode, and passes on.
 *
 * One that was opened for reading before a copy-up reads the copy from then on, as a program that
 * follows a log expects; what it had mapped before stays the old contents (as Linux's documents).
 */
#include <errno.h>
#include <unistd.h>

#include "fs/overlayfs_internal.h"

struct overlay_file {
    struct file *real;           /* owned; immutable */
    bool real_is_lower;          /* immutable */
    struct file *_Atomic copied; /* owned; over the copy, when real is not */
};

/* F_SETFL's flags that the real file must know. */
#define PASSED_FLAGS (O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_NOATIME)

int overlay_open(struct inode *inode, struct file *file) {
    int error, flags = atomic_load(&file->flags);
    struct overlay_file *overlay;
    bool lower;

    if (file->mode & FMODE_WRITE) {
        error = overlay_copy_up(inode, flags & O_TRUNC ? 0 : INT64_MAX);
        if (error) {
            return error;
        }
    }
    overlay = calloc(1, sizeof(*overlay));
    if (!overlay) {
        return -ENOMEM;
    }
    lower = !overlay_upper(inode);
    if (lower) {
        error = overlay_open_lower(inode, flags, file->creds, file->opening, &overlay->real);
    } else if (file->opening) {
        error = -ESTALE; /* copied up since the walk passed: nobody has confirmed the name */
    } else {
        error = overlay_open_real(overlay_upper(inode), flags, file->creds, &overlay->real);
    }
    if (error) {
        free(overlay);
        return error;
    }
    overlay->real_is_lower = lower;
    file->private = overlay;
    return 0;
}

static void overlay_file_release(struct file *file) {
    struct overlay_file *overlay = file->private;
    struct file *copied = atomic_load(&overlay->copied);

    if (copied) {
        file_put(copied);
    }
    file_put(overlay->real);
    free(overlay);
}

static int open_copied(struct file *file, struct file **result) {
    struct overlay_file *overlay = file->private;
    struct file *made, *none = NULL;
    int error = overlay_open_real(overlay_upper(file->inode), atomic_load(&file->flags),
                                  file->creds, &made);

    if (error) {
        return error;
    }
    if (!atomic_compare_exchange_strong(&overlay->copied, &none, made)) {
        file_put(made);
        made = none;
    }
    *result = made;
    return 0;
}

/* The file to work on, borrowed: it lives as long as the overlay's. */
static int real_file(struct file *file, struct file **result) {
    struct overlay_file *overlay = file->private;
    struct file *real = overlay->real;
    int flags, wanted;

    if (overlay->real_is_lower && overlay_upper(file->inode)) {
        real = atomic_load(&overlay->copied);
        if (!real) {
            int error = open_copied(file, &real);

            if (error) {
                return error;
            }
        }
    }
    flags = atomic_load_explicit(&real->flags, memory_order_relaxed);
    wanted = (flags & ~PASSED_FLAGS) |
             (atomic_load_explicit(&file->flags, memory_order_relaxed) & PASSED_FLAGS);
    if (flags != wanted) {
        atomic_store(&real->flags, wanted);
    }
    *result = real;
    return 0;
}

static ssize_t overlay_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->read ? real->ops->read(real, buffer, size, pos) : -EINVAL;
}

static ssize_t overlay_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->write ? real->ops->write(real, buffer, size, pos) : -EINVAL;
}

/* Holes are the real file's to tell; its own position means nothing, and file->pos_lock is held, so
 * that nobody else moves it. */
static int64_t overlay_llseek(struct file *file, int64_t offset, int whence) {
    struct file *real;
    int64_t found;
    int error;

    if (whence != SEEK_DATA && whence != SEEK_HOLE) {
        return generic_llseek(file, offset, whence);
    }
    error = real_file(file, &real);
    if (error) {
        return error;
    }
    found = real->ops->llseek ? real->ops->llseek(real, offset, whence) : -EINVAL;
    if (found >= 0) {
        file->pos = found;
    }
    return found;
}

static int overlay_host_fd(struct file *file) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->host_fd ? real->ops->host_fd(real) : -EOPNOTSUPP;
}

static int overlay_fsync(struct file *file, bool data_only) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->fsync ? real->ops->fsync(real, data_only) : 0;
}

static int overlay_fallocate(struct file *file, int mode, int64_t offset, int64_t size) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->fallocate ? real->ops->fallocate(real, mode, offset, size) : -EOPNOTSUPP;
}

/* ---- mappings: the real file's contents under the overlay's name ---- */

struct overlay_object {
    struct memory_object object;
    struct file *file;          /* owned; the overlay's */
    struct memory_object *real; /* owned */
};

static int overlay_object_host_fd(struct memory_object *object, int prot, bool shared) {
    struct overlay_object *self = container_of(object, struct overlay_object, object);

    return self->real->ops->host_fd(self->real, prot, shared);
}

static int overlay_object_describe(struct memory_object *object, char *name, size_t size,
                                   dev_t *dev, ino_t *ino) {
    struct overlay_object *self = container_of(object, struct overlay_object, object);
    struct kstat stat;
    int error = overlay_getattr(self->file->inode, &stat);

    if (path_name(&self->file->path, NULL, name, size) < 0 && size) {
        name[0] = '\0';
    }
    if (!error) {
        *dev = stat.dev;
        *ino = stat.ino;
    }
    return error;
}

static void overlay_object_mapped(struct memory_object *object, int prot, bool shared, int change) {
    struct overlay_object *self = container_of(object, struct overlay_object, object);

    if (self->real->ops->mapped) {
        self->real->ops->mapped(self->real, prot, shared, change);
    }
}

static void overlay_object_release(struct memory_object *object) {
    struct overlay_object *self = container_of(object, struct overlay_object, object);

    memory_object_put(self->real);
    file_put(self->file);
    free(self);
}

static const struct memory_object_ops overlay_object_ops = {
    .host_fd = overlay_object_host_fd,
    .describe = overlay_object_describe,
    .release = overlay_object_release,
    .mapped = overlay_object_mapped,
};

static struct memory_object *overlay_mmap(struct file *file, int prot, int flags) {
    struct overlay_object *self;
    struct memory_object *object;
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return ERR_PTR(error);
    }
    object = file_memory_object(real, prot, flags);
    if (IS_ERR(object)) {
        return object;
    }
    self = calloc(1, sizeof(*self));
    if (!self) {
        memory_object_put(object);
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&self->object.ref);
    self->object.ops = &overlay_object_ops;
    self->file = file_get(file);
    self->real = object;
    return &self->object;
}

/* Whoever copies the file up takes the donation back (overlay_copied()). */
static int overlay_donate(struct file *file, uint32_t *rights) {
    struct file *real;
    int error = real_file(file, &real);

    if (error) {
        return error;
    }
    return real->ops->donate ? real->ops->donate(real, rights) : -EOPNOTSUPP;
}

const struct file_ops overlay_file_ops = {
    .closes_unseen = true,
    .read = overlay_read,
    .write = overlay_write,
    .llseek = overlay_llseek,
    .mmap = overlay_mmap,
    .host_fd = overlay_host_fd,
    .fsync = overlay_fsync,
    .fallocate = overlay_fallocate,
    .donate = overlay_donate,
    .release = overlay_file_release,
};
