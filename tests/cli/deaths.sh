# timeout: 240
# When the kernel process or the launcher is killed no guest survives, whatever it is doing; when a guest's host process
# is killed that guest has died of SIGKILL, and nobody else.
. "$TESTS/lib.sh"
need python3
S=$STARLING

# A chain of processes, each the child of the one before; every kind that might be missed, twice. Prints how many tasks
# there are once all are where they stay.
cat >tree.py <<'END'
import os, select, signal, threading, time

kinds = ["sleeps", "threads", "session", "stopped", "deaf", "computes", "orphan", "waits", "blocks"] * 2


def compute():
    while True:
        pass


def deafen():
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)


def member(rest, up):
    kind = rest[0]
    if kind == "orphan" and os.fork() != 0:
        os._exit(0)  # its child is the init's from now on
    if kind == "session":
        os.setsid()
    elif kind == "deaf":
        deafen()
    grow(rest[1:])
    if kind == "threads":
        for target in (lambda: time.sleep(10000), lambda: select.select([os.pipe()[0]], [], []), compute):
            threading.Thread(target=target, daemon=True).start()
    os.write(up, b"+")
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "computes":
        compute()
    elif kind == "blocks":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    elif kind == "waits":
        os.waitpid(-1, 0)  # the zombie
        os.waitpid(-1, 0)
    while True:
        time.sleep(10000)


def grow(rest):
    """The rest of the chain, and a zombie; returns when all of it is up."""
    if os.fork() == 0:
        os._exit(1)
    if not rest:
        return
    from_child, up = os.pipe()
    child = os.fork()
    if child == 0:
        member(rest, up)
    assert os.read(from_child, 1) == b"+"
    if rest[0] == "stopped":
        assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])


grow(kinds)
print(1 + len(kinds) + 3 * kinds.count("threads"), flush=True)
deafen()
while True:
    time.sleep(10000)
END

# kill_tree LAUNCHER WHO TASKS: kills the launcher or the kernel process, and ends when every process of the sandbox has.
cat >kill_tree.py <<'END'
import os, select, signal, sys


def children(pid):
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        found += map(int, open(f"/proc/{pid}/task/{thread}/children").read().split())
    return found


launcher, who, tasks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
(kernel,) = children(launcher)
todo, guests = children(kernel), []
while todo:
    guests.append(todo.pop())
    todo += children(guests[-1])
handles = {os.pidfd_open(pid): pid for pid in [kernel, *guests]}
threads = len(os.listdir(f"/proc/{kernel}/task"))
if len(guests) < 1 + 19:  # the zygote and a process for each of the chain
    sys.exit(f"only {len(guests)} guests are found")
if not tasks <= threads <= tasks + 12:  # a few are not a task's
    sys.exit(f"{threads} kernel threads for {tasks} tasks")
os.kill(launcher if who == "launcher" else kernel, signal.SIGKILL)
poll = select.poll()
for handle in handles:
    poll.register(handle, select.POLLIN)
while handles:
    ended = poll.poll(60000)
    if not ended:
        sys.exit("they survive: " + " ".join(open(f"/proc/{pid}/stat").read() for pid in handles.values()))
    for handle, _ in ended:
        poll.unregister(handle)
        handles.pop(handle)
        os.close(handle)
END

without_namespaces=(unshare --user --map-root-user sh -c \
    'for n in user pid net mnt ipc uts; do echo 0 >/proc/sys/user/max_${n}_namespaces; done; exec "$@"' without)
for way in full less; do
    run=("$S")
    if [ $way = less ]; then
        "${without_namespaces[@]}" true 2>/dev/null || break
        run=("${without_namespaces[@]}" "$S")
    fi
    for who in kernel launcher; do
        checks=$((checks + 1))
        mkfifo out
        "${run[@]}" run -- python3 tree.py >out 2>err &
        pid=$!
        exec 6<out
        read -r tasks <&6
        python3 kill_tree.py $pid $who "${tasks:-0}" || { fail "the $who killed ($way)" && kill -KILL $pid; }
        wait "$pid" 2>/dev/null
        status=$?
        if [ $who = kernel ]; then
            [ $status = 125 ] || fail "status ($way): $status, expected 125"
            grep -q 'the kernel process was killed by signal 9 .*; the sandbox is gone' err || fail "it says ($way): $(cat err)"
        fi
        # Nobody holds the pipe any more.
        timeout 60 cat <&6 >/dev/null || fail "something of the sandbox is left ($who, $way)"
        exec 6<&-
        rm out
    done
done

# One guest's host process killed: that guest dies as by SIGKILL, the others do not notice. It is known by its size.
checks=$((checks + 1))
mkfifo in out
"$S" run -- bash -c 'tail -c 60000000 < <(head -c 60000000 /dev/zero; exec sleep 1000) & a=$!; sleep 1000 & c=$!
    echo ready; wait $a; echo $?; (exit 3); echo $?; read -r line; echo $line; kill $c && exit 7' <in >out 2>err &
pid=$!
exec 6>in 7<out
read -r line <&7
read -r kernel </proc/$pid/task/$pid/children
victim=
for i in {1..200}; do
    for guest in $(cat /proc/${kernel% }/task/*/children); do
        size=$(awk '/^VmRSS/ { print $2 }' /proc/$guest/status 2>/dev/null)
        [ "${size:-0}" -lt 55000 ] || victim=$guest
    done
    [ -z "$victim" ] || break
    sleep 0.05
done
kill -KILL "$victim" || kill -KILL "$pid" # so that the test ends
echo go >&6
got=$(tr '\n' ' ' <&7)
[ "$got" = "137 3 go " ] || fail "a guest's host process killed: '$got'; $(cat err)"
wait "$pid"
status=$?
[ $status = 7 ] || fail "its parent ends with status $status, expected 7"
exec 6>&- 7<&-
rm in out
finish
