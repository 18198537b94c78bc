/*
 * Messages between socks: how they are queued and sent, and what poll says. sock_receive.c takes
 * them out.
 *
 * A sender puts messages into its peer's queue, as long as that holds less than the sender's buffer
 * size (a connection) or the receiver's (datagrams). A stream's message is a chunk that may be read
 * in parts. Who waits for room in a connection stands on its own queue and is woken by the reader;
 * who waits for room for a datagram stands on the receiver's.
 */
#include "net/net_internal.h"

#define STREAM_CHUNK 32768
#define UDP_SIZE_MAX 65507 /* udp(7) */

size_t sock_message_cost(const struct message *message) {
    return message->size - message->offset + MESSAGE_OVERHEAD;
}

static void message_free(struct message *message) {
    struct sock *from = message->from;

    if (message->control.files) {
        files_in_flight_drop(STEAL(message->control.files), message->control.file_count);
    }
    free(message);
    if (from) {
        sock_put(from);
    }
}

void sock_purge(struct list_head *messages) {
    while (!list_empty(messages)) {
        struct message *message = list_first_entry(messages, struct message, link);

        list_del(&message->link);
        message_free(message);
    }
}

int sock_take_error(struct sock *sock) {
    LOCK_GUARD(&sock->lock);
    int error = sock->error;

    sock->error = 0;
    return -error;
}

/* ---- sending ---- */

/* What a send has besides its bytes, the same for each of its messages. */
struct sending {
    struct sock *sock;
    struct socket_control *control; /* may be NULL; the first message takes its files */
    struct ucred creds;
    struct socket_address name;
};

static struct message *message_new(const struct sending *sending, const void *data, size_t size) {
    struct message *message = malloc(sizeof(*message) + size);

    if (!message) {
        return NULL;
    }
    memset(message, 0, sizeof(*message));
    message->size = size;
    message->address = sending->name;
    message->control.creds = sending->creds;
    memcpy(message->data, data, size);
    list_init(&message->link);
    return message;
}

static bool address_equal(const struct socket_address *a, const struct socket_address *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* Puts it into the receiver's queue if there is room: 0, -EAGAIN, -EPIPE, -ECONNREFUSED, -EPERM. */
static int queue_message_locked(struct sock *to, struct sending *sending, struct message *message,
                                size_t limit) {
    struct socket_control *control = sending->control;

    if (to->dead) {
        return sock_is_connection(to) ? -EPIPE : -ECONNREFUSED;
    }
    if (to->shut & SHUT_RECEIVE) {
        return -EPIPE;
    }
    if (!sock_is_connection(to) && to->state == SOCK_CONNECTED) {
        if (to->family == &unix_family && to->peer && to->peer != sending->sock) {
            return -EPERM;
        }
        if (to->family != &unix_family && !address_equal(&to->peer_name, &sending->name)) {
            return -ECONNREFUSED;
        }
    }
    /* An empty queue takes anything: what is larger than the buffer was refused before. */
    if (to->queued && to->queued + sock_message_cost(message) > limit) {
        return -EAGAIN;
    }
    if (control && control->files) {
        message->control.files = STEAL(control->files);
        message->control.file_count = control->file_count;
        control->file_count = 0;
        files_in_flight_begin(message->control.files, message->control.file_count);
    }
    list_add_tail(&message->link, &to->messages);
    to->queued += sock_message_cost(message);
    return 0;
}

static int queue_message(struct sock *to, struct sending *sending, struct message *message,
                         size_t limit) {
    bool files = sending->control && sending->control->files;
    int result;

    if (files) {
        rwlock_read_acquire(&flight_gate);
    }
    lock_acquire(&to->lock);
    result = queue_message_locked(to, sending, message, limit);
    lock_release(&to->lock);
    if (files) {
        rwlock_read_release(&flight_gate);
    }
    return result;
}

static ssize_t broken_pipe(int flags) {
    struct task *current = current_task();

    if (current && !(flags & MSG_NOSIGNAL)) {
        struct signal_info info;

        signal_info_user(&info, SIGPIPE, SI_USER, current);
        (void)!signal_send_task(current, &info);
    }
    return -EPIPE;
}

/* The peer of a connection that can be written to: owned. */
static int connected_peer(struct sock *sock, struct sock **peer) {
    LOCK_GUARD(&sock->lock);

    if (sock->error && sock->family != &unix_family) {
        int error = sock->error;

        sock->error = 0;
        return -error;
    }
    if (sock->shut & SHUT_SEND) {
        return -EPIPE;
    }
    if (sock->state != SOCK_CONNECTED || !sock->peer) {
        return sock->family == &unix_family ? -ENOTCONN : -EPIPE;
    }
    *peer = sock_get(sock->peer);
    return 0;
}

static ssize_t send_connected(struct sending *sending, const char *data, size_t size, int flags,
                              bool nonblocking) {
    struct sock *sock = sending->sock;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = sock_deadline(sock->send_timeout, nonblocking);
    bool stream = sock_is_stream(sock), sent = false;
    size_t done = 0;
    ssize_t result = 0;

    if (!stream && size > (size_t)sock->send_buffer) {
        return -EMSGSIZE;
    }
    entry.events = EPOLLOUT | EPOLLHUP | EPOLLERR;
    while (stream ? done < size : !sent) {
        struct sock *peer CLEANUP(sock_put) = NULL;
        size_t chunk = stream ? MIN(size - done, (size_t)STREAM_CHUNK) : size;
        struct message *message;

        result = connected_peer(sock, &peer);
        if (result) {
            break;
        }
        message = message_new(sending, data + done, chunk);
        if (!message) {
            result = -ENOMEM;
            break;
        }
        result = queue_message(peer, sending, message, (size_t)sock->send_buffer);
        if (result == 0) {
            done += chunk;
            sent = true;
            wait_queue_wake(&peer->wait, EPOLLIN | EPOLLRDNORM);
            continue;
        }
        message_free(message);
        if (result != -EAGAIN || deadline == 0) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&sock->wait, &entry);
            continue;
        }
        result = wait_sleep(deadline);
        if (result) {
            result = sock_wait_error((int)result, sock->send_timeout);
            break;
        }
    }
    wait_queue_remove(&entry);
    if (sent) {
        return (ssize_t)done;
    }
    return result == -EPIPE ? broken_pipe(flags) : result;
}

/* Who gets a datagram: owned. */
static int datagram_target(struct sock *sock, const struct socket_address *to,
                           const struct walk *walk, struct sock **target) {
    struct socket_address peer_name;

    lock_acquire(&sock->lock);
    int error = 0;
    bool closed = sock->shut & SHUT_SEND, connected = sock->state == SOCK_CONNECTED;
    struct sock *peer = sock->peer ? sock_get(sock->peer) : NULL;

    peer_name = sock->peer_name;
    lock_release(&sock->lock);
    if (closed) {
        error = -EPIPE;
    }
    if (!error && to) {
        error = sock->family->find(sock, to, walk, target);
    } else if (!error && peer) {
        *target = STEAL(peer);
    } else if (!error && connected && sock->family != &unix_family) {
        error = sock->family->find(sock, &peer_name, walk, target);
    } else if (!error) {
        error = sock->family == &unix_family ? -ENOTCONN : -EDESTADDRREQ;
    }
    if (peer) {
        sock_put(peer);
    }
    if (!error && (*target)->type != sock->type) {
        sock_put(STEAL(*target));
        error = -EPROTOTYPE;
    }
    return error;
}

/* Nobody there: udp(7) tells a connected sender by its next call. */
static ssize_t datagram_lost(struct sock *sock, size_t size) {
    LOCK_GUARD(&sock->lock);

    if (sock->state == SOCK_CONNECTED) {
        sock->error = ECONNREFUSED;
    }
    return (ssize_t)size;
}

static ssize_t send_datagram(struct sending *sending, const void *data, size_t size, int flags,
                             const struct socket_address *to, const struct walk *walk,
                             bool nonblocking) {
    struct sock *sock = sending->sock, *target CLEANUP(sock_put) = NULL;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = sock_deadline(sock->send_timeout, nonblocking);
    bool internet = sock->family != &unix_family;
    struct message *message;
    int error;

    if (size > (internet ? UDP_SIZE_MAX : (size_t)sock->send_buffer)) {
        return -EMSGSIZE;
    }
    if (internet) {
        error = sock->family->autobind(sock);
        if (error) {
            return error;
        }
        lock_acquire(&sock->lock);
        sending->name = sock->name;
        lock_release(&sock->lock);
    }
    error = sock_take_error(sock);
    if (error) {
        return error;
    }
    error = datagram_target(sock, to, walk, &target);
    if (error) {
        if (error == -ECONNREFUSED && internet && !target) {
            return datagram_lost(sock, size);
        }
        return error == -EPIPE ? broken_pipe(flags) : error;
    }
    message = message_new(sending, data, size);
    if (!message) {
        return -ENOMEM;
    }
    message->from = sock_get(sock);
    entry.events = EPOLLOUT | EPOLLHUP | EPOLLERR;
    for (;;) {
        error = queue_message(target, sending, message, (size_t)target->receive_buffer);
        if (error != -EAGAIN || deadline == 0 || internet) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&target->wait, &entry);
            continue;
        }
        error = wait_sleep(deadline);
        if (error) {
            error = sock_wait_error(error, sock->send_timeout);
            break;
        }
    }
    wait_queue_remove(&entry);
    if (error == 0) {
        wait_queue_wake(&target->wait, EPOLLIN | EPOLLRDNORM);
        return (ssize_t)size;
    }
    message_free(message);
    if (internet && error == -EAGAIN) {
        return (ssize_t)size; /* udp(7): no room, no datagram */
    }
    if (internet && (error == -ECONNREFUSED || error == -EPIPE)) {
        return datagram_lost(sock, size);
    }
    return error == -EPIPE ? broken_pipe(flags) : error;
}

ssize_t sock_send(struct sock *sock, const void *data, size_t size, int flags,
                  const struct socket_address *to, const struct walk *walk,
                  struct socket_control *control, bool nonblocking) {
    struct sending sending = {.sock = sock, .control = control};
    size_t in_flight = control && control->files ? control->file_count : 0;
    ssize_t result;

    if (flags & MSG_OOB) {
        return -EOPNOTSUPP;
    }
    lock_acquire(&sock->lock);
    sending.name = sock->name;
    bool connected = sock->state == SOCK_CONNECTED;

    lock_release(&sock->lock);
    if (to && sock_is_connection(sock)) {
        /* An address for a connection: TCP ignores it. */
        if (sock->family == &unix_family) {
            return connected ? -EISCONN : -EOPNOTSUPP;
        }
        to = NULL;
    }
    sending.creds = control && control->has_creds ? control->creds : sock_current_creds(false);
    if (in_flight) {
        int error = files_in_flight_charge(in_flight);

        if (error) {
            return error;
        }
    }
    result = sock_is_connection(sock)
                 ? send_connected(&sending, data, size, flags, nonblocking)
                 : send_datagram(&sending, data, size, flags, to, walk, nonblocking);
    /* Still ours: not sent. */
    if (in_flight && control->files) {
        files_in_flight_cancel(in_flight);
    }
    return result;
}

/* ---- poll ---- */

static bool peer_has_room(struct sock *sock, struct sock *peer, int send_buffer) {
    LOCK_GUARD(&peer->lock);

    if (peer->dead) {
        return true; /* the error is there to be had */
    }
    /* unix(7) says nothing; Linux wants three quarters free, so that a writer gets something done.
     */
    return sock_is_connection(sock) ? peer->queued * 4 <= (size_t)send_buffer
                                    : peer->queued <= (size_t)peer->receive_buffer / 2;
}

uint32_t sock_poll_mask(struct sock *sock) {
    struct sock *peer = NULL;
    uint32_t mask = 0;

    lock_acquire(&sock->lock);
    int send_buffer = sock->send_buffer;
    bool listening = sock->state == SOCK_LISTENING;

    if (sock->error) {
        mask |= EPOLLERR;
    }
    if (sock->shut == (SHUT_RECEIVE | SHUT_SEND) ||
        (sock_is_connection(sock) && sock->state == SOCK_UNCONNECTED)) {
        mask |= EPOLLHUP;
    }
    if (sock->shut & SHUT_RECEIVE) {
        mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
    }
    if (!list_empty(&sock->messages) || (listening && sock->backlog_count)) {
        mask |= EPOLLIN | EPOLLRDNORM;
    }
    if (sock->peer) {
        peer = sock_get(sock->peer);
    }
    if (sock->shut & SHUT_SEND) {
        mask |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
    }
    lock_release(&sock->lock);
    if (!listening && (!peer || peer_has_room(sock, peer, send_buffer))) {
        mask |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
    }
    if (peer) {
        sock_put(peer);
    }
    return mask;
}
