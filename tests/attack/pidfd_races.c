/*
 * timeout: 120
 * run-args: --user 0
 *
 * pidfds of processes that end, exec and are reaped meanwhile, and of those whom the holder has no
 * rights over: a signal goes to nobody else, no descriptor and no memory comes out, and whatever is
 * not a process gives an errno.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "bystander.h"
#include "stub_probe.h"

static int pidfd_open(pid_t pid, unsigned flags) {
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static int pidfd_send_signal(int fd, int signal, const siginfo_t *info, unsigned flags) {
    return (int)syscall(SYS_pidfd_send_signal, fd, signal, info, flags);
}

static int pidfd_getfd(int fd, int target, unsigned flags) {
    return (int)syscall(SYS_pidfd_getfd, fd, target, flags);
}

TEST(what_is_no_process) {
    static const pid_t pids[] = {0, -1, INT_MIN, INT_MAX, 1 << 22, 100000};
    static const char *const names[] = {"/dev/null", "/proc/self/status", "/", "/proc/self/exe"};

    bystander_start();
    for (size_t i = 0; i < sizeof pids / sizeof pids[0]; i++) {
        CHECK_EQ(pidfd_open(pids[i], 0), -1);
    }
    CHECK_ERR(pidfd_open(getpid(), 1), EINVAL);
    CHECK_ERR(pidfd_open(getpid(), UINT_MAX), EINVAL);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int fd = open(names[i], O_RDONLY);

        REQUIRE_OK(fd);
        CHECK_ERR(pidfd_send_signal(fd, SIGKILL, NULL, 0), EBADF);
        CHECK_ERR(pidfd_getfd(fd, 0, 0), EBADF);
        CHECK_OK(close(fd));
    }
    check_kernel_serves();
}

TEST(without_rights) {
    pid_t attacker;

    bystander_start();
    attacker = fork();
    REQUIRE_OK(attacker);
    if (attacker == 0) {
        siginfo_t info = {.si_signo = SIGKILL, .si_code = SI_KERNEL};
        pid_t others[] = {getppid(), bystander_pid};
        char copy[16];
        struct iovec here = {copy, sizeof copy};

        CHECK_OK(setgid(1234));
        CHECK_OK(setuid(1234));
        for (int i = 0; i < 2; i++) {
            int fd = pidfd_open(others[i], 0);

            REQUIRE_OK(fd);
            for (int signal = 0; signal < 70; signal++) {
                if (signal != SIGCONT) { /* of the same session: it may */
                    CHECK_EQ(pidfd_send_signal(fd, signal, NULL, 0), -1);
                    info.si_signo = signal;
                    CHECK_EQ(pidfd_send_signal(fd, signal, &info, 0), -1);
                    CHECK_EQ(pidfd_send_signal(fd, signal, (siginfo_t *)8, 0), -1);
                }
            }
            for (int target = 0; target < 16; target++) {
                CHECK_ERR(pidfd_getfd(fd, target, 0), EPERM);
            }
            CHECK_ERR(process_vm_readv(others[i], &here, 1, &here, 1, 0), EPERM);
            CHECK_OK(close(fd));
        }
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(attacker);
    bystander_check();
    check_kernel_serves();
}

/* ---- races ---- */

static _Atomic pid_t target;
static atomic_bool stop;
static _Atomic long opened, taken;

/* Whoever has that pid by now is a child that ends at once; no signal may reach another. */
static void *use(void *arg) {
    while (!stop) {
        pid_t pid = target;
        int fd = pid > 0 ? pidfd_open(pid, 0) : -1;
        struct pollfd poll_one = {.fd = fd, .events = POLLIN};
        char text[512];
        int copy;

        if (fd < 0) {
            continue;
        }
        opened++;
        (void)poll(&poll_one, 1, 0);
        for (int i = 0; i < 4; i++) {
            copy = pidfd_getfd(fd, i, 0);
            if (copy >= 0) {
                taken++;
                close(copy);
            }
        }
        (void)pidfd_send_signal(fd, SIGUSR1, NULL, 0);
        snprintf(text, sizeof text, "/proc/self/fdinfo/%d", fd);
        copy = open(text, O_RDONLY);
        (void)!read(copy, text, sizeof text);
        close(copy);
        close(fd);
    }
    return arg;
}

TEST(processes_end_meanwhile) {
    pthread_t threads[3];

    bystander_start();
    for (int i = 0; i < 3; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, use, NULL), 0);
    }
    for (int i = 0; i < 300 || opened < 100 || taken < 10; i++) {
        pid_t child = fork();

        REQUIRE_OK(child);
        if (child == 0) {
            if (i % 3 == 0) {
                execl("/bin/true", "true", NULL);
            }
            _exit(0);
        }
        target = child;
        CHECK_EQ(waitpid(child, NULL, 0), child);
    }
    target = 0;
    stop = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    bystander_check();
    check_kernel_serves();
}

TEST_MAIN()
