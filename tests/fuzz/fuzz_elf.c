/*
 * libFuzzer over task/elf.c: any bytes as a program file. What elf_parse() accepts must give a plan
 * within the address space; scripts must give names that fit.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "task/elf.h"

struct input {
    const uint8_t *data;
    size_t size;
};

static ssize_t read_input(void *arg, void *buffer, size_t size, uint64_t offset) {
    const struct input *input = arg;

    if (offset >= input->size) {
        return 0;
    }
    size = MIN(size, input->size - offset);
    memcpy(buffer, input->data + offset, size);
    return (ssize_t)size;
}

static void require(bool condition) {
    if (!condition) {
        __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    struct script_line line;
    struct elf_image image;

    if (script_parse((const char *)data, size, &line) == 0) {
        require(strlen(line.interpreter) > 0 && strlen(line.interpreter) < SCRIPT_LINE_MAX);
        require(strlen(line.argument) < SCRIPT_LINE_MAX);
    }
    if (elf_parse(read_input, &input, &image)) {
        return 0;
    }
    struct memory_segment *segments = calloc(2 * image.load_count, sizeof(*segments));
    size_t count = elf_image_segments(&image, 0, (struct memory_object *)0x1000, segments);

    require(image.low < image.high && image.high <= USER_TASK_SIZE);
    for (size_t i = 0; i < count; i++) {
        require(segments[i].size > 0 &&
                ((segments[i].start | segments[i].size | segments[i].offset) % PAGE_SIZE) == 0);
        require(segments[i].start >= image.low &&
                segments[i].start + segments[i].size <= image.high);
    }
    free(segments);
    elf_image_destroy(&image);
    return 0;
}
