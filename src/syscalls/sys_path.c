/*
 * Calls by path: open, make, link, remove, rename; the working directory and the root.
 */
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "syscalls/sys_at.h"

/* O_LARGEFILE as F_GETFL shows it on x86-64 (the libc's own constant is 0). */
#define KERNEL_O_LARGEFILE 0100000

/* ---- where a walk begins ---- */

int walk_at(struct task *current, int dirfd, struct walk *walk, struct file **holder) {
    *walk = task_walk(current, NULL);
    if (dirfd == AT_FDCWD) {
        return 0;
    }
    *holder = fd_table_get(current->files, dirfd);
    if (!*holder) {
        return -EBADF;
    }
    walk->start = &(*holder)->path;
    return 0;
}

int at_begin(struct task *current, struct at *at, int dirfd, struct user_address path,
             bool rooted) {
    int error;

    memset(at, 0, sizeof(*at));
    error = copy_path_from_user(current->thread, &at->name, path);
    if (error) {
        return error;
    }
    if (at->name[0] == '/' && !rooted) {
        dirfd = AT_FDCWD;
    }
    return walk_at(current, dirfd, &at->walk, &at->holder);
}

/* at_begin() where AT_EMPTY_PATH with NULL means "", since Linux 6.11. */
static int at_begin_empty(struct task *current, struct at *at, int dirfd, struct user_address path,
                          unsigned flags) {
    if ((flags & LOOKUP_EMPTY) && user_address_is_null(path)) {
        memset(at, 0, sizeof(*at));
        at->name = strdup("");
        return at->name ? walk_at(current, dirfd, &at->walk, &at->holder) : -ENOMEM;
    }
    return at_begin(current, at, dirfd, path, false);
}

int at_lookup(struct task *current, int dirfd, struct user_address path, unsigned flags,
              struct path *found) {
    struct at at CLEANUP(at) = {0};
    int error = at_begin_empty(current, &at, dirfd, path, flags);

    return error ? error : path_lookup(&at.walk, at.name, flags, found);
}

int at_stat(struct task *current, int dirfd, struct user_address path, int flags,
            struct kstat *stat, struct stat_place *place) {
    struct at at CLEANUP(at) = {0};
    unsigned lookup_flags = at_lookup_flags(flags);
    int error = at_begin_empty(current, &at, dirfd, path, lookup_flags);

    return error ? error : path_stat(&at.walk, at.name, lookup_flags, stat, place);
}

struct file *fd_file(struct task *current, int fd, bool path_only) {
    struct file *file = fd_table_get(current->files, fd);

    if (file && !path_only && (file->mode & FMODE_PATH)) {
        file_put(file);
        return NULL;
    }
    return file;
}

/* ---- open(2) ---- */

#define OPEN_FLAGS                                                                                 \
    (O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC |         \
     O_ASYNC | O_DIRECT | KERNEL_O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC |  \
     O_SYNC | O_PATH | O_TMPFILE)

static int64_t do_open(struct task *current, struct at *at, int flags, mode_t mode,
                       unsigned lookup_flags) {
    struct file *file;
    int error;

    /* Before anything is made or emptied for a descriptor that there is no room for. */
    if ((flags & (O_CREAT | O_TRUNC)) &&
        !fd_table_has_room(current->files, current_fd_limit(current))) {
        return -EMFILE;
    }
    if (!(flags & O_PATH)) {
        flags |= KERNEL_O_LARGEFILE;
    }
    error = vfs_open(&at->walk, at->name, flags, mode, lookup_flags, &file);
    return error ? error : install_file(current, file, flags);
}

int64_t sys_openat(struct task *current, int dirfd, struct user_address path, int flags,
                   mode_t mode) {
    struct at at CLEANUP(at);
    int error = at_begin(current, &at, dirfd, path, false);

    /* open(2) takes no notice of flags it does not know. */
    return error ? error : do_open(current, &at, flags & OPEN_FLAGS, mode & 07777, 0);
}

int64_t sys_open(struct task *current, struct user_address path, int flags, mode_t mode) {
    return sys_openat(current, AT_FDCWD, path, flags, mode);
}

int64_t sys_creat(struct task *current, struct user_address path, mode_t mode) {
    return sys_openat(current, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* openat2(2): a structure that may be longer than ours, if the rest is zero. */
static int get_open_how(struct task *current, struct open_how *how, struct user_address from,
                        size_t size) {
    char rest[256];
    int error;

    memset(how, 0, sizeof(*how));
    if (size < sizeof(*how)) {
        return -EINVAL;
    }
    if (size > PAGE_SIZE) {
        return -E2BIG;
    }
    error = get_user(current->thread, *how, from);
    for (size_t at = sizeof(*how); !error && at < size;) {
        size_t chunk = MIN(size - at, sizeof(rest));

        error = copy_from_user(current->thread, rest, user_address_add(from, at), chunk);
        for (size_t i = 0; !error && i < chunk; i++) {
            if (rest[i]) {
                return -E2BIG;
            }
        }
        at += chunk;
    }
    return error;
}

int64_t sys_openat2(struct task *current, int dirfd, struct user_address path,
                    struct user_address how_address, size_t size) {
    const uint64_t known_resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
                                   RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED;
    struct at at CLEANUP(at) = {0};
    struct open_how how;
    unsigned lookup = 0;
    int error = get_open_how(current, &how, how_address, size);

    if (error) {
        return error;
    }
    if ((how.flags & ~(uint64_t)OPEN_FLAGS) || (how.resolve & ~known_resolve) ||
        (how.mode & ~07777ull) ||
        (how.mode && !(how.flags & O_CREAT) && (how.flags & O_TMPFILE) != O_TMPFILE) ||
        ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT)) ||
        ((how.flags & O_PATH) &&
         (how.flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)))) {
        return -EINVAL;
    }
    if (how.resolve & RESOLVE_CACHED) {
        /* "Only if no I/O is needed": the honest answer of a kernel that cannot tell. */
        return -EAGAIN;
    }
    lookup |= how.resolve & RESOLVE_NO_XDEV ? LOOKUP_NO_XDEV : 0;
    lookup |= how.resolve & RESOLVE_NO_MAGICLINKS ? LOOKUP_NO_MAGIC : 0;
    lookup |= how.resolve & RESOLVE_NO_SYMLINKS ? LOOKUP_NO_SYMLINKS | LOOKUP_NO_MAGIC : 0;
    lookup |= how.resolve & RESOLVE_BENEATH ? LOOKUP_BENEATH : 0;
    lookup |= how.resolve & RESOLVE_IN_ROOT ? LOOKUP_IN_ROOT : 0;
    error = at_begin(current, &at, dirfd, path, how.resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH));
    return error ? error : do_open(current, &at, (int)how.flags, (mode_t)how.mode, lookup);
}

/* ---- making names ---- */

int64_t sys_mkdirat(struct task *current, int dirfd, struct user_address path, mode_t mode) {
    struct at at CLEANUP(at);
    int error = at_begin(current, &at, dirfd, path, false);

    return error ? error : vfs_mkdir(&at.walk, at.name, mode);
}

int64_t sys_mkdir(struct task *current, struct user_address path, mode_t mode) {
    return sys_mkdirat(current, AT_FDCWD, path, mode);
}

int64_t sys_mknodat(struct task *current, int dirfd, struct user_address path, mode_t mode,
                    unsigned dev) {
    struct at at CLEANUP(at);
    int error = at_begin(current, &at, dirfd, path, false);

    return error ? error : vfs_mknod(&at.walk, at.name, mode, dev);
}

int64_t sys_mknod(struct task *current, struct user_address path, mode_t mode, unsigned dev) {
    return sys_mknodat(current, AT_FDCWD, path, mode, dev);
}

int64_t sys_symlinkat(struct task *current, struct user_address target, int dirfd,
                      struct user_address path) {
    struct at at CLEANUP(at) = {0};
    char *text CLEANUP(free) = NULL;
    int error = copy_path_from_user(current->thread, &text, target);

    if (!error) {
        error = at_begin(current, &at, dirfd, path, false);
    }
    return error ? error : vfs_symlink(&at.walk, text, at.name);
}

int64_t sys_symlink(struct task *current, struct user_address target, struct user_address path) {
    return sys_symlinkat(current, target, AT_FDCWD, path);
}

int64_t sys_linkat(struct task *current, int from_dirfd, struct user_address from, int to_dirfd,
                   struct user_address to, int flags) {
    struct at from_at CLEANUP(at) = {0}, to_at CLEANUP(at) = {0};
    int error;

    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) {
        return -EINVAL;
    }
    error = at_begin(current, &from_at, from_dirfd, from, false);
    if (!error) {
        error = at_begin(current, &to_at, to_dirfd, to, false);
    }
    if (error) {
        return error;
    }
    /* An open file gets a name only from who may look into every directory, or who opened it. */
    if ((flags & AT_EMPTY_PATH) && !from_at.name[0] &&
        !credentials_capable(current->creds, CAP_DAC_READ_SEARCH) &&
        !(from_at.holder && from_at.holder->creds == current->creds)) {
        return -ENOENT;
    }
    return vfs_link(&from_at.walk, from_at.name, &to_at.walk, to_at.name, flags);
}

int64_t sys_link(struct task *current, struct user_address from, struct user_address to) {
    return sys_linkat(current, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- removing and renaming ---- */

int64_t sys_unlinkat(struct task *current, int dirfd, struct user_address path, int flags) {
    struct at at CLEANUP(at) = {0};
    int error;

    if (flags & ~AT_REMOVEDIR) {
        return -EINVAL;
    }
    error = at_begin(current, &at, dirfd, path, false);
    if (error) {
        return error;
    }
    return flags & AT_REMOVEDIR ? vfs_rmdir(&at.walk, at.name) : vfs_unlink(&at.walk, at.name);
}

int64_t sys_unlink(struct task *current, struct user_address path) {
    return sys_unlinkat(current, AT_FDCWD, path, 0);
}

int64_t sys_rmdir(struct task *current, struct user_address path) {
    return sys_unlinkat(current, AT_FDCWD, path, AT_REMOVEDIR);
}

int64_t sys_renameat2(struct task *current, int from_dirfd, struct user_address from, int to_dirfd,
                      struct user_address to, unsigned flags) {
    struct at from_at CLEANUP(at) = {0}, to_at CLEANUP(at) = {0};
    int error;

    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return unsupported_flags("renameat2", flags, RENAME_NOREPLACE | RENAME_EXCHANGE, EINVAL);
    }
    error = at_begin(current, &from_at, from_dirfd, from, false);
    if (!error) {
        error = at_begin(current, &to_at, to_dirfd, to, false);
    }
    return error ? error : vfs_rename(&from_at.walk, from_at.name, &to_at.walk, to_at.name, flags);
}

int64_t sys_renameat(struct task *current, int from_dirfd, struct user_address from, int to_dirfd,
                     struct user_address to) {
    return sys_renameat2(current, from_dirfd, from, to_dirfd, to, 0);
}

int64_t sys_rename(struct task *current, struct user_address from, struct user_address to) {
    return sys_renameat2(current, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- the working directory, the root, the umask ---- */

static int64_t change_directory(struct task *current, const struct path *path) {
    int error = S_ISDIR(path->dentry->inode->type)
                    ? inode_permission(path->dentry->inode, MAY_EXEC, current->creds)
                    : -ENOTDIR;

    if (!error) {
        fs_context_set_cwd(current->fs, path);
    }
    return error;
}

int64_t sys_chdir(struct task *current, struct user_address address) {
    struct path path CLEANUP(path_put) = {0};
    int error = at_lookup(current, AT_FDCWD, address, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &path);

    return error ? error : change_directory(current, &path);
}

int64_t sys_fchdir(struct task *current, int fd) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, true);

    return file ? change_directory(current, &file->path) : -EBADF;
}

int64_t sys_chroot(struct task *current, struct user_address address) {
    struct path path CLEANUP(path_put) = {0};
    int error = at_lookup(current, AT_FDCWD, address, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &path);

    if (!error) {
        error = inode_permission(path.dentry->inode, MAY_EXEC, current->creds);
    }
    if (error) {
        return error;
    }
    if (!credentials_capable(current->creds, CAP_SYS_CHROOT)) {
        return -EPERM;
    }
    fs_context_set_root(current->fs, &path);
    return 0;
}

int64_t sys_getcwd(struct task *current, struct user_address buffer, size_t size) {
    struct path cwd CLEANUP(path_put) = {0}, root CLEANUP(path_put) = {0};
    char *name CLEANUP(free) = malloc(PATH_MAX);
    ssize_t length;
    int error;

    if (!name) {
        return -ENOMEM;
    }
    fs_context_cwd(current->fs, &cwd);
    fs_context_root(current->fs, &root);
    if (dentry_unlinked(cwd.dentry)) {
        return -ENOENT;
    }
    length = path_name(&cwd, &root, name, PATH_MAX);
    if (length < 0) {
        return length;
    }
    if ((size_t)length > size) {
        return -ERANGE;
    }
    error = answer_to_user(current->thread, buffer, name, (size_t)length);
    return error ? error : length;
}

int64_t sys_umask(struct task *current, mode_t mask) {
    return fs_context_set_umask(current->fs, mask);
}
