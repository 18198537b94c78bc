/*
 * The table's types: what tools/gen_syscalls.py fills in and dispatch and trace read. All of it is
 * constant.
 */
#ifndef STARLING_TABLE_INTERNAL_H
#define STARLING_TABLE_INTERNAL_H

#include "syscalls/syscalls.h"

/* flags.def */
struct flag_name {
    uint64_t value;
    const char *name;
};
struct flag_set {
    const char *name;
    const struct flag_name *names;
    size_t count;
    uint64_t mask; /* these bits are one enumerated value */
};

/* How an argument is printed; the names are those of syscalls.def. */
enum argument_kind {
    ARG_INT,
    ARG_UINT,
    ARG_LONG,
    ARG_ULONG,
    ARG_SIZE,
    ARG_OFF,
    ARG_FD,
    ARG_DIRFD,
    ARG_PID,
    ARG_UID,
    ARG_GID,
    ARG_SIGNAL,
    ARG_MODE,
    ARG_DEV,
    ARG_ADDR,
    ARG_PTR,
    ARG_PATH,
    ARG_STR,
    ARG_ARGV,
    ARG_BUF_IN,
    ARG_BUF_OUT,
    ARG_IOVEC_IN,
    ARG_IOVEC_OUT,
    ARG_SOCKADDR_IN,
    ARG_SOCKADDR_OUT,
    ARG_STRUCT_IN,
    ARG_STRUCT_OUT,
    ARG_STRUCT_INOUT,
    ARG_ARRAY_IN,
    ARG_ARRAY_OUT,
    ARG_ARRAY_INOUT,
    ARG_FLAGS,
    ARG_FLAGSU,
    ARG_FLAGSL,
    ARG_ENUM,
    ARG_ENUMU,
    ARG_ENUML,
};

struct syscall_argument {
    const char *name;
    const struct flag_set *set;
    const struct trace_struct *structure;
    enum argument_kind kind;
    /* buf, iovec, array, sockaddr: where the length is */
    enum { SIZE_NONE, SIZE_ARGUMENT, SIZE_FIXED, SIZE_RESULT } size_kind;
    unsigned size; /* the argument's index, or the length */
};

struct syscall_row {
    const char *name; /* NULL: no call has this number */
    const char *note; /* NULL: none */
    int64_t (*call)(struct task *current, const uint64_t args[6]);
    const struct syscall_argument *args;
    unsigned arg_count;
    enum syscall_level level;
    bool result_pointer;
};

extern const struct syscall_row syscall_table[SYSCALL_COUNT];

#endif
