"""How many calls come without a signal: from call sites that were patched, for programs of several libcs and run-times.

A site is left alone when nothing near its `syscall` may move (src/mm/patch_shape.c); those that a program made calls from
twice or more, and that could not be patched, are named with their bytes, `syscall` (0f 05) in the middle."""
import collections
import re
import shutil
import subprocess

import sandbox

STATS = re.compile(r"^starling: stats: (\w+) (\d+)$", re.M)
CALL = re.compile(r"^ *(\d+) +(\d+) +(\d+) +\d+ +\d+ +\d+  (\w+)$", re.M)
LEFT = re.compile(r"not patched: (.*\+0x[0-9a-f]+): ([0-9a-f ]+)\| ([0-9a-f ]+)$", re.M)

C = r"""
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *work(void *arg) {
    int self = *(int *)arg;
    char buffer[4096], name[300];
    struct stat st;
    for (int round = 0; round < 300; round++) {
        DIR *d = opendir("/usr/include/linux");
        struct dirent *e;
        int n = 0;
        while (d && (e = readdir(d)) && n++ < 20) {
            snprintf(name, sizeof(name), "/usr/include/linux/%s", e->d_name);
            int fd = open(name, O_RDONLY);
            if (fd >= 0) {
                fstat(fd, &st);
                while (read(fd, buffer, sizeof(buffer)) > 0) {
                }
                lseek(fd, 0, SEEK_SET);
                close(fd);
            }
            stat(name, &st);
            access(name, R_OK);
        }
        if (d)
            closedir(d);
        pthread_mutex_lock(&lock);
        while (turn % 2 != self)
            pthread_cond_wait(&changed, &lock);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        nanosleep(&(struct timespec){0, 1000}, NULL);
        getppid();
    }
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    int numbers[2] = {0, 1};
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, &numbers[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 20; i++)
        if (fork() == 0)
            _exit(0);
        else
            wait(NULL);
    puts("done");
}
"""

GO = r"""
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

func main() {
	names, _ := filepath.Glob("/usr/include/linux/*.h")
	var wg sync.WaitGroup
	results := make(chan int64, 8)
	for w := 0; w < 4; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for round := 0; round < 10; round++ {
				for _, name := range names[:100] {
					f, err := os.Open(name)
					if err != nil {
						continue
					}
					n, _ := io.Copy(io.Discard, f)
					f.Close()
					os.Stat(name)
					results <- n
				}
				time.Sleep(time.Millisecond)
			}
		}()
	}
	go func() { wg.Wait(); close(results) }()
	var sum int64
	for n := range results {
		sum += n
	}
	fmt.Println(sum > 0, os.Getpid() > 0)
}
"""

NODE = r"""
const fs = require('fs'), dir = '/usr/include/linux/';
const names = fs.readdirSync(dir).filter(n => n.endsWith('.h')).slice(0, 100);
for (let i = 0; i < 10; i++) for (const n of names) { fs.readFileSync(dir + n); fs.statSync(dir + n); }
(async () => {
  for (let i = 0; i < 5; i++) await Promise.all(names.map(n => fs.promises.readFile(dir + n)));
  for (let i = 0; i < 50; i++) await new Promise(r => setTimeout(r, 1));
  console.log('done');
})();
"""

PYTHON = r"""
import os, threading
d = '/usr/include/linux/'
names = [d + n for n in sorted(os.listdir(d)) if n.endswith('.h')][:100]
def work():
    for i in range(10):
        for n in names:
            with open(n) as f: f.read()
            os.stat(n)
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""


def programs(work):
    """Name and command of each program that can be had here; the reasons why others cannot."""
    found, absent = [], {}

    def build(name, argv, tool):
        if not shutil.which(tool):
            absent[name] = f"no {tool}"
            return
        done = subprocess.run(argv, cwd=work, capture_output=True, text=True)
        if done.returncode:
            absent[name] = f"does not build: {done.stderr.strip()[-200:]}"
        else:
            found.append((name, [str(work / argv[argv.index("-o") + 1])]))

    (work / "sites.c").write_text(C)
    (work / "sites.go").write_text(GO)
    (work / "sites.js").write_text(NODE)
    (work / "sites_threads.py").write_text(PYTHON)
    glibc = subprocess.run(["getconf", "GNU_LIBC_VERSION"], capture_output=True, text=True).stdout.strip() or "glibc"
    build(f"C, {glibc}", ["cc", "-O2", "-pthread", "sites.c", "-o", "sites-glibc"], "cc")
    build(f"C, {glibc}, static", ["cc", "-O2", "-pthread", "-static", "sites.c", "-o", "sites-static"], "cc")
    build("C, musl", ["musl-gcc", "-O2", "-pthread", "-static", "sites.c", "-o", "sites-musl"], "musl-gcc")
    build("Go", ["go", "build", "-o", "sites-go", "sites.go"], "go")
    for name, tool, script in (("Node.js", "node", "sites.js"), ("Python, threads", "python3", "sites_threads.py")):
        if path := shutil.which(tool):
            found.append((name, [path, str(work / script)]))
        else:
            absent[name] = f"no {tool}"
    return found, absent


def measure(engine, work):
    """For each program its counts, the calls that came by a signal most often, and the sites that were left."""
    found, absent = programs(work)
    rows = []
    for name, cmd in found:
        argv = engine.argv(cmd, str(work))
        _, err, _, wrong = sandbox.run(["env", "STARLING_LOG=debug", *argv[:2], "--stats", *argv[2:]], work, 120)
        if wrong:
            absent[name] = wrong
            continue
        stats = {k: int(v) for k, v in STATS.findall(err)}
        trapped = collections.Counter({call: int(n) - int(p) for n, _, p, call in CALL.findall(err) if call != "total"})
        left = {place: f"{before[-30:]}| {behind[:30].strip()}" for place, before, behind in LEFT.findall(err)}
        rows.append({"name": name, "stats": stats, "trapped": [x for x in trapped.most_common(6) if x[1]], "left": left})
    return {"rows": rows, "absent": absent}


def share(row):
    return row["stats"]["patched"] / row["stats"]["calls"] if row["stats"].get("calls") else 0


def lines(sites):
    """The table as cells."""
    return [[r["name"], f"{r['stats']['calls']:,}", f"{100 * share(r):.1f} %", f"{r['stats']['handovers']:,}",
             ", ".join(f"{call} {n:,}" for call, n in r["trapped"]), str(len(r["left"]))] for r in sites["rows"]]


HEAD = ["", "calls", "without a signal", "hand-overs", "most often by a signal", "sites left"]


def left(sites):
    """The sites that were left, one a line."""
    return [f"{r['name']}: {place}: {code}" for r in sites["rows"] for place, code in r["left"].items()]
