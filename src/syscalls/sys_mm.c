/*
 * Handlers of the memory calls: mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2),
 * msync(2), mincore(2), mlock(2), membarrier(2). Thin: what a mapping may be is decided here by the
 * file's rights, everything else in mm/.
 */
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "syscalls/syscalls.h"

#define MAP_TYPE_MASK 0x0f
/* What MAP_SHARED_VALIDATE knows: Linux's LEGACY_MAP_MASK. */
#define MAP_LEGACY                                                                                 \
    (MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE |       \
     MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |        \
     MAP_HUGETLB | MAP_32BIT | 0x4000000 /* MAP_UNINITIALIZED */)
/* What goes on to memory_map(): the rest is without effect, or the kernel's own bits. */
#define MAP_TAKEN                                                                                  \
    (MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE |          \
     MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_FIXED_NOREPLACE)

void current_memory_limits(struct task *current, struct memory_limits *limits) {
    struct rlimits *rlimits = &current->thread_group->rlimits;

    limits->address_space = rlimits_get(rlimits, RLIMIT_AS);
    limits->data = rlimits_get(rlimits, RLIMIT_DATA);
    limits->stack = rlimits_get(rlimits, RLIMIT_STACK);
    limits->locked = credentials_capable(current->creds, CAP_IPC_LOCK)
                         ? RLIM_INFINITY
                         : rlimits_get(rlimits, RLIMIT_MEMLOCK);
}

/* The object that `file` is mapped by, with the rights of the file in *flags. ERR_PTR. */
static struct memory_object *mapped_object(struct file *file, int prot, int *flags) {
    bool shared = *flags & MAP_SHARED;

    if (!(file->mode & FMODE_READ)) {
        return ERR_PTR(file->mode & FMODE_PATH ? -EBADF : -EACCES);
    }
    if (shared && !(file->mode & FMODE_WRITE)) {
        if (prot & PROT_WRITE) {
            return ERR_PTR(-EACCES);
        }
        *flags |= MAPPING_NO_WRITE;
    }
    if (file->path.mount && (atomic_load(&file->path.mount->flags) & MS_NOEXEC)) {
        if (prot & PROT_EXEC) {
            return ERR_PTR(-EPERM);
        }
        *flags |= MAPPING_NO_EXEC;
    }
    return file_memory_object(file, prot, *flags);
}

int64_t sys_mmap(struct task *current, uint64_t addr, size_t length, int prot, int flags, int fd,
                 int64_t offset) {
    struct memory_object *object CLEANUP(memory_object_put) = NULL;
    struct file *file CLEANUP(file_put) = NULL;
    struct memory_limits limits;
    int type = flags & MAP_TYPE_MASK, taken = flags & MAP_TAKEN;

    if ((uint64_t)offset % PAGE_SIZE) {
        return -EINVAL;
    }
    if (!(flags & MAP_ANONYMOUS)) {
        file = fd_table_get(current->files, fd);
        if (!file) {
            return -EBADF;
        }
    }
    if (length == 0) {
        return -EINVAL;
    }
    if (flags & MAP_HUGETLB) {
        log_once(LOG_WARN, "mmap", MAP_HUGETLB,
                 "not supported: mmap(2) with MAP_HUGETLB: there are no huge pages to hand out");
        return file ? -EINVAL : -ENOMEM;
    }
    switch (type) {
    case MAP_SHARED_VALIDATE:
        if (!file) {
            return -EINVAL;
        }
        if (flags & ~MAP_LEGACY & ~(MAP_FIXED_NOREPLACE | MAP_SHARED_VALIDATE)) {
            return unsupported_flags("mmap", (uint64_t)flags, MAP_LEGACY, EOPNOTSUPP);
        }
        taken |= MAP_SHARED;
        break;
    case MAP_SHARED:
    case MAP_PRIVATE:
        taken |= type;
        break;
    default:
        return -EINVAL;
    }
    if (file) {
        object = mapped_object(file, prot, &taken);
        if (IS_ERR(object)) {
            return PTR_ERR(STEAL(object));
        }
    }
    current_memory_limits(current, &limits);
    return memory_map(current->mm, current->thread, &limits, addr, length, prot, taken, object,
                      (uint64_t)offset, MAPPING_NORMAL);
}

int64_t sys_munmap(struct task *current, uint64_t addr, size_t length) {
    return memory_unmap(current->mm, current->thread, addr, length);
}

int64_t sys_mprotect(struct task *current, uint64_t addr, size_t length, int prot) {
    return memory_protect(current->mm, current->thread, addr, length, prot);
}

int64_t sys_mremap(struct task *current, uint64_t old_address, size_t old_size, size_t new_size,
                   int flags, uint64_t new_address) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_remap(current->mm, current->thread, &limits, old_address, old_size, new_size,
                        flags, new_address);
}

int64_t sys_madvise(struct task *current, uint64_t addr, size_t length, int advice) {
    return memory_advise(current->mm, current->thread, addr, length, advice);
}

int64_t sys_brk(struct task *current, uint64_t addr) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_brk(current->mm, current->thread, &limits, addr);
}

int64_t sys_msync(struct task *current, uint64_t addr, size_t length, int flags) {
    return memory_sync(current->mm, current->thread, addr, length, flags);
}

int64_t sys_mincore(struct task *current, uint64_t addr, size_t length, struct user_address vec) {
    return memory_resident(current->mm, current->thread, addr, length, vec);
}

int64_t sys_mlock(struct task *current, uint64_t addr, size_t len) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_lock(current->mm, current->thread, &limits, addr, len, 0, true);
}

int64_t sys_mlock2(struct task *current, uint64_t addr, size_t len, int flags) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_lock(current->mm, current->thread, &limits, addr, len, flags, true);
}

int64_t sys_munlock(struct task *current, uint64_t addr, size_t len) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_lock(current->mm, current->thread, &limits, addr, len, 0, false);
}

int64_t sys_mlockall(struct task *current, int flags) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_lock_all(current->mm, current->thread, &limits, flags, true);
}

int64_t sys_munlockall(struct task *current) {
    struct memory_limits limits;

    current_memory_limits(current, &limits);
    return memory_lock_all(current->mm, current->thread, &limits, 0, false);
}

/* The guest's process is the host's: what the host orders among its threads is what is asked for.
 */
int64_t sys_membarrier(struct task *current, int cmd, unsigned flags, int cpu_id) {
    switch (cmd) {
    case MEMBARRIER_CMD_QUERY:
    case MEMBARRIER_CMD_GLOBAL:
    case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
    case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED:
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE:
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ:
        return host_thread_call(current->thread, SYS_membarrier, (uint64_t)cmd, flags,
                                (uint64_t)cpu_id, 0, 0, 0);
    default:
        return -EINVAL;
    }
}
