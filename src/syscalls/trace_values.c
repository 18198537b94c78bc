/* Printing of single values for --strace: strings, flags, signals, modes, errors. */
#include "syscalls/trace_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/sysmacros.h>

void trace_add(struct trace_text *out, const char *format, ...) {
    size_t room = sizeof(out->text) - out->used;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(out->text + out->used, room, format, args);
    va_end(args);
    if (length > 0) {
        out->used += MIN((size_t)length, room - 1);
    }
}

void trace_add_pointer(struct trace_text *out, uint64_t address) {
    if (address) {
        trace_add(out, "0x%" PRIx64, address);
    } else {
        trace_add(out, "NULL");
    }
}

void trace_add_hex(struct trace_text *out, uint64_t value) {
    trace_add(out, "%#" PRIx64, value);
}

int trace_copy(struct task *task, void *to, uint64_t address, size_t size) {
    return address && task->thread ? copy_from_user(task->thread, to, user_address(address), size)
                                   : -EFAULT;
}

void trace_add_quoted(struct trace_text *out, const char *bytes, size_t size, bool cut) {
    trace_add(out, "\"");
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)bytes[i];
        /* A digit behind an octal escape would change its meaning. */
        bool digit_follows = i + 1 < size && bytes[i + 1] >= '0' && bytes[i + 1] <= '7';
        static const char escapes[] = "\a\b\f\n\r\t\v", names[] = "abfnrtv";
        const char *escape = c ? strchr(escapes, c) : NULL;

        if (escape && c != '\a' && c != '\b') {
            trace_add(out, "\\%c", names[escape - escapes]);
        } else if (c == '"' || c == '\\') {
            trace_add(out, "\\%c", c);
        } else if (c >= ' ' && c < 0x7f) {
            trace_add(out, "%c", c);
        } else {
            trace_add(out, digit_follows ? "\\%03o" : "\\%o", c);
        }
    }
    trace_add(out, cut ? "\"..." : "\"");
}

void trace_add_flags(struct trace_text *out, const struct flag_set *set, uint64_t value) {
    uint64_t left = value;
    const char *separator = "";

    for (size_t i = 0; i < set->count; i++) {
        const struct flag_name *name = &set->names[i];

        if (set->mask && !(name->value & ~set->mask) && (value & set->mask) == name->value) {
            trace_add(out, "%s%s", separator, name->name);
            separator = "|";
            left &= ~set->mask;
        } else if (name->value & ~set->mask && (left & name->value) == name->value) {
            trace_add(out, "%s%s", separator, name->name);
            separator = "|";
            left &= ~name->value;
        } else if (!set->mask && !value && !name->value) {
            trace_add(out, "%s", name->name); /* F_OK, PROT_NONE */
            separator = "|";
        }
    }
    if (left || !*separator) {
        trace_add(out, "%s", separator);
        trace_add_hex(out, left);
        if (left && !*separator) {
            trace_add(out, " /* %s??? */", set->prefix);
        }
    }
}

void trace_add_enum(struct trace_text *out, const struct flag_set *set, uint64_t value) {
    for (size_t i = 0; i < set->count; i++) {
        /* int arguments come zero-extended, the table has them sign-extended. */
        if (set->names[i].value == value || (uint32_t)set->names[i].value == value) {
            trace_add(out, "%s", set->names[i].name);
            return;
        }
    }
    trace_add_hex(out, value);
    trace_add(out, " /* %s??? */", set->prefix);
}

static const char *const signal_names[] = {
    [1] = "HUP",   [2] = "INT",     [3] = "QUIT",  [4] = "ILL",    [5] = "TRAP",    [6] = "ABRT",
    [7] = "BUS",   [8] = "FPE",     [9] = "KILL",  [10] = "USR1",  [11] = "SEGV",   [12] = "USR2",
    [13] = "PIPE", [14] = "ALRM",   [15] = "TERM", [17] = "CHLD",  [16] = "STKFLT", [18] = "CONT",
    [19] = "STOP", [20] = "TSTP",   [21] = "TTIN", [22] = "TTOU",  [23] = "URG",    [24] = "XCPU",
    [25] = "XFSZ", [26] = "VTALRM", [27] = "PROF", [28] = "WINCH", [29] = "IO",     [30] = "PWR",
    [31] = "SYS",
};

static void add_signal_short(struct trace_text *out, int signal) {
    if (signal > 0 && signal < (int)ARRAY_SIZE(signal_names)) {
        trace_add(out, "%s", signal_names[signal]);
    } else if (signal == 32) {
        trace_add(out, "RTMIN");
    } else {
        trace_add(out, "RT_%d", signal - 32);
    }
}

void trace_add_signal(struct trace_text *out, int signal) {
    if (signal > 0 && signal <= SIGNAL_MAX) {
        trace_add(out, "SIG");
        add_signal_short(out, signal);
    } else {
        trace_add(out, "%d", signal);
    }
}

void trace_add_bits(struct trace_text *out, struct task *task, uint64_t address, uint64_t count) {
    uint8_t bits[FD_SETSIZE / 8] = {0};
    size_t wanted = (size_t)MIN(count, (uint64_t)FD_SETSIZE);
    const char *separator = "";

    if (!address || (wanted && trace_copy(task, bits, address, (wanted + 7) / 8) < 0)) {
        trace_add_pointer(out, address);
        return;
    }
    trace_add(out, "[");
    for (size_t i = 0; i < wanted; i++) {
        if (bits[i / 8] >> i % 8 & 1) {
            trace_add(out, "%s%zu", separator, i);
            separator = " ";
        }
    }
    trace_add(out, "]");
}

void trace_add_sigset(struct trace_text *out, kernel_sigset set) {
    bool inverted = __builtin_popcountll(set) > 32;
    const char *separator = "";

    trace_add(out, inverted ? "~[" : "[");
    set = inverted ? ~set : set;
    for (int signal = 1; signal <= SIGNAL_MAX; signal++) {
        if (set & SIGNAL_BIT(signal)) {
            trace_add(out, "%s", separator);
            add_signal_short(out, signal);
            separator = " ";
        }
    }
    trace_add(out, "]");
}

void trace_add_mode(struct trace_text *out, mode_t mode) {
    static const struct {
        mode_t type;
        const char *name;
    } types[] = {{S_IFREG, "S_IFREG|"},  {S_IFDIR, "S_IFDIR|"}, {S_IFCHR, "S_IFCHR|"},
                 {S_IFBLK, "S_IFBLK|"},  {S_IFIFO, "S_IFIFO|"}, {S_IFLNK, "S_IFLNK|"},
                 {S_IFSOCK, "S_IFSOCK|"}};

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if ((mode & S_IFMT) == types[i].type) {
            trace_add(out, "%s", types[i].name);
            mode &= (mode_t)~S_IFMT;
        }
    }
    trace_add(out, "%s%s%s", mode & S_ISUID ? "S_ISUID|" : "", mode & S_ISGID ? "S_ISGID|" : "",
              mode & S_ISVTX ? "S_ISVTX|" : "");
    trace_add(out, "%#03o", mode & ~(mode_t)(S_ISUID | S_ISGID | S_ISVTX));
}

void trace_add_dev(struct trace_text *out, uint64_t dev) {
    trace_add(out, "makedev(%#x, %#x)", major(dev), minor(dev));
}

static void add_string(struct trace_text *out, struct task *task, uint64_t address, size_t max) {
    char bytes[TRACE_PATH_MAX + 1];
    ssize_t size;

    if (!address) {
        trace_add(out, "NULL");
        return;
    }
    size = task->thread
               ? copy_from_user_partial(task->thread, bytes, user_address(address), max + 1)
               : -EFAULT;
    if (size <= 0) {
        trace_add_pointer(out, address);
    } else {
        size_t length = strnlen(bytes, (size_t)size);

        trace_add_quoted(out, bytes, MIN(length, max), length > max);
    }
}

void trace_add_string(struct trace_text *out, struct task *task, uint64_t address) {
    add_string(out, task, address, TRACE_STRING_MAX);
}

void trace_add_path(struct trace_text *out, struct task *task, uint64_t address) {
    add_string(out, task, address, TRACE_PATH_MAX);
}

void trace_add_bytes(struct trace_text *out, struct task *task, uint64_t address, uint64_t size) {
    char bytes[TRACE_STRING_MAX];
    size_t wanted = (size_t)MIN(size, (uint64_t)TRACE_STRING_MAX);
    ssize_t got = 0;

    if (!address) {
        trace_add(out, "NULL");
        return;
    }
    if (wanted) {
        got = task->thread
                  ? copy_from_user_partial(task->thread, bytes, user_address(address), wanted)
                  : -EFAULT;
        if (got <= 0) {
            trace_add_pointer(out, address);
            return;
        }
    }
    trace_add_quoted(out, bytes, (size_t)got, size > (uint64_t)got);
}

void trace_add_iovec(struct trace_text *out, struct task *task, uint64_t address, uint64_t count,
                     uint64_t bytes, bool data) {
    struct user_iovec vec[TRACE_ARRAY_MAX];
    size_t shown = (size_t)MIN(count, (uint64_t)TRACE_ARRAY_MAX);

    if (!address || (shown && trace_copy(task, vec, address, shown * sizeof(vec[0])) < 0)) {
        trace_add_pointer(out, address);
        return;
    }
    trace_add(out, "[");
    for (size_t i = 0; i < shown; i++) {
        uint64_t size = MIN(vec[i].len, bytes);

        trace_add(out, "%s{iov_base=", i ? ", " : "");
        if (data) {
            trace_add_bytes(out, task, vec[i].base, size);
        } else {
            trace_add_pointer(out, vec[i].base);
        }
        trace_add(out, ", iov_len=%" PRIu64 "}", vec[i].len);
        bytes -= size;
    }
    trace_add(out, count > shown ? ", ...]" : "]");
}

static const char *code_name(int signal, int code) {
    static const char *const child[] = {NULL,          "CLD_EXITED",  "CLD_KILLED",   "CLD_DUMPED",
                                        "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"};
    static const char *const segv[] = {NULL, "SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR",
                                       "SEGV_PKUERR"};
    static const char *const bus[] = {NULL, "BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR"};
    static const char *const fpe[] = {NULL,         "FPE_INTDIV", "FPE_INTOVF",
                                      "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND",
                                      "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB"};
    static const char *const ill[] = {NULL,         "ILL_ILLOPC", "ILL_ILLOPN",
                                      "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC"};
    static const char *const trap[] = {NULL, "TRAP_BRKPT", "TRAP_TRACE"};
    static const struct {
        int signal;
        const char *const *names;
        int count;
    } tables[] = {
        {SIGCHLD, child, ARRAY_SIZE(child)}, {SIGSEGV, segv, ARRAY_SIZE(segv)},
        {SIGBUS, bus, ARRAY_SIZE(bus)},      {SIGFPE, fpe, ARRAY_SIZE(fpe)},
        {SIGILL, ill, ARRAY_SIZE(ill)},      {SIGTRAP, trap, ARRAY_SIZE(trap)},
    };

    switch (code) {
    case SI_USER:
        return "SI_USER";
    case SI_KERNEL:
        return "SI_KERNEL";
    case SI_QUEUE:
        return "SI_QUEUE";
    case SI_TIMER:
        return "SI_TIMER";
    case SI_TKILL:
        return "SI_TKILL";
    case SI_MESGQ:
        return "SI_MESGQ";
    default:
        break;
    }
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        if (tables[i].signal == signal && code > 0 && code < tables[i].count) {
            return tables[i].names[code];
        }
    }
    return NULL;
}

/* clock_t, a hundredth of a second */
static void add_ticks(struct trace_text *out, long ticks) {
    trace_add(out, ticks ? "%ld /* %ld.%02ld s */" : "%ld", ticks, ticks / 100, ticks % 100);
}

void trace_add_siginfo(struct trace_text *out, const siginfo_t *info) {
    const char *code = code_name(info->si_signo, info->si_code);

    if (!info->si_signo) {
        trace_add(out, "{}");
        return;
    }
    trace_add(out, "{si_signo=");
    trace_add_signal(out, info->si_signo);
    if (code) {
        trace_add(out, ", si_code=%s", code);
    } else {
        trace_add(out, ", si_code=%d", info->si_code);
    }
    if (info->si_signo == SIGCHLD && info->si_code > 0) {
        trace_add(out, ", si_pid=%d, si_uid=%u, si_status=", info->si_pid, info->si_uid);
        if (info->si_code == CLD_EXITED) {
            trace_add(out, "%d", info->si_status);
        } else {
            trace_add_signal(out, info->si_status);
        }
        trace_add(out, ", si_utime=");
        add_ticks(out, info->si_utime);
        trace_add(out, ", si_stime=");
        add_ticks(out, info->si_stime);
    } else if (info->si_code == SI_USER || info->si_code == SI_TKILL || info->si_code == SI_QUEUE) {
        trace_add(out, ", si_pid=%d, si_uid=%u", info->si_pid, info->si_uid);
        if (info->si_code == SI_QUEUE) {
            trace_add(out, ", si_int=%d, si_ptr=", info->si_int);
            trace_add_pointer(out, (uint64_t)(uintptr_t)info->si_ptr);
        }
    } else if (info->si_code == SI_TIMER) {
        trace_add(out, ", si_timerid=%#x, si_overrun=%d", (unsigned)info->si_timerid,
                  info->si_overrun);
    } else if (info->si_signo == SIGSEGV || info->si_signo == SIGBUS || info->si_signo == SIGFPE ||
               info->si_signo == SIGILL) {
        trace_add(out, ", si_addr=");
        trace_add_pointer(out, (uint64_t)(uintptr_t)info->si_addr);
    }
    trace_add(out, "}");
}

const char *trace_error_name(int64_t error) {
    switch (error) {
    case ERESTARTSYS:
        return "ERESTARTSYS";
    case ERESTARTNOINTR:
        return "ERESTARTNOINTR";
    case ERESTARTNOHAND:
        return "ERESTARTNOHAND";
    case ERESTART_RESTARTBLOCK:
        return "ERESTART_RESTARTBLOCK";
    default:
        return strerrorname_np((int)error);
    }
}
