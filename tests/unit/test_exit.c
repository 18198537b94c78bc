/*
 * Exit, zombies, wait, clone: the three lifetimes of a task, with mocks. A mock that task_clone()
 * makes runs on a kernel thread of its own; its host thread is gone at once, so it dies by SIGKILL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <linux/sched.h>
#include <sched.h>

#include "fail_alloc.h"
#include "task/task.h"

struct fixture {
    struct host_job *job;
    struct kernel *kernel;
    struct fs_context *fs;
    struct task_owner init;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));

    f->job = host_job_new_mock();
    f->kernel = kernel_new(f->job, "test-kernel");
    f->fs = fs_context_new_test();
    assert_int_equal(task_new_mock(f->kernel, f->fs, &f->init), 0);
    current_task_set(f->init.task);
    signal_set_mask(f->init.task, SIGNAL_BIT(SIGCHLD)); /* so that it can be looked at */
    *state = f;
    return 0;
}

static void finish(struct task_owner *owner) {
    task_exit_finish(owner->task);
    task_owner_release(owner);
}

static int teardown(void **state) {
    struct fixture *f = *state;

    task_exit(f->init.task, 3);
    finish(&f->init);
    current_task_set(NULL);
    assert_int_equal(kernel_wait_idle(f->kernel, WAIT_FOREVER), 0);
    assert_int_equal(atomic_load(&f->kernel->init_status), 3 << 8);
    assert_int_equal(f->kernel->pids->entry_count, 0);
    fs_context_put(f->fs);
    kernel_put(f->kernel);
    host_job_put(f->job);
    free(f);
    return 0;
}

static void exit_with(struct task_owner *owner, int code) {
    task_exit(owner->task, code);
    finish(owner);
}

static struct task_owner child_of(struct task *parent) {
    struct task_owner owner;

    assert_int_equal(task_new_mock_child(parent, &owner), 0);
    return owner;
}

static int wait_for(struct task *parent, pid_t pid, int options, struct wait_result *result) {
    return task_wait(parent, pid > 0 ? P_PID : P_ALL, pid, options, result, NULL);
}

static void a_zombie_lives_until_it_is_waited_for(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);
    struct wait_result result;
    struct signal_info info;
    struct task *zombie;
    struct host_process *process = thread_group_process(child.task->thread_group);

    assert_int_equal(wait_for(f->init.task, -1, WEXITED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0);
    assert_int_equal(wait_for(f->init.task, 77, WEXITED, &result), -ECHILD);
    exit_with(&child, 0x142);
    assert_int_equal(host_process_kill_count(process), 1);
    host_process_put(process);

    /* Found by its pid, with its persistent part alone. */
    zombie = kernel_get_task(f->kernel, 2);
    assert_non_null(zombie);
    assert_int_equal(atomic_load(&zombie->state), TASK_ZOMBIE);
    assert_null(task_files(zombie));
    task_put(zombie);

    assert_true(signal_dequeue(f->init.task, SIGNAL_BIT(SIGCHLD), &info));
    assert_int_equal(info.code, CLD_EXITED);
    assert_int_equal(info.info.si_pid, 2);
    assert_int_equal(info.info.si_status, 0x42);

    assert_int_equal(wait_for(f->init.task, 2, WEXITED | WNOWAIT, &result), 0);
    assert_int_equal(result.pid, 2);
    assert_int_equal(wait_for(f->init.task, 2, WSTOPPED | WNOHANG, &result), -ECHILD);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), 0);
    assert_int_equal(result.pid, 2);
    assert_int_equal(result.status, 0x4200);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), -ECHILD);
    assert_null(kernel_get_task(f->kernel, 2));
    assert_null(kernel_get_thread_group(f->kernel, 2));
}

static void a_killed_process(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);
    struct wait_result result;
    struct signal_info info;

    task_exit_group(child.task->thread_group, SIGSEGV | 0x80);
    task_exit_group(child.task->thread_group, 9); /* the first decision stands */
    assert_true(child.task->killed);
    finish(&child);
    assert_true(signal_dequeue(f->init.task, SIGNAL_BIT(SIGCHLD), &info));
    assert_int_equal(info.code, CLD_DUMPED);
    assert_int_equal(info.info.si_status, SIGSEGV);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    assert_int_equal(result.status, SIGSEGV | 0x80);
}

static void set_child_action(struct task *task, uint64_t handler, uint64_t flags) {
    struct user_sigaction action = {.handler = handler, .flags = flags};

    assert_int_equal(signal_set_action(task->thread_group, SIGCHLD, &action, NULL), 0);
}

static void nobody_waits_for_the_children_of_one_who_ignores_them(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);
    struct wait_result result;

    set_child_action(f->init.task, 1 /* SIG_IGN */, 0);
    exit_with(&child, 1);
    assert_null(kernel_get_task(f->kernel, 2));
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), -ECHILD);
    assert_false(signal_pending_set(f->init.task) & SIGNAL_BIT(SIGCHLD));

    set_child_action(f->init.task, 0x1000, SA_NOCLDWAIT);
    child = child_of(f->init.task);
    exit_with(&child, 1);
    assert_null(kernel_get_task(f->kernel, 3));
    assert_true(signal_pending_set(f->init.task) & SIGNAL_BIT(SIGCHLD));
}

static void a_leader_exits_before_its_group(void **state) {
    struct fixture *f = *state;
    struct task_owner leader = child_of(f->init.task), thread;
    struct wait_result result;
    struct task *found;

    assert_int_equal(task_new_mock_thread(leader.task, &thread), 0);
    exit_with(&leader, 7);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0); /* not before the last */
    found = kernel_get_task(f->kernel, 2);
    assert_int_equal(atomic_load(&found->state), TASK_ZOMBIE);
    task_put(found);
    exit_with(&thread, 9);
    assert_null(kernel_get_task(f->kernel, 3)); /* a thread leaves nothing */
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    assert_int_equal(result.status, 9 << 8); /* the last one's */
}

static void exit_group_ends_every_thread(void **state) {
    struct fixture *f = *state;
    struct task_owner leader = child_of(f->init.task), thread;
    struct wait_result result;

    assert_int_equal(task_new_mock_thread(leader.task, &thread), 0);
    task_exit_group(thread.task->thread_group, 5 << 8);
    assert_true(leader.task->killed);
    assert_true(atomic_load(&leader.task->work));
    finish(&leader);
    finish(&thread);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    assert_int_equal(result.status, 5 << 8);
}

static void zombies_go_to_the_reaper(void **state) {
    struct fixture *f = *state;
    struct task_owner parent = child_of(f->init.task), child = child_of(parent.task),
                      orphan = child_of(parent.task);
    struct wait_result result;

    exit_with(&child, 4);
    exit_with(&parent, 0);
    assert_int_equal(task_get_ppid(orphan.task), 1);
    assert_int_equal(wait_for(f->init.task, 3, WEXITED, &result), 0);
    assert_int_equal(result.status, 4 << 8);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    exit_with(&orphan, 6);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), 0);
    assert_int_equal(result.status, 6 << 8);
}

static void death_signals(void **state) {
    struct fixture *f = *state;
    struct task_owner parent = child_of(f->init.task), child = child_of(parent.task);

    child.task->pdeath_signal = SIGUSR1;
    child.task->signal_mask = SIGNAL_BIT(SIGUSR1);
    exit_with(&parent, 0);
    assert_true(signal_pending_set(child.task) & SIGNAL_BIT(SIGUSR1));
    exit_with(&child, 0);
}

static void waits_that_choose(void **state) {
    struct fixture *f = *state;
    struct task_owner a = child_of(f->init.task), b = child_of(f->init.task);
    struct wait_result result;

    assert_int_equal(task_setpgid(f->init.task, 3, 0), 0);
    exit_with(&a, 1);
    exit_with(&b, 2);
    assert_int_equal(task_wait(f->init.task, P_PGID, 3, WEXITED, &result, NULL), 0);
    assert_int_equal(result.pid, 3);
    assert_int_equal(task_wait(f->init.task, P_PGID, 3, WEXITED, &result, NULL), -ECHILD);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED | __WCLONE, &result), -ECHILD);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED | __WALL, &result), 0);
    assert_int_equal(result.pid, 2);
}

static void stops_and_continues_are_reported_once(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);
    struct thread_group *group = child.task->thread_group;
    struct wait_result result;

    group->stop_state = GROUP_STOPPED;
    group->stop_signal = SIGTSTP;
    group->stop_reported = false;
    assert_int_equal(wait_for(f->init.task, 2, WEXITED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wait_for(f->init.task, 2, WUNTRACED | WNOWAIT, &result), 0);
        assert_int_equal(result.status, SIGTSTP << 8 | 0x7f);
    }
    assert_int_equal(wait_for(f->init.task, 2, WUNTRACED, &result), 0);
    assert_int_equal(wait_for(f->init.task, 2, WUNTRACED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0);
    group->stop_state = GROUP_RUNNING;
    group->continued = true;
    assert_int_equal(wait_for(f->init.task, 2, WCONTINUED, &result), 0);
    assert_int_equal(result.status, 0xffff);
    assert_int_equal(wait_for(f->init.task, 2, WCONTINUED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0);
    exit_with(&child, 0);
}

static void *exit_from_elsewhere(void *arg) {
    struct task_owner *owner = arg;

    current_task_set(owner->task);
    exit_with(owner, 8);
    return NULL;
}

static void a_wait_sleeps_until_a_child_exits(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);
    struct wait_result result;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, exit_from_elsewhere, &child), 0);
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), 0);
    assert_int_equal(result.status, 8 << 8);
    pthread_join(thread, NULL);

    /* An interruption leaves the wait with nothing done. */
    child = child_of(f->init.task);
    waiter_interrupt(waiter_current());
    assert_int_equal(wait_for(f->init.task, -1, WEXITED, &result), -ERESTARTSYS);
    waiter_clear_interrupt(waiter_current());
    exit_with(&child, 0);
}

static void a_group_whose_host_process_dies_is_killed(void **state) {
    struct fixture *f = *state;
    struct task_owner child = child_of(f->init.task);

    kernel_kill_all(f->kernel);
    assert_true(child.task->killed);
    assert_true(child.task->thread_group->exiting);
    assert_int_equal(child.task->thread_group->exit_status, SIGKILL);
    finish(&child);
    /* So that the teardown's exit status is its own. */
    f->init.task->thread_group->exiting = false;
}

static void exec_leaves_one_thread(void **state) {
    struct fixture *f = *state;
    struct task_owner leader = child_of(f->init.task), thread;
    struct wait_result result;
    struct task *found;
    pthread_t other;

    assert_int_equal(task_new_mock_thread(leader.task, &thread), 0);
    assert_int_equal(task_get_tid(thread.task), 3);
    assert_int_equal(pthread_create(&other, NULL, exit_from_elsewhere, &leader), 0);
    assert_int_equal(task_become_only_thread(thread.task), 0);
    pthread_join(other, NULL);
    assert_int_equal(task_get_tid(thread.task), 2);
    assert_null(kernel_get_task(f->kernel, 3));
    found = kernel_get_task(f->kernel, 2);
    assert_ptr_equal(found, thread.task);
    task_put(found);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED | WNOHANG, &result), 0);
    assert_int_equal(result.pid, 0);
    exit_with(&thread, 1);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    assert_int_equal(result.status, 1 << 8);
}

/* ---- clone ---- */

static pid_t clone_of(struct task *task, uint64_t flags, int exit_signal) {
    struct clone_params params = {.flags = flags, .exit_signal = exit_signal};

    return task_clone(task, &params);
}

static void bad_flags_of_clone(void **state) {
    struct fixture *f = *state;
    struct task *init = f->init.task;

    assert_int_equal(clone_of(init, CLONE_THREAD, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_THREAD | CLONE_SIGHAND, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_SIGHAND, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_FS | CLONE_NEWNS, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_NEWPID, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_PARENT, 0), -EINVAL); /* the init */
    assert_int_equal(clone_of(init, CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND, 0), -EINVAL);
    assert_int_equal(clone_of(init, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_PIDFD, 0),
                     -EINVAL);
}

static void fork_and_vfork(void **state) {
    struct fixture *f = *state;
    struct wait_result result;

    signal_set_mask(f->init.task, ~0ULL);
    assert_int_equal(clone_of(f->init.task, 0, SIGCHLD), 2);
    assert_int_equal(wait_for(f->init.task, 2, WEXITED, &result), 0);
    assert_int_equal(result.status, SIGKILL);
    /* vfork comes back when the child has gone. */
    assert_int_equal(clone_of(f->init.task, CLONE_VM | CLONE_VFORK, SIGCHLD), 3);
    assert_null(f->init.task->vfork_wait);
    assert_int_equal(wait_for(f->init.task, 3, WEXITED, &result), 0);
    assert_int_equal(result.status, SIGKILL);
    /* One that sends no SIGCHLD is a clone child. */
    assert_int_equal(clone_of(f->init.task, 0, 0), 4);
    assert_int_equal(wait_for(f->init.task, 4, WEXITED | __WCLONE, &result), 0);
}

static void the_limit_of_processes(void **state) {
    struct fixture *f = *state;
    struct credentials *user = credentials_new(1000, 1000);
    struct rlimit64 one = {1, 1};

    task_set_creds(f->init.task, user);
    assert_int_equal(
        rlimits_change(&f->init.task->thread_group->rlimits, RLIMIT_NPROC, &one, NULL, false), 0);
    assert_int_equal(clone_of(f->init.task, 0, SIGCHLD), -EAGAIN);
    assert_int_equal(clone_of(f->init.task, CLONE_NEWPID, SIGCHLD), -EPERM);
    f->kernel->pid_limit = 1;
    task_set_creds(f->init.task, credentials_new(0, 0));
    assert_int_equal(clone_of(f->init.task, 0, SIGCHLD), -EAGAIN);
}

static void every_allocation_of_fork_fails(void **state) {
    struct fixture *f = *state;
    unsigned long failures = 0;

    signal_set_mask(f->init.task, ~0ULL);
    FAIL_EACH_ALLOCATION(n) {
        struct wait_result result;
        pid_t pid = clone_of(f->init.task, CLONE_VFORK, SIGCHLD);

        if (pid > 0) {
            assert_int_equal(wait_for(f->init.task, pid, WEXITED, &result), 0);
        } else {
            assert_int_equal(pid, -ENOMEM);
            assert_int_equal(atomic_load(&f->kernel->task_count), 1);
            failures++;
        }
        assert_int_equal(failures, fail_alloc_reached() ? n : n - 1); /* none is passed over */
    }
    assert_true(failures > 8);
}

/* An exit and the wait for it need no memory: the parent hears of it and gets its status. */
static void no_allocation_stops_an_exit(void **state) {
    struct fixture *f = *state;
    unsigned long failures = 0;

    FAIL_EACH_ALLOCATION(n) {
        struct task_owner parent, thread, child, orphan;
        struct wait_result result;
        struct signal_info info;
        pid_t pid, child_pid, orphan_pid;

        fail_alloc_at(0);
        parent = child_of(f->init.task);
        pid = task_get_pid(parent.task);
        assert_int_equal(task_new_mock_thread(parent.task, &thread), 0);
        child = child_of(parent.task);
        child_pid = task_get_pid(child.task);
        orphan = child_of(parent.task);
        orphan_pid = task_get_pid(orphan.task);
        fail_alloc_at(n);

        exit_with(&child, 4);
        exit_with(&parent, 5);
        exit_with(&thread, 6);
        assert_true(signal_dequeue(f->init.task, SIGNAL_BIT(SIGCHLD), &info));
        assert_int_equal(task_get_ppid(orphan.task), 1);
        assert_int_equal(wait_for(f->init.task, child_pid, WEXITED, &result), 0);
        assert_int_equal(result.status, 4 << 8);
        assert_int_equal(wait_for(f->init.task, pid, WEXITED, &result), 0);
        assert_int_equal(result.status, 6 << 8);
        task_exit_group(orphan.task->thread_group, SIGTERM);
        finish(&orphan);
        assert_int_equal(wait_for(f->init.task, orphan_pid, WEXITED, &result), 0);
        assert_int_equal(result.status, SIGTERM);
        assert_int_equal(atomic_load(&f->kernel->task_count), 1);
        failures += fail_alloc_reached();
        assert_true(n < 100);
    }
    assert_true(failures > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define UNIT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        UNIT(a_zombie_lives_until_it_is_waited_for),
        UNIT(a_killed_process),
        UNIT(nobody_waits_for_the_children_of_one_who_ignores_them),
        UNIT(a_leader_exits_before_its_group),
        UNIT(exit_group_ends_every_thread),
        UNIT(zombies_go_to_the_reaper),
        UNIT(death_signals),
        UNIT(waits_that_choose),
        UNIT(stops_and_continues_are_reported_once),
        UNIT(a_wait_sleeps_until_a_child_exits),
        UNIT(a_group_whose_host_process_dies_is_killed),
        UNIT(exec_leaves_one_thread),
        UNIT(bad_flags_of_clone),
        UNIT(fork_and_vfork),
        UNIT(the_limit_of_processes),
        UNIT(every_allocation_of_fork_fails),
        UNIT(no_allocation_stops_an_exit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
