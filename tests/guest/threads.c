/*
 * Threads: clone with CLONE_THREAD as pthreads use it, the ends of threads and of their process,
 * robust mutexes, tids.
 */
#include "guest_test.h"

#include <asm/prctl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static pid_t gettid_raw(void) {
    return (pid_t)syscall(SYS_gettid);
}

static __thread int tls_word = 5;

static void *in_thread(void *arg) {
    pid_t *tid = arg;
    CHECK_EQ(tls_word, 5);
    tls_word = 6;
    *tid = gettid_raw();
    CHECK_EQ(getpid(), *(tid + 1));
    return (void *)(long)*tid;
}

TEST(create_and_join) {
    for (int i = 0; i < 50; i++) {
        pid_t ids[2] = {0, getpid()};
        void *result;
        pthread_t thread;
        REQUIRE_EQ(pthread_create(&thread, NULL, in_thread, ids), 0);
        REQUIRE_EQ(pthread_join(thread, &result), 0);
        CHECK(ids[0] != getpid());
        CHECK_EQ((long)result, ids[0]);
        CHECK_EQ(tls_word, 5);
    }
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static long counter;

static void *count(void *arg) {
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

TEST(many_threads_and_a_mutex) {
    pthread_t threads[16];
    pthread_barrier_init(&barrier, NULL, 16);
    for (int i = 0; i < 16; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 16; i++)
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(counter, 16 * 5000);
}

static pthread_mutex_t robust;

static void *lock_and_end(void *arg) {
    pthread_mutex_lock(&robust);
    return arg;
}

TEST(a_robust_mutex_of_a_dead_thread) {
    pthread_mutexattr_t attr;
    pthread_t thread;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    REQUIRE_EQ(pthread_create(&thread, NULL, lock_and_end, NULL), 0);
    /* Waits while it is held, or comes when it is already orphaned. */
    pthread_join(thread, NULL);
    CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&robust), 0);
    CHECK_EQ(pthread_mutex_unlock(&robust), 0);
    CHECK_EQ(pthread_mutex_lock(&robust), 0);
    CHECK_EQ(pthread_mutex_unlock(&robust), 0);
    pthread_mutex_destroy(&robust);
}

TEST(a_robust_mutex_of_a_killed_process) {
    pthread_mutexattr_t attr;
    struct {
        pthread_mutex_t mutex;
        volatile int locked;
    } *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attr);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(&shared->mutex);
        shared->locked = 1;
        for (;;)
            pause();
    }
    pid_t killer = fork();
    if (killer == 0) {
        while (!shared->locked)
            usleep(1000);
        usleep(20000);
        kill(pid, SIGKILL);
        _exit(0);
    }
    while (!shared->locked)
        usleep(1000);
    CHECK_EQ(pthread_mutex_lock(&shared->mutex), EOWNERDEAD); /* sleeps until it is killed */
    CHECK_EQ(pthread_mutex_consistent(&shared->mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(&shared->mutex), 0);
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, SIGKILL);
    CHECK_CHILD_OK(killer);
    munmap(shared, 4096);
}

static void *exit_process(void *arg) {
    exit((int)(long)arg);
}

static void *wait_forever(void *arg) {
    for (;;)
        pause();
    return arg;
}

static void *compute_forever(void *arg) {
    for (volatile unsigned long i = 0;; i++)
        ;
    return arg;
}

TEST(exit_group_ends_all_threads) {
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, i % 2 ? compute_forever : wait_forever, NULL);
        pthread_create(&thread, NULL, exit_process, (void *)19L);
        for (;;)
            pause();
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 19 << 8);
}

TEST(a_signal_kills_all_threads) {
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, i % 2 ? compute_forever : wait_forever, NULL);
        raise(SIGTERM);
        _exit(1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, SIGTERM);
}

static void *end_later(void *arg) {
    usleep(30000);
    _exit(23);
    return arg;
}

static void *sleep_and_return(void *arg) {
    usleep(30000);
    return arg;
}

TEST(the_main_thread_may_end_first) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, end_later, NULL);
        pthread_exit(NULL);
    }
    /* It is no zombie as long as a thread runs, and its pid still takes signals. */
    CHECK_OK(kill(pid, 0));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 23 << 8);

    pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, sleep_and_return, NULL);
        syscall(SYS_exit, 9);
    }
    /* The status is that of the thread that ends last. */
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

static int left_fds[2];

static void *use_memory_alone(void *arg) {
    char path[4096];

    usleep(50000); /* by then nothing of the first thread is left; if it is, the test proves less */
    _exit(getcwd(path, sizeof(path)) && write(left_fds[1], path, 1) == 1 ? 0 : 1);
    return arg;
}

TEST(memory_outlives_the_main_thread) {
    char got[4] = "";

    REQUIRE_OK(pipe(left_fds));
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, use_memory_alone, NULL);
        pthread_exit(NULL);
    }
    CHECK_CHILD_OK(pid);
    close(left_fds[1]);
    CHECK_EQ(read(left_fds[0], got, 4), 1);
    CHECK_EQ(got[0], '/');
    close(left_fds[0]);
}

static void *exec_program(void *arg) {
    char text[64];
    pid_t *pid = arg;
    snprintf(text, sizeof text, "test $$ = %d || exit 1; exit 14", *pid);
    execl("/bin/sh", "sh", "-c", text, NULL);
    return NULL;
}

TEST(exec_by_a_thread_takes_over_the_process) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pid_t self = getpid();
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, i % 2 ? compute_forever : wait_forever, NULL);
        pthread_create(&thread, NULL, exec_program, &self);
        for (;;)
            pause();
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 14 << 8);
}

static void *raise_in_thread(void *arg) {
    (void)arg;
    *(volatile int *)8 = 1;
    return NULL;
}

TEST(a_fault_in_a_thread_kills_the_process) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, raise_in_thread, NULL);
        for (;;)
            pause();
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

/* clear_child_tid: the word becomes 0 and one who waits on it is woken. */
TEST(set_tid_address_is_cleared) {
    volatile int *word =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    REQUIRE(word != MAP_FAILED);
    if (pid == 0) {
        CHECK_EQ(syscall(SYS_set_tid_address, word), gettid_raw());
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    munmap((void *)word, 4096);
}

/* A child has none but what clone was told. */
TEST(tid_address_of_a_child) {
    int *before, *after, word = 1;
    pid_t pid;
    REQUIRE_OK(prctl(PR_GET_TID_ADDRESS, &before));
    pid = fork();
    if (pid == 0) {
        CHECK_OK(prctl(PR_GET_TID_ADDRESS, &after));
        CHECK(after == before); /* glibc: CLONE_CHILD_CLEARTID */
        CHECK_EQ(syscall(SYS_set_tid_address, NULL), gettid_raw());
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid > 0)
            CHECK_CHILD_OK(pid);
        CHECK_OK(prctl(PR_GET_TID_ADDRESS, &after));
        CHECK(after == NULL);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    pid = (pid_t)syscall(SYS_clone, SIGCHLD | CLONE_CHILD_CLEARTID, NULL, NULL, &word, NULL);
    if (pid == 0) {
        CHECK_OK(prctl(PR_GET_TID_ADDRESS, &after));
        CHECK(after == &word);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    CHECK_OK(prctl(PR_GET_TID_ADDRESS, &after));
    CHECK(after == before);
}

/* rseq(2) as Linux's kernel/rseq.c has it; glibc has registered this thread's. */
TEST(rseq_is_registered_once) {
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    pid_t pid;
    if (__rseq_size == 0)
        SKIP("this host, or glibc, has no rseq");
    CHECK_ERR(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG), EBUSY);
    CHECK_ERR(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG + 1), EPERM);
    CHECK_ERR(syscall(SYS_rseq, area + 32, 32, 0, RSEQ_SIG), EINVAL);
    pid = fork();
    if (pid == 0) {
        CHECK_ERR(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG), EBUSY); /* inherited */
        CHECK_OK(syscall(SYS_rseq, area, 32, 1, RSEQ_SIG));
        CHECK_ERR(syscall(SYS_rseq, area, 32, 1, RSEQ_SIG), EINVAL);
        CHECK_ERR(syscall(SYS_rseq, area + 4, 32, 0, RSEQ_SIG), EINVAL);
        CHECK_OK(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG));
        CHECK_ERR(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG), EBUSY);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
}

TEST(fs_base_is_set) {
    unsigned long base = 0, own = (unsigned long)__builtin_thread_pointer();
    CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
    CHECK_EQ(base, own);
    CHECK_ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, 1ul << 47), EPERM);
    CHECK_ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, ~0ul), EPERM);
    CHECK_OK(syscall(SYS_arch_prctl, ARCH_SET_FS, own));
    CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base));
    CHECK_EQ(base, own);
}

static void *cancel_me(void *arg) {
    for (;;)
        sleep(100);
    return arg;
}

TEST(cancellation) {
    pthread_t thread;
    void *result;
    REQUIRE_EQ(pthread_create(&thread, NULL, cancel_me, NULL), 0);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
}

static void *detached(void *arg) {
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

TEST(detached_threads) {
    static int ended;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        REQUIRE_EQ(pthread_create(&thread, &attr, detached, &ended), 0);
    }
    while (__atomic_load_n(&ended, __ATOMIC_SEQ_CST) < 20)
        usleep(1000);
}

TEST_MAIN()
