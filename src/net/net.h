/*
 * net: sockets inside the sandbox. Unix sockets, and the Internet families over a loopback of the
 * sandbox's own: nothing here reaches the host's network (--net none). One machinery for both:
 * a struct sock with a queue of messages; the families differ in names and in who finds whom.
 *
 * Everything here works on kernel copies; handlers (syscalls/sys_socket*.c) deal with guest memory.
 */
#ifndef STARLING_NET_H
#define STARLING_NET_H

#include <sys/socket.h>

#include "fs/file.h"
#include "task/task.h"

#define SOCKET_ADDRESS_MAX 128 /* sizeof(struct sockaddr_storage) */
#define SOCKET_FILES_MAX   253 /* unix(7) SCM_MAX_FD */

struct socket_address {
    unsigned size; /* 0: none */
    union {
        struct sockaddr header;
        char bytes[SOCKET_ADDRESS_MAX];
    };
};

/* What one sendmsg or recvmsg moves, apart from its bytes. */
struct socket_control {
    struct file **files; /* owned array of owned references; NULL: none */
    size_t file_count;
    struct ucred creds;
    bool has_creds; /* sending: the caller gave them (checked); receiving: to be delivered */
};
void socket_control_destroy(struct socket_control *control);

/* socket(2): `type` carries SOCK_NONBLOCK. -EAFNOSUPPORT, -EPROTONOSUPPORT, -ESOCKTNOSUPPORT. */
int MUST_CHECK socket_new(int family, int type, int protocol, struct file **file);
int MUST_CHECK socket_pair(int family, int type, int protocol, struct file *files[2]);
bool file_is_socket(struct file *file);
int socket_family(struct file *file);
int MUST_CHECK socket_bind(struct file *file, const struct socket_address *address,
                           const struct walk *walk);
int MUST_CHECK socket_listen(struct file *file, int backlog);
/* `flags`: SOCK_NONBLOCK. `address`: the peer's, may be NULL. */
int MUST_CHECK socket_accept(struct file *file, int flags, struct file **accepted,
                             struct socket_address *address);
int MUST_CHECK socket_connect(struct file *file, const struct socket_address *address,
                              const struct walk *walk);
int MUST_CHECK socket_name(struct file *file, bool peer, struct socket_address *address);
int MUST_CHECK socket_shutdown(struct file *file, int how);
/*
 * send(2) of kernel bytes: how many went (a stream may take part), or -errno. `to` (may be NULL)
 * with `walk`. `control` may be NULL; its files are taken over on success only. A broken stream
 * raises SIGPIPE unless MSG_NOSIGNAL.
 */
ssize_t MUST_CHECK socket_send(struct file *file, const void *data, size_t size, int flags,
                               const struct socket_address *to, const struct walk *walk,
                               struct socket_control *control);
/*
 * recv(2): bytes stored, or -errno. *flags in: MSG_*; out: MSG_TRUNC. The full size of a
 * datagram is returned with MSG_TRUNC in flags. `from` and `control` may be NULL.
 */
ssize_t MUST_CHECK socket_receive(struct file *file, void *buffer, size_t size, int *flags,
                                  struct socket_address *from, struct socket_control *control);
/* setsockopt(2), getsockopt(2); *size in: room, out: what it needs. */
int MUST_CHECK socket_set_option(struct file *file, int level, int option, const void *value,
                                 size_t size);
int MUST_CHECK socket_get_option(struct file *file, int level, int option, void *value,
                                 size_t *size);
/* The largest send that a handler has to hold as one piece (datagrams). */
#define SOCKET_SEND_MAX (4u << 20)

#endif
