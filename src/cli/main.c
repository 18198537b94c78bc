/*
 * The command line: picks the command and hands over to its file.
 *
 * Owns nothing. Exit status: the command's own; 125 for a mistake on the command line
 * (docs/man/starling.1).
 */
#include <stdio.h>
#include <string.h>

static const int EXIT_STARLING = 125;

static void usage(FILE *out) {
    fputs("usage: starling COMMAND [ARGUMENT...]\n"
          "       starling --version | --help\n",
          out);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return EXIT_STARLING;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("starling " STARLING_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    fprintf(stderr, "starling: unknown command '%s'; see 'starling --help'\n", argv[1]);
    return EXIT_STARLING;
}
