# A Go program: goroutines over several threads, channels, timers, preemption by signals, files, exec, AF_UNIX, maps.
. "$TESTS/lib.sh"
need_toolchain go /usr/local/go/bin

mkdir "$T/go"
cat >"$T/go/main.go" <<'E'
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func spin(stop *atomic.Bool) (n int) {
	for !stop.Load() {
		n++
	}
	return
}

func main() {
	runtime.GOMAXPROCS(4)
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func() { defer wg.Done(); mu.Lock(); sum += i; mu.Unlock(); runtime.Gosched() }()
	}
	wg.Wait()
	fmt.Println("goroutines", sum)
	c, d := make(chan int), make(chan int)
	go func() { for i := range 20000 { c <- i }; close(c) }()
	go func() { s := 0; for v := range c { s += v }; d <- s }()
	fmt.Println("channels", <-d)
	var stop atomic.Bool
	for range 3 { go spin(&stop) }
	time.Sleep(20 * time.Millisecond)
	runtime.GC() // needs every spinning goroutine preempted, which Go does by signal
	stop.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	fmt.Println(ctx.Err())
	os.MkdirAll("a/b", 0o755)
	os.WriteFile("a/b/f", []byte(strings.Repeat("line\n", 1000)), 0o600)
	filepath.WalkDir("a", func(p string, e fs.DirEntry, err error) error { fmt.Println(p, e.IsDir()); return err })
	_, err := os.Stat("nothere")
	fmt.Println(errors.Is(err, fs.ErrNotExist), err)
	cmd := exec.Command("tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("through a child\n")
	out, err := cmd.Output()
	fmt.Printf("%s%v\n", out, err)
	err = exec.Command("sh", "-c", "exit 5").Run()
	fmt.Println(err)
	l, err := net.Listen("unix", "sock")
	if err != nil { panic(err) }
	go func() { for { s, err := l.Accept(); if err != nil { return }; go func() { defer s.Close(); r := bufio.NewScanner(s); for r.Scan() { fmt.Fprintln(s, "echo", r.Text()) } }() } }()
	var lines []string
	for i := range 8 {
		wg.Add(1)
		go func() { defer wg.Done(); s, err := net.Dial("unix", "sock"); if err != nil { panic(err) }; defer s.Close(); fmt.Fprintln(s, i); t, _ := bufio.NewReader(s).ReadString('\n'); mu.Lock(); lines = append(lines, t); mu.Unlock() }()
	}
	wg.Wait()
	l.Close()
	sort.Strings(lines)
	fmt.Print(strings.Join(lines, ""))
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-sig)
	m := map[string][]int{}
	for i := range 100000 { k := fmt.Sprint("k", i%97); m[k] = append(m[k], i) }
	j, _ := json.Marshal(m)
	fmt.Printf("%x\n", sha256.Sum256(j))
	func() { defer func() { fmt.Println("recovered:", recover()) }(); var p *int; fmt.Println(*p) }()
	var buf bytes.Buffer
	tick := time.NewTicker(time.Millisecond)
	for range 10 { <-tick.C; buf.WriteByte('.') }
	fmt.Println(buf.String())
	os.Exit(3)
}
E
(cd "$T/go" && HOME=${STARLING_USER_HOME:-$HOME} GO111MODULE=off GOFLAGS= GOTOOLCHAIN=local CGO_ENABLED=0 "$TOOL" build -o prog main.go) ||
    fail "go cannot build the program"
STATUS=3 same "a Go program" "$T/go/prog"
expect_native "recovered: runtime error: invalid memory address or nil pointer dereference"
finish
