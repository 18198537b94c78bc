/*
 * Message queues. Messages of a queue are in the order in which they were sent. Who waits, to send
 * or to receive, looks again after each change.
 */
#include "ipc/ipc_internal.h"

/* MSGMNI queues of MSGMNB empty messages each would be some gigabytes of heads: what all of them
 * take together ends here. */
#define MSG_BYTES_MAX (64u << 20)

struct msg_queue {
    struct ipc_object ipc;
    struct ref ref;
    struct wait_queue wait;
    /* guarded by ns->msg.lock */
    struct list_head messages;
    size_t count, bytes, limit; /* messages, bytes in them, how many bytes there may be */
    time_t sent, received;
    pid_t sender, receiver;
};

static struct msg_queue *queue_of(struct ipc_object *object) {
    return container_of(object, struct msg_queue, ipc);
}

static size_t weight(const struct msg *msg) {
    return sizeof(*msg) + msg->size;
}

struct msg *msg_new(size_t size) {
    struct msg *msg = size <= MSGMAX ? malloc(sizeof(*msg) + size) : NULL;

    if (!msg) {
        return ERR_PTR(size > MSGMAX ? -EINVAL : -ENOMEM);
    }
    list_init(&msg->link);
    msg->size = size;
    return msg;
}

void msg_free(struct msg *msg) {
    free(msg);
}

/* ---- the kind ---- */

static struct ipc_object *queue_create(const struct ipc_request *request) {
    struct msg_queue *queue = calloc(1, sizeof(*queue));

    if (!queue) {
        return ERR_PTR(-ENOMEM);
    }
    ipc_object_init(&queue->ipc, &queue->ref, &msg_kind, request);
    wait_queue_init(&queue->wait);
    list_init(&queue->messages);
    queue->limit = MSGMNB;
    return &queue->ipc;
}

static int queue_room(struct ipc_namespace *ns, const struct ipc_object *object) {
    return 0;
}

static int queue_fits(const struct ipc_object *object, const struct ipc_request *request) {
    return 0;
}

static void queue_release(struct ipc_object *object) {
    struct msg_queue *queue = queue_of(object);
    struct msg *msg, *next;

    list_for_each_entry_safe (msg, next, &queue->messages, link) {
        msg_free(msg);
    }
    wait_queue_destroy(&queue->wait);
    free(queue);
}

const struct ipc_kind msg_kind = {
    .create = queue_create, .room = queue_room, .fits = queue_fits, .release = queue_release};

int msg_get(const struct ipc_caller *caller, key_t key, int flags) {
    struct ipc_request request = {caller, key, flags, 0};

    return ipc_get(&caller->ns->msg, &request);
}

/* The queue, owned, with the right to `mode`; ERR_PTR. */
static struct msg_queue *queue_find(const struct ipc_caller *caller, int id, unsigned mode) {
    struct ipc_object *object;
    int error;
    LOCK_GUARD(&caller->ns->msg.lock);

    object = ipc_find_locked(&caller->ns->msg, id);
    if (IS_ERR(object)) {
        return ERR_CAST(object);
    }
    error = ipc_permission_locked(object, caller->creds, mode);
    return error ? ERR_PTR(error) : queue_of(ipc_object_get(object));
}

/* Does `step` until it says something else than -EAGAIN, or, if that may wait, until the caller
 * gives up. */
static int repeat(struct msg_queue *queue, int (*step)(struct msg_queue *queue, void *arg),
                  void *arg, bool wait, const struct ipc_sleep *sleep) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result;

    for (;;) {
        result = step(queue, arg);
        if (result != -EAGAIN || !wait) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&queue->wait, &entry);
            continue;
        }
        result = sleep->sleep(sleep->arg);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return result;
}

/* ---- msgsnd(2) ---- */

struct sending {
    const struct ipc_caller *caller;
    struct msg *msg;
};

static int send_step(struct msg_queue *queue, void *arg) {
    struct sending *sending = arg;
    struct ipc_namespace *ns = sending->caller->ns;
    struct msg *msg = sending->msg;
    int error;
    LOCK_GUARD(&ns->msg.lock);

    if (queue->ipc.removed) {
        return -EIDRM;
    }
    error = ipc_permission_locked(&queue->ipc, sending->caller->creds, 2);
    if (error) {
        return error;
    }
    if (queue->bytes + msg->size > queue->limit || queue->count + 1 > queue->limit) {
        return -EAGAIN;
    }
    if (ns->msg_bytes + weight(msg) > MSG_BYTES_MAX) {
        return -ENOMEM;
    }
    ns->msg_bytes += weight(msg);
    queue->bytes += msg->size;
    queue->count++;
    queue->sent = ipc_now();
    queue->sender = sending->caller->pid;
    list_add_tail(&msg->link, &queue->messages);
    return 0;
}

int msg_send(const struct ipc_caller *caller, int id, struct msg *msg, int flags,
             const struct ipc_sleep *sleep) {
    struct sending sending = {caller, msg};
    struct msg_queue *queue = queue_find(caller, id, 2);
    int result;

    if (IS_ERR(queue)) {
        return (int)PTR_ERR(queue);
    }
    result = repeat(queue, send_step, &sending, !(flags & IPC_NOWAIT), sleep);
    if (!result) {
        wait_queue_wake(&queue->wait, 0);
    }
    ipc_object_put(&queue->ipc);
    return result;
}

/* ---- msgrcv(2) ---- */

struct receiving {
    const struct ipc_caller *caller;
    size_t size;
    long type;
    int flags;
    struct msg *msg;
};

/* type above 0: the first of it, or not of it; below: the first of the lowest not above -type. */
static struct msg *choose_locked(const struct msg_queue *queue, long type, int flags) {
    long most = type == LONG_MIN ? LONG_MAX : -type;
    struct msg *msg, *best = NULL;

    list_for_each_entry (msg, &queue->messages, link) {
        if (type == 0 || (type > 0 && (msg->type == type) == !(flags & MSG_EXCEPT))) {
            return msg;
        }
        if (type < 0 && msg->type <= most && (!best || msg->type < best->type)) {
            best = msg;
        }
    }
    return best;
}

/* MSG_COPY: the message of that index stays. */
static int copy_locked(const struct msg_queue *queue, struct receiving *receiving) {
    long index = receiving->type;
    struct msg *msg;

    list_for_each_entry (msg, &queue->messages, link) {
        if (index-- == 0) {
            if (msg->size > receiving->size && !(receiving->flags & MSG_NOERROR)) {
                return -E2BIG;
            }
            receiving->msg = msg_new(msg->size);
            if (IS_ERR(receiving->msg)) {
                return (int)PTR_ERR(receiving->msg);
            }
            receiving->msg->type = msg->type;
            memcpy(receiving->msg->data, msg->data, msg->size);
            return 0;
        }
    }
    return -ENOMSG;
}

static int receive_step(struct msg_queue *queue, void *arg) {
    struct receiving *receiving = arg;
    struct ipc_namespace *ns = receiving->caller->ns;
    struct msg *msg;
    int error;
    LOCK_GUARD(&ns->msg.lock);

    if (queue->ipc.removed) {
        return -EIDRM;
    }
    error = ipc_permission_locked(&queue->ipc, receiving->caller->creds, 4);
    if (error) {
        return error;
    }
    if (receiving->flags & MSG_COPY) {
        return copy_locked(queue, receiving);
    }
    msg = choose_locked(queue, receiving->type, receiving->flags);
    if (!msg) {
        return receiving->flags & IPC_NOWAIT ? -ENOMSG : -EAGAIN;
    }
    if (msg->size > receiving->size && !(receiving->flags & MSG_NOERROR)) {
        return -E2BIG;
    }
    list_del(&msg->link);
    ns->msg_bytes -= weight(msg);
    queue->bytes -= msg->size;
    queue->count--;
    queue->received = ipc_now();
    queue->receiver = receiving->caller->pid;
    receiving->msg = msg;
    return 0;
}

struct msg *msg_receive(const struct ipc_caller *caller, int id, size_t size, long type, int flags,
                        const struct ipc_sleep *sleep) {
    struct receiving receiving = {caller, size, type, flags, NULL};
    struct msg_queue *queue;
    int result;

    if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT))) {
        return ERR_PTR(-EINVAL);
    }
    queue = queue_find(caller, id, 4);
    if (IS_ERR(queue)) {
        return ERR_CAST(queue);
    }
    result = repeat(queue, receive_step, &receiving, true, sleep);
    if (!result) {
        wait_queue_wake(&queue->wait, 0);
    }
    ipc_object_put(&queue->ipc);
    return result ? ERR_PTR(result) : receiving.msg;
}

/* ---- msgctl(2) ---- */

int msg_stat(const struct ipc_caller *caller, int id, enum ipc_by by, struct msqid64_ds *stat) {
    struct ipc_object *object;
    struct msg_queue *queue;
    int result;
    LOCK_GUARD(&caller->ns->msg.lock);

    object = ipc_find_stat_locked(&caller->ns->msg, caller, id, by, &result);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    queue = queue_of(object);
    *stat = (struct msqid64_ds){
        .msg_stime = queue->sent,
        .msg_rtime = queue->received,
        .msg_ctime = object->changed,
        .msg_cbytes = queue->bytes,
        .msg_qnum = queue->count,
        .msg_qbytes = queue->limit,
        .msg_lspid = queue->sender,
        .msg_lrpid = queue->receiver,
    };
    ipc_show_locked(object, &stat->msg_perm);
    return result;
}

static int set_locked(const struct ipc_caller *caller, struct ipc_object *object,
                      const struct msqid64_ds *from) {
    int error;

    if (from->msg_qbytes > MSGMNB && !credentials_capable(caller->creds, CAP_SYS_RESOURCE)) {
        return -EPERM;
    }
    error = ipc_set_locked(object, &from->msg_perm);
    if (!error) {
        queue_of(object)->limit = from->msg_qbytes;
    }
    return error;
}

int msg_set(const struct ipc_caller *caller, int id, const struct msqid64_ds *from) {
    struct ipc_object *object;
    int error;
    LOCK_GUARD(&caller->ns->msg.lock);

    object = ipc_find_owned_locked(&caller->ns->msg, caller, id);
    error = IS_ERR(object) ? (int)PTR_ERR(object) : set_locked(caller, object, from);
    if (!error) {
        wait_queue_wake(&queue_of(object)->wait, 0);
    }
    return error;
}

static void remove_locked(struct ipc_namespace *ns, struct msg_queue *queue) {
    struct msg *msg;

    list_for_each_entry (msg, &queue->messages, link) {
        ns->msg_bytes -= weight(msg);
    }
    ipc_remove_locked(&ns->msg, &queue->ipc);
    wait_queue_wake(&queue->wait, 0);
}

int msg_remove(const struct ipc_caller *caller, int id) {
    struct ipc_object *object;

    lock_acquire(&caller->ns->msg.lock);
    object = ipc_find_owned_locked(&caller->ns->msg, caller, id);
    if (!IS_ERR(object)) {
        remove_locked(caller->ns, queue_of(object));
    }
    lock_release(&caller->ns->msg.lock);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    ipc_object_put(object);
    return 0;
}

static void count_locked(const struct ipc_namespace *ns, struct msginfo *info) {
    info->msgpool = (int)ns->msg.count;
    for (size_t i = 0; i < ns->msg.capacity; i++) {
        if (ns->msg.slots[i]) {
            info->msgmap += (int)queue_of(ns->msg.slots[i])->count;
            info->msgtql += (int)queue_of(ns->msg.slots[i])->bytes;
        }
    }
}

int msg_limits(const struct ipc_caller *caller, bool usage, struct msginfo *info) {
    LOCK_GUARD(&caller->ns->msg.lock);
    *info = (struct msginfo){
        .msgmax = MSGMAX,
        .msgmnb = MSGMNB,
        .msgmni = MSGMNI,
        .msgssz = MSGSSZ,
        .msgseg = (unsigned short)0xffff,
        .msgpool = usage ? 0 : MSGPOOL,
        .msgmap = usage ? 0 : MSGMAP,
        .msgtql = usage ? 0 : MSGTQL,
    };
    if (usage) {
        count_locked(caller->ns, info);
    }
    return ipc_highest_locked(&caller->ns->msg);
}
