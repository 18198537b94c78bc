/*
 * timeout: 120
 *
 * Garbage and racing writes into the guest's own slots while its threads call: the guest may die,
 * the kernel process and other guests must not notice.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bystander.h"
#include "host/slot.h"
#include "stub_probe.h"

static unsigned char *stub;
static unsigned seed;

static unsigned next_random(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void *scribble(void *arg) {
    unsigned state = seed;
    volatile unsigned *words = (volatile unsigned *)(stub + STUB_SLOTS);

    for (;;) {
        unsigned slot = next_random(&state) % 4;
        unsigned word = next_random(&state) % (STUB_SLOT_STRIDE / 4);

        /* Half of the time aim at the turn, event and command. */
        if (next_random(&state) & 1) {
            word %= 8;
        }
        words[slot * (STUB_SLOT_STRIDE / 4) + word] =
            next_random(&state) % 16 == 0 ? next_random(&state) : next_random(&state) % 9;
    }
    return NULL;
}

static void victim(unsigned number) {
    pthread_t thread;

    seed = number * 7919 + 1;
    if (pthread_create(&thread, NULL, scribble, NULL) != 0) {
        _exit(2);
    }
    for (int i = 0; i < 20000; i++) {
        syscall(SYS_getppid);
        if (i % 64 == 0) {
            int ends[2];

            if (pipe(ends) == 0) {
                close(ends[0]);
                close(ends[1]);
            }
        }
    }
    _exit(0);
}

TEST(racing_garbage_in_the_slots) {
    block_sigchld();

    REQUIRE((stub = stub ? stub : stub_find()) != NULL);
    bystander_start();
    for (unsigned i = 0; i < 10; i++) {
        pid_t child = fork();

        REQUIRE_OK(child);
        if (child == 0) {
            victim(i);
        }
        wait_or_kill(child, 300); /* however it ended */
        bystander_check();
        check_kernel_serves();
    }
}

static void forge_told(uint64_t address) {
    struct slot *slot = (struct slot *)(stub + STUB_SLOTS);

    slot->told = (struct slot_told){.robust_list = address,
                                    .clear_child_tid = address,
                                    .rseq_address = address,
                                    .rseq_size = 32,
                                    .rseq_signature = (uint32_t)address};
}

static void *runs_on(void *arg) {
    for (;;) {
        pause();
    }
    return arg;
}

/* What a thread is said to have noted for its end is somebody else's memory, or none: the parent's
 * and the kernel's stay as they are. */
TEST(forged_told) {
    unsigned long word = 42;
    const uint64_t addresses[] = {1,         (uint64_t)&word,  (uint64_t)&word + 1, ~0ul,
                                  1ul << 47, 0x7fffffffe000ul, 0x400000000,         0,
                                  0};
    const size_t count = sizeof addresses / sizeof addresses[0];

    block_sigchld();
    REQUIRE((stub = stub ? stub : stub_find()) != NULL);
    bystander_start();
    for (size_t i = 0; i < 2 * count; i++) {
        uint64_t address = addresses[i % count];
        pid_t child;

        if (i % count == count - 1) {
            address = (uint64_t)stub;
        } else if (i % count == count - 2) {
            address = (uint64_t)(stub + STUB_PUBLIC_OFFSET);
        }
        child = fork();
        REQUIRE_OK(child);
        if (child == 0) {
            pthread_t thread;

            /* One of two, so that the memory is others' too, and the last one. */
            if (i < count && pthread_create(&thread, NULL, runs_on, NULL) != 0) {
                _exit(2);
            }
            forge_told(address);
            syscall(i < count ? SYS_exit : SYS_exit_group, 0);
        }
        wait_or_kill(child, 100);
        bystander_check();
        check_kernel_serves();
    }
    CHECK_EQ(word, 42);
}

/* Its text, and the area that the kernel answers from: ids and descriptor tables. */
TEST(read_only_pages_are_read_only) {
    REQUIRE((stub = stub ? stub : stub_find()) != NULL);
    const size_t places[] = {0,
                             STUB_TEXT - 1,
                             STUB_PUBLIC_OFFSET,
                             STUB_PUBLIC_OFFSET + STUB_PUBLIC_STRIDE,
                             STUB_PUBLIC_OFFSET + STUB_TABLES_OFFSET,
                             STUB_PUBLIC_OFFSET + STUB_PUBLIC_SIZE - 1};
    pid_t before = (pid_t)syscall(SYS_getppid);

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        pid_t child = fork();
        int status;

        REQUIRE_OK(child);
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL);
            signal(SIGBUS, SIG_DFL);
            (void)mprotect(stub + (places[i] & ~4095ul), 4096, PROT_READ | PROT_WRITE);
            *(volatile unsigned char *)(stub + places[i]) = 0;
            _exit(0);
        }
        status = wait_or_kill(child, 1000);
        CHECK(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS));
        check_kernel_serves();
    }
    CHECK_EQ(syscall(SYS_getppid), before);
}

/* A guest that ruins the private state of its own stub only ruins itself. */
TEST(stub_stack_is_only_its_own) {
    pid_t child;

    REQUIRE((stub = stub ? stub : stub_find()) != NULL);
    bystander_start();
    child = fork();
    REQUIRE_OK(child);
    if (child == 0) {
        memset(stub + STUB_STACKS, 0xff, 4096);
        syscall(SYS_getppid);
        _exit(0);
    }
    wait_or_kill(child, 1000);
    bystander_check();
    check_kernel_serves();
}

TEST_MAIN()
