"""Where the time of one call goes: samples of the processor's time (perf, by the clock, since virtual machines have no
counters), put down to the program, the stub, the host's kernel and the parts of the kernel process; and where the
processor counts instructions and cycles, these too."""
import collections
import os
import re
import shutil
import subprocess

import sandbox

HERTZ = 10000
SECONDS = 0.7
BUSY = "both cores busy"

# What is measured: heading, row of the benchmark, natively or with these arguments, with every core busy.
CASES = [
    ("getppid, native", "getppid", None, False),
    ("answered in the stub", "getppid", [], False),
    ("the same by a signal", "getppid", ["--no-patch"], False),
    ("pread 1 KiB, native", "pread 1 KiB", None, False),
    ("by the stub", "pread 1 KiB", [], False),
    ("stat, native", "stat", None, False),
    ("handed over, a core free", "stat", [], False),
    ("handed over, " + BUSY, "stat", [], True),
]

# Symbols of the host's kernel, the first that fits. The clock's interrupt comes late where they are off: what happens
# under a lock of the scheduler's is counted at the lock's end.
HOST = [
    ("host: the filter", r"seccomp|bpf_prog|___bpf|populate_seccomp"),
    ("host: signals", r"signal|sigframe|sigreturn|sigaltstack|fpu|xsave|xfeat|xrstor|restore_all|sigset|sigaction|dequeue_synch"),
    ("host: copies between processes", r"process_vm|__get_user_pages|pin_user|unpin|follow_page|access_remote|mm_access|ptrace_may|import_iovec"),
    ("host: sleeping, waking, switching", r"futex|gup_fast|sched|switch|wake|ttwu|enqueue|dequeue|pick_|update_(curr|load|rq|min)|_rq|plist|hash_bucket|"
     r"hrtimer|_raw_spin_unlock_irqrestore|get_task|put_task|select_task|set_next|put_prev|reweight|entity|avg|psi_|cpuacct|idle|tick|load_new|prepare_task"),
    ("host: entering and leaving", r"^entry_|do_syscall|syscall_|x64_sys_call|exit_to_user|irqentry|error_entry|asm_|sync_regs|native_iret|ret_from|__x64_sys|"
     r"exc_|rseq"),
]
OTHER_HOST = "host: the call's own work"
OWN = {"host": "kernel process: hand-over", "base": "kernel process: hand-over", "task": "kernel process: task loop, dispatch",
       "syscalls": "kernel process: task loop, dispatch", "fs": "kernel process: files", "files": "kernel process: files",
       "pseudo": "kernel process: files", "net": "kernel process: files", "auth": "kernel process: task loop, dispatch", "mm": "kernel process: memory", "libc": "kernel process: libc"}
STAGES = ["the program", "trampoline and stub", *dict.fromkeys(OWN.values()), *[name for name, _ in HOST], OTHER_HOST]


def folders(build):
    """The folder of each function of the kernel process, from the objects of its library."""
    found = {}
    text = subprocess.run(["nm", "-A", str(build / "libstarling_core.a")], capture_output=True, text=True).stdout
    for line in text.splitlines():
        if m := re.search(r"/(?:meson-generated_\.\._)?src_([a-z]+)_[^/:]+\.o:\S* [tT] (\S+)$", line):
            found[m[2]] = m[1]
    return found


def stage(comm, symbol, dso, guest, folder):
    if "kernel" in dso or dso.startswith("[bpf") or "bpf_prog" in dso:
        return next((name for name, pattern in HOST if re.search(pattern, symbol)), OTHER_HOST)
    if dso.endswith("bench/bench"):
        return "the program"
    if guest(comm):
        return "trampoline and stub"
    return OWN.get(folder.get(symbol.split(".")[0], "libc"), "kernel process: libc")


def calls_for(argv, work):
    """How many calls take about SECONDS."""
    out, err, _, wrong = sandbox.run([*argv[:-1], "--time", "0.1", argv[-1]], work, 60)
    m = re.search(r"\t([\d.]+)$", out, re.M)
    if wrong or not m:
        raise RuntimeError(wrong or err[-200:])
    return int(SECONDS * 1e9 / float(m[1]))


def record(argv, work, count, folder):
    """(nanoseconds by the wall, {stage: nanoseconds of the processor}) of one call."""
    data = work / "perf.data"
    counted = [*argv[:-1], "count", str(count), argv[-1]]
    out, err, _, wrong = sandbox.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-o", str(data), "--", *counted], work, 60)
    m = re.search(r"\t([\d.]+)$", out, re.M)
    if wrong or not m:
        raise RuntimeError(wrong or err[-200:])
    text = subprocess.run(["perf", "script", "-i", str(data), "-F", "comm,ip,sym,dso"], capture_output=True, text=True, errors="replace").stdout
    spent = collections.Counter()
    for line in text.splitlines():
        if s := re.match(r"\s*(\S.*?)\s+([0-9a-f]+) (.*?) \((.*?)\)$", line):
            spent[stage(s[1], s[3], s[4], lambda comm: comm.startswith("starling-g"), folder)] += 1e9 / HERTZ / count
    return float(m[1]), spent


def counters(argv, work, count):
    """{event: per call}, empty where the processor does not count for us."""
    counted = lambda n: [*argv[:-1], "count", str(n), argv[-1]]
    totals = []
    for n in (count, 2 * count):
        _, err, _, wrong = sandbox.run(["perf", "stat", "-x,", "-e", "instructions:u,instructions:k,cycles", "--", *counted(n)], work, 60)
        totals.append({m[2]: int(m[1]) for m in re.finditer(r"^(\d+),,([a-z:]+),", err, re.M)} if not wrong else {})
    return {k: (totals[1][k] - totals[0][k]) / count for k in totals[0] if k in totals[1]}


def measure(engine, program, build, work):
    """The cases that can be measured here."""
    if not shutil.which("perf"):
        return {"cases": [], "absent": "no perf"}
    folder, cases = folders(build), []
    for name, row, args, busy in CASES:
        argv = [program, row]
        if args is not None:
            argv = engine.argv(argv, str(work))
            argv = [*argv[:2], *args, *argv[2:]]
        load = [subprocess.Popen(["nice", "-n", "19", program, "burn"]) for _ in range(os.cpu_count() * busy)]
        try:
            count = calls_for(argv, work)
            wall, spent = record(argv, work, count, folder)
            cases.append({"name": name, "wall": wall, "spent": spent, "counters": {} if busy else counters(argv, work, count // 4 + 1)})
        except RuntimeError as error:
            return {"cases": cases, "absent": str(error)}
        finally:
            for p in load:
                p.kill()
                p.wait()
    return {"cases": cases, "absent": None}


def figure(ns):
    return "" if ns < 0.05 else f"{ns:.1f}" if ns < 10 else f"{ns:,.0f}"


def lines(where):
    """The table as cells: header, rows."""
    cases = where["cases"]
    head = ["nanoseconds of one call", *[c["name"] for c in cases]]
    rows = [["by the clock on the wall", *[figure(c["wall"]) for c in cases]],
            ["of the processor, all threads", *[figure(sum(c["spent"].values())) for c in cases]]]
    rows += [[s, *[figure(c["spent"].get(s, 0)) for c in cases]] for s in STAGES if any(c["spent"].get(s, 0) >= 0.05 for c in cases)]
    for event in ("instructions:u", "instructions:k", "cycles"):
        if any(event in c["counters"] for c in cases):
            rows.append([event, *[figure(c["counters"].get(event, 0)) for c in cases]])
    return head, rows
