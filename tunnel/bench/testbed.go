package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// testbed is a server and a system that forwards to it. A new one is started for each
// run of a workload.
type testbed struct {
	self     string // path of this program
	dir      string // for files
	duration time.Duration
	sys      *system
	link     link // between the system's processes

	processes []*process    // all processes, in the order of their start
	tunnel    []*process    // the system's processes
	server    string        // the server's address
	entry     string        // the address for the load
	ready     time.Duration // from the start of the system to the first echo
}

// startLimit bounds how long a system may take to start.
const startLimit = 20 * time.Second

// newTestbed starts a server and a system, and waits until the system forwards bytes.
// The caller must close it.
func newTestbed(ctx context.Context, self, dir string, sys *system, lk link, d time.Duration) (_ *testbed, err error) {
	tb := &testbed{self: self, duration: d, sys: sys, link: lk}
	if tb.dir, err = os.MkdirTemp(dir, "testbed-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			tb.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if tb.server, err = tb.startOwn(ctx, "server"); err != nil {
		return nil, err
	}
	started := time.Now()
	if tb.entry, err = sys.start(ctx, tb); err != nil {
		return nil, err
	}
	if err = tb.awaitEcho(ctx); err != nil {
		return nil, err
	}
	tb.ready = time.Since(started)
	return tb, nil
}

// close ends all processes, in reverse order, and removes the files.
func (tb *testbed) close() {
	for len(tb.processes) > 0 {
		last := len(tb.processes) - 1
		tb.processes[last].stop()
		tb.processes = tb.processes[:last]
	}
	_ = os.RemoveAll(tb.dir)
}

// start starts a process, which close ends.
func (tb *testbed) start(name, path string, args ...string) (*process, error) {
	p, err := startProcess(name, path, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	tb.processes = append(tb.processes, p)
	return p, nil
}

// startOwn starts a server process of this program and returns its address.
func (tb *testbed) startOwn(ctx context.Context, args ...string) (addr string, err error) {
	p, err := tb.start(args[0], tb.self, args...)
	if err != nil {
		return "", err
	}
	return p.line(ctx)
}

// startPart starts a process of the system.
func (tb *testbed) startPart(name, path string, args ...string) (*process, error) {
	p, err := tb.start(name, path, args...)
	if err == nil {
		tb.tunnel = append(tb.tunnel, p)
	}
	return p, err
}

// startOwnPart is startOwn for a process of the system.
func (tb *testbed) startOwnPart(ctx context.Context, args ...string) (addr string, err error) {
	p, err := tb.startPart(args[0], tb.self, args...)
	if err != nil {
		return "", err
	}
	return p.line(ctx)
}

// file writes a file for a process and returns its path.
func (tb *testbed) file(name, text string) (string, error) {
	path := filepath.Join(tb.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// retryPause is the delay between two attempts to connect.
const retryPause = 2 * time.Millisecond

// awaitEcho waits until an echo through the system succeeds.
func (tb *testbed) awaitEcho(ctx context.Context) error {
	for {
		err := tb.echo(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return fmt.Errorf("no connection through the system: %w%s", err, tb.stderr())
		}
	}
}

func (tb *testbed) echo(ctx context.Context) error {
	conn, err := dialOp(ctx, tb.entry, opEcho)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	b := make([]byte, 1)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, b)
	return err
}

// stderr returns the stderr output of the system's processes.
func (tb *testbed) stderr() string {
	var words strings.Builder
	for _, p := range tb.tunnel {
		if s := p.errs.String(); s != "" {
			fmt.Fprintf(&words, "\n%s: %s", p.name, s)
		}
	}
	return words.String()
}

// cpu returns the CPU time that the system has used, in seconds, or NaN.
func (tb *testbed) cpu() float64 {
	return tb.sum(func(pid int) (float64, error) {
		d, err := cpuTime(pid)
		return d.Seconds(), err
	})
}

// connections returns an error if the limit on open files is too low for n connections.
func (tb *testbed) connections(n int) error {
	const others = 200 // open files other than connections
	if need := n*tb.sys.perConn + others; need > openFiles() {
		return fmt.Errorf("needs %d open files, %d are allowed: raise ulimit -Hn", need, openFiles())
	}
	return nil
}

// memory returns the resident memory of the system in bytes, or NaN.
func (tb *testbed) memory() float64 { return tb.sum(residentMemory) }

// sum returns the sum of a value over the system's processes, or NaN after an error.
func (tb *testbed) sum(of func(pid int) (float64, error)) float64 {
	var sum float64
	for _, p := range tb.tunnel {
		x, err := of(p.cmd.Process.Pid)
		if err != nil {
			return math.NaN()
		}
		sum += x
	}
	return sum
}
