/*
 * A fork bomb, of processes and of threads, against --pids: it reaches the limit, gets EAGAIN, and
 * after its end the sandbox works as before.
 *
 * run-args: --pids 48
 * timeout: 60
 */
#include "guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define LIMIT 48

static struct shared { _Atomic int refused, made, other_error; } * shared;

/* Every process of it forks as fast as it can, for ever. */
static void bomb(void) {
    for (;;) {
        pid_t pid = fork();
        if (pid > 0) {
            shared->made++;
        } else if (pid < 0) {
            shared->refused++;
            if (errno != EAGAIN)
                shared->other_error = errno;
        }
    }
}

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) && errno == EINTR)
        ;
}

/* Everybody but this process; as its own first process of the sandbox it is not hit by kill(-1). */
static void end_all(void) {
    for (;;) {
        if (kill(-1, SIGKILL) && errno != ESRCH)
            CHECK_OK(-1);
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            break;
    }
}

static void check_alive(void) {
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        _exit(0);
    CHECK_CHILD_OK(pid);
}

TEST(processes_that_fork_for_ever) {
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0)
        bomb();
    for (int i = 0; i < 1000 && shared->refused < 1000; i++)
        sleep_ms(10);
    end_all();
    CHECK(shared->refused >= 1000);
    CHECK_EQ(shared->made, LIMIT - 2);
    CHECK_EQ(shared->other_error, 0);
    check_alive();
}

/* Children that end at once, never waited for: the zombies count too. */
TEST(zombies) {
    int made = 0;
    pid_t pid;
    while ((pid = fork()) > 0)
        made++;
    if (pid == 0)
        _exit(0);
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(made, LIMIT - 1);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    check_alive();
}

static void *wait_forever(void *arg) {
    for (;;)
        pause();
    return arg;
}

TEST(threads) {
    pid_t pid = fork();
    if (pid == 0) {
        pthread_attr_t attr;
        pthread_t thread;
        int made = 0;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 65536);
        while (pthread_create(&thread, &attr, wait_forever, NULL) == 0)
            made++;
        CHECK_EQ(made, LIMIT - 2);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(pid);
    check_alive();
}

/* vfork and shared memory count as well. */
TEST(shared_memory_children) {
    int made = 0;
    for (;;) {
        long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
        if (pid == 0)
            for (;;)
                pause();
        if (pid < 0)
            break;
        made++;
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(made, LIMIT - 1);
    CHECK(vfork() == -1 && errno == EAGAIN);
    end_all();
    check_alive();
}

TEST_MAIN()
