/*
 * Landlock: a guest process may open nothing of the host's, by no path. It could not anyway, since
 * the filter lets no call through that takes a path; but where the host refuses namespaces, the
 * host's whole tree lies behind that filter, and this is a second wall before it. Descriptors that
 * the kernel process opened and passed on are not touched by it: their rights were taken then.
 *
 * A host without Landlock (before 5.13, or switched off) does without; `starling doctor` tells.
 */
#include "host/host_internal.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* landlock(7). Spelled out, since the headers may be older than the host. */
#define CREATE_RULESET_VERSION 1u

struct ruleset {
    uint64_t fs;     /* rights to files that are handled, hence denied: there are no rules */
    uint64_t net;    /* to TCP ports; from version 4 */
    uint64_t scoped; /* abstract sockets and signals to processes outside; from version 6 */
};

int host_landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

    return version < 0 ? -errno : (int)version;
}

/* What a version knows: asking for more is refused. */
static size_t everything(int version, struct ruleset *all) {
    static const int fs_rights[] = {13, 14, 15, 15, 16}; /* by version - 1; then as the last */
    int index = MIN(version, (int)ARRAY_SIZE(fs_rights)) - 1;

    *all = (struct ruleset){
        .fs = (1ull << fs_rights[index]) - 1,
        .net = version >= 4 ? 3 : 0,
        .scoped = version >= 6 ? 3 : 0,
    };
    return version >= 6 ? sizeof(*all) : version >= 4 ? 16 : 8;
}

int host_landlock_deny_all(void) {
    int version = host_landlock_version(), fd, result;
    struct ruleset all;
    size_t size;

    if (version < 1) {
        return version < 0 ? version : -EOPNOTSUPP;
    }
    size = everything(version, &all);
    fd = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (fd < 0) {
        return -errno;
    }
    result = syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
    close(fd);
    return result;
}
