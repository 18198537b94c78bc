/*
 * Messages of sockets: sendmsg(2), recvmsg(2) and their relatives, with names and control data.
 *
 * Everything a guest names is capped before memory is made for it: control data CONTROL_MAX,
 * vectors as in readv(2), datagrams SOCKET_SEND_MAX; streams go in pieces.
 */
#include "syscalls/sys_socket.h"

#include "syscalls/sys_install.h"

#define CONTROL_MAX  20480 /* socket(7): optmem_max */
#define PIECE        65536
#define RECEIVE_MAX  (256 * 1024)
#define VECTOR_MAX   1024
#define CAP_SETGID_N 6
#define CAP_SETUID_N 7
#define CAP_ADMIN_N  21

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

/* ---- sending ---- */

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
    bool pid = given->pid == task_get_pid(current) || credentials_capable(creds, CAP_ADMIN_N);
    bool uid = given->uid == creds->uid || given->uid == creds->euid || given->uid == creds->suid ||
               credentials_capable(creds, CAP_SETUID_N);
    bool gid = given->gid == creds->gid || given->gid == creds->egid || given->gid == creds->sgid ||
               credentials_capable(creds, CAP_SETGID_N);

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

static bool is_stream(struct file *file) {
    int32_t type = 0;
    size_t size = sizeof(type);

    return socket_get_option(file, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* The bytes of `data`: a datagram as one piece, a stream in several. */
static int64_t send_buffer(struct task *current, struct file *file, struct user_buffer *data,
                           int flags, const struct socket_address *to,
                           struct socket_control *control) {
    struct walk walk = task_walk(current, NULL);
    char few[2048], *bytes = few;
    bool stream = is_stream(file);
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
    if (header->iov_count > VECTOR_MAX) {
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
    vlen = MIN(vlen, (unsigned)VECTOR_MAX);
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

/* ---- receiving ---- */

struct control_out {
    char bytes[sizeof(struct user_cmsghdr) * 2 + 40 + SOCKET_FILES_MAX * sizeof(int32_t)];
    size_t used, room; /* room: what the guest has */
    bool cut;
};

static void control_add(struct control_out *out, int type, const void *data, size_t size) {
    struct user_cmsghdr header = {sizeof(header) + size, SOL_SOCKET, type};
    size_t left = out->room - out->used;

    if (left < sizeof(header)) {
        out->cut = true;
        return;
    }
    if (left < header.size) {
        header.size = left;
        size = left - sizeof(header);
        out->cut = true;
    }
    memcpy(out->bytes + out->used, &header, sizeof(header));
    memcpy(out->bytes + out->used + sizeof(header), data, size);
    out->used += MIN(CMSG_STEP(header.size), left);
}

/* As many of the files as there is room for become descriptors; the rest is closed. */
static void control_add_files(struct task *current, struct control_out *out,
                              struct socket_control *control, bool cloexec) {
    int32_t fds[SOCKET_FILES_MAX];
    size_t left = out->room - out->used, count = 0, fit;

    fit = left > sizeof(struct user_cmsghdr) ? (left - sizeof(struct user_cmsghdr)) / 4 : 0;
    fit = MIN(fit, control->file_count);
    while (count < fit) {
        int fd = fd_table_install(current->files, control->files[count], 0,
                                  current_fd_limit(current), cloexec);

        if (fd < 0) {
            break;
        }
        fds[count++] = fd;
    }
    if (count) {
        bool cut = out->cut;

        control_add(out, SCM_RIGHTS, fds, count * sizeof(int32_t));
        out->cut = cut;
    }
    if (count < control->file_count) {
        out->cut = true;
    }
}

static int64_t receive_buffer(struct task *current, struct file *file, struct user_buffer *to,
                              int *flags, struct socket_address *from,
                              struct socket_control *control) {
    size_t room = MIN(to->total, (size_t)(is_stream(file) ? RECEIVE_MAX : SOCKET_SEND_MAX));
    char few[2048], *bytes = few;
    int wanted = *flags;
    ssize_t result, copied;

    if (room > sizeof(few)) {
        bytes = malloc(room);
        if (!bytes) {
            return -ENOMEM;
        }
    }
    result = socket_receive(file, bytes, room, flags, from, control);
    if (result > 0) {
        copied = user_buffer_write(current->thread, to, bytes, MIN((size_t)result, room));
        if (copied < 0) {
            result = copied;
        }
    }
    /* MSG_WAITALL beyond one buffer goes on as long as whole buffers come. */
    while (result > 0 && (wanted & MSG_WAITALL) && !(wanted & MSG_PEEK) && to->total &&
           is_stream(file) && (size_t)result % room == 0) {
        int more_flags = wanted;
        ssize_t more = socket_receive(file, bytes, MIN(room, to->total), &more_flags, NULL, NULL);

        if (more <= 0 || user_buffer_write(current->thread, to, bytes, (size_t)more) < 0) {
            break;
        }
        result += more;
    }
    if (bytes != few) {
        free(bytes);
    }
    return result;
}

static int64_t do_recvmsg(struct task *current, struct file *file, struct user_address msg,
                          int flags) {
    struct socket_control control = {0};
    struct control_out *out CLEANUP(free) = NULL;
    struct socket_address from;
    struct user_msghdr header;
    struct user_buffer data;
    int wanted = flags;
    int64_t result = get_user(current->thread, header, msg);
    int error = 0;

    if (result) {
        return result;
    }
    if ((int32_t)header.name_size < 0) {
        return -EINVAL;
    }
    if (header.iov_count > VECTOR_MAX) {
        return -EMSGSIZE;
    }
    out = calloc(1, sizeof(*out));
    if (!out) {
        return -ENOMEM;
    }
    result = user_buffer_import(current->thread, &data, user_address(header.iov), header.iov_count);
    if (result) {
        return result;
    }
    result = receive_buffer(current, file, &data, &flags, &from, &control);
    user_buffer_destroy(&data);
    if (result >= 0) {
        out->room = header.control ? MIN(header.control_size, sizeof(out->bytes)) : 0;
        if (control.has_creds) {
            control_add(out, SCM_CREDENTIALS, &control.creds, sizeof(control.creds));
        }
        if (control.files) {
            control_add_files(current, out, &control, wanted & MSG_CMSG_CLOEXEC);
        }
        header.flags = (uint32_t)flags | (out->cut ? MSG_CTRUNC : 0) | (wanted & MSG_CMSG_CLOEXEC);
        if (header.name) {
            error = copy_to_user(current->thread, user_address(header.name), from.bytes,
                                 MIN(header.name_size, from.size));
            header.name_size = from.size;
        }
        if (!error && out->used) {
            error =
                copy_to_user(current->thread, user_address(header.control), out->bytes, out->used);
        }
        header.control_size = out->used;
        /* Only what the call answers: msg_namelen, msg_controllen, msg_flags. */
        if (!error && header.name) {
            error = put_user(current->thread, header.name_size,
                             user_address_add(msg, offsetof(struct user_msghdr, name_size)));
        }
        if (!error) {
            error = put_user(current->thread, header.control_size,
                             user_address_add(msg, offsetof(struct user_msghdr, control_size)));
        }
        if (!error) {
            error = put_user(current->thread, header.flags,
                             user_address_add(msg, offsetof(struct user_msghdr, flags)));
        }
        result = error ? error : result;
    }
    socket_control_destroy(&control);
    return result;
}

int64_t sys_recvmsg(struct task *current, int sockfd, struct user_address msg, int flags) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);

    return error ? error : do_recvmsg(current, file, msg, flags);
}

int64_t sys_recvfrom(struct task *current, int sockfd, struct user_address buf, size_t len,
                     int flags, struct user_address src_addr, struct user_address addrlen) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    struct socket_control control = {0};
    struct socket_address from;
    struct user_buffer data;
    int64_t result;

    if (error) {
        return error;
    }
    user_buffer_single(&data, buf, MIN(len, (size_t)0x7ffff000));
    /* Files that came along are closed: there is no place for them (unix(7)). */
    result = receive_buffer(current, file, &data, &flags, &from, &control);
    user_buffer_destroy(&data);
    socket_control_destroy(&control);
    if (result >= 0 && !user_address_is_null(src_addr)) {
        error = socket_put_address(current, &from, src_addr, addrlen);
    }
    return error ? error : result;
}

int64_t sys_recvmmsg(struct task *current, int sockfd, struct user_address msgvec, unsigned vlen,
                     int flags, struct user_address timeout) {
    int error;
    struct file *file CLEANUP(file_put) = socket_get_file(current, sockfd, &error);
    deadline_ns deadline = WAIT_FOREVER;
    unsigned done = 0;

    if (!error && !user_address_is_null(timeout)) {
        struct timespec time;

        error = get_user(current->thread, time, timeout);
        if (!error && !timespec_valid(&time)) {
            error = -EINVAL;
        }
        if (!error) {
            deadline = task_call_deadline(current, timespec_to_ns(&time));
        }
    }
    if (error) {
        return error;
    }
    vlen = MIN(vlen, (unsigned)VECTOR_MAX);
    while (done < vlen) {
        struct user_address at = user_address_add(msgvec, done * 64UL);
        int64_t result = do_recvmsg(current, file, at, flags & ~MSG_WAITFORONE);

        if (result >= 0) {
            uint32_t received = (uint32_t)result;

            result = put_user(current->thread, received,
                              user_address_add(at, sizeof(struct user_msghdr)));
        }
        if (result < 0) {
            return done ? (int64_t)done : result;
        }
        done++;
        if (flags & MSG_WAITFORONE) {
            flags |= MSG_DONTWAIT;
        }
        /* recvmmsg(2): the time-out is looked at only between messages. */
        if (deadline != WAIT_FOREVER && host_clock_monotonic() >= deadline) {
            break;
        }
    }
    return done;
}
