/*
 * The kernel process's jail: how many calls it leaves open, and that every other one, and every
 * other argument, is refused. Each case enters the jail in a child of its own.
 */
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/host.h"
#include "host/host_buffer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define LAST_CALL 1023

static int open_calls(bool writable, int *calls) {
    const struct host_jail jail = {.writable = writable};
    size_t count = host_jail_calls(&jail, calls, LAST_CALL);

    assert_in_range(count, 1, LAST_CALL);
    return (int)count;
}

static void test_count(void **state) {
    int calls[LAST_CALL];

    for (int writable = 0; writable < 2; writable++) {
        int count = open_calls(writable, calls);

        for (int i = 0; i < count; i++) {
            assert_true(calls[i] >= 0); /* a name that libseccomp does not know */
            for (int j = 0; j < i; j++) {
                assert_int_not_equal(calls[i], calls[j]);
            }
        }
        if (!SANITIZED) {
            assert_in_range(count, 1, HOST_JAIL_CALLS_MAX);
        }
    }
}

/* What `inside` returns in the jail; below 256. */
static int jailed(bool writable, int (*inside)(const int *calls, int count)) {
    int calls[LAST_CALL];
    int count = open_calls(writable, calls);
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        const struct host_jail jail = {.writable = writable};

        /* Not cmocka's handlers, which would go on with the parent's tests here. */
        signal(SIGILL, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        if (host_files_setup() < 0 || host_jail_prepare(&jail) < 0 || host_jail_enter(&jail) < 0) {
            _exit(255);
        }
        _exit(inside(calls, count));
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), 255);
    return WEXITSTATUS(status);
}

static bool refused(long result) {
    return result == -1 && errno == ENOSYS;
}

/*
 * Linux lets these past every filter, for the debugger that has put a probe there (6.14, 6.18); any
 * other caller gets SIGILL, or an error.
 */
#define CALL_URETPROBE 335
#define CALL_UPROBE    336

/* Every number off the list. */
static int try_numbers(const int *calls, int count) {
    int answered = 0;

    for (long number = 0; number <= LAST_CALL; number++) {
        bool listed = number == CALL_URETPROBE || number == CALL_UPROBE;

        for (int i = 0; i < count; i++) {
            listed = listed || calls[i] == number;
        }
        if (!listed && !refused(syscall(number, -1L, -1L, -1L, -1L, -1L, -1L))) {
            log_line(LOG_ERROR, "call %ld was not refused: %s", number, strerror(errno));
            answered++;
        }
    }
    return answered > 200 ? 200 : answered;
}

static void test_numbers(void **state) {
    assert_int_equal(jailed(false, try_numbers), 0);
    assert_int_equal(jailed(true, try_numbers), 0);
}

/* Landlock for guests: no path of the host opens, what is open already stays usable. */
static void test_landlock(void **state) {
    int status = -1, version = host_landlock_version();
    pid_t pid;

    if (version < 1) {
        skip();
    }
    pid = fork();
    if (pid == 0) {
        int fd = open("/proc/self/stat", O_RDONLY);
        char byte;

        if (fd < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
            _exit(1);
        }
        if (host_landlock_deny_all() < 0) {
            _exit(2);
        }
        if (open("/proc/self/stat", O_RDONLY) >= 0 || errno != EACCES ||
            open("/tmp", O_RDONLY | O_DIRECTORY) >= 0 || errno != EACCES ||
            open("/tmp", O_WRONLY | O_TMPFILE, 0600) >= 0 || errno != EACCES) {
            _exit(3);
        }
        if (version >= 6 && (kill(getppid(), 0) == 0 || errno != EPERM)) {
            _exit(4);
        }
        _exit(read(fd, &byte, 1) == 1 ? 0 : 5);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define REFUSED(...)                                                                               \
    do {                                                                                           \
        if (!refused(syscall(__VA_ARGS__))) {                                                      \
            return __LINE__ & 127;                                                                 \
        }                                                                                          \
    } while (0)

/* What the calls on the list would do with other arguments. */
static int try_arguments(const int *calls, int count) {
    int one = 1;

    REFUSED(SYS_mmap, 0L, 4096L, (long)PROT_READ | PROT_EXEC, (long)MAP_PRIVATE | MAP_ANONYMOUS,
            -1L, 0L);
    REFUSED(SYS_mprotect, (long)&try_arguments & -4096L, 4096L, (long)PROT_READ | PROT_EXEC);
    REFUSED(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
    REFUSED(SYS_clone, (long)CLONE_VM | CLONE_VFORK | SIGCHLD, 0L, 0L, 0L, 0L);
    REFUSED(SYS_clone, (long)CLONE_NEWUSER | SIGCHLD, 0L, 0L, 0L, 0L);
    REFUSED(SYS_socketpair, (long)AF_INET, (long)SOCK_STREAM, 0L, (long)&one);
    REFUSED(SYS_setsockopt, 0L, (long)SOL_SOCKET, (long)SO_DEBUG, (long)&one, (long)sizeof(one));
    REFUSED(SYS_tgkill, (long)getppid(), (long)getppid(), (long)SIGKILL);
    REFUSED(SYS_fcntl, 0L, (long)F_SETOWN, 1L);
    REFUSED(SYS_fcntl, 0L, (long)F_NOTIFY, 1L);
    REFUSED(SYS_fcntl, 0L, (long)F_SETLEASE, (long)F_RDLCK);
    REFUSED(SYS_ioctl, 0L, (long)TIOCSTI, (long)"x");
    REFUSED(SYS_ioctl, 0L, (long)TIOCSCTTY, 1L);
    REFUSED(SYS_ioctl, 0L, (long)(0xffffffffUL << 32 | TIOCSTI), (long)"x");
    return 0;
}

static void test_arguments(void **state) {
    assert_int_equal(jailed(true, try_arguments), 0);
}

static void *thread_body(void *arg) {
    return arg;
}

/* What the kernel process must be able to do. */
static int try_work(const int *calls, int count) {
    pthread_t thread;
    void *result = NULL;
    char byte = 'a';
    struct stat stat;
    struct timespec resolution;
    struct host_buffer memory, pipe;
    uint64_t held;
    int memfd = host_memfd_open(&memory, "jail") ? -1 : memory.fd;
    void *map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pthread_create(&thread, NULL, thread_body, &byte) || pthread_join(thread, &result) ||
        result != &byte) {
        return 1;
    }
    if (memfd < 0 || host_ftruncate(memfd, 4096) || host_pwrite(memfd, &byte, 1, 10) != 1 ||
        host_pread(memfd, &byte, 1, 10) != 1 || byte != 'a' || host_fstat(memfd, &stat) ||
        stat.st_size != 4096 || host_pread(memfd, &byte, 1, -1) != -EINVAL) {
        return 2;
    }
    if (host_pipe_open(&pipe) || host_write(pipe.write_fd, &byte, 1) != 1 ||
        host_read(pipe.fd, &byte, 1) != 1 || host_read(pipe.fd, &byte, 1) != -EAGAIN) {
        return 3;
    }
    if (map == MAP_FAILED || mprotect(map, 4096, PROT_READ) || munmap(map, 1 << 20)) {
        return 4;
    }
    if (host_reopen(memfd, O_RDONLY) < 0 || host_fchmod(memfd, 0600) ||
        host_clock_getres(CLOCK_MONOTONIC, &resolution)) {
        return 5;
    }
    host_pipe_lend(&pipe);
    if (host_write(pipe.write_fd, &byte, 1) != 1 || host_buffers_held(&held) ||
        held != 4096 + 65536) {
        return 7;
    }
    int kept = host_dup(memfd), end = host_dup(pipe.write_fd), size;

    host_memfd_close(&memory);
    host_pipe_close(&pipe);
    size = host_fcntl(end, F_GETPIPE_SZ, 0);
    if (host_fstat(kept, &stat) || stat.st_size || host_ftruncate(kept, 1) != -EPERM ||
        host_pwrite(kept, &byte, 1, 0) != -EPERM || size != 4096 || host_buffers_held(&held) ||
        held) {
        return 8;
    }
    /* No name of the host is left, unless the host would not let us take the root away. */
    int fd = host_open_path(AT_FDCWD, "/etc/passwd", O_RDONLY);

    if (fd >= 0 && geteuid() == 0) {
        return 6;
    }
    return 0;
}

static void test_work(void **state) {
    assert_int_equal(jailed(true, try_work), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),   cmocka_unit_test(test_landlock),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
