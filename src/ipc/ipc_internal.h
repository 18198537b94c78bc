/* What the files of ipc/ share: the tables of objects. */
#ifndef STARLING_IPC_INTERNAL_H
#define STARLING_IPC_INTERNAL_H

#include "ipc/ipc.h"

#define IPC_INDEX_BITS 15 /* IPCMNI: 32768 objects of a kind; the rest of an id tells its uses */
#define IPC_INDEX_MAX  (1 << IPC_INDEX_BITS)

/* The first part of each kind's own structure. */
struct ipc_object {
    struct ref *ref; /* its count, which is in the kind's own structure; immutable */
    const struct ipc_kind *kind;
    int id; /* immutable once it is in the table */
    /* guarded by ids->lock */
    key_t key; /* IPC_PRIVATE: it has none, or not any more */
    bool removed;
    uid_t uid, cuid;
    gid_t gid, cgid;
    mode_t mode;
    time_t changed;
};

struct ipc_request {
    const struct ipc_caller *caller;
    key_t key;
    int flags;     /* IPC_CREAT, IPC_EXCL, mode */
    uint64_t size; /* bytes of a segment, semaphores of a set */
};

struct ipc_kind {
    /* A new object, not in the table yet; ERR_PTR. */
    struct ipc_object *(*create)(const struct ipc_request *request);
    /* Is there room for it? Then it is counted: 0, or -ENOSPC. ids->lock is held. */
    int (*room)(struct ipc_namespace *ns, const struct ipc_object *object);
    /* Is the object of that key what is asked for? 0 or -EINVAL. */
    int (*fits)(const struct ipc_object *object, const struct ipc_request *request);
    void (*release)(struct ipc_object *object);
};

struct ipc_ids {
    const struct ipc_kind *kind; /* immutable */
    size_t limit;                /* immutable: how many there may be */
    struct lock lock;            /* class IPC: this table and all that its objects say is guarded */
    struct ipc_object **slots;   /* guarded by lock, like the rest */
    size_t capacity, count;
    int last;          /* the index that was given last */
    unsigned sequence; /* of the next id */
};

struct ipc_namespace {
    struct ipc_ids shm, sem, msg;
    uint64_t shm_pages; /* guarded by shm.lock */
    uint64_t sem_total; /* semaphores; guarded by sem.lock */
    uint64_t msg_bytes; /* what messages take, with their heads; guarded by msg.lock */
};

extern const struct ipc_kind shm_kind, sem_kind, msg_kind;

void ipc_object_init(struct ipc_object *object, struct ref *ref, const struct ipc_kind *kind,
                     const struct ipc_request *request);
struct ipc_object *ipc_object_get(struct ipc_object *object);
void ipc_object_put(struct ipc_object *object); /* may be NULL */
DEFINE_CLEANUP(struct ipc_object *, ipc_object_put)

/* xxxget(2): the id. -ENOENT, -EEXIST, -EACCES, -EINVAL, -ENOSPC, -ENOMEM. */
int MUST_CHECK ipc_get(struct ipc_ids *ids, const struct ipc_request *request);

/* All below: the caller holds ids->lock. */

/* Borrowed, ERR_PTR(-EINVAL). */
struct ipc_object *ipc_find_locked(struct ipc_ids *ids, int id);
/* The same for xxxctl's three ways, with the right to read it; *result: what the call returns. */
struct ipc_object *ipc_find_stat_locked(struct ipc_ids *ids, const struct ipc_caller *caller,
                                        int id, enum ipc_by by, int *result);
/* The same for IPC_SET and IPC_RMID: ERR_PTR(-EPERM) but for its owner and creator. */
struct ipc_object *ipc_find_owned_locked(struct ipc_ids *ids, const struct ipc_caller *caller,
                                         int id);
/* 0 or -EACCES; mode: bits of one class, 4 read and 2 write. */
int MUST_CHECK ipc_permission_locked(const struct ipc_object *object,
                                     const struct credentials *creds, unsigned mode);
void ipc_show_locked(const struct ipc_object *object, struct ipc64_perm *perm);
/* -EINVAL: no such user. */
int MUST_CHECK ipc_set_locked(struct ipc_object *object, const struct ipc64_perm *perm);
/* Its key is free, and nobody finds it by key: a segment that is still attached. */
void ipc_hide_locked(struct ipc_object *object);
/* Out of the table: its reference is the caller's, to put without the lock. */
void ipc_remove_locked(struct ipc_ids *ids, struct ipc_object *object);
int ipc_highest_locked(const struct ipc_ids *ids);
time_t ipc_now(void);

#endif
