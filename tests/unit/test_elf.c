/*
 * task/elf.c from a buffer: what Linux runs is described rightly, what is malformed is refused, and
 * random damage to a good file never gives a plan that leaves the address space.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "task/elf.h"

struct image_file {
    unsigned char bytes[16384];
    size_t size;
};

static ssize_t read_image(void *arg, void *buffer, size_t size, uint64_t offset) {
    const struct image_file *file = arg;

    if (offset >= file->size) {
        return 0;
    }
    size = MIN(size, file->size - offset);
    memcpy(buffer, file->bytes + offset, size);
    return (ssize_t)size;
}

static Elf64_Ehdr *header_of(struct image_file *file) {
    return (Elf64_Ehdr *)file->bytes;
}

static Elf64_Phdr *programs_of(struct image_file *file) {
    return (Elf64_Phdr *)(file->bytes + sizeof(Elf64_Ehdr));
}

/* A position-independent program: interpreter, text, data with bss, a stack header. */
static void make_image(struct image_file *file) {
    static const char interpreter[] = "/lib64/ld-linux-x86-64.so.2";
    Elf64_Ehdr *header = header_of(file);
    Elf64_Phdr *programs = programs_of(file);

    *file = (struct image_file){.size = sizeof(file->bytes)};
    memcpy(header->e_ident, ELFMAG, SELFMAG);
    header->e_ident[EI_CLASS] = ELFCLASS64;
    header->e_ident[EI_DATA] = ELFDATA2LSB;
    header->e_ident[EI_VERSION] = EV_CURRENT;
    header->e_type = ET_DYN;
    header->e_machine = EM_X86_64;
    header->e_version = EV_CURRENT;
    header->e_entry = 0x1040;
    header->e_phoff = sizeof(*header);
    header->e_ehsize = sizeof(*header);
    header->e_phentsize = sizeof(*programs);
    header->e_phnum = 4;
    programs[0] = (Elf64_Phdr){.p_type = PT_INTERP,
                               .p_offset = 0x800,
                               .p_filesz = sizeof(interpreter),
                               .p_memsz = sizeof(interpreter)};
    memcpy(file->bytes + 0x800, interpreter, sizeof(interpreter));
    programs[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_flags = PF_R | PF_X,
                               .p_filesz = 0x1800,
                               .p_memsz = 0x1800,
                               .p_align = 0x1000};
    programs[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_flags = PF_R | PF_W,
                               .p_offset = 0x2010,
                               .p_vaddr = 0x3010,
                               .p_filesz = 0x300,
                               .p_memsz = 0x2300,
                               .p_align = 0x1000};
    programs[3] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
}

static int parse(struct image_file *file) {
    struct elf_image image;
    int result = elf_parse(read_image, file, &image);

    if (!result) {
        elf_image_destroy(&image);
    }
    return result;
}

static void test_a_good_program(void **state) {
    struct memory_object *object = (struct memory_object *)0x1000;
    struct memory_segment segments[4];
    struct image_file file;
    struct elf_image image;
    uint64_t bias = 0x555500000000;

    make_image(&file);
    assert_int_equal(elf_parse(read_image, &file, &image), 0);
    assert_true(image.position_independent);
    assert_false(image.exec_stack);
    assert_string_equal(image.interpreter, "/lib64/ld-linux-x86-64.so.2");
    assert_int_equal(image.low, 0);
    assert_int_equal(image.high, 0x6000);
    assert_int_equal(image.header_address, sizeof(Elf64_Ehdr));
    assert_int_equal(image.header_count, 4);
    assert_int_equal(image.start_code, 0);
    assert_int_equal(image.end_code, 0x1800);
    assert_int_equal(image.start_data, 0x3010);
    assert_int_equal(image.end_data, 0x3310);
    assert_int_equal(image.end_bss, 0x5310);

    assert_int_equal(elf_image_segments(&image, bias, object, segments), 3);
    assert_int_equal(segments[0].start, bias);
    assert_int_equal(segments[0].size, 0x2000);
    assert_int_equal(segments[0].prot, PROT_READ | PROT_EXEC);
    assert_int_equal(segments[0].zero_start, 0);
    assert_int_equal(segments[1].start, bias + 0x3000);
    assert_int_equal(segments[1].size, 0x1000);
    assert_int_equal(segments[1].offset, 0x2000);
    assert_ptr_equal(segments[1].object, object);
    assert_int_equal(segments[1].zero_start, bias + 0x3310);
    assert_int_equal(segments[2].start, bias + 0x4000);
    assert_int_equal(segments[2].size, 0x2000);
    assert_null(segments[2].object);
    elf_image_destroy(&image);
}

static void test_stack_header(void **state) {
    struct image_file file;
    struct elf_image image;

    make_image(&file);
    programs_of(&file)[3].p_flags |= PF_X;
    assert_int_equal(elf_parse(read_image, &file, &image), 0);
    assert_true(image.exec_stack);
    elf_image_destroy(&image);
}

static void test_what_is_no_program(void **state) {
    struct image_file file;

    make_image(&file);
    file.size = 0;
    assert_int_equal(parse(&file), -ENOEXEC);
    file.size = sizeof(Elf64_Ehdr) - 1;
    assert_int_equal(parse(&file), -ENOEXEC);
    file.size = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
    assert_int_equal(parse(&file), -ENOEXEC); /* the table is cut off */

#define REFUSED(change, error)                                                                     \
    do {                                                                                           \
        make_image(&file);                                                                         \
        Elf64_Ehdr *header = header_of(&file);                                                     \
        Elf64_Phdr *programs = programs_of(&file);                                                 \
        (void)header;                                                                              \
        (void)programs;                                                                            \
        change;                                                                                    \
        assert_int_equal(parse(&file), error);                                                     \
    } while (0)
    REFUSED(header->e_ident[0] = 'x', -ENOEXEC);
    REFUSED(header->e_ident[EI_CLASS] = ELFCLASS32, -ENOEXEC);
    REFUSED(header->e_ident[EI_DATA] = ELFDATA2MSB, -ENOEXEC);
    REFUSED(header->e_machine = EM_386, -ENOEXEC);
    REFUSED(header->e_machine = EM_AARCH64, -ENOEXEC);
    REFUSED(header->e_type = ET_REL, -ENOEXEC);
    REFUSED(header->e_type = ET_CORE, -ENOEXEC);
    REFUSED(header->e_phentsize = 32, -ENOEXEC);
    REFUSED(header->e_phnum = 0, -ENOEXEC);
    REFUSED(header->e_phnum = 65535, -ENOEXEC);
    REFUSED(header->e_phoff = UINT64_MAX, -ENOEXEC);
    REFUSED(header->e_phoff = INT64_MAX - 8, -ENOEXEC);
    REFUSED(header->e_phoff = sizeof(file.bytes) - 8, -ENOEXEC);
    REFUSED(programs[1].p_type = programs[2].p_type = PT_NULL, -ENOEXEC);
    REFUSED(programs[0].p_filesz = 1, -ENOEXEC);
    REFUSED(programs[0].p_filesz = PATH_MAX + 1, -ENOEXEC);
    REFUSED(programs[0].p_filesz = 5, -ENOEXEC); /* does not end with a NUL */
    REFUSED(programs[0].p_offset = sizeof(file.bytes) - 4, -EIO);
    REFUSED(programs[0].p_offset = UINT64_MAX - 2, -EIO);
    REFUSED(programs[2].p_filesz = programs[2].p_memsz + 1, -ENOEXEC);
    REFUSED(programs[2].p_offset++, -ENOEXEC); /* not alike modulo the page */
    REFUSED(programs[2].p_memsz = UINT64_MAX, -ENOMEM);
    REFUSED(programs[2].p_vaddr = 0xffffffff80000010, -ENOMEM);
    REFUSED(programs[2].p_vaddr = USER_TASK_SIZE - PAGE_SIZE + 0x10, -ENOMEM);
    REFUSED(programs[2].p_offset = 0xfffffffffffff010, -ENOEXEC);
#undef REFUSED
}

static uint64_t random_state = 0x853c49e6748fea9bULL;

static uint64_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Whatever the file says, what is to be mapped is well-formed. */
static void check_plan(const struct elf_image *image) {
    struct memory_segment *segments = calloc(2 * image->load_count, sizeof(*segments));
    size_t count = elf_image_segments(image, 0, (struct memory_object *)0x1000, segments);

    assert_true(image->load_count > 0 && image->load_count <= image->header_count);
    assert_true(image->high <= ALIGN_UP(USER_TASK_SIZE, PAGE_SIZE) && image->low < image->high);
    assert_int_equal(image->align & (image->align - 1), 0);
    for (size_t i = 0; i < count; i++) {
        const struct memory_segment *segment = &segments[i];

        assert_true(segment->size > 0);
        assert_int_equal((segment->start | segment->size | segment->offset) % PAGE_SIZE, 0);
        assert_true(segment->start >= image->low && segment->start + segment->size <= image->high);
        assert_true((int64_t)(segment->offset + segment->size) > 0);
        if (segment->zero_start) {
            assert_true(segment->zero_start >= segment->start &&
                        segment->zero_start < segment->start + segment->size);
        }
    }
    free(segments);
}

static void test_random_damage(void **state) {
    int accepted = 0;

    for (int round = 0; round < 60000; round++) {
        struct image_file file;
        struct elf_image image;
        int changes = 1 + (int)(random_next() % 4);

        make_image(&file);
        for (int i = 0; i < changes; i++) {
            size_t span = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
            size_t at = 4 + random_next() % (span - 12);

            switch (random_next() % 3) {
            case 0:
                file.bytes[at] = (unsigned char)random_next();
                break;
            case 1:
                file.bytes[at] ^= (unsigned char)(1 << random_next() % 8);
                break;
            case 2: {
                static const uint64_t edges[] = {
                    0,          1,          4095,          4096,
                    INT64_MAX,  UINT64_MAX, 1UL << 47,     (1UL << 47) - 4096,
                    UINT32_MAX, 1UL << 63,  USER_TASK_SIZE};
                uint64_t edge = edges[random_next() % ARRAY_SIZE(edges)];

                memcpy(file.bytes + ALIGN_DOWN(at, 8), &edge, sizeof(edge));
                break;
            }
            }
        }
        file.size = random_next() % 8 ? sizeof(file.bytes) : random_next() % sizeof(file.bytes);
        int result = elf_parse(read_image, &file, &image);

        if (result == 0) {
            accepted++;
            check_plan(&image);
            elf_image_destroy(&image);
        } else {
            assert_true(result == -ENOEXEC || result == -ENOMEM || result == -EIO);
        }
    }
    assert_in_range(accepted, 1000, 59000); /* the damage is neither harmless nor total */
}

static int script(const char *text, struct script_line *line) {
    return script_parse(text, strlen(text), line);
}

static void test_scripts(void **state) {
    struct script_line line;
    char text[SCRIPT_LINE_MAX + 64];

    assert_int_equal(script("#!/bin/sh\necho", &line), 0);
    assert_string_equal(line.interpreter, "/bin/sh");
    assert_false(line.has_argument);
    assert_int_equal(script("#! \t /usr/bin/env  python3 -u \t\n", &line), 0);
    assert_string_equal(line.interpreter, "/usr/bin/env");
    assert_true(line.has_argument);
    assert_string_equal(line.argument, "python3 -u");
    assert_int_equal(script("#!/bin/sh", &line), 0); /* the file ends there */
    assert_string_equal(line.interpreter, "/bin/sh");

    assert_int_equal(script("", &line), -ENOEXEC);
    assert_int_equal(script("#", &line), -ENOEXEC);
    assert_int_equal(script("#!", &line), -ENOEXEC);
    assert_int_equal(script("#!\n/bin/sh", &line), -ENOEXEC);
    assert_int_equal(script("#!   \t\n", &line), -ENOEXEC);

    /* A name that is cut off is refused; an argument that is cut off is cut off. */
    memset(text, 'a', sizeof(text));
    memcpy(text, "#!/", 3);
    assert_int_equal(script_parse(text, SCRIPT_LINE_MAX, &line), -ENOEXEC);
    text[100] = ' ';
    assert_int_equal(script_parse(text, SCRIPT_LINE_MAX, &line), 0);
    assert_int_equal(strlen(line.interpreter), 98);
    assert_int_equal(strlen(line.argument), SCRIPT_LINE_MAX - 102); /* Linux: one for a NUL */
    text[100] = 'a';
    text[SCRIPT_LINE_MAX - 2] = '\n';
    assert_int_equal(script_parse(text, SCRIPT_LINE_MAX, &line), 0);
    assert_int_equal(strlen(line.interpreter), SCRIPT_LINE_MAX - 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_program),
        cmocka_unit_test(test_stack_header),
        cmocka_unit_test(test_what_is_no_program),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_scripts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
