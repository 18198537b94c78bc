/*
 * Donation: taking back. What guests do by themselves the kernel does not see; who must see it
 * withdraws the descriptors from their tables and waits for the calls that are under way.
 */
#include "fs/donation_internal.h"

struct target {
    struct target *next;
    struct host_process *process; /* owned */
    int number;
};

/* All donations of the file; whom to wait for is added to the list. */
static void revoke_locked(struct file *file, struct target **targets) {
    struct donation *donation;

    list_for_each_entry (donation, &file->donated.given, file_link) {
        struct target *target;

        donation_withdraw_locked(donation);
        if (!donation->table->process) {
            continue;
        }
        target = malloc(sizeof(*target));
        if (!target) {
            continue; /* not waited for: what it is in the middle of may still happen */
        }
        *target =
            (struct target){*targets, host_process_get(donation->table->process), donation->number};
        *targets = target;
    }
}

static void settle(struct target *targets, bool wait) {
    while (targets) {
        struct target *target = targets;

        targets = target->next;
        host_process_settle(target->process, target->number, true, wait);
        host_process_put(target->process);
        free(target);
    }
}

void donation_revoke_inode(struct inode *inode, bool wait) {
    struct target *targets = NULL;
    struct file *file;

    atomic_fetch_add(&inode->donation_epoch, 1);
    if (atomic_load(&inode->donated_count) == 0) {
        return;
    }
    lock_acquire(&donation_lock);
    list_for_each_entry (file, &donated_files, donated.link) {
        if (file->inode == inode) {
            revoke_locked(file, &targets);
        }
    }
    lock_release(&donation_lock);
    settle(targets, wait);
}

void donation_forbid(struct inode *inode) {
    if (!atomic_exchange(&inode->not_donated, true)) {
        donation_revoke_inode(inode, true);
    }
}

void donation_flags_changed(struct file *file) {
    int error = 0;

    if (!file->ops->donate) {
        return;
    }
    lock_acquire(&file->pos_lock);
    if (file->donated.fd >= 0) {
        error = file->ops->donated_flags
                    ? file->ops->donated_flags(file, file->donated.fd, atomic_load(&file->flags))
                    : -EAGAIN;
    }
    lock_release(&file->pos_lock);
    if (error) {
        donation_revoke_inode(file->inode, true);
    }
}

void donation_limit(struct fd_table *table) {
    LOCK_GUARD(&donation_lock);

    table->limited = true;
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd] && donation_is_limited(table, table->given[fd]->file)) {
            donation_close_locked(table->given[fd]);
        }
    }
}

void donation_hold(void) {
    struct target *targets = NULL;
    struct file *file;

    lock_acquire(&donation_lock);
    donation_holds++;
    list_for_each_entry (file, &donated_files, donated.link) {
        if (file->path.mount) {
            revoke_locked(file, &targets);
        }
    }
    lock_release(&donation_lock);
    settle(targets, true);
    fd_page_refresh(NULL);
}

bool donation_is_held(void) {
    return atomic_load(&donation_holds) > 0;
}

void donation_release(void) {
    LOCK_GUARD(&donation_lock);

    donation_holds--;
}

/* ---- the position ---- */

static bool is_live_locked(const struct file *file) {
    const struct donation *donation;

    list_for_each_entry (donation, &file->donated.given, file_link) {
        if (donation->live) {
            return true;
        }
    }
    return false;
}

static void position_back(struct file *file) {
    off_t pos = host_lseek(file->donated.fd, 0, SEEK_CUR);

    if (pos >= 0) {
        file->pos = pos;
    }
    file->donated.has_pos = false;
}

void file_pos_acquire(struct file *file) {
    lock_acquire(&file->pos_lock);
    while (file->donated.has_pos) {
        struct target *targets = NULL;
        unsigned seq;
        bool settled;

        lock_release(&file->pos_lock);
        lock_acquire(&donation_lock);
        seq = file->donated.seq;
        revoke_locked(file, &targets);
        lock_release(&donation_lock);
        settle(targets, true);
        lock_acquire(&file->pos_lock);
        lock_acquire(&donation_lock);
        settled = seq == file->donated.seq && !is_live_locked(file);
        lock_release(&donation_lock);
        if (settled && file->donated.has_pos) {
            position_back(file);
        }
    }
}

void file_pos_release(struct file *file) {
    lock_release(&file->pos_lock);
}

/* Without the position's lock, as Linux does: it may be held over a long read, or by this very one
 * when somebody looks at the descriptor that he reads from. */
__attribute__((no_sanitize("thread"))) int64_t file_pos_peek(struct file *file) {
    int64_t pos = *(const volatile int64_t *)&file->pos;
    off_t host = *(const volatile bool *)&file->donated.has_pos
                     ? host_lseek(*(const volatile int *)&file->donated.fd, 0, SEEK_CUR)
                     : -1;

    return host >= 0 ? host : pos;
}
