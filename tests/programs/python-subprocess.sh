# python3: subprocess (which forks by vfork), pipes, process groups, limits; fork with threads; signals; pty.
. "$TESTS/lib.sh"
need /usr/bin/python3

same_script "subprocess" /usr/bin/python3 <<'E'
import os, resource, select, signal, subprocess, sys, time
run = lambda *a, **k: subprocess.run(a, capture_output=True, text=True, **k)
print(run("echo", "hello").stdout, run("sh", "-c", "echo err >&2; exit 3"))
print(run("cat", input="x" * 1000000).stdout == "x" * 1000000)
print(subprocess.check_output("seq 5 | tac | paste -sd,", shell=True, text=True))
try:
    run("/nonexistent/program")
except FileNotFoundError as e:
    print(e)
try:
    run("/etc/passwd")
except PermissionError as e:
    print(e)
try:
    run("sleep", "100", timeout=0.1)
except subprocess.TimeoutExpired as e:
    print("timed out")
p = subprocess.Popen(["sleep", "100"]); p.terminate(); print(p.wait()); p = subprocess.Popen(["sleep", "100"]); p.kill(); print(p.wait())
a = subprocess.Popen(["seq", "100000"], stdout=subprocess.PIPE)
b = subprocess.Popen(["grep", "-c", "9"], stdin=a.stdout, stdout=subprocess.PIPE, text=True); a.stdout.close(); print(b.communicate()[0], a.wait())
p = subprocess.Popen("sleep 100 & sleep 100 & wait", shell=True, start_new_session=True); os.killpg(p.pid, signal.SIGTERM); print(p.wait())
print(run("sh", "-c", "echo $A $PWD", env={"A": "env"}, cwd="/usr").stdout)
print(run("sh", "-c", "ulimit -n; umask", preexec_fn=lambda: (resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99)), os.umask(0o77))).stdout)
r, w = os.pipe(); print(run("sh", "-c", f"echo inherited >&{w}", pass_fds=[w]).returncode, os.read(r, 100))
print(run("sh", "-c", "kill -SEGV $$").returncode, run("true").returncode, run("false").returncode)
print([run("sh", "-c", f"exit {i}").returncode for i in range(30)])
procs = [subprocess.Popen(["sh", "-c", f"sleep 0.0{i % 10}; exit {i}"]) for i in range(20)]; print([p.wait() for p in procs])
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 9"], os.environ, setsigmask=[signal.SIGINT]); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(run(sys.executable, "-c", "import sys; print(sys.argv[1:], len(sys.argv[2]))", "a b", "x" * 100000).stdout[:20])
try:
    run("true", "x" * 10000000)
except OSError as e:
    print(e.strerror)
E
expect_native "timed out"
same_script "fork, signals, select, pty" /usr/bin/python3 <<'E'
import errno, fcntl, os, pty, select, signal, struct, sys, termios, time
sys.stdout.reconfigure(line_buffering=True)
r, w = os.pipe()
for i in range(10):
    if os.fork() == 0:
        os.write(w, bytes([i])); os._exit(i)
print(sorted(os.read(r, 1)[0] for _ in range(10)), sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(10)))
try:
    os.wait()
except ChildProcessError as e:
    print(errno.errorcode[e.errno])
pid = os.fork()
if pid == 0:
    signal.pause(); os._exit(1)
os.kill(pid, signal.SIGSTOP); print(os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]))
os.kill(pid, signal.SIGCONT); print(os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1]))
os.kill(pid, signal.SIGTERM); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
info = []
signal.signal(signal.SIGCHLD, lambda *a: info.append(1)); pid = os.fork()
if pid == 0:
    os._exit(0)
print(os.waitid(os.P_PID, pid, os.WEXITED).si_status); signal.signal(signal.SIGCHLD, signal.SIG_DFL); print(len(info))
signal.signal(signal.SIGALRM, lambda *a: info.append(2)); signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
while info.count(2) < 5:
    signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0); print("five alarms")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR1)
print(signal.sigpending(), signal.sigwait([signal.SIGUSR1]), signal.sigtimedwait([signal.SIGUSR2], 0.01))
a, b = os.pipe(); p = select.poll(); p.register(a, select.POLLIN); print(p.poll(10)); os.write(b, b"x"); print(p.poll(1000)[0][1], select.select([a], [], [], 0)[0] == [a])
e = select.epoll(); e.register(a, select.EPOLLIN | select.EPOLLET); print(len(e.poll(1)), len(e.poll(0.01))); e.close()
master, slave = pty.openpty(); fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
print(os.get_terminal_size(slave), os.isatty(slave), os.isatty(master))
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "stty -echo; echo ready; read x; echo got $x; tty >/dev/null && echo has a tty"])
out = b""
while b"ready" not in out:
    out += os.read(fd, 1000)
os.write(fd, b"line\n")
while True:
    try:
        chunk = os.read(fd, 1000)
    except OSError:
        break
    if not chunk:
        break
    out += chunk
print(out, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
E
expect_native "has a tty"
finish
