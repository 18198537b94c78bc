/*
 * Credentials over execve(2): set-user-ID and set-group-ID bits, and the transformation of
 * capabilities (capabilities(7), "Transformation of capabilities during execve()"). All of it is
 * about the guest's own ids; the host's are never touched.
 *
 * File capabilities (the xattr security.capability) are not honoured: a program that has them runs
 * without, as on a nosuid mount.
 */
#include <linux/securebits.h>
#include <sys/mount.h>
#include <sys/personality.h>

#include "task/exec_internal.h"

/* What a program that gains rights may not inherit (Linux's include/linux/personality.h). */
#define PER_CLEAR_ON_SETID                                                                         \
    (READ_IMPLIES_EXEC | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT | MMAP_PAGE_ZERO)

static bool may_gain(const struct exec *exec) {
    const struct mount *mount = exec->file->path.mount;

    return !exec->current->no_new_privs && !(mount && (atomic_load(&mount->flags) & MS_NOSUID));
}

int exec_credentials(struct exec *exec) {
    struct credentials *old CLEANUP(credentials_put) = task_creds(exec->current);
    struct credentials *creds CLEANUP(credentials_put) = credentials_dup(old);
    struct kstat stat;
    bool set_id = false, root;
    int result;

    if (!creds) {
        return -ENOMEM;
    }
    result = inode_getattr(exec->file->inode, &stat);
    if (result) {
        return result;
    }
    if (may_gain(exec)) {
        if (stat.mode & S_ISUID) {
            creds->euid = stat.uid;
        }
        /* Without group execution the bit means mandatory locking, not set-group-ID. */
        if ((stat.mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) {
            creds->egid = stat.gid;
        }
        set_id = creds->euid != old->euid || creds->egid != old->egid;
    }
    creds->suid = creds->fsuid = creds->euid;
    creds->sgid = creds->fsgid = creds->egid;

    root = !(creds->securebits & SECBIT_NOROOT) && (creds->uid == 0 || creds->euid == 0);
    if (set_id) {
        creds->cap_ambient = 0;
    }
    if (root) {
        creds->cap_permitted = creds->cap_inheritable | creds->cap_bounding;
        creds->cap_effective = creds->euid == 0 ? creds->cap_permitted : creds->cap_ambient;
    } else {
        creds->cap_permitted = creds->cap_ambient;
        creds->cap_effective = creds->cap_ambient;
    }
    if (exec->current->no_new_privs) {
        creds->cap_permitted &= old->cap_permitted;
        creds->cap_effective &= creds->cap_permitted;
    }
    creds->securebits &= ~(unsigned)SECBIT_KEEP_CAPS;
    exec->secure = set_id || creds->euid != creds->uid || creds->egid != creds->gid;
    exec->personality = exec->current->personality;
    if (exec->secure) {
        exec->personality &= ~(uint32_t)PER_CLEAR_ON_SETID;
    }
    exec->randomize = !(exec->personality & ADDR_NO_RANDOMIZE);
    exec->creds = STEAL(creds);
    return 0;
}
