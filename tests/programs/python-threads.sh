# python3: threads, locks, conditions, queues, thread pools, thread-local data, signals beside threads.
. "$TESTS/lib.sh"
need /usr/bin/python3

same_script "threads" /usr/bin/python3 <<'E'
import concurrent.futures, hashlib, queue, signal, os, sys, threading, time
counter, lock = 0, threading.Lock()
def count():
    global counter
    for _ in range(5000):
        with lock:
            counter += 1
threads = [threading.Thread(target=count) for _ in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]; print(counter)

q, results = queue.Queue(maxsize=10), []
def worker():
    while (item := q.get()) is not None:
        results.append(item * item); q.task_done()
    q.task_done()
workers = [threading.Thread(target=worker) for _ in range(4)]
[w.start() for w in workers]
for i in range(2000):
    q.put(i)
[q.put(None) for _ in workers]; q.join(); [w.join() for w in workers]; print(sum(results), len(results))

barrier, order = threading.Barrier(8), []
def meet():
    for r in range(50):
        barrier.wait()
        with lock:
            order.append(r)
ts = [threading.Thread(target=meet) for _ in range(8)]; [t.start() for t in ts]; [t.join() for t in ts]; print(order == sorted(order))

with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(hashlib.sha256(b"".join(pool.map(lambda i: hashlib.sha256(bytes([i % 256]) * 100000).digest(), range(200)))).hexdigest())

local = threading.local(); local.x = "main"; seen = []
t = threading.Thread(target=lambda: seen.append(hasattr(local, "x"))); t.start(); t.join(); print(seen, local.x)

e = threading.Event(); t = threading.Timer(0.05, e.set); t.start(); print(e.wait(5), e.is_set())
c = threading.Condition(); state = []
def consumer():
    with c:
        c.wait_for(lambda: state, timeout=10); state.append("seen")
t = threading.Thread(target=consumer); t.start()
with c:
    state.append("made"); c.notify_all()
t.join(); print(state)
s = threading.BoundedSemaphore(2); inside, worst = 0, 0
def limited():
    global inside, worst
    with s:
        with lock:
            inside += 1; worst = max(worst, inside)
        time.sleep(0.001)
        with lock:
            inside -= 1
ts = [threading.Thread(target=limited) for _ in range(20)]; [t.start() for t in ts]; [t.join() for t in ts]; print(worst <= 2, inside)

got = []
signal.signal(signal.SIGUSR1, lambda *a: got.append(threading.current_thread() is threading.main_thread()))
stop = threading.Event(); spin = [threading.Thread(target=lambda: stop.wait()) for _ in range(4)]; [t.start() for t in spin]
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR1)
    n = len(got)
    while not got:
        time.sleep(0.001)
signal.pthread_kill(spin[0].ident, signal.SIGUSR1)
stop.set(); [t.join() for t in spin]; print(all(got), len(got) >= 1, threading.active_count())
print(len(set(t.native_id for t in [threading.main_thread()])), threading.get_native_id() == os.getpid())
threading.stack_size(256 * 1024); ts = [threading.Thread(target=lambda: time.sleep(0.01)) for _ in range(200)]
[t.start() for t in ts]; [t.join() for t in ts]; print("200 threads")
E
expect_native "200 threads"
finish
