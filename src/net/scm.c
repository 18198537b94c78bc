/*
 * Files in flight: what SCM_RIGHTS messages hold (unix(7)).
 *
 * They are counted against the sender's RLIMIT_NOFILE, as on Linux. A socket can travel in its own
 * queue, or two in each other's; then nobody can receive it any more and nobody else holds it. When
 * the limit is reached such cycles are collected: among the sockets whose every reference is a
 * message's, those that no other message leads to are garbage, and their queues are emptied.
 *
 * flight_gate keeps the collector's picture still: messages with files go in and out of queues only
 * while it is read-held. A socket with no reference but messages' cannot be reached in any other
 * way meanwhile.
 *
 * Dropping a file may close a socket whose queue holds files, and so on: the drops are done one
 * after the other, not one inside the other.
 */
#include "net/net_internal.h"

#define IN_FLIGHT_MAX 65536

struct rwlock flight_gate = {PTHREAD_RWLOCK_INITIALIZER, LOCK_FILES_IN_FLIGHT};

static _Atomic size_t in_flight;
static struct lock flights_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
/* Socks by flight_link whose file is in some message; guarded by flights_lock. */
static struct list_head flights = LIST_HEAD_INIT(flights);
static size_t flight_count; /* socks in the list; guarded likewise */

static struct sock *sock_of(struct file *file) {
    return file->ops == &socket_file_ops ? file->private : NULL;
}

void files_in_flight_begin(struct file **files, size_t count) {
    LOCK_GUARD(&flights_lock);

    for (size_t i = 0; i < count; i++) {
        struct sock *sock = sock_of(files[i]);

        if (sock && sock->in_flight++ == 0) {
            list_add(&sock->flight_link, &flights);
            flight_count++;
        }
    }
}

void files_in_flight_end(struct file **files, size_t count) {
    lock_acquire(&flights_lock);
    for (size_t i = 0; i < count; i++) {
        struct sock *sock = sock_of(files[i]);

        if (sock && --sock->in_flight == 0) {
            list_del(&sock->flight_link);
            flight_count--;
        }
    }
    lock_release(&flights_lock);
    files_in_flight_cancel(count);
}

void files_in_flight_cancel(size_t count) {
    atomic_fetch_sub(&in_flight, count);
}

/* ---- dropping ---- */

struct pending_drop {
    struct pending_drop *next;
    struct file **files; /* owned */
    size_t count;
};
static _Thread_local bool dropping;
static _Thread_local struct pending_drop *pending;

static void drop_files(struct file **files, size_t count) {
    for (size_t i = 0; i < count; i++) {
        file_put(files[i]);
    }
    free(files);
}

void files_in_flight_drop(struct file **files, size_t count) {
    files_in_flight_end(files, count);
    if (dropping) {
        /* Without memory for the note they are dropped on the spot, one level deeper. */
        struct pending_drop *drop = malloc(sizeof(*drop));

        if (!drop) {
            drop_files(files, count);
            return;
        }
        *drop = (struct pending_drop){pending, files, count};
        pending = drop;
        return;
    }
    dropping = true;
    drop_files(files, count);
    while (pending) {
        struct pending_drop *drop = pending;

        pending = drop->next;
        drop_files(drop->files, drop->count);
        free(drop);
    }
    dropping = false;
}

void socket_control_destroy(struct socket_control *control) {
    if (control->files) {
        struct file **files = STEAL(control->files);

        drop_files(files, control->file_count);
        control->file_count = 0;
    }
}

/* ---- collecting ---- */

struct candidate {
    struct sock *sock; /* owned */
    size_t outside;    /* messages that hold it, outside of candidates' queues */
    bool alive;
};

struct collection {
    struct candidate *table;
    size_t count;
    size_t *stack; /* candidates found alive whose queues are still to be followed */
    size_t stacked;
};

typedef void visit_fn(struct collection *collection, struct candidate *candidate);

static void visit_messages(struct collection *collection, struct sock *sock, visit_fn *visit) {
    struct message *message;

    list_for_each_entry (message, &sock->messages, link) {
        for (size_t i = 0; i < message->control.file_count; i++) {
            struct sock *held = sock_of(message->control.files[i]);

            if (held && held->gc_index) {
                visit(collection, &collection->table[held->gc_index - 1]);
            }
        }
    }
}

/* Every candidate that the sock's queue holds, and the queues of what waits to be accepted. */
static void visit_held(struct collection *collection, struct sock *sock, visit_fn *visit) {
    struct sock *child;
    LOCK_GUARD(&sock->lock);

    visit_messages(collection, sock, visit);
    list_for_each_entry (child, &sock->backlog, backlog_link) {
        lock_acquire(&child->lock);
        visit_messages(collection, child, visit);
        lock_release(&child->lock);
    }
}

static void count_inside(struct collection *collection, struct candidate *candidate) {
    candidate->outside--;
}

static void mark_alive(struct collection *collection, struct candidate *candidate) {
    if (!candidate->alive) {
        candidate->alive = true;
        collection->stack[collection->stacked++] = (size_t)(candidate - collection->table);
    }
}

/* Socks with no reference but messages'. */
static bool find_candidates(struct collection *collection) {
    struct sock *sock;
    LOCK_GUARD(&flights_lock);

    collection->table = calloc(flight_count + 1, sizeof(*collection->table));
    collection->stack = calloc(flight_count + 1, sizeof(*collection->stack));
    if (!collection->table || !collection->stack) {
        return false;
    }
    list_for_each_entry (sock, &flights, flight_link) {
        /* As long as it is listed some message holds the file. */
        if (sock->file && atomic_load(&sock->file->ref.count) == (int32_t)sock->in_flight) {
            collection->table[collection->count++] =
                (struct candidate){.sock = sock_get(sock), .outside = sock->in_flight};
            sock->gc_index = (unsigned)collection->count;
        }
    }
    return true;
}

static void take_messages(struct sock *sock, struct list_head *garbage) {
    struct sock *child;
    LOCK_GUARD(&sock->lock);

    while (!list_empty(&sock->messages)) {
        struct list_head *link = sock->messages.next;

        list_del(link);
        list_add_tail(link, garbage);
    }
    sock->queued = 0;
    list_for_each_entry (child, &sock->backlog, backlog_link) {
        lock_acquire(&child->lock);
        while (!list_empty(&child->messages)) {
            struct list_head *link = child->messages.next;

            list_del(link);
            list_add_tail(link, garbage);
        }
        child->queued = 0;
        lock_release(&child->lock);
    }
}

static void collect_garbage(void) {
    struct collection collection = {0};
    struct list_head garbage;

    list_init(&garbage);
    rwlock_write_acquire(&flight_gate);
    if (find_candidates(&collection)) {
        for (size_t i = 0; i < collection.count; i++) {
            visit_held(&collection, collection.table[i].sock, count_inside);
        }
        for (size_t i = 0; i < collection.count; i++) {
            if (collection.table[i].outside) {
                mark_alive(&collection, &collection.table[i]);
            }
        }
        while (collection.stacked) {
            size_t next = collection.stack[--collection.stacked];

            visit_held(&collection, collection.table[next].sock, mark_alive);
        }
        for (size_t i = 0; i < collection.count; i++) {
            if (!collection.table[i].alive) {
                take_messages(collection.table[i].sock, &garbage);
            }
            collection.table[i].sock->gc_index = 0;
        }
    }
    rwlock_write_release(&flight_gate);
    for (size_t i = 0; i < collection.count; i++) {
        sock_put(collection.table[i].sock);
    }
    free(collection.table);
    free(collection.stack);
    sock_purge(&garbage);
}

int files_in_flight_charge(size_t count) {
    struct task *current = current_task();
    uint64_t limit = current ? rlimits_get(&current->thread_group->rlimits, RLIMIT_NOFILE) : 1024;

    limit = MIN(limit, (uint64_t)IN_FLIGHT_MAX);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (atomic_fetch_add(&in_flight, count) + count <= limit) {
            return 0;
        }
        atomic_fetch_sub(&in_flight, count);
        if (attempt == 0) {
            collect_garbage();
        }
    }
    return -ETOOMANYREFS;
}
