/*
 * Credentials: user and group ids, supplementary groups, capabilities (credentials(7),
 * capabilities(7)). A call makes a private copy, changes it by the man page's rules, and publishes
 * it; only the own task's credentials ever change.
 */
#include "syscalls/syscalls.h"

#include <linux/capability.h>

/* What else a change of credentials means: a program that runs with other rights than it was
 * started with is not to be inspected, and its parent's death signal is off (prctl(2)). */
static void publish(struct task *current, struct credentials *new) {
    struct credentials *old CLEANUP(credentials_put) = task_creds(current);

    if (new->euid != old->euid || new->egid != old->egid || new->fsuid != old->fsuid ||
        new->fsgid != old->fsgid || (new->cap_permitted & ~old->cap_permitted)) {
        atomic_store(&current->thread_group->dumpable, 0);
        lock_acquire(&current->lock);
        current->pdeath_signal = 0;
        lock_release(&current->lock);
    }
    task_set_creds(current, new);
}

int64_t sys_getuid(struct task *current) {
    return current->creds->uid;
}

int64_t sys_geteuid(struct task *current) {
    return current->creds->euid;
}

int64_t sys_getgid(struct task *current) {
    return current->creds->gid;
}

int64_t sys_getegid(struct task *current) {
    return current->creds->egid;
}

int64_t sys_getresuid(struct task *current, struct user_address ruid, struct user_address euid,
                      struct user_address suid) {
    const struct credentials *creds = current->creds;

    if (put_user(current->thread, creds->uid, ruid) ||
        put_user(current->thread, creds->euid, euid)) {
        return -EFAULT;
    }
    return put_user(current->thread, creds->suid, suid);
}

int64_t sys_getresgid(struct task *current, struct user_address rgid, struct user_address egid,
                      struct user_address sgid) {
    const struct credentials *creds = current->creds;

    if (put_user(current->thread, creds->gid, rgid) ||
        put_user(current->thread, creds->egid, egid)) {
        return -EFAULT;
    }
    return put_user(current->thread, creds->sgid, sgid);
}

/* ---- changing ids ---- */

#define KEEP ((uid_t)-1)

static int64_t publish_uids(struct task *current, struct credentials *new) {
    new->fsuid = new->euid;
    credentials_fix_capabilities(current->creds, new);
    publish(current, new);
    return 0;
}

static int64_t publish_gids(struct task *current, struct credentials *new) {
    new->fsgid = new->egid;
    publish(current, new);
    return 0;
}

int64_t sys_setuid(struct task *current, uid_t uid) {
    const struct credentials *old = current->creds;
    bool capable = credentials_capable(old, CAP_SETUID);
    struct credentials *new;

    if (uid == KEEP) {
        return -EINVAL;
    }
    if (!capable && uid != old->uid && uid != old->suid) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    if (capable) {
        new->uid = new->suid = uid;
    }
    new->euid = uid;
    return publish_uids(current, new);
}

int64_t sys_setgid(struct task *current, gid_t gid) {
    const struct credentials *old = current->creds;
    bool capable = credentials_capable(old, CAP_SETGID);
    struct credentials *new;

    if (gid == KEEP) {
        return -EINVAL;
    }
    if (!capable && gid != old->gid && gid != old->sgid) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    if (capable) {
        new->gid = new->sgid = gid;
    }
    new->egid = gid;
    return publish_gids(current, new);
}

int64_t sys_setreuid(struct task *current, uid_t ruid, uid_t euid) {
    const struct credentials *old = current->creds;
    struct credentials *new;

    if (!credentials_capable(old, CAP_SETUID) &&
        ((ruid != KEEP && ruid != old->uid && ruid != old->euid) ||
         (euid != KEEP && euid != old->uid && euid != old->euid && euid != old->suid))) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    if (ruid != KEEP) {
        new->uid = ruid;
    }
    if (euid != KEEP) {
        new->euid = euid;
    }
    if (ruid != KEEP || (euid != KEEP && euid != old->uid)) {
        new->suid = new->euid;
    }
    return publish_uids(current, new);
}

int64_t sys_setregid(struct task *current, gid_t rgid, gid_t egid) {
    const struct credentials *old = current->creds;
    struct credentials *new;

    if (!credentials_capable(old, CAP_SETGID) &&
        ((rgid != KEEP && rgid != old->gid && rgid != old->egid) ||
         (egid != KEEP && egid != old->gid && egid != old->egid && egid != old->sgid))) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    if (rgid != KEEP) {
        new->gid = rgid;
    }
    if (egid != KEEP) {
        new->egid = egid;
    }
    if (rgid != KEEP || (egid != KEEP && egid != old->gid)) {
        new->sgid = new->egid;
    }
    return publish_gids(current, new);
}

static bool one_of(uint32_t id, uint32_t a, uint32_t b, uint32_t c) {
    return id == KEEP || id == a || id == b || id == c;
}

int64_t sys_setresuid(struct task *current, uid_t ruid, uid_t euid, uid_t suid) {
    const struct credentials *old = current->creds;
    struct credentials *new;

    if (!credentials_capable(old, CAP_SETUID) && (!one_of(ruid, old->uid, old->euid, old->suid) ||
                                                  !one_of(euid, old->uid, old->euid, old->suid) ||
                                                  !one_of(suid, old->uid, old->euid, old->suid))) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    new->uid = ruid != KEEP ? ruid : old->uid;
    new->euid = euid != KEEP ? euid : old->euid;
    new->suid = suid != KEEP ? suid : old->suid;
    return publish_uids(current, new);
}

int64_t sys_setresgid(struct task *current, gid_t rgid, gid_t egid, gid_t sgid) {
    const struct credentials *old = current->creds;
    struct credentials *new;

    if (!credentials_capable(old, CAP_SETGID) && (!one_of(rgid, old->gid, old->egid, old->sgid) ||
                                                  !one_of(egid, old->gid, old->egid, old->sgid) ||
                                                  !one_of(sgid, old->gid, old->egid, old->sgid))) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    new->gid = rgid != KEEP ? rgid : old->gid;
    new->egid = egid != KEEP ? egid : old->egid;
    new->sgid = sgid != KEEP ? sgid : old->sgid;
    return publish_gids(current, new);
}

/* setfsuid(2): the previous one is the result, whether or not the change was allowed. */
int64_t sys_setfsuid(struct task *current, uid_t fsuid) {
    const struct credentials *old = current->creds;
    uid_t previous = old->fsuid;
    struct credentials *new;

    if (fsuid == KEEP || fsuid == previous ||
        (!one_of(fsuid, old->uid, old->euid, old->suid) && !credentials_capable(old, CAP_SETUID))) {
        return previous;
    }
    new = credentials_dup(old);
    if (new) {
        new->fsuid = fsuid;
        credentials_fix_fs_capabilities(old, new);
        publish(current, new);
    }
    return previous;
}

int64_t sys_setfsgid(struct task *current, gid_t fsgid) {
    const struct credentials *old = current->creds;
    gid_t previous = old->fsgid;
    struct credentials *new;

    if (fsgid == KEEP || fsgid == previous ||
        (!one_of(fsgid, old->gid, old->egid, old->sgid) && !credentials_capable(old, CAP_SETGID))) {
        return previous;
    }
    new = credentials_dup(old);
    if (new) {
        new->fsgid = fsgid;
        publish(current, new);
    }
    return previous;
}

int64_t sys_getgroups(struct task *current, int size, struct user_address list) {
    const struct credentials *creds = current->creds;
    int count = (int)creds->group_count;

    if (size < 0 || (size && size < count)) {
        return -EINVAL;
    }
    if (size && count &&
        copy_to_user(current->thread, list, creds->groups, (size_t)count * sizeof(gid_t))) {
        return -EFAULT;
    }
    return count;
}

int64_t sys_setgroups(struct task *current, int size, struct user_address list) {
    gid_t *groups CLEANUP(free) = NULL;
    struct credentials *new;
    int result;

    if (!credentials_capable(current->creds, CAP_SETGID)) {
        return -EPERM;
    }
    if (size < 0 || size > NGROUPS_LIMIT) {
        return -EINVAL;
    }
    groups = calloc((size_t)size + 1, sizeof(gid_t));
    if (!groups) {
        return -ENOMEM;
    }
    result = size ? copy_from_user(current->thread, groups, list, (size_t)size * sizeof(gid_t)) : 0;
    if (result) {
        return result;
    }
    for (int i = 0; i < size; i++) {
        if (groups[i] == KEEP) {
            return -EINVAL;
        }
    }
    new = credentials_dup(current->creds);
    if (!new) {
        return -ENOMEM;
    }
    result = credentials_set_groups(new, groups, (size_t)size);
    if (result) {
        credentials_put(new);
        return result;
    }
    publish(current, new);
    return 0;
}

/* ---- capabilities ---- */

/* How many 32-bit words the caller's version has; 0: unknown, and it is told ours. */
static int cap_words(struct task *current, struct user_address header,
                     struct __user_cap_header_struct *copy) {
    uint32_t ours = _LINUX_CAPABILITY_VERSION_3;

    if (get_user(current->thread, *copy, header)) {
        return -EFAULT;
    }
    switch (copy->version) {
    case _LINUX_CAPABILITY_VERSION_1:
        return _LINUX_CAPABILITY_U32S_1;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        return _LINUX_CAPABILITY_U32S_3;
    default:
        return put_user(current->thread, ours, header);
    }
}

int64_t sys_capget(struct task *current, struct user_address hdrp, struct user_address datap) {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[2];
    struct task *target CLEANUP(task_put) = NULL;
    struct credentials *creds CLEANUP(credentials_put) = NULL;
    int words = cap_words(current, hdrp, &header);

    if (words <= 0) {
        return words < 0 ? words : user_address_is_null(datap) ? 0 : -EINVAL;
    }
    if (header.pid < 0) {
        return -EINVAL;
    }
    target =
        header.pid ? kernel_get_task(current->thread_group->kernel, header.pid) : task_get(current);
    if (!target) {
        return -ESRCH;
    }
    if (user_address_is_null(datap)) {
        return 0;
    }
    creds = task_creds(target);
    for (int i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(creds->cap_effective >> (32 * i));
        data[i].permitted = (uint32_t)(creds->cap_permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(creds->cap_inheritable >> (32 * i));
    }
    return copy_to_user(current->thread, datap, data, (size_t)words * sizeof(data[0]));
}

int64_t sys_capset(struct task *current, struct user_address hdrp, struct user_address datap) {
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct data[2] = {0};
    const struct credentials *old = current->creds;
    uint64_t effective = 0, permitted = 0, inheritable = 0;
    struct credentials *new;
    int words = cap_words(current, hdrp, &header);

    if (words <= 0) {
        return words < 0 ? words : -EINVAL;
    }
    if (header.pid != 0 && header.pid != task_get_tid(current)) {
        return -EPERM;
    }
    if (copy_from_user(current->thread, data, datap, (size_t)words * sizeof(data[0]))) {
        return -EFAULT;
    }
    for (int i = 0; i < 2; i++) {
        effective |= (uint64_t)data[i].effective << (32 * i);
        permitted |= (uint64_t)data[i].permitted << (32 * i);
        inheritable |= (uint64_t)data[i].inheritable << (32 * i);
    }
    effective &= CAPABILITIES_ALL;
    permitted &= CAPABILITIES_ALL;
    inheritable &= CAPABILITIES_ALL;

    /* capabilities(7), "Programmatically adjusting capability sets" */
    if ((inheritable & ~(old->cap_inheritable | old->cap_permitted) &&
         !credentials_capable(old, CAP_SETPCAP)) ||
        (inheritable & ~(old->cap_inheritable | old->cap_bounding)) ||
        (permitted & ~old->cap_permitted) || (effective & ~permitted)) {
        return -EPERM;
    }
    new = credentials_dup(old);
    if (!new) {
        return -ENOMEM;
    }
    new->cap_effective = effective;
    new->cap_permitted = permitted;
    new->cap_inheritable = inheritable;
    new->cap_ambient &= permitted &inheritable;
    publish(current, new);
    return 0;
}
