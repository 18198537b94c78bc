/*
 * Inside net/: the sock, its messages, and what a family gives.
 *
 * Ownership. A file owns its sock; a connected sock holds its peer, and gives that up when it is
 * closed; a listener holds what waits to be accepted; a message holds its sender and the files in
 * flight. Locks: one sock's at a time, never two; a peer is looked up and held, then locked alone.
 */
#ifndef STARLING_NET_INTERNAL_H
#define STARLING_NET_INTERNAL_H

#include <netinet/in.h>
#include <sys/un.h>

#include "net/net.h"

#define SOCK_BUFFER_DEFAULT 212992 /* socket(7): /proc/sys/net/core/wmem_default */
#define SOCK_BUFFER_MAX     (4 << 20)
#define SOCK_BUFFER_MIN     4608
#define SOCK_BACKLOG_MAX    4096 /* listen(2): somaxconn */
#define MESSAGE_OVERHEAD    128  /* so that empty messages count too */

/* SHUT_* as bits: nothing more will be read from, or written to it. */
#define SHUT_RECEIVE 1
#define SHUT_SEND    2

enum sock_state { SOCK_UNCONNECTED, SOCK_CONNECTING, SOCK_CONNECTED, SOCK_LISTENING };

struct sock;

struct message {
    struct list_head link;
    size_t size, offset; /* offset: what a stream has read already */
    struct socket_control control;
    struct sock *from;             /* owned; datagrams and their room */
    struct socket_address address; /* the sender's name when it was sent */
    unsigned char data[];
};

struct family {
    int number;
    /* A bind to `address`, whose family was checked. */
    int (*bind)(struct sock *sock, const struct socket_address *address, const struct walk *walk);
    /* A name of the kernel's choice, when it has none. */
    int (*autobind)(struct sock *sock);
    /* Who listens or receives at `address`: owned; -ECONNREFUSED and so on. */
    int (*find)(struct sock *sock, const struct socket_address *address, const struct walk *walk,
                struct sock **found);
    /* The name is no longer used: called once when the sock is closed. */
    void (*unbind)(struct sock *sock);
    /* Options of the family's own levels; -ENOPROTOOPT. */
    int (*set_option)(struct sock *sock, int level, int option, const void *value, size_t size);
    int (*get_option)(struct sock *sock, int level, int option, void *value, size_t *size);
};

struct sock {
    struct ref ref;
    const struct family *family; /* immutable */
    int type, protocol;          /* immutable */
    struct wait_queue wait;
    struct lock lock; /* class PIPE; guards what follows */
    enum sock_state state;
    bool dead; /* its file is gone */
    int shut;
    int error;         /* SO_ERROR: told once */
    struct sock *peer; /* owned */
    struct list_head messages;
    size_t queued;            /* bytes of messages, with overhead */
    struct list_head backlog; /* listener: socks by backlog_link, owned */
    int backlog_count, backlog_max;
    struct list_head backlog_link; /* guarded by the listener's lock */
    struct socket_address name, peer_name;
    struct ucred owner, peer_owner; /* SO_PEERCRED */
    int send_buffer, receive_buffer;
    int64_t send_timeout, receive_timeout; /* ns; 0: none */
    bool pass_creds, reuse_address, reuse_port, keep_alive, broadcast, oob_inline, no_delay,
        v6_only;
    struct linger linger;
    int priority, mark, receive_low;
    uint32_t other_options[8]; /* the family's own: values kept for getsockopt */
    struct file *file;         /* weak; set once, followed only while in_flight > 0 */
    /* scm.c's, guarded by its lists' lock */
    struct list_head flight_link;
    unsigned in_flight; /* messages that hold our file */
    unsigned gc_index;  /* changed only by the one collector: place in its table + 1 */
    void *bound;        /* the family's: guarded by its name table's lock */
    struct list_head bound_link;
    struct path bound_path; /* unix */
};

static inline bool sock_is_stream(const struct sock *sock) {
    return sock->type == SOCK_STREAM;
}
static inline bool sock_is_connection(const struct sock *sock) {
    return sock->type != SOCK_DGRAM;
}

extern const struct family unix_family, inet_family, inet6_family;
extern const struct file_ops socket_file_ops;

struct sock *sock_new(const struct family *family, int type, int protocol);
struct sock *sock_get(struct sock *sock);
bool sock_tryget(struct sock *sock);
void sock_put(struct sock *sock);
DEFINE_CLEANUP(struct sock *, sock_put)
/* Its file is gone (or it was never accepted): tells the peer, empties the queues. */
void sock_close(struct sock *sock);
int sock_file_new(struct sock *sock, int flags, struct file **file); /* takes over on success */
struct ucred sock_current_creds(bool effective);
/* The file's; NULL: it is no socket. */
struct sock *sock_of_file(struct file *file);
/* By MSG_DONTWAIT or O_NONBLOCK. */
bool sock_nonblocking(struct file *file, int flags);
/* When a wait of this sock ends: timeout_ns 0: never. `nonblocking`: at once. */
deadline_ns sock_deadline(int64_t timeout_ns, bool nonblocking);
/* What an interrupted or timed-out wait returns. */
int sock_wait_error(int error, int64_t timeout_ns);
/* The peer, owned, or NULL. */
struct sock *sock_peer(struct sock *sock);

/* sock_queue.c, sock_receive.c */
ssize_t sock_send(struct sock *sock, const void *data, size_t size, int flags,
                  const struct socket_address *to, const struct walk *walk,
                  struct socket_control *control, bool nonblocking);
ssize_t sock_receive(struct sock *sock, void *buffer, size_t size, int *flags,
                     struct socket_address *from, struct socket_control *control, bool nonblocking);
void sock_purge(struct list_head *messages);
/* What a message takes of a buffer size. */
size_t sock_message_cost(const struct message *message);
uint32_t sock_poll_mask(struct sock *sock);
int sock_take_error(struct sock *sock);

/*
 * scm.c: files in flight. `charge` counts them against the limit before they are sent
 * (-ETOOMANYREFS); `begin` says that they are in a message now, `end` that they are not any more.
 * begin, and end where a message is taken out of a queue, are called with flight_gate read-held.
 */
extern struct rwlock flight_gate;
int MUST_CHECK files_in_flight_charge(size_t count);
void files_in_flight_cancel(size_t count);
void files_in_flight_begin(struct file **files, size_t count);
void files_in_flight_end(struct file **files, size_t count);  /* and cancels the charge */
void files_in_flight_drop(struct file **files, size_t count); /* end, and puts them */

/* inet.c: rewrites a name for the other Internet family (IPv4 as ::ffff:a.b.c.d and back). */
void inet_adapt_name(int family, struct socket_address *address);

/* sock_options.c */
int sock_set_option(struct sock *sock, int option, const void *value, size_t size);
int sock_get_option(struct sock *sock, int option, void *value, size_t *size);

#endif
