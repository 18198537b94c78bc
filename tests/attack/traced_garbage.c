/*
 * run-args: --strace=/dev/null
 *
 * What --strace reads of a guest: structures full of garbage, chains of control messages and of
 * directory entries with any lengths, arrays without an end, all rewritten by a second thread while
 * they are printed. The trace prints something, and the kernel goes on serving.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "stub_probe.h"

#define PAGE 4096

static unsigned char *page; /* the next page cannot be read */
static _Atomic bool done;

static unsigned next_random(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Words that are lengths, addresses of the page itself, or nothing at all. */
static uint64_t next_word(unsigned *state) {
    switch (next_random(state) % 6) {
    case 0:
        return 0;
    case 1:
        return next_random(state) % 64;
    case 2:
        return (uint64_t)page + next_random(state) % PAGE;
    case 3:
        return UINT64_MAX - next_random(state) % 64;
    case 4:
        return (uint64_t)next_random(state) << 32 | next_random(state);
    default:
        return 0x0000000100000001u; /* SOL_SOCKET, SCM_RIGHTS */
    }
}

static void *scribble(void *arg) {
    unsigned state = (unsigned)(uintptr_t)arg;

    while (!done) {
        ((volatile uint64_t *)page)[next_random(&state) % (PAGE / 8)] = next_word(&state);
    }
    return NULL;
}

/* Calls whose structures are printed before they fail for want of a descriptor or of a program. */
static const long calls[] = {
    SYS_writev,
    SYS_pwritev2,
    SYS_vmsplice,
    SYS_fcntl,
    SYS_ioctl,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_connect,
    SYS_bind,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_sendto,
    SYS_recvfrom,
    SYS_accept,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_splice,
    SYS_getdents,
    SYS_getdents64,
    SYS_epoll_ctl,
    SYS_utimensat,
    SYS_execveat,
    SYS_openat2,
    SYS_statx,
    SYS_mknodat,
    SYS_timerfd_settime,
    SYS_signalfd4,
    SYS_process_vm_readv,
    SYS_sched_setaffinity,
    SYS_sched_setattr,
    SYS_timer_settime,
};

static pthread_t start(unsigned state) {
    pthread_t scribbler;

    page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    CHECK_OK(mprotect(page + PAGE, PAGE, PROT_NONE));
    for (size_t i = 0; i < PAGE / 8; i++) {
        ((uint64_t *)page)[i] = next_word(&state);
    }
    done = false;
    CHECK_EQ(pthread_create(&scribbler, NULL, scribble, (void *)(uintptr_t)state), 0);
    return scribbler;
}

static void end(pthread_t scribbler) {
    done = true;
    CHECK_EQ(pthread_join(scribbler, NULL), 0);
    check_kernel_serves();
}

TEST(garbage_is_printed) {
    unsigned state = 1;
    pthread_t scribbler = start(state);

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int round = 0; round < 100; round++) {
            long args[5];

            for (int j = 0; j < 5; j++) {
                args[j] = (long)next_word(&state);
            }
            /* 1000 is no descriptor, no process, no timer. */
            syscall(calls[i], 1000, args[0], args[1], args[2], args[3], args[4]);
        }
    }
    end(scribbler);
}

/* A call that succeeds, so that what it has written is printed as well. */
TEST(chains_are_followed_no_further) {
    unsigned state = 3;
    pthread_t scribbler = start(state);
    int pair[2], directory;

    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
    directory = open("/", O_RDONLY | O_DIRECTORY);
    REQUIRE_OK(directory);
    for (int round = 0; round < 500; round++) {
        struct iovec vec = {page, 64};
        struct msghdr message = {.msg_name = page,
                                 .msg_namelen = next_random(&state) % 200,
                                 .msg_iov = &vec,
                                 .msg_iovlen = 1,
                                 .msg_control = page + next_random(&state) % PAGE,
                                 .msg_controllen = next_word(&state)};

        send(pair[0], "x", 1, MSG_DONTWAIT);
        sendmsg(pair[0], &message, MSG_DONTWAIT);
        recvmsg(pair[1], &message, MSG_DONTWAIT);
        recv(pair[1], page, 1, MSG_DONTWAIT);
        lseek(directory, 0, SEEK_SET);
        syscall(SYS_getdents64, directory, page, PAGE);
        execve("/none", (char **)page, (char **)(page + next_random(&state) % PAGE));
    }
    end(scribbler);
}

TEST_MAIN()
