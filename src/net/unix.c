/*
 * unix(7): names of Unix sockets. A path name is an inode of the guest's file tree whose endpoint
 * is a struct unix_name; an abstract one stands in a table. Either knows its sock weakly.
 *
 * A bound sock holds the path, so the inode (and with it the endpoint) lives as long as the sock; a
 * connect finds the inode by the walk and the sock by the endpoint. When the sock is closed the
 * endpoint stays with no sock in it: ECONNREFUSED, as for every socket file nobody serves.
 */
#include <stddef.h>
#include <stdio.h>

#include "net/net_internal.h"

#define PATH_OFFSET offsetof(struct sockaddr_un, sun_path)

/* names_lock guards all links below; a sock is only reached through them while it has a reference,
 * or with tryget. */
static struct lock names_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_DEVICE};
static struct list_head abstract_names = LIST_HEAD_INIT(abstract_names);

struct unix_name {
    struct sock *sock; /* weak; guarded by names_lock */
};

static void unix_name_release(void *endpoint) {
    free(endpoint);
}

static bool is_abstract(const struct socket_address *address) {
    return address->size > PATH_OFFSET && address->bytes[PATH_OFFSET] == '\0';
}

static int check_address(const struct socket_address *address) {
    return address->size <= sizeof(struct sockaddr_un) ? 0 : -EINVAL;
}

/* A path name, terminated; at most 108 bytes that need not be. */
static void path_of(const struct socket_address *address, char path[SOCKET_ADDRESS_MAX + 1]) {
    size_t size = address->size - PATH_OFFSET;

    memcpy(path, address->bytes + PATH_OFFSET, size);
    path[size] = '\0';
}

static struct sock *abstract_find_locked(const struct socket_address *address) {
    struct sock *sock;

    list_for_each_entry (sock, &abstract_names, bound_link) {
        const struct socket_address *name = sock->bound;

        if (name->size == address->size && memcmp(name->bytes, address->bytes, name->size) == 0) {
            return sock;
        }
    }
    return NULL;
}

/* Takes the name for the sock: -EINVAL when it has one, -EADDRINUSE. */
static int bind_abstract(struct sock *sock, const struct socket_address *address) {
    struct socket_address *name = malloc(sizeof(*name));
    int error = 0;

    if (!name) {
        return -ENOMEM;
    }
    *name = *address;
    lock_acquire(&sock->lock);
    lock_acquire(&names_lock);
    if (sock->bound) {
        error = -EINVAL;
    } else if (abstract_find_locked(address)) {
        error = -EADDRINUSE;
    } else {
        sock->bound = STEAL(name);
        sock->name = *address;
        list_add(&sock->bound_link, &abstract_names);
    }
    lock_release(&names_lock);
    lock_release(&sock->lock);
    free(name);
    return error;
}

/* unix(7) Autobind: a null byte and five hexadecimal digits. */
static int unix_autobind(struct sock *sock) {
    static _Atomic unsigned next;
    int error = -EADDRINUSE;

    lock_acquire(&sock->lock);
    bool bound = sock->bound != NULL;

    lock_release(&sock->lock);
    if (bound) {
        return 0;
    }
    for (unsigned tries = 0; tries < 0x100000 && error == -EADDRINUSE; tries++) {
        struct socket_address address = {.size = PATH_OFFSET + 6};

        address.header.sa_family = AF_UNIX;
        snprintf(address.bytes + PATH_OFFSET + 1, 6, "%05x", atomic_fetch_add(&next, 1) & 0xfffff);
        error = bind_abstract(sock, &address);
    }
    return error == -EINVAL ? 0 : error;
}

static int bind_path(struct sock *sock, const struct socket_address *address,
                     const struct walk *walk) {
    char name[SOCKET_ADDRESS_MAX + 1];
    struct unix_name *endpoint = calloc(1, sizeof(*endpoint));
    struct task *current = current_task();
    struct path path = {0};
    void *none = NULL;
    int error;

    if (!endpoint) {
        return -ENOMEM;
    }
    path_of(address, name);
    lock_acquire(&sock->lock);
    bool bound = sock->bound != NULL;

    lock_release(&sock->lock);
    if (bound) {
        /* Linux makes the file first and so finds that there is one already. */
        error = path_lookup(walk, name, 0, &path);
        if (!error) {
            path_put(&path);
        }
        free(endpoint);
        return error ? -EINVAL : -EADDRINUSE;
    }
    mode_t umask = current && current->fs ? fs_context_umask(current->fs) : 022;

    error = vfs_bind_socket(walk, name, S_IFSOCK | (0777 & ~umask), &path);
    if (error) {
        free(endpoint);
        return error;
    }
    struct inode *inode = path.dentry->inode;

    inode->endpoint_release = unix_name_release;
    if (!atomic_compare_exchange_strong(&inode->endpoint, &none, endpoint)) {
        /* A fresh inode has no endpoint, unless somebody connected in between: use that. */
        free(endpoint);
        endpoint = none;
    }
    lock_acquire(&sock->lock);
    lock_acquire(&names_lock);
    if (sock->bound || endpoint->sock) {
        error = -EINVAL;
    } else {
        endpoint->sock = sock;
        sock->bound = endpoint;
        sock->bound_path = path;
        sock->name = *address;
        /* unix(7): the length counts the terminator. */
        sock->name.size = (unsigned)(PATH_OFFSET + strlen(name) + 1);
        sock->name.bytes[MIN(sock->name.size, (unsigned)SOCKET_ADDRESS_MAX) - 1] = '\0';
    }
    lock_release(&names_lock);
    lock_release(&sock->lock);
    if (error) {
        path_put(&path);
    }
    return error;
}

static int unix_bind(struct sock *sock, const struct socket_address *address,
                     const struct walk *walk) {
    int error = check_address(address);

    if (error) {
        return error;
    }
    if (address->size == PATH_OFFSET) {
        lock_acquire(&sock->lock);
        bool bound = sock->bound != NULL;

        lock_release(&sock->lock);
        return bound ? -EINVAL : unix_autobind(sock);
    }
    return is_abstract(address) ? bind_abstract(sock, address) : bind_path(sock, address, walk);
}

static int find_path(const struct socket_address *address, const struct walk *walk,
                     struct sock **found) {
    char name[SOCKET_ADDRESS_MAX + 1];
    struct path path CLEANUP(path_put) = {0};
    struct unix_name *endpoint;
    int error;

    if (!walk) {
        return -ENOENT;
    }
    path_of(address, name);
    error = path_lookup(walk, name, LOOKUP_FOLLOW, &path);
    if (error) {
        return error;
    }
    error = inode_permission(path.dentry->inode, MAY_WRITE, walk->creds);
    if (error) {
        return error;
    }
    if (!S_ISSOCK(path.dentry->inode->type)) {
        return -ECONNREFUSED;
    }
    endpoint = atomic_load(&path.dentry->inode->endpoint);
    LOCK_GUARD(&names_lock);
    if (!endpoint || !endpoint->sock || !sock_tryget(endpoint->sock)) {
        return -ECONNREFUSED;
    }
    *found = endpoint->sock;
    return 0;
}

static int unix_find(struct sock *sock, const struct socket_address *address,
                     const struct walk *walk, struct sock **found) {
    int error = check_address(address);

    if (error) {
        return error;
    }
    if (address->size <= PATH_OFFSET || address->header.sa_family != AF_UNIX) {
        return -EINVAL;
    }
    if (!is_abstract(address)) {
        return find_path(address, walk, found);
    }
    LOCK_GUARD(&names_lock);
    struct sock *there = abstract_find_locked(address);

    if (!there || !sock_tryget(there)) {
        return -ECONNREFUSED;
    }
    *found = there;
    return 0;
}

static void unix_unbind(struct sock *sock) {
    struct path path = {0};

    lock_acquire(&names_lock);
    if (!list_empty(&sock->bound_link)) {
        list_del(&sock->bound_link);
        free(STEAL(sock->bound));
    } else if (sock->bound) {
        ((struct unix_name *)sock->bound)->sock = NULL;
        sock->bound = NULL;
        path = sock->bound_path;
        sock->bound_path = (struct path){0};
    }
    lock_release(&names_lock);
    if (path.dentry) {
        path_put(&path);
    }
}

static int unix_set_option(struct sock *sock, int level, int option, const void *value,
                           size_t size) {
    return -EOPNOTSUPP;
}

static int unix_get_option(struct sock *sock, int level, int option, void *value, size_t *size) {
    return -EOPNOTSUPP;
}

const struct family unix_family = {
    .number = AF_UNIX,
    .bind = unix_bind,
    .autobind = unix_autobind,
    .find = unix_find,
    .unbind = unix_unbind,
    .set_option = unix_set_option,
    .get_option = unix_get_option,
};
