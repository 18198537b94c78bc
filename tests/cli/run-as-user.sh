# timeout: 240
# What the guest suite asserts holds for an ordinary user too, and where he may make no namespaces.
. "$TESTS/lib.sh"
need unshare setpriv
[ "$(id -u)" = 0 ] || skip "the guest suite runs as this ordinary user anyway"

chmod 755 "$T"
cp "$STARLING" starling
user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
less=(unshare --user --map-root-user sh -c 'for n in user pid net mnt ipc uts; do echo 0 >/proc/sys/user/max_${n}_namespaces; done; exec "$@"' less)

for name in attributes call_sites credentials descriptors exec_program fifo fork_wait mmap_file pipe_basic proc_self \
    proc_system record_locks signals threads unix_sockets; do
    program=$name-static
    cp "$BUILD/tests/guest/$program" .
    chmod 755 starling "$program"
    mkdir "own" && chown 65534:65534 own
    checks=$((checks + 1))
    (cd own && "${user[@]}" ../starling run -- "../$program") >out 2>&1
    status=$?
    [ $status = 0 ] || [ $status = 77 ] || fail "$program as an ordinary user: status $status: $(tail -20 out)"
    rm -rf own && mkdir own && chown 65534:65534 own
    checks=$((checks + 1))
    (cd own && "${user[@]}" "${less[@]}" ../starling run -- "../$program") >out 2>&1
    status=$?
    [ $status = 0 ] || [ $status = 77 ] || fail "$program without namespaces: status $status: $(tail -20 out)"
    rm -rf own
done
finish
