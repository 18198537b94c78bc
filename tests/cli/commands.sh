# The commands beside run: help, version, doctor, syscalls, and what is said about unknown ones.
. "$TESTS/lib.sh"
S=$STARLING

expect 0 '^starling [0-9]+\.[0-9]+' '' "$S" --version
expect 0 'usage: starling COMMAND.*run.*doctor.*syscalls.*example:' '' "$S" --help
expect 125 '' 'usage: starling COMMAND' "$S"
expect 125 '' "unknown command 'frobnicate'.*--help" "$S" frobnicate
expect 125 '' "'create' is a command of OCI runtimes" "$S" create box
for command in run doctor syscalls; do
    expect 0 "usage: starling $command.*example:" '' "$S" "$command" --help
done

# doctor: a line for each thing, and a verdict. A test machine can run Starling, else nothing here passes.
expect 0 'ok +seccomp user notification.*Starling can run here' '' "$S" doctor
expect 125 '' "unexpected argument 'now'" "$S" doctor now

# syscalls: from the table that dispatches.
expect 0 '   0  read .*full, [0-9]+ partial, [0-9]+ missing$' '' "$S" syscalls
expect 0 '^ *[0-9]+  [a-z0-9_]+ +missing' '' "$S" syscalls --level missing
check "--level full lists only full ones" [ -z "$("$S" syscalls --level full | grep -v ' full')" ]
check "the levels add up" [ "$("$S" syscalls --level full | wc -l) $("$S" syscalls --level partial | wc -l) $("$S" syscalls --level missing | wc -l)" = \
    "$("$S" syscalls | sed -n 's/^\([0-9]*\) full, \([0-9]*\) partial, \([0-9]*\) missing$/\1 \2 \3/p')" ]
check "partial ones say what lacks" [ -z "$("$S" syscalls --level partial | awk 'NF < 4')" ]
expect 125 '' '--level some: must be full, partial or missing' "$S" syscalls --level some
if command -v python3 >/dev/null; then
    check "--json is JSON with a row for each call" python3 -c '
import json, subprocess, sys
rows = json.loads(subprocess.run([sys.argv[1], "syscalls", "--json"], check=True, capture_output=True).stdout)
assert len(rows) > 350 and rows[0] == {"number": 0, "name": "read", "level": rows[0]["level"], "note": rows[0]["note"]}
assert {r["level"] for r in rows} <= {"full", "partial", "missing"}
' "$S"
fi
finish
