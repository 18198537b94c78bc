/* socket(7): options of level SOL_SOCKET, the same for every family. */
#include "net/net_internal.h"

static int64_t timeval_ns(const struct timeval *time) {
    struct timespec span = {time->tv_sec, time->tv_usec * 1000};

    return timespec_to_ns(&span);
}

static int clamp_buffer(int32_t wanted) {
    /* socket(7): the kernel doubles the value for its own bookkeeping. */
    int64_t doubled = (int64_t)MAX(wanted, 0) * 2;

    return (int)MIN(MAX(doubled, (int64_t)SOCK_BUFFER_MIN), (int64_t)SOCK_BUFFER_MAX);
}

static int set_timeout(int64_t *timeout, const void *value, size_t size) {
    struct timeval time;

    if (size < sizeof(time)) {
        return -EINVAL;
    }
    memcpy(&time, value, sizeof(time));
    if (time.tv_usec < 0 || time.tv_usec >= 1000000) {
        return -EDOM;
    }
    *timeout = time.tv_sec < 0 ? 1 : timeval_ns(&time);
    if (*timeout == INT64_MAX) {
        *timeout = 0;
    }
    return 0;
}

int sock_set_option(struct sock *sock, int option, const void *value, size_t size) {
    int32_t number = 0;

    if (size < sizeof(number)) {
        return -EINVAL;
    }
    memcpy(&number, value, sizeof(number));
    LOCK_GUARD(&sock->lock);
    switch (option) {
    case SO_REUSEADDR:
        sock->reuse_address = number;
        return 0;
    case SO_REUSEPORT:
        sock->reuse_port = number;
        return 0;
    case SO_KEEPALIVE:
        sock->keep_alive = number;
        return 0;
    case SO_BROADCAST:
        sock->broadcast = number;
        return 0;
    case SO_OOBINLINE:
        sock->oob_inline = number;
        return 0;
    case SO_PASSCRED:
        if (sock->family != &unix_family) {
            return -EOPNOTSUPP;
        }
        sock->pass_creds = number;
        return 0;
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        sock->send_buffer = clamp_buffer(number);
        return 0;
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        sock->receive_buffer = clamp_buffer(number);
        return 0;
    case SO_RCVTIMEO:
        return set_timeout(&sock->receive_timeout, value, size);
    case SO_SNDTIMEO:
        return set_timeout(&sock->send_timeout, value, size);
    case SO_LINGER:
        if (size < sizeof(sock->linger)) {
            return -EINVAL;
        }
        memcpy(&sock->linger, value, sizeof(sock->linger));
        return 0;
    case SO_PRIORITY:
        sock->priority = number;
        return 0;
    case SO_MARK:
        sock->mark = number;
        return 0;
    case SO_RCVLOWAT:
        sock->receive_low = number > 0 ? number : 1;
        return 0;
    case SO_DEBUG:
    case SO_DONTROUTE:
    case SO_NO_CHECK:
    case SO_TIMESTAMP:
    case SO_TIMESTAMPNS:
    case SO_INCOMING_CPU:
    case SO_BUSY_POLL:
        return 0;
    case SO_TYPE:
    case SO_PROTOCOL:
    case SO_DOMAIN:
    case SO_ERROR:
    default:
        return -ENOPROTOOPT;
    }
}

static int put_bytes(void *value, size_t *size, const void *from, size_t count) {
    *size = MIN(*size, count);
    memcpy(value, from, *size);
    return 0;
}

static int put_timeout(void *value, size_t *size, int64_t timeout) {
    struct timeval time = {timeout / NSEC_PER_SEC, timeout % NSEC_PER_SEC / 1000};

    return put_bytes(value, size, &time, sizeof(time));
}

static int get_number_locked(struct sock *sock, int option, int32_t *number) {
    switch (option) {
    case SO_TYPE:
        *number = sock->type;
        return 0;
    case SO_DOMAIN:
        *number = sock->family->number;
        return 0;
    case SO_PROTOCOL:
        *number = sock->protocol;
        return 0;
    case SO_ERROR:
        *number = sock->error;
        sock->error = 0;
        return 0;
    case SO_ACCEPTCONN:
        *number = sock->state == SOCK_LISTENING;
        return 0;
    case SO_REUSEADDR:
        *number = sock->reuse_address;
        return 0;
    case SO_REUSEPORT:
        *number = sock->reuse_port;
        return 0;
    case SO_KEEPALIVE:
        *number = sock->keep_alive;
        return 0;
    case SO_BROADCAST:
        *number = sock->broadcast;
        return 0;
    case SO_OOBINLINE:
        *number = sock->oob_inline;
        return 0;
    case SO_PASSCRED:
        *number = sock->pass_creds;
        return 0;
    case SO_SNDBUF:
        *number = sock->send_buffer;
        return 0;
    case SO_RCVBUF:
        *number = sock->receive_buffer;
        return 0;
    case SO_PRIORITY:
        *number = sock->priority;
        return 0;
    case SO_MARK:
        *number = sock->mark;
        return 0;
    case SO_RCVLOWAT:
        *number = sock->receive_low;
        return 0;
    case SO_SNDLOWAT:
        *number = 1;
        return 0;
    case SO_DEBUG:
    case SO_DONTROUTE:
    case SO_TIMESTAMP:
    case SO_TIMESTAMPNS:
    case SO_NO_CHECK:
    case SO_BUSY_POLL:
        *number = 0;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int sock_get_option(struct sock *sock, int option, void *value, size_t *size) {
    int32_t number = 0;
    LOCK_GUARD(&sock->lock);

    switch (option) {
    case SO_LINGER:
        return put_bytes(value, size, &sock->linger, sizeof(sock->linger));
    case SO_RCVTIMEO:
        return put_timeout(value, size, sock->receive_timeout);
    case SO_SNDTIMEO:
        return put_timeout(value, size, sock->send_timeout);
    case SO_PEERCRED: {
        /* unix(7): only for connections; else nobody. */
        struct ucred nobody = {0, (uid_t)-1, (gid_t)-1};
        bool known =
            sock->state == SOCK_CONNECTED && sock->family == &unix_family && sock->peer_owner.pid;

        return put_bytes(value, size,
                         sock->state == SOCK_LISTENING ? &sock->owner
                         : known                       ? &sock->peer_owner
                                                       : &nobody,
                         sizeof(nobody));
    }
    default: {
        int error = get_number_locked(sock, option, &number);

        return error ? error : put_bytes(value, size, &number, sizeof(number));
    }
    }
}
