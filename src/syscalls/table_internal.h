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
    const char *prefix; /* of a value without a name: "CLOCK_" */
    const struct flag_name *names;
    size_t count;
    uint64_t mask; /* these bits are one enumerated value */
};

/* How an argument is printed; the names are those of syscalls.def and forms.def. */
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
    ARG_IOVEC_IN,
    ARG_SOCKADDR_IN,
    ARG_STRUCT_IN,
    ARG_ARRAY_IN,
    ARG_FLAGS,
    ARG_FLAGSU,
    ARG_FLAGSL,
    ARG_ENUM,
    ARG_ENUMU,
    ARG_ENUML,
    ARG_HEX,
    ARG_HEXU,
    ARG_FILEMODE,
    ARG_ENVP,
    ARG_SIGFRAME,
    ARG_IOVEC,
    ARG_BITS_IN,
    ARG_OPTVAL_IN,
    ARG_READY_BITS,
    ARG_READY,
    ARG_LEFT,
    ARG_IOCTL,
    ARG_WRITTEN, /* those below are printed when the call is over */
    ARG_BUF_OUT,
    ARG_IOVEC_OUT,
    ARG_SOCKADDR_OUT,
    ARG_STRUCT_OUT,
    ARG_ARRAY_OUT,
    ARG_STR_OUT,
    ARG_DIRENTS_OUT,
    ARG_BITS_OUT,
    ARG_OPTVAL_OUT,
    ARG_CHANGED,
    ARG_REMAINDER_OUT,
};

struct syscall_argument {
    const char *label; /* printed before it; NULL: none */
    const struct flag_set *set;
    const struct trace_struct *structure;
    uint64_t condition_bits; /* only when the argument `condition` has one of them; 0: always */
    unsigned condition;
    enum argument_kind kind;
    unsigned index; /* of the call's arguments; 6: the stack pointer */
    /* buf, iovec, array, sockaddr: where the length is */
    enum { SIZE_NONE, SIZE_ARGUMENT, SIZE_FIXED, SIZE_RESULT } size_kind;
    unsigned size; /* the argument's index, or the length */
};

/* How a call is printed while `when` holds: these bits of these arguments have one of the values.
 */
struct syscall_form {
    const struct syscall_argument *args;
    const struct flag_set *result_set;
    struct {
        unsigned arg;
        uint32_t mask;
        const uint32_t *values;
        size_t count;
    } when[2];
    unsigned arg_count, when_count;
    enum {
        RESULT_NUMBER,
        RESULT_PTR,
        RESULT_HEX,
        RESULT_OCTAL,
        RESULT_NEVER,
        RESULT_SIGNAL,
        RESULT_FLAGS,
        RESULT_NAMES,
        RESULT_ENUM,
        RESULT_READY,
    } result;
};

struct syscall_row {
    const char *name; /* NULL: no call has this number */
    const char *note; /* NULL: none */
    int64_t (*call)(struct task *current, const uint64_t args[6]);
    const struct syscall_form *forms; /* the last has no condition */
    enum syscall_level level;
};

extern const struct syscall_row syscall_table[SYSCALL_COUNT];

#endif
