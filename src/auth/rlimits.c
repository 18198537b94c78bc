/*
 * rlimits: the resource limits of a thread group (getrlimit(2)), under one lock. They are enforced
 * where the resource is given out, against the soft limit.
 */
#include "auth/auth.h"

/* A process of a fresh system. What is not named here is unlimited. */
static const struct {
    int resource;
    struct rlimit64 limit;
} defaults[] = {
    {RLIMIT_STACK, {8 << 20, RLIM64_INFINITY}},
    {RLIMIT_CORE, {0, RLIM64_INFINITY}},
    {RLIMIT_NOFILE, {1024, RLIMIT_NOFILE_MAX}},
    {RLIMIT_MEMLOCK, {8 << 20, 8 << 20}},
    {RLIMIT_SIGPENDING, {32768, 32768}},
    {RLIMIT_MSGQUEUE, {819200, 819200}},
    {RLIMIT_NICE, {0, 0}},
    {RLIMIT_RTPRIO, {0, 0}},
};

void rlimits_init_default(struct rlimits *limits) {
    lock_init(&limits->lock, LOCK_CREDS);
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        limits->limits[i] = (struct rlimit64){RLIM64_INFINITY, RLIM64_INFINITY};
    }
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        limits->limits[defaults[i].resource] = defaults[i].limit;
    }
}

void rlimits_copy(struct rlimits *to, struct rlimits *from) {
    struct rlimit64 copy[RLIM_NLIMITS];

    lock_acquire(&from->lock);
    memcpy(copy, from->limits, sizeof(copy));
    lock_release(&from->lock);
    lock_acquire(&to->lock);
    memcpy(to->limits, copy, sizeof(copy));
    lock_release(&to->lock);
}

struct rlimit64 rlimits_both(struct rlimits *limits, int resource) {
    LOCK_GUARD(&limits->lock);

    return limits->limits[resource];
}

uint64_t rlimits_get(struct rlimits *limits, int resource) {
    return rlimits_both(limits, resource).rlim_cur;
}

int rlimits_change(struct rlimits *limits, int resource, const struct rlimit64 *new,
                   struct rlimit64 *old, bool may_raise) {
    if (resource < 0 || resource >= RLIM_NLIMITS) {
        return -EINVAL;
    }
    if (new &&new->rlim_cur > new->rlim_max) {
        return -EINVAL;
    }
    if (new &&resource == RLIMIT_NOFILE &&new->rlim_max > RLIMIT_NOFILE_MAX) {
        return -EPERM;
    }

    LOCK_GUARD(&limits->lock);
    if (new &&new->rlim_max > limits->limits[resource].rlim_max && !may_raise) {
        return -EPERM;
    }
    if (old) {
        *old = limits->limits[resource];
    }
    if (new) {
        limits->limits[resource] = *new;
    }
    return 0;
}
