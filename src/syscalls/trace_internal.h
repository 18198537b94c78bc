/*
 * What the files of --strace share: an output of bounded size, and the printers of values.
 *
 * Everything that is printed comes from a guest and is hostile: strings are escaped, sizes are
 * capped before memory is read, a fault prints the address.
 */
#ifndef STARLING_TRACE_INTERNAL_H
#define STARLING_TRACE_INTERNAL_H

#include "syscalls/table_internal.h"

#define TRACE_STRING_MAX 32 /* characters of a string, as strace -s */
#define TRACE_PATH_MAX   1000
#define TRACE_ARRAY_MAX  32 /* elements of an array */

/* A text that is cut, never overrun, and what its printers must know of the call. */
struct trace_text {
    bool ended;     /* the call is over: */
    int64_t result; /* its result */
    size_t used;
    char text[4096];
};
/* Has the call written what it writes? */
static inline bool trace_succeeded(const struct trace_text *out) {
    return out->ended && out->result >= 0;
}
void trace_add(struct trace_text *out, const char *format, ...) PRINTF(2, 3);
/* "..." with escapes; `cut`: more follows that is not shown. */
void trace_add_quoted(struct trace_text *out, const char *bytes, size_t size, bool cut);
void trace_add_pointer(struct trace_text *out, uint64_t address);
/* O_RDONLY|O_CLOEXEC; what has no name in hex; an empty sum is 0. */
void trace_add_flags(struct trace_text *out, const struct flag_set *set, uint64_t value);
/* One name, or the number with the set's prefix as a comment. */
void trace_add_enum(struct trace_text *out, const struct flag_set *set, uint64_t value);
void trace_add_signal(struct trace_text *out, int signal);
void trace_add_sigset(struct trace_text *out, kernel_sigset set); /* [INT CHLD] or ~[...] */
void trace_add_mode(struct trace_text *out, mode_t mode);         /* S_IFREG|0644 */
void trace_add_dev(struct trace_text *out, uint64_t dev);         /* makedev(0x8, 0x1) */
/* NULL, the string at the address, or the address when it cannot be read. */
void trace_add_string(struct trace_text *out, struct task *task, uint64_t address);
/* The same for what names something, which is not cut. */
void trace_add_path(struct trace_text *out, struct task *task, uint64_t address);
void trace_add_bytes(struct trace_text *out, struct task *task, uint64_t address, uint64_t size);
void trace_add_siginfo(struct trace_text *out, const siginfo_t *info);
void trace_add_sockaddr(struct trace_text *out, const void *address, size_t size);
/* The first `bytes` of the data; data false: the addresses. */
void trace_add_iovec(struct trace_text *out, struct task *task, uint64_t address, uint64_t count,
                     uint64_t bytes, bool data);
void trace_add_hex(struct trace_text *out, uint64_t value); /* 0, 0x1 */
/* [0 3]: the set bits of the first `count`. */
void trace_add_bits(struct trace_text *out, struct task *task, uint64_t address, uint64_t count);
void trace_add_optval(struct trace_text *out, struct task *task, uint64_t address, uint64_t size);
/* Copies a structure of the guest; -EFAULT also when the task has lost its memory. */
int trace_copy(struct task *task, void *to, uint64_t address, size_t size) MUST_CHECK;

/* trace_arguments.c */
/* The form that these arguments are printed with. */
const struct syscall_form *trace_form(const struct syscall_row *row, const uint64_t args[6]);
/* What a line under way has to remember of its arguments. */
struct trace_progress {
    unsigned printed;  /* arguments that stand in the first half */
    bool any;          /* one of them was not left out */
    int64_t before[6]; /* of ARG_CHANGED: what stood there before the call */
};
/* The arguments before the first that the call writes. */
void trace_add_first_half(struct trace_text *out, struct task *task,
                          const struct syscall_form *form, const uint64_t args[6],
                          struct trace_progress *progress);
void trace_add_second_half(struct trace_text *out, struct task *task,
                           const struct syscall_form *form, const uint64_t args[6],
                           const struct trace_progress *progress);
/* The result of a call that did not fail. */
void trace_add_result(struct trace_text *out, struct task *task, const struct syscall_form *form,
                      const uint64_t args[6]);
const char *trace_error_name(int64_t error); /* "ENOENT", also the restart codes; NULL: unknown */

/* trace_structs.c: how a structure of the guest is printed. `data` holds `size` bytes of it. */
struct trace_struct {
    size_t size;
    void (*print)(struct trace_text *out, struct task *task, const void *data);
    /* ready: is it worth showing behind the result? NULL: always. */
    bool (*ready)(const void *data);
    /* How it looks there; NULL: as before. */
    void (*print_ready)(struct trace_text *out, struct task *task, const void *data);
    bool shown_on_failure; /* out: printed although the call has failed */
};
#define TRACE_STRUCT(name, bytes, ...)                                                             \
    static void print_##name(struct trace_text *out, struct task *task, const void *data);         \
    const struct trace_struct trace_struct_##name = {(bytes), print_##name, ##__VA_ARGS__};        \
    static void print_##name(struct trace_text *out, struct task *task, const void *data)

#endif
