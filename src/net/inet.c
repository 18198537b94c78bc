/*
 * ip(7), ipv6(7): a loopback of the sandbox's own. The host's network is never touched: addresses
 * are 127.0.0.0/8 and ::1; anything else is ENETUNREACH, as on a machine with no other interface.
 * A stream is a pair of socks (no packets, nothing is ever lost), a datagram a message that goes
 * straight into the receiver's queue.
 *
 * Inside, an address is 16 bytes (IPv4 mapped: ::ffff:a.b.c.d) and a port; the table of bound socks
 * is a list. An accepted sock carries its listener's name but does not stand in the table.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "net/net_internal.h"

#define EPHEMERAL_FIRST 32768 /* ip(7): ip_local_port_range */
#define EPHEMERAL_COUNT 28232
#define CAP_NET_BIND    10

struct inet_name {
    uint8_t address[16];
    uint16_t port; /* host order */
    bool any;      /* 0.0.0.0 or :: */
    bool version4;
};

struct inet_binding {
    struct inet_name name;
};

static struct lock bindings_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
/* Socks by bound_link; their ->bound is the struct inet_binding. */
static struct list_head bindings = LIST_HEAD_INIT(bindings);

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static int name_parse(const struct socket_address *address, struct inet_name *name) {
    memset(name, 0, sizeof(*name));
    if (address->header.sa_family == AF_INET) {
        struct sockaddr_in in;

        if (address->size < sizeof(in)) {
            return -EINVAL;
        }
        memcpy(&in, address->bytes, sizeof(in));
        memcpy(name->address, mapped_prefix, sizeof(mapped_prefix));
        memcpy(name->address + 12, &in.sin_addr, 4);
        name->port = ntohs(in.sin_port);
        name->any = in.sin_addr.s_addr == INADDR_ANY;
        name->version4 = true;
        return 0;
    }
    if (address->header.sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        static const uint8_t zero[16];

        if (address->size < 24) { /* without sin6_scope_id: ipv6(7) */
            return -EINVAL;
        }
        memset(&in6, 0, sizeof(in6));
        memcpy(&in6, address->bytes, MIN((size_t)address->size, sizeof(in6)));
        memcpy(name->address, &in6.sin6_addr, 16);
        name->port = ntohs(in6.sin6_port);
        name->version4 = memcmp(name->address, mapped_prefix, sizeof(mapped_prefix)) == 0;
        name->any = memcmp(name->address, zero, 16) == 0 ||
                    (name->version4 && memcmp(name->address + 12, zero, 4) == 0);
        return 0;
    }
    return -EAFNOSUPPORT;
}

static void name_format(int family, const struct inet_name *name, struct socket_address *address) {
    memset(address, 0, sizeof(*address));
    if (family == AF_INET) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(name->port)};

        memcpy(&in.sin_addr, name->address + 12, 4);
        memcpy(address->bytes, &in, sizeof(in));
        address->size = sizeof(in);
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(name->port)};

        memcpy(&in6.sin6_addr, name->address, 16);
        memcpy(address->bytes, &in6, sizeof(in6));
        address->size = sizeof(in6);
    }
}

void inet_adapt_name(int family, struct socket_address *address) {
    struct inet_name name;

    if (address->header.sa_family != family && name_parse(address, &name) == 0) {
        name_format(family, &name, address);
    }
}

static bool name_is_loopback(const struct inet_name *name) {
    if (name->version4) {
        return name->address[12] == 127;
    }
    return memcmp(name->address, &in6addr_loopback, 16) == 0;
}

/* Would the two meet at some address? */
static bool names_overlap(const struct inet_name *a, const struct sock *sock_a,
                          const struct inet_name *b, const struct sock *sock_b) {
    if (a->port != b->port) {
        return false;
    }
    bool both = a->version4 == b->version4 || (!a->version4 && a->any && !sock_a->v6_only) ||
                (!b->version4 && b->any && !sock_b->v6_only);

    return both && (a->any || b->any || memcmp(a->address, b->address, 16) == 0);
}

static bool may_share(const struct sock *one, const struct sock *other) {
    if (one->reuse_port && other->reuse_port) {
        return true;
    }
    /* socket(7) SO_REUSEADDR: but not with one that listens. */
    return one->reuse_address && other->reuse_address &&
           (one->type == SOCK_DGRAM || other->state != SOCK_LISTENING);
}

static bool name_is_free_locked(const struct sock *sock, const struct inet_name *name) {
    struct sock *other;

    list_for_each_entry (other, &bindings, bound_link) {
        const struct inet_binding *binding = other->bound;

        if (other->type == sock->type && names_overlap(name, sock, &binding->name, other) &&
            !may_share(sock, other)) {
            return false;
        }
    }
    return true;
}

static bool choose_port_locked(const struct sock *sock, struct inet_name *name) {
    static unsigned next;

    for (unsigned tries = 0; tries < EPHEMERAL_COUNT; tries++) {
        name->port = (uint16_t)(EPHEMERAL_FIRST + next++ % EPHEMERAL_COUNT);
        if (name_is_free_locked(sock, name)) {
            return true;
        }
    }
    return false;
}

static int bind_name(struct sock *sock, struct inet_name *name) {
    struct inet_binding *binding = calloc(1, sizeof(*binding));
    int error = 0;

    if (!binding) {
        return -ENOMEM;
    }
    lock_acquire(&sock->lock);
    lock_acquire(&bindings_lock);
    if (sock->bound) {
        error = -EINVAL;
    } else if (!name->port ? !choose_port_locked(sock, name) : !name_is_free_locked(sock, name)) {
        error = -EADDRINUSE;
    } else {
        binding->name = *name;
        sock->bound = STEAL(binding);
        list_add_tail(&sock->bound_link, &bindings);
        name_format(sock->family->number, name, &sock->name);
    }
    lock_release(&bindings_lock);
    lock_release(&sock->lock);
    free(binding);
    return error;
}

static int inet_bind(struct sock *sock, const struct socket_address *address,
                     const struct walk *walk) {
    struct inet_name name;
    int error = name_parse(address, &name);

    if (error) {
        return error;
    }
    if (!name.any && !name_is_loopback(&name)) {
        return -EADDRNOTAVAIL;
    }
    if (name.port && name.port < 1024 && walk && !credentials_capable(walk->creds, CAP_NET_BIND)) {
        return -EACCES;
    }
    return bind_name(sock, &name);
}

static int inet_autobind(struct sock *sock) {
    struct inet_name name = {0};
    int error;

    lock_acquire(&sock->lock);
    bool bound = sock->bound != NULL;

    lock_release(&sock->lock);
    if (bound) {
        return 0;
    }
    name.any = true;
    if (sock->family->number == AF_INET) {
        name.version4 = true;
        memcpy(name.address, mapped_prefix, sizeof(mapped_prefix));
    }
    error = bind_name(sock, &name);
    return error == -EINVAL ? 0 : error;
}

/* A connected sock's own address is no longer "any" but the one it talks from. */
static void settle_own_address(struct sock *sock, const struct inet_name *to) {
    struct inet_name own;
    LOCK_GUARD(&sock->lock);

    if (name_parse(&sock->name, &own) || !own.any || sock->state == SOCK_LISTENING) {
        return;
    }
    if (to->version4) {
        memcpy(own.address, mapped_prefix, sizeof(mapped_prefix));
        memcpy(own.address + 12, to->any ? (const uint8_t[]){127, 0, 0, 1} : to->address + 12, 4);
    } else {
        memcpy(own.address, &in6addr_loopback, 16);
    }
    name_format(sock->family->number, &own, &sock->name);
}

static int inet_find(struct sock *sock, const struct socket_address *address,
                     const struct walk *walk, struct sock **found) {
    struct inet_name name;
    struct sock *other, *best = NULL;
    int error = name_parse(address, &name);

    if (error) {
        return error;
    }
    if (sock->family->number == AF_INET6 && sock->v6_only && name.version4) {
        return -ENETUNREACH;
    }
    if (!name.any && !name_is_loopback(&name)) {
        return -ENETUNREACH;
    }
    if (sock_is_connection(sock) || sock->state == SOCK_CONNECTED) {
        settle_own_address(sock, &name);
    }
    LOCK_GUARD(&bindings_lock);
    list_for_each_entry (other, &bindings, bound_link) {
        const struct inet_binding *binding = other->bound;
        const struct inet_name *there = &binding->name;

        if (other->type != sock->type || there->port != name.port || other == sock) {
            if (other != sock || sock_is_connection(sock) || there->port != name.port) {
                continue; /* a datagram may go to oneself */
            }
        }
        /* A stream is for listeners only; connected clients stand here too. */
        if (sock_is_connection(sock) &&
            __atomic_load_n(&other->state, __ATOMIC_RELAXED) != SOCK_LISTENING) {
            continue;
        }
        bool family_fits = there->version4 == name.version4 ||
                           (!there->version4 && there->any && !other->v6_only) || name.any;
        bool exact = memcmp(there->address, name.address, 16) == 0;

        if (family_fits && (there->any || name.any || exact) && (!best || exact)) {
            best = other;
        }
    }
    if (!best || !sock_tryget(best)) {
        return -ECONNREFUSED;
    }
    *found = best;
    return 0;
}

static void inet_unbind(struct sock *sock) {
    LOCK_GUARD(&bindings_lock);

    if (sock->bound) {
        list_del(&sock->bound_link);
        free(STEAL(sock->bound));
    }
}

/* ---- options: what has a meaning without packets is done, the rest is remembered ---- */

enum other_option {
    OTHER_TOS,
    OTHER_TTL,
    OTHER_KEEPIDLE,
    OTHER_KEEPINTVL,
    OTHER_KEEPCNT,
    OTHER_USER_TIMEOUT,
    OTHER_DEFER_ACCEPT,
    OTHER_CORK
};

static const struct {
    int level, option;
    enum other_option index;
    uint32_t initial;
} remembered[] = {
    {IPPROTO_IP, IP_TOS, OTHER_TOS, 0},
    {IPPROTO_IP, IP_TTL, OTHER_TTL, 64},
    {IPPROTO_TCP, TCP_KEEPIDLE, OTHER_KEEPIDLE, 7200},
    {IPPROTO_TCP, TCP_KEEPINTVL, OTHER_KEEPINTVL, 75},
    {IPPROTO_TCP, TCP_KEEPCNT, OTHER_KEEPCNT, 9},
    {IPPROTO_TCP, TCP_USER_TIMEOUT, OTHER_USER_TIMEOUT, 0},
    {IPPROTO_TCP, TCP_DEFER_ACCEPT, OTHER_DEFER_ACCEPT, 0},
    {IPPROTO_TCP, TCP_CORK, OTHER_CORK, 0},
};

/* Accepted and without effect here: they tune packets, queues of the network, or errors by ICMP. */
static bool option_is_tuning(int level, int option) {
    switch (level) {
    case IPPROTO_IP:
        return option == IP_MTU_DISCOVER || option == IP_RECVERR || option == IP_PKTINFO ||
               option == IP_BIND_ADDRESS_NO_PORT || option == IP_FREEBIND ||
               option == IP_MULTICAST_TTL || option == IP_MULTICAST_LOOP || option == IP_RECVTTL ||
               option == IP_RECVTOS;
    case IPPROTO_IPV6:
        return option == IPV6_MTU_DISCOVER || option == IPV6_RECVERR ||
               option == IPV6_RECVPKTINFO || option == IPV6_TCLASS || option == IPV6_UNICAST_HOPS ||
               option == IPV6_MULTICAST_HOPS || option == IPV6_RECVHOPLIMIT ||
               option == IPV6_RECVTCLASS;
    case IPPROTO_TCP:
        return option == TCP_QUICKACK || option == TCP_LINGER2 || option == TCP_SYNCNT ||
               option == TCP_FASTOPEN || option == TCP_WINDOW_CLAMP || option == TCP_CONGESTION ||
               option == TCP_NOTSENT_LOWAT;
    default:
        return false;
    }
}

static bool level_exists(const struct sock *sock, int level) {
    return level == IPPROTO_IP || (level == IPPROTO_IPV6 && sock->family->number == AF_INET6) ||
           (level == IPPROTO_TCP && sock->type == SOCK_STREAM) ||
           (level == IPPROTO_UDP && sock->type == SOCK_DGRAM);
}

static int inet_set_option(struct sock *sock, int level, int option, const void *value,
                           size_t size) {
    int32_t number = 0;

    if (!level_exists(sock, level)) {
        return -ENOPROTOOPT;
    }
    if (size < sizeof(number) && !(size >= 1 && level == IPPROTO_IP)) {
        return -EINVAL;
    }
    memcpy(&number, value, MIN(size, sizeof(number)));
    LOCK_GUARD(&sock->lock);
    if (level == IPPROTO_TCP && option == TCP_NODELAY) {
        sock->no_delay = number;
        return 0;
    }
    if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
        if (sock->bound) {
            return -EINVAL;
        }
        sock->v6_only = number;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(remembered); i++) {
        if (remembered[i].level == level && remembered[i].option == option) {
            /* Stored as the distance from its initial value: a fresh sock is all zero. */
            sock->other_options[remembered[i].index] = (uint32_t)number - remembered[i].initial;
            return 0;
        }
    }
    return option_is_tuning(level, option) ? 0 : -ENOPROTOOPT;
}

static int put_number(void *value, size_t *size, int32_t number) {
    memcpy(value, &number, MIN(*size, sizeof(number)));
    *size = MIN(*size, sizeof(number));
    return 0;
}

static int inet_get_option(struct sock *sock, int level, int option, void *value, size_t *size) {
    if (!level_exists(sock, level)) {
        return -EOPNOTSUPP;
    }
    LOCK_GUARD(&sock->lock);
    if (level == IPPROTO_TCP && option == TCP_NODELAY) {
        return put_number(value, size, sock->no_delay);
    }
    if (level == IPPROTO_TCP && option == TCP_MAXSEG) {
        return put_number(value, size, 65483);
    }
    if (level == IPPROTO_TCP && option == TCP_INFO) {
        struct tcp_info info = {0};

        /* enum of netinet/tcp.h: TCP_ESTABLISHED 1, TCP_CLOSE 7, TCP_LISTEN 10, CLOSE_WAIT 8 */
        info.tcpi_state = sock->state == SOCK_CONNECTED
                              ? (sock->shut & SHUT_RECEIVE ? TCP_CLOSE_WAIT : TCP_ESTABLISHED)
                          : sock->state == SOCK_LISTENING ? TCP_LISTEN
                                                          : TCP_CLOSE;
        info.tcpi_snd_mss = info.tcpi_rcv_mss = 65483;
        *size = MIN(*size, sizeof(info));
        memcpy(value, &info, *size);
        return 0;
    }
    if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
        return put_number(value, size, sock->v6_only);
    }
    for (size_t i = 0; i < ARRAY_SIZE(remembered); i++) {
        if (remembered[i].level == level && remembered[i].option == option) {
            return put_number(
                value, size,
                (int32_t)(sock->other_options[remembered[i].index] + remembered[i].initial));
        }
    }
    return option_is_tuning(level, option) ? put_number(value, size, 0) : -ENOPROTOOPT;
}

const struct family inet_family = {
    .number = AF_INET,
    .bind = inet_bind,
    .autobind = inet_autobind,
    .find = inet_find,
    .unbind = inet_unbind,
    .set_option = inet_set_option,
    .get_option = inet_get_option,
};

const struct family inet6_family = {
    .number = AF_INET6,
    .bind = inet_bind,
    .autobind = inet_autobind,
    .find = inet_find,
    .unbind = inet_unbind,
    .set_option = inet_set_option,
    .get_option = inet_get_option,
};
