/*
 * Open file descriptions: what open(2) makes and descriptors name.
 *
 * Life: file_open_path() or file_new_anonymous() make one with one reference; descriptors, mappings
 * and running calls hold further ones. The last file_put() tells epoll, drops the file's own locks
 * (OFD, flock), runs ops->release and lets go of the path. Nothing of it is done under a lock.
 */
#include <stdio.h>

#include "fs/vfs_internal.h"

static void (*_Atomic forget_hook)(struct file *file);

void file_set_forget_hook(void (*forget)(struct file *file)) {
    atomic_store(&forget_hook, forget);
}

/* O_* flags that open(2) uses up; the rest stays in file->flags for F_GETFL. */
#define OPEN_ONLY_FLAGS (O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC)
/* And this one when ops->open has seen it (terminals do). */
#define OPENED_FLAGS O_NOCTTY

static struct file *file_alloc(int flags, const struct file_ops *ops) {
    struct file *file = calloc(1, sizeof(*file));

    if (!file) {
        return NULL;
    }
    ref_init(&file->ref);
    lock_init(&file->pos_lock, LOCK_FILE_POS);
    lock_init(&file->lock, LOCK_FILE);
    list_init(&file->epoll_links);
    list_init(&file->donated.given);
    file->donated.fd = -1;
    atomic_init(&file->flags, flags & ~OPEN_ONLY_FLAGS);
    file->ops = ops;
    if (flags & O_PATH) {
        file->mode = FMODE_PATH;
    } else {
        int access = flags & O_ACCMODE;

        file->mode = (access == O_RDONLY || access == O_RDWR ? FMODE_READ : 0) |
                     (access == O_WRONLY || access == O_RDWR ? FMODE_WRITE : 0);
    }
    return file;
}

static void file_free(struct file *file) {
    donation_file_end(file);
    if (file->path.dentry) {
        path_put(&file->path);
    }
    if (file->creds) {
        credentials_put(file->creds);
    }
    lock_destroy(&file->pos_lock);
    lock_destroy(&file->lock);
    free(file);
}

static const struct file_ops no_file_ops;

/* Directories, and what has no llseek, are not read at a position. */
static void file_set_seekable(struct file *file) {
    if (file->ops->llseek) {
        file->mode |= FMODE_SEEK;
    }
}

/* The ops that the type of the inode calls for. */
static int file_choose_ops(struct file *file, struct device *device, bool *special) {
    struct inode *inode = file->inode;

    *special = false;
    if (S_ISCHR(inode->type) || S_ISBLK(inode->type) || S_ISFIFO(inode->type)) {
        /* A file system with nodes of its own making (devpts) brings its ops along. */
        if (!inode->file_ops && !(inode->ops && inode->ops->open)) {
            if (!device_find(inode->type, inode->rdev, device)) {
                return -ENXIO;
            }
            file->ops = device->ops;
            *special = true;
            return 0;
        }
    } else if (S_ISSOCK(inode->type)) {
        return -ENXIO;
    }
    file->ops = inode->file_ops ? inode->file_ops : &no_file_ops;
    return 0;
}

static int file_open_inode(struct file *file) {
    struct inode *inode = file->inode;
    struct device device = {0};
    bool special;
    int error = file_choose_ops(file, &device, &special);

    if (error) {
        return error;
    }
    if (special) {
        return device.open ? device.open(inode, file) : 0;
    }
    return inode->ops && inode->ops->open ? inode->ops->open(inode, file) : 0;
}

static bool counts_writers(const struct file *file) {
    return (file->mode & FMODE_WRITE) && S_ISREG(file->inode->type);
}

int file_open_path(const struct path *path, int flags, const struct credentials *creds,
                   struct file **result) {
    return file_open_named(path, flags, creds, NULL, result);
}

int file_open_named(const struct path *path, int flags, const struct credentials *creds,
                    const struct open_name *opening, struct file **result) {
    struct file *file = file_alloc(flags, &no_file_ops);
    int error = 0;

    if (!file) {
        return -ENOMEM;
    }
    file->path = *path;
    path_get(&file->path);
    file->inode = path->dentry->inode;
    file->creds = creds ? credentials_get((struct credentials *)creds) : NULL;
    if (!(flags & O_PATH)) {
        if (counts_writers(file)) {
            error = inode_get_write(file->inode);
            file->mode |= error ? 0 : FMODE_COUNTED;
        }
        if (!error) {
            /* A file system may spare itself what is truncated at once (overlayfs's copy-up). */
            atomic_fetch_or(&file->flags, flags & O_TRUNC);
            file->opening = opening;
            error = file_open_inode(file);
            file->opening = NULL;
            atomic_fetch_and(&file->flags, ~O_TRUNC);
            if (error && (file->mode & FMODE_COUNTED)) {
                inode_put_write(file->inode);
            }
        }
        if (error) {
            file_free(file);
            return error;
        }
        file_set_seekable(file);
    }
    atomic_fetch_and(&file->flags, ~OPENED_FLAGS);
    *result = file;
    return 0;
}

/* ---- anonymous files ---- */

static const struct file_system_type anonymous_type = {
    .name = "anon_inodefs", .nodev = true, .magic = 0x09041934};
static struct super_block *_Atomic anonymous_sb;

static struct super_block *anonymous_super_block(void) {
    struct super_block *sb = atomic_load(&anonymous_sb), *made, *none = NULL;

    if (sb) {
        return sb;
    }
    made = super_block_new(&anonymous_type, NULL);
    if (IS_ERR(made)) {
        return NULL;
    }
    if (!atomic_compare_exchange_strong(&anonymous_sb, &none, made)) {
        super_block_put(made);
        return none;
    }
    return made;
}

int file_new_anonymous(const char *name, mode_t type, const struct file_ops *ops, void *private,
                       int flags, struct file **result) {
    struct super_block *sb = anonymous_super_block();
    struct inode *inode;
    struct file *file;

    if (!sb) {
        return -ENOMEM;
    }
    inode = inode_new(sb, super_block_next_ino(sb), type, NULL, ops, NULL);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    file = file_alloc(flags, ops);
    if (file) {
        file->path.dentry = dentry_new_anonymous(inode, name);
    }
    inode_put(inode);
    if (!file || !file->path.dentry) {
        if (file) {
            file_free(file);
        }
        return -ENOMEM;
    }
    file->inode = file->path.dentry->inode;
    file->private = private;
    file_set_seekable(file);
    atomic_fetch_and(&file->flags, ~OPENED_FLAGS);
    *result = file;
    return 0;
}

/* ---- references ---- */

struct file *file_get(struct file *file) {
    ref_get(&file->ref);
    return file;
}

void file_put(struct file *file) {
    void (*forget)(struct file *);

    if (!ref_put(&file->ref)) {
        return;
    }
    forget = atomic_load(&forget_hook);
    /* Whether epoll_links is empty now cannot be asked without its lock: somebody may just be
     * taking the last one off, and would do so in freed memory. */
    if (forget && atomic_load_explicit(&file->watched, memory_order_relaxed)) {
        forget(file);
    }
    if (file->mode & FMODE_PATH) {
        file_free(file);
        return;
    }
    file_locks_release(file, file);
    if (file->path.mount) {
        fs_event_dentry(file->path.dentry,
                        file->mode & FMODE_WRITE ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
    }
    if (file->ops->release) {
        file->ops->release(file);
    }
    if (file->mode & FMODE_COUNTED) {
        inode_put_write(file->inode);
    }
    if (file->mode & FMODE_EXEC) {
        inode_allow_write(file->inode);
    }
    file_free(file);
}

/* ---- directories ---- */

int file_readdir(struct file *file, struct dir_context *context) {
    int error;

    if (file->mode & FMODE_PATH) {
        return -EBADF;
    }
    if (!file->ops->readdir) {
        return -ENOTDIR;
    }
    if (dentry_unlinked(file->path.dentry)) {
        return -ENOENT;
    }
    lock_acquire(&file->pos_lock);
    context->pos = file->pos;
    error = file->ops->readdir(file, context);
    file->pos = context->pos;
    lock_release(&file->pos_lock);
    if (!error && file->path.mount) {
        fs_event_dentry(file->path.dentry, IN_ACCESS);
    }
    return error;
}

bool dir_emit_dots(struct file *file, struct dir_context *context) {
    struct dentry *parent;

    if (context->pos == 0) {
        if (!context->emit(context, ".", 1, file->inode->ino, 4 /* DT_DIR */, 1)) {
            return false;
        }
        context->pos = 1;
    }
    if (context->pos == 1) {
        ino_t ino;

        parent = dentry_parent(file->path.dentry);
        ino = parent->inode->ino;
        dentry_put(parent);
        if (!context->emit(context, "..", 2, ino, 4 /* DT_DIR */, 2)) {
            return false;
        }
        context->pos = 2;
    }
    return true;
}

/* ---- poll ---- */

uint32_t file_poll(struct file *file, struct poll_table *table) {
    if (file->mode & FMODE_PATH) {
        return EPOLLERR;
    }
    if (!file->ops->poll) {
        return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
    }
    return file->ops->poll(file, table);
}

int file_wait(struct file *file, uint32_t events, deadline_ns deadline) {
    struct poll_waits waits;
    int error = 0;

    events |= EPOLLERR | EPOLLHUP;
    if (file_poll(file, NULL) & events) {
        return 0;
    }
    if (atomic_load(&file->flags) & O_NONBLOCK) {
        return -EAGAIN;
    }
    poll_waits_init(&waits, events);
    if (!(file_poll(file, &waits.table) & events)) {
        do {
            error = waits.table.error ? waits.table.error : wait_sleep(deadline);
        } while (!error && !(file_poll(file, NULL) & events));
    }
    poll_waits_finish(&waits);
    return error;
}

/* ---- memory ---- */

struct file_object {
    struct memory_object object;
    struct file *file; /* owned */
    int (*fd)(struct file *file, int prot, bool shared);
};

static int file_object_host_fd(struct memory_object *object, int prot, bool shared) {
    struct file_object *self = container_of(object, struct file_object, object);

    return self->fd(self->file, prot, shared);
}

static int file_object_describe(struct memory_object *object, char *name, size_t size, dev_t *dev,
                                ino_t *ino) {
    struct file_object *self = container_of(object, struct file_object, object);
    struct kstat stat;
    ssize_t length = path_name(&self->file->path, NULL, name, size);
    int error = inode_getattr(self->file->inode, &stat);

    if (length < 0 && size) {
        name[0] = '\0';
    }
    if (!error) {
        *dev = stat.dev;
        *ino = stat.ino;
    }
    return error;
}

static void file_object_release(struct memory_object *object) {
    struct file_object *self = container_of(object, struct file_object, object);

    file_put(self->file);
    free(self);
}

static const struct memory_object_ops file_object_ops = {
    .host_fd = file_object_host_fd,
    .describe = file_object_describe,
    .release = file_object_release,
};

struct memory_object *file_object_new(struct file *file,
                                      int (*fd)(struct file *file, int prot, bool shared)) {
    struct file_object *self = calloc(1, sizeof(*self));

    if (!self) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&self->object.ref);
    self->object.ops = &file_object_ops;
    self->file = file_get(file);
    self->fd = fd;
    return &self->object;
}

struct memory_object *file_memory_object(struct file *file, int prot, int flags) {
    if (file->mode & FMODE_PATH) {
        return ERR_PTR(-EBADF);
    }
    if (!file->ops->mmap) {
        return ERR_PTR(-ENODEV);
    }
    return file->ops->mmap(file, prot, flags);
}

int file_truncate(struct file *file, int64_t size) {
    struct iattr attr = {.valid = ATTR_SIZE, .size = size};

    if (size < 0) {
        return -EINVAL;
    }
    if (!(file->mode & FMODE_WRITE) || !S_ISREG(file->inode->type)) {
        return file->mode & FMODE_PATH ? -EBADF : -EINVAL;
    }
    if (!file->creds) {
        return file->inode->ops && file->inode->ops->setattr
                   ? file->inode->ops->setattr(file->inode, &attr)
                   : -EINVAL;
    }
    return dentry_setattr(file->path.dentry, &attr, file->creds);
}
