/* Shared by the files of exec: one execve(2) on its way. */
#ifndef STARLING_EXEC_INTERNAL_H
#define STARLING_EXEC_INTERNAL_H

#include "task/elf.h"
#include "task/task.h"

#define EXEC_ARG_MAX     131072UL    /* ARG_MAX: always allowed */
#define EXEC_STRING_MAX  131072UL    /* MAX_ARG_STRLEN, with the NUL */
#define EXEC_STRINGS_MAX (6UL << 20) /* three quarters of _STK_LIM */

#define STACK_SIZE_MIN (256UL << 10)
#define STACK_SIZE_MAX (1UL << 30) /* of an unlimited stack */

struct exec {
    struct task *current;
    const struct exec_params *params;
    struct file *file;             /* owned: the ELF program, after any `#!` lines */
    struct file *interpreter_file; /* owned, or NULL */
    struct elf_image program, interpreter;
    /* argv after `#!` lines; the array is owned, its strings are params' or in kept */
    const char **argv;
    size_t argc, envc;
    char *kept[2 * (EXEC_DEPTH_MAX + 1)];
    size_t kept_count;
    uint64_t string_bytes; /* argv, envp and the file name, NULs included */

    struct credentials *creds; /* owned: what the program runs with */
    uint32_t personality;      /* of the new program */
    bool randomize;            /* no ADDR_NO_RANDOMIZE in its personality */
    bool secure;               /* AT_SECURE: it gained rights */

    bool in_place; /* the first exec of the first task: its own process is still empty */
    struct host_process *process;
    struct host_aspace *aspace;
    struct host_thread *thread;
    struct memory_manager *mm;
    struct memory_layout layout;
    uint64_t stack_size, stack_start;
    uint64_t program_bias, interpreter_bias;
    uint64_t entry, stack_pointer;
};

/* exec_image.c */

/* Follows `#!` lines to an ELF program and reads its headers and its interpreter's. */
int MUST_CHECK exec_find_program(struct exec *exec);
/* Maps program, interpreter and stack into exec->mm by exec->thread; sets layout and entry. */
int MUST_CHECK exec_map_program(struct exec *exec);

/* exec_stack.c */

/* The limits of execve(2) on arguments: -E2BIG. */
int MUST_CHECK exec_check_arguments(struct exec *exec);
/* Writes arguments, environment and auxiliary vector; sets stack_pointer and the layout's places.
 */
int MUST_CHECK exec_write_stack(struct exec *exec);

/* exec_creds.c: exec->creds and exec->secure by capabilities(7) and execve(2). */
int MUST_CHECK exec_credentials(struct exec *exec);

#endif
