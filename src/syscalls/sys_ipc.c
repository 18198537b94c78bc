/*
 * System V IPC: shmget(2), shmat(2), shmdt(2), shmctl(2), semget(2), semop(2), semtimedop(2),
 * semctl(2), msgget(2), msgsnd(2), msgrcv(2), msgctl(2). The objects are in ipc/.
 */
#include "syscalls/syscalls.h"

#include <linux/capability.h>

#define SHM_KNOWN (SHM_HUGETLB | SHM_NORESERVE)

static struct ipc_caller caller_of(struct task *current) {
    return (struct ipc_caller){.ns = current->thread_group->kernel->ipc,
                               .creds = current->creds,
                               .pid = current->thread_group->leader};
}

static int sleep_until_woken(void *arg) {
    return wait_sleep(*(deadline_ns *)arg);
}

/* signal(7): these end with EINTR even with SA_RESTART, and even after a stop; only what no signal
 * caused goes unseen. */
static int64_t slept(struct task *current, int64_t result) {
    if (result == -ERESTARTSYS) {
        return signal_pending(current) ? -EINTR : -ERESTARTNOHAND;
    }
    return result == -ETIMEDOUT ? -EAGAIN : result;
}

/* ---- shared memory ---- */

int64_t sys_shmget(struct task *current, int key, size_t size, int flags) {
    struct ipc_caller caller = caller_of(current);

    if (flags & SHM_HUGETLB) {
        log_once(LOG_WARN, "shmget", SHM_HUGETLB,
                 "not supported: shmget(2) with SHM_HUGETLB: there are no huge pages to hand out");
        return -ENOMEM;
    }
    return shm_get(&caller, key, size, flags);
}

/* The address and the flags of mmap(2) that shmaddr and shmflg stand for. */
static int attach_place(uint64_t *address, int flags, int *map_flags) {
    *map_flags = MAP_SHARED;
    if (!*address) {
        return flags & SHM_REMAP ? -EINVAL : 0;
    }
    if (*address % PAGE_SIZE) { /* SHMLBA is a page */
        if (!(flags & SHM_RND)) {
            return -EINVAL;
        }
        *address -= *address % PAGE_SIZE;
        if (!*address && (flags & SHM_REMAP)) {
            return -EINVAL;
        }
    }
    *map_flags |= MAP_FIXED | (flags & SHM_REMAP ? 0 : MAP_FIXED_NOREPLACE);
    return 0;
}

int64_t sys_shmat(struct task *current, int shmid, uint64_t address, int flags) {
    struct ipc_caller caller = caller_of(current);
    struct memory_object *object CLEANUP(memory_object_put) = NULL;
    int map_flags, prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) |
                          (flags & SHM_EXEC ? PROT_EXEC : 0);
    struct memory_limits limits;
    uint64_t size;
    int64_t result = attach_place(&address, flags, &map_flags);

    if (result) {
        return result;
    }
    object = shm_attach_begin(&caller, shmid, prot, &size);
    if (IS_ERR(object)) {
        return PTR_ERR(STEAL(object));
    }
    if (flags & SHM_RDONLY) {
        map_flags |= MAPPING_NO_WRITE;
    }
    current_memory_limits(current, &limits);
    result = memory_map(current->mm, current->thread, &limits, address, size, prot, map_flags,
                        object, 0, MAPPING_NORMAL);
    shm_attach_end(object, caller.pid, result >= 0);
    return result == -EEXIST ? -EINVAL : result;
}

int64_t sys_shmdt(struct task *current, uint64_t address) {
    struct memory_object *object CLEANUP(memory_object_put) = NULL;
    int error;

    if (address % PAGE_SIZE) {
        return -EINVAL;
    }
    error = memory_detach(current->mm, current->thread, address, shm_size, &object);
    if (!error) {
        shm_detached(object, current->thread_group->leader);
    }
    return error;
}

/* xxx_STAT and xxx_INFO return an id or an index, unless the structure cannot be written. */
#define GIVE(current, result, value, buf)                                                          \
    ({                                                                                             \
        int64_t give_result_ = (result);                                                           \
                                                                                                   \
        give_result_ >= 0 && answer_user((current)->thread, value, buf) ? -EFAULT : give_result_;  \
    })

static enum ipc_by by(int command, int stat, int any) {
    return command == stat ? IPC_BY_INDEX : command == any ? IPC_BY_INDEX_ANY : IPC_BY_ID;
}

int64_t sys_shmctl(struct task *current, int shmid, int command, struct user_address buf) {
    struct ipc_caller caller = caller_of(current);
    struct shmid64_ds stat;
    struct shminfo64 limits;
    struct shm_info usage;
    int result;

    if (shmid < 0 || command < 0) {
        return -EINVAL;
    }
    switch (command) {
    case IPC_INFO:
        result = shm_limits(&caller, &limits);
        return GIVE(current, result, limits, buf);
    case SHM_INFO:
        result = shm_usage(&caller, &usage);
        return GIVE(current, result, usage, buf);
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY:
        result = shm_stat(&caller, shmid, by(command, SHM_STAT, SHM_STAT_ANY), &stat);
        return GIVE(current, result, stat, buf);
    case IPC_SET:
        result = get_user(current->thread, stat, buf);
        return result ? result : shm_set(&caller, shmid, &stat.shm_perm);
    case IPC_RMID:
        return shm_remove(&caller, shmid);
    case SHM_LOCK:
    case SHM_UNLOCK:
        return shm_lock(&caller, shmid, command == SHM_LOCK,
                        rlimits_get(&current->thread_group->rlimits, RLIMIT_MEMLOCK));
    default:
        return -EINVAL;
    }
}

/* ---- semaphores ---- */

int64_t sys_semget(struct task *current, int key, int nsems, int flags) {
    struct ipc_caller caller = caller_of(current);

    return sem_get(&caller, key, nsems, flags);
}

static int64_t operate(struct task *current, int semid, struct user_address sops, size_t nsops,
                       deadline_ns deadline) {
    struct ipc_caller caller = caller_of(current);
    struct ipc_sleep sleep = {sleep_until_woken, &deadline};
    struct sembuf ops[SEMOPM];
    int result;

    if (nsops < 1 || semid < 0) {
        return -EINVAL;
    }
    if (nsops > SEMOPM) {
        return -E2BIG;
    }
    result = copy_from_user(current->thread, ops, sops, nsops * sizeof(ops[0]));
    if (result) {
        return result;
    }
    if (!current->sem_undo) {
        current->sem_undo = sem_undo_list_new(caller.ns);
    }
    if (!current->sem_undo) {
        return -ENOMEM;
    }
    return slept(current, sem_operate(&caller, semid, ops, nsops, current->sem_undo, &sleep));
}

int64_t sys_semop(struct task *current, int semid, struct user_address sops, size_t nsops) {
    return operate(current, semid, sops, nsops, WAIT_FOREVER);
}

int64_t sys_semtimedop(struct task *current, int semid, struct user_address sops, size_t nsops,
                       struct user_address timeout) {
    deadline_ns deadline = WAIT_FOREVER;
    struct timespec limit;
    int result;

    if (!user_address_is_null(timeout)) {
        result = get_user(current->thread, limit, timeout);
        if (result) {
            return result;
        }
        if (!timespec_valid(&limit)) {
            return -EINVAL;
        }
        deadline = task_call_deadline(current, timespec_to_ns(&limit));
    }
    return operate(current, semid, sops, nsops, deadline);
}

static int64_t get_all(struct task *current, const struct ipc_caller *caller, int semid,
                       struct user_address array) {
    uint16_t *values CLEANUP(free) = NULL;
    size_t count;
    int result = sem_get_all(caller, semid, &values, &count);

    return result ? result : copy_to_user(current->thread, array, values, count * sizeof(*values));
}

static int64_t set_all(struct task *current, const struct ipc_caller *caller, int semid,
                       struct user_address array) {
    uint16_t *values CLEANUP(free) = NULL;
    size_t count;
    int result = sem_count(caller, semid, &count);

    if (result) {
        return result;
    }
    values = calloc(count, sizeof(*values));
    if (!values) {
        return -ENOMEM;
    }
    result = copy_from_user(current->thread, values, array, count * sizeof(*values));
    return result ? result : sem_set_all(caller, semid, values, count);
}

int64_t sys_semctl(struct task *current, int semid, int semnum, int command, unsigned long arg) {
    struct ipc_caller caller = caller_of(current);
    struct user_address address = user_address(arg);
    struct semid64_ds stat;
    struct seminfo info;
    int result;

    if (semid < 0) {
        return -EINVAL;
    }
    switch (command) {
    case IPC_INFO:
    case SEM_INFO:
        result = sem_limits(&caller, command == SEM_INFO, &info);
        return GIVE(current, result, info, address);
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY:
        result = sem_stat(&caller, semid, by(command, SEM_STAT, SEM_STAT_ANY), &stat);
        return GIVE(current, result, stat, address);
    case IPC_SET:
        result = get_user(current->thread, stat, address);
        return result ? result : sem_set(&caller, semid, &stat.sem_perm);
    case IPC_RMID:
        return sem_remove(&caller, semid);
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
        return sem_query(&caller, semid, semnum, command);
    case SETVAL:
        return sem_set_value(&caller, semid, semnum, (int)arg);
    case GETALL:
        return get_all(current, &caller, semid, address);
    case SETALL:
        return set_all(current, &caller, semid, address);
    default:
        return -EINVAL;
    }
}

/* ---- messages ---- */

int64_t sys_msgget(struct task *current, int key, int flags) {
    struct ipc_caller caller = caller_of(current);

    return msg_get(&caller, key, flags);
}

/* struct msgbuf: the type, then the text. */
static struct msg *msg_import(struct task *current, struct user_address msgp, size_t size) {
    struct msg *msg = msg_new(size);
    int error;

    if (IS_ERR(msg)) {
        return msg;
    }
    error = get_user(current->thread, msg->type, msgp);
    if (!error && msg->type < 1) {
        error = -EINVAL;
    }
    if (!error) {
        error = copy_from_user(current->thread, msg->data,
                               user_address_add(msgp, sizeof(msg->type)), size);
    }
    if (error) {
        msg_free(msg);
        return ERR_PTR(error);
    }
    return msg;
}

int64_t sys_msgsnd(struct task *current, int msqid, struct user_address msgp, size_t size,
                   int flags) {
    struct ipc_caller caller = caller_of(current);
    deadline_ns deadline = WAIT_FOREVER;
    struct ipc_sleep sleep = {sleep_until_woken, &deadline};
    struct msg *msg;
    int result;

    if (msqid < 0) {
        return -EINVAL;
    }
    msg = msg_import(current, msgp, size);
    if (IS_ERR(msg)) {
        return PTR_ERR(msg);
    }
    result = msg_send(&caller, msqid, msg, flags, &sleep);
    if (result) {
        msg_free(msg);
    }
    return slept(current, result);
}

int64_t sys_msgrcv(struct task *current, int msqid, struct user_address msgp, size_t size,
                   long type, int flags) {
    struct ipc_caller caller = caller_of(current);
    deadline_ns deadline = WAIT_FOREVER;
    struct ipc_sleep sleep = {sleep_until_woken, &deadline};
    struct msg *msg;
    int64_t result;

    if (msqid < 0 || size > INT64_MAX) {
        return -EINVAL;
    }
    msg = msg_receive(&caller, msqid, size, type, flags, &sleep);
    if (IS_ERR(msg)) {
        return slept(current, PTR_ERR(msg));
    }
    result = (int64_t)MIN(msg->size, size);
    if (put_user(current->thread, msg->type, msgp) ||
        copy_to_user(current->thread, user_address_add(msgp, sizeof(msg->type)), msg->data,
                     (size_t)result)) {
        result = -EFAULT;
    }
    msg_free(msg);
    return result;
}

int64_t sys_msgctl(struct task *current, int msqid, int command, struct user_address buf) {
    struct ipc_caller caller = caller_of(current);
    struct msqid64_ds stat;
    struct msginfo info;
    int result;

    if (msqid < 0 || command < 0) {
        return -EINVAL;
    }
    switch (command) {
    case IPC_INFO:
    case MSG_INFO:
        result = msg_limits(&caller, command == MSG_INFO, &info);
        return GIVE(current, result, info, buf);
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY:
        result = msg_stat(&caller, msqid, by(command, MSG_STAT, MSG_STAT_ANY), &stat);
        return GIVE(current, result, stat, buf);
    case IPC_SET:
        result = get_user(current->thread, stat, buf);
        return result ? result : msg_set(&caller, msqid, &stat);
    case IPC_RMID:
        return msg_remove(&caller, msqid);
    default:
        return -EINVAL;
    }
}
