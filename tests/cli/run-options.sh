# Each option of `starling run` does what its help says.
. "$TESTS/lib.sh"
S=$STARLING

# The exit status is the program's, or 128 + the signal's.
expect 0 '' '' "$S" run -- true
expect 7 '' '' "$S" run -- sh -c 'exit 7'
expect 255 '' '' "$S" run -- sh -c 'exit 255'
expect 139 '' '' "$S" run -- sh -c 'kill -SEGV $$'
expect 137 '' '' "$S" run -- sh -c 'kill -KILL $$'
# Options end where the program begins.
expect 0 '^--timeout -x$' '' "$S" run echo --timeout -x
expect 0 '^in$' '' "$S" run -- sh -c 'cat' < <(echo in)

# Identity and environment.
expect 0 "^$(hostname)$" '' "$S" run -- uname -n
expect 0 '^box$' '' "$S" run --hostname box -- uname -n
expect 0 "^$(id -u) $(id -g)$" '' "$S" run -- sh -c 'echo $(id -u) $(id -g)'
expect 0 '^12 34$' '' "$S" run --user 12:34 -- sh -c 'echo $(id -u) $(id -g)'
expect 0 "^$(id -u nobody) $(id -g nobody)$" '' "$S" run --user nobody -- sh -c 'echo $(id -u) $(id -g)'
expect 0 "^$(id -u nobody) 0$" '' "$S" run --user nobody:root -- sh -c 'echo $(id -u) $(id -g)'
expect 0 '^1 two outside$' '' env OUTSIDE=outside B=old "$S" run --env A=1 --env B=two -- sh -c 'echo $A $B $OUTSIDE'
expect 0 '^A=1$' '' "$S" run --clear-env --env A=0 --env A=1 -- /usr/bin/env
mkdir -p dir/sub
expect 0 "^$PWD$" '' "$S" run -- pwd
expect 0 '^/usr/lib$' '' "$S" run --cwd /usr/lib -- pwd

# Files: the host's are read-only below a layer that vanishes.
echo host >file
expect 0 '^changed$' '' "$S" run -- sh -c 'echo changed >file; cat file; rm -r dir; touch new'
check "the host's files did not change" [ "$(cat file) $(ls -d dir/sub) $(ls new 2>&1 | grep -c cannot)" = "host dir/sub 1" ]
expect 0 '^written$' '' "$S" run --bind dir:/mnt/point -- sh -c 'echo written >/mnt/point/x; cat /mnt/point/x'
check "--bind wrote to the host" [ "$(cat dir/x)" = written ]
expect 0 '^written$' 'Read-only file system' "$S" run --bind dir:/mnt/point:ro -- sh -c 'cat /mnt/point/x; (: >/mnt/point/y); true'
check "--bind :ro did not" [ ! -e dir/y ]
expect 0 '^host$' '' "$S" run --bind file:/mnt/single:ro -- cat /mnt/single
expect 0 '^0
x$' '' "$S" run --tmpfs "$PWD/dir" -- sh -c 'ls dir | wc -l; touch dir/x; ls dir'

# A root of its own: only what is in it. One static program is enough.
if command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1; then
    mkdir -p root/bin root/etc && cp "$(command -v busybox)" root/bin/sh
    echo 'guest:x:77:88::/:/bin/sh' >root/etc/passwd
    expect 0 '^bin dev etc proc sys( tmp)?$' '' "$S" run --rootfs root --clear-env -- /bin/sh -c 'echo $(ls /)'
    expect 0 '^77 88$' '' "$S" run --rootfs root --clear-env --user guest -- /bin/sh -c 'echo $(id -u) $(id -g)'
    expect 0 '^/$' '' "$S" run --rootfs root -- /bin/sh -c 'pwd'
    # Nobody else changes it: what the guest itself makes and removes shows as ever.
    expect 0 '^new gone 1$' '' "$S" run --rootfs root --rootfs-exclusive --clear-env -- /bin/sh -c \
        '[ ! -e /etc/new ] && echo new >/etc/new && mv /etc/passwd /etc/p && [ ! -e /etc/passwd ] &&
        rm /etc/p && [ ! -e /etc/p ] && echo $(cat /etc/new) gone $(ls /etc | wc -l)'
    check "nothing was written into the root" [ "$(ls root)" = "bin
etc" ]
fi

# Looking on.
expect 0 '^hi$' 'calls +handovers +patched +errors.*[1-9][0-9]* .*write.*total' "$S" run --stats -- sh -c 'echo hi'
expect 0 '' 'stats: patched [1-9][0-9]{2}.*stats: local [1-9][0-9]{2}.*stats: local_patched [1-9][0-9]{2}' \
    "$S" run --stats -- perl -e 'getppid() for 1..1000'
expect 0 '' '1[0-9]{3} +[0-9]{1,2} +[0-9]+ +1[0-9]{3} .* ioctl.*stats: local 1[0-9]{3}' \
    "$S" run --stats -- perl -e 'open(F, "<", "/etc/passwd"); -t F for 1..1000'
expect 0 '' 'stats: patched 0.*stats: local [1-9][0-9]{2}.*stats: local_patched 0' \
    "$S" run --stats --no-patch -- perl -e 'getppid() for 1..1000'
expect 3 '' '' "$S" run --no-direct --no-local -- sh -c 'exit 3'

# Descriptors: closed ones stay closed, others than 0, 1 and 2 do not come in.
expect 1 '' 'Bad file descriptor' "$S" run -- cat <&-
expect 0 '^0 1 2 3$' '' "$S" run -- sh -c 'echo $(ls /proc/self/fd)' 7</dev/null
finish
