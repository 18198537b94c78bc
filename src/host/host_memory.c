/*
 * Guest memory by process_vm_readv/writev, which follow the page protections of the guest process,
 * and by /proc/PID/mem where they must be passed over. mm/usercopy.c is the only caller for
 * ordinary calls.
 */
#include "host/host_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

/* By the thread's own id: a process whose first thread has ended has no memory by its process id.
 */
static pid_t memory_pid(struct host_thread *thread) {
    if (thread->mock || host_thread_ensure_started(thread)) {
        return 0;
    }
    return atomic_load(&thread->dead) ? thread->process->pid : host_thread_tid(thread);
}

typedef ssize_t vm_fn(pid_t pid, const struct iovec *local, unsigned long local_count,
                      const struct iovec *remote, unsigned long remote_count, unsigned long flags);

/* Remote ranges in batches of what the host takes at once; stops at the first short batch. */
static ssize_t transfer(vm_fn *vm, struct host_thread *thread, char *local,
                        const struct user_iovec *remote, size_t count, size_t size) {
    pid_t pid = memory_pid(thread);
    size_t done = 0;

    if (pid == 0) {
        return -EFAULT;
    }
    for (size_t i = 0; i < count && done < size;) {
        struct iovec batch[16];
        size_t used = 0, bytes = 0;
        struct iovec here;
        ssize_t copied;

        while (i < count && used < ARRAY_SIZE(batch) && done + bytes < size) {
            size_t length = MIN(remote[i].len, size - done - bytes);

            if (length) {
                batch[used++] = (struct iovec){(void *)remote[i].base, length};
            }
            bytes += length;
            i++;
        }
        if (bytes == 0) {
            continue;
        }
        here = (struct iovec){local + done, bytes};
        copied = vm(pid, &here, 1, batch, used, 0);
        if (copied < 0) {
            return done ? (ssize_t)done : -EFAULT;
        }
        done += (size_t)copied;
        if ((size_t)copied < bytes) {
            break;
        }
    }
    return (ssize_t)done;
}

ssize_t host_memory_readv(struct host_thread *thread, void *to, const struct user_iovec *from,
                          size_t count) {
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        size += from[i].len;
    }
    return transfer(process_vm_readv, thread, to, from, count, size);
}

ssize_t host_memory_writev(struct host_thread *thread, const struct user_iovec *to, size_t count,
                           const void *from, size_t size) {
    return transfer(process_vm_writev, thread, (char *)from, to, count, size);
}

ssize_t host_memory_read(struct host_thread *thread, void *to, uint64_t from, size_t size) {
    struct user_iovec range = {from, size};

    return transfer(process_vm_readv, thread, to, &range, 1, size);
}

ssize_t host_memory_write(struct host_thread *thread, uint64_t to, const void *from, size_t size) {
    struct user_iovec range = {to, size};

    return transfer(process_vm_writev, thread, (char *)from, &range, 1, size);
}

static int open_memory(struct host_thread *thread, int flags) {
    char path[32];
    pid_t pid = memory_pid(thread);

    if (pid == 0) {
        return -ESRCH;
    }
    snprintf(path, sizeof(path), "%d/mem", pid);
    return host_proc_open(path, flags);
}

ssize_t host_memory_read_force(struct host_thread *thread, void *to, uint64_t from, size_t size) {
    int fd = open_memory(thread, O_RDONLY);
    ssize_t copied;

    if (fd < 0) {
        return -EFAULT;
    }
    copied = host_pread(fd, to, size, (off_t)from);
    close(fd);
    return copied > 0 || size == 0 ? copied : -EFAULT;
}

int host_memory_open_force(struct host_thread *thread) {
    return open_memory(thread, O_WRONLY);
}

ssize_t host_memory_write_force(struct host_thread *thread, uint64_t to, const void *from,
                                size_t size) {
    int fd = open_memory(thread, O_WRONLY);
    ssize_t copied;

    if (fd < 0) {
        return -EFAULT;
    }
    copied = host_pwrite(fd, from, size, (off_t)to);
    close(fd);
    return copied > 0 || size == 0 ? copied : -EFAULT;
}
