/*
 * Host calls that the kernel orders: the slot holds them, their results go back there.
 */
#include "stub/stub_internal.h"

struct host_msghdr {
    uint64_t name;
    uint64_t name_length;
    uint64_t vec, vec_count;
    uint64_t control, control_size;
    uint64_t flags;
};

long receive_fds(const struct stub_thread *thread, int32_t *fds, uint32_t count) {
    uint8_t byte;
    uint64_t vec[2] = {(uint64_t)&byte, 1};
    struct {
        uint64_t size;
        int32_t level, type;
        int32_t fds[SLOT_MAX_FDS];
    } control;
    struct host_msghdr message = {.vec = (uint64_t)vec,
                                  .vec_count = 1,
                                  .control = (uint64_t)&control,
                                  .control_size = sizeof(control)};
    long result;

    for (uint32_t i = 0; i < SLOT_MAX_FDS; i++) {
        control.fds[i] = -1;
    }
    result =
        host_call(SYS_recvmsg, thread->control_fd, &message, 0x40000000 /* MSG_CMSG_CLOEXEC */, 0);

    if (result < 0) {
        return result;
    }
    result = 0;
    for (uint32_t i = 0; i < count && i < SLOT_MAX_FDS; i++) {
        fds[i] = control.fds[i];
        if (fds[i] < 0) {
            result = -9;
        }
    }
    return result;
}

long plain_call(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return host_call6(number, a, b, c, d, 0, 0);
}

static uint64_t argument(const struct slot *slot, uint64_t value) {
    uint64_t index = value - SLOT_RESULT(0);

    return index < SLOT_MAX_CALLS ? (uint64_t)slot->results[index] : value;
}

static long blocking_call(struct stub_thread *thread, const struct slot_call *call,
                          const uint64_t args[6]) {
    uint64_t mask = ~(1ull << (STUB_KICK_SIGNAL - 1));
    long result;

    if (!thread->masked) {
        return stub_blocking_call(call, args, &thread->kicked);
    }
    host_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, 0, 8);
    result = stub_blocking_call(call, args, &thread->kicked);
    mask = ~0ull;
    host_call(SYS_rt_sigprocmask, 2, &mask, 0, 8);
    return result;
}

int make_calls(struct stub_thread *thread) {
    struct slot *slot = thread->slot;
    uint32_t count = slot->call_count;
    uint32_t done = 0;
    int succeeded = 1;

    while (done < count && done < SLOT_MAX_CALLS) {
        const struct slot_call *call = &slot->calls[done];
        uint64_t args[6];
        long result;

        for (int i = 0; i < 6; i++) {
            args[i] = argument(slot, call->args[i]);
        }
        if (call->flags & SLOT_CALL_RECEIVE_FD) {
            int32_t fd;

            result = receive_fds(thread, &fd, 1);
            if (result == 0) {
                result = fd;
            }
        } else if (call->flags & SLOT_CALL_BLOCKING) {
            result = blocking_call(thread, call, args);
        } else {
            result = host_call6((long)call->number, args[0], args[1], args[2], args[3], args[4],
                                args[5]);
        }
        slot->results[done++] = result;
        if (result < 0 && result >= -4095) {
            succeeded = 0;
            if (!(call->flags & SLOT_CALL_MAY_FAIL)) {
                break;
            }
        }
    }
    slot->calls_done = done;
    return succeeded;
}

int make_calls_and_resume(struct stub_thread *thread) {
    struct slot *slot = thread->slot;

    if (!make_calls(thread)) {
        return 0;
    }
    __atomic_store_n(&slot->calls_finished, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&slot->calls_report, __ATOMIC_SEQ_CST) == 0;
}
