/*
 * Random places for address-space layout randomisation, with the entropy Linux gives a 64-bit
 * process (arch/x86/mm/mmap.c, fs/binfmt_elf.c; with personality(2) ADDR_NO_RANDOMIZE none).
 * No state: each value comes fresh from the host's getrandom.
 */
#include "mm/mm_internal.h"

#define MMAP_RANDOM_BITS  28 /* vm.mmap_rnd_bits */
#define STACK_RANDOM_BITS 22 /* STACK_RND_MASK: pages, 16 GiB */

static uint64_t random_bits(unsigned bits, bool random) {
    uint64_t value = 0;

    if (!random) {
        return 0;
    }
    if (host_getrandom(&value, sizeof(value)) != (ssize_t)sizeof(value)) {
        panic("no random bytes from the host for an address");
    }
    return value & ((1ULL << bits) - 1);
}

uint64_t memory_random_mmap_base(uint64_t stack_limit, bool random) {
    uint64_t stack_random = 1ULL << (STACK_RANDOM_BITS + PAGE_SHIFT);
    uint64_t pad = stack_random + STACK_GUARD, gap = stack_limit, gap_max;

    gap_max = USER_TASK_SIZE / 6 * 5;
    if (gap + pad > gap) {
        gap += pad;
    }
    gap = MAX(gap, 128UL << 20);
    gap = MIN(gap, gap_max);
    return ALIGN_DOWN(USER_TASK_SIZE - gap - (random_bits(MMAP_RANDOM_BITS, random) << PAGE_SHIFT),
                      PAGE_SIZE);
}

uint64_t memory_random_pie_base(bool random) {
    /* ELF_ET_DYN_BASE: two thirds of the address space, clear of mmap's region and of brk. */
    return ALIGN_DOWN(USER_TASK_SIZE / 3 * 2, PAGE_SIZE) +
           (random_bits(MMAP_RANDOM_BITS, random) << PAGE_SHIFT);
}

uint64_t memory_random_brk_gap(bool random) {
    return random_bits(13, random) << PAGE_SHIFT; /* arch_randomize_brk(): 32 MiB */
}

uint64_t memory_random_stack_top(bool random) {
    return USER_TASK_SIZE - (random_bits(STACK_RANDOM_BITS, random) << PAGE_SHIFT);
}
