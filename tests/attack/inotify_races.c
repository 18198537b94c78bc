/*
 * timeout: 120
 *
 * inotify against the kernel that keeps its queues: events that nobody reads, room that is too
 * little, and watches that are made, removed and closed while what they watch is renamed and
 * removed under the hands of other threads. The queue ends with one overflow, every event is whole,
 * and the kernel goes on serving.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "bystander.h"
#include "stub_probe.h"

#define QUEUE_MAX 16384 /* inotify(7): max_queued_events */

static const char name[] = "d/a name that fills more than one event";

static void set_up(void) {
    bystander_start();
    CHECK(mkdir("d", 0755) == 0 || errno == EEXIST);
}

/* How many events came; the last one's mask in *last. */
static long drain(int fd, uint32_t *last) {
    static char buffer[65536] __attribute__((aligned(8)));
    long count = 0;
    ssize_t size;

    while ((size = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0; at < size; count++) {
            const struct inotify_event *event = (const struct inotify_event *)(buffer + at);

            REQUIRE(size - at >= (ssize_t)sizeof *event);
            REQUIRE(event->len <= (size_t)(size - at) - sizeof *event);
            CHECK(event->len == 0 || memchr(event->name, 0, event->len));
            *last = event->mask;
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
    return count;
}

TEST(events_that_nobody_reads) {
    int fd = inotify_init1(IN_NONBLOCK), file;
    uint32_t last = 0;

    set_up();
    REQUIRE_OK(fd);
    REQUIRE_OK(inotify_add_watch(fd, "d", IN_OPEN | IN_CLOSE));
    for (int i = 0; i < QUEUE_MAX; i++) {
        file = open(name, O_CREAT | O_RDONLY, 0600);
        CHECK_OK(file);
        CHECK_OK(close(file));
    }
    CHECK_EQ(drain(fd, &last), QUEUE_MAX + 1);
    CHECK_EQ(last, IN_Q_OVERFLOW);
    CHECK_OK(unlink(name));
    CHECK_OK(close(fd));
    bystander_check();
    check_kernel_serves();
}

TEST(too_little_room) {
    int fd = inotify_init1(IN_NONBLOCK);
    char buffer[128] __attribute__((aligned(8)));
    int pending = 0;
    uint32_t last;

    set_up();
    REQUIRE_OK(fd);
    REQUIRE_OK(inotify_add_watch(fd, "d", IN_CREATE));
    CHECK_OK(close(open(name, O_CREAT | O_RDONLY, 0600)));
    CHECK_OK(ioctl(fd, FIONREAD, &pending));
    CHECK(pending > (int)sizeof(struct inotify_event) && pending < (int)sizeof buffer);
    memset(buffer, 0x55, sizeof buffer);
    for (int size = 0; size < pending; size++) {
        CHECK_ERR(read(fd, buffer, (size_t)size), EINVAL);
        for (size_t i = 0; i < sizeof buffer; i++) {
            CHECK_EQ(buffer[i], 0x55);
        }
    }
    CHECK_EQ(drain(fd, &last), 1);
    CHECK_OK(unlink(name));
    for (int mask = 0; mask < 32; mask++) {
        (void)inotify_add_watch(fd, "d", 1u << mask);
        (void)inotify_add_watch(fd, (char *)8, 1u << mask);
        (void)inotify_rm_watch(fd, 1 << mask);
        (void)inotify_rm_watch(fd, -mask);
        (void)inotify_rm_watch(0, mask);
    }
    CHECK_OK(close(fd));
    check_kernel_serves();
}

/* ---- races ---- */

#define INSTANCES 4
static int instances[INSTANCES];
static atomic_bool stop;
static _Atomic long watched, came;

static unsigned next(unsigned *seed) {
    return *seed = *seed * 1103515245u + 12345u, *seed >> 16;
}

static void *watch(void *arg) {
    static const char *const names[] = {"d", "d/a", "d/b", "d/e", "d/e/f", ".", "/tmp"};
    unsigned seed = (unsigned)(uintptr_t)arg;
    char buffer[512];

    while (!stop) {
        int fd = instances[next(&seed) % INSTANCES], made;

        switch (next(&seed) % 8) {
        case 0:
            made = inotify_init1(IN_NONBLOCK);
            dup2(made, fd); /* the old one ends, with all its watches */
            close(made);
            break;
        case 1:
            (void)inotify_rm_watch(fd, (int)(next(&seed) % 8));
            break;
        case 2:
        case 3:
            came += read(fd, buffer, sizeof buffer) > 0;
            break;
        default:
            watched += inotify_add_watch(fd, names[next(&seed) % 7],
                                         IN_ALL_EVENTS | (next(&seed) % 2 ? IN_ONESHOT : 0)) > 0;
        }
    }
    return NULL;
}

static void *change(void *arg) {
    while (!stop) {
        close(open("d/a", O_CREAT | O_RDWR, 0600));
        rename("d/a", "d/b");
        (void)link("d/b", "d/a");
        unlink("d/b");
        mkdir("d/e", 0700);
        mkdir("d/e/f", 0700);
        rename("d/e", "d/g");
        rmdir("d/g/f");
        rmdir("d/g");
        unlink("d/a");
    }
    return arg;
}

TEST(watches_come_and_go) {
    pthread_t threads[6];

    set_up();
    for (int i = 0; i < INSTANCES; i++) {
        instances[i] = inotify_init1(IN_NONBLOCK);
        REQUIRE_OK(instances[i]);
    }
    for (size_t i = 0; i < 6; i++) {
        REQUIRE_EQ(pthread_create(&threads[i], NULL, i % 2 ? watch : change, (void *)(i + 1)), 0);
    }
    for (int i = 0; i < 50; i++) {
        int status;
        pid_t child = fork(); /* holds all instances, and dies amid it */

        REQUIRE_OK(child);
        if (child == 0) {
            watch((void *)(uintptr_t)(i + 10));
        }
        bystander_check();
        CHECK_OK(kill(child, SIGKILL));
        CHECK_EQ(waitpid(child, &status, 0), child);
    }
    while (watched < 1000 || came < 100) {
        sched_yield();
    }
    stop = true;
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < INSTANCES; i++) {
        CHECK_OK(close(instances[i]));
    }
    bystander_check();
    check_kernel_serves();
}

TEST_MAIN()
