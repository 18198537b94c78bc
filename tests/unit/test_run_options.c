/* The options of `starling run`: what is accepted, what is refused, and what comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/cli.h"

/* getopt(3) reorders nothing here ("+"), and writes to no string. */
static int parse(struct run_options *options, const char *const *argv) {
    static char *copy[64]; /* options keeps pointers into it */
    int argc = 0;

    for (; argv[argc]; argc++) {
        copy[argc] = (char *)(uintptr_t)argv[argc];
    }
    copy[argc] = NULL;
    return run_options_parse(argc, copy, options);
}
#define ARGV(...) ((const char *[]){"run", __VA_ARGS__, NULL})

static void everything(void **state) {
    struct run_options options;
    const char *const *argv = ARGV(
        "--rootfs", "/r", "--rootfs-exclusive", "--bind", "a:/b", "--bind=c:/d:ro", "--tmpfs", "/t",
        "--cwd=/w", "--env", "A=1", "--env=B=", "--clear-env", "--user", "1:2", "--hostname=h",
        "--net", "none", "--strace=f", "--stats", "--timeout", "1.5", "--memory=2M", "--pids", "9",
        "--tty", "--no-direct", "--no-local", "prog", "--timeout", "x");

    assert_int_equal(parse(&options, argv), -1);
    assert_string_equal(options.rootfs, "/r");
    assert_true(options.rootfs_exclusive);
    assert_int_equal(options.bind_count, 2);
    assert_string_equal(options.binds[0].source, "a");
    assert_string_equal(options.binds[0].target, "/b");
    assert_false(options.binds[0].read_only);
    assert_string_equal(options.binds[1].source, "c");
    assert_string_equal(options.binds[1].target, "/d");
    assert_true(options.binds[1].read_only);
    assert_int_equal(options.tmpfs_count, 1);
    assert_string_equal(options.tmpfs[0], "/t");
    assert_string_equal(options.cwd, "/w");
    assert_int_equal(options.env_count, 2);
    assert_string_equal(options.env[1], "B=");
    assert_true(options.clear_env);
    assert_string_equal(options.user, "1:2");
    assert_string_equal(options.hostname, "h");
    assert_true(options.strace);
    assert_string_equal(options.strace_file, "f");
    assert_true(options.stats);
    assert_int_equal(options.timeout_ns, 1500000000);
    assert_int_equal(options.memory_bytes, 2 << 20);
    assert_int_equal(options.pids, 9);
    assert_true(options.tty);
    assert_string_equal(options.program[0], "prog");
    assert_string_equal(options.program[1], "--timeout");
    assert_string_equal(options.program[2], "x");
    assert_null(options.program[3]);
    run_options_free(&options);
}

static void defaults(void **state) {
    struct run_options options;

    assert_int_equal(parse(&options, ARGV("--", "-x")), -1);
    assert_string_equal(options.program[0], "-x");
    assert_null(options.rootfs);
    assert_false(options.rootfs_exclusive);
    assert_null(options.user);
    assert_false(options.strace || options.stats || options.tty);
    assert_int_equal(options.timeout_ns, 0);
    assert_int_equal(options.memory_bytes, 0);
    assert_int_equal(options.pids, 0);
    run_options_free(&options);
    /* --strace takes its file only with '='. */
    assert_int_equal(parse(&options, ARGV("--strace", "prog")), -1);
    assert_null(options.strace_file);
    assert_string_equal(options.program[0], "prog");
    run_options_free(&options);
}

static void refused(void **state) {
    static const char *const bad[] = {
        "--bind=x",
        "--bind=:/x",
        "--bind=a:b",
        "--bind=a:/b:",
        "--bind=a:/b:rx",
        "--tmpfs=x",
        "--cwd=x",
        "--env=A",
        "--env==1",
        "--user=",
        "--hostname=",
        "--net=some",
        "--net=host",
        "--timeout=0",
        "--timeout=-1",
        "--timeout=1s",
        "--timeout=nan",
        "--memory=0",
        "--memory=K",
        "--memory=-1",
        "--memory=1.5G",
        "--memory=99999999999G",
        "--pids=0",
        "--pids=+1",
        "--pids=99999999999",
        "--nonsense",
        "-x",
    };
    struct run_options options;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int status = parse(&options, ARGV(bad[i], "prog"));

        run_options_free(&options);
        if (status != EXIT_STARLING) {
            fail_msg("%s was accepted", bad[i]);
        }
    }
    assert_int_equal(parse(&options, (const char *[]){"run", NULL}), EXIT_STARLING);
    run_options_free(&options);
    assert_int_equal(parse(&options, ARGV("--bind=a:/b", "--cwd")), EXIT_STARLING);
    run_options_free(&options);
}

static void sizes(void **state) {
    uint64_t bytes;
    int64_t ns;

    assert_true(parse_size("4096", &bytes) && bytes == 4096);
    assert_true(parse_size("3K", &bytes) && bytes == 3072);
    assert_true(parse_size("2G", &bytes) && bytes == 2ull << 30);
    assert_false(parse_size("", &bytes));
    assert_false(parse_size("M", &bytes));
    assert_false(parse_size("1 M", &bytes));
    assert_false(parse_size("18446744073709551615K", &bytes));
    assert_true(parse_seconds("0.000000001", &ns) && ns == 1);
    assert_true(parse_seconds("60", &ns) && ns == 60000000000);
    assert_false(parse_seconds("0.0000000001", &ns));
    assert_false(parse_seconds("1e3", &ns));
    assert_false(parse_seconds("1.2.3", &ns));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything),
        cmocka_unit_test(defaults),
        cmocka_unit_test(refused),
        cmocka_unit_test(sizes),
    };
    /* The errors themselves are tests/cli's business. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (null >= 0) {
        log_start(null, LOG_ERROR);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
