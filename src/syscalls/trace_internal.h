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

/* A text that is cut, never overrun. */
struct trace_text {
    size_t used;
    char text[4096];
};
void trace_add(struct trace_text *out, const char *format, ...) PRINTF(2, 3);
/* "..." with escapes; `cut`: more follows that is not shown. */
void trace_add_quoted(struct trace_text *out, const char *bytes, size_t size, bool cut);
void trace_add_pointer(struct trace_text *out, uint64_t address);
/* O_RDONLY|O_CLOEXEC; what has no name in hex; an empty sum is 0. */
void trace_add_flags(struct trace_text *out, const struct flag_set *set, uint64_t value);
/* One name, or the number with the set's name as a comment. */
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
void trace_add_iovec(struct trace_text *out, struct task *task, uint64_t address, uint64_t count,
                     uint64_t bytes);
const char *trace_error_name(int64_t error); /* "ENOENT", also the restart codes; NULL: unknown */

/* trace_structs.c: how a structure of the guest is printed. `data` holds `size` bytes of it. */
struct trace_struct {
    size_t size;
    void (*print)(struct trace_text *out, struct task *task, const void *data);
};

#endif
