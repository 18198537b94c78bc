/*
 * Shared anonymous memory (MAP_SHARED|MAP_ANONYMOUS): a memory_object over a memfd of the kernel's,
 * so that every process that inherits the mapping maps the same pages. Owned by the rows that map
 * it; the memfd closes with the last of them. Its size is sealed: a guest that is given it to map
 * could write behind its end. Its pages stay until it closes, mapped or not, so they are counted
 * here and not by what guests have mapped.
 */
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "mm/mm_internal.h"

struct shared_memory {
    struct memory_object object;
    int fd;                /* owned */
    ino_t ino;             /* as /proc/PID/maps shows it */
    struct list_head link; /* of all, guarded by all_lock */
};

static struct lock all_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static struct list_head all = LIST_HEAD_INIT(all); /* guarded by it */

static int shared_host_fd(struct memory_object *object, int prot, bool shared) {
    return container_of(object, struct shared_memory, object)->fd;
}

static int shared_describe(struct memory_object *object, char *name, size_t size, dev_t *dev,
                           ino_t *ino) {
    snprintf(name, size, "/dev/zero (deleted)");
    *dev = makedev(0, 1);
    *ino = container_of(object, struct shared_memory, object)->ino;
    return 0;
}

static void shared_release(struct memory_object *object) {
    struct shared_memory *memory = container_of(object, struct shared_memory, object);

    lock_acquire(&all_lock);
    list_del(&memory->link);
    lock_release(&all_lock);
    (void)host_close(memory->fd);
    free(memory);
}

static const struct memory_object_ops shared_ops = {
    .host_fd = shared_host_fd,
    .describe = shared_describe,
    .release = shared_release,
};

struct memory_object *shared_memory_new(uint64_t size) {
    static _Atomic ino_t last_ino;
    struct shared_memory *memory;

    if (size > INT64_MAX) {
        return ERR_PTR(-ENOMEM);
    }
    memory = calloc(1, sizeof(*memory));
    if (!memory) {
        return ERR_PTR(-ENOMEM);
    }
    memory->fd = host_memfd_create("shared", MFD_ALLOW_SEALING);
    if (memory->fd < 0) {
        int error = memory->fd;

        free(memory);
        return ERR_PTR(error == -EMFILE || error == -ENFILE ? -ENOMEM : error);
    }
    int result = host_ftruncate(memory->fd, (off_t)size);

    if (result == 0) {
        result = host_fcntl(memory->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    }
    if (result) {
        (void)host_close(memory->fd);
        free(memory);
        return ERR_PTR(result);
    }
    ref_init(&memory->object.ref);
    memory->object.ops = &shared_ops;
    memory->ino = ++last_ino;
    lock_acquire(&all_lock);
    list_add(&memory->link, &all);
    lock_release(&all_lock);
    return &memory->object;
}

uint64_t shared_memory_used(void) {
    struct shared_memory *memory;
    uint64_t bytes = 0;
    struct stat stat;
    LOCK_GUARD(&all_lock);

    list_for_each_entry (memory, &all, link) {
        if (host_fstat(memory->fd, &stat) == 0) {
            bytes += (uint64_t)stat.st_blocks * 512;
        }
    }
    return bytes;
}
