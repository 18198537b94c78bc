/*
 * elf: reading ELF64 programs (elf(5)) and `#!` lines, apart from loading them. Pure: input comes
 * through a read function, so unit tests and the fuzzer drive it from a buffer. Everything in a
 * file is hostile: sizes are checked before they are used and work is bounded.
 */
#ifndef STARLING_ELF_H
#define STARLING_ELF_H

#include <elf.h>
#include <limits.h>

#include "base/base.h"
#include "mm/mm.h"

/* Up to `size` bytes from `offset`: how many (fewer only at the end of the file), or -errno. */
typedef ssize_t elf_read_fn(void *arg, void *buffer, size_t size, uint64_t offset);

/* One PT_LOAD, as the file says it; checked: file_size <= memory_size, address + memory_size within
 * the address space, offset and address alike modulo the page. */
struct elf_load {
    uint64_t address, file_size, memory_size, offset;
    int prot;
};

/* Addresses are the file's own: exec adds the bias. */
struct elf_image {
    bool position_independent; /* ET_DYN */
    bool exec_stack;           /* PT_GNU_STACK with PF_X */
    uint64_t entry;
    uint64_t low, high;      /* the pages that the loads span; high is exclusive */
    uint64_t align;          /* of the bias: the largest p_align, at least a page */
    uint64_t header_address; /* where the program headers are in memory; 0: in no load */
    unsigned header_count;
    uint64_t start_code, end_code, start_data, end_data, end_bss;
    char *interpreter; /* owned; NULL: none */
    struct elf_load *loads;
    size_t load_count; /* >= 1 */
};

/*
 * 0; -ENOEXEC: not a program this kernel runs, or a malformed one; -ENOMEM: a load beyond the
 * address space, or no memory; -EIO: PT_INTERP beyond the end of the file; or what `read` failed
 * with. On failure nothing is left to destroy.
 */
int MUST_CHECK elf_parse(elf_read_fn *read, void *arg, struct elf_image *image);
void elf_image_destroy(struct elf_image *image);
/*
 * What to map for the image at `bias`, into out (room for 2 * load_count): how many segments were
 * written. Later segments replace what they overlap of earlier ones, as Linux's MAP_FIXED does.
 */
size_t elf_image_segments(const struct elf_image *image, uint64_t bias,
                          struct memory_object *object, struct memory_segment *out);

#define SCRIPT_LINE_MAX 256 /* BINPRM_BUF_SIZE */
#define EXEC_DEPTH_MAX  5   /* interpreters of interpreters; execve(2) ELOOP */

struct script_line {
    char interpreter[SCRIPT_LINE_MAX];
    char argument[SCRIPT_LINE_MAX]; /* one, with the blanks inside; "" when none */
    bool has_argument;
};
/* `head`: the first `size` bytes of the file, at most SCRIPT_LINE_MAX. 0, or -ENOEXEC: no `#!`
 * line, none with a name, or a name that is cut off. */
int MUST_CHECK script_parse(const char *head, size_t size, struct script_line *line);

#endif
