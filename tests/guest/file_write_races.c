/*
 * timeout: 120
 * run-args: --bind .:$TMPDIR
 *
 * Reads and writes of hot files in the moments in which a kernel that has handed them out must take
 * them back: several threads and processes at once, and signals at any instruction. Every byte is
 * counted: none may be lost, none written or read twice.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "guest_test.h"

#define RECORD 16

static const char *const places[] = {".", "/dev/shm"};
#define FOR_EACH_PLACE(place) for (size_t place = 0; place < 2; place++)

static char path[64];
static int shared_fd, own_fd;
static volatile int stop;

static int new_file(size_t place, const char *name, int flags) {
    int fd;

    snprintf(path, sizeof(path), "%s/races.%s.%d", places[place], name, (int)getpid());
    fd = open(path, flags | O_CREAT | O_TRUNC, 0644);
    REQUIRE_OK(fd);
    CHECK_OK(unlink(path));
    return fd;
}

static bool put_record(int fd, unsigned writer, unsigned number) {
    char record[RECORD + 1];

    snprintf(record, sizeof(record), "%06u %08u\n", writer, number);
    return write(fd, record, RECORD) == RECORD;
}

/* Every record of `writers`, each of which has written numbers from 0 to counts[] - 1 in order. */
static void check_records(int fd, unsigned writers, const unsigned *counts) {
    unsigned seen[8] = {0};
    char record[RECORD + 1] = "";
    struct stat stat;
    off_t at = 0;

    for (; pread(fd, record, RECORD, at) == RECORD; at += RECORD) {
        unsigned writer = 99, number = 0;

        CHECK_EQ(sscanf(record, "%u %u\n", &writer, &number), 2);
        REQUIRE(writer < writers);
        REQUIRE_EQ(number, seen[writer]);
        seen[writer]++;
    }
    for (unsigned i = 0; i < writers; i++) {
        CHECK_EQ(seen[i], counts[i]);
    }
    REQUIRE_OK(fstat(fd, &stat));
    CHECK_EQ(stat.st_size, at);
}

/* ---- revocation ---- */

struct worker {
    pthread_t thread;
    unsigned index, bad;
    _Atomic unsigned count;
};

/* Has each of them written amid what disturbs it? */
static bool all_have_written(struct worker *workers, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (workers[i].count < 50) {
            return false;
        }
    }
    return true;
}

/* Its own page: what it wrote last is there. */
static void *own_page(void *arg) {
    struct worker *worker = arg;
    off_t at = (off_t)worker->index * 4096;

    while (!stop) {
        unsigned put = ++worker->count, got = 0;

        worker->bad += pwrite(own_fd, &put, sizeof(put), at) != sizeof(put);
        worker->bad += pread(own_fd, &got, sizeof(got), at) != sizeof(got) || got != put;
    }
    return NULL;
}

/* Records one after another at the position that all share. */
static void *sequence(void *arg) {
    struct worker *worker = arg;

    while (!stop) {
        worker->bad += !put_record(shared_fd, worker->index, worker->count++);
    }
    return NULL;
}

/* What makes the kernel look itself, or change what has been handed out. */
static void disturb(int round) {
    char *volatile nowhere = (char *)16;
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000 + round}};
    char name[64];
    int notify;

    switch (round % 5) {
    case 0:
        notify = inotify_init1(IN_NONBLOCK);
        REQUIRE_OK(notify);
        snprintf(name, sizeof(name), "/proc/self/fd/%d", own_fd);
        CHECK_OK(inotify_add_watch(notify, name, IN_MODIFY));
        CHECK_OK(close(notify));
        break;
    case 1:
        CHECK_OK(futimens(own_fd, times));
        CHECK_OK(futimens(shared_fd, times));
        break;
    case 2:
        CHECK_ERR(write(shared_fd, nowhere, 8), EFAULT);
        CHECK_ERR(pread(own_fd, nowhere, 8, 0), EFAULT);
        break;
    case 3:
        CHECK_OK(fcntl(own_fd, F_SETFL, O_NOATIME));
        CHECK_OK(fcntl(own_fd, F_SETFL, 0));
        break;
    default:
        CHECK(lseek(shared_fd, 0, SEEK_CUR) % RECORD == 0);
        CHECK_EQ(sync_file_range(shared_fd, 0, 0, 0), 0);
    }
}

TEST(threads_at_revocation) {
    FOR_EACH_PLACE(place) {
        struct worker workers[6] = {0};
        unsigned counts[3];

        shared_fd = new_file(place, "shared", O_RDWR);
        own_fd = new_file(place, "own", O_RDWR);
        CHECK_EQ(pwrite(own_fd, "", 1, 0), 1); /* an end of file comes before a bad address */
        stop = 0;
        for (unsigned i = 0; i < 6; i++) {
            workers[i].index = i % 3;
            REQUIRE_EQ(
                pthread_create(&workers[i].thread, NULL, i < 3 ? own_page : sequence, &workers[i]),
                0);
        }
        for (int round = 0; round < 400 || !all_have_written(workers, 6); round++) {
            disturb(round);
        }
        stop = 1;
        for (unsigned i = 0; i < 6; i++) {
            REQUIRE_EQ(pthread_join(workers[i].thread, NULL), 0);
            CHECK_EQ(workers[i].bad, 0);
            if (i >= 3) {
                counts[i - 3] = workers[i].count;
            }
        }
        check_records(shared_fd, 3, counts);
        close(shared_fd);
        close(own_fd);
    }
}

/* The same with processes that share the position, one of which has a limit. */
TEST(processes_at_revocation) {
    enum { EACH = 1500 };

    FOR_EACH_PLACE(place) {
        unsigned counts[3] = {EACH, EACH, EACH};
        pid_t pids[3];

        shared_fd = new_file(place, "shared", O_RDWR);
        for (unsigned i = 0; i < 5; i++) {
            CHECK_EQ(pwrite(shared_fd, "", 1, 0), 1);
        }
        CHECK_OK(ftruncate(shared_fd, 0));
        for (unsigned p = 0; p < 3; p++) {
            pids[p] = fork();
            REQUIRE_OK(pids[p]);
            if (pids[p] == 0) {
                struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
                char *volatile nowhere = (char *)16;

                for (unsigned i = 0; i < EACH; i++) {
                    CHECK(put_record(shared_fd, p, i));
                    if (p == 0 && i % 50 == 0) {
                        CHECK_ERR(write(shared_fd, nowhere, 8), EFAULT);
                    }
                    if (p == 1 && i % 50 == 0) {
                        CHECK_OK(futimens(shared_fd, times));
                    }
                }
                CHILD_EXIT();
            }
        }
        for (unsigned p = 0; p < 3; p++) {
            CHECK_CHILD_OK(pids[p]);
        }
        check_records(shared_fd, 3, counts);
        close(shared_fd);
    }
}

/* ---- signals ---- */

static volatile unsigned handled, handler_reads;
static volatile bool reading;

/* Writes, or reads, a record of its own in the middle of whatever it has interrupted. */
static void on_alarm(int signo) {
    static unsigned seed = 1;
    struct itimerval next = {.it_value.tv_usec = 1 + (seed = seed * 1103515245 + 12345) % 400};
    int saved = errno;
    char record[RECORD];

    if (reading) {
        handler_reads += read(shared_fd, record, RECORD) == RECORD;
    } else {
        put_record(shared_fd, 1, handled++);
    }
    if (!stop) {
        setitimer(ITIMER_REAL, &next, NULL);
    }
    errno = saved;
}

TEST(signals_at_any_moment) {
    enum { RECORDS = 20000 };

    FOR_EACH_PLACE(place) {
        for (int restart = 0; restart < 2; restart++) {
            struct sigaction action = {.sa_handler = on_alarm,
                                       .sa_flags = restart ? SA_RESTART : 0};
            struct itimerval start = {.it_value.tv_usec = 100}, never = {0};
            unsigned own = 0, counts[2] = {RECORDS};
            char record[RECORD];
            ssize_t got;

            shared_fd = new_file(place, "shared", restart ? O_RDWR : O_RDWR | O_APPEND);
            handled = handler_reads = 0;
            reading = false;
            stop = 0;
            REQUIRE_OK(sigaction(SIGALRM, &action, NULL));
            REQUIRE_OK(setitimer(ITIMER_REAL, &start, NULL));
            for (unsigned i = 0; i < RECORDS; i++) {
                CHECK(put_record(shared_fd, 0, i));
            }
            stop = 1; /* before the last one may come */
            REQUIRE_OK(setitimer(ITIMER_REAL, &never, NULL));
            CHECK(handled > 0);
            counts[1] = handled;
            check_records(shared_fd, 2, counts);
            CHECK_EQ(lseek(shared_fd, 0, SEEK_SET), 0);
            reading = true;
            stop = 0;
            REQUIRE_OK(setitimer(ITIMER_REAL, &start, NULL));
            while ((got = read(shared_fd, record, RECORD)) == RECORD) {
                own++;
            }
            stop = 1;
            REQUIRE_OK(setitimer(ITIMER_REAL, &never, NULL));
            CHECK_EQ(got, 0);
            CHECK(handler_reads > 0);
            CHECK_EQ(own + handler_reads, counts[0] + counts[1]);
            close(shared_fd);
        }
    }
    signal(SIGALRM, SIG_DFL);
}

TEST_MAIN()
