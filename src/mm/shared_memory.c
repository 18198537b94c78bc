/*
 * Shared anonymous memory (MAP_SHARED|MAP_ANONYMOUS): a memory_object over a memfd of the kernel's,
 * so that every process that inherits the mapping maps the same pages. Owned by the rows that map
 * it; the memfd closes with the last of them. Its size is sealed: a guest that is given it to map
 * could write behind its end.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "host/host_buffer.h"
#include "mm/mm_internal.h"

struct shared_memory {
    struct memory_object object;
    struct host_buffer memory;
    ino_t ino; /* as /proc/PID/maps shows it */
};

static int shared_host_fd(struct memory_object *object, int prot, bool shared) {
    return container_of(object, struct shared_memory, object)->memory.fd;
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

    host_memfd_close(&memory->memory);
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
    int error;

    if (size > INT64_MAX) {
        return ERR_PTR(-ENOMEM);
    }
    memory = calloc(1, sizeof(*memory));
    if (!memory) {
        return ERR_PTR(-ENOMEM);
    }
    error = host_memfd_open(&memory->memory, "shared");
    if (error) {
        free(memory);
        return ERR_PTR(error == -EMFILE || error == -ENFILE ? -ENOMEM : error);
    }
    error = host_ftruncate(memory->memory.fd, (off_t)size);
    if (!error) {
        error = host_fcntl(memory->memory.fd, F_ADD_SEALS, F_SEAL_GROW);
    }
    if (error) {
        host_memfd_close(&memory->memory);
        free(memory);
        return ERR_PTR(error);
    }
    ref_init(&memory->object.ref);
    memory->object.ops = &shared_ops;
    memory->ino = ++last_ino;
    return &memory->object;
}
