/*
 * ipc: System V IPC, sysvipc(7): shared memory segments, semaphore sets and message queues. An
 * object has an id, perhaps a key, and an owner and a mode of its own; no file and no name. All
 * objects of a sandbox are in one ipc_namespace, which the kernel owns.
 *
 * The structures are those of the guest (linux/shm.h and so on); copying them is the handlers'
 * business. Ids come unchecked from the guest: -EINVAL when there is no such object, -EIDRM when it
 * went while the caller slept.
 */
#ifndef STARLING_IPC_H
#define STARLING_IPC_H

#include <limits.h>
#include <linux/ipc.h>
#include <linux/msg.h>
#include <linux/sem.h>
#include <linux/shm.h>

#include "auth/auth.h"
#include "base/base.h"
#include "host/wait.h"
#include "mm/mm.h"

struct ipc_namespace;
struct ipc_namespace *ipc_namespace_new(void); /* NULL: no memory */
void ipc_namespace_free(struct ipc_namespace *ns);

/* Who makes a call, and by what it names the object. */
enum ipc_by {
    IPC_BY_ID,
    IPC_BY_INDEX,
    IPC_BY_INDEX_ANY
}; /* IPC_STAT, SHM_STAT, SHM_STAT_ANY ... */
struct ipc_caller {
    struct ipc_namespace *ns;
    const struct credentials *creds;
    pid_t pid; /* the process's, as IPC_STAT shows it */
};
/* The caller sleeps. 0: look again; else what the call returns when it must give up. */
struct ipc_sleep {
    int (*sleep)(void *arg);
    void *arg;
};

/* ---- shm.c: shmget(2), shmat(2), shmdt(2), shmctl(2) ---- */

int MUST_CHECK shm_get(const struct ipc_caller *caller, key_t key, uint64_t size, int flags);
/* May it be attached with `prot`? The object to map, owned; ERR_PTR. From then on it counts as
 * attached, until shm_attach_end(). */
struct memory_object *shm_attach_begin(const struct ipc_caller *caller, int id, int prot,
                                       uint64_t *size);
void shm_attach_end(struct memory_object *object, pid_t pid, bool attached);
/* What memory_detach() unmaps for shmdt(2): is it a segment, and how long? 0: it is none. */
uint64_t shm_size(const struct memory_object *object);
void shm_detached(struct memory_object *object, pid_t pid);
/* The id for IPC_BY_INDEX, else 0. */
int MUST_CHECK shm_stat(const struct ipc_caller *caller, int id, enum ipc_by by,
                        struct shmid64_ds *stat);
int MUST_CHECK shm_set(const struct ipc_caller *caller, int id, const struct ipc64_perm *perm);
int MUST_CHECK shm_remove(const struct ipc_caller *caller, int id);
/* SHM_LOCK, SHM_UNLOCK: a mark in the mode; the host may swap it all the same. */
int MUST_CHECK shm_lock(const struct ipc_caller *caller, int id, bool lock, uint64_t limit);
/* The highest index in use, or 0. */
int shm_limits(const struct ipc_caller *caller, struct shminfo64 *info);
int shm_usage(const struct ipc_caller *caller, struct shm_info *info);

/* ---- sem.c: semget(2), semop(2), semctl(2) ---- */

/* In all sets together. Linux has room for a thousand times as many; each costs the kernel process
 * eight bytes. */
#define SEM_TOTAL_MAX 1024000

/* What a process's end takes back (SEM_UNDO); shared by CLONE_SYSVSEM. */
struct sem_undo_list;
struct sem_undo_list *sem_undo_list_new(struct ipc_namespace *ns); /* NULL: no memory */
struct sem_undo_list *sem_undo_list_get(struct sem_undo_list *list);
/* The last one takes back what is to be; as `pid`. */
void sem_undo_list_put(struct sem_undo_list *list, pid_t pid);

int MUST_CHECK sem_get(const struct ipc_caller *caller, key_t key, int count, int flags);
/* All or nothing, sleeping until it can be all. `undo` is needed when one has SEM_UNDO. */
int MUST_CHECK sem_operate(const struct ipc_caller *caller, int id, const struct sembuf *ops,
                           size_t count, struct sem_undo_list *undo, const struct ipc_sleep *sleep);
int MUST_CHECK sem_stat(const struct ipc_caller *caller, int id, enum ipc_by by,
                        struct semid64_ds *stat);
int MUST_CHECK sem_set(const struct ipc_caller *caller, int id, const struct ipc64_perm *perm);
int MUST_CHECK sem_remove(const struct ipc_caller *caller, int id);
/* GETVAL, GETPID, GETNCNT, GETZCNT. */
int MUST_CHECK sem_query(const struct ipc_caller *caller, int id, int number, int command);
int MUST_CHECK sem_set_value(const struct ipc_caller *caller, int id, int number, int value);
/* GETALL, SETALL: *count semaphores; *values is malloc'ed by get. For set: how many the set has. */
int MUST_CHECK sem_get_all(const struct ipc_caller *caller, int id, uint16_t **values,
                           size_t *count);
int MUST_CHECK sem_count(const struct ipc_caller *caller, int id, size_t *count);
int MUST_CHECK sem_set_all(const struct ipc_caller *caller, int id, const uint16_t *values,
                           size_t count);
/* IPC_INFO, or SEM_INFO with what there is. The highest index in use, or 0. */
int sem_limits(const struct ipc_caller *caller, bool usage, struct seminfo *info);

/* ---- msg.c: msgget(2), msgsnd(2), msgrcv(2), msgctl(2) ---- */

struct msg {
    struct list_head link;
    long type;
    size_t size;
    char data[];
};
struct msg *msg_new(size_t size); /* ERR_PTR: -EINVAL beyond MSGMAX, -ENOMEM */
void msg_free(struct msg *msg);
int MUST_CHECK msg_get(const struct ipc_caller *caller, key_t key, int flags);
/* Takes the message over when it succeeds. */
int MUST_CHECK msg_send(const struct ipc_caller *caller, int id, struct msg *msg, int flags,
                        const struct ipc_sleep *sleep);
/* The message, owned; ERR_PTR. `size`: how much the caller takes. */
struct msg *msg_receive(const struct ipc_caller *caller, int id, size_t size, long type, int flags,
                        const struct ipc_sleep *sleep);
int MUST_CHECK msg_stat(const struct ipc_caller *caller, int id, enum ipc_by by,
                        struct msqid64_ds *stat);
int MUST_CHECK msg_set(const struct ipc_caller *caller, int id, const struct msqid64_ds *from);
int MUST_CHECK msg_remove(const struct ipc_caller *caller, int id);
int msg_limits(const struct ipc_caller *caller, bool usage, struct msginfo *info);

#endif
