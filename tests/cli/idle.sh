# A sandbox whose programs all sleep takes no processor time and is never woken: neither its kernel process nor its guests.
. "$TESTS/lib.sh"

# Context switches of every thread of the launcher's descendants.
switches() {
    local pid=$1 child
    cat /proc/"$pid"/task/*/status 2>/dev/null | awk '/ctxt_switches/ { n += $2 } END { print n + 0 }'
    for child in $(cat /proc/"$pid"/task/*/children 2>/dev/null); do
        switches "$child"
    done
}

total() {
    switches "$1" | awk '{ n += $1 } END { print n }'
}

# idle NAME SCRIPT: SCRIPT works for a while, says so, and then only sleeps.
idle() {
    local name=$1 launcher line before after still=0 try
    checks=$((checks + 1))
    mkfifo "ready.$name"
    "$STARLING" run "${starling_args[@]}" -- /bin/bash -c "$2" >"ready.$name" &
    launcher=$!
    exec 5<"ready.$name"
    read -r line <&5
    [ "$line" = ready ] || fail "$name: it said '$line'"
    [ -n "$(cat /proc/$launcher/task/*/children)" ] || fail "$name: the kernel process cannot be found"
    # What began before it slept ends soon; then nothing must happen for a whole second.
    for try in 1 2 3 4 5; do
        before=$(total $launcher)
        sleep 1
        after=$(total $launcher)
        if [ "$before" = "$after" ] && [ "$before" -gt 0 ]; then
            still=1
            break
        fi
    done
    [ $still = 1 ] || fail "$name: $((after - before)) context switches in a second of sleep"
    kill -TERM $launcher
    wait $launcher 2>/dev/null
    exec 5<&-
}

idle sleep 'for i in {1..3000}; do umask 022; done; echo ready; exec sleep 100'
idle wait 'for i in {1..200}; do umask 022; done; sleep 100 & echo ready; wait'
idle pipe 'for i in {1..200}; do umask 022; done; sleep 100 | (echo ready >&2; cat) 2>&1 | cat'
finish
