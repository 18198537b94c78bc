/* Process groups and sessions: setpgid(2), setsid(2), kill(2) of groups, orphaned groups. */
#include "guest_test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* A child that waits for a byte on the pipe, then does as it is told and ends. */
static pid_t waiting_child(int fds[2]) {
    if (pipe(fds))
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(fds[1]);
        (void)!read(fds[0], &c, 1);
        _exit(0);
    }
    close(fds[0]);
    return pid;
}

TEST(ids_of_oneself) {
    CHECK_EQ(getpgrp(), getpgid(0));
    CHECK_EQ(getpgid(getpid()), getpgrp());
    CHECK_EQ(getsid(getpid()), getsid(0));
    CHECK_ERR(getpgid(-1), ESRCH);
    CHECK_ERR(getpgid(1 << 30), ESRCH);
    CHECK_ERR(getsid(1 << 30), ESRCH);
}

TEST(a_parent_places_its_child) {
    int fds[2];
    pid_t pid = waiting_child(fds);
    REQUIRE(pid > 0);
    CHECK_EQ(getpgid(pid), getpgrp());
    CHECK_OK(setpgid(pid, 0));
    CHECK_EQ(getpgid(pid), pid);
    CHECK_OK(setpgid(pid, pid));
    CHECK_OK(setpgid(pid, getpgrp()));
    CHECK_EQ(getpgid(pid), getpgrp());
    CHECK_ERR(setpgid(pid, 1 << 30), EPERM);
    CHECK_ERR(setpgid(pid, -1), EINVAL);
    CHECK_ERR(setpgid(1 << 30, 0), ESRCH);
    close(fds[1]);
    CHECK_CHILD_OK(pid);
}

TEST(not_after_exec) {
    int ready[2];
    char c;
    REQUIRE_OK(pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ready[1], 1);
        execl("/bin/sh", "sh", "-c", "echo; exec sleep 100", NULL);
        _exit(127);
    }
    CHECK_EQ(read(ready[0], &c, 1), 1);
    CHECK_ERR(setpgid(pid, 0), EACCES);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
}

TEST(a_new_session) {
    pid_t pid = fork();
    if (pid == 0) {
        pid_t self = getpid();
        CHECK(getsid(0) != self);
        CHECK_EQ(setsid(), self);
        CHECK_EQ(getsid(0), self);
        CHECK_EQ(getpgrp(), self);
        CHECK_ERR(setsid(), EPERM);
        CHECK_ERR(setpgid(0, 0), EPERM);
        CHECK_ERR(setpgid(0, getppid()), EPERM);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    pid = fork();
    if (pid == 0) {
        CHECK_OK(setpgid(0, 0));
        CHECK_ERR(setsid(), EPERM);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(children_of_another_session_cannot_be_moved) {
    int fds[2], ready[2];
    char c;
    REQUIRE_OK(pipe(fds));
    REQUIRE_OK(pipe(ready));
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        setsid();
        (void)!write(ready[1], "x", 1);
        (void)!read(fds[0], &c, 1);
        _exit(0);
    }
    CHECK_EQ(read(ready[0], &c, 1), 1);
    CHECK_ERR(setpgid(pid, getpgrp()), EPERM);
    CHECK_ERR(setpgid(pid, 0), EPERM);
    CHECK_EQ(getsid(pid), pid);
    close(fds[0]);
    close(fds[1]);
    close(ready[0]);
    close(ready[1]);
    CHECK_CHILD_OK(pid);
}

TEST(a_signal_to_a_group) {
    int status;
    pid_t leader = fork();
    if (leader == 0) {
        setpgid(0, 0);
        for (;;)
            pause();
    }
    setpgid(leader, leader);
    pid_t member = fork();
    if (member == 0)
        for (;;)
            pause();
    CHECK_OK(setpgid(member, leader));
    CHECK_OK(kill(-leader, 0));
    CHECK_OK(kill(-leader, SIGTERM));
    CHECK_EQ(waitpid(leader, &status, 0), leader);
    CHECK_EQ(status, SIGTERM);
    CHECK_EQ(waitpid(member, &status, 0), member);
    CHECK_EQ(status, SIGTERM);
    CHECK_ERR(kill(-leader, 0), ESRCH);
}

TEST(a_group_outlives_its_leader) {
    int fds[2];
    pid_t leader = fork();
    if (leader == 0) {
        setpgid(0, 0);
        for (;;)
            pause();
    }
    CHECK_OK(setpgid(leader, leader));
    pid_t member = waiting_child(fds);
    CHECK_OK(setpgid(member, leader));
    CHECK_OK(kill(leader, SIGKILL));
    CHECK_EQ(waitpid(leader, NULL, 0), leader);
    CHECK_EQ(getpgid(member), leader);
    CHECK_OK(kill(-leader, 0));
    close(fds[1]);
    CHECK_CHILD_OK(member);
    CHECK_ERR(kill(-leader, 0), ESRCH);
}

/* POSIX: a stopped process group that becomes orphaned gets SIGHUP and SIGCONT. */
TEST(a_stopped_orphaned_group_is_hung_up) {
    int status;
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t shell = fork();
    if (shell == 0) {
        setsid();
        pid_t job = fork();
        if (job == 0) {
            setpgid(0, 0);
            for (;;)
                pause();
        }
        setpgid(job, job);
        kill(job, SIGSTOP);
        _exit(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status) ? 0 : 1);
    }
    CHECK_CHILD_OK(shell);
    CHECK(waitpid(-1, &status, 0) > 0);
    CHECK_EQ(status, SIGHUP);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

TEST_MAIN()
