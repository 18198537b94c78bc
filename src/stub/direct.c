/*
 * Class D: read, write and seek on a descriptor that the kernel has donated, by one host call; and
 * futexes and sleeping (direct_futex.c).
 *
 * Only a plain success is answered here. Whatever else the host says (an error, an end of file
 * where a signal or a wake-up may be due, a part of a write) goes to the kernel, which makes the
 * call itself as if nothing had been tried; a part that was written is told in slot->direct_done.
 */
#include "stub/stub_internal.h"

#define SYS_read     0
#define SYS_lseek    8
#define SYS_pread64  17
#define SYS_pwrite64 18
#define SYS_readv    19
#define SYS_writev   20

/* A call on a file is not interrupted, and taking a descriptor back waits for it. */
#define FILE_SIZE_MAX (1ul << 20)
#define RW_MAX        0x7ffff000ul

/* The rights that the call needs, 0: not one of ours. */
static uint32_t needed(long number) {
    switch (number) {
    case SYS_read:
    case SYS_readv:
        return SLOT_FD_READ;
    case SYS_write:
    case SYS_writev:
        return SLOT_FD_WRITE;
    case SYS_pread64:
        return SLOT_FD_READ | SLOT_FD_SEEK;
    case SYS_pwrite64:
        return SLOT_FD_WRITE | SLOT_FD_SEEK;
    case SYS_lseek:
        return SLOT_FD_SEEK;
    default:
        return 0;
    }
}

static int fits(long number, const uint64_t args[6], uint64_t word) {
    switch (number) {
    case SYS_lseek:
        return 1;
    case SYS_readv:
    case SYS_writev:
        /* A buffer behind the first may lie where the stack has yet to grow, which is the kernel's
         * to do: a file would be read in part. */
        return args[2] == 1 || !(word & SLOT_FD_SEEK);
    default:
        return args[2] <= (word & SLOT_FD_SEEK ? FILE_SIZE_MAX : RW_MAX);
    }
}

int64_t direct_blocking(struct stub_thread *thread, uint64_t number, const uint64_t args[6]) {
    uint64_t open = ~(1ull << (STUB_KICK_SIGNAL - 1)), closed = ~0ull;
    int64_t value;

    if (!thread->masked) {
        return stub_blocking_call((const struct slot_call *)&number, args, &thread->kicked);
    }
    plain_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (uint64_t)&open, 0, 8);
    value = stub_blocking_call((const struct slot_call *)&number, args, &thread->kicked);
    plain_call(SYS_rt_sigprocmask, 2, (uint64_t)&closed, 0, 8);
    return value;
}

static int64_t blocking_call(struct stub_thread *thread, uint64_t number, uint64_t fd,
                             const uint64_t args[6]) {
    uint64_t changed[6] = {fd, args[1], args[2], args[3]};

    return direct_blocking(thread, number, changed);
}

static uint64_t look(const struct slot_fd *entry) {
    return __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE);
}

int direct_call(struct stub_thread *thread, long number, const uint64_t args[6], int64_t *result) {
    struct slot *slot = thread->slot;
    uint32_t table = thread->public->table, rights = needed(number), mark;
    uint64_t word, fd;
    const struct slot_fd *entry;
    int64_t value = -1;
    int done;

    if (number == SYS_futex) {
        return direct_futex(thread, args, result);
    }
    if (number == SYS_clock_nanosleep) {
        return direct_sleep(thread, args, result);
    }
    if (!rights || !table || args[0] >= SLOT_TABLE_FDS) {
        return 0;
    }
    entry = (const struct slot_fd *)(thread->stub_base + STUB_PUBLIC_OFFSET + table) + args[0];
    word = look(entry);
    if ((word & rights) != rights || !fits(number, args, word) ||
        descriptor_noted(thread, args[0])) {
        return 0;
    }
    fd = word & SLOT_FD_NUMBER;
    __atomic_exchange_n(&slot->direct, (uint32_t)fd + 1, __ATOMIC_SEQ_CST);
    if (look(entry) == word) {
        /* In line: a return behind a host call is one that the processor has not foreseen. */
        value = word & SLOT_FD_BLOCKS ? blocking_call(thread, (uint64_t)number, fd, args)
                                      : host_call(number, fd, args[1], args[2], args[3]);
    }
    if (value == -EINTR_NR) {
        return 0; /* the kernel goes on with what the mark says, and takes it away */
    }
    mark = __atomic_exchange_n(&slot->direct, 0, __ATOMIC_SEQ_CST);
    if (mark & SLOT_DIRECT_WAITED) {
        plain_call(SYS_futex, (uint64_t)&slot->direct, FUTEX_WAKE, 0x7fffffff, 0);
    }
    done = word & SLOT_FD_SEEK ? value >= 0 : value > 0;
    if (done && (word & SLOT_FD_BLOCKS) && (rights & SLOT_FD_WRITE) &&
        (number == SYS_writev || (uint64_t)value < args[2])) {
        slot->direct_done = (uint64_t)value;
        done = 0;
    }
    if (done && number != SYS_lseek) {
        int write = rights & SLOT_FD_WRITE ? 1 : 0;

        slot->direct_io[write] += (uint64_t)value;
        slot->direct_io[2 + write]++;
    }
    if (done && look(entry) != word) {
        thread->kicked = 1; /* what was closed meanwhile has waited for us */
    }
    *result = value;
    return done;
}
