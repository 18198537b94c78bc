/*
 * mount(2), umount2(2), pivot_root(2): for the guest's root, inside the sandbox's own mount tree.
 */
#include <linux/capability.h>
#include <sys/mount.h>

#include "syscalls/sys_at.h"

#define MOUNT_KEPT_FLAGS                                                                           \
    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME |     \
     MS_STRICTATIME | MS_NOSYMFOLLOW)
#define MOUNT_PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)
#define MOUNT_KNOWN                                                                                \
    (MOUNT_KEPT_FLAGS | MOUNT_PROPAGATION | MS_REMOUNT | MS_BIND | MS_MOVE | MS_REC | MS_SILENT |  \
     MS_LAZYTIME | MS_SYNCHRONOUS | MS_DIRSYNC | MS_I_VERSION | MS_POSIXACL | MS_MANDLOCK)
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

static bool may_mount(struct task *current) {
    return credentials_capable(current->creds, CAP_SYS_ADMIN);
}

/* A string argument that may be NULL. */
static int get_string(struct task *current, char **string, struct user_address address) {
    return user_address_is_null(address) ? 0
                                         : copy_path_from_user(current->thread, string, address);
}

/* mount(2): what no flag says is what the mount keeps; without a word about times, relatime. */
static unsigned long kept_flags(unsigned long flags) {
    unsigned long kept = flags & MOUNT_KEPT_FLAGS;

    if (!(kept & (MS_NOATIME | MS_STRICTATIME))) {
        kept |= MS_RELATIME;
    }
    return kept & ~(unsigned long)MS_STRICTATIME;
}

static int mount_new_type(struct task *current, const struct path *at, const char *source,
                          const char *type_name, const char *data, unsigned long flags) {
    const struct file_system_type *type;
    struct super_block *sb;
    int error;

    if (!type_name) {
        return -EINVAL;
    }
    type = file_system_find(type_name);
    if (!type || !type->mount) {
        log_once(LOG_WARN, "mount", (uintptr_t)type,
                 "not supported: mount(2) of file system type \"%s\"", type_name);
        return -ENODEV;
    }
    sb = type->mount(source ? source : "none", data ? data : "", current->creds);
    if (IS_ERR(sb)) {
        return (int)PTR_ERR(sb);
    }
    error = mount_attach(current->fs->namespace, sb, NULL, at, source, kept_flags(flags));
    if (error && atomic_load(&sb->mounts) == 0) {
        super_block_kill(sb);
    }
    super_block_put(sb);
    return error;
}

int64_t sys_mount(struct task *current, struct user_address source_address,
                  struct user_address target, struct user_address type_address, unsigned long flags,
                  struct user_address data_address) {
    char *source CLEANUP(free) = NULL, *type CLEANUP(free) = NULL, *data CLEANUP(free) = NULL;
    struct mount_namespace *ns = current->fs->namespace;
    struct path at CLEANUP(path_put) = {0}, from CLEANUP(path_put) = {0};
    struct walk walk = task_walk(current, NULL);
    int error;

    if ((flags & MS_MGC_MSK) == MS_MGC_VAL) {
        flags &= ~(unsigned long)MS_MGC_MSK;
    }
    error = get_string(current, &type, type_address);
    if (!error) {
        error = get_string(current, &source, source_address);
    }
    /* Option strings only: what nfs and the like take is none. */
    if (!error && !(flags & (MS_BIND | MS_MOVE | MOUNT_PROPAGATION))) {
        error = get_string(current, &data, data_address);
    }
    if (!error) {
        error = at_lookup(current, AT_FDCWD, target, LOOKUP_FOLLOW, &at);
    }
    if (error) {
        return error;
    }
    if (!may_mount(current)) {
        return -EPERM;
    }
    if (flags & ~(unsigned long)MOUNT_KNOWN) {
        return unsupported_flags("mount", flags, MOUNT_KNOWN, EINVAL);
    }
    if (flags & MS_REMOUNT) {
        return mount_remount(ns, &at, kept_flags(flags));
    }
    if (flags & MOUNT_PROPAGATION) {
        /* One sandbox, private mounts: nothing propagates, which is what MS_PRIVATE and MS_SLAVE
         * ask for. */
        if (flags & (MS_SHARED | MS_UNBINDABLE)) {
            return unsupported_flags("mount", flags & (MS_SHARED | MS_UNBINDABLE), 0, EINVAL);
        }
        return at.mount && at.dentry == at.mount->root ? 0 : -EINVAL;
    }
    if (flags & (MS_BIND | MS_MOVE)) {
        if (!source || !*source) {
            return -EINVAL;
        }
        error = path_lookup(&walk, source, LOOKUP_FOLLOW, &from);
        if (error) {
            return error;
        }
        return flags & MS_BIND ? mount_bind(ns, &from, &at, flags & MS_REC)
                               : mount_move(ns, &from, &at);
    }
    return mount_new_type(current, &at, source, type, data, flags);
}

int64_t sys_umount2(struct task *current, struct user_address target, int flags) {
    struct path at CLEANUP(path_put) = {0};
    int error;

    if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) {
        return -EINVAL;
    }
    error = at_lookup(current, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &at);
    if (error) {
        return error;
    }
    if (!may_mount(current)) {
        return -EPERM;
    }
    if (flags & MNT_EXPIRE) {
        return unsupported_flags("umount2", (uint64_t)flags, MNT_FORCE | MNT_DETACH, EINVAL);
    }
    return mount_detach(current->fs->namespace, &at, flags);
}

int64_t sys_pivot_root(struct task *current, struct user_address new_root,
                       struct user_address put_old) {
    struct path new CLEANUP(path_put) = {0}, old CLEANUP(path_put) = {0};
    struct path root CLEANUP(path_put) = {0}, cwd CLEANUP(path_put) = {0};
    int error;

    if (!may_mount(current)) {
        return -EPERM;
    }
    error = at_lookup(current, AT_FDCWD, new_root, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &new);
    if (!error) {
        error = at_lookup(current, AT_FDCWD, put_old, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &old);
    }
    if (!error) {
        fs_context_root(current->fs, &root);
        fs_context_cwd(current->fs, &cwd);
        error = mount_pivot_root(current->fs->namespace, &new, &old);
    }
    if (error) {
        return error;
    }
    fs_context_set_root(current->fs, &new);
    if (path_equal(&root, &cwd)) {
        fs_context_set_cwd(current->fs, &new);
    }
    return 0;
}
