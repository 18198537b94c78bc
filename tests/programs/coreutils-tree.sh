# timeout: 600
# coreutils and findutils over a tree of 10,000 files: on the host's files below the layer in memory, inside the layer,
# and on a writable bind.
. "$TESTS/lib.sh"

prepare() {
    /usr/bin/python3 - <<'P'
import os
for d in range(100):
    os.makedirs(f"tree/{d // 10}/{d % 10}")
    for f in range(100):
        with open(f"tree/{d // 10}/{d % 10}/file{f:02}", "w") as out:
            out.write(f"{d} {f}\n" * (f % 13))
    os.symlink("file00", f"tree/{d // 10}/{d % 10}/link")
P
}
need /usr/bin/python3

cat >"$T/walk" <<'E'
find tree | wc -l
find tree -type f -size 0 | wc -l
find tree -type l -printf '%p %l\n' | LC_ALL=C sort | md5sum
find tree -type f -name '*7' -exec cat {} + | md5sum
find tree -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum
ls -lR tree | awk '{ s += $5 } END { print s }'
ls -U tree/3/4 | wc -l
du -s --apparent-size -b tree/5/file* 2>/dev/null | wc -l
du -sb tree/5/5 | cut -f 1 >/dev/null && echo du
stat -c '%s %f %h' tree/9/9/file42 tree/9/9/link
grep -rl '77 5$' tree | LC_ALL=C sort | head -n 20
E

cat >"$T/change" <<'E'
cp -a tree copy
diff -r tree copy && echo identical
find copy -name 'file1*' -delete
find copy -type f | wc -l
mv copy/0 copy/moved
find copy -name 'file2*' -exec chmod 600 {} +
find copy -perm 600 | wc -l
for i in 1 2 3 4 5; do echo more >>tree/1/1/file0$i; done
cat tree/1/1/file0? | md5sum
ln tree/2/2/file50 tree/2/2/hard; echo through >>tree/2/2/hard; tail -n 1 tree/2/2/file50; stat -c %h tree/2/2/file50
rm -r tree/3
ls tree
mv tree/4/4 tree/4/new; ls tree/4
mkdir tree/3; ls -A tree/3; touch tree/3/again; ls tree/3
mv tree/5/5/file10 tree/6/6/file10; wc -l <tree/6/6/file10
truncate -s 3 tree/7/7/file90; cat tree/7/7/file90; echo
touch -d @1000000000 tree/8/8/file01; stat -c %Y tree/8/8/file01
ln -sfn nowhere tree/9/9/link; readlink tree/9/9/link; cat tree/9/9/link 2>&1 | sed 's/.*: //'
rmdir tree/8 2>&1 | sed 's/.*: //'
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
find . -printf '%y %m %n %p %l\n' | grep -v '^d' | LC_ALL=C sort | sha256sum
find . -type d -printf '%m %p\n' | LC_ALL=C sort | sha256sum
E

LIMIT=100
READONLY=1 same "walk 10,000 files" /bin/bash "$T/walk"
expect_native 10211
same "copy, change, remove in the layer" /bin/bash "$T/change"
expect_native identical
BIND=1 same "copy, change, remove on a bind" /bin/bash "$T/change"
unset -f prepare
same "make 10,000 files and remove them" /bin/bash -c 'mkdir n; cd n; for i in $(seq 100); do mkdir $i; (cd $i && touch $(seq 100)); done; find . -type f | wc -l; find . | LC_ALL=C sort | md5sum; cd ..; rm -rf n; ls'
finish
