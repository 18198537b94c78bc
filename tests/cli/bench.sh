# bench/run: a short run gives text, JSON, a plot and a page, leaves no file behind, and fails clearly.
. "$TESTS/lib.sh"
need python3

bench=("$TESTS/../bench/run" --build "$BUILD")
expect 0 'getppid .*(met|missed)' 'round 1 of 1' "${bench[@]}" --quick --engines native,starling --rows getppid,hello \
    --json out.json --svg out.svg --markdown out.md

check "the JSON, the plot or the page is not as it should be: see above" python3 - <<'PY'
import json
import xml.etree.ElementTree as tree

result = json.load(open("out.json"))
rows = {r["name"]: r for r in result["rows"]}
assert set(rows) == {"getppid", "getppid by syscall()", "start of a static hello"}, rows.keys()
for row in rows.values():
    assert not row["errors"], row["errors"]
    assert row["median"]["native"] > 0 and row["median"]["starling"] > 0, row
    assert abs(row["ratio"]["starling"] - row["median"]["starling"] / row["median"]["native"]) < 1e-9, row
    assert row["verdict"] in ("met", "missed"), row
assert result["means"]["small rows"]["starling"] > 0
plot = tree.parse("out.svg").getroot()
assert plot.tag == "{http://www.w3.org/2000/svg}svg"
titles = [e.text for e in plot.iter("{http://www.w3.org/2000/svg}title")]
assert any("getppid by syscall()" in t for t in titles), titles
page = open("out.md").read()
assert "| getppid |" in page and "@TABLE@" not in page and "@MACHINE@" not in page
PY

expect 0 'getppid' '' "${bench[@]}" --render out.json --svg again.svg
check "the plot from the JSON differs" cmp out.svg again.svg
expect 1 '' 'unknown engine nosuch' "${bench[@]}" --engines nosuch
expect 1 '' 'no row has such a name' "${bench[@]}" --quick --engines native --rows nosuchrow
check "files are left in $T" bash -c '! compgen -G "$TMPDIR/starling-bench-*"'
finish
