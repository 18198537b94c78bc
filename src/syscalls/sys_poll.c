/*
 * poll(2), ppoll(2), select(2), pselect6(2), epoll(7). Guest arrays are copied in, looked at as
 * kernel copies, and copied out.
 *
 * Time-outs are relative; task_call_deadline() keeps the deadline when the call is restarted
 * unseen.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "syscalls/sys_install.h"

/* Negative milliseconds: forever. */
static int64_t milliseconds(int timeout) {
    return timeout < 0 ? -1 : timeout * 1000000LL;
}

/* A zero time-out must not sleep, whatever the clock says. */
static deadline_ns call_deadline(struct task *current, int64_t timeout_ns) {
    return timeout_ns == 0 ? 0 : task_call_deadline(current, timeout_ns);
}

static int temporary_mask(struct task *current, struct user_address sigmask, size_t size) {
    kernel_sigset mask;
    int error;

    if (user_address_is_null(sigmask)) {
        return 0;
    }
    if (size != sizeof(mask)) {
        return -EINVAL;
    }
    error = get_user(current->thread, mask, sigmask);
    if (!error) {
        signal_set_temporary_mask(current, mask);
    }
    return error;
}

/* ns, -1 for a NULL pointer, or -errno below -1 (EINVAL, EFAULT; never EPERM). */
static int64_t timespec_argument(struct task *current, struct user_address address) {
    struct timespec time;
    int error;

    if (user_address_is_null(address)) {
        return -1;
    }
    error = get_user(current->thread, time, address);
    if (error) {
        return error;
    }
    return timespec_valid(&time) ? timespec_to_ns(&time) : -EINVAL;
}

/* ppoll, select and pselect6 write back what is left; a failure to do so does not count. */
static struct timespec time_left(deadline_ns deadline) {
    int64_t left = deadline == 0 ? 0 : deadline - host_clock_monotonic();

    return timespec_from_ns(MAX(left, (int64_t)0));
}

/* ---- poll ---- */

static int64_t do_poll(struct task *current, struct user_address address, unsigned count,
                       deadline_ns deadline) {
    struct pollfd few[16], *fds = few;
    size_t size = (size_t)count * sizeof(*fds);
    int64_t result;

    if (count > rlimits_get(&current->thread_group->rlimits, RLIMIT_NOFILE)) {
        return -EINVAL;
    }
    if (count > ARRAY_SIZE(few)) {
        fds = malloc(size);
        if (!fds) {
            return -ENOMEM;
        }
    }
    result = copy_from_user(current->thread, fds, address, size);
    if (!result) {
        result = poll_files(current->files, fds, count, deadline);
    }
    if (result >= 0 && count) {
        /* revents alone: the guest may change the rest meanwhile. They are 8 bytes apart, so the
         * whole is written, as long as what it had read. */
        int error = answer_to_user(current->thread, address, fds, size);

        if (error) {
            result = error;
        }
    }
    if (fds != few) {
        free(fds);
    }
    return result;
}

int64_t sys_poll(struct task *current, struct user_address fds, unsigned nfds, int timeout) {
    int64_t result = do_poll(current, fds, nfds, call_deadline(current, milliseconds(timeout)));

    return result == -ERESTARTNOHAND ? -ERESTART_RESTARTBLOCK : result;
}

int64_t sys_ppoll(struct task *current, struct user_address fds, unsigned nfds,
                  struct user_address tmo_p, struct user_address sigmask, size_t sigsetsize) {
    int64_t timeout = timespec_argument(current, tmo_p);
    int64_t result;

    if (timeout < -1) {
        return timeout;
    }
    deadline_ns deadline = call_deadline(current, timeout);

    result = temporary_mask(current, sigmask, sigsetsize);
    if (result) {
        return result;
    }
    result = do_poll(current, fds, nfds, deadline);
    if (timeout >= 0) {
        struct timespec left = time_left(deadline);

        (void)!put_user(current->thread, left, tmo_p);
    }
    return result;
}

/* ---- select ---- */

#define IN_SET  (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define OUT_SET (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define EX_SET  (POLLPRI)

struct fd_sets {
    struct user_address address[3];
    size_t bytes;
    uint64_t *bits[3]; /* of one block */
};

static bool set_has(const uint64_t *set, int fd) {
    return set[fd / 64] >> (fd % 64) & 1;
}

static int64_t select_sets(struct task *current, struct fd_sets *sets, int count,
                           deadline_ns deadline) {
    static const short interest[3] = {IN_SET, OUT_SET, EX_SET};
    struct pollfd *fds CLEANUP(free) = NULL;
    size_t used = 0;
    int64_t result;

    for (int set = 0; set < 3; set++) {
        if (!user_address_is_null(sets->address[set])) {
            result =
                copy_from_user(current->thread, sets->bits[set], sets->address[set], sets->bytes);
            if (result) {
                return result;
            }
        }
    }
    fds = calloc((size_t)count + 1, sizeof(*fds));
    if (!fds) {
        return -ENOMEM;
    }
    for (int fd = 0; fd < count; fd++) {
        short events = 0;

        for (int set = 0; set < 3; set++) {
            events |= set_has(sets->bits[set], fd) ? interest[set] : 0;
        }
        if (events) {
            fds[used++] = (struct pollfd){.fd = fd, .events = events};
        }
    }
    result = poll_files(current->files, fds, used, deadline);
    if (result < 0) {
        return result;
    }
    result = 0;
    for (size_t i = 0; i < used; i++) {
        int fd = fds[i].fd;

        if (fds[i].revents & POLLNVAL) {
            return -EBADF;
        }
        for (int set = 0; set < 3; set++) {
            uint64_t bit = 1ULL << (fd % 64);

            if (!(sets->bits[set][fd / 64] & bit)) {
                continue;
            }
            if (fds[i].revents & interest[set]) {
                result++;
            } else {
                sets->bits[set][fd / 64] &= ~bit;
            }
        }
    }
    for (int set = 0; set < 3; set++) {
        if (!user_address_is_null(sets->address[set])) {
            int error =
                copy_to_user(current->thread, sets->address[set], sets->bits[set], sets->bytes);

            if (error) {
                return error;
            }
        }
    }
    return result;
}

static int64_t do_select(struct task *current, int count, struct user_address readfds,
                         struct user_address writefds, struct user_address exceptfds,
                         deadline_ns deadline) {
    uint64_t *bits CLEANUP(free) = NULL;
    struct fd_sets sets = {.address = {readfds, writefds, exceptfds}};

    if (count < 0) {
        return -EINVAL;
    }
    /* Linux cuts at the size of the descriptor table, which never holds more than this. */
    count = MIN(count, current_fd_limit(current));
    sets.bytes = ((size_t)count + 63) / 64 * 8;
    bits = calloc(3, sets.bytes + 8);
    if (!bits) {
        return -ENOMEM;
    }
    for (int set = 0; set < 3; set++) {
        sets.bits[set] = bits + (size_t)set * (sets.bytes / 8 + 1);
    }
    return select_sets(current, &sets, count, deadline);
}

int64_t sys_select(struct task *current, int nfds, struct user_address readfds,
                   struct user_address writefds, struct user_address exceptfds,
                   struct user_address timeout) {
    struct timeval time;
    int64_t wait = -1, result;

    if (!user_address_is_null(timeout)) {
        result = get_user(current->thread, time, timeout);
        if (result) {
            return result;
        }
        if (time.tv_sec < 0 || time.tv_usec < 0) {
            return -EINVAL;
        }
        /* select(2): more than a second of microseconds is carried over. */
        struct timespec span = {.tv_sec = time.tv_sec, .tv_nsec = time.tv_usec % 1000000 * 1000};

        if (__builtin_add_overflow(span.tv_sec, time.tv_usec / 1000000, &span.tv_sec)) {
            return -EINVAL;
        }
        wait = timespec_to_ns(&span);
    }
    deadline_ns deadline = call_deadline(current, wait);

    result = do_select(current, nfds, readfds, writefds, exceptfds, deadline);
    if (wait >= 0) {
        struct timespec left = time_left(deadline);

        time = (struct timeval){.tv_sec = left.tv_sec, .tv_usec = left.tv_nsec / 1000};
        (void)!put_user(current->thread, time, timeout);
    }
    return result;
}

int64_t sys_pselect6(struct task *current, int nfds, struct user_address readfds,
                     struct user_address writefds, struct user_address exceptfds,
                     struct user_address timeout, struct user_address sigmask) {
    int64_t wait = timespec_argument(current, timeout), result;
    struct {
        struct user_address mask;
        uint64_t size;
    } mask = {0};

    if (wait < -1) {
        return wait;
    }
    deadline_ns deadline = call_deadline(current, wait);

    if (!user_address_is_null(sigmask)) {
        result = get_user(current->thread, mask, sigmask);
        if (result) {
            return result;
        }
        result = temporary_mask(current, mask.mask, mask.size);
        if (result) {
            return result;
        }
    }
    result = do_select(current, nfds, readfds, writefds, exceptfds, deadline);
    if (wait >= 0) {
        struct timespec left = time_left(deadline);

        (void)!put_user(current->thread, left, timeout);
    }
    return result;
}

/* ---- epoll ---- */

#define EPOLL_EVENTS_AT_ONCE 1024 /* a call may return fewer than it could */

int64_t sys_epoll_create1(struct task *current, int flags) {
    struct file *file;
    int error;

    if (flags & ~EPOLL_CLOEXEC) {
        return unsupported_flags("epoll_create1", (uint64_t)flags, EPOLL_CLOEXEC, EINVAL);
    }
    error = epoll_new(0, &file);
    return error ? error : install_file(current, file, flags);
}

int64_t sys_epoll_create(struct task *current, int size) {
    return size <= 0 ? -EINVAL : sys_epoll_create1(current, 0);
}

int64_t sys_epoll_ctl(struct task *current, int epfd, int op, int fd, struct user_address event) {
    struct file *epoll CLEANUP(file_put) = NULL, *target CLEANUP(file_put) = NULL;
    struct epoll_event wanted = {0};

    if (op != EPOLL_CTL_DEL) {
        int error = get_user(current->thread, wanted, event);

        if (error) {
            return error;
        }
    }
    epoll = fd_table_get(current->files, epfd);
    target = fd_table_get(current->files, fd);
    if (!epoll || !target) {
        return -EBADF;
    }
    return epoll_control(epoll, op, target, fd, &wanted);
}

static int64_t do_epoll_wait(struct task *current, int epfd, struct user_address events,
                             int maxevents, deadline_ns deadline) {
    struct file *epoll CLEANUP(file_put) = NULL;
    struct epoll_event few[16], *out = few;
    int64_t result;

    if (maxevents <= 0 || maxevents > INT32_MAX / (int)sizeof(struct epoll_event)) {
        return -EINVAL;
    }
    epoll = task_call_file(current, epfd);
    if (!epoll) {
        return -EBADF;
    }
    maxevents = MIN(maxevents, EPOLL_EVENTS_AT_ONCE);
    if ((size_t)maxevents > ARRAY_SIZE(few)) {
        out = malloc((size_t)maxevents * sizeof(*out));
        if (!out) {
            return -ENOMEM;
        }
    }
    result = epoll_wait_events(epoll, out, maxevents, deadline);
    if (result > 0) {
        int error = answer_to_user(current->thread, events, out, (size_t)result * sizeof(*out));

        result = error ? error : result;
    } else if (result == -ERESTARTSYS) {
        /* signal(7): it ends with EINTR even with SA_RESTART, and even after a stop; only what no
         * signal caused goes unseen. */
        result = signal_pending(current) ? -EINTR : -ERESTART_RESTARTBLOCK;
    }
    if (out != few) {
        free(out);
    }
    return result;
}

int64_t sys_epoll_wait(struct task *current, int epfd, struct user_address events, int maxevents,
                       int timeout) {
    return do_epoll_wait(current, epfd, events, maxevents,
                         call_deadline(current, milliseconds(timeout)));
}

int64_t sys_epoll_pwait(struct task *current, int epfd, struct user_address events, int maxevents,
                        int timeout, struct user_address sigmask, size_t sigsetsize) {
    int error = temporary_mask(current, sigmask, sigsetsize);

    return error ? error
                 : do_epoll_wait(current, epfd, events, maxevents,
                                 call_deadline(current, milliseconds(timeout)));
}

int64_t sys_epoll_pwait2(struct task *current, int epfd, struct user_address events, int maxevents,
                         struct user_address timeout, struct user_address sigmask,
                         size_t sigsetsize) {
    int64_t wait = timespec_argument(current, timeout);
    int error;

    if (wait < -1) {
        return wait;
    }
    deadline_ns deadline = call_deadline(current, wait);

    error = temporary_mask(current, sigmask, sigsetsize);
    return error ? error : do_epoll_wait(current, epfd, events, maxevents, deadline);
}
