/*
 * The reference's objects: kernel, pid table, thread group, task, with mocks and no guest. The
 * first test is the reference's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>

#include "fail_alloc.h"
#include "task/task.h"

struct fixture {
    struct host_job *job;
    struct kernel *kernel;
    struct fs_context *fs;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));

    f->job = host_job_new_mock();
    assert_false(IS_ERR(f->job));
    f->kernel = kernel_new(f->job, "test-kernel");
    assert_false(IS_ERR(f->kernel));
    f->fs = fs_context_new_test();
    assert_non_null(f->fs);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;

    assert_int_equal(atomic_load(&f->kernel->task_count), 0);
    assert_int_equal(f->kernel->pids->count, 0);
    assert_int_equal(f->kernel->pids->entry_count, 0);
    fs_context_put(f->fs);
    kernel_put(f->kernel);
    host_job_put(f->job);
    free(f);
    return 0;
}

static pid_t found_tid(struct kernel *kernel, pid_t pid) {
    struct task *task CLEANUP(task_put) = kernel_get_task(kernel, pid);

    return task ? task_get_tid(task) : 0;
}

static void test_tid_allocation(void **state) {
    struct fixture *f = *state;
    struct task_owner first, second;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &first), 0);
    assert_int_equal(task_get_tid(first.task), 1);
    assert_int_equal(task_new_mock(f->kernel, f->fs, &second), 0);
    assert_int_equal(task_get_tid(second.task), 2);
    {
        READ_GUARD(&f->kernel->pids_lock);
        struct task *one = pid_table_get_task(f->kernel->pids, 1);
        struct task *two = pid_table_get_task(f->kernel->pids, 2);

        assert_int_equal(task_get_tid(one), 1);
        assert_int_equal(task_get_tid(two), 2);
        assert_null(pid_table_get_task(f->kernel->pids, 3));
        task_put(one);
        task_put(two);
    }
    task_owner_release(&second);
    task_owner_release(&first);
}

static void weak_look_up_after_destroy_gives_nothing(void **state) {
    struct fixture *f = *state;
    struct task_owner owner;
    struct task *kept;
    struct credentials *creds;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &owner), 0);
    kept = kernel_get_task(f->kernel, 1);
    assert_ptr_equal(kept, owner.task);
    task_destroy(owner.task);
    assert_int_equal(found_tid(f->kernel, 1), 0);
    task_destroy(owner.task); /* idempotent */
    task_owner_release(&owner);
    assert_null(owner.task);
    task_owner_release(&owner);
    assert_int_equal(found_tid(f->kernel, 1), 0);

    /* Its persistent part is there as long as it is held, its running part is not. */
    assert_int_equal(task_get_tid(kept), 1);
    assert_int_equal(task_get_pid(kept), 1);
    creds = task_creds(kept);
    assert_int_equal(creds->uid, 0);
    credentials_put(creds);
    assert_null(task_files(kept));
    assert_null(task_mm(kept));
    assert_null(task_fs(kept));
    assert_null(task_thread(kept));
    task_put(kept);
}

static void look_up_of_odd_ids(void **state) {
    struct fixture *f = *state;

    assert_null(kernel_get_task(f->kernel, 0));
    assert_null(kernel_get_task(f->kernel, -1));
    assert_null(kernel_get_task(f->kernel, INT32_MAX));
    assert_null(kernel_get_task(f->kernel, INT32_MIN));
}

static void the_last_task_kills_the_host_process_once(void **state) {
    struct fixture *f = *state;
    struct task_owner leader, thread;
    struct host_process *process;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &leader), 0);
    assert_int_equal(task_new_mock_thread(leader.task, &thread), 0);
    assert_ptr_equal(thread.task->thread_group, leader.task->thread_group);
    assert_int_equal(task_get_pid(thread.task), 1);
    assert_int_equal(task_get_tid(thread.task), 2);
    process = thread_group_process(leader.task->thread_group);

    task_owner_release(&thread);
    assert_int_equal(host_process_kill_count(process), 0);
    task_destroy(leader.task);
    assert_int_equal(host_process_kill_count(process), 1);
    thread_group_remove(leader.task->thread_group, leader.task);
    task_owner_release(&leader);
    assert_int_equal(host_process_kill_count(process), 1);
    host_process_put(process);
}

static void a_leader_may_leave_before_its_group(void **state) {
    struct fixture *f = *state;
    struct task_owner leader, thread, other;
    struct thread_group *group;
    struct host_process *process;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &leader), 0);
    assert_int_equal(task_new_mock_thread(leader.task, &thread), 0);
    process = thread_group_process(leader.task->thread_group);
    task_owner_release(&leader);
    assert_int_equal(found_tid(f->kernel, 1), 0);
    assert_int_equal(host_process_kill_count(process), 0);
    assert_int_equal(task_get_pid(thread.task), 1);
    assert_int_equal(task_get_pgrp(thread.task), 1);

    /* Its number still names the group, and is not given to anybody else. */
    group = kernel_get_thread_group(f->kernel, 1);
    assert_ptr_equal(group, thread.task->thread_group);
    thread_group_put(group);
    f->kernel->pids->last_pid = 0;
    assert_int_equal(task_new_mock(f->kernel, f->fs, &other), 0);
    assert_int_equal(task_get_tid(other.task), 3);
    task_owner_release(&other);

    task_owner_release(&thread);
    assert_int_equal(host_process_kill_count(process), 1);
    assert_null(kernel_get_thread_group(f->kernel, 1));
    host_process_put(process);
}

static void children_and_the_init(void **state) {
    struct fixture *f = *state;
    struct task_owner init, parent, child;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    assert_int_equal(task_new_mock_child(init.task, &parent), 0);
    assert_int_equal(task_new_mock_child(parent.task, &child), 0);
    assert_int_equal(task_get_ppid(init.task), 0);
    assert_int_equal(task_get_ppid(parent.task), 1);
    assert_int_equal(task_get_ppid(child.task), 2);
    assert_int_equal(child.task->parent, 2);
    assert_int_equal(init.task->parent, 0);
    task_owner_release(&parent);
    assert_int_equal(task_get_ppid(child.task), 1);
    task_owner_release(&child);
    task_owner_release(&init);
}

static void a_subreaper_adopts(void **state) {
    struct fixture *f = *state;
    struct task_owner init, reaper, middle, parent, child;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    assert_int_equal(task_new_mock_child(init.task, &reaper), 0);
    assert_int_equal(task_new_mock_child(reaper.task, &middle), 0);
    assert_int_equal(task_new_mock_child(middle.task, &parent), 0);
    assert_int_equal(task_new_mock_child(parent.task, &child), 0);
    reaper.task->thread_group->child_subreaper = true;
    task_owner_release(&parent);
    assert_int_equal(task_get_ppid(child.task), 2);
    task_owner_release(&reaper);
    assert_int_equal(task_get_ppid(child.task), 1);
    assert_int_equal(task_get_ppid(middle.task), 1);
    /* The end of the init kills everybody; nobody is left to adopt. */
    task_owner_release(&init);
    assert_int_equal(task_get_ppid(child.task), 0);
    assert_true(child.task->killed);
    assert_true(middle.task->thread_group->exiting);
    task_owner_release(&middle);
    task_owner_release(&child);
}

static void process_groups(void **state) {
    struct fixture *f = *state;
    struct task_owner init, a, b, c;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    assert_int_equal(task_get_pgrp(init.task), 1);
    assert_int_equal(task_get_sid(init.task), 1);
    assert_int_equal(task_new_mock_child(init.task, &a), 0);
    assert_int_equal(task_new_mock_child(init.task, &b), 0);
    assert_int_equal(task_get_pgrp(a.task), 1);
    assert_int_equal(task_get_sid(a.task), 1);

    /* A new group, joined by a sibling, as a shell does for a pipeline. */
    assert_int_equal(task_setpgid(init.task, 2, 0), 0);
    assert_int_equal(task_setpgid(init.task, 3, 2), 0);
    assert_int_equal(task_get_pgrp(a.task), 2);
    assert_int_equal(task_getpgid(init.task, 3), 2);

    assert_int_equal(task_setpgid(init.task, 3, 77), -EPERM);
    assert_int_equal(task_setpgid(init.task, -1, 2), -ESRCH);
    assert_int_equal(task_setpgid(init.task, 3, -1), -EINVAL);
    assert_int_equal(task_setpgid(init.task, 99, 0), -ESRCH);
    assert_int_equal(task_setpgid(a.task, 3, 0), -ESRCH);    /* not its child */
    assert_int_equal(task_setpgid(init.task, 0, 2), -EPERM); /* a session leader */
    b.task->thread_group->did_exec = true;
    assert_int_equal(task_setpgid(init.task, 3, 3), -EACCES);
    b.task->thread_group->did_exec = false;

    /* The leader goes, the group and its number stay. */
    task_owner_release(&a);
    assert_int_equal(task_get_pgrp(b.task), 2);
    assert_null(kernel_get_thread_group(f->kernel, 2));
    f->kernel->pids->last_pid = 1;
    assert_int_equal(task_new_mock_child(init.task, &c), 0);
    assert_int_equal(task_get_tid(c.task), 4);
    assert_int_equal(task_setpgid(init.task, 4, 2), 0);

    /* setsid: not for a group leader; then another session's group cannot be joined. */
    assert_int_equal(task_setsid(init.task), -EPERM);
    assert_int_equal(task_setsid(b.task), 3);
    assert_int_equal(task_get_sid(b.task), 3);
    assert_int_equal(task_getsid(init.task, 3), 3);
    assert_int_equal(task_setsid(b.task), -EPERM);
    assert_int_equal(task_setpgid(init.task, 4, 3), -EPERM);
    assert_int_equal(task_setpgid(init.task, 3, 2), -EPERM);
    task_owner_release(&c);
    task_owner_release(&b);
    task_owner_release(&init);
}

static void orphaned_process_groups(void **state) {
    struct fixture *f = *state;
    struct task_owner init, shell, job;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    assert_int_equal(task_new_mock_child(init.task, &shell), 0);
    assert_int_equal(task_setsid(shell.task), 2);
    assert_int_equal(task_new_mock_child(shell.task, &job), 0);
    assert_int_equal(task_setpgid(shell.task, 3, 3), 0);
    assert_true(process_group_orphaned(f->kernel, 2)); /* its parent is in another session */
    assert_false(process_group_orphaned(f->kernel, 3));
    assert_true(process_group_in_session(f->kernel, 3, 2));
    assert_false(process_group_in_session(f->kernel, 3, 1));

    /* A stopped job whose shell ends gets SIGHUP and SIGCONT. */
    job.task->thread_group->stop_state = GROUP_STOPPED;
    job.task->signal_mask = SIGNAL_BIT(SIGHUP);
    task_owner_release(&shell);
    assert_true(process_group_orphaned(f->kernel, 3));
    assert_int_equal(job.task->thread_group->stop_state, GROUP_RUNNING);
    assert_true(signal_pending_set(job.task) & SIGNAL_BIT(SIGHUP));
    task_owner_release(&job);
    task_owner_release(&init);
}

static void ids_wrap_around_without_reuse(void **state) {
    struct fixture *f = *state;
    struct task_owner init, group, session, member, other;

    f->kernel->pids->pid_max = PID_RESERVED + 8;
    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    f->kernel->pids->last_pid = PID_RESERVED - 1;
    assert_int_equal(task_new_mock_child(init.task, &group), 0);
    assert_int_equal(task_new_mock_child(init.task, &session), 0);
    assert_int_equal(task_new_mock_child(init.task, &member), 0);
    assert_int_equal(task_get_tid(group.task), PID_RESERVED);
    /* `member` keeps the process group 300, a child of the session leader the session 301. */
    assert_int_equal(task_setpgid(init.task, PID_RESERVED, 0), 0);
    assert_int_equal(task_setpgid(init.task, PID_RESERVED + 2, PID_RESERVED), 0);
    assert_int_equal(task_setsid(session.task), PID_RESERVED + 1);
    assert_int_equal(task_new_mock_child(session.task, &other), 0);
    assert_int_equal(task_setpgid(other.task, 0, 0), 0);
    task_owner_release(&group);
    task_owner_release(&session);

    for (int round = 0; round < 40; round++) {
        struct task_owner owner;
        pid_t tid;

        assert_int_equal(task_new_mock(f->kernel, f->fs, &owner), 0);
        tid = task_get_tid(owner.task);
        assert_in_range(tid, PID_RESERVED + 4, PID_RESERVED + 7);
        assert_int_equal(tid, PID_RESERVED + 4 + round % 4);
        task_owner_release(&owner);
    }
    {
        struct task_owner owners[4], none;

        for (int i = 0; i < 4; i++) {
            assert_int_equal(task_new_mock(f->kernel, f->fs, &owners[i]), 0);
        }
        assert_int_equal(task_new_mock(f->kernel, f->fs, &none), -EAGAIN);
        assert_null(none.task);
        for (int i = 0; i < 4; i++) {
            task_owner_release(&owners[i]);
        }
    }
    /* When their last user goes they are free again. */
    task_owner_release(&member);
    task_owner_release(&other);
    f->kernel->pids->last_pid = PID_RESERVED - 1;
    assert_int_equal(task_new_mock(f->kernel, f->fs, &group), 0);
    assert_int_equal(task_get_tid(group.task), PID_RESERVED);
    task_owner_release(&group);
    task_owner_release(&init);
}

static void the_number_of_tasks_is_limited(void **state) {
    struct fixture *f = *state;
    struct task_owner owners[3], none;

    f->kernel->pid_limit = 3;
    assert_int_equal(task_new_mock(f->kernel, f->fs, &owners[0]), 0);
    assert_int_equal(task_new_mock_child(owners[0].task, &owners[1]), 0);
    assert_int_equal(task_new_mock_thread(owners[0].task, &owners[2]), 0);
    assert_int_equal(task_new_mock_thread(owners[0].task, &none), -EAGAIN);
    task_owner_release(&owners[1]);
    assert_int_equal(task_new_mock_thread(owners[0].task, &owners[1]), 0);
    for (int i = 0; i < 3; i++) {
        task_owner_release(&owners[i]);
    }
}

static void a_dying_process_makes_no_more_of_itself(void **state) {
    struct fixture *f = *state;
    struct task_owner init, child;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    task_exit_group(init.task->thread_group, SIGKILL);
    assert_int_equal(task_new_mock_child(init.task, &child), -ERESTARTNOINTR);
    assert_int_equal(task_new_mock_thread(init.task, &child), -ERESTARTNOINTR);
    task_owner_release(&init);
}

static void a_snapshot_is_in_order(void **state) {
    struct fixture *f = *state;
    struct task_owner owners[5];
    struct task **tasks;

    assert_int_equal(task_new_mock(f->kernel, f->fs, &owners[0]), 0);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(i % 2 ? task_new_mock_thread(owners[0].task, &owners[i])
                               : task_new_mock_child(owners[0].task, &owners[i]),
                         0);
    }
    tasks = kernel_tasks(f->kernel, true);
    assert_int_equal(task_get_tid(tasks[0]), 1);
    assert_int_equal(task_get_tid(tasks[1]), 3);
    assert_int_equal(task_get_tid(tasks[2]), 5);
    assert_null(tasks[3]);
    for (int i = 0; tasks[i]; i++) {
        task_put(tasks[i]);
    }
    free(tasks);
    tasks = kernel_tasks(f->kernel, false);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(task_get_tid(tasks[i]), i + 1);
        task_put(tasks[i]);
    }
    assert_null(tasks[5]);
    free(tasks);
    for (int i = 4; i >= 0; i--) {
        task_owner_release(&owners[i]);
    }
}

static void idle_is_announced(void **state) {
    struct fixture *f = *state;
    struct task_owner owner;

    assert_int_equal(kernel_wait_idle(f->kernel, WAIT_FOREVER), 0);
    assert_int_equal(task_new_mock(f->kernel, f->fs, &owner), 0);
    assert_int_equal(kernel_wait_idle(f->kernel, 0), -ETIMEDOUT);
    task_owner_release(&owner);
    assert_int_equal(kernel_wait_idle(f->kernel, WAIT_FOREVER), 0);
}

/* Eight threads make, find and drop tasks at once: threads and children of a common init. */
#define THREADS 8
#define ROUNDS  200

struct racer {
    pthread_t thread;
    struct fixture *f;
    struct task *init;
    unsigned seed;
    int made, found;
};

static unsigned next_random(unsigned *seed) {
    return *seed = *seed * 1664525 + 1013904223;
}

static void *race(void *arg) {
    struct racer *racer = arg;
    struct kernel *kernel = racer->f->kernel;
    struct task_owner owners[4] = {0};

    for (int round = 0; round < ROUNDS; round++) {
        unsigned random = next_random(&racer->seed) >> 8;
        struct task_owner *owner = &owners[random % 4];
        struct task *found;

        if (owner->task) {
            task_owner_release(owner);
        } else if ((random & 0x10 ? task_new_mock_child(racer->init, owner)
                                  : task_new_mock_thread(racer->init, owner)) == 0) {
            racer->made++;
            if (random & 0x20) {
                (void)!task_setpgid(owner->task, 0, 0);
            }
        }
        found = kernel_get_task(kernel, PID_RESERVED + (pid_t)(random >> 8) % 100);
        if (found) {
            struct credentials *creds = task_creds(found);
            struct memory_manager *mm = task_mm(found);

            racer->found++;
            credentials_put(creds);
            if (mm) {
                memory_manager_put(mm);
            }
            (void)task_get_ppid(found);
            (void)task_get_pgrp(found);
            (void)signal_pending_set(found);
            task_put(found);
        }
        if ((random & 0xc0) == 0) {
            struct task **tasks = kernel_tasks(kernel, random & 1);

            for (int i = 0; tasks[i]; i++) {
                task_put(tasks[i]);
            }
            free(tasks);
        }
    }
    for (int i = 0; i < 4; i++) {
        task_owner_release(&owners[i]);
    }
    return NULL;
}

static void eight_threads_at_once(void **state) {
    struct fixture *f = *state;
    struct task_owner init;
    struct racer racers[THREADS];
    int made = 0, found = 0;

    f->kernel->pids->pid_max = PID_RESERVED + 100; /* wraps often, and look-ups hit */
    assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
    f->kernel->pids->last_pid = PID_RESERVED - 1;
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.f = f, .init = init.task, .seed = i * 7919 + 1};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
        made += racers[i].made;
        found += racers[i].found;
    }
    assert_true(made > 100);
    assert_true(found > 8);
    assert_int_equal(atomic_load(&f->kernel->task_count), 1);
    assert_int_equal(init.task->thread_group->task_count, 1);
    task_owner_release(&init);
}

/* Each allocation on the way fails once: the call says so, and nothing is left behind. */
static void every_allocation_of_a_kernel_fails(void **state) {
    struct fixture *f = *state;

    FAIL_EACH_ALLOCATION(n) {
        struct kernel *kernel = kernel_new(f->job, "failing");

        if (fail_alloc_reached()) {
            assert_int_equal(PTR_ERR(kernel), -ENOMEM);
        } else {
            kernel_put(kernel);
        }
    }
}

static void every_allocation_of_a_task_fails(void **state) {
    struct fixture *f = *state;
    unsigned long failures = 0;

    FAIL_EACH_ALLOCATION(n) {
        struct task_owner init, thread, child;
        int result = task_new_mock(f->kernel, f->fs, &init);

        if (result == 0) {
            result = task_new_mock_thread(init.task, &thread);
            if (result == 0) {
                result = task_new_mock_child(init.task, &child);
                if (result == 0) {
                    result = task_setsid(child.task);
                    result = result < 0 ? result : 0;
                    if (result == 0) {
                        struct task_owner grandchild;

                        result = task_new_mock_child(child.task, &grandchild);
                        if (result == 0) {
                            result = task_setpgid(child.task, task_get_pid(grandchild.task), 0);
                            task_owner_release(&grandchild);
                        }
                    }
                    task_owner_release(&child);
                }
                task_owner_release(&thread);
            }
            task_owner_release(&init);
        }
        if (result) {
            failures++;
            assert_int_equal(result, -ENOMEM);
        }
        assert_int_equal(failures, fail_alloc_reached() ? n : n - 1); /* none is passed over */
        assert_int_equal(atomic_load(&f->kernel->task_count), 0);
        assert_int_equal(f->kernel->pids->entry_count, 0);
        assert_null(f->kernel->init);
    }
    assert_true(failures > 20);
}

/* More tasks than the pid table has room for at first: what it cannot have it does without. */
static void every_allocation_of_a_growing_table_fails(void **state) {
    struct fixture *f = *state;
    struct pid_table *pids = f->kernel->pids;
    size_t buckets = pids->bucket_count, count = 0;
    struct task_owner owners[200];
    unsigned long tolerated = 0;

    while (pids->entry_count < buckets * 2) {
        assert_int_equal(count ? task_new_mock_thread(owners[0].task, &owners[count])
                               : task_new_mock(f->kernel, f->fs, &owners[count]),
                         0);
        count++;
    }
    FAIL_EACH_ALLOCATION(n) {
        int result = task_new_mock_thread(owners[0].task, &owners[count]);

        if (fail_alloc_reached() && result == 0) {
            tolerated++;
            assert_int_equal(pids->bucket_count, buckets);
        }
        assert_true(result == 0 || result == -ENOMEM);
        task_owner_release(&owners[count]);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(found_tid(f->kernel, (pid_t)i + 1), i + 1);
        }
    }
    assert_int_equal(tolerated, 1);
    assert_int_equal(pids->bucket_count, buckets * 2);
    while (count) {
        task_owner_release(&owners[--count]);
    }
}

/* Finding a task and ending it. A snapshot may fail; what ends a task has no way to. */
static void no_allocation_stops_an_end(void **state) {
    struct fixture *f = *state;
    unsigned long snapshots = 0;

    FAIL_EACH_ALLOCATION(n) {
        struct task_owner init, thread, child, grandchild;
        struct host_process *process;
        struct task *found, **tasks;

        fail_alloc_at(0);
        assert_int_equal(task_new_mock(f->kernel, f->fs, &init), 0);
        assert_int_equal(task_new_mock_thread(init.task, &thread), 0);
        assert_int_equal(task_new_mock_child(init.task, &child), 0);
        assert_true(task_setsid(child.task) > 0);
        assert_int_equal(task_new_mock_child(child.task, &grandchild), 0);
        assert_int_equal(task_setpgid(grandchild.task, 0, 0), 0);
        grandchild.task->thread_group->stop_state = GROUP_STOPPED;
        grandchild.task->pdeath_signal = SIGUSR1;
        signal_set_mask(grandchild.task, ~0ULL);
        process = thread_group_process(child.task->thread_group);
        fail_alloc_at(n);

        tasks = kernel_tasks(f->kernel, false);
        snapshots += tasks != NULL;
        for (int i = 0; tasks && tasks[i]; i++) {
            task_put(tasks[i]);
        }
        free(tasks);
        found = kernel_get_task(f->kernel, task_get_tid(child.task));
        assert_ptr_equal(found, child.task);
        task_owner_release(&child);
        assert_null(task_files(found));
        assert_int_equal(host_process_kill_count(process), 1);
        assert_int_equal(task_get_ppid(grandchild.task), task_get_pid(init.task));
        assert_int_equal(signal_pending_set(grandchild.task) &
                             (SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGUSR1)),
                         SIGNAL_BIT(SIGHUP) | SIGNAL_BIT(SIGUSR1));
        task_put(found);
        host_process_put(process);
        task_owner_release(&thread);
        task_owner_release(&init);
        assert_true(grandchild.task->killed);
        task_owner_release(&grandchild);
        assert_int_equal(atomic_load(&f->kernel->task_count), 0);
        assert_int_equal(f->kernel->pids->entry_count, 0);
        assert_true(n < 100);
    }
    assert_true(snapshots > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define UNIT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        UNIT(test_tid_allocation),
        UNIT(weak_look_up_after_destroy_gives_nothing),
        UNIT(look_up_of_odd_ids),
        UNIT(the_last_task_kills_the_host_process_once),
        UNIT(a_leader_may_leave_before_its_group),
        UNIT(children_and_the_init),
        UNIT(a_subreaper_adopts),
        UNIT(process_groups),
        UNIT(orphaned_process_groups),
        UNIT(ids_wrap_around_without_reuse),
        UNIT(the_number_of_tasks_is_limited),
        UNIT(a_dying_process_makes_no_more_of_itself),
        UNIT(a_snapshot_is_in_order),
        UNIT(idle_is_announced),
        UNIT(eight_threads_at_once),
        UNIT(every_allocation_of_a_kernel_fails),
        UNIT(every_allocation_of_a_task_fails),
        UNIT(every_allocation_of_a_growing_table_fails),
        UNIT(no_allocation_stops_an_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
