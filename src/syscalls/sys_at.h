/*
 * For handlers that take a path: the name copied from the guest, and where its walk begins.
 */
#ifndef STARLING_SYS_AT_H
#define STARLING_SYS_AT_H

#include "syscalls/sys_install.h"

struct at {
    char *name; /* owned; "" when NULL was allowed and given */
    struct walk walk;
    struct file *holder; /* of dirfd; owned */
};

static inline void at_cleanup(struct at *at) {
    free(at->name);
    if (at->holder) {
        file_put(at->holder);
    }
}

/* Zeroes *at first, so that it can be cleaned up whatever comes. An absolute name does not look at
 * dirfd at all (openat(2)); `rooted`: it does (RESOLVE_IN_ROOT). */
int MUST_CHECK at_begin(struct task *current, struct at *at, int dirfd, struct user_address path,
                        bool rooted);
/* The same, and the path it names; flags: LOOKUP_*. The path is owned. */
int MUST_CHECK at_lookup(struct task *current, int dirfd, struct user_address path, unsigned flags,
                         struct path *found);
/* Its attributes, and where it is (or NULL); flags: AT_*. */
int MUST_CHECK at_stat(struct task *current, int dirfd, struct user_address path, int flags,
                       struct kstat *stat, struct stat_place *place);
/* LOOKUP_* for AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH. */
static inline unsigned at_lookup_flags(int flags) {
    return (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
           (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}
/* A descriptor's file, or NULL (EBADF) when there is none or (not with `path_only`) it is O_PATH.
 */
struct file *fd_file(struct task *current, int fd, bool path_only);

#endif
