# python3: asyncio with tasks, streams over AF_UNIX, subprocesses, signals, threads.
. "$TESTS/lib.sh"
need /usr/bin/python3

same_script "asyncio" /usr/bin/python3 <<'E'
import asyncio, os, signal, socket, sys

async def main():
    async def sleeper(i):
        await asyncio.sleep(0.001 * (i % 10)); return i
    print(sum(await asyncio.gather(*[sleeper(i) for i in range(1000)])))
    q = asyncio.Queue(5)
    async def producer():
        for i in range(500):
            await q.put(i)
        await q.put(None)
    async def consumer():
        t = 0
        while (i := await q.get()) is not None:
            t += i
        return t
    print((await asyncio.gather(producer(), consumer()))[1])
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.02)
    except asyncio.TimeoutError:
        print("timed out")
    async def serve(r, w):
        while line := await r.readline():
            w.write(line.upper()); await w.drain()
        w.close()
    server = await asyncio.start_unix_server(serve, "sock")
    async def client(i):
        r, w = await asyncio.open_unix_connection("sock"); out = []
        for j in range(20):
            w.write(f"client {i} line {j}\n".encode()); out.append(await r.readline())
        w.close(); await w.wait_closed(); return out[-1]
    print(await asyncio.gather(*[client(i) for i in range(10)])); server.close(); await server.wait_closed()
    p = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate(b"to a subprocess" * 10000); print(len(out), p.returncode)
    ps = await asyncio.gather(*[asyncio.create_subprocess_shell(f"exit {i}") for i in range(10)]); print([await p.wait() for p in ps])
    got = asyncio.Event(); loop = asyncio.get_running_loop(); loop.add_signal_handler(signal.SIGUSR1, got.set)
    os.kill(os.getpid(), signal.SIGUSR1); await asyncio.wait_for(got.wait(), 5); print("signal")
    print(await asyncio.to_thread(sum, range(1000)), await loop.run_in_executor(None, os.getcwd) == os.getcwd())
    a, b = socket.socketpair(); a.setblocking(False); b.setblocking(False)
    await loop.sock_sendall(a, b"x" * 100); print(len(await loop.sock_recv(b, 1000))); a.close(); b.close()
    async with asyncio.TaskGroup() as g:
        ts = [g.create_task(sleeper(i)) for i in range(3)]
    print([t.result() for t in ts])
asyncio.run(main())
E
expect_native "timed out"
finish
