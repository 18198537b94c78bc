#!/usr/bin/env python3
"""Make C and documentation from src/syscalls/syscalls.def, forms.def and flags.def.

usage: gen_syscalls.py header|source|markdown SYSCALLS.DEF FORMS.DEF FLAGS.DEF OUTPUT

  header    syscalls_gen.h: prototypes of the handlers, SYSCALL_COUNT, FLAGS_<SET>_KNOWN
  source    syscalls_gen.c: thunks, the dispatch table, descriptions of arguments and flags for tracing
  markdown  docs/syscalls.md

The output depends on the input alone.
"""
import os
import re
import sys

LEVELS = ("full", "partial", "missing")
USER = "struct user_address"
# type: (C type of the parameter, how to make it from a register)
SIMPLE = {
    "int": ("int", "(int)"), "uint": ("unsigned int", "(unsigned int)"), "long": ("long", "(long)"),
    "ulong": ("unsigned long", "(unsigned long)"), "size": ("size_t", "(size_t)"), "off": ("int64_t", "(int64_t)"),
    "fd": ("int", "(int)"), "dirfd": ("int", "(int)"), "pid": ("pid_t", "(pid_t)"), "uid": ("uid_t", "(uid_t)"),
    "gid": ("gid_t", "(gid_t)"), "signal": ("int", "(int)"), "mode": ("mode_t", "(mode_t)"),
    "dev": ("unsigned int", "(unsigned int)"), "addr": ("uint64_t", ""), "ptr": (USER, "user_address"),
    "path": (USER, "user_address"), "str": (USER, "user_address"), "argv": (USER, "user_address"),
}
SIZED = ("buf_in", "buf_out", "iovec_in", "iovec_out", "sockaddr_in", "sockaddr_out")
# Types of forms.def, which are printed alone: with what they need behind their name.
PRINTED = {"hex": "", "hexu": "", "remainder_out": ":", "filemode": "", "envp": "", "sigframe": "", "str_out": "(", "iovec": "(", "dirents_out": "",
           "bits_in": "(", "bits_out": "(", "optval_in": "(", "optval_out": "(", "changed": ":", "ready_bits": "(",
           "ready": ":(", "left": ":", "ioctl": ":"}
RESULTS = {"ptr": "", "octal": "", "hex": "", "never": "", "signal": "", "ready": "", "flags": ":", "names": ":", "enum": ":"}
SETS = {"flags": "int", "enum": "int", "flagsu": "unsigned int", "enumu": "unsigned int", "flagsl": "unsigned long",
        "enuml": "unsigned long"}
# Sets that no argument names but that structures are printed with.
INNER_SETS = ("sigaction", "sigaltstack", "epoll", "poll", "fd", "seal", "lock", "resolve")


def die(where, text):
    sys.exit(f"{where}: {text}")


class Argument:
    def __init__(self, text, where, printed=False):
        m = re.fullmatch(r"([a-z_]+)(?::([a-z_0-9]+))?(?:\((\w+)\))?\s+(?:(\w+)=)?([a-z_]\w*)(?:\s+if\s+(\w+)&(\S+))?",
                         text)
        if not m:
            die(where, f"cannot understand the argument '{text}'")
        self.type, self.of, self.size, self.label, self.name, self.condition, self.bits = m.groups()
        t = self.type
        if t in SIMPLE and not self.of and not self.size:
            self.ctype, self.convert = SIMPLE[t]
        elif t in SIZED and self.size and not self.of:
            self.ctype, self.convert = USER, "user_address"
        elif t in ("struct_in", "struct_out", "struct_inout") and self.of and not self.size:
            self.ctype, self.convert = USER, "user_address"
        elif t in ("array_in", "array_out", "array_inout") and self.of and self.size:
            self.ctype, self.convert = USER, "user_address"
        elif t in SETS and self.of and not self.size:
            self.ctype, self.convert = SETS[t], f"({SETS[t]})"
        elif printed and PRINTED.get(t) == (":" if self.of else "") + ("(" if self.size else ""):
            pass
        else:
            die(where, f"'{text}' is not a type of argument")


class Form:
    """How a call is printed: its arguments and its result, if the conditions hold."""

    def __init__(self, conditions, text, where, printed):
        arguments, arrow, result = text.partition("->")
        self.where, self.conditions, self.own = where, conditions, not printed
        kind, colon, of = result.strip().partition(":")
        if arrow and (kind not in RESULTS or RESULTS[kind] != colon):
            die(where, f"result '{result.strip()}' is not one of {', '.join(RESULTS)}")
        self.result, self.result_set = kind or "number", of
        self.args = [Argument(a.strip(), where, printed)
                     for a in re.split(r",(?![^()]*\))", arguments.strip()) if a.strip()]
        if len(self.args) > 6:
            die(where, "more than six arguments")


class Row:
    def __init__(self, line, where):
        cells = [c.strip() for c in line.split("|")]
        if not 4 <= len(cells) <= 5:
            die(where, "a row is: name | x86_64 | level | arguments [| note]")
        self.name, number, self.level = cells[:3]
        self.note = cells[4] if len(cells) == 5 else ""
        if not re.fullmatch(r"\w+", self.name) or not number.isdigit():
            die(where, "bad name or number")
        self.number = int(number)
        if self.level not in LEVELS:
            die(where, f"level '{self.level}' is not one of {', '.join(LEVELS)}")
        if self.level == "partial" and not self.note:
            die(where, f"{self.name} is partial: the note must say what lacks")
        own = Form([], cells[3], where, False)
        self.forms, self.args = [own], own.args
        self.names = [a.name for a in self.args] # of the registers; forms can name the stack pointer as well
        self.names += [""] * (6 - len(self.names)) + ["sp"]

    def add_form(self, conditions, text, where):
        """In front of the row's own, which one without conditions replaces."""
        if not self.forms[-1].own:
            die(where, f"{self.name} has had a form without conditions: this one is never taken")
        form = Form(conditions, text, where, True)
        if conditions:
            self.forms.insert(len(self.forms) - 1, form)
        else:
            self.forms[-1] = form

    def check(self, sets):
        for form in self.forms:
            for a in form.args:
                if a.size and a.size != "ret" and not a.size.isdigit() and a.size not in self.names:
                    die(form.where, f"'{a.name}' has its length in '{a.size}', which is no argument")
                if a.name not in self.names or (a.condition and a.condition not in self.names):
                    die(form.where, f"'{a.name}' is no argument of {self.name}")
                if (a.type in SETS or a.type == "ioctl") and a.of not in sets:
                    die(form.where, f"there is no set '{a.of}' in flags.def")
            if form.result_set and form.result_set not in sets:
                die(form.where, f"there is no set '{form.result_set}' in flags.def")

    def value(self, argument, text, sets, where):
        """A number, or a name of the set that the argument is printed with in the row."""
        if re.fullmatch(r"-?(0x[0-9a-f]+|[0-9]+)", text):
            return number(text)
        of = next((a.of for a in self.args if a.name == argument), None)
        for value, name, _ in sets[of].lines if of in sets else ():
            if name == text:
                return value
        die(where, f"'{text}' is not a value of '{argument}'")

    def prototype(self):
        params = "".join(f", {a.ctype} {a.name}" for a in self.args)
        return f"int64_t sys_{self.name}(struct task *current{params})"


class FlagSet:
    def __init__(self, name, mask):
        self.name, self.mask, self.lines = name, mask, []

    def prefix(self):
        """What its names begin with, for a value that has none: CLOCK_"""
        names = [name for _, name, _ in self.lines]
        common = os.path.commonprefix(names)
        return common[:common.rfind("_") + 1]

    def known(self):
        known = self.mask
        unknown = 0
        for value, _, supported in self.lines:
            if value & ~self.mask and supported:
                known |= value
            elif not supported:
                unknown |= value
        return known & ~unknown & (2**64 - 1)


def content(path):
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            line = line.strip()
            if line and not line.startswith("#"):
                yield f"{path}:{n}", line


def number(text):
    negative = text.startswith("-")
    digits = text.lstrip("-")
    value = int(digits, 16) if digits.startswith("0x") else int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits)
    return -value if negative else value


def read_flags(path):
    sets, current = {}, None

    for where, line in content(path):
        words = line.split()
        if words[0] == "set":
            if words[1] in sets or len(words) not in (2, 4):
                die(where, "a set is: set NAME [mask VALUE], each name once")
            current = sets[words[1]] = FlagSet(words[1], number(words[3]) if len(words) == 4 else 0)
            continue
        if current is None or len(words) not in (2, 3) or (len(words) == 3 and words[2] != "!"):
            die(where, "a flag is: VALUE NAME [!]")
        current.lines.append((number(words[0]), words[1], len(words) == 2))
    return sets


def read_rows(path, sets):
    rows = []
    for where, line in content(path):
        row = Row(line, where)
        if rows and row.number <= rows[-1].number:
            die(where, f"{row.name} is out of order")
        row.check(sets)
        rows.append(row)
    return rows


def read_forms(path, rows, sets):
    by_name = {row.name: row for row in rows}
    for where, line in content(path):
        cells = [c.strip() for c in line.split("|", 2)]
        if len(cells) != 3 or cells[0] not in by_name:
            die(where, "a form is: name | conditions | arguments [-> result], the name is one of syscalls.def")
        row, conditions = by_name[cells[0]], []
        for text in cells[1].split():
            m = re.fullmatch(r"(\w+)(?:&(\w+))?=(\S+)", text)
            if not m or m[1] not in row.names:
                die(where, f"'{text}' is not argument[&mask]=value[,value...]")
            conditions.append((row.names.index(m[1]), number(m[2]) if m[2] else 0xffffffff,
                               [row.value(m[1], v, sets, where) for v in m[3].split(",")]))
        if len(conditions) > 2:
            die(where, "more than two conditions")
        row.add_form(conditions, cells[2], where)
        row.check(sets)


def header(rows, sets):
    yield "/* Made by tools/gen_syscalls.py from syscalls.def, forms.def and flags.def. Do not edit. */"
    yield "#ifndef STARLING_SYSCALLS_GEN_H"
    yield "#define STARLING_SYSCALLS_GEN_H"
    yield ""
    yield f"#define SYSCALL_COUNT {rows[-1].number + 1}"
    yield ""
    yield "/* What a handler accepts: every flag of the set that is not marked unsupported. */"
    for s in sets.values():
        yield f"#define FLAGS_{s.name.upper()}_KNOWN {s.known():#x}ull"
    yield ""
    for row in rows:
        yield row.prototype() + ";"
    yield ""
    yield "#endif"


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def forms(row, sets):
    for n, form in enumerate(row.forms):
        if form.args:
            yield f"static const struct syscall_argument args_{row.name}_{n}[] = {{"
        for a in form.args:
            fields = [f".kind = ARG_{a.type.upper()}", f".index = {row.names.index(a.name)}"]
            if a.label:
                fields.append(f".label = {c_string(a.label)}")
            if a.type in SETS or a.type == "ioctl":
                fields.append(f".set = &flag_set_{a.of}")
            elif a.of:
                fields.append(f".structure = &trace_struct_{a.of}")
            if a.size == "ret":
                fields.append(".size_kind = SIZE_RESULT")
            elif a.size and a.size.isdigit():
                fields.append(f".size_kind = SIZE_FIXED, .size = {a.size}")
            elif a.size:
                fields.append(f".size_kind = SIZE_ARGUMENT, .size = {row.names.index(a.size)}")
            if a.condition:
                bits = 0
                for text in a.bits.split("+"):
                    bits |= row.value(a.condition, text, sets, form.where)
                fields.append(f".condition = {row.names.index(a.condition)}, .condition_bits = {bits:#x}ull")
            yield "    {" + ", ".join(fields) + "},"
        if form.args:
            yield "};"
        for c, (_, _, values) in enumerate(form.conditions):
            yield f"static const uint32_t when_{row.name}_{n}_{c}[] = {{{', '.join(f'{v & 0xffffffff:#x}u' for v in values)}}};"
    yield f"static const struct syscall_form forms_{row.name}[] = {{"
    for n, form in enumerate(row.forms):
        fields = [f".result = RESULT_{form.result.upper()}"]
        if form.args:
            fields.append(f".args = args_{row.name}_{n}, .arg_count = {len(form.args)}")
        if form.result_set:
            fields.append(f".result_set = &flag_set_{form.result_set}")
        when = [f"{{{index}, {mask:#x}u, when_{row.name}_{n}_{c}, ARRAY_SIZE(when_{row.name}_{n}_{c})}}"
                for c, (index, mask, _) in enumerate(form.conditions)]
        if when:
            fields.append(f".when = {{{', '.join(when)}}}, .when_count = {len(when)}")
        yield "    {" + ", ".join(fields) + "},"
    yield "};"


def source(rows, sets):
    yield "/* Made by tools/gen_syscalls.py from syscalls.def, forms.def and flags.def. Do not edit. */"
    yield '#include "syscalls/syscalls.h"'
    yield ""
    yield '#include "syscalls/table_internal.h"'
    yield ""
    for s in sets.values():
        yield f"static const struct flag_name names_{s.name}[] = {{"
        for value, name, _ in s.lines:
            yield f"    {{{value & (2**64 - 1):#x}ull, {c_string(name)}}},"
        yield "};"
        yield f"const struct flag_set flag_set_{s.name} = {{"
        yield f"    {c_string(s.prefix())}, names_{s.name}, ARRAY_SIZE(names_{s.name}), {s.mask:#x}ull}};"
    yield ""
    structs = sorted({a.of for r in rows for f in r.forms for a in f.args if a.of and a.type not in SETS and a.type != "ioctl"})
    for s in structs:
        yield f"extern const struct trace_struct trace_struct_{s};"
    yield ""
    for row in rows:
        yield from forms(row, sets)
        if row.level != "missing":
            yield f"static int64_t thunk_{row.name}(struct task *current, const uint64_t args[6]) {{"
            values = []
            for i, a in enumerate(row.args):
                values.append(f", user_address(args[{i}])" if a.convert == "user_address" else f", {a.convert}args[{i}]")
            yield f"    return sys_{row.name}(current{''.join(values)});"
            yield "}"
    yield ""
    yield "const struct syscall_row syscall_table[SYSCALL_COUNT] = {"
    for row in rows:
        fields = [f".name = {c_string(row.name)}", f".level = SYSCALL_{row.level.upper()}"]
        if row.level != "missing":
            fields.append(f".call = thunk_{row.name}")
        if row.note:
            fields.append(f".note = {c_string(row.note)}")
        fields.append(f".forms = forms_{row.name}")
        yield f"    [{row.number}] = {{{', '.join(fields)}}},"
    yield "};"


def markdown(rows, sets):
    count = {level: sum(r.level == level for r in rows) for level in LEVELS}
    yield "# System calls"
    yield ""
    yield "Made by `make docs` from `src/syscalls/syscalls.def`, the table that dispatches. `starling syscalls` prints the same."
    yield ""
    yield f"{count['full']} full, {count['partial']} partial, {count['missing']} missing. A missing call returns `ENOSYS` and is"
    yield "logged once by its name."
    yield ""
    yield "| number | name | level | what lacks |"
    yield "|---:|---|---|---|"
    for r in rows:
        yield f"| {r.number} | `{r.name}` | {r.level} | {r.note} |"
    unsupported = [(s.name, name) for s in sets.values() for _, name, supported in s.lines if not supported]
    yield ""
    yield "Flags that a supported call refuses: " + ", ".join(f"`{name}`" for _, name in unsupported) + "."


def main():
    makers = {"header": header, "source": source, "markdown": markdown}
    if len(sys.argv) != 6 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    sets = read_flags(sys.argv[4])
    rows = read_rows(sys.argv[2], sets)
    read_forms(sys.argv[3], rows, sets)
    text = "\n".join(makers[sys.argv[1]](rows, sets)) + "\n"
    with open(sys.argv[5], "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    main()
