/*
 * The first words a program sees: argc, argv, envp and the auxiliary vector at its stack pointer,
 * the strings above them. Laid out as Linux's create_elf_tables() does, made in a kernel buffer and
 * written at one stroke.
 */
#include <cpuid.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "task/exec_internal.h"

#define PLATFORM "x86_64"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN        28
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

int exec_check_arguments(struct exec *exec) {
    uint64_t stack = rlimits_get(&exec->current->thread_group->rlimits, RLIMIT_STACK);
    uint64_t limit = MAX(MIN(stack / 4, EXEC_STRINGS_MAX), EXEC_ARG_MAX), pointers;

    exec->string_bytes = strlen(exec->params->filename) + 1;
    for (size_t i = 0; i < exec->argc; i++) {
        size_t size = strlen(exec->argv[i]) + 1;

        if (size > EXEC_STRING_MAX) {
            return -E2BIG;
        }
        exec->string_bytes += size;
    }
    for (exec->envc = 0; exec->params->envp[exec->envc]; exec->envc++) {
        size_t size = strlen(exec->params->envp[exec->envc]) + 1;

        if (size > EXEC_STRING_MAX) {
            return -E2BIG;
        }
        exec->string_bytes += size;
    }
    pointers = (exec->argc + exec->envc) * sizeof(uint64_t);
    if (pointers >= limit || exec->string_bytes > limit - pointers) {
        return -E2BIG;
    }
    exec->stack_size = MIN(MAX(stack, STACK_SIZE_MIN), STACK_SIZE_MAX);
    exec->stack_size = ALIGN_DOWN(exec->stack_size, PAGE_SIZE);
    /* Room to run in, whatever the arguments take. */
    exec->stack_size =
        MAX(exec->stack_size, ALIGN_UP(pointers + exec->string_bytes, PAGE_SIZE) + STACK_SIZE_MIN);
    return 0;
}

struct stack_image {
    char *bytes;             /* what will stand from `start` to `top` */
    uint64_t start, top, at; /* at: guest address where the next string goes */
};

static uint64_t put_bytes(struct stack_image *image, const void *bytes, size_t size) {
    uint64_t address = image->at;

    memcpy(image->bytes + (address - image->start), bytes, size);
    image->at += size;
    return address;
}

static uint64_t put_string(struct stack_image *image, const char *text) {
    return put_bytes(image, text, strlen(text) + 1);
}

static void add_aux(struct memory_layout *layout, uint64_t type, uint64_t value) {
    size_t at = layout->auxv_bytes / sizeof(uint64_t);

    layout->auxv[at] = type;
    layout->auxv[at + 1] = value;
    layout->auxv_bytes += 2 * sizeof(uint64_t);
}

/* What the processor and the host's kernel offer is the host's to say: its value, if it has one. */
static void add_host_aux(struct memory_layout *layout, uint64_t type) {
    uint64_t value = getauxval(type);

    if (value) {
        add_aux(layout, type, value);
    }
}

/* AT_HWCAP is CPUID's leaf 1, EDX. Not by getauxval(), where glibc has bits of its own for it. */
static uint64_t processor_features(void) {
    unsigned eax, ebx, ecx, edx = 0;

    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) ? edx : 0;
}

static void make_auxv(struct exec *exec, uint64_t random, uint64_t name, uint64_t platform) {
    const struct elf_image *program = &exec->program;
    const struct credentials *creds = exec->creds;
    struct memory_layout *layout = &exec->layout;
    uint64_t bias = exec->program_bias;

    layout->auxv_bytes = 0;
    if (layout->vdso) {
        add_aux(layout, AT_SYSINFO_EHDR, layout->vdso);
    }
    add_host_aux(layout, AT_MINSIGSTKSZ);
    add_host_aux(layout, AT_RSEQ_FEATURE_SIZE);
    add_host_aux(layout, AT_RSEQ_ALIGN);
    add_aux(layout, AT_HWCAP, processor_features());
    add_aux(layout, AT_PAGESZ, PAGE_SIZE);
    add_aux(layout, AT_CLKTCK, 100); /* USER_HZ */
    add_aux(layout, AT_PHDR, program->header_address ? program->header_address + bias : 0);
    add_aux(layout, AT_PHENT, sizeof(Elf64_Phdr));
    add_aux(layout, AT_PHNUM, program->header_count);
    /* Linux's load address of the interpreter: what its addresses are relative to. */
    add_aux(layout, AT_BASE, exec->interpreter_file ? exec->interpreter_bias : 0);
    add_aux(layout, AT_FLAGS, 0);
    add_aux(layout, AT_ENTRY, program->entry + bias);
    add_aux(layout, AT_UID, creds->uid);
    add_aux(layout, AT_EUID, creds->euid);
    add_aux(layout, AT_GID, creds->gid);
    add_aux(layout, AT_EGID, creds->egid);
    add_aux(layout, AT_SECURE, exec->secure);
    add_aux(layout, AT_RANDOM, random);
    add_host_aux(layout, AT_HWCAP2);
    add_aux(layout, AT_EXECFN, name);
    add_aux(layout, AT_PLATFORM, platform);
    add_aux(layout, AT_NULL, 0);
}

#define AUXV_MAX 24 /* pairs that make_auxv() may add, and some */

int exec_write_stack(struct exec *exec) {
    size_t words = 1 + exec->argc + 1 + exec->envc + 1 + 2 * AUXV_MAX;
    uint64_t strings_end = exec->stack_start + exec->stack_size - sizeof(uint64_t);
    uint64_t strings = strings_end - exec->string_bytes, random, platform, name, *word;
    struct memory_layout *layout = &exec->layout;
    struct stack_image image = {.top = strings_end + sizeof(uint64_t)};
    char *bytes CLEANUP(free) = NULL;
    unsigned char seed[16];
    uint16_t shift;

    if (host_getrandom(seed, sizeof(seed)) != (ssize_t)sizeof(seed) ||
        host_getrandom(&shift, sizeof(shift)) != (ssize_t)sizeof(shift)) {
        return -EIO;
    }
    /* From below: vector, then random bytes and platform, some random space, then the strings. */
    uint64_t small = ALIGN_DOWN(strings - shift % 8192, 16) - 32;
    uint64_t pointer = ALIGN_DOWN(small - words * sizeof(uint64_t), 16);

    image.start = pointer;
    image.bytes = bytes = calloc(1, image.top - image.start);
    if (!bytes) {
        return -ENOMEM;
    }
    image.at = small;
    random = put_bytes(&image, seed, sizeof(seed));
    platform = put_string(&image, PLATFORM);

    word = (uint64_t *)bytes;
    *word++ = exec->argc;
    image.at = strings;
    layout->arg_start = strings;
    for (size_t i = 0; i < exec->argc; i++) {
        *word++ = put_string(&image, exec->argv[i]);
    }
    *word++ = 0;
    layout->arg_end = layout->env_start = image.at;
    for (size_t i = 0; i < exec->envc; i++) {
        *word++ = put_string(&image, exec->params->envp[i]);
    }
    *word++ = 0;
    layout->env_end = image.at;
    name = put_string(&image, exec->params->filename);
    make_auxv(exec, random, name, platform);
    memcpy(word, layout->auxv, layout->auxv_bytes);

    layout->start_stack = pointer;
    exec->stack_pointer = pointer;
    ssize_t written = host_memory_write(exec->thread, image.start, bytes, image.top - image.start);

    return written < 0 ? (int)written : (uint64_t)written != image.top - image.start ? -EFAULT : 0;
}
