/*
 * How --strace prints the structures that guests pass: one printer a structure of syscalls.def. The
 * bytes were copied from the guest; pointers in them are the guest's.
 */
#include "syscalls/trace_internal.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <termios.h>
#include <time.h>
#include <utime.h>

/* The sets that structures are printed with: made in syscalls_gen.c. */
extern const struct flag_set flag_set_sigaction, flag_set_sigaltstack, flag_set_epoll,
    flag_set_poll, flag_set_clone, flag_set_open, flag_set_resolve, flag_set_lock, flag_set_seek,
    flag_set_owner, flag_set_statx, flag_set_file_system, flag_set_statfs, flag_set_sigev,
    flag_set_cap_version, flag_set_caps, flag_set_sched;

TRACE_STRUCT(int, 4) {
    trace_add(out, "[%d]", *(const int *)data);
}

TRACE_STRUCT(uint, 4) {
    trace_add(out, "[%u]", *(const unsigned *)data);
}

TRACE_STRUCT(uint_element, 4) {
    trace_add(out, "%u", *(const unsigned *)data);
}

TRACE_STRUCT(address, 8) {
    trace_add(out, "[");
    trace_add_hex(out, *(const uint64_t *)data);
    trace_add(out, "]");
}

TRACE_STRUCT(signal, 4) {
    trace_add(out, "[");
    trace_add_signal(out, *(const int *)data);
    trace_add(out, "]");
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

/* Behind a date: when that is, in UTC. */
static void add_date(struct trace_text *out, time_t seconds, long fraction, int digits) {
    struct tm tm;
    char text[64];

    if (gmtime_r(&seconds, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm)) {
        trace_add(out, " /* %s", text);
        if (fraction) {
            trace_add(out, ".%0*ld", digits, fraction);
        }
        trace_add(out, "+0000 */");
    }
}

TRACE_STRUCT(timespec_date, sizeof(struct timespec)) {
    const struct timespec *time = data;

    print_timespec(out, task, data);
    if (time->tv_nsec >= 0 && time->tv_nsec < 1000000000) {
        add_date(out, time->tv_sec, time->tv_nsec, 9);
    }
}

TRACE_STRUCT(timeval_date, sizeof(struct timeval)) {
    const struct timeval *time = data;

    print_timeval(out, task, data);
    if (time->tv_usec >= 0 && time->tv_usec < 1000000) {
        add_date(out, time->tv_sec, time->tv_usec, 6);
    }
}

TRACE_STRUCT(timezone, 8) {
    const int *zone = data;

    trace_add(out, "{tz_minuteswest=%d, tz_dsttime=%d}", zone[0], zone[1]);
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

    trace_add(out, "{stx_mask=");
    trace_add_flags(out, &flag_set_statx, stat->stx_mask);
    trace_add(out, ", stx_attributes=%#" PRIx64 ", stx_mode=", (uint64_t)stat->stx_attributes);
    trace_add_mode(out, stat->stx_mode);
    trace_add(out, ", stx_size=%" PRIu64 ", ...}", (uint64_t)stat->stx_size);
}

TRACE_STRUCT(statfs, sizeof(struct statfs)) {
    const struct statfs *stat = data;
    const int *fsid = (const int *)&stat->f_fsid;

    trace_add(out, "{f_type=");
    trace_add_enum(out, &flag_set_file_system, (uint64_t)stat->f_type);
    trace_add(out, ", f_bsize=%ld, f_blocks=%lu, f_bfree=%lu, f_bavail=%lu", (long)stat->f_bsize,
              (unsigned long)stat->f_blocks, (unsigned long)stat->f_bfree,
              (unsigned long)stat->f_bavail);
    trace_add(out, ", f_files=%lu, f_ffree=%lu, f_fsid={val=[%#x, %#x]}, f_namelen=%ld",
              (unsigned long)stat->f_files, (unsigned long)stat->f_ffree, (unsigned)fsid[0],
              (unsigned)fsid[1], (long)stat->f_namelen);
    trace_add(out, ", f_frsize=%ld, f_flags=", (long)stat->f_frsize);
    trace_add_flags(out, &flag_set_statfs, (uint64_t)stat->f_flags);
    trace_add(out, "}");
}

TRACE_STRUCT(utimbuf, sizeof(struct utimbuf)) {
    const struct utimbuf *times = data;

    trace_add(out, "{actime=%ld", (long)times->actime);
    add_date(out, times->actime, 0, 0);
    trace_add(out, ", modtime=%ld", (long)times->modtime);
    add_date(out, times->modtime, 0, 0);
    trace_add(out, "}");
}

static void add_lock(struct trace_text *out, const struct flock *lock) {
    trace_add(out, "{l_type=");
    trace_add_enum(out, &flag_set_lock, (uint64_t)lock->l_type);
    trace_add(out, ", l_whence=");
    trace_add_enum(out, &flag_set_seek, (uint64_t)lock->l_whence);
    trace_add(out, ", l_start=%" PRId64 ", l_len=%" PRId64, (int64_t)lock->l_start,
              (int64_t)lock->l_len);
}

TRACE_STRUCT(flock, sizeof(struct flock)) {
    add_lock(out, data);
    trace_add(out, "}");
}

TRACE_STRUCT(flock_got, sizeof(struct flock)) {
    add_lock(out, data);
    trace_add(out, ", l_pid=%d}", ((const struct flock *)data)->l_pid);
}

TRACE_STRUCT(owner, 8) {
    const int *owner = data; /* struct f_owner_ex */

    trace_add(out, "{type=");
    trace_add_enum(out, &flag_set_owner, (uint32_t)owner[0]);
    trace_add(out, ", pid=%d}", owner[1]);
}

static bool poll_ready(const void *data) {
    return ((const struct pollfd *)data)->revents != 0;
}

static void print_poll_ready(struct trace_text *out, struct task *task, const void *data) {
    const struct pollfd *poll = data;

    trace_add(out, "{fd=%d, revents=", poll->fd);
    trace_add_flags(out, &flag_set_poll, (unsigned short)poll->revents);
    trace_add(out, "}");
}

TRACE_STRUCT(pollfd, sizeof(struct pollfd), poll_ready, print_poll_ready) {
    const struct pollfd *poll = data;

    trace_add(out, "{fd=%d", poll->fd);
    if (poll->fd >= 0) {
        trace_add(out, ", events=");
        trace_add_flags(out, &flag_set_poll, (unsigned short)poll->events);
    }
    trace_add(out, "}");
}

TRACE_STRUCT(epoll_event, sizeof(struct epoll_event)) {
    const struct epoll_event *event = data;

    trace_add(out, "{events=");
    trace_add_flags(out, &flag_set_epoll, event->events);
    trace_add(out, ", data={u32=%u, u64=%" PRIu64 "}}", event->data.u32, (uint64_t)event->data.u64);
}

TRACE_STRUCT(sigset, 8) {
    trace_add_sigset(out, *(const kernel_sigset *)data);
}

/* pselect6(2) */
TRACE_STRUCT(sigset_argument, 16) {
    const uint64_t *argument = data;
    kernel_sigset set;

    trace_add(out, "{sigmask=");
    if (trace_copy(task, &set, argument[0], sizeof(set)) == 0) {
        trace_add_sigset(out, set);
    } else {
        trace_add_pointer(out, argument[0]);
    }
    trace_add(out, ", sigsetsize=%" PRIu64 "}", argument[1]);
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

TRACE_STRUCT(sigevent, 24) {
    const struct {
        uint64_t value;
        int signal, notify, thread;
    } *event = data;

    trace_add(out, "{");
    if (event->value) {
        trace_add(out, "sigev_value={sival_int=%d, sival_ptr=%#" PRIx64 "}, ", (int)event->value,
                  event->value);
    }
    trace_add(out, "sigev_signo=");
    if (event->notify == SIGEV_SIGNAL || event->notify == SIGEV_THREAD_ID) {
        trace_add_signal(out, event->signal);
    } else {
        trace_add(out, "%d", event->signal);
    }
    trace_add(out, ", sigev_notify=");
    trace_add_enum(out, &flag_set_sigev, (uint32_t)event->notify);
    if (event->notify == SIGEV_THREAD_ID) {
        trace_add(out, ", sigev_notify_thread_id=%d", event->thread);
    }
    trace_add(out, "}");
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
    } else if (limit > 1024 && limit % 1024 == 0) {
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

    trace_add(out, "{uptime=%ld, loads=[%lu, %lu, %lu], totalram=%lu, freeram=%lu", info->uptime,
              info->loads[0], info->loads[1], info->loads[2], info->totalram, info->freeram);
    trace_add(out, ", sharedram=%lu, bufferram=%lu, totalswap=%lu, freeswap=%lu, procs=%u",
              info->sharedram, info->bufferram, info->totalswap, info->freeswap, info->procs);
    trace_add(out, ", totalhigh=%lu, freehigh=%lu, mem_unit=%u}", info->totalhigh, info->freehigh,
              info->mem_unit);
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

    trace_add(out, "{version=");
    trace_add_enum(out, &flag_set_cap_version, header->version);
    trace_add(out, ", pid=%d}", header->pid);
}

TRACE_STRUCT(cap_data, 24) {
    const struct { uint32_t effective, permitted, inheritable; } *caps = data;

    trace_add(out, "{effective=");
    trace_add_flags(out, &flag_set_caps, caps[0].effective | (uint64_t)caps[1].effective << 32);
    trace_add(out, ", permitted=");
    trace_add_flags(out, &flag_set_caps, caps[0].permitted | (uint64_t)caps[1].permitted << 32);
    trace_add(out, ", inheritable=");
    trace_add_flags(out, &flag_set_caps, caps[0].inheritable | (uint64_t)caps[1].inheritable << 32);
    trace_add(out, "}");
}

TRACE_STRUCT(sched_attr, 48) {
    const struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } *attr = data;

    trace_add(out, "{size=%u, sched_policy=", attr->size);
    trace_add_enum(out, &flag_set_sched, attr->policy);
    trace_add(out, ", sched_flags=%#" PRIx64 ", sched_nice=%d, sched_priority=%u", attr->flags,
              attr->nice, attr->priority);
    trace_add(out, ", sched_runtime=%" PRIu64 ", sched_deadline=%" PRIu64 ", sched_period=%" PRIu64,
              attr->runtime, attr->deadline, attr->period);
    trace_add(out, "}");
}

TRACE_STRUCT(winsize, 8) {
    const uint16_t *size = data;

    trace_add(out, "{ws_row=%u, ws_col=%u, ws_xpixel=%u, ws_ypixel=%u}", size[0], size[1], size[2],
              size[3]);
}

/* The kernel's struct termios: four words of modes, of which strace shows as much. */
TRACE_STRUCT(termios, 36) {
    static const struct {
        unsigned word, bit;
        const char *name;
    } modes[] = {{1, OPOST, "opost"}, {3, ISIG, "isig"}, {3, ICANON, "icanon"}, {3, ECHO, "echo"}};
    static const char *const speeds[] = {"B0",    "B50",   "B75",    "B110",  "B134",  "B150",
                                         "B200",  "B300",  "B600",   "B1200", "B1800", "B2400",
                                         "B4800", "B9600", "B19200", "B38400"};
    const unsigned *words = data;
    unsigned speed = words[2] & CBAUD;

    if (speed < ARRAY_SIZE(speeds)) {
        trace_add(out, "{%s", speeds[speed]);
    } else {
        trace_add(out, "{c_cflag=%#x", words[2]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        trace_add(out, words[modes[i].word] & modes[i].bit ? " %s" : " -%s", modes[i].name);
    }
    trace_add(out, " ...}");
}

TRACE_STRUCT(clone_args, 64) {
    const uint64_t *args = data; /* clone(2), struct clone_args */
    uint64_t flags = args[0];

    trace_add(out, "{flags=");
    trace_add_flags(out, &flag_set_clone, flags);
    if (flags & CLONE_PIDFD) {
        trace_add(out, ", pidfd=%#" PRIx64, args[1]);
    }
    if (flags & (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID)) {
        trace_add(out, ", child_tid=%#" PRIx64, args[2]);
    }
    if (flags & CLONE_PARENT_SETTID) {
        trace_add(out, ", parent_tid=%#" PRIx64, args[3]);
    }
    trace_add(out, ", exit_signal=");
    trace_add_signal(out, (int)args[4]);
    trace_add(out, ", stack=");
    trace_add_pointer(out, args[5]);
    trace_add(out, ", stack_size=");
    trace_add_hex(out, args[6]);
    if (flags & CLONE_SETTLS) {
        trace_add(out, ", tls=%#" PRIx64, args[7]);
    }
    trace_add(out, "}");
}

TRACE_STRUCT(open_how, 24) {
    const uint64_t *how = data; /* openat2(2) */

    trace_add(out, "{flags=");
    trace_add_flags(out, &flag_set_open, how[0]);
    if (how[1] || how[0] & O_CREAT) {
        trace_add(out, ", mode=%#03" PRIo64, how[1]);
    }
    trace_add(out, ", resolve=");
    trace_add_flags(out, &flag_set_resolve, how[2]);
    trace_add(out, "}");
}
