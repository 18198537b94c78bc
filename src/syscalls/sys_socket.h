/* What the handlers of sockets share. */
#ifndef STARLING_SYS_SOCKET_H
#define STARLING_SYS_SOCKET_H

#include "net/net.h"
#include "syscalls/sys_install.h"

#define SOCKET_VECTOR_MAX 1024 /* messages of sendmmsg(2), recvmmsg(2): UIO_MAXIOV */

struct user_msghdr {
    uint64_t name;
    uint32_t name_size, pad;
    uint64_t iov, iov_count;
    uint64_t control, control_size;
    uint32_t flags, pad2;
};
struct user_cmsghdr {
    uint64_t size;
    int32_t level, type;
};
#define CMSG_STEP(size) ALIGN_UP((size), (uint64_t)8)

/* The socket of that descriptor, owned; NULL: -EBADF or -ENOTSOCK in *error. */
struct file *socket_get_file(struct task *current, int fd, int *error);
bool socket_is_stream(struct file *file);
int MUST_CHECK socket_get_address(struct task *current, struct socket_address *address,
                                  struct user_address from, unsigned size);
/* accept(2) and others: *size_at is the room, then the real size; what does not fit is cut off. */
int MUST_CHECK socket_put_address(struct task *current, const struct socket_address *address,
                                  struct user_address to, struct user_address size_at);

#endif
