# A busy sandbox is brought to rest more than a thousand times, and what its program prints does not change (design 12):
# pipes, sleeps, futexes, waits, signals, polls, forks, spawns, many threads (busy); sockets, epoll, record locks,
# System V semaphores and messages, stops, connections, what remains of sleeps that are cut short (busy_waits).
# timeout: 240
. "$TESTS/lib.sh"

rest() { # PROGRAM
    local program=$BUILD/tests/guest/$1 rests=0 round line
    [ -x "$program" ] || fail "$program was not built"
    "$program" >native.out 2>native.err || fail "the native run of $1 failed: $(cat native.err)"
    for round in 1 2 3 4 5 6 7 8; do
        [ $rests -lt 1000 ] || break
        checks=$((checks + 1))
        run --stats --pause-every 0.0004 -- "$program" >starling.out 2>starling.err
        status=$?
        [ $status = 0 ] || fail "$1: status $status: $(grep -v '^ ' starling.err | head -20)"
        cmp native.out starling.out || { fail "the output of $1 differs"; diff native.out starling.out; }
        line=$(grep '^starling: brought to rest' starling.err)
        echo "$1: $line"
        set -- "$1" $line
        rests=$((rests + ${6:-0}))
        [ "${9%,}" = 0 ] || fail "the sandbox could not be brought to rest: $line"
    done
    [ $rests -ge 1000 ] || fail "only $rests times at rest"
}

rest busy
rest busy_waits

# What a thread reads when its descriptor is closed, and the number used again, amid a rest.
checks=$((checks + 1))
run --pause-every 0.005 -- "$BUILD/tests/guest/pipe_traffic" closing_does_not_end_a_read \
    closing_does_not_end_a_read_of_a_socket >closing.out 2>&1 || fail "closed amid a rest: $(cat closing.out)"

finish
