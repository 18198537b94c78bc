/*
 * The tables of System V IPC objects, one for each kind: ids, keys, owners and modes. One lock
 * guards a table and all that its objects say; an object that a caller sleeps on is kept by a
 * reference, and says by `removed` that it has left the table.
 *
 * An id is the index in the table and, above it, a count that goes on when an index is used again,
 * so that an old id means nothing rather than another object.
 */
#include "ipc/ipc_internal.h"

#define SEQUENCE_MAX (INT_MAX >> IPC_INDEX_BITS)

time_t ipc_now(void) {
    return (time_t)(host_clock_realtime() / 1000000000);
}

/* ---- the namespace ---- */

static void ids_init(struct ipc_ids *ids, const struct ipc_kind *kind, size_t limit) {
    ids->kind = kind;
    ids->limit = limit;
    ids->last = -1;
    lock_init(&ids->lock, LOCK_IPC);
}

static void ids_destroy(struct ipc_ids *ids) {
    for (size_t i = 0; i < ids->capacity; i++) {
        ipc_object_put(ids->slots[i]);
    }
    free(ids->slots);
    lock_destroy(&ids->lock);
}

struct ipc_namespace *ipc_namespace_new(void) {
    struct ipc_namespace *ns = calloc(1, sizeof(*ns));

    if (ns) {
        ids_init(&ns->shm, &shm_kind, SHMMNI);
        ids_init(&ns->sem, &sem_kind, SEMMNI);
        ids_init(&ns->msg, &msg_kind, MSGMNI);
    }
    return ns;
}

void ipc_namespace_free(struct ipc_namespace *ns) {
    ids_destroy(&ns->shm);
    ids_destroy(&ns->sem);
    ids_destroy(&ns->msg);
    free(ns);
}

/* ---- objects ---- */

void ipc_object_init(struct ipc_object *object, struct ref *ref, const struct ipc_kind *kind,
                     const struct ipc_request *request) {
    const struct credentials *creds = request->caller->creds;

    ref_init(ref);
    object->ref = ref;
    object->kind = kind;
    object->key = request->key;
    object->uid = object->cuid = creds->euid;
    object->gid = object->cgid = creds->egid;
    object->mode = (mode_t)request->flags & 0777;
    object->changed = ipc_now();
}

struct ipc_object *ipc_object_get(struct ipc_object *object) {
    ref_get(object->ref);
    return object;
}

void ipc_object_put(struct ipc_object *object) {
    if (object && ref_put(object->ref)) {
        object->kind->release(object);
    }
}

/* ---- the table ---- */

static struct ipc_object *find_key_locked(const struct ipc_ids *ids, key_t key) {
    for (size_t i = 0; i < ids->capacity; i++) {
        if (ids->slots[i] && ids->slots[i]->key == key) {
            return ids->slots[i];
        }
    }
    return NULL;
}

static int grow_locked(struct ipc_ids *ids) {
    size_t capacity = ids->capacity ? ids->capacity * 2 : 16;
    struct ipc_object **slots = realloc(ids->slots, capacity * sizeof(struct ipc_object *));

    if (!slots) {
        return -ENOMEM;
    }
    memset(slots + ids->capacity, 0, (capacity - ids->capacity) * sizeof(struct ipc_object *));
    ids->slots = slots;
    ids->capacity = capacity;
    return 0;
}

/* There is room in the table. Takes the object's reference over. The id. */
static int insert_locked(struct ipc_ids *ids, struct ipc_object *object) {
    int index = 0;

    while (ids->slots[index]) {
        index++;
    }
    if (index <= ids->last && ++ids->sequence > SEQUENCE_MAX) {
        ids->sequence = 0;
    }
    ids->last = index;
    ids->slots[index] = object;
    ids->count++;
    object->id = (int)(ids->sequence << IPC_INDEX_BITS) | index;
    return object->id;
}

/* There is one of that key. */
static int existing_locked(struct ipc_object *object, const struct ipc_request *request) {
    unsigned wanted = (unsigned)request->flags;
    int error;

    if ((request->flags & IPC_CREAT) && (request->flags & IPC_EXCL)) {
        return -EEXIST;
    }
    error = object->kind->fits(object, request);
    if (!error) {
        error = ipc_permission_locked(object, request->caller->creds,
                                      (wanted >> 6 | wanted >> 3 | wanted) & 7);
    }
    return error ? error : object->id;
}

/* Made without the lock; somebody may have been faster. */
static int make(struct ipc_ids *ids, const struct ipc_request *request) {
    struct ipc_object *fresh CLEANUP(ipc_object_put) = ids->kind->create(request);
    struct ipc_object *object = NULL;
    int result;

    if (IS_ERR(fresh)) {
        return (int)PTR_ERR(STEAL(fresh));
    }
    LOCK_GUARD(&ids->lock);
    if (request->key != IPC_PRIVATE) {
        object = find_key_locked(ids, request->key);
    }
    if (object) {
        return existing_locked(object, request);
    }
    if (ids->count >= ids->limit) {
        return -ENOSPC;
    }
    if (ids->count == ids->capacity && grow_locked(ids)) {
        return -ENOMEM;
    }
    result = ids->kind->room(request->caller->ns, fresh);
    return result ? result : insert_locked(ids, STEAL(fresh));
}

int ipc_get(struct ipc_ids *ids, const struct ipc_request *request) {
    if (request->key != IPC_PRIVATE) {
        struct ipc_object *object;
        LOCK_GUARD(&ids->lock);

        object = find_key_locked(ids, request->key);
        if (object) {
            return existing_locked(object, request);
        }
        if (!(request->flags & IPC_CREAT)) {
            return -ENOENT;
        }
    }
    return make(ids, request);
}

struct ipc_object *ipc_find_locked(struct ipc_ids *ids, int id) {
    size_t index = (size_t)id & (IPC_INDEX_MAX - 1);

    if (id < 0 || index >= ids->capacity || !ids->slots[index] || ids->slots[index]->id != id) {
        return ERR_PTR(-EINVAL);
    }
    return ids->slots[index];
}

struct ipc_object *ipc_find_stat_locked(struct ipc_ids *ids, const struct ipc_caller *caller,
                                        int id, enum ipc_by by, int *result) {
    struct ipc_object *object;
    int error;

    if (by == IPC_BY_ID) {
        object = ipc_find_locked(ids, id);
    } else {
        object = id >= 0 && (size_t)id < ids->capacity ? ids->slots[id] : NULL;
        object = object ? object : ERR_PTR(-EINVAL);
    }
    if (IS_ERR(object)) {
        return object;
    }
    error = by == IPC_BY_INDEX_ANY ? 0 : ipc_permission_locked(object, caller->creds, 4);
    *result = by == IPC_BY_ID ? 0 : object->id;
    return error ? ERR_PTR(error) : object;
}

struct ipc_object *ipc_find_owned_locked(struct ipc_ids *ids, const struct ipc_caller *caller,
                                         int id) {
    struct ipc_object *object = ipc_find_locked(ids, id);
    uid_t euid = caller->creds->euid;

    if (!IS_ERR(object) && euid != object->uid && euid != object->cuid &&
        !credentials_capable(caller->creds, CAP_SYS_ADMIN)) {
        return ERR_PTR(-EPERM);
    }
    return object;
}

static bool in_group(const struct credentials *creds, gid_t gid) {
    return creds->egid == gid || credentials_in_group(creds, gid);
}

int ipc_permission_locked(const struct ipc_object *object, const struct credentials *creds,
                          unsigned mode) {
    unsigned granted = object->mode;

    if (creds->euid == object->cuid || creds->euid == object->uid) {
        granted >>= 6;
    } else if (in_group(creds, object->cgid) || in_group(creds, object->gid)) {
        granted >>= 3;
    }
    return (mode & ~granted & 7) && !credentials_capable(creds, CAP_IPC_OWNER) ? -EACCES : 0;
}

void ipc_show_locked(const struct ipc_object *object, struct ipc64_perm *perm) {
    *perm = (struct ipc64_perm){
        .key = object->key,
        .uid = object->uid,
        .gid = object->gid,
        .cuid = object->cuid,
        .cgid = object->cgid,
        .mode = object->mode,
        .seq = (unsigned short)(object->id >> IPC_INDEX_BITS),
    };
}

int ipc_set_locked(struct ipc_object *object, const struct ipc64_perm *perm) {
    if (perm->uid == (uid_t)-1 || perm->gid == (gid_t)-1) {
        return -EINVAL;
    }
    object->uid = perm->uid;
    object->gid = perm->gid;
    object->mode = (object->mode & ~0777u) | (perm->mode & 0777);
    object->changed = ipc_now();
    return 0;
}

void ipc_hide_locked(struct ipc_object *object) {
    object->key = IPC_PRIVATE;
}

void ipc_remove_locked(struct ipc_ids *ids, struct ipc_object *object) {
    ids->slots[object->id & (IPC_INDEX_MAX - 1)] = NULL;
    ids->count--;
    object->removed = true;
    ipc_hide_locked(object);
}

int ipc_highest_locked(const struct ipc_ids *ids) {
    for (size_t i = ids->capacity; i > 0; i--) {
        if (ids->slots[i - 1]) {
            return (int)i - 1;
        }
    }
    return 0;
}
