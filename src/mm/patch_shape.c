/*
 * What of a program's text becomes a jump to a trampoline, and what the trampoline does instead.
 *
 * A jump takes five bytes, a `syscall` two. What gives the rest, whole instructions always:
 *
 *   behind   `syscall` and what follows (`cmp $-4096,%rax` in a libc)
 *   before   an instruction of five bytes or more before it (`mov $nr,%eax`): the `syscall` itself
 *            stays, and nobody comes to it but by a branch
 *   mixed    shorter ones before it, the `syscall`, others behind it, a `ret` with the filling
 *            that follows it among them
 *
 * The trampoline executes the instructions before, enters the stub, executes those behind, and goes
 * back. It holds a `syscall` of its own, for calls that are made again after a signal.
 *
 * Where an instruction began in the middle of the jump (a bound), a thread may still come to: by a
 * branch, from a signal handler, out of a call, or since it was stopped there. A trampoline is
 * chosen at such a distance that the byte of the displacement there is an instruction that faults.
 * Whoever comes finds himself in the trampoline, where that instruction is now (memory_patch_trap).
 *
 * x86 code cannot be decoded backwards; but decoding from different places falls into step soon. So
 * all decodings that begin far enough before the site, and reach it, must agree on what is before.
 */
#include <Zydis/Zydis.h>

#include "mm/patch_internal.h"

#define SYSCALL_SIZE 2
#define ENTRY_SIZE   13 /* lea, jmp */
#define LEA_SIZE     7
#define FAR_ENOUGH   16 /* where all ways of decoding have long met */
#define LIST         3  /* instructions that are looked at on each side */
#define INT3         0xcc

/* Opcodes of one byte that fault in user mode, whatever follows: invalid in 64-bit mode, or
 * privileged. */
static const uint8_t faulting[] = {0xf4, 0xfa, 0xfb, 0xec, 0xed, 0xee, 0xef, 0x06, 0x07,
                                   0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
                                   0x60, 0x61, 0xce, 0xd6, 0x6c, 0x6d, 0x6e, 0x6f};

/* Instructions in the order of the text; a length of 0 ends them: it may not move, or is none. */
struct list {
    uint8_t length[LIST];
};

static bool may_move(const ZydisDecodedInstruction *instruction) {
    switch (instruction->meta.category) {
    case ZYDIS_CATEGORY_CALL:
    case ZYDIS_CATEGORY_RET:
    case ZYDIS_CATEGORY_UNCOND_BR:
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_INTERRUPT:
        return false;
    default:
        return !(instruction->attributes & (ZYDIS_ATTRIB_IS_RELATIVE | ZYDIS_ATTRIB_IS_PRIVILEGED));
    }
}

static bool is_return(const ZydisDecodedInstruction *instruction) {
    return instruction->opcode == 0xc3 && instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
}

/* What compilers fill up with, up to where the next function begins. */
static bool is_filling(const ZydisDecodedInstruction *instruction) {
    return instruction->mnemonic == ZYDIS_MNEMONIC_NOP;
}

/* Those behind the `syscall`. Behind a return there may be data, or nothing that is ever run. */
static void decode_behind(const ZydisDecoder *decoder, const uint8_t *text, size_t size,
                          struct list *list) {
    bool returned = false;
    size_t at = 0;

    for (int i = 0; i < LIST; i++) {
        ZydisDecodedInstruction next = {0};

        if (ZYAN_FAILED(
                ZydisDecoderDecodeInstruction(decoder, NULL, text + at, size - at, &next)) ||
            (returned ? !is_filling(&next) : !may_move(&next) && !is_return(&next))) {
            return;
        }
        returned = returned || is_return(&next);
        list->length[i] = next.length;
        at += next.length;
    }
}

/* Those before it, the nearest first. Each place is decoded once, however many ways lead to it. */
static void decode_before(const ZydisDecoder *decoder, const uint8_t *text, size_t size,
                          struct list *list) {
    uint8_t length[PATCH_BEFORE], agreed[LIST] = {0};
    bool moves[PATCH_BEFORE];
    size_t ways = 0, nearest = 0;

    for (size_t at = 0; at < size; at++) {
        ZydisDecodedInstruction instruction = {0};

        length[at] = 0;
        if (ZYAN_SUCCESS(
                ZydisDecoderDecodeInstruction(decoder, NULL, text + at, size - at, &instruction))) {
            length[at] = instruction.length;
            moves[at] = may_move(&instruction);
        }
    }
    for (size_t start = 0; start + FAR_ENOUGH + ZYDIS_MAX_INSTRUCTION_LENGTH <= size; start++) {
        size_t at = start, last[LIST] = {0};

        while (at < size && length[at]) {
            memmove(last + 1, last, (LIST - 1) * sizeof(last[0]));
            last[0] = at;
            at += length[at];
        }
        if (at != size) {
            continue; /* this one began within an instruction and has not fallen into step */
        }
        for (int i = 0; i < LIST; i++) {
            if (ways && agreed[i] != length[last[i]]) {
                return;
            }
            agreed[i] = length[last[i]];
        }
        nearest = last[0];
        ways++;
    }
    for (int i = 0; ways >= 8 && i < LIST && moves[nearest]; i++) {
        list->length[i] = agreed[i];
        nearest -= i + 1 < LIST ? agreed[i + 1] : 0;
    }
}

/* The shape that begins `count` instructions before the `syscall`. */
static bool make_shape(const struct list *before, const struct list *behind, int count,
                       struct patch_shape *shape) {
    unsigned size = 0;

    *shape = (struct patch_shape){0};
    for (int i = count - 1; i >= 0; i--) {
        if (!before->length[i]) {
            return false;
        }
        if (size && size < PATCH_JUMP) {
            shape->bounds |= (uint8_t)(1u << size);
        }
        size += before->length[i];
    }
    shape->before = (uint8_t)size;
    if (size < PATCH_JUMP) {
        shape->bounds |= (uint8_t)(size ? 1u << size : 0);
        size += SYSCALL_SIZE;
        for (int i = 0; size < PATCH_JUMP; i++) {
            if (i == LIST || !behind->length[i]) {
                return false;
            }
            shape->bounds |= (uint8_t)(1u << size);
            size += behind->length[i];
            shape->behind = (uint8_t)(shape->behind + behind->length[i]);
        }
    }
    /* The lowest byte of a displacement is not ours to choose: trampolines are aligned. */
    return !(shape->bounds & 2) &&
           shape->before + ENTRY_SIZE + SYSCALL_SIZE + LEA_SIZE + shape->behind + PATCH_JUMP <=
               PATCH_CELL;
}

size_t patch_shapes(const uint8_t text[PATCH_TEXT], struct patch_shape shapes[PATCH_SHAPES]) {
    struct list before = {{0}}, behind = {{0}};
    ZydisDecoder decoder;
    size_t found = 0;

    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64))) {
        return 0;
    }
    decode_behind(&decoder, text + PATCH_BEFORE + SYSCALL_SIZE, PATCH_BEHIND - SYSCALL_SIZE,
                  &behind);
    if (make_shape(&before, &behind, 0, &shapes[0]) && __builtin_popcount(shapes[0].bounds) == 1) {
        return 1; /* the usual one; what is before is costly to tell */
    }
    decode_before(&decoder, text, PATCH_BEFORE, &before);
    for (int count = 0; count <= LIST && found < PATCH_SHAPES; count++) {
        if (make_shape(&before, &behind, count, &shapes[found])) {
            found++;
        }
    }
    /* The fewer bounds the better, and what is behind is known for sure. */
    for (size_t i = 1; i < found; i++) {
        for (size_t k = i; k > 0 && __builtin_popcount(shapes[k].bounds) + (k == 1) <
                                        __builtin_popcount(shapes[k - 1].bounds);
             k--) {
            struct patch_shape swapped = shapes[k];

            shapes[k] = shapes[k - 1];
            shapes[k - 1] = swapped;
        }
    }
    return found;
}

static bool faults(uint8_t byte) {
    return memchr(faulting, byte, sizeof(faulting)) != NULL;
}

bool patch_suits(const struct patch_shape *shape, uint64_t start, uint64_t trampoline) {
    uint64_t displacement = trampoline - (start + PATCH_JUMP);

    for (unsigned bound = 2; bound < PATCH_JUMP; bound++) {
        if (shape->bounds >> bound & 1 && !faults((uint8_t)(displacement >> (bound - 1) * 8))) {
            return false;
        }
    }
    return true;
}

bool patch_window(const struct patch_shape *shape, uint64_t start, int *round, uint64_t *low,
                  uint64_t *high) {
    const int count = (int)sizeof(faulting);
    bool third = shape->bounds >> 3 & 1, fourth = shape->bounds >> 4 & 1;
    int number = (*round)++, third_byte = third ? number % count : 0;
    int far = third ? number / count : number; /* the fourth byte */
    int64_t next = (int64_t)(start + PATCH_JUMP), from, size;

    if (!third && !fourth) { /* anywhere in reach, with room to spare */
        from = next - 0x70000000;
        size = number ? 0 : 0xe0000000;
    } else {
        /* Where only the third byte matters, below and above, ever farther. */
        int top = fourth ? (int8_t)faulting[far % count] : far % 2 ? far / 2 : -1 - far / 2;

        from = next + (int64_t)top * (1 << 24) + (third ? faulting[third_byte] << 16 : 0);
        size = far >= (fourth ? count : 0xe0) ? 0 : third ? 1 << 16 : 1 << 24;
    }
    if (size == 0) {
        return false;
    }
    *low = (uint64_t)MAX(from, (int64_t)1 << 20);
    *high = (uint64_t)MAX(from + size, (int64_t)0);
    return true;
}

static void put_displacement(uint8_t *at, uint64_t target, uint64_t next) {
    int32_t displacement = (int32_t)(target - next);

    memcpy(at, &displacement, sizeof(displacement));
}

/* lea address(%rip), %rcx */
static size_t put_lea(uint8_t *cell, size_t size, const struct patch *patch, uint64_t address) {
    memcpy(cell + size, "\x48\x8d\x0d", 3);
    size += LEA_SIZE;
    put_displacement(cell + size - 4, address, patch->trampoline + size);
    return size;
}

size_t patch_cell(uint8_t cell[PATCH_CELL], const struct patch *patch, const uint8_t *moved,
                  uint64_t area) {
    const struct patch_shape *shape = &patch->shape;
    uint64_t behind = patch_site(patch) + SYSCALL_SIZE;
    size_t size = shape->before;

    memcpy(cell, moved, size);
    size = put_lea(cell, size, patch,
                   patch_covers(patch) ? patch->trampoline + patch_return(patch) : behind);
    memcpy(cell + size, "\xff\x25", 2); /* jmp *area(%rip) */
    size += 6;
    put_displacement(cell + size - 4, area, patch->trampoline + size);
    if (!patch_covers(patch)) {
        return size;
    }
    memcpy(cell + size, "\x0f\x05", SYSCALL_SIZE);
    size = put_lea(cell, size + SYSCALL_SIZE, patch, behind);
    memcpy(cell + size, moved + shape->before + SYSCALL_SIZE, shape->behind);
    size += shape->behind;
    cell[size] = 0xe9;
    size += PATCH_JUMP;
    put_displacement(cell + size - 4, behind + shape->behind, patch->trampoline + size);
    return size;
}

void patch_bytes(const struct patch *patch, enum patch_state state, uint8_t bytes[PATCH_JUMP]) {
    if (state <= PATCH_GUARDED) {
        memcpy(bytes, patch->original, PATCH_JUMP);
    } else {
        bytes[0] = 0xe9;
        put_displacement(bytes + 1, patch->trampoline, patch->start + PATCH_JUMP);
    }
    if (state == PATCH_GUARDED || state == PATCH_HALF) {
        bytes[0] = INT3;
    }
    for (int bound = 1; state == PATCH_GUARDED && bound < PATCH_JUMP; bound++) {
        if (patch->shape.bounds >> bound & 1) {
            bytes[bound] = INT3;
        }
    }
}

uint64_t patch_return(const struct patch *patch) {
    return (uint64_t)patch->shape.before + ENTRY_SIZE + SYSCALL_SIZE;
}

uint64_t patch_original(const struct patch *patch, uint64_t offset) {
    uint64_t site = patch_site(patch), moved = patch_return(patch) + LEA_SIZE;

    if (offset < patch->shape.before) {
        return patch->start + offset;
    }
    if (!patch_covers(patch) || offset < patch_return(patch)) {
        return site;
    }
    if (offset <= moved) {
        return site + SYSCALL_SIZE;
    }
    return site + SYSCALL_SIZE + MIN(offset - moved, (uint64_t)patch->shape.behind);
}

uint64_t patch_moved(const struct patch *patch, uint64_t bound) {
    if (bound <= patch->shape.before) {
        return patch->trampoline + bound;
    }
    /* As after a `syscall`, rcx is the program's already. */
    return patch->trampoline + patch_return(patch) + LEA_SIZE +
           (bound - patch->shape.before - SYSCALL_SIZE);
}
