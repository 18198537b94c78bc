# --strace prints as strace(1) does.
. "$TESTS/lib.sh"
S=$STARLING

cat >prog.c <<'END'
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void handler(int signo) {
}
int main(void) {
    struct timespec nap = {0, 1000};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct iovec vec[2] = {{"one", 3}, {"\ttwo\n", 5}};
    struct pollfd fds[1] = {{1, POLLOUT, 0}};
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 7};
    struct rlimit limit;
    struct stat st;
    char buffer[64];
    int pipes[2], epoll;

    syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY | O_CLOEXEC);
    read(3, buffer, 4);
    close(3);
    syscall(SYS_open, "/no/such", O_WRONLY | O_CREAT | O_EXCL, 0640);
    syscall(SYS_open, "/no/such/name/that/is/long/but/not/cut/as/data/is", O_RDONLY);
    syscall(SYS_newfstatat, AT_FDCWD, "/", &st, 0);
    nanosleep(&nap, NULL);
    sigaction(SIGUSR1, &action, NULL);
    writev(2, vec, 0);
    syscall(SYS_pipe2, pipes, O_CLOEXEC);
    writev(pipes[1], vec, 2);
    write(pipes[1], "0123456789012345678901234567890123456789", 40);
    write(pipes[1], "q\"\\\1\0019\377", 7);
    poll(fds, 1, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event);
    syscall(SYS_epoll_wait, epoll, &event, 1, 0);
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    syscall(SYS_kill, getpid(), SIGUSR1);
    syscall(999, 1, 2, 3, 4, 5, 6);
    syscall(SYS_read, 99, (void *)16, 1);
    if (vfork() == 0)
        _exit(3);
    syscall(SYS_wait4, -1, &pipes[0], 0, NULL);
    return 5;
}
END
need cc
cc -o prog prog.c || skip "cc does not work"
expect 5 '' '' "$S" run --strace="$PWD/trace" -- ./prog
line() { # each argument is one line's extended regular expression
    checks=$((checks + 1))
    local pattern=${1//) = /) += } # results stand in a column of their own
    grep -qE "^(\[pid +[0-9]+\] )?$pattern\$" trace || fail "no line matches '$1'"
}
line 'openat\(AT_FDCWD, "/etc/passwd", O_RDONLY\|O_CLOEXEC\) = 3'
line 'read\(3, "root", 4\) = 4'
line 'close\(3\) = 0'
line 'open\("/no/such", O_WRONLY\|O_CREAT\|O_EXCL, 0640\) = -1 ENOENT \(No such file or directory\)'
line 'open\("/no/such/name/that/is/long/but/not/cut/as/data/is", O_RDONLY\) = -1 ENOENT \(No such file or directory\)'
line 'newfstatat\(AT_FDCWD, "/", \{st_mode=S_IFDIR\|0[0-7]+, st_size=[0-9]+, ...\}, 0\) = 0'
line '(clock_)?nanosleep\((CLOCK_REALTIME, 0, )?\{tv_sec=0, tv_nsec=1000\}, NULL\) = 0'
line 'rt_sigaction\(SIGUSR1, \{sa_handler=0x[0-9a-f]+, sa_mask=\[\], sa_flags=SA_RESTORER\|SA_RESTART, sa_restorer=0x[0-9a-f]+\}, NULL, 8\) = 0'
line 'pipe2\(\[3, 4\], O_CLOEXEC\) = 0'
line 'writev\(4, \[\{iov_base="one", iov_len=3\}, \{iov_base="\\ttwo\\n", iov_len=5\}\], 2\) = 8'
line 'write\(4, "01234567890123456789012345678901"\.\.\., 40\) = 40'
line 'write\(4, "q\\"\\\\\\1\\19\\377", 7\) = 7'
line 'poll\(\[\{fd=1, events=POLLOUT\}\], 1, 0\) = 1 \(\[\{fd=1, revents=POLLOUT\}\]\)'
line 'epoll_ctl\(5, EPOLL_CTL_ADD, 3, \{events=EPOLLIN\|EPOLLET, data=\{u32=7, u64=7\}\}\) = 0'
line 'epoll_wait\(5, \[\{events=EPOLLIN, data=\{u32=7, u64=7\}\}\], 1, 0\) = 1'
line 'prlimit64\(0, RLIMIT_NOFILE, NULL, \{rlim_cur=[0-9*]+, rlim_max=[0-9*]+\}\) = 0'
line 'kill\([0-9]+, SIGUSR1\) = 0'
line '--- SIGUSR1 \{si_signo=SIGUSR1, si_code=SI_USER, si_pid=[0-9]+, si_uid=[0-9]+\} ---'
line 'rt_sigreturn\(\{mask=\[\]\}\) = [0-9]+'
line 'syscall_0x3e7\(0x1, 0x2, 0x3, 0x4, 0x5, 0x6\) = -1 ENOSYS \(Function not implemented\)'
line 'read\(99, 0x10, 1\) = -1 EBADF \(Bad file descriptor\)'
line 'wait4\(-1, \[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == 3\}\], 0, NULL\) = [0-9]+'
line '--- SIGCHLD \{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=[0-9]+, si_uid=[0-9]+, si_status=3, si_utime=[0-9]+.*, si_stime=[0-9]+.*\} ---'
line 'exit_group\(5\) = \?'
line '\+\+\+ exited with 3 \+\+\+'
line '\+\+\+ exited with 5 \+\+\+'

# Arguments of execve are printed although they are gone when it returns; a trace to standard error.
expect 0 '^hello$' 'execve\("/bin/echo", \["/bin/echo", "hello"\], 0x[0-9a-f]+ /\* [0-9]+ vars? \*/\) = 0.*write\(1, "hello\\n", 6\) += 6.*exited with 0' \
    "$S" run --strace -- sh -c 'exec /bin/echo hello'
# Calls of several processes: a line that is broken by another is taken up again, and every line is whole.
expect 0 '' '' "$S" run --strace="$PWD/many" -- bash -c 'for i in 1 2 3 4; do (sleep 0.05; :) & done; wait'
check "several processes are told apart" grep -q '^\[pid     2\] ' many
check "an interrupted line is marked" grep -q ' <unfinished \.\.\.>$' many
check "and resumed" grep -qE '^\[pid +[0-9]+\] <\.\.\. [a-z0-9_]+ resumed>' many
check "what follows begins where the first half ended" \
    [ -z "$(grep -E 'resumed>(,|[^)]*[(] )' many)" ]
check "every line is one of the known shapes" \
    [ -z "$(grep -vE '^(\[pid +[0-9]+\] )?([a-z0-9_]+\(.*(\) += .*| <unfinished \.\.\.>)|<\.\.\. [a-z0-9_]+ resumed>.*\) += .*|--- SIG.* ---|\+\+\+ .* \+\+\+)$' many)" ]
# A signal that kills is shown although no handler takes it, and ends the call under way.
expect 143 '' 'kill\(1, SIGTERM\).*--- SIGTERM \{si_signo=SIGTERM, si_code=SI_USER, .*\+\+\+ killed by SIGTERM \+\+\+' \
    "$S" run --strace -- sh -c 'kill -TERM $$'

# Line by line against strace(1) itself, by a program whose calls have the same results on both. Addresses and ids differ.
strace_version=$(strace --version 2>/dev/null | sed -n 's/^strace -- version //p')
if [ "$(id -u)" = 0 ] && [[ $strace_version == 6.1* ]] && cc -static -w -o calls "$TESTS/cli/strace_calls.c"; then
    normal() { # whole lines of the first task, from getppid() on
        sed -E 's/^\[pid +[0-9]+\] //; s/0x[0-9a-f]{5,}/ADDRESS/g; s/(si_pid=|l_pid=|[{]pid=|kill\(|readv\(|queueinfo\()[0-9]+/\1ID/g
                s/(tgkill\(ID, )[0-9]+/\1ID/; s/(get[a-z]*id\(\)) += [0-9]+/\1 = ID/; s/\) += /) = /' "$1" |
            sed -n '/^getppid/,$p'
    }
    mkdir native guest
    (cd native && strace -o ../native.trace ../calls >/dev/null 2>&1 </dev/null)
    expect 5 '' '.*' "$S" run --bind "$PWD/guest:$PWD/native" --cwd "$PWD/native" --strace="$PWD/guest.trace" -- \
        "$PWD/calls" </dev/null
    normal native.trace >native.lines
    normal guest.trace >guest.lines
    check "strace has traced the program" [ "$(wc -l <native.lines)" -gt 300 ]
    check "the traces are the same" diff native.lines guest.lines
fi
finish
