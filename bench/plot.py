"""The plot: for every row the ratio to native, on a logarithmic scale, one mark for each engine."""
import math
from xml.sax.saxutils import escape

LEFT, TOP, WIDTH, STEP = 250, 78, 640, 19
MARKS = {  # engine: colour, and a path around the origin
    "starling": ("#d9480f", "M-6,0a6,6 0 1,0 12,0a6,6 0 1,0 -12,0z"),
    "runsc": ("#1c7ed6", "M-4.5,-4.5h9v9h-9z"),
    "proot": ("#2f9e44", "M0,-5.5l5.5,9.5h-11z"),
    "qemu-x86_64": ("#9c36b5", "M0,-6l6,6l-6,6l-6,-6z"),
    "bwrap": ("#868e96", "M-1.2,-5h2.4v10h-2.4z"),
    "crun": ("#c29b00", "M-5,-1.2h10v2.4h-10z"),
}
STYLE = """
text { font: 12px sans-serif; fill: #212529 } .title { font-size: 16px; font-weight: bold } .small { font-size: 11px }
.group { font-weight: bold } .page { fill: #ffffff } .grid { stroke: #dee2e6 } .one { stroke: #495057; stroke-width: 1.5 } .target { stroke: #212529; stroke-width: 2 }
.band { fill: #f1f3f5 }
@media (prefers-color-scheme: dark) { text { fill: #e9ecef } .page { fill: #16191d } .grid { stroke: #343a40 }
.one { stroke: #adb5bd } .target { stroke: #f8f9fa } .band { fill: #212529 } }
"""


def number(x):
    return f"{x:g}" if x >= 1 else f"1/{1 / x:g}"


def svg(result):
    rows = [r for r in result["rows"] if any(v for v in r["ratio"].values())]
    engines = [e for e in result["engines"] if e in MARKS]
    values = [v for r in rows for v in r["ratio"].values() if v] + [0.5, 10]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    at = lambda v: LEFT + WIDTH * (math.log10(v) - low) / (high - low)
    groups = list(dict.fromkeys(r["group"] for r in rows))
    height = TOP + STEP * (len(rows) + len(groups)) + 40
    bottom = height - 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{height}" '
           f'viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img">',
           "<title>Time in relation to native, by row and engine</title>", f"<style>{STYLE}</style>",
           '<rect class="page" width="100%" height="100%"/>',
           '<text class="title" x="14" y="24">Time in relation to native (left is faster)</text>']
    x = 14
    for e in engines:
        colour, path = MARKS[e]
        out.append(f'<path d="{path}" transform="translate({x + 6},44)" fill="{colour}"/><text x="{x + 18}" y="48">{e}</text>')
        x += 38 + 8 * len(e)
    out.append(f'<path class="target" d="M{x + 6},38v12"/><text x="{x + 14}" y="48">Starling\'s target</text>')
    for power in range(low, high + 1):
        px = at(10.0 ** power)
        out.append(f'<path class="{"one" if power == 0 else "grid"}" d="M{px:.1f},{TOP - 10}V{bottom}"/>')
        for y in (TOP - 14, bottom + 16):
            out.append(f'<text class="small" x="{px:.1f}" y="{y}" text-anchor="middle">'
                       f'{"native" if power == 0 else number(10.0 ** power) + "×"}</text>')
    y, last = TOP, None
    for r in rows:
        if r["group"] != last:
            last = r["group"]
            out.append(f'<rect class="band" x="0" y="{y - 7}" width="{LEFT + WIDTH + 30}" height="{STEP - 2}"/>'
                       f'<text x="14" y="{y + 6}" class="group">{escape(last)}</text>')
            y += STEP
        out.append(f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(r["name"])}</text>'
                   f'<path class="grid" d="M{LEFT},{y}h{WIDTH}"/>')
        target = r.get("target") or {}
        if target.get("ratio"):
            out.append(f'<path class="target" d="M{at(target["ratio"]):.1f},{y - 7}v14"/>')
        for e in reversed(engines):  # Starling's mark is on top
            if value := r["ratio"].get(e):
                colour, path = MARKS[e]
                out.append(f'<path d="{path}" transform="translate({at(value):.1f},{y})" fill="{colour}" fill-opacity=".9">'
                           f'<title>{escape(e)}: {escape(r["name"])}: {value:.3g}×</title></path>')
        y += STEP
    return "\n".join(out + ["</svg>", ""])
