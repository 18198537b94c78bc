/* The two futex calls that hand-overs and sleeps need; shared futexes, since slots are shared with
 * another process. */
#include "host/host_internal.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void host_futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void host_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT, expected, NULL, NULL, 0);
}
