/* What the handlers of sockets share. */
#ifndef STARLING_SYS_SOCKET_H
#define STARLING_SYS_SOCKET_H

#include "net/net.h"
#include "syscalls/syscalls.h"

/* The socket of that descriptor, owned; NULL: -EBADF or -ENOTSOCK in *error. */
struct file *socket_get_file(struct task *current, int fd, int *error);
int MUST_CHECK socket_get_address(struct task *current, struct socket_address *address,
                                  struct user_address from, unsigned size);
/* accept(2) and others: *size_at is the room, then the real size; what does not fit is cut off. */
int MUST_CHECK socket_put_address(struct task *current, const struct socket_address *address,
                                  struct user_address to, struct user_address size_at);

#endif
