/*
 * The calls about oneself (getpid(2), gettid(2), getppid(2), getuid(2) ..., getpgid(2), getsid(2))
 * tell a change from the moment on that anybody can see it: of the own credentials, of the process
 * group by a parent's hand, of the parent by its end, of the thread by clone(2), fork(2) and
 * execve(2).
 */
#include "guest_test.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t thread_tid;

static void *thread_main(void *arg) {
    thread_tid = (pid_t)syscall(SYS_gettid);
    CHECK(syscall(SYS_getpid) == getpid());
    return NULL;
}

TEST(a_thread_has_its_own_tid) {
    pthread_t thread;

    CHECK(syscall(SYS_gettid) == getpid());
    CHECK(pthread_create(&thread, NULL, thread_main, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(thread_tid != 0 && thread_tid != getpid());
}

TEST(fork_gives_new_ids) {
    pid_t parent = getpid(), child = fork();
    int status;

    if (child == 0) {
        _exit(syscall(SYS_getpid) != parent && syscall(SYS_gettid) == syscall(SYS_getpid) &&
                      syscall(SYS_getppid) == parent
                  ? 0
                  : 1);
    }
    CHECK(syscall(SYS_getpid) == parent);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(vfork_child_and_parent_differ) {
    pid_t parent = (pid_t)syscall(SYS_getpid);
    volatile pid_t seen = 0;
    pid_t child = vfork();

    if (child == 0) {
        seen = (pid_t)syscall(SYS_getpid);
        _exit(0);
    }
    CHECK(seen == child);
    CHECK(syscall(SYS_getpid) == parent);
    CHECK(waitpid(child, NULL, 0) == child);
}

/* A parent moves its child between process groups while the child looks at itself. */
TEST(setpgid_by_the_parent) {
    int ready[2], go[2];
    char byte = 0;

    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (int round = 0; round < 200; round++) {
            pid_t want;

            if (read(go[0], &want, sizeof(want)) != sizeof(want) || syscall(SYS_getpgrp) != want ||
                syscall(SYS_getpgid, 0) != want) {
                _exit(1);
            }
            if (write(ready[1], &byte, 1) != 1) {
                _exit(2);
            }
        }
        _exit(0);
    }
    for (int round = 0; round < 200; round++) {
        pid_t want = round % 2 ? getpgrp() : child;

        CHECK(setpgid(child, want) == 0);
        CHECK(getpgid(child) == want);
        CHECK(write(go[1], &want, sizeof(want)) == sizeof(want));
        CHECK(read(ready[0], &byte, 1) == 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(setsid_changes_session_and_group) {
    pid_t child = fork();
    int status;

    if (child == 0) {
        pid_t self = getpid();

        _exit(setsid() == self && syscall(SYS_getsid, 0) == self && syscall(SYS_getpgrp) == self
                  ? 0
                  : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* The grandchild learns of its new parent as soon as the child's end can be seen. */
TEST(reparenting) {
    int fds[2], hold[2], status;
    char byte;

    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    CHECK(pipe(fds) == 0 && pipe(hold) == 0);
    pid_t self = getpid(), child = fork();
    if (child == 0) {
        pid_t middle = getpid();

        if (fork() == 0) {
            close(hold[1]);
            if (syscall(SYS_getppid) != middle) {
                _exit(1);
            }
            close(fds[0]);
            if (write(fds[1], "x", 1) != 1 || read(hold[0], &byte, 1) != 0) {
                _exit(2);
            }
            _exit(syscall(SYS_getppid) == self ? 0 : 3);
        }
        if (read(fds[0], &byte, 1) != 1) {
            _exit(4);
        }
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(hold[1]);
    pid_t grandchild = waitpid(-1, &status, 0);
    CHECK(grandchild > 0 && status == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

TEST(credentials) {
    int status;

    if (getuid() != 0) {
        SKIP("needs root");
    }
    pid_t child = fork();
    if (child == 0) {
        if (setresgid(5, 6, 7) || setresuid(1000, 1001, 0)) {
            _exit(1);
        }
        _exit(syscall(SYS_getuid) == 1000 && syscall(SYS_geteuid) == 1001 &&
                      syscall(SYS_getgid) == 5 && syscall(SYS_getegid) == 6
                  ? 0
                  : 2);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* An id in the upper half is a positive number. */
TEST(large_uid) {
    int status;

    if (getuid() != 0) {
        SKIP("needs root");
    }
    pid_t child = fork();
    if (child == 0) {
        _exit(setresuid(4000000000u, 4000000000u, 4000000000u) == 0 &&
                      syscall(SYS_getuid) == 4000000000l
                  ? 0
                  : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* As program of execve(2): argv[1] is the pid it must have. */
TEST(exec_keeps_the_pid) {
    pid_t child = fork();
    int status;

    if (child == 0) {
        char pid[16], self[4096];
        ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

        if (length <= 0) {
            _exit(1);
        }
        self[length] = 0;
        snprintf(pid, sizeof(pid), "%d", getpid());
        execl(self, self, "--check-pid", pid, NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--check-pid") == 0) {
        return syscall(SYS_getpid) == atoi(argv[2]) && syscall(SYS_gettid) == atoi(argv[2]) ? 0 : 1;
    }
    return guest_test_main(argc, argv);
}
