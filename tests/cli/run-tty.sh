# Terminals: keys reach the program, job control works outside and inside, --tty gives a terminal of its own.
. "$TESTS/lib.sh"
need python3

cat >drive.py <<'END'
"""drive.py STEP... -- CMD...: runs CMD on a new terminal. A step is "text=>keys": when the text has come, type the keys."""
import os, pty, select, sys, time, fcntl, struct, termios

split = sys.argv.index("--")
steps = [s.split("=>", 1) for s in sys.argv[1:split]]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[split + 1], sys.argv[split + 1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
out, everything, deadline = b"", b"", time.monotonic() + 30


def read():
    global out, everything
    if time.monotonic() > deadline:
        print(everything.decode(errors="replace"))
        print("nothing came for", steps[:1])
        os.kill(pid, 9)
        sys.exit(99)
    if not select.select([fd], [], [], 0.5)[0]:
        return True
    try:
        data = os.read(fd, 4096)
    except OSError:
        data = b""
    out += data
    everything += data
    return bool(data)


for text, keys in steps:
    while text.encode() not in out:
        if not read():
            break
    out = out.split(text.encode(), 1)[-1]
    os.write(fd, keys.encode().decode("unicode_escape").encode())
while read():
    pass
print(everything.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
drive=(python3 drive.py)
S=$STARLING
# Typing before the program waits for the terminal is harmless, but a key that means a signal needs its target: the
# program prints "ready" first, and the shell's prompt comes when it is ready. (A shell that is just making its child
# has signals blocked, and the child does not see them: on Linux too. So "ready" comes from the last process.)
expect 130 'ready' '' "${drive[@]}" 'ready=>\x03' -- "$S" run -- sh -c 'echo ready; exec sleep 60'
expect 131 'ready' '' "${drive[@]}" 'ready=>\x1c' -- "$S" run -- sh -c 'ulimit -c 0; echo ready; exec sleep 60'
expect 0 'got a line' '' "${drive[@]}" 'ready=>a line\n' -- "$S" run -- sh -c 'echo ready; read x; echo got $x'
expect 0 '33 77' '' "${drive[@]}" 'ready=>\n' -- "$S" run -- sh -c 'echo ready; read x; stty size'
expect 3 'caught' '' "${drive[@]}" 'ready=>\x03' -- "$S" run -- sh -c 'trap "echo caught; exit 3" INT; echo ready; while :; do sleep 0.1; done'
# The shell outside stops and continues the sandbox.
expect 4 'Stopped.*finished' '' "${drive[@]}" '# =>'"$S"' run -- sh -c "echo re""ady; read x; echo fin""ished"\n' 'ready=>\x1a' \
    'Stopped=>fg\n' 'fg=>\n' 'finished=>exit 4\n' -- env PS1='# ' bash --norc -i
# A shell inside has jobs of its own.
expect 5 'Stopped.*done' '' "${drive[@]}" '# =>sh -c "echo re""ady; exec sleep 60"\n' 'ready=>\x1a' 'Stopped=>kill %1; wait; echo do""ne\n' \
    'done=>exit 5\n' -- env PS1='# ' "$S" run -- bash --norc -i
# --tty: the same with a terminal in between, and when there is none outside.
expect 130 'ready' '' "${drive[@]}" 'ready=>\x03' -- "$S" run --tty -- sh -c 'echo ready; exec sleep 60'
expect 0 '33 77' '' "${drive[@]}" 'ready=>\n' -- "$S" run --tty -- sh -c 'echo ready; read x; stty size'
expect 0 'a terminal' '' "$S" run --tty -- sh -c 'test -t 0 && test -t 1 && test -t 2 && echo a terminal'
expect 6 'line' '' "$S" run --tty -- sh -c 'cat; exit 6' < <(echo line)
finish
