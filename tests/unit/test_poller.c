/* host/poller.c: watches and timers of the event thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/poller.h"

#define MS 1000000LL

struct seen {
    struct waiter *waiter;
    _Atomic int count;
    _Atomic uint32_t events;
};

static void seen_call(void *arg, uint32_t events) {
    struct seen *seen = arg;

    atomic_fetch_or(&seen->events, events);
    atomic_fetch_add(&seen->count, 1);
    waiter_wake(seen->waiter);
}

static bool seen_wait(struct seen *seen, int count) {
    int64_t deadline = host_clock_monotonic() + 5000 * MS;

    while (atomic_load(&seen->count) < count) {
        if (wait_sleep(deadline)) {
            return false;
        }
    }
    return true;
}

static void test_watch(void **state) {
    int fds[2];
    struct seen seen = {.waiter = waiter_current()};

    assert_int_equal(pipe(fds), 0);
    struct poller_watch watch = {
        .fd = fds[0], .fn = seen_call, .arg = &seen, .events = EPOLLIN | EPOLLONESHOT};
    assert_int_equal(poller_add(&watch), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_true(seen_wait(&seen, 1));
    assert_int_equal(seen.events, EPOLLIN);
    assert_int_equal(poller_modify(&watch, EPOLLIN | EPOLLONESHOT), 0);
    assert_true(seen_wait(&seen, 2));
    assert_int_equal(poller_modify(&watch, 0), 0);
    close(fds[1]);
    assert_true(seen_wait(&seen, 3));
    assert_true(seen.events & EPOLLHUP);
    poller_remove(&watch);
    poller_remove(&watch);
    int count = seen.count;
    assert_int_equal(wait_sleep(host_clock_monotonic() + 5 * MS) == 0 && seen.count != count, 0);
    close(fds[0]);
}

static void test_watch_of_bad_descriptor(void **state) {
    struct poller_watch watch = {.fd = -1, .fn = seen_call, .events = EPOLLIN};

    assert_int_equal(poller_add(&watch), -EBADF);
    poller_remove(&watch);
}

/* Level-triggered events pour in while the watch is removed and its memory goes. */
static void test_remove_is_final(void **state) {
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    for (int i = 0; i < 500; i++) {
        struct seen *seen = calloc(1, sizeof(*seen));
        struct poller_watch *watch = calloc(1, sizeof(*watch));

        assert_true(seen && watch);
        seen->waiter = waiter_current();
        *watch =
            (struct poller_watch){.fd = fds[0], .fn = seen_call, .arg = seen, .events = EPOLLIN};
        assert_int_equal(poller_add(watch), 0);
        if (i & 1) {
            assert_true(seen_wait(seen, 1));
        }
        poller_remove(watch);
        free(watch);
        free(seen);
    }
    close(fds[0]);
    close(fds[1]);
}

#define TIMERS 100
static struct poller_timer timers[TIMERS];
static int order[TIMERS];
static _Atomic int order_count;

static void order_call(void *arg, uint32_t events) {
    order[atomic_load(&order_count)] = (int)(intptr_t)arg;
    atomic_fetch_add(&order_count, 1);
}

static void test_timers_in_order(void **state) {
    int64_t now = host_clock_monotonic();
    struct seen seen = {.waiter = waiter_current()};
    struct poller_timer last = {.fn = seen_call, .arg = &seen};

    for (int i = 0; i < TIMERS; i++) {
        timers[i] = (struct poller_timer){.fn = order_call, .arg = (void *)(intptr_t)i};
        /* First all the wrong way round, then moved to their place. */
        assert_int_equal(poller_timer_set(&timers[i], now + 1000000 * MS - i), 0);
    }
    for (int i = 0; i < TIMERS; i++) {
        int n = (i * 37) % TIMERS;
        assert_int_equal(poller_timer_set(&timers[n], now + 50 * MS + n * 1000), 0);
    }
    for (int i = 0; i < TIMERS; i += 10) {
        poller_timer_cancel(&timers[i]);
    }
    assert_int_equal(poller_timer_set(&last, now + 60 * MS), 0);
    assert_true(seen_wait(&seen, 1));
    assert_true(host_clock_monotonic() >= now + 60 * MS);
    assert_int_equal(order_count, TIMERS - TIMERS / 10);
    for (int i = 1; i < order_count; i++) {
        assert_true(order[i - 1] < order[i]);
    }
    poller_timer_cancel(&last);
}

static struct poller_timer again;
static struct seen again_seen;

static void again_call(void *arg, uint32_t events) {
    assert_int_equal(poller_timer_set(&again, host_clock_monotonic() + 100000), 0);
    seen_call(&again_seen, 0);
}

static void test_timer_that_arms_itself(void **state) {
    again_seen.waiter = waiter_current();
    again.fn = again_call;
    assert_int_equal(poller_timer_set(&again, 0), 0);
    assert_true(seen_wait(&again_seen, 20));
    poller_timer_cancel(&again);
    int count = again_seen.count;
    assert_int_equal(again.heap_index, 0);
    struct seen other = {.waiter = waiter_current()};
    struct poller_timer fence = {.fn = seen_call, .arg = &other};
    assert_int_equal(poller_timer_set(&fence, host_clock_monotonic() + 2 * MS), 0);
    assert_true(seen_wait(&other, 1));
    assert_int_equal(again_seen.count, count);
    poller_timer_cancel(&fence);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_watch_of_bad_descriptor),
        cmocka_unit_test(test_remove_is_final),
        cmocka_unit_test(test_timers_in_order),
        cmocka_unit_test(test_timer_that_arms_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
