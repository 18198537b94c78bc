# Node.js: its event loop, timers, streams, child processes, worker threads, files, crypto; wasm and a busy JIT.
. "$TESTS/lib.sh"
need_toolchain node

same "version" "$TOOL" --version
same_script "node" "$TOOL" <<'E'
const fs = require('fs'), cp = require('child_process'), crypto = require('crypto'), zlib = require('zlib'), os = require('os');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const assert = require('assert'), path = require('path'), net = require('net');
if (!isMainThread) { parentPort.postMessage(workerData * workerData); return; }
(async () => {
  let f = (n) => n < 2 ? n : f(n - 1) + f(n - 2); console.log(f(25));
  console.log(await Promise.all([1, 2, 3].map(async (x) => { await new Promise((r) => setTimeout(r, 10 - x)); return x * x; })));
  fs.mkdirSync('d/e', { recursive: true }); await fs.promises.writeFile('d/f', 'text'.repeat(100000));
  console.log((await fs.promises.stat('d/f')).size, fs.readdirSync('d').sort());
  await require('stream/promises').pipeline(fs.createReadStream('d/f'), zlib.createGzip(), fs.createWriteStream('d/f.gz'));
  console.log(zlib.gunzipSync(fs.readFileSync('d/f.gz')).length, crypto.createHash('sha256').update(fs.readFileSync('d/f')).digest('hex'));
  console.log(cp.execSync('echo from a shell; seq 3').toString(), cp.spawnSync('sh', ['-c', 'exit 4']).status);
  const child = cp.spawn('cat'); child.stdin.end('through cat'); for await (const d of child.stdout) console.log(d.toString());
  const squares = await Promise.all([...Array(4).keys()].map((i) => new Promise((ok, no) => { const w = new Worker(__filename, { workerData: i }); w.on('message', ok); w.on('error', no); })));
  console.log(squares);
  const server = net.createServer((s) => s.pipe(s)).listen(path.resolve('sock'));
  await new Promise((r) => server.on('listening', r));
  const c = net.connect(path.resolve('sock')); c.end('echoed'); let out = ''; for await (const d of c) out += d; console.log(out); server.close();
  process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2'); await new Promise((r) => setTimeout(r, 50));
  const m = new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0,1,7,1,96,2,127,127,1,127,3,2,1,0,7,7,1,3,97,100,100,0,0,10,9,1,7,0,32,0,32,1,106,11]));
  console.log(new WebAssembly.Instance(m).exports.add(20, 22));
  let s = 0; for (let i = 0; i < 2e7; i++) s = (s + i * 7) % 1000003; console.log(s);
  const many = Array.from({ length: 200000 }, (_, i) => ({ i, t: 'x' + i })); console.log(JSON.stringify(many).length);
  try { fs.readFileSync('nothere'); } catch (e) { console.log(e.code); }
  process.exitCode = 0;
})().catch((e) => { console.error(e); process.exit(1); });
E
expect_native "through cat"
STATUS=7 same "exit status" "$TOOL" -e 'process.exit(7)'
finish
