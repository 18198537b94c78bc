# python3: start, imports, json, tempfile, pathlib, hashes, compression, mmap, ctypes, time zones, errors.
. "$TESTS/lib.sh"
need /usr/bin/python3

same "version" /usr/bin/python3 -V
same "many imports" /usr/bin/python3 -c 'import json, asyncio, sqlite3, email, http.client, xml.etree.ElementTree, unittest, decimal, ctypes, multiprocessing, concurrent.futures, logging, argparse, urllib.request, zipfile; print("imported")'
same "platform" /usr/bin/python3 -c 'import os, sys, platform; print(platform.system(), platform.machine(), os.cpu_count(), sys.maxsize, os.getuid(), os.name, sys.byteorder)'
same "standard input" /usr/bin/python3 -c 'import sys; print(sys.stdin.read().upper(), sys.stdin.isatty())' <<<"some text"
STATUS=1 same "exceptions" /usr/bin/python3 -c 'raise SystemExit(1)'
STATUS=134 same "abort" /usr/bin/python3 -c 'import os; os.abort()'

same_script "json" /usr/bin/python3 <<'E'
import json, random
random.seed(1)
def make(d):
    if d == 0:
        return random.choice([None, True, 1.5, "tëxt", random.randrange(10**12)])
    return {f"k{i}": make(d - 1) for i in range(4)} if d % 2 else [make(d - 1) for _ in range(4)]
value = make(6)
text = json.dumps(value, sort_keys=True)
assert json.loads(text) == value
with open("v.json", "w") as f:
    json.dump(value, f, indent=1)
with open("v.json") as f:
    assert json.load(f) == value
print(len(text), hash(text) is not None, text[:80])
try:
    json.loads("{bad")
except ValueError as e:
    print(e)
E
same_script "tempfile, os, pathlib, shutil" /usr/bin/python3 <<'E'
import errno, fcntl, os, pathlib, shutil, stat, tempfile, glob
with tempfile.TemporaryDirectory() as d:
    p = pathlib.Path(d)
    (p / "a/b").mkdir(parents=True)
    (p / "a/f").write_text("text\n" * 1000)
    os.link(p / "a/f", p / "hard"); os.symlink("a/f", p / "sym")
    print(sorted(str(x.relative_to(p)) for x in p.rglob("*")), (p / "hard").stat().st_nlink)
    shutil.copytree(p / "a", p / "copy"); print((p / "copy/f").read_bytes() == (p / "a/f").read_bytes())
    os.chmod(p / "hard", 0o640); print(oct(stat.S_IMODE((p / "a/f").stat().st_mode)))
    os.replace(p / "hard", p / "a/b/moved"); print(os.listdir(p / "a/b"))
    with open(p / "lock", "w") as f:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = os.fork()
        if pid == 0:
            try:
                with open(p / "lock", "w") as g:
                    fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                os._exit(e.errno)
            os._exit(0)
        print("the child's lock:", errno.errorcode[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])])
    print(len(glob.glob(str(p / "**"), recursive=True)))
print(os.path.exists(d))
with tempfile.NamedTemporaryFile() as f, tempfile.TemporaryFile() as g, tempfile.SpooledTemporaryFile() as h:
    f.write(b"named"); f.flush(); print(open(f.name).read()); g.write(b"x" * 100000); print(g.tell()); h.write(b"s")
fd = os.open("sparse", os.O_RDWR | os.O_CREAT); os.pwrite(fd, b"end", 1 << 20); print(os.fstat(fd).st_size, os.pread(fd, 3, 5))
os.posix_fallocate(fd, 0, 2 << 20); print(os.fstat(fd).st_size); os.ftruncate(fd, 10); print(os.lseek(fd, 0, os.SEEK_END)); os.close(fd)
for bad, call in [("nothere", open), ("/", lambda p: open(p, "w")), ("sparse/x", os.stat), ("/proc/self/mem2", os.listdir)]:
    try:
        call(bad)
    except OSError as e:
        print(errno.errorcode[e.errno])
r, w = os.pipe(); os.set_blocking(r, False)
try:
    os.read(r, 1)
except BlockingIOError as e:
    print(errno.errorcode[e.errno])
os.mkfifo("fifo"); print(stat.S_ISFIFO(os.stat("fifo").st_mode)); print(sorted(e.name for e in os.scandir(".")))
E
expect_native "the child's lock: EAGAIN"
same_script "hashing, compression, mmap, ctypes, decimal, time" /usr/bin/python3 <<'E'
import bz2, ctypes, datetime, decimal, gzip, hashlib, io, lzma, mmap, os, random, struct, time, zipfile, zlib, uuid, secrets
data = b"".join(struct.pack("<I", i * 2654435761 % 2**32) for i in range(200000))
print(hashlib.sha256(data).hexdigest(), zlib.crc32(data))
for m in (bz2, gzip, lzma, zlib):
    assert m.decompress(m.compress(data[:200000])) == data[:200000]
with open("m", "wb") as f:
    f.write(data)
with open("m", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
    m[4096:4100] = b"MMAP"; m.flush(); print(m.find(b"MMAP"), len(m))
    f.seek(4096); print(f.read(4))
a = mmap.mmap(-1, 1 << 20); pid = os.fork()
if pid == 0:
    a[0:5] = b"child"; os._exit(0)
os.waitpid(pid, 0); print(a[0:5])
with zipfile.ZipFile("z.zip", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("x/y", "zip" * 1000)
print(zipfile.ZipFile("z.zip").read("x/y")[:6], zipfile.ZipFile("z.zip").testzip())
libc = ctypes.CDLL(None); print(libc.abs(-5), ctypes.CDLL("libm.so.6").cos is not None)
print(decimal.Decimal(2).sqrt(decimal.Context(30)), datetime.datetime.fromtimestamp(0, datetime.timezone.utc).isoformat())
t = time.monotonic(); time.sleep(0.02); print(time.monotonic() - t >= 0.02, time.time() > 1.7e9, time.process_time() > 0)
random.seed(7); print([random.randrange(100) for _ in range(5)], len(secrets.token_bytes(16)), len(os.urandom(300)), len(str(uuid.uuid4())))
E
expect_native "b'child'"
finish
