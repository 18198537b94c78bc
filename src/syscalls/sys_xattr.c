/*
 * Extended attributes (xattr(7)): set, get, list, remove; by path, by path without following, by
 * descriptor.
 */
#include <linux/limits.h>
#include <sys/xattr.h>

#include "syscalls/sys_at.h"

/* The path of a call: by name (following or not) or of a descriptor. */
static int xattr_path(struct task *current, struct user_address address, bool follow,
                      struct path *path) {
    return at_lookup(current, AT_FDCWD, address, follow ? LOOKUP_FOLLOW : 0, path);
}

static int xattr_fd(struct task *current, int fd, struct path *path) {
    struct file *file CLEANUP(file_put) = fd_file(current, fd, false);

    if (!file) {
        return -EBADF;
    }
    *path = file->path;
    path_get(path);
    return 0;
}

static int get_name(struct task *current, char name[XATTR_NAME_MAX + 1],
                    struct user_address address) {
    ssize_t length = copy_string_from_user(current->thread, name, address, XATTR_NAME_MAX + 1);

    if (length < 0) {
        return length == -ENAMETOOLONG ? -ERANGE : (int)length;
    }
    return length ? 0 : -ERANGE;
}

static int64_t do_set(struct task *current, const struct path *path, struct user_address name,
                      struct user_address value, size_t size, int flags) {
    char text[XATTR_NAME_MAX + 1];
    char *bytes CLEANUP(free) = NULL;
    int error;

    if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) {
        return -EINVAL;
    }
    error = get_name(current, text, name);
    if (error) {
        return error;
    }
    if (size > XATTR_SIZE_MAX) {
        return -E2BIG;
    }
    if (size) {
        bytes = malloc(size);
        if (!bytes) {
            return -ENOMEM;
        }
        error = copy_from_user(current->thread, bytes, value, size);
        if (error) {
            return error;
        }
    }
    return path_setxattr(path, text, bytes, size, flags, current->creds);
}

static int64_t do_get(struct task *current, const struct path *path, struct user_address name,
                      struct user_address value, size_t size) {
    char text[XATTR_NAME_MAX + 1];
    char *bytes CLEANUP(free) = NULL;
    ssize_t length;
    int error = get_name(current, text, name);

    if (error) {
        return error;
    }
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    if (size) {
        bytes = malloc(size);
        if (!bytes) {
            return -ENOMEM;
        }
    }
    length = path_getxattr(path, text, bytes, size, current->creds);
    if (length > 0 && size) {
        error = copy_to_user(current->thread, value, bytes, (size_t)length);
    }
    return error ? error : length;
}

static int64_t do_list(struct task *current, const struct path *path, struct user_address list,
                       size_t size) {
    char *bytes CLEANUP(free) = NULL;
    ssize_t length;
    int error = 0;

    size = MIN(size, (size_t)XATTR_LIST_MAX);
    if (size) {
        bytes = malloc(size);
        if (!bytes) {
            return -ENOMEM;
        }
    }
    length = path_listxattr(path, bytes, size, current->creds);
    if (length > 0 && size) {
        error = copy_to_user(current->thread, list, bytes, (size_t)length);
    }
    return error ? error : length;
}

static int64_t do_remove(struct task *current, const struct path *path, struct user_address name) {
    char text[XATTR_NAME_MAX + 1];
    int error = get_name(current, text, name);

    return error ? error : path_removexattr(path, text, current->creds);
}

int64_t sys_setxattr(struct task *current, struct user_address address, struct user_address name,
                     struct user_address value, size_t size, int flags) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, true, &path);

    return error ? error : do_set(current, &path, name, value, size, flags);
}

int64_t sys_lsetxattr(struct task *current, struct user_address address, struct user_address name,
                      struct user_address value, size_t size, int flags) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, false, &path);

    return error ? error : do_set(current, &path, name, value, size, flags);
}

int64_t sys_fsetxattr(struct task *current, int fd, struct user_address name,
                      struct user_address value, size_t size, int flags) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_fd(current, fd, &path);

    return error ? error : do_set(current, &path, name, value, size, flags);
}

int64_t sys_getxattr(struct task *current, struct user_address address, struct user_address name,
                     struct user_address value, size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, true, &path);

    return error ? error : do_get(current, &path, name, value, size);
}

int64_t sys_lgetxattr(struct task *current, struct user_address address, struct user_address name,
                      struct user_address value, size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, false, &path);

    return error ? error : do_get(current, &path, name, value, size);
}

int64_t sys_fgetxattr(struct task *current, int fd, struct user_address name,
                      struct user_address value, size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_fd(current, fd, &path);

    return error ? error : do_get(current, &path, name, value, size);
}

int64_t sys_listxattr(struct task *current, struct user_address address, struct user_address list,
                      size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, true, &path);

    return error ? error : do_list(current, &path, list, size);
}

int64_t sys_llistxattr(struct task *current, struct user_address address, struct user_address list,
                       size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, false, &path);

    return error ? error : do_list(current, &path, list, size);
}

int64_t sys_flistxattr(struct task *current, int fd, struct user_address list, size_t size) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_fd(current, fd, &path);

    return error ? error : do_list(current, &path, list, size);
}

int64_t sys_removexattr(struct task *current, struct user_address address,
                        struct user_address name) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, true, &path);

    return error ? error : do_remove(current, &path, name);
}

int64_t sys_lremovexattr(struct task *current, struct user_address address,
                         struct user_address name) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_path(current, address, false, &path);

    return error ? error : do_remove(current, &path, name);
}

int64_t sys_fremovexattr(struct task *current, int fd, struct user_address name) {
    struct path path CLEANUP(path_put) = {0};
    int error = xattr_fd(current, fd, &path);

    return error ? error : do_remove(current, &path, name);
}
