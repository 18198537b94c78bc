# A busy sandbox (pipes, sleeps, futexes, waits, signals, polls, forks, spawns, many threads) is brought to rest more than
# a thousand times, and what its program prints does not change (design 12).
# timeout: 180
. "$TESTS/lib.sh"

busy=$BUILD/tests/guest/busy
[ -x "$busy" ] || fail "$busy was not built"
"$busy" >native.out 2>native.err || fail "the native run failed: $(cat native.err)"

rests=0
for round in 1 2 3 4 5 6 7 8; do
    [ $rests -lt 1000 ] || break
    checks=$((checks + 1))
    run --stats --pause-every 0.0004 -- "$busy" >starling.out 2>starling.err
    status=$?
    [ $status = 0 ] || fail "status $status: $(grep -v '^ ' starling.err | head -20)"
    cmp native.out starling.out || { fail "the output differs"; diff native.out starling.out; }
    line=$(grep '^starling: brought to rest' starling.err)
    echo "$line"
    set -- $line
    rests=$((rests + ${5:-0}))
    [ "${8%,}" = 0 ] || fail "the sandbox could not be brought to rest: $line"
done
[ $rests -ge 1000 ] || fail "only $rests times at rest"

# What a thread reads when its descriptor is closed, and the number used again, amid a rest.
checks=$((checks + 1))
run --pause-every 0.005 -- "$BUILD/tests/guest/pipe_traffic" closing_does_not_end_a_read \
    closing_does_not_end_a_read_of_a_socket >closing.out 2>&1 || fail "closed amid a rest: $(cat closing.out)"

finish
