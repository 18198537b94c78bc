/*
 * Guests on the host, in the seed's words: host_job (zx::Job) is the sandbox's set of processes;
 * host_process (zx::Process) the host process of one thread group; host_thread (zx::Thread) the
 * host thread of one task, known by its slot; host_aspace (zx::Vmar) the address space, shared by
 * host processes that share memory (CLONE_VM).
 *
 * All of them have a mock form with no host process behind (host_*_new_mock), so that every kernel
 * object can be tested without a guest: orders succeed, kills are counted.
 */
#ifndef STARLING_HOST_PROCESS_H
#define STARLING_HOST_PROCESS_H

#include <sys/uio.h>

#include "base/base.h"
#include "host/slot.h"
#include "host/wait.h"
#include "uapi/uapi.h"

struct host_job;
struct host_process;
struct host_thread;
struct host_aspace;

/* ---- job ---- */

/* Before host_job_ready() and before the jail: keeps a way to the host's /proc. */
int MUST_CHECK host_proc_setup(void);
struct host_job *host_job_new_mock(void); /* ERR_PTR */
/* The real one: starts the zygote, which prepares itself beside us. See host_job.c for the start of
 * the kernel process. */
struct host_job *host_job_new(void);
/* Once, before the jail and the second thread: waits for it, and takes this thread, with all that
 * it starts, into its network namespace, where nothing is. */
int MUST_CHECK host_job_ready(struct host_job *job);
/* The last act of the kernel process: what ends with it anyway begins to end. */
void host_job_end(struct host_job *job);
/* What the guests' stubs say to have answered by themselves, of threads that have gone, by the
 * call's number: SLOT_ANSWERED of them, NULL before host_job_count_calls(), which comes before the
 * first guest. Display figures: a guest can make them up. */
struct host_call_counts {
    _Atomic uint64_t trapped, patched; /* with a signal, and without */
    _Atomic uint64_t failed;           /* of both, those that gave an error */
};
int MUST_CHECK host_job_count_calls(struct host_job *job); /* -ENOMEM */
const struct host_call_counts *host_job_call_counts(const struct host_job *job);
/* SLOT_PUBLIC_*, less what this processor cannot. */
uint32_t host_job_allowed(const struct host_job *job);
/* What its guests' stubs may do without the kernel: SLOT_PUBLIC_*. Set before the first guest runs.
 */
void host_job_allow(struct host_job *job, uint32_t flags);
struct host_job *host_job_get(struct host_job *job);
void host_job_put(struct host_job *job); /* kills what still runs */
DEFINE_CLEANUP(struct host_job *, host_job_put)

/* ---- process ---- */

/* A fresh process from the zygote with an empty address space and one thread, which waits
 * (SLOT_EVENT_STARTED). `near`: the task that it will be is running there; NULL: none is. */
int MUST_CHECK host_process_create(struct host_job *job, const struct host_thread *near,
                                   struct host_process **process, struct host_aspace **aspace,
                                   struct host_thread **thread);
/* When the caller has nothing urgent to do: makes ahead what the next fork and exec will need. */
void host_job_refill(struct host_job *job);
/* Work that nobody waits for: done soon, on a core that no task uses, by a thread of the job's. */
struct host_work {
    struct list_head link;
    void (*fn)(struct host_work *work); /* must not sleep for a guest */
};
/* False: no core is free, or much waits there already: the caller does it himself. */
bool MUST_CHECK host_job_aside(struct host_job *job, struct host_work *work);
struct host_process *host_process_new_mock(struct host_job *job);
struct host_process *host_process_get(struct host_process *process);
/* The last reference kills, and waits for an on_exit callback that runs just now: hold no lock that
 * such a callback takes. */
void host_process_put(struct host_process *process);
DEFINE_CLEANUP(struct host_process *, host_process_put)
/* SIGKILL. Idempotent: a second call returns 0 and does nothing. */
int MUST_CHECK host_process_kill(struct host_process *process);
/* SIGKILL at the deadline (CLOCK_MONOTONIC, ns) unless it has gone by then. A guest that is asked
 * to end may ruin its stub so that it never answers: nothing may depend on that. Takes no lock but
 * its own; the first deadline stands. */
void host_process_kill_by(struct host_process *process, deadline_ns deadline);
/* For tests: how often a kill was really sent. */
int host_process_kill_count(const struct host_process *process);
/* Called once when the host process has ended, however it ended, with no lock held: from the event
 * thread; from this call when it has ended before; from host_process_kill() of a mock. Set before
 * the process runs. */
void host_process_on_exit(struct host_process *process, void (*fn)(void *arg), void *arg);
/* Host CPU time of all its threads so far, in ns. */
int MUST_CHECK host_process_cpu_time(struct host_process *process, int64_t *user, int64_t *system);
/* VmRSS / minor+major faults of the host process: bytes and counts. */
int MUST_CHECK host_process_memory(struct host_process *process, uint64_t *resident,
                                   uint64_t *minor_faults, uint64_t *major_faults);
/* What a process holds that is not the host's files, in bytes. */
struct memory_held {
    uint64_t private; /* anonymous pages, on swap or not */
    uint64_t shared;  /* resident pages of memfds */
    uint64_t tables; /* page tables: a guest that reads one byte in each 2 MiB holds nothing else */
};
/* Each counts what it shares with others in full; -ESRCH: it has ended. */
int MUST_CHECK host_process_memory_held(struct host_process *process, struct memory_held *held);
/* Only its proportional share of it: what would come free with it. Costs a walk over its pages. */
int MUST_CHECK host_process_memory_share(struct host_process *process, struct memory_held *held);
/* Private memory and page tables of the kernel process itself, in bytes. */
int MUST_CHECK host_own_memory(uint64_t *bytes);
/* The three above are the event thread's. They work when no descriptor is free, unless another
 * thread is quicker. */

/* Of what is resident, how much is of files and shared memory, in bytes; 0 for a mock or one that
 * has gone. */
uint64_t host_process_shared(struct host_process *process);
/* What proc(5) calls smaps: figures in bytes for each range of its memory, ascending; malloc'ed.
 * None for a mock or one that has gone. -ENOMEM. */
#define HOST_SMAPS_FIGURES 16
enum host_smaps_figure { HOST_SMAPS_RSS, HOST_SMAPS_PSS, HOST_SMAPS_PSS_DIRTY };
struct host_smaps {
    uint64_t start, end;
    uint64_t bytes[HOST_SMAPS_FIGURES];
};
const char *host_smaps_name(size_t figure); /* "Rss", "Pss" ... in the order of proc(5) */
int MUST_CHECK host_process_smaps(struct host_process *process, struct host_smaps **ranges,
                                  size_t *count);

/* ---- thread ---- */

struct host_event {
    enum slot_event kind;
    struct {
        int signo, code;
        uint64_t address, trapno, error;
    } fault;
    int calls_result; /* SLOT_EVENT_CALLS: 0, or the first error of the deferred host calls */
};

struct host_thread *host_thread_new_mock(struct host_process *process);
struct host_thread *host_thread_get(struct host_thread *thread);
void host_thread_put(struct host_thread *thread);
DEFINE_CLEANUP(struct host_thread *, host_thread_put)
/* Tells the thread's stub who it is, for calls that it answers by itself. Callers take turns: they
 * hold the lock that guards what the ids say. */
void host_thread_publish(struct host_thread *thread, const struct slot_ids *ids);
/* Its signal mask, which its stub changes by itself unless a changed signal may be pending
 * (stub/signal_mask.c). Hostile: any value. A caller who wants to know whether the thread takes a
 * signal says first that it may be pending. */
uint64_t host_thread_signal_mask(const struct host_thread *thread);
void host_thread_set_signal_mask(struct host_thread *thread, uint64_t mask);
void host_thread_may_pend(struct host_thread *thread, uint64_t signals); /* these too */
void host_thread_set_pending(struct host_thread *thread, uint64_t signals);
/* What it has said about itself, mostly to its stub. */
struct slot_told host_thread_told(const struct host_thread *thread);
void host_thread_set_told(struct host_thread *thread, const struct slot_told *notes);
/* The registers as of the last event. Only the task's own kernel thread touches them. */
struct user_regs *host_thread_regs(struct host_thread *thread);
/* The caller changed more of the registers than rax: the next resume writes them all. */
void host_thread_regs_changed(struct host_thread *thread);

/*
 * Lets the guest run and waits for its next event. 0, or -ESRCH when the host thread is gone. Own
 * kernel thread only. `call_result` semantic: regs->rax is what the guest will see.
 */
int MUST_CHECK host_thread_resume(struct host_thread *thread, struct host_event *event);
/*
 * Has the stub make these host calls and waits for them: results[i] as the host gave them (-errno
 * or value). Stops at the first failure unless that call has SLOT_CALL_MAY_FAIL. Returns how many
 * were made (>= 0), or -ESRCH. At most SLOT_MAX_CALLS.
 */
int MUST_CHECK host_thread_calls(struct host_thread *thread, const struct slot_call *calls,
                                 size_t count, int64_t *results);
/*
 * The same calls, but the stub makes them when the guest is resumed with the result that its
 * registers hold then, and lets it go on at once when all succeed: one hand-over less. When one
 * fails, or when somebody has asked in vain whether they are made, host_thread_resume() comes back
 * with SLOT_EVENT_CALLS instead of the guest's next event. Nothing but a resume or a flush may come
 * next. False (a mock): they are not deferred.
 */
bool MUST_CHECK host_thread_calls_defer(struct host_thread *thread, const struct slot_call *calls,
                                        size_t count);
bool host_thread_calls_deferred(const struct host_thread *thread);
/* Has them made now: 0, the first error, or -ESRCH. */
int MUST_CHECK host_thread_calls_flush(struct host_thread *thread);
/* Any thread, while the calls may be under way: are they all made, with success? If not the stub
 * will report. (A guest that forges the answer fools itself alone.) */
bool host_thread_calls_finished(const struct host_thread *thread);
/* For tests: the mock defers from now on; its calls succeed, and are finished when `finished`. */
void host_thread_mock_defers(struct host_thread *thread, bool finished);
/* One call: its result, or -ESRCH when the thread is gone. */
int64_t MUST_CHECK host_thread_call(struct host_thread *thread, long number, uint64_t a0,
                                    uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                                    uint64_t a5);
/*
 * Sends a descriptor (borrowed) down the control socket; the next SLOT_CALL_RECEIVE_FD call of the
 * address space receives it. The caller holds the address space's change token (mm), which keeps
 * senders and receivers in step.
 */
int MUST_CHECK host_thread_send_fd(struct host_thread *thread, int fd);
/* Several in one message, at most SLOT_MAX_FDS, for an order that takes just so many. */
int MUST_CHECK host_thread_send_fds(struct host_thread *thread, const int *fds, size_t count);

/*
 * Puts at most SLOT_BOUNCE_SIZE bytes where the stub can see them and returns their guest address,
 * for host calls that take a pointer; valid until the next use. The guest may change them. 0: a
 * mock.
 */
uint64_t MUST_CHECK host_thread_bounce(struct host_thread *thread, const void *data, size_t size);

/* Any thread: makes a thread in user mode report SLOT_EVENT_KICK soon; harmless when it is not. */
void host_thread_kick(struct host_thread *thread);
/* Orders exit, after up to SLOT_MAX_CALLS host calls whose results nobody wants; kills nothing. Own
 * kernel thread, as its last act on the host thread. */
void host_thread_exit(struct host_thread *thread, const struct slot_call *calls, size_t count);
/* The host tid (in the kernel process's pid namespace), for process_vm_* and /proc. */
pid_t host_thread_tid(const struct host_thread *thread);
pid_t host_process_pid(const struct host_process *process);
struct host_process *
host_thread_process(const struct host_thread *thread);                    /* borrowed: immutable */
struct host_aspace *host_thread_aspace(const struct host_thread *thread); /* borrowed: immutable */
/* CPU time of this host thread in ns. */
int MUST_CHECK host_thread_cpu_time(struct host_thread *thread, int64_t *user, int64_t *system);
/* sched_setaffinity for the guest: remembered and honoured by the pairing. */

/* The own kernel thread, after an event: the host's number of the descriptor that the thread's stub
 * was using when the kick ended its call, which nobody closes until this is released. 0: none;
 * -EBADF: what it says cannot be, to be released all the same. */
int host_thread_direct_held(const struct host_thread *thread);
void host_thread_direct_release(struct host_thread *thread);
/* What the last event's call has brought along of the guest's memory: the string at `address` with
 * its NUL into `to`, its length; or the bytes there. -EAGAIN: look into the guest's memory. */
ssize_t MUST_CHECK host_thread_path(struct host_thread *thread, uint64_t address, char *to,
                                    size_t size);
int MUST_CHECK host_thread_brought(struct host_thread *thread, uint64_t address, void *to,
                                   size_t size);
/* The rest of a call's result goes to the guest's memory when the guest goes on; the call gives
 * -EFAULT when it cannot. `address` is the guest's own. One for each call. -EAGAIN: to be written
 * at once. */
int MUST_CHECK host_thread_answer(struct host_thread *thread, uint64_t address, const void *from,
                                  size_t size);
/* Writes it now, for whoever looks before that: 0 (there may be none) or -EFAULT. */
int MUST_CHECK host_thread_answer_flush(struct host_thread *thread);

/* The last event was a call that came without a signal. */
bool host_thread_came_patched(const struct host_thread *thread);

/* Extended state (XSAVE image) of the last event's host frame, to and from a kernel buffer. Size 0:
 * none (fresh thread). */
size_t host_thread_fpstate_size(struct host_thread *thread);
int MUST_CHECK host_thread_fpstate_read(struct host_thread *thread, void *buffer, size_t size);
int MUST_CHECK host_thread_fpstate_write(struct host_thread *thread, const void *buffer,
                                         size_t size);

/* The next resume starts with the processor's initial extended state (as a signal handler does). */
void host_thread_fpstate_reset(struct host_thread *thread);
/* It was asked for since the last event: the host frame's state is not the guest's any more. */
bool host_thread_fpstate_is_reset(const struct host_thread *thread);

/* The processors that the sandbox may use, a bit each; the result: words that hold any. First
 * called at start (host_job.c), before threads are bound to single cores. */
#define HOST_CPU_WORDS 16
size_t host_cpu_mask(uint64_t mask[HOST_CPU_WORDS]);
/* sched_yield(2) of the calling kernel thread, whose guest waits for it. */
void host_yield(void);
/* The calling kernel thread runs on each core for a moment: whatever ran there has been left. */
void host_cores_visit(void);

/* ---- donated descriptors (design §6): host_donation.c ---- */

/*
 * A guest process may read and write by itself what its descriptor table (slot.h) names.
 * fs/donation.c decides what that is. `number` is the host's number of a descriptor in the guest's
 * process: it is the guest's word, so nothing but that guest's own calls may depend on it.
 */
/* Whose table of descriptors the process's is: `owner` if it had none; true: it is now. */
bool host_process_claim_table(struct host_process *process, const void *owner);
bool host_process_owns(struct host_process *process, const void *owner);
void host_process_disown(struct host_process *process, const void *owner);
/* The own kernel thread: who answers for the table that its thread looks at, and whether it may
 * look. Callers take turns: they hold the donation lock (fs/donation.c). */
void host_thread_use_table(struct host_thread *thread, const void *owner, bool use);
const void *host_thread_table_owner(const struct host_thread *thread);
/* Sends a descriptor (borrowed) to the guest and has it received: its number, -errno. -EMFILE: it
 * has GUEST_FDS_KEPT. The caller holds the address space's change token. */
int MUST_CHECK host_thread_give_fd(struct host_thread *thread, int fd);
/* word: SLOT_FD_* rights and a number; 0 takes it back. False: not this process, or no such entry.
 */
bool host_process_set_fd(struct host_process *process, int fd, uint64_t word);
/* What else the table shows of descriptor fd < SLOT_SHOWN_FDS (slot.h); 0: nothing. False: there is
 * no table. Callers take turns. */
bool host_process_show_fd(struct host_process *process, int fd, uint64_t word);
uint64_t host_process_shown_fd(const struct host_process *process, int fd);
/* Which descriptors its stubs have closed: is there any note; the descriptor that note `index` is
 * about as it is shown just now, or -1; and takes the note about one that was shown as `word` (and
 * is not any more), true: there was one. */
bool host_process_has_notes(const struct host_process *process);
int host_process_noted_fd(const struct host_process *process, uint32_t index);
bool host_process_take_note(struct host_process *process, int fd, uint64_t word);
/* Is a thread of the process in a call on that number just now? After host_process_set_fd(). */
bool host_process_uses(struct host_process *process, int number);
/* Ends such calls, if they sleep (kick), and waits until there are none. A guest that does not end
 * them within a second is not waited for again, and gets nothing more. May sleep; no lock held. */
void host_process_settle(struct host_process *process, int number, bool kick, bool wait);
/* The own kernel thread: the stub closes these before the guest runs on. At most SLOT_MAX_CLOSES.
 */
void host_thread_close_fds(struct host_thread *thread, const int *numbers, size_t count);
/* Numbers that some stub of the process has been told to close and may not have closed yet. */
size_t host_process_closing(struct host_process *process, int *numbers, size_t room);
/* Is it asleep in a call that its stub makes by itself? For figures. */
bool host_thread_sleeps(struct host_thread *thread);
/* Bytes read and written, reads and writes that its stub has made by itself since this was last
 * asked: the guest's word, for figures. Callers take turns. */
void host_thread_direct_io(struct host_thread *thread, uint64_t counts[4]);
/* How much of the reported write the stub has done by itself. */
uint64_t host_thread_direct_done(const struct host_thread *thread);

/* ---- clone (own kernel thread of the parent; it waits in its slot) ---- */

/* A thread beside this one in the same process. It starts in SLOT_EVENT_STARTED with a copy of the
 * parent's registers and extended state; the caller sets its registers before the first resume.
 * `fs_base`: with set_tls. */
int MUST_CHECK host_thread_clone(struct host_thread *parent, bool set_tls, uint64_t tls,
                                 struct host_thread **child);
/* A copy of the process (share_memory false: fork, a new aspace; true: CLONE_VM, the same aspace).
 * The caller holds the mm's change token. */
int MUST_CHECK host_process_clone(struct host_thread *parent, bool share_memory, bool set_tls,
                                  uint64_t tls, struct host_process **process,
                                  struct host_aspace **aspace, struct host_thread **child);

/* ---- address space ---- */

struct host_aspace *host_aspace_new_mock(void);
struct host_aspace *host_aspace_get(struct host_aspace *aspace);
void host_aspace_put(struct host_aspace *aspace);
DEFINE_CLEANUP(struct host_aspace *, host_aspace_put)
/* Where a trampoline enters the stub (mm/memory_patch.c). */
uint64_t host_aspace_fast_entry(const struct host_aspace *aspace);
/* What brk(2) says in this address space, for its stubs to answer. */
void host_aspace_publish_brk(struct host_aspace *aspace, uint64_t brk);
/* The range that the stub occupies (text, slots, stacks): no guest mapping may touch it. */
void host_aspace_reserved(const struct host_aspace *aspace, uint64_t *start, uint64_t *end);
/* Where the host's vDSO and its data pages are in this address space; 0 when the host has none. */
void host_aspace_vdso(const struct host_aspace *aspace, uint64_t *vdso, uint64_t *start,
                      uint64_t *end);

/*
 * process_vm_readv/writev on the memory of `thread`'s process: bytes copied from the start (may be
 * short), -EFAULT when none. `force` goes by /proc/PID/mem, past page protections (ptrace, signal
 * frames of read-only pages never).
 */
ssize_t MUST_CHECK host_memory_read(struct host_thread *thread, void *to, uint64_t from,
                                    size_t size);
ssize_t MUST_CHECK host_memory_write(struct host_thread *thread, uint64_t to, const void *from,
                                     size_t size);
ssize_t MUST_CHECK host_memory_readv(struct host_thread *thread, void *to,
                                     const struct user_iovec *from, size_t count);
ssize_t MUST_CHECK host_memory_writev(struct host_thread *thread, const struct user_iovec *to,
                                      size_t count, const void *from, size_t size);
ssize_t MUST_CHECK host_memory_read_force(struct host_thread *thread, void *to, uint64_t from,
                                          size_t size);
/* For more than one such write: host_pwrite() to addresses. Owned by the caller, or -errno. */
int MUST_CHECK host_memory_open_force(struct host_thread *thread);
ssize_t MUST_CHECK host_memory_write_force(struct host_thread *thread, uint64_t to,
                                           const void *from, size_t size);

#endif
