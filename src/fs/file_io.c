/* Reading, writing and positions of open files: what all of them have in common. */
#include "fs/vfs_internal.h"

/* What read(2) and write(2) may move at once: INT_MAX rounded down to a page. */
#define RW_MAX ((size_t)0x7ffff000)

static int check_access(const struct file *file, unsigned wanted) {
    if (!(file->mode & wanted)) {
        return -EBADF;
    }
    return 0;
}

static int check_range(int64_t pos, size_t size) {
    if (pos < 0) {
        return -EINVAL;
    }
    return pos > INT64_MAX - (int64_t)size ? -EOVERFLOW : 0;
}

ssize_t file_read_at(struct file *file, void *buffer, size_t size, int64_t *pos) {
    ssize_t count;
    int error = check_access(file, FMODE_READ);

    if (!error && pos) {
        error = check_range(*pos, MIN(size, RW_MAX));
    }
    if (error) {
        return error;
    }
    if (!file->ops->read) {
        return S_ISDIR(file->inode->type) ? -EISDIR : -EINVAL;
    }
    count = file->ops->read(file, buffer, MIN(size, RW_MAX), pos);
    if (count > 0 && file->path.mount) {
        fs_event_dentry(file->path.dentry, IN_ACCESS);
    }
    return count;
}

ssize_t file_write_at(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    ssize_t count;
    int error = check_access(file, FMODE_WRITE);

    if (!error && pos) {
        error = check_range(*pos, MIN(size, RW_MAX));
        error = error == -EOVERFLOW ? -EFBIG : error;
    }
    if (error) {
        return error;
    }
    if (!file->ops->write) {
        return -EINVAL;
    }
    count = file->ops->write(file, buffer, MIN(size, RW_MAX), pos);
    if (count > 0 && file->path.mount) {
        fs_event_dentry(file->path.dentry, IN_MODIFY);
    }
    return count;
}

ssize_t file_read(struct file *file, void *buffer, size_t size) {
    ssize_t count;

    if (!(file->mode & FMODE_SEEK)) {
        return file_read_at(file, buffer, size, NULL);
    }
    file_pos_acquire(file);
    count = file_read_at(file, buffer, size, &file->pos);
    file_pos_release(file);
    return count;
}

ssize_t file_write(struct file *file, const void *buffer, size_t size) {
    ssize_t count;

    if (!(file->mode & FMODE_SEEK)) {
        return file_write_at(file, buffer, size, NULL);
    }
    file_pos_acquire(file);
    count = file_write_at(file, buffer, size, &file->pos);
    file_pos_release(file);
    return count;
}

ssize_t file_pread(struct file *file, void *buffer, size_t size, int64_t pos) {
    if (pos < 0) {
        return -EINVAL;
    }
    if (!(file->mode & FMODE_SEEK)) {
        return file->mode & FMODE_PATH ? -EBADF : -ESPIPE;
    }
    return file_read_at(file, buffer, size, &pos);
}

ssize_t file_pwrite(struct file *file, const void *buffer, size_t size, int64_t pos) {
    if (pos < 0) {
        return -EINVAL;
    }
    if (!(file->mode & FMODE_SEEK)) {
        return file->mode & FMODE_PATH ? -EBADF : -ESPIPE;
    }
    return file_write_at(file, buffer, size, &pos);
}

int64_t file_llseek(struct file *file, int64_t offset, int whence) {
    int64_t result;

    if (file->mode & FMODE_PATH) {
        return -EBADF;
    }
    if (!(file->mode & FMODE_SEEK)) {
        return -ESPIPE;
    }
    file_pos_acquire(file);
    result = file->ops->llseek(file, offset, whence);
    file_pos_release(file);
    return result;
}

static int64_t set_pos(struct file *file, int64_t pos) {
    if (pos < 0) {
        return -EINVAL;
    }
    return file->pos = pos;
}

int64_t generic_llseek(struct file *file, int64_t offset, int whence) {
    struct kstat stat;
    int error;

    switch (whence) {
    case SEEK_SET:
        return set_pos(file, offset);
    case SEEK_CUR:
        if (__builtin_add_overflow(file->pos, offset, &offset)) {
            return -EOVERFLOW;
        }
        return set_pos(file, offset);
    case SEEK_END:
    case SEEK_DATA:
    case SEEK_HOLE:
        error = inode_getattr(file->inode, &stat);
        if (error) {
            return error;
        }
        if (whence == SEEK_END) {
            if (__builtin_add_overflow(stat.size, offset, &offset)) {
                return -EOVERFLOW;
            }
            return set_pos(file, offset);
        }
        if (offset < 0 || offset >= stat.size) {
            return -ENXIO;
        }
        return set_pos(file, whence == SEEK_DATA ? offset : stat.size);
    default:
        return -EINVAL;
    }
}

int64_t directory_llseek(struct file *file, int64_t offset, int whence) {
    if (whence == SEEK_CUR) {
        if (__builtin_add_overflow(file->pos, offset, &offset)) {
            return -EOVERFLOW;
        }
    } else if (whence != SEEK_SET) {
        return -EINVAL;
    }
    return set_pos(file, offset);
}

ssize_t text_read(const char *text, size_t length, void *buffer, size_t size, int64_t *pos) {
    if (*pos < 0) {
        return -EINVAL;
    }
    if ((uint64_t)*pos >= length) {
        return 0;
    }
    size = MIN(size, length - (size_t)*pos);
    memcpy(buffer, text + *pos, size);
    *pos += (int64_t)size;
    return (ssize_t)size;
}
