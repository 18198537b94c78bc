# What guests do with files by themselves: a file of the host that another guest begins to write to
# (which copies it), and the switches under which the kernel sees each call.
. "$TESTS/lib.sh"
S=$STARLING
need python3

printf 'lower lower lower\n' >file
cat >copy_up.py <<'EOF'
import os, sys
name = sys.argv[1]
fd = os.open(name, os.O_RDONLY)
for i in range(20):
    assert os.pread(fd, 5, 0) == b'lower'
assert os.read(fd, 6) == b'lower '
if os.fork() == 0:
    writer = os.open(name, os.O_WRONLY)
    os.pwrite(writer, b'UPPER', 0)
    os.pwrite(writer, b'UPPER', 6)
    os._exit(0)
assert os.wait()[1] == 0
assert os.pread(fd, 5, 0) == b'UPPER', os.pread(fd, 5, 0)
assert os.lseek(fd, 0, os.SEEK_CUR) == 6
for i in range(20):
    assert os.pread(fd, 5, 0) == b'UPPER'
assert os.read(fd, 5) == b'UPPER'
os.truncate(name, 3)
assert os.read(fd, 5) == b''
assert os.lseek(fd, 0, os.SEEK_END) == 3
print('as one file')
EOF

for switch in '' --no-direct --no-local; do
    expect 0 '^as one file$' '' "$S" run $switch -- python3 copy_up.py file
done
check "the file on the host is as it was" grep -q '^lower lower lower$' file

# A trace shows every call.
expect 0 '' '' "$S" run --strace=trace -- python3 -c '
import os
fd = os.open("file", os.O_RDONLY)
for i in range(50):
    os.pread(fd, 3, i % 7)
'
check "50 reads are traced" test "$(grep -c 'pread64(.* = 3$' trace)" -ge 50
finish
