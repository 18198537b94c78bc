# Many sandboxes in a row, ended in every way there is: nothing of them is left on the host, neither a process nor a
# descriptor, a memfd, a mount or a file. STARLING_SANDBOXES says how many.
# timeout: 600

# With directories for passing files that nobody else uses, where that may be had: whatever is there is the sandboxes'.
case $STARLING:$TESTS:$BUILD in
/tmp/* | *:/tmp/* | /run/* | *:/run/*) ;;
*)
    if [ "${1:-}" != private ] && unshare --mount true 2>/dev/null; then
        exec unshare --mount --propagation private bash "$0" private
    fi
    ;;
esac
. "$TESTS/lib.sh"
S=$STARLING
private=
if [ "${1:-}" = private ]; then
    mount -t tmpfs -o mode=755 own /run && mkdir /run/kept && mount --bind "$T" /run/kept &&
        mount -t tmpfs -o mode=1777 own /tmp && mkdir -p "$T" && mount --move /run/kept "$T" && rmdir /run/kept &&
        mount -t tmpfs -o mode=1777 own /dev/shm && cd "$T" && private=yes || fail "no directories of the test's own"
fi
count=${STARLING_SANDBOXES:-60}
mkdir home runtime
export HOME=$T/home XDG_RUNTIME_DIR=$T/runtime

# Every process below the runner's worker, to which orphans go; not this script and what it is just using, and not the
# zombies, which the worker reaps when the test is over.
processes() { # PID
    local pid child
    for pid in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        [ "$pid" = $$ ] || [[ $(cat "/proc/$pid/stat" 2>/dev/null) == *") Z "* ]] || { echo "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")" && processes "$pid"; }
    done
}

# Until they have all gone: what was killed may need a moment.
left_processes() {
    local try
    for try in {1..200}; do
        [ -n "$(processes $PPID)" ] || return 0
        sleep 0.05
    done
    processes $PPID
}

memfds() {
    readlink /proc/$$/fd/* /proc/$PPID/fd/* 2>/dev/null | grep memfd:
}

# Where others put files too, names that no other sandbox's user would give.
files() {
    find "$T" -mindepth 1 ! -name before.files ! -name after.files ! -name one.out ! -name one.err ! -name held | sort
    if [ -n "$private" ]; then
        find /dev/shm /tmp /run -xdev | sort
    else
        find /dev/shm /tmp /run -maxdepth 1 -name '*starling*' ! -name 'starling-test-*' 2>/dev/null | sort
    fi
}

one() { # NUMBER: which way, and what the status must be
    local pid line
    case $(($1 % 6)) in
    0) "$S" run -- true && return 0 ;;
    1)
        "$S" run --tmpfs /mnt -- sh -c 'sleep 1000 & echo x >/mnt/x; (sleep 1000 | cat) & exit 3'
        [ $? = 3 ] && return 0
        ;;
    2)
        "$S" run --timeout 0.1 -- sleep 1000
        [ $? = 124 ] && return 0
        ;;
    3)
        "$S" run -- sh -c 'kill -SEGV $$'
        [ $? = 139 ] && return 0
        ;;
    4) # killed, with all that it holds
        exec 5< <(exec "$S" run -- sh -c 'echo ready; sleep 1000 & exec sleep 1000')
        pid=$!
        read -r line <&5
        kill -KILL $pid
        wait $pid 2>/dev/null
        exec 5<&-
        [ "$line" = ready ] && return 0
        ;;
    5) # without its kernel process
        exec 5< <(exec "$S" run -- sh -c 'echo ready; sleep 1000 & exec sleep 1000')
        pid=$!
        read -r line <&5
        kill -KILL $(cat /proc/$pid/task/*/children)
        wait $pid
        [ $? = 125 ] && [ "$line" = ready ] && exec 5<&- && return 0
        ;;
    esac
    fail "sandbox $1 did not end as it should: $(head -c 300 one.err)"
}

before_mounts=$(wc -l </proc/self/mountinfo)
before_fds=$(ls /proc/$$/fd)
files >before.files
mkfifo held
exec 9<>held 8>held 7<held # the first only lets the others open it
exec 9>&-
for ((i = 0; i < count && failures == 0; i++)); do
    checks=$((checks + 1))
    one "$i" >one.out 2>one.err
done
left=$(left_processes)
[ -z "$left" ] || fail "processes are left: $left"
# Each sandbox had inherited descriptor 8: the pipe ends here unless somebody still holds it.
exec 8>&-
timeout 10 cat <&7 >/dev/null || fail "somebody still holds a descriptor of a sandbox that has ended"
exec 7<&-
after_fds=$(ls /proc/$$/fd)
[ "$before_fds" = "$after_fds" ] || fail "descriptors of the caller: before" $before_fds "after" $after_fds
[ -z "$(memfds)" ] || fail "memfds are left: $(memfds)"
[ "$(wc -l </proc/self/mountinfo)" = "$before_mounts" ] || fail "mounts are left: $(cat /proc/self/mountinfo)"
files >after.files
cmp -s before.files after.files || fail "files are left: $(diff before.files after.files)"
[ "$i" = "$count" ] || fail "only $i of $count sandboxes ran"
finish
