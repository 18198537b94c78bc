/*
 * rt_sigprocmask(2) made often, while signals come: each queued signal is taken exactly once, never
 * by a thread that blocks it, whoever of them changes its mask at that moment.
 */
#include "guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define HOT        300
#define SENT       4000
#define OWN        (SIGRTMIN + 1) /* sent to a thread */
#define SHARED     (SIGRTMIN + 2) /* sent to the process */
#define PATIENCE_S 20

static atomic_bool over;
static atomic_int taken_own, taken_shared, taken_blocked;
static __thread volatile sig_atomic_t blocked;

static void on_signal(int signal) {
    if (blocked) {
        atomic_fetch_add(&taken_blocked, 1);
    }
    atomic_fetch_add(signal == OWN ? &taken_own : &taken_shared, 1);
}

static void set_of(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, OWN);
    sigaddset(set, SHARED);
}

static void *changes_its_mask(void *unused) {
    sigset_t set, old;

    set_of(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    while (!atomic_load(&over)) {
        pthread_sigmask(SIG_BLOCK, &set, &old);
        if (sigismember(&old, OWN)) {
            atomic_fetch_add(&taken_blocked, 1);
        }
        blocked = 1;
        for (volatile int i = 0; i < 20; i++) {
        }
        blocked = 0;
        pthread_sigmask(SIG_UNBLOCK, &set, &old);
        if (!sigismember(&old, OWN) || !sigismember(&old, SHARED)) {
            atomic_fetch_add(&taken_blocked, 1);
        }
    }
    return unused;
}

/* Until it has been; false: it never came. */
static bool count_reaches(atomic_int *count, int wanted) {
    time_t end = time(NULL) + PATIENCE_S;

    while (atomic_load(count) < wanted) {
        if (time(NULL) > end) {
            return false;
        }
        sched_yield();
    }
    return true;
}

static void start(struct sigaction *action) {
    sigset_t set;

    memset(action, 0, sizeof(*action));
    action->sa_handler = on_signal;
    set_of(&action->sa_mask);
    CHECK_OK(sigaction(OWN, action, NULL));
    CHECK_OK(sigaction(SHARED, action, NULL));
    atomic_store(&over, false);
    atomic_store(&taken_own, 0);
    atomic_store(&taken_shared, 0);
    atomic_store(&taken_blocked, 0);
    set_of(&set); /* this thread only sends */
    CHECK_OK(sigprocmask(SIG_BLOCK, &set, NULL));
}

static void send(pthread_t thread, int signal) {
    union sigval none = {0};

    /* The queue may be full; whoever takes from it goes on meanwhile. */
    while (signal == OWN ? pthread_sigqueue(thread, OWN, none)
                         : sigqueue(getpid(), SHARED, none) < 0) {
        sched_yield();
    }
}

TEST(signals_to_a_thread_that_changes_its_mask) {
    struct sigaction action;
    pthread_t thread;

    start(&action);
    sigset_t set;
    set_of(&set);
    CHECK_OK(pthread_create(&thread, NULL, changes_its_mask, NULL));
    for (int i = 1; i <= SENT; i++) {
        send(thread, OWN);
        if (i % 50 == 0) {
            /* Each wave to its end: a signal that is lost for a while does not hide. */
            REQUIRE(count_reaches(&taken_own, i));
        }
    }
    atomic_store(&over, true);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&taken_own), SENT);
    CHECK_EQ(atomic_load(&taken_blocked), 0);
}

TEST(signals_to_a_process_whose_threads_change_their_masks) {
    struct sigaction action;
    pthread_t threads[3];

    start(&action);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(pthread_create(&threads[i], NULL, changes_its_mask, NULL));
    }
    for (int i = 1; i <= SENT; i++) {
        send(threads[0], SHARED);
        if (i % 10 == 0) {
            REQUIRE(count_reaches(&taken_shared, i));
        }
    }
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(pthread_join(threads[i], NULL));
    }
    CHECK_EQ(atomic_load(&taken_shared), SENT);
    CHECK_EQ(atomic_load(&taken_blocked), 0);
}

/* What one thread no longer takes the other one does, though nothing else happens. */
static atomic_int ready;

static void *blocks_and_waits(void *unused) {
    sigset_t set;

    set_of(&set);
    for (int i = 0; i < HOT; i++) {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    }
    blocked = 1;
    atomic_store(&ready, 1);
    while (!atomic_load(&over)) {
        usleep(1000);
    }
    return unused;
}

TEST(a_blocked_signal_comes_when_it_is_unblocked) {
    struct sigaction action;
    pthread_t thread;
    sigset_t set, old;

    start(&action);
    atomic_store(&ready, 0);
    set_of(&set);
    CHECK_OK(pthread_create(&thread, NULL, blocks_and_waits, NULL));
    CHECK(count_reaches(&ready, 1));
    for (int i = 0; i < HOT; i++) {
        int before = atomic_load(&taken_own), shared = atomic_load(&taken_shared);

        CHECK_OK(pthread_kill(pthread_self(), OWN));
        CHECK_OK(kill(getpid(), SHARED));
        CHECK_EQ(atomic_load(&taken_own), before);
        CHECK_OK(sigprocmask(SIG_UNBLOCK, &set, &old));
        /* POSIX: at least one of them before the call returns; Linux: all. */
        CHECK_EQ(atomic_load(&taken_own), before + 1);
        CHECK_EQ(atomic_load(&taken_shared), shared + 1);
        CHECK(sigismember(&old, OWN));
        CHECK_OK(sigprocmask(SIG_BLOCK, &set, &old));
        CHECK(!sigismember(&old, OWN));
    }
    atomic_store(&over, true);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(atomic_load(&taken_blocked), 0);
}

static long mask_call(int how, const void *set, void *old, size_t size) {
    return syscall(SYS_rt_sigprocmask, how, set, old, size);
}

static uint64_t mask_now(void) {
    uint64_t mask = 0;

    CHECK_OK(mask_call(SIG_BLOCK, NULL, &mask, 8));
    return mask;
}

static uint64_t mask_in_proc(void) {
    char line[256];
    uint64_t mask = 0;
    FILE *status = fopen("/proc/thread-self/status", "r");

    while (status && fgets(line, sizeof(line), status)) {
        sscanf(line, "SigBlk: %" SCNx64, &mask);
    }
    if (status) {
        fclose(status);
    }
    return mask;
}

TEST(arguments) {
    const uint64_t kill_and_stop = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1);
    char *bad = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t start_mask = mask_now(), some = 1ull << (SIGUSR2 - 1), all = ~0ull, old;

    for (int i = 0; i < HOT; i++) {
        CHECK_OK(mask_call(SIG_SETMASK, &all, NULL, 8));
        CHECK_EQ(mask_now(), ~kill_and_stop);
        CHECK_OK(mask_call(SIG_SETMASK, &some, &old, 8));
        CHECK_EQ(old, ~kill_and_stop);
        CHECK_ERR(mask_call(SIG_SETMASK, &all, NULL, 4), EINVAL);
        CHECK_ERR(mask_call(3, &all, NULL, 8), EINVAL);
        CHECK_ERR(mask_call(SIG_SETMASK, bad, NULL, 8), EFAULT);
        CHECK_EQ(mask_now(), some);
        CHECK_OK(mask_call(77, NULL, NULL, 8)); /* nothing to do, so nobody looks */
        /* The mask is set all the same. */
        CHECK_ERR(mask_call(SIG_BLOCK, &all, bad, 8), EFAULT);
        CHECK_EQ(mask_now(), ~kill_and_stop);
        CHECK_OK(mask_call(SIG_SETMASK, &start_mask, NULL, 8));
        CHECK_EQ(mask_now(), start_mask);
    }
    CHECK_OK(mask_call(SIG_SETMASK, &some, NULL, 8));
    CHECK_EQ(mask_in_proc(), some);
    CHECK_OK(mask_call(SIG_SETMASK, &start_mask, NULL, 8));
}

static void *sees_mask(void *unused) {
    return (void *)(uintptr_t)mask_now();
}

TEST(children_have_their_parents_mask) {
    uint64_t some = 1ull << (SIGUSR2 - 1) | 1ull << (SIGWINCH - 1), start_mask = mask_now();
    pthread_t thread;
    void *seen;

    CHECK_OK(mask_call(SIG_SETMASK, &some, NULL, 8));
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(mask_now(), some);
        CHECK_EQ(mask_in_proc(), some);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_EQ(pthread_create(&thread, NULL, sees_mask, NULL), 0);
    CHECK_EQ(pthread_join(thread, &seen), 0);
    CHECK_EQ((uintptr_t)seen, some);
    pid = fork();
    if (pid == 0) {
        execl("/bin/grep", "grep", "-q", "^SigBlk:.*0000000008000800$", "/proc/self/status",
              (char *)NULL);
        _exit(2);
    }
    CHECK_CHILD_OK(pid);
    CHECK_OK(mask_call(SIG_SETMASK, &start_mask, NULL, 8));
}

TEST_MAIN()
