/*
 * Shared memory segments. A segment is a memory_object that its attached mappings refer to; what
 * counts as attached is the rows of guests' trees (memory_object_ops.mapped), so fork, exec, exit
 * and a split by mprotect count as on Linux without anything here. A removed segment lives on, by
 * its id, until the last row goes.
 */
#include <stdio.h>

#include "ipc/ipc_internal.h"

/* linux/shm.h keeps these to itself: flags in the mode. */
#define SHM_DEST   01000 /* it goes with the last detach */
#define SHM_LOCKED 02000

struct shm {
    struct ipc_object ipc;
    struct ipc_namespace *ns;
    struct memory_object object;  /* what is mapped; its count is the segment's */
    struct memory_object *memory; /* owned: the pages */
    uint64_t size;                /* immutable */
    key_t name;                   /* immutable: the key it was made with */
    /* guarded by ns->shm.lock */
    uint64_t attached;
    time_t attach_time, detach_time;
    pid_t creator, last;
};

static struct shm *shm_of(const struct memory_object *object) {
    return container_of(object, struct shm, object);
}

static uint64_t pages(const struct shm *shm) {
    return ALIGN_UP(shm->size, PAGE_SIZE) / PAGE_SIZE;
}

/* ---- the memory_object ---- */

static int shm_host_fd(struct memory_object *object, int prot, bool shared) {
    struct memory_object *memory = shm_of(object)->memory;

    return memory->ops->host_fd(memory, prot, shared);
}

static int shm_describe(struct memory_object *object, char *name, size_t size, dev_t *dev,
                        ino_t *ino) {
    struct memory_object *memory = shm_of(object)->memory;
    int error = memory->ops->describe(memory, name, size, dev, ino);

    snprintf(name, size, "/SYSV%08x (deleted)", (unsigned)shm_of(object)->name);
    *ino = (ino_t)shm_of(object)->ipc.id;
    return error;
}

static void shm_object_release(struct memory_object *object) {
    shm_kind.release(&shm_of(object)->ipc);
}

/* Nobody has it any more. The table's reference is the caller's. */
static void destroy_locked(struct shm *shm) {
    shm->ns->shm_pages -= pages(shm);
    ipc_remove_locked(&shm->ns->shm, &shm->ipc);
}

/* True: it has gone from the table. */
static bool detach_locked(struct shm *shm) {
    shm->attached--;
    if (shm->attached || !(shm->ipc.mode & SHM_DEST)) {
        return false;
    }
    destroy_locked(shm);
    return true;
}

/* One attachment less; `row`: of a guest's tree, not that of a shmat(2) under way. */
static void detach(struct shm *shm, bool row) {
    bool gone;

    lock_acquire(&shm->ns->shm.lock);
    if (row) {
        shm->detach_time = ipc_now();
    }
    gone = detach_locked(shm);
    lock_release(&shm->ns->shm.lock);
    if (gone) {
        ipc_object_put(&shm->ipc);
    }
}

/* With the tree's lock held: the row's own reference keeps the segment. */
static void shm_mapped(struct memory_object *object, int prot, bool shared, int change) {
    struct shm *shm = shm_of(object);

    if (change < 0) {
        detach(shm, true);
        return;
    }
    LOCK_GUARD(&shm->ns->shm.lock);
    shm->attached++;
    shm->attach_time = ipc_now();
}

static const struct memory_object_ops shm_object_ops = {
    .host_fd = shm_host_fd,
    .describe = shm_describe,
    .release = shm_object_release,
    .mapped = shm_mapped,
};

/* ---- the kind ---- */

static struct ipc_object *shm_create(const struct ipc_request *request) {
    struct memory_object *memory;
    struct shm *shm;

    if (request->size < SHMMIN || request->size > SHMMAX) {
        return ERR_PTR(-EINVAL);
    }
    shm = calloc(1, sizeof(*shm));
    if (!shm) {
        return ERR_PTR(-ENOMEM);
    }
    memory = shared_memory_new(ALIGN_UP(request->size, PAGE_SIZE));
    if (IS_ERR(memory)) {
        free(shm);
        return ERR_PTR(PTR_ERR(memory));
    }
    ipc_object_init(&shm->ipc, &shm->object.ref, &shm_kind, request);
    shm->object.ops = &shm_object_ops;
    shm->ns = request->caller->ns;
    shm->memory = memory;
    shm->size = request->size;
    shm->name = request->key;
    shm->creator = request->caller->pid;
    return &shm->ipc;
}

static int shm_room(struct ipc_namespace *ns, const struct ipc_object *object) {
    const struct shm *shm = container_of(object, struct shm, ipc);

    if (pages(shm) > SHMALL - ns->shm_pages) {
        return -ENOSPC;
    }
    ns->shm_pages += pages(shm);
    return 0;
}

static int shm_fits(const struct ipc_object *object, const struct ipc_request *request) {
    return request->size > container_of(object, struct shm, ipc)->size ? -EINVAL : 0;
}

static void shm_release(struct ipc_object *object) {
    struct shm *shm = container_of(object, struct shm, ipc);

    memory_object_put(shm->memory);
    free(shm);
}

const struct ipc_kind shm_kind = {
    .create = shm_create, .room = shm_room, .fits = shm_fits, .release = shm_release};

/* ---- the calls ---- */

int shm_get(const struct ipc_caller *caller, key_t key, uint64_t size, int flags) {
    struct ipc_request request = {caller, key, flags, size};

    return ipc_get(&caller->ns->shm, &request);
}

static struct shm *shm_find_locked(const struct ipc_caller *caller, int id) {
    struct ipc_object *object = ipc_find_locked(&caller->ns->shm, id);

    return IS_ERR(object) ? ERR_CAST(object) : container_of(object, struct shm, ipc);
}

struct memory_object *shm_attach_begin(const struct ipc_caller *caller, int id, int prot,
                                       uint64_t *size) {
    unsigned mode = 4 | (prot & PROT_WRITE ? 2 : 0) | (prot & PROT_EXEC ? 1 : 0);
    struct shm *shm;
    int error;
    LOCK_GUARD(&caller->ns->shm.lock);

    shm = shm_find_locked(caller, id);
    if (IS_ERR(shm)) {
        return ERR_CAST(shm);
    }
    error = ipc_permission_locked(&shm->ipc, caller->creds, mode);
    if (error) {
        return ERR_PTR(error);
    }
    shm->attached++;
    *size = shm->size;
    return memory_object_get(&shm->object);
}

void shm_attach_end(struct memory_object *object, pid_t pid, bool attached) {
    struct shm *shm = shm_of(object);

    if (attached) {
        LOCK_GUARD(&shm->ns->shm.lock);
        shm->last = pid;
        shm->attach_time = ipc_now();
    }
    detach(shm, false);
}

uint64_t shm_size(const struct memory_object *object) {
    return object && object->ops == &shm_object_ops ? shm_of(object)->size : 0;
}

void shm_detached(struct memory_object *object, pid_t pid) {
    LOCK_GUARD(&shm_of(object)->ns->shm.lock);
    shm_of(object)->last = pid;
}

int shm_stat(const struct ipc_caller *caller, int id, enum ipc_by by, struct shmid64_ds *stat) {
    struct ipc_object *object;
    struct shm *shm;
    int result;
    LOCK_GUARD(&caller->ns->shm.lock);

    object = ipc_find_stat_locked(&caller->ns->shm, caller, id, by, &result);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    shm = container_of(object, struct shm, ipc);
    *stat = (struct shmid64_ds){
        .shm_segsz = shm->size,
        .shm_atime = shm->attach_time,
        .shm_dtime = shm->detach_time,
        .shm_ctime = object->changed,
        .shm_cpid = shm->creator,
        .shm_lpid = shm->last,
        .shm_nattch = shm->attached,
    };
    ipc_show_locked(object, &stat->shm_perm);
    return result;
}

int shm_set(const struct ipc_caller *caller, int id, const struct ipc64_perm *perm) {
    struct ipc_object *object;
    LOCK_GUARD(&caller->ns->shm.lock);

    object = ipc_find_owned_locked(&caller->ns->shm, caller, id);
    return IS_ERR(object) ? (int)PTR_ERR(object) : ipc_set_locked(object, perm);
}

/* True: it has gone from the table. */
static bool remove_locked(struct shm *shm) {
    if (shm->attached) {
        shm->ipc.mode |= SHM_DEST;
        ipc_hide_locked(&shm->ipc);
        return false;
    }
    destroy_locked(shm);
    return true;
}

int shm_remove(const struct ipc_caller *caller, int id) {
    struct ipc_object *object;
    bool gone = false;

    lock_acquire(&caller->ns->shm.lock);
    object = ipc_find_owned_locked(&caller->ns->shm, caller, id);
    if (!IS_ERR(object)) {
        gone = remove_locked(container_of(object, struct shm, ipc));
    }
    lock_release(&caller->ns->shm.lock);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    if (gone) {
        ipc_object_put(object);
    }
    return 0;
}

int shm_lock(const struct ipc_caller *caller, int id, bool lock, uint64_t limit) {
    uid_t euid = caller->creds->euid;
    struct shm *shm;
    LOCK_GUARD(&caller->ns->shm.lock);

    shm = shm_find_locked(caller, id);
    if (IS_ERR(shm)) {
        return (int)PTR_ERR(shm);
    }
    if (!credentials_capable(caller->creds, CAP_IPC_LOCK)) {
        if ((euid != shm->ipc.uid && euid != shm->ipc.cuid) || (lock && limit == 0)) {
            return -EPERM;
        }
        if (lock && shm->size > limit) {
            return -ENOMEM;
        }
    }
    shm->ipc.mode = lock ? shm->ipc.mode | SHM_LOCKED : shm->ipc.mode & ~(mode_t)SHM_LOCKED;
    return 0;
}

int shm_limits(const struct ipc_caller *caller, struct shminfo64 *info) {
    *info = (struct shminfo64){
        .shmmax = SHMMAX, .shmmin = SHMMIN, .shmmni = SHMMNI, .shmseg = SHMSEG, .shmall = SHMALL};
    LOCK_GUARD(&caller->ns->shm.lock);
    return ipc_highest_locked(&caller->ns->shm);
}

int shm_usage(const struct ipc_caller *caller, struct shm_info *info) {
    LOCK_GUARD(&caller->ns->shm.lock);
    *info = (struct shm_info){.used_ids = (int)caller->ns->shm.count,
                              .shm_tot = caller->ns->shm_pages,
                              .shm_rss = caller->ns->shm_pages};
    return ipc_highest_locked(&caller->ns->shm);
}
