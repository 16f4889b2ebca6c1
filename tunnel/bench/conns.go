package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connBytes   = 256 * 1024 // for each connection, each way
	connTraffic = 1000       // how many connections have that
	connsAtOnce = 64         // how many are opened or used at the same time

	openLimit = 20 * time.Second // for one of them

	settleOpen   = 6 * time.Second // before the memory of open connections is looked at
	settleUsed   = 6 * time.Second // that of those that have been used
	settleClosed = 6 * time.Second // and that of closed ones
)

// connsWork opens n connections, holds them, uses some and closes them.
func connsWork(name string, n int) *work {
	return &work{
		name:  name,
		about: strconv.Itoa(n) + " connections opened; idle for 6 s; 6 s after 256 KiB each way over 1,000; 6 s after closing",
		metrics: []metric{
			{"open s", 1},
			{"idle KiB each", 1.0 / 1024},
			{"used KiB each", 1.0 / 1024},
			{"closed MiB more", 1.0 / (1 << 20)},
		},
		most:  2,
		plain: true,
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			if err := st.connections(n); err != nil {
				return nil, err
			}
			before := st.memory()
			l, err := st.startLoad(loadSpec{Kind: "conns", Conns: n, Concurrent: connsAtOnce, Bytes: connBytes})
			if err != nil {
				return nil, err
			}
			opened, err := l.result(ctx)
			if err != nil {
				return nil, err
			}
			pause(ctx, settleOpen)
			idle := st.memory() - before
			if err := l.next(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settleUsed)
			more := st.memory() - before - idle
			if err := l.next(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settleClosed)
			closed := st.memory() - before
			return []float64{opened.Took.Seconds(), idle / float64(n), idle/float64(n) + more/connTraffic, closed}, nil
		},
	}
}

// connsLoad opens connections, moves bytes both ways on some of them, and closes
// all, each when it is told to.
func connsLoad(ctx context.Context, spec loadSpec, report func(loadResult) error, next func() error) error {
	conns := make([]net.Conn, spec.Conns)
	started := time.Now()
	err := inParallel(spec.Conns, spec.Concurrent, func(i int) (err error) {
		conns[i], err = openEcho(ctx, spec.Addr)
		return err
	})
	if err != nil {
		return err
	}
	if err := report(loadResult{Took: time.Since(started)}); err != nil {
		return err
	}
	if err := next(); err != nil {
		return err
	}
	err = inParallel(min(spec.Conns, connTraffic), spec.Concurrent, func(i int) error { return exchange(conns[i], spec.Bytes) })
	if err != nil {
		return err
	}
	if err := report(loadResult{}); err != nil {
		return err
	}
	if err := next(); err != nil {
		return err
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	if err := report(loadResult{}); err != nil {
		return err
	}
	return next()
}

// openEcho makes a connection and waits until it is open at the other end, too.
func openEcho(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := dialOp(ctx, addr, opEcho)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(openLimit))
	err = exchange(conn, 1)
	_ = conn.SetDeadline(time.Time{})
	return conn, err
}

// exchange sends n bytes and waits until they are back.
func exchange(conn net.Conn, n int) error {
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, n))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, conn, int64(n)); err != nil {
		return err
	}
	return <-sent
}

// inParallel does something for n connections, some at the same time, until it
// fails for one of them.
func inParallel(n, atOnce int, do func(i int) error) error {
	var started atomic.Int64
	var once sync.Once
	var failed error
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for {
				i := int(started.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					once.Do(func() { failed = fmt.Errorf("connection %d of %d: %w", i+1, n, err) })
					started.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return failed
}
