/* host/wait.c: no lost wake, sticky interruption, deadlines, queues under many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/wait.h"
#include "uapi/uapi.h"

#define MS 1000000LL

static void test_wake_before_sleep_is_kept(void **state) {
    waiter_wake(waiter_current());
    waiter_wake(waiter_current());
    assert_int_equal(wait_sleep(WAIT_FOREVER), 0);
    assert_int_equal(wait_sleep(0), -ETIMEDOUT);
}

static void test_deadline(void **state) {
    int64_t start = host_clock_monotonic();

    assert_int_equal(wait_sleep(start + 20 * MS), -ETIMEDOUT);
    assert_true(host_clock_monotonic() - start >= 20 * MS);
    assert_int_equal(wait_sleep(start), -ETIMEDOUT);
    assert_int_equal(wait_sleep_uninterruptible(host_clock_monotonic() + MS), -ETIMEDOUT);
}

static void test_interruption_is_sticky(void **state) {
    struct waiter *waiter = waiter_current();

    waiter_interrupt(waiter);
    waiter_wake(waiter);
    assert_true(waiter_interrupted(waiter));
    assert_int_equal(wait_sleep(WAIT_FOREVER), -ERESTARTSYS);
    assert_int_equal(wait_sleep(WAIT_FOREVER), -ERESTARTSYS);
    assert_int_equal(wait_sleep_uninterruptible(WAIT_FOREVER), 0); /* the wake was not eaten */
    assert_int_equal(wait_sleep_uninterruptible(0), -ETIMEDOUT);
    waiter_clear_interrupt(waiter);
    assert_false(waiter_interrupted(waiter));
    assert_int_equal(wait_sleep(0), -ETIMEDOUT);
}

static void *interrupt_other(void *arg) {
    waiter_interrupt(arg);
    return NULL;
}

static void test_interrupted_while_asleep(void **state) {
    for (int i = 0; i < 200; i++) {
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, interrupt_other, waiter_current()), 0);
        assert_int_equal(wait_sleep(WAIT_FOREVER), -ERESTARTSYS);
        pthread_join(thread, NULL);
        waiter_clear_interrupt(waiter_current());
    }
}

/* Two threads hand a turn to and fro: one lost wake and the test hangs. */
#define ROUNDS 20000
static struct {
    struct wait_queue queue;
    _Atomic int turn;
} pong;

static void pong_play(int me) {
    struct wait_entry entry = WAIT_ENTRY_INIT;

    wait_queue_add(&pong.queue, &entry);
    for (int i = 0; i < ROUNDS; i++) {
        while (atomic_load(&pong.turn) != me) {
            if (wait_sleep(WAIT_FOREVER)) {
                abort();
            }
        }
        atomic_store(&pong.turn, !me);
        wait_queue_wake(&pong.queue, 0);
    }
    wait_queue_remove(&entry);
}

static void *pong_thread(void *arg) {
    pong_play(1);
    return NULL;
}

static void test_no_wake_is_lost(void **state) {
    pthread_t thread;

    wait_queue_init(&pong.queue);
    assert_int_equal(pthread_create(&thread, NULL, pong_thread, NULL), 0);
    pong_play(0);
    pthread_join(thread, NULL);
    wait_queue_destroy(&pong.queue);
}

/* Many threads add, look, sleep and remove on one queue while others wake it. */
#define WAITERS 8
static struct {
    struct wait_queue queue;
    struct lock lock;
    int tokens; /* guarded by lock */
    _Atomic int taken;
} crowd;
#define TOKENS 4000

static void *crowd_take(void *arg) {
    int mine = 0;

    while (mine < TOKENS / WAITERS) {
        struct wait_entry entry = WAIT_ENTRY_INIT;

        entry.exclusive = (mine & 1) != 0;
        wait_queue_add(&crowd.queue, &entry);
        for (;;) {
            lock_acquire(&crowd.lock);
            bool got = crowd.tokens > 0;
            crowd.tokens -= got;
            lock_release(&crowd.lock);
            if (got) {
                mine++;
                break;
            }
            if (wait_sleep(WAIT_FOREVER)) {
                abort();
            }
        }
        wait_queue_remove(&entry);
    }
    atomic_fetch_add(&crowd.taken, mine);
    return NULL;
}

static void *crowd_give(void *arg) {
    for (int i = 0; i < TOKENS / 2; i++) {
        lock_acquire(&crowd.lock);
        crowd.tokens++;
        lock_release(&crowd.lock);
        wait_queue_wake(&crowd.queue, 0);
    }
    return NULL;
}

static void test_crowd(void **state) {
    pthread_t threads[WAITERS + 2];

    wait_queue_init(&crowd.queue);
    lock_init(&crowd.lock, LOCK_DEVICE);
    for (int i = 0; i < WAITERS + 2; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < WAITERS ? crowd_take : crowd_give, NULL), 0);
    }
    for (int i = 0; i < WAITERS + 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(crowd.taken, TOKENS);
    assert_int_equal(crowd.tokens, 0);
    wait_queue_destroy(&crowd.queue);
    lock_destroy(&crowd.lock);
}

/* After wait_queue_remove() no callback of the entry runs: its memory is reused at once. */
struct counted {
    struct wait_entry entry;
    int *count;
};

static void counted_wake(struct wait_entry *entry, uint32_t events) {
    (*container_of(entry, struct counted, entry)->count)++;
}

static struct wait_queue removal_queue;
static _Atomic bool removal_done;

static void *removal_waker(void *arg) {
    while (!atomic_load(&removal_done)) {
        wait_queue_wake(&removal_queue, 1);
    }
    return NULL;
}

static void test_remove_waits_for_callbacks(void **state) {
    pthread_t thread;

    wait_queue_init(&removal_queue);
    assert_int_equal(pthread_create(&thread, NULL, removal_waker, NULL), 0);
    for (int i = 0; i < 20000; i++) {
        int count = 0;
        struct counted *counted = calloc(1, sizeof(*counted));

        assert_non_null(counted);
        counted->entry.wake = counted_wake;
        counted->count = &count;
        wait_queue_add(&removal_queue, &counted->entry);
        wait_queue_remove(&counted->entry);
        wait_queue_remove(&counted->entry); /* harmless */
        free(counted);
    }
    atomic_store(&removal_done, true);
    pthread_join(thread, NULL);
    wait_queue_destroy(&removal_queue);
}

static void test_masks_and_exclusive(void **state) {
    struct wait_queue queue;
    struct counted c[4];
    int counts[4] = {0};

    wait_queue_init(&queue);
    for (int i = 0; i < 4; i++) {
        c[i] = (struct counted){.entry = {.wake = counted_wake}, .count = &counts[i]};
    }
    c[0].entry.events = 1;
    c[1].entry.events = 4;
    c[2].entry.exclusive = c[3].entry.exclusive = true;
    for (int i = 0; i < 4; i++) {
        wait_queue_add(&queue, &c[i].entry);
    }
    wait_queue_wake_one(&queue, 1); /* the interested one and one of the exclusive */
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2] + counts[3], 1);
    wait_queue_wake_one(&queue, 4); /* now the other exclusive one */
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 1);
    assert_int_equal(counts[3], 1);
    wait_queue_wake(&queue, 0);
    assert_int_equal(counts[0] + counts[1] + counts[2] + counts[3], 8);
    wait_queue_destroy(&queue);
    for (int i = 0; i < 4; i++) {
        assert_null(c[i].entry.queue);
        wait_queue_remove(&c[i].entry);
    }
}

static void test_poll_waits(void **state) {
    struct wait_queue queues[100];
    struct poll_waits waits;

    (void)!wait_sleep(0); /* a wake left over from an earlier test */
    for (int n = 0; n <= 100; n += 5) {
        poll_waits_init(&waits, 1);
        for (int i = 0; i < 100; i++) {
            wait_queue_init(&queues[i]);
        }
        for (int i = 0; i < n; i++) {
            poll_table_add(&waits.table, &queues[i]);
        }
        assert_int_equal(waits.table.error, 0);
        for (int i = 0; i < 100; i++) {
            wait_queue_wake(&queues[i], 2); /* not of interest */
            assert_int_equal(wait_sleep(0), -ETIMEDOUT);
            wait_queue_wake(&queues[i], 1);
            assert_int_equal(wait_sleep(0), i < n ? 0 : -ETIMEDOUT);
        }
        poll_waits_finish(&waits);
        for (int i = 0; i < 100; i++) {
            assert_true(list_empty(&queues[i].entries));
            wait_queue_destroy(&queues[i]);
        }
    }
    poll_table_add(NULL, &queues[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wake_before_sleep_is_kept),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_interruption_is_sticky),
        cmocka_unit_test(test_interrupted_while_asleep),
        cmocka_unit_test(test_no_wake_is_lost),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_remove_waits_for_callbacks),
        cmocka_unit_test(test_masks_and_exclusive),
        cmocka_unit_test(test_poll_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
