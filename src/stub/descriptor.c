/*
 * Class L, of descriptors: what the kernel shows of them (struct slot_fd) answers F_GETFD, F_GETFL
 * and "is it a terminal?", and some of them are closed by a note to the kernel. slot.h says why
 * the two orders of looking are enough.
 */
#include "stub/stub_internal.h"

#define SYS_ioctl 16
#define SYS_fcntl 72

#define F_GETFD    1
#define F_SETFD    2
#define F_GETFL    3
#define FD_CLOEXEC 1u

#define TCGETS     0x5401u
#define TIOCGPGRP  0x540fu
#define TIOCGWINSZ 0x5413u
#define TCGETS2    0x802c542au

#define EBADF_NR  9
#define ENOTTY_NR 25

static uint64_t *note_of(const struct stub_thread *thread, uint32_t fd) {
    uint64_t index = (thread->public->table - STUB_TABLES_OFFSET) / SLOT_TABLE_SIZE;
    struct slot *slot =
        (struct slot *)(thread->stub_base + STUB_SLOTS_OFFSET + index * STUB_SLOT_STRIDE);

    return &slot->notes[fd % SLOT_NOTES];
}

static uint64_t look(const uint64_t *word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static int exchange(uint64_t *note, uint64_t *old, uint64_t new) {
    return __atomic_compare_exchange_n(note, old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

int descriptor_noted(const struct stub_thread *thread, uint64_t fd) {
    return fd < SLOT_SHOWN_FDS &&
           (uint32_t)look(note_of(thread, (uint32_t)fd)) == (uint32_t)SLOT_NOTE(0ull, fd);
}

static int close_noted(uint64_t *note, const uint64_t *word, uint64_t shown, uint32_t fd,
                       int64_t *result) {
    const uint64_t same = ~0xffffffffull | SLOT_SHOWN_CLOSES;
    uint64_t mine = SLOT_NOTE(shown, fd), old = 0;

    if (!(shown & SLOT_SHOWN_CLOSES)) {
        return 0;
    }
    *result = 0;
    if (exchange(note, &old, mine)) {
        /* Hidden meanwhile: taken back, unless the kernel was first. */
        return ((look(word) ^ shown) & same) == 0 || !exchange(note, &mine, 0);
    }
    *result = -EBADF_NR;
    return old == mine && look(word) == shown;
}

/* What a descriptor that is shown so answers; 0: not this. */
static int ask(uint64_t shown, uint32_t number, const uint64_t args[6], int64_t *result) {
    uint32_t command = (uint32_t)args[1];
    uint32_t close_on_exec = shown & SLOT_SHOWN_CLOEXEC ? FD_CLOEXEC : 0;

    if (number == SYS_ioctl) {
        *result = -ENOTTY_NR;
        return (shown & SLOT_SHOWN_NOTTY) && (command == TCGETS || command == TCGETS2 ||
                                              command == TIOCGWINSZ || command == TIOCGPGRP);
    }
    switch (command) {
    case F_GETFD:
        *result = close_on_exec;
        return 1;
    case F_SETFD:
        *result = 0;
        return ((uint32_t)args[2] & FD_CLOEXEC) == close_on_exec;
    case F_GETFL:
        *result = (int64_t)(shown & SLOT_SHOWN_FLAGS);
        return 1;
    default:
        return 0;
    }
}

int descriptor_call(const struct stub_thread *thread, uint32_t number, const uint64_t args[6],
                    int64_t *result) {
    const struct slot_public *public = thread->public;
    uint32_t table = public->table, fd = (uint32_t)args[0];
    const uint64_t *word;
    uint64_t shown, *note;

    if ((number != SYS_fcntl && number != SYS_ioctl && number != SYS_close) || !table ||
        fd >= SLOT_SHOWN_FDS || !(public->flags & SLOT_PUBLIC_LOCAL)) {
        return 0;
    }
    word = &((const struct slot_fd *)(thread->stub_base + STUB_PUBLIC_OFFSET + table))[fd].shown;
    shown = look(word);
    if (!shown) {
        return 0;
    }
    note = note_of(thread, fd);
    if (number == SYS_close) {
        return close_noted(note, word, shown, fd, result);
    }
    if (!ask(shown, number, args, result)) {
        return 0;
    }
    /* The word is looked at again: the kernel hides it before it takes the note. */
    return look(note) != SLOT_NOTE(shown, fd) && look(word) == shown;
}
