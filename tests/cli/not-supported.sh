# What is missing is visible: Linux's errno for the program, and one line for the user, once.
. "$TESTS/lib.sh"
S=$STARLING

cat >prog.c <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void ask(const char *name, long result) {
    printf("%s %d\n", name, result < 0 ? errno : 0);
}
int main(void) {
    for (int i = 0; i < 2; i++) {
        int pair[2], value = 1;
        socklen_t size = sizeof(value);

        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        ask("call", syscall(SYS_kcmp, 1, 1, 0, 0, 0));
        ask("family", socket(AF_BLUETOOTH, SOCK_STREAM, 0));
        ask("no family", socket(4711, SOCK_STREAM, 0));
        ask("raw", socket(AF_INET, SOCK_RAW, 1));
        ask("protocol", socket(AF_INET, SOCK_STREAM, 132));
        ask("setsockopt", setsockopt(pair[0], SOL_SOCKET, 4711, &value, size));
        ask("getsockopt", getsockopt(pair[0], SOL_SOCKET, 4711, &value, &size));
        ask("fcntl", fcntl(pair[0], F_NOTIFY, 0));
        ask("flags", syscall(SYS_memfd_create, "name", 4));
    }
    return 0;
}
END
need cc
check "the program compiles" cc -o prog prog.c
"$S" run -- ./prog >out 2>err
check "the program ends" [ $? = 0 ]
answer() { # NAME ERRNO: the program heard it both times
    check "$1 gives errno $2" [ "$(grep -cx "$1 $2" out)" = 2 ]
}
said() { # LINE: the user heard it once
    check "once: $1" [ "$(grep -cx "starling: warning: not supported: $1" err)" = 1 ]
}
answer call 38
answer family 97
answer "no family" 97
answer raw 1
answer protocol 93
answer setsockopt 92
answer getsockopt 92
answer fcntl 22
said 'kcmp(2)'
said 'socket(2) with address family 31'
said 'socket(2) with SOCK_RAW'
said 'socket(2) with protocol 132'
said 'setsockopt(2) with option 4711 of level 1'
said 'getsockopt(2) with option 4711 of level 1'
said 'fcntl(2) command 1026'
said 'memfd_create(2) with flags 0x4'
check "nothing else is said" [ "$(wc -l <err)" = 8 ]
finish
