# Static busybox: more than 40 applets, each alone (so each is one exec of a static program), then its shell with all.
. "$TESTS/lib.sh"
need busybox

prepare() {
    seq 1 200 | awk '{ x = (x * 69069 + $1) % 2147483647; print x, $1 % 7, "line " $1 }' >data
    printf 'one\ntwo\nthree\n' >small
    printf 'one\n2\nthree\nfour\n' >other
    printf 'a\tb\tc\n' >tabs
    mkdir -p d/e/f
    cp small d/e/f/deep
    ln -s small link
    mkdir empty
}

b() { # one applet; its name and arguments
    same "$*" busybox "$@"
}

b ash -c 'for i in 1 2 3; do echo $i; done | wc -l'
b awk '{ s += $1 } END { print s }' data
b base64 data
b basename /a/b/c.txt .txt
b bzip2 -k data
b cal 2 2024
b cat data small
b chmod 600 small
b cmp small small
b cp -r d d2
b crc32 data
b cut -d ' ' -f 2 data
b date -u -d @86400 +%Y-%m-%dT%H:%M:%S
b dd if=data of=copy bs=100 count=7
b dirname /a/b/c
STATUS=1 b diff small other
b du -k -s d/e/f/deep
b echo -e 'x\ty'
b env -i A=1 busybox env
b expand tabs
b expr 6 '*' 7
STATUS=1 b false
b find . -name 'd*'
b fold -w 20 data
b grep -c 'line 1' data
b gzip -k data
b head -n 3 data
b hexdump -C small
b id -u
b ln -s a b
b ls -la d/e
b md5sum data
b mkdir -p x/y/z
b mkfifo pipe
b mv small large
b nl data
b nproc
b od -c small
b paste small other
b printf '%05d %s\n' 42 x
b readlink link
b realpath d/../link
b rm -r d
b rmdir empty
b sed -n 's/line/LINE/p' data
b seq 3 3 30
b sha1sum data
b sha256sum data
b sha512sum data
b sleep 0.01
b sort -k2,2n -k1,1nr data
b stat -c '%F %s %a' small d link
b strings data
b tac data
b tail -n 3 data
b tar -cf t.tar d
b test -d d
b timeout 5 busybox true
b touch -d '2024-01-02 03:04:05' new
b tr a-z A-Z <<<'some text'
b true
b truncate -s 10 data
b uname -s
b unlink small
b uuencode data name
b wc data
b which busybox
b xargs -n 2 echo <<<'a b c d e'
b xxd small

same_script "the shell with everything" busybox sh -eu <<'E'
busybox tar -cf - d | busybox gzip | busybox gunzip | busybox tar -tvf - | busybox awk '{ print $1, $6 }' | busybox sort
for i in $(busybox seq 50); do
    echo "$i $((i * i % 17))" | busybox tr ' ' '\n' | busybox tail -n 1
done | busybox sort -n | busybox uniq -c
busybox cp -r d copy && busybox find copy -type f -exec busybox md5sum {} \;
busybox dd if=/dev/zero bs=1k count=64 2>/dev/null | busybox sha256sum
busybox mkfifo p && { busybox cat small >p & busybox cat p; wait; }
trap 'echo bye' EXIT
E
expect_native bye
finish
