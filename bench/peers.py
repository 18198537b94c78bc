"""The engines that the benchmark compares: how each runs a command, its version, and why one cannot run here."""
import itertools
import json
import os
import pathlib
import platform
import shutil
import subprocess

PACKAGES = {"runsc": "runsc", "proot": "proot", "qemu-x86_64": "qemu-user", "bwrap": "bubblewrap", "crun": "crun"}
NAMES = ["native", "starling", *PACKAGES]
TOOLS = {"musl-gcc": "musl-tools"}  # what else the benchmark has use for
SLOW = {"runsc", "proot", "qemu-x86_64"}  # whole programs and large rows run in the first round only


class Engine:
    """`argv(command, work)` is the command line; `work` must be writable in it. An engine that does not follow execve()
    would be measured running natively what its guest starts: such rows are left out."""

    def __init__(self, name, argv, version, follows_exec=True):
        self.name, self.argv, self.version, self.follows_exec = name, argv, version, follows_exec


def kernel():
    """The host kernel's version, without what its builder appended."""
    return ".".join(platform.release().split("-")[0].split(".")[:2])


def install(names):
    """Debian's packages of the peers and tools that are missing, where that may be done."""
    missing = [p for n, p in (PACKAGES | TOOLS).items() if (n in names or n in TOOLS) and not shutil.which(n)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for package in missing:  # one by one: a package that is not to be had does not keep the others away
            command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package]
            subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def version(argv):
    out = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    return next((l.strip() for l in (out.stdout + out.stderr).splitlines() if any(c.isdigit() for c in l)), "?")


def crun_engine(state):
    """A container on the host's own directories, from a bundle in the benchmark's temporary directory."""
    count = itertools.count()

    def argv(command, work):
        bundle = state / f"crun-{next(count)}"
        (bundle / "root").mkdir(parents=True)
        mounts = [{"destination": "/proc", "type": "proc", "source": "proc"}]
        for entry in sorted(os.listdir("/")):
            path = f"/{entry}"
            if os.path.islink(path):
                (bundle / "root" / entry).symlink_to(os.readlink(path))
            elif os.path.isdir(path) and entry not in ("proc", "sys"):
                mounts.append({"destination": path, "type": "bind", "source": path, "options": ["rbind", "rw"]})
        config = {
            "ociVersion": "1.0.2",
            "process": {"terminal": False, "user": {"uid": os.geteuid(), "gid": os.getegid()}, "args": command,
                        "env": [f"{k}={v}" for k, v in os.environ.items()], "cwd": work},
            "root": {"path": "root"},
            "mounts": mounts,
            "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")]},
        }
        (bundle / "config.json").write_text(json.dumps(config))
        run = ["crun", "--root", str(state / "crun-state"), "--cgroup-manager=disabled", "run", "-b", str(bundle), bundle.name]
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return run
        # crun wants cgroup v2 alone; in a mount namespace of its own it finds that.
        return ["unshare", "-m", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh", *run]

    return argv


def engines(build, names, starling_args, state):
    """The engines of these names that run here, and for each other one the reason why not."""
    starling = str(build / "starling")
    runsc_mode = [] if os.geteuid() == 0 else ["--rootless"]
    how = {
        "native": lambda cmd, work: cmd,
        "starling": lambda cmd, work: [starling, "run", *starling_args, "--bind", f"{work}:{work}", "--cwd", work, "--", *cmd],
        "runsc": lambda cmd, work: ["runsc", *runsc_mode, "--root", str(state / "runsc-state"), "--network=none", "do",
                                    "-force-overlay=false", "-cwd", work, *cmd],
        "proot": lambda cmd, work: ["proot", "-r", "/", "-w", work, *cmd],
        "qemu-x86_64": lambda cmd, work: ["qemu-x86_64", shutil.which(cmd[0]) or cmd[0], *cmd[1:]],
        "bwrap": lambda cmd, work: ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all",
                                    "--die-with-parent", "--chdir", work, *cmd],
        "crun": crun_engine(state),
    }
    usable, absent = [], {}
    for name in names:
        if name in PACKAGES and not shutil.which(name):
            absent[name] = f"not installed (Debian's package {PACKAGES[name]})"
            continue
        try:
            out = subprocess.run(how[name](["/bin/true"], str(state)), cwd=state, stdin=subprocess.DEVNULL, timeout=30,
                                 capture_output=True, text=True, errors="replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            absent[name] = f"cannot run /bin/true: {error}"
            continue
        if out.returncode:
            absent[name] = f"cannot run /bin/true: status {out.returncode}: {out.stderr.strip()[-200:]}"
            continue
        text = f"Linux {kernel()}" if name == "native" else version([starling if name == "starling" else name, "--version"])
        if name == "proot":
            text = "proot " + text.split()[-1]
        usable.append(Engine(name, how[name], text, follows_exec=name != "qemu-x86_64"))
    return usable, absent
