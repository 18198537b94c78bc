"""Where the time of one call goes: samples of the processor's time (perf, by the clock, since virtual machines have no
counters), put down to the program, the stub, the host's kernel and the parts of the kernel process; and where the
processor counts instructions and cycles, these too."""
import bisect
import collections
import os
import re
import shutil
import signal
import subprocess
import time

import sandbox

HERTZ = 10000
SECONDS = 0.7
STEPS = 100000
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
    if comm.startswith(guest):
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
    """(nanoseconds by the wall, {stage: nanoseconds of the processor}) of one call. The whole machine is sampled: events that
    go along with threads make each switch between them dearer."""
    data = work / "perf.data"
    p = subprocess.Popen(["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", str(HERTZ), "-o", str(data), "--",
                          *argv[:-1], "count", str(count), argv[-1]], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ours = set()  # its processes, at one time or another
    while p.poll() is None:
        ours.update(sandbox.tree(p.pid))
        time.sleep(0.1)
    out, err = p.communicate(timeout=60)
    m = re.search(r"\t([\d.]+)$", out, re.M)
    if p.returncode or not m:
        raise RuntimeError(err.strip()[-200:] or "no figure")
    text = subprocess.run(["perf", "script", "-i", str(data), "-F", "comm,pid,ip,sym,dso"], capture_output=True, text=True, errors="replace").stdout
    spent = collections.Counter()
    for line in text.splitlines():
        s = re.match(r"\s*(\S.*?)\s+(\d+)\s+([0-9a-f]+) (.*?) \((.*?)\)$", line)
        if s and int(s[2]) in ours:
            spent[stage(s[1], s[4], s[5], "starling-g", folder)] += 1e9 / HERTZ / count
    return float(m[1]), spent


def counters(argv, work, count):
    """{event: per call}, empty where the processor does not count for us."""
    counted = lambda n: [*argv[:-1], "count", str(n), argv[-1]]
    totals = []
    for n in (count, 2 * count):
        _, err, _, wrong = sandbox.run(["perf", "stat", "-x,", "-e", "instructions:u,instructions:k,cycles", "--", *counted(n)], work, 60)
        totals.append({m[2]: int(m[1]) for m in re.finditer(r"^(\d+),,([a-z:]+),", err, re.M)} if not wrong else {})
    return {k: (totals[1][k] - totals[0][k]) / count for k in totals[0] if k in totals[1]}


def threads(pid):
    """{thread: process} of a process and all below it."""
    found = {}
    for p in sandbox.tree(pid):
        try:
            found.update((int(t), p) for t in os.listdir(f"/proc/{p}/task"))
        except OSError:
            pass
    return found


def mappings(pid):
    """[(start, end, offset, path)] of executable memory."""
    found = []
    for line in open(f"/proc/{pid}/maps"):
        if m := re.match(r"([0-9a-f]+)-([0-9a-f]+) r.x. ([0-9a-f]+) \S+ \d+ *(.*)$", line):
            found.append((int(m[1], 16), int(m[2], 16), int(m[3], 16), m[4]))
    return found


def symbols(binary):
    """Addresses and names of a program's functions, sorted; where its text is loaded from."""
    names, loads = [], []
    for line in subprocess.run(["nm", "-n", str(binary)], capture_output=True, text=True).stdout.splitlines():
        if m := re.match(r"([0-9a-f]+) [tT] (\S+)$", line):
            names.append((int(m[1], 16), m[2]))
    for line in subprocess.run(["readelf", "-lW", str(binary)], capture_output=True, text=True).stdout.splitlines():
        if m := re.match(r" +LOAD +0x([0-9a-f]+) 0x([0-9a-f]+) .* R E ", line):
            loads.append((int(m[1], 16), int(m[2], 16)))
    return names, loads[0][1] - loads[0][0]


def entry_of(pid, stub):
    """Where patched calls enter the stub (src/host/slot.h)."""
    with open(f"/proc/{pid}/mem", "rb") as f:
        f.seek(stub)
        header = f.read(48)
    return stub + int.from_bytes(header[40:48], "little")


def instructions(argv, work, build, folder, steps):
    """({stage: instructions}, [host calls of the guest's process, of the kernel process]) of one call, in user mode."""
    p = subprocess.Popen([*argv[:-1], "count", "1e12", argv[-1]], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         start_new_session=True)
    try:
        time.sleep(0.5)  # until it is in its loop
        tids = threads(p.pid)
        maps = {pid: mappings(pid) for pid in set(tids.values())}
        guests = {pid for pid, rows in maps.items() if any(r[3].endswith("bench/bench") for r in rows)}
        stubs = {pid: next((r[0] for r in maps[pid] if r[1] - r[0] == 0x10000 and r[0] >= 0x7e9000000000 and not r[3]), None) for pid in guests}
        entries = {pid: entry_of(pid, stub) for pid, stub in stubs.items() if stub}
        done = subprocess.run([str(build / "bench/steps"), str(steps), *map(str, tids)], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        names, bias = symbols(build / "starling")
        starts = [a for a, _ in names]
        spent, host, calls = collections.defaultdict(collections.Counter), collections.Counter(), 0
        serves = set()  # which threads are about calls at all
        for line in done.stdout.splitlines():
            tid, address, times, enters = line.split("\t")
            pid, address, times = tids[int(tid)], int(address, 16), int(times)
            row = next((r for r in maps[pid] if r[0] <= address < r[1]), (0, 0, 0, ""))
            if pid in guests:
                where = "the program" if row[3].endswith("bench/bench") else "trampoline and stub"
                serves.add(tid)
            elif row[3].endswith("/starling"):
                name = names[bisect.bisect_right(starts, address - row[0] + row[2] + bias) - 1][1].split(".")[0]
                where = OWN.get(folder.get(name), "kernel process: libc")
                if name == "syscall_dispatch":
                    serves.add(tid)
            else:
                where = "kernel process: libc"
            spent[tid][where] += times
            host[tid] += times * int(enters)
            calls += times if address == entries.get(pid) or (not entries and int(enters)) else 0
        if not calls:
            raise RuntimeError("no call was seen")
        total = sum((spent[t] for t in serves), collections.Counter())
        return {k: v / calls for k, v in total.items()}, [sum(host[t] for t in serves if (tids[int(t)] in guests) == own) / calls
                                                          for own in (True, False)]
    finally:
        for pid in sandbox.tree(p.pid)[::-1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        p.wait()


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
            case = {"name": name, "wall": wall, "spent": spent, "counters": {}, "instructions": {}, "host calls": []}
            if not busy:
                case["counters"] = counters(argv, work, count // 4 + 1)
                if "--no-patch" not in (args or []):
                    case["instructions"], case["host calls"] = instructions(argv, work, build, folder, STEPS)
            cases.append(case)
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
    counted = lambda c, s: c["instructions"].get(s, 0)
    rows += [[f"instructions, {s}", *[figure(counted(c, s)) for c in cases]] for s in STAGES if any(counted(c, s) >= 0.5 for c in cases)]
    for i, side in enumerate(("guest's", "kernel")):
        rows.append([f"host calls, {side} process", *[figure(c["host calls"][i]) if c["host calls"] else "" for c in cases]])
    for event in ("instructions:u", "instructions:k", "cycles"):
        if any(event in c["counters"] for c in cases):
            rows.append([event, *[figure(c["counters"].get(event, 0)) for c in cases]])
    return head, rows
