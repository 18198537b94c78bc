/*
 * pid_table: from a number to the task, thread group, process group and session that it names.
 *
 * The table owns its entries and nothing that they point to: every pointer is weak, and whoever
 * ends takes itself out, under kernel->pids_lock, before it is freed. So a look-up under the lock
 * finds valid memory, and gives a counted reference or nothing. A number is free when no entry
 * exists for it: an entry lives as long as anything uses its number, and numbers are given out
 * round robin, as fork(2) and proc(5) (pid_max) describe.
 */
#include "task/task_internal.h"

#define INITIAL_BUCKETS 64

static struct list_head *buckets_new(size_t count) {
    struct list_head *buckets = calloc(count, sizeof(*buckets));

    if (buckets) {
        for (size_t i = 0; i < count; i++) {
            list_init(&buckets[i]);
        }
    }
    return buckets;
}

static struct list_head *bucket_of(struct list_head *buckets, size_t count, pid_t id) {
    return &buckets[(size_t)id & (count - 1)]; /* ids are given out in sequence: no hash needed */
}

struct pid_table *pid_table_new(void) {
    struct pid_table *pids = calloc(1, sizeof(*pids));

    if (!pids) {
        return NULL;
    }
    pids->buckets = buckets_new(INITIAL_BUCKETS);
    if (!pids->buckets) {
        free(pids);
        return NULL;
    }
    pids->bucket_count = INITIAL_BUCKETS;
    pids->pid_max = PID_MAX_DEFAULT;
    return pids;
}

void pid_table_free(struct pid_table *pids) {
    if (!pids) {
        return;
    }
    if (pids->entry_count) {
        panic("the pid table is freed with %zu ids in use", pids->entry_count);
    }
    free(pids->buckets);
    free(pids);
}

struct pid_entry *pid_table_find(struct pid_table *pids, pid_t id) {
    struct pid_entry *entry;

    if (id <= 0) {
        return NULL;
    }
    list_for_each_entry (entry, bucket_of(pids->buckets, pids->bucket_count, id), link) {
        if (entry->id == id) {
            return entry;
        }
    }
    return NULL;
}

/* Growing is for speed only: when there is no memory for it the table goes on as it is. */
static void grow(struct pid_table *pids) {
    size_t count = pids->bucket_count * 2;
    struct list_head *buckets = buckets_new(count);
    struct pid_entry *entry, *next;

    if (!buckets) {
        return;
    }
    for (size_t i = 0; i < pids->bucket_count; i++) {
        list_for_each_entry_safe (entry, next, &pids->buckets[i], link) {
            list_del(&entry->link);
            list_add_tail(&entry->link, bucket_of(buckets, count, entry->id));
        }
    }
    free(pids->buckets);
    pids->buckets = buckets;
    pids->bucket_count = count;
}

struct pid_entry *pid_table_obtain(struct pid_table *pids, pid_t id) {
    struct pid_entry *entry = pid_table_find(pids, id);

    if (entry) {
        return entry;
    }
    entry = calloc(1, sizeof(*entry));
    if (!entry) {
        return NULL;
    }
    if (pids->entry_count >= pids->bucket_count * 2) {
        grow(pids);
    }
    entry->id = id;
    list_add_tail(&entry->link, bucket_of(pids->buckets, pids->bucket_count, id));
    pids->entry_count++;
    return entry;
}

void pid_table_release(struct pid_table *pids, struct pid_entry *entry) {
    if (entry->task || entry->thread_group || entry->process_group || entry->session) {
        return;
    }
    list_del(&entry->link);
    pids->entry_count--;
    free(entry);
}

pid_t pid_table_allocate(struct pid_table *pids) {
    pid_t first = pids->pid_max > PID_RESERVED ? PID_RESERVED : 1;
    pid_t id = pids->last_pid;

    for (pid_t tried = 0; tried < pids->pid_max; tried++) {
        id = id + 1 < pids->pid_max ? id + 1 : first;
        if (!pid_table_find(pids, id)) {
            pids->last_pid = id;
            return id;
        }
    }
    return -EAGAIN;
}

int pid_table_add_task(struct pid_table *pids, struct task *task) {
    struct pid_entry *entry = pid_table_obtain(pids, task->id);

    if (!entry) {
        return -ENOMEM;
    }
    if (entry->task) {
        panic("pid %d is given to a second task", task->id);
    }
    entry->task = task;
    pids->count++;
    return 0;
}

void pid_table_remove_task(struct pid_table *pids, pid_t pid) {
    struct pid_entry *entry = pid_table_find(pids, pid);

    if (entry && entry->task) {
        entry->task = NULL;
        pids->count--;
        pid_table_release(pids, entry);
    }
}

struct task *pid_table_get_task(struct pid_table *pids, pid_t pid) {
    struct pid_entry *entry = pid_table_find(pids, pid);

    return entry && entry->task && ref_tryget(&entry->task->ref) ? entry->task : NULL;
}
