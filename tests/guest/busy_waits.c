/*
 * Many kinds of waits at once, each ended by what it waits for and with nothing lost or doubled:
 * sockets, epoll, record locks, System V semaphores and messages, queued signals with values, stops
 * and continues, connections, a barrier of many threads, sleeps that a signal cuts short. The
 * results do not depend on timing. tests/cli/rest.sh runs it while the sandbox is brought to rest
 * all the time (design 12); here it runs by itself.
 */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define MS 1000000ll

/* In a process of a job's own: it ends there. */
#define NEED(condition) GUEST_CHECK(condition, _exit(1), "%s (errno %d)", #condition, errno)

enum {
    BULK = 2 << 20,
    PACKETS = 1500,
    ECHOES = 1000,
    LOCKS = 300,
    TURNS = 500,
    MESSAGES = 1500,
    QUEUED = 400,
    STOPS = 60,
    CONNECTIONS = 200,
    THREADS = 24,
    BARRIERS = 40,
    CUTS = 12,
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static unsigned char pattern(size_t at) {
    return (unsigned char)(at * 11 >> 3);
}

static bool send_all(int fd, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)data + done, size - done, 0);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* A stream in pieces that fit nowhere: every byte once, in order. */
static uint64_t stream(void) {
    static unsigned char out[90001], in[7001];
    int fds[2];
    uint64_t sum = 0;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        for (size_t done = 0; done < BULK;) {
            size_t want = BULK - done < sizeof out ? BULK - done : sizeof out;
            for (size_t i = 0; i < want; i++)
                out[i] = pattern(done + i);
            if (!send_all(fds[1], out, want))
                _exit(1);
            done += want;
        }
        _exit(0);
    }
    close(fds[1]);
    for (ssize_t n; (n = recv(fds[0], in, sizeof in, MSG_WAITALL)) > 0;)
        for (ssize_t i = 0; i < n; i++, sum++)
            NEED(in[i] == pattern((size_t)sum));
    close(fds[0]);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(sum, BULK);
    return sum;
}

/* Packets keep their borders and their order; the answer to each is awaited now and then. */
static uint64_t packets(void) {
    int fds[2];
    uint64_t right = 0;
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds));
    pid_t pid = fork();
    if (pid == 0) {
        int data[100] = {0};
        close(fds[0]);
        for (int i = 0; i < PACKETS; i++) {
            data[0] = i;
            if (send(fds[1], data, sizeof(int) * (1 + (size_t)i % 100), 0) < 0)
                _exit(1);
            if (i % 7 == 0 && (recv(fds[1], data, sizeof data, 0) != 4 || data[0] != i))
                _exit(2);
        }
        _exit(0);
    }
    close(fds[1]);
    for (int i = 0; i < PACKETS; i++) {
        int data[100];
        ssize_t n = recv(fds[0], data, sizeof data, 0);
        right += n == (ssize_t)sizeof(int) * (1 + i % 100) && data[0] == i;
        if (i % 7 == 0)
            CHECK_EQ(send(fds[0], &i, 4, 0), 4);
    }
    close(fds[0]);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(right, PACKETS);
    return right;
}

/* Four children echo; an epoll set, edge-triggered, says who has. */
static uint64_t echoes(void) {
    int fds[4][2], epoll = epoll_create1(0);
    pid_t children[4];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 4; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = i};
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]));
        CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i][0], &event));
        children[i] = fork();
        if (children[i] == 0) {
            int value;
            for (uint32_t j = 0; j <= i; j++)
                close(fds[j][0]);
            while (recv(fds[i][1], &value, 4, 0) == 4) {
                value++;
                if (send(fds[i][1], &value, 4, MSG_NOSIGNAL) != 4)
                    _exit(1);
            }
            _exit(0);
        }
        close(fds[i][1]);
        int zero = 0;
        CHECK_EQ(send(fds[i][0], &zero, 4, 0), 4);
    }
    for (int live = 4; live > 0;) {
        struct epoll_event events[4];
        int n = epoll_wait(epoll, events, 4, -1), value;
        if (n < 0 && errno == EINTR)
            continue; /* signal(7): where the whole machine is frozen */
        NEED(n > 0);
        for (int i = 0; i < n; i++) {
            int fd = fds[events[i].data.u32][0];
            CHECK_EQ(recv(fd, &value, 4, MSG_DONTWAIT), 4);
            if (value == ECHOES / 4) {
                sum += (uint64_t)value;
                live--;
                close(fd);
            } else {
                CHECK_EQ(send(fd, &value, 4, 0), 4);
            }
        }
    }
    for (int i = 0; i < 4; i++)
        CHECK_CHILD_OK(children[i]);
    close(epoll);
    CHECK_EQ(sum, ECHOES);
    return sum;
}

/* What a lock guards: a number in a file, raised by three processes. */
static bool raise_locked(int fd, bool record) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 8};
    uint64_t value = 0;
    if ((record ? fcntl(fd, F_SETLKW, &lock) : flock(fd, LOCK_EX)) < 0 ||
        pread(fd, &value, 8, record ? 0 : 8) < 0)
        return false;
    value++;
    lock.l_type = F_UNLCK;
    return pwrite(fd, &value, 8, record ? 0 : 8) == 8 &&
           (record ? fcntl(fd, F_SETLK, &lock) : flock(fd, LOCK_UN)) == 0;
}

static uint64_t locks(void) {
    char name[] = "/tmp/busy_waits-XXXXXX";
    int fd = mkstemp(name);
    uint64_t values[2] = {0};
    pid_t children[3];
    NEED(fd >= 0);
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            int own = open(name, O_RDWR);
            for (int n = 0; n < LOCKS; n++)
                if (!raise_locked(own, true) || !raise_locked(own, false))
                    _exit(1);
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++)
        CHECK_CHILD_OK(children[i]);
    CHECK_EQ(pread(fd, values, sizeof values, 0), sizeof values);
    unlink(name);
    close(fd);
    CHECK_EQ(values[0], 3 * LOCKS);
    CHECK_EQ(values[1], 3 * LOCKS);
    return values[0] + values[1];
}

/* Two processes in turn, by two semaphores; then messages of two types, each in its order. */
static uint64_t system_v(void) {
    int sem = semget(IPC_PRIVATE, 2, 0600), queue = msgget(IPC_PRIVATE, 0600);
    struct {
        long type;
        int value;
    } message;
    uint64_t right = 0;
    NEED(sem >= 0 && queue >= 0);
    pid_t pid = fork();
    for (int n = 0; n < TURNS; n++) {
        struct sembuf mine = {pid ? 0 : 1, -1, 0}, other = {pid ? 1 : 0, 1, 0};
        if (pid == 0 && semop(sem, &mine, 1) < 0)
            _exit(1);
        if (semop(sem, &other, 1) < 0 && pid == 0)
            _exit(2);
        right += pid && semop(sem, &mine, 1) == 0;
    }
    if (pid == 0) {
        for (int i = 0; i < MESSAGES; i++) {
            message.type = 1 + i % 2;
            message.value = i;
            if (msgsnd(queue, &message, sizeof message.value, 0) < 0)
                _exit(3);
        }
        _exit(0);
    }
    for (int i = 0; i < MESSAGES; i++)
        right +=
            msgrcv(queue, &message, sizeof message.value, 1 + i % 2, 0) == 4 && message.value == i;
    CHECK_CHILD_OK(pid);
    CHECK_EQ(semctl(sem, 0, GETVAL) + semctl(sem, 1, GETVAL), 0);
    CHECK_OK(semctl(sem, 0, IPC_RMID));
    CHECK_OK(msgctl(queue, IPC_RMID, NULL));
    CHECK_EQ(right, TURNS + MESSAGES);
    return right;
}

/* Signals that are awaited, with what they carry: each once and in order. */
static uint64_t queued(void) {
    sigset_t set, old;
    uint64_t right = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        for (int i = 0; i < QUEUED; i++)
            while (sigqueue(self, SIGRTMIN + 1, (union sigval){.sival_int = i}) < 0)
                if (errno != EAGAIN)
                    _exit(1);
        _exit(0);
    }
    for (int i = 0; i < QUEUED; i++) {
        siginfo_t info;
        int signal;
        while ((signal = sigwaitinfo(&set, &info)) < 0 && errno == EINTR)
            ;
        right += signal == SIGRTMIN + 1 && info.si_value.sival_int == i;
    }
    CHECK_CHILD_OK(pid);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    CHECK_EQ(right, QUEUED);
    return right;
}

/* A new stop takes the news of a continue away, so the child waits until it was told. */
static uint64_t stops(void) {
    uint64_t right = 0;
    int status, fds[2];
    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < STOPS; i++) {
            char byte;
            raise(SIGSTOP);
            if (read(fds[0], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    for (int i = 0; i < STOPS; i++) {
        right += waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
        CHECK_OK(kill(pid, SIGCONT));
        right += waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status);
        CHECK_EQ(write(fds[1], "", 1), 1);
    }
    CHECK_CHILD_OK(pid);
    close(fds[0]);
    close(fds[1]);
    CHECK_EQ(right, 2 * STOPS);
    return right;
}

static uint64_t connections(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t); /* the kernel gives it a name */
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    uint64_t sum = 0;
    CHECK_OK(bind(server, (struct sockaddr *)&address, size));
    size = sizeof address;
    CHECK_OK(getsockname(server, (struct sockaddr *)&address, &size));
    CHECK_OK(listen(server, 1));
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0, answer; i < CONNECTIONS; i++) {
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&address, size) < 0 || write(fd, &i, 4) != 4 ||
                (i % 3 == 0 && (read(fd, &answer, 4) != 4 || answer != i)))
                _exit(1);
            close(fd);
        }
        _exit(0);
    }
    for (int i = 0, value; i < CONNECTIONS; i++) {
        int fd = accept(server, NULL, NULL);
        NEED(fd >= 0 && read(fd, &value, 4) == 4);
        if (value % 3 == 0)
            CHECK_EQ(write(fd, &value, 4), 4);
        sum += (uint64_t)value;
        close(fd);
    }
    close(server);
    CHECK_CHILD_OK(pid);
    CHECK_EQ(sum, CONNECTIONS * (CONNECTIONS - 1) / 2);
    return sum;
}

static pthread_barrier_t barrier;
static uint64_t serial;

static void *barrier_member(void *arg) {
    for (int i = 0; i < BARRIERS; i++)
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
            __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED);
    return arg;
}

static uint64_t barriers(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, barrier_member, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(serial, BARRIERS);
    return serial;
}

static volatile int64_t handled_at;
static void note_time(int signal) {
    (void)signal;
    handled_at = now_ns();
}

/*
 * A sleep of 200 ms that a timer ends after 100: what remains is what was not slept. At least what
 * is left when the handler runs; and, unless the machine kept the process from sleeping at once
 * every time, far less than the whole.
 */
static uint64_t cuts(void) {
    struct sigaction action = {.sa_handler = note_time};
    const int64_t whole = 200 * MS, cut = 100 * MS;
    uint64_t right = 0;
    int64_t least = whole;
    timer_t timer;
    sigaction(SIGALRM, &action, NULL);
    CHECK_OK(timer_create(CLOCK_MONOTONIC, NULL, &timer));
    for (int i = 0; i < CUTS; i++) {
        struct timespec left = {0}, sleep = {.tv_nsec = whole};
        struct itimerspec spec = {0};
        int64_t start = now_ns(), rest;
        spec.it_value.tv_sec = (start + cut) / 1000000000;
        spec.it_value.tv_nsec = (start + cut) % 1000000000;
        handled_at = 0;
        timer_settime(timer, TIMER_ABSTIME, &spec, NULL);
        int result = i % 2 ? clock_nanosleep(CLOCK_MONOTONIC, 0, &sleep, &left)
                     : nanosleep(&sleep, &left) == 0 ? 0
                                                     : errno;
        rest = left.tv_sec * 1000000000ll + left.tv_nsec;
        /* 0: the signal came before the sleep began. */
        GUEST_CHECK((result == 0 && handled_at && now_ns() - start >= whole) ||
                        (result == EINTR && rest >= start + whole - handled_at && rest <= whole),
                    , "result %d, %lld ns remain of %lld, %lld after the start", result,
                    (long long)rest, (long long)whole, (long long)(handled_at - start));
        right++;
        if (result == EINTR && rest < least)
            least = rest;
    }
    timer_delete(timer);
    GUEST_CHECK(least < whole - cut / 2, , "%lld ns remain of %lld at the least", (long long)least,
                (long long)whole);
    return right;
}

/* Each in a process of its own, so that its signals and children are its own. */
TEST(busy_waits) {
    static const struct {
        const char *name;
        uint64_t (*run)(void);
    } jobs[] = {{"stream", stream}, {"packets", packets},         {"echoes", echoes},
                {"locks", locks},   {"system v", system_v},       {"queued", queued},
                {"stops", stops},   {"connections", connections}, {"barriers", barriers},
                {"cuts", cuts}};
    enum { JOBS = sizeof jobs / sizeof jobs[0] };
    int results[2];
    pid_t children[JOBS];
    REQUIRE_OK(pipe(results));
    for (int i = 0; i < JOBS; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            uint64_t result[2] = {(uint64_t)i, jobs[i].run()};
            CHECK_EQ(write(results[1], result, sizeof result), sizeof result);
            CHILD_EXIT();
        }
    }
    close(results[1]);
    uint64_t sums[JOBS] = {0}, result[2];
    while (read(results[0], result, sizeof result) == sizeof result)
        sums[result[0]] = result[1];
    for (int i = 0; i < JOBS; i++) {
        GUEST_CHILD_OK(children[i], printf("failed: %s\n", jobs[i].name));
        printf("%s: %" PRIu64 "\n", jobs[i].name, sums[i]);
    }
}

TEST_MAIN()
