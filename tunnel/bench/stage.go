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

// stage is what one measurement takes place on: a server, and a system that
// leads to it. Nothing of it was there before.
type stage struct {
	self     string // this program
	dir      string // for files, empty at first
	duration time.Duration
	sys      *system
	link     link // between the system's processes

	processes []*process // all of them
	tunnel    []*process // those of the system
	server    string     // the server's address
	entry     string     // where the load connects to
	ready     time.Duration
}

// startLimit bounds how long a system may take until it passes something on.
const startLimit = 20 * time.Second

// newStage starts everything and waits until the system passes something on.
// close ends it.
func newStage(ctx context.Context, self, dir string, sys *system, lk link, d time.Duration) (_ *stage, err error) {
	st := &stage{self: self, duration: d, sys: sys, link: lk}
	if st.dir, err = os.MkdirTemp(dir, "stage-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if st.server, err = st.startSelf(ctx, "server"); err != nil {
		return nil, err
	}
	started := time.Now()
	if st.entry, err = sys.start(ctx, st); err != nil {
		return nil, err
	}
	if err = st.awaitEcho(ctx); err != nil {
		return nil, err
	}
	st.ready = time.Since(started)
	return st, nil
}

// close ends all processes, the last one first.
func (st *stage) close() {
	for len(st.processes) > 0 {
		last := len(st.processes) - 1
		st.processes[last].stop()
		st.processes = st.processes[:last]
	}
	_ = os.RemoveAll(st.dir)
}

// start starts a process that ends with the stage.
func (st *stage) start(name, path string, args ...string) (*process, error) {
	p, err := startProcess(name, path, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	st.processes = append(st.processes, p)
	return p, nil
}

// startSelf starts a server that is this program and returns its address.
func (st *stage) startSelf(ctx context.Context, args ...string) (addr string, err error) {
	p, err := st.start(args[0], st.self, args...)
	if err != nil {
		return "", err
	}
	return p.line(ctx)
}

// part is start for a process of the system.
func (st *stage) part(name, path string, args ...string) (*process, error) {
	p, err := st.start(name, path, args...)
	if err == nil {
		st.tunnel = append(st.tunnel, p)
	}
	return p, err
}

// selfPart is part for a process that is this program.
func (st *stage) selfPart(ctx context.Context, args ...string) (addr string, err error) {
	p, err := st.part(args[0], st.self, args...)
	if err != nil {
		return "", err
	}
	return p.line(ctx)
}

// file writes a file for a process and returns its path.
func (st *stage) file(name, text string) (string, error) {
	path := filepath.Join(st.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// retryPause is the time between two attempts to get through.
const retryPause = 2 * time.Millisecond

// awaitEcho waits until a byte comes back through the system.
func (st *stage) awaitEcho(ctx context.Context) error {
	for {
		err := st.echo(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return fmt.Errorf("nothing comes through: %w%s", err, st.lastWords())
		}
	}
}

func (st *stage) echo(ctx context.Context) error {
	conn, err := dialOp(ctx, st.entry, opEcho)
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

// lastWords is what the system's processes have written to stderr.
func (st *stage) lastWords() string {
	var words strings.Builder
	for _, p := range st.tunnel {
		if s := p.errs.String(); s != "" {
			fmt.Fprintf(&words, "\n%s: %s", p.name, s)
		}
	}
	return words.String()
}

// cpu is the CPU time that the system has used, in seconds, or NaN.
func (st *stage) cpu() float64 {
	return st.sum(func(pid int) (float64, error) {
		d, err := cpuTime(pid)
		return d.Seconds(), err
	})
}

// connections returns an error if the system can't have n of them.
func (st *stage) connections(n int) error {
	const others = 200
	if need := n*st.sys.perConn + others; need > openFiles() {
		return fmt.Errorf("needs %d open files, %d are allowed: raise ulimit -Hn", need, openFiles())
	}
	return nil
}

// memory is how much of the system is in memory, in bytes, or NaN.
func (st *stage) memory() float64 { return st.sum(residentMemory) }

// sum adds up something of the system's processes.
func (st *stage) sum(of func(pid int) (float64, error)) float64 {
	var sum float64
	for _, p := range st.tunnel {
		x, err := of(p.cmd.Process.Pid)
		if err != nil {
			return math.NaN()
		}
		sum += x
	}
	return sum
}
