/*
 * futex(2) and the robust list (design §5). Guest memory is host memory, so the host's futexes do
 * the work: the call is made by the guest's own host thread, after the checks here. A wait ends
 * with -EINTR when the task is notified; it is then restarted or not as Linux restarts futexes.
 *
 * Relative timeouts become absolute ones (FUTEX_WAIT_BITSET on CLOCK_MONOTONIC), so that a restart
 * keeps the deadline. The timespec for the host travels in the slot's bounce buffer: the guest can
 * change it there, which only changes how long it waits itself.
 *
 * Operations that keep thread ids in guest memory (priority inheritance) cannot be the host's:
 * guest and host ids differ. They give ENOSYS, which C libraries report as "not supported".
 */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "syscalls/syscalls.h"

#define ROBUST_LIST_SIZE 24 /* struct robust_list_head */

/* What an operation needs; everything about them in one place. */
struct futex_operation {
    bool known;
    bool waits;         /* may block, has a timeout */
    bool relative;      /* the timeout is relative */
    bool realtime_okay; /* FUTEX_CLOCK_REALTIME makes sense */
    bool has_count;     /* `timeout` is a number: how many to requeue */
};
static const struct futex_operation operations[] = {
    [FUTEX_WAIT] = {.known = true, .waits = true, .relative = true, .realtime_okay = true},
    [FUTEX_WAKE] = {.known = true},
    [FUTEX_REQUEUE] = {.known = true, .has_count = true},
    [FUTEX_CMP_REQUEUE] = {.known = true, .has_count = true},
    [FUTEX_WAKE_OP] = {.known = true, .has_count = true},
    [FUTEX_WAIT_BITSET] = {.known = true, .waits = true, .realtime_okay = true},
    [FUTEX_WAKE_BITSET] = {.known = true},
};

static const struct futex_operation *operation_of(int op) {
    unsigned command = (unsigned)op & ~(unsigned)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);

    if (command >= ARRAY_SIZE(operations) || !operations[command].known) {
        log_once(LOG_WARN, "futex", command, "not supported: futex(2) with operation %u", command);
        return NULL;
    }
    if ((op & FUTEX_CLOCK_REALTIME) && !operations[command].realtime_okay) {
        return NULL;
    }
    return &operations[command];
}

static int64_t futex_wait(struct task *current, const struct futex_operation *operation,
                          struct slot_call *call, struct user_address timeout) {
    struct timespec limit;
    int64_t result;
    int done;

    call->flags = SLOT_CALL_BLOCKING;
    call->args[3] = 0;
    if (!user_address_is_null(timeout)) {
        result = get_user(current->thread, limit, timeout);
        if (result < 0) {
            return result;
        }
        if (!timespec_valid(&limit)) {
            return -EINVAL;
        }
        if (operation->relative) {
            deadline_ns deadline = task_call_deadline(current, timespec_to_ns(&limit));

            limit = timespec_from_ns(deadline);
            call->args[1] = FUTEX_WAIT_BITSET | (call->args[1] & FUTEX_PRIVATE_FLAG);
            call->args[5] = FUTEX_BITSET_MATCH_ANY;
        }
        call->args[3] = host_thread_bounce(current->thread, &limit, sizeof(limit));
        if (!call->args[3]) {
            return -ENOSYS;
        }
    } else if (operation->relative) {
        call->args[1] &= ~(uint64_t)FUTEX_CLOCK_REALTIME;
    }
    /* A kick that ended the stub's own wait (stub/direct_futex.c) will not end this one. One that
     * comes after this look will. */
    if (atomic_load(&current->work)) {
        return user_address_is_null(timeout) ? -ERESTARTSYS : -ERESTART_RESTARTBLOCK;
    }
    /* It sleeps on the host, not in wait_sleep(): /proc cannot see that by itself. */
    atomic_store(&current->state, TASK_SLEEPING);
    done = host_thread_calls(current->thread, call, 1, &result);
    atomic_store(&current->state, TASK_RUNNING);
    if (done < 0) {
        return done;
    }
    if (done == 0 || result == -EINTR) {
        return user_address_is_null(timeout) ? -ERESTARTSYS : -ERESTART_RESTARTBLOCK;
    }
    return result;
}

int64_t sys_futex(struct task *current, struct user_address uaddr, int futex_op, unsigned int val,
                  struct user_address timeout, struct user_address uaddr2, unsigned int val3) {
    const struct futex_operation *operation = operation_of(futex_op);
    struct slot_call call = {.number = SYS_futex,
                             .args = {uaddr.value, (unsigned)futex_op, val,
                                      operation && operation->has_count ? timeout.value : 0,
                                      uaddr2.value, val3}};
    int64_t result;
    int done;

    if (!operation) {
        return -ENOSYS;
    }
    if (operation->waits) {
        return futex_wait(current, operation, &call, timeout);
    }
    done = host_thread_calls(current->thread, &call, 1, &result);
    return done < 0 ? done : result;
}

int64_t sys_set_robust_list(struct task *current, struct user_address head, size_t len) {
    struct slot_told told = host_thread_told(current->thread);

    if (len != ROBUST_LIST_SIZE) {
        return -EINVAL;
    }
    /* exit.c walks it. Mostly the stub notes it by itself (stub/told.c). */
    told.robust_list = head.value;
    host_thread_set_told(current->thread, &told);
    return 0;
}

int64_t sys_get_robust_list(struct task *current, pid_t pid, struct user_address head_ptr,
                            struct user_address len_ptr) {
    struct task *target CLEANUP(task_put) = NULL;
    uint64_t head = 0;
    int result;

    target = pid == 0 ? task_get(current) : kernel_get_task(current->thread_group->kernel, pid);
    if (!target) {
        return -ESRCH;
    }
    if (!task_may_access(current, target)) {
        return -EPERM;
    }
    {
        LOCK_GUARD(&target->lock);

        head = target->thread ? host_thread_told(target->thread).robust_list : 0;
    }
    result = put_user(current->thread, (uint64_t)ROBUST_LIST_SIZE, len_ptr);
    return result < 0 ? result : put_user(current->thread, head, head_ptr);
}
