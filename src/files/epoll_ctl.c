/* epoll_ctl(2): which files an instance watches, and which instances may watch each other. */
#include "files/epoll_internal.h"

#define EPOLL_MAX_NESTS 4 /* epoll_ctl(2) ELOOP: more than five in a chain */
#define EPOLL_EXCLUSIVE_OK                                                                         \
    (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE |           \
     EPOLLRDNORM | EPOLLWRNORM | EPOLLRDHUP)
#define EPOLL_MAX_WATCHES (1u << 20) /* epoll(7): max_user_watches, here an instance */

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

void epoll_item_remove_locked(struct epoll_item *item) {
    struct epoll *epoll = item->epoll;
    struct file *file = item->key;

    lock_assert_held(&epoll_topology);
    list_del(&item->hash_link);
    epoll->item_count--;
    lock_acquire(&file->lock);
    list_del(&item->file_link);
    lock_release(&file->lock);
    lock_acquire(&epoll->wait.lock);
    item->file = NULL;
    item->again = false;
    epoll_item_unqueue_locked(item);
    lock_release(&epoll->wait.lock);
    if (!item->registering) {
        item_remove_entries(item);
    }
    epoll_item_put(item);
}

/* ---- instances that watch instances ---- */

/*
 * Does `epoll` lead to `target` within what is allowed? How deep the chains below it are, or
 * -ELOOP. Each instance is looked at once a walk: a guest can build many paths from few instances.
 */
static uint64_t current_walk; /* guarded by epoll_topology */

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

/* ---- the call ---- */

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
    item->table =
        (struct poll_table){.events = 0, .wake = epoll_item_wake, .new_entry = item_new_entry};
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
        epoll_item_queue_locked(item);
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

    lock_acquire(&epoll_topology);
    error = item_add_locked(epoll_file, target, fd, event, &item);
    lock_release(&epoll_topology);
    if (error) {
        return error;
    }
    uint32_t mask = file_poll(target, &item->table);

    error = item->table.error;
    lock_acquire(&epoll_topology);
    item->registering = false;
    lock_acquire(&epoll->wait.lock);
    bool gone = !item->file; /* another thread took it off meanwhile */
    lock_release(&epoll->wait.lock);
    if (gone) {
        item_remove_entries(item);
    } else if (error) {
        epoll_item_remove_locked(item);
    }
    lock_release(&epoll_topology);
    if (!error) {
        item_check(epoll, item, mask);
    }
    epoll_item_put(item);
    return error;
}

static int epoll_change(struct epoll *epoll, struct file *target, int fd,
                        const struct epoll_event *event) {
    struct epoll_item *item;

    lock_acquire(&epoll_topology);
    item = item_find_locked(epoll, target, fd);
    if (!item) {
        lock_release(&epoll_topology);
        return -ENOENT;
    }
    lock_acquire(&epoll->wait.lock);
    bool exclusive = item->event.events & EPOLLEXCLUSIVE;

    if (!exclusive) {
        item->event = *event;
        ref_get(&item->ref);
    }
    lock_release(&epoll->wait.lock);
    lock_release(&epoll_topology);
    if (exclusive) {
        return -EINVAL;
    }
    item_check(epoll, item, file_poll(target, NULL));
    epoll_item_put(item);
    return 0;
}

static int epoll_delete(struct epoll *epoll, struct file *target, int fd) {
    struct epoll_item *item;
    LOCK_GUARD(&epoll_topology);

    item = item_find_locked(epoll, target, fd);
    if (!item) {
        return -ENOENT;
    }
    epoll_item_remove_locked(item);
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
