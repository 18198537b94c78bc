/*
 * How --strace prints the structures that guests pass: one printer a structure of syscalls.def. The
 * bytes were copied from the guest; pointers in them are the guest's.
 */
#include "syscalls/trace_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <utime.h>

/* The sets that structures are printed with: made in syscalls_gen.c. */
extern const struct flag_set flag_set_sigaction, flag_set_sigaltstack, flag_set_epoll,
    flag_set_poll, flag_set_clone, flag_set_open, flag_set_resolve, flag_set_msg;

#define TRACE_STRUCT(name, bytes)                                                                  \
    static void print_##name(struct trace_text *out, struct task *task, const void *data);         \
    const struct trace_struct trace_struct_##name = {(bytes), print_##name};                       \
    static void print_##name(struct trace_text *out, struct task *task, const void *data)

TRACE_STRUCT(int, 4) {
    trace_add(out, "[%d]", *(const int *)data);
}

TRACE_STRUCT(uint, 4) {
    trace_add(out, "[%u]", *(const unsigned *)data);
}

TRACE_STRUCT(long, 8) {
    trace_add(out, "[%ld]", *(const long *)data);
}

TRACE_STRUCT(off, 8) {
    trace_add(out, "[%" PRId64 "]", *(const int64_t *)data);
}

TRACE_STRUCT(fd_pair, 8) {
    const int *fds = data;

    trace_add(out, "[%d, %d]", fds[0], fds[1]);
}

TRACE_STRUCT(timespec, sizeof(struct timespec)) {
    const struct timespec *time = data;

    if (time->tv_nsec == UTIME_NOW || time->tv_nsec == UTIME_OMIT) {
        trace_add(out, time->tv_nsec == UTIME_NOW ? "UTIME_NOW" : "UTIME_OMIT");
    } else {
        trace_add(out, "{tv_sec=%ld, tv_nsec=%ld}", (long)time->tv_sec, time->tv_nsec);
    }
}

TRACE_STRUCT(timeval, sizeof(struct timeval)) {
    const struct timeval *time = data;

    trace_add(out, "{tv_sec=%ld, tv_usec=%ld}", (long)time->tv_sec, (long)time->tv_usec);
}

TRACE_STRUCT(itimerspec, sizeof(struct itimerspec)) {
    const struct itimerspec *timer = data;

    trace_add(out, "{it_interval=");
    print_timespec(out, task, &timer->it_interval);
    trace_add(out, ", it_value=");
    print_timespec(out, task, &timer->it_value);
    trace_add(out, "}");
}

TRACE_STRUCT(itimerval, 2 * sizeof(struct timeval)) {
    const struct timeval *times = data;

    trace_add(out, "{it_interval=");
    print_timeval(out, task, &times[0]);
    trace_add(out, ", it_value=");
    print_timeval(out, task, &times[1]);
    trace_add(out, "}");
}

TRACE_STRUCT(stat, sizeof(struct stat)) {
    const struct stat *stat = data;

    trace_add(out, "{st_mode=");
    trace_add_mode(out, stat->st_mode);
    if (S_ISCHR(stat->st_mode) || S_ISBLK(stat->st_mode)) {
        trace_add(out, ", st_rdev=");
        trace_add_dev(out, stat->st_rdev);
    } else {
        trace_add(out, ", st_size=%" PRId64, (int64_t)stat->st_size);
    }
    trace_add(out, ", ...}");
}

TRACE_STRUCT(statx, sizeof(struct statx)) {
    const struct statx *stat = data;

    trace_add(out, "{stx_mask=%#x, stx_mode=", stat->stx_mask);
    trace_add_mode(out, stat->stx_mode);
    trace_add(out, ", stx_size=%" PRIu64 ", ...}", (uint64_t)stat->stx_size);
}

TRACE_STRUCT(statfs, sizeof(struct statfs)) {
    const struct statfs *stat = data;

    trace_add(out, "{f_type=%#lx, f_bsize=%ld, f_blocks=%lu, f_bfree=%lu, ...}",
              (unsigned long)stat->f_type, (long)stat->f_bsize, (unsigned long)stat->f_blocks,
              (unsigned long)stat->f_bfree);
}

TRACE_STRUCT(utimbuf, sizeof(struct utimbuf)) {
    const struct utimbuf *times = data;

    trace_add(out, "{actime=%ld, modtime=%ld}", (long)times->actime, (long)times->modtime);
}

TRACE_STRUCT(pollfd, sizeof(struct pollfd)) {
    const struct pollfd *poll = data;

    trace_add(out, "{fd=%d, events=", poll->fd);
    trace_add_flags(out, &flag_set_poll, (unsigned short)poll->events);
    if (poll->revents) {
        trace_add(out, ", revents=");
        trace_add_flags(out, &flag_set_poll, (unsigned short)poll->revents);
    }
    trace_add(out, "}");
}

TRACE_STRUCT(epoll_event, sizeof(struct epoll_event)) {
    const struct epoll_event *event = data;

    trace_add(out, "{events=");
    trace_add_flags(out, &flag_set_epoll, event->events);
    trace_add(out, ", data=0x%" PRIx64 "}", (uint64_t)event->data.u64);
}

/* Only the first numbers are shown: how many there are is another argument's matter. */
TRACE_STRUCT(fd_set, 8) {
    uint64_t bits = *(const uint64_t *)data;
    const char *separator = "";

    trace_add(out, "[");
    for (int fd = 0; fd < 64; fd++) {
        if (bits >> fd & 1) {
            trace_add(out, "%s%d", separator, fd);
            separator = " ";
        }
    }
    trace_add(out, "]");
}

TRACE_STRUCT(sigset, 8) {
    trace_add_sigset(out, *(const kernel_sigset *)data);
}

TRACE_STRUCT(sigaction, sizeof(struct user_sigaction)) {
    const struct user_sigaction *action = data;

    trace_add(out, "{sa_handler=");
    if (action->handler <= 1) {
        trace_add(out, action->handler ? "SIG_IGN" : "SIG_DFL");
    } else {
        trace_add_pointer(out, action->handler);
    }
    trace_add(out, ", sa_mask=");
    trace_add_sigset(out, action->mask);
    trace_add(out, ", sa_flags=");
    trace_add_flags(out, &flag_set_sigaction, action->flags);
    if (action->flags & 0x04000000) {
        trace_add(out, ", sa_restorer=");
        trace_add_pointer(out, action->restorer);
    }
    trace_add(out, "}");
}

TRACE_STRUCT(sigaltstack, sizeof(struct user_sigaltstack)) {
    const struct user_sigaltstack *stack = data;

    trace_add(out, "{ss_sp=");
    trace_add_pointer(out, stack->sp);
    trace_add(out, ", ss_flags=");
    trace_add_flags(out, &flag_set_sigaltstack, (uint32_t)stack->flags);
    trace_add(out, ", ss_size=%" PRIu64 "}", stack->size);
}

TRACE_STRUCT(siginfo, sizeof(siginfo_t)) {
    trace_add_siginfo(out, data);
}

TRACE_STRUCT(sigevent, 16) {
    const struct {
        uint64_t value;
        int signal, notify;
    } *event = data;

    trace_add(out, "{sigev_value=0x%" PRIx64 ", sigev_signo=", event->value);
    trace_add_signal(out, event->signal);
    trace_add(out, ", sigev_notify=%d}", event->notify);
}

TRACE_STRUCT(wait_status, 4) {
    int status = *(const int *)data;

    if (WIFEXITED(status)) {
        trace_add(out, "[{WIFEXITED(s) && WEXITSTATUS(s) == %d}]", WEXITSTATUS(status));
    } else if (WIFCONTINUED(status)) {
        trace_add(out, "[{WIFCONTINUED(s)}]");
    } else if (WIFSTOPPED(status)) {
        trace_add(out, "[{WIFSTOPPED(s) && WSTOPSIG(s) == ");
        trace_add_signal(out, WSTOPSIG(status));
        trace_add(out, "}]");
    } else {
        trace_add(out, "[{WIFSIGNALED(s) && WTERMSIG(s) == ");
        trace_add_signal(out, WTERMSIG(status));
        trace_add(out, WCOREDUMP(status) ? " && WCOREDUMP(s)}]" : "}]");
    }
}

TRACE_STRUCT(rusage, sizeof(struct rusage)) {
    const struct rusage *usage = data;

    trace_add(out, "{ru_utime=");
    print_timeval(out, task, &usage->ru_utime);
    trace_add(out, ", ru_stime=");
    print_timeval(out, task, &usage->ru_stime);
    trace_add(out, ", ...}");
}

static void add_limit(struct trace_text *out, uint64_t limit) {
    if (limit == RLIM64_INFINITY) {
        trace_add(out, "RLIM64_INFINITY");
    } else if (limit && limit % 1024 == 0) {
        trace_add(out, "%" PRIu64 "*1024", limit / 1024);
    } else {
        trace_add(out, "%" PRIu64, limit);
    }
}

TRACE_STRUCT(rlimit, sizeof(struct rlimit64)) {
    const struct rlimit64 *limit = data;

    trace_add(out, "{rlim_cur=");
    add_limit(out, limit->rlim_cur);
    trace_add(out, ", rlim_max=");
    add_limit(out, limit->rlim_max);
    trace_add(out, "}");
}

TRACE_STRUCT(utsname, sizeof(struct utsname)) {
    const struct utsname *name = data;

    trace_add(out, "{sysname=");
    trace_add_quoted(out, name->sysname, strnlen(name->sysname, 65), false);
    trace_add(out, ", nodename=");
    trace_add_quoted(out, name->nodename, strnlen(name->nodename, 65), false);
    trace_add(out, ", ...}");
}

TRACE_STRUCT(sysinfo, sizeof(struct sysinfo)) {
    const struct sysinfo *info = data;

    trace_add(out, "{uptime=%ld, totalram=%lu, freeram=%lu, procs=%u, ...}", info->uptime,
              info->totalram, info->freeram, info->procs);
}

TRACE_STRUCT(tms, sizeof(struct tms)) {
    const struct tms *times = data;

    trace_add(out, "{tms_utime=%ld, tms_stime=%ld, tms_cutime=%ld, tms_cstime=%ld}",
              times->tms_utime, times->tms_stime, times->tms_cutime, times->tms_cstime);
}

TRACE_STRUCT(cap_header, 8) {
    const struct {
        uint32_t version;
        int pid;
    } *header = data;

    trace_add(out, "{version=%#x, pid=%d}", header->version, header->pid);
}

TRACE_STRUCT(cap_data, 24) {
    const struct { uint32_t effective, permitted, inheritable; } *caps = data;

    trace_add(out, "{effective=%#" PRIx64 ", permitted=%#" PRIx64 ", inheritable=%#" PRIx64 "}",
              caps[0].effective | (uint64_t)caps[1].effective << 32,
              caps[0].permitted | (uint64_t)caps[1].permitted << 32,
              caps[0].inheritable | (uint64_t)caps[1].inheritable << 32);
}

TRACE_STRUCT(clone_args, 64) {
    const uint64_t *args = data; /* clone(2), struct clone_args */

    trace_add(out, "{flags=");
    trace_add_flags(out, &flag_set_clone, args[0]);
    trace_add(out, ", exit_signal=");
    trace_add_signal(out, (int)args[4]);
    trace_add(out, ", stack=");
    trace_add_pointer(out, args[5]);
    trace_add(out, ", stack_size=%#" PRIx64 ", tls=%#" PRIx64 "}", args[6], args[7]);
}

TRACE_STRUCT(open_how, 24) {
    const uint64_t *how = data; /* openat2(2) */

    trace_add(out, "{flags=");
    trace_add_flags(out, &flag_set_open, how[0]);
    trace_add(out, ", mode=%#" PRIo64 ", resolve=", how[1]);
    trace_add_flags(out, &flag_set_resolve, how[2]);
    trace_add(out, "}");
}

TRACE_STRUCT(msghdr, sizeof(struct msghdr)) {
    const struct msghdr *message = data;
    uint64_t name = (uint64_t)(uintptr_t)message->msg_name;

    trace_add(out, "{msg_name=");
    trace_add_pointer(out, name);
    trace_add(out, ", msg_namelen=%u, msg_iov=", message->msg_namelen);
    trace_add_iovec(out, task, (uint64_t)(uintptr_t)message->msg_iov, message->msg_iovlen,
                    UINT64_MAX);
    trace_add(out, ", msg_iovlen=%zu, msg_controllen=%zu, msg_flags=", message->msg_iovlen,
              message->msg_controllen);
    trace_add_flags(out, &flag_set_msg, (uint32_t)message->msg_flags);
    trace_add(out, "}");
}
