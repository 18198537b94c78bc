/*
 * exec's way from a file to a program in memory: `#!` lines are followed (each adds arguments), the
 * ELF headers read, places chosen, everything mapped in as few hand-overs as may be.
 *
 * Nothing here touches the running program: until task_exec() commits, failure is an errno.
 */
#include "task/exec_internal.h"

static ssize_t read_file(void *arg, void *buffer, size_t size, uint64_t offset) {
    size_t done = 0;

    while (done < size) {
        ssize_t got = file_pread(arg, (char *)buffer + done, size - done, (int64_t)(offset + done));

        if (got < 0) {
            return got;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static int keep(struct exec *exec, const char *text, const char **kept) {
    char *copy = strdup(text);

    if (!copy) {
        return -ENOMEM;
    }
    exec->kept[exec->kept_count++] = copy;
    *kept = copy;
    return 0;
}

/* argv becomes: interpreter, its argument, the script's name, and the old arguments but the first.
 */
static int push_script(struct exec *exec, const struct script_line *line, const char *script,
                       const char **interpreter) {
    size_t extra = line->has_argument ? 3 : 2, rest = exec->argc ? exec->argc - 1 : 0;
    const char **argv = calloc(extra + rest + 1, sizeof(*argv));
    const char *argument = NULL;
    size_t count = 0;
    int result;

    if (!argv) {
        return -ENOMEM;
    }
    result = keep(exec, line->interpreter, interpreter);
    if (!result && line->has_argument) {
        result = keep(exec, line->argument, &argument);
    }
    if (result) {
        free(argv);
        return result;
    }
    argv[count++] = *interpreter;
    if (argument) {
        argv[count++] = argument;
    }
    argv[count++] = script;
    for (size_t i = 0; i < rest; i++) {
        argv[count++] = exec->argv[i + 1];
    }
    free(exec->argv);
    exec->argv = argv;
    exec->argc = count;
    return 0;
}

static int open_program(struct exec *exec, const char *name, struct file **file) {
    struct walk walk = task_walk(exec->current, NULL);

    return vfs_open_exec(&walk, name, LOOKUP_FOLLOW, file);
}

static int parse_interpreter(struct exec *exec) {
    int result = open_program(exec, exec->program.interpreter, &exec->interpreter_file);

    if (result) {
        return result;
    }
    result = elf_parse(read_file, exec->interpreter_file, &exec->interpreter);
    if (result == -ENOEXEC) {
        return -ELIBBAD;
    }
    return result;
}

int exec_find_program(struct exec *exec) {
    const char *name = exec->params->filename;
    char head[SCRIPT_LINE_MAX];

    for (int depth = 0;; depth++) {
        struct script_line line;
        ssize_t size = read_file(exec->file, head, sizeof(head), 0);
        int result;

        if (size < 0) {
            return (int)size;
        }
        if (size < 2 || head[0] != '#' || head[1] != '!') {
            break;
        }
        if (depth == EXEC_DEPTH_MAX) {
            return -ELOOP;
        }
        if (exec->params->path_inaccessible) {
            return -ENOENT; /* its interpreter could not open it by name: execveat(2) BUGS */
        }
        result = script_parse(head, (size_t)size, &line);
        if (result) {
            return result;
        }
        result = push_script(exec, &line, name, &name);
        if (result) {
            return result;
        }
        struct file *interpreter;

        result = open_program(exec, name, &interpreter);
        if (result) {
            return result;
        }
        file_put(exec->file);
        exec->file = interpreter;
    }
    int result = elf_parse(read_file, exec->file, &exec->program);

    if (!result && exec->program.interpreter) {
        result = parse_interpreter(exec);
    }
    return result;
}

/* Where the image goes: its bias, or -errno. */
static int place_image(struct exec *exec, const struct elf_image *image, uint64_t hint,
                       const struct memory_segment *taken, size_t count, uint64_t *bias) {
    uint64_t align = MAX(image->align, PAGE_SIZE);
    int64_t place;

    *bias = 0;
    if (!image->position_independent) {
        return 0;
    }
    if (align > 1UL << 30) {
        align = PAGE_SIZE; /* no real program; what cannot be aligned is loaded as it can be */
    }
    place = memory_place(exec->mm, ALIGN_DOWN(hint, align), image->high - image->low, align, taken,
                         count);
    if (place < 0) {
        return (int)place;
    }
    *bias = (uint64_t)place - ALIGN_DOWN(image->low, align);
    if (*bias + image->high > USER_TASK_SIZE || *bias + image->low < USER_MMAP_MIN) {
        return -ENOMEM;
    }
    return 0;
}

static int plan_stack(struct exec *exec, const struct memory_segment *taken, size_t count,
                      struct memory_segment *stack) {
    uint64_t top = memory_random_stack_top(exec->randomize);
    int64_t place =
        memory_place(exec->mm, top - exec->stack_size, exec->stack_size, PAGE_SIZE, taken, count);

    if (place < 0) {
        return (int)place;
    }
    exec->stack_start = (uint64_t)place;
    *stack = (struct memory_segment){
        .start = (uint64_t)place,
        .size = exec->stack_size,
        .prot = PROT_READ | PROT_WRITE | (exec->program.exec_stack ? PROT_EXEC : 0),
        .kind = MAPPING_STACK,
    };
    return 0;
}

static void set_layout(struct exec *exec) {
    const struct elf_image *program = &exec->program;
    struct memory_layout *layout = &exec->layout;
    uint64_t bias = exec->program_bias, brk = program->end_bss + bias;

    layout->start_code = program->start_code + bias;
    layout->end_code = program->end_code + bias;
    layout->start_data = program->start_data + bias;
    layout->end_data = program->end_data + bias;
    if (program->position_independent && !exec->interpreter_file) {
        /* Loaded among the libraries, where a heap would soon run into something. */
        brk = memory_random_pie_base(exec->randomize);
    }
    layout->start_brk = ALIGN_UP(brk, PAGE_SIZE) + memory_random_brk_gap(exec->randomize);
    layout->brk = layout->start_brk;
    exec->entry = exec->interpreter_file ? exec->interpreter.entry + exec->interpreter_bias
                                         : program->entry + bias;
}

int exec_map_program(struct exec *exec) {
    struct memory_object *program CLEANUP(memory_object_put) = NULL;
    struct memory_object *interpreter CLEANUP(memory_object_put) = NULL;
    struct memory_segment *segments CLEANUP(free) = NULL;
    size_t count = 0;
    int result;

    program = file_memory_object(exec->file, PROT_READ | PROT_EXEC, MAP_PRIVATE);
    if (IS_ERR(program)) {
        return (int)PTR_ERR(STEAL(program));
    }
    if (exec->interpreter_file) {
        interpreter =
            file_memory_object(exec->interpreter_file, PROT_READ | PROT_EXEC, MAP_PRIVATE);
        if (IS_ERR(interpreter)) {
            return (int)PTR_ERR(STEAL(interpreter));
        }
    }
    segments = calloc(2 * (exec->program.load_count + exec->interpreter.load_count) + 1,
                      sizeof(*segments));
    if (!segments) {
        return -ENOMEM;
    }
    memory_manager_layout(exec->mm, &exec->layout);
    exec->layout.mmap_base = memory_random_mmap_base(exec->stack_size, exec->randomize);
    memory_manager_set_layout(exec->mm, &exec->layout);

    result = place_image(exec, &exec->program,
                         exec->interpreter_file ? memory_random_pie_base(exec->randomize) : 0,
                         segments, 0, &exec->program_bias);
    if (result) {
        return result;
    }
    count = elf_image_segments(&exec->program, exec->program_bias, program, segments);
    if (exec->interpreter_file) {
        result = place_image(exec, &exec->interpreter, 0, segments, count, &exec->interpreter_bias);
        if (result) {
            return result;
        }
        count += elf_image_segments(&exec->interpreter, exec->interpreter_bias, interpreter,
                                    segments + count);
    }
    result = plan_stack(exec, segments, count, &segments[count]);
    if (result) {
        return result;
    }
    count++;
    set_layout(exec);
    if (exec->entry >= USER_TASK_SIZE) {
        return -ENOEXEC;
    }
    return memory_load(exec->mm, exec->thread, segments, count);
}
