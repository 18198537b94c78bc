/*
 * Spares: what fork and exec need new each time, made ahead. An address space (its memfds, their
 * mappings, its socket) for the next fork; clean processes of the zygote's, each asleep in its
 * slot, for the next execs. A process is used once and never comes back, so nothing that one
 * program did can reach the next.
 *
 * They are made when a task has ended and its parent has been told (host_job_refill), not before
 * the sandbox has once needed one, and never more than SPARE_PROCESSES and one. Asleep they cost no
 * time; they end with the sandbox like every other guest process.
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
        aspace = STEAL(job->spares.aspace);
        *guest_socket = job->spares.guest_socket;
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

static void refill_aspace(struct host_job *job) {
    struct host_aspace *aspace;
    int guest_socket;
    {
        LOCK_GUARD(&job->lock);
        if (!job->spares.aspace_wanted || job->spares.aspace) {
            return;
        }
    }
    aspace = make_aspace(job, &guest_socket);
    if (IS_ERR(aspace)) {
        return; /* whoever needs one finds out for himself */
    }
    host_aspace_touch(aspace);
    LOCK_GUARD(&job->lock);
    job->spares.aspace = aspace;
    job->spares.guest_socket = guest_socket;
}

static void refill_processes(struct host_job *job) {
    struct spare_process spare;
    {
        LOCK_GUARD(&job->lock);
        if (!job->spares.process_wanted || job->spares.process_count == SPARE_PROCESSES) {
            return;
        }
    }
    if (host_process_make(job, &spare.process, &spare.aspace, &spare.thread)) {
        return;
    }
    if (host_thread_ensure_started(spare.thread)) {
        host_thread_put(spare.thread);
        host_aspace_put(spare.aspace);
        host_process_put(spare.process);
        return;
    }
    LOCK_GUARD(&job->lock);
    job->spares.processes[job->spares.process_count++] = spare;
}

void host_job_refill(struct host_job *job) {
    if (job->mock || atomic_exchange(&job->spares.refilling, true)) {
        return;
    }
    refill_processes(job);
    refill_aspace(job);
    atomic_store(&job->spares.refilling, false);
}
