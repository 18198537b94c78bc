/* Sending, blocking, queueing, waiting: signal(7), sigaction(2), kill(2), sigqueue(3), sigwait(3).
 */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile sig_atomic_t count, last_signal, last_code, last_value;
static volatile pid_t last_pid, handler_tid;
static volatile int order[64];

static void reset(void) {
    count = last_signal = last_code = last_value = 0;
    last_pid = handler_tid = 0;
}

static void handler(int signal, siginfo_t *info, void *context) {
    if (count < 64)
        order[count] = info->si_code == SI_QUEUE ? info->si_value.sival_int : signal;
    count++;
    last_signal = signal;
    last_code = info->si_code;
    last_pid = info->si_pid;
    last_value = info->si_value.sival_int;
    handler_tid = (pid_t)syscall(SYS_gettid);
    if (info->si_signo != signal)
        last_signal = -1;
    (void)context;
}

static void set_handler(int signal, int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    REQUIRE_OK(sigaction(signal, &action, NULL));
}

static sigset_t set_of(int a, int b) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, a);
    if (b)
        sigaddset(&set, b);
    return set;
}

TEST(kill_self_runs_handler_before_return) {
    reset();
    set_handler(SIGUSR1, 0);
    CHECK_OK(kill(getpid(), SIGUSR1));
    CHECK_EQ(count, 1);
    CHECK_EQ(last_signal, SIGUSR1);
    CHECK_EQ(last_code, SI_USER);
    CHECK_EQ(last_pid, getpid());
    CHECK_OK(raise(SIGUSR1));
    CHECK_EQ(count, 2);
    CHECK_EQ(last_code, SI_TKILL);
}

TEST(action_reads_back) {
    struct sigaction action = {.sa_sigaction = handler,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER},
                     old;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaddset(&action.sa_mask, SIGKILL);
    REQUIRE_OK(sigaction(SIGUSR2, &action, NULL));
    REQUIRE_OK(sigaction(SIGUSR2, NULL, &old));
    CHECK(old.sa_sigaction == handler);
    CHECK_EQ(old.sa_flags & ~0x04000000, SA_SIGINFO | SA_RESTART | SA_NODEFER);
    CHECK(sigismember(&old.sa_mask, SIGTERM) == 1);
    CHECK(sigismember(&old.sa_mask, SIGKILL) == 0);
    CHECK_ERR(sigaction(SIGKILL, &action, NULL), EINVAL);
    CHECK_ERR(sigaction(SIGSTOP, &action, NULL), EINVAL);
    CHECK_OK(sigaction(SIGKILL, NULL, &old));
    CHECK_ERR(sigaction(0, NULL, &old), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigaction, 65, NULL, NULL, 8), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR2, NULL, NULL, 4), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR2, 8L, NULL, 8), EFAULT);
    signal(SIGUSR2, SIG_DFL);
}

TEST(unknown_flags_are_dropped) {
    struct {
        uint64_t handler, flags, restorer, mask;
    } action = {1, 0x04000000 | 0x400 | 0x100000, 0, 0}, old;
    REQUIRE_OK(syscall(SYS_rt_sigaction, SIGUSR2, &action, NULL, 8));
    REQUIRE_OK(syscall(SYS_rt_sigaction, SIGUSR2, NULL, &old, 8));
    CHECK_EQ(old.flags & 0x100400, 0);
    signal(SIGUSR2, SIG_DFL);
}

TEST(resethand_and_nodefer) {
    reset();
    set_handler(SIGUSR1, SA_RESETHAND);
    raise(SIGUSR1);
    CHECK_EQ(count, 1);
    struct sigaction old;
    REQUIRE_OK(sigaction(SIGUSR1, NULL, &old));
    CHECK(old.sa_handler == SIG_DFL);
}

static volatile int depth, max_depth;
static void nest(int signal) {
    depth++;
    if (depth > max_depth)
        max_depth = depth;
    if (++count < 3)
        raise(signal);
    depth--;
}

TEST(nodefer_nests_and_default_defers) {
    struct sigaction action = {.sa_handler = nest};
    reset();
    max_depth = 0;
    REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
    CHECK_EQ(count, 3);
    CHECK_EQ(max_depth, 1);
    reset();
    max_depth = 0;
    action.sa_flags = SA_NODEFER;
    REQUIRE_OK(sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
    CHECK_EQ(count, 3);
    CHECK_EQ(max_depth, 3);
}

TEST(mask_of_action_holds_in_handler) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(sigaction(SIGUSR2, &action, NULL));
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    raise(SIGUSR2);
    raise(SIGUSR1);
    CHECK_EQ(count, 0);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(count, 2);
    /* Lowest number first is set up first; the second interrupts it before it begins. */
    CHECK_EQ(order[0], SIGUSR2);
    CHECK_EQ(order[1], SIGUSR1);
}

TEST(pending_and_unblock) {
    sigset_t set = set_of(SIGUSR1, 0), pending;
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(count, 0);
    REQUIRE_OK(sigpending(&pending));
    CHECK_EQ(sigismember(&pending, SIGUSR1), 1);
    CHECK_EQ(sigismember(&pending, SIGUSR2), 0);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(count, 1); /* standard signals coalesce */
    REQUIRE_OK(sigpending(&pending));
    CHECK_EQ(sigismember(&pending, SIGUSR1), 0);
}

TEST(ignore_discards_pending) {
    sigset_t set = set_of(SIGUSR1, 0), pending;
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    REQUIRE_OK(sigpending(&pending));
    CHECK_EQ(sigismember(&pending, SIGUSR1), 0);
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(count, 0);
}

TEST(unmaskable_stay_out_of_masks) {
    sigset_t all, now;
    sigfillset(&all);
    sigset_t old;
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &all, &old));
    REQUIRE_OK(sigprocmask(SIG_SETMASK, NULL, &now));
    CHECK_EQ(sigismember(&now, SIGKILL), 0);
    CHECK_EQ(sigismember(&now, SIGSTOP), 0);
    CHECK_EQ(sigismember(&now, SIGTERM), 1);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
    CHECK_ERR(sigprocmask(77, &all, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, NULL, 7), EINVAL);
}

TEST(realtime_signals_queue_in_order) {
    int a = SIGRTMIN + 2, b = SIGRTMIN + 1;
    sigset_t set = set_of(a, b);
    reset();
    set_handler(a, 0);
    set_handler(b, 0);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    for (int i = 0; i < 5; i++) {
        REQUIRE_OK(sigqueue(getpid(), a, (union sigval){.sival_int = 100 + i}));
        REQUIRE_OK(sigqueue(getpid(), b, (union sigval){.sival_int = 200 + i}));
    }
    struct timespec zero = {0};
    siginfo_t info;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(sigtimedwait(&set, &info, &zero), b);
        CHECK_EQ(info.si_code, SI_QUEUE);
        CHECK_EQ(info.si_value.sival_int, 200 + i);
        CHECK_EQ(info.si_pid, getpid());
        CHECK_EQ(info.si_uid, getuid());
    }
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(sigtimedwait(&set, &info, &zero), a);
        CHECK_EQ(info.si_value.sival_int, 100 + i);
    }
    CHECK_ERR(sigtimedwait(&set, &info, &zero), EAGAIN);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(count, 0);
}

TEST(sigpending_limit) {
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        struct rlimit limit = {8, 8};
        sigset_t set = set_of(SIGRTMIN, 0);
        CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
        CHECK_OK(setrlimit(RLIMIT_SIGPENDING, &limit));
        int sent = 0;
        while (sent < 100 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 1}) == 0)
            sent++;
        CHECK_EQ(errno, EAGAIN);
        CHECK(sent <= 8);
        CHECK_OK(kill(getpid(), SIGRTMIN)); /* kill never fails for that */
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
}

TEST(queueinfo_may_not_forge) {
    siginfo_t info = {.si_code = SI_USER};
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        info.si_signo = SIGUSR1;
        CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &info), EPERM);
        info.si_code = SI_TKILL;
        CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), SIGUSR1, &info), EPERM);
        info.si_code = SI_QUEUE;
        CHECK_OK(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info));
        CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), 65, &info), EINVAL);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
}

TEST(kill_checks_its_arguments) {
    CHECK_OK(kill(getpid(), 0));
    CHECK_OK(kill(0, 0));
    CHECK_ERR(kill(getpid(), 65), EINVAL);
    CHECK_ERR(kill(getpid(), -1), EINVAL);
    CHECK_ERR(kill(999999, SIGTERM), ESRCH);
    CHECK_ERR(kill(-999999, SIGTERM), ESRCH);
    CHECK_ERR(syscall(SYS_tgkill, 0, getpid(), SIGTERM), EINVAL);
    CHECK_ERR(syscall(SYS_tgkill, getpid(), -1, SIGTERM), EINVAL);
    CHECK_ERR(syscall(SYS_tgkill, getpid(), 999999, SIGTERM), ESRCH);
    CHECK_ERR(syscall(SYS_tkill, 0, SIGTERM), EINVAL);
}

TEST(kill_process_group) {
    int fds[2];
    REQUIRE_OK(pipe(fds));
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        REQUIRE_OK(children[i]);
        if (children[i] == 0) {
            setpgid(0, i == 0 ? 0 : children[0]);
            if (write(fds[1], "x", 1) != 1)
                _exit(9);
            for (;;)
                pause();
        }
        setpgid(children[i], children[0]);
    }
    char byte;
    for (int i = 0; i < 3; i++)
        REQUIRE_EQ(read(fds[0], &byte, 1), 1);
    CHECK_OK(kill(-children[0], SIGTERM));
    for (int i = 0; i < 3; i++) {
        int status;
        CHECK_EQ(waitpid(children[i], &status, 0), children[i]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
    close(fds[0]);
    close(fds[1]);
}

static void *wait_in_thread(void *arg) {
    sigset_t set = set_of(SIGUSR2, 0);
    int signal = 0;
    sigwait(&set, &signal);
    *(int *)arg = signal;
    return NULL;
}

TEST(sigwait_in_another_thread) {
    sigset_t set = set_of(SIGUSR2, 0), old;
    pthread_t thread;
    int got = 0;
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, &old));
    REQUIRE_EQ(pthread_create(&thread, NULL, wait_in_thread, &got), 0);
    CHECK_OK(kill(getpid(), SIGUSR2));
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(got, SIGUSR2);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

static volatile pid_t thread_tid;
static int thread_pipe[2];
static void *block_in_read(void *arg) {
    char byte;
    thread_tid = (pid_t)syscall(SYS_gettid);
    *(ssize_t *)arg = read(thread_pipe[0], &byte, 1);
    if (*(ssize_t *)arg < 0)
        *(ssize_t *)arg = -errno;
    return NULL;
}

/* In the kernel's words: until the thread sleeps in a call. */
static void wait_until_asleep(pid_t tid) {
    char path[64], text[512];
    for (;;) {
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
        int fd = open(path, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        close(fd);
        if (n > 0) {
            text[n] = 0;
            char *state = strrchr(text, ')');
            if (state && state[2] == 'S')
                return;
        }
        sched_yield();
    }
}

TEST(tgkill_reaches_that_thread) {
    pthread_t thread;
    ssize_t result = 0;
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(pipe(thread_pipe));
    thread_tid = 0;
    REQUIRE_EQ(pthread_create(&thread, NULL, block_in_read, &result), 0);
    while (!thread_tid)
        sched_yield();
    wait_until_asleep(thread_tid);
    CHECK_OK(syscall(SYS_tgkill, getpid(), thread_tid, SIGUSR1));
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(result, -EINTR);
    CHECK_EQ(handler_tid, thread_tid);
    CHECK_EQ(last_code, SI_TKILL);
    close(thread_pipe[0]);
    close(thread_pipe[1]);
}

TEST(group_signal_goes_to_a_thread_that_takes_it) {
    pthread_t thread;
    ssize_t result = 0;
    sigset_t set = set_of(SIGUSR1, 0);
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(pipe(thread_pipe));
    thread_tid = 0;
    REQUIRE_EQ(pthread_create(&thread, NULL, block_in_read, &result), 0);
    REQUIRE_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    while (!thread_tid)
        sched_yield();
    wait_until_asleep(thread_tid);
    CHECK_OK(kill(getpid(), SIGUSR1));
    REQUIRE_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(result, -EINTR);
    CHECK_EQ(handler_tid, thread_tid);
    REQUIRE_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
    CHECK_EQ(count, 1);
    close(thread_pipe[0]);
    close(thread_pipe[1]);
}

TEST(sigsuspend_takes_and_restores) {
    sigset_t block = set_of(SIGUSR1, SIGUSR2), wait = set_of(SIGUSR2, 0), now;
    reset();
    set_handler(SIGUSR1, 0);
    set_handler(SIGUSR2, 0);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &block, NULL));
    raise(SIGUSR2);
    raise(SIGUSR1);
    CHECK_ERR(sigsuspend(&wait), EINTR);
    CHECK_EQ(count, 1);
    CHECK_EQ(last_signal, SIGUSR1);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, NULL, &now));
    CHECK_EQ(sigismember(&now, SIGUSR1), 1);
    CHECK_EQ(sigismember(&now, SIGUSR2), 1);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &block, NULL));
    CHECK_EQ(count, 2);
}

TEST(sigchld_tells_about_the_child) {
    sigset_t set = set_of(SIGCHLD, 0), old;
    siginfo_t info;
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, &old));
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0)
        _exit(42);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK_EQ(info.si_code, CLD_EXITED);
    CHECK_EQ(info.si_pid, child);
    CHECK_EQ(info.si_status, 42);
    CHECK_EQ(info.si_uid, getuid());
    REQUIRE_EQ(waitpid(child, NULL, 0), child);
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        kill(getpid(), SIGTERM);
        _exit(0);
    }
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK_EQ(info.si_code, CLD_KILLED);
    CHECK_EQ(info.si_status, SIGTERM);
    REQUIRE_EQ(waitpid(child, NULL, 0), child);
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

TEST(stop_and_continue) {
    int status;
    signal(SIGUSR1, SIG_DFL);
    sigset_t set = set_of(SIGCHLD, 0), old;
    siginfo_t info;
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, &old));
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        for (;;)
            pause();
    }
    CHECK_OK(kill(child, SIGSTOP));
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK_EQ(sigwaitinfo(&set, &info), SIGCHLD);
    CHECK_EQ(info.si_code, CLD_STOPPED);
    CHECK_EQ(info.si_status, SIGSTOP);
    CHECK_EQ(info.si_pid, child);
    CHECK_EQ(waitpid(child, &status, WUNTRACED | WNOHANG), 0);
    /* Not taken while stopped. */
    CHECK_OK(kill(child, SIGUSR1));
    CHECK_EQ(waitpid(child, &status, WUNTRACED | WNOHANG), 0);
    CHECK_OK(kill(child, SIGSTOP)); /* cancelled by the SIGCONT */
    CHECK_OK(kill(child, SIGCONT));
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    while (sigtimedwait(&set, &info, &(struct timespec){0}) > 0)
        ;
    REQUIRE_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

TEST(continue_is_reported) {
    int status;
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0)
        for (;;)
            pause();
    CHECK_OK(kill(child, SIGSTOP));
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK_OK(kill(child, SIGCONT));
    CHECK_EQ(waitpid(child, &status, WCONTINUED), child);
    CHECK(WIFCONTINUED(status));
    CHECK_OK(kill(child, SIGSTOP));
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK_OK(kill(child, SIGKILL)); /* reaches a stopped process */
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void *spin(void *arg) {
    for (;;)
        __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
    return NULL;
}

TEST(stop_stops_every_thread) {
    int *shared = (int *)((uintptr_t)malloc(8192) & ~63ul);
    int status, fds[2];
    (void)shared;
    REQUIRE_OK(pipe(fds));
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        static int counter;
        pthread_t thread;
        char byte = 'x';
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, spin, &counter);
        if (write(fds[1], &byte, 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    REQUIRE_EQ(read(fds[0], &byte, 1), 1);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(kill(child, SIGSTOP));
        CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
        CHECK(WIFSTOPPED(status));
        CHECK_OK(kill(child, SIGCONT));
        CHECK_EQ(waitpid(child, &status, WCONTINUED), child);
        CHECK(WIFCONTINUED(status));
    }
    CHECK_OK(kill(child, SIGKILL));
    CHECK_EQ(waitpid(child, &status, 0), child);
    close(fds[0]);
    close(fds[1]);
}

TEST(default_actions) {
    static const struct {
        int signal;
        bool kills;
    } rows[] = {
        {SIGHUP, true},    {SIGINT, true},  {SIGQUIT, true},  {SIGILL, true},   {SIGABRT, true},
        {SIGFPE, true},    {SIGSEGV, true}, {SIGPIPE, true},  {SIGALRM, true},  {SIGTERM, true},
        {SIGUSR1, true},   {SIGUSR2, true}, {SIGCHLD, false}, {SIGCONT, false}, {SIGURG, false},
        {SIGWINCH, false}, {SIGIO, true},   {SIGPWR, true},   {SIGSYS, true},   {SIGVTALRM, true},
        {SIGPROF, true},   {SIGXCPU, true}, {SIGXFSZ, true},  {SIGTRAP, true},  {SIGBUS, true},
        {SIGSTKFLT, true}, {SIGKILL, true}, {34, true},       {64, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int status;
        pid_t child = fork();
        REQUIRE_OK(child);
        if (child == 0) {
            struct rlimit none = {0, 0};
            setrlimit(RLIMIT_CORE, &none);
            if (rows[i].signal != SIGKILL && rows[i].signal < 32)
                signal(rows[i].signal, SIG_DFL);
            kill(getpid(), rows[i].signal);
            _exit(7);
        }
        REQUIRE_EQ(waitpid(child, &status, 0), child);
        GUEST_CHECK(rows[i].kills ? WIFSIGNALED(status) && WTERMSIG(status) == rows[i].signal
                                  : WIFEXITED(status) && WEXITSTATUS(status) == 7,
                    , "signal %d: status 0x%x", rows[i].signal, (unsigned)status);
    }
}

TEST(sigpipe_and_epipe) {
    int fds[2];
    reset();
    set_handler(SIGPIPE, 0);
    REQUIRE_OK(pipe(fds));
    close(fds[0]);
    CHECK_ERR(write(fds[1], "x", 1), EPIPE);
    CHECK_EQ(count, 1);
    signal(SIGPIPE, SIG_IGN);
    CHECK_ERR(write(fds[1], "x", 1), EPIPE);
    close(fds[1]);
    signal(SIGPIPE, SIG_DFL);
}

TEST(fork_inherits_actions_and_mask_not_pending) {
    sigset_t set = set_of(SIGUSR1, 0), pending;
    reset();
    set_handler(SIGUSR1, 0);
    REQUIRE_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    raise(SIGUSR1);
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        struct sigaction old;
        CHECK_OK(sigpending(&pending));
        CHECK_EQ(sigismember(&pending, SIGUSR1), 0);
        CHECK_OK(sigaction(SIGUSR1, NULL, &old));
        CHECK(old.sa_sigaction == handler);
        CHECK_OK(sigprocmask(SIG_SETMASK, NULL, &pending));
        CHECK_EQ(sigismember(&pending, SIGUSR1), 1);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    REQUIRE_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK_EQ(count, 1);
}

static volatile sig_atomic_t storm;
static void count_storm(int signal) {
    (void)signal;
    storm++;
}

/* Every queued signal arrives exactly once, whatever the receiver is doing. */
TEST(storm_of_queued_signals) {
    enum { SENDERS = 3, EACH = 400 };
    struct sigaction action = {.sa_handler = count_storm, .sa_flags = SA_RESTART};
    REQUIRE_OK(sigaction(SIGRTMIN + 3, &action, NULL));
    storm = 0;
    pid_t children[SENDERS], parent = getpid();
    for (int i = 0; i < SENDERS; i++) {
        children[i] = fork();
        REQUIRE_OK(children[i]);
        if (children[i] == 0) {
            for (int n = 0; n < EACH; n++)
                while (sigqueue(parent, SIGRTMIN + 3, (union sigval){.sival_int = n}) < 0)
                    sched_yield();
            _exit(0);
        }
    }
    volatile double x = 1;
    int ended = 0;
    while (ended < SENDERS) {
        for (int i = 0; i < 1000; i++)
            x = x * 1.000001 + 0.5;
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            CHECK_EQ(status, 0);
            ended++;
        }
    }
    CHECK_EQ(storm, SENDERS * EACH);
}

TEST_MAIN()
