/*
 * The arguments and the result of a call for --strace, as forms.def and syscalls.def list them.
 *
 * Every pointer, size and count is the guest's and may be anything: what is read for one argument
 * is bounded by the constants of trace_internal.h, and by COUNT_MAX where something is only
 * counted.
 */
#include "syscalls/trace_internal.h"

#include <inttypes.h>

#define COUNT_MAX 4096 /* strings of an environment, entries of a directory */

const struct syscall_form *trace_form(const struct syscall_row *row, const uint64_t args[6]) {
    for (const struct syscall_form *form = row->forms;; form++) {
        unsigned held = 0;

        for (unsigned i = 0; i < form->when_count; i++) {
            for (size_t v = 0; v < form->when[i].count; v++) {
                if (((uint32_t)args[form->when[i].arg] & form->when[i].mask) ==
                    form->when[i].values[v]) {
                    held++;
                    break;
                }
            }
        }
        if (held == form->when_count) {
            return form;
        }
    }
}

static uint64_t argument_size(const struct syscall_argument *argument, const uint64_t args[6],
                              int64_t result) {
    switch (argument->size_kind) {
    case SIZE_ARGUMENT:
        return args[argument->size];
    case SIZE_FIXED:
        return argument->size;
    case SIZE_RESULT:
        return result > 0 ? (uint64_t)result : 0;
    default:
        return 0;
    }
}

static void add_struct(struct trace_text *out, struct task *task,
                       const struct trace_struct *structure, uint64_t address) {
    _Alignas(16) char data[512];

    if (structure->size > sizeof(data) || trace_copy(task, data, address, structure->size) < 0) {
        trace_add_pointer(out, address);
    } else {
        structure->print(out, task, data);
    }
}

/* ready: those that are, as they look behind the result. */
static void add_array(struct trace_text *out, struct task *task,
                      const struct trace_struct *structure, uint64_t address, uint64_t count,
                      bool ready) {
    _Alignas(16) char data[512];
    size_t shown = (size_t)MIN(count, (uint64_t)TRACE_ARRAY_MAX);
    const char *separator = "[";

    if (!address || structure->size > sizeof(data) ||
        (count && trace_copy(task, data, address, structure->size) < 0)) {
        trace_add_pointer(out, address);
        return;
    }
    for (size_t i = 0; i < shown; i++) {
        uint64_t element = address + i * structure->size;

        if (trace_copy(task, data, element, structure->size) < 0) {
            trace_add(out, "%s... /* ", separator);
            trace_add_pointer(out, element);
            trace_add(out, " */]");
            return;
        }
        if (ready && structure->ready && !structure->ready(data)) {
            continue;
        }
        trace_add(out, "%s", separator);
        if (ready && structure->print_ready) {
            structure->print_ready(out, task, data);
        } else {
            structure->print(out, task, data);
        }
        separator = ", ";
    }
    trace_add(out, *separator == '[' ? "[]" : count > shown ? ", ...]" : "]");
}

static void add_argv(struct trace_text *out, struct task *task, uint64_t address) {
    const char *separator = "";
    uint64_t string;

    if (trace_copy(task, &string, address, sizeof(string)) < 0) {
        trace_add_pointer(out, address);
        return;
    }
    trace_add(out, "[");
    for (size_t i = 0;; i++) {
        if (trace_copy(task, &string, address + i * sizeof(string), sizeof(string)) < 0) {
            trace_add(out, "%s???", separator);
            break;
        }
        if (!string) {
            break;
        }
        if (i >= TRACE_ARRAY_MAX) {
            trace_add(out, ", ...");
            break;
        }
        trace_add(out, "%s", separator);
        trace_add_string(out, task, string);
        separator = ", ";
    }
    trace_add(out, "]");
}

static void add_envp(struct trace_text *out, struct task *task, uint64_t address) {
    size_t count = 0;
    uint64_t string;
    bool readable = false;

    trace_add_pointer(out, address);
    while (count < COUNT_MAX) {
        readable = trace_copy(task, &string, address + count * sizeof(string), sizeof(string)) == 0;
        if (!readable || !string) {
            break;
        }
        count++;
    }
    if (readable || count) {
        trace_add(out, " /* %zu var%s%s */", count, count == 1 ? "" : "s",
                  readable && count < COUNT_MAX ? "" : ", unterminated");
    }
}

/* getdents(2): the length of an entry stands behind its two 64-bit numbers. */
static void add_dirents(struct trace_text *out, struct task *task, uint64_t address) {
    uint64_t size = out->result > 0 ? (uint64_t)out->result : 0, at = 0;
    size_t count = 0;
    uint16_t length;

    trace_add_pointer(out, address);
    if (!trace_succeeded(out)) {
        return;
    }
    while (at < size && count < COUNT_MAX &&
           trace_copy(task, &length, address + at + 16, sizeof(length)) == 0 && length) {
        at += length;
        count++;
    }
    trace_add(out, " /* %zu entr%s%s */", count, count == 1 ? "y" : "ies",
              at < size ? " and more" : "");
}

static void add_sockaddr(struct trace_text *out, struct task *task, uint64_t address,
                         uint64_t size) {
    _Alignas(8) char data[128] = {0};
    size_t wanted = (size_t)MIN(size, (uint64_t)sizeof(data));

    if (!address || (wanted && trace_copy(task, data, address, wanted) < 0)) {
        trace_add_pointer(out, address);
    } else {
        trace_add_sockaddr(out, data, wanted);
    }
}

/* rt_sigreturn(2): the stack pointer stands at the frame's ucontext, which ends with the mask. */
static void add_sigframe(struct trace_text *out, struct task *task, uint64_t sp) {
    kernel_sigset mask;

    if (trace_copy(task, &mask, sp + 296, sizeof(mask)) == 0) {
        trace_add(out, "{mask=");
        trace_add_sigset(out, mask);
        trace_add(out, "}");
    }
}

/* A request without a name, as ioctl(2)'s macros make it. */
static void add_ioctl(struct trace_text *out, const struct flag_set *set, uint32_t request) {
    static const char *const directions[] = {"_IOC_NONE", "_IOC_WRITE", "_IOC_READ",
                                             "_IOC_READ|_IOC_WRITE"};

    for (size_t i = 0; i < set->count; i++) {
        if (set->names[i].value == request) {
            trace_add(out, "%s", set->names[i].name);
            return;
        }
    }
    trace_add(out, "_IOC(%s, %#x, %#x, %#x)", directions[request >> 30], request >> 8 & 0xff,
              request & 0xff, request >> 16 & 0x3fff);
}

/* One that the call changes, with what stood there before. */
static void add_changed(struct trace_text *out, struct task *task,
                        const struct syscall_argument *argument, uint64_t address, int64_t before) {
    size_t size = argument->structure->size;
    int64_t after = before;

    if (!address || before == INT64_MIN) {
        trace_add_pointer(out, address);
        return;
    }
    if (trace_succeeded(out)) {
        int64_t value = 0;

        if (trace_copy(task, &value, address, size) == 0) {
            after = size == 4 ? (int32_t)value : value;
        }
    }
    if (after == before) {
        trace_add(out, "[%" PRId64 "]", before);
    } else {
        trace_add(out,
                  size == 4 ? "[%" PRId64 " => %" PRId64 "]" : "[%" PRId64 "] => [%" PRId64 "]",
                  before, after);
    }
}

/* Is there anything to see of what a call writes? */
static bool shown(const struct trace_text *out, const struct syscall_argument *argument) {
    switch (argument->kind) {
    case ARG_CHANGED:
    case ARG_IOVEC_OUT:
        return true; /* in another way */
    case ARG_REMAINDER_OUT:
        return out->result == -EINTR || out->result == -ERESTART_RESTARTBLOCK;
    default:
        return trace_succeeded(out) ||
               (argument->structure && argument->structure->shown_on_failure);
    }
}

static void add_argument(struct trace_text *out, struct task *task,
                         const struct syscall_argument *argument, const uint64_t args[6],
                         const struct trace_progress *progress) {
    uint64_t value = argument->index < 6 ? args[argument->index]
                     : task->thread      ? host_thread_regs(task->thread)->rsp
                                         : 0;
    uint64_t size = argument_size(argument, args, out->result);
    uint32_t length = 0;

    if (argument->kind > ARG_WRITTEN && !shown(out, argument)) {
        trace_add_pointer(out, value);
        return;
    }
    switch (argument->kind) {
    case ARG_INT:
    case ARG_FD:
    case ARG_PID:
        trace_add(out, "%d", (int)value);
        break;
    case ARG_UINT:
        trace_add(out, "%u", (unsigned)value);
        break;
    case ARG_UID:
    case ARG_GID:
        trace_add(out, (uint32_t)value == UINT32_MAX ? "-1" : "%u", (unsigned)value);
        break;
    case ARG_LONG:
    case ARG_OFF:
        trace_add(out, "%" PRId64, (int64_t)value);
        break;
    case ARG_ULONG:
        trace_add(out, value > 0xffff ? "%#" PRIx64 : "%" PRIu64, value);
        break;
    case ARG_HEX:
        trace_add_hex(out, value);
        break;
    case ARG_HEXU:
        trace_add_hex(out, (uint32_t)value);
        break;
    case ARG_SIZE:
        trace_add(out, "%" PRIu64, value);
        break;
    case ARG_DIRFD:
        trace_add(out, (int)value == AT_FDCWD ? "AT_FDCWD" : "%d", (int)value);
        break;
    case ARG_SIGNAL:
        trace_add_signal(out, (int)value);
        break;
    case ARG_MODE:
        trace_add(out, "%#03o", (unsigned)value);
        break;
    case ARG_FILEMODE:
        trace_add_mode(out, (mode_t)value);
        break;
    case ARG_DEV:
        trace_add_dev(out, (uint32_t)value);
        break;
    case ARG_PATH:
    case ARG_STR:
    case ARG_STR_OUT:
        trace_add_path(out, task, value);
        break;
    case ARG_ARGV:
        add_argv(out, task, value);
        break;
    case ARG_ENVP:
        add_envp(out, task, value);
        break;
    case ARG_BUF_IN:
        trace_add_bytes(out, task, value, size);
        break;
    case ARG_BUF_OUT:
        trace_add_bytes(out, task, value, MIN((uint64_t)out->result, size));
        break;
    case ARG_IOVEC_IN:
        trace_add_iovec(out, task, value, size, UINT64_MAX, true);
        break;
    case ARG_IOVEC:
        trace_add_iovec(out, task, value, size, UINT64_MAX, false);
        break;
    case ARG_IOVEC_OUT:
        trace_add_iovec(out, task, value, size, (uint64_t)out->result, trace_succeeded(out));
        break;
    case ARG_SOCKADDR_IN:
        add_sockaddr(out, task, value, (uint32_t)size);
        break;
    case ARG_SOCKADDR_OUT:
        if (value && trace_copy(task, &length, size, sizeof(length)) == 0) {
            add_sockaddr(out, task, value, length);
        } else {
            trace_add_pointer(out, value);
        }
        break;
    case ARG_OPTVAL_OUT:
        if (trace_copy(task, &length, size, sizeof(length)) < 0) {
            length = 0;
        }
        trace_add_optval(out, task, value, length);
        break;
    case ARG_OPTVAL_IN:
        trace_add_optval(out, task, value, (uint32_t)size);
        break;
    case ARG_DIRENTS_OUT:
        add_dirents(out, task, value);
        break;
    case ARG_SIGFRAME:
        add_sigframe(out, task, value);
        break;
    case ARG_STRUCT_IN:
    case ARG_STRUCT_OUT:
    case ARG_REMAINDER_OUT:
    case ARG_LEFT:
        add_struct(out, task, argument->structure, value);
        break;
    case ARG_ARRAY_IN:
    case ARG_ARRAY_OUT:
    case ARG_READY:
        add_array(out, task, argument->structure, value, size, false);
        break;
    case ARG_READY_BITS:
        trace_add_bits(out, task, value, (int)size < 0 ? 0 : (uint64_t)(int)size);
        break;
    case ARG_BITS_IN:
    case ARG_BITS_OUT:
        trace_add_bits(out, task, value, size > UINT32_MAX ? UINT32_MAX : size * 8);
        break;
    case ARG_CHANGED:
        add_changed(out, task, argument, value, progress->before[argument->index]);
        break;
    case ARG_IOCTL:
        add_ioctl(out, argument->set, (uint32_t)value);
        break;
    case ARG_FLAGS:
    case ARG_FLAGSU:
        trace_add_flags(out, argument->set, (uint32_t)value);
        break;
    case ARG_FLAGSL:
        trace_add_flags(out, argument->set, value);
        break;
    case ARG_ENUM:
    case ARG_ENUMU:
        trace_add_enum(out, argument->set, (uint32_t)value);
        break;
    case ARG_ENUML:
        trace_add_enum(out, argument->set, value);
        break;
    case ARG_ADDR:
    case ARG_PTR:
    case ARG_WRITTEN:
        trace_add_pointer(out, value);
        break;
    }
}

static bool left_out(const struct syscall_argument *argument, const uint64_t args[6]) {
    return argument->condition_bits && !(args[argument->condition] & argument->condition_bits);
}

/* Arguments up to `last`, exclusive, behind what was printed. */
static void add_arguments(struct trace_text *out, struct task *task,
                          const struct syscall_form *form, const uint64_t args[6], unsigned last,
                          struct trace_progress *progress) {
    for (; progress->printed < last; progress->printed++) {
        const struct syscall_argument *argument = &form->args[progress->printed];

        if (!left_out(argument, args)) {
            bool labelled = argument->label && argument->kind != ARG_READY &&
                            argument->kind != ARG_READY_BITS && argument->kind != ARG_LEFT;

            trace_add(out, "%s%s%s", progress->any ? ", " : "", labelled ? argument->label : "",
                      labelled ? "=" : "");
            add_argument(out, task, argument, args, progress);
            progress->any = true;
        }
    }
}

void trace_add_first_half(struct trace_text *out, struct task *task,
                          const struct syscall_form *form, const uint64_t args[6],
                          struct trace_progress *progress) {
    unsigned last = form->arg_count;
    bool more = false;

    *progress = (struct trace_progress){0};
    for (unsigned i = form->arg_count; i-- > 0;) {
        const struct syscall_argument *argument = &form->args[i];

        if (argument->kind <= ARG_WRITTEN || left_out(argument, args)) {
            continue;
        }
        last = i;
        more = true;
        if (argument->kind == ARG_CHANGED) {
            size_t size = argument->structure->size;
            int64_t value = 0;

            progress->before[argument->index] =
                trace_copy(task, &value, args[argument->index], size) < 0 ? INT64_MIN
                : size == 4                                               ? (int32_t)value
                                                                          : value;
        }
    }
    add_arguments(out, task, form, args, last, progress);
    if (more && progress->any) {
        trace_add(out, ", ");
        progress->any = false;
    }
}

void trace_add_second_half(struct trace_text *out, struct task *task,
                           const struct syscall_form *form, const uint64_t args[6],
                           const struct trace_progress *progress) {
    struct trace_progress rest = *progress;

    add_arguments(out, task, form, args, form->arg_count, &rest);
}

/* (in [3], left {tv_sec=0, tv_usec=5}) */
static void add_ready(struct trace_text *out, struct task *task, const struct syscall_form *form,
                      const uint64_t args[6]) {
    const char *separator = " (";

    if (out->result == 0) {
        trace_add(out, " (Timeout)");
        return;
    }
    for (unsigned i = 0; i < form->arg_count; i++) {
        const struct syscall_argument *argument = &form->args[i];
        uint64_t value = args[argument->index];
        size_t start = out->used, empty;

        if (!value || (argument->kind != ARG_READY && argument->kind != ARG_READY_BITS &&
                       argument->kind != ARG_LEFT)) {
            continue;
        }
        trace_add(out, "%s%s%s", separator, argument->label ? argument->label : "",
                  argument->label ? " " : "");
        empty = out->used + strlen("[]");
        if (argument->kind == ARG_READY) {
            add_array(out, task, argument->structure, value,
                      argument_size(argument, args, out->result), true);
        } else {
            add_argument(out, task, argument, args, NULL);
        }
        if (out->used == empty) { /* a set of which nothing is left */
            out->used = start;
            out->text[start] = 0;
        } else {
            separator = ", ";
        }
    }
    trace_add(out, *separator == ',' ? ")" : "");
}

void trace_add_result(struct trace_text *out, struct task *task, const struct syscall_form *form,
                      const uint64_t args[6]) {
    int64_t result = out->result;

    switch (form->result) {
    case RESULT_NEVER:
        trace_add(out, "?");
        break;
    case RESULT_PTR:
        trace_add(out, "%#" PRIx64, (uint64_t)result);
        break;
    case RESULT_HEX:
        trace_add_hex(out, (uint64_t)result);
        break;
    case RESULT_OCTAL:
        trace_add(out, "%#03o", (unsigned)result);
        break;
    case RESULT_FLAGS:
    case RESULT_NAMES:
        trace_add_hex(out, (uint64_t)result);
        if (result) {
            trace_add(out, form->result == RESULT_FLAGS ? " (flags " : " (");
            trace_add_flags(out, form->result_set, (uint64_t)result);
            trace_add(out, ")");
        }
        break;
    case RESULT_ENUM:
        trace_add(out, "%" PRId64 " (", result);
        trace_add_enum(out, form->result_set, (uint64_t)result);
        trace_add(out, ")");
        break;
    case RESULT_SIGNAL:
        trace_add(out, "%" PRId64, result);
        if (result) {
            trace_add(out, " (");
            trace_add_signal(out, (int)result);
            trace_add(out, ")");
        }
        break;
    case RESULT_READY:
        trace_add(out, "%" PRId64, result);
        add_ready(out, task, form, args);
        break;
    case RESULT_NUMBER:
        trace_add(out, "%" PRId64, result);
        break;
    }
}
