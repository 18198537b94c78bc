/*
 * socket(2) and its relatives but for messages: decode addresses and options, call net/. An address
 * is capped (128 bytes) before memory is made for it.
 */
#include "syscalls/sys_socket.h"

struct file *socket_get_file(struct task *current, int fd, int *error) {
    struct file *file = task_call_file(current, fd);

    *error = 0;
    if (!file || (file->mode & FMODE_PATH)) {
        *error = -EBADF;
    } else if (!file_is_socket(file)) {
        *error = -ENOTSOCK;
    }
    if (*error && file) {
        file_put(STEAL(file));
    }
    return file;
}

bool socket_is_stream(struct file *file) {
    int32_t type = 0;
    size_t size = sizeof(type);

    return socket_get_option(file, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

int socket_get_address(struct task *current, struct socket_address *address,
                       struct user_address from, unsigned size) {
    if (size > SOCKET_ADDRESS_MAX) {
        return -EINVAL;
    }
    memset(address, 0, sizeof(*address));
    address->size = size;
    return copy_from_user(current->thread, address->bytes, from, size);
}

int socket_put_address(struct task *current, const struct socket_address *address,
                       struct user_address to, struct user_address size_at) {
    int32_t room;
    int error = get_user(current->thread, room, size_at);

    if (error) {
        return error;
    }
    if (room < 0) {
        return -EINVAL;
    }
    error = copy_to_user(current->thread, to, address->bytes, MIN((unsigned)room, address->size));
    if (error) {
        return error;
    }
    room = (int32_t)address->size;
    return put_user(current->thread, room, size_at);
}

/* ---- making them ---- */

#define TYPE_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

int64_t sys_socket(struct task *current, int domain, int type, int protocol) {
    struct file *file;
    int error;

    if (type & ~(0xf | TYPE_FLAGS)) {
        return -EINVAL;
    }
    error = socket_new(domain, type & ~SOCK_CLOEXEC, protocol, &file);
    return error ? error : install_file(current, file, type);
}

int64_t sys_socketpair(struct task *current, int domain, int type, int protocol,
                       struct user_address sv) {
    struct file *files[2];
    int fds[2], error;

    if (type & ~(0xf | TYPE_FLAGS)) {
        return -EINVAL;
    }
    error = socket_pair(domain, type & ~SOCK_CLOEXEC, protocol, files);
    if (error) {
        return error;
    }
    fds[0] = install_file(current, files[0], type);
    if (fds[0] < 0) {
        file_put(files[1]);
        return fds[0];
    }
    fds[1] = install_file(current, files[1], type);
    error = fds[1] < 0 ? fds[1] : copy_to_user(current->thread, sv, fds, sizeof(fds));
    if (error) {
        (void)!fd_table_close(current->files, fds[0]);
        if (fds[1] >= 0) {
            (void)!fd_table_close(current->files, fds[1]);
        }
    }
    return error;
}

int64_t sys_bind(struct task *current, int sockfd, struct user_address addr, unsigned addrlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct walk walk = task_walk(current, NULL);
    struct socket_address address;

    if (!error) {
        error = socket_get_address(current, &address, addr, addrlen);
    }
    return error ? error : socket_bind(file, &address, &walk);
}

int64_t sys_listen(struct task *current, int sockfd, int backlog) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);

    return error ? error : socket_listen(file, backlog);
}

int64_t sys_connect(struct task *current, int sockfd, struct user_address addr, unsigned addrlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct walk walk = task_walk(current, NULL);
    struct socket_address address;

    if (!error) {
        error = socket_get_address(current, &address, addr, addrlen);
    }
    return error ? error : socket_connect(file, &address, &walk);
}

int64_t sys_accept4(struct task *current, int sockfd, struct user_address addr,
                    struct user_address addrlen, int flags) {
    int error, fd;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct socket_address address;
    struct file *accepted;

    if (!error && (flags & ~TYPE_FLAGS)) {
        error = -EINVAL;
    }
    if (!error) {
        error = socket_accept(file, flags, &accepted, &address);
    }
    if (error) {
        return error;
    }
    fd = install_file(current, accepted, flags);
    if (fd >= 0 && !user_address_is_null(addr)) {
        error = socket_put_address(current, &address, addr, addrlen);
        if (error) {
            (void)!fd_table_close(current->files, fd);
            return error;
        }
    }
    return fd;
}

int64_t sys_accept(struct task *current, int sockfd, struct user_address addr,
                   struct user_address addrlen) {
    return sys_accept4(current, sockfd, addr, addrlen, 0);
}

static int64_t get_name(struct task *current, int sockfd, bool peer, struct user_address addr,
                        struct user_address addrlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct socket_address address;

    if (!error) {
        error = socket_name(file, peer, &address);
    }
    return error ? error : socket_put_address(current, &address, addr, addrlen);
}

int64_t sys_getsockname(struct task *current, int sockfd, struct user_address addr,
                        struct user_address addrlen) {
    return get_name(current, sockfd, false, addr, addrlen);
}

int64_t sys_getpeername(struct task *current, int sockfd, struct user_address addr,
                        struct user_address addrlen) {
    return get_name(current, sockfd, true, addr, addrlen);
}

int64_t sys_shutdown(struct task *current, int sockfd, int how) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);

    return error ? error : socket_shutdown(file, how);
}

#define OPTION_MAX 256

/* What is missing is said once. */
static int option_answer(const char *call, int level, int optname, int error) {
    if (error == -ENOPROTOOPT) {
        log_once(LOG_WARN, call, (uint64_t)level << 32 | (unsigned)optname,
                 "not supported: %s(2) with option %d of level %d", call, optname, level);
    }
    return error;
}

int64_t sys_setsockopt(struct task *current, int sockfd, int level, int optname,
                       struct user_address optval, unsigned optlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    char value[OPTION_MAX];

    if (!error && (int)optlen < 0) {
        error = -EINVAL;
    }
    optlen = MIN(optlen, (unsigned)OPTION_MAX);
    if (!error) {
        error = copy_from_user(current->thread, value, optval, optlen);
    }
    if (error) {
        return error;
    }
    return option_answer("setsockopt", level, optname,
                         socket_set_option(file, level, optname, value, optlen));
}

int64_t sys_getsockopt(struct task *current, int sockfd, int level, int optname,
                       struct user_address optval, struct user_address optlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    char value[OPTION_MAX] = {0};
    int32_t room = 0;
    size_t size;

    if (!error) {
        error = get_user(current->thread, room, optlen);
    }
    if (!error && room < 0) {
        error = -EINVAL;
    }
    if (error) {
        return error;
    }
    size = MIN((size_t)room, sizeof(value));
    error = option_answer("getsockopt", level, optname,
                          socket_get_option(file, level, optname, value, &size));
    if (!error) {
        error = copy_to_user(current->thread, optval, value, size);
    }
    room = (int32_t)size;
    return error ? error : put_user(current->thread, room, optlen);
}
