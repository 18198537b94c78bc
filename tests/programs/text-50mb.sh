# timeout: 300
# grep, sed, awk, sort, wc, cut, uniq and comm on 50 MB.
. "$TESTS/lib.sh"
LIMIT=120
awk 'BEGIN { for (i = 1; i <= 1200000; i++) { x = (x * 69069 + 12345) % 2147483647; printf "%d %s%d user%d /path/%d/file\n", x, (x % 3 ? "GET" : "POST"), i, x % 1000, x % 77 } }' >"$TMPDIR/big"
DATA=$TMPDIR/big
size=$(stat -c %s "$DATA")
[ "$size" -gt 50000000 ] || fail "the data has only $size bytes"
export DATA

same "wc" wc "$DATA"
same "grep" grep -c 'POST.*user7' "$DATA"
same "grep -r" grep -rc '/path/42/' "$(dirname "$DATA")" --include=big
same "sed" bash -c 'sed -e "s/user\([0-9]*\)/\1@host/" -e "/POST/d" "$DATA" | md5sum'
same "awk" awk '{ n[$3]++; s += $1 } END { for (k in n) c += n[k] * length(k); print c, s }' "$DATA"
same "sort, with temporary files" bash -c 'LC_ALL=C sort -S 8M -k3,3 -k1,1n "$DATA" | md5sum'
same "sort in two threads" bash -c 'LC_ALL=C sort --parallel=2 -S 200M "$DATA" -o sorted; LC_ALL=C sort -c sorted && md5sum sorted'
same "cut, sort, uniq" bash -c 'cut -d " " -f 3 "$DATA" | LC_ALL=C sort | uniq -c | sort -k1,1nr -k2 | head -n 20'
same "split and join again" bash -c 'split -b 5M "$DATA" part. && ls part.* | wc -l && cat part.* | cmp - "$DATA" && echo same'
same "tac, head, tail" bash -c 'tac "$DATA" | head -n 100000 | tail -n 5'
same "dd" bash -c 'dd if="$DATA" bs=64k 2>/dev/null | dd bs=1M of=copy 2>/dev/null; cmp copy "$DATA" && echo same'
finish
