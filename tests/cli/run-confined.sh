# Hosts that offer less: an ordinary user, no namespaces, few processes; and nothing left behind by many sandboxes.
. "$TESTS/lib.sh"
need unshare setpriv
S=$STARLING

if [ "$(id -u)" = 0 ]; then
    chmod 755 "$T"
    cp "$S" starling && chmod 755 starling
    user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    expect 0 '^65534 ok$' '' "${user[@]}" ./starling run -- sh -c 'echo ok >/tmp/new; echo $(id -u) $(cat /tmp/new)'
    expect 0 'Starling can run here' '' "${user[@]}" ./starling doctor
    # What the user may not read, his guest may not either.
    echo secret >closed && chmod 600 closed
    expect 1 '' 'Permission denied' "${user[@]}" ./starling run -- cat "$PWD/closed"
    # A guest's root has no more rights to the host's files than who started it.
    expect 1 '' 'Permission denied' "${user[@]}" ./starling run --user 0 -- cat "$PWD/closed"
else
    ln -s "$S" starling
    user=()
fi

# No user namespaces: refused by a limit of their own, in a namespace that may set it.
if unshare --user --map-root-user sh -c 'echo 0 >/proc/sys/user/max_user_namespaces' 2>/dev/null; then
    # MORE-LIMITS CMD...: runs CMD where these namespaces are refused
    less=(unshare --user --map-root-user sh -c 'for n in $0; do echo 0 >/proc/sys/user/max_${n}_namespaces; done; exec "$@"')
    for limits in user 'user pid' 'user net' 'user mnt' 'user pid mnt net ipc uts'; do
        checks=$((checks + 1))
        out=$("${less[@]}" "$limits" ./starling run -- sh -c 'echo begun; (exit 3) & wait $!; echo $?; exit 4' 2>err)
        [ "$? $out" = "4 begun
3" ] || fail "without $limits namespaces: $out; $(cat err)"
    done
    checks=$((checks + 1))
    "${less[@]}" 'user pid mnt net ipc uts' ./starling doctor >out 2>&1
    grep -q '^missing .*namespaces of their own\|^missing .*guests are held by the filter' out || fail "doctor does not tell: $(cat out)"
    grep -q 'Starling can run here, with a weaker boundary' out || fail "doctor's verdict: $(tail -1 out)"
    # Without a pid namespace nothing may stay behind either: the end of the first program, a kill of the launcher.
    checks=$((checks + 1))
    mkfifo gone
    "${less[@]}" 'user pid mnt net ipc uts' ./starling run -- sh -c 'echo ready; sleep 1000 & exec sleep 1000' >gone 2>err &
    pid=$!
    exec 6<gone
    read -r line <&6
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
    timeout 10 cat <&6 >/dev/null || fail "a killed launcher without a pid namespace leaves guests behind"
    exec 6<&-
fi

# No more processes: one clear line.
if [ "$(id -u)" = 0 ]; then
    checks=$((checks + 1))
    "${user[@]}" bash -c 'ulimit -u 1; exec ./starling run -- true' >out 2>&1
    [ $? = 125 ] || fail "without processes: $(cat out)"
    grep -q '^starling: error: run: cannot .*Resource temporarily unavailable' out || fail "without processes it says: $(cat out)"
fi

# Many in a row: the runner fails the test if one leaves a process.
for i in $(seq 30); do
    checks=$((checks + 1))
    "$S" run -- /bin/true || fail "sandbox $i ended with $?"
done
finish
