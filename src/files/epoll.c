/*
 * epoll(7). An instance has items, one for each (file, descriptor number) it watches; an item
 * stands on the wait queues of its file, and their wake callback puts it on the instance's ready
 * list.
 *
 * Who holds whom: an instance owns its items. An item knows its file weakly: the last file_put()
 * calls epoll_forget_file(), which takes the item off before the file is freed. Whoever polls an
 * item holds a reference of the item and, for the duration, of the file.
 *
 * Locks. `topology` (class EPOLL, one for all instances) guards every item table, every
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
#include <pthread.h>

#include "files/files_internal.h"

#define EPOLL_MAX_NESTS 4 /* epoll_ctl(2) ELOOP: more than five in a chain */
#define EPOLL_PRIVATE   (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EPOLL_EXCLUSIVE_OK                                                                         \
    (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE |           \
     EPOLLRDNORM | EPOLLWRNORM | EPOLLRDHUP)
#define EPOLL_MAX_WATCHES (1u << 20) /* epoll(7): max_user_watches, here an instance */
#define BUCKETS_MIN       16

struct epoll {
    struct wait_queue wait;      /* epoll_wait(2) callers; its lock guards ready and item states */
    struct wait_queue poll_wait; /* poll(2) and outer instances */
    struct list_head ready;      /* items by ready_link; guarded by wait.lock */
    struct list_head *buckets;   /* items by hash_link; guarded by topology */
    size_t bucket_count, item_count; /* likewise */
    struct file *file;               /* its own; weak; immutable */
    uint64_t walk;                   /* guarded by topology: epoll_depth_locked() was here ... */
    int walk_depth;                  /* ... and found this */
};

struct epoll_item {
    struct ref ref;      /* the table's, and one for each thread that works on it */
    struct epoll *epoll; /* valid while !dead */
    struct list_head hash_link, file_link; /* guarded by topology */
    int fd;                                /* immutable: part of the key */
    struct file *key;                      /* immutable: the file; valid while in the table */
    struct epoll *nested;                  /* immutable: of a file that is an instance itself */
    bool registering;                      /* guarded by topology: the adder deals with entries */
    /* guarded by epoll->wait.lock */
    struct file *file;        /* weak; NULL: taken off */
    struct epoll_event event; /* .events but EPOLL_PRIVATE is 0 after a one-shot event */
    struct list_head ready_link;
    bool queued, busy, again;
    /* changed only while registering */
    struct poll_table table;
    struct wait_entry first[2], *more; /* malloc'ed array, rarely needed */
    unsigned used;
};

static struct lock topology = {PTHREAD_MUTEX_INITIALIZER, LOCK_EPOLL};
static const struct file_ops epoll_file_ops;

static struct epoll *file_epoll(struct file *file) {
    return file->ops == &epoll_file_ops ? file->private : NULL;
}

static void item_put(struct epoll_item *item) {
    if (ref_put(&item->ref)) {
        free(item->more);
        free(item);
    }
}

/* ---- the ready list (epoll->wait.lock held) ---- */

static void item_queue_locked(struct epoll_item *item) {
    if (item->busy) {
        item->again = true;
    } else if (!item->queued) {
        item->queued = true;
        list_add_tail(&item->ready_link, &item->epoll->ready);
    }
}

static void item_unqueue_locked(struct epoll_item *item) {
    if (item->queued) {
        item->queued = false;
        list_del(&item->ready_link);
    }
}

/* Under the lock of the file's queue. */
static void item_wake(struct wait_entry *entry, uint32_t events) {
    struct epoll_item *item = container_of(entry->owner, struct epoll_item, table);
    struct epoll *epoll = item->epoll;

    lock_acquire(&epoll->wait.lock);
    uint32_t wishes = item->event.events & ~EPOLL_PRIVATE;
    bool wanted = item->file && wishes && (!events || (events & wishes));

    if (wanted) {
        item_queue_locked(item);
        wait_queue_wake_one_locked(&epoll->wait, EPOLLIN);
    }
    lock_release(&epoll->wait.lock);
    if (wanted) {
        wait_queue_wake(&epoll->poll_wait, EPOLLIN);
    }
}

/* ---- items ---- */

static struct list_head *bucket_of(const struct epoll *epoll, const struct file *file, int fd) {
    uintptr_t hash = ((uintptr_t)file >> 6) * 0x9e3779b97f4a7c15UL + (unsigned)fd * 0x85ebca6bUL;

    return &epoll->buckets[(hash >> 20) & (epoll->bucket_count - 1)];
}

static struct epoll_item *item_find_locked(const struct epoll *epoll, const struct file *file,
                                           int fd) {
    struct epoll_item *item;

    list_for_each_entry (item, bucket_of(epoll, file, fd), hash_link) {
        if (item->key == file && item->fd == fd) {
            return item;
        }
    }
    return NULL;
}

static void table_grow_locked(struct epoll *epoll) {
    size_t old_count = epoll->bucket_count;
    struct list_head *old = epoll->buckets;
    struct list_head *grown = calloc(old_count * 2, sizeof(*grown));
    struct epoll_item *item, *next;

    if (!grown) {
        return; /* longer chains, nothing worse */
    }
    epoll->buckets = grown;
    epoll->bucket_count = old_count * 2;
    for (size_t i = 0; i < old_count * 2; i++) {
        list_init(&grown[i]);
    }
    for (size_t i = 0; i < old_count; i++) {
        list_for_each_entry_safe (item, next, &old[i], hash_link) {
            list_add(&item->hash_link, bucket_of(epoll, item->key, item->fd));
        }
    }
    free(old);
}

static struct wait_entry *item_entry(struct epoll_item *item, unsigned index) {
    return index < ARRAY_SIZE(item->first) ? &item->first[index]
                                           : &item->more[index - ARRAY_SIZE(item->first)];
}

#define ITEM_MORE 14
static struct wait_entry *item_new_entry(struct poll_table *table) {
    struct epoll_item *item = container_of(table, struct epoll_item, table);

    if (item->used >= ARRAY_SIZE(item->first) && !item->more) {
        item->more = calloc(ITEM_MORE, sizeof(*item->more));
    }
    if (item->used >= ARRAY_SIZE(item->first) + (item->more ? ITEM_MORE : 0)) {
        return NULL;
    }
    struct wait_entry *entry = item_entry(item, item->used++);

    entry->owner = table;
    entry->exclusive = item->event.events & EPOLLEXCLUSIVE;
    return entry;
}

static void item_remove_entries(struct epoll_item *item) {
    for (unsigned i = 0; i < item->used; i++) {
        wait_queue_remove(item_entry(item, i));
    }
}

/* Takes the item out of everything; the file is still valid memory. */
static void item_remove_locked(struct epoll_item *item) {
    struct epoll *epoll = item->epoll;
    struct file *file = item->key;

    lock_assert_held(&topology);
    list_del(&item->hash_link);
    epoll->item_count--;
    lock_acquire(&file->lock);
    list_del(&item->file_link);
    lock_release(&file->lock);
    lock_acquire(&epoll->wait.lock);
    item->file = NULL;
    item->again = false;
    item_unqueue_locked(item);
    lock_release(&epoll->wait.lock);
    if (!item->registering) {
        item_remove_entries(item);
    }
    item_put(item);
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
    item_unqueue_locked(item);
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
            item_queue_locked(item);
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
                item_queue_locked(item);
            }
        } else {
            /* Level-triggered: again behind all others, after this call. */
            item->queued = true;
            list_add_tail(&item->ready_link, again);
        }
    }
    lock_release(&epoll->wait.lock);
    file_put(file);
    item_put(item);
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

/* ---- epoll_ctl(2) ---- */

/*
 * Does `epoll` lead to `target` within what is allowed? How deep the chains below it are, or
 * -ELOOP. Each instance is looked at once a walk: a guest can build many paths from few instances.
 */
static uint64_t current_walk; /* guarded by topology */

static int epoll_depth_locked(struct epoll *epoll, const struct epoll *target, int level) {
    int deepest = 0;

    if (epoll == target || level > EPOLL_MAX_NESTS) {
        return -ELOOP;
    }
    if (epoll->walk == current_walk) {
        return epoll->walk_depth;
    }
    for (size_t i = 0; i < epoll->bucket_count; i++) {
        struct epoll_item *item;

        list_for_each_entry (item, &epoll->buckets[i], hash_link) {
            if (item->nested) {
                int below = epoll_depth_locked(item->nested, target, level + 1);

                if (below < 0) {
                    return below;
                }
                deepest = MAX(deepest, below + 1);
            }
        }
    }
    epoll->walk = current_walk;
    epoll->walk_depth = deepest;
    return deepest;
}

/*
 * Counts the chains of instances above this one, longest first in *highest. False: more than one
 * event may reasonably have to run through (as Linux's path limits).
 */
#define EPOLL_MAX_PATHS 1000
static bool epoll_paths_locked(struct file *file, int level, int *highest, int *paths) {
    struct epoll_item *item;

    *highest = MAX(*highest, level);
    if (list_empty(&file->epoll_links)) {
        return ++*paths <= EPOLL_MAX_PATHS;
    }
    list_for_each_entry (item, &file->epoll_links, file_link) {
        if (!epoll_paths_locked(item->epoll->file, level + 1, highest, paths)) {
            return false;
        }
    }
    return true;
}

static int nested_check_locked(struct file *epoll_file, struct epoll *nested) {
    int height = 0, paths = 0;

    current_walk++;
    int depth = epoll_depth_locked(nested, file_epoll(epoll_file), 0);

    if (depth < 0) {
        return depth;
    }
    bool few = epoll_paths_locked(epoll_file, 0, &height, &paths);

    if (depth + 1 + height > EPOLL_MAX_NESTS) {
        return -ELOOP;
    }
    return few ? 0 : -EINVAL;
}

static int item_add_locked(struct file *epoll_file, struct file *target, int fd,
                           const struct epoll_event *event, struct epoll_item **added) {
    struct epoll *epoll = file_epoll(epoll_file), *nested = file_epoll(target);
    struct epoll_item *item;

    if (item_find_locked(epoll, target, fd)) {
        return -EEXIST;
    }
    if (epoll->item_count >= EPOLL_MAX_WATCHES) {
        return -ENOSPC;
    }
    if (nested) {
        int error = nested_check_locked(epoll_file, nested);

        if (error) {
            return error;
        }
    }
    item = calloc(1, sizeof(*item));
    if (!item) {
        return -ENOMEM;
    }
    ref_init(&item->ref);
    ref_get(&item->ref); /* the caller's */
    item->epoll = epoll;
    item->nested = nested;
    item->fd = fd;
    item->key = item->file = target;
    item->event = *event;
    item->registering = true;
    item->table = (struct poll_table){.events = 0, .wake = item_wake, .new_entry = item_new_entry};
    if (epoll->item_count >= epoll->bucket_count * 2) {
        table_grow_locked(epoll);
    }
    list_add(&item->hash_link, bucket_of(epoll, target, fd));
    epoll->item_count++;
    lock_acquire(&target->lock);
    list_add_tail(&item->file_link, &target->epoll_links);
    atomic_store_explicit(&target->watched, true, memory_order_relaxed);
    lock_release(&target->lock);
    *added = item;
    return 0;
}

/* The item was added or changed: is it ready already? */
static void item_check(struct epoll *epoll, struct epoll_item *item, uint32_t mask) {
    bool ready;

    lock_acquire(&epoll->wait.lock);
    ready = item->file && (mask & item->event.events & ~EPOLL_PRIVATE);
    if (ready) {
        item_queue_locked(item);
        wait_queue_wake_one_locked(&epoll->wait, EPOLLIN);
    }
    lock_release(&epoll->wait.lock);
    if (ready) {
        wait_queue_wake(&epoll->poll_wait, EPOLLIN);
    }
}

static int epoll_add(struct file *epoll_file, struct file *target, int fd,
                     const struct epoll_event *event) {
    struct epoll *epoll = file_epoll(epoll_file);
    struct epoll_item *item = NULL;
    int error;

    lock_acquire(&topology);
    error = item_add_locked(epoll_file, target, fd, event, &item);
    lock_release(&topology);
    if (error) {
        return error;
    }
    uint32_t mask = file_poll(target, &item->table);

    error = item->table.error;
    lock_acquire(&topology);
    item->registering = false;
    lock_acquire(&epoll->wait.lock);
    bool gone = !item->file; /* another thread took it off meanwhile */
    lock_release(&epoll->wait.lock);
    if (gone) {
        item_remove_entries(item);
    } else if (error) {
        item_remove_locked(item);
    }
    lock_release(&topology);
    if (!error) {
        item_check(epoll, item, mask);
    }
    item_put(item);
    return error;
}

static int epoll_change(struct epoll *epoll, struct file *target, int fd,
                        const struct epoll_event *event) {
    struct epoll_item *item;

    lock_acquire(&topology);
    item = item_find_locked(epoll, target, fd);
    if (!item) {
        lock_release(&topology);
        return -ENOENT;
    }
    lock_acquire(&epoll->wait.lock);
    bool exclusive = item->event.events & EPOLLEXCLUSIVE;

    if (!exclusive) {
        item->event = *event;
        ref_get(&item->ref);
    }
    lock_release(&epoll->wait.lock);
    lock_release(&topology);
    if (exclusive) {
        return -EINVAL;
    }
    item_check(epoll, item, file_poll(target, NULL));
    item_put(item);
    return 0;
}

static int epoll_delete(struct epoll *epoll, struct file *target, int fd) {
    struct epoll_item *item;
    LOCK_GUARD(&topology);

    item = item_find_locked(epoll, target, fd);
    if (!item) {
        return -ENOENT;
    }
    item_remove_locked(item);
    return 0;
}

int epoll_control(struct file *epoll_file, int operation, struct file *target, int fd,
                  const struct epoll_event *event) {
    struct epoll *epoll = file_epoll(epoll_file);
    struct epoll_event wanted = {0};

    if (target->mode & FMODE_PATH) {
        return -EBADF;
    }
    /* A regular file or directory has nothing to wait for. */
    if (!target->ops->poll) {
        return -EPERM;
    }
    if (!epoll || target == epoll_file) {
        return -EINVAL;
    }
    if (operation != EPOLL_CTL_DEL) {
        wanted = *event;
        if (wanted.events & EPOLLEXCLUSIVE && (operation == EPOLL_CTL_MOD || file_epoll(target) ||
                                               (wanted.events & ~EPOLL_EXCLUSIVE_OK))) {
            return -EINVAL;
        }
        wanted.events |= EPOLLERR | EPOLLHUP; /* epoll_ctl(2): told to everybody */
    }
    switch (operation) {
    case EPOLL_CTL_ADD:
        return epoll_add(epoll_file, target, fd, &wanted);
    case EPOLL_CTL_MOD:
        return epoll_change(epoll, target, fd, &wanted);
    case EPOLL_CTL_DEL:
        return epoll_delete(epoll, target, fd);
    default:
        return -EINVAL;
    }
}

/* ---- life ---- */

void epoll_forget_file(struct file *file) {
    LOCK_GUARD(&topology);

    while (!list_empty(&file->epoll_links)) {
        item_remove_locked(list_first_entry(&file->epoll_links, struct epoll_item, file_link));
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

    lock_acquire(&topology);
    for (size_t i = 0; i < epoll->bucket_count; i++) {
        while (!list_empty(&epoll->buckets[i])) {
            item_remove_locked(list_first_entry(&epoll->buckets[i], struct epoll_item, hash_link));
        }
    }
    lock_release(&topology);
    epoll_free(epoll);
}

static const struct file_ops epoll_file_ops = {
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
