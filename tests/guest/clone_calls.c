/*
 * clone(2), clone3(2), vfork(2), unshare(2) and posix_spawn(3): flags that go together and flags
 * that do not, and what a child shares.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define STACK_SIZE 65536

static char *new_stack(void) {
    char *stack =
        mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return stack == MAP_FAILED ? NULL : stack;
}

static long raw_clone(unsigned long flags, void *parent_tid, void *child_tid) {
    return syscall(SYS_clone, flags, NULL, parent_tid, child_tid, 0);
}

TEST(flags_that_do_not_go_together) {
    CHECK_ERR(raw_clone(CLONE_THREAD, NULL, NULL), EINVAL);
    CHECK_ERR(raw_clone(CLONE_THREAD | CLONE_SIGHAND, NULL, NULL), EINVAL);
    CHECK_ERR(raw_clone(CLONE_SIGHAND | SIGCHLD, NULL, NULL), EINVAL);
    CHECK_ERR(raw_clone(CLONE_FS | CLONE_NEWNS | SIGCHLD, NULL, NULL), EINVAL);
    int fd = -1;
    CHECK_ERR(raw_clone(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, &fd, NULL), EINVAL);
}

TEST(tids_are_written) {
    static pid_t parent_tid, child_tid;
    pid_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    long pid =
        raw_clone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, &parent_tid, &child_tid);
    REQUIRE(pid >= 0);
    if (pid == 0) {
        shared[0] = child_tid;
        shared[1] = (pid_t)syscall(SYS_getpid);
        _exit(0);
    }
    CHECK_CHILD_OK((pid_t)pid);
    CHECK_EQ(parent_tid, pid);
    CHECK_EQ(child_tid, 0); /* only in the child's memory */
    CHECK_EQ(shared[0], pid);
    CHECK_EQ(shared[1], pid);
    munmap(shared, 4096);
}

static int set_word(void *arg) {
    *(volatile int *)arg = getpid();
    return 6;
}

TEST(shared_memory_without_a_thread) {
    volatile int word = 0;
    char *stack = new_stack();
    REQUIRE(stack != NULL);
    int status;
    int pid = clone(set_word, stack + STACK_SIZE, CLONE_VM | SIGCHLD, (void *)&word);
    REQUIRE(pid > 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 6 << 8);
    CHECK_EQ(word, pid);
    munmap(stack, STACK_SIZE);
}

TEST(the_parent_of_vfork_waits) {
    volatile int word = 0;
    char *stack = new_stack();
    REQUIRE(stack != NULL);
    int pid = clone(set_word, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)&word);
    CHECK_EQ(word, pid); /* already */
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 6 << 8);
    munmap(stack, STACK_SIZE);
}

TEST(vfork_and_exec) {
    int status;
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "exit 21", NULL);
        _exit(127);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 21 << 8);
    pid = vfork();
    if (pid == 0) {
        execl("/nonexistent", "x", NULL);
        _exit(errno == ENOENT ? 33 : 34);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 33 << 8);
}

TEST(a_killed_vfork_child_releases_its_parent) {
    int status;
    pid_t pid = vfork();
    if (pid == 0) {
        kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, SIGKILL);
}

static volatile sig_atomic_t alarms;
static void on_alarm(int signal) {
    (void)signal;
    alarms++;
}

/* A handler of the waiting parent must not run on the memory that the child is using. */
static int sleep_in_child(void *arg) {
    struct timespec time = {0, 60000000};
    (void)arg;
    int before = alarms;
    kill(getppid(), SIGALRM);
    nanosleep(&time, NULL);
    return alarms == before ? 0 : 1;
}

TEST(signals_wait_for_the_vfork_child) {
    signal(SIGALRM, on_alarm);
    char *stack = new_stack();
    REQUIRE(stack != NULL);
    alarms = 0;
    int pid = clone(sleep_in_child, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    CHECK_EQ(alarms, 1);
    CHECK_CHILD_OK(pid);
    signal(SIGALRM, SIG_DFL);
    munmap(stack, STACK_SIZE);
}

static int close_descriptor(void *arg) {
    close((int)(long)arg);
    return chdir("/") ? 1 : 0;
}

TEST(files_and_fs_shared_or_not) {
    char before[4096], after[4096];
    char *stack = new_stack();
    REQUIRE(stack != NULL);
    CHECK(getcwd(before, sizeof before) != NULL);
    int fd = open("/dev/null", O_RDONLY);
    int pid = clone(close_descriptor, stack + STACK_SIZE, CLONE_VM | SIGCHLD, (void *)(long)fd);
    CHECK_CHILD_OK(pid);
    CHECK_OK(fcntl(fd, F_GETFD));
    CHECK(getcwd(after, sizeof after) != NULL);
    CHECK_STREQ(after, before);

    pid = clone(close_descriptor, stack + STACK_SIZE, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD,
                (void *)(long)fd);
    CHECK_CHILD_OK(pid);
    CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
    CHECK(getcwd(after, sizeof after) != NULL);
    CHECK_STREQ(after, "/");
    CHECK_OK(chdir(before));
    munmap(stack, STACK_SIZE);
}

static int ignore_usr1(void *arg) {
    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    return 0;
}

TEST(signal_actions_shared_or_not) {
    struct sigaction action;
    char *stack = new_stack();
    REQUIRE(stack != NULL);
    signal(SIGUSR1, SIG_DFL);
    int pid = clone(ignore_usr1, stack + STACK_SIZE, CLONE_VM | SIGCHLD, NULL);
    CHECK_CHILD_OK(pid);
    CHECK_OK(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == SIG_DFL);
    pid = clone(ignore_usr1, stack + STACK_SIZE, CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL);
    CHECK_CHILD_OK(pid);
    CHECK_OK(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN);
    signal(SIGUSR1, SIG_DFL);
    munmap(stack, STACK_SIZE);
}

TEST(clone_children_need_wclone) {
    int status;
    long pid = raw_clone(0, NULL, NULL);
    if (pid == 0)
        _exit(4);
    CHECK_ERR(waitpid((pid_t)pid, &status, 0), ECHILD);
    CHECK_EQ(waitpid((pid_t)pid, &status, __WCLONE), pid);
    CHECK_EQ(status, 4 << 8);
    pid = raw_clone(0, NULL, NULL);
    if (pid == 0)
        _exit(5);
    CHECK_EQ(waitpid(-1, &status, __WALL), pid);
    CHECK_EQ(status, 5 << 8);
}

TEST(clone_parent_makes_a_sibling) {
    int fds[2];
    REQUIRE_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        long sibling = raw_clone(CLONE_PARENT | SIGCHLD, NULL, NULL);
        if (sibling == 0)
            _exit(7);
        (void)!write(fds[1], &sibling, sizeof sibling);
        _exit(waitpid((pid_t)sibling, NULL, 0) == -1 && errno == ECHILD ? 0 : 1);
    }
    CHECK_CHILD_OK(pid);
    long sibling = 0;
    int status = 0;
    CHECK_EQ(read(fds[0], &sibling, sizeof sibling), sizeof sibling);
    CHECK_EQ(waitpid((pid_t)sibling, &status, 0), sibling);
    CHECK_EQ(status, 7 << 8);
    close(fds[0]);
    close(fds[1]);
}

TEST(a_pidfd_of_the_child) {
    int fd = -1;
    siginfo_t info = {0};
    long pid = raw_clone(CLONE_PIDFD | SIGCHLD, &fd, NULL);
    if (pid == 0)
        _exit(11);
    REQUIRE(pid > 0);
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&poll_fd, 1, 10000), 1);
    CHECK_OK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED));
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(info.si_status, 11);
    CHECK_ERR(waitid(P_PIDFD, (id_t)fd, &info, WEXITED), ECHILD);
    close(fd);
}

TEST(clone3_arguments) {
    struct clone_args args = {.exit_signal = SIGCHLD};
    int status;
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        _exit(12);
    REQUIRE(pid > 0);
    CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
    CHECK_EQ(status, 12 << 8);

    CHECK_ERR(syscall(SYS_clone3, &args, 32), EINVAL);
    CHECK_ERR(syscall(SYS_clone3, &args, 8192), E2BIG);
    CHECK_ERR(syscall(SYS_clone3, (void *)16, sizeof args), EFAULT);
    struct {
        struct clone_args args;
        uint64_t more;
    } longer = {.args = args, .more = 1};
    CHECK_ERR(syscall(SYS_clone3, &longer, sizeof longer), E2BIG);
    args.exit_signal = 100;
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
    args = (struct clone_args){.flags = CLONE_PARENT, .exit_signal = SIGCHLD};
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
    args = (struct clone_args){.flags = 1ULL << 40, .exit_signal = SIGCHLD};
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
    args = (struct clone_args){.stack = 4096, .exit_signal = SIGCHLD};
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
    args = (struct clone_args){.stack_size = 4096, .exit_signal = SIGCHLD};
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
    args = (struct clone_args){.flags = CLONE_SIGHAND | CLONE_VM | CLONE_CLEAR_SIGHAND};
    CHECK_ERR(syscall(SYS_clone3, &args, sizeof args), EINVAL);
}

TEST(clone3_clears_handlers) {
    struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    signal(SIGUSR1, on_alarm);
    signal(SIGUSR2, SIG_IGN);
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        struct sigaction action;
        CHECK_OK(sigaction(SIGUSR1, NULL, &action));
        CHECK(action.sa_handler == SIG_DFL);
        CHECK_OK(sigaction(SIGUSR2, NULL, &action));
        CHECK(action.sa_handler == SIG_IGN);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK((pid_t)pid);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

extern char **environ;

TEST(posix_spawn_a_program) {
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)"echo $0-$VAR; exit 5", (char *)"name",
                    NULL};
    char *envp[] = {(char *)"VAR=value", NULL};
    int fds[2], status;
    char text[64] = "";
    pid_t pid;
    posix_spawn_file_actions_t actions;
    REQUIRE_OK(pipe(fds));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    CHECK_EQ(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, envp), 0);
    close(fds[1]);
    CHECK_EQ(read(fds[0], text, sizeof text - 1), 11);
    CHECK_STREQ(text, "name-value\n");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 5 << 8);
    close(fds[0]);
    posix_spawn_file_actions_destroy(&actions);
    CHECK_EQ(posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ), ENOENT);
}

TEST(spawn_often) {
    char *argv[] = {(char *)"true", NULL};
    for (int i = 0; i < 30; i++) {
        pid_t pid;
        REQUIRE_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
        CHECK_CHILD_OK(pid);
    }
}

TEST(unshare_files_and_fs) {
    CHECK_OK(unshare(CLONE_FILES | CLONE_FS));
    CHECK_OK(unshare(0));
    CHECK_OK(unshare(CLONE_SYSVSEM));
    CHECK_ERR(unshare(CLONE_PARENT), EINVAL);
}

TEST_MAIN()
