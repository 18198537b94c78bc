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
if compiled hog; then
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
if compiled shared; then
    expect 137 '' "\(--memory\)" "$S" run --memory 96M --timeout 50 -- ./shared
fi
# So are page tables: one byte read in each 2 MiB.
cat >tables.c <<'END'
#include <stddef.h>
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
if compiled tables; then
    expect 137 '' "\(--memory\)" "$S" run --memory 96M --timeout 50 -- ./tables
fi
# So are pages that nobody wrote: holes of a file, of /dev/zero, read through a map and dropped. And
# what is in pipes.
cat >unwritten.c <<'END'
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#define SIZE (4l << 30)
static int read_holes(int fd, int flags) {
    volatile char *p = mmap(NULL, SIZE, PROT_READ, flags, fd, 0);
    if (p == MAP_FAILED)
        return 1;
    for (long at = 0; at < SIZE; at += 4096) {
        (void)p[at];
        if (at % (1 << 20) == 0)
            madvise((void *)p, at, MADV_DONTNEED);
    }
    return 0;
}
static int fill_pipes(void) {
    struct rlimit limit = {20000, 20000};
    static char bytes[65536];
    int ends[2];
    setrlimit(RLIMIT_NOFILE, &limit);
    while (pipe(ends) == 0) {
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        while (write(ends[1], bytes, sizeof(bytes)) > 0)
            ;
    }
    return 0;
}
int main(int argc, char **argv) {
    int fd = memfd_create("holes", 0);
    if (strcmp(argv[1], "pipes") == 0)
        return fill_pipes();
    if (strcmp(argv[1], "zero") == 0)
        return read_holes(open("/dev/zero", O_RDONLY), MAP_PRIVATE);
    if (ftruncate(fd, SIZE))
        return 1;
    return read_holes(fd, strcmp(argv[1], "private") ? MAP_SHARED : MAP_PRIVATE);
}
END
if compiled unwritten; then
    for kind in shared private zero pipes; do
        expect 137 '' "\(--memory\)" "$S" run --memory 32M --timeout 50 -- ./unwritten $kind
    done
fi
# What the kernel process keeps for guests counts: names, attributes. And who has all descriptors
# does not hide his memory behind them.
cat >kept.c <<'END'
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
static char name[300], value[60000];
int main(int argc, char **argv) {
    mkdir("/dev/shm/d", 0700);
    for (int i = 0; i < 4000000; i++) {
        snprintf(name, sizeof(name), "/dev/shm/d/%d-%0200d", argv[1][0] == 'n' ? i : i / 2, 0);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0 || (argv[1][0] == 'x' && setxattr(name, i % 2 ? "user.a" : "user.b", value, sizeof(value), 0)))
            return perror(name), 1;
        close(fd);
    }
    return 0;
}
END
cat >descriptors.c <<'END'
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    int ends[2], failed = 0;
    for (int i = 0; i < 12; i++) {
        if (fork() == 0)
            for (;;)
                pipe(ends);
    }
    while (failed < 1000)
        failed = pipe(ends) == 0 ? 0 : failed + 1;
    for (;;) {
        char *p = malloc(1 << 20);
        if (p)
            memset(p, 1, 1 << 20);
    }
}
END
if compiled kept descriptors; then
    expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- ./kept names
    expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- ./kept xattrs
    expect 137 '' "\(--memory\)" sh -c 'ulimit -n 300; exec "$0" run --memory 96M --timeout 50 -- ./descriptors' "$S"
fi
# When the host has no descriptor left for a fork, fork says so; no child dies of it.
cat >forks.c <<'END'
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int ends[2], last, status, refused = 0, made = 0;
    while (pipe(ends) == 0)
        last = ends[1];
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(7);
        if (pid < 0 && errno != EAGAIN)
            return perror("fork"), 1;
        if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 7 << 8))
            return fprintf(stderr, "status %x\n", status), 1;
        refused += pid < 0;
        made += pid > 0;
        close(last - i);
    }
    return !refused || !made;
}
END
if compiled forks; then
    expect 0 '' '' sh -c 'ulimit -n 300; exec "$0" run --timeout 50 -- ./forks' "$S"
fi
# Files in memory count too.
expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- sh -c 'cat /dev/zero >big'
expect 137 '' "\(--memory\)" "$S" run --memory 64M --timeout 50 -- fallocate -l 1G big

expect 0 'refused' 'the guests have 5 tasks, no more are made \(--pids\)' "$S" run --pids 5 --timeout 50 -- bash -c \
    'exec 2>/dev/null; (for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait) || echo refused; kill $(jobs -p) 2>/dev/null; true'
finish
