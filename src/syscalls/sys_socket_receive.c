/*
 * Receiving from sockets: recvmsg(2), recvfrom(2), recvmmsg(2).
 */
#include "syscalls/sys_socket.h"

#define RECEIVE_MAX (256 * 1024)

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
    size_t room = MIN(to->total, (size_t)(socket_is_stream(file) ? RECEIVE_MAX : SOCKET_SEND_MAX));
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
           socket_is_stream(file) && (size_t)result % room == 0) {
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
    if (header.iov_count > SOCKET_VECTOR_MAX) {
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
    vlen = MIN(vlen, (unsigned)SOCKET_VECTOR_MAX);
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
