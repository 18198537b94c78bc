# A Rust program: threads, channels, scoped borrows, panics and their unwinding, files, processes, AF_UNIX.
. "$TESTS/lib.sh"
need_toolchain rustc

cat >"$T/main.rs" <<'E'
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::{fs, panic, thread, time::Duration};

fn main() {
    let total = Arc::new(Mutex::new(0u64));
    let hs: Vec<_> = (0..16).map(|i| { let t = total.clone(); thread::spawn(move || for _ in 0..1000 { *t.lock().unwrap() += i }) }).collect();
    hs.into_iter().for_each(|h| h.join().unwrap());
    println!("threads {}", total.lock().unwrap());
    let (tx, rx) = mpsc::sync_channel(4);
    for k in 0..4 { let tx = tx.clone(); thread::spawn(move || for i in 0..1000 { tx.send(k * 1000 + i).unwrap() }); }
    drop(tx);
    println!("channel {}", rx.iter().sum::<u64>());
    let mut v = vec![1u32; 1_000_000];
    thread::scope(|s| for c in v.chunks_mut(250_000) { s.spawn(move || for x in c { *x += 1 }); });
    println!("scoped {}", v.iter().sum::<u32>());
    panic::set_hook(Box::new(|_| {}));
    println!("panic {:?}", thread::spawn(|| -> () { panic!("in a thread") }).join().unwrap_err().downcast_ref::<&str>());
    println!("caught {}", panic::catch_unwind(|| { let v: Vec<i32> = vec![]; v[std::env::args().count()] }).is_err());
    let b = Arc::new(Barrier::new(8)); let n = Arc::new(RwLock::new(0));
    let hs: Vec<_> = (0..8).map(|_| { let (b, n) = (b.clone(), n.clone()); thread::spawn(move || { for _ in 0..20 { b.wait(); *n.write().unwrap() += 1; } }) }).collect();
    hs.into_iter().for_each(|h| h.join().unwrap());
    println!("barrier {}", n.read().unwrap());
    let pair = Arc::new((Mutex::new(false), Condvar::new())); let p2 = pair.clone();
    thread::spawn(move || { *p2.0.lock().unwrap() = true; p2.1.notify_one(); });
    let mut g = pair.0.lock().unwrap(); while !*g { g = pair.1.wait(g).unwrap(); } drop(g);
    thread::sleep(Duration::from_millis(5));
    fs::create_dir_all("a/b").unwrap(); fs::write("a/b/f", "text".repeat(1000)).unwrap(); fs::rename("a/b/f", "a/g").unwrap();
    println!("{} {:?}", fs::metadata("a/g").unwrap().len(), fs::read_to_string("nothere").unwrap_err().kind());
    let out = Command::new("sh").args(["-c", "echo child; exit 6"]).output().unwrap();
    println!("{:?} {:?}", String::from_utf8_lossy(&out.stdout), out.status.code());
    let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through cat").unwrap();
    let mut s = String::new(); cat.stdout.take().unwrap().read_to_string(&mut s).unwrap(); cat.wait().unwrap(); println!("{s}");
    let l = UnixListener::bind("sock").unwrap();
    let h = thread::spawn(move || { let (s, _) = l.accept().unwrap(); let mut w = s.try_clone().unwrap(); for line in BufReader::new(s).lines() { writeln!(w, "echo {}", line.unwrap()).unwrap() } });
    let mut c = UnixStream::connect("sock").unwrap(); writeln!(c, "hello").unwrap(); c.shutdown(std::net::Shutdown::Write).unwrap();
    let mut s = String::new(); c.read_to_string(&mut s).unwrap(); h.join().unwrap(); print!("{s}");
    let mut m: HashMap<u64, Vec<u64>> = HashMap::new(); for i in 0..100_000u64 { m.entry(i % 97).or_default().push(i * i) }
    let o: BTreeMap<_, _> = m.iter().map(|(k, v)| (k, v.iter().fold(0u64, |a, b| a.wrapping_mul(31).wrapping_add(*b)))).collect();
    println!("{:?}", o.iter().next_back());
    println!("parallelism {}", thread::available_parallelism().unwrap().get() > 0);
    std::process::exit(4);
}
E
HOME=${STARLING_USER_HOME:-$HOME} "$TOOL" --edition 2021 -C opt-level=1 -o "$T/prog" "$T/main.rs" || fail "rustc cannot build the program"
STATUS=4 same "a Rust program" "$T/prog"
expect_native 'panic Some("in a thread")'
finish
