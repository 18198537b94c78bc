/* What launcher and kernel process tell each other: one struct control_message a datagram. */
#include <string.h>
#include <sys/socket.h>

#include "cli/cli.h"

/* By sendmsg and recvmsg, which the kernel process's jail allows. */
static ssize_t transfer(int fd, struct control_message *message, int flags, bool receive) {
    struct iovec vec = {.iov_base = message, .iov_len = sizeof(*message)};
    struct msghdr header = {.msg_iov = &vec, .msg_iovlen = 1};
    ssize_t size;

    do {
        size = receive ? recvmsg(fd, &header, flags) : sendmsg(fd, &header, flags);
    } while (size < 0 && errno == EINTR);
    return size < 0 ? -errno : size;
}

bool control_send(int fd, int type, int value) {
    struct control_message message = {0};

    message.type = type;
    message.value = value;
    return transfer(fd, &message, MSG_NOSIGNAL, false) == sizeof(message);
}

int control_receive(int fd, struct control_message *message, int flags) {
    ssize_t size = transfer(fd, message, flags, true);

    if (size == -EAGAIN) {
        return -EAGAIN;
    }
    return size == sizeof(*message);
}
