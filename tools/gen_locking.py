#!/usr/bin/env python3
"""Make docs/locking.md from src/base/lock_order.def.

usage: gen_locking.py LOCK_ORDER.DEF SRC OUTPUT

The order and the words come from the table; where the locks of each class are made (lock_init, rwlock_init and static
initializers) from the sources under SRC. A class that nothing uses, or a use of an unknown class, is an error: so the
page cannot name what is not there. The output depends on the input alone.
"""
import pathlib
import re
import sys

ROW = re.compile(r'^LOCK_CLASS\((\w+), (true|false), "((?:[^"\\]|\\.)*)"\)$')
USE = re.compile(r"\bLOCK_([A-Z][A-Z_]*)\b")

HEAD = """\
# Locking

Generated from `src/base/lock_order.def` by `tools/gen_locking.py` (`make docs`); do not edit.

Every lock belongs to a class, and the classes are ranked: a thread may take a lock only when its rank is below (further
down this page than) that of every lock it holds. Builds with sanitizers or `buildtype=debug` check it on every
acquisition and panic with the names of both classes (`src/base/lock.c`); other builds carry no cost. Two locks of one
class are held together only where the class says *nests*, in the order that its description gives.

No lock is held while a thread waits for a guest or sleeps in `wait_sleep()`: both check it in the same builds. A field that a
lock guards says so in the comment beside it.

| rank | class | nests | guards | made in |
|---:|---|---|---|---|
"""


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    table, src, output = map(pathlib.Path, sys.argv[1:])
    rows = []
    for number, line in enumerate(table.read_text().splitlines(), 1):
        if not line.startswith("LOCK_CLASS("):
            continue
        match = ROW.match(line)
        if not match:
            sys.exit(f"{table}:{number}: cannot understand this row")
        rows.append(match.groups())
    names = {name for name, _, _ in rows}
    if len(names) != len(rows):
        sys.exit(f"{table}: a class is listed twice")
    used = {name: set() for name in names}
    for path in sorted(src.rglob("*.c")):
        folder = path.relative_to(src).parts[0]
        if folder == "base" and path.name == "lock.c":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not re.search(r"lock_init\(|_INITIALIZER", line):
                continue
            for name in USE.findall(line):
                if name not in names:
                    sys.exit(f"{path}:{number}: LOCK_{name} is not in {table}")
                used[name].add(path.relative_to(src).as_posix())
    text = HEAD
    for rank, (name, nests, doc) in enumerate(rows, 1):
        where = ", ".join(f"`{path}`" for path in sorted(used[name])) or "–"
        text += f"| {rank} | `{name}` | {'yes' if nests == 'true' else ''} | {doc} | {where} |\n"
    output.write_text(text)


if __name__ == "__main__":
    main()
