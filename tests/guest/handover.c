/*
 * Many threads and processes that call, compute, wake and wait for one another, more of them than
 * cores: nobody is forgotten, everything is counted. And a signal reaches a process that computes,
 * however early it comes.
 */
#include "guest_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile unsigned long sink;

static void compute(unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++)
        sink += i;
}

TEST(early_signal_reaches_a_computing_child) {
    for (int i = 0; i < 150; i++) {
        int status;
        pid_t child = fork();

        REQUIRE(child >= 0);
        if (child == 0) {
            for (;;)
                compute(1000);
        }
        CHECK_OK(kill(child, SIGTERM));
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
}

/* A token goes round; who has it calls a while or computes a while, so that both kinds of pace, and
 * the changes between them, come up. */
#define RING   4
#define LAPS   400
#define CALLS  8
#define BURSTS 60

static void ring_member(int in, int out, int number) {
    for (int lap = 0; lap < LAPS; lap++) {
        int token;

        if (read(in, &token, sizeof token) != sizeof token)
            _exit(1);
        if (token != lap * RING + number)
            _exit(2);
        for (int i = 0; i < lap % CALLS; i++)
            umask(022);
        if (lap % 16 == number)
            compute(30000);
        token++;
        if (write(out, &token, sizeof token) != sizeof token)
            _exit(3);
    }
    _exit(0);
}

/* Calls in bursts, with pauses of different lengths between them. */
static void *bursts(void *arg) {
    long calls = 0;

    for (int burst = 0; burst < BURSTS; burst++) {
        for (int i = 0; i < 300; i++) {
            umask(022);
            calls++;
        }
        compute((unsigned)burst * 997 % 40000);
        if (burst % 20 == 0)
            usleep(100);
    }
    *(long *)arg = calls;
    return NULL;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int whose;

#define EXCHANGES 2000

static void *exchange(void *arg) {
    int me = arg != NULL;

    for (int i = 0; i < EXCHANGES; i++) {
        pthread_mutex_lock(&mutex);
        while (whose != me)
            pthread_cond_wait(&cond, &mutex);
        whose = !me;
        pthread_cond_signal(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

TEST(nobody_is_forgotten_under_load) {
    int pipes[RING][2];
    pid_t ring[RING], load[2];
    pthread_t callers[3], exchangers[2];
    long calls[3] = {0};
    int status, token = 0;

    for (int i = 0; i < 2; i++) {
        load[i] = fork();
        if (load[i] == 0) {
            for (;;)
                compute(1000);
        }
    }
    for (int i = 0; i < RING; i++)
        REQUIRE_OK(pipe(pipes[i]));
    for (int i = 0; i < RING; i++) {
        ring[i] = fork();
        if (ring[i] == 0)
            ring_member(pipes[i][0], pipes[(i + 1) % RING][1], i);
    }
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&callers[i], NULL, bursts, &calls[i]) == 0);
    for (long i = 0; i < 2; i++)
        REQUIRE(pthread_create(&exchangers[i], NULL, exchange, i ? &whose : NULL) == 0);
    CHECK(write(pipes[0][1], &token, sizeof token) == sizeof token);
    for (int i = 0; i < 3; i++) {
        pthread_join(callers[i], NULL);
        CHECK_EQ(calls[i], 300 * BURSTS);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(exchangers[i], NULL);
    for (int i = 0; i < RING; i++) {
        REQUIRE(waitpid(ring[i], &status, 0) == ring[i]);
        CHECK_EQ(status, 0);
    }
    CHECK(read(pipes[0][0], &token, sizeof token) == sizeof token);
    CHECK_EQ(token, RING * LAPS);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(kill(load[i], SIGKILL));
        REQUIRE(waitpid(load[i], &status, 0) == load[i]);
    }
}

TEST_MAIN()
