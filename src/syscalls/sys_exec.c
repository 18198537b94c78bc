/*
 * execve(2) and execveat(2): opens the program and copies arguments and environment in, with the
 * limits of execve(2) applied while copying, so that no guest makes the kernel hold more.
 */
#include <stdio.h>

#include "syscalls/syscalls.h"

#define STRING_MAX  131072UL /* MAX_ARG_STRLEN */
#define ARG_MIN     131072UL /* ARG_MAX */
#define STRINGS_MAX (6UL << 20)

/* Strings stand close together: whole pages are read once, not each string by itself. */
struct string_reader {
    struct host_thread *thread;
    uint64_t page; /* whose bytes are held; 1: none */
    size_t size;   /* how many of them */
    char bytes[PAGE_SIZE];
    uint64_t budget; /* bytes that strings and pointers may still take */
};

struct string_array {
    char **strings; /* NULL-terminated; owned with the strings */
    size_t count, capacity;
};

static void string_array_free(struct string_array *array) {
    for (size_t i = 0; i < array->count; i++) {
        free(array->strings[i]);
    }
    free(array->strings);
}

static int reader_fill(struct string_reader *reader, uint64_t address) {
    uint64_t page = ALIGN_DOWN(address, PAGE_SIZE);
    ssize_t got;

    if (reader->page == page) {
        return 0;
    }
    reader->page = 1;
    got = copy_from_user_partial(reader->thread, reader->bytes, user_address(page), PAGE_SIZE);
    if (got != (ssize_t)PAGE_SIZE) {
        return -EFAULT;
    }
    reader->page = page;
    return 0;
}

static int read_string(struct string_reader *reader, uint64_t address, char **string) {
    char *copy = NULL;
    size_t size = 0;

    for (;;) {
        int result = reader_fill(reader, address);

        if (result) {
            free(copy);
            return result;
        }
        const char *from = reader->bytes + (address - reader->page);
        size_t rest = PAGE_SIZE - (address - reader->page), part = strnlen(from, rest);
        bool complete = part < rest;

        part += complete;
        if (part > reader->budget || size + part > STRING_MAX) {
            free(copy);
            return -E2BIG;
        }
        char *grown = realloc(copy, size + part);

        if (!grown) {
            free(copy);
            return -ENOMEM;
        }
        copy = grown;
        memcpy(copy + size, from, part);
        size += part;
        reader->budget -= part;
        if (complete) {
            *string = copy;
            return 0;
        }
        address += part;
    }
}

static int array_add(struct string_array *array, char *string) {
    if (array->count + 1 >= array->capacity) {
        size_t capacity = array->capacity ? array->capacity * 2 : 32;
        char **strings = realloc(array->strings, capacity * sizeof(*strings));

        if (!strings) {
            return -ENOMEM;
        }
        array->strings = strings;
        array->capacity = capacity;
    }
    if (string) {
        array->strings[array->count++] = string;
    }
    array->strings[array->count] = NULL;
    return 0;
}

static int read_strings(struct string_reader *reader, struct user_address from,
                        struct string_array *array) {
    uint64_t pointers[64];
    size_t held = 0, next = 0;

    if (array_add(array, NULL)) {
        return -ENOMEM;
    }
    if (user_address_is_null(from)) {
        return 0;
    }
    for (;;) {
        if (next == held) {
            /* Not over the end of a page in one go: the array may end there. */
            size_t room = PAGE_SIZE - from.value % PAGE_SIZE;
            size_t size = MIN(sizeof(pointers), room);

            size = size < 8 ? 8 : ALIGN_DOWN(size, 8);
            int result = copy_from_user(reader->thread, pointers, from, size);

            if (result) {
                return result;
            }
            held = size / 8;
            next = 0;
            from = user_address_add(from, size);
        }
        uint64_t address = pointers[next++];
        char *string;

        if (!address) {
            return 0;
        }
        if (reader->budget < sizeof(address)) {
            return -E2BIG;
        }
        reader->budget -= sizeof(address);
        int result = read_string(reader, address, &string);

        if (result) {
            return result;
        }
        if (array_add(array, string)) {
            free(string);
            return -ENOMEM;
        }
    }
}

static int64_t exec_file(struct task *current, struct file *file, const char *filename,
                         struct user_address argv, struct user_address envp,
                         bool path_inaccessible) {
    uint64_t stack = rlimits_get(&current->thread_group->rlimits, RLIMIT_STACK);
    struct string_array arguments = {0}, environment = {0};
    struct string_reader *reader = malloc(sizeof(*reader));
    int64_t result;

    if (!reader) {
        return -ENOMEM;
    }
    reader->thread = current->thread;
    reader->page = 1;
    reader->budget = MAX(MIN(stack / 4, STRINGS_MAX), ARG_MIN);
    result = read_strings(reader, argv, &arguments);
    if (!result) {
        result = read_strings(reader, envp, &environment);
    }
    free(reader);
    if (!result) {
        struct exec_params params = {
            .file = file,
            .filename = filename,
            .argv = arguments.strings,
            .envp = environment.strings,
            .path_inaccessible = path_inaccessible,
        };

        result = task_exec(current, &params);
    }
    string_array_free(&arguments);
    string_array_free(&environment);
    return result;
}

int64_t sys_execve(struct task *current, struct user_address pathname, struct user_address argv,
                   struct user_address envp) {
    struct file *file CLEANUP(file_put) = NULL;
    char *path CLEANUP(free) = NULL;
    int result = copy_path_from_user(current->thread, &path, pathname);

    if (result) {
        return result;
    }
    struct walk walk = task_walk(current, NULL);

    result = vfs_open_exec(&walk, path, LOOKUP_FOLLOW, &file);
    if (result) {
        return result;
    }
    return exec_file(current, file, path, argv, envp, false);
}

int64_t sys_execveat(struct task *current, int dirfd, struct user_address pathname,
                     struct user_address argv, struct user_address envp, int flags) {
    struct file *holder CLEANUP(file_put) = NULL, *file CLEANUP(file_put) = NULL;
    char *path CLEANUP(free) = NULL;
    unsigned lookup = LOOKUP_FOLLOW;
    bool by_descriptor, inaccessible = false;
    char name[PATH_MAX + 32];
    struct walk walk;
    int result;

    if (flags & AT_SYMLINK_NOFOLLOW) {
        lookup &= ~LOOKUP_FOLLOW;
    }
    if (flags & AT_EMPTY_PATH) {
        lookup |= LOOKUP_EMPTY;
    }
    result = copy_path_from_user(current->thread, &path, pathname);
    if (result) {
        return result;
    }
    if (!path[0] && !(flags & AT_EMPTY_PATH)) {
        return -ENOENT;
    }
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
        return -EINVAL;
    }
    result = walk_at(current, path[0] == '/' ? AT_FDCWD : dirfd, &walk, &holder);
    if (result) {
        return result;
    }
    result = vfs_open_exec(&walk, path, lookup, &file);
    if (result) {
        return result;
    }
    by_descriptor = dirfd != AT_FDCWD && path[0] != '/';
    if (by_descriptor) {
        /* The name that the program gets: what Linux makes of a descriptor. */
        snprintf(name, sizeof(name), path[0] ? "/dev/fd/%d/%s" : "/dev/fd/%d", dirfd, path);
        inaccessible = fd_table_get_flags(current->files, dirfd) == FD_CLOEXEC;
    }
    return exec_file(current, file, by_descriptor ? name : path, argv, envp, inaccessible);
}
