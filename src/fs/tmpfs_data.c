/*
 * Contents of tmpfs files: first bytes in the kernel's memory, then a memfd.
 *
 * The move happens once, when the file outgrows small_max(), is mapped, or somebody needs a host
 * descriptor of it; from then on the memfd is the contents, and its size and blocks are the host's
 * to tell, since guests change them without the kernel (maps, donated descriptors). inode->lock
 * guards the bytes and orders writes, so that O_APPEND and the size limit are exact; reads of a
 * memfd take no lock.
 */
#include <stdio.h>

#include "fs/tmpfs_internal.h"

#define SMALL_MAX     16384
#define SCARCE_MAX    (16 << 20)
#define ALLOCATE_STEP (16 << 20)

/* How large a file may get without a descriptor: descriptors are worth more than memory when half
 * of them is gone, since a guest can make any number of files. */
static int64_t small_max(void) {
    return host_memfd_count() < host_fd_limit() / 2 ? SMALL_MAX : SCARCE_MAX;
}

static struct super_block *_Atomic memory_sb; /* of tmpfs_file_new() */

static struct tmpfs_data *data_of(struct inode *inode) {
    return &tmpfs_node(inode)->data;
}

static uint64_t pages_of(int64_t size) {
    return ((uint64_t)size + PAGE_SIZE - 1) / PAGE_SIZE;
}

void tmpfs_data_init(struct tmpfs_data *data) {
    atomic_init(&data->memfd, -1);
    data->seals = F_SEAL_SEAL;
    data->memfd_read_only = -1;
}

void tmpfs_data_release(struct super_block *sb, struct tmpfs_data *data) {
    free(data->bytes);
    if (atomic_load(&data->memfd) >= 0) {
        host_memfd_close(&data->memory);
    }
    if (data->memfd_read_only >= 0) {
        (void)host_close(data->memfd_read_only);
    }
    tmpfs_uncharge(sb, data->pages);
}

/* Charges the difference to what the file now has. */
static int recharge(struct inode *inode, uint64_t pages) {
    struct tmpfs_data *data = data_of(inode);

    if (pages > data->pages) {
        int error = tmpfs_charge(inode->sb, pages - data->pages);

        if (error) {
            return error;
        }
    } else {
        tmpfs_uncharge(inode->sb, data->pages - pages);
    }
    data->pages = pages;
    return 0;
}

/* After the host changed the memfd: what it has now is what is charged, come what may. */
static void recount(struct inode *inode) {
    struct tmpfs_node *node = tmpfs_node(inode);
    struct tmpfs_data *data = data_of(inode);
    struct stat stat;

    if (host_fstat(atomic_load(&data->memfd), &stat) == 0) {
        uint64_t pages = (uint64_t)stat.st_blocks / (PAGE_SIZE / 512);

        tmpfs_recount(inode->sb, (int64_t)(pages - data->pages));
        data->pages = pages;
        LOCK_GUARD(&node->lock);
        tmpfs_direct_apply_locked(node, &stat);
    }
}

static int memfd_size_locked(const struct tmpfs_data *data, int64_t *size) {
    struct stat stat;
    int memfd = atomic_load(&data->memfd), error;

    if (memfd < 0) {
        *size = data->size;
        return 0;
    }
    error = host_fstat(memfd, &stat);
    *size = stat.st_size;
    return error;
}

static int to_named_memfd_locked(struct inode *inode, const char *name) {
    struct tmpfs_data *data = data_of(inode);
    int memfd = atomic_load(&data->memfd), error;
    int64_t done = 0;

    if (memfd >= 0) {
        return memfd;
    }
    error = host_memfd_open(&data->memory, name);
    if (error) {
        return error;
    }
    memfd = data->memory.fd;
    while (done < data->size) {
        ssize_t count = host_pwrite(memfd, data->bytes + done, (size_t)(data->size - done), done);

        if (count <= 0) {
            host_memfd_close(&data->memory);
            return count ? (int)count : -ENOSPC;
        }
        done += count;
    }
    free(STEAL(data->bytes));
    data->capacity = 0;
    atomic_store_explicit(&data->memfd, memfd, memory_order_release);
    return memfd;
}

static int to_memfd_locked(struct inode *inode) {
    int memfd = to_named_memfd_locked(inode, "tmpfs");

    /* The host's tables are full: for the guest the file system is. */
    return memfd == -EMFILE || memfd == -ENFILE ? -ENOSPC : memfd;
}

/* Small contents become `size` bytes long, new ones zero. */
static int resize_small_locked(struct inode *inode, int64_t size) {
    struct tmpfs_data *data = data_of(inode);
    int error;

    if ((size_t)size > data->capacity) {
        size_t capacity = MIN(MAX((size_t)size, data->capacity * 2), (size_t)SCARCE_MAX);
        char *bytes = realloc(data->bytes, capacity);

        if (!bytes) {
            return -ENOSPC;
        }
        data->bytes = bytes;
        data->capacity = capacity;
    }
    error = recharge(inode, pages_of(size));
    if (error) {
        return error;
    }
    if (size > data->size) {
        memset(data->bytes + data->size, 0, (size_t)(size - data->size));
    }
    data->size = size;
    return 0;
}

int tmpfs_data_truncate(struct inode *inode, int64_t size) {
    struct tmpfs_data *data = data_of(inode);
    int memfd, error;
    int64_t old;
    LOCK_GUARD(&inode->lock);

    if (atomic_load(&data->memfd) < 0 && size <= small_max()) {
        return resize_small_locked(inode, size);
    }
    memfd = to_memfd_locked(inode);
    if (memfd < 0) {
        return memfd;
    }
    error = memfd_size_locked(data, &old);
    if (!error) {
        error = tmpfs_seals_allow_size_locked(data, old, size);
    }
    if (!error) {
        error = host_ftruncate(memfd, size);
        recount(inode);
    }
    return error;
}

void tmpfs_data_getattr(struct inode *inode, struct kstat *stat) {
    struct tmpfs_data *data = data_of(inode);
    int memfd = atomic_load_explicit(&data->memfd, memory_order_acquire);
    struct stat host;

    if (memfd < 0) {
        LOCK_GUARD(&inode->lock);
        if (atomic_load(&data->memfd) < 0) {
            stat->size = data->size;
            stat->blocks = (int64_t)pages_of(data->size) * (int64_t)(PAGE_SIZE / 512);
            return;
        }
        memfd = atomic_load(&data->memfd);
    }
    if (host_fstat(memfd, &host) == 0) {
        stat->size = host.st_size;
        stat->blocks = host.st_blocks;
    }
}

int tmpfs_data_memfd_locked(struct inode *inode) {
    return atomic_load(&data_of(inode)->memfd) < 0 && small_max() != SMALL_MAX
               ? -EAGAIN
               : to_memfd_locked(inode);
}

static void touch_atime(struct file *file) {
    struct tmpfs_node *node = tmpfs_node(file->inode);
    unsigned long mount = file->path.mount ? atomic_load(&file->path.mount->flags) : 0;
    struct timespec now;

    if (tmpfs_keeps_atime(file)) {
        return;
    }
    now = inode_now();
    LOCK_GUARD(&node->lock);
    tmpfs_direct_times_locked(node);
    if ((mount & MS_STRICTATIME) || tmpfs_atime_is_due(node, now)) {
        node->atime = now;
    }
}

static ssize_t tmpfs_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct tmpfs_data *data = data_of(file->inode);
    ssize_t count = 0;
    int memfd = atomic_load_explicit(&data->memfd, memory_order_acquire);

    if (memfd < 0) {
        lock_acquire(&file->inode->lock);
        memfd = atomic_load(&data->memfd);
        if (memfd < 0 && *pos < data->size) {
            count = (ssize_t)MIN(size, (size_t)(data->size - *pos));
            memcpy(buffer, data->bytes + *pos, (size_t)count);
        }
        lock_release(&file->inode->lock);
    }
    if (memfd >= 0) {
        count = host_pread(memfd, buffer, size, *pos);
    }
    if (count >= 0) {
        *pos += count;
        touch_atime(file);
    }
    return count;
}

/* Pages of [pos, pos+size) that a write would allocate. */
static uint64_t hole_pages(int memfd, int64_t pos, size_t size) {
    int64_t at = ALIGN_DOWN(pos, (int64_t)PAGE_SIZE);
    int64_t end = pos + (int64_t)size > INT64_MAX - (int64_t)PAGE_SIZE
                      ? ALIGN_DOWN(INT64_MAX, (int64_t)PAGE_SIZE)
                      : ALIGN_UP(pos + (int64_t)size, (int64_t)PAGE_SIZE);
    uint64_t pages = 0;

    while (at < end) {
        int64_t data = host_lseek(memfd, at, SEEK_DATA), hole;

        if (data < 0 || data > end) {
            data = end;
        }
        pages += (uint64_t)(data - at) / PAGE_SIZE;
        if (data >= end) {
            break;
        }
        hole = host_lseek(memfd, data, SEEK_HOLE);
        if (hole < 0) {
            break;
        }
        at = ALIGN_UP(hole, (int64_t)PAGE_SIZE);
    }
    return pages;
}

/* How much of the write fits below the size limit; 0: nothing. */
static size_t fit_locked(struct inode *inode, int memfd, int64_t pos, size_t size) {
    struct tmpfs_super *super = inode->sb->private;
    uint64_t used, left;

    if (!super->page_limit) {
        return size;
    }
    used = atomic_load(&super->pages);
    left = used < super->page_limit ? super->page_limit - used : 0;
    if (size / PAGE_SIZE + 2 <= left || hole_pages(memfd, pos, size) <= left) {
        return size;
    }
    /* As far as whole pages go. */
    while (size > 0 && hole_pages(memfd, pos, size) > left) {
        int64_t last = ALIGN_DOWN(pos + (int64_t)size - 1, (int64_t)PAGE_SIZE);

        size = last > pos ? (size_t)(last - pos) : 0;
    }
    return size;
}

/* write(2): suid and sgid go unless the writer has CAP_FSETID. */
static void written(struct file *file) {
    struct tmpfs_node *node = tmpfs_node(file->inode);
    LOCK_GUARD(&node->lock);

    node->mtime = node->ctime = tmpfs_direct_now_locked(node);
    if ((node->mode & (S_ISUID | S_ISGID)) && file->creds &&
        !credentials_capable(file->creds, CAP_FSETID)) {
        node->mode &= ~(mode_t)S_ISUID;
        if (node->mode & S_IXGRP) {
            node->mode &= ~(mode_t)S_ISGID;
        }
    }
}

static ssize_t write_locked(struct inode *inode, const void *buffer, size_t size, int64_t pos) {
    struct tmpfs_data *data = data_of(inode);
    int memfd = atomic_load(&data->memfd);
    ssize_t count;

    if (memfd < 0 && pos <= small_max() && (int64_t)size <= small_max() - pos) {
        int64_t end = pos + (int64_t)size;
        int error = end > data->size ? resize_small_locked(inode, end) : 0;

        if (error) {
            return error;
        }
        memcpy(data->bytes + pos, buffer, size);
        return (ssize_t)size;
    }
    memfd = to_memfd_locked(inode);
    if (memfd < 0) {
        return memfd;
    }
    size = fit_locked(inode, memfd, pos, size);
    if (size == 0) {
        return -ENOSPC;
    }
    count = host_pwrite(memfd, buffer, size, pos);
    recount(inode);
    return count;
}

/* Guests may append by themselves, but where there is a limit: so the host finds the end. *pos:
 * where it was. */
static ssize_t append_locked(struct inode *inode, const void *buffer, size_t size, int64_t *pos) {
    struct tmpfs_data *data = data_of(inode);
    struct tmpfs_super *super = inode->sb->private;
    int memfd = atomic_load(&data->memfd);
    ssize_t count;

    if (memfd < 0 || super->page_limit) {
        int error = memfd_size_locked(data, pos);

        return error ? error : write_locked(inode, buffer, size, *pos);
    }
    count = host_write_flags(memfd, buffer, size, -1, RWF_APPEND);
    if (count > 0) {
        off_t end = host_lseek(memfd, 0, SEEK_CUR);

        *pos = MAX(end - count, (off_t)0);
    }
    recount(inode);
    return count;
}

static ssize_t tmpfs_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    ssize_t count;

    if (size == 0) {
        return 0;
    }
    lock_acquire(&file->inode->lock);
    count = atomic_load(&file->flags) & O_APPEND ? append_locked(file->inode, buffer, size, pos)
                                                 : write_locked(file->inode, buffer, size, *pos);
    lock_release(&file->inode->lock);
    if (count < 0) {
        return count;
    }
    *pos += count;
    written(file);
    return count;
}

static int64_t tmpfs_llseek(struct file *file, int64_t offset, int whence) {
    int memfd = atomic_load(&data_of(file->inode)->memfd);
    int64_t found;

    if ((whence != SEEK_DATA && whence != SEEK_HOLE) || memfd < 0) {
        return generic_llseek(file, offset, whence);
    }
    lock_acquire(&file->inode->lock);
    found = host_lseek(memfd, offset, whence);
    lock_release(&file->inode->lock);
    if (found >= 0) {
        file->pos = found;
    }
    return found;
}

/* In steps, each of them counted, so that --memory is kept and a kill does not wait for the end.
 * What has been allocated stays so when the call ends early: made again, it goes on from there. */
static int allocate_locked(struct inode *inode, int memfd, int mode, int64_t offset, int64_t size) {
    uint64_t left = tmpfs_pages_left(inode->sb);
    int64_t end = offset + size;
    int error = 0;

    if ((uint64_t)size / PAGE_SIZE > left && hole_pages(memfd, offset, (size_t)size) > left) {
        return -ENOSPC;
    }
    for (int64_t at = offset, step; at < end && !error; at += step) {
        step = MIN(end - at, (int64_t)ALLOCATE_STEP);
        error = waiter_interrupted(waiter_current())
                    ? -ERESTARTSYS
                    : host_fallocate(memfd, FALLOC_FL_KEEP_SIZE, at, step);
        recount(inode);
    }
    /* The size grows last, or not at all. */
    if (!error && !(mode & FALLOC_FL_KEEP_SIZE)) {
        error = host_fallocate(memfd, 0, end - 1, 1);
        recount(inode);
    }
    return error;
}

static int tmpfs_fallocate(struct file *file, int mode, int64_t offset, int64_t size) {
    struct inode *inode = file->inode;
    struct tmpfs_data *data = data_of(inode);
    int memfd, error = 0;

    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) {
        return -EOPNOTSUPP;
    }
    lock_acquire(&inode->lock);
    if (atomic_load(&data->memfd) < 0 && mode == 0 && offset + size <= small_max()) {
        if (offset + size > data->size) {
            error = resize_small_locked(inode, offset + size);
        }
    } else {
        memfd = to_memfd_locked(inode);
        if (memfd < 0) {
            error = memfd;
        } else if (mode & FALLOC_FL_PUNCH_HOLE) {
            error = host_fallocate(memfd, mode, offset, size);
            recount(inode);
        } else {
            error = allocate_locked(inode, memfd, mode, offset, size);
        }
    }
    lock_release(&inode->lock);
    if (!error) {
        written(file);
    }
    return error;
}

static int tmpfs_fsync(struct file *file, bool data_only) {
    return 0;
}

static int tmpfs_host_fd(struct file *file) {
    LOCK_GUARD(&file->inode->lock);
    return to_memfd_locked(file->inode);
}

/* The descriptor a guest's host process is given to map: writable only for a shared map of a file
 * that was opened for writing, since the guest may do with it what it likes while it has it. */
static int map_fd(struct file *file, int prot, bool shared) {
    struct tmpfs_data *data = data_of(file->inode);
    int memfd;
    LOCK_GUARD(&file->inode->lock);

    memfd = to_memfd_locked(file->inode);
    if (memfd < 0) {
        return memfd;
    }
    if (shared && (file->mode & FMODE_WRITE)) {
        return memfd;
    }
    if (data->memfd_read_only < 0) {
        data->memfd_read_only = host_reopen(memfd, O_RDONLY | O_NOATIME);
    }
    return data->memfd_read_only;
}

static struct memory_object *tmpfs_mmap(struct file *file, int prot, int flags) {
    touch_atime(file);
    return file_object_new(file, map_fd);
}

const struct file_ops tmpfs_file_ops = {
    .closes_unseen = true,
    .read = tmpfs_read,
    .write = tmpfs_write,
    .llseek = tmpfs_llseek,
    .mmap = tmpfs_mmap,
    .host_fd = tmpfs_host_fd,
    .fsync = tmpfs_fsync,
    .fallocate = tmpfs_fallocate,
    .donate = tmpfs_donate,
};

/* ---- files of memory without a name ---- */

static struct super_block *memory_super_block(void) {
    struct super_block *sb = atomic_load(&memory_sb), *made, *none = NULL;

    if (sb) {
        return sb;
    }
    made = tmpfs_new(0, 0777);
    if (IS_ERR(made)) {
        return made;
    }
    if (!atomic_compare_exchange_strong(&memory_sb, &none, made)) {
        super_block_kill(made);
        super_block_put(made);
        return none;
    }
    return made;
}

int tmpfs_file_new(const char *name, mode_t mode, unsigned seals, struct file **file) {
    struct super_block *sb = memory_super_block();
    struct path path = {0};
    char shown[NAME_MAX + 1];
    struct inode *inode;
    int error;

    if (IS_ERR(sb)) {
        return (int)PTR_ERR(sb);
    }
    inode = tmpfs_inode_new(sb, NULL, S_IFREG | mode, 0, NULL);
    if (IS_ERR(inode)) {
        return (int)PTR_ERR(inode);
    }
    lock_acquire(&inode->lock);
    data_of(inode)->seals = seals;
    error = to_named_memfd_locked(inode, name);
    lock_release(&inode->lock);
    if (error >= 0) {
        snprintf(shown, sizeof(shown), "/%s", name);
        path.dentry = dentry_new_anonymous(inode, shown);
        error = path.dentry ? 0 : -ENOMEM;
    }
    atomic_store(&inode->lost_name, true);
    inode_put(inode);
    if (error) {
        return error;
    }
    path.dentry->unlinked = true;
    error = file_open_path(&path, O_RDWR | O_LARGEFILE, NULL, file);
    path_put(&path);
    return error;
}
