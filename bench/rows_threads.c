/* Rows of threads: futexes, mutexes, calls from two threads at once. */
#include "bench.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MINE, THEIRS, OVER };

static atomic_uint turn;
static pthread_t partner;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Both threads of a pair do the same work; the row's time is that of the slower one. */
static int in_two(void *(*work)(void *)) {
    pthread_t other;
    int err = pthread_create(&other, NULL, work, NULL);
    if (err)
        return err;
    work(NULL);
    return pthread_join(other, NULL);
}

static void *getpid_work(void *unused) {
    for (int i = 0; i < THREAD_CALLS; i++)
        (void)getpid();
    return unused;
}

static int run_getpid_2(void) {
    return in_two(getpid_work);
}

static void *mutex_work(void *unused) {
    for (int i = 0; i < THREAD_CALLS; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    return unused;
}

static int run_mutex_2(void) {
    return in_two(mutex_work);
}

static int run_mutex(void) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return 0;
}

static void give(unsigned next) {
    atomic_store(&turn, next);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void wait_while(unsigned value) {
    while (atomic_load(&turn) == value)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void *futex_partner(void *unused) {
    for (;;) {
        wait_while(MINE);
        if (atomic_load(&turn) == OVER)
            return unused;
        give(MINE);
    }
}

static int futex_open(void) {
    atomic_store(&turn, MINE);
    return pthread_create(&partner, NULL, futex_partner, NULL);
}

static int run_futex(void) {
    give(THEIRS);
    wait_while(THEIRS);
    return 0;
}

static int futex_close(void) {
    give(OVER);
    return pthread_join(partner, NULL);
}

static void *nothing(void *unused) {
    return unused;
}

static int run_thread(void) {
    pthread_t t;
    int err = pthread_create(&t, NULL, nothing, NULL);
    return err ? err : pthread_join(t, NULL);
}

const struct row thread_rows[] = {
    {.name = "getpid, two threads at once", .run = run_getpid_2, .per = THREAD_CALLS},
    {.name = "futex wake+wait, two threads",
     .run = run_futex,
     .open = futex_open,
     .close = futex_close},
    {.name = "mutex, uncontended", .run = run_mutex},
    {.name = "mutex, contended", .run = run_mutex_2, .per = THREAD_CALLS},
    {.name = "thread create+join", .run = run_thread},
    {0},
};
