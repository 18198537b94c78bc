"""Processes of the engines: run them with a time limit, weigh them, and leave none behind."""
import ctypes
import os
import pathlib
import signal
import statistics
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """Whatever an engine leaves behind ends up below this process, where kill_all() finds it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tree(pid):
    """A process and all below it, each once."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def kill_all():
    """Kill everything below this process, until nothing is left."""
    for _ in range(200):
        left = [pid for pid in tree(os.getpid())[1:] if state(pid) not in "Z?"]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        if not left:
            return
        time.sleep(0.01)


def state(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0]
    except OSError:
        return "?"


def run(argv, work, limit):
    """(standard output, standard error, seconds, what went wrong or None) of a command."""
    start = time.perf_counter()
    p = subprocess.Popen(argv, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         errors="replace", start_new_session=True)
    try:
        out, err = p.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        for pid in tree(p.pid)[::-1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        out, err = p.communicate()
        return out, err, limit, f"more than {limit:g} s"
    seconds = time.perf_counter() - start
    if p.returncode:
        return out, err, seconds, f"status {p.returncode}: {' '.join(err.split())[-200:]}"
    return out, err, seconds, None


def pss(pid):
    """Proportional set size of a process in KiB; 0 when it has gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def cpu_ns(pid):
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    except OSError:
        pass
    return total


class Idle:
    """A number of sandboxes at once, each with an idle program."""

    def __init__(self, argv, work, count):
        self.sandboxes = []
        try:
            for _ in range(count):
                p = subprocess.Popen(argv(), cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, start_new_session=True)
                self.sandboxes.append(p)
            for p in self.sandboxes:
                if p.stdout.readline() != b"ready\n":
                    raise RuntimeError("a sandbox did not start")
            time.sleep(0.3)  # the figures are of rest: what is being set up or torn down beside the guests gets done
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def memory(self):
        """KiB for one sandbox, and the median of the kernel processes (the second process of a sandbox)."""
        trees = [tree(p.pid) for p in self.sandboxes]
        total = sum(pss(pid) for t in trees for pid in t) / len(trees)
        return total, statistics.median(pss(t[1]) if len(t) > 1 else 0 for t in trees)

    def cpu(self, seconds):
        """Nanoseconds of CPU time that all processes used in a second."""
        pids = [pid for p in self.sandboxes for pid in tree(p.pid)]
        before = sum(map(cpu_ns, pids))
        time.sleep(seconds)
        return (sum(map(cpu_ns, pids)) - before) / seconds

    def close(self):
        for p in self.sandboxes:
            p.stdin.close()
        for p in self.sandboxes:
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                for pid in tree(p.pid)[::-1]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                p.wait()
            p.stdout.close()
