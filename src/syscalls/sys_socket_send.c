/*
 * Sending to sockets: sendmsg(2), sendto(2), sendmmsg(2).
 *
 * Everything a guest names is capped before memory is made for it: control data CONTROL_MAX,
 * vectors as in readv(2), datagrams SOCKET_SEND_MAX; streams go in pieces.
 */
#include "syscalls/sys_socket.h"

#define CONTROL_MAX 20480 /* socket(7): optmem_max */
#define PIECE       65536

static int add_files(struct task *current, struct socket_control *control, const int32_t *fds,
                     size_t count) {
    struct file **grown;

    if (control->file_count + count > SOCKET_FILES_MAX) {
        return -EINVAL;
    }
    if (count == 0) {
        return 0;
    }
    grown = realloc(control->files, (control->file_count + count) * sizeof(struct file *));
    if (!grown) {
        return -ENOMEM;
    }
    control->files = grown;
    for (size_t i = 0; i < count; i++) {
        struct file *file = fd_table_get(current->files, fds[i]);

        if (!file) {
            return -EBADF;
        }
        control->files[control->file_count++] = file;
    }
    return 0;
}

/* unix(7) SCM_CREDENTIALS: one's own ids, unless privileged. */
static int add_creds(struct task *current, struct socket_control *control,
                     const struct ucred *given) {
    struct credentials *creds CLEANUP(credentials_put) = task_creds(current);
    bool pid = given->pid == task_get_pid(current) || credentials_capable(creds, CAP_SYS_ADMIN);
    bool uid = given->uid == creds->uid || given->uid == creds->euid || given->uid == creds->suid ||
               credentials_capable(creds, CAP_SETUID);
    bool gid = given->gid == creds->gid || given->gid == creds->egid || given->gid == creds->sgid ||
               credentials_capable(creds, CAP_SETGID);

    if (!pid || !uid || !gid) {
        return -EPERM;
    }
    control->creds = *given;
    control->has_creds = true;
    return 0;
}

static int parse_control(struct task *current, const char *bytes, size_t size,
                         struct socket_control *control) {
    size_t at = 0;
    int error = 0;

    while (!error && size - at >= sizeof(struct user_cmsghdr)) {
        struct user_cmsghdr header;

        memcpy(&header, bytes + at, sizeof(header));
        if (header.size < sizeof(header) || header.size > size - at) {
            return -EINVAL;
        }
        const char *data = bytes + at + sizeof(header);
        size_t length = header.size - sizeof(header);

        if (header.level != SOL_SOCKET) {
            /* of a protocol: no effect here */
        } else if (header.type == SCM_RIGHTS) {
            int32_t fds[SOCKET_FILES_MAX];

            if (length / sizeof(int32_t) > SOCKET_FILES_MAX) {
                return -EINVAL;
            }
            memcpy(fds, data, length / sizeof(int32_t) * sizeof(int32_t));
            error = add_files(current, control, fds, length / sizeof(int32_t));
        } else if (header.type == SCM_CREDENTIALS) {
            struct ucred creds;

            if (length != sizeof(creds)) {
                return -EINVAL;
            }
            memcpy(&creds, data, sizeof(creds));
            error = add_creds(current, control, &creds);
        } else {
            return -EINVAL;
        }
        if (CMSG_STEP(header.size) >= size - at) {
            break;
        }
        at += CMSG_STEP(header.size);
    }
    return error;
}

static int get_control(struct task *current, const struct user_msghdr *header, int family,
                       struct socket_control *control) {
    char *bytes CLEANUP(free) = NULL;
    int error;

    if (!header->control || !header->control_size) {
        return 0;
    }
    if (header->control_size > CONTROL_MAX) {
        return -ENOBUFS;
    }
    bytes = malloc(header->control_size);
    if (!bytes) {
        return -ENOMEM;
    }
    error =
        copy_from_user(current->thread, bytes, user_address(header->control), header->control_size);
    return error || family != AF_UNIX
               ? error
               : parse_control(current, bytes, header->control_size, control);
}

/* The bytes of `data`: a datagram as one piece, a stream in several. */
static int64_t send_buffer(struct task *current, struct file *file, struct user_buffer *data,
                           int flags, const struct socket_address *to,
                           struct socket_control *control) {
    struct walk walk = task_walk(current, NULL);
    char few[2048], *bytes = few;
    bool stream = socket_is_stream(file);
    size_t wanted = data->total;

    if (stream && current->call.done) {
        /* What goes along with the bytes went with the first. */
        user_buffer_skip(data, current->call.done);
        control = NULL;
    }

    size_t piece = stream ? MIN(data->total, (size_t)PIECE) : data->total;
    ssize_t result = 0;
    size_t done = 0;

    if (piece > SOCKET_SEND_MAX) {
        return -EMSGSIZE;
    }
    if (piece > sizeof(few)) {
        bytes = malloc(piece);
        if (!bytes) {
            return -ENOMEM;
        }
    }
    do {
        size_t size = MIN(piece, data->total);

        result = size ? user_buffer_read(current->thread, data, bytes, size) : 0;
        if (result >= 0 && (size_t)result < size && !stream) {
            result = -EFAULT;
        }
        if (result < 0) {
            break;
        }
        size = (size_t)result;
        result = socket_send(file, bytes, size, flags, to, &walk, control);
        if (result < 0) {
            break;
        }
        done += (size_t)result;
        if ((size_t)result < size) {
            break;
        }
    } while (stream && data->total);
    if (bytes != few) {
        free(bytes);
    }
    /* What a later piece of a stream ran into is told by the next call. */
    result = done || result >= 0 ? (ssize_t)done : result;
    return stream ? task_call_progress(current, result, wanted) : result;
}

static int64_t do_sendmsg(struct task *current, struct file *file, const struct user_msghdr *header,
                          int flags) {
    struct socket_control control = {0};
    struct socket_address address;
    struct user_buffer data;
    bool named = header->name && header->name_size;
    int64_t result;

    if (header->name_size > SOCKET_ADDRESS_MAX && header->name) {
        return -EINVAL;
    }
    if (header->iov_count > SOCKET_VECTOR_MAX) {
        return -EMSGSIZE;
    }
    if (named) {
        result =
            socket_get_address(current, &address, user_address(header->name), header->name_size);
        if (result) {
            return result;
        }
    }
    result =
        user_buffer_import(current->thread, &data, user_address(header->iov), header->iov_count);
    if (result) {
        return result;
    }
    result = get_control(current, header, socket_family(file), &control);
    if (!result) {
        result = send_buffer(current, file, &data, flags, named ? &address : NULL, &control);
    }
    user_buffer_destroy(&data);
    socket_control_destroy(&control);
    return result;
}

int64_t sys_sendmsg(struct task *current, int sockfd, struct user_address msg, int flags) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct user_msghdr header;

    if (!error) {
        error = get_user(current->thread, header, msg);
    }
    return error ? error : do_sendmsg(current, file, &header, flags);
}

int64_t sys_sendto(struct task *current, int sockfd, struct user_address buf, size_t len, int flags,
                   struct user_address dest_addr, unsigned addrlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    bool named = !user_address_is_null(dest_addr) && addrlen;
    struct socket_address address;
    struct user_buffer data;
    int64_t result;

    if (!error && named) {
        error = socket_get_address(current, &address, dest_addr, addrlen);
    }
    if (error) {
        return error;
    }
    user_buffer_single(&data, buf, MIN(len, (size_t)0x7ffff000));
    result = send_buffer(current, file, &data, flags, named ? &address : NULL, NULL);
    user_buffer_destroy(&data);
    return result;
}

int64_t sys_sendmmsg(struct task *current, int sockfd, struct user_address msgvec, unsigned vlen,
                     int flags) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    unsigned done = 0;

    if (error) {
        return error;
    }
    vlen = MIN(vlen, (unsigned)SOCKET_VECTOR_MAX);
    while (done < vlen) {
        struct user_address at = user_address_add(msgvec, done * 64UL);
        struct user_msghdr header;
        int64_t result = get_user(current->thread, header, at);

        if (!result) {
            result = do_sendmsg(current, file, &header, flags);
        }
        if (result >= 0) {
            uint32_t sent = (uint32_t)result;

            result = put_user(current->thread, sent, user_address_add(at, sizeof(header)));
        }
        if (result < 0) {
            return done ? (int64_t)done : result;
        }
        done++;
    }
    return done;
}
