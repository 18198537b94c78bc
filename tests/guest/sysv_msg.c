/*
 * System V message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).
 */
#include "guest_test.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct text {
    long type;
    char data[9000];
};

static int make(void) {
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    CHECK_OK(id);
    return id;
}

static int give(int id, long type, const char *data, int flags) {
    struct text text = {.type = type};
    strcpy(text.data, data);
    return msgsnd(id, &text, strlen(data), flags);
}

/* The text, or NULL with errno. */
static const char *take(int id, size_t size, long type, int flags, long *came) {
    static struct text text;
    ssize_t n = msgrcv(id, &text, size, type, flags);
    if (n < 0)
        return NULL;
    text.data[n] = 0;
    if (came)
        *came = text.type;
    return text.data;
}

#define CHECK_TAKE(id, type, flags, wanted)                                                        \
    do {                                                                                           \
        const char *got_ = take(id, 100, type, flags, NULL);                                       \
        CHECK_STREQ(got_ ? got_ : strerror(errno), wanted);                                        \
    } while (0)

/* Until it sleeps in a call. */
static void wait_until_asleep(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (;;) {
        int fd = open(path, O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        if (n > 0) {
            text[n] = 0;
            if (strncmp(strrchr(text, ')'), ") S", 3) == 0)
                return;
        }
        sched_yield();
    }
}

TEST(order_and_types) {
    int id = make();
    long type;
    CHECK_OK(give(id, 3, "c1", 0));
    CHECK_OK(give(id, 1, "a", 0));
    CHECK_OK(give(id, 2, "b", 0));
    CHECK_OK(give(id, 3, "c2", 0));
    CHECK_TAKE(id, 3, 0, "c1");
    CHECK_TAKE(id, -2, 0, "a");
    CHECK_TAKE(id, 2, MSG_EXCEPT, "c2");
    CHECK(take(id, 100, 7, IPC_NOWAIT, NULL) == NULL && errno == ENOMSG);
    CHECK(strcmp(take(id, 100, LONG_MIN, IPC_NOWAIT, &type), "b") == 0);
    CHECK_EQ(type, 2);
    CHECK(take(id, 100, 0, IPC_NOWAIT, NULL) == NULL && errno == ENOMSG);
    CHECK_OK(give(id, 1, "", 0));
    CHECK_TAKE(id, 0, 0, "");
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(sizes) {
    int id = make();
    struct msqid_ds stat;
    struct text text = {.type = 1};
    CHECK_ERR(msgsnd(id, &text, 8193, IPC_NOWAIT), EINVAL);
    CHECK_ERR(msgsnd(id, &text, (size_t)-1, IPC_NOWAIT), EINVAL);
    CHECK_ERR(give(id, 0, "x", 0), EINVAL);
    CHECK_ERR(give(id, -5, "x", 0), EINVAL);
    CHECK_ERR(msgsnd(id, (void *)8, 1, 0), EFAULT);
    CHECK_OK(give(id, 1, "long text", 0));
    CHECK(take(id, 4, 0, 0, NULL) == NULL && errno == E2BIG);
    CHECK(strcmp(take(id, 4, 0, MSG_NOERROR, NULL), "long") == 0);
    CHECK(take(id, 4, 0, IPC_NOWAIT, NULL) == NULL && errno == ENOMSG);
    CHECK_OK(msgsnd(id, &text, 8192, 0));
    CHECK_OK(msgsnd(id, &text, 8192, 0));
    CHECK_ERR(msgsnd(id, &text, 1, IPC_NOWAIT), EAGAIN);
    CHECK_OK(msgctl(id, IPC_STAT, &stat));
    CHECK_EQ(stat.msg_qnum, 2);
    CHECK_EQ(stat.msg_qbytes, 16384);
    CHECK_EQ(stat.__msg_cbytes, 16384);
    CHECK_EQ(stat.msg_lspid, getpid());
    stat.msg_qbytes = 100;
    CHECK_OK(msgctl(id, IPC_SET, &stat));
    CHECK_OK(msgctl(id, IPC_STAT, &stat));
    CHECK_EQ(stat.msg_qbytes, 100);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
    CHECK_ERR(msgctl(id, IPC_STAT, &stat), EINVAL);
}

TEST(copies) {
    int id = make();
    CHECK_OK(give(id, 5, "first", 0));
    CHECK_OK(give(id, 6, "second", 0));
    if (take(id, 100, 1, MSG_COPY | IPC_NOWAIT, NULL) == NULL && errno == ENOSYS)
        SKIP("this kernel does not copy messages");
    CHECK_TAKE(id, 1, MSG_COPY | IPC_NOWAIT, "second");
    CHECK(take(id, 100, 2, MSG_COPY | IPC_NOWAIT, NULL) == NULL && errno == ENOMSG);
    CHECK(take(id, 100, 0, MSG_COPY, NULL) == NULL && errno == EINVAL);
    CHECK_TAKE(id, 0, 0, "first");
    CHECK_TAKE(id, 0, 0, "second");
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(waiting) {
    int id = make();
    pid_t child = fork();
    if (child == 0) {
        CHECK_TAKE(id, 9, 0, "for nine");
        CHILD_EXIT();
    }
    wait_until_asleep(child);
    CHECK_OK(give(id, 8, "for eight", 0));
    CHECK_OK(give(id, 9, "for nine", 0));
    CHECK_CHILD_OK(child);
    struct text text = {.type = 1};
    CHECK_OK(msgsnd(id, &text, 8192, 0));
    child = fork();
    if (child == 0) {
        CHECK_OK(msgsnd(id, &text, 8192, 0)); /* until there is room */
        CHECK_TAKE(id, 77, 0, "later");
        CHILD_EXIT();
    }
    wait_until_asleep(child);
    CHECK_TAKE(id, 8, 0, "for eight");
    CHECK_OK(msgrcv(id, &text, 8192, 1, 0) == 8192 ? 0 : -1);
    CHECK_OK(give(id, 77, "later", 0));
    CHECK_CHILD_OK(child);
    child = fork();
    if (child == 0) {
        CHECK(take(id, 1, 55, 0, NULL) == NULL && errno == EIDRM);
        CHILD_EXIT();
    }
    wait_until_asleep(child);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
    CHECK_CHILD_OK(child);
}

static void nothing(int signal) {
    (void)signal;
}

/* signal(7): never restarted. */
TEST(interrupted) {
    int id = make();
    pid_t child = fork();
    if (child == 0) {
        struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
        sigaction(SIGUSR1, &action, NULL);
        CHECK_OK(give(id, 2, "ready", 0));
        CHECK(take(id, 1, 55, 0, NULL) == NULL && errno == EINTR);
        CHILD_EXIT();
    }
    CHECK_TAKE(id, 2, 0, "ready");
    wait_until_asleep(child);
    CHECK_OK(kill(child, SIGUSR1));
    CHECK_CHILD_OK(child);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST_MAIN()
