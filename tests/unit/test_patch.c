/*
 * What of a text becomes a jump (patch_shape.c): which shapes are found, and what must hold of each
 * of them whatever the text is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mm/patch_internal.h"

#define SITE 0x555500001234ul

/* `code` so that its byte `at` is the site; nops before, int3 behind. */
static size_t shapes_of(const uint8_t *code, size_t size, size_t at, struct patch_shape *shapes) {
    uint8_t text[PATCH_TEXT];

    memset(text, 0x90, PATCH_BEFORE);
    memset(text + PATCH_BEFORE, 0xcc, PATCH_BEHIND);
    memcpy(text + PATCH_BEFORE - at, code, size);
    return patch_shapes(text, shapes);
}

#define EXPECT(at, wanted_before, wanted_behind, wanted_bounds, ...)                               \
    do {                                                                                           \
        static const uint8_t code[] = {__VA_ARGS__};                                               \
        struct patch_shape shapes[PATCH_SHAPES];                                                   \
                                                                                                   \
        assert_true(shapes_of(code, sizeof(code), at, shapes) > 0);                                \
        assert_int_equal(shapes[0].before, wanted_before);                                         \
        assert_int_equal(shapes[0].behind, wanted_behind);                                         \
        assert_int_equal(shapes[0].bounds, wanted_bounds);                                         \
    } while (0)

static void test_best_shape(void **state) {
    /* mov $39,%eax; syscall; cmp $-4096,%rax; ret */
    EXPECT(5, 0, 6, 1 << 2, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff, 0xc3);
    /* mov $39,%eax; syscall; ret */
    EXPECT(5, 5, 0, 0, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3);
    /* mov $39,%eax; mov %rcx,%r10; syscall; ret */
    EXPECT(8, 3, 0, 1 << 3, 0xb8, 39, 0, 0, 0, 0x49, 0x89, 0xca, 0x0f, 0x05, 0xc3);
    /* nop; nop; nop; syscall; ret; a nop of 8 bytes */
    EXPECT(3, 0, 9, 1 << 2 | 1 << 3, 0x90, 0x90, 0x90, 0x0f, 0x05, 0xc3, 0x0f, 0x1f, 0x84, 0, 0, 0,
           0, 0);
    /* xor %eax,%eax; mov $39,%al; syscall; ret */
    EXPECT(4, 2, 1, 1 << 2 | 1 << 4, 0x31, 0xc0, 0xb0, 39, 0x0f, 0x05, 0xc3);
    /* xor %eax,%eax; mov $39,%al; syscall; jmp */
    EXPECT(4, 4, 0, 1 << 2 | 1 << 4, 0x31, 0xc0, 0xb0, 39, 0x0f, 0x05, 0xeb, 0x10);
}

static void test_what_may_not_move(void **state) {
    static const uint8_t codes[][12] = {
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0xeb, 0x10, 0x90, 0x90},       /* a branch behind */
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0xe8, 0x10, 0, 0, 0},          /* a call */
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0x8b, 0x05, 0x10, 0, 0, 0},    /* relative to rip */
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0xf4, 0x90, 0x90},             /* hlt */
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0xc3, 0x48, 0x89, 0xc7},       /* data behind a return */
        {0x90, 0x90, 0x90, 0x0f, 0x05, 0x0f, 0x05, 0x90, 0x90, 0x90}, /* another one */
    };

    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct patch_shape shapes[PATCH_SHAPES];

        assert_int_equal(shapes_of(codes[i], sizeof(codes[i]), 3, shapes), 0);
    }
}

/* Padding that may be read in two ways: what stands before the site is not known. */
static void test_ambiguous_before(void **state) {
    static const uint8_t behind[] = {0xb8, 0x6b, 0, 0, 0, 0x0f, 0x05, 0xc3, 0xcc};
    struct patch_shape shapes[PATCH_SHAPES];
    uint8_t text[PATCH_TEXT] = {0};

    memcpy(text + PATCH_BEFORE - 5, behind, sizeof(behind));
    assert_int_equal(patch_shapes(text, shapes), 0);
}

/* Whether a byte alone raises #UD or #GP in user mode (Intel SDM, opcode maps). */
static bool faults(uint8_t byte) {
    static const uint8_t known[] = {0xf4, 0xfa, 0xfb, 0xec, 0xed, 0xee, 0xef, 0x06, 0x07,
                                    0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
                                    0x60, 0x61, 0xce, 0xd6, 0x6c, 0x6d, 0x6e, 0x6f};

    return memchr(known, byte, sizeof(known)) != NULL;
}

static bool is_bound(const struct patch *patch, int i) {
    return i == 0 || (patch->shape.bounds >> i & 1);
}

/* The steps of a change: at each a thread meets whole old instructions, an int3, or the jump. */
static void check_steps(const struct patch *patch) {
    uint8_t original[PATCH_JUMP], guarded[PATCH_JUMP], half[PATCH_JUMP], jumps[PATCH_JUMP];

    patch_bytes(patch, PATCH_ORIGINAL, original);
    patch_bytes(patch, PATCH_GUARDED, guarded);
    patch_bytes(patch, PATCH_HALF, half);
    patch_bytes(patch, PATCH_JUMPS, jumps);
    assert_memory_equal(original, patch->original, PATCH_JUMP);
    assert_int_equal(jumps[0], 0xe9);
    assert_int_equal(half[0], 0xcc);
    assert_memory_equal(half + 1, jumps + 1, PATCH_JUMP - 1);
    for (int i = 0; i < PATCH_JUMP; i++) {
        assert_int_equal(guarded[i], is_bound(patch, i) ? 0xcc : original[i]);
        if (i && is_bound(patch, i)) {
            assert_true(faults(jumps[i]));
        }
    }
}

static void check_places(const struct patch *patch, const uint8_t *text) {
    uint8_t cell[PATCH_CELL];
    size_t size = patch_cell(cell, patch, text + PATCH_BEFORE - patch->shape.before,
                             patch->trampoline & ~0xffful);

    assert_true(size <= PATCH_CELL);
    for (int i = 0; i < PATCH_JUMP; i++) {
        uint64_t there = patch_moved(patch, (uint64_t)i) - patch->trampoline;

        if (is_bound(patch, i)) {
            assert_true(there < size);
            assert_int_equal(patch_original(patch, there), patch->start + (uint64_t)i);
        }
    }
    /* A call that is made again goes back by the length of a `syscall`: to one, or to the site. */
    if (patch_covers(patch)) {
        assert_memory_equal(cell + patch_return(patch) - 2, "\x0f\x05", 2);
        assert_int_equal(patch_original(patch, patch_return(patch) - 2), patch_site(patch));
        assert_int_equal(patch_original(patch, patch_return(patch)), patch_site(patch) + 2);
    }
}

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005ul + 1442695040888963407ul;
    return *state >> 33;
}

/* Any text: a cheap generator of instructions around a site, and of garbage. */
static void test_every_shape_holds(void **state) {
    static const uint8_t pieces[][11] = {
        {1, 0x90},
        {1, 0xc3},
        {2, 0x31, 0xc0},
        {2, 0xb0, 39},
        {2, 0x85, 0xc0},
        {3, 0x49, 0x89, 0xca},
        {3, 0x48, 0x8b, 0x07},
        {4, 0x89, 0x44, 0x24, 0x30},
        {5, 0xb8, 39, 0, 0, 0},
        {6, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff},
        {8, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
        {10, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8},
        {2, 0xeb, 0},
    };
    uint64_t random = 1;
    size_t seen = 0;

    for (int round = 0; round < 20000; round++) {
        struct patch_shape shapes[PATCH_SHAPES];
        uint8_t text[PATCH_TEXT + 16];
        size_t count, at = PATCH_BEFORE + 2, start = PATCH_BEFORE;

        memset(text, 0x90, sizeof(text));
        while (start > 16) { /* instructions up to the site */
            const uint8_t *piece = pieces[next(&random) % ARRAY_SIZE(pieces)];

            start -= piece[0];
            memcpy(text + start, piece + 1, piece[0]);
        }
        memcpy(text + PATCH_BEFORE, "\x0f\x05", 2);
        while (at < PATCH_TEXT) {
            const uint8_t *piece = pieces[next(&random) % ARRAY_SIZE(pieces)];

            memcpy(text + at, piece + 1, piece[0]);
            at += piece[0];
        }
        if (round % 4 == 3) { /* garbage */
            text[next(&random) % PATCH_BEFORE] = (uint8_t)next(&random);
        }
        count = patch_shapes(text, shapes);
        for (size_t i = 0; i < count; i++) {
            struct patch patch = {.start = SITE - shapes[i].before, .shape = shapes[i]};
            uint64_t low, high;
            int window = 0;

            memcpy(patch.original, text + PATCH_BEFORE - shapes[i].before, PATCH_JUMP);
            while (!patch.trampoline &&
                   patch_window(&shapes[i], patch.start, &window, &low, &high)) {
                for (uint64_t t = ALIGN_UP(low, PATCH_CELL); t < MIN(high, low + 0x20000);
                     t += PATCH_CELL) {
                    if (patch_suits(&shapes[i], patch.start, t)) {
                        patch.trampoline = t;
                    }
                }
            }
            assert_true(patch.trampoline != 0);
            check_steps(&patch);
            check_places(&patch, text);
            seen |= 1ul << (shapes[i].bounds >> 2) << (patch_covers(&patch) ? 0 : 8);
        }
    }
    /* No bound, one and two of them, with the `syscall` in the jump and without. */
    assert_int_equal(seen & (1 << 1 | 1 << 2 | 1 << 8 | 1 << 9), 1 << 1 | 1 << 2 | 1 << 8 | 1 << 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_shape),
        cmocka_unit_test(test_what_may_not_move),
        cmocka_unit_test(test_ambiguous_before),
        cmocka_unit_test(test_every_shape_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
