# python3: sqlite3 in memory and on disk, transactions, two connections, threads.
. "$TESTS/lib.sh"
need /usr/bin/python3

prog='
import hashlib, os, sqlite3, threading
m = sqlite3.connect(":memory:"); print(m.execute("select sqlite_version(), 6 * 7").fetchone())
c = sqlite3.connect("d.db"); c.execute("create table t (id integer primary key, name text, n real)")
with c:
    c.executemany("insert into t (name, n) values (?, ?)", ((f"name{i}", i / 3) for i in range(20000)))
print(c.execute("select count(*), sum(n), max(name) from t").fetchone())
c.execute("create index i on t (name)"); print(c.execute("select id from t where name = ?", ("name777",)).fetchall())
try:
    with c:
        c.execute("update t set n = 0"); raise KeyError
except KeyError:
    print("rolled back", c.execute("select sum(n) from t").fetchone())
d = sqlite3.connect("d.db", timeout=0.05); c.execute("begin immediate")
try:
    d.execute("begin immediate")
except sqlite3.OperationalError as e:
    print(e)
c.commit(); d.execute("delete from t where id % 2"); d.commit(); print(c.execute("select count(*) from t").fetchone())
for mode in ("delete", "truncate", "persist", "wal"):
    print(c.execute("pragma journal_mode = " + mode).fetchone()); c.execute("insert into t (name) values (?)", (mode,)); c.commit()
def writer(k):
    w = sqlite3.connect("d.db", timeout=30)
    for i in range(20):
        with w:
            w.execute("insert into t (name) values (?)", (f"thread{k}",))
    w.close()
ts = [threading.Thread(target=writer, args=(k,)) for k in range(4)]; [t.start() for t in ts]; [t.join() for t in ts]
print(c.execute("select count(*) from t where name like \"thread%\"").fetchone(), c.execute("pragma integrity_check").fetchone())
c.execute("vacuum"); c.close(); d.close(); e = sqlite3.connect("d.db"); print(hashlib.sha256("\n".join(e.iterdump()).encode()).hexdigest() != "", sorted(os.listdir(".")))
'
same_script "sqlite3 in the layer" /usr/bin/python3 <<<"$prog"
expect_native "database is locked"
same "sqlite3's version of SQL" /usr/bin/python3 -c 'import sqlite3; print(sqlite3.connect(":memory:").execute("with recursive n(x) as (select 1 union all select x + 1 from n where x < 1000) select sum(x) from n").fetchall())'
finish
