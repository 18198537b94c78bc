/*
 * Record locks (fcntl(2): POSIX, owned by a process, that is its fd_table; OFD, owned by an open
 * file) and flock(2) (owned by an open file).
 *
 * Each inode has a context with two lists, made on first use. POSIX and OFD locks share the first
 * and conflict with each other; an owner's ranges are disjoint and ordered, so that a lock that
 * changes the middle of one splits it. flock's list is apart, as on Linux.
 *
 * All contexts are guarded by one lock, since deadlock detection looks at the waiters of all of
 * them; it is held for the length of a list. A waiter notes whom it waits for; a POSIX lock that
 * would wait for somebody who waits, over others, for itself gets EDEADLK.
 */
#include <sys/file.h>

#include "fs/vfs_internal.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK  36
#define F_OFD_SETLK  37
#define F_OFD_SETLKW 38
#endif

struct file_lock {
    struct list_head link;
    const void *owner;
    pid_t pid; /* for F_GETLK; -1: OFD */
    bool ofd;
    short type;         /* F_RDLCK, F_WRLCK */
    int64_t start, end; /* inclusive; end INT64_MAX: to the end of the file, however it grows */
};

struct file_lock_context {
    struct list_head records, flocks; /* guarded by locks_lock */
    struct wait_queue released;
};

/* Somebody who sleeps for a POSIX lock; on the sleeper's stack. */
struct lock_waiter {
    struct list_head link;
    const void *owner, *blocker;
};

static struct lock locks_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_FILE_LOCKS};
static struct list_head lock_waiters = LIST_HEAD_INIT(lock_waiters); /* guarded by locks_lock */

static struct file_lock_context *context_of(struct inode *inode, bool make) {
    struct file_lock_context *context = atomic_load(&inode->locks), *none = NULL;

    if (context || !make) {
        return context;
    }
    context = calloc(1, sizeof(*context));
    if (!context) {
        return NULL;
    }
    list_init(&context->records);
    list_init(&context->flocks);
    wait_queue_init(&context->released);
    if (!atomic_compare_exchange_strong(&inode->locks, &none, context)) {
        wait_queue_destroy(&context->released);
        free(context);
        return none;
    }
    fd_page_refresh(inode); /* a close may give a lock back from now on */
    return context;
}

static void free_list(struct list_head *list) {
    while (!list_empty(list)) {
        struct file_lock *lock = list_first_entry(list, struct file_lock, link);

        list_del(&lock->link);
        free(lock);
    }
}

void file_lock_context_free(struct file_lock_context *context) {
    free_list(&context->records);
    free_list(&context->flocks);
    wait_queue_destroy(&context->released);
    free(context);
}

static bool conflicts(const struct file_lock *have, const struct file_lock *want) {
    return have->owner != want->owner && (have->type == F_WRLCK || want->type == F_WRLCK) &&
           have->start <= want->end && want->start <= have->end;
}

static struct file_lock *find_conflict_locked(const struct list_head *list,
                                              const struct file_lock *want) {
    struct file_lock *have;

    list_for_each_entry (have, list, link) {
        if (conflicts(have, want)) {
            return have;
        }
    }
    return NULL;
}

/* Would `owner`, waiting for `blocker`, close a circle? */
static bool deadlock_locked(const void *owner, const void *blocker) {
    /* Linux gives up after 10 steps too: a longer circle is found by another of its members, or
     * never. */
    for (int depth = 0; depth < 10; depth++) {
        const struct lock_waiter *waiter;
        const void *next = NULL;

        if (blocker == owner) {
            return true;
        }
        list_for_each_entry (waiter, &lock_waiters, link) {
            if (waiter->owner == blocker) {
                next = waiter->blocker;
                break;
            }
        }
        if (!next) {
            return false;
        }
        blocker = next;
    }
    return false;
}

/*
 * Makes `want` (F_UNLCK: nothing) the owner's state of its range. Needs at most two new records:
 * spare[], allocated by the caller before; used ones are taken out of it.
 */
static void apply_locked(struct list_head *list, const struct file_lock *want,
                         struct file_lock *spare[2]) {
    struct file_lock *have, *next, *new;
    struct list_head *place;
    int64_t start = want->start, end = want->end;

    list_for_each_entry_safe (have, next, list, link) {
        if (have->owner != want->owner) {
            continue;
        }
        if (have->type == want->type) {
            /* The same kind: grow together, also with a neighbour that touches. */
            if ((have->end != INT64_MAX && have->end + 1 < start) ||
                (end != INT64_MAX && end + 1 < have->start)) {
                continue;
            }
            start = MIN(start, have->start);
            end = MAX(end, have->end);
            list_del(&have->link);
            free(have);
            continue;
        }
        if (have->end < want->start || want->end < have->start) {
            continue;
        }
        if (have->start < want->start && have->end > want->end) {
            /* Split: the new part behind, the old record before. */
            new = STEAL(spare[1]);
            *new = *have;
            new->start = want->end + 1;
            have->end = want->start - 1;
            list_insert_between(&new->link, &have->link, have->link.next);
            break;
        }
        if (have->start < want->start) {
            have->end = want->start - 1;
        } else if (have->end > want->end) {
            have->start = want->end + 1;
        } else {
            list_del(&have->link);
            free(have);
        }
    }
    if (want->type == F_UNLCK) {
        return;
    }
    new = STEAL(spare[0]);
    *new = *want;
    new->start = start;
    new->end = end;
    /* F_GETLK tells the first that conflicts: an owner's stay together, in order. */
    place = list;
    list_for_each_entry (have, list, link) {
        if (have->owner == want->owner) {
            place = have->link.next;
            if (have->start > end) {
                place = &have->link;
                break;
            }
        }
    }
    list_insert_between(&new->link, place->prev, place);
}

/* struct flock -> range. */
static int range_of(struct file *file, const struct flock *flock, struct file_lock *want) {
    int64_t start = flock->l_start, base = 0;
    struct kstat stat;
    int error;

    switch (flock->l_whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = file_pos_peek(file);
        break;
    case SEEK_END:
        error = inode_getattr(file->inode, &stat);
        if (error) {
            return error;
        }
        base = stat.size;
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(start, base, &start)) {
        return -EOVERFLOW;
    }
    if (start < 0) {
        return -EINVAL;
    }
    want->start = start;
    if (flock->l_len > 0) {
        if (__builtin_add_overflow(start, (int64_t)flock->l_len - 1, &want->end)) {
            return -EOVERFLOW;
        }
    } else if (flock->l_len < 0) {
        if (__builtin_add_overflow(start, (int64_t)flock->l_len, &want->start) || want->start < 0) {
            return -EINVAL;
        }
        want->end = start - 1;
    } else {
        want->end = INT64_MAX;
    }
    return 0;
}

static void tell_conflict(struct flock *flock, const struct file_lock *have) {
    if (!have) {
        flock->l_type = F_UNLCK;
        return;
    }
    flock->l_type = have->type;
    flock->l_whence = SEEK_SET;
    flock->l_start = have->start;
    flock->l_len = have->end == INT64_MAX ? 0 : have->end - have->start + 1;
    flock->l_pid = have->ofd ? -1 : have->pid;
}

/* One try: 0, -EAGAIN with *blocker, -EDEADLK. */
static int try_lock_locked(struct list_head *list, const struct file_lock *want,
                           struct file_lock *spare[2], bool wait, struct lock_waiter *waiter) {
    const struct file_lock *conflict =
        want->type == F_UNLCK ? NULL : find_conflict_locked(list, want);

    list_del(&waiter->link);
    if (!conflict) {
        apply_locked(list, want, spare);
        return 0;
    }
    if (wait && !want->ofd) {
        if (deadlock_locked(want->owner, conflict->owner)) {
            return -EDEADLK;
        }
        waiter->owner = want->owner;
        waiter->blocker = conflict->owner;
        list_add(&waiter->link, &lock_waiters);
    }
    return -EAGAIN;
}

static int set_lock(struct file_lock_context *context, struct list_head *list,
                    const struct file_lock *want, bool wait) {
    struct file_lock *spare[2] = {malloc(sizeof(**spare)), malloc(sizeof(**spare))};
    struct wait_entry entry = WAIT_ENTRY_INIT;
    struct lock_waiter waiter;
    int error = spare[0] && spare[1] ? 0 : -ENOLCK;

    list_init(&waiter.link);
    if (!error) {
        if (wait) {
            wait_queue_add(&context->released, &entry);
        }
        for (;;) {
            lock_acquire(&locks_lock);
            error = try_lock_locked(list, want, spare, wait, &waiter);
            lock_release(&locks_lock);
            if (error != -EAGAIN || !wait) {
                break;
            }
            error = wait_sleep(WAIT_FOREVER);
            if (error) {
                lock_acquire(&locks_lock);
                list_del(&waiter.link);
                lock_release(&locks_lock);
                break;
            }
        }
        if (wait) {
            wait_queue_remove(&entry);
        }
    }
    free(spare[0]);
    free(spare[1]);
    if (!error) {
        /* An unlock, or a write lock that became a read lock. */
        wait_queue_wake(&context->released, 0);
    }
    return error;
}

int file_lock_posix(struct file *file, const void *owner, pid_t pid, int command,
                    struct flock *flock) {
    bool ofd = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    bool get = command == F_GETLK || command == F_OFD_GETLK;
    struct file_lock want = {
        .owner = ofd ? file : owner, .pid = pid, .ofd = ofd, .type = flock->l_type};
    struct file_lock_context *context;
    int error;

    if (file->mode & FMODE_PATH) {
        return -EBADF;
    }
    if (flock->l_type != F_RDLCK && flock->l_type != F_WRLCK && flock->l_type != F_UNLCK) {
        return -EINVAL;
    }
    if ((get && flock->l_type == F_UNLCK) || (ofd && flock->l_pid != 0)) {
        return -EINVAL;
    }
    error = range_of(file, flock, &want);
    if (error) {
        return error;
    }
    if (!get && ((flock->l_type == F_RDLCK && !(file->mode & FMODE_READ)) ||
                 (flock->l_type == F_WRLCK && !(file->mode & FMODE_WRITE)))) {
        return -EBADF;
    }
    context = context_of(file->inode, !get && flock->l_type != F_UNLCK);
    if (!context) {
        if (get) {
            flock->l_type = F_UNLCK;
        }
        return get || flock->l_type == F_UNLCK ? 0 : -ENOLCK;
    }
    if (get) {
        LOCK_GUARD(&locks_lock);
        tell_conflict(flock, find_conflict_locked(&context->records, &want));
        return 0;
    }
    return set_lock(context, &context->records, &want,
                    command == F_SETLKW || command == F_OFD_SETLKW);
}

int file_flock(struct file *file, int operation) {
    struct file_lock want = {.owner = file, .ofd = true, .end = INT64_MAX};
    struct file_lock_context *context;
    bool wait = !(operation & LOCK_NB);
    int error;

    if (file->mode & FMODE_PATH) {
        return -EBADF;
    }
    switch (operation & ~LOCK_NB) {
    case LOCK_SH:
        want.type = F_RDLCK;
        break;
    case LOCK_EX:
        want.type = F_WRLCK;
        break;
    case LOCK_UN:
        want.type = F_UNLCK;
        break;
    default:
        return -EINVAL;
    }
    context = context_of(file->inode, want.type != F_UNLCK);
    if (!context) {
        return want.type == F_UNLCK ? 0 : -ENOLCK;
    }
    /* flock(2): a conversion is not atomic, the old lock goes first. */
    if (want.type != F_UNLCK) {
        const struct file_lock *have;
        bool same = false, had = false;

        lock_acquire(&locks_lock);
        list_for_each_entry (have, &context->flocks, link) {
            if (have->owner == file) {
                had = true;
                same = have->type == want.type;
            }
        }
        lock_release(&locks_lock);
        if (same) {
            return 0;
        }
        if (had) {
            struct file_lock none = want;

            none.type = F_UNLCK;
            error = set_lock(context, &context->flocks, &none, false);
            if (error) {
                return error;
            }
        }
    }
    error = set_lock(context, &context->flocks, &want, wait);
    return error == -EAGAIN ? -EWOULDBLOCK : error;
}

static bool release_locked(struct list_head *list, const void *owner) {
    struct file_lock *lock, *next;
    bool any = false;

    list_for_each_entry_safe (lock, next, list, link) {
        if (lock->owner == owner) {
            list_del(&lock->link);
            free(lock);
            any = true;
        }
    }
    return any;
}

void file_locks_release(struct file *file, const void *owner) {
    struct file_lock_context *context = context_of(file->inode, false);
    bool any;

    if (!context) {
        return;
    }
    lock_acquire(&locks_lock);
    any = release_locked(&context->records, owner);
    any |= release_locked(&context->flocks, owner);
    lock_release(&locks_lock);
    if (any) {
        wait_queue_wake(&context->released, 0);
    }
}
