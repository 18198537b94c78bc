/* `starling syscalls`: the table that dispatches, as a list for people or as JSON. */
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/cli.h"
#include "syscalls/syscalls.h"

static const char *const level_names[] = {
    [SYSCALL_MISSING] = "missing",
    [SYSCALL_PARTIAL] = "partial",
    [SYSCALL_FULL] = "full",
};

static void help(void) {
    fputs("usage: starling syscalls [--level full|partial|missing] [--json]\n"
          "\n"
          "Lists Linux's system calls by number, how far each is supported, and what lacks.\n"
          "\n"
          "example:\n"
          "  starling syscalls --level missing\n",
          stdout);
}

static int print_json(int wanted) {
    struct json_object *list = json_object_new_array();
    struct syscall_info info;
    int written;

    for (long number = 0; number < SYSCALL_COUNT; number++) {
        if (syscall_describe(number, &info) && (wanted < 0 || (int)info.level == wanted)) {
            struct json_object *row = json_object_new_object();

            json_object_object_add(row, "number", json_object_new_int((int)number));
            json_object_object_add(row, "name", json_object_new_string(info.name));
            json_object_object_add(row, "level", json_object_new_string(level_names[info.level]));
            json_object_object_add(row, "note", json_object_new_string(info.note));
            json_object_array_add(list, row);
        }
    }
    written = puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
    json_object_put(list);
    return written;
}

static int print_list(int wanted) {
    size_t counts[ARRAY_SIZE(level_names)] = {0};
    struct syscall_info info;

    for (long number = 0; number < SYSCALL_COUNT; number++) {
        if (syscall_describe(number, &info)) {
            counts[info.level]++;
            if (wanted < 0 || (int)info.level == wanted) {
                printf("%4ld  %-24s %-8s%s%s\n", number, info.name, level_names[info.level],
                       *info.note ? "  " : "", info.note);
            }
        }
    }
    return wanted < 0 ? printf("%zu full, %zu partial, %zu missing\n", counts[SYSCALL_FULL],
                               counts[SYSCALL_PARTIAL], counts[SYSCALL_MISSING])
                      : 0;
}

int cmd_syscalls(int argc, char **argv) {
    static const struct option long_options[] = {
        {"level", required_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int wanted = -1, option;
    bool json = false;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "+h", long_options, NULL)) != -1) {
        switch (option) {
        case 'l':
            for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
                if (strcmp(optarg, level_names[i]) == 0) {
                    wanted = (int)i;
                }
            }
            if (wanted < 0) {
                cli_error("syscalls: --level %s: must be full, partial or missing", optarg);
                return EXIT_STARLING;
            }
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            help();
            return 0;
        default:
            cli_error("syscalls: unknown option '%s' or no value for it; see 'starling syscalls "
                      "--help'",
                      argv[optind - 1]);
            return EXIT_STARLING;
        }
    }
    if (optind < argc) {
        cli_error("syscalls: unexpected argument '%s'; see 'starling syscalls --help'",
                  argv[optind]);
        return EXIT_STARLING;
    }
    if ((json ? print_json(wanted) : print_list(wanted)) < 0 || fflush(stdout) != 0) {
        cli_error("syscalls: cannot write to standard output: %s", strerror(errno));
        return EXIT_STARLING;
    }
    return 0;
}
