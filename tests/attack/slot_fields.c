/*
 * timeout: 240
 *
 * Each field of the slots by itself, rewritten by a second thread all the time while the first one
 * makes every kind of call: what the stub has just written is another value when the kernel takes
 * it, and what the kernel has written when the stub does. The process may die; the kernel takes no
 * harm, and another guest does not notice. (slot_garbage.c writes everywhere, and mostly ends its
 * process by the first field.)
 */
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "bystander.h"
#include "host/slot.h"
#include "stub_probe.h"

#define PAGE 4096ul

/* Processes that attack at the same time: one that has ruined its stub is long in dying. */
#define AT_ONCE 6

#define FIELD(name)                                                                                \
    { #name, offsetof(struct slot, name), sizeof(((struct slot *)0)->name) }
static const struct field {
    const char *name;
    size_t offset, size; /* bytes */
} fields[] = {
    FIELD(stub_sleeps),    FIELD(kernel_sleeps),
    FIELD(spin),           FIELD(torn),
    FIELD(work),           FIELD(cpu),
    FIELD(direct),         FIELD(event),
    FIELD(command),        FIELD(brought_size),
    FIELD(fault.signo),    FIELD(brought_address),
    FIELD(answer_address), FIELD(answer_size),
    FIELD(regs),           FIELD(fpstate),
    FIELD(fpstate_size),   FIELD(fpstate_reset),
    FIELD(fault),          FIELD(call_count),
    FIELD(calls_done),     FIELD(calls_finished),
    FIELD(calls_report),   FIELD(calls),
    FIELD(results),        FIELD(clone_flags),
    FIELD(clone_tls),      FIELD(announce),
    FIELD(clone_slot),     FIELD(clone_ctx_fd),
    FIELD(clone_sock_fd),  FIELD(clone_result),
    FIELD(signal_mask),    FIELD(told),
    FIELD(direct_done),    FIELD(direct_io),
    FIELD(notes),          FIELD(close_count),
    FIELD(close_fds),      FIELD(bounce),
    FIELD(answered),       FIELD(failed),
    FIELD(turn),           {"brought", offsetof(struct slot, brought_size), 16},
};
#define FIELDS (sizeof fields / sizeof fields[0])

static unsigned char *stub;
static uint64_t first_stack; /* an address in that of the thread that calls */
static int begins[2];        /* a pipe */

/* Sizes and counts beyond every end, addresses of whom it does not belong to, results that are
 * none. */
static uint64_t value(unsigned *state) {
    const uint64_t values[] = {0,
                               1,
                               2,
                               3,
                               5,
                               SLOT_MAX_CALLS + 1,
                               SLOT_BOUNCE_SIZE + 1,
                               STUB_SLOT_STRIDE,
                               0x10000000,
                               0x7fffffff,
                               0x80000000,
                               0xffffffff,
                               (uint64_t)-11,
                               ~0ull,
                               1ull << 63,
                               (uint64_t)stub,
                               (uint64_t)stub + STUB_SLOTS_OFFSET,
                               0xffff888000000000,
                               SLOT_RESULT(100),
                               first_stack - (1ul << 28),
                               first_stack - (1ul << 29),
                               first_stack - (1ul << 30),
                               first_stack - (3ul << 30)};

    *state = *state * 1664525u + 1013904223u;
    return values[(*state >> 8) % (sizeof values / sizeof values[0])];
}

static void *rewrite(void *arg) {
    const struct field *field = arg;
    unsigned state = (unsigned)(field - fields);

    if (write(begins[1], "x", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        for (unsigned slot = 0; slot < 4; slot++) {
            unsigned char *at = stub + STUB_SLOTS_OFFSET + slot * STUB_SLOT_STRIDE + field->offset;

            if (field->size % 8 == 0) {
                for (size_t i = 0; i < field->size; i += 8) {
                    *(volatile uint64_t *)(at + i) = value(&state);
                }
            } else {
                *(volatile uint32_t *)at = (uint32_t)value(&state);
            }
        }
    }
    return NULL;
}

static void nothing(int signal) {
    (void)signal;
}

static void skip_store(int signal) {
    siglongjmp(probe_failed, signal);
}

static void *ends_at_once(void *arg) {
    return arg;
}

/* What each event, command and order of the slot is used for. */
static void call_everything(const int ends[2], int file) {
    static char bytes[100000];
    struct timespec soon = {0, 1000};
    struct utsname name;
    struct stat stat;
    pthread_t thread;
    unsigned word = 0;
    void *memory;
    pid_t pid;
    int fd;

    (void)getppid();
    (void)uname(&name);
    (void)fstat(file, &stat);
    memory = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)mprotect(memory, PAGE, PROT_READ);
    (void)mremap(memory, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    (void)munmap(memory, 16 * PAGE);
    for (int i = 0; i < 7; i++) {
        (void)!pread(file, bytes, 100, 0);
        (void)!write(ends[1], bytes, i * 15000); /* a part of the last ones */
        (void)!read(ends[0], bytes, sizeof bytes);
    }
    fd = open("/", O_RDONLY);
    (void)fcntl(fd, F_GETFL);
    (void)close(fd);
    (void)kill(getpid(), SIGUSR1);
    (void)nanosleep(&soon, NULL);
    (void)syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 0, &soon, NULL, 0);
    if (sigsetjmp(probe_failed, 1) == 0) {
        *(volatile char *)8 = 0;
    }
    if (pthread_create(&thread, NULL, ends_at_once, NULL) == 0) {
        (void)pthread_join(thread, NULL);
    }
    pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
}

static _Noreturn void attack(const struct field *field) {
    int ends[2], file = open("/proc/self/exe", O_RDONLY);
    pthread_t thread;

    signal(SIGUSR1, nothing);
    signal(SIGSEGV, skip_store);
    if (file < 0 || pipe2(ends, O_NONBLOCK)) {
        _exit(1);
    }
    first_stack = (uint64_t)ends;
    call_everything(ends, file);
    if (pthread_create(&thread, NULL, rewrite, (void *)(uintptr_t)field)) {
        _exit(1);
    }
    for (;;) {
        call_everything(ends, file);
    }
}

TEST(each_field) {
    block_sigchld();
    stub = stub_find();
    REQUIRE(stub != NULL);
    REQUIRE_OK(pipe(begins));
    bystander_start();
    for (size_t i = 0; i < FIELDS; i += AT_ONCE) {
        size_t count = FIELDS - i < AT_ONCE ? FIELDS - i : AT_ONCE;
        pid_t pids[AT_ONCE];

        for (size_t k = 0; k < count; k++) {
            pids[k] = fork();
            REQUIRE_OK(pids[k]);
            if (pids[k] == 0) {
                attack(&fields[i + k]);
            }
        }
        for (size_t k = 0; k < count; k++) {
            char byte;

            CHECK_EQ(read(begins[0], &byte, 1), 1);
        }
        for (size_t k = 0; k < count; k++) {
            (void)wait_or_kill(pids[k], k ? 10 : 1000);
            bystander_check();
        }
        check_kernel_serves();
    }
}

TEST_MAIN()
