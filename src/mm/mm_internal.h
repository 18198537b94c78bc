/*
 * What the files of mm/ share: the tree of mappings and the parts of a memory_manager.
 */
#ifndef STARLING_MM_INTERNAL_H
#define STARLING_MM_INTERNAL_H

#include "mm/patch_internal.h"

/* vm.max_map_count, less what the stub and splits that only the host makes may need. */
#define MAPPING_COUNT_MAX 65000
/* stack_guard_gap: how far other mappings keep from below a stack (Linux: 256 pages). */
#define STACK_GUARD (256 * PAGE_SIZE)
/* What of the main stack counts against RLIMIT_AS: it is mapped whole, Linux grows it. */
#define STACK_COUNTED (33 * PAGE_SIZE)

/*
 * mapping_tree.c: sorted rows that do not overlap, neighbours of one nature merged. Each row owns a
 * reference to its object. Changing functions cannot fail: tree_edit_begin() has reserved what they
 * may need. References that they drop are collected in the edit and put by tree_edit_end(), which
 * the caller runs without the lock (the last put of a file may take locks ranked before MM).
 */
#define TREE_SIZES 24 /* classes of gaps: 1, 2, 4 ... pages, the last 32 GiB and more */

struct mapping_tree {
    struct mapping *rows; /* through tree_row() only: the room that is free lies amid them */
    size_t count, capacity;
    size_t gap; /* how many rows are before the free room */
    /* No gap of 2^n pages or more lies above full_above[n] (0: not known) */
    uint64_t full_above[TREE_SIZES];
};

static inline struct mapping *tree_row(const struct mapping_tree *tree, size_t i) {
    return &tree->rows[i < tree->gap ? i : i + (tree->capacity - tree->count)];
}
struct tree_edit {
    struct memory_object **dead;
    size_t count, capacity;
    struct memory_object *few[8];
};

/* The first row that ends above `address` (may be ->count). */
size_t tree_index(const struct mapping_tree *tree, uint64_t address);
/* The row that holds `address`, or NULL. */
struct mapping *tree_find(const struct mapping_tree *tree, uint64_t address);
bool tree_overlaps(const struct mapping_tree *tree, uint64_t start, uint64_t end);
/* How many bytes of start..end are mapped. */
uint64_t tree_mapped(const struct mapping_tree *tree, uint64_t start, uint64_t end);
/* The first address >= start and < end that is not mapped; end when there is none. */
uint64_t tree_hole(const struct mapping_tree *tree, uint64_t start, uint64_t end);
/* The highest address in low..high with `size` free bytes that keeps the guard of stacks; 0: none.
 */
uint64_t tree_gap(const struct mapping_tree *tree, uint64_t size, uint64_t align, uint64_t low,
                  uint64_t high);
/* The same for pages, with what is remembered about gaps that are too small: for one region only,
 * that is always searched from the same top (in parts, the upper one first). Token held. */
uint64_t tree_gap_remembered(struct mapping_tree *tree, uint64_t size, uint64_t low, uint64_t high);
/* Where the row's range begins for its neighbours below: its guard included. */
uint64_t mapping_guarded_start(const struct mapping *row);

/* Room for one remove or update of start..end and one insert, and for undoing them. -ENOMEM. */
int MUST_CHECK tree_edit_begin(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start,
                               uint64_t end);
void tree_edit_end(struct tree_edit *edit);
void tree_remove(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end);
/* The range must be free. Takes over the row's reference to its object. */
void tree_insert(struct mapping_tree *tree, struct tree_edit *edit, const struct mapping *row);
/* New protection (prot -1: unchanged) and flags of all rows in the range. */
void tree_update(struct mapping_tree *tree, struct tree_edit *edit, uint64_t start, uint64_t end,
                 int prot, int set_flags, int clear_flags);
/* A copy with references of its own, without what is not inherited. */
int MUST_CHECK tree_copy(struct mapping_tree *to, const struct mapping_tree *from, bool fork);
void tree_destroy(struct mapping_tree *tree);

/* memory_deferred.c: a change of the tree whose host calls are still under way. */
enum deferred_kind { DEFERRED_MAP, DEFERRED_UNMAP, DEFERRED_PROTECT, DEFERRED_ADVICE };
#define DEFERRED_ROWS 4
struct memory_deferred {
    struct host_thread *thread; /* who makes the calls, and settles; NULL: nothing is deferred */
    enum deferred_kind kind;
    uint64_t start, end;
    struct mapping saved[DEFERRED_ROWS]; /* what was there, with references of their own */
    size_t saved_count;
    uint64_t brk_before; /* brk(2): what a failure brings back; 0: another call */
};

/* Patched call sites (memory_patch.c). */
#define PATCH_SEEN     256
#define PATCH_REJECTED (1ull << 63) /* in patch_set.seen */
#define PATCH_COUNT    (1ull << 56) /* there: the site has called once */
#define PATCH_AREA     0x10000ul    /* holds every value of a displacement's second byte */
#define PATCH_CELLS    ((int)(PATCH_AREA / PATCH_CELL))
struct patch_area {
    uint64_t start;                  /* the stub's entry, then trampolines */
    uint64_t used[PATCH_CELLS / 64]; /* by a live patch or a retired one */
};
struct patch_list {
    struct patch *rows;
    size_t count, capacity;
};
struct patch_set {             /* changed with the token and the lock held; read with either */
    struct patch_list live;    /* by address; they do not overlap */
    struct patch_list retired; /* the program's own again, but a thread may still be on its way */
    struct patch_area *areas;
    size_t area_count;
    uint64_t undone; /* how many were retired so far */
    /* By hash, a hint, no lock: how often sites have trapped, and which cannot be patched. */
    uint64_t seen[PATCH_SEEN];
    bool off; /* atomic; never cleared */
};
/* patch_set.c; what changes a list or an area wants the lock too. */
struct patch_guest { /* whose text is changed, for as long as that takes */
    struct host_thread *thread;
    bool own; /* it is the caller's, else any of the process's */
    int memory_fd;
};
struct patch_guest patch_guest(struct host_thread *thread, bool own);
void patch_guest_cleanup(struct patch_guest *guest);
bool MUST_CHECK patch_write(struct patch_guest *guest, uint64_t to, const void *from, size_t size);
/* The first row that ends above the address. */
size_t patch_first_above(const struct patch_list *list, uint64_t address);
/* Of the live ones, the one with a jump over the address; the one of that `syscall`; or NULL. */
struct patch *patch_live_at(const struct patch_set *set, uint64_t address);
struct patch *patch_live_of(const struct patch_set *set, uint64_t site);
/* Of all, the one with the address in its trampoline, or NULL. */
struct patch *patch_by_trampoline(const struct patch_set *set, uint64_t address);
/* Room for more rows. Takes the lock. */
bool MUST_CHECK patch_list_reserve(struct memory_manager *mm, struct patch_list *list, size_t more);
void patch_list_insert(struct patch_list *list, size_t at, const struct patch *patch);
void patch_list_remove(struct patch_list *list, size_t at);
void patch_mark_cell(struct patch_set *set, uint64_t trampoline, bool used);
/* Finds the patch a cell. The area, or NULL: there can be none. The token is held, not the lock. */
const struct patch_area *patch_place(struct memory_manager *mm, struct patch_guest *guest,
                                     struct patch *patch);
/* memory_patch.c, with the token. Takes all live patches to where they are to be. False: the guest
 * is dying. */
bool patch_settle(struct memory_manager *mm, struct patch_guest *guest);
/* Restores the sites whose text or trampoline lies in the range. */
void memory_patch_forget(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                         uint64_t end);
/* The parent's lock is held. -ENOMEM. */
int MUST_CHECK memory_patch_fork(struct memory_manager *child, const struct memory_manager *mm);
void memory_patch_destroy(struct memory_manager *mm);

struct memory_manager {
    struct ref ref;
    struct host_aspace *aspace;            /* owned; immutable */
    uint64_t reserved_start, reserved_end; /* the stub's; immutable */

    struct lock lock;            /* class MM */
    struct mapping_tree tree;    /* changed with the token and lock held; read with either */
    struct memory_layout layout; /* guarded by lock; brk changes with the token only */
    int lock_future;             /* mlockall(2) MCL_FUTURE, MCL_ONFAULT; likewise */
    struct patch_set patches;
    void *program; /* guarded by lock; owned through program_ops */
    const struct memory_program_ops *program_ops;
    bool changing;                   /* guarded by lock: the change token is taken */
    bool deferrable;                 /* the token's holder: its change may be deferred */
    struct memory_deferred deferred; /* guarded by lock; set while its thread has the token */
    struct wait_queue change_queue;  /* announces that the token is free */
};

static inline bool memory_reserved(const struct memory_manager *mm, uint64_t start, uint64_t end) {
    return start < mm->reserved_end && end > mm->reserved_start;
}

/* totals with the lock or the token held */
void memory_totals_locked(const struct memory_manager *mm, struct memory_totals *totals);
/* memory_map.c: -ENOMEM when `size` more bytes of this nature (less `freed`) are beyond limits. */
int MUST_CHECK memory_may_expand(const struct memory_manager *mm,
                                 const struct memory_limits *limits, uint64_t size, uint64_t freed,
                                 int prot, int flags, enum mapping_kind kind);
/* An address for a mapping of `size` bytes, -ENOMEM as int64_t. The caller holds the token. */
int64_t MUST_CHECK memory_choose(struct memory_manager *mm, uint64_t hint, uint64_t size,
                                 uint64_t align, bool below_2g);
/* Unmaps with the token held; the range is checked and page-aligned. */
int MUST_CHECK memory_unmap_token(struct memory_manager *mm, struct host_thread *thread,
                                  uint64_t start, uint64_t end);
/* Maps anonymous private memory at a free place with the token held: brk, growing stacks. */
int MUST_CHECK memory_map_anonymous_token(struct memory_manager *mm, struct host_thread *thread,
                                          uint64_t start, uint64_t end, int prot, int flags,
                                          enum mapping_kind kind);
/* Faults pages in, as mlock(2) and MAP_LOCKED do; failures are ignored. */
void memory_populate_token(struct memory_manager *mm, struct host_thread *thread, uint64_t start,
                           uint64_t end);
/* With the token held: the call that changes may be deferred, since its result is the guest's and
 * nothing follows. */
void memory_deferrable(struct memory_manager *mm, bool yes);
/*
 * True: the calls go with the resume of the guest; the caller changes the tree of start..end now
 * and ends, and the token stays taken until it is settled. `same`: an object that the change keeps
 * a reference to.
 */
bool MUST_CHECK memory_defer(struct memory_manager *mm, struct host_thread *thread,
                             const struct slot_call *calls, size_t count, uint64_t start,
                             uint64_t end, enum deferred_kind kind,
                             const struct memory_object *same);
/* The change just made, if it was deferred, is one of the heap, which ended at `before`. */
/* Every change of layout.brk. Stubs answer brk(0) from it, but while it may yet be undone. */
void memory_set_brk_locked(struct memory_manager *mm, uint64_t brk);
void memory_publish_brk_locked(struct memory_manager *mm);
void memory_defer_brk(struct memory_manager *mm, uint64_t before);
/* Takes the token if it is free, or held for calls that are made. */
bool MUST_CHECK memory_take_over(struct memory_manager *mm);
/* Has the stub make the calls: 0, or the first error of one that may not fail. */
int MUST_CHECK memory_host_calls(struct host_thread *thread, const struct slot_call *calls,
                                 size_t count, int64_t *results);
struct slot_call memory_call(long number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
                             uint64_t a4, uint64_t a5);

#endif
