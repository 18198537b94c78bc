/* files/: pipes, eventfd, epoll, timerfd, poll, the line discipline; without a guest. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "files/files.h"
#include "files/line_discipline.h"

static int setup(void **state) {
    return files_start();
}

/* ---- pipes ---- */

static void test_pipe(void **state) {
    struct file *r, *w;
    char buffer[16];

    assert_int_equal(pipe_new(O_NONBLOCK, 0, 0, &r, &w), 0);
    assert_int_equal(file_read(r, buffer, 16), -EAGAIN);
    assert_int_equal(file_write(w, "hello", 5), 5);
    assert_int_equal(file_poll(r, NULL) & EPOLLIN, EPOLLIN);
    assert_int_equal(file_read(r, buffer, 16), 5);
    assert_int_equal(file_write(r, "x", 1), -EBADF);
    assert_true(pipe_same(r, w));
    assert_int_equal(pipe_set_size(w, 8192), 8192);
    assert_int_equal(pipe_set_size(w, 2u << 20), -EPERM);
    file_put(w);
    assert_int_equal(file_poll(r, NULL) & EPOLLHUP, EPOLLHUP);
    assert_int_equal(file_read(r, buffer, 16), 0);
    file_put(r);
    assert_int_equal(pipe_new(0, 0, 0, &r, &w), 0);
    file_put(r);
    assert_int_equal(file_poll(w, NULL) & EPOLLERR, EPOLLERR);
    assert_int_equal(file_write(w, "x", 1), -EPIPE);
    file_put(w);
}

#define STREAM_BYTES (1 << 20)
static void *pipe_writer(void *arg) {
    static char data[STREAM_BYTES];
    struct file *w = arg;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (char)(i * 7);
    }
    if (file_write(w, data, sizeof(data)) != (ssize_t)sizeof(data)) {
        abort();
    }
    file_put(w);
    return NULL;
}

static void test_pipe_between_threads(void **state) {
    struct file *r, *w;
    pthread_t thread;
    char buffer[3000];
    size_t total = 0;
    ssize_t n;

    assert_int_equal(pipe_new(0, 0, 0, &r, &w), 0);
    assert_int_equal(pthread_create(&thread, NULL, pipe_writer, w), 0);
    while ((n = file_read(r, buffer, sizeof(buffer))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buffer[i] != (char)((total + (size_t)i) * 7)) {
                fail();
            }
        }
        total += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(total, STREAM_BYTES);
    pthread_join(thread, NULL);
    file_put(r);
}

/* A wait that is interrupted gives back nothing but the restart code. */
static void test_interrupted_read(void **state) {
    struct file *r, *w;
    char c;

    assert_int_equal(pipe_new(0, 0, 0, &r, &w), 0);
    waiter_interrupt(waiter_current());
    assert_int_equal(file_read(r, &c, 1), -ERESTARTSYS);
    waiter_clear_interrupt(waiter_current());
    file_put(r);
    file_put(w);
}

/* ---- eventfd, timerfd ---- */

static void test_eventfd(void **state) {
    struct file *file;
    uint64_t v = 5;

    assert_int_equal(eventfd_new(1, EFD_NONBLOCK | EFD_SEMAPHORE, &file), 0);
    assert_int_equal(file_write(file, &v, 8), 8);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(file_read(file, &v, 8), 8);
        assert_int_equal(v, 1);
    }
    assert_int_equal(file_read(file, &v, 8), -EAGAIN);
    file_put(file);
}

static void test_timerfd(void **state) {
    struct itimerspec value = {.it_value = {0, 3000000}, .it_interval = {0, 1000000}}, now;
    struct file *file;
    uint64_t count;

    assert_int_equal(timerfd_new(CLOCK_MONOTONIC, 0, &file), 0);
    assert_int_equal(timerfd_set_time(file, 0, &value, NULL), 0);
    assert_int_equal(file_wait(file, EPOLLIN, WAIT_FOREVER), 0);
    assert_int_equal(file_read(file, &count, 8), 8);
    assert_true(count >= 1);
    assert_int_equal(file_read(file, &count, 8), 8);
    assert_int_equal(timerfd_get_time(file, &now), 0);
    assert_int_equal(now.it_interval.tv_nsec, 1000000);
    /* One nanosecond: counted, not run after. */
    value.it_interval.tv_nsec = value.it_value.tv_nsec = 1;
    assert_int_equal(timerfd_set_time(file, 0, &value, NULL), 0);
    int64_t until = host_clock_monotonic() + 2000000;

    while (wait_sleep(until) == 0) {
    }
    assert_int_equal(file_read(file, &count, 8), 8);
    assert_true(count > 1000);
    file_put(file);
}

/* ---- epoll ---- */

static int add(struct file *ep, struct file *file, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)fd};

    return epoll_control(ep, EPOLL_CTL_ADD, file, fd, &event);
}

static int now(struct file *ep, struct epoll_event *events) {
    return epoll_wait_events(ep, events, 16, 0);
}

static void test_epoll(void **state) {
    struct file *ep, *other, *e;
    struct epoll_event out[16];
    uint64_t one = 1;

    assert_int_equal(epoll_new(0, &ep), 0);
    assert_int_equal(epoll_new(0, &other), 0);
    assert_int_equal(eventfd_new(0, 0, &e), 0);
    assert_int_equal(add(ep, e, 1, EPOLLIN), 0);
    assert_int_equal(add(ep, e, 1, EPOLLIN), -EEXIST);
    assert_int_equal(add(ep, e, 2, EPOLLIN | EPOLLET), 0);
    assert_int_equal(add(ep, ep, 3, EPOLLIN), -EINVAL);
    assert_int_equal(add(other, ep, 3, EPOLLIN), 0);
    assert_int_equal(add(ep, other, 4, EPOLLIN), -ELOOP);
    assert_int_equal(now(ep, out), 0);
    assert_int_equal(now(other, out), 0);
    assert_int_equal(file_write(e, &one, 8), 8);
    assert_int_equal(now(other, out), 1);
    assert_int_equal(now(ep, out), 2);
    assert_int_equal(now(ep, out), 1); /* the edge was told */
    assert_int_equal(out[0].data.u32, 1);
    file_put(e); /* takes both items along */
    assert_int_equal(now(ep, out), 0);
    assert_int_equal(now(other, out), 0);
    file_put(ep);
    assert_int_equal(now(other, out), 0);
    file_put(other);
}

/* A chain may be so deep and no deeper; a wide lattice is refused before its paths explode. */
static void test_epoll_nesting(void **state) {
    struct file *chain[8], *wide[6][40];
    int deepest = 0, refused = 0;

    for (int i = 0; i < 8; i++) {
        assert_int_equal(epoll_new(0, &chain[i]), 0);
    }
    for (int i = 0; i < 7; i++) {
        int error = add(chain[i + 1], chain[i], 1, EPOLLIN);

        if (error) {
            assert_int_equal(error, -ELOOP);
            break;
        }
        deepest++;
    }
    assert_in_range(deepest, 3, 5);
    for (int i = 0; i < 8; i++) {
        file_put(chain[i]);
    }
    for (int level = 0; level < 4; level++) {
        for (int i = 0; i < 40; i++) {
            assert_int_equal(epoll_new(0, &wide[level][i]), 0);
        }
    }
    for (int level = 2; level >= 0; level--) {
        for (int i = 0; i < 40; i++) {
            for (int j = 0; j < 40; j++) {
                refused += add(wide[level + 1][j], wide[level][i], i, EPOLLIN) != 0;
            }
        }
    }
    assert_true(refused > 0);
    for (int level = 0; level < 4; level++) {
        for (int i = 0; i < 40; i++) {
            file_put(wide[level][i]);
        }
    }
}

/* Adding, removing, closing and waking at the same time as waiting. */
static struct {
    struct file *ep;
    _Atomic bool stop;
    _Atomic int seen;
} storm;

static void *storm_wait(void *arg) {
    struct epoll_event events[8];

    while (!atomic_load(&storm.stop)) {
        int n = epoll_wait_events(storm.ep, events, 8, host_clock_monotonic() + 1000000);

        if (n > 0) {
            atomic_fetch_add(&storm.seen, n);
        }
    }
    return NULL;
}

static void *storm_churn(void *arg) {
    int base = (int)(intptr_t)arg * 1000;
    uint64_t one = 1;

    for (int i = 0; i < 1500; i++) {
        struct file *e;

        if (eventfd_new(0, EFD_NONBLOCK, &e)) {
            abort();
        }
        if (add(storm.ep, e, base + i % 7, EPOLLIN | (i & 1 ? EPOLLET : 0))) {
            abort();
        }
        if (file_write(e, &one, 8) != 8) {
            abort();
        }
        if (i % 3 == 0 && epoll_control(storm.ep, EPOLL_CTL_DEL, e, base + i % 7, NULL)) {
            abort();
        }
        file_put(e);
    }
    return NULL;
}

static void test_epoll_storm(void **state) {
    pthread_t waiters[2], churners[3];

    assert_int_equal(epoll_new(0, &storm.ep), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&waiters[i], NULL, storm_wait, NULL), 0);
    }
    for (intptr_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&churners[i], NULL, storm_churn, (void *)i), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(churners[i], NULL);
    }
    atomic_store(&storm.stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(waiters[i], NULL);
    }
    file_put(storm.ep);
}

/* A file and the instance that watches it end at the same moment, each in its thread. */
static struct {
    pthread_barrier_t start, end;
    struct file *file;
} ending;

static void *end_file(void *arg) {
    for (int i = 0; i < 3000; i++) {
        pthread_barrier_wait(&ending.start);
        file_put(ending.file);
        pthread_barrier_wait(&ending.end);
    }
    return NULL;
}

static void test_epoll_and_file_end_together(void **state) {
    pthread_t ender;

    pthread_barrier_init(&ending.start, NULL, 2);
    pthread_barrier_init(&ending.end, NULL, 2);
    assert_int_equal(pthread_create(&ender, NULL, end_file, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        struct file *ep;

        assert_int_equal(epoll_new(0, &ep), 0);
        assert_int_equal(eventfd_new(0, EFD_NONBLOCK, &ending.file), 0);
        assert_int_equal(add(ep, ending.file, 7, EPOLLIN), 0);
        pthread_barrier_wait(&ending.start);
        file_put(ep);
        pthread_barrier_wait(&ending.end);
    }
    pthread_join(ender, NULL);
    pthread_barrier_destroy(&ending.start);
    pthread_barrier_destroy(&ending.end);
}

/* ---- poll ---- */

static void test_poll_files(void **state) {
    struct fd_table *files = fd_table_new();
    struct file *r, *w;
    struct pollfd fds[3];

    assert_int_equal(pipe_new(0, 0, 0, &r, &w), 0);
    assert_int_equal(fd_table_install(files, r, 0, 100, false), 0);
    assert_int_equal(fd_table_install(files, w, 0, 100, false), 1);
    fds[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = 1, .events = POLLOUT};
    fds[2] = (struct pollfd){.fd = 9, .events = POLLIN};
    assert_int_equal(poll_files(files, fds, 1, 0), 0);
    assert_int_equal(poll_files(files, fds, 1, host_clock_monotonic() + 1000000), 0);
    assert_int_equal(poll_files(files, fds, 3, WAIT_FOREVER), 2);
    assert_int_equal(fds[1].revents, POLLOUT);
    assert_int_equal(fds[2].revents, POLLNVAL);
    waiter_interrupt(waiter_current());
    assert_int_equal(poll_files(files, fds, 1, WAIT_FOREVER), -ERESTARTNOHAND);
    waiter_clear_interrupt(waiter_current());
    file_put(r);
    file_put(w);
    fd_table_put(files);
}

/* ---- the line discipline ---- */

static size_t type_keys(struct line_discipline *line, const char *keys) {
    int signal;
    size_t used = line_receive(line, (const uint8_t *)keys, strlen(keys), &signal);

    return used;
}

static void expect_line(struct line_discipline *line, const char *text) {
    uint8_t buffer[5000];
    size_t n = line_read(line, buffer, sizeof(buffer));

    assert_int_equal(n, strlen(text));
    assert_memory_equal(buffer, text, n);
}

static void test_line_editing(void **state) {
    struct line_discipline line;
    char much[6000];
    int signal;

    assert_int_equal(line_init(&line), 0);
    type_keys(&line, "hellp\177o\r");
    expect_line(&line, "hello\n");
    type_keys(&line, "\177\177nothing to erase\025ok\n");
    expect_line(&line, "ok\n");
    assert_false(line_readable(&line, 1));
    /* An over-long line is cut, but can be ended. */
    memset(much, 'a', sizeof(much));
    much[sizeof(much) - 1] = '\0';
    assert_int_equal(type_keys(&line, much), sizeof(much) - 1);
    type_keys(&line, "\n");
    uint8_t buffer[LINE_INPUT_SIZE];
    assert_int_equal(line_read(&line, buffer, sizeof(buffer)), 4096);
    assert_int_equal(buffer[4095], '\n');
    /* A signal's key ends the receive there. */
    assert_int_equal(line_receive(&line, (const uint8_t *)"ab\003cd", 5, &signal), 3);
    assert_int_equal(signal, SIGINT);
    assert_int_equal(line.count, 0);
    /* Every byte, in every mode, leaves a sound state. */
    uint32_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        uint8_t byte, out[64];

        seed = seed * 1103515245 + 12345;
        byte = (uint8_t)(seed >> 16);
        if (seed % 97 == 0) {
            struct kernel_termios termios = line.termios;

            termios.lflag ^= seed >> 8 & (ICANON | ECHO | ISIG | IEXTEN | ECHOE);
            termios.iflag ^= seed >> 4 & (ICRNL | IXON | IUTF8 | IMAXBEL);
            termios.oflag ^= seed >> 3 & (OPOST | ONLCR | XTABS);
            line_set_termios(&line, &termios);
        }
        (void)line_receive(&line, &byte, 1, &signal);
        (void)line_write(&line, &byte, 1);
        if (seed % 5 == 0) {
            (void)line_read(&line, out, seed % 64);
            (void)line_take_output(&line, out, sizeof(out));
        }
        assert_true(line.count <= LINE_INPUT_SIZE && line.lines <= line.count &&
                    line.editable <= line.count && line.output.count <= OUTPUT_SIZE);
    }
    line_fini(&line);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_pipe_between_threads),
        cmocka_unit_test(test_interrupted_read),
        cmocka_unit_test(test_eventfd),
        cmocka_unit_test(test_timerfd),
        cmocka_unit_test(test_epoll),
        cmocka_unit_test(test_epoll_nesting),
        cmocka_unit_test(test_epoll_and_file_end_together),
        cmocka_unit_test(test_epoll_storm),
        cmocka_unit_test(test_poll_files),
        cmocka_unit_test(test_line_editing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
