/*
 * Donation: tables of descriptors and the host processes that use them. Which process looks at
 * which table, what is closed there, and what exec and fork make of it.
 */
#include "fs/donation_internal.h"

/* Several processes: nothing is donated any more. */
static void spread_locked(struct fd_table *table) {
    table->spread = true;
    for (int fd = 0; fd < table->given_size; fd++) {
        if (table->given[fd]) {
            donation_withdraw_locked(table->given[fd]);
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
            donation_publish_locked(table->given[fd]);
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
            donation_close_locked(table->given[fd]);
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
        donation_link_locked(copy, from->file);
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
