/*
 * inotify(7): what happens inside the sandbox to watched inodes. The VFS tells fs_event(), which
 * comes here only for inodes with a watch; changes that somebody makes on the host are not seen.
 *
 * An instance owns its watches and its queue of events; a watch holds its inode and stands in the
 * inode's list. One lock guards all instances, watches and queues: events are rare and short. The
 * hook may be called under any lock up to INODE, so nothing is freed here that could need one: the
 * caller of fs_event() holds the inode, and a watch that goes puts a reference that is never the
 * last.
 */
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "files/files_internal.h"

#define QUEUE_MAX   16384 /* inotify(7): max_queued_events */
#define WATCHES_MAX 65536 /* max_user_watches */
#define ADD_FLAGS                                                                                  \
    (IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD | IN_MASK_CREATE | IN_ONESHOT)
/* Reported whether asked for or not. */
#define ALWAYS_EVENTS (IN_IGNORED | IN_Q_OVERFLOW | IN_UNMOUNT)

struct queued_event {
    struct list_head link;
    int wd;
    uint32_t mask, cookie;
    uint32_t name_size; /* padded, 0: none */
    char name[];
};

struct inotify {
    struct wait_queue wait;
    /* guarded by inotify_lock */
    struct list_head watches, events;
    size_t watch_count, event_count;
    bool holds; /* no file is donated while there is this one: see donation_hold() */
    int last_wd;
};

struct inotify_watch {
    struct list_head inotify_link, inode_link; /* guarded by inotify_lock */
    struct inotify *inotify;
    struct inode *inode; /* owned */
    int wd;
    uint32_t mask; /* guarded by inotify_lock */
};

static struct lock inotify_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static const struct file_ops inotify_file_ops;

/* ---- events ---- */

static bool same_as_last(const struct inotify *inotify, const struct queued_event *event) {
    const struct queued_event *last;

    if (list_empty(&inotify->events)) {
        return false;
    }
    last = list_entry(inotify->events.prev, struct queued_event, link);
    return last->wd == event->wd && last->mask == event->mask && last->cookie == event->cookie &&
           last->name_size == event->name_size &&
           memcmp(last->name, event->name, event->name_size) == 0;
}

static void queue_locked(struct inotify *inotify, int wd, uint32_t mask, uint32_t cookie,
                         const char *name) {
    size_t length = name ? strlen(name) + 1 : 0;
    size_t padded = ALIGN_UP(length, sizeof(struct inotify_event));
    struct queued_event *event;

    if (inotify->event_count >= QUEUE_MAX) {
        if (inotify->event_count > QUEUE_MAX) {
            return;
        }
        wd = -1;
        mask = IN_Q_OVERFLOW;
        cookie = 0;
        length = padded = 0;
    }
    event = calloc(1, sizeof(*event) + padded);
    if (!event) {
        return; /* lost, as on overflow; there is no memory to say so */
    }
    event->wd = wd;
    event->mask = mask;
    event->cookie = cookie;
    event->name_size = (uint32_t)padded;
    if (length) {
        memcpy(event->name, name, length);
    }
    if (same_as_last(inotify, event)) {
        free(event);
        return;
    }
    list_add_tail(&event->link, &inotify->events);
    inotify->event_count++;
    wait_queue_wake(&inotify->wait, EPOLLIN | EPOLLRDNORM);
}

/* Off both lists; the caller puts the inode and frees the watch. */
static void watch_unlink_locked(struct inotify_watch *watch) {
    list_del(&watch->inotify_link);
    list_del(&watch->inode_link);
    atomic_fetch_sub(&watch->inode->watch_count, 1);
    watch->inotify->watch_count--;
}

static void inotify_event_hook(struct inode *inode, uint32_t mask, uint32_t cookie,
                               const char *name) {
    struct inotify_watch *watch, *next;
    LOCK_GUARD(&inotify_lock);

    list_for_each_entry_safe (watch, next, &inode->watches, inode_link) {
        bool wanted = watch->mask & mask & IN_ALL_EVENTS;
        bool ends = (mask & IN_DELETE_SELF) || (wanted && (watch->mask & IN_ONESHOT));

        if (wanted) {
            queue_locked(watch->inotify, watch->wd, mask, cookie, name);
        }
        if (ends) {
            queue_locked(watch->inotify, watch->wd, IN_IGNORED, 0, NULL);
            watch_unlink_locked(watch);
            inode_put(watch->inode); /* never the last: the caller holds it */
            free(watch);
        }
    }
}

/* ---- the file ---- */

static ssize_t take_events_locked(struct inotify *inotify, char *buffer, size_t size) {
    size_t done = 0;

    while (!list_empty(&inotify->events)) {
        struct queued_event *event = list_first_entry(&inotify->events, struct queued_event, link);
        struct inotify_event out = {event->wd, event->mask, event->cookie, event->name_size};

        if (size - done < sizeof(out) + event->name_size) {
            return done ? (ssize_t)done : -EINVAL;
        }
        memcpy(buffer + done, &out, sizeof(out));
        memcpy(buffer + done + sizeof(out), event->name, event->name_size);
        done += sizeof(out) + event->name_size;
        list_del(&event->link);
        inotify->event_count--;
        free(event);
    }
    return done ? (ssize_t)done : -EAGAIN;
}

static ssize_t inotify_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct inotify *inotify = file->private;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    ssize_t result;

    for (;;) {
        lock_acquire(&inotify_lock);
        result = take_events_locked(inotify, buffer, size);
        lock_release(&inotify_lock);
        if (result != -EAGAIN || file_nonblocking(file)) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&inotify->wait, &entry);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return result;
}

static uint32_t inotify_poll(struct file *file, struct poll_table *table) {
    struct inotify *inotify = file->private;

    poll_table_add(table, &inotify->wait);
    LOCK_GUARD(&inotify_lock);
    return list_empty(&inotify->events) ? 0 : EPOLLIN | EPOLLRDNORM;
}

static int64_t inotify_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                             struct user_address argument) {
    struct inotify *inotify = file->private;
    struct queued_event *event;
    int32_t size = 0;

    if (command != FIONREAD) {
        return -ENOTTY;
    }
    lock_acquire(&inotify_lock);
    list_for_each_entry (event, &inotify->events, link) {
        size += (int32_t)(sizeof(struct inotify_event) + event->name_size);
    }
    lock_release(&inotify_lock);
    return put_user(thread, size, argument);
}

static void inotify_release(struct file *file) {
    struct inotify *inotify = file->private;

    if (inotify->holds) {
        donation_release();
    }
    for (;;) {
        struct inotify_watch *watch = NULL;

        lock_acquire(&inotify_lock);
        if (!list_empty(&inotify->watches)) {
            watch = list_first_entry(&inotify->watches, struct inotify_watch, inotify_link);
            watch_unlink_locked(watch);
        }
        lock_release(&inotify_lock);
        if (!watch) {
            break;
        }
        inode_put(watch->inode);
        free(watch);
    }
    while (!list_empty(&inotify->events)) {
        struct queued_event *event = list_first_entry(&inotify->events, struct queued_event, link);

        list_del(&event->link);
        free(event);
    }
    wait_queue_destroy(&inotify->wait);
    free(inotify);
}

/* As many watches as there is room for. */
static int inotify_show_fdinfo(struct file *file, char *buffer, size_t size) {
    struct inotify *inotify = file->private;
    const struct inotify_watch *watch;
    size_t length = 0;
    LOCK_GUARD(&inotify_lock);

    list_for_each_entry (watch, &inotify->watches, inotify_link) {
        int more = snprintf(buffer + length, size - length,
                            "inotify wd:%x ino:%lx sdev:%lx mask:%x ignored_mask:0\n", watch->wd,
                            (unsigned long)watch->inode->ino, (unsigned long)watch->inode->sb->dev,
                            watch->mask);

        if ((size_t)more >= size - length) {
            break;
        }
        length += (size_t)more;
    }
    return (int)length;
}

static const struct file_ops inotify_file_ops = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .show_fdinfo = inotify_show_fdinfo,
    .release = inotify_release,
};

int inotify_new(int flags, struct file **file) {
    struct inotify *inotify = calloc(1, sizeof(*inotify));
    int error;

    if (!inotify) {
        return -ENOMEM;
    }
    /* Only from now on do events cost anything. */
    fs_event_set_hook(inotify_event_hook);
    wait_queue_init(&inotify->wait);
    list_init(&inotify->watches);
    list_init(&inotify->events);
    error = file_new_anonymous("anon_inode:inotify", 0, &inotify_file_ops, inotify,
                               O_RDONLY | (flags & IN_NONBLOCK), file);
    if (error) {
        wait_queue_destroy(&inotify->wait);
        free(inotify);
    }
    return error;
}

static struct inotify_watch *watch_find_locked(struct inotify *inotify, struct inode *inode) {
    struct inotify_watch *watch;

    list_for_each_entry (watch, &inode->watches, inode_link) {
        if (watch->inotify == inotify) {
            return watch;
        }
    }
    return NULL;
}

bool file_is_inotify(struct file *file) {
    return file->ops == &inotify_file_ops;
}

int inotify_add(struct file *file, struct inode *inode, uint32_t mask) {
    struct inotify *inotify = file->private;
    struct inotify_watch *watch, *fresh = calloc(1, sizeof(*fresh));
    bool held;
    int result;

    if (!fresh) {
        return -ENOMEM;
    }
    lock_acquire(&inotify_lock);
    held = inotify->holds;
    inotify->holds = true;
    lock_release(&inotify_lock);
    if (!held) {
        donation_hold(); /* before the first watch: what comes after it is seen */
    }
    lock_acquire(&inotify_lock);
    watch = watch_find_locked(inotify, inode);
    if (watch && (mask & IN_MASK_CREATE)) {
        result = -EEXIST;
    } else if (watch) {
        watch->mask = (mask & IN_MASK_ADD) ? watch->mask | mask : mask;
        result = watch->wd;
    } else if (inotify->watch_count >= WATCHES_MAX || inotify->last_wd == INT32_MAX) {
        result = -ENOSPC;
    } else {
        watch = STEAL(fresh);
        watch->inotify = inotify;
        watch->inode = inode_get(inode);
        watch->mask = mask;
        watch->wd = result = ++inotify->last_wd;
        list_add(&watch->inotify_link, &inotify->watches);
        list_add(&watch->inode_link, &inode->watches);
        inotify->watch_count++;
        atomic_fetch_add(&inode->watch_count, 1);
    }
    lock_release(&inotify_lock);
    free(fresh);
    return result;
}

int inotify_remove(struct file *file, int wd) {
    struct inotify *inotify = file->private;
    struct inotify_watch *watch, *found = NULL;

    lock_acquire(&inotify_lock);
    list_for_each_entry (watch, &inotify->watches, inotify_link) {
        if (watch->wd == wd) {
            found = watch;
            break;
        }
    }
    if (found) {
        watch_unlink_locked(found);
        queue_locked(inotify, wd, IN_IGNORED, 0, NULL);
    }
    lock_release(&inotify_lock);
    if (!found) {
        return -EINVAL;
    }
    inode_put(found->inode);
    free(found);
    return 0;
}
