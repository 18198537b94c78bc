/* For handlers that make a descriptor: puts a new file into the table. */
#ifndef STARLING_SYS_INSTALL_H
#define STARLING_SYS_INSTALL_H

#include "syscalls/syscalls.h"

static inline int current_fd_limit(struct task *current) {
    uint64_t limit = rlimits_get(&current->thread_group->rlimits, RLIMIT_NOFILE);

    return limit > FD_TABLE_MAX ? FD_TABLE_MAX : (int)limit;
}

/* The number, or -errno; drops the caller's reference either way. `flags`: O_CLOEXEC counts (the
 * value that SOCK_CLOEXEC, EFD_CLOEXEC ... share). */
static inline int install_file(struct task *current, struct file *file, int flags) {
    int fd =
        fd_table_install(current->files, file, 0, current_fd_limit(current), flags & O_CLOEXEC);

    file_put(file);
    return fd;
}

#endif
