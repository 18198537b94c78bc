# timeout: 240
# Signals to the launcher reach the program; a closed pipe ends it; nothing is left behind, however it ends.
. "$TESTS/lib.sh"
S=$STARLING

# Starts a program that says "ready", sends the signal, and gives the status and what it printed.
signal() { # SIGNAL SCRIPT
    local pid status line
    mkfifo fifo
    # The runner ignores SIGINT, as does a background job of a script, and nohup SIGHUP; a user's shell does not.
    env ${DEFAULTS:---default-signal=HUP,INT,QUIT} "$S" run -- sh -c "$2" >fifo 2>err &
    pid=$!
    exec 5<fifo
    rm fifo
    read -r line <&5
    kill "-$1" "$pid"
    wait "$pid"
    status=$?
    echo "$line $status $(cat <&5)"
    exec 5<&-
}

same_text() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'; $(cat err)"
}
loop='while :; do sleep 0.1; done'
same_text "SIGTERM kills" "$(signal TERM "echo ready; $loop")" "ready 143 "
same_text "SIGTERM is caught" "$(signal TERM "trap 'echo caught; exit 9' TERM; echo ready; $loop")" "ready 9 caught"
same_text "SIGINT kills" "$(signal INT "echo ready; $loop")" "ready 130 "
same_text "SIGHUP is caught" "$(signal HUP "trap 'echo hup; exit 3' HUP; echo ready; $loop")" "ready 3 hup"
same_text "SIGUSR1 is caught" "$(signal USR1 "trap 'echo usr1; exit 4' USR1; echo ready; $loop")" "ready 4 usr1"

# The launcher killed: the sandbox goes with it.
mkfifo alive
"$S" run -- sh -c 'echo ready; exec sleep 1000' >alive &
pid=$!
exec 6<alive
read -r line <&6
kill -KILL "$pid"
wait "$pid" 2>/dev/null
checks=$((checks + 1))
# The pipe ends when the last process that holds it has gone.
timeout 10 cat <&6 >/dev/null || fail "a killed launcher leaves its sandbox behind"
exec 6<&-

# The kernel process stopped and continued while a program of its waits with a time limit: the wait goes on.
checks=$((checks + 1))
mkfifo in out
"$S" run -- bash -c 'echo ready; read -r -t 1; echo $?' <in >out 2>err &
pid=$!
exec 6>in 7<out
read -r line <&7
kernel=$(cat /proc/$pid/task/*/children)
[ -n "$kernel" ] || fail "the kernel process cannot be found"
for i in {1..10}; do
    kill -STOP $kernel
    kill -CONT $kernel
    sleep 0.05
done
read -r line <&7
wait "$pid"
same_text "stopped and continued" "$? $line" "0 142"
exec 6>&- 7<&-
rm in out

# The kernel process killed: the launcher says so, and no guest survives it; where the host allows no namespaces, too.
without_namespaces=(unshare --user --map-root-user sh -c \
    'for n in user pid net mnt ipc uts; do echo 0 >/proc/sys/user/max_${n}_namespaces; done; exec "$@"' without)
for way in full less; do
    run=("$S")
    if [ $way = less ]; then
        "${without_namespaces[@]}" true 2>/dev/null || break
        run=("${without_namespaces[@]}" "$S")
    fi
    checks=$((checks + 1))
    mkfifo out
    "${run[@]}" run -- sh -c 'echo ready; sleep 1000 & (exec sleep 1000) & exec sleep 1000' >out 2>err &
    pid=$!
    exec 6<out
    read -r line <&6
    kill -KILL $(cat /proc/$pid/task/*/children)
    wait "$pid"
    same_text "status ($way)" "$?" 125
    grep -q 'the kernel process was killed by signal 9 .*; the sandbox is gone' err || fail "it says ($way): $(cat err)"
    timeout 10 cat <&6 >/dev/null || fail "a guest survives its kernel process ($way)"
    exec 6<&-
    rm out
done

# A thread of the kernel process that breaks says where.
checks=$((checks + 1))
mkfifo out
"$S" run -- sh -c 'echo ready; exec sleep 1000' >out 2>err &
pid=$!
exec 6<out
read -r line <&6
python3 - $(cat /proc/$pid/task/*/children) <<'END' || fail "no thread of the kernel process can be sent a signal"
import ctypes, os, signal, sys
kernel = int(sys.argv[1])
thread = max(int(name) for name in os.listdir(f"/proc/{kernel}/task"))
sys.exit(ctypes.CDLL(None).syscall(234, kernel, thread, signal.SIGSEGV))  # tgkill
END
wait "$pid"
same_text "status of a break" "$?" 125
grep -q 'the kernel process broke: Segmentation fault .* pc +0x' err || fail "it breaks without a word: $(cat err)"
checks=$((checks + 1))
[ "$(grep -c '  +0x' err)" -ge 2 ] || fail "it does not say how it came there: $(cat err)"
exec 6<&-
rm out

# One guest's host process killed: that guest dies as by SIGKILL, the others do not notice. It is known by its size.
checks=$((checks + 1))
mkfifo in out
"$S" run -- bash -c 'tail -c 60000000 < <(head -c 60000000 /dev/zero; exec sleep 1000) & a=$!; sleep 1000 & c=$!
    echo ready; wait $a; echo $?; (exit 3); echo $?; read -r line; echo $line; kill $c && exit 7' <in >out 2>err &
pid=$!
exec 6>in 7<out
read -r line <&7
read -r kernel </proc/$pid/task/$pid/children
victim=
for i in {1..200}; do
    for guest in $(cat /proc/${kernel% }/task/*/children); do
        size=$(awk '/^VmRSS/ { print $2 }' /proc/$guest/status 2>/dev/null)
        [ "${size:-0}" -lt 55000 ] || victim=$guest
    done
    [ -z "$victim" ] || break
    sleep 0.05
done
kill -KILL "$victim" || kill -KILL "$pid" # so that the test ends
echo go >&6
same_text "a guest's host process killed" "$(cat <&7 | tr '\n' ' ')" "137 3 go "
wait "$pid"
same_text "its parent" "$?" 7
exec 6>&- 7<&-
rm in out

# Pipes: a reader that goes away ends the writer by SIGPIPE.
checks=$((checks + 1))
"$S" run -- sh -c 'while :; do echo y; done' 2>/dev/null | head -n 1 >/dev/null
status=("${PIPESTATUS[@]}")
[ "${status[0]}" = 141 ] || fail "a writer into a closed pipe ends with ${status[0]}, expected 141"

# nohup: what is ignored outside is not forwarded.
same_text "an ignored signal" "$( (trap '' HUP; DEFAULTS=--default-signal=INT signal HUP "trap 'echo hup' HUP; echo ready; sleep 0.3; echo end") )" "ready 0 end"

# The end of the first program ends the rest.
expect 0 '^end$' '' "$S" run -- sh -c 'sleep 1000 & sleep 1000 & echo end'
finish
