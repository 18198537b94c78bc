/*
 * Spares: what fork and exec need new each time, made ahead. An address space (its memfds, their
 * mappings, its socket) for the next fork; clean processes of the zygote's, each asleep in its
 * slot, for the next execs. A process is used once and never comes back, so nothing that one
 * program did can reach the next.
 *
 * They are made when a task has ended and its parent has been told (host_job_refill), aside
 * (aside.c), so that a free core does it beside the parent's next steps. None is made before the
 * sandbox has once needed one, and never more than SPARE_PROCESSES and SPARE_ASPACES. Asleep they
 * cost no time; they end with the sandbox like every other guest process.
 */
#include "host/host_internal.h"

#include <unistd.h>

static struct host_aspace *make_aspace(struct host_job *job, int *guest_socket) {
    const struct host_aspace *model = job->zygote->aspace;

    return host_aspace_new(model->stub_base, model, guest_socket);
}

struct host_aspace *spares_take_aspace(struct host_job *job, bool fresh, int *guest_socket) {
    struct host_aspace *aspace = NULL;

    if (!fresh) {
        LOCK_GUARD(&job->lock);
        job->spares.aspace_wanted = true;
        if (job->spares.aspace_count > 0) {
            const struct spare_aspace *spare = &job->spares.aspaces[--job->spares.aspace_count];

            aspace = spare->aspace;
            *guest_socket = spare->guest_socket;
        }
    }
    return aspace ? aspace : make_aspace(job, guest_socket);
}

bool spares_take_process(struct host_job *job, struct host_process **process,
                         struct host_aspace **aspace, struct host_thread **thread) {
    struct spare_process spare;

    for (;;) {
        {
            LOCK_GUARD(&job->lock);
            job->spares.process_wanted = true;
            if (job->spares.process_count == 0) {
                return false;
            }
            spare = job->spares.processes[--job->spares.process_count];
        }
        if (!atomic_load(&spare.thread->dead)) {
            *process = spare.process;
            *aspace = spare.aspace;
            *thread = spare.thread;
            return true;
        }
        /* The host has killed it meanwhile, for want of memory or so. */
        host_thread_put(spare.thread);
        host_aspace_put(spare.aspace);
        host_process_put(spare.process);
    }
}

/* True: one was made, and there may be more to make. */
static bool refill_aspace(struct host_job *job) {
    struct spare_aspace spare;
    {
        LOCK_GUARD(&job->lock);
        if (!job->spares.aspace_wanted || job->spares.aspace_count == SPARE_ASPACES) {
            return false;
        }
    }
    spare.aspace = make_aspace(job, &spare.guest_socket);
    if (IS_ERR(spare.aspace)) {
        return false; /* whoever needs one finds out for himself */
    }
    host_aspace_touch(spare.aspace);
    LOCK_GUARD(&job->lock);
    job->spares.aspaces[job->spares.aspace_count++] = spare;
    return true;
}

static bool refill_process(struct host_job *job) {
    struct spare_process spare;
    {
        LOCK_GUARD(&job->lock);
        if (!job->spares.process_wanted || job->spares.process_count == SPARE_PROCESSES) {
            return false;
        }
    }
    if (host_process_make(job, &spare.process, &spare.aspace, &spare.thread)) {
        return false;
    }
    if (host_thread_ensure_started(spare.thread)) {
        host_thread_put(spare.thread);
        host_aspace_put(spare.aspace);
        host_process_put(spare.process);
        return false;
    }
    LOCK_GUARD(&job->lock);
    job->spares.processes[job->spares.process_count++] = spare;
    return true;
}

bool spares_refill(struct host_job *job) {
    bool process = refill_process(job);

    return refill_aspace(job) || process;
}

static bool wanted(struct host_job *job) {
    LOCK_GUARD(&job->lock);

    return (job->spares.aspace_wanted && job->spares.aspace_count < SPARE_ASPACES) ||
           (job->spares.process_wanted && job->spares.process_count < SPARE_PROCESSES);
}

void host_job_refill(struct host_job *job) {
    if (!job->mock && wanted(job)) {
        aside_wake(job);
    }
}
