/*
 * What the files of patching share: memory_patch.c (which sites are patched, and how their text is
 * changed) and patch_shape.c (what may become a jump, and what the trampoline does instead).
 */
#ifndef STARLING_PATCH_INTERNAL_H
#define STARLING_PATCH_INTERNAL_H

#include "mm/mm.h"

#define PATCH_JUMP   5  /* the jump's size: e9 and a displacement of 32 bits */
#define PATCH_BEFORE 80 /* how much text patch_shapes() wants before a site */
#define PATCH_BEHIND 48 /* and from it on: `syscall` and three instructions */
#define PATCH_TEXT   (PATCH_BEFORE + PATCH_BEHIND)
#define PATCH_CELL   64

/* Which whole instructions become the jump and move to the trampoline. */
struct patch_shape {
    uint8_t before; /* bytes of those before the `syscall` */
    uint8_t behind; /* and behind it; only when the `syscall` is part of the jump */
    uint8_t bounds; /* bit n: an instruction begins n bytes behind the jump's start, 1 <= n <= 4 */
};

/* What stands in the text; the order in which it changes and back. */
enum patch_state {
    PATCH_ORIGINAL, /* the program's own bytes */
    PATCH_GUARDED,  /* the same, with int3 wherever an instruction begins */
    PATCH_HALF,     /* the jump, with int3 for its first byte */
    PATCH_JUMPS,
};

struct patch {
    uint64_t start;      /* of the jump */
    uint64_t trampoline; /* 0: its area has gone */
    struct patch_shape shape;
    uint8_t original[PATCH_JUMP];
    uint8_t state, target; /* enum patch_state; different: somebody is about to change it */
};

static inline uint64_t patch_site(const struct patch *patch) {
    return patch->start + patch->shape.before;
}

/* The `syscall` is part of what the jump replaces. */
static inline bool patch_covers(const struct patch *patch) {
    return patch->shape.before < PATCH_JUMP;
}

/* patch_shape.c */
#define PATCH_SHAPES 4
/* What may be done with the `syscall` at text[PATCH_BEFORE], best first; how many. */
size_t patch_shapes(const uint8_t text[PATCH_TEXT], struct patch_shape shapes[PATCH_SHAPES]);
/* Bounds 3 and 4 want a trampoline at a certain distance; true: this one's displacement faults at
 * all bounds. */
bool patch_suits(const struct patch_shape *shape, uint64_t start, uint64_t trampoline);
/* The next range of addresses of trampolines that may suit; `*round` begins with 0. */
bool patch_window(const struct patch_shape *shape, uint64_t start, int *round, uint64_t *low,
                  uint64_t *high);
/* The trampoline's code; `moved`: the text from the jump's start; `area`: where the stub's entry
 * stands. Its size. */
size_t patch_cell(uint8_t cell[PATCH_CELL], const struct patch *patch, const uint8_t *moved,
                  uint64_t area);
/* The bytes of the text in this state. */
void patch_bytes(const struct patch *patch, enum patch_state state, uint8_t bytes[PATCH_JUMP]);
/* Where the program is when it is at this offset of the trampoline, and the other way round for
 * the start (0) and the bounds. */
uint64_t patch_original(const struct patch *patch, uint64_t offset);
uint64_t patch_moved(const struct patch *patch, uint64_t bound);
/* The offset that a call's answer comes back to, where rcx is the trampoline's and not yet the
 * program's. */
uint64_t patch_return(const struct patch *patch);

#endif
