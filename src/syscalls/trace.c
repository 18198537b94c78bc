/*
 * --strace: the guest's calls as strace(1) prints them. dispatch.c calls trace_enter() and
 * trace_exit() around each call, the signal code trace_signal().
 *
 * # One line, two halves
 * What a call is given is printed when it begins, what it gives back when it ends. A call whose
 * line was broken by another thread's is marked "<unfinished ...>" and taken up again with
 * "<... NAME resumed>". `open_task` says whose half line stands at the end of the output.
 *
 * The half that cannot be read any more at the end (execve's arguments) is made at the beginning;
 * arguments from the first that is written by the call on are printed at the end. Each task has a
 * kernel thread of its own, so a line under way is thread-local.
 *
 * Guest memory is read in capped pieces; an address that cannot be read is printed as an address.
 * Never does a trace change what the guest sees.
 */
#include "syscalls/trace_internal.h"

#include <inttypes.h>
#include <stdio.h>

static struct {
    struct lock lock;  /* class TRACE */
    int fd;            /* borrowed; set before the first guest runs */
    pid_t open_task;   /* guarded by lock: whose line has no end yet, 0: none */
    pid_t first_task;  /* guarded by lock */
    bool many_tasks;   /* guarded by lock: lines carry [pid N] */
    pthread_key_t key; /* frees a kernel thread's line.text with it */
} trace;
static _Atomic bool trace_on;

/* Ignored signals that their tasks have not printed yet. When it is full, more are not shown. */
#define DROPPED_MAX 64
static struct {
    struct lock lock; /* class LOG: taken by senders, who hold locks */
    size_t count;     /* guarded by lock */
    struct {
        pid_t task;
        struct signal_info info;
    } signals[DROPPED_MAX]; /* guarded by lock; oldest first */
} dropped;
static _Atomic size_t dropped_count; /* dropped.count, for a look without the lock */

/* The call under way on this kernel thread. */
static _Thread_local struct {
    struct trace_text *text; /* malloc'ed on first use, kept */
    unsigned printed;        /* arguments that stand in the first half */
    long number;
} line;

void trace_start(int fd) {
    lock_init(&trace.lock, LOCK_TRACE);
    lock_init(&dropped.lock, LOCK_LOG);
    trace.fd = fd;
    if (pthread_key_create(&trace.key, free) != 0) {
        log_line(LOG_ERROR, "--strace: no thread key is left");
        return;
    }
    atomic_store(&trace_on, true);
}

bool trace_enabled(void) {
    return atomic_load_explicit(&trace_on, memory_order_relaxed);
}

static void output(const char *text, size_t size) {
    while (size) {
        ssize_t written = host_write(trace.fd, text, size);

        if (written == -EINTR) {
            continue;
        }
        if (written == -EAGAIN) {
            /* Somebody made our descriptor non-blocking: it is shared with the outside. The line is
             * lost, the guest goes on. */
            log_once(LOG_WARN, "trace", 0, "--strace: lines are lost, the reader is too slow");
            return;
        }
        if (written <= 0) {
            return; /* the reader is gone */
        }
        text += written;
        size -= (size_t)written;
    }
}

/* Puts `text` where it belongs: ends somebody else's half line, and begins a line of our own unless
 * `resume`s one. The caller holds trace.lock. */
static void output_locked(struct task *task, const char *resume, const struct trace_text *text) {
    struct {
        char text[sizeof(text->text) + 128];
    } whole;
    bool continues = trace.open_task == task->id && resume;
    size_t used = 0;

    if (!trace.first_task) {
        trace.first_task = task->id;
    }
    trace.many_tasks |= trace.first_task != task->id;
    if (trace.open_task && !continues) {
        used += (size_t)snprintf(whole.text, sizeof(whole.text), " <unfinished ...>\n");
    }
    if (trace.many_tasks && !continues) {
        used += (size_t)snprintf(whole.text + used, sizeof(whole.text) - used, "[pid %d] ",
                                 (int)task->id);
    }
    if (resume && !continues) {
        used += (size_t)snprintf(whole.text + used, sizeof(whole.text) - used, "<... %s resumed>",
                                 resume);
    }
    memcpy(whole.text + used, text->text, text->used);
    used += text->used;
    output(whole.text, used);
}

static const struct syscall_row *find_row(long number) {
    if (number < 0 || number >= SYSCALL_COUNT || !syscall_table[number].name) {
        return NULL;
    }
    return &syscall_table[number];
}

static const char *call_name(long number, char buffer[32]) {
    const struct syscall_row *row = find_row(number);

    if (row) {
        return row->name;
    }
    snprintf(buffer, 32, "syscall_%#lx", (unsigned long)number);
    return buffer;
}

/* ---- arguments ---- */

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
                       const struct trace_struct *structure, uint64_t address, uint64_t count,
                       bool array) {
    _Alignas(16) char data[512];
    size_t shown = (size_t)MIN(count, (uint64_t)TRACE_ARRAY_MAX);

    if (!address || !task->thread || structure->size > sizeof(data)) {
        trace_add_pointer(out, address);
        return;
    }
    for (size_t i = 0; i < shown; i++) {
        if (copy_from_user(task->thread, data, user_address(address + i * structure->size),
                           structure->size) < 0) {
            if (i) {
                trace_add(out, ", ");
            }
            trace_add_pointer(out, address + i * structure->size);
            shown = i + 1;
            if (i == 0) {
                return;
            }
            break;
        }
        trace_add(out, "%s", array ? (i ? ", " : "[") : "");
        structure->print(out, task, data);
    }
    if (array) {
        trace_add(out, shown ? (count > shown ? ", ...]" : "]") : "[]");
    }
}

static void add_argv(struct trace_text *out, struct task *task, uint64_t address) {
    const char *separator = "";

    if (!address || !task->thread) {
        trace_add_pointer(out, address);
        return;
    }
    trace_add(out, "[");
    for (size_t i = 0;; i++) {
        uint64_t string;

        if (get_user(task->thread, string, user_address(address + i * sizeof(string))) < 0) {
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

static void add_sockaddr(struct trace_text *out, struct task *task, uint64_t address,
                         uint64_t size) {
    _Alignas(8) char data[128] = {0};
    size_t wanted = (size_t)MIN(size, (uint64_t)sizeof(data));

    if (!address || !task->thread ||
        (wanted && copy_from_user(task->thread, data, user_address(address), wanted) < 0)) {
        trace_add_pointer(out, address);
    } else {
        trace_add_sockaddr(out, data, wanted);
    }
}

/* Is it written by the call, so that it is printed at the end? */
static bool written_by_call(enum argument_kind kind) {
    switch (kind) {
    case ARG_BUF_OUT:
    case ARG_IOVEC_OUT:
    case ARG_SOCKADDR_OUT:
    case ARG_STRUCT_OUT:
    case ARG_STRUCT_INOUT:
    case ARG_ARRAY_OUT:
    case ARG_ARRAY_INOUT:
        return true;
    default:
        return false;
    }
}

/* ended: the call is over with this result. */
static void add_argument(struct trace_text *out, struct task *task,
                         const struct syscall_argument *argument, uint64_t value,
                         const uint64_t args[6], bool ended, int64_t result) {
    uint64_t size = argument_size(argument, args, result);
    bool valid = ended && result >= 0; /* what the call wrote can be read */
    uint32_t length = 0;

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
    case ARG_SIZE:
        trace_add(out, "%" PRIu64, value);
        break;
    case ARG_DIRFD:
        if ((int)value == AT_FDCWD) {
            trace_add(out, "AT_FDCWD");
        } else {
            trace_add(out, "%d", (int)value);
        }
        break;
    case ARG_SIGNAL:
        trace_add_signal(out, (int)value);
        break;
    case ARG_MODE:
        trace_add(out, "%#03o", (unsigned)value);
        break;
    case ARG_DEV:
        trace_add_dev(out, (uint32_t)value);
        break;
    case ARG_PATH:
    case ARG_STR:
        trace_add_path(out, task, value);
        break;
    case ARG_ARGV:
        add_argv(out, task, value);
        break;
    case ARG_BUF_IN:
        trace_add_bytes(out, task, value, size);
        break;
    case ARG_BUF_OUT:
        if (valid) {
            trace_add_bytes(out, task, value, MIN((uint64_t)result, size));
        } else {
            trace_add_pointer(out, value);
        }
        break;
    case ARG_IOVEC_IN:
        trace_add_iovec(out, task, value, size, UINT64_MAX);
        break;
    case ARG_IOVEC_OUT:
        if (valid) {
            trace_add_iovec(out, task, value, size, (uint64_t)result);
        } else {
            trace_add_pointer(out, value);
        }
        break;
    case ARG_SOCKADDR_IN:
        add_sockaddr(out, task, value, (uint32_t)size);
        break;
    case ARG_SOCKADDR_OUT:
        if (valid && task->thread && get_user(task->thread, length, user_address(size)) == 0) {
            add_sockaddr(out, task, value, length);
        } else {
            trace_add_pointer(out, value);
        }
        break;
    case ARG_STRUCT_OUT:
        if (!valid) {
            trace_add_pointer(out, value);
            break;
        }
        __attribute__((fallthrough));
    case ARG_STRUCT_IN:
    case ARG_STRUCT_INOUT:
        add_struct(out, task, argument->structure, value, 1, false);
        break;
    case ARG_ARRAY_OUT:
        if (!valid) {
            trace_add_pointer(out, value);
            break;
        }
        __attribute__((fallthrough));
    case ARG_ARRAY_IN:
    case ARG_ARRAY_INOUT:
        add_struct(out, task, argument->structure, value, size, true);
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
        trace_add_pointer(out, value);
        break;
    }
}

/* Arguments from `first` to `last`, exclusive. open(2)'s mode is there only when a file is made. */
static void add_arguments(struct trace_text *out, struct task *task, const struct syscall_row *row,
                          const uint64_t args[6], unsigned first, unsigned last, bool ended,
                          int64_t result) {
    for (unsigned i = first; i < last; i++) {
        const struct syscall_argument *argument = &row->args[i];

        if (argument->kind == ARG_MODE && i && row->args[i - 1].kind == ARG_FLAGS &&
            !(args[i - 1] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))) {
            continue;
        }
        trace_add(out, "%s", i ? ", " : "");
        add_argument(out, task, argument, args[i], args, ended, result);
    }
}

/* ---- the two halves ---- */

static struct trace_text *line_text(void) {
    if (!line.text) {
        line.text = malloc(sizeof(*line.text));
        if (line.text && pthread_setspecific(trace.key, line.text) != 0) {
            free(STEAL(line.text));
        }
    }
    if (line.text) {
        line.text->used = 0;
    }
    return line.text;
}

void trace_enter(struct task *current, long number, const uint64_t args[6]) {
    const struct syscall_row *row = find_row(number);
    struct trace_text *text = line_text();
    char name[32];

    if (!text) {
        return;
    }
    line.number = number;
    line.printed = 0;
    trace_add(text, "%s(", call_name(number, name));
    if (row) {
        while (line.printed < row->arg_count && !written_by_call(row->args[line.printed].kind)) {
            line.printed++;
        }
        add_arguments(text, current, row, args, 0, line.printed, false, 0);
    } else {
        for (int i = 0; i < 6; i++) {
            trace_add(text, "%s%#" PRIx64, i ? ", " : "", args[i]);
        }
    }
    LOCK_GUARD(&trace.lock);
    output_locked(current, NULL, text);
    trace.open_task = current->id;
}

static void print_dropped(struct task *current);

static void add_result(struct trace_text *text, const struct syscall_row *row, long number,
                       int64_t result) {
    const char *name = result < 0 && result >= -MAX_ERRNO ? trace_error_name(-result) : NULL;

    switch (-result) {
    case ERESTARTSYS:
        trace_add(text, "? ERESTARTSYS (To be restarted if SA_RESTART is set)");
        return;
    case ERESTARTNOINTR:
        trace_add(text, "? ERESTARTNOINTR (To be restarted)");
        return;
    case ERESTARTNOHAND:
        trace_add(text, "? ERESTARTNOHAND (To be restarted if no handler)");
        return;
    case ERESTART_RESTARTBLOCK:
        trace_add(text, "? ERESTART_RESTARTBLOCK (Interrupted by signal)");
        return;
    default:
        break;
    }
    if (row && (strcmp(row->name, "exit") == 0 || strcmp(row->name, "exit_group") == 0)) {
        trace_add(text, "?");
    } else if (name) {
        trace_add(text, "-1 %s (%s)", name, strerrordesc_np((int)-result));
    } else if (row && row->result_pointer) {
        trace_add(text, "%#" PRIx64, (uint64_t)result);
    } else {
        trace_add(text, "%" PRId64, result);
    }
}

void trace_exit(struct task *current, long number, const uint64_t args[6], int64_t result) {
    const struct syscall_row *row = find_row(number);
    struct trace_text *text = line_text();
    char name[32];

    if (!text) {
        return;
    }
    if (row && line.printed < row->arg_count) {
        add_arguments(text, current, row, args, line.printed, row->arg_count, true, result);
    }
    trace_add(text, ") = ");
    add_result(text, row, number, result);
    trace_add(text, "\n");
    {
        LOCK_GUARD(&trace.lock);
        output_locked(current, call_name(number, name), text);
        trace.open_task = 0;
    }
    if (atomic_load_explicit(&dropped_count, memory_order_relaxed)) {
        print_dropped(current);
    }
}

static void whole_line(struct task *task, const struct trace_text *text) {
    LOCK_GUARD(&trace.lock);
    output_locked(task, NULL, text);
    trace.open_task = 0;
}

void trace_signal(struct task *current, const struct signal_info *info) {
    struct trace_text *text = trace_enabled() ? malloc(sizeof(*text)) : NULL;

    if (text) {
        siginfo_t whole = info->info;

        whole.si_signo = info->signal;
        whole.si_code = info->code;
        text->used = 0;
        trace_add(text, "--- ");
        trace_add_signal(text, info->signal);
        trace_add(text, " ");
        trace_add_siginfo(text, &whole);
        trace_add(text, " ---\n");
        whole_line(current, text);
        free(text);
    }
}

void trace_signal_dropped(pid_t task, const struct signal_info *info) {
    LOCK_GUARD(&dropped.lock);
    if (dropped.count < DROPPED_MAX) {
        dropped.signals[dropped.count].task = task;
        dropped.signals[dropped.count].info = *info;
        atomic_store(&dropped_count, ++dropped.count);
    }
}

static bool dropped_take(pid_t task, struct signal_info *info) {
    LOCK_GUARD(&dropped.lock);
    for (size_t i = 0; i < dropped.count; i++) {
        if (dropped.signals[i].task == task) {
            *info = dropped.signals[i].info;
            atomic_store(&dropped_count, --dropped.count);
            memmove(&dropped.signals[i], &dropped.signals[i + 1],
                    (dropped.count - i) * sizeof(dropped.signals[0]));
            return true;
        }
    }
    return false;
}

static void print_dropped(struct task *current) {
    struct signal_info info;

    while (dropped_take(current->id, &info)) {
        trace_signal(current, &info);
    }
}

void trace_exited(struct task *current, int wait_status) {
    struct trace_text *text = trace_enabled() ? malloc(sizeof(*text)) : NULL;

    print_dropped(current);
    if (text) {
        text->used = 0;
        if (WIFSIGNALED(wait_status)) {
            trace_add(text, "+++ killed by ");
            trace_add_signal(text, WTERMSIG(wait_status));
            trace_add(text, WCOREDUMP(wait_status) ? " (core dumped) +++\n" : " +++\n");
        } else {
            trace_add(text, "+++ exited with %d +++\n", WEXITSTATUS(wait_status));
        }
        whole_line(current, text);
        free(text);
    }
}
