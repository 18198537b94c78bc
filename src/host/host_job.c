/*
 * host_job: the sandbox's set of host processes. It starts the zygote, answers the filter's clone
 * notifications, and knows every process.
 *
 * host_job_new() must run while the kernel process has one thread, and that thread must live as
 * long as the process: the zygote and every guest process (cloned with CLONE_PARENT) are its
 * children.
 */
#include "host/host_internal.h"
#include "host/jail.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct host_job *host_job_new_mock(void) {
    struct host_job *job = calloc(1, sizeof(*job));

    if (!job) {
        return ERR_PTR(-ENOMEM);
    }
    ref_init(&job->ref);
    job->mock = true;
    job->notify_fd = job->zygote_pidfd = -1;
    lock_init(&job->lock, LOCK_HOST_JOB);
    pthread_mutex_init(&job->zygote_mutex, NULL);
    list_init(&job->processes);
    list_init(&job->aside.works);
    job->aside.core = job->aside.zygote_core = -1;
    return job;
}

void host_job_allow(struct host_job *job, uint32_t flags) {
    job->public_flags = flags;
}

int host_job_count_calls(struct host_job *job) {
    job->call_counts = calloc(SLOT_ANSWERED, sizeof(*job->call_counts));
    return job->call_counts ? 0 : -ENOMEM;
}

const struct host_call_counts *host_job_call_counts(const struct host_job *job) {
    return job->call_counts;
}

uint32_t host_job_allowed(const struct host_job *job) {
    bool fsgsbase = getauxval(AT_HWCAP2) & 2;

    return job->public_flags & (fsgsbase ? ~0u : ~SLOT_PUBLIC_PATCH);
}

struct host_job *host_job_get(struct host_job *job) {
    ref_get(&job->ref);
    return job;
}

void host_job_put(struct host_job *job) {
    if (!ref_put(&job->ref)) {
        return;
    }
    if (job->zygote_pid > 0) {
        kill(job->zygote_pid, SIGKILL);
    }
    if (job->zygote_pidfd >= 0) {
        close(job->zygote_pidfd);
    }
    if (job->report) {
        munmap(job->report, sizeof(*job->report));
    }
    lock_destroy(&job->lock);
    pthread_mutex_destroy(&job->zygote_mutex);
    free(job->call_counts);
    free(job);
}

bool host_job_pid_in_use(struct host_job *job, pid_t pid) {
    struct host_process *process;
    LOCK_GUARD(&job->lock);

    if (pid == job->zygote_pid) {
        return true;
    }
    list_for_each_entry (process, &job->processes, job_link) {
        LOCK_GUARD(&process->lock);
        if (process->bound && !process->exited && process->pid == pid) {
            return true;
        }
    }
    return false;
}

/* ---- the notifier ---- */

/* Did the kernel order this very clone from this very thread? Each order is good for one. */
static bool clone_was_ordered(struct host_job *job, pid_t tid, uint64_t flags) {
    struct host_process *process;
    struct host_thread *thread;
    LOCK_GUARD(&job->lock);

    list_for_each_entry (process, &job->processes, job_link) {
        LOCK_GUARD(&process->lock);
        list_for_each_entry (thread, &process->threads, process_link) {
            int expected = 1;

            if (atomic_load(&thread->tid) == tid && atomic_load(&thread->clone_expected) == 1 &&
                thread->clone_flags == flags) {
                return atomic_compare_exchange_strong(&thread->clone_expected, &expected, 0);
            }
        }
    }
    return false;
}

static void *notifier_main(void *arg) {
    struct host_job *job = arg;

    pairing_leave_core(); /* it answers where it is asked */
    for (;;) {
        struct seccomp_notif request = {0};
        struct seccomp_notif_resp response = {0};

        if (ioctl(job->notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
            if (errno == EINTR || errno == ENOENT) {
                continue;
            }
            panic("seccomp notification: %s", strerror(errno));
        }
        response.id = request.id;
        if (request.data.nr == SYS_clone &&
            clone_was_ordered(job, (pid_t)request.pid, request.data.args[0])) {
            response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        } else {
            response.error = -EPERM;
            log_once(LOG_WARN, "clone", 0,
                     "a guest tried to clone behind the kernel's back: refused");
        }
        /* ENOENT: killed meanwhile. */
        if (ioctl(job->notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 && errno != ENOENT) {
            panic("seccomp notification answer: %s", strerror(errno));
        }
    }
    return NULL;
}

/* Takes the listener out of the zygote, which cannot send it: its filter is on. */
static int take_listener(struct host_job *job, int listener_fd) {
    job->notify_fd = (int)syscall(SYS_pidfd_getfd, job->zygote_pidfd, listener_fd, 0);
    if (job->notify_fd < 0) {
        return -errno;
    }
    /* The waker's core is where we answer from; hosts before 6.6 do without. */
    ioctl(job->notify_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    return 0;
}

int host_job_thread(void *(*main)(void *), struct host_job *job) {
    pthread_t thread;
    sigset_t all, old;
    pthread_attr_t attr;
    int result;

    host_signals_blocked(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 65536);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    result = -pthread_create(&thread, &attr, main, job);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return result;
}

int host_job_notifier_start_locked(struct host_job *job) {
    int result = job->notifier_runs ? 0 : host_job_thread(notifier_main, job);

    job->notifier_runs = result == 0;
    return result;
}

/* ---- the zygote ---- */

/* The range of the vDSO with its data pages, from our own map, which a copy of us shares. */
static void find_vdso(struct zygote_setup *setup) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    if (!maps) {
        return;
    }
    while (fgets(line, sizeof(line), maps)) {
        unsigned long start, end;

        if ((strstr(line, "[vdso]") || strstr(line, "[vvar")) &&
            sscanf(line, "%lx-%lx", &start, &end) == 2) {
            if (!setup->vdso_start || start < setup->vdso_start) {
                setup->vdso_start = start;
            }
            setup->vdso_end = MAX(setup->vdso_end, end);
        }
    }
    fclose(maps);
}

/*
 * A random base in a part of the address space that neither mmap's own choices (top down from below
 * the stack) nor the usual fixed users (sanitizer shadows, language heaps) take.
 */
static int random_stub_base(uint64_t *base) {
    uint32_t random;

    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        return -errno;
    }
    *base = 0x7e9000000000ull + (uint64_t)(random % 0x2f000) * 0x200000;
    return 0;
}

static pid_t fork_zygote(const struct zygote_setup *wanted, struct zygote_report *report) {
    const unsigned long own = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    const unsigned long namespaces[] = {own | CLONE_NEWUSER, own, 0};

    for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++) {
        pid_t pid = (pid_t)syscall(SYS_clone, namespaces[i] | SIGCHLD, NULL, NULL, NULL, NULL);

        if (pid == 0) {
            struct zygote_setup setup = *wanted;

            setup.own_namespaces = namespaces[i] != 0;
            zygote_main(&setup, report);
        }
        if (pid > 0) {
            if (!namespaces[i]) {
                log_line(LOG_INFO,
                         "the host allows no namespaces for guests: the filter alone confines them "
                         "(`starling doctor` tells more)");
            }
            return pid;
        }
    }
    return -errno;
}

/* Later a copy that fails means a bad address; so that the host allows them at all is asked once,
 * by a word that goes out of the sleeping zygote and back again. */
static int check_copies(struct host_thread *zygote) {
    uint64_t word;
    struct iovec here = {&word, sizeof(word)};
    struct iovec there = {(void *)(zygote->aspace->stub_base + STUB_STACKS_OFFSET), sizeof(word)};
    const char *call = "process_vm_readv";
    ssize_t copied = process_vm_readv(zygote->tid, &here, 1, &there, 1, 0);

    if (copied == (ssize_t)sizeof(word)) {
        call = "process_vm_writev";
        copied = process_vm_writev(zygote->tid, &here, 1, &there, 1, 0);
    }
    if (copied == (ssize_t)sizeof(word)) {
        return 0;
    }
    int error = copied < 0 ? errno : EIO;

    log_line(LOG_ERROR, "cannot reach the memory of a guest process: %s: %s", call,
             strerror(error));
    return -error;
}

/* Waits until the zygote serves its slot, or has failed. */
static int zygote_wait(struct host_thread *zygote, const struct zygote_report *report) {
    _Atomic uint32_t *turn = (_Atomic uint32_t *)&zygote->slot->turn;

    __atomic_store_n(&zygote->slot->kernel_sleeps, 1, __ATOMIC_SEQ_CST);
    while (atomic_load(turn) == SLOT_GUEST) {
        struct timespec slice = {0, 20000000};
        int state = atomic_load(&report->state);

        if (state < 0) {
            log_line(LOG_ERROR, "cannot start a guest process: %s: %s", report->failed,
                     strerror(-state));
            return state;
        }
        /* A zygote that dies without a word must not leave us asleep. */
        if (kill(zygote->tid, 0) < 0) {
            return -ESRCH;
        }
        syscall(SYS_futex, turn, 0 /* FUTEX_WAIT */, SLOT_GUEST, &slice, NULL, 0);
    }
    __atomic_store_n(&zygote->slot->kernel_sleeps, 0, __ATOMIC_RELAXED);
    zygote->started = true;
    return check_copies(zygote);
}

static int zygote_start(struct host_job *job, struct host_aspace *aspace,
                        const struct zygote_setup *setup) {
    struct host_process *process CLEANUP(host_process_put) = NULL;
    int result;

    process = host_process_new(job);
    if (IS_ERR(process)) {
        return (int)PTR_ERR(STEAL(process));
    }
    result = host_aspace_slot_claim(aspace, 0);
    if (result) {
        return result;
    }
    job->zygote = host_thread_new(process, aspace, 0, true);
    if (IS_ERR(job->zygote)) {
        return (int)PTR_ERR(STEAL(job->zygote));
    }
    __atomic_store_n(&job->zygote->slot->turn, SLOT_GUEST, __ATOMIC_RELEASE);
    job->zygote_pid = fork_zygote(setup, job->report);
    if (job->zygote_pid < 0) {
        return job->zygote_pid;
    }
    process->pid = job->zygote_pid;
    atomic_store(&job->zygote->tid, job->zygote_pid);
    return 0;
}

struct host_job *host_job_new(void) {
    struct host_job *job = host_job_new_mock();
    struct zygote_setup setup = {.death_signal = getpid() != 1, .kernel_pid = getpid()};
    struct host_aspace *aspace;
    int result;

    if (IS_ERR(job)) {
        return job;
    }
    job->mock = false;
    signal(SIGCHLD,
           SIG_IGN); /* guests are reaped by the host; their ends are seen through pidfds */
    result = random_stub_base(&setup.stub_base);
    find_vdso(&setup);
    job->report =
        mmap(NULL, sizeof(*job->report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result || job->report == MAP_FAILED) {
        result = result ? result : -errno;
        job->report = NULL;
        host_job_put(job);
        return ERR_PTR(result);
    }
    aspace = host_aspace_new(setup.stub_base, NULL, &setup.control_fd);
    if (IS_ERR(aspace)) {
        result = (int)PTR_ERR(aspace);
    } else {
        aspace->vdso = getauxval(AT_SYSINFO_EHDR);
        aspace->vdso_start = setup.vdso_start;
        aspace->vdso_end = setup.vdso_end;
        setup.context_fd = aspace->context_fd;
        setup.public_fd = aspace->public_fd;
        result = zygote_start(job, aspace, &setup);
        close(setup.control_fd);
        host_aspace_put(aspace);
    }
    if (result) {
        host_job_put(job);
        return ERR_PTR(result);
    }
    return job;
}

/*
 * A network namespace is dearer to make and to take down than all others together, and an empty one
 * is as empty when two share it: the zygote makes it, beside what this process does meanwhile.
 */
static void join_network(const struct host_job *job) {
    if ((!job->report->own_network || setns(job->zygote_pidfd, CLONE_NEWNET) < 0) &&
        unshare(CLONE_NEWNET) < 0) {
        log_line(LOG_INFO,
                 "the host gives the kernel process no network of its own (%s): its list of calls "
                 "alone keeps it from the host's",
                 strerror(errno));
    }
}

int host_job_ready(struct host_job *job) {
    int result = zygote_wait(job->zygote, job->report);

    if (result == 0) {
        job->zygote_pidfd = (int)syscall(SYS_pidfd_open, job->zygote_pid, 0);
        result = job->zygote_pidfd < 0 ? -errno : 0;
    }
    if (result == 0) {
        join_network(job);
        result = take_listener(job, job->report->listener_fd);
    }
    if (result == 0) {
        /* Guests shall not inherit it. */
        result = (int)host_thread_call(job->zygote, SYS_close, (uint64_t)job->report->listener_fd,
                                       0, 0, 0, 0, 0);
    }
    munmap(job->report, sizeof(*job->report));
    job->report = NULL;
    return result;
}

void host_job_end(struct host_job *job) {
    (void)syscall(SYS_pidfd_send_signal, job->zygote_pidfd, SIGKILL, NULL, 0);
}
