/*
 * fd_table: descriptor numbers of a process (shared by CLONE_FILES).
 *
 * A growing array of files with two bitmaps: which numbers are used, which close on exec. One lock,
 * held for a few instructions; no file is ever put, flushed or closed under it. Each slot owns a
 * reference of its file.
 */
#include "fs/vfs_internal.h"

#define WORD_BITS 64

struct fd_table *fd_table_new(void) {
    struct fd_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&table->ref);
    ref_init(&table->memory);
    lock_init(&table->lock, LOCK_FD_TABLE);
    list_init(&table->closing);
    list_init(&table->page.link);
    table->page.table = table;
    return table;
}

struct fd_table *fd_table_get_ref(struct fd_table *table) {
    ref_get(&table->ref);
    return table;
}

static bool bit_get(const uint64_t *bits, int fd) {
    return bits[fd / WORD_BITS] >> (fd % WORD_BITS) & 1;
}

static void bit_set(uint64_t *bits, int fd, bool value) {
    uint64_t mask = 1ull << (fd % WORD_BITS);

    if (value) {
        bits[fd / WORD_BITS] |= mask;
    } else {
        bits[fd / WORD_BITS] &= ~mask;
    }
}

/* Room for `fd`. */
static int grow_locked(struct fd_table *table, int fd) {
    int size = MAX(table->size, WORD_BITS);
    struct file **files;
    uint64_t *used, *cloexec;

    if (fd < table->size) {
        return 0;
    }
    if (fd >= FD_TABLE_MAX) {
        return -EMFILE;
    }
    while (size <= fd) {
        size *= 2;
    }
    files = calloc((size_t)size, sizeof(*files));
    used = calloc((size_t)size / WORD_BITS, sizeof(*used));
    cloexec = calloc((size_t)size / WORD_BITS, sizeof(*cloexec));
    if (!files || !used || !cloexec) {
        free(files);
        free(used);
        free(cloexec);
        return -ENOMEM;
    }
    if (table->size) {
        memcpy(files, table->files, (size_t)table->size * sizeof(*files));
        memcpy(used, table->used, (size_t)table->size / WORD_BITS * sizeof(*used));
        memcpy(cloexec, table->cloexec, (size_t)table->size / WORD_BITS * sizeof(*cloexec));
    }
    free(table->files);
    free(table->used);
    free(table->cloexec);
    table->files = files;
    table->used = used;
    table->cloexec = cloexec;
    table->size = size;
    return 0;
}

/* The lowest free number >= minimum: it may be table->size. */
static int find_free_locked(const struct fd_table *table, int minimum) {
    int fd = MAX(minimum, table->first_free);

    while (fd < table->size) {
        uint64_t free_bits = ~table->used[fd / WORD_BITS] >> (fd % WORD_BITS);

        if (free_bits) {
            return fd + __builtin_ctzll(free_bits);
        }
        fd = ALIGN_DOWN(fd, WORD_BITS) + WORD_BITS;
    }
    return fd;
}

static void put_locked(struct fd_table *table, int fd, struct file *file, bool close_on_exec) {
    atomic_fetch_add(&file->fd_refs, 1);
    table->files[fd] = file_get(file);
    bit_set(table->used, fd, true);
    bit_set(table->cloexec, fd, close_on_exec);
    fd_page_show_locked(table, fd, close_on_exec);
}

/* *noted: the guest's stub had closed it already. */
static struct file *take_locked(struct fd_table *table, int fd, bool *noted) {
    struct file *file = STEAL(table->files[fd]);

    *noted = fd_page_hide_locked(table, fd, file);
    if (table->given) {
        donation_closed_locked(table, fd);
    }
    bit_set(table->used, fd, false);
    bit_set(table->cloexec, fd, false);
    table->first_free = MIN(table->first_free, fd);
    return file;
}

/* filp_close(): POSIX locks of this table go with any descriptor of the file (fcntl(2)). */
static int close_file(struct fd_table *table, struct file *file) {
    int error = 0;

    if (!(file->mode & FMODE_PATH)) {
        if (file->ops->flush) {
            error = file->ops->flush(file);
        }
        file_locks_release(file, table);
    }
    atomic_fetch_sub(&file->fd_refs, 1);
    file_put(file);
    return error;
}

bool fd_table_shared(const struct fd_table *table) {
    return atomic_load(&table->ref.count) > 1;
}

/* ---- what stubs have closed ---- */

/* Files whose descriptors were taken out, to be closed when the lock is released. */
struct closed {
    struct file *files[SLOT_SHOWN_FDS];
    size_t count;
};

static void take_noted_locked(struct fd_table *table, int fd, struct closed *closed) {
    bool noted;

    if (closed->count < ARRAY_SIZE(closed->files) && table->files[fd]) {
        closed->files[closed->count++] = take_locked(table, fd, &noted);
    }
}

static void settle_locked(struct fd_table *table, struct closed *closed) {
    closed->count = 0;
    if (!table->process || !host_process_has_notes(table->process)) {
        return;
    }
    for (uint32_t i = 0; i < SLOT_NOTES; i++) {
        int fd = host_process_noted_fd(table->process, i);

        if (fd >= 0 && fd < table->size && fd_page_closes_locked(table, fd)) {
            take_noted_locked(table, fd, closed);
        }
    }
}

static void close_all(struct fd_table *table, const struct closed *closed) {
    for (size_t i = 0; i < closed->count; i++) {
        (void)close_file(table, closed->files[i]);
    }
}

void fd_table_settle(struct fd_table *table) {
    struct closed closed;

    lock_acquire(&table->lock);
    settle_locked(table, &closed);
    lock_release(&table->lock);
    close_all(table, &closed);
}

void fd_table_begin_call(struct fd_table *table) {
    /* Set by this very thread, or before it began. */
    if (table->process && unlikely(host_process_has_notes(table->process))) {
        fd_table_settle(table);
    }
}

void fd_table_show_again(struct fd_table *table, const struct inode *inode) {
    struct closed closed;

    lock_acquire(&table->lock);
    settle_locked(table, &closed);
    for (int fd = 0; fd < MIN(table->size, (int)SLOT_SHOWN_FDS); fd++) {
        bool closes = fd_page_closes_locked(table, fd);

        if (!table->files[fd] || (inode && table->files[fd]->inode != inode)) {
            continue;
        }
        fd_page_show_locked(table, fd, bit_get(table->cloexec, fd));
        /* It may have been noted just before. */
        if (closes && !fd_page_closes_locked(table, fd) && table->process &&
            host_process_noted_fd(table->process, (uint32_t)fd % SLOT_NOTES) == fd) {
            take_noted_locked(table, fd, &closed);
        }
    }
    lock_release(&table->lock);
    close_all(table, &closed);
}

void fd_table_hide(struct fd_table *table) {
    struct closed closed;

    lock_acquire(&table->lock);
    settle_locked(table, &closed);
    for (int fd = 0; fd < MIN(table->size, (int)SLOT_SHOWN_FDS); fd++) {
        if (table->files[fd] && fd_page_hide_locked(table, fd, table->files[fd])) {
            take_noted_locked(table, fd, &closed);
        }
    }
    lock_release(&table->lock);
    close_all(table, &closed);
}

struct fd_table *fd_table_peek_get(struct fd_table *table) {
    ref_get(&table->memory);
    return table;
}

void fd_table_peek_put(struct fd_table *table) {
    if (ref_put(&table->memory)) {
        free(table->used);
        free(table->cloexec);
        lock_destroy(&table->lock);
        free(table);
    }
}

void fd_table_put(struct fd_table *table) {
    struct file **files;
    int size;

    if (!ref_put(&table->ref)) {
        return;
    }
    fd_page_leave(table);
    fd_table_leave_process(table);
    lock_acquire(&table->lock);
    files = STEAL(table->files);
    size = table->size;
    table->size = 0;
    lock_release(&table->lock);
    for (int fd = 0; fd < size; fd++) {
        if (files[fd]) {
            (void)close_file(table, files[fd]);
        }
    }
    free(files);
    fd_table_peek_put(table);
}

struct fd_table *fd_table_fork(struct fd_table *table) {
    struct fd_table *copy = fd_table_new();
    int last, error;

    if (IS_ERR(copy)) {
        return copy;
    }
    lock_acquire(&table->lock);
    for (last = table->size - 1; last >= 0 && !table->files[last]; last--) {
    }
    error = last < 0 ? 0 : grow_locked(copy, last);
    for (int fd = 0; !error && fd <= last; fd++) {
        if (table->files[fd]) {
            put_locked(copy, fd, table->files[fd], bit_get(table->cloexec, fd));
        }
    }
    copy->first_free = error ? 0 : table->first_free;
    lock_release(&table->lock);
    if (error) {
        fd_table_put(copy);
        return ERR_PTR(error);
    }
    return copy;
}

struct file *fd_table_get(struct fd_table *table, int fd) {
    LOCK_GUARD(&table->lock);

    if (fd < 0 || fd >= table->size || !table->files[fd]) {
        return NULL;
    }
    return file_get(table->files[fd]);
}

int fd_table_install(struct fd_table *table, struct file *file, int minimum, int limit,
                     bool close_on_exec) {
    int fd, error;
    LOCK_GUARD(&table->lock);

    if (minimum < 0) {
        return -EINVAL;
    }
    fd = find_free_locked(table, minimum);
    if (fd >= limit) {
        return -EMFILE;
    }
    error = grow_locked(table, fd);
    if (error) {
        return error;
    }
    put_locked(table, fd, file, close_on_exec);
    if (minimum <= table->first_free) {
        table->first_free = fd + 1;
    }
    return fd;
}

bool fd_table_has_room(struct fd_table *table, int limit) {
    LOCK_GUARD(&table->lock);
    return find_free_locked(table, 0) < limit;
}

int fd_table_replace(struct fd_table *table, int fd, struct file *file, int limit,
                     bool close_on_exec) {
    struct file *old = NULL;
    bool noted;
    int error;

    if (fd < 0 || fd >= limit) {
        return -EBADF;
    }
    lock_acquire(&table->lock);
    error = grow_locked(table, fd);
    if (!error) {
        if (table->files[fd]) {
            old = take_locked(table, fd, &noted);
        }
        put_locked(table, fd, file, close_on_exec);
    }
    lock_release(&table->lock);
    if (old) {
        (void)close_file(table, old);
    }
    return error ? error : fd;
}

static int close_slot(struct fd_table *table, int fd) {
    struct file *file = NULL;
    bool noted = false;
    int error;

    lock_acquire(&table->lock);
    if (fd >= 0 && fd < table->size && table->files[fd]) {
        file = take_locked(table, fd, &noted);
    }
    lock_release(&table->lock);
    error = file ? close_file(table, file) : -EBADF;
    return noted ? -EBADF : error;
}

int fd_table_close(struct fd_table *table, int fd) {
    return close_slot(table, fd);
}

static int set_cloexec(struct fd_table *table, int fd, bool value) {
    LOCK_GUARD(&table->lock);

    if (fd < 0 || fd >= table->size || !table->files[fd]) {
        return -EBADF;
    }
    bit_set(table->cloexec, fd, value);
    fd_page_show_locked(table, fd, value);
    return 0;
}

void fd_table_close_range(struct fd_table *table, unsigned first, unsigned last,
                          bool set_cloexec_only) {
    int fd = first > INT_MAX ? INT_MAX : (int)first;

    /* A number that somebody else closed meanwhile is none of ours. */
    for (; (fd = fd_table_next(table, fd)) >= 0 && (unsigned)fd <= last; fd++) {
        if (set_cloexec_only) {
            set_cloexec(table, fd, true);
        } else {
            close_slot(table, fd);
        }
    }
}

void fd_table_close_on_exec(struct fd_table *table) {
    for (int fd = 0; (fd = fd_table_next(table, fd)) >= 0; fd++) {
        if (fd_table_get_flags(table, fd) == FD_CLOEXEC) {
            close_slot(table, fd);
        }
    }
}

int fd_table_get_flags(struct fd_table *table, int fd) {
    LOCK_GUARD(&table->lock);

    if (fd < 0 || fd >= table->size || !table->files[fd]) {
        return -EBADF;
    }
    return bit_get(table->cloexec, fd) ? FD_CLOEXEC : 0;
}

int fd_table_set_flags(struct fd_table *table, int fd, int flags) {
    return set_cloexec(table, fd, flags & FD_CLOEXEC);
}

int fd_table_next(struct fd_table *table, int from) {
    LOCK_GUARD(&table->lock);

    for (int fd = MAX(from, 0); fd < table->size;) {
        uint64_t used = table->used[fd / WORD_BITS] >> (fd % WORD_BITS);

        if (used) {
            return fd + __builtin_ctzll(used);
        }
        fd = ALIGN_DOWN(fd, WORD_BITS) + WORD_BITS;
    }
    return -1;
}
