/*
 * fork(2), wait4(2), waitid(2), exit(2): what a child has of its parent, how it ends, who hears of
 * it.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static pid_t fork_exit(int code) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(code);
    return pid;
}

TEST(fork_returns_twice) {
    pid_t parent = getpid();
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        CHECK(getpid() != parent);
        CHECK_EQ(getppid(), parent);
        CHECK_EQ(syscall(SYS_gettid), getpid());
        CHILD_EXIT();
    }
    CHECK(pid != parent);
    CHECK_CHILD_OK(pid);
}

TEST(memory_is_copied) {
    static int word = 1;
    int *private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(private != MAP_FAILED && shared != MAP_FAILED);
    *private = *shared = 1;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(word, 1);
        CHECK_EQ(*private, 1);
        word = *private = *shared = 2;
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(word, 1);
    CHECK_EQ(*private, 1);
    CHECK_EQ(*shared, 2);
    munmap(private, 4096);
    munmap(shared, 4096);
}

TEST(descriptors_are_copied_offsets_shared) {
    int fds[2];
    char c;
    FILE *file = tmpfile();
    REQUIRE(file != NULL);
    int fd = fileno(file);
    CHECK_EQ(write(fd, "abcdef", 6), 6);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    REQUIRE_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(read(fd, &c, 1), 1);
        CHECK_OK(close(fd));
        close(fds[0]);
        CHECK_EQ(write(fds[1], "x", 1), 1);
        CHILD_EXIT();
    }
    close(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK_EQ(read(fds[0], &c, 1), 0); /* the child's end goes with it */
    CHECK_CHILD_OK(pid);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1);
    close(fds[0]);
    fclose(file);
}

TEST(exit_status) {
    int status;
    int codes[] = {0, 1, 77, 255, 256 + 3};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        pid_t pid = fork_exit(codes[i]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), codes[i] & 0xff);
        CHECK_EQ(status, (codes[i] & 0xff) << 8);
    }
}

TEST(killed_status) {
    int signals[] = {SIGKILL, SIGTERM, SIGUSR1, SIGHUP};
    int status;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                pause();
        CHECK_OK(kill(pid, signals[i]));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, signals[i]);
    }
}

TEST(a_computing_child_can_be_killed) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        for (volatile unsigned long i = 0;; i++)
            ;
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, SIGKILL);
}

TEST(wait_errors) {
    int status = 42;
    CHECK_ERR(waitpid(-1, &status, 0), ECHILD);
    CHECK_ERR(waitpid(-1, &status, WNOHANG), ECHILD);
    CHECK_ERR(waitpid(getpid(), &status, 0), ECHILD);
    CHECK_ERR(waitpid(1 << 30, &status, 0), ECHILD);
    CHECK_ERR(waitpid(INT_MIN, &status, 0), ESRCH);
    CHECK_ERR(waitpid(-1, &status, 0x4000), EINVAL);
    CHECK_EQ(status, 42);
    siginfo_t info;
    CHECK_ERR(waitid(P_ALL, 0, &info, 0), EINVAL);
    CHECK_ERR(waitid(P_ALL, 0, &info, WNOHANG), EINVAL);
    CHECK_ERR(waitid(P_PID, 0, &info, WEXITED), EINVAL);
    CHECK_ERR(waitid((idtype_t)99, 1, &info, WEXITED), EINVAL);
    CHECK_ERR(waitid(P_PID, (id_t)getpid(), &info, WEXITED), ECHILD);
    CHECK_ERR(waitid(P_PIDFD, 2, &info, WEXITED), EBADF);
}

TEST(wait_no_hang) {
    int fds[2], status = 42;
    char c;
    REQUIRE_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        (void)!read(fds[0], &c, 1);
        _exit(5);
    }
    close(fds[0]);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    CHECK_EQ(status, 42);
    siginfo_t info;
    memset(&info, 0x55, sizeof info);
    CHECK_OK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
    CHECK_EQ(info.si_pid, 0);
    CHECK_EQ(info.si_signo, 0);
    close(fds[1]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 5);
}

TEST(waitid_tells_and_may_leave) {
    siginfo_t info;
    pid_t pid = fork_exit(9);
    for (int i = 0; i < 3; i++) {
        memset(&info, 0, sizeof info);
        CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
        CHECK_EQ(info.si_signo, SIGCHLD);
        CHECK_EQ(info.si_code, CLD_EXITED);
        CHECK_EQ(info.si_pid, pid);
        CHECK_EQ(info.si_uid, getuid());
        CHECK_EQ(info.si_status, 9);
    }
    /* Who does not ask for the dead would wait for ever: there is nobody else. */
    CHECK_ERR(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WCONTINUED), ECHILD);
    CHECK_OK(kill(pid, 0)); /* a zombie is still a process */
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED));
    CHECK_ERR(waitid(P_PID, (id_t)pid, &info, WEXITED), ECHILD);
    CHECK_ERR(kill(pid, 0), ESRCH);
}

TEST(wait_of_process_groups) {
    int status;
    pid_t a = fork();
    if (a == 0) {
        setpgid(0, 0);
        _exit(1);
    }
    setpgid(a, a);
    pid_t b = fork_exit(2);
    CHECK_EQ(waitpid(-a, &status, 0), a);
    CHECK_ERR(waitpid(-a, &status, 0), ECHILD);
    CHECK_EQ(waitpid(0, &status, 0), b);
    CHECK_ERR(waitpid(0, &status, 0), ECHILD);
}

TEST(stop_and_continue) {
    int status;
    siginfo_t info;
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGSTOP);
    CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0);
    CHECK_OK(kill(pid, SIGCONT));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
    CHECK(WIFCONTINUED(status));
    CHECK_EQ(waitpid(pid, &status, WCONTINUED | WNOHANG), 0);
    CHECK_OK(kill(pid, SIGSTOP));
    CHECK_OK(waitid(P_PID, (id_t)pid, &info, WSTOPPED));
    CHECK_EQ(info.si_code, CLD_STOPPED);
    CHECK_EQ(info.si_status, SIGSTOP);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, SIGKILL);
}

static volatile sig_atomic_t chld_code, chld_pid, chld_status, chld_count;

static void on_chld(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    chld_code = info->si_code;
    chld_pid = info->si_pid;
    chld_status = info->si_status;
    chld_count++;
}

TEST(sigchld_says_who_and_how) {
    struct sigaction action = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, &old);
    CHECK_OK(sigaction(SIGCHLD, &action, NULL));
    pid_t pid = fork_exit(3);
    while (chld_count == 0)
        sigsuspend(&old);
    CHECK_EQ(chld_code, CLD_EXITED);
    CHECK_EQ(chld_pid, pid);
    CHECK_EQ(chld_status, 3);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    chld_count = 0;
    pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_DFL);
        for (;;)
            pause();
    }
    kill(pid, SIGTERM);
    while (chld_count == 0)
        sigsuspend(&old);
    CHECK_EQ(chld_code, CLD_KILLED);
    CHECK_EQ(chld_status, SIGTERM);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

static volatile int ends_seen;

static void on_end(int signal) {
    ends_seen++;
}

/* The child's own SIGCHLD, whose handler restarts nothing, does not interrupt the wait for it. */
TEST(the_signal_of_the_end_does_not_interrupt_wait) {
    struct sigaction action = {.sa_handler = on_end}, old;
    siginfo_t info;
    CHECK_OK(sigaction(SIGCHLD, &action, &old));
    for (int i = 0; i < 300; i++) {
        int status;
        ends_seen = 0;
        memset(&info, 0, sizeof info);
        pid_t pid = fork();
        if (pid == 0)
            _exit(3);
        if (i % 2) {
            CHECK_EQ(waitpid(pid, &status, 0), pid);
            CHECK_EQ(status, 3 << 8);
        } else {
            CHECK_OK(waitid(P_PID, (id_t)pid, &info, WEXITED));
            CHECK_EQ(info.si_pid, pid);
        }
        CHECK_EQ(ends_seen, 1);
        if (guest_test_failures)
            break;
    }
    CHECK_OK(sigaction(SIGCHLD, &old, NULL));
}

TEST(ignored_children_leave_no_zombies) {
    signal(SIGCHLD, SIG_IGN);
    fork_exit(1);
    fork_exit(2);
    CHECK_ERR(wait(NULL), ECHILD); /* comes back when the last has gone */
    signal(SIGCHLD, SIG_DFL);
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
    CHECK_OK(sigaction(SIGCHLD, &action, NULL));
    fork_exit(1);
    CHECK_ERR(wait(NULL), ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

TEST(orphans_go_to_the_subreaper) {
    int fds[2];
    REQUIRE_OK(pipe(fds));
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int on = 0;
    CHECK_OK(prctl(PR_GET_CHILD_SUBREAPER, &on));
    CHECK_EQ(on, 1);
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle)
                usleep(1000);
            pid_t now = getppid();
            CHECK_EQ(write(fds[1], &now, sizeof now), sizeof now);
            CHILD_EXIT();
        }
        _exit(0);
    }
    CHECK_CHILD_OK(pid);
    pid_t now = 0;
    CHECK_EQ(read(fds[0], &now, sizeof now), sizeof now);
    CHECK_EQ(now, self);
    int status = -1;
    CHECK(wait(&status) > 0);
    CHECK_EQ(status, 0);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
    close(fds[0]);
    close(fds[1]);
}

TEST(parent_death_signal) {
    int fds[2];
    char c;
    REQUIRE_OK(pipe(fds));
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t pid = fork();
    if (pid == 0) {
        int ready[2];
        if (pipe(ready))
            _exit(1);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            int signal = 0;
            prctl(PR_GET_PDEATHSIG, &signal);
            c = signal == SIGKILL ? 'y' : 'n';
            (void)!write(ready[1], &c, 1);
            for (;;)
                pause();
        }
        (void)!read(ready[0], &c, 1);
        _exit(c == 'y' ? 0 : 1);
    }
    CHECK_CHILD_OK(pid);
    close(fds[1]);
    CHECK_EQ(read(fds[0], &c, 1), 0); /* the grandchild has died and closed it */
    int status = 0;
    CHECK(wait(&status) > 0);
    CHECK_EQ(status, SIGKILL);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
    close(fds[0]);
}

TEST(parent_death_signal_says_who_died) {
    int ready[2];
    char c = 'n';
    REQUIRE_OK(pipe(ready));
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            siginfo_t info;
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set, NULL);
            prctl(PR_SET_PDEATHSIG, SIGUSR1);
            (void)!write(ready[1], &c, 1);
            CHECK_EQ(sigwaitinfo(&set, &info), SIGUSR1);
            CHECK_EQ(info.si_code, SI_USER);
            CHECK_EQ(info.si_pid, parent);
            CHECK_EQ(info.si_uid, getuid());
            CHILD_EXIT();
        }
        (void)!read(ready[0], &c, 1);
        _exit(0);
    }
    CHECK_CHILD_OK(pid);
    int status = -1;
    CHECK(wait(&status) > 0);
    CHECK_EQ(status, 0);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
    close(ready[0]);
    close(ready[1]);
}

TEST(many_children_at_once) {
    enum { N = 40 };
    pid_t pids[N];
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        pids[i] = fork_exit(i);
        REQUIRE(pids[i] > 0);
    }
    for (int i = 0; i < N; i++) {
        int status;
        pid_t pid = wait(&status);
        int j = 0;
        while (j < N && pids[j] != pid)
            j++;
        REQUIRE(j < N);
        CHECK(!seen[j]);
        seen[j] = true;
        CHECK_EQ(WEXITSTATUS(status), j);
    }
    CHECK_ERR(wait(NULL), ECHILD);
}

TEST(a_chain_of_forks) {
    pid_t pid = fork();
    if (pid == 0) {
        for (int depth = 0; depth < 12; depth++) {
            pid_t next = fork();
            if (next < 0)
                _exit(1);
            if (next > 0) {
                int status;
                _exit(waitpid(next, &status, 0) == next && WIFEXITED(status)
                          ? WEXITSTATUS(status) + 1
                          : 100);
            }
        }
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 12);
}

TEST(what_a_child_used_is_accounted) {
    struct rusage usage, before, after;
    int status;
    getrusage(RUSAGE_CHILDREN, &before);
    pid_t pid = fork();
    if (pid == 0) {
        struct rusage self;
        do {
            for (volatile int i = 0; i < 1000000; i++)
                ;
            getrusage(RUSAGE_SELF, &self);
        } while (self.ru_utime.tv_sec == 0 && self.ru_utime.tv_usec < 60000);
        _exit(0);
    }
    CHECK_EQ(wait4(pid, &status, 0, &usage), pid);
    CHECK(usage.ru_utime.tv_sec > 0 || usage.ru_utime.tv_usec >= 40000);
    CHECK(usage.ru_maxrss > 100);
    getrusage(RUSAGE_CHILDREN, &after);
    CHECK(after.ru_utime.tv_sec * 1000000L + after.ru_utime.tv_usec -
              before.ru_utime.tv_sec * 1000000L - before.ru_utime.tv_usec >=
          40000);
}

static void *fork_in_thread(void *arg) {
    (void)arg;
    pid_t pid = fork();
    if (pid == 0) {
        /* Only this thread came along, and leads the new process. */
        CHECK_EQ(syscall(SYS_gettid), getpid());
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    return NULL;
}

static void touch_pages(int count) {
    volatile char *pages = mmap(NULL, (size_t)count * 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        _exit(1);
    madvise((void *)pages, (size_t)count * 4096, MADV_NOHUGEPAGE);
    for (int i = 0; i < count; i++)
        pages[i * 4096] = 1;
}

/* getrusage(2): faults count from the moment that the child is waited for, with those of the
 * children that it waited for, and of the program that it was before. */
TEST(faults_of_children_count_at_once) {
    for (int i = 0; i < 20; i++) {
        struct rusage before, after, usage;
        pid_t pid;
        int status;
        getrusage(RUSAGE_CHILDREN, &before);
        pid = fork();
        if (pid == 0) {
            struct rusage mine;
            pid_t grandchild = fork();
            if (grandchild == 0) {
                touch_pages(200);
                _exit(0);
            }
            touch_pages(100);
            CHECK_EQ(waitpid(grandchild, NULL, 0), grandchild);
            if (i % 2)
                getrusage(RUSAGE_CHILDREN, &mine);
            if (i % 3 == 0)
                execl("/bin/true", "true", (char *)NULL);
            CHILD_EXIT();
        }
        REQUIRE_OK(pid);
        CHECK_EQ(wait4(pid, &status, 0, i % 2 ? &usage : NULL), pid);
        CHECK_EQ(status, 0);
        getrusage(RUSAGE_CHILDREN, &after);
        CHECK(after.ru_minflt - before.ru_minflt >= 300);
        if (i % 2)
            CHECK(usage.ru_minflt >= 300);
    }
}

TEST(fork_by_threads_at_once) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, fork_in_thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

TEST(bad_addresses) {
    pid_t pid = fork_exit(0);
    CHECK_ERR(syscall(SYS_wait4, pid, (void *)8, 0, NULL), EFAULT);
    CHECK_ERR(syscall(SYS_wait4, pid, NULL, 0, NULL), ECHILD); /* it was taken all the same */
}

TEST_MAIN()
