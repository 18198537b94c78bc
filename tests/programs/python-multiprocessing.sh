# python3: multiprocessing by fork, spawn and forkserver, with pools, queues, shared memory, semaphores, managers.
. "$TESTS/lib.sh"
need /usr/bin/python3

same_script "multiprocessing" /usr/bin/python3 <<'E'
import hashlib, multiprocessing as mp, os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory

def square(x):
    return x * x
def digest(n):
    return hashlib.sha256(bytes([n % 256]) * 200000).hexdigest()
def add(value, lock, n):
    for _ in range(n):
        with lock:
            value.value += 1
def produce(q, n):
    for i in range(n):
        q.put((os.getpid() > 0, i))
def talk(c):
    while (m := c.recv()) != "stop":
        c.send(m[::-1])
def fill(name):
    s = shared_memory.SharedMemory(name); s.buf[:4] = b"done"; s.close()
def fail():
    raise ValueError("in the child")

if __name__ == "__main__":
    with mp.Pool(4) as pool:
        print(sum(pool.map(square, range(10000), chunksize=50)), sorted(pool.imap_unordered(square, range(20))))
        print(hashlib.sha256("".join(pool.map(digest, range(100))).encode()).hexdigest())
        try:
            pool.apply(fail)
        except ValueError as e:
            print(e)
    value, lock = mp.Value("i", 0), mp.Lock()
    ps = [mp.Process(target=add, args=(value, lock, 500)) for _ in range(6)]; [p.start() for p in ps]; [p.join() for p in ps]
    print(value.value, [p.exitcode for p in ps])
    q = mp.Queue(); ps = [mp.Process(target=produce, args=(q, 300)) for _ in range(3)]; [p.start() for p in ps]
    print(sum(q.get()[1] for _ in range(900))); [p.join() for p in ps]
    a, b = mp.Pipe(); p = mp.Process(target=talk, args=(b,)); p.start()
    for i in range(100):
        a.send("abc" * i); assert a.recv() == ("abc" * i)[::-1]
    a.send("stop"); p.join(); print("pipe", p.exitcode)
    s = shared_memory.SharedMemory(create=True, size=4096); p = mp.Process(target=fill, args=(s.name,)); p.start(); p.join()
    print(bytes(s.buf[:4])); s.close(); s.unlink()
    with mp.Manager() as m:
        d = m.dict(); ps = [mp.Process(target=d.__setitem__, args=(i, i * i)) for i in range(5)]; [p.start() for p in ps]; [p.join() for p in ps]
        print(sorted(d.items()))
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(square, range(10))))
    for method in ("spawn", "forkserver"):
        c = mp.get_context(method)
        with c.Pool(2) as pool:
            print(method, pool.map(square, range(5)))
    p = mp.Process(target=time.sleep, args=(100,)); p.start(); p.terminate(); p.join(); print(p.exitcode)
E
expect_native "forkserver [0, 1, 4, 9, 16]"
finish
