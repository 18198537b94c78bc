# Hosts that lack a call: what Starling can do without it does, what it cannot ends with 125 and says what is missing.
. "$TESTS/lib.sh"
need python3
S=$STARLING

# deny NUMBERS CMD...
deny() {
    python3 "$TESTS/deny.py" "$@"
}
deny 0x0 true 2>/dev/null && fail "deny.py takes what is no number"

# name:number of calls that came after Linux 5.10, or that a policy may refuse.
for call in openat2:437 open_tree:428 move_mount:429 mount_setattr:442 landlock_create_ruleset:444 faccessat2:439 \
    rseq:334 membarrier:324 copy_file_range:326 clone3:435 futex_waitv:449 all:437,428,429,442,444,439,334,324,326,435,449; do
    checks=$((checks + 1))
    out=$(deny "${call#*:}" "$S" run -- sh -c '(exit 4) & wait $!; echo $?; echo new >/tmp/new; cat /tmp/new; readlink /proc/self/exe >/dev/null; exit 3' 2>err)
    [ "$? $out" = "3 4
new" ] || fail "without ${call%:*}: $out; $(cat err)"
done

for call in seccomp:317 pidfd_open:434 pidfd_getfd:438 close_range:436 memfd_create:319 process_vm_readv:310 process_vm_writev:311; do
    checks=$((checks + 1))
    deny "${call#*:}" "$S" run -- true >out 2>err
    status=$?
    [ $status = 125 ] && [ ! -s out ] || fail "without ${call%:*}: status $status: $(cat out err)"
    grep -q "^starling: error: run: cannot .*Function not implemented; 'starling doctor' tells what is missing" err ||
        fail "without ${call%:*} it says: $(cat err)"
done

# doctor says which, and that it will not do.
for call in seccomp:317 pidfd_open:434 pidfd_getfd:438 close_range:436 memfd_create:319 process_vm_readv:310 process_vm_writev:311; do
    checks=$((checks + 1))
    deny "${call#*:}" "$S" doctor >out 2>err
    status=$?
    [ $status = 1 ] || fail "doctor without ${call%:*}: status $status"
    grep -q '^MISSING ' out && grep -q 'Starling cannot run here' out || fail "doctor without ${call%:*}: $(cat out)"
done
finish
