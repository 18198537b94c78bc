/* futex(2): waiting, waking, requeueing, time-outs; between threads and between processes. */
#include "guest_test.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static long futex(uint32_t *word, int op, uint32_t value, const void *timeout, uint32_t *word2,
                  uint32_t value3) {
    return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static uint32_t word, other;

TEST(checks) {
    struct timespec limit = {.tv_nsec = 1000000};
    uint8_t bytes[8];
    word = 5;
    CHECK_ERR(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0), EAGAIN);
    CHECK_ERR(futex((uint32_t *)(bytes + 1), FUTEX_WAIT, 4, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex((uint32_t *)16, FUTEX_WAIT, 4, NULL, NULL, 0), EFAULT);
    CHECK_ERR(futex(&word, 77, 4, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0), EINVAL);
    CHECK_ERR(futex(&word, FUTEX_WAIT, 5, (void *)8, NULL, 0), EFAULT);
    limit.tv_nsec = 1000000000;
    CHECK_ERR(futex(&word, FUTEX_WAIT, 5, &limit, NULL, 0), EINVAL);
    limit = (struct timespec){.tv_sec = -1};
    CHECK_ERR(futex(&word, FUTEX_WAIT, 5, &limit, NULL, 0), EINVAL);
    CHECK_EQ(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    CHECK_ERR(futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1, NULL, NULL, 0), ENOSYS);
    CHECK_ERR(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 4), EAGAIN);
}

TEST(timeouts) {
    struct timespec limit = {.tv_nsec = 20000000}, until;
    int64_t start = now_ns();
    word = 0;
    CHECK_ERR(futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &limit, NULL, 0), ETIMEDOUT);
    CHECK(now_ns() - start >= 20000000);
    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
    for (int i = 0; i < 2; i++) {
        start = now_ns();
        clock_gettime(clocks[i], &until);
        until.tv_nsec += 20000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        CHECK_ERR(
            futex(&word, FUTEX_WAIT_BITSET | (i ? FUTEX_CLOCK_REALTIME : 0), 0, &until, NULL, ~0u),
            ETIMEDOUT);
        CHECK(now_ns() - start >= 19900000);
    }
}

static _Atomic int waiting, woken;
static void *wait_on_word(void *arg) {
    waiting++;
    while (futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0) < 0 && errno == EINTR)
        ;
    woken++;
    return arg;
}

static int wake_until(uint32_t *where, int wanted) {
    int total = 0;
    while (total < wanted) {
        total += (int)futex(where, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, (uint32_t)(wanted - total),
                            NULL, NULL, 0);
        sched_yield();
    }
    return total;
}

TEST(wake_counts) {
    pthread_t threads[5];
    word = 0;
    waiting = woken = 0;
    for (int i = 0; i < 5; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, wait_on_word, NULL), 0);
    CHECK_EQ(wake_until(&word, 2), 2);
    while (woken < 2)
        sched_yield();
    CHECK_EQ(woken, 2);
    CHECK_EQ(wake_until(&word, 3), 3);
    for (int i = 0; i < 5; i++)
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(woken, 5);
}

TEST(requeue_moves_waiters) {
    pthread_t threads[4];
    word = other = 0;
    waiting = woken = 0;
    for (int i = 0; i < 4; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, wait_on_word, NULL), 0);
    int moved = 0;
    while (moved < 4) {
        long n = futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, (void *)(uintptr_t)INT_MAX,
                       &other, 0);
        REQUIRE(n >= 0);
        moved += (int)n;
        sched_yield();
    }
    CHECK_EQ(futex(&word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0), 0);
    CHECK_EQ(futex(&other, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0), 4);
    for (int i = 0; i < 4; i++)
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
}

static void *wait_for_bit(void *arg) {
    futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, (uint32_t)(uintptr_t)arg);
    woken |= (int)(uintptr_t)arg;
    return NULL;
}

TEST(bitsets_select) {
    pthread_t a, b;
    word = 0;
    woken = 0;
    REQUIRE_EQ(pthread_create(&a, NULL, wait_for_bit, (void *)1), 0);
    REQUIRE_EQ(pthread_create(&b, NULL, wait_for_bit, (void *)2), 0);
    while (futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 2) == 0)
        sched_yield();
    REQUIRE_EQ(pthread_join(b, NULL), 0);
    CHECK_EQ(woken, 2);
    while (futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 1) == 0)
        sched_yield();
    REQUIRE_EQ(pthread_join(a, NULL), 0);
    CHECK_EQ(woken, 3);
}

TEST(wake_op) {
    word = 0;
    other = 7;
    long n = futex(&word, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 1, (void *)1, &other,
                   FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 7));
    CHECK_EQ(n, 0);
    CHECK_EQ(other, 10);
}

TEST(between_processes) {
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        for (uint32_t i = 0; i < 500; i++) {
            while (__atomic_load_n(&shared[0], __ATOMIC_ACQUIRE) != i + 1)
                futex(&shared[0], FUTEX_WAIT, i, NULL, NULL, 0);
            __atomic_store_n(&shared[1], i + 1, __ATOMIC_RELEASE);
            futex(&shared[1], FUTEX_WAKE, 1, NULL, NULL, 0);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < 500; i++) {
        __atomic_store_n(&shared[0], i + 1, __ATOMIC_RELEASE);
        futex(&shared[0], FUTEX_WAKE, 1, NULL, NULL, 0);
        while (__atomic_load_n(&shared[1], __ATOMIC_ACQUIRE) != i + 1)
            futex(&shared[1], FUTEX_WAIT, i, NULL, NULL, 0);
    }
    CHECK_CHILD_OK(child);
    munmap(shared, 4096);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int counter;

static void *add(void *arg) {
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        if (counter % 1000 == 0)
            pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

TEST(mutexes_and_conditions) {
    pthread_t threads[4];
    counter = 0;
    for (int i = 0; i < 4; i++)
        REQUIRE_EQ(pthread_create(&threads[i], NULL, add, NULL), 0);
    pthread_mutex_lock(&mutex);
    while (counter < 20000)
        pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 4; i++)
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(counter, 20000);
}

/* A robust mutex whose owner dies tells the next one. */
#define TURNS 4000

static uint32_t whose_turn;
static long wakes_given[2], wakes_taken[2]; /* by side: wake-ups given, and taken */
static _Atomic int playing;

static void nothing(int signal) {
}

/* Waits for its turn and gives it back. Every wake-up that the one side gave the other took:
 * a wait that a signal ended was not woken. */
static void *play(void *arg) {
    uint32_t side = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < TURNS; i++) {
        while (__atomic_load_n(&whose_turn, __ATOMIC_ACQUIRE) != side) {
            bool bitset = i % 2;
            long result =
                futex(&whose_turn, (bitset ? FUTEX_WAIT_BITSET : FUTEX_WAIT) | FUTEX_PRIVATE_FLAG,
                      !side, NULL, NULL, bitset ? ~0u : 0);

            CHECK(result == 0 || errno == EAGAIN || errno == EINTR);
            wakes_taken[side] += result == 0;
        }
        __atomic_store_n(&whose_turn, !side, __ATOMIC_RELEASE);
        wakes_given[side] += futex(&whose_turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    playing--;
    return NULL;
}

TEST(signals_lose_no_wake_up) {
    struct sigaction restart = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    struct sigaction interrupt = {.sa_handler = nothing};
    pthread_t threads[2];
    unsigned seed = 1;

    REQUIRE_OK(sigaction(SIGUSR1, &restart, NULL));
    REQUIRE_OK(sigaction(SIGUSR2, &interrupt, NULL));
    playing = 2;
    for (uintptr_t i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, play, (void *)i), 0);
    }
    while (playing == 2) {
        (void)pthread_kill(threads[rand_r(&seed) % 2], rand_r(&seed) % 3 ? SIGUSR1 : SIGUSR2);
        for (int pause = rand_r(&seed) % 20000; pause > 0; pause--) {
            __asm__ volatile("");
        }
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(wakes_given[0], wakes_taken[1]);
    CHECK_EQ(wakes_given[1], wakes_taken[0]);
}

/* What another thread changes of the memory does not wait for this one, which sleeps. */
static void *map_and_unmap(void *arg) {
    for (int i = 0; i < 200; i++) {
        void *page = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        CHECK(page != MAP_FAILED);
        CHECK_OK(munmap(page, 8192));
    }
    return arg;
}

TEST(memory_changes_beside_a_sleeper) {
    for (int i = 0; i < 20; i++) {
        pthread_t threads[6];

        for (int k = 0; k < 6; k++) {
            REQUIRE_EQ(pthread_create(&threads[k], NULL, map_and_unmap, NULL), 0);
        }
        for (int k = 0; k < 6; k++) {
            REQUIRE_EQ(pthread_join(threads[k], NULL), 0);
        }
    }
}

TEST(robust_mutex_of_a_dead_owner) {
    pthread_mutex_t *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    REQUIRE(shared != MAP_FAILED);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    REQUIRE_EQ(pthread_mutex_init(shared, &attributes), 0);
    pid_t child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        pthread_mutex_lock(shared);
        kill(getpid(), SIGKILL);
    }
    int status;
    REQUIRE_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(pthread_mutex_lock(shared), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(shared), 0);
    CHECK_EQ(pthread_mutex_unlock(shared), 0);
    munmap(shared, 4096);
}

TEST(robust_list_calls) {
    void *head;
    size_t size;
    CHECK_OK(syscall(SYS_get_robust_list, 0, &head, &size));
    CHECK_EQ(size, 24);
    CHECK_ERR(syscall(SYS_set_robust_list, head, 23), EINVAL);
    CHECK_ERR(syscall(SYS_get_robust_list, 1 << 29, &head, &size), ESRCH);
}

TEST_MAIN()
