# bash: pipelines, here-documents, traps, background jobs, process substitution, and what else scripts lean on.
. "$TESTS/lib.sh"

same_script "pipelines" /bin/bash <<'E'
set -o pipefail
seq 1000 | grep 7 | sed 's/7/seven/' | sort -r | head -n 5
echo "statuses: ${PIPESTATUS[*]}"
false | true; echo "pipefail: $?"
seq 100000 | head -n 1
for i in 1 2 3; do echo "$i"; done | while read -r x; do echo "got $x"; done | tac
printf '%s\n' a b c | { read -r first; echo "first $first"; cat; } | tr a-z A-Z
seq 1 20000 | cat | cat | cat | cat | md5sum
E
expect_native "statuses: "

same_script "here-documents and expansions" /bin/bash <<'E'
name=world
cat <<X
hello $name $((6 * 7)) $(echo sub) `echo back`
X
cat <<'X'
no $expansion
X
cat <<-X
	tabs gone
	X
tr a-z A-Z <<<"a here-string of ${#name} letters"
big=$(printf 'line %s\n' {1..20000})
wc -c <<X
$big
X
a=(one two three); declare -A m=([k]=v [x]=y)
echo "${a[@]:1}" "${m[k]}" "${!m[@]}" "${name^^}" "${name/o/0}" "${name:1:3}" | tr ' ' '\n' | sort
printf '%q\n' "a b\$c"
shopt -s extglob nullglob
touch f1.txt f2.txt g.c; echo *.txt !(*.txt) nothing*
E
expect_native "no \$expansion"

STATUS=3 same_script "traps and signals" /bin/bash <<'E'
trap 'echo exit trap, status $?' EXIT
trap 'echo USR1' USR1
trap 'echo TERM in shell' TERM
kill -USR1 $$; kill -TERM $$
(trap 'echo child got TERM; exit 7' TERM; kill -TERM $BASHPID; echo not reached)
echo "child status $?"
sh -c 'kill -KILL $$'; echo "killed: $?"
sh -c 'kill -SEGV $$' 2>/dev/null; echo "segv: $?"
trap '' INT; sh -c 'kill -INT $$; echo survived INT'
trap 'echo ERR at $LINENO' ERR; false; trap - ERR
sleep 100 & p=$!
until [ "$(</proc/$p/comm)" = sleep ]; do :; done # until it has left bash, it would run the EXIT trap
kill $p; wait $p; echo "background: $?"
mkfifo f hang; (trap 'echo alarm in writer; exit 0' ALRM; exec 9<>hang; echo ready >f; while :; do read -r -t 5 -u 9; done) & p=$!
read -r line <f; echo "$line"; kill -ALRM $p; wait $p; echo "writer: $?"
timeout 0.2 sleep 100; echo "timeout: $?"
exit 3
E
expect_native "child status 7"

STATUS=3 same_script "the status of exit in a trap" /bin/bash <<'E'
trap 'exit 3' EXIT
exit 1
E

same_script "background jobs and wait" /bin/bash <<'E'
for i in 1 2 3 4 5; do (exit $i) & pids[i]=$!; done
for i in 5 4 3 2 1; do wait ${pids[i]}; echo "$i: $?"; done
sleep 0.3 & sleep 0.01 & wait -n; echo "wait -n: $?"; wait
jobs | wc -l
(sleep 0.05; echo late) & echo early; wait
for i in $(seq 40); do (echo $((i * i)) >out.$i) & done; wait
cat out.* | sort -n | paste -sd' '
set -m; sleep 100 & kill -- -$!; wait $!; echo "job control: $?"; set +m
coproc C { while read -r x; do echo "<$x>"; done; }
echo ping >&"${C[1]}"; read -r reply <&"${C[0]}"; echo "coproc $reply"
exec {C[1]}>&-; wait $C_PID
E
expect_native "coproc <ping>"

same_script "process substitution and descriptors" /bin/bash <<'E'
diff <(seq 1 5) <(seq 2 6); echo "diff: $?"
paste <(echo a; echo b) <(echo 1; echo 2)
seq 10 | tee >(wc -l >count) >/dev/null; while [ ! -s count ]; do sleep 0.01; done; cat count
exec 5>five; echo to five >&5; exec 5>&-; cat five
exec 6<>six; echo abc >&6; exec 6>&-; cat six
{ echo out; echo err >&2; } 2>&1 | sort
(echo a; echo b >&2) 2>errs | cat; cat errs
cat /dev/fd/3 3<<<"through /dev/fd"
set -C; echo x >noclobber; (echo y >noclobber) 2>/dev/null || echo "clobber refused"; set +C
exec 7< <(sleep 0.05; echo delayed); read -r x <&7; echo "$x"
ulimit -n 64; ulimit -n; for i in $(seq 10 50); do eval "exec $i</dev/null"; done; ls /proc/self/fd | wc -l
E
expect_native "through /dev/fd"

same_script "recursion, many forks, arithmetic" /bin/bash <<'E'
fib() { if (($1 < 2)); then echo $1; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 9
f() { local d=$1; ((d == 0)) && return 5; f $((d - 1)); }; f 200; echo $?
n=0; while ((n < 20000)); do ((n += 3)); done; echo $n
for i in {1..100}; do x=$(echo $i); done; echo $x
find /etc -maxdepth 1 -name 'host*' | sort
umask 027; mkdir m; touch m/f; stat -c '%a' m m/f
cd m && pwd | sed "s|$TMPDIR||"; cd .. ; pushd m >/dev/null; dirs | wc -w; popd >/dev/null
[[ -d m && ! -e none && m/f -ef m/../m/f ]] && echo tests
exec 8< <(sleep 0.3); read -r -t 0.05 -u 8 x; echo "read timeout: $(($? > 128))"; wait $!
printf -v when '%(%Y)T' 0; echo $when
command -v ls; type -t cd; hash -r
exec -a renamed /bin/bash -c 'echo $0'
E
expect_native 34

same "dash" /bin/sh -c 'x=0; while [ $x -lt 100 ]; do x=$((x+1)); done; echo $x; (exit 4); echo $?; trap "echo T" TERM; kill -TERM $$; ls /nonexistent 2>/dev/null || echo none'
finish
