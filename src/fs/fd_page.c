/*
 * The descriptor page: what stubs are shown of their process's descriptors, so that they answer
 * F_GETFD and the like, and close some of them, without the kernel (slot.h).
 *
 * A table shows its first descriptors, those of files and directories, to the one process that uses
 * it (one that several use, CLONE_FILES, shows nothing). Each word is written under table->lock.
 * Whoever changes something that many words stand on (a file's flags, whether a close is seen)
 * changes it first and then has all tables look again (fd_page_refresh); who shows counts that in
 * inode->shown first and then looks: so one of the two sees the other.
 *
 * The stub may close what nobody sees closed: it notes the number, and the kernel closes it later.
 * That is so for descriptors that are only read, in file systems of which no one can tell, unless
 *  - the inode has ever been locked: the close may give a lock back;
 *  - it has lost a name: the close may give its memory back;
 *  - somebody watches files (inotify).
 * Whoever looks at another's descriptors, or at what they keep busy, has the notes taken before.
 */
#include "fs/vfs_internal.h"

static struct lock pages_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_FD_PAGES};
static struct list_head pages = LIST_HEAD_INIT(pages); /* tables; guarded by it */
static _Atomic bool enabled;

void fd_page_enable(void) {
    atomic_store(&enabled, true);
}

static bool closes_unseen(const struct file *file) {
    struct inode *inode = file->inode;
    const struct file_ops *ops = file->mode & FMODE_PATH ? inode->file_ops : file->ops;

    return ops && ops->closes_unseen && !(file->mode & FMODE_WRITE) &&
           !atomic_load(&inode->locks) && !atomic_load(&inode->lost_name) && !donation_is_held();
}

/* 0: not to be shown. */
static uint64_t facts_of(const struct file *file, bool close_on_exec) {
    unsigned flags = (unsigned)atomic_load(&file->flags) | (file->mode & FMODE_PATH ? O_PATH : 0);

    return flags & ~SLOT_SHOWN_FLAGS
               ? 0
               : flags | SLOT_SHOWN | (close_on_exec ? SLOT_SHOWN_CLOEXEC : 0) |
                     (file->ops->ioctl || (file->mode & FMODE_PATH) ? 0 : SLOT_SHOWN_NOTTY) |
                     (closes_unseen(file) ? SLOT_SHOWN_CLOSES : 0);
}

void fd_page_show_locked(struct fd_table *table, int fd, bool close_on_exec) {
    struct file *file = table->files[fd];
    uint64_t old, facts;

    if (!table->process || table->spread || fd >= (int)SLOT_SHOWN_FDS ||
        !(S_ISREG(file->inode->type) || S_ISDIR(file->inode->type)) ||
        !atomic_load_explicit(&enabled, memory_order_relaxed)) {
        return;
    }
    old = host_process_shown_fd(table->process, fd);
    if (!old) {
        atomic_fetch_add(&file->inode->shown, 1);
    }
    facts = facts_of(file, close_on_exec);
    if (facts) {
        facts |= old ? old & ~0xffffffffull : (uint64_t)++table->generation << 32;
    }
    if (!host_process_show_fd(table->process, fd, facts) || !facts) {
        atomic_fetch_sub(&file->inode->shown, 1);
    }
}

bool fd_page_hide_locked(struct fd_table *table, int fd, struct file *file) {
    uint64_t word =
        table->process && fd < (int)SLOT_SHOWN_FDS ? host_process_shown_fd(table->process, fd) : 0;

    if (!word) {
        return false;
    }
    atomic_fetch_sub(&file->inode->shown, 1);
    return host_process_show_fd(table->process, fd, 0) &&
           host_process_take_note(table->process, fd, word);
}

bool fd_page_closes_locked(const struct fd_table *table, int fd) {
    return table->process && fd < (int)SLOT_SHOWN_FDS &&
           (host_process_shown_fd(table->process, fd) & SLOT_SHOWN_CLOSES);
}

/* ---- all tables ---- */

void fd_page_join(struct fd_table *table) {
    LOCK_GUARD(&pages_lock);

    if (list_empty(&table->page.link)) {
        list_add_tail(&table->page.link, &pages);
    }
}

void fd_page_leave(struct fd_table *table) {
    LOCK_GUARD(&pages_lock);

    list_del(&table->page.link);
}

/* The table behind `at`, which moves behind it; to be looked at and put. NULL: none. */
static struct fd_table *next_table(struct page_link *at) {
    struct list_head *next;
    struct fd_table *table = NULL;
    LOCK_GUARD(&pages_lock);

    for (next = at->link.next; next != &pages && !table; next = next->next) {
        table = list_entry(next, struct page_link, link)->table;
    }
    list_del(&at->link);
    if (table) {
        fd_table_peek_get(table);
        list_add(&at->link, &table->page.link);
    }
    return table;
}

void fd_page_refresh(const struct inode *inode) {
    struct page_link at = {.table = NULL};
    struct fd_table *table;

    if (inode && atomic_load(&inode->shown) == 0) {
        return;
    }
    lock_acquire(&pages_lock);
    list_add(&at.link, &pages);
    lock_release(&pages_lock);
    while ((table = next_table(&at))) {
        fd_table_show_again(table, inode);
        fd_table_peek_put(table);
    }
}

void inode_lost_name(struct inode *inode) {
    if (!atomic_exchange(&inode->lost_name, true)) {
        fd_page_refresh(inode);
    }
}
