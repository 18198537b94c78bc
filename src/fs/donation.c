/*
 * Donation: descriptors that guests read and write by themselves (design §6). This file gives them;
 * donation_revoke.c takes them back, donation_table.c knows which host process uses which table.
 *
 * A file that proves hot gets a host description of its own, with the rights of the guest's open;
 * each process that uses it receives a copy, which its descriptor table (slot.h) names. The
 * position of a donated file is the host's, so that all who share it, by dup or fork, go on from
 * where the other was. Whenever the kernel itself needs the position it takes it back
 * (file_pos_acquire), and whenever it must see each access it takes the donation back
 * (donation_revoke_inode): then the table says nothing any more, and calls that are under way have
 * been waited for. A taken-back donation keeps its host number, so that it is soon published again.
 *
 * Life of a donation: given or inherited by fork; live while the table names it; closing once the
 * guest's descriptor is closed, until a stub of the process has closed the host's number. A number
 * that another thread uses at that moment is closed later and keeps its file until then, as a call
 * that is under way keeps it on Linux.
 *
 * A table is used by the tasks of one host process. One that several use (CLONE_FILES without
 * CLONE_THREAD) is `spread`: nothing is donated through it.
 *
 * Locks: pos_lock, FD_TABLE, then `donation_lock` for all donations. Publishing needs all three, so
 * that under any of them nothing new is published.
 */
#include "fs/donation_internal.h"

/* Reads and writes by the kernel before it is worth the while: it costs as much as a dozen of them,
 * and a dynamic linker makes three or four of each library. */
#define USES_BEFORE  4
#define USES_REFUSED (1u << 31) /* it cannot be donated: never asked again */

struct lock donation_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DONATION};
struct list_head donated_files = LIST_HEAD_INIT(donated_files);
_Atomic unsigned donation_holds;
static _Atomic bool enabled;

void donation_enable(void) {
    atomic_store(&enabled, true);
}

/* ---- donations and files ---- */

void donation_link_locked(struct donation *donation, struct file *file) {
    donation->file = file;
    if (list_empty(&file->donated.given)) {
        list_add(&file->donated.link, &donated_files);
        atomic_fetch_add(&file->inode->donated_count, 1);
    }
    list_add(&donation->file_link, &file->donated.given);
}

static void donation_unlink_locked(struct donation *donation) {
    struct file *file = donation->file;

    list_del(&donation->file_link);
    if (list_empty(&file->donated.given)) {
        list_del(&file->donated.link);
        atomic_fetch_sub(&file->inode->donated_count, 1);
    }
}

void donation_publish_locked(struct donation *donation) {
    struct fd_table *table = donation->table;

    if (table->process && donation->live) {
        uint64_t word = donation->rights | (unsigned)donation->number;

        donation->file->donated.seq++;
        donation->live = host_process_set_fd(table->process, donation->fd, word);
    }
}

void donation_withdraw_locked(struct donation *donation) {
    if (donation->live && donation->table->process) {
        (void)host_process_set_fd(donation->table->process, donation->fd, 0);
    }
    donation->live = false;
}

/* From a descriptor's donation to one that waits to be closed. */
void donation_close_locked(struct donation *donation) {
    struct fd_table *table = donation->table;

    donation_withdraw_locked(donation);
    donation_unlink_locked(donation);
    /* A call that is under way on it keeps the file, as on Linux. */
    donation->file = table->process && host_process_uses(table->process, donation->number)
                         ? file_get(donation->file)
                         : NULL;
    table->given[donation->fd] = NULL;
    list_add_tail(&donation->link, &table->closing);
    atomic_fetch_add(&table->closing_count, 1);
}

struct file *donation_file(struct fd_table *table, int number) {
    struct donation *donation;
    LOCK_GUARD(&donation_lock);

    list_for_each_entry (donation, &table->closing, link) {
        if (donation->number == number && donation->file) {
            return file_get(donation->file);
        }
    }
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd] && table->given[fd]->number == number) {
            return file_get(table->given[fd]->file);
        }
    }
    return NULL;
}

void donation_closed_locked(struct fd_table *table, int fd) {
    LOCK_GUARD(&donation_lock);

    if (fd < table->given_size && table->given[fd]) {
        donation_close_locked(table->given[fd]);
    }
}

void donation_file_end(struct file *file) {
    if (file->donated.fd >= 0) {
        (void)host_close(file->donated.fd);
    }
}

bool donation_is_limited(const struct fd_table *table, const struct file *file) {
    return table->limited && (file->mode & FMODE_WRITE) && S_ISREG(file->inode->type);
}

/* ---- giving ---- */

static bool live_here_locked(const struct fd_table *table, int fd) {
    return fd >= 0 && fd < table->given_size && table->given[fd] && table->given[fd]->live;
}

bool donation_wanted(struct fd_table *table, int fd, struct file *file) {
    unsigned uses;

    if (!atomic_load_explicit(&enabled, memory_order_relaxed) || !file->ops->donate ||
        fd >= (int)SLOT_TABLE_FDS) {
        return false;
    }
    uses = atomic_fetch_add_explicit(&file->donated.uses, 1, memory_order_relaxed);
    if (uses < USES_BEFORE || (uses & USES_REFUSED) || atomic_load(&file->inode->not_donated)) {
        return false;
    }
    LOCK_GUARD(&donation_lock);
    /* One that is live was left by its stub for a reason. */
    return table->process && !table->spread && !(donation_holds && file->path.mount) &&
           !donation_is_limited(table, file) && !live_here_locked(table, fd);
}

bool donation_is_live(struct fd_table *table, int fd) {
    LOCK_GUARD(&donation_lock);

    return live_here_locked(table, fd);
}

bool donation_proved(const struct file *file) {
    unsigned uses = atomic_load_explicit(&file->donated.uses, memory_order_relaxed);

    return uses > USES_BEFORE && !(uses & USES_REFUSED);
}

bool donation_reads_only(const struct file *file) {
    return atomic_load_explicit(&file->donated.reads_only, memory_order_relaxed);
}

void donation_unwanted(struct file *file) {
    unsigned uses = atomic_load_explicit(&file->donated.uses, memory_order_relaxed);

    if (!(uses & USES_REFUSED)) {
        /* Lost to a use just now: no harm. */
        atomic_compare_exchange_strong(&file->donated.uses, &uses, 0);
    }
}

/* The file's description for guests, made anew when the one it has may be of another time. Every
 * donation of the old one goes. pos_lock held. */
static int description(struct file *file) {
    unsigned epoch = atomic_load(&file->inode->donation_epoch);
    struct donation *donation, *next;
    uint32_t rights = 0;
    int fd;

    if (file->donated.fd >= 0 && file->donated.epoch == epoch) {
        return 0;
    }
    if (file->donated.has_pos) {
        return -EBUSY; /* changed just now */
    }
    fd = file->ops->donate(file, &rights);
    if (fd < 0) {
        if (fd != -EAGAIN) {
            atomic_store(&file->donated.uses, USES_REFUSED);
        }
        return fd;
    }
    lock_acquire(&donation_lock);
    list_for_each_entry_safe (donation, next, &file->donated.given, file_link) {
        donation_close_locked(donation);
    }
    lock_release(&donation_lock);
    if (file->donated.fd >= 0) {
        (void)host_close(file->donated.fd);
    }
    file->donated.fd = fd;
    file->donated.epoch = epoch;
    file->donated.rights = rights;
    atomic_store(&file->donated.reads_only, !(rights & SLOT_FD_WRITE));
    return 0;
}

/* The number that the table's process has for this descriptor already, or -1. */
static int have_number(struct fd_table *table, int fd, struct file *file) {
    LOCK_GUARD(&donation_lock);

    return fd < table->given_size && table->given[fd] && table->given[fd]->file == file
               ? table->given[fd]->number
               : -1;
}

static bool may_publish_locked(struct fd_table *table, int fd, struct file *file, unsigned epoch) {
    return fd < table->size && table->files[fd] == file && table->process && !table->spread &&
           !(donation_holds && file->path.mount) && !donation_is_limited(table, file) &&
           file->donated.epoch == epoch && atomic_load(&file->inode->donation_epoch) == epoch &&
           !atomic_load(&file->inode->not_donated);
}

/* pos_lock and table->lock held. `donation` is taken over. */
static void enter_locked(struct fd_table *table, int fd, struct file *file, unsigned epoch,
                         struct donation *donation) {
    struct donation *have;
    LOCK_GUARD(&donation_lock);

    have = table->given[fd];
    if (have && donation) {
        donation_close_locked(have);
        have = NULL;
    }
    if (donation) {
        donation->table = table;
        donation->fd = fd;
        if (fd >= table->size || table->files[fd] != file || file->donated.epoch != epoch ||
            donation_is_limited(table, file)) {
            /* Closed meanwhile, or something else by now; or no longer to be had. */
            donation->file = NULL;
            list_add_tail(&donation->link, &table->closing);
            atomic_fetch_add(&table->closing_count, 1);
            return;
        }
        have = donation;
        table->given[fd] = donation;
        donation_link_locked(donation, file);
    }
    if (have && may_publish_locked(table, fd, file, epoch)) {
        if ((file->donated.rights & SLOT_FD_SEEK) && !file->donated.has_pos) {
            if (host_lseek(file->donated.fd, file->pos, SEEK_SET) < 0) {
                return;
            }
            file->donated.has_pos = true;
        }
        have->rights = file->donated.rights;
        have->live = true;
        donation_publish_locked(have);
    }
}

static bool room_locked(struct fd_table *table, int fd) {
    int size = MAX(table->given_size, 64);
    struct donation **given;
    LOCK_GUARD(&donation_lock);

    while (size <= fd) {
        size *= 2;
    }
    if (size > table->given_size) {
        given = realloc(table->given, (size_t)size * sizeof(struct donation *));
        if (!given) {
            return false;
        }
        memset(given + table->given_size, 0,
               (size_t)(size - table->given_size) * sizeof(struct donation *));
        table->given = given;
        table->given_size = size;
    }
    return true;
}

/* pos_lock, with the position taken back when the description that has it is of another time. */
static void acquire_for_description(struct file *file) {
    bool stale;

    lock_acquire(&file->pos_lock);
    stale =
        file->donated.has_pos && file->donated.epoch != atomic_load(&file->inode->donation_epoch);
    if (stale) {
        lock_release(&file->pos_lock);
        file_pos_acquire(file);
    }
}

void donation_give(struct fd_table *table, int fd, struct file *file, struct host_thread *thread) {
    struct donation *donation = NULL;
    int number, own, error;
    unsigned epoch;

    acquire_for_description(file);
    error = description(file);
    epoch = file->donated.epoch;
    own = error ? -1 : host_dup(file->donated.fd);
    lock_release(&file->pos_lock);
    if (own < 0) {
        return;
    }
    number = have_number(table, fd, file);
    if (number < 0) {
        donation = calloc(1, sizeof(*donation));
        if (donation) {
            list_init(&donation->link);
            donation->number = host_thread_give_fd(thread, own);
        }
    }
    (void)host_close(own);
    if (number < 0 && (!donation || donation->number < 0)) {
        free(donation);
        donation_unwanted(file); /* not again at once: the process may have all that it may have */
        return;
    }
    lock_acquire(&file->pos_lock);
    lock_acquire(&table->lock);
    if (room_locked(table, fd)) {
        enter_locked(table, fd, file, epoch, donation);
    } else {
        free(donation); /* the number stays open with the process */
    }
    lock_release(&table->lock);
    lock_release(&file->pos_lock);
}
