/* What the files of epoll share; epoll.c tells about the whole. */
#ifndef STARLING_EPOLL_INTERNAL_H
#define STARLING_EPOLL_INTERNAL_H

#include "files/files_internal.h"

#define EPOLL_PRIVATE (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

struct epoll {
    struct wait_queue wait;      /* epoll_wait(2) callers; its lock guards ready and item states */
    struct wait_queue poll_wait; /* poll(2) and outer instances */
    struct list_head ready;      /* items by ready_link; guarded by wait.lock */
    struct list_head *buckets;   /* items by hash_link; guarded by epoll_topology */
    size_t bucket_count, item_count; /* likewise */
    struct file *file;               /* its own; weak; immutable */
    uint64_t walk;  /* guarded by epoll_topology: epoll_depth_locked() was here ... */
    int walk_depth; /* ... and found this */
};

struct epoll_item {
    struct ref ref;      /* the table's, and one for each thread that works on it */
    struct epoll *epoll; /* valid while !dead */
    struct list_head hash_link, file_link; /* guarded by epoll_topology */
    int fd;                                /* immutable: part of the key */
    struct file *key;                      /* immutable: the file; valid while in the table */
    struct epoll *nested;                  /* immutable: of a file that is an instance itself */
    bool registering; /* guarded by epoll_topology: the adder deals with entries */
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

extern struct lock epoll_topology; /* class EPOLL */
extern const struct file_ops epoll_file_ops;

static inline struct epoll *file_epoll(struct file *file) {
    return file->ops == &epoll_file_ops ? file->private : NULL;
}

/* epoll.c */
void epoll_item_put(struct epoll_item *item);
/* On the ready list, off it; epoll->wait.lock held. */
void epoll_item_queue_locked(struct epoll_item *item);
void epoll_item_unqueue_locked(struct epoll_item *item);
/* The callback of its wait entries. */
void epoll_item_wake(struct wait_entry *entry, uint32_t events);

/* epoll_ctl.c */
/* Takes the item out of everything; the file is still valid memory. epoll_topology held. */
void epoll_item_remove_locked(struct epoll_item *item);

#endif
