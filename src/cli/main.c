/*
 * The command line: picks the command and hands over to its file.
 *
 * Owns nothing. Exit status: the command's own; 125 for a mistake on the command line
 * (docs/man/starling.1).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", cmd_run, "run a program in a new sandbox"},
    {"doctor", cmd_doctor, "say what this host offers and what that means"},
    {"syscalls", cmd_syscalls, "list the system calls and how far each is supported"},
};

/* OCI runtime commands are known by name, so that a caller is told what to expect. */
static const char *const planned[] = {"create", "start",    "state", "kill",  "delete",
                                      "exec",   "list",     "ps",    "pause", "resume",
                                      "events", "features", "spec",  "update"};

static void usage(FILE *out) {
    fputs("usage: starling COMMAND [ARGUMENT...]\n"
          "       starling --version | --help\n"
          "\n"
          "commands:\n",
          out);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n"
          "example:\n"
          "  starling run -- /bin/bash    a shell that sees your files, read-only, under a layer "
          "that vanishes\n"
          "\n"
          "'starling COMMAND --help' tells more.\n",
          out);
}

static enum log_level log_level_from_environment(void) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const char *wanted = getenv("STARLING_LOG");

    for (size_t i = 0; wanted && i < ARRAY_SIZE(names); i++) {
        if (strcmp(wanted, names[i]) == 0) {
            return (enum log_level)i;
        }
    }
    return LOG_WARN;
}

int main(int argc, char **argv) {
    log_start(STDERR_FILENO, log_level_from_environment());
    if (argc < 2) {
        usage(stderr);
        return EXIT_STARLING;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("starling " STARLING_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(planned); i++) {
        if (strcmp(argv[1], planned[i]) == 0) {
            cli_error("'%s' is a command of OCI runtimes that this version does not have; use "
                      "'starling run'",
                      argv[1]);
            return EXIT_STARLING;
        }
    }
    cli_error("unknown command '%s'; 'starling --help' lists the commands", argv[1]);
    return EXIT_STARLING;
}
