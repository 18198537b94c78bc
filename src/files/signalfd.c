/*
 * signalfd(2): reads take pending signals of whoever reads (signal(7): the reader's thread and its
 * group, not the creator's).
 *
 * The queue that announces signals belongs to a thread group. A poll table that stands on it may
 * outlive the group (an epoll item does), so the file keeps every group that was polled through it
 * until it ends itself; in practice that is one.
 */
#include <stdio.h>
#include <sys/signalfd.h>

#include "files/files_internal.h"

struct signalfd {
    struct lock lock;   /* class DEVICE */
    kernel_sigset mask; /* guarded by lock */
    /* guarded by lock: owned references */
    struct thread_group **groups;
    size_t group_count;
};

static const struct file_ops signalfd_file_ops;

static kernel_sigset signalfd_mask(struct signalfd *signalfd) {
    LOCK_GUARD(&signalfd->lock);
    return signalfd->mask;
}

static int signalfd_keep_group(struct signalfd *signalfd, struct thread_group *group) {
    struct thread_group **grown;
    LOCK_GUARD(&signalfd->lock);

    for (size_t i = 0; i < signalfd->group_count; i++) {
        if (signalfd->groups[i] == group) {
            return 0;
        }
    }
    grown = realloc(signalfd->groups, (signalfd->group_count + 1) * sizeof(struct thread_group *));
    if (!grown) {
        return -ENOMEM;
    }
    signalfd->groups = grown;
    grown[signalfd->group_count++] = thread_group_get(group);
    return 0;
}

static void signalfd_fill(struct signalfd_siginfo *out, const struct signal_info *in) {
    const siginfo_t *info = &in->info;

    memset(out, 0, sizeof(*out));
    out->ssi_signo = (uint32_t)in->signal;
    out->ssi_errno = in->error;
    out->ssi_code = in->code;
    /* Which member of the union is meant: signalfd(2), sigaction(2). */
    if (in->signal == SIGCHLD && in->code > 0) {
        out->ssi_pid = (uint32_t)info->si_pid;
        out->ssi_uid = info->si_uid;
        out->ssi_status = info->si_status;
        out->ssi_utime = (uint64_t)info->si_utime;
        out->ssi_stime = (uint64_t)info->si_stime;
    } else if (in->code == SI_TIMER) {
        out->ssi_tid = (uint32_t)info->si_timerid;
        out->ssi_overrun = (uint32_t)info->si_overrun;
        out->ssi_int = info->si_int;
        out->ssi_ptr = (uint64_t)(uintptr_t)info->si_ptr;
    } else if (in->signal == SIGSEGV || in->signal == SIGBUS || in->signal == SIGILL ||
               in->signal == SIGFPE || in->signal == SIGTRAP) {
        if (in->code > 0) {
            out->ssi_addr = (uint64_t)(uintptr_t)info->si_addr;
        } else {
            out->ssi_pid = (uint32_t)info->si_pid;
            out->ssi_uid = info->si_uid;
        }
    } else if (in->signal == SIGPOLL && in->code > 0) {
        out->ssi_band = (uint32_t)info->si_band;
        out->ssi_fd = info->si_fd;
    } else {
        out->ssi_pid = (uint32_t)info->si_pid;
        out->ssi_uid = info->si_uid;
        if (in->code < 0) {
            out->ssi_int = info->si_int;
            out->ssi_ptr = (uint64_t)(uintptr_t)info->si_ptr;
        }
    }
}

static ssize_t signalfd_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    struct signalfd *signalfd = file->private;
    struct task *current = current_task();
    struct wait_entry entry = WAIT_ENTRY_INIT;
    size_t wanted = size / sizeof(struct signalfd_siginfo), count = 0;
    ssize_t result = 0;

    if (!wanted || !current) {
        return -EINVAL;
    }
    for (;;) {
        kernel_sigset mask = signalfd_mask(signalfd);
        struct signal_info info;

        while (count < wanted && signal_dequeue(current, mask, &info)) {
            struct signalfd_siginfo out;

            signalfd_fill(&out, &info);
            memcpy((char *)buffer + count++ * sizeof(out), &out, sizeof(out));
        }
        if (count) {
            break;
        }
        if (file_nonblocking(file)) {
            result = -EAGAIN;
            break;
        }
        if (!entry.queue) {
            wait_queue_add(signal_wait_queue(current->thread_group), &entry);
            continue;
        }
        result = wait_sleep(WAIT_FOREVER);
        if (result) {
            break;
        }
    }
    wait_queue_remove(&entry);
    return count ? (ssize_t)(count * sizeof(struct signalfd_siginfo)) : result;
}

static uint32_t signalfd_poll(struct file *file, struct poll_table *table) {
    struct signalfd *signalfd = file->private;
    struct task *current = current_task();

    if (!current) {
        return 0;
    }
    if (table) {
        if (signalfd_keep_group(signalfd, current->thread_group)) {
            table->error = -ENOMEM;
            return 0;
        }
        poll_table_add(table, signal_wait_queue(current->thread_group));
    }
    return signal_pending_set(current) & signalfd_mask(signalfd) ? EPOLLIN : 0;
}

static void signalfd_free(struct signalfd *signalfd) {
    for (size_t i = 0; i < signalfd->group_count; i++) {
        thread_group_put(signalfd->groups[i]);
    }
    free(signalfd->groups);
    lock_destroy(&signalfd->lock);
    free(signalfd);
}

static void signalfd_release(struct file *file) {
    signalfd_free(file->private);
}

static int signalfd_show_fdinfo(struct file *file, char *buffer, size_t size) {
    return snprintf(buffer, size, "sigmask:\t%016lx\n",
                    (unsigned long)signalfd_mask(file->private));
}

static const struct file_ops signalfd_file_ops = {
    .read = signalfd_read,
    .poll = signalfd_poll,
    .show_fdinfo = signalfd_show_fdinfo,
    .release = signalfd_release,
};

int signalfd_new(kernel_sigset mask, int flags, struct file **file) {
    struct signalfd *signalfd = calloc(1, sizeof(*signalfd));
    int error;

    if (!signalfd) {
        return -ENOMEM;
    }
    lock_init(&signalfd->lock, LOCK_DEVICE);
    signalfd->mask = mask & ~SIGNAL_UNMASKABLE;
    error = file_new_anonymous("anon_inode:[signalfd]", 0, &signalfd_file_ops, signalfd,
                               O_RDWR | (flags & SFD_NONBLOCK), file);
    if (error) {
        signalfd_free(signalfd);
    }
    return error;
}

int signalfd_set_mask(struct file *file, kernel_sigset mask) {
    struct signalfd *signalfd = file->private;
    struct task *current = current_task();

    if (file->ops != &signalfd_file_ops) {
        return -EINVAL;
    }
    lock_acquire(&signalfd->lock);
    signalfd->mask = mask & ~SIGNAL_UNMASKABLE;
    lock_release(&signalfd->lock);
    if (current) {
        wait_queue_wake(signal_wait_queue(current->thread_group), 0);
    }
    return 0;
}
