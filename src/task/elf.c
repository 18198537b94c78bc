/*
 * ELF64 programs and `#!` lines: from bytes to a checked description. No state, no allocation that
 * outlives elf_image_destroy(). The rules are those of Linux's fs/binfmt_elf.c and
 * fs/binfmt_script.c; where Linux would only find a malformed file after its point of no return and
 * kill the process, it is found here first and execve(2) fails.
 */
#include "task/elf.h"

#define HEADER_TABLE_MAX 65536 /* bytes of program headers, as Linux */

static int prot_of(uint32_t flags) {
    return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) |
           (flags & PF_X ? PROT_EXEC : 0);
}

static int check_header(const Elf64_Ehdr *header) {
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return -ENOEXEC;
    }
    if (header->e_ident[EI_CLASS] == ELFCLASS32 &&
        (header->e_machine == EM_386 || header->e_machine == EM_X86_64)) {
        log_once(LOG_WARN, "elf32", header->e_machine,
                 "not supported: 32-bit programs (%s); use a 64-bit build of the program",
                 header->e_machine == EM_386 ? "i386" : "x32");
        return -ENOEXEC;
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
        header->e_machine != EM_X86_64 || (header->e_type != ET_EXEC && header->e_type != ET_DYN) ||
        header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 ||
        header->e_phnum > HEADER_TABLE_MAX / sizeof(Elf64_Phdr)) {
        return -ENOEXEC;
    }
    return 0;
}

static int read_interpreter(elf_read_fn *read, void *arg, const Elf64_Phdr *program,
                            struct elf_image *image) {
    if (program->p_filesz > PATH_MAX || program->p_filesz < 2) {
        return -ENOEXEC;
    }
    image->interpreter = malloc(program->p_filesz);
    if (!image->interpreter) {
        return -ENOMEM;
    }
    ssize_t got = read(arg, image->interpreter, program->p_filesz, program->p_offset);

    if (got < 0) {
        return (int)got;
    }
    if ((uint64_t)got != program->p_filesz) {
        return -EIO;
    }
    if (image->interpreter[program->p_filesz - 1] != 0) {
        return -ENOEXEC;
    }
    return 0;
}

static int add_load(const Elf64_Ehdr *header, const Elf64_Phdr *program, struct elf_image *image) {
    struct elf_load *load = &image->loads[image->load_count];
    uint64_t start = program->p_vaddr, end;

    if (program->p_memsz == 0) {
        return 0;
    }
    if (program->p_filesz > program->p_memsz ||
        (program->p_filesz && (program->p_vaddr - program->p_offset) % PAGE_SIZE != 0)) {
        return -ENOEXEC;
    }
    if (start >= USER_TASK_SIZE || program->p_memsz > USER_TASK_SIZE - start) {
        return -ENOMEM;
    }
    /* The file range must be one that a map can have: page offsets are signed in off_t. */
    if (program->p_offset > INT64_MAX - PAGE_SIZE ||
        program->p_filesz > INT64_MAX - PAGE_SIZE - program->p_offset) {
        return -ENOEXEC;
    }
    end = start + program->p_memsz;
    *load = (struct elf_load){.address = start,
                              .file_size = program->p_filesz,
                              .memory_size = program->p_memsz,
                              .offset = program->p_offset,
                              .prot = prot_of(program->p_flags)};
    image->load_count++;
    image->low = MIN(image->low, ALIGN_DOWN(start, PAGE_SIZE));
    image->high = MAX(image->high, ALIGN_UP(end, PAGE_SIZE));
    if (program->p_align > image->align && (program->p_align & (program->p_align - 1)) == 0) {
        image->align = program->p_align;
    }
    if (header->e_phoff >= program->p_offset &&
        header->e_phoff - program->p_offset < program->p_filesz) {
        image->header_address = header->e_phoff - program->p_offset + start;
    }
    if (program->p_flags & PF_X) {
        image->start_code = MIN(image->start_code, start);
        image->end_code = MAX(image->end_code, start + program->p_filesz);
    }
    image->start_data = MAX(image->start_data, start);
    image->end_data = MAX(image->end_data, start + program->p_filesz);
    image->end_bss = MAX(image->end_bss, end);
    return 0;
}

static int parse_programs(elf_read_fn *read, void *arg, const Elf64_Ehdr *header,
                          const Elf64_Phdr *programs, struct elf_image *image) {
    int result = 0;

    for (unsigned i = 0; i < header->e_phnum && !result; i++) {
        switch (programs[i].p_type) {
        case PT_INTERP:
            if (!image->interpreter) {
                result = read_interpreter(read, arg, &programs[i], image);
            }
            break;
        case PT_GNU_STACK:
            image->exec_stack = programs[i].p_flags & PF_X;
            break;
        case PT_LOAD:
            result = add_load(header, &programs[i], image);
            break;
        }
    }
    if (!result && image->load_count == 0) {
        result = -ENOEXEC;
    }
    return result;
}

int elf_parse(elf_read_fn *read, void *arg, struct elf_image *image) {
    Elf64_Phdr *programs CLEANUP(free) = NULL;
    Elf64_Ehdr header;
    ssize_t got = read(arg, &header, sizeof(header), 0);
    size_t table;

    *image = (struct elf_image){.low = UINT64_MAX, .align = PAGE_SIZE, .start_code = UINT64_MAX};
    if (got < 0) {
        return (int)got;
    }
    if ((size_t)got < sizeof(header) || check_header(&header)) {
        return -ENOEXEC;
    }
    table = header.e_phnum * sizeof(*programs);
    if (header.e_phoff > (uint64_t)INT64_MAX - table) {
        return -ENOEXEC;
    }
    programs = malloc(table);
    image->loads = calloc(header.e_phnum, sizeof(*image->loads));
    if (!programs || !image->loads) {
        elf_image_destroy(image);
        return -ENOMEM;
    }
    got = read(arg, programs, table, header.e_phoff);
    if (got < 0 || (size_t)got != table) {
        elf_image_destroy(image);
        return got < 0 ? (int)got : -ENOEXEC;
    }
    image->position_independent = header.e_type == ET_DYN;
    image->entry = header.e_entry;
    image->header_count = header.e_phnum;

    int result = parse_programs(read, arg, &header, programs, image);

    if (result) {
        elf_image_destroy(image);
        return result;
    }
    if (image->start_code == UINT64_MAX) {
        image->start_code = image->low;
    }
    return 0;
}

void elf_image_destroy(struct elf_image *image) {
    free(image->interpreter);
    free(image->loads);
    image->interpreter = NULL;
    image->loads = NULL;
    image->load_count = 0;
}

size_t elf_image_segments(const struct elf_image *image, uint64_t bias,
                          struct memory_object *object, struct memory_segment *out) {
    size_t count = 0;

    for (size_t i = 0; i < image->load_count; i++) {
        const struct elf_load *load = &image->loads[i];
        uint64_t start = load->address + bias, file_end = start + load->file_size;
        uint64_t end = ALIGN_UP(start + load->memory_size, PAGE_SIZE);
        uint64_t zero = ALIGN_UP(start, PAGE_SIZE);

        if (load->file_size) {
            zero = ALIGN_UP(file_end, PAGE_SIZE);
            out[count++] = (struct memory_segment){
                .start = ALIGN_DOWN(start, PAGE_SIZE),
                .size = zero - ALIGN_DOWN(start, PAGE_SIZE),
                .offset = ALIGN_DOWN(load->offset, PAGE_SIZE),
                .prot = load->prot,
                .object = object,
                .zero_start = load->memory_size > load->file_size && file_end < zero ? file_end : 0,
            };
        }
        if (end > zero) {
            out[count++] = (struct memory_segment){
                .start = zero,
                .size = end - zero,
                .prot = PROT_READ | PROT_WRITE | (load->prot & PROT_EXEC),
            };
        }
    }
    return count;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

int script_parse(const char *head, size_t size, struct script_line *line) {
    size_t end = 2, start = 2, name_end, argument;
    bool cut = true;

    *line = (struct script_line){0};
    size = MIN(size, (size_t)SCRIPT_LINE_MAX - 1); /* Linux keeps the last byte for a NUL */
    if (size < 2 || head[0] != '#' || head[1] != '!') {
        return -ENOEXEC;
    }
    while (end < size && head[end] != '\n' && head[end] != 0) {
        end++;
    }
    if (end < size || size < SCRIPT_LINE_MAX - 1) {
        cut = false; /* the line ended by a newline, or with the file */
    }
    while (start < end && is_blank(head[start])) {
        start++;
    }
    for (name_end = start; name_end < end && !is_blank(head[name_end]); name_end++) {
    }
    /* A name that may go on behind what was read would be another name. */
    if (name_end == start || (cut && name_end == end)) {
        return -ENOEXEC;
    }
    memcpy(line->interpreter, head + start, name_end - start);
    while (end > name_end && is_blank(head[end - 1])) {
        end--;
    }
    for (argument = name_end; argument < end && is_blank(head[argument]); argument++) {
    }
    if (argument < end) {
        /* One byte is left for the NUL since the line begins with two of its own. */
        memcpy(line->argument, head + argument, end - argument);
        line->has_argument = true;
    }
    return 0;
}
