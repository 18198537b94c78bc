/*
 * Semaphore sets. An operation is made whole or not at all. One that must wait stands in its set's
 * row, and whoever changes a value makes what can be made then, in the order of the row, for those
 * who wait: so an interrupted sleeper finds either that its operation was made or that it never
 * will be.
 *
 * What a process's end takes back (SEM_UNDO) is a struct sem_undo for each list and set: an
 * adjustment a semaphore. It is in the list's and in the set's list, and freed with the list.
 */
#include "ipc/ipc_internal.h"

struct sem {
    int value;
    pid_t pid; /* who operated on it last */
};

struct sem_set {
    struct ipc_object ipc;
    struct ref ref;
    size_t count; /* immutable */
    /* guarded by ns->sem.lock */
    time_t operated;
    struct list_head waiting; /* struct sem_wait, first come first */
    struct list_head undos;
    struct sem sems[];
};

struct sem_undo {
    struct list_head list_link, set_link;
    struct sem_set *set; /* weak; NULL once it is removed */
    int16_t adjust[];
};

struct sem_undo_list {
    struct ref ref;
    struct ipc_namespace *ns;
    struct list_head undos; /* guarded by ns->sem.lock */
};

#define SEM_WAITS 1 /* result: not made yet */
struct sem_wait {
    struct list_head link;
    const struct sembuf *ops;
    size_t count, blocked; /* which one cannot be made */
    struct sem_undo *undo;
    struct waiter *waiter;
    pid_t pid;
    int result;
};

static struct sem_set *set_of(struct ipc_object *object) {
    return container_of(object, struct sem_set, ipc);
}

/* ---- the kind ---- */

static struct ipc_object *set_create(const struct ipc_request *request) {
    struct sem_set *set;

    if (request->size == 0) {
        return ERR_PTR(-EINVAL);
    }
    set = calloc(1, sizeof(*set) + request->size * sizeof(struct sem));
    if (!set) {
        return ERR_PTR(-ENOMEM);
    }
    ipc_object_init(&set->ipc, &set->ref, &sem_kind, request);
    set->count = request->size;
    list_init(&set->waiting);
    list_init(&set->undos);
    return &set->ipc;
}

static int set_room(struct ipc_namespace *ns, const struct ipc_object *object) {
    size_t count = container_of(object, struct sem_set, ipc)->count;

    if (count > SEM_TOTAL_MAX - ns->sem_total) {
        return -ENOSPC;
    }
    ns->sem_total += count;
    return 0;
}

static int set_fits(const struct ipc_object *object, const struct ipc_request *request) {
    return request->size > container_of(object, struct sem_set, ipc)->count ? -EINVAL : 0;
}

static void set_release(struct ipc_object *object) {
    free(set_of(object));
}

const struct ipc_kind sem_kind = {
    .create = set_create, .room = set_room, .fits = set_fits, .release = set_release};

int sem_get(const struct ipc_caller *caller, key_t key, int count, int flags) {
    struct ipc_request request = {caller, key, flags, (uint64_t)count};

    if (count < 0 || count > SEMMSL) {
        return -EINVAL;
    }
    return ipc_get(&caller->ns->sem, &request);
}

/* ---- operations ---- */

/* One of them: 0, SEM_WAITS, or -errno. */
static int apply(struct sem_set *set, const struct sembuf *op, struct sem_undo *undo) {
    struct sem *sem = &set->sems[op->sem_num];
    int value = sem->value + op->sem_op, adjust;

    if (value < 0 || (op->sem_op == 0 && sem->value != 0)) {
        return op->sem_flg & IPC_NOWAIT ? -EAGAIN : SEM_WAITS;
    }
    if (value > SEMVMX) {
        return -ERANGE;
    }
    if (op->sem_flg & SEM_UNDO) {
        adjust = undo->adjust[op->sem_num] - op->sem_op;
        if (adjust < -SEMAEM - 1 || adjust > SEMAEM) {
            return -ERANGE;
        }
        undo->adjust[op->sem_num] = (int16_t)adjust;
    }
    sem->value = value;
    return 0;
}

static void revert(struct sem_set *set, const struct sembuf *op, struct sem_undo *undo) {
    set->sems[op->sem_num].value -= op->sem_op;
    if (op->sem_flg & SEM_UNDO) {
        undo->adjust[op->sem_num] = (int16_t)(undo->adjust[op->sem_num] + op->sem_op);
    }
}

static int try_locked(struct sem_set *set, struct sem_wait *wait) {
    int result = 0;
    size_t i;

    for (i = 0; i < wait->count && !result; i++) {
        result = apply(set, &wait->ops[i], wait->undo);
    }
    if (!result) {
        for (i = 0; i < wait->count; i++) {
            set->sems[wait->ops[i].sem_num].pid = wait->pid;
        }
        set->operated = ipc_now();
        return 0;
    }
    wait->blocked = --i;
    while (i > 0) {
        revert(set, &wait->ops[--i], wait->undo);
    }
    return result;
}

static bool changes(const struct sem_wait *wait) {
    for (size_t i = 0; i < wait->count; i++) {
        if (wait->ops[i].sem_op != 0) {
            return true;
        }
    }
    return false;
}

static void finish_locked(struct sem_wait *wait, int result) {
    list_del(&wait->link);
    wait->result = result;
    waiter_wake(wait->waiter);
}

/* One pass: true when a value has changed, and those before may have become possible. */
static bool pass_locked(struct sem_set *set) {
    struct sem_wait *wait, *next;

    list_for_each_entry_safe (wait, next, &set->waiting, link) {
        int result = try_locked(set, wait);

        if (result != SEM_WAITS) {
            finish_locked(wait, result);
            if (!result && changes(wait)) {
                return true;
            }
        }
    }
    return false;
}

static void changed_locked(struct sem_set *set) {
    while (pass_locked(set)) {
    }
}

static struct sem_undo *undo_find_locked(struct sem_undo_list *list, const struct sem_set *set) {
    struct sem_undo *undo;

    list_for_each_entry (undo, &list->undos, list_link) {
        if (undo->set == set) {
            return undo;
        }
    }
    return NULL;
}

/* The set, owned, if the caller may operate on it so; ERR_PTR. */
static struct sem_set *operable(const struct ipc_caller *caller, int id,
                                const struct sem_wait *wait) {
    struct ipc_object *object;
    int error;
    LOCK_GUARD(&caller->ns->sem.lock);

    object = ipc_find_locked(&caller->ns->sem, id);
    if (IS_ERR(object)) {
        return ERR_CAST(object);
    }
    for (size_t i = 0; i < wait->count; i++) {
        if (wait->ops[i].sem_num >= set_of(object)->count) {
            return ERR_PTR(-EFBIG);
        }
    }
    error = ipc_permission_locked(object, caller->creds, changes(wait) ? 2 : 4);
    return error ? ERR_PTR(error) : set_of(ipc_object_get(object));
}

static bool wants_undo(const struct sem_wait *wait) {
    for (size_t i = 0; i < wait->count; i++) {
        if (wait->ops[i].sem_flg & SEM_UNDO) {
            return true;
        }
    }
    return false;
}

/* Makes it, or puts it in the row. */
static int begin(struct ipc_namespace *ns, struct sem_set *set, struct sem_undo_list *list,
                 struct sem_wait *wait, struct sem_undo **spare) {
    LOCK_GUARD(&ns->sem.lock);

    if (set->ipc.removed) {
        return -EIDRM;
    }
    if (*spare) {
        wait->undo = undo_find_locked(list, set);
        if (!wait->undo) {
            wait->undo = STEAL(*spare);
            wait->undo->set = set;
            list_add_tail(&wait->undo->list_link, &list->undos);
            list_add_tail(&wait->undo->set_link, &set->undos);
        }
    }
    wait->result = try_locked(set, wait);
    if (wait->result == SEM_WAITS) {
        list_add_tail(&wait->link, &set->waiting);
    } else if (!wait->result && changes(wait)) {
        changed_locked(set);
    }
    return wait->result;
}

/* `error`: why it sleeps no longer. */
static int look(struct ipc_namespace *ns, struct sem_wait *wait, int error) {
    LOCK_GUARD(&ns->sem.lock);

    if (wait->result == SEM_WAITS && error) {
        list_del(&wait->link);
        return error;
    }
    return wait->result;
}

int sem_operate(const struct ipc_caller *caller, int id, const struct sembuf *ops, size_t count,
                struct sem_undo_list *undo, const struct ipc_sleep *sleep) {
    struct sem_wait wait = {
        .ops = ops, .count = count, .waiter = waiter_current(), .pid = caller->pid};
    struct sem_undo *spare = NULL;
    struct sem_set *set;
    int result;

    set = operable(caller, id, &wait);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    if (wants_undo(&wait)) {
        spare = calloc(1, sizeof(*spare) + set->count * sizeof(spare->adjust[0]));
    }
    result = wants_undo(&wait) && !spare ? -ENOMEM : begin(caller->ns, set, undo, &wait, &spare);
    while (result == SEM_WAITS) {
        result = look(caller->ns, &wait, sleep->sleep(sleep->arg));
    }
    free(spare);
    ipc_object_put(&set->ipc);
    return result;
}

/* ---- SEM_UNDO ---- */

struct sem_undo_list *sem_undo_list_new(struct ipc_namespace *ns) {
    struct sem_undo_list *list = calloc(1, sizeof(*list));

    if (list) {
        ref_init(&list->ref);
        list->ns = ns;
        list_init(&list->undos);
    }
    return list;
}

struct sem_undo_list *sem_undo_list_get(struct sem_undo_list *list) {
    ref_get(&list->ref);
    return list;
}

static void undo_locked(struct sem_undo *undo, pid_t pid) {
    struct sem_set *set = undo->set;

    if (!set) {
        return;
    }
    list_del(&undo->set_link);
    for (size_t i = 0; i < set->count; i++) {
        if (undo->adjust[i]) {
            int value = set->sems[i].value + undo->adjust[i];

            set->sems[i].value = MIN(MAX(value, 0), SEMVMX);
            set->sems[i].pid = pid;
        }
    }
    set->operated = ipc_now();
    changed_locked(set);
}

void sem_undo_list_put(struct sem_undo_list *list, pid_t pid) {
    if (!ref_put(&list->ref)) {
        return;
    }
    lock_acquire(&list->ns->sem.lock);
    while (!list_empty(&list->undos)) {
        struct sem_undo *undo = list_first_entry(&list->undos, struct sem_undo, list_link);

        list_del(&undo->list_link);
        undo_locked(undo, pid);
        free(undo);
    }
    lock_release(&list->ns->sem.lock);
    free(list);
}

/* The values were set: what would have been taken back is not any more. */
static void forget_undo_locked(struct sem_set *set, size_t from, size_t to) {
    struct sem_undo *undo;

    list_for_each_entry (undo, &set->undos, set_link) {
        memset(&undo->adjust[from], 0, (to - from) * sizeof(undo->adjust[0]));
    }
}

/* ---- semctl(2) ---- */

int sem_stat(const struct ipc_caller *caller, int id, enum ipc_by by, struct semid64_ds *stat) {
    struct ipc_object *object;
    int result;
    LOCK_GUARD(&caller->ns->sem.lock);

    object = ipc_find_stat_locked(&caller->ns->sem, caller, id, by, &result);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    *stat = (struct semid64_ds){
        .sem_otime = set_of(object)->operated,
        .sem_ctime = object->changed,
        .sem_nsems = set_of(object)->count,
    };
    ipc_show_locked(object, &stat->sem_perm);
    return result;
}

int sem_set(const struct ipc_caller *caller, int id, const struct ipc64_perm *perm) {
    struct ipc_object *object;
    LOCK_GUARD(&caller->ns->sem.lock);

    object = ipc_find_owned_locked(&caller->ns->sem, caller, id);
    return IS_ERR(object) ? (int)PTR_ERR(object) : ipc_set_locked(object, perm);
}

static void remove_locked(struct ipc_namespace *ns, struct sem_set *set) {
    struct sem_undo *undo, *next;

    list_for_each_entry_safe (undo, next, &set->undos, set_link) {
        list_del(&undo->set_link);
        undo->set = NULL;
    }
    while (!list_empty(&set->waiting)) {
        finish_locked(list_first_entry(&set->waiting, struct sem_wait, link), -EIDRM);
    }
    ns->sem_total -= set->count;
    ipc_remove_locked(&ns->sem, &set->ipc);
}

int sem_remove(const struct ipc_caller *caller, int id) {
    struct ipc_object *object;

    lock_acquire(&caller->ns->sem.lock);
    object = ipc_find_owned_locked(&caller->ns->sem, caller, id);
    if (!IS_ERR(object)) {
        remove_locked(caller->ns, set_of(object));
    }
    lock_release(&caller->ns->sem.lock);
    if (IS_ERR(object)) {
        return (int)PTR_ERR(object);
    }
    ipc_object_put(object);
    return 0;
}

/* With the right to `mode`; borrowed, ERR_PTR. */
static struct sem_set *find_locked(const struct ipc_caller *caller, int id, unsigned mode) {
    struct ipc_object *object = ipc_find_locked(&caller->ns->sem, id);
    int error;

    if (IS_ERR(object)) {
        return ERR_CAST(object);
    }
    error = ipc_permission_locked(object, caller->creds, mode);
    return error ? ERR_PTR(error) : set_of(object);
}

static int waiting_locked(const struct sem_set *set, int number, bool for_zero) {
    const struct sem_wait *wait;
    int count = 0;

    list_for_each_entry (wait, &set->waiting, link) {
        const struct sembuf *op = &wait->ops[wait->blocked];

        count += op->sem_num == number && (op->sem_op == 0) == for_zero;
    }
    return count;
}

int sem_query(const struct ipc_caller *caller, int id, int number, int command) {
    struct sem_set *set;
    LOCK_GUARD(&caller->ns->sem.lock);

    set = find_locked(caller, id, 4);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    if (number < 0 || (size_t)number >= set->count) {
        return -EINVAL;
    }
    switch (command) {
    case GETVAL:
        return set->sems[number].value;
    case GETPID:
        return set->sems[number].pid;
    default:
        return waiting_locked(set, number, command == GETZCNT);
    }
}

int sem_set_value(const struct ipc_caller *caller, int id, int number, int value) {
    struct sem_set *set;
    LOCK_GUARD(&caller->ns->sem.lock);

    set = find_locked(caller, id, 2);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    if (number < 0 || (size_t)number >= set->count) {
        return -EINVAL;
    }
    if (value < 0 || value > SEMVMX) {
        return -ERANGE;
    }
    forget_undo_locked(set, (size_t)number, (size_t)number + 1);
    set->sems[number] = (struct sem){value, caller->pid};
    set->ipc.changed = ipc_now();
    changed_locked(set);
    return 0;
}

int sem_count(const struct ipc_caller *caller, int id, size_t *count) {
    struct sem_set *set;
    LOCK_GUARD(&caller->ns->sem.lock);

    set = find_locked(caller, id, 0);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    *count = set->count;
    return 0;
}

int sem_get_all(const struct ipc_caller *caller, int id, uint16_t **values, size_t *count) {
    uint16_t *all CLEANUP(free) = NULL;
    struct sem_set *set;
    int error = sem_count(caller, id, count);

    if (error) {
        return error;
    }
    all = calloc(*count, sizeof(*all));
    if (!all) {
        return -ENOMEM;
    }
    LOCK_GUARD(&caller->ns->sem.lock);
    set = find_locked(caller, id, 4);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    for (size_t i = 0; i < *count; i++) { /* an id never means another set */
        all[i] = (uint16_t)set->sems[i].value;
    }
    *values = STEAL(all);
    return 0;
}

int sem_set_all(const struct ipc_caller *caller, int id, const uint16_t *values, size_t count) {
    struct sem_set *set;
    LOCK_GUARD(&caller->ns->sem.lock);

    set = find_locked(caller, id, 2);
    if (IS_ERR(set)) {
        return (int)PTR_ERR(set);
    }
    if (count != set->count) {
        return -EIDRM;
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i] > SEMVMX) {
            return -ERANGE;
        }
    }
    forget_undo_locked(set, 0, count);
    for (size_t i = 0; i < count; i++) {
        set->sems[i] = (struct sem){values[i], caller->pid};
    }
    set->ipc.changed = ipc_now();
    changed_locked(set);
    return 0;
}

int sem_limits(const struct ipc_caller *caller, bool usage, struct seminfo *info) {
    LOCK_GUARD(&caller->ns->sem.lock);
    *info = (struct seminfo){
        .semmap = SEM_TOTAL_MAX,
        .semmni = SEMMNI,
        .semmns = SEM_TOTAL_MAX,
        .semmnu = SEM_TOTAL_MAX,
        .semmsl = SEMMSL,
        .semopm = SEMOPM,
        .semume = SEMUME,
        .semusz = usage ? (int)caller->ns->sem.count : SEMUSZ,
        .semvmx = SEMVMX,
        .semaem = usage ? (int)caller->ns->sem_total : SEMAEM,
    };
    return ipc_highest_locked(&caller->ns->sem);
}
