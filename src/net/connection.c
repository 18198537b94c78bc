/*
 * Connections: listen(2), accept(2), connect(2), shutdown(2) of all families. A connection to a
 * listener is made whole by connect(): both ends, the one that accept() gives out waiting in the
 * listener's queue.
 */
#include "net/net_internal.h"

int socket_listen(struct file *file, int backlog) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    if (!sock_is_connection(sock)) {
        return -EOPNOTSUPP;
    }
    if (sock->family != &unix_family) {
        int error = sock->family->autobind(sock);

        if (error) {
            return error;
        }
    }
    struct ucred owner = sock_current_creds(true);
    LOCK_GUARD(&sock->lock);

    if (sock->family == &unix_family && sock->name.size <= sizeof(sa_family_t)) {
        return -EINVAL;
    }
    if (sock->state != SOCK_UNCONNECTED && sock->state != SOCK_LISTENING) {
        return -EINVAL;
    }
    sock->backlog_max = backlog < 0 || backlog > SOCK_BACKLOG_MAX ? SOCK_BACKLOG_MAX : backlog;
    sock->state = SOCK_LISTENING;
    sock->owner = owner;
    return 0;
}

int socket_accept(struct file *file, int flags, struct file **accepted,
                  struct socket_address *address) {
    struct sock *sock = sock_of_file(file), *child = NULL;
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    if (!sock) {
        return -ENOTSOCK;
    }
    if (!sock_is_connection(sock)) {
        return -EOPNOTSUPP;
    }
    deadline_ns deadline = sock_deadline(sock->receive_timeout, sock_nonblocking(file, 0));

    entry.events = EPOLLIN | EPOLLHUP;
    entry.exclusive = true;
    for (;;) {
        lock_acquire(&sock->lock);
        if (sock->state != SOCK_LISTENING || (sock->shut & SHUT_RECEIVE)) {
            result = -EINVAL;
        } else if (!list_empty(&sock->backlog)) {
            child = list_first_entry(&sock->backlog, struct sock, backlog_link);
            list_del(&child->backlog_link);
            sock->backlog_count--;
        }
        lock_release(&sock->lock);
        if (result || child) {
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
    if (entry.queue) {
        wait_queue_remove(&entry);
        /* A wake meant for one of us is passed on. */
        wait_queue_wake_one(&sock->wait, EPOLLIN);
    }
    if (!child) {
        return result;
    }
    wait_queue_wake(&sock->wait, EPOLLOUT); /* room for another */
    if (address) {
        lock_acquire(&child->lock);
        *address = child->peer_name;
        lock_release(&child->lock);
    }
    result = sock_file_new(child, flags, accepted);
    if (result) {
        sock_close(child);
        sock_put(child);
    }
    return result;
}

/* A place in the listener's backlog: 0, -EAGAIN when it is full, -ECONNREFUSED. */
static int listener_reserve(struct sock *listener) {
    LOCK_GUARD(&listener->lock);

    if (listener->dead || listener->state != SOCK_LISTENING || (listener->shut & SHUT_RECEIVE)) {
        return -ECONNREFUSED;
    }
    if (listener->backlog_count > listener->backlog_max) {
        return -EAGAIN;
    }
    listener->backlog_count++;
    return 0;
}

static int wait_for_backlog(struct sock *sock, struct sock *listener, bool dont_wait) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    deadline_ns deadline = sock_deadline(sock->send_timeout, dont_wait);
    int error;

    entry.events = EPOLLOUT | EPOLLHUP;
    for (;;) {
        error = listener_reserve(listener);
        if (error != -EAGAIN || deadline == 0) {
            break;
        }
        if (!entry.queue) {
            wait_queue_add(&listener->wait, &entry);
            continue;
        }
        error = wait_sleep(deadline);
        if (error) {
            error = sock_wait_error(error, sock->send_timeout);
            break;
        }
    }
    wait_queue_remove(&entry);
    return error;
}

/* The connection exists on both sides before the listener can hand it out. */
static int connect_to(struct sock *sock, struct sock *listener,
                      const struct socket_address *address) {
    struct sock *child = sock_new(listener->family, listener->type, listener->protocol);
    struct ucred creds = sock_current_creds(true);
    struct socket_address name, listener_name;
    struct ucred listener_owner;
    bool gone;

    if (!child) {
        lock_acquire(&listener->lock);
        listener->backlog_count--;
        lock_release(&listener->lock);
        return -ENOMEM;
    }
    lock_acquire(&listener->lock);
    listener_name = listener->name;
    listener_owner = listener->owner;
    child->pass_creds = listener->pass_creds;
    child->send_buffer = listener->send_buffer;
    child->receive_buffer = listener->receive_buffer;
    child->no_delay = listener->no_delay;
    child->keep_alive = listener->keep_alive;
    lock_release(&listener->lock);

    lock_acquire(&sock->lock);
    name = sock->name;
    sock->peer = sock_get(child);
    sock->peer_name = sock->family == &unix_family ? listener_name : *address;
    sock->peer_owner = listener_owner;
    sock->state = SOCK_CONNECTED;
    lock_release(&sock->lock);
    child->name = sock->family == &unix_family ? listener_name : *address;
    child->peer_name = name;
    if (listener->family != sock->family) {
        inet_adapt_name(listener->family->number, &child->name);
        inet_adapt_name(listener->family->number, &child->peer_name);
    }
    child->owner = listener_owner;
    child->peer_owner = creds;
    child->peer = sock_get(sock);
    child->state = SOCK_CONNECTED;

    lock_acquire(&listener->lock);
    gone = listener->dead;
    if (!gone) {
        list_add_tail(&child->backlog_link, &listener->backlog);
    }
    lock_release(&listener->lock);
    if (gone) {
        struct sock *peer;

        lock_acquire(&sock->lock);
        peer = STEAL(sock->peer);
        sock->state = SOCK_UNCONNECTED;
        lock_release(&sock->lock);
        sock_put(peer);
        sock_close(child);
        sock_put(child);
        return -ECONNREFUSED;
    }
    wait_queue_wake_one(&listener->wait, EPOLLIN | EPOLLRDNORM);
    wait_queue_wake(&sock->wait, EPOLLOUT | EPOLLWRNORM);
    return 0;
}

static int connect_stream(struct sock *sock, const struct socket_address *address,
                          const struct walk *walk, bool dont_wait) {
    struct sock *listener CLEANUP(sock_put) = NULL;
    int error = 0;

    lock_acquire(&sock->lock);
    switch (sock->state) {
    case SOCK_UNCONNECTED:
        sock->state = SOCK_CONNECTING;
        break;
    case SOCK_CONNECTING:
        error = -EALREADY;
        break;
    case SOCK_CONNECTED:
        error = -EISCONN;
        break;
    case SOCK_LISTENING:
        error = sock->family == &unix_family ? -EINVAL : -EISCONN;
        break;
    }
    lock_release(&sock->lock);
    if (error) {
        return error;
    }
    if (sock->family != &unix_family || sock->pass_creds) {
        error = sock->family->autobind(sock);
    }
    if (!error) {
        error = sock->family->find(sock, address, walk, &listener);
    }
    if (!error && listener->type != sock->type) {
        error = -EPROTOTYPE;
    }
    if (!error) {
        error = wait_for_backlog(sock, listener, dont_wait);
    }
    if (!error) {
        error = connect_to(sock, listener, address);
    }
    if (error) {
        lock_acquire(&sock->lock);
        sock->state = SOCK_UNCONNECTED;
        lock_release(&sock->lock);
    }
    return error;
}

static int connect_datagram(struct sock *sock, const struct socket_address *address,
                            const struct walk *walk) {
    struct sock *peer CLEANUP(sock_put) = NULL, *old;
    bool internet = sock->family != &unix_family;
    int error = 0;

    if (internet || sock->pass_creds) {
        error = sock->family->autobind(sock);
    }
    if (!error) {
        error = sock->family->find(sock, address, walk, &peer);
    }
    if (internet && (!error || error == -ECONNREFUSED)) {
        /* udp(7): only remembers the address. */
        if (peer) {
            sock_put(STEAL(peer));
        }
        LOCK_GUARD(&sock->lock);
        sock->peer_name = *address;
        sock->state = SOCK_CONNECTED;
        return 0;
    }
    if (error) {
        return error;
    }
    lock_acquire(&peer->lock);
    if (peer->type != sock->type) {
        error = -EPROTOTYPE;
    } else if (peer->state == SOCK_CONNECTED && peer->peer && peer->peer != sock) {
        error = -EPERM;
    }
    struct socket_address name = peer->name;

    lock_release(&peer->lock);
    if (error) {
        return error;
    }
    lock_acquire(&sock->lock);
    old = sock->peer;
    sock->peer = STEAL(peer);
    sock->peer_name = name;
    sock->state = SOCK_CONNECTED;
    lock_release(&sock->lock);
    if (old) {
        sock_put(old);
    }
    return 0;
}

static int disconnect(struct sock *sock) {
    struct sock *old;

    if (sock_is_connection(sock)) {
        return sock->family == &unix_family ? -EINVAL : -EAFNOSUPPORT;
    }
    lock_acquire(&sock->lock);
    old = STEAL(sock->peer);
    sock->state = SOCK_UNCONNECTED;
    sock->peer_name.size = 0;
    lock_release(&sock->lock);
    if (old) {
        sock_put(old);
    }
    return 0;
}

int socket_connect(struct file *file, const struct socket_address *address,
                   const struct walk *walk) {
    struct sock *sock = sock_of_file(file);

    if (!sock) {
        return -ENOTSOCK;
    }
    if (address->size < sizeof(sa_family_t)) {
        return -EINVAL;
    }
    if (address->header.sa_family == AF_UNSPEC) {
        return disconnect(sock);
    }
    if (address->header.sa_family != sock->family->number) {
        return sock->family == &unix_family ? -EINVAL : -EAFNOSUPPORT;
    }
    return sock_is_connection(sock) ? connect_stream(sock, address, walk, sock_nonblocking(file, 0))
                                    : connect_datagram(sock, address, walk);
}

int socket_shutdown(struct file *file, int how) {
    struct sock *sock = sock_of_file(file), *peer;
    int bits;

    if (!sock) {
        return -ENOTSOCK;
    }
    if (how < SHUT_RD || how > SHUT_RDWR) {
        return -EINVAL;
    }
    bits = how == SHUT_RDWR ? SHUT_RECEIVE | SHUT_SEND : how == SHUT_RD ? SHUT_RECEIVE : SHUT_SEND;
    lock_acquire(&sock->lock);
    if (sock->state != SOCK_CONNECTED && sock->state != SOCK_LISTENING &&
        sock->family != &unix_family) {
        lock_release(&sock->lock);
        return -ENOTCONN;
    }
    if (sock->state == SOCK_LISTENING && sock->family != &unix_family && (bits & SHUT_RECEIVE)) {
        sock->state = SOCK_UNCONNECTED; /* tcp(7): it stops listening */
    } else {
        sock->shut |= bits;
    }
    peer = sock->peer && sock_is_connection(sock) ? sock_get(sock->peer) : NULL;
    lock_release(&sock->lock);
    if (peer) {
        lock_acquire(&peer->lock);
        if (bits & SHUT_SEND) {
            peer->shut |= SHUT_RECEIVE;
        }
        if ((bits & SHUT_RECEIVE) && peer->family == &unix_family) {
            peer->shut |= SHUT_SEND;
        }
        lock_release(&peer->lock);
        wait_queue_wake(&peer->wait, 0);
        sock_put(peer);
    }
    wait_queue_wake(&sock->wait, 0);
    return 0;
}
