/*
 * host/turn.c against the stub's own side of it (stub/hand_over.c, linked in here): two threads
 * hand a turn to and fro, each answering at once or late, so that every order of giving and falling
 * asleep comes up. A lost wake-up leaves both asleep: the runner's time limit ends that.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sched.h>

#include "host/host_internal.h"

/* stub_internal.h, whose other names are the C library's here. */
void hand_over(struct stub_thread *thread, uint32_t event);

#define ROUNDS 40000

struct pair {
    struct host_thread *thread;
    struct slot *slot;
    struct stub_thread stub;
    bool forge; /* the guest's side writes what it should not */
};

static void pair_make(struct pair *pair) {
    struct host_job *job = host_job_new_mock();
    struct host_process *process;

    assert_false(IS_ERR(job));
    process = host_process_new_mock(job);
    assert_false(IS_ERR(process));
    pair->thread = host_thread_new_mock(process);
    assert_false(IS_ERR(pair->thread));
    pair->slot = aligned_alloc(64, (sizeof(struct slot) + 63) / 64 * 64);
    assert_non_null(pair->slot);
    memset(pair->slot, 0, sizeof(*pair->slot));
    pair->slot->turn = SLOT_GUEST;
    pair->thread->slot = pair->slot;
    pair->stub.slot = pair->slot;
    host_process_put(process);
    host_job_put(job);
}

static void pair_free(struct pair *pair) {
    host_thread_put(pair->thread);
    free(pair->slot);
}

/* Nothing, some instructions, or the core given up: what comes between a giver and a sleeper. */
static void dawdle(unsigned *seed) {
    *seed = *seed * 1103515245 + 12345;
    switch (*seed >> 29) {
    case 0:
        sched_yield();
        break;
    case 1:
    case 2:
        for (volatile unsigned i = 0; i < (*seed >> 16) % 2000; i++) {
        }
        break;
    default:
        break;
    }
}

static void *stub_side(void *arg) {
    struct pair *pair = arg;
    unsigned seed = 1;

    for (uint32_t i = 1; i <= ROUNDS; i++) {
        dawdle(&seed);
        if (pair->forge) {
            __atomic_store_n(&pair->slot->stub_sleeps, seed >> 28, __ATOMIC_RELAXED);
            __atomic_store_n(&pair->slot->torn, seed >> 30, __ATOMIC_RELAXED);
        }
        hand_over(&pair->stub, i);
        if (pair->slot->command != i) {
            return pair; /* an order that is not for this event */
        }
    }
    return NULL;
}

/* The kernel's side; each event's number must come once, in order. */
static void serve_rounds(struct pair *pair) {
    pthread_t thread;
    void *wrong;
    unsigned seed = 7;

    assert_int_equal(pthread_create(&thread, NULL, stub_side, pair), 0);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        assert_int_equal(turn_await(pair->thread), 0);
        assert_int_equal(pair->slot->event, i);
        dawdle(&seed);
        pair->slot->command = i;
        assert_int_equal(turn_give(pair->thread), 0);
    }
    pthread_join(thread, &wrong);
    assert_null(wrong);
}

static void test_no_wakeup_is_lost(void **state) {
    struct pair pair = {0};

    pair_make(&pair);
    serve_rounds(&pair);
    pair_free(&pair);
}

static void test_guest_spins(void **state) {
    struct pair pair = {0};

    pair_make(&pair);
    pair.slot->spin = 20000; /* stays: a thread without a core of its own is given no other */
    serve_rounds(&pair);
    pair_free(&pair);
}

static void test_forged_flags_cost_nothing(void **state) {
    struct pair pair = {.forge = true};

    pair_make(&pair);
    serve_rounds(&pair);
    pair_free(&pair);
}

static void *die_late(void *arg) {
    unsigned seed = 3;

    for (int i = 0; i < 8; i++) {
        dawdle(&seed);
    }
    turn_mark_dead(((struct pair *)arg)->thread);
    return NULL;
}

static void test_death_ends_the_wait(void **state) {
    for (int i = 0; i < 300; i++) {
        struct pair pair = {0};
        pthread_t thread;

        pair_make(&pair);
        assert_int_equal(pthread_create(&thread, NULL, die_late, &pair), 0);
        assert_int_equal(turn_await(pair.thread), -ESRCH);
        pthread_join(thread, NULL);
        assert_int_equal(turn_give(pair.thread), -ESRCH);
        pair_free(&pair);
    }
}

static void *report_start(void *arg) {
    struct pair *pair = arg;
    unsigned seed = (unsigned)(uintptr_t)pair;

    dawdle(&seed);
    hand_over(&pair->stub, SLOT_EVENT_STARTED);
    return NULL;
}

static void test_first_event_wakes(void **state) {
    for (int i = 0; i < 300; i++) {
        struct pair pair = {0};
        pthread_t thread;

        pair_make(&pair);
        assert_int_equal(pthread_create(&thread, NULL, report_start, &pair), 0);
        turn_await_first(pair.thread);
        assert_int_equal(pair.slot->event, SLOT_EVENT_STARTED);
        assert_int_equal(turn_give(pair.thread), 0);
        pthread_join(thread, NULL);
        pair_free(&pair);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_wakeup_is_lost),
        cmocka_unit_test(test_guest_spins),
        cmocka_unit_test(test_forged_flags_cost_nothing),
        cmocka_unit_test(test_death_ends_the_wait),
        cmocka_unit_test(test_first_event_wakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
