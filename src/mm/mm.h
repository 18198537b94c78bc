/*
 * mm: guest memory. A memory_manager is one guest address space: the kernel's own tree of mappings
 * over a host_aspace. It chooses every address, keeps the tree and the host in step, and orders the
 * host calls from the calling task's stub.
 *
 * Two levels of exclusion. `change token`: held by the one task that is changing the address space,
 * over its hand-overs to the stub (a killable wait, not a lock; only tasks that share the memory
 * ever wait for it). `lock` (MM): the tree itself, short.
 */
#ifndef STARLING_MM_H
#define STARLING_MM_H

#include <sys/mman.h>
#include <sys/resource.h>

#include "base/base.h"
#include "host/host.h"
#include "uapi/uapi.h"

struct memory_manager;

/* What a mapping is of, in Zircon's words a VMO: a file's contents or kernel-made shared memory.
 * Implemented by fs/ and ipc. */
struct memory_object {
    struct ref ref;
    const struct memory_object_ops *ops;
};
struct memory_object_ops {
    /* A host descriptor (borrowed for as long as the object lives) that can be mapped with `prot`,
     * MAP_SHARED or not. -errno. */
    int (*host_fd)(struct memory_object *object, int prot, bool shared);
    /* For /proc/PID/maps: the path or a name such as "/dev/zero (deleted)"; device and inode
     * numbers. */
    int (*describe)(struct memory_object *object, char *name, size_t size, dev_t *dev, ino_t *ino);
    void (*release)(struct memory_object *object);
    /* May be NULL: a row of some tree came (+1) or went (-1), so that the object can count its
     * shared writable maps (seals, ETXTBSY). Called with that tree's lock (MM) held: must not
     * sleep, nor take a lock ranked at or before MM. */
    void (*mapped)(struct memory_object *object, int prot, bool shared, int change);
};
struct memory_object *memory_object_get(struct memory_object *object);
void memory_object_put(struct memory_object *object);
DEFINE_CLEANUP(struct memory_object *, memory_object_put)

/* The kernel's own bits of mapping.flags and of memory_map()'s flags: above MAP_*, in place of
 * MAP_HUGE_*. NO_WRITE, NO_EXEC: mprotect(2) can never add that right (the file was not opened for
 * writing and is shared; the mount is noexec). */
#define MAPPING_NO_WRITE   (1 << 27)
#define MAPPING_NO_EXEC    (1 << 28)
#define MAPPING_DONTFORK   (1 << 29)
#define MAPPING_WIPEONFORK (1 << 30)

enum mapping_kind {
    MAPPING_NORMAL,
    MAPPING_STACK,
    MAPPING_HEAP,
    MAPPING_VDSO,
    MAPPING_VVAR,
    MAPPING_TRAMPOLINE
};

/* One row of the tree, as seen through memory_manager_walk(). */
struct mapping {
    uint64_t start, end; /* page-aligned, end exclusive */
    int prot;            /* PROT_* */
    int flags; /* MAP_SHARED or MAP_PRIVATE, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE
                  ... */
    enum mapping_kind kind;
    uint64_t offset;              /* of start in the object */
    struct memory_object *object; /* NULL: anonymous private */
};

struct memory_manager *memory_manager_new(struct host_aspace *aspace);
struct memory_manager *memory_manager_get(struct memory_manager *mm);
void memory_manager_put(struct memory_manager *mm);
DEFINE_CLEANUP(struct memory_manager *, memory_manager_put)
/* References to it: one for each task that uses it, and whoever looks at it just now. */
size_t memory_manager_users(const struct memory_manager *mm);
/* Does anybody but one task use it? */
bool memory_manager_is_shared(const struct memory_manager *mm);
/* fork: a copy of the tree for the child's host_aspace (honours MADV_DONTFORK). The caller holds
 * the parent's change token. */
struct memory_manager *memory_manager_fork(struct memory_manager *mm, struct host_aspace *aspace);
struct host_aspace *memory_manager_aspace(const struct memory_manager *mm);

/* The change token. Begin: 0, or -ERESTARTSYS/-EINTR when interrupted while another task of the
 * guest holds it. */
int MUST_CHECK memory_change_begin(struct memory_manager *mm);
void memory_change_end(struct memory_manager *mm);

/*
 * A call below may leave its host calls to the next resume of the guest (memory_deferred.c). The
 * task loop settles it: with the outcome (0 or -errno) as host_thread_resume() or
 * host_thread_calls_flush() gave it, before anything else is done for the task. Returns 0 or, when
 * it failed, what the guest's call shall return.
 */
int64_t MUST_CHECK memory_settle(struct memory_manager *mm, struct host_thread *thread,
                                 int outcome);
/* `size` bytes of shared anonymous memory; ERR_PTR. */
struct memory_object *shared_memory_new(uint64_t size);
/* Off: every call returns what it will be (--strace). On at start. */
void memory_set_deferring(bool on);

/*
 * The calls of mmap(2), munmap(2), mprotect(2), mremap(2), madvise(2), brk(2), msync(2),
 * mincore(2), mlock(2), by the task whose host thread is `thread`. They take the change token
 * themselves. Addresses and sizes come unchecked from the guest. `limits`: RLIMIT_AS, RLIMIT_DATA,
 * RLIMIT_STACK, RLIMIT_MEMLOCK as the caller read them.
 */
struct memory_limits {
    uint64_t address_space, data, stack, locked; /* bytes, RLIM_INFINITY */
};
/* The address, or -errno as int64_t. */
int64_t MUST_CHECK memory_map(struct memory_manager *mm, struct host_thread *thread,
                              const struct memory_limits *limits, uint64_t address, uint64_t size,
                              int prot, int flags, struct memory_object *object, uint64_t offset,
                              enum mapping_kind kind);
int MUST_CHECK memory_unmap(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                            uint64_t size);
/* shmdt(2): the rows that are left of an object that was mapped from its start at `address`, and of
 * which size_of() knows a size; that object, owned. -EINVAL: there is none. */
int MUST_CHECK memory_detach(struct memory_manager *mm, struct host_thread *thread,
                             uint64_t address,
                             uint64_t (*size_of)(const struct memory_object *object),
                             struct memory_object **detached);
int MUST_CHECK memory_protect(struct memory_manager *mm, struct host_thread *thread,
                              uint64_t address, uint64_t size, int prot);
int64_t MUST_CHECK memory_remap(struct memory_manager *mm, struct host_thread *thread,
                                const struct memory_limits *limits, uint64_t address,
                                uint64_t old_size, uint64_t new_size, int flags,
                                uint64_t new_address);
int MUST_CHECK memory_advise(struct memory_manager *mm, struct host_thread *thread,
                             uint64_t address, uint64_t size, int advice);
int64_t MUST_CHECK memory_brk(struct memory_manager *mm, struct host_thread *thread,
                              const struct memory_limits *limits, uint64_t brk);
int MUST_CHECK memory_sync(struct memory_manager *mm, struct host_thread *thread, uint64_t address,
                           uint64_t size, int flags);
/* mincore: the vector goes to the guest address `vector`. */
int MUST_CHECK memory_resident(struct memory_manager *mm, struct host_thread *thread,
                               uint64_t address, uint64_t size, struct user_address vector);
int MUST_CHECK memory_lock(struct memory_manager *mm, struct host_thread *thread,
                           const struct memory_limits *limits, uint64_t address, uint64_t size,
                           int flags, bool lock);
int MUST_CHECK memory_lock_all(struct memory_manager *mm, struct host_thread *thread,
                               const struct memory_limits *limits, int flags, bool lock);

/* A fault at `address`, where nothing was mapped (SEGV_MAPERR): true when a MAP_GROWSDOWN mapping
 * has grown over it and the guest may go on. */
bool memory_fault(struct memory_manager *mm, struct host_thread *thread,
                  const struct memory_limits *limits, uint64_t address);

/*
 * exec: lays out a fresh address space in as few hand-overs as may be. `image` says what to map
 * (see task/elf.h, which makes it); on return the stack is mapped and the ranges below are set. No
 * change token needed: nobody else can see the mm yet.
 */
struct memory_segment {
    uint64_t start, size, offset; /* start relative to 0 (already biased); page-aligned */
    int prot;
    struct memory_object *object; /* NULL: zero pages */
    uint64_t zero_start;          /* bytes from here to the end of its page are cleared; 0: none */
    enum mapping_kind kind;
};
int MUST_CHECK memory_load(struct memory_manager *mm, struct host_thread *thread,
                           const struct memory_segment *segments, size_t count);

/*
 * A free place of `size` bytes for exec to put a program, its interpreter or its stack: `hint` when
 * that is free, else below mmap_base; clear of `taken` too, which is planned but not loaded yet.
 * The address, or -ENOMEM.
 */
int64_t MUST_CHECK memory_place(struct memory_manager *mm, uint64_t hint, uint64_t size,
                                uint64_t align, const struct memory_segment *taken, size_t count);
/*
 * memory_patch.c. The guest's own thread has trapped at the `syscall` before regs->rip: patches it
 * when that is safe and it has trapped `after` times. True: it is patched now.
 */
bool memory_patch_call(struct memory_manager *mm, struct host_thread *thread,
                       const struct user_regs *regs, unsigned after);
/* rip within a trampoline becomes the one in the program that it stands for, rcx likewise, with
 * where its jump begins. */
enum patch_place {
    PATCH_NOWHERE, /* it is in none */
    PATCH_CAME,    /* the last instruction was not the program's */
    PATCH_RAN,     /* it was */
};
enum patch_place memory_patch_translate(struct memory_manager *mm, struct user_regs *regs,
                                        uint64_t *start);
/* An rip that is amid a jump now becomes the one that goes on from there; false: it is not. */
bool memory_patch_enter(struct memory_manager *mm, struct user_regs *regs);
/*
 * The guest's own thread has trapped at rip, by int3 (`breakpoint`) or another fault. True: it did
 * so because of a patch that is there, is being made, or was there a moment ago; rip is where it
 * goes on. `retry`: of the calling thread alone, zero at first.
 */
struct patch_retry {
    uint64_t rip, undone;
};
bool memory_patch_trap(struct memory_manager *mm, struct host_thread *thread,
                       struct user_regs *regs, bool breakpoint, struct patch_retry *retry);
/* The program's own bytes again at `address`, which is not patched again soon; or everywhere and
 * for good. -ERESTARTNOINTR. */
int MUST_CHECK memory_patch_restore(struct memory_manager *mm, struct host_thread *thread,
                                    uint64_t address);
int MUST_CHECK memory_patch_off(struct memory_manager *mm, struct host_thread *thread);
/* host_memory_read_force() and _write_force(), for which no patch is there. `own`: the thread is
 * the caller's, else any of the process's. -ERESTARTNOINTR too. */
ssize_t memory_read_force(struct memory_manager *mm, struct host_thread *thread, void *to,
                          uint64_t from, size_t size);
ssize_t memory_write_force(struct memory_manager *mm, struct host_thread *thread, bool own,
                           uint64_t to, const void *from, size_t size);

/* Nothing was ever mapped here: the address space of the first task, before its first exec. */
bool memory_manager_fresh(struct memory_manager *mm);
/* The program that runs here (/proc/PID/exe): opaque to mm, which keeps a reference through `ops`;
 * a fork has its own. set takes the reference over; memory_manager_program() gives one, or NULL. */
struct memory_program_ops {
    void *(*get)(void *program);
    void (*put)(void *program);
};
void memory_manager_set_program(struct memory_manager *mm, void *program,
                                const struct memory_program_ops *ops);
void *memory_manager_program(struct memory_manager *mm);

/* The places that /proc/PID/{stat,cmdline,environ} and prctl(PR_SET_MM) speak of. */
struct memory_layout {
    uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    uint64_t arg_start, arg_end, env_start, env_end, vdso;
    uint64_t mmap_base; /* the highest address for mmap's own choices, exclusive (grows down) */
    uint64_t auxv[64];
    size_t auxv_bytes;
};
void memory_manager_set_layout(struct memory_manager *mm, const struct memory_layout *layout);
void memory_manager_layout(struct memory_manager *mm, struct memory_layout *layout);
/* Places for ASLR, page-aligned: see aslr.c. `random` false: the same each time (personality(2)
 * ADDR_NO_RANDOMIZE). */
uint64_t memory_random_mmap_base(uint64_t stack_limit, bool random);
uint64_t memory_random_pie_base(bool random);
uint64_t memory_random_brk_gap(bool random);
uint64_t memory_random_stack_top(bool random);

/* Calls fn for each mapping in ascending order with the tree's lock held; a non-zero result ends
 * the walk and is returned. */
int memory_manager_walk(struct memory_manager *mm,
                        int (*fn)(const struct mapping *mapping, void *arg), void *arg);
/* Copies up to `count` mappings that end above `from`, each with its object referenced: for /proc
 * without holding the lock. */
size_t memory_manager_snapshot(struct memory_manager *mm, uint64_t from, struct mapping *out,
                               size_t count);
/* How much of from..from+size is mapped, from its start, with all of `prot` (0: however): the
 * guest's own memory, neither the stub nor the slots. */
size_t memory_mapped_extent(struct memory_manager *mm, uint64_t from, size_t size, int prot);
/* Totals in bytes: mapped, private writable (data), stack, executable, locked. */
struct memory_totals {
    uint64_t mapped, data, stack, exec, locked, shared;
};
void memory_manager_totals(struct memory_manager *mm, struct memory_totals *totals);

/* Private memory without a file that may be written now, and no other task can change that: so that
 * answer_to_user() will succeed. */
bool memory_is_writable(struct memory_manager *mm, uint64_t address, size_t size);

/* ---- usercopy.c: the only way to a guest's memory ---- */

/* 0 or -EFAULT; all or nothing from the caller's point of view (a prefix may have been copied). */
int MUST_CHECK copy_from_user(struct host_thread *thread, void *to, struct user_address from,
                              size_t size);
int MUST_CHECK copy_to_user(struct host_thread *thread, struct user_address to, const void *from,
                            size_t size);
/* Bytes copied from the start (>= 0, may be short, 0 only for size 0), or -EFAULT when not even
 * one. */
ssize_t MUST_CHECK copy_from_user_partial(struct host_thread *thread, void *to,
                                          struct user_address from, size_t size);
ssize_t MUST_CHECK copy_to_user_partial(struct host_thread *thread, struct user_address to,
                                        const void *from, size_t size);
/* copy_to_user() for the last thing that a call does, when it must not undo anything should that
 * fail: the bytes may go with the result, which is then -EFAULT. */
int MUST_CHECK answer_to_user(struct host_thread *thread, struct user_address to, const void *from,
                              size_t size);
int MUST_CHECK clear_user(struct host_thread *thread, struct user_address to, size_t size);
/* A NUL-terminated string of at most size-1 bytes: its length, -EFAULT, or -ENAMETOOLONG when no
 * NUL came. */
ssize_t MUST_CHECK copy_string_from_user(struct host_thread *thread, char *to,
                                         struct user_address from, size_t size);
/* A path: *path is malloc'ed (at most PATH_MAX bytes with its NUL). 0, -EFAULT, -ENAMETOOLONG,
 * -ENOMEM. */
int MUST_CHECK copy_path_from_user(struct host_thread *thread, char **path,
                                   struct user_address from);
/* An iovec array, checked as Linux does (count <= 1024 else EINVAL, total <= MAX_RW_COUNT else cut,
 * negative length EINVAL). */
struct user_buffer {
    struct user_iovec *vec; /* malloc'ed, or &single */
    size_t count;
    size_t total; /* bytes that are left */
    struct user_iovec single;
    size_t index; /* where the next copy goes on */
    size_t offset;
    bool answers; /* it will be copied to, and surely can be: by answer_to_user() */
};
int MUST_CHECK user_buffer_import(struct host_thread *thread, struct user_buffer *buffer,
                                  struct user_address vec, size_t count);
void user_buffer_single(struct user_buffer *buffer, struct user_address base, size_t size);
/* As if the first `size` bytes (at most ->total) had been copied. */
void user_buffer_skip(struct user_buffer *buffer, size_t size);
void user_buffer_destroy(struct user_buffer *buffer);
/* Copies the next `size` bytes (at most ->total) and moves on by what was copied; partial counts or
 * -EFAULT. */
ssize_t MUST_CHECK user_buffer_read(struct host_thread *thread, struct user_buffer *from, void *to,
                                    size_t size);
ssize_t MUST_CHECK user_buffer_write(struct host_thread *thread, struct user_buffer *to,
                                     const void *from, size_t size);

#define get_user(thread, lvalue, address)                                                          \
    copy_from_user((thread), &(lvalue), (address), sizeof(lvalue))
#define put_user(thread, rvalue, address)                                                          \
    ({                                                                                             \
        __auto_type put_value_ = (rvalue);                                                         \
        copy_to_user((thread), (address), &put_value_, sizeof(put_value_));                        \
    })
#define answer_user(thread, rvalue, address)                                                       \
    ({                                                                                             \
        __auto_type put_value_ = (rvalue);                                                         \
        answer_to_user((thread), (address), &put_value_, sizeof(put_value_));                      \
    })

#endif
