# A process outside the sandbox swaps names of a bound directory for symlinks that lead out of it, and moves directories
# away, while the guest reads, writes, makes, renames and removes through those names. Nothing outside the directory may
# be read or change. Then: a sandbox over the host's files leaves them untouched whatever it does to them.
. "$TESTS/lib.sh"
need /usr/bin/python3

mkdir -p "$T/in/d" "$T/out/d"
echo inside >"$T/in/d/f"
echo inside >"$T/in/f"
echo secret >"$T/out/secret"
echo secret >"$T/out/f"
echo secret >"$T/out/d/f"
ln -s "$T/out" "$T/in/leakdir"
ln -s "$T/out/f" "$T/in/leak"
ln -s ../out "$T/in/relative"

cat >"$T/swap.py" <<'E'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def exchange(a, b):
    libc.renameat2(-100, a.encode(), -100, b.encode(), 2)
os.chdir(sys.argv[1])
while os.path.exists("../go"):
    for name, other in (("d", "leakdir"), ("f", "leak"), ("d", "relative")):
        exchange(name, other)
        exchange(name, other)
    try:
        os.rename("d", "../away")
        os.rename("../away", "d")
    except OSError:
        pass
E

cat >"$T/guest.py" <<'E'
import os, time
os.chdir("/bound")
read = opened = 0
end = time.monotonic() + 8
def attempt(call, *args):
    try:
        return call(*args)
    except OSError:
        return None
def look(name):
    global read, opened
    try:
        with open(name) as f:
            text = f.read()
    except OSError:
        return
    opened += 1
    if "secret" in text:
        read += 1
def change(name):
    try:
        with open(name, "r+") as f:
            f.write("guest!")
    except OSError:
        pass
while time.monotonic() < end:
    for name in ("d/f", "f", "d/secret", "d/d/f", "d/../secret", "leak", "leakdir/f", "relative/secret"):
        look(name)
        change(name)
    for name in ("d/made", "leakdir/made", "relative/made"):
        attempt(lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)))
        attempt(os.chmod, name, 0o777)
        attempt(os.unlink, name)
        attempt(os.mkdir, name + "dir")
        attempt(os.rmdir, name + "dir")
    attempt(os.link, "d/secret", "stolen")
    attempt(os.rename, "d/secret", "stolen")
    attempt(os.utime, "d/f", (1, 1))
print(f"opened {opened > 100} read {read}")
E

tree_of() {
    (cd "$1" && find . -printf '%i %y %m %s %n %T@ %C@ %p %l\n' | LC_ALL=C sort)
}
tree_of "$T/out" >"$T/out.before"
touch "$T/go"
/usr/bin/python3 "$T/swap.py" "$T/in" &
swapper=$!
checks=$((checks + 1))
# --tmpfs: without a root of its own the guest sees the host's files, and may read those; not these.
timeout 60 "$STARLING" run "${starling_args[@]}" --bind "$T/in:/bound" --tmpfs "$T" -- /usr/bin/python3 - <"$T/guest.py" >"$T/guest.out" 2>"$T/guest.err" ||
    fail "the guest's program ended with $?: $(tail -n 3 "$T/guest.err")"
kill -0 "$swapper" || fail "the process that swaps names ended early"
rm "$T/go"
wait "$swapper"
[ "$(cat "$T/guest.out")" = "opened True read 0" ] || fail "what the guest says: $(cat "$T/guest.out")"
tree_of "$T/out" >"$T/out.after"
# Its directories' times may change when "away" comes and goes beside them, but that is not in here.
cmp "$T/out.before" "$T/out.after" || { fail "something outside the bound directory changed"; diff "$T/out.before" "$T/out.after"; }
grep -q secret "$T/out/secret" "$T/out/f" || fail "the files outside changed"
[ ! -e "$T/in/stolen" ] || ! grep -q secret "$T/in/stolen" || fail "a file came in from outside"

# The host's files under the layer in memory.
mkdir -p "$T/host/sub/deep"
for i in $(seq 50); do echo "text $i" >"$T/host/sub/f$i"; done
ln "$T/host/sub/f1" "$T/host/hard"
ln -s sub/f2 "$T/host/link"
mkfifo "$T/host/fifo"
chmod 640 "$T/host/sub/f3"
tree_of "$T/host" >"$T/host.before"
cat "$T"/host/sub/f* | sha256sum >"$T/host.sum"
checks=$((checks + 1))
run -- /bin/bash -c '
    cd "$1" && set -e
    echo more >>sub/f1; [ "$(cat hard)" = "text 1
more" ]
    : >sub/f2; [ ! -s link ]
    chmod 777 sub/f3; touch -d @1 sub/f4; mv sub/f5 sub/f6; rm sub/f7; ln sub/f8 new
    truncate -s 1 sub/f9; mv sub moved; rm -r moved/deep; mkdir sub; echo x >sub/f1
    /usr/bin/python3 -c "
import mmap
with open(\"moved/f10\", \"r+b\") as f:
    m = mmap.mmap(f.fileno(), 0)
    m[0:4] = b\"TEXT\"
    m.flush()
print(open(\"moved/f10\").read(), end=\"\")
"
    rm -rf hard link fifo moved
    ls' sh "$T/host" >"$T/layer.out" 2>"$T/layer.err" || fail "the changes in the layer: $(tail -n 3 "$T/layer.err")"
[ "$(tr '\n' ' ' <"$T/layer.out")" = "TEXT 10 new sub " ] || fail "what the guest saw: $(cat "$T/layer.out")"
tree_of "$T/host" | cmp - "$T/host.before" || fail "the sandbox changed the host's files"
cat "$T"/host/sub/f* | sha256sum | cmp - "$T/host.sum" || fail "the sandbox changed the host's data"
finish
