"""What is made of a result: text, the page docs/performance.md, geometric means, met and missed targets."""
import math
import pathlib
import re

import sites
import where


def human(value, unit):
    if value is None:
        return "–"
    if unit == "KiB":
        return f"{value / 1024:.2f} MiB" if value >= 1024 else f"{value:.0f} KiB"
    for scale, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")):
        if value >= 0.9995 * scale or scale == 1:
            figure = value / scale
            break
    return f"{figure:.0f} {name}" if figure >= 99.95 else f"{figure:.3g} {name}"


def times(ratio):
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×"


def cell(row, engine):
    value = row["median"].get(engine)
    if value is None:
        return "failed" if engine in row["errors"] else "–"
    ratio = row["ratio"].get(engine)
    return human(value, row["unit"]) + (f" ({times(ratio)})" if ratio else "")


def spread(row):
    """Interquartile range over the median, of Starling's samples."""
    value, iqr = row["median"].get("starling"), row["iqr"].get("starling")
    return f"{100 * iqr / value:.0f} %" if value and iqr is not None else "–"


def goal(target):
    if not target:
        return ""
    if "ratio" in target:
        return f"≤ {target['ratio']:g}×"
    if "more" in target:
        return f"≤ native + {human(target['more'], 'ns')}"
    return f"≤ {human(target['value'], 'KiB')}"


def verdict(row):
    """met, missed, or nothing where there is no target or no figure."""
    target, value, native = row["target"], row["median"].get("starling"), row["median"].get("native")
    if not target:
        return ""
    if value is None:
        return "missed" if "starling" in row["errors"] else ""
    if "value" in target:
        return "met" if value <= target["value"] else "missed"
    if native is None:
        return ""
    limit = native * target["ratio"] if "ratio" in target else native + target["more"]
    return "met" if value <= limit else "missed"


def geometric(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def means(result):
    """{group: {engine: geometric mean of the ratios to native}}, over the rows that both have."""
    small = [r for r in result["rows"] if r["small"]]
    whole = [r for r in result["rows"] if r["group"] == "whole programs"]
    return {name: {e: geometric([r["ratio"].get(e) for r in rows]) for e in result["engines"] if e != "native"}
            for name, rows in (("small rows", small), ("whole programs", whole))}


def overall(result):
    """The targets that are about more than one row: [text, figure, met or missed]."""
    found = []
    programs = result["means"]["whole programs"].get("starling")
    if programs:
        found.append(["whole programs: geometric mean ≤ 1.25×", times(programs), "met" if programs <= 1.25 else "missed"])
    both = [(r["median"]["starling"], r["median"]["runsc"], r) for r in result["rows"]
            if r["median"].get("starling") and r["median"].get("runsc")]
    if both:
        behind = [r["name"] for a, b, r in both if a >= b]
        found.append(["ahead of runsc on every row", "behind on: " + ", ".join(behind) if behind else f"{len(both)} rows",
                      "missed" if behind else "met"])
        lead = geometric([b / a for a, b, r in both if r["small"]])
        if lead:
            found.append(["small rows: 3 times as fast as runsc (geometric mean)", f"{lead:.1f} times", "met" if lead >= 3 else "missed"])
    shares = [(r["name"], r["stats"]) for r in result["rows"] if r.get("stats")]
    for name, s in shares:
        if s.get("calls") and "handovers" in s:
            share = s["handovers"] / s["calls"]
            found.append([f"{name}: at most half of the calls hand over", f"{100 * share:.0f} %", "met" if share <= 0.5 else "missed"])
    return found


def columns(result):
    """The table as text cells: header, rows."""
    names = list(result["engines"])
    handovers = any("handovers" in (r.get("stats") or {}) for r in result["rows"])
    head = ["", *names, "spread", "target", ""] + ["calls", "hand-overs"] * handovers
    lines = []
    for r in result["rows"]:
        stats = r.get("stats") or {}
        counts = [f"{stats[k]:,}" if k in stats else "" for k in ("calls", "handovers")] if handovers else []
        lines.append([r["name"], *[cell(r, n) for n in names], spread(r), goal(r["target"]), r["verdict"], *counts])
    return head, lines


def table(head, lines):
    return "\n".join(["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)] +
                     ["| " + " | ".join(l) + " |" for l in lines])


def mean_lines(result):
    return [[name, *[times(m[e]) if m.get(e) else "–" for e in result["engines"] if e != "native"]]
            for name, m in result["means"].items()]


def sites_left(result):
    """What the table of call sites does not say: sites that were left alone, programs that were not run."""
    found = result["sites"]
    return [f"not patched: {x}" for x in sites.left(found)] + [f"{n}: not measured: {why}" for n, why in found["absent"].items()]


def as_text(result):
    def grid(lines):
        width = [max(len(l[i]) for l in lines) for i in range(len(lines[0]))]
        return "\n".join("  ".join([l[0].ljust(width[0])] + [c.rjust(w) for c, w in zip(l[1:], width[1:])]) for l in lines)

    head, lines = columns(result)
    text = [grid([head, *lines]), "", "Geometric means of the ratios to native:",
            grid([["", *[e for e in result["engines"] if e != "native"]], *mean_lines(result)])]
    if result["overall"]:
        text += ["", grid(result["overall"])]
    if result.get("sites"):
        text += ["", "Call sites:", grid([sites.HEAD, *sites.lines(result["sites"])]), *sites_left(result)]
    if result.get("where") and result["where"]["cases"]:
        head, lines = where.lines(result["where"])
        text += ["", grid([head, *lines])]
    text += ["", *[f"{n}: {v}" for n, v in result["engines"].items()], *[f"{n}: absent: {v}" for n, v in result["absent"].items()]]
    return "\n".join(text + [f"{r['name']}, {e}: failed: {why}" for r in result["rows"] for e, why in r["errors"].items()])


def as_markdown(result, template):
    """The template with its places (@NAME@) filled in."""
    m = result["machine"]
    head, lines = columns(result)
    failed = [f"- {r['name']}, {e}: {why}" for r in result["rows"] for e, why in r["errors"].items()]
    absent = [f"- {n}: not measured: {why}" for n, why in result["absent"].items()]
    fill = {
        "MACHINE": f"Measured {result['date']} on {m['cores']} cores of {m['cpu']}{' (virtual machine)' if m['virtual'] else ''}, "
                   f"{m['memory_gib']} GiB, Linux {m['kernel']}; {result['rounds']} round{'s' * (result['rounds'] > 1)}"
                   + (f", {result['cut']}." if result["cut"] else "."),
        "TABLE": table(head, lines),
        "MEANS": table(["", *[e for e in result["engines"] if e != "native"]], mean_lines(result)),
        "OVERALL": table(["target", "measured", ""], result["overall"]) if result["overall"] else "Not measured in this run.",
        "SITES": "\n".join([table(sites.HEAD, sites.lines(result["sites"])), "", *[f"- {x}" for x in sites_left(result)]])
                 if result.get("sites") else "Not measured in this run.",
        "WHERE": table(*where.lines(result["where"])) if (result.get("where") or {}).get("cases")
                 else f"Not measured in this run: {(result.get('where') or {}).get('absent') or 'not asked for'}.",
        "VERSIONS": "\n".join([f"- {n}: {v}" for n, v in result["engines"].items()] + absent),
        "FAILED": "\n".join(failed) or "No row failed.",
    }
    text = pathlib.Path(template).read_text()
    for name, value in fill.items():
        text = text.replace(f"@{name}@", value)
    for r in result["rows"]:  # @starling:getppid@ in the prose is a figure of the table
        for e in result["engines"]:
            text = text.replace(f"@{e}:{r['name']}@", human(r["median"].get(e), r["unit"]))
    return re.sub(r"@[a-z0-9_-]+:[^@\n]+@", "–", text)  # rows that this run did not have
