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
 * arguments from the first that is written by the call on are printed at the end
 * (trace_arguments.c). Each task has a kernel thread of its own, so a line under way is
 * thread-local.
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
    size_t column;     /* guarded by lock: where that line ends */
    pid_t first_task;  /* guarded by lock */
    bool many_tasks;   /* guarded by lock: lines carry [pid N] */
    pthread_key_t key; /* frees a kernel thread's line.text with it */
} trace;
static _Atomic bool trace_on;

/* Signals that their tasks do not take, ignored ones and those that end the group, and have not
 * printed yet. When it is full, more are not shown. */
#define UNTAKEN_MAX 64
static struct {
    struct lock lock; /* class LOG: taken by senders, who hold locks */
    size_t count;     /* guarded by lock */
    struct {
        pid_t task;
        struct signal_info info;
    } signals[UNTAKEN_MAX]; /* guarded by lock; oldest first */
} untaken;
static _Atomic size_t untaken_count; /* untaken.count, for a look without the lock */

/* The call under way on this kernel thread. */
static _Thread_local struct {
    struct trace_text *text; /* malloc'ed on first use, kept */
    bool open;               /* it has no end yet */
    long number;
    const struct syscall_form *form; /* NULL: there is no such call */
    struct trace_progress progress;
} line;

#define RESULT_COLUMN 40 /* where results stand unless the line is longer, as strace -a */

void trace_start(int fd) {
    lock_init(&trace.lock, LOCK_TRACE);
    lock_init(&untaken.lock, LOCK_LOG);
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
 * `resume`s one. The `result` behind it ends the line. The caller holds trace.lock. */
static void output_locked(struct task *task, const char *resume, const struct trace_text *text,
                          const struct trace_text *result) {
    struct {
        char text[2 * sizeof(text->text) + 256];
    } whole;
    bool continues = trace.open_task == task->id && resume;
    size_t used = 0, begin = 0;

    if (!trace.first_task) {
        trace.first_task = task->id;
    }
    trace.many_tasks |= trace.first_task != task->id;
    if (trace.open_task && !continues) {
        used += (size_t)snprintf(whole.text, sizeof(whole.text), " <unfinished ...>\n");
    }
    if (!continues) {
        trace.column = 0;
        begin = used;
    }
    if (trace.many_tasks && !continues) {
        used += (size_t)snprintf(whole.text + used, sizeof(whole.text) - used, "[pid %5d] ",
                                 (int)task->id);
    }
    if (resume && !continues) {
        used += (size_t)snprintf(whole.text + used, sizeof(whole.text) - used, "<... %s resumed>",
                                 resume);
    }
    memcpy(whole.text + used, text->text, text->used);
    used += text->used;
    trace.column += used - begin;
    if (result) {
        int gap = trace.column < RESULT_COLUMN ? (int)(RESULT_COLUMN - trace.column) : 0;

        used += (size_t)snprintf(whole.text + used, sizeof(whole.text) - used, "%*s= %s\n", gap, "",
                                 result->text);
    }
    trace.open_task = result ? 0 : trace.open_task;
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
        line.text->ended = false;
        line.text->text[0] = 0;
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
    line.open = true;
    line.number = number;
    line.form = row ? trace_form(row, args) : NULL;
    trace_add(text, "%s(", call_name(number, name));
    if (row) {
        trace_add_first_half(text, current, line.form, args, &line.progress);
    } else {
        for (int i = 0; i < 6; i++) {
            trace_add(text, "%s%#" PRIx64, i ? ", " : "", args[i]);
        }
    }
    LOCK_GUARD(&trace.lock);
    output_locked(current, NULL, text, NULL);
    trace.open_task = current->id;
}

static void print_untaken(struct task *current);

static void add_result(struct trace_text *text, struct task *task, const uint64_t args[6]) {
    int64_t result = text->result;
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
    if (name) {
        trace_add(text, "-1 %s (%s)", name, strerrordesc_np((int)-result));
    } else if (line.form) {
        trace_add_result(text, task, line.form, args);
    } else {
        trace_add(text, "%" PRId64, result);
    }
}

/* Ends the line under way. */
static void output_end(struct task *task, const struct trace_text *text,
                       const struct trace_text *result) {
    char name[32];

    line.open = false;
    LOCK_GUARD(&trace.lock);
    output_locked(task, call_name(line.number, name), text, result);
}

void trace_exit(struct task *current, const uint64_t args[6], int64_t result) {
    struct trace_text *text = line_text(), *behind = malloc(sizeof(*behind));

    if (text && behind && line.open) {
        text->ended = behind->ended = true;
        text->result = behind->result = result;
        behind->used = 0;
        if (line.form) {
            trace_add_second_half(text, current, line.form, args, &line.progress);
        }
        trace_add(text, ") ");
        add_result(behind, current, args);
        output_end(current, text, behind);
    }
    free(behind);
    if (atomic_load_explicit(&untaken_count, memory_order_relaxed)) {
        print_untaken(current);
    }
}

static void whole_line(struct task *task, const struct trace_text *text) {
    LOCK_GUARD(&trace.lock);
    output_locked(task, NULL, text, NULL);
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

void trace_signal_untaken(pid_t task, const struct signal_info *info) {
    LOCK_GUARD(&untaken.lock);
    if (untaken.count < UNTAKEN_MAX) {
        untaken.signals[untaken.count].task = task;
        untaken.signals[untaken.count].info = *info;
        atomic_store(&untaken_count, ++untaken.count);
    }
}

static bool untaken_take(pid_t task, struct signal_info *info) {
    LOCK_GUARD(&untaken.lock);
    for (size_t i = 0; i < untaken.count; i++) {
        if (untaken.signals[i].task == task) {
            *info = untaken.signals[i].info;
            atomic_store(&untaken_count, --untaken.count);
            memmove(&untaken.signals[i], &untaken.signals[i + 1],
                    (untaken.count - i) * sizeof(untaken.signals[0]));
            return true;
        }
    }
    return false;
}

static void print_untaken(struct task *current) {
    struct signal_info info;

    while (untaken_take(current->id, &info)) {
        trace_signal(current, &info);
    }
}

void trace_exited(struct task *current, int wait_status) {
    struct trace_text *text = trace_enabled() ? malloc(sizeof(*text)) : NULL;

    print_untaken(current);
    if (text && line.open) { /* it died within a call */
        struct trace_text *none = line_text();

        text->used = 0;
        trace_add(none, ") ");
        trace_add(text, "?");
        output_end(current, none, text);
    }
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
