/*
 * Signals, job control, timers and rest on mock tasks: who gets what, what is dropped, what
 * restarts. No guest; each kernel thread here plays the task loop of run.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

#include "task/signal_internal.h"

static struct host_job *job;
static struct kernel *kernel;
static struct fs_context *fs;

static int setup(void **state) {
    job = host_job_new_mock();
    assert_false(IS_ERR(job));
    kernel = kernel_new(job, "test-kernel");
    assert_false(IS_ERR(kernel));
    fs = fs_context_new_test();
    assert_non_null(fs);
    return 0;
}

static int teardown(void **state) {
    assert_int_equal(atomic_load(&kernel->task_count), 0);
    fs_context_put(fs);
    kernel_put(kernel);
    host_job_put(job);
    return 0;
}

static void set_handler(struct task *task, int signal, uint64_t handler, uint64_t flags) {
    struct user_sigaction action = {.handler = handler, .flags = flags};

    assert_int_equal(signal_set_action(task->thread_group, signal, &action, NULL), 0);
}

static int send_group(struct task *task, int signal) {
    struct signal_info info;

    signal_info_user(&info, signal, SI_USER, task);
    return signal_send_group(task->thread_group, &info);
}

static int send_queued(struct task *task, int signal, int value) {
    struct signal_info info;

    signal_info_user(&info, signal, SI_QUEUE, task);
    info.info.si_value.sival_int = value;
    return signal_send_task(task, &info);
}

#define HANDLER 0x1000

static void test_coalesce_and_queue(void **state) {
    struct task_owner owner;
    struct signal_info info;
    struct user_sigaction action;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    set_handler(task, SIGUSR1, HANDLER, 0);
    set_handler(task, 40, HANDLER, 0);
    signal_set_mask(task, ~0ULL);
    assert_int_equal(send_group(task, SIGUSR1), 0);
    assert_int_equal(send_group(task, SIGUSR1), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_queued(task, 40, i), 0);
    }
    assert_int_equal(signal_queued(task->thread_group), 4);
    assert_false(signal_pending(task));
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_NOTHING);
    signal_set_mask(task, 0);
    assert_true(atomic_load(&task->work));
    /* The thread's own before the group's; then in number order. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(signal_next(task, &info, &action), SIGNAL_HANDLER);
        assert_int_equal(info.signal, 40);
        assert_int_equal(info.info.si_value.sival_int, i);
    }
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_HANDLER);
    assert_int_equal(info.signal, SIGUSR1);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_NOTHING);
    assert_int_equal(signal_queued(task->thread_group), 0);
    task_owner_release(&owner);
}

static void test_synchronous_first(void **state) {
    struct task_owner owner;
    struct signal_info info;
    struct user_sigaction action;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    set_handler(task, SIGSEGV, HANDLER, 0);
    set_handler(task, SIGHUP, HANDLER, 0);
    assert_int_equal(send_queued(task, SIGHUP, 0), 0);
    signal_info_fault(&info, SIGSEGV, SEGV_MAPERR, 0x1234);
    signal_force(task, &info);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_HANDLER);
    assert_int_equal(info.signal, SIGSEGV);
    assert_int_equal(info.code, SEGV_MAPERR);
    assert_int_equal((uintptr_t)info.info.si_addr, 0x1234);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_HANDLER);
    assert_int_equal(info.signal, SIGHUP);
    task_owner_release(&owner);
}

static void test_forced_signal_kills_when_blocked(void **state) {
    struct task_owner owner;
    struct signal_info info;
    struct user_sigaction action;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    set_handler(task, SIGSEGV, HANDLER, 0);
    signal_set_mask(task, SIGNAL_BIT(SIGSEGV));
    signal_info_fault(&info, SIGSEGV, SEGV_ACCERR, 0);
    signal_force(task, &info);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_EXIT);
    assert_true(task->thread_group->exiting);
    assert_int_equal(task->thread_group->exit_status, SIGSEGV);
    task_owner_release(&owner);
}

static void test_ignored_is_dropped_unless_blocked(void **state) {
    struct task_owner owner;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    assert_int_equal(send_group(task, SIGCHLD), 0);
    assert_int_equal(signal_pending_set(task), 0);
    signal_set_mask(task, SIGNAL_BIT(SIGCHLD) | SIGNAL_BIT(SIGUSR1));
    assert_int_equal(send_group(task, SIGCHLD), 0);
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGCHLD));
    assert_int_equal(send_group(task, SIGUSR1), 0);
    set_handler(task, SIGUSR1, HANDLER_IGNORE, 0);
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGCHLD));
    task_owner_release(&owner);
}

static void test_limit(void **state) {
    struct rlimit64 limit = {3, 3};
    struct task_owner owner;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    assert_int_equal(
        rlimits_change(&task->thread_group->rlimits, RLIMIT_SIGPENDING, &limit, NULL, true), 0);
    signal_set_mask(task, ~0ULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(send_queued(task, 50, i), 0);
    }
    assert_int_equal(send_queued(task, 50, 3), -EAGAIN);
    assert_int_equal(send_group(task, 51), 0); /* kill(2) cannot fail: its info is lost */
    assert_int_equal(send_group(task, SIGTERM), 0);
    assert_true(signal_pending_set(task) & SIGNAL_BIT(51));
    assert_int_equal(signal_queued(task->thread_group), 3);
    task_owner_release(&owner);
}

static void test_fatal_kills_every_thread(void **state) {
    struct task_owner leader, second;
    struct signal_info info;
    struct user_sigaction action;

    assert_int_equal(task_new_mock(kernel, fs, &leader), 0);
    assert_int_equal(task_new_mock_thread(leader.task, &second), 0);
    signal_set_mask(leader.task, ~0ULL);
    assert_int_equal(send_group(leader.task, SIGTERM), 0); /* the second takes it */
    assert_int_equal(signal_next(leader.task, &info, &action), SIGNAL_EXIT);
    assert_int_equal(signal_next(second.task, &info, &action), SIGNAL_EXIT);
    assert_int_equal(leader.task->thread_group->exit_status, SIGTERM);
    assert_int_equal(send_group(leader.task, SIGKILL), 0);
    assert_int_equal(leader.task->thread_group->exit_status, SIGTERM); /* the first decision */
    task_owner_release(&second);
    task_owner_release(&leader);
}

static void test_group_signal_finds_a_taker(void **state) {
    struct task_owner leader, second;
    struct signal_info info;
    struct user_sigaction action;

    assert_int_equal(task_new_mock(kernel, fs, &leader), 0);
    assert_int_equal(task_new_mock_thread(leader.task, &second), 0);
    set_handler(leader.task, SIGUSR1, HANDLER, 0);
    signal_set_mask(leader.task, SIGNAL_BIT(SIGUSR1));
    atomic_store(&leader.task->work, false);
    atomic_store(&second.task->work, false);
    assert_int_equal(send_group(leader.task, SIGUSR1), 0);
    assert_false(atomic_load(&leader.task->work));
    assert_true(atomic_load(&second.task->work));
    /* The chosen one blocks it before it looks: the other is told. */
    signal_set_mask(leader.task, 0);
    atomic_store(&leader.task->work, false);
    signal_set_mask(second.task, SIGNAL_BIT(SIGUSR1));
    assert_true(atomic_load(&leader.task->work));
    assert_int_equal(signal_next(second.task, &info, &action), SIGNAL_NOTHING);
    assert_int_equal(signal_next(leader.task, &info, &action), SIGNAL_HANDLER);
    task_owner_release(&second);
    task_owner_release(&leader);
}

static void test_stop_and_continue_cancel(void **state) {
    struct task_owner owner;
    struct signal_info info;
    struct user_sigaction action;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    signal_set_mask(task, ~0ULL);
    assert_int_equal(send_group(task, SIGTSTP), 0);
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGTSTP));
    assert_int_equal(send_group(task, SIGCONT), 0);
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGCONT));
    assert_int_equal(send_group(task, SIGTTIN), 0);
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGTTIN));
    signal_set_mask(task, 0);
    assert_int_equal(send_group(task, SIGCONT), 0);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_NOTHING);
    assert_int_equal(task->thread_group->stop_state, GROUP_RUNNING);

    assert_int_equal(send_group(task, SIGSTOP), 0);
    assert_int_equal(signal_next(task, &info, &action), SIGNAL_STOP);
    assert_int_equal(task->thread_group->stop_state, GROUP_STOPPING);
    /* A stop that a SIGCONT overtook between taking and beginning does not happen. */
    assert_int_equal(send_group(task, SIGCONT), 0);
    signal_stop_begin(task, SIGSTOP, task->thread_group->pending->continues - 1);
    assert_int_equal(task->thread_group->stop_state, GROUP_RUNNING);
    task_owner_release(&owner);
}

static void test_temporary_mask(void **state) {
    struct task_owner owner;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    signal_set_mask(task, SIGNAL_BIT(SIGUSR1));
    signal_set_temporary_mask(task, SIGNAL_BIT(SIGUSR2));
    signal_set_temporary_mask(task, SIGNAL_BIT(SIGTERM)); /* the call again, after rest */
    assert_true(task->restore_mask);
    assert_int_equal(task->saved_mask, SIGNAL_BIT(SIGUSR1));
    assert_int_equal(signal_get_mask(task), SIGNAL_BIT(SIGTERM));
    task_owner_release(&owner);
}

/* ---- the task loop ---- */

enum { CALL_END = 1, CALL_SLEEP, CALL_PING, CALL_SUSPEND, CALL_BUSY };

struct player {
    struct task_owner owner;
    pthread_t thread;
    struct wait_queue queue; /* woken when `turn` comes */
    _Atomic int turn;
    struct player *peer;
    int call;
    int rounds;
    int interrupted; /* results that a guest would have seen as EINTR */
    int late;        /* sleeps that did not keep their deadline */
};
static _Atomic int in_call;
static _Atomic bool finish;
static _Thread_local struct player *self;

static int64_t play_sleep(struct task *current) {
    const int64_t span = 2000000;
    deadline_ns deadline = task_call_deadline(current, span);
    int result;

    do {
        result = wait_sleep(deadline);
    } while (result == 0);
    return result == -ETIMEDOUT ? 0 : -ERESTART_RESTARTBLOCK;
}

static int64_t play_ping(struct task *current) {
    struct wait_entry entry = WAIT_ENTRY_INIT;
    int result = 0;

    wait_queue_add(&self->queue, &entry);
    while (!atomic_load(&self->turn) && !atomic_load(&finish) && result == 0) {
        result = wait_sleep(WAIT_FOREVER);
    }
    wait_queue_remove(&entry);
    if (atomic_load(&finish)) {
        return 0;
    }
    if (!atomic_load(&self->turn)) {
        return -ERESTARTSYS;
    }
    atomic_store(&self->turn, 0);
    atomic_store(&self->peer->turn, 1);
    wait_queue_wake(&self->peer->queue, 0);
    return 0;
}

static int64_t play_dispatch(struct task *current, long number, const uint64_t args[6]) {
    int64_t result = -ENOSYS;

    atomic_fetch_add(&in_call, 1);
    switch (number) {
    case CALL_END:
        task_exit(current, 0);
        result = 0;
        break;
    case CALL_SLEEP:
        result = play_sleep(current);
        break;
    case CALL_PING:
        result = play_ping(current);
        break;
    case CALL_SUSPEND:
        signal_set_temporary_mask(current, args[0]);
        do {
            result = wait_sleep(WAIT_FOREVER);
        } while (result == 0);
        result = -ERESTARTNOHAND;
        break;
    case CALL_BUSY:
        result = 0;
        break;
    }
    atomic_fetch_sub(&in_call, 1);
    return result;
}

static void player_begin(struct player *player) {
    struct task *task = player->owner.task;

    self = player;
    current_task_set(task);
    lock_acquire(&task->lock);
    task->waiter = waiter_current();
    lock_release(&task->lock);
}

static void player_end(struct player *player) {
    struct task *task = player->owner.task;

    waiter_clear_interrupt(waiter_current());
    lock_acquire(&task->lock);
    task->waiter = NULL;
    lock_release(&task->lock);
    current_task_set(NULL);
    task_owner_release(&player->owner);
    rest_task_left(kernel);
}

static bool play_call(struct task *task, long number, uint64_t argument) {
    struct user_regs *regs = host_thread_regs(task->thread);

    regs->rax = (uint64_t)number;
    regs->rdi = argument;
    return task_handle_call(task);
}

static void *play(void *arg) {
    struct player *player = arg;
    struct task *task = player->owner.task;

    player_begin(player);
    while (!atomic_load(&finish)) {
        int64_t before = host_clock_monotonic();

        if (!play_call(task, player->call, 0)) {
            break;
        }
        if (host_thread_regs(task->thread)->rax != 0) {
            player->interrupted++;
        }
        if (player->call == CALL_SLEEP && host_clock_monotonic() - before < 2000000) {
            player->late++;
        }
        player->rounds++;
    }
    player_end(player);
    return NULL;
}

static void test_rest_a_thousand_times(void **state) {
    enum { PLAYERS = 9 };
    struct player players[PLAYERS] = {0};
    int rests = 0;

    task_set_dispatch(play_dispatch);
    atomic_store(&finish, false);
    for (int i = 0; i < PLAYERS; i++) {
        struct player *player = &players[i];

        wait_queue_init(&player->queue);
        if (i % 3 == 0) {
            assert_int_equal(task_new_mock(kernel, fs, &player->owner), 0);
        } else {
            assert_int_equal(task_new_mock_thread(players[i - i % 3].owner.task, &player->owner),
                             0);
        }
        player->peer = &players[i ^ 1];
        player->call = i < 4 ? CALL_PING : i < 6 ? CALL_SLEEP : CALL_BUSY;
        atomic_store(&player->turn, i < 4 && i % 2 == 0);
    }
    for (int i = 0; i < PLAYERS; i++) {
        assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    }
    while (rests < 1000) {
        assert_int_equal(kernel_rest(kernel, host_clock_monotonic() + 10 * NSEC_PER_SEC), 0);
        assert_int_equal(atomic_load(&in_call), 0);
        assert_int_equal(kernel_rest(kernel, host_clock_monotonic() + 10 * NSEC_PER_SEC), 0);
        kernel_release(kernel);
        assert_int_equal(atomic_load(&in_call), 0);
        kernel_release(kernel);
        rests++;
        sched_yield();
    }
    atomic_store(&finish, true);
    for (int i = 0; i < 4; i++) {
        wait_queue_wake(&players[i].queue, 0);
    }
    for (int i = 0; i < PLAYERS; i++) {
        assert_int_equal(pthread_join(players[i].thread, NULL), 0);
        assert_true(players[i].rounds > 0);
        assert_int_equal(players[i].interrupted, 0);
        assert_int_equal(players[i].late, 0);
        wait_queue_destroy(&players[i].queue);
    }
}

static void *play_suspend(void *arg) {
    struct player *player = arg;

    player_begin(player);
    while (play_call(player->owner.task, CALL_SUSPEND, SIGNAL_BIT(SIGUSR1))) {
        player->rounds++;
    }
    player_end(player);
    return NULL;
}

static void wait_until_calling(void) {
    while (atomic_load(&in_call) == 0) {
        sched_yield();
    }
}

/* A signal that is blocked for the duration of the call but not by the old mask stays out of it
 * even when rest interrupts the call. */
static void test_rest_keeps_the_temporary_mask(void **state) {
    struct player player = {0};
    struct task *task;

    task_set_dispatch(play_dispatch);
    assert_int_equal(task_new_mock(kernel, fs, &player.owner), 0);
    task = task_get(player.owner.task);
    set_handler(task, SIGUSR1, HANDLER, 0);
    assert_int_equal(pthread_create(&player.thread, NULL, play_suspend, &player), 0);
    wait_until_calling();
    assert_int_equal(send_group(task, SIGUSR1), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(kernel_rest(kernel, host_clock_monotonic() + 10 * NSEC_PER_SEC), 0);
        kernel_release(kernel);
    }
    assert_int_equal(signal_pending_set(task), SIGNAL_BIT(SIGUSR1));
    assert_int_equal(send_group(task, SIGKILL), 0);
    assert_int_equal(pthread_join(player.thread, NULL), 0);
    assert_int_equal(player.rounds, 0);
    task_put(task);
}

static void *play_stopped(void *arg) {
    struct player *player = arg;

    player_begin(player);
    while (play_call(player->owner.task, CALL_BUSY, 0)) {
    }
    player_end(player);
    return NULL;
}

static bool stopped(struct task *task) {
    LOCK_GUARD(&task->thread_group->signal_lock);
    return task->thread_group->stop_state == GROUP_STOPPED;
}

static void test_stop_all_threads_and_tell_the_parent(void **state) {
    struct player players[3] = {0};
    struct task_owner parent;
    struct signal_info info;
    struct task *leader;

    task_set_dispatch(play_dispatch);
    assert_int_equal(task_new_mock(kernel, fs, &parent), 0);
    signal_set_mask(parent.task, SIGNAL_BIT(SIGCHLD));
    assert_int_equal(task_new_mock_child(parent.task, &players[0].owner), 0);
    leader = task_get(players[0].owner.task);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(task_new_mock_thread(leader, &players[i].owner), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&players[i].thread, NULL, play_stopped, &players[i]), 0);
    }
    for (int round = 0; round < 50; round++) {
        assert_int_equal(send_group(leader, SIGSTOP), 0);
        while (!stopped(leader)) {
            sched_yield();
        }
        /* Stopped tasks can be brought to rest (they are tasks of this kernel; the parent, which
         * nobody runs, would never come: so only look that they stay stopped). */
        while (!(signal_pending_set(parent.task) & SIGNAL_BIT(SIGCHLD))) {
            sched_yield();
        }
        assert_true(signal_dequeue(parent.task, SIGNAL_BIT(SIGCHLD), &info));
        assert_int_equal(info.code, CLD_STOPPED);
        assert_int_equal(info.info.si_status, SIGSTOP);
        assert_int_equal(info.info.si_pid, leader->id);
        assert_int_equal(send_group(leader, SIGCONT), 0);
        assert_true(signal_dequeue(parent.task, SIGNAL_BIT(SIGCHLD), &info));
        assert_int_equal(info.code, CLD_CONTINUED);
        assert_false(stopped(leader));
    }
    assert_int_equal(send_group(leader, SIGSTOP), 0);
    while (!stopped(leader)) {
        sched_yield();
    }
    assert_int_equal(send_group(leader, SIGKILL), 0); /* reaches the stopped */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(players[i].thread, NULL), 0);
    }
    task_put(leader);
    task_owner_release(&parent);
}

static void *storm_sender(void *arg) {
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(send_queued(arg, 40 + i % 4, i), 0);
    }
    return NULL;
}

static void test_storm_loses_nothing(void **state) {
    struct task_owner owner;
    struct signal_info info;
    pthread_t senders[3];
    int taken = 0;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    signal_set_mask(owner.task, ~0ULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&senders[i], NULL, storm_sender, owner.task), 0);
    }
    while (taken < 6000) {
        if (signal_dequeue(owner.task, ~0ULL, &info)) {
            taken++;
        } else {
            sched_yield();
        }
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(senders[i], NULL), 0);
    }
    assert_false(signal_dequeue(owner.task, ~0ULL, &info));
    assert_int_equal(signal_queued(owner.task->thread_group), 0);
    task_owner_release(&owner);
}

/* ---- timers ---- */

static void wait_pending(struct task *task, int signal) {
    struct wait_entry entry = WAIT_ENTRY_INIT;

    wait_queue_add(signal_wait_queue(task->thread_group), &entry);
    while (!(signal_pending_set(task) & SIGNAL_BIT(signal))) {
        assert_int_equal(wait_sleep(host_clock_monotonic() + 10 * NSEC_PER_SEC), 0);
    }
    wait_queue_remove(&entry);
}

static void test_timer_overrun(void **state) {
    struct posix_timer_params params = {.clock = CLOCK_MONOTONIC,
                                        .notify = SIGEV_SIGNAL,
                                        .signal = 45,
                                        .has_value = true,
                                        .value = {.sival_int = 77}};
    struct timer_spec spec = {.interval = 1000000, .value = 1000000}, old;
    struct task_owner owner;
    struct signal_info info;
    struct task *task;
    int64_t until;
    int id;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    signal_set_mask(task, ~0ULL);
    id = posix_timer_create(task, &params);
    assert_int_equal(id, 0);
    assert_int_equal(posix_timer_settime(task->thread_group, id, false, &spec, &old), 0);
    assert_int_equal(old.value, 0);
    wait_pending(task, 45);
    until = host_clock_monotonic() + 20000000;
    while (host_clock_monotonic() < until) {
        sched_yield();
    }
    /* However long it was pending, it is queued once. */
    assert_int_equal(signal_queued(task->thread_group), 1);
    assert_true(signal_dequeue(task, SIGNAL_BIT(45), &info));
    assert_int_equal(info.code, SI_TIMER);
    assert_int_equal(info.info.si_value.sival_int, 77);
    assert_int_equal(info.info.si_timerid, id);
    assert_in_range(info.info.si_overrun, 15, 10000);
    assert_int_equal(posix_timer_getoverrun(task->thread_group, id), info.info.si_overrun);
    wait_pending(task, 45); /* taking it armed the timer again */
    assert_int_equal(posix_timer_gettime(task->thread_group, id, &old), 0);
    assert_int_equal(old.interval, 1000000);
    assert_int_equal(posix_timer_delete(task->thread_group, id), 0);
    assert_int_equal(posix_timer_delete(task->thread_group, id), -EINVAL);
    posix_timers_stop(task->thread_group->timers);
    task_owner_release(&owner);
}

static void test_itimer(void **state) {
    struct timer_spec spec = {.value = 3600 * NSEC_PER_SEC}, old;
    struct task_owner owner;
    struct signal_info info;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    signal_set_mask(task, ~0ULL);
    assert_int_equal(itimer_set(task->thread_group, 3, &spec, &old), -EINVAL);
    assert_int_equal(itimer_set(task->thread_group, ITIMER_REAL, &spec, &old), 0);
    assert_int_equal(old.value, 0);
    spec.value = 1;
    assert_int_equal(itimer_set(task->thread_group, ITIMER_REAL, &spec, &old), 0);
    assert_in_range(old.value, 3500 * NSEC_PER_SEC, 3600 * NSEC_PER_SEC);
    wait_pending(task, SIGALRM);
    assert_true(signal_dequeue(task, SIGNAL_BIT(SIGALRM), &info));
    assert_int_equal(info.code, SI_KERNEL);
    assert_int_equal(itimer_get(task->thread_group, ITIMER_REAL, &old), 0);
    assert_int_equal(old.value, 0);
    posix_timers_stop(task->thread_group->timers);
    task_owner_release(&owner);
}

/* An ignored periodic timer goes on, and is heard once somebody listens. */
static void test_ignored_timer_goes_on(void **state) {
    struct timer_spec spec = {.interval = 1000, .value = 1000};
    struct task_owner owner;
    struct task *task;

    assert_int_equal(task_new_mock(kernel, fs, &owner), 0);
    task = owner.task;
    set_handler(task, SIGALRM, HANDLER_IGNORE, 0);
    assert_int_equal(itimer_set(task->thread_group, ITIMER_REAL, &spec, NULL), 0);
    for (int i = 0; i < 100; i++) {
        sched_yield();
    }
    set_handler(task, SIGALRM, HANDLER, 0);
    wait_pending(task, SIGALRM);
    posix_timers_stop(task->thread_group->timers);
    task_owner_release(&owner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_coalesce_and_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_synchronous_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forced_signal_kills_when_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ignored_is_dropped_unless_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fatal_kills_every_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_signal_finds_a_taker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_and_continue_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_temporary_mask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest_a_thousand_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest_keeps_the_temporary_mask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_all_threads_and_tell_the_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_storm_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timer_overrun, setup, teardown),
        cmocka_unit_test_setup_teardown(test_itimer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ignored_timer_goes_on, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
