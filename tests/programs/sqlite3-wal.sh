# The sqlite3 shell: a database with a write-ahead log, its shared-memory index, two writers at a time, recovery after a kill.
. "$TESTS/lib.sh"
need sqlite3

cat >"$T/wal" <<'E'
set -eu
sqlite3 w.db 'pragma journal_mode=wal; create table t(a integer primary key, b text);'
sqlite3 w.db 'begin; with recursive n(x) as (select 1 union all select x+1 from n where x<20000) insert into t select x, hex(x*7919) from n; commit; select count(*), max(b) from t;'
for k in 1 2 3; do
    (for i in $(seq 15); do sqlite3 -cmd '.timeout 20000' w.db "insert into t(b) values('writer $k');"; done) &
done
for i in $(seq 10); do sqlite3 -readonly -cmd '.timeout 20000' w.db 'select count(*) >= 20000 from t;'; done | sort | uniq -c
wait
sqlite3 w.db "select b, count(*) from t where b like 'writer%' group by b; pragma integrity_check; pragma wal_checkpoint(truncate);"
# A writer killed inside a transaction leaves a log; what was committed stays, what was not is gone.
mkfifo in
sqlite3 w.db <in >out & p=$!
exec 5>in
echo "insert into t(b) values('committed'); begin; insert into t(b) values('lost'); select 'inside';" >&5
until grep -q inside out; do sleep 0.01; done
kill -KILL $p; wait $p || echo "killed: $?"
exec 5>&-
ls w.db*
sqlite3 w.db "select b from t where b in ('committed', 'lost'); pragma integrity_check;"
sqlite3 w.db "select b from t order by b" | sha256sum
ls w.db*
E
same "wal in the layer" /bin/bash "$T/wal"
expect_native "killed: 137"
BIND=1 same "wal on a bind" /bin/bash -c ". $T/wal >/dev/null; rm in out; sqlite3 w.db 'select count(*) from t'; rm w.db"
same "100 small transactions, rollback journal" /bin/bash -c 'for i in $(seq 100); do echo "insert into t values($i, $i * $i);"; done | sqlite3 -cmd "create table t(a, b)" r.db; sqlite3 r.db "select sum(b) from t"; rm r.db'
finish
