/*
 * Donation: descriptors that guests read and write by themselves (design §6).
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
#include "fs/vfs_internal.h"

/* Reads and writes by the kernel before it is worth the while: it costs as much as a dozen of them,
 * and a dynamic linker makes three or four of each library. */
#define USES_BEFORE  4
#define USES_REFUSED (1u << 31) /* it cannot be donated: never asked again */

struct donation {
    /* guarded by donation_lock */
    struct file *file;          /* of the table's descriptor; owned only while closing and in use */
    struct list_head file_link; /* of file->donated.given */
    struct list_head link;      /* of table->closing */
    struct fd_table *table;
    int fd;     /* the guest's */
    int number; /* the host's, in the guest's process */
    uint32_t rights;
    bool live; /* to be named by the process's table */
};

static struct lock donation_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DONATION};
static struct list_head donated_files = LIST_HEAD_INIT(donated_files); /* guarded by it */
static _Atomic unsigned holds;                                         /* written under it */
static _Atomic bool enabled;

void donation_enable(void) {
    atomic_store(&enabled, true);
}

/* ---- donations and files ---- */

static void link_locked(struct donation *donation, struct file *file) {
    donation->file = file;
    if (list_empty(&file->donated.given)) {
        list_add(&file->donated.link, &donated_files);
        atomic_fetch_add(&file->inode->donated_count, 1);
    }
    list_add(&donation->file_link, &file->donated.given);
}

static void unlink_locked(struct donation *donation) {
    struct file *file = donation->file;

    list_del(&donation->file_link);
    if (list_empty(&file->donated.given)) {
        list_del(&file->donated.link);
        atomic_fetch_sub(&file->inode->donated_count, 1);
    }
}

static void publish_locked(struct donation *donation) {
    struct fd_table *table = donation->table;

    if (table->process && donation->live) {
        uint64_t word = donation->rights | (unsigned)donation->number;

        donation->file->donated.seq++;
        donation->live = host_process_set_fd(table->process, donation->fd, word);
    }
}

static void withdraw_locked(struct donation *donation) {
    if (donation->live && donation->table->process) {
        (void)host_process_set_fd(donation->table->process, donation->fd, 0);
    }
    donation->live = false;
}

/* From a descriptor's donation to one that waits to be closed. */
static void close_locked(struct donation *donation) {
    struct fd_table *table = donation->table;

    withdraw_locked(donation);
    unlink_locked(donation);
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
        close_locked(table->given[fd]);
    }
}

void donation_file_end(struct file *file) {
    if (file->donated.fd >= 0) {
        (void)host_close(file->donated.fd);
    }
}

/* ---- taking back ---- */

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

        withdraw_locked(donation);
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

static bool is_limited(const struct fd_table *table, const struct file *file) {
    return table->limited && (file->mode & FMODE_WRITE) && S_ISREG(file->inode->type);
}

void donation_limit(struct fd_table *table) {
    LOCK_GUARD(&donation_lock);

    table->limited = true;
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd] && is_limited(table, table->given[fd]->file)) {
            close_locked(table->given[fd]);
        }
    }
}

void donation_hold(void) {
    struct target *targets = NULL;
    struct file *file;

    lock_acquire(&donation_lock);
    holds++;
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
    return atomic_load(&holds) > 0;
}

void donation_release(void) {
    LOCK_GUARD(&donation_lock);

    holds--;
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
    return table->process && !table->spread && !(holds && file->path.mount) &&
           !is_limited(table, file) && !live_here_locked(table, fd);
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
        close_locked(donation);
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
           !(holds && file->path.mount) && !is_limited(table, file) &&
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
        close_locked(have);
        have = NULL;
    }
    if (donation) {
        donation->table = table;
        donation->fd = fd;
        if (fd >= table->size || table->files[fd] != file || file->donated.epoch != epoch ||
            is_limited(table, file)) {
            /* Closed meanwhile, or something else by now; or no longer to be had. */
            donation->file = NULL;
            list_add_tail(&donation->link, &table->closing);
            atomic_fetch_add(&table->closing_count, 1);
            return;
        }
        have = donation;
        table->given[fd] = donation;
        link_locked(donation, file);
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
        publish_locked(have);
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

/* ---- tables and processes ---- */

/* Several processes: nothing is donated any more. */
static void spread_locked(struct fd_table *table) {
    table->spread = true;
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd]) {
            withdraw_locked(table->given[fd]);
        }
    }
}

/* False: the process can not use the table by itself. */
static bool adopt_locked(struct fd_table *table, struct host_process *process) {
    if (!table->spread && !table->process) {
        table->process = host_process_get(process);
    } else if (!table->spread && table->process != process) {
        spread_locked(table);
    }
    return !table->spread;
}

/* The first thread of a process whose table it is makes it that of the process; a thread with
 * another one (unshare(2)) does without. */
static void use_table(struct fd_table *table, struct host_thread *thread) {
    struct host_process *process = host_thread_process(thread);
    bool use, first;

    fd_page_join(table);
    lock_acquire(&table->lock);
    lock_acquire(&donation_lock);
    first = !table->process;
    use = host_process_claim_table(process, table) && adopt_locked(table, process);
    host_thread_use_table(thread, table, use);
    for (int fd = 0; use && first && fd < table->given_size; fd++) {
        if (table->given[fd]) {
            publish_locked(table->given[fd]);
        }
    }
    lock_release(&donation_lock);
    lock_release(&table->lock);
    if (use && first) {
        fd_table_show_again(table, NULL);
    } else if (table->spread) {
        fd_table_hide(table);
    }
}

/* Closes in the guest's process what nobody there uses; the files that were kept for that long. */
static size_t take_closing_locked(struct fd_table *table, int numbers[SLOT_MAX_CLOSES],
                                  struct file *files[SLOT_MAX_CLOSES]) {
    struct donation *donation, *next;
    size_t count = 0;

    if (table->frozen || !table->process) {
        return 0;
    }
    list_for_each_entry_safe (donation, next, &table->closing, link) {
        if (count == SLOT_MAX_CLOSES) {
            break;
        }
        if (host_process_uses(table->process, donation->number)) {
            continue;
        }
        numbers[count] = donation->number;
        files[count++] = donation->file;
        list_del(&donation->link);
        atomic_fetch_sub(&table->closing_count, 1);
        free(donation);
    }
    return count;
}

void fd_table_before_resume(struct fd_table *table, struct host_thread *thread) {
    struct file *files[SLOT_MAX_CLOSES];
    int numbers[SLOT_MAX_CLOSES];
    size_t count;

    if (unlikely(host_thread_table_owner(thread) != table)) {
        use_table(table, thread);
    }
    if (likely(atomic_load_explicit(&table->closing_count, memory_order_relaxed) == 0)) {
        return;
    }
    lock_acquire(&donation_lock);
    count = host_process_owns(host_thread_process(thread), table)
                ? take_closing_locked(table, numbers, files)
                : 0;
    if (count) {
        host_thread_close_fds(thread, numbers, count);
    }
    lock_release(&donation_lock);
    for (size_t i = 0; i < count; i++) {
        if (files[i]) {
            file_put(files[i]);
        }
    }
}

void fd_table_leave_process(struct fd_table *table) {
    struct list_head closing = LIST_HEAD_INIT(closing);
    struct host_process *process;
    struct donation *donation, *next;

    fd_table_hide(table);
    lock_acquire(&table->lock);
    lock_acquire(&donation_lock);
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd]) {
            close_locked(table->given[fd]);
        }
    }
    list_for_each_entry_safe (donation, next, &table->closing, link) {
        list_del(&donation->link);
        list_add(&donation->link, &closing);
    }
    atomic_store(&table->closing_count, 0);
    free(STEAL(table->given));
    table->given_size = 0;
    process = STEAL(table->process);
    table->spread = false;
    lock_release(&donation_lock);
    lock_release(&table->lock);
    list_for_each_entry_safe (donation, next, &closing, link) {
        if (donation->file) {
            file_put(donation->file);
        }
        free(donation);
    }
    if (process) {
        host_process_disown(process, table);
        host_process_put(process);
    }
}

static void inherit_closing_locked(struct fd_table *child, int number) {
    struct donation *copy = calloc(1, sizeof(*copy));

    if (copy) { /* else it stays open in the child */
        copy->number = number;
        copy->table = child;
        list_add_tail(&copy->link, &child->closing);
        atomic_fetch_add(&child->closing_count, 1);
    }
}

static void inherit_locked(struct fd_table *parent, struct fd_table *child) {
    int under_way[64];
    struct donation *donation;
    size_t count;

    for (int fd = 0; fd < parent->given_size; fd++) {
        struct donation *from = parent->given[fd], *copy;

        if (!from) {
            continue;
        }
        copy = fd < child->size && child->files[fd] == from->file ? malloc(sizeof(*copy)) : NULL;
        if (!copy) {
            inherit_closing_locked(child, from->number);
            continue;
        }
        *copy = *from;
        list_init(&copy->link);
        copy->table = child;
        child->given[fd] = copy;
        link_locked(copy, from->file);
    }
    list_for_each_entry (donation, &parent->closing, link) {
        inherit_closing_locked(child, donation->number);
    }
    count = parent->process
                ? host_process_closing(parent->process, under_way, ARRAY_SIZE(under_way))
                : 0;
    for (size_t i = 0; i < count; i++) {
        inherit_closing_locked(child, under_way[i]);
    }
}

void fd_table_inherit_begin(struct fd_table *parent, struct fd_table *child) {
    if (parent == child) {
        return;
    }
    LOCK_GUARD(&child->lock);
    LOCK_GUARD(&donation_lock);
    child->limited = parent->limited;
    if (!parent->given) {
        return;
    }
    parent->frozen++;
    child->given = calloc((size_t)parent->given_size, sizeof(struct donation *));
    if (child->given) {
        child->given_size = parent->given_size;
        inherit_locked(parent, child);
    }
}

void fd_table_inherit_end(struct fd_table *parent) {
    LOCK_GUARD(&donation_lock);

    if (parent->frozen) {
        parent->frozen--;
    }
}
