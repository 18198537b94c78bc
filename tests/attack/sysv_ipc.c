/*
 * timeout: 180
 *
 * System V IPC as a hostile guest uses it: as much as it can take, every number and size, and
 * everything removed, detached and killed while others are in the middle of using it.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* As many as there may be of each; then none is left over. */
static void exhaust(void) {
    static int ids[40000];
    int n = 0;

    while (n < 40000 && (ids[n] = shmget(IPC_PRIVATE, 1, 0600)) >= 0) {
        n++;
    }
    MUST(n > 0 && n <= 4096 && (errno == ENOSPC || errno == ENOMEM));
    MUST(shmget(IPC_PRIVATE, ULONG_MAX, 0600) == -1);
    MUST(shmget(IPC_PRIVATE, ULONG_MAX / 2, 0600) == -1);
    while (n > 0) {
        MUST(shmctl(ids[--n], IPC_RMID, NULL) == 0);
    }
    while (n < 40000 && (ids[n] = semget(IPC_PRIVATE, 32000, 0600)) >= 0) {
        n++;
    }
    MUST(n > 0 && n < 1000 && errno == ENOSPC);
    while (n > 0) {
        MUST(semctl(ids[--n], 0, IPC_RMID) == 0);
    }
    while (n < 40000 && (ids[n] = msgget(IPC_PRIVATE, 0600)) >= 0) {
        struct {
            long type;
            char text[8192];
        } msg = {.type = 1};

        while (msgsnd(ids[n], &msg, sizeof(msg.text), IPC_NOWAIT) == 0) {
        }
        MUST(errno == EAGAIN || errno == ENOMEM);
        n++;
    }
    MUST(n > 0 && n <= 32000 && errno == ENOSPC);
    while (n > 0) {
        MUST(msgctl(ids[--n], IPC_RMID, NULL) == 0);
    }
}

/* Every call with arguments that mean nothing. */
static void garbage(void) {
    static const long numbers[] = {SYS_shmget, SYS_shmat,  SYS_shmctl, SYS_shmdt,
                                   SYS_semget, SYS_semop,  SYS_semctl, SYS_semtimedop,
                                   SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl};
    static const long values[] = {0,
                                  1,
                                  -1,
                                  8,
                                  0x7fffffff,
                                  LONG_MAX,
                                  LONG_MIN,
                                  4095,
                                  4096,
                                  0xffffffff,
                                  0x7fffffffffffl & -4096L};
    enum { VALUES = sizeof(values) / sizeof(values[0]) };

    MUST(shmget(IPC_PRIVATE, 4096, 0600) >= 0);
    MUST(semget(IPC_PRIVATE, 2, 0600) >= 0);
    MUST(msgget(IPC_PRIVATE, 0600) >= 0);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        for (int n = 0; n < VALUES * VALUES * VALUES; n++) {
            long a = values[n % VALUES], b = values[n / VALUES % VALUES];
            long c = values[n / VALUES / VALUES];

            if (numbers[i] == SYS_shmat && (c & SHM_REMAP)) {
                continue; /* it would take the program's own memory */
            }
            /* Never without IPC_NOWAIT: nobody would send. */
            syscall(numbers[i], a, b, c, numbers[i] == SYS_msgsnd ? IPC_NOWAIT : b, IPC_NOWAIT);
        }
    }
}

static _Atomic int shm_id, sem_id, msg_id;
static _Atomic bool done;

static void nothing(int signal) {
    (void)signal;
}

static unsigned next(unsigned *seed) {
    return *seed = *seed * 1103515245u + 12345u, *seed >> 16;
}

/* Uses whatever there is. */
static void *use(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct {
        long type;
        char text[100];
    } msg;

    while (!atomic_load(&done)) {
        struct sembuf ops[] = {{(unsigned short)(next(&seed) % 3), (short)(next(&seed) % 5) - 2,
                                (short)(next(&seed) % 2 ? SEM_UNDO : IPC_NOWAIT)},
                               {0, (short)(next(&seed) % 3) - 1, SEM_UNDO}};
        char *at;

        switch (next(&seed) % 6) {
        case 0:
            at = shmat(shm_id, NULL, next(&seed) % 2 ? SHM_RDONLY : 0);
            if (at != (void *)-1) {
                mprotect(at + 4096, 4096, PROT_NONE);
                munmap(at + 8192, 4096);
                shmdt(at);
            }
            break;
        case 1:
            semtimedop(sem_id, ops, 1 + next(&seed) % 2, &(struct timespec){0, 200000});
            break;
        case 2:
            semctl(sem_id, (int)(next(&seed) % 4) - 1, next(&seed) % 2 ? GETNCNT : SETVAL, 3);
            break;
        case 3:
            msg.type = 1 + next(&seed) % 4;
            msgsnd(msg_id, &msg, next(&seed) % 100, IPC_NOWAIT);
            break;
        case 4:
            msgrcv(msg_id, &msg, 50, (long)(next(&seed) % 9) - 4, IPC_NOWAIT | MSG_NOERROR);
            break;
        default:
            msgrcv(msg_id, &msg, 50, 99, 0); /* until it is removed, or a signal comes */
        }
    }
    return NULL;
}

/* Threads and processes in the middle of everything, while it is removed and made again. */
static void races(void) {
    enum { THREADS = 4, CHILDREN = 3, ROUNDS = 300 };
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_handler = nothing};

    sigaction(SIGUSR1, &action, NULL);
    shm_id = shmget(IPC_PRIVATE, 3 * 4096, 0600);
    sem_id = semget(IPC_PRIVATE, 3, 0600);
    msg_id = msgget(IPC_PRIVATE, 0600);
    for (int i = 0; i < THREADS; i++) {
        MUST(pthread_create(&threads[i], NULL, use, (void *)(uintptr_t)(i + 1)) == 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork();

        MUST(child >= 0);
        if (child == 0) {
            use((void *)(uintptr_t)(round + 77)); /* until it is killed, with what it holds */
        }
        for (int i = 0; i < 20; i++) {
            sched_yield();
        }
        MUST(shmctl(shm_id, IPC_RMID, NULL) == 0);
        shm_id = shmget(IPC_PRIVATE, 3 * 4096, 0600);
        MUST(shm_id >= 0);
        MUST(semctl(sem_id, 0, IPC_RMID) == 0);
        sem_id = semget(IPC_PRIVATE, 3, 0600);
        MUST(sem_id >= 0);
        kill(child, SIGKILL);
        MUST(waitpid(child, NULL, 0) == child);
        MUST(msgctl(msg_id, IPC_RMID, NULL) == 0);
        msg_id = msgget(IPC_PRIVATE, 0600);
        MUST(msg_id >= 0);
    }
    atomic_store(&done, true);
    for (int i = 0; i < THREADS; i++) {
        while (pthread_tryjoin_np(threads[i], NULL) == EBUSY) {
            pthread_kill(threads[i], SIGUSR1);
            sched_yield();
        }
    }
    MUST(shmctl(shm_id, IPC_RMID, NULL) == 0);
    MUST(semctl(sem_id, 0, IPC_RMID) == 0);
    MUST(msgctl(msg_id, IPC_RMID, NULL) == 0);
}

/* Nothing that was attached or held in the attacks is left. */
static void nothing_left(void) {
    struct shm_info shm;
    struct seminfo sem;
    union {
        struct seminfo *info;
    } arg = {&sem};

    MUST(shmctl(0, SHM_INFO, (void *)&shm) >= 0);
    MUST(semctl(0, 0, SEM_INFO, arg) >= 0);
    MUST(shm.used_ids == 0 && sem.semusz == 0);
}

static void in_child(void (*attack)(void), const char *name) {
    int status;
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid == 0) {
        attack();
        exit(0);
    }
    MUST(waitpid(pid, &status, 0) == pid);
    if (status) {
        printf("%s: status 0x%x\n", name, (unsigned)status);
        exit(1);
    }
    printf("survived %s\n", name);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    in_child(exhaust, "exhaust");
    in_child(races, "races");
    nothing_left();
    in_child(garbage, "garbage");
    in_child(races, "races again");
    return 0;
}
