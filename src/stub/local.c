/*
 * Class L: calls about oneself that the stub answers from what the kernel has published
 * (struct slot_public), with no host call at all.
 */
#include "stub/stub_internal.h"

#define SYS_getpid  39
#define SYS_getuid  102
#define SYS_getgid  104
#define SYS_geteuid 107
#define SYS_getegid 108
#define SYS_getpgrp 111
#define SYS_getpgid 121
#define SYS_getsid  124
#define SYS_gettid  186

int local_call(const struct stub_thread *thread, uint32_t number, uint64_t argument,
               int64_t *result) {
    const struct slot_public *public = thread->public;
    const struct slot_ids *ids = &public->ids;
    uint32_t value;

    switch (number) {
    case SYS_getpid:
        value = (uint32_t)ids->pid;
        break;
    case SYS_gettid:
        value = (uint32_t)ids->tid;
        break;
    case SYS_getppid:
        value = (uint32_t)ids->ppid;
        break;
    case SYS_getuid:
        value = ids->uid;
        break;
    case SYS_geteuid:
        value = ids->euid;
        break;
    case SYS_getgid:
        value = ids->gid;
        break;
    case SYS_getegid:
        value = ids->egid;
        break;
    case SYS_getpgid:
        if ((int32_t)argument != 0) {
            return 0;
        }
        value = (uint32_t)ids->pgid;
        break;
    case SYS_getpgrp:
        value = (uint32_t)ids->pgid;
        break;
    case SYS_getsid:
        if ((int32_t)argument != 0) {
            return 0;
        }
        value = (uint32_t)ids->sid;
        break;
    default:
        return 0;
    }
    if (!(public->flags & SLOT_PUBLIC_LOCAL)) {
        return 0;
    }
    *result = (int64_t)value;
    return 1;
}
