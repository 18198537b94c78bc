/*
 * Files in flight: what SCM_RIGHTS messages hold (unix(7)).
 *
 * A socket can travel in its own queue, or two in each other's; then nobody can receive it any more
 * and nobody else holds it. Linux collects such cycles; here the number of files in flight is
 * limited (RLIMIT_NOFILE of the sender, as Linux limits it too), so that what a guest can lose that
 * way is bounded, and given back when the sandbox ends.
 *
 * Dropping a file may close a socket whose queue holds files, and so on: the drops are done one
 * after the other, not one inside the other.
 */
#include "net/net_internal.h"

static _Atomic size_t in_flight;

int files_in_flight_add(size_t count) {
    struct task *current = current_task();
    uint64_t limit = current ? rlimits_get(&current->thread_group->rlimits, RLIMIT_NOFILE) : 1024;

    if (atomic_fetch_add(&in_flight, count) + count > MIN(limit, (uint64_t)65536)) {
        atomic_fetch_sub(&in_flight, count);
        return -ETOOMANYREFS;
    }
    return 0;
}

void files_in_flight_cancel(size_t count) {
    atomic_fetch_sub(&in_flight, count);
}

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
    atomic_fetch_sub(&in_flight, count);
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
