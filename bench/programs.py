"""The whole programs: what they work on, and their command lines."""
import shutil
import subprocess

PYTHON = "/usr/bin/python3"
GCC = "gcc -O1, 5,000 lines"


def big_c_file(path):
    """About 5,000 lines of ordinary C."""
    with open(path, "w") as f:
        f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n")
        for i in range(500):
            f.write(f"struct s{i} {{\n    int a, b;\n    char name[{i % 30 + 1}];\n}};\n"
                    f"int f{i}(struct s{i} *s, int n) {{\n    for (int i = 0; i < n; i++)\n"
                    f"        s->a += s->b * i + (int)strlen(s->name) % {i + 3};\n"
                    f"    return s->a > {i} ? printf(\"%d\\n\", s->a) : s->b;\n}}\n\n")


def many_files(work):
    """What the rows about 10,000 files read."""
    many = work / "many"
    many.mkdir()
    for i in range(10000):
        (many / str(i)).touch()


def prepare(work):
    """Input of the whole programs, made natively."""
    many_files(work)
    big_c_file(work / "big.c")
    repo = work / "repo"
    for d in range(50):
        (repo / f"d{d}").mkdir(parents=True)
        for f in range(100):
            (repo / f"d{d}/f{f}").write_text(f"{d} {f}\n")
    git = ["git", "-C", str(repo), "-c", "user.name=n", "-c", "user.email=e"]
    for more in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(git + more, check=True)
    data = work / "data"
    data.mkdir()
    block = bytes((i * 7919 >> 3) % 256 for i in range(1 << 20))
    for i in range(200):
        (data / f"f{i}").write_bytes(block[i:] + block[:i])
    (work / "inserts.sql").write_text(
        "create table t(a integer primary key, b text);\nbegin;\n" +
        "".join(f"insert into t(b) values('row {i * 7919 % 100003}');\n" for i in range(100000)) + "commit;\n")


def programs(work):
    """Name, command, and what to remove after it. The commands are those of the peers' users."""
    found = [
        ("python3 -c 'import json,asyncio'", PYTHON, [PYTHON, "-c", "import json,asyncio"], None),
        (GCC, "gcc", ["/usr/bin/gcc", "-O1", "-c", "big.c", "-o", "big.o"], "big.o"),
        ("git status, 5,000 files", "git", ["/usr/bin/git", "-C", str(work / "repo"), "-c", "safe.directory=*", "status", "--short"], None),
        ("find /usr/share", "find", ["/usr/bin/find", "/usr/share", "-type", "f", "-newermt", "2100-01-01"], None),
        ("tar, 200 MB", "tar", ["/usr/bin/tar", "-cf", "out.tar", "data"], "out.tar"),
        ("sqlite3, 100,000 inserts", "sqlite3", ["/usr/bin/sqlite3", "t.db", ".read inserts.sql"], "t.db"),
    ]
    return [(name, cmd, trash) for name, tool, cmd, trash in found if shutil.which(tool)]
