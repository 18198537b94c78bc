# timeout: 240
# Signals to the launcher reach the program; a closed pipe ends it; what breaks says so. Who is killed: deaths.sh.
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
