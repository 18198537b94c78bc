# What `starling run` says when it cannot do what it was asked, and the status it ends with: 125, 126, 127.
. "$TESTS/lib.sh"
S=$STARLING

# The command line.
expect 125 '' "no program was given; try: starling run" "$S" run
expect 125 '' "unknown or ambiguous option '--frob'.*--help" "$S" run --frob -- true
expect 125 '' "option '--cwd' needs a value" "$S" run --cwd
for bad in --timeout=0 --timeout=soon --timeout=-1 --timeout=inf --memory=0 --memory=much --memory=1X --pids=0 --pids=x \
    --net=maybe --env=NOVALUE --env==x --bind=/tmp --bind=/tmp:relative --bind=/tmp:/x:rx --tmpfs=relative --cwd=relative \
    --user= --user=:5 --hostname= --hostname="$(printf '%065d' 0)"; do
    expect 125 '' "^starling: error: run: ${bad%%=*} .*must " "$S" run "$bad" -- true
done

# The program.
expect 127 '' "cannot run no-such-program: there is no such program \(looked for in the guest's PATH\)" "$S" run -- no-such-program
expect 127 '' "cannot run /no/such/program: there is no such program" "$S" run -- /no/such/program
expect 127 '' "cannot run : there is no such program" "$S" run -- ''
expect 126 '' "cannot run /etc: it is a directory" "$S" run -- /etc
expect 126 '' "cannot run /etc/passwd: permission denied" "$S" run -- /etc/passwd
printf 'not a program\n' >plain && chmod +x plain
expect 126 '' "cannot run ./plain: it is neither an x86-64 program nor a script" "$S" run -- ./plain
printf '#!/no/such/interpreter\n' >script && chmod +x script
expect 127 '' "cannot run ./script: the interpreter that it names does not exist" "$S" run -- ./script
# The first 20 bytes of an ELF header are what tells a 32-bit program, and an aarch64 one.
printf '\177ELF\001\001\001\0\0\0\0\0\0\0\0\0\002\0\003\0' >i386 && head -c 200 /dev/zero >>i386 && chmod +x i386
expect 126 '' "cannot run ./i386: it is a 32-bit program; Starling runs x86-64 programs only" "$S" run -- ./i386
printf '\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\002\0\267\0' >arm && head -c 200 /dev/zero >>arm && chmod +x arm
expect 126 '' "cannot run ./arm: it is a program for another processor \(ELF machine 183\)" "$S" run -- ./arm
# 127 and 126 of the program itself are passed on, without a word.
expect 127 '' '' "$S" run -- sh -c 'exit 127'

# Directories and files.
expect 125 '' "cannot use /no/such/root as the guest's root: No such file" "$S" run --rootfs /no/such/root -- true
expect 125 '' "cannot use /etc/passwd as the guest's root: it is not a directory" "$S" run --rootfs /etc/passwd -- true
expect 125 '' "--rootfs-exclusive: must come with --rootfs DIR" "$S" run --rootfs-exclusive -- true
expect 125 '' "--cwd /no/such: cannot enter it in the guest: No such file" "$S" run --cwd /no/such -- true
expect 125 '' "--bind /no/such: cannot open it: No such file" "$S" run --bind /no/such:/mnt -- true
expect 125 '' "--strace=/no/such/file: cannot write it: No such file" "$S" run --strace=/no/such/file -- true
expect 125 '' "--user nosuchuser: the guest's /etc/passwd has no user 'nosuchuser'" "$S" run --user nosuchuser -- true
expect 125 '' "the guest's /etc/group has no group 'nosuchgroup'" "$S" run --user 0:nosuchgroup -- true

# An unreadable root: as an ordinary user.
mkdir closed && chmod 0 closed && chmod 711 . 
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$T"
    cp "$S" starling && chmod 755 starling
    as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups ./starling)
    expect 125 '' "cannot use .*/closed as the guest's root: Permission denied" "${as_user[@]}" run --rootfs "$PWD/closed" -- true
else
    expect 125 '' "cannot use .*/closed as the guest's root: Permission denied" "$S" run --rootfs "$PWD/closed" -- true
fi
finish
