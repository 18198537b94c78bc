/*
 * A fork bomb, of processes and of threads, against --pids: it reaches the limit, gets EAGAIN, and
 * after its end the sandbox works as before.
 *
 * run-args: --pids 48
 * timeout: 120
 */
#include "guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LIMIT 48

#define REFUSALS 1000

static struct shared { _Atomic int refused, made, other_error, told; } * shared;
static int enough[2]; /* a pipe */

/* The last one made may count itself late: both are waited for. */
static void tell_if_enough(void) {
    if (shared->refused >= REFUSALS && shared->made >= LIMIT - 2 && shared->told++ == 0) {
        if (write(enough[1], "x", 1) != 1)
            shared->other_error = errno;
    }
}

/* Every process of it forks as fast as it can, for ever. */
static void bomb(void) {
    for (;;) {
        pid_t pid = fork();
        if (pid > 0) {
            shared->made++;
        } else if (pid < 0) {
            if (errno != EAGAIN)
                shared->other_error = errno;
            shared->refused++;
        }
        tell_if_enough();
    }
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
    REQUIRE_OK(pipe(enough));
    pid_t pid = fork();
    REQUIRE_OK(pid);
    if (pid == 0)
        bomb();
    char byte;
    CHECK_EQ(read(enough[0], &byte, 1), 1);
    end_all();
    CHECK(shared->refused >= REFUSALS);
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
