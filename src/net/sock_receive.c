/*
 * Receiving: messages out of a sock's own queue, whole (datagrams) or in parts (streams), with what
 * came beside their bytes.
 */
#include "net/net_internal.h"

/* One receive over several looks. */
struct receiving {
    struct sock *sock;
    char *buffer;
    size_t size, done;
    int flags, out_flags;
    struct socket_address *from;
    struct socket_control *control;
    struct list_head used; /* messages to free without the lock */
    size_t full_size;      /* of a datagram */
    bool got, finished;    /* something came; nothing more may be added */
};

static bool peeks(const struct receiving *receiving) {
    return receiving->flags & MSG_PEEK;
}

/* The files of a message go to the receiver; a peek shares them. */
static void take_control_locked(struct receiving *receiving, struct message *message) {
    struct socket_control *control = receiving->control;

    if (control) {
        control->creds = message->control.creds;
        control->has_creds = receiving->sock->pass_creds;
    }
    if (!message->control.files) {
        return;
    }
    receiving->finished = true;
    if (!control || control->files) {
        return; /* nowhere to put them: they go with the message */
    }
    if (!peeks(receiving)) {
        files_in_flight_end(message->control.files, message->control.file_count);
        control->files = STEAL(message->control.files);
        control->file_count = message->control.file_count;
        message->control.file_count = 0;
        return;
    }
    control->files = malloc(message->control.file_count * sizeof(struct file *));
    if (control->files) {
        control->file_count = message->control.file_count;
        for (size_t i = 0; i < control->file_count; i++) {
            control->files[i] = file_get(message->control.files[i]);
        }
    }
}

static void consume_locked(struct receiving *receiving, struct message *message) {
    list_del(&message->link);
    list_add_tail(&message->link, &receiving->used);
}

static void take_datagram_locked(struct receiving *receiving, struct message *message) {
    size_t count = MIN(receiving->size, message->size);

    memcpy(receiving->buffer, message->data, count);
    receiving->done = count;
    receiving->full_size = message->size;
    receiving->out_flags |= count < message->size ? MSG_TRUNC : 0;
    receiving->got = receiving->finished = true;
    if (receiving->from) {
        *receiving->from = message->address;
        /* A sender without a name gives none. */
        if (message->address.size <= sizeof(sa_family_t)) {
            receiving->from->size = 0;
        }
    }
    take_control_locked(receiving, message);
    if (!peeks(receiving)) {
        receiving->sock->queued -= sock_message_cost(message);
        consume_locked(receiving, message);
    }
}

static void take_stream_locked(struct receiving *receiving) {
    struct sock *sock = receiving->sock;
    struct message *message, *next;

    list_for_each_entry_safe (message, next, &sock->messages, link) {
        size_t count = MIN(receiving->size - receiving->done, message->size - message->offset);
        const struct ucred *creds = &message->control.creds;

        if (receiving->finished || count == 0) {
            break;
        }
        /* unix(7): bytes of different senders are not mixed when the receiver asked who it is. */
        if (receiving->got && sock->pass_creds && receiving->control &&
            memcmp(creds, &receiving->control->creds, sizeof(*creds)) != 0) {
            receiving->finished = true;
            break;
        }
        if (!receiving->got && receiving->from && sock->family == &unix_family &&
            message->address.size > sizeof(sa_family_t)) {
            *receiving->from = message->address;
        }
        memcpy(receiving->buffer + receiving->done, message->data + message->offset, count);
        receiving->done += count;
        receiving->got = true;
        take_control_locked(receiving, message);
        if (!peeks(receiving)) {
            sock->queued -= count;
            message->offset += count;
            if (message->offset == message->size) {
                sock->queued -= MESSAGE_OVERHEAD;
                consume_locked(receiving, message);
            }
        }
    }
    if (peeks(receiving) && receiving->got) {
        receiving->finished = true;
    }
}

/* One look: 1: done; 0: nothing there, wait; -errno. */
static int receive_look_locked(struct receiving *receiving) {
    struct sock *sock = receiving->sock;

    if (sock_is_connection(sock) && sock->state != SOCK_CONNECTED) {
        if (sock->state == SOCK_LISTENING || sock->family == &unix_family) {
            return sock->type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
        }
        return -ENOTCONN;
    }
    if (!list_empty(&sock->messages)) {
        if (sock_is_stream(sock)) {
            take_stream_locked(receiving);
        } else {
            take_datagram_locked(receiving,
                                 list_first_entry(&sock->messages, struct message, link));
        }
        if (receiving->finished || receiving->done == receiving->size ||
            !(receiving->flags & MSG_WAITALL)) {
            return 1;
        }
    }
    if (receiving->done) {
        /* MSG_WAITALL: an error or the end gives what there is; an error stays for later. */
        return sock->error || (sock->shut & SHUT_RECEIVE);
    }
    if (sock->error) {
        int error = sock->error;

        sock->error = 0;
        return -error;
    }
    return (sock->shut & SHUT_RECEIVE) ? 1 : 0;
}

static int receive_look(struct receiving *receiving) {
    struct sock *sock = receiving->sock;
    bool files = sock->family == &unix_family;
    int result;

    if (files) {
        rwlock_read_acquire(&flight_gate);
    }
    lock_acquire(&sock->lock);
    result = receive_look_locked(receiving);
    lock_release(&sock->lock);
    if (files) {
        rwlock_read_release(&flight_gate);
    }
    return result;
}

ssize_t sock_receive(struct sock *sock, void *buffer, size_t size, int *flags,
                     struct socket_address *from, struct socket_control *control,
                     bool nonblocking) {
    struct receiving receiving = {.sock = sock,
                                  .buffer = buffer,
                                  .size = size,
                                  .flags = *flags,
                                  .from = from,
                                  .control = control};
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = sock_deadline(sock->receive_timeout, nonblocking);
    int result;

    *flags = 0;
    if (from) {
        from->size = 0;
    }
    if (receiving.flags & MSG_OOB) {
        return sock->family == &unix_family ? -EOPNOTSUPP : -EINVAL;
    }
    if (receiving.flags & MSG_ERRQUEUE) {
        return -EAGAIN; /* nobody ever puts anything there */
    }
    if (size == 0 && sock_is_stream(sock)) {
        return 0;
    }
    list_init(&receiving.used);
    entry.events = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    for (;;) {
        result = receive_look(&receiving);
        if (result) {
            break;
        }
        if (deadline == 0) {
            result = -EAGAIN;
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&sock->wait, &entry);
            continue;
        }
        result = wait_sleep(deadline);
        if (result) {
            result = sock_wait_error(result, sock->receive_timeout);
            break;
        }
    }
    wait_queue_remove(&entry);
    if (receiving.got && !peeks(&receiving)) {
        struct sock *peer = sock_is_connection(sock) ? sock_peer(sock) : NULL;

        if (peer) {
            wait_queue_wake(&peer->wait, EPOLLOUT | EPOLLWRNORM);
            sock_put(peer);
        }
        if (!sock_is_connection(sock)) {
            struct message *message;

            wait_queue_wake(&sock->wait, EPOLLOUT | EPOLLWRNORM);
            list_for_each_entry (message, &receiving.used, link) {
                wait_queue_wake(&message->from->wait, EPOLLOUT | EPOLLWRNORM);
            }
        }
    }
    sock_purge(&receiving.used);
    if (!receiving.got) {
        return result > 0 ? 0 : result;
    }
    *flags = receiving.out_flags;
    return (ssize_t)(!sock_is_stream(sock) && (receiving.flags & MSG_TRUNC) ? receiving.full_size
                                                                            : receiving.done);
}
