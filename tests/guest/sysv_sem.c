/*
 * System V semaphores: semget(2), semop(2), semtimedop(2), semctl(2), SEM_UNDO.
 */
#include "guest_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static int make(int count) {
    int id = semget(IPC_PRIVATE, count, IPC_CREAT | 0600);
    CHECK_OK(id);
    return id;
}

static int op(int id, int number, int by, int flags) {
    struct sembuf one = {(unsigned short)number, (short)by, (short)flags};
    return semop(id, &one, 1);
}

static int value(int id, int number) {
    return semctl(id, number, GETVAL);
}

static void wait_for(int id, int number, int command, int count) {
    while (semctl(id, number, command) != count)
        sched_yield();
}

TEST(keys_and_values) {
    key_t key = (key_t)(0x52000000 | (getpid() & 0xffff));
    int id = semget(key, 3, IPC_CREAT | IPC_EXCL | 0600);
    unsigned short all[3] = {1, 2, 3};
    struct semid_ds stat;
    REQUIRE_OK(id);
    CHECK_EQ(semget(key, 0, 0), id);
    CHECK_ERR(semget(key, 4, 0), EINVAL);
    CHECK_ERR(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_ERR(semget(IPC_PRIVATE, -1, 0600), EINVAL);
    CHECK_EQ(value(id, 2), 0);
    CHECK_OK(semctl(id, 0, SETALL, (union semun){.array = all}));
    memset(all, 0, sizeof all);
    CHECK_OK(semctl(id, 0, GETALL, (union semun){.array = all}));
    CHECK_EQ(all[2], 3);
    CHECK_OK(semctl(id, 1, SETVAL, (union semun){.val = 32767}));
    CHECK_ERR(semctl(id, 1, SETVAL, (union semun){.val = 32768}), ERANGE);
    CHECK_ERR(semctl(id, 1, SETVAL, (union semun){.val = -1}), ERANGE);
    CHECK_ERR(semctl(id, 3, SETVAL, (union semun){.val = 1}), EINVAL);
    CHECK_ERR(op(id, 1, 1, 0), ERANGE);
    CHECK_ERR(op(id, 3, 1, 0), EFBIG);
    CHECK_ERR(op(id, 0, -2, IPC_NOWAIT), EAGAIN);
    CHECK_ERR(op(id, 0, 0, IPC_NOWAIT), EAGAIN);
    CHECK_ERR(semop(id, NULL, 0), EINVAL);
    CHECK_ERR(semop(id, (void *)8, 1), EFAULT);
    CHECK_ERR(semop(id, NULL, 100000), E2BIG);
    CHECK_OK(op(id, 0, -1, 0));
    CHECK_OK(op(id, 0, 0, 0));
    CHECK_EQ(semctl(id, 0, GETPID), getpid());
    CHECK_OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &stat}));
    CHECK_EQ(stat.sem_nsems, 3);
    CHECK(stat.sem_otime > 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
    CHECK_ERR(value(id, 0), EINVAL);
}

/* All or nothing. */
TEST(many_at_once) {
    int id = make(2);
    struct sembuf ops[] = {{0, 5, 0}, {1, -1, IPC_NOWAIT}};
    CHECK_ERR(semop(id, ops, 2), EAGAIN);
    CHECK_EQ(value(id, 0), 0);
    CHECK_OK(op(id, 1, 1, 0));
    CHECK_OK(semop(id, ops, 2));
    CHECK_EQ(value(id, 0), 5);
    CHECK_EQ(value(id, 1), 0);
    struct sembuf same[] = {{0, -5, 0}, {0, 0, 0}, {0, 2, 0}};
    CHECK_OK(semop(id, same, 3));
    CHECK_EQ(value(id, 0), 2);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(waiting_and_waking) {
    int id = make(2);
    pid_t down = fork();
    if (down == 0) {
        CHECK_OK(op(id, 0, -3, 0));
        CHILD_EXIT();
    }
    wait_for(id, 0, GETNCNT, 1);
    CHECK_OK(op(id, 0, 2, 0));
    CHECK_EQ(semctl(id, 0, GETNCNT), 1);
    pid_t zero = fork();
    if (zero == 0) {
        CHECK_OK(op(id, 0, 0, 0));
        CHILD_EXIT();
    }
    wait_for(id, 0, GETZCNT, 1);
    CHECK_OK(op(id, 0, 1, 0)); /* the first takes all three, and so lets the second go */
    CHECK_CHILD_OK(down);
    CHECK_CHILD_OK(zero);
    CHECK_EQ(value(id, 0), 0);
    pid_t removed = fork();
    if (removed == 0) {
        CHECK_ERR(op(id, 1, -1, 0), EIDRM);
        CHILD_EXIT();
    }
    wait_for(id, 1, GETNCNT, 1);
    CHECK_OK(semctl(id, 0, IPC_RMID));
    CHECK_CHILD_OK(removed);
}

static void nothing(int signal) {
    (void)signal;
}

/* signal(7): semop is never restarted. */
TEST(interrupted) {
    int id = make(1);
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
        sigaction(SIGUSR1, &action, NULL);
        CHECK_OK(op(id, 0, 1, 0));
        CHECK_ERR(op(id, 0, -2, 0), EINTR);
        CHECK_EQ(value(id, 0), 1);
        CHILD_EXIT();
    }
    wait_for(id, 0, GETNCNT, 1);
    CHECK_OK(kill(child, SIGUSR1));
    CHECK_CHILD_OK(child);
    CHECK_EQ(semctl(id, 0, GETNCNT), 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(time_limit) {
    int id = make(1);
    struct sembuf down = {0, -1, 0};
    CHECK_ERR(semtimedop(id, &down, 1, &(struct timespec){0, 20000000}), EAGAIN);
    CHECK_ERR(semtimedop(id, &down, 1, &(struct timespec){0, 1000000000}), EINVAL);
    CHECK_ERR(semtimedop(id, &down, 1, (void *)8), EFAULT);
    CHECK_OK(op(id, 0, 1, 0));
    CHECK_OK(semtimedop(id, &down, 1, &(struct timespec){0, 0}));
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(undo) {
    int id = make(2);
    CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 10}));
    pid_t child = fork();
    if (child == 0) {
        CHECK_OK(op(id, 0, -4, SEM_UNDO));
        CHECK_OK(op(id, 1, 3, SEM_UNDO));
        CHECK_OK(op(id, 1, 2, 0));
        pid_t own = fork(); /* a child has none of it */
        if (own == 0)
            _exit(0);
        CHECK_CHILD_OK(own);
        CHECK_EQ(value(id, 0), 6);
        kill(getpid(), SIGKILL);
    }
    REQUIRE_OK(waitpid(child, NULL, 0));
    CHECK_EQ(value(id, 0), 10);
    CHECK_EQ(value(id, 1), 2);
    child = fork();
    if (child == 0) {
        CHECK_OK(op(id, 0, -4, SEM_UNDO));
        CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 1})); /* forgets it */
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(value(id, 0), 1);
    child = fork();
    if (child == 0) { /* kept over exec: what it did is taken back when the program ends */
        CHECK_OK(op(id, 0, 4, SEM_UNDO));
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(value(id, 0), 1);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

static int shared_id;

static void *raise_one(void *arg) {
    CHECK_OK(op(shared_id, 0, 1, SEM_UNDO));
    return arg;
}

/* Threads share what is taken back: the end of one changes nothing. */
TEST(undo_of_threads) {
    shared_id = make(1);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, raise_one, NULL);
        pthread_join(thread, NULL);
        CHECK_EQ(value(shared_id, 0), 1);
        CHILD_EXIT();
    }
    CHECK_CHILD_OK(child);
    CHECK_EQ(value(shared_id, 0), 0);
    CHECK_OK(semctl(shared_id, 0, IPC_RMID));
}

/* A lock that many take: nobody is forgotten. */
TEST(contended) {
    enum { WORKERS = 6, ROUNDS = 300 };
    int id = make(2);
    pid_t children[WORKERS];
    CHECK_OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
    for (int i = 0; i < WORKERS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            for (int j = 0; j < ROUNDS; j++) {
                struct sembuf take[] = {{0, -1, SEM_UNDO}}, give[] = {{0, 1, SEM_UNDO}, {1, 1, 0}};
                CHECK_OK(semop(id, take, 1));
                CHECK_EQ(value(id, 0), 0);
                CHECK_OK(semop(id, give, 2));
            }
            CHILD_EXIT();
        }
    }
    for (int i = 0; i < WORKERS; i++)
        CHECK_CHILD_OK(children[i]);
    CHECK_EQ(value(id, 0), 1);
    CHECK_EQ(value(id, 1), WORKERS * ROUNDS);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST_MAIN()
