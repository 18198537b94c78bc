/*
 * epoll(7). An instance has items, one for each (file, descriptor number) it watches; an item
 * stands on the wait queues of its file, and their wake callback puts it on the instance's ready
 * list.
 *
 * Who holds whom: an instance owns its items. An item knows its file weakly: the last file_put()
 * calls epoll_forget_file(), which takes the item off before the file is freed. Whoever polls an
 * item holds a reference of the item and, for the duration, of the file.
 *
 * Locks. `epoll_topology` (class EPOLL, one for all instances) guards every item table, every
 * file->epoll_links and so the graph of instances that watch instances, which must stay a tree of
 * limited depth (ELOOP). An instance's wait.lock guards the ready list and what the callback reads.
 * Wake callbacks run under the queue of the watched file, then take wait.lock, then (nested) that
 * of the outer instance: the order is that of the acyclic graph. No file op is called with any of
 * these held.
 *
 * Level-triggered items that were reported go back to the end of the ready list; edge-triggered
 * ones come back by their next wake; one-shot ones are switched off until EPOLL_CTL_MOD. While one
 * thread polls an item (`busy`) a wake only marks it `again`, so two threads never report one edge
 * twice.
 */
#include "files/epoll_internal.h"

#define BUCKETS_MIN 16

struct lock epoll_topology = {PTHREAD_MUTEX_INITIALIZER, LOCK_EPOLL};

void epoll_item_put(struct epoll_item *item) {
    if (ref_put(&item->ref)) {
        free(item->more);
        free(item);
    }
}

/* ---- the ready list (epoll->wait.lock held) ---- */

void epoll_item_queue_locked(struct epoll_item *item) {
    if (item->busy) {
        item->again = true;
    } else if (!item->queued) {
        item->queued = true;
        list_add_tail(&item->ready_link, &item->epoll->ready);
    }
}

void epoll_item_unqueue_locked(struct epoll_item *item) {
    if (item->queued) {
        item->queued = false;
        list_del(&item->ready_link);
    }
}

/* Under the lock of the file's queue. */
void epoll_item_wake(struct wait_entry *entry, uint32_t events) {
    struct epoll_item *item = container_of(entry->owner, struct epoll_item, table);
    struct epoll *epoll = item->epoll;

    lock_acquire(&epoll->wait.lock);
    uint32_t wishes = item->event.events & ~EPOLL_PRIVATE;
    bool wanted = item->file && wishes && (!events || (events & wishes));

    if (wanted) {
        epoll_item_queue_locked(item);
        wait_queue_wake_one_locked(&epoll->wait, EPOLLIN);
    }
    lock_release(&epoll->wait.lock);
    if (wanted) {
        wait_queue_wake(&epoll->poll_wait, EPOLLIN);
    }
}

/* ---- reporting ---- */

/*
 * Takes the next ready item and polls its file. 1: *event is to be reported; 0: it was not ready
 * after all; -1: the list is empty. `peek`: nothing is consumed; the item goes back to the front.
 */
static int item_report(struct epoll *epoll, struct epoll_event *event, struct list_head *again,
                       bool peek) {
    struct epoll_item *item;
    struct file *file;

    lock_acquire(&epoll->wait.lock);
    if (list_empty(&epoll->ready)) {
        lock_release(&epoll->wait.lock);
        return -1;
    }
    item = list_first_entry(&epoll->ready, struct epoll_item, ready_link);
    epoll_item_unqueue_locked(item);
    file = item->file;
    if (!file || !ref_tryget(&file->ref)) {
        lock_release(&epoll->wait.lock);
        return 0;
    }
    ref_get(&item->ref);
    item->busy = true;
    lock_release(&epoll->wait.lock);

    uint32_t mask = file_poll(file, NULL);

    lock_acquire(&epoll->wait.lock);
    uint32_t wanted = item->event.events;
    bool woken = item->again;

    item->busy = item->again = false;
    mask &= wanted & ~EPOLL_PRIVATE;
    if (!item->file) {
        mask = 0;
    } else if (!mask) {
        if (woken) {
            epoll_item_queue_locked(item);
        }
    } else if (peek) {
        item->queued = true;
        list_add(&item->ready_link, &epoll->ready);
    } else {
        *event = item->event;
        event->events = mask;
        if (wanted & EPOLLONESHOT) {
            item->event.events &= EPOLL_PRIVATE;
        } else if (wanted & EPOLLET) {
            if (woken) {
                epoll_item_queue_locked(item);
            }
        } else {
            /* Level-triggered: again behind all others, after this call. */
            item->queued = true;
            list_add_tail(&item->ready_link, again);
        }
    }
    lock_release(&epoll->wait.lock);
    file_put(file);
    epoll_item_put(item);
    return mask != 0;
}

/* epoll_wait's one look: how many events were stored. */
static int epoll_harvest(struct epoll *epoll, struct epoll_event *events, int max) {
    struct list_head again;
    int count = 0;
    int result = 0;

    list_init(&again);
    while (count < max && result >= 0) {
        result = item_report(epoll, &events[count], &again, false);
        count += result > 0;
    }
    lock_acquire(&epoll->wait.lock);
    while (!list_empty(&again)) {
        struct list_head *link = again.next;

        list_del(link);
        list_add_tail(link, &epoll->ready);
    }
    /* What is left is for the next one who waits. */
    if (!list_empty(&epoll->ready)) {
        wait_queue_wake_one_locked(&epoll->wait, EPOLLIN);
    }
    lock_release(&epoll->wait.lock);
    return count;
}

int epoll_wait_events(struct file *file, struct epoll_event *events, int max,
                      deadline_ns deadline) {
    struct epoll *epoll = file_epoll(file);
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result;

    if (!epoll || max <= 0) {
        return -EINVAL;
    }
    entry.exclusive = true;
    for (;;) {
        result = epoll_harvest(epoll, events, max);
        if (result || deadline == 0) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&epoll->wait, &entry);
            continue;
        }
        result = wait_sleep(deadline);
        if (result) {
            result = result == -ETIMEDOUT ? 0 : result;
            break;
        }
    }
    if (entry.queue) {
        wait_queue_remove(&entry);
        /* A wake that was meant for one of us must not end here. */
        if (result <= 0) {
            lock_acquire(&epoll->wait.lock);
            if (!list_empty(&epoll->ready)) {
                wait_queue_wake_one_locked(&epoll->wait, EPOLLIN);
            }
            lock_release(&epoll->wait.lock);
        }
    }
    return result;
}

static uint32_t epoll_poll(struct file *file, struct poll_table *table) {
    struct epoll *epoll = file->private;
    struct epoll_event event;
    struct list_head again;
    int result;

    poll_table_add(table, &epoll->poll_wait);
    list_init(&again);
    do {
        result = item_report(epoll, &event, &again, true);
    } while (result == 0);
    return result > 0 ? EPOLLIN | EPOLLRDNORM : 0;
}

/* ---- life ---- */

void epoll_forget_file(struct file *file) {
    LOCK_GUARD(&epoll_topology);

    while (!list_empty(&file->epoll_links)) {
        epoll_item_remove_locked(
            list_first_entry(&file->epoll_links, struct epoll_item, file_link));
    }
}

static void epoll_free(struct epoll *epoll) {
    wait_queue_destroy(&epoll->wait);
    wait_queue_destroy(&epoll->poll_wait);
    free(epoll->buckets);
    free(epoll);
}

static void epoll_release(struct file *file) {
    struct epoll *epoll = file->private;

    lock_acquire(&epoll_topology);
    for (size_t i = 0; i < epoll->bucket_count; i++) {
        while (!list_empty(&epoll->buckets[i])) {
            epoll_item_remove_locked(
                list_first_entry(&epoll->buckets[i], struct epoll_item, hash_link));
        }
    }
    lock_release(&epoll_topology);
    epoll_free(epoll);
}

const struct file_ops epoll_file_ops = {
    .poll = epoll_poll,
    .release = epoll_release,
};

int epoll_new(int flags, struct file **file) {
    struct epoll *epoll = calloc(1, sizeof(*epoll));
    int error;

    file_set_forget_hook(epoll_forget_file);
    if (!epoll) {
        return -ENOMEM;
    }
    wait_queue_init(&epoll->wait);
    wait_queue_init(&epoll->poll_wait);
    list_init(&epoll->ready);
    epoll->bucket_count = BUCKETS_MIN;
    epoll->buckets = malloc(BUCKETS_MIN * sizeof(*epoll->buckets));
    if (!epoll->buckets) {
        epoll_free(epoll);
        return -ENOMEM;
    }
    for (size_t i = 0; i < BUCKETS_MIN; i++) {
        list_init(&epoll->buckets[i]);
    }
    error = file_new_anonymous("anon_inode:[eventpoll]", 0, &epoll_file_ops, epoll, O_RDWR, file);
    if (error) {
        epoll_free(epoll);
        return error;
    }
    epoll->file = *file;
    return 0;
}
