/*
 * The options of `starling run`, from argv to struct run_options. Owns the arrays in it; texts are
 * argv's own, but for the halves of --bind.
 */
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

enum {
    OPT_ROOTFS = 256,
    OPT_ROOTFS_EXCLUSIVE,
    OPT_BIND,
    OPT_TMPFS,
    OPT_CWD,
    OPT_ENV,
    OPT_CLEAR_ENV,
    OPT_USER,
    OPT_HOSTNAME,
    OPT_NET,
    OPT_STRACE,
    OPT_STATS,
    OPT_TIMEOUT,
    OPT_MEMORY,
    OPT_PIDS,
    OPT_TTY,
    OPT_PAUSE_EVERY,
    OPT_NO_DIRECT,
    OPT_NO_LOCAL,
    OPT_NO_PATCH,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"rootfs", required_argument, NULL, OPT_ROOTFS},
    {"rootfs-exclusive", no_argument, NULL, OPT_ROOTFS_EXCLUSIVE},
    {"bind", required_argument, NULL, OPT_BIND},
    {"tmpfs", required_argument, NULL, OPT_TMPFS},
    {"cwd", required_argument, NULL, OPT_CWD},
    {"env", required_argument, NULL, OPT_ENV},
    {"clear-env", no_argument, NULL, OPT_CLEAR_ENV},
    {"user", required_argument, NULL, OPT_USER},
    {"hostname", required_argument, NULL, OPT_HOSTNAME},
    {"net", required_argument, NULL, OPT_NET},
    {"strace", optional_argument, NULL, OPT_STRACE},
    {"stats", no_argument, NULL, OPT_STATS},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"pids", required_argument, NULL, OPT_PIDS},
    {"tty", no_argument, NULL, OPT_TTY},
    {"pause-every", required_argument, NULL, OPT_PAUSE_EVERY},
    {"no-direct", no_argument, NULL, OPT_NO_DIRECT},
    {"no-local", no_argument, NULL, OPT_NO_LOCAL},
    {"no-patch", no_argument, NULL, OPT_NO_PATCH},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

void run_help(FILE *out) {
    fputs(
        "usage: starling run [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
        "\n"
        "Runs PROGRAM in a new sandbox and ends with its exit status. Without --rootfs it sees "
        "the\n"
        "host's files, read-only, under a writable layer in memory that vanishes with it.\n"
        "\n"
        "files:\n"
        "  --rootfs DIR         DIR is the guest's root; it too stays unchanged\n"
        "  --rootfs-exclusive   a promise that nobody changes DIR meanwhile: what is known of its "
        "files\n"
        "                       need not be asked for again\n"
        "  --bind SRC:DST[:ro]  show the host's SRC at DST; writes reach the host unless :ro\n"
        "  --tmpfs DST          an empty file system in memory at DST\n"
        "  --cwd DIR            start in DIR (default: the present directory, if the guest has "
        "it)\n"
        "identity:\n"
        "  --env NAME=VALUE     set a variable (default: the caller's environment)\n"
        "  --clear-env          start from an empty environment\n"
        "  --user USER[:GROUP]  ids as the guest sees them: numbers, or names in its /etc/passwd\n"
        "  --hostname NAME      default: the host's\n"
        "limits:\n"
        "  --timeout SECONDS    end everything after this time, with status 124\n"
        "  --memory SIZE        end everything when the sandbox holds more than this (K, M, G)\n"
        "  --pids N             at most N tasks (processes and threads) at a time\n"
        "  --net none|host      whether the guest reaches a network (default: none)\n"
        "looking on:\n"
        "  --strace[=FILE]      print each system call, to standard error or FILE\n"
        "  --stats              print counts of system calls at the end\n"
        "  --tty                give the guest a terminal of its own\n"
        "  --pause-every SECONDS\n"
        "                       for tests: bring the whole sandbox to rest each time this has "
        "passed;\n"
        "                       its programs must not notice; --stats tells how often and how "
        "long\n"
        "  --no-direct          guests do not read and write by themselves what they use much,\n"
        "                       nor wait and wake by futex\n"
        "  --no-local           nor answer calls about themselves, such as getpid\n"
        "  --no-patch           leave the programs' code as it is: every call begins with a "
        "signal\n"
        "\n"
        "status: PROGRAM's; 128+N when signal N killed it; 124 --timeout; 125 Starling itself "
        "failed;\n"
        "        126 PROGRAM cannot be run; 127 PROGRAM was not found\n"
        "\n"
        "example:\n"
        "  starling run --bind .:/work --cwd /work --timeout 10 --memory 512M -- make test\n",
        out);
}

bool parse_seconds(const char *text, int64_t *nanoseconds) {
    char *end;
    double seconds = strtod(text, &end);

    /* Not "inf", "nan" or "0x10": a plain decimal number. */
    if (end == text || *end || strspn(text, "0123456789.") != strlen(text) || seconds <= 0 ||
        seconds > 1e9) {
        return false;
    }
    *nanoseconds = (int64_t)(seconds * 1e9);
    return *nanoseconds > 0;
}

bool parse_count(const char *text, uint64_t max, uint64_t *count) {
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    *count = value;
    return !errno && !*end && value <= max;
}

bool parse_size(const char *text, uint64_t *bytes) {
    static const char suffixes[] = "KMGT";
    size_t length = strlen(text);
    char digits[24];
    unsigned shift = 0;

    if (length && strchr(suffixes, text[length - 1])) {
        shift = 10 * (unsigned)(strchr(suffixes, text[length - 1]) - suffixes + 1);
        length--;
    }
    if (!length || length >= sizeof(digits)) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = 0;
    if (!parse_count(digits, UINT64_MAX >> (shift + 1), bytes)) {
        return false;
    }
    *bytes <<= shift;
    return *bytes > 0;
}

static bool is_guest_path(const char *option, const char *path) {
    if (path[0] != '/') {
        cli_error("run: --%s %s: the guest's path must be absolute", option, path);
        return false;
    }
    return true;
}

/* Grows *array by one element of `size` bytes. */
static void *array_add(void *array, size_t *count, size_t size) {
    char *grown = realloc(*(void **)array, (*count + 1) * size);

    if (!grown) {
        return NULL;
    }
    *(void **)array = grown;
    return memset(grown + (*count)++ * size, 0, size);
}

static bool parse_bind(struct run_options *options, const char *text) {
    char *source = strdup(text), *colon = source ? strchr(source, ':') : NULL, *last;
    struct bind_option *bind;
    bool read_only = false;

    if (!source) {
        cli_error("run: out of memory");
        return false;
    }
    if (!colon || colon == source) {
        cli_error("run: --bind %s: must be SRC:DST or SRC:DST:ro", text);
        free(source);
        return false;
    }
    *colon++ = 0;
    last = strrchr(colon, ':');
    if (last) {
        if (strcmp(last, ":ro") != 0 && strcmp(last, ":rw") != 0) {
            cli_error("run: --bind %s: must end in ':ro', ':rw' or the guest's path, not in '%s'",
                      text, last);
            free(source);
            return false;
        }
        read_only = strcmp(last, ":ro") == 0;
        *last = 0;
    }
    if (!is_guest_path("bind", colon)) {
        free(source);
        return false;
    }
    bind = array_add(&options->binds, &options->bind_count, sizeof(*bind));
    if (!bind) {
        cli_error("run: out of memory");
        free(source);
        return false;
    }
    bind->source = source;
    bind->target = strdup(colon);
    bind->read_only = read_only;
    return bind->target != NULL;
}

static bool add_text(const char ***list, size_t *count, const char *text) {
    const char **entry = array_add(list, count, sizeof(*entry));

    if (!entry) {
        cli_error("run: out of memory");
        return false;
    }
    *entry = text;
    return true;
}

/* False: an error was printed. */
static bool take_option(struct run_options *options, int option, const char *value) {
    uint64_t number;

    switch (option) {
    case OPT_ROOTFS:
        options->rootfs = value;
        return true;
    case OPT_ROOTFS_EXCLUSIVE:
        options->rootfs_exclusive = true;
        return true;
    case OPT_BIND:
        return parse_bind(options, value);
    case OPT_TMPFS:
        return is_guest_path("tmpfs", value) &&
               add_text(&options->tmpfs, &options->tmpfs_count, value);
    case OPT_CWD:
        options->cwd = value;
        return is_guest_path("cwd", value);
    case OPT_ENV:
        if (!strchr(value, '=') || value[0] == '=') {
            cli_error("run: --env %s: must be NAME=VALUE", value);
            return false;
        }
        return add_text(&options->env, &options->env_count, value);
    case OPT_CLEAR_ENV:
        options->clear_env = true;
        return true;
    case OPT_USER:
        options->user = value;
        if (!*value || *value == ':') {
            cli_error("run: --user %s: must be USER or USER:GROUP", value);
            return false;
        }
        return true;
    case OPT_HOSTNAME:
        options->hostname = value;
        if (!*value || strlen(value) > 64) {
            cli_error("run: --hostname %s: must have 1 to 64 characters", value);
            return false;
        }
        return true;
    case OPT_NET:
        if (strcmp(value, "none") != 0 && strcmp(value, "host") != 0) {
            cli_error("run: --net %s: must be 'none' or 'host'", value);
            return false;
        }
        if (strcmp(value, "host") == 0) {
            cli_error(
                "run: --net host: not supported yet; '--net none' gives the guest a loopback of "
                "its own");
            return false;
        }
        return true;
    case OPT_STRACE:
        options->strace = true;
        options->strace_file = value;
        return true;
    case OPT_STATS:
        options->stats = true;
        return true;
    case OPT_TIMEOUT:
        if (!parse_seconds(value, &options->timeout_ns)) {
            cli_error("run: --timeout %s: must be a number of seconds above 0", value);
            return false;
        }
        return true;
    case OPT_PAUSE_EVERY:
        if (!parse_seconds(value, &options->pause_every_ns)) {
            cli_error("run: --pause-every %s: must be a number of seconds above 0", value);
            return false;
        }
        return true;
    case OPT_MEMORY:
        if (!parse_size(value, &options->memory_bytes)) {
            cli_error("run: --memory %s: must be a number of bytes, with K, M or G behind it",
                      value);
            return false;
        }
        return true;
    case OPT_PIDS:
        if (!parse_count(value, INT_MAX, &number) || !number) {
            cli_error("run: --pids %s: must be a number of tasks above 0", value);
            return false;
        }
        options->pids = number;
        return true;
    case OPT_TTY:
        options->tty = true;
        return true;
    case OPT_NO_PATCH:
        options->no_patch = true;
        return true;
    case OPT_NO_LOCAL:
        options->no_local = true;
        return true;
    default: /* OPT_NO_DIRECT */
        options->no_direct = true;
        return true;
    }
}

int run_options_parse(int argc, char **argv, struct run_options *options) {
    int option;

    memset(options, 0, sizeof(*options));
    optind = 0; /* again from the start: unit tests parse more than once */
    opterr = 0;
    /* "+": options end where the program begins. */
    while ((option = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
        const char *word = argv[optind - 1];

        if (option == OPT_HELP || option == 'h') {
            run_help(stdout);
            return 0;
        }
        if (option == ':') {
            cli_error("run: option '%s' needs a value; 'starling run --help' tells which", word);
            return EXIT_STARLING;
        }
        if (option == '?') {
            cli_error("run: unknown or ambiguous option '%s'; 'starling run --help' lists the "
                      "options, and '--' ends them",
                      word);
            return EXIT_STARLING;
        }
        if (!take_option(options, option, optarg)) {
            return EXIT_STARLING;
        }
    }
    if (optind >= argc) {
        cli_error("run: no program was given; try: starling run -- /bin/bash");
        return EXIT_STARLING;
    }
    if (options->rootfs_exclusive && !options->rootfs) {
        cli_error("run: --rootfs-exclusive: must come with --rootfs DIR; the host's own root is "
                  "changed by the host");
        return EXIT_STARLING;
    }
    options->program = argv + optind;
    return -1;
}

void run_options_free(struct run_options *options) {
    for (size_t i = 0; i < options->bind_count; i++) {
        free(options->binds[i].source);
        free(options->binds[i].target);
    }
    free(options->binds);
    free(options->tmpfs);
    free(options->env);
    memset(options, 0, sizeof(*options));
}
