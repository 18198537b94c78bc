/*
 * Calls with every shape of argument that --strace prints. strace.sh runs it under strace(1) and
 * under Starling and compares the traces: every call here has the same result on both.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#define CALL(name, ...) syscall(SYS_##name __VA_OPT__(, ) __VA_ARGS__)
#define ZERO(x)         memset(&(x), 0, sizeof(x))

static char buffer[4096], other[4096];

static void descriptors(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 10};
    struct f_owner_ex owner = {F_OWNER_PID, 0};
    int fd = CALL(openat, AT_FDCWD, "file", O_RDWR | O_CREAT | O_TRUNC, 0644);
    int copy, pipes[2];

    CALL(write, fd, "hello, world\n", 13);
    CALL(lseek, fd, 0, SEEK_SET);
    CALL(fcntl, fd, F_GETFD);
    CALL(fcntl, fd, F_SETFD, FD_CLOEXEC);
    CALL(fcntl, fd, F_GETFD);
    CALL(fcntl, fd, F_GETFL);
    CALL(fcntl, fd, F_SETFL, O_RDWR | O_NONBLOCK);
    CALL(fcntl, fd, F_SETLK, &lock);
    CALL(fcntl, fd, F_SETLKW, &lock);
    CALL(fcntl, fd, F_GETLK, &lock);
    lock.l_pid = 0;
    lock.l_type = F_RDLCK;
    CALL(fcntl, fd, F_OFD_SETLK, &lock);
    CALL(fcntl, fd, F_OFD_GETLK, &lock);
    CALL(fcntl, fd, F_GETOWN);
    CALL(fcntl, fd, F_SETOWN, 0);
    CALL(fcntl, fd, F_GETOWN_EX, &owner);
    CALL(fcntl, fd, F_SETOWN_EX, &owner);
    CALL(fcntl, fd, F_GETSIG);
    CALL(fcntl, fd, F_SETSIG, SIGUSR1);
    CALL(fcntl, 99, F_SETLK, &lock);
    CALL(fcntl, fd, F_SETLK, 16);
    CALL(fcntl, fd, 4711, 5);
    CALL(dup2, CALL(fcntl, fd, F_DUPFD, 100), 20);
    CALL(dup3, fd, 21, O_CLOEXEC);
    CALL(close, CALL(fcntl, fd, F_DUPFD_CLOEXEC, 100));
    CALL(close, 100);
    CALL(close, 20);
    CALL(close, 21);
    CALL(flock, fd, LOCK_EX | LOCK_NB);
    CALL(flock, fd, LOCK_UN);
    CALL(pread64, fd, buffer, 5, 0);
    CALL(pwrite64, fd, "abc", 3, 2);
    CALL(ftruncate, fd, 8);
    CALL(fsync, fd);
    CALL(fdatasync, fd);
    CALL(fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 4096);
    CALL(fadvise64, fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    CALL(readahead, fd, 0, 100);
    CALL(sync_file_range, fd, 0, 8, SYNC_FILE_RANGE_WRITE);
    copy = CALL(openat, AT_FDCWD, "copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
    {
        int64_t in = 1, out = 0;

        CALL(sendfile, copy, fd, &in, 3);
        CALL(sendfile, copy, fd, NULL, 3);
        in = 2;
        CALL(copy_file_range, fd, &in, copy, &out, 4, 0);
        CALL(copy_file_range, fd, NULL, copy, NULL, 4, 0);
        CALL(pipe2, pipes, O_CLOEXEC | O_NONBLOCK);
        in = 0;
        CALL(splice, fd, &in, pipes[1], NULL, 4, SPLICE_F_MOVE);
        CALL(splice, pipes[0], NULL, copy, NULL, 4, 0);
        CALL(splice, fd, 16, pipes[1], NULL, 4, SPLICE_F_MOVE);
        CALL(tee, pipes[0], pipes[1], 10, SPLICE_F_NONBLOCK);
        CALL(sendfile, 99, fd, &in, 3);
    }
    CALL(fcntl, pipes[0], F_GETPIPE_SZ);
    {
        struct iovec vec[3] = {
            {"one", 3}, {"two", 3}, {"threethreethreethreethreethreethreethree", 40}};
        struct iovec in[2] = {{buffer, 4}, {other, 100}};

        CALL(vmsplice, pipes[1], vec, 1, 0);
        CALL(writev, pipes[1], vec, 3);
        CALL(ioctl, pipes[0], FIONREAD, &copy);
        CALL(readv, pipes[0], in, 2);
        CALL(readv, pipes[0], in, 2);
        CALL(pwritev, fd, vec, 2, 1, 0);
        CALL(preadv, fd, in, 2, 1, 0);
        CALL(pwritev2, fd, vec, 2, 1, 0, 0);
        CALL(preadv2, fd, in, 2, -1, -1, 0);
    }
    CALL(read, fd, buffer, sizeof(buffer));
    CALL(read, fd, buffer, sizeof(buffer));
    CALL(read, fd, 16, 5);
    CALL(write, fd, 16, 5);
    CALL(write, fd, "", 0);
    CALL(close, pipes[0]);
    CALL(close, pipes[1]);
    CALL(close, 4);
    CALL(close, fd);
    CALL(close_range, 50, 60, CLOSE_RANGE_CLOEXEC);
    CALL(pipe, pipes);
    CALL(close, pipes[0]);
    CALL(close, pipes[1]);
    CALL(dup, 99);
}

static void names(void) {
    struct stat st;
    struct statx stx;
    struct utimbuf times = {5, 6};
    struct timeval tv[2] = {{1, 2}, {3, 4}};
    struct timespec ts[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}}, fixed[2] = {{1, 2}, {3, 4}};
    struct {
        uint64_t flags, mode, resolve;
    } how = {O_RDONLY, 0, 8};
    int fd;

    CALL(mkdir, "dir", 0755);
    CALL(mkdirat, AT_FDCWD, "dir/sub", 01777);
    CALL(chdir, "dir");
    CALL(getcwd, buffer, sizeof(buffer));
    CALL(getcwd, buffer, 2);
    CALL(chdir, "..");
    CALL(umask, 022);
    CALL(umask, 077);
    CALL(umask, 022);
    CALL(open, "file", O_RDONLY);
    CALL(openat, 3, "file", O_RDONLY);
    CALL(openat2, AT_FDCWD, "file", &how, sizeof(how));
    CALL(close, 4);
    CALL(close, 3);
    CALL(creat, "new", 0640);
    CALL(close, 3);
    CALL(openat, AT_FDCWD, ".", O_RDWR | O_TMPFILE, 0600);
    CALL(openat, AT_FDCWD, ".", O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    CALL(close, 4);
    CALL(close, 3);
    CALL(link, "new", "hard");
    CALL(linkat, AT_FDCWD, "new", AT_FDCWD, "hard2", AT_SYMLINK_FOLLOW);
    CALL(symlink, "new", "soft");
    CALL(symlinkat, "new", AT_FDCWD, "soft2");
    CALL(readlink, "soft", buffer, sizeof(buffer));
    CALL(readlinkat, AT_FDCWD, "soft", buffer, 2);
    CALL(rename, "hard", "hard3");
    CALL(renameat, AT_FDCWD, "hard3", AT_FDCWD, "hard");
    CALL(renameat2, AT_FDCWD, "hard", AT_FDCWD, "hard2", RENAME_NOREPLACE);
    CALL(stat, "file", &st);
    CALL(lstat, "soft", &st);
    CALL(stat, "/dev/null", &st);
    CALL(stat, "none", &st);
    CALL(newfstatat, AT_FDCWD, "soft", &st, AT_SYMLINK_NOFOLLOW);
    CALL(newfstatat, AT_FDCWD, "", &st, AT_EMPTY_PATH);
    CALL(statx, AT_FDCWD, "none", AT_SYMLINK_NOFOLLOW, STATX_MODE | STATX_SIZE, &stx);
    CALL(access, "file", R_OK | W_OK);
    CALL(access, "none", F_OK);
    CALL(faccessat, AT_FDCWD, "file", X_OK);
    CALL(faccessat2, AT_FDCWD, "file", R_OK, AT_EACCESS);
    CALL(chmod, "file", 0600);
    CALL(fchmodat, AT_FDCWD, "file", 0711);
    CALL(chown, "file", -1, -1);
    CALL(lchown, "file", 0, -1);
    CALL(fchownat, AT_FDCWD, "file", 0, 0, AT_SYMLINK_NOFOLLOW);
    CALL(utime, "file", &times);
    CALL(utime, "file", NULL);
    CALL(utimes, "file", tv);
    CALL(futimesat, AT_FDCWD, "file", tv);
    CALL(utimensat, AT_FDCWD, "file", ts, 0);
    CALL(utimensat, AT_FDCWD, "file", fixed, AT_SYMLINK_NOFOLLOW);
    CALL(utimensat, AT_FDCWD, "file", NULL, 0);
    CALL(truncate, "file", 100);
    CALL(mknod, "fifo", S_IFIFO | 0600, 0);
    CALL(mknodat, AT_FDCWD, "fifo", S_IFIFO | 0600, 0);
    fd = CALL(open, "dir", O_RDONLY | O_DIRECTORY);
    CALL(fstat, fd, &st);
    CALL(getdents64, fd, buffer, sizeof(buffer));
    CALL(getdents64, fd, buffer, sizeof(buffer));
    CALL(lseek, fd, 0, SEEK_SET);
    CALL(getdents, fd, buffer, sizeof(buffer));
    CALL(getdents, fd, buffer, sizeof(buffer));
    CALL(getdents64, 99, buffer, sizeof(buffer));
    CALL(fchdir, fd);
    CALL(fchmod, fd, 0700);
    CALL(fchown, fd, -1, -1);
    CALL(close, fd);
    CALL(chdir, "..");
    CALL(setxattr, "file", "user.k", "value", 5, XATTR_CREATE);
    CALL(getxattr, "file", "user.k", buffer, sizeof(buffer));
    CALL(getxattr, "file", "user.k", NULL, 0);
    CALL(lgetxattr, "file", "user.none", buffer, 2);
    CALL(listxattr, "file", buffer, sizeof(buffer));
    CALL(removexattr, "file", "user.k");
    CALL(unlink, "file");
    CALL(unlinkat, AT_FDCWD, "dir/sub", AT_REMOVEDIR);
    CALL(unlinkat, AT_FDCWD, "new", 0);
    CALL(rmdir, "dir");
    CALL(chroot, "/none");
    CALL(mount, "none", "/none", "tmpfs", 1 | 2, "size=1m");
    CALL(umount2, "/none", 2);
    CALL(sync);
    CALL(open, 16, 0);
    CALL(open, NULL, O_WRONLY);
    memset(buffer, 'x', 100);
    buffer[100] = 0;
    CALL(open, buffer, O_WRONLY);
    CALL(open, "tab\tnew\n\"quoted\"\\\1", O_WRONLY);
    CALL(inotify_init1, IN_CLOEXEC);
    CALL(inotify_add_watch, 3, "/none", IN_CREATE | IN_DELETE);
    CALL(inotify_rm_watch, 3, 7);
    CALL(close, 3);
}

static void memory(void) {
    char *map =
        (void *)CALL(mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    int fd = CALL(memfd_create, "name", 1);
    struct iovec vec = {map, 4096};

    CALL(ftruncate, fd, 8192);
    CALL(mmap, map, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 4096L);
    CALL(mmap, 0, 4096, PROT_READ, MAP_SHARED, 99, 0L);
    CALL(mprotect, map, 4096, PROT_NONE);
    CALL(mprotect, map, 4096, PROT_READ | PROT_EXEC);
    CALL(madvise, map, 4096, MADV_DONTNEED);
    CALL(msync, map, 4096, MS_SYNC);
    CALL(mlock, map, 4096);
    CALL(munlock, map, 4096);
    CALL(mlock2, map, 4096, 1);
    CALL(mlockall, MCL_FUTURE | MCL_CURRENT | MCL_ONFAULT);
    CALL(munlockall);
    CALL(mremap, map, 8192, 4096, 0, 0);
    CALL(mremap, map, 4096, 16384, MREMAP_MAYMOVE);
    CALL(munmap, map, 4096);
    CALL(munmap, 1, 4096);
    CALL(brk, 0);
    CALL(process_vm_readv, getpid(), &vec, 1, &vec, 1, 0);
    CALL(membarrier, 999, 0, 0);
    CALL(close, fd);
}

static void sockets(void) {
    struct sockaddr_un local = {AF_UNIX, "socket"}, abstract = {AF_UNIX, "\0abstract"};
    struct sockaddr_in inet = {AF_INET, htons(7), {htonl(INADDR_LOOPBACK)}, {0}};
    struct sockaddr_in6 inet6 = {AF_INET6, htons(7), 0, IN6ADDR_LOOPBACK_INIT, 0};
    struct sockaddr_storage name;
    struct timeval tv = {1, 0};
    struct linger linger = {1, 2};
    struct ucred cred;
    int pair[2], fd, on = 1;
    socklen_t size = sizeof(name);
    char control[256];
    struct iovec vec[2] = {{"hello", 5}, {" world", 6}}, in = {buffer, sizeof(buffer)};
    struct msghdr message = {.msg_iov = vec, .msg_iovlen = 2};
    struct cmsghdr *cmsg;
    struct mmsghdr many[2];

    CALL(socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
    CALL(sendto, pair[0], "data", 4, MSG_NOSIGNAL, NULL, 0);
    CALL(recvfrom, pair[1], buffer, 100, 0, NULL, NULL);
    CALL(recvfrom, pair[1], buffer, 100, MSG_DONTWAIT, NULL, NULL);
    CALL(sendmsg, pair[0], &message, MSG_NOSIGNAL);
    message.msg_iov = &in;
    message.msg_iovlen = 1;
    CALL(recvmsg, pair[1], &message, 0);
    message.msg_iov = vec;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    memset(control, 0, sizeof(control));
    cmsg = CMSG_FIRSTHDR(&message);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(cmsg) = pair[0];
    CALL(sendmsg, pair[0], &message, 0);
    message.msg_iov = &in;
    message.msg_controllen = sizeof(control);
    CALL(recvmsg, pair[1], &message, MSG_CMSG_CLOEXEC);
    CALL(setsockopt, pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
    message = (struct msghdr){.msg_iov = vec, .msg_iovlen = 1};
    CALL(sendmsg, pair[0], &message, 0);
    message = (struct msghdr){
        .msg_iov = &in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    CALL(recvmsg, pair[1], &message, MSG_PEEK);
    message.msg_controllen = sizeof(control);
    CALL(recvmsg, pair[1], &message, 0);
    message.msg_control = NULL;
    message.msg_controllen = 0;
    CALL(recvmsg, pair[1], &message, MSG_DONTWAIT);
    CALL(recvmsg, pair[1], 16, MSG_DONTWAIT);
    ZERO(many);
    many[0].msg_hdr = many[1].msg_hdr = (struct msghdr){.msg_iov = vec, .msg_iovlen = 1};
    CALL(sendmmsg, pair[0], many, 2, 0);
    many[0].msg_hdr.msg_iov = many[1].msg_hdr.msg_iov = &in;
    CALL(recvmmsg, pair[1], many, 2, MSG_DONTWAIT, NULL);
    size = sizeof(on);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_TYPE, &on, &size);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_ERROR, &on, &size);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_DOMAIN, &on, &size);
    size = sizeof(cred);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_PEERCRED, &cred, &size);
    CALL(setsockopt, pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    size = sizeof(buffer);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_RCVTIMEO, buffer, &size);
    CALL(setsockopt, pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    size = sizeof(linger);
    CALL(getsockopt, pair[0], SOL_SOCKET, SO_LINGER, &linger, &size);
    CALL(setsockopt, pair[0], SOL_SOCKET, SO_SNDBUF, &on, sizeof(on));
    CALL(setsockopt, pair[0], SOL_SOCKET, 9999, &on, sizeof(on));
    CALL(getsockname, pair[0], &name, (size = sizeof(name), &size));
    CALL(shutdown, pair[0], SHUT_RDWR);
    CALL(close, pair[0]);
    CALL(close, pair[1]);
    CALL(close, 5);
    CALL(close, 6);
    fd = CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CALL(bind, fd, &local, sizeof(local));
    CALL(listen, fd, 5);
    size = sizeof(name);
    CALL(getsockname, fd, &name, &size);
    pair[0] = CALL(socket, AF_UNIX, SOCK_STREAM, 0);
    CALL(connect, pair[0], &abstract, 2 + 9);
    CALL(connect, pair[0], &local, 2 + 7);
    size = sizeof(name);
    CALL(accept4, fd, &name, &size, SOCK_CLOEXEC);
    CALL(accept, fd, &name, &size);
    CALL(accept, fd, NULL, NULL);
    size = sizeof(name);
    CALL(getpeername, pair[0], &name, &size);
    CALL(close, 5);
    CALL(close, 4);
    CALL(close, 3);
    CALL(unlink, "socket");
    fd = CALL(socket, AF_INET, SOCK_STREAM, IPPROTO_TCP);
    CALL(setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    CALL(setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CALL(setsockopt, fd, IPPROTO_IP, IP_TTL, &on, sizeof(on));
    size = sizeof(on);
    CALL(getsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &on, &size);
    CALL(connect, fd, &inet, sizeof(inet));
    CALL(close, fd);
    fd = CALL(socket, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_IP);
    CALL(setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    CALL(bind, fd, &inet6, sizeof(inet6));
    CALL(close, fd);
    fd = CALL(socket, AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    CALL(sendto, fd, "x", 1, 0, &inet, 3);
    CALL(close, fd);
    CALL(socket, AF_UNIX, 15, 0);
}

static void waiting(void) {
    struct timeval tv = {0, 0};
    struct timespec ts = {0, 0}, sigwait = {0, 1000};
    struct pollfd fds[3];
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 7}, events[4];
    struct {
        void *set;
        size_t size;
    } argument;
    sigset_t set;
    fd_set in, out;
    uint64_t value = 5;
    int pipes[2], epoll, fd;

    CALL(pipe2, pipes, 0);
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(pipes[0], &in);
    CALL(select, pipes[0] + 1, &in, NULL, NULL, &tv);
    FD_SET(pipes[0], &in);
    FD_SET(pipes[1], &out);
    CALL(select, pipes[1] + 1, &in, &out, NULL, &tv);
    CALL(write, pipes[1], "x", 1);
    FD_SET(pipes[0], &in);
    CALL(select, pipes[1] + 1, &in, &out, NULL, NULL);
    FD_SET(63, &in);
    CALL(select, 64, &in, NULL, NULL, NULL);
    CALL(select, -1, NULL, NULL, NULL, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    argument.set = &set;
    argument.size = 8;
    FD_ZERO(&in);
    FD_SET(pipes[0], &in);
    CALL(pselect6, 64, &in, NULL, NULL, NULL, &argument);
    FD_ZERO(&in);
    CALL(pselect6, 4, &in, NULL, NULL, &ts, NULL);
    fds[0] = (struct pollfd){pipes[0], POLLIN, 0};
    fds[1] = (struct pollfd){pipes[1], POLLOUT, 0};
    fds[2] = (struct pollfd){99, POLLIN | POLLPRI, 0};
    CALL(poll, fds, 3, 1000);
    CALL(poll, fds, 2, -1);
    CALL(read, pipes[0], buffer, 1);
    CALL(poll, fds, 1, 0);
    CALL(poll, fds, 0, 0);
    CALL(ppoll, fds, 1, &ts, &set, 8);
    CALL(ppoll, fds, 2, NULL, NULL, 8);
    epoll = CALL(epoll_create1, EPOLL_CLOEXEC);
    CALL(epoll_ctl, epoll, EPOLL_CTL_ADD, pipes[0], &event);
    CALL(epoll_ctl, epoll, EPOLL_CTL_DEL, 99, NULL);
    CALL(epoll_wait, epoll, events, 4, 0);
    CALL(write, pipes[1], "x", 1);
    CALL(epoll_wait, epoll, events, 4, -1);
    CALL(epoll_pwait, epoll, events, 4, 0, &set, 8);
    CALL(epoll_pwait2, epoll, events, 4, &ts, NULL, 8);
    CALL(close, epoll);
    fd = CALL(eventfd2, 3, EFD_CLOEXEC | EFD_NONBLOCK);
    CALL(read, fd, &value, 8);
    CALL(write, fd, &value, 8);
    CALL(close, fd);
    fd = CALL(signalfd4, -1, &set, 8, SFD_CLOEXEC);
    CALL(close, fd);
    fd = CALL(timerfd_create, CLOCK_MONOTONIC, TFD_CLOEXEC);
    {
        struct itimerspec timer = {{0, 0}, {1000, 5}};

        CALL(timerfd_settime, fd, 0, &timer, NULL);
        timer.it_value.tv_sec = 0;
        timer.it_value.tv_nsec = 0;
        CALL(timerfd_settime, fd, TFD_TIMER_ABSTIME, &timer, NULL);
        CALL(timerfd_gettime, fd, &timer);
    }
    CALL(close, fd);
    {
        struct itimerval it = {{0, 0}, {1000, 0}};
        struct itimerspec timer = {{0, 0}, {0, 0}};
        struct sigevent sevp;
        int id = 0;

        CALL(setitimer, ITIMER_REAL, &it, NULL);
        it.it_value.tv_sec = 0;
        CALL(setitimer, ITIMER_REAL, &it, NULL);
        CALL(getitimer, ITIMER_REAL, &it);
        CALL(alarm, 100);
        CALL(alarm, 0);
        ZERO(sevp);
        sevp.sigev_notify = SIGEV_SIGNAL;
        sevp.sigev_signo = SIGUSR1;
        CALL(timer_create, CLOCK_REALTIME, &sevp, &id);
        CALL(timer_settime, id, 0, &timer, NULL);
        CALL(timer_gettime, id, &timer);
        CALL(timer_getoverrun, id);
        CALL(timer_delete, id);
        sevp.sigev_notify = SIGEV_NONE;
        CALL(timer_create, CLOCK_MONOTONIC, &sevp, &id);
        CALL(timer_delete, id);
    }
    CALL(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
    CALL(nanosleep, &ts, &ts);
    CALL(clock_getres, CLOCK_MONOTONIC, &ts);
    CALL(clock_settime, CLOCK_MONOTONIC, &ts);
    CALL(rt_sigtimedwait, &set, NULL, &sigwait, 8);
    CALL(close, pipes[0]);
    CALL(close, pipes[1]);
}

static int word = 1;

static void futexes(void) {
    struct timespec zero = {0, 0};
    int second = 0;

    CALL(futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL);
    CALL(futex, &word, FUTEX_WAIT, 1, &zero);
    CALL(futex, &word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 1, &zero, NULL,
         FUTEX_BITSET_MATCH_ANY);
    CALL(futex, &word, FUTEX_WAKE_PRIVATE, 1);
    CALL(futex, &word, FUTEX_WAKE, 0x7fffffff);
    CALL(futex, &word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 5);
    CALL(futex, &word, FUTEX_REQUEUE_PRIVATE, 1, 2, &second);
    CALL(futex, &word, FUTEX_CMP_REQUEUE_PRIVATE, 1, 0x7fffffff, &second, 1);
    CALL(futex, &word, 77, 1, 2, &second, 1);
}

static void handler(int signo) {
    (void)signo;
}

static void signals(void) {
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } old = {0};
    struct sigaction action;
    stack_t stack = {buffer, 0, sizeof(buffer)};
    siginfo_t info;
    sigset_t set, got;

    ZERO(action);
    action.sa_handler = SIG_IGN;
    sigaction(SIGUSR1, &action, NULL);
    CALL(kill, getpid(), SIGUSR1);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART | SA_NODEFER;
    sigaddset(&action.sa_mask, SIGHUP);
    sigaddset(&action.sa_mask, SIGRTMIN);
    sigaction(SIGUSR1, &action, NULL);
    CALL(rt_sigaction, SIGUSR2, NULL, &old, 8);
    CALL(rt_sigaction, SIGKILL, &old, NULL, 8);
    CALL(rt_sigaction, 77, &old, NULL, 8);
    CALL(kill, getpid(), SIGUSR1);
    CALL(tkill, gettid(), SIGUSR1);
    CALL(tgkill, getpid(), gettid(), SIGUSR1);
    ZERO(info);
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_int = 5;
    CALL(rt_sigqueueinfo, getpid(), SIGUSR1, &info);
    sigemptyset(&set);
    CALL(rt_sigprocmask, SIG_BLOCK, NULL, &got, 8);
    sigaddset(&set, SIGUSR1);
    CALL(rt_sigprocmask, SIG_BLOCK, &set, NULL, 8);
    CALL(kill, getpid(), SIGUSR1);
    CALL(rt_sigpending, &got, 8);
    CALL(rt_sigtimedwait, &set, &info, NULL, 8);
    sigfillset(&set);
    CALL(rt_sigprocmask, SIG_SETMASK, &set, &got, 8);
    sigemptyset(&set);
    CALL(rt_sigprocmask, SIG_SETMASK, &set, &got, 8);
    CALL(rt_sigprocmask, 7, &set, NULL, 8);
    CALL(sigaltstack, &stack, NULL);
    CALL(sigaltstack, NULL, &stack);
    CALL(rt_sigsuspend, 16, 8);
}

static void process(void) {
    struct utsname uts;
    struct statfs fs;
    struct rusage usage;
    struct rlimit limit = {64, 4096};
    struct timezone tz;
    unsigned mask[32];
    unsigned groups[64], ids[3];
    struct {
        unsigned version;
        int pid;
    } header = {0x20080522, 0};
    struct timespec ts;

    CALL(setfsuid, 0);
    CALL(setuid, 0);
    CALL(setgid, 0);
    CALL(setreuid, -1, -1);
    CALL(setregid, -1, 0);
    CALL(setresuid, -1, 0, -1);
    CALL(setresgid, -1, 0, 0);
    CALL(getuid);
    CALL(getresuid, &ids[0], &ids[1], &ids[2]);
    CALL(getgroups, 0, NULL);
    groups[0] = 5;
    groups[1] = 7;
    CALL(setgroups, 2, groups);
    CALL(getgroups, 64, groups);
    CALL(setgroups, 0, NULL);
    CALL(uname, &uts);
    CALL(statfs, "/none", &fs);
    CALL(getrusage, RUSAGE_CHILDREN, &usage);
    CALL(setrlimit, RLIMIT_NOFILE, &limit);
    CALL(getrlimit, RLIMIT_NOFILE, &limit);
    CALL(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    CALL(prlimit64, 0, 99, NULL, &limit);
    CALL(gettimeofday, NULL, &tz);
    CALL(sched_yield);
    CALL(sched_getscheduler, 0);
    CALL(sched_get_priority_max, SCHED_FIFO);
    CALL(sched_getparam, 0, &ids[0]);
    CALL(sched_setscheduler, 0, SCHED_OTHER, &ids[0]);
    CALL(sched_setscheduler, 0, SCHED_OTHER, &ids[0]);
    CALL(sched_rr_get_interval, 99999, &ts);
    ZERO(mask);
    mask[0] = 1;
    CALL(sched_setaffinity, 0, 8, mask);
    CALL(getpriority, PRIO_PROCESS, 0);
    CALL(setpriority, PRIO_PROCESS, 0, 0);
    CALL(capget, &header, NULL);
    CALL(prctl, PR_SET_NAME, "renamed");
    CALL(prctl, PR_GET_NAME, buffer);
    CALL(prctl, PR_SET_PDEATHSIG, SIGTERM);
    CALL(prctl, PR_GET_PDEATHSIG, &ids[0]);
    CALL(prctl, PR_SET_PDEATHSIG, 0);
    CALL(prctl, PR_GET_DUMPABLE);
    CALL(prctl, PR_SET_DUMPABLE, 1);
    CALL(prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
    CALL(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    CALL(prctl, PR_SET_CHILD_SUBREAPER, 1);
    CALL(prctl, PR_GET_CHILD_SUBREAPER, &ids[0]);
    CALL(prctl, PR_CAPBSET_READ, 21);
    CALL(prctl, PR_GET_KEEPCAPS);
    CALL(prctl, PR_SET_KEEPCAPS, 0);
    CALL(prctl, PR_GET_SECCOMP);
    CALL(prctl, PR_GET_TIMERSLACK);
    CALL(prctl, PR_SET_TIMERSLACK, 0);
    CALL(prctl, PR_CAP_AMBIENT, 1, 21, 0, 0);
    CALL(prctl, 4711, 1, 2, 3, 4);
    CALL(arch_prctl, 0x1003, buffer);
    CALL(getrandom, buffer, 0, GRND_NONBLOCK);
    CALL(set_robust_list, buffer, 1);
    CALL(get_robust_list, 0, buffer, 16);
    CALL(rseq, buffer, 32, 1, 0);
    CALL(ioctl, 0, TCGETS, buffer);
    CALL(ioctl, 1, TIOCGWINSZ, buffer);
    CALL(ioctl, 1, TIOCSPGRP, &ids[0]);
    CALL(ioctl, 1, 0xdeadbeef, 5);
    CALL(ioctl, 1, FIONBIO, &ids[0]);
    CALL(pidfd_open, 99999, 0);
    CALL(unshare, 0);
    CALL(getpgid, 99999);
    CALL(getsid, 99999);
}

static void programs(void) {
    char *argv[] = {"./none", "two", "a \"quoted\" one", NULL}, *envp[] = {"A=1", "B=2", NULL},
         *one[] = {"A=1", NULL};
    struct clone_args args = {.flags = CLONE_THREAD, .exit_signal = SIGCHLD};
    int status;

    CALL(execve, "./none", argv, envp);
    CALL(execve, "./none", argv, one);
    CALL(execve, "./none", argv, envp + 2);
    CALL(execve, NULL, NULL, NULL);
    CALL(execve, "./none", 16, 16);
    CALL(execveat, AT_FDCWD, "./none", argv, envp, AT_SYMLINK_NOFOLLOW);
    CALL(kill, 99999, 0);
    CALL(wait4, -1, &status, WNOHANG, NULL);
    CALL(clone3, &args, sizeof(args));
    CALL(clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0);
    CALL(clone, CLONE_VM | CLONE_THREAD | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_SETTLS,
         4096, buffer, other, 0x1234);
}

int main(void) {
    CALL(getppid); /* from here on the traces are compared */
    descriptors();
    names();
    memory();
    sockets();
    waiting();
    futexes();
    signals();
    process();
    programs();
    return 5;
}
