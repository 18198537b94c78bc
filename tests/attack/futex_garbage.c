/*
 * timeout: 120
 *
 * Futexes whose memory is hostile: lists of robust futexes that go round for ever, lead to memory
 * of nobody, of the stub or of the kernel's half, and change while they are followed; every
 * operation on every such address. Who has such a list ends all the same, its own robust futexes
 * are told of it as far as they can be found, and words of others stay as they are.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bystander.h"
#include "host/slot.h"
#include "stub_probe.h"

static unsigned char *stub;

static struct memory {
    struct robust_list_head head;
    struct robust_list entries[64];
    _Atomic uint32_t words[64];
    _Atomic uint32_t of_others;
    atomic_bool stop;
} * memory;

static void set_up(void) {
    stub = stub ? stub : stub_find();
    REQUIRE(stub != NULL);
    bystander_start();
    memory = memory ? memory
                    : mmap(NULL, sizeof *memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                           -1, 0);
    REQUIRE(memory != MAP_FAILED);
}

/* From an entry to its word. */
#define OFFSET ((long)offsetof(struct memory, words) - (long)offsetof(struct memory, entries))

static void check_ends(void (*attack)(unsigned), unsigned number) {
    pid_t child = fork();

    REQUIRE_OK(child);
    if (child == 0) {
        attack(number);
        syscall(SYS_set_robust_list, &memory->head, sizeof memory->head);
        syscall(SYS_exit, 0);
    }
    CHECK_CHILD_OK(child);
    bystander_check();
}

static void go_round(unsigned entries) {
    for (unsigned i = 0; i < entries; i++) {
        memory->entries[i].next = &memory->entries[(i + 1) % entries];
    }
    /* Words lie closer than entries: only the first one's is its own. */
    memory->words[0] = (uint32_t)getpid() | FUTEX_WAITERS;
    memory->of_others = 1;
    memory->head = (struct robust_list_head){{memory->entries}, OFFSET, memory->entries};
}

TEST(lists_that_go_round) {
    set_up();
    for (unsigned entries = 1; entries <= 64; entries *= 2) {
        check_ends(go_round, entries);
        CHECK_EQ(memory->words[0], FUTEX_WAITERS | FUTEX_OWNER_DIED);
        CHECK_EQ(memory->of_others, 1);
    }
    check_kernel_serves();
}

static unsigned long address(unsigned number) {
    const unsigned long addresses[] = {0,
                                       1,
                                       8,
                                       (unsigned long)&memory->of_others,
                                       (unsigned long)&memory->of_others + 1,
                                       (unsigned long)stub,
                                       (unsigned long)stub + STUB_PUBLIC_OFFSET,
                                       (unsigned long)stub + STUB_SLOTS_OFFSET,
                                       0x7ffffffff000,
                                       0x7fffffffffff,
                                       1ul << 47,
                                       0xffff888000000000,
                                       ~0ul,
                                       ~7ul};

    return addresses[number % (sizeof addresses / sizeof addresses[0])];
}
#define ADDRESSES 14

/* The list's next one, the pending one, and the way to the word. */
static void lead_astray(unsigned number) {
    memory->of_others = 1;
    memory->entries[0].next = (struct robust_list *)address(number / ADDRESSES);
    memory->head = (struct robust_list_head){
        {number % 3 ? memory->entries : (struct robust_list *)address(number)},
        number % 2 ? (long)address(number / 3) : OFFSET,
        (struct robust_list *)address(number / 5)};
}

TEST(lists_that_lead_astray) {
    set_up();
    for (unsigned number = 0; number < ADDRESSES * ADDRESSES; number++) {
        check_ends(lead_astray, number);
        CHECK_EQ(memory->of_others, 1);
    }
    check_kernel_serves();
}

static void *shuffle(void *arg) {
    unsigned state = 1;

    while (!memory->stop) {
        state = state * 1664525u + 1013904223u;
        memory->entries[state >> 26].next = state & 0x8000
                                                ? &memory->entries[state >> 20 & 63]
                                                : (struct robust_list *)address(state >> 16 & 15);
        memory->head.futex_offset = state & 0x4000 ? OFFSET : (long)address(state >> 16 & 15);
    }
    return arg;
}

static void any_list(unsigned number) {
    memory->head.list.next = &memory->entries[number % 64];
    memory->head.list_op_pending = &memory->entries[number * 7 % 64];
}

TEST(lists_that_change) {
    pthread_t thread;

    set_up();
    REQUIRE_EQ(pthread_create(&thread, NULL, shuffle, NULL), 0);
    for (unsigned number = 0; number < 200; number++) {
        check_ends(any_list, number);
    }
    memory->stop = true;
    pthread_join(thread, NULL);
    check_kernel_serves();
}

#define OTHER 0x5a5a5a5a /* no word that stands anywhere */

/* None waits: the word is another. Who changes a word of its own slot may die of it. */
static void every_operand(int op) {
    static const struct timespec past = {0, 1};

    for (unsigned i = 0; i < ADDRESSES; i++) {
        for (unsigned k = 0; k < ADDRESSES; k++) {
            const void *limit = k % 2 ? (const void *)&past : (const void *)address(k);

            (void)syscall(SYS_futex, address(i), op, OTHER, limit, address(k), 7);
            (void)syscall(SYS_futex, address(i), op | FUTEX_PRIVATE_FLAG, OTHER, limit, address(k),
                          k << 28);
            (void)syscall(SYS_futex, address(i), op | FUTEX_CLOCK_REALTIME, OTHER, limit,
                          address(k), ~0u);
        }
    }
}

TEST(every_operation_everywhere) {
    block_sigchld();
    set_up();
    for (int op = 0; op < 16; op++) {
        pid_t child = fork();

        REQUIRE_OK(child);
        if (child == 0) {
            every_operand(op);
            _exit(0);
        }
        (void)wait_or_kill(child, 5000);
        bystander_check();
    }
    check_kernel_serves();
}

TEST_MAIN()
