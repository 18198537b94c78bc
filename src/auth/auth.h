/*
 * auth: credentials, capabilities, resource limits. Credentials are immutable once published
 * (credentials(7)): a change makes a copy (credentials_dup), alters it, and the task takes the
 * copy. Ids and capabilities are the guest's; the host never sees them.
 */
#ifndef STARLING_AUTH_H
#define STARLING_AUTH_H

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/base.h"
#include "uapi/uapi.h"

#define CAPABILITIES_ALL  ((1ULL << 41) - 1) /* CAP_LAST_CAP is 40, capabilities(7) */
#define NGROUPS_LIMIT     65536
#define RLIMIT_NOFILE_MAX (1U << 20) /* /proc/sys/fs/nr_open */

struct credentials {
    struct ref ref;
    uid_t uid, euid, suid, fsuid;
    gid_t gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    unsigned securebits;
    size_t group_count;
    gid_t *groups; /* supplementary, sorted; owned */
};

/* uid 0 gets every capability, others none. */
struct credentials *credentials_new(uid_t uid, gid_t gid);
struct credentials *
credentials_dup(const struct credentials *creds); /* private copy, one reference */
struct credentials *credentials_get(struct credentials *creds);
void credentials_put(struct credentials *creds);
DEFINE_CLEANUP(struct credentials *, credentials_put)
bool credentials_capable(const struct credentials *creds, int capability);
bool credentials_in_group(const struct credentials *creds, gid_t gid); /* fsgid or supplementary */
/* The rules of capabilities(7) "Effect of user ID changes on capabilities", applied after the ids
 * of `new` changed. */
void credentials_fix_capabilities(const struct credentials *old, struct credentials *new);

/* setfsuid(2): the file system capabilities follow the fsuid to and from 0. */
void credentials_fix_fs_capabilities(const struct credentials *old, struct credentials *new);
/* Replaces the supplementary groups of private credentials: sorted copy. -ENOMEM. */
int MUST_CHECK credentials_set_groups(struct credentials *creds, const gid_t *groups, size_t count);

/* prlimit(2): one set per thread group, shared by its tasks. */
struct rlimits {
    struct lock lock;                     /* class CREDS */
    struct rlimit64 limits[RLIM_NLIMITS]; /* guarded by lock */
};
void rlimits_init_default(struct rlimits *limits);
void rlimits_copy(struct rlimits *to, struct rlimits *from);
uint64_t rlimits_get(struct rlimits *limits, int resource); /* the soft limit */
/* Both limits as they are. */
struct rlimit64 rlimits_both(struct rlimits *limits, int resource);
/* `new`, `old` may be NULL. -EINVAL, -EPERM. */
int MUST_CHECK rlimits_change(struct rlimits *limits, int resource, const struct rlimit64 *new,
                              struct rlimit64 *old, bool may_raise);

#endif
