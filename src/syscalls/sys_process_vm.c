/*
 * process_vm_readv(2), process_vm_writev(2): another process's memory, page protections obeyed.
 *
 * Copies go through a buffer of the kernel's, piece by piece, with no lock held: both memories may
 * change meanwhile, as they may on Linux.
 */
#include <errno.h>
#include <sys/mman.h>

#include "syscalls/syscalls.h"

#define COPY_CHUNK 65536

struct remote {
    struct memory_manager *mm;  /* owned */
    struct host_thread *thread; /* owned */
    bool own;                   /* the caller's memory too */
};

static void remote_cleanup(struct remote *remote) {
    if (remote->thread) {
        host_thread_put(remote->thread);
    }
    if (remote->mm) {
        memory_manager_put(remote->mm);
    }
}

static void buffer_cleanup(struct user_buffer *buffer) {
    user_buffer_destroy(buffer);
}

static int remote_find(struct task *current, pid_t pid, struct remote *remote) {
    struct task *task CLEANUP(task_put) = kernel_get_task(current->thread_group->kernel, pid);

    if (!task) {
        return -ESRCH;
    }
    if (!task_may_access(current, task)) {
        return -EPERM;
    }
    task_memory(task, &remote->mm, &remote->thread);
    if (!remote->mm) {
        return -ESRCH;
    }
    /* Again, now that it is clear whose memory it is: exec changes rights first. */
    if (!task_may_access(current, task)) {
        return -EPERM;
    }
    remote->own = remote->mm == current->mm;
    if (remote->own) {
        host_thread_put(remote->thread);
        remote->thread = host_thread_get(current->thread);
    }
    return 0;
}

/* Bytes moved between `local` and the remote range, which may be fewer; -EFAULT. */
static ssize_t copy_range(struct task *current, const struct remote *remote, uint64_t address,
                          size_t size, struct user_buffer *local, bool write, char *buffer) {
    size_t done = 0;

    while (done < size) {
        size_t want = MIN(size - done, (size_t)COPY_CHUNK);
        ssize_t copied;

        want =
            memory_mapped_extent(remote->mm, address + done, want, write ? PROT_WRITE : PROT_READ);
        if (want == 0) {
            break;
        }
        if (write) {
            copied = user_buffer_read(current->thread, local, buffer, want);
            if (copied > 0) {
                copied = memory_write_force(remote->mm, remote->thread, remote->own, address + done,
                                            buffer, (size_t)copied);
            }
        } else {
            copied = memory_read_force(remote->mm, remote->thread, buffer, address + done, want);
            if (copied > 0) {
                copied = user_buffer_write(current->thread, local, buffer, (size_t)copied);
            }
        }
        if (copied == -ERESTARTNOINTR && done == 0) {
            return copied;
        }
        if (copied <= 0) {
            break;
        }
        done += (size_t)copied;
        if ((size_t)copied < want) {
            break;
        }
    }
    return done ? (ssize_t)done : -EFAULT;
}

static int64_t process_vm(struct task *current, pid_t pid, struct user_address local_iov,
                          size_t local_count, struct user_address remote_iov, size_t remote_count,
                          unsigned long flags, bool write) {
    struct user_buffer local CLEANUP(buffer) = {0}, ranges CLEANUP(buffer) = {0};
    struct remote remote CLEANUP(remote) = {0};
    char *buffer CLEANUP(free) = NULL;
    int64_t done = 0;
    int error;

    if (flags) {
        return unsupported_flags("process_vm", flags, 0, EINVAL);
    }
    error = user_buffer_import(current->thread, &local, local_iov, local_count);
    if (error || local.total == 0) {
        return error;
    }
    error = user_buffer_import(current->thread, &ranges, remote_iov, remote_count);
    if (error || ranges.total == 0) {
        return error;
    }
    error = remote_find(current, pid, &remote);
    if (error) {
        return error;
    }
    buffer = malloc(COPY_CHUNK);
    if (!buffer) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < ranges.count && local.total > 0; i++) {
        size_t size = MIN(ranges.vec[i].len, local.total);
        ssize_t moved =
            size ? copy_range(current, &remote, ranges.vec[i].base, size, &local, write, buffer)
                 : 0;

        if (moved < 0) {
            return done ? done : moved;
        }
        done += moved;
        if ((size_t)moved < size) {
            break;
        }
    }
    return done;
}

int64_t sys_process_vm_readv(struct task *current, pid_t pid, struct user_address local_iov,
                             unsigned long liovcnt, struct user_address remote_iov,
                             unsigned long riovcnt, unsigned long flags) {
    return process_vm(current, pid, local_iov, liovcnt, remote_iov, riovcnt, flags, false);
}

int64_t sys_process_vm_writev(struct task *current, pid_t pid, struct user_address local_iov,
                              unsigned long liovcnt, struct user_address remote_iov,
                              unsigned long riovcnt, unsigned long flags) {
    return process_vm(current, pid, local_iov, liovcnt, remote_iov, riovcnt, flags, true);
}
