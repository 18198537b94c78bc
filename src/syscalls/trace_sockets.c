/*
 * What --strace prints of sockets: addresses, messages with their control data, options. Sizes and
 * the chain of control messages are the guest's: what is read of them is bounded.
 */
#include "syscalls/trace_internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

extern const struct flag_set flag_set_af, flag_set_sol, flag_set_scm, flag_set_msg;

#define CONTROL_MAX 512 /* bytes of control data that are looked at */

void trace_add_sockaddr(struct trace_text *out, const void *address, size_t size) {
    const struct sockaddr_un *local = address;
    const struct sockaddr_in *inet = address;
    const struct sockaddr_in6 *inet6 = address;
    const struct sockaddr *any = address;
    char text[INET6_ADDRSTRLEN];

    if (size < sizeof(sa_family_t)) {
        trace_add(out, "{}");
        return;
    }
    trace_add(out, "{sa_family=");
    trace_add_enum(out, &flag_set_af, any->sa_family);
    if (any->sa_family == AF_UNIX) {
        size_t length = size - offsetof(struct sockaddr_un, sun_path);

        if (length > 0 && local->sun_path[0]) {
            trace_add(out, ", sun_path=");
            trace_add_quoted(out, local->sun_path, strnlen(local->sun_path, length), false);
        } else if (length > 1) {
            trace_add(out, ", sun_path=@");
            trace_add_quoted(out, local->sun_path + 1, length - 1, false);
        }
    } else if (any->sa_family == AF_INET && size >= sizeof(*inet)) {
        trace_add(out, ", sin_port=htons(%u), sin_addr=inet_addr(\"%s\")", ntohs(inet->sin_port),
                  inet_ntop(AF_INET, &inet->sin_addr, text, sizeof(text)));
    } else if (any->sa_family == AF_INET6 && size >= sizeof(*inet6)) {
        trace_add(out,
                  ", sin6_port=htons(%u), sin6_flowinfo=htonl(%u), "
                  "inet_pton(AF_INET6, \"%s\", &sin6_addr), sin6_scope_id=%u",
                  ntohs(inet6->sin6_port), ntohl(inet6->sin6_flowinfo),
                  inet_ntop(AF_INET6, &inet6->sin6_addr, text, sizeof(text)), inet6->sin6_scope_id);
    } else if (size > sizeof(sa_family_t)) {
        trace_add(out, ", sa_data=");
        trace_add_quoted(out, any->sa_data, size - sizeof(sa_family_t), false);
    }
    trace_add(out, "}");
}

void trace_add_optval(struct trace_text *out, struct task *task, uint64_t address, uint64_t size) {
    int value;

    if (size == sizeof(value) && trace_copy(task, &value, address, sizeof(value)) == 0) {
        trace_add(out, "[%d]", value);
    } else {
        trace_add_bytes(out, task, address, size);
    }
}

TRACE_STRUCT(linger, sizeof(struct linger)) {
    const struct linger *linger = data;

    trace_add(out, "{l_onoff=%d, l_linger=%d}", linger->l_onoff, linger->l_linger);
}

TRACE_STRUCT(ucred, sizeof(struct ucred)) {
    const struct ucred *cred = data;

    trace_add(out, "{pid=%d, uid=%d, gid=%d}", cred->pid, (int)cred->uid, (int)cred->gid);
}

static void add_control_data(struct trace_text *out, struct task *task,
                             const struct cmsghdr *message, size_t size) {
    const unsigned char *data = CMSG_DATA(message);

    if (message->cmsg_level == SOL_SOCKET && message->cmsg_type == SCM_RIGHTS) {
        for (size_t i = 0; i < size / sizeof(int); i++) {
            trace_add(out, "%s%d", i ? ", " : "[", ((const int *)data)[i]);
        }
        trace_add(out, size >= sizeof(int) ? "]" : "[]");
    } else if (message->cmsg_level == SOL_SOCKET && message->cmsg_type == SCM_CREDENTIALS &&
               size >= sizeof(struct ucred)) {
        print_ucred(out, task, data);
    } else {
        trace_add_quoted(out, (const char *)data, MIN(size, (size_t)TRACE_STRING_MAX),
                         size > TRACE_STRING_MAX);
    }
}

static void add_control(struct trace_text *out, struct task *task, uint64_t address,
                        uint64_t size) {
    _Alignas(16) unsigned char control[CONTROL_MAX];
    size_t read = (size_t)MIN(size, (uint64_t)CONTROL_MAX), at = 0;
    const char *separator = "[";

    if (size < sizeof(struct cmsghdr) || trace_copy(task, control, address, read) < 0) {
        trace_add_pointer(out, address);
        return;
    }
    while (read - at >= sizeof(struct cmsghdr)) {
        const struct cmsghdr *message = (const struct cmsghdr *)(control + at);
        size_t length = (size_t)MIN((uint64_t)message->cmsg_len, (uint64_t)(read - at));

        trace_add(out, "%s{cmsg_len=%zu, cmsg_level=", separator, message->cmsg_len);
        trace_add_enum(out, &flag_set_sol, (uint32_t)message->cmsg_level);
        trace_add(out, ", cmsg_type=");
        if (message->cmsg_level == SOL_SOCKET) {
            trace_add_enum(out, &flag_set_scm, (uint32_t)message->cmsg_type);
        } else {
            trace_add_hex(out, (uint32_t)message->cmsg_type);
        }
        if (length > CMSG_LEN(0)) {
            trace_add(out, ", cmsg_data=");
            add_control_data(out, task, message, length - CMSG_LEN(0));
        }
        trace_add(out, "}");
        separator = ", ";
        if (length < sizeof(struct cmsghdr) || CMSG_ALIGN(length) > read - at) {
            break;
        }
        at += CMSG_ALIGN(length);
    }
    trace_add(out, size > read ? ", ...]" : "]");
}

/* `bytes` of the data are shown. */
static void add_message(struct trace_text *out, struct task *task, const struct msghdr *message,
                        uint64_t bytes) {
    uint64_t name = (uint64_t)(uintptr_t)message->msg_name;
    uint64_t control = (uint64_t)(uintptr_t)message->msg_control;
    _Alignas(8) char address[128];
    size_t size = MIN((size_t)message->msg_namelen, sizeof(address));

    trace_add(out, "{msg_name=");
    if (size && trace_copy(task, address, name, size) == 0) {
        trace_add_sockaddr(out, address, size);
    } else {
        trace_add_pointer(out, name);
    }
    trace_add(out, ", msg_namelen=%u, msg_iov=", message->msg_namelen);
    trace_add_iovec(out, task, (uint64_t)(uintptr_t)message->msg_iov, message->msg_iovlen, bytes,
                    true);
    trace_add(out, ", msg_iovlen=%zu", message->msg_iovlen);
    if (control && message->msg_controllen) {
        trace_add(out, ", msg_control=");
        add_control(out, task, control, message->msg_controllen);
    }
    trace_add(out, ", msg_controllen=%zu, msg_flags=", message->msg_controllen);
    trace_add_flags(out, &flag_set_msg, (uint32_t)message->msg_flags);
    trace_add(out, "}");
}

TRACE_STRUCT(msghdr, sizeof(struct msghdr)) {
    add_message(out, task, data, UINT64_MAX);
}

TRACE_STRUCT(msghdr_got, sizeof(struct msghdr), .shown_on_failure = true) {
    const struct msghdr *message = data;

    if (trace_succeeded(out)) {
        add_message(out, task, message, (uint64_t)out->result);
    } else {
        trace_add(out, "{msg_namelen=%u}", message->msg_namelen);
    }
}

/* sendmmsg(2) and recvmmsg(2), when they are over: with the length of each message. */
TRACE_STRUCT(mmsghdr, sizeof(struct mmsghdr)) {
    const struct mmsghdr *message = data;

    trace_add(out, "{msg_hdr=");
    add_message(out, task, &message->msg_hdr, message->msg_len);
    trace_add(out, ", msg_len=%u}", message->msg_len);
}
