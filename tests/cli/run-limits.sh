# --timeout, --memory and --pids really stop the program, and say so.
. "$TESTS/lib.sh"
S=$STARLING

start=${EPOCHREALTIME/./}
expect 124 '' "'sleep' was ended after 0.3 s \(--timeout\)" "$S" run --timeout 0.3 -- sleep 60
check "--timeout does not wait for the program" [ $(((${EPOCHREALTIME/./} - start) / 1000000)) -lt 20 ]
expect 124 'began' "--timeout" "$S" run --timeout 0.5 -- sh -c 'trap "" TERM INT; echo began; while :; do sleep 60; done'
expect 124 '' "--timeout" "$S" run --timeout 0.5 -- sh -c 'while :; do :; done'
expect 5 '' '' "$S" run --timeout 50 -- sh -c 'exit 5'

cat >hog.c <<'END'
#include <stdlib.h>
#include <string.h>
int main(void) {
    for (;;) {
        char *p = malloc(1 << 20);
        if (p)
            memset(p, 1, 1 << 20);
    }
}
END
if command -v cc >/dev/null && cc -O0 -o hog hog.c; then
    expect 137 '' "held more than 100663296 bytes of memory \(--memory\)" "$S" run --memory 96M --timeout 50 -- ./hog
    expect 0 '^survived$' '' "$S" run --memory 512M -- sh -c 'echo survived'
fi
# Shared memory is held, mapped or not.
cat >shared.c <<'END'
#include <string.h>
#include <sys/mman.h>
int main(void) {
    char *p = mmap(NULL, 2000 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    for (long at = 0; at < 2000l << 20; at += 1 << 20) {
        memset(p + at, 1, 1 << 20);
        madvise(p + at, 1 << 20, MADV_DONTNEED);
    }
    return 0;
}
END
if command -v cc >/dev/null && cc -O0 -o shared shared.c; then
    expect 137 '' "\(--memory\)" "$S" run --memory 96M --timeout 50 -- ./shared
fi
# So are page tables: one byte read in each 2 MiB.
cat >tables.c <<'END'
#include <sys/mman.h>
int main(void) {
    for (int k = 0; k < 20; k++) {
        volatile char *p = mmap(NULL, 4l << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED || madvise((char *)p, 4l << 30, MADV_NOHUGEPAGE))
            return 1;
        for (long at = 0; at < 4l << 30; at += 2 << 20)
            (void)p[at];
    }
    for (;;) {
    }
}
END
if command -v cc >/dev/null && cc -O0 -o tables tables.c; then
    expect 137 '' "\(--memory\)" "$S" run --memory 96M --timeout 50 -- ./tables
fi
# Files in memory count too.
expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- sh -c 'cat /dev/zero >big'
expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- fallocate -l 1G big

expect 0 'refused' 'the guests have 5 tasks, no more are made \(--pids\)' "$S" run --pids 5 --timeout 50 -- bash -c \
    'exec 2>/dev/null; (for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait) || echo refused; kill $(jobs -p) 2>/dev/null; true'
finish
