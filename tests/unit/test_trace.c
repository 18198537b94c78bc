/*
 * --strace's printing of values, and the table of flags against the headers of libc. What needs a
 * guest's memory is in tests/cli/strace.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "syscalls/trace_internal.h"

extern const struct flag_set flag_set_open, flag_set_prot, flag_set_mmap, flag_set_seek,
    flag_set_clone, flag_set_wait, flag_set_futex, flag_set_access, flag_set_rusage, flag_set_fcntl,
    flag_set_epoll, flag_set_mount, flag_set_prctl, flag_set_sock, flag_set_at, flag_set_madvise,
    flag_set_msg, flag_set_rlimit, flag_set_sigaction, flag_set_clock, flag_set_statx;

static struct trace_text text;

#define PRINTS(expected, call)                                                                     \
    do {                                                                                           \
        text.used = 0;                                                                             \
        text.text[0] = 0;                                                                          \
        call;                                                                                      \
        assert_string_equal(text.text, expected);                                                  \
    } while (0)

static void strings(void **state) {
    PRINTS("\"\"", trace_add_quoted(&text, "", 0, false));
    PRINTS("\"a\\tb\\n\"", trace_add_quoted(&text, "a\tb\n", 4, false));
    PRINTS("\"q\\\"b\\\\\"", trace_add_quoted(&text, "q\"b\\", 4, false));
    PRINTS("\"\\0\\1\\377\"", trace_add_quoted(&text, "\0\1\377", 3, false));
    /* A digit behind: the escape is written in full. */
    PRINTS("\"\\0010\\08\"", trace_add_quoted(&text, "\0010\0008", 4, false));
    PRINTS("\"cut\"...", trace_add_quoted(&text, "cut", 3, true));
    PRINTS("NULL", trace_add_pointer(&text, 0));
    PRINTS("0x7f0000001000", trace_add_pointer(&text, 0x7f0000001000));
}

static void flags(void **state) {
    PRINTS("O_RDONLY", trace_add_flags(&text, &flag_set_open, O_RDONLY));
    PRINTS("O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC",
           trace_add_flags(&text, &flag_set_open, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC));
    /* A name for several bits stands for all of them. */
    PRINTS("O_WRONLY|O_TMPFILE", trace_add_flags(&text, &flag_set_open, O_WRONLY | O_TMPFILE));
    PRINTS("O_WRONLY|O_SYNC", trace_add_flags(&text, &flag_set_open, O_WRONLY | O_SYNC));
    PRINTS("O_RDONLY|0x80000000", trace_add_flags(&text, &flag_set_open, 0x80000000));
    PRINTS("PROT_NONE", trace_add_flags(&text, &flag_set_prot, 0));
    PRINTS("0", trace_add_flags(&text, &flag_set_wait, 0));
    PRINTS("F_OK", trace_add_flags(&text, &flag_set_access, 0));
    PRINTS("R_OK|X_OK", trace_add_flags(&text, &flag_set_access, 5));
    PRINTS("MAP_PRIVATE|MAP_ANONYMOUS",
           trace_add_flags(&text, &flag_set_mmap, MAP_PRIVATE | MAP_ANONYMOUS));
    PRINTS("CLONE_VM|CLONE_VFORK|SIGCHLD",
           trace_add_flags(&text, &flag_set_clone, SIGCHLD | CLONE_VM | CLONE_VFORK));
    PRINTS("FUTEX_WAKE_PRIVATE", trace_add_flags(&text, &flag_set_futex, 129));
    PRINTS("SEEK_END", trace_add_enum(&text, &flag_set_seek, 2));
    PRINTS("0x63 /* SEEK_??? */", trace_add_enum(&text, &flag_set_seek, 99));
    PRINTS("RUSAGE_CHILDREN", trace_add_enum(&text, &flag_set_rusage, (uint32_t)-1));
}

static void signals(void **state) {
    siginfo_t info = {.si_signo = SIGCHLD, .si_code = CLD_KILLED};

    PRINTS("SIGCHLD", trace_add_signal(&text, SIGCHLD));
    PRINTS("SIGRTMIN", trace_add_signal(&text, 32));
    PRINTS("SIGRT_2", trace_add_signal(&text, 34));
    PRINTS("99", trace_add_signal(&text, 99));
    PRINTS("[]", trace_add_sigset(&text, 0));
    PRINTS("[INT CHLD]", trace_add_sigset(&text, SIGNAL_BIT(SIGINT) | SIGNAL_BIT(SIGCHLD)));
    PRINTS("~[KILL STOP]", trace_add_sigset(&text, ~SIGNAL_UNMASKABLE));
    info.si_pid = 7;
    info.si_uid = 0;
    info.si_status = SIGTERM;
    info.si_stime = 150;
    PRINTS("{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=7, si_uid=0, si_status=SIGTERM, "
           "si_utime=0, si_stime=150 /* 1.50 s */}",
           trace_add_siginfo(&text, &info));
    info = (siginfo_t){.si_signo = SIGSEGV, .si_code = SEGV_MAPERR};
    info.si_addr = NULL;
    PRINTS("{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}",
           trace_add_siginfo(&text, &info));
}

static void values(void **state) {
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/tmp/s"};
    struct sockaddr_in inet = {
        .sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    PRINTS("S_IFREG|0644", trace_add_mode(&text, S_IFREG | 0644));
    PRINTS("S_IFDIR|S_ISVTX|0777", trace_add_mode(&text, S_IFDIR | S_ISVTX | 0777));
    PRINTS("000", trace_add_mode(&text, 0));
    PRINTS("makedev(0x1, 0x3)", trace_add_dev(&text, 0x103));
    PRINTS("{sa_family=AF_UNIX, sun_path=\"/tmp/s\"}",
           trace_add_sockaddr(&text, &local, sizeof(local)));
    PRINTS("{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}",
           trace_add_sockaddr(&text, &inet, sizeof(inet)));
    memcpy(local.sun_path, "\0ab", 3);
    PRINTS("{sa_family=AF_UNIX, sun_path=@\"ab\"}",
           trace_add_sockaddr(&text, &local, offsetof(struct sockaddr_un, sun_path) + 3));
    PRINTS("{}", trace_add_sockaddr(&text, &local, 1));
    assert_string_equal(trace_error_name(ENOENT), "ENOENT");
    assert_string_equal(trace_error_name(ERESTARTSYS), "ERESTARTSYS");
}

/* A line is cut at the size of its buffer, whatever comes. */
static void bounded(void **state) {
    static char big[3000];

    memset(big, 1, sizeof(big));
    text.used = 0;
    for (int i = 0; i < 10; i++) {
        trace_add_quoted(&text, big, sizeof(big), false);
    }
    assert_int_equal(text.used, sizeof(text.text) - 1);
    assert_int_equal(strlen(text.text), sizeof(text.text) - 1);
}

static void check_name(const struct flag_set *set, const char *name, uint64_t value) {
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->names[i].name, name) == 0) {
            if ((uint32_t)set->names[i].value != (uint32_t)value) {
                fail_msg("%s is %#lx in flags.def, %#lx in libc", name,
                         (unsigned long)set->names[i].value, (unsigned long)value);
            }
            return;
        }
    }
    fail_msg("%s is not in the set of %s", name, set->prefix);
}
#define SAME(set, name) check_name(&flag_set_##set, #name, (uint64_t)(name))

static void flags_are_those_of_libc(void **state) {
    SAME(open, O_CREAT);
    SAME(open, O_EXCL);
    SAME(open, O_NOCTTY);
    SAME(open, O_APPEND);
    SAME(open, O_NONBLOCK);
    SAME(open, O_DSYNC);
    SAME(open, O_DIRECT);
    SAME(open, O_DIRECTORY);
    SAME(open, O_NOFOLLOW);
    SAME(open, O_NOATIME);
    SAME(open, O_PATH);
    SAME(open, O_SYNC);
    SAME(open, O_TMPFILE);
    SAME(mmap, MAP_FIXED);
    SAME(mmap, MAP_GROWSDOWN);
    SAME(mmap, MAP_NORESERVE);
    SAME(mmap, MAP_POPULATE);
    SAME(mmap, MAP_STACK);
    SAME(mmap, MAP_FIXED_NOREPLACE);
    SAME(madvise, MADV_DONTNEED);
    SAME(madvise, MADV_FREE);
    SAME(madvise, MADV_WIPEONFORK);
    SAME(clone, CLONE_THREAD);
    SAME(clone, CLONE_SETTLS);
    SAME(clone, CLONE_CHILD_CLEARTID);
    SAME(clone, CLONE_PIDFD);
    SAME(wait, WNOHANG);
    SAME(wait, WNOWAIT);
    SAME(wait, __WALL);
    SAME(wait, __WCLONE);
    SAME(fcntl, F_SETLKW);
    SAME(fcntl, F_DUPFD_CLOEXEC);
    SAME(fcntl, F_ADD_SEALS);
    SAME(fcntl, F_OFD_SETLK);
    SAME(epoll, EPOLLRDHUP);
    SAME(epoll, EPOLLET);
    SAME(epoll, EPOLLONESHOT);
    SAME(epoll, EPOLLEXCLUSIVE);
    SAME(mount, MS_REMOUNT);
    SAME(mount, MS_BIND);
    SAME(mount, MS_RELATIME);
    SAME(prctl, PR_SET_NAME);
    SAME(prctl, PR_SET_CHILD_SUBREAPER);
    SAME(prctl, PR_CAP_AMBIENT);
    SAME(prctl, PR_SET_VMA);
    SAME(sock, SOCK_SEQPACKET);
    SAME(sock, SOCK_CLOEXEC);
    SAME(at, AT_SYMLINK_NOFOLLOW);
    SAME(at, AT_EMPTY_PATH);
    SAME(msg, MSG_NOSIGNAL);
    SAME(msg, MSG_CMSG_CLOEXEC);
    SAME(rlimit, RLIMIT_RTTIME);
    SAME(sigaction, SA_RESTART);
    SAME(sigaction, SA_RESETHAND);
    SAME(clock, CLOCK_BOOTTIME);
    SAME(clock, CLOCK_TAI);
    SAME(statx, STATX_BTIME);
}

/* Rows are reached by number, and a supported one has a handler. */
static void table_is_whole(void **state) {
    struct syscall_info info;
    size_t calls = 0;

    for (long number = 0; number < SYSCALL_COUNT; number++) {
        if (!syscall_describe(number, &info)) {
            continue;
        }
        calls++;
        assert_true((info.level != SYSCALL_MISSING) == (syscall_table[number].call != NULL));
        assert_true(info.level != SYSCALL_PARTIAL || *info.note);
    }
    assert_true(calls > 350);
    assert_true(syscall_describe(257, &info));
    assert_string_equal(info.name, "openat");
    assert_false(syscall_describe(-1, &info));
    assert_false(syscall_describe(SYSCALL_COUNT, &info));
    assert_false(syscall_describe(400, &info));
}

static void unknown_flags(void **state) {
    assert_int_equal(unsupported_flags("test", O_CLOEXEC, FLAGS_OPEN_KNOWN, EINVAL), 0);
    assert_int_equal(unsupported_flags("test", 1ull << 40, FLAGS_OPEN_KNOWN, EINVAL), -EINVAL);
    /* bit 31 of an int comes sign-extended */
    assert_int_equal(
        unsupported_flags("test", (uint64_t)(int64_t)INT32_MIN, FLAGS_WAIT_KNOWN, EINVAL), 0);
    assert_int_equal(
        unsupported_flags("test", (uint64_t)(int64_t)INT32_MIN, FLAGS_OPEN_KNOWN, EINVAL), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),        cmocka_unit_test(flags),
        cmocka_unit_test(signals),        cmocka_unit_test(values),
        cmocka_unit_test(bounded),        cmocka_unit_test(flags_are_those_of_libc),
        cmocka_unit_test(table_is_whole), cmocka_unit_test(unknown_flags),
    };

    log_start(-1, LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
