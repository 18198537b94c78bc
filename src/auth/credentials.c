/*
 * credentials: who a task is and what it may do. Shared and immutable once published; changed by
 * copying (credentials_dup), altering the private copy, and publishing that.
 */
#include "auth/auth.h"

/* What a change of the fsuid takes and gives: CAP_FS_SET of Linux's include/linux/capability.h, by
 * capabilities(7). */
#define CAPABILITY(number) (1ULL << (number))
#define FS_CAPABILITIES                                                                            \
    (CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_DAC_READ_SEARCH) |      \
     CAPABILITY(CAP_FOWNER) | CAPABILITY(CAP_FSETID) | CAPABILITY(CAP_LINUX_IMMUTABLE) |           \
     CAPABILITY(CAP_MAC_OVERRIDE) | CAPABILITY(CAP_MKNOD))

struct credentials *credentials_new(uid_t uid, gid_t gid) {
    struct credentials *creds = calloc(1, sizeof(*creds));

    if (!creds) {
        return NULL;
    }
    ref_init(&creds->ref);
    creds->uid = creds->euid = creds->suid = creds->fsuid = uid;
    creds->gid = creds->egid = creds->sgid = creds->fsgid = gid;
    creds->cap_bounding = CAPABILITIES_ALL;
    if (uid == 0) {
        creds->cap_permitted = creds->cap_effective = CAPABILITIES_ALL;
    }
    return creds;
}

struct credentials *credentials_dup(const struct credentials *creds) {
    struct credentials *copy = malloc(sizeof(*copy));

    if (!copy) {
        return NULL;
    }
    /* All but the count, which other holders are changing. */
    memcpy((char *)copy + sizeof(copy->ref), (const char *)creds + sizeof(creds->ref),
           sizeof(*copy) - sizeof(copy->ref));
    ref_init(&copy->ref);
    copy->groups = NULL;
    if (creds->group_count) {
        copy->groups = malloc(creds->group_count * sizeof(gid_t));
        if (!copy->groups) {
            free(copy);
            return NULL;
        }
        memcpy(copy->groups, creds->groups, creds->group_count * sizeof(gid_t));
    }
    return copy;
}

struct credentials *credentials_get(struct credentials *creds) {
    ref_get(&creds->ref);
    return creds;
}

void credentials_put(struct credentials *creds) {
    if (ref_put(&creds->ref)) {
        free(creds->groups);
        free(creds);
    }
}

bool credentials_capable(const struct credentials *creds, int capability) {
    return creds->cap_effective & CAPABILITY(capability);
}

static int compare_gids(const void *a, const void *b) {
    const gid_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

bool credentials_in_group(const struct credentials *creds, gid_t gid) {
    return gid == creds->fsgid ||
           (creds->group_count &&
            bsearch(&gid, creds->groups, creds->group_count, sizeof(gid_t), compare_gids) != NULL);
}

int credentials_set_groups(struct credentials *creds, const gid_t *groups, size_t count) {
    gid_t *copy = NULL;

    if (count) {
        copy = malloc(count * sizeof(gid_t));
        if (!copy) {
            return -ENOMEM;
        }
        memcpy(copy, groups, count * sizeof(gid_t));
        qsort(copy, count, sizeof(gid_t), compare_gids);
    }
    free(creds->groups);
    creds->groups = copy;
    creds->group_count = count;
    return 0;
}

void credentials_fix_capabilities(const struct credentials *old, struct credentials *new) {
    bool had_root = old->uid == 0 || old->euid == 0 || old->suid == 0;
    bool has_root = new->uid == 0 || new->euid == 0 || new->suid == 0;

    if (new->securebits & SECBIT_NO_SETUID_FIXUP) {
        return;
    }
    if (had_root && !has_root) {
        if (!(new->securebits &SECBIT_KEEP_CAPS)) {
            new->cap_permitted = 0;
            new->cap_effective = 0;
        }
        new->cap_ambient = 0;
    }
    if (old->euid == 0 && new->euid != 0) {
        new->cap_effective = 0;
    } else if (old->euid != 0 && new->euid == 0) {
        new->cap_effective = new->cap_permitted;
    }
}

void credentials_fix_fs_capabilities(const struct credentials *old, struct credentials *new) {
    if (new->securebits & SECBIT_NO_SETUID_FIXUP) {
        return;
    }
    if (old->fsuid == 0 && new->fsuid != 0) {
        new->cap_effective &= ~FS_CAPABILITIES;
    } else if (old->fsuid != 0 && new->fsuid == 0) {
        new->cap_effective |= FS_CAPABILITIES &new->cap_permitted;
    }
}
