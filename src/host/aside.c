/*
 * Aside: work that nobody waits for is done on a core where no task of the sandbox is active: the
 * last figures of a guest process and its end, which takes the host longer than all that came
 * before it, and the making of spares. On the core of the task that caused it, it would delay that
 * task's parent.
 *
 * One thread does it. Who has work for it chooses its core before it wakes: moving a thread that
 * sleeps costs the host little, moving one that runs a wake-up more. The zygote goes along, which
 * makes spares with it, and a process that is killed is sent there to die. Where no core is free,
 * each does his own work where he is.
 */
#include "host/pairing.h"

#define WORKS_MAX 16 /* that wait: each may hold a process that is to end */

/* -1: none. A task that is about to end is active itself. */
static int free_core(void) {
    for (int i = 0; i < pairing.count && pairing.count > 1; i++) {
        if (atomic_load(&pairing.cores[i].active) == 0 && !atomic_load(&pairing.cores[i].spun)) {
            return i;
        }
    }
    return -1;
}

/* True: whoever was sent to *place before (-1: nowhere) shall move to `set`. */
static bool move_to(_Atomic int *place, cpu_set_t *set) {
    int core = free_core();

    if (core < 0 || atomic_exchange(place, core) == core) {
        return false;
    }
    CPU_ZERO(set);
    CPU_SET(pairing.numbers[core], set);
    return true;
}

void aside_send(pid_t pid, _Atomic int *place) {
    cpu_set_t set;

    if (pid > 0 && move_to(place, &set)) {
        (void)sched_setaffinity(pid, sizeof(set), &set); /* what fails costs speed alone */
    }
}

static bool do_next(struct host_job *job) {
    struct host_work *work = NULL;
    {
        LOCK_GUARD(&job->lock);
        if (!list_empty(&job->aside.works)) {
            work = list_first_entry(&job->aside.works, struct host_work, link);
            list_del(&work->link);
            job->aside.count--;
        }
    }
    if (work) {
        work->fn(work);
    }
    return work != NULL;
}

static void *aside_main(void *arg) {
    struct host_job *job = host_job_get(arg); /* for good: a work may hold the last other one */

    pairing_leave_core();
    job->aside.thread = pthread_self();
    /* Who does not see this yet has come before the look that follows. */
    atomic_store(&job->aside.waiter, waiter_current());
    for (;;) {
        while (do_next(job) || spares_refill(job)) {
        }
        (void)!wait_sleep_uninterruptible(WAIT_FOREVER);
    }
    return NULL;
}

void aside_wake(struct host_job *job) {
    struct waiter *waiter = atomic_load(&job->aside.waiter);
    cpu_set_t set;

    if (!waiter) {
        if (!atomic_exchange(&job->aside.started, true) && host_job_thread(aside_main, job)) {
            atomic_store(&job->aside.started, false); /* without it, it goes slower */
        }
        return;
    }
    if (move_to(&job->aside.core, &set)) {
        (void)pthread_setaffinity_np(job->aside.thread, sizeof(set), &set);
    }
    aside_send(job->zygote_pid, &job->aside.zygote_core);
    waiter_wake(waiter);
}

bool host_job_aside(struct host_job *job, struct host_work *work) {
    if (!atomic_load(&job->aside.waiter) || free_core() < 0) {
        return false;
    }
    {
        LOCK_GUARD(&job->lock);
        if (job->aside.count == WORKS_MAX) {
            return false;
        }
        list_add_tail(&work->link, &job->aside.works);
        job->aside.count++;
    }
    aside_wake(job);
    return true;
}
