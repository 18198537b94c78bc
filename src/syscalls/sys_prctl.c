/*
 * prctl(2), arm by arm, and personality(2). What is not listed is EINVAL, as for a kernel built
 * without it, and logged once by its number.
 */
#include "syscalls/syscalls.h"

#include <linux/securebits.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA           0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif

static int64_t change_creds(struct task *current, void (*change)(struct credentials *, uint64_t),
                            uint64_t arg) {
    struct credentials *new = credentials_dup(current->creds);

    if (!new) {
        return -ENOMEM;
    }
    change(new, arg);
    task_set_creds(current, new);
    return 0;
}

static void change_securebits(struct credentials *creds, uint64_t bits) {
    creds->securebits = (unsigned)bits;
}

static void drop_bounding(struct credentials *creds, uint64_t capability) {
    creds->cap_bounding &= ~(1ULL << capability);
}

static void raise_ambient(struct credentials *creds, uint64_t capability) {
    creds->cap_ambient |= 1ULL << capability;
}

static void lower_ambient(struct credentials *creds, uint64_t capability) {
    creds->cap_ambient &= ~(1ULL << capability);
}

static void clear_ambient(struct credentials *creds, uint64_t arg) {
    creds->cap_ambient = 0;
}

static int64_t set_keepcaps(struct task *current, unsigned long on) {
    unsigned bits = current->creds->securebits;

    if (on > 1) {
        return -EINVAL;
    }
    if (bits & SECBIT_KEEP_CAPS_LOCKED) {
        return -EPERM;
    }
    bits = on ? bits | SECBIT_KEEP_CAPS : bits & ~(unsigned)SECBIT_KEEP_CAPS;
    return change_creds(current, change_securebits, bits);
}

/* capabilities(7), "The securebits flags": a locked bit and its lock never change again. */
static int64_t set_securebits(struct task *current, unsigned long bits) {
    unsigned long old = current->creds->securebits;
    unsigned long locked = (old & SECURE_ALL_LOCKS) >> 1;

    if ((locked & (old ^ bits)) || (old & SECURE_ALL_LOCKS & ~bits) ||
        (bits & ~(unsigned long)(SECURE_ALL_LOCKS | SECURE_ALL_BITS)) ||
        !credentials_capable(current->creds, CAP_SETPCAP)) {
        return -EPERM;
    }
    return change_creds(current, change_securebits, bits);
}

static int64_t ambient(struct task *current, unsigned long operation, unsigned long capability,
                       unsigned long arg4, unsigned long arg5) {
    const struct credentials *creds = current->creds;

    if (operation == PR_CAP_AMBIENT_CLEAR_ALL) {
        return capability || arg4 || arg5 ? -EINVAL : change_creds(current, clear_ambient, 0);
    }
    if (arg4 || arg5 || capability > CAP_LAST_CAP) {
        return -EINVAL;
    }
    switch (operation) {
    case PR_CAP_AMBIENT_IS_SET:
        return creds->cap_ambient >> capability & 1;
    case PR_CAP_AMBIENT_RAISE:
        if (!(creds->cap_permitted & creds->cap_inheritable & (1ULL << capability)) ||
            (creds->securebits & SECBIT_NO_CAP_AMBIENT_RAISE)) {
            return -EPERM;
        }
        return change_creds(current, raise_ambient, capability);
    case PR_CAP_AMBIENT_LOWER:
        return change_creds(current, lower_ambient, capability);
    default:
        return -EINVAL;
    }
}

static int64_t set_name(struct task *current, struct user_address name) {
    char comm[TASK_COMM_SIZE];
    ssize_t length = copy_string_from_user(current->thread, comm, name, sizeof(comm));

    /* Longer names are cut, prctl(2) says. */
    if (length == -ENAMETOOLONG) {
        length = copy_from_user(current->thread, comm, name, sizeof(comm) - 1);
    }
    if (length < 0) {
        return length;
    }
    comm[sizeof(comm) - 1] = '\0';
    LOCK_GUARD(&current->lock);
    snprintf(current->comm, sizeof(current->comm), "%s", comm);
    return 0;
}

static int64_t get_name(struct task *current, struct user_address name) {
    char comm[TASK_COMM_SIZE] = {0};

    lock_acquire(&current->lock);
    snprintf(comm, sizeof(comm), "%s", current->comm);
    lock_release(&current->lock);
    return copy_to_user(current->thread, name, comm, sizeof(comm));
}

static int64_t set_subreaper(struct task *current, bool on) {
    WRITE_GUARD(&current->thread_group->kernel->pids_lock);

    current->thread_group->child_subreaper = on;
    return 0;
}

static bool is_subreaper(struct task *current) {
    READ_GUARD(&current->thread_group->kernel->pids_lock);

    return current->thread_group->child_subreaper;
}

static int64_t unsupported(int option) {
    log_once(LOG_WARN, "prctl", (uint64_t)option, "prctl: option %d (%#x) is not supported", option,
             (unsigned)option);
    return -EINVAL;
}

int64_t sys_prctl(struct task *current, int option, unsigned long arg2, unsigned long arg3,
                  unsigned long arg4, unsigned long arg5) {
    struct thread_group *group = current->thread_group;
    int value;

    switch (option) {
    case PR_SET_NAME:
        return set_name(current, user_address(arg2));
    case PR_GET_NAME:
        return get_name(current, user_address(arg2));
    case PR_SET_PDEATHSIG:
        if (arg2 > SIGNAL_MAX) {
            return -EINVAL;
        }
        lock_acquire(&current->lock);
        current->pdeath_signal = (int)arg2;
        lock_release(&current->lock);
        return 0;
    case PR_GET_PDEATHSIG:
        value = current->pdeath_signal; /* only the own thread writes it */
        return put_user(current->thread, value, user_address(arg2));
    case PR_SET_DUMPABLE:
        if (arg2 > 1) {
            return -EINVAL;
        }
        atomic_store(&group->dumpable, (int)arg2);
        return 0;
    case PR_GET_DUMPABLE:
        return atomic_load(&group->dumpable);
    case PR_SET_CHILD_SUBREAPER:
        return set_subreaper(current, arg2 != 0);
    case PR_GET_CHILD_SUBREAPER:
        value = is_subreaper(current);
        return put_user(current->thread, value, user_address(arg2));
    case PR_SET_NO_NEW_PRIVS:
        if (arg2 != 1 || arg3 || arg4 || arg5) {
            return -EINVAL;
        }
        lock_acquire(&current->lock);
        current->no_new_privs = true;
        lock_release(&current->lock);
        return 0;
    case PR_GET_NO_NEW_PRIVS:
        return arg2 || arg3 || arg4 || arg5 ? -EINVAL : current->no_new_privs;
    case PR_CAPBSET_READ:
        return arg2 > CAP_LAST_CAP ? -EINVAL : (int)(current->creds->cap_bounding >> arg2 & 1);
    case PR_CAPBSET_DROP:
        if (!credentials_capable(current->creds, CAP_SETPCAP)) {
            return -EPERM;
        }
        return arg2 > CAP_LAST_CAP ? -EINVAL : change_creds(current, drop_bounding, arg2);
    case PR_CAP_AMBIENT:
        return ambient(current, arg2, arg3, arg4, arg5);
    case PR_SET_KEEPCAPS:
        return set_keepcaps(current, arg2);
    case PR_GET_KEEPCAPS:
        return (current->creds->securebits & SECBIT_KEEP_CAPS) != 0;
    case PR_SET_SECUREBITS:
        return set_securebits(current, arg2);
    case PR_GET_SECUREBITS:
        return current->creds->securebits;
    case PR_SET_TIMERSLACK:
        current->timer_slack_ns = arg2 ? arg2 : current->default_timer_slack_ns;
        return 0;
    case PR_GET_TIMERSLACK:
        return (int64_t)current->timer_slack_ns;
    case PR_GET_TIMING:
        return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
        return arg2 == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
    case PR_GET_SECCOMP:
        return 0;
    case PR_GET_TSC:
        value = PR_TSC_ENABLE;
        return put_user(current->thread, value, user_address(arg2));
    case PR_SET_TSC:
        return arg2 == PR_TSC_ENABLE ? 0 : unsupported(option);
    case PR_GET_TID_ADDRESS:
        return put_user(current->thread, host_thread_told(current->thread).clear_child_tid,
                        user_address(arg2));
    case PR_GET_THP_DISABLE:
    case PR_GET_MDWE:
        return arg2 || arg3 || arg4 || arg5 ? -EINVAL : 0;
    case PR_SET_VMA:
        /* The name would only show in /proc/PID/maps. */
        return arg2 == PR_SET_VMA_ANON_NAME ? 0 : -EINVAL;
    case PR_MCE_KILL_GET:
        return arg2 || arg3 || arg4 || arg5 ? -EINVAL : PR_MCE_KILL_DEFAULT;
    default:
        return unsupported(option);
    }
}

int64_t sys_personality(struct task *current, unsigned long persona) {
    uint32_t old = current->personality;

    if ((uint32_t)persona == 0xffffffff) {
        return old;
    }
    if ((persona & ~(unsigned long)ADDR_NO_RANDOMIZE) != PER_LINUX) {
        return unsupported_flags("personality", persona, ADDR_NO_RANDOMIZE, EINVAL);
    }
    current->personality = (uint32_t)persona;
    return old;
}
