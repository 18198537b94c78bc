/*
 * cli: the command line. One file per command (cmd_*.c); launcher.c forks the kernel process and
 * stands between it and the user's shell; kernel_*.c is what the kernel process does before and
 * beside running guests. Only these files and host/ make host calls.
 */
#ifndef STARLING_CLI_H
#define STARLING_CLI_H

#include <stdio.h>
#include <sys/types.h>

#include "base/base.h"

/* Exit codes that are Starling's own; the rest are the program's (docs/man/starling.1). */
#define EXIT_TIMEOUT        124 /* as timeout(1) */
#define EXIT_STARLING       125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND      127

/* One line on standard error: "starling: error: what was tried, on what, why, what to do". */
#define cli_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* argv[0] is the command's name. Each returns the exit status. */
int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_syscalls(int argc, char **argv);

/* ---- run_options.c ---- */

struct bind_option {
    char *source, *target; /* owned; target is absolute */
    bool read_only;
};

/* What `starling run` was asked for. Strings that point into argv are borrowed. */
struct run_options {
    const char *rootfs;    /* NULL: the host's root */
    bool rootfs_exclusive; /* nobody changes it meanwhile */
    struct bind_option *binds;
    size_t bind_count;
    const char **tmpfs; /* absolute guest paths */
    size_t tmpfs_count;
    const char *cwd; /* NULL: the caller's when it exists in the guest */
    const char **env;
    size_t env_count;
    bool clear_env;
    const char *user; /* UID|NAME[:GID|GROUP], NULL: the caller's ids */
    const char *hostname;
    bool strace;
    const char *strace_file; /* NULL: standard error */
    bool stats;
    int64_t timeout_ns;     /* 0: none */
    int64_t pause_every_ns; /* 0: never */
    uint64_t memory_bytes;  /* 0: no limit */
    size_t pids;            /* 0: no limit */
    bool tty;
    bool no_local, no_direct, no_patch;
    char **program; /* argv of the guest, NULL-terminated */
};

/* argv[0] is "run". -1: go on; else the exit status to end with (help was printed, or an error).
 * Call run_options_free() in any case. */
int run_options_parse(int argc, char **argv, struct run_options *options);
void run_options_free(struct run_options *options);
void run_help(FILE *out);
/* "10", "1.5": seconds; false when it is not a positive time. */
bool parse_seconds(const char *text, int64_t *nanoseconds);
/* "4096", "64K", "512M", "2G" (powers of 1024); false when it is not a positive size. */
bool parse_size(const char *text, uint64_t *bytes);
bool parse_count(const char *text, uint64_t max, uint64_t *count);

/* ---- the launcher and the kernel process ---- */

/* What they tell each other: one datagram of a SOCK_SEQPACKET pair each. */
struct control_message {
    enum {
        CONTROL_GO,      /* launcher: the id maps are written */
        CONTROL_SIGNAL,  /* launcher: value is a signal that the user or the terminal sent */
        CONTROL_KILL,    /* launcher: end everything now (--timeout) */
        CONTROL_EXIT,    /* kernel: all is over, value is the exit status */
        CONTROL_STOPPED, /* kernel: the first process was stopped by signal value */
        CONTROL_MEMORY,  /* kernel: --memory ended it; value: 0, or why it cannot be measured */
    } type;
    int value;
};

/* The namespaces that the host granted, for the kernel process to know what it may do. */
struct launch {
    int control_fd;
    bool own_user_namespace, own_pid_namespace, own_namespaces;
    int std_fds[3];      /* what the guest gets; -1: closed */
    bool terminal;       /* --tty: std_fds are a pseudo-terminal made for it */
    bool job;            /* the launcher is a job of a shell that can continue it */
    const gid_t *groups; /* the caller's supplementary groups; borrowed */
    size_t group_count;
};
/* One message; false when the other side is gone. */
bool control_send(int fd, int type, int value);
/* 1: a message came, 0: the other side is gone, -EAGAIN (flags: MSG_DONTWAIT). */
int control_receive(int fd, struct control_message *message, int flags);

/* Runs the sandbox to its end and returns the exit status. */
int launcher_run(const struct run_options *options);

/* Single-threaded, in the new process. Ends it with the exit status, having reported it. */
void kernel_main(const struct run_options *options, const struct launch *launch) NORETURN;

#endif
