# tar, gzip, bzip2, xz and zstd round trips, single- and multi-threaded.
. "$TESTS/lib.sh"
need tar gzip bzip2 xz zstd

prepare() {
    mkdir -p src/a/b src/empty
    seq 1 300000 >src/numbers
    cp /bin/ls src/a/program
    head -c 100000 /dev/zero >src/a/zeros
    truncate -s 10M src/sparse
    printf x >"src/a/b/a name with spaces"
    ln -s ../numbers src/a/link
    ln src/a/program src/hard
    chmod 751 src/a/program
    touch -d @1234567890 src/a/b/* src/a/b src/a/zeros
}

cat >"$T/list" <<'E'
find "$1" -printf '%y %m %s %n %P %l\n' | grep -v '^d' | LC_ALL=C sort
find "$1" -type d -printf '%m %P\n' | LC_ALL=C sort
find "$1" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum
stat -c '%Y' "$1/a/b" "$1/a/zeros"
E
for how in '' --gzip --bzip2 --xz --zstd; do
    same "tar $how" /bin/bash -c "set -e; tar -c $how -f t.tar src; mkdir out; tar -x $how -f t.tar -C out; bash $T/list out/src; tar -t $how -f t.tar | wc -l"
    expect_native "f 751"
done
same "tar: sparse, append, update, delete" /bin/bash -c 'set -e; tar -cSf t.tar src/sparse; [ $(stat -c %s t.tar) -lt 1000000 ]; tar -rf t.tar src/numbers; tar --delete -f t.tar src/sparse; tar -tf t.tar; tar -df t.tar && echo same'
same "tar over a pipe" /bin/bash -c 'mkdir o; tar -cf - src | tar -xf - -C o; bash '"$T/list"' o/src'
BIND=1 same "tar onto a bind" /bin/bash -c 'mkdir o; tar -cf - src | tar -xpf - -C o; bash '"$T/list"' o/src'
same "gzip" /bin/bash -c 'gzip -9nk src/numbers; gzip -l src/numbers.gz; sha256sum src/numbers.gz; gzip -dc src/numbers.gz | cmp - src/numbers && zcat src/numbers.gz | tail -n 1'
same "xz, two threads" /bin/bash -c 'xz -T2 -1 --block-size=500k -k src/numbers; xz -t src/numbers.xz && sha256sum src/numbers.xz; xz -T2 -dc src/numbers.xz | cmp - src/numbers && echo same'
same "zstd, two threads" /bin/bash -c 'zstd -q -T2 -5 src/numbers; zstd -q -t src/numbers.zst; zstd -q -dc src/numbers.zst | cmp - src/numbers && echo same; zstd -q --long -19 src/a/program -o p.zst && zstd -qdc p.zst | cmp - src/a/program && echo same'
STATUS=1 same "a broken archive" /bin/bash -c 'gzip -k src/numbers; truncate -s 1000 src/numbers.gz; gzip -t src/numbers.gz 2>/dev/null'
finish
