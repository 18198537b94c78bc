/*
 * The substrate's objects, shared by the files of host/. A mock has `mock` set and no host process,
 * slot or descriptor behind it.
 */
#ifndef STARLING_HOST_INTERNAL_H
#define STARLING_HOST_INTERNAL_H

#include <linux/seccomp.h>
#include <pthread.h>

#include "host/host.h"

extern const char stub_blob_start[], stub_blob_end[];

#define ASPACE_SLOT_WORDS (STUB_MAX_SLOTS / 64)

/* Host descriptors that a guest process may have, since each costs the host's kernel memory that
 * nothing counts; and how many of them it may be given to keep: what is left is for those that it
 * holds for a moment, to map or to clone with. */
#define GUEST_FDS      2048
#define GUEST_FDS_KEPT 1024

struct host_aspace {
    struct ref ref;
    bool mock;
    uint64_t stub_base;                  /* immutable */
    uint64_t vdso, vdso_start, vdso_end; /* immutable; 0: none */
    int context_fd;                      /* memfd of the slots; owned */
    char *slots;                         /* its mapping in this process; NULL: mock */
    int public_fd;                       /* memfd of the public area; owned */
    char *public;                        /* its mapping, the only writable one; NULL: mock */
    int control_fd;                      /* our end of the control socket; owned */
    struct lock lock;                    /* class HOST_ASPACE */
    uint64_t used[ASPACE_SLOT_WORDS];    /* guarded by lock: slots that have a thread */
    uint64_t tables[4]; /* guarded by lock: descriptor tables of processes, a bit each */
};

/* CPU time used, in ns, as last told. */
struct cpu_times {
    int64_t user, system;
};

struct host_process {
    struct ref ref;
    struct host_job *job; /* owned */
    bool mock;
    _Atomic int kill_count;
    struct lock lock;           /* class HOST_PROCESS */
    _Atomic pid_t pid;          /* set under lock when bound, then immutable; 0: not yet known */
    int pidfd;                  /* owned; -1: not yet */
    int reserved_fd;            /* owned; a number for the pidfd, until it is bound; -1: none */
    bool killed;                /* guarded by lock: to be killed as soon as its pid is known */
    bool exited;                /* guarded by lock */
    bool bound;                 /* guarded by lock */
    struct cpu_times cpu_times; /* guarded by lock */
    struct list_head threads;   /* guarded by lock */
    struct poller_watch watch;
    struct poller_timer deadline;     /* see host_process_kill_by() */
    bool deadline_set;                /* guarded by lock */
    struct host_aspace *table_aspace; /* owned; set once, with table */
    struct slot_fd *table;            /* its descriptor table there; set once; NULL: none */
    uint64_t *notes;                  /* that go with it; the guest can write them */
    _Atomic uint32_t table_top;       /* no entry from here on was ever used */
    const void *table_owner;          /* guarded by lock: who says what is in it */
    _Atomic bool direct_refused;      /* it did not keep to the rules */
    void (*on_exit)(void *arg);       /* guarded by lock */
    void *on_exit_arg;
    struct list_head job_link; /* guarded by job->lock */
};

struct host_thread {
    struct ref ref;
    bool mock;
    struct host_process *process;  /* owned; immutable */
    struct host_aspace *aspace;    /* owned; immutable */
    struct list_head process_link; /* guarded by process->lock */
    uint32_t index;                /* of the slot; immutable */
    struct slot *slot;             /* the guest can write it: fetch once; NULL: mock */
    _Atomic pid_t tid;             /* 0: not yet known */
    pthread_mutex_t start_mutex;   /* held while somebody waits for the start */
    _Atomic bool started;
    _Atomic bool kick_wanted; /* was kicked before it could be sent a signal */
    bool leader;              /* the first thread of its process; immutable */
    _Atomic bool dead;
    _Atomic int clone_expected; /* the notifier may let one clone with clone_flags pass */
    uint64_t clone_flags;
    /* pairing.c */
    _Atomic int cpu;          /* the core that both threads belong to, by its index; -1: anywhere */
    int kernel_cpu;           /* where the own kernel thread was last pinned for it */
    _Atomic int pinned_to;    /* the host thread's core; -1: not known, or any */
    _Atomic int move_to;      /* the event thread wants it there at its next turn; -1: nowhere */
    _Atomic uint32_t user_at; /* the core, plus one, where it is counted while its guest has the
                                 turn; 0: it has not, or the tick has given it up */
    _Atomic bool in_user, unpinned;
    _Atomic bool holds; /* its mark stands though it is in the kernel: host_thread_direct_held() */
    _Atomic uint32_t turns; /* how often the guest was let run */
    uint32_t tick_turns;    /* event thread only */
    /* guarded by process->lock: what the stub has been told to close and may not have closed yet */
    int32_t closing[SLOT_MAX_CLOSES];
    uint32_t closing_count;
    struct cpu_times cpu_times; /* guarded by process->lock */
    /* own kernel thread only */
    const void *table_owner; /* host_thread_table_owner() */
    uint64_t direct_done;
    uint64_t direct_io[4]; /* guarded by its task's lock: how much of it was told */
    struct user_regs regs;
    bool regs_changed;
    bool call_sleeps;                /* the ordered host calls end with one that may block */
    uint32_t deferred;               /* host calls that go with the next resume */
    bool mock_defers, mock_finished; /* host_thread_mock_defers() */
    uint64_t mock_mask;
    struct slot_told mock_told;
    bool fpstate_reset;
    uint64_t fpstate, fpstate_size;
    /* What the last event's call brought along (slot.h), and what its end takes there. */
    uint64_t brought_address, answer_address;
    uint32_t brought_size, answer_size;
};

#define SPARE_PROCESSES 2
#define SPARE_ASPACES   2
struct spare_aspace {
    struct host_aspace *aspace; /* owned */
    int guest_socket;           /* owned; its guest's end of the control socket */
};

struct spare_process {
    struct host_process *process;
    struct host_aspace *aspace;
    struct host_thread *thread;
};

struct zygote_report;

struct host_job {
    struct ref ref;
    bool mock;
    struct lock lock;                     /* class HOST_JOB */
    struct list_head processes;           /* guarded by lock */
    uint32_t public_flags;                /* immutable once a guest runs */
    struct host_call_counts *call_counts; /* owned; immutable once a guest runs; NULL: not wanted */
    pid_t zygote_pid;
    int zygote_pidfd;             /* -1: none */
    struct zygote_report *report; /* owned; NULL once the zygote is known to be ready */
    int notify_fd;                /* seccomp's listener; -1: none */
    bool notifier_runs;           /* guarded by zygote_mutex */
    pthread_mutex_t zygote_mutex; /* who may command the zygote, which is trusted to answer */
    struct host_thread *zygote;   /* owned */
    struct {                      /* spares.c; guarded by lock */
        bool aspace_wanted, process_wanted; /* by somebody, once */
        struct spare_aspace aspaces[SPARE_ASPACES];
        int aspace_count;
        struct spare_process processes[SPARE_PROCESSES];
        int process_count;
    } spares;
    struct {                    /* aside.c */
        struct list_head works; /* of struct host_work; guarded by lock, with their count */
        int count;
        _Atomic bool started; /* the thread that does them */
        struct waiter *_Atomic waiter;
        pthread_t thread;              /* set before waiter */
        _Atomic int core, zygote_core; /* where it and the zygote were sent; -1: nowhere */
    } aside;
};

/* host_aspace.c */
struct host_aspace *host_aspace_new(uint64_t stub_base, const struct host_aspace *vdso_of,
                                    int *guest_control_fd);
struct slot_public *host_aspace_public(const struct host_aspace *aspace, uint32_t index);
/* Has the host find the pages that every process uses. */
void host_aspace_touch(struct host_aspace *aspace);
int MUST_CHECK host_aspace_slot_allocate(struct host_aspace *aspace, uint32_t *index);
int MUST_CHECK host_aspace_slot_claim(struct host_aspace *aspace, uint32_t index);
void host_aspace_slot_free(struct host_aspace *aspace, uint32_t index);
struct slot *host_aspace_slot(const struct host_aspace *aspace, uint32_t index);

/* host_donation.c */
/* With the last reference to the process: gives its table back. */
void host_donation_end(struct host_process *process);
/* The orders to close have been carried out. */
void host_thread_closed(struct host_thread *thread);

/* host_process.c */
struct host_process *host_process_new(struct host_job *job);
/* So that a clone fails for want of descriptors, and not its child: 0 or -errno. */
int MUST_CHECK host_process_reserve_fd(struct host_process *process);
/* The process behind it is known and runs: watch it, or kill it when that was asked for meanwhile.
 * -ESRCH: it has gone. */
int MUST_CHECK host_process_bind(struct host_process *process, pid_t pid);

/* spares.c */
/* An address space for a fork, made ahead unless it must be `fresh`, or now (ERR_PTR), and its
 * guest's socket. */
struct host_aspace *spares_take_aspace(struct host_job *job, bool fresh, int *guest_socket);
bool MUST_CHECK spares_take_process(struct host_job *job, struct host_process **process,
                                    struct host_aspace **aspace, struct host_thread **thread);

/* The thread of aside.c: true when one was made, and there may be more to make. */
bool spares_refill(struct host_job *job);

/* aside.c: there is something to do for its thread, which is started if need be. */
void aside_wake(struct host_job *job);

/* host_clone.c: host_process_create() without the spares. */
int MUST_CHECK host_process_make(struct host_job *job, struct host_process **process,
                                 struct host_aspace **aspace, struct host_thread **thread);

/* host_thread.c */
struct host_thread *host_thread_new(struct host_process *process, struct host_aspace *aspace,
                                    uint32_t index, bool leader);
/* Gives the turn to the stub with the order in its slot, and waits for the next event's kind
 * (-ESRCH: gone). */
int MUST_CHECK host_thread_hand_over(struct host_thread *thread, enum slot_command command);
/* Waits until a new host thread has reported itself. */
int MUST_CHECK host_thread_ensure_started(struct host_thread *thread);
/* Any thread, once it has started. */
void host_thread_send_kick(struct host_thread *thread);

/* host_job.c */
/* With zygote_mutex held: starts the notifier with the first guest, so that it is born in the jail
 * (capabilities are a thread's). */
int MUST_CHECK host_job_notifier_start_locked(struct host_job *job);
/* A thread that serves the job to its end, without signals. */
int MUST_CHECK host_job_thread(void *(*main)(void *), struct host_job *job);
bool host_job_pid_in_use(struct host_job *job, pid_t pid);

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP /* Linux 6.6 */
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#endif

/* A host call again after EINTR; -errno. */
#define RETRY(expression)                                                                          \
    ({                                                                                             \
        __typeof__(expression) retry_;                                                             \
        do {                                                                                       \
            retry_ = (expression);                                                                 \
        } while (retry_ < 0 && errno == EINTR);                                                    \
        retry_ < 0 ? -errno : retry_;                                                              \
    })

/* host_proc.c: a file below the /proc of our own pid namespace, read-only unless flags say more;
 * -errno. */
int MUST_CHECK host_proc_open(const char *path, int flags);
/* host_facts.c: what can be read from there, up to some MiB; malloc'ed, NUL-terminated, or NULL. */
char *host_read_all(int fd);

/* zygote.c: what the kernel process and its zygote share for a moment. */
struct zygote_setup {
    uint64_t stub_base;
    int context_fd, public_fd, control_fd; /* as numbered in both */
    uint64_t vdso_start, vdso_end;
    uint64_t map_start, map_end; /* lowest and highest mapping of this process */
    bool own_namespaces;
    bool death_signal; /* no pid namespace: guests must ask to die with us */
    pid_t kernel_pid;
};
/* In the new process: never returns. Reports the listener's number through the shared page. */
struct zygote_report {
    _Atomic int state; /* 0: running, 1: ready, <0: -errno */
    int listener_fd;
    bool own_network;
    const char *failed;
};
void zygote_main(const struct zygote_setup *setup, struct zygote_report *report)
    __attribute__((noreturn));

/* filter.c */
int MUST_CHECK filter_install(uint64_t stub_base, bool death_signal, int *listener_fd);

/* turn.c: -ESRCH: the host thread is gone. */
int MUST_CHECK turn_give(struct host_thread *thread);
int MUST_CHECK turn_await(struct host_thread *thread);
/* A new thread has no turn to give back yet: waits until `turn` is no more the guest's. */
void turn_await_first(struct host_thread *thread);
void turn_mark_dead(struct host_thread *thread);

/* pairing.c: where the two threads of a task run. */
void pairing_assign(struct host_thread *thread, const struct host_thread *near);
void pairing_enter(struct host_thread *thread, bool sleeps);
void pairing_leave(struct host_thread *thread, bool sleeps);
/* A thread that serves all tasks: not bound to the core of the kernel thread that has started it.
 */
void pairing_leave_core(void);

/* The processor's time stamp: the same on all cores, at a steady rate. */
static inline uint64_t cycles(void) {
    return __builtin_ia32_rdtsc();
}

/* host_futex.c */
void host_futex_wake(_Atomic uint32_t *word, int count);
void host_futex_wait(_Atomic uint32_t *word, uint32_t expected);

#endif
