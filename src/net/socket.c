/*
 * Sockets: the file and its life. What is sent and received is sock_queue.c's, connections are
 * connection.c's, names the families'.
 *
 * Life: socket_new() makes sock and file; the file's release closes the sock, which tells its peer,
 * drops its queues and its name. The memory stays until the last who holds it (a peer, a message
 * under way) lets go.
 */
#include <stdio.h>
#include <sys/ioctl.h>

#include "net/net_internal.h"

#define SIOCINQ_REQUEST  0x541B /* FIONREAD */
#define SIOCOUTQ_REQUEST 0x5411 /* TIOCOUTQ */

struct sock *sock_new(const struct family *family, int type, int protocol) {
    struct sock *sock = calloc(1, sizeof(*sock));

    if (!sock) {
        return NULL;
    }
    ref_init(&sock->ref);
    sock->family = family;
    sock->type = type;
    sock->protocol = protocol;
    wait_queue_init(&sock->wait);
    lock_init(&sock->lock, LOCK_PIPE);
    list_init(&sock->messages);
    list_init(&sock->backlog);
    list_init(&sock->backlog_link);
    list_init(&sock->bound_link);
    list_init(&sock->flight_link);
    sock->send_buffer = sock->receive_buffer = SOCK_BUFFER_DEFAULT;
    sock->receive_low = 1;
    sock->owner = sock_current_creds(true);
    sock->name.size = sizeof(sa_family_t);
    sock->name.header.sa_family = (sa_family_t)family->number;
    if (family != &unix_family) {
        sock->name.size =
            family->number == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    }
    return sock;
}

struct sock *sock_get(struct sock *sock) {
    ref_get(&sock->ref);
    return sock;
}

bool sock_tryget(struct sock *sock) {
    return ref_tryget(&sock->ref);
}

void sock_put(struct sock *sock) {
    if (!ref_put(&sock->ref)) {
        return;
    }
    sock_purge(&sock->messages);
    wait_queue_destroy(&sock->wait);
    lock_destroy(&sock->lock);
    free(sock);
}

struct sock *sock_peer(struct sock *sock) {
    LOCK_GUARD(&sock->lock);
    return sock->peer ? sock_get(sock->peer) : NULL;
}

struct ucred sock_current_creds(bool effective) {
    struct task *current = current_task();
    struct ucred result = {.pid = 0, .uid = 0, .gid = 0};

    if (current) {
        struct credentials *creds CLEANUP(credentials_put) = task_creds(current);

        result.pid = task_get_pid(current);
        result.uid = effective ? creds->euid : creds->uid;
        result.gid = effective ? creds->egid : creds->gid;
    }
    return result;
}

deadline_ns sock_deadline(int64_t timeout_ns, bool nonblocking) {
    struct task *current = current_task();

    if (nonblocking) {
        return 0;
    }
    if (!timeout_ns) {
        return WAIT_FOREVER;
    }
    return current ? task_call_deadline(current, timeout_ns) : host_clock_monotonic() + timeout_ns;
}

int sock_wait_error(int error, int64_t timeout_ns) {
    if (error == -ETIMEDOUT) {
        return -EAGAIN;
    }
    /* signal(7): with SO_RCVTIMEO or SO_SNDTIMEO a handler ends the call even with SA_RESTART. */
    return error == -ERESTARTSYS && timeout_ns ? -ERESTART_RESTARTBLOCK : error;
}

/* ---- the end ---- */

static void peer_lost(struct sock *peer, struct sock *sock, bool reset) {
    lock_acquire(&peer->lock);
    bool mine = peer->peer == sock && sock_is_connection(peer);

    if (mine) {
        /* TCP may still write into the dark; the peer's death tells it then. */
        peer->shut |= SHUT_RECEIVE | (peer->family == &unix_family || reset ? SHUT_SEND : 0);
        if (reset) {
            peer->error = ECONNRESET;
        }
    }
    lock_release(&peer->lock);
    if (mine) {
        wait_queue_wake(&peer->wait, 0);
    }
}

static void close_as(struct sock *sock, bool refused) {
    struct list_head messages, backlog;
    struct sock *peer;

    list_init(&messages);
    list_init(&backlog);
    lock_acquire(&sock->lock);
    sock->dead = true;
    sock->shut = SHUT_RECEIVE | SHUT_SEND;
    peer = STEAL(sock->peer);
    while (!list_empty(&sock->messages)) {
        struct list_head *link = sock->messages.next;

        list_del(link);
        list_add_tail(link, &messages);
    }
    while (!list_empty(&sock->backlog)) {
        struct list_head *link = sock->backlog.next;

        list_del(link);
        list_add_tail(link, &backlog);
    }
    sock->queued = 0;
    sock->backlog_count = 0;
    lock_release(&sock->lock);
    sock->family->unbind(sock);
    if (peer) {
        peer_lost(peer, sock, refused || !list_empty(&messages));
        sock_put(peer);
    }
    /* Who waits for room here learns that there is nobody any more. */
    wait_queue_wake(&sock->wait, 0);
    sock_purge(&messages);
    while (!list_empty(&backlog)) {
        struct sock *child = list_first_entry(&backlog, struct sock, backlog_link);

        list_del(&child->backlog_link);
        close_as(child, true);
        sock_put(child);
    }
}

void sock_close(struct sock *sock) {
    close_as(sock, false);
}

/* ---- the file ---- */

struct sock *sock_of_file(struct file *file) {
    return file->ops == &socket_file_ops ? file->private : NULL;
}

bool file_is_socket(struct file *file) {
    return sock_of_file(file) != NULL;
}

int socket_family(struct file *file) {
    struct sock *sock = sock_of_file(file);

    return sock ? sock->family->number : -ENOTSOCK;
}

bool sock_nonblocking(struct file *file, int flags) {
    return (flags & MSG_DONTWAIT) || (atomic_load(&file->flags) & O_NONBLOCK);
}

ssize_t socket_send(struct file *file, const void *data, size_t size, int flags,
                    const struct socket_address *to, const struct walk *walk,
                    struct socket_control *control) {
    struct sock *sock = sock_of_file(file);

    return sock ? sock_send(sock, data, size, flags, to, walk, control,
                            sock_nonblocking(file, flags))
                : -ENOTSOCK;
}

ssize_t socket_receive(struct file *file, void *buffer, size_t size, int *flags,
                       struct socket_address *from, struct socket_control *control) {
    struct sock *sock = sock_of_file(file);

    return sock ? sock_receive(sock, buffer, size, flags, from, control,
                               sock_nonblocking(file, *flags))
                : -ENOTSOCK;
}

static ssize_t socket_file_read(struct file *file, void *buffer, size_t size, int64_t *pos) {
    int flags = 0;

    return socket_receive(file, buffer, size, &flags, NULL, NULL);
}

static ssize_t socket_file_write(struct file *file, const void *buffer, size_t size, int64_t *pos) {
    return socket_send(file, buffer, size, 0, NULL, NULL, NULL);
}

static uint32_t socket_file_poll(struct file *file, struct poll_table *table) {
    struct sock *sock = file->private;

    poll_table_add(table, &sock->wait);
    return sock_poll_mask(sock);
}

static int64_t socket_file_ioctl(struct file *file, struct host_thread *thread, unsigned command,
                                 struct user_address argument) {
    struct sock *sock = file->private;
    int32_t value = 0;

    if (command == SIOCINQ_REQUEST) {
        struct message *message;
        LOCK_GUARD(&sock->lock);

        if (sock->state == SOCK_LISTENING) {
            return -EINVAL;
        }
        list_for_each_entry (message, &sock->messages, link) {
            value += (int32_t)(message->size - message->offset);
            if (!sock_is_stream(sock)) {
                break;
            }
        }
    } else if (command == SIOCOUTQ_REQUEST) {
        struct sock *peer CLEANUP(sock_put) = sock_is_connection(sock) ? sock_peer(sock) : NULL;

        if (peer) {
            LOCK_GUARD(&peer->lock);
            value = (int32_t)peer->queued;
        }
    } else {
        return -ENOTTY;
    }
    return put_user(thread, value, argument);
}

static void socket_file_release(struct file *file) {
    struct sock *sock = file->private;

    sock_close(sock);
    sock_put(sock);
}

const struct file_ops socket_file_ops = {
    .read = socket_file_read,
    .write = socket_file_write,
    .poll = socket_file_poll,
    .ioctl = socket_file_ioctl,
    .release = socket_file_release,
};

int sock_file_new(struct sock *sock, int flags, struct file **file) {
    static _Atomic uint64_t next_ino = 1;
    uint64_t ino = atomic_fetch_add(&next_ino, 1);
    char name[40];
    int error;

    snprintf(name, sizeof(name), "socket:[%lu]", (unsigned long)ino);
    error = file_new_anonymous(name, S_IFSOCK, &socket_file_ops, sock,
                               O_RDWR | (flags & SOCK_NONBLOCK), file);
    if (!error) {
        (*file)->inode->ino = ino; /* nobody else knows it yet */
        (*file)->inode->uid = sock->owner.uid;
        (*file)->inode->gid = sock->owner.gid;
        sock->file = *file;
    }
    return error;
}

/* ---- socket(2), socketpair(2) ---- */

static int find_family(int number, int type, int *protocol, const struct family **family) {
    if (number < 0 || number >= AF_MAX) {
        return -EAFNOSUPPORT;
    }
    if (type > SOCK_PACKET) {
        return -EINVAL;
    }
    switch (number) {
    case AF_UNIX:
        if (*protocol != 0 && *protocol != AF_UNIX) {
            return -EPROTONOSUPPORT;
        }
        *protocol = 0;
        *family = &unix_family;
        return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET
                   ? 0
                   : -ESOCKTNOSUPPORT;
    case AF_INET:
    case AF_INET6:
        *family = number == AF_INET ? &inet_family : &inet6_family;
        if (type == SOCK_RAW) {
            log_once(LOG_WARN, "socket type", (uint64_t)type,
                     "not supported: socket(2) with SOCK_RAW");
            return -EPERM;
        }
        if (type != SOCK_STREAM && type != SOCK_DGRAM) {
            return -ESOCKTNOSUPPORT;
        }
        if (*protocol == 0) {
            *protocol = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
        }
        if (*protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP)) {
            log_once(LOG_WARN, "socket protocol", (uint64_t)*protocol,
                     "not supported: socket(2) with protocol %d", *protocol);
            return -EPROTONOSUPPORT;
        }
        return 0;
    default:
        log_once(LOG_WARN, "socket family", (uint64_t)number,
                 "not supported: socket(2) with address family %d", number);
        return -EAFNOSUPPORT;
    }
}

int socket_new(int family_number, int type, int protocol, struct file **file) {
    const struct family *family;
    int error = find_family(family_number, type & 0xf, &protocol, &family);
    struct sock *sock;

    if (error) {
        return error;
    }
    sock = sock_new(family, type & 0xf, protocol);
    if (!sock) {
        return -ENOMEM;
    }
    error = sock_file_new(sock, type, file);
    if (error) {
        sock_put(sock);
    }
    return error;
}

/* Both are new: nobody else sees them. */
static void pair_up(struct sock *one, struct sock *other) {
    one->peer = sock_get(other);
    one->state = SOCK_CONNECTED;
    one->peer_owner = other->owner;
    one->peer_name = other->name;
}

int socket_pair(int family, int type, int protocol, struct file *files[2]) {
    struct file *first CLEANUP(file_put) = NULL, *second CLEANUP(file_put) = NULL;
    int error;

    if (family != AF_UNIX) {
        const struct family *found;

        error = find_family(family, type & 0xf, &protocol, &found);
        return error ? error : -EOPNOTSUPP;
    }
    error = socket_new(family, type, protocol, &first);
    if (!error) {
        error = socket_new(family, type, protocol, &second);
    }
    if (error) {
        return error;
    }
    pair_up(first->private, second->private);
    pair_up(second->private, first->private);
    files[0] = STEAL(first);
    files[1] = STEAL(second);
    return 0;
}

/* ---- names ---- */

int socket_bind(struct file *file, const struct socket_address *address, const struct walk *walk) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    if (address->size < sizeof(sa_family_t)) {
        return -EINVAL;
    }
    if (address->header.sa_family != sock->family->number) {
        return sock->family == &unix_family ? -EINVAL : -EAFNOSUPPORT;
    }
    return sock->family->bind(sock, address, walk);
}

int socket_name(struct file *file, bool peer, struct socket_address *address) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    LOCK_GUARD(&sock->lock);
    if (peer && sock->state != SOCK_CONNECTED) {
        return -ENOTCONN;
    }
    *address = peer ? sock->peer_name : sock->name;
    return 0;
}

int socket_set_option(struct file *file, int level, int option, const void *value, size_t size) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    return level == SOL_SOCKET ? sock_set_option(sock, option, value, size)
                               : sock->family->set_option(sock, level, option, value, size);
}

int socket_get_option(struct file *file, int level, int option, void *value, size_t *size) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    return level == SOL_SOCKET ? sock_get_option(sock, option, value, size)
                               : sock->family->get_option(sock, level, option, value, size);
}
