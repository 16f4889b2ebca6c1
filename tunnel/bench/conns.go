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
	connBytes   = 256 * 1024 // per used connection and direction
	connsUsed   = 1000       // number of used connections
	connsAtOnce = 64         // number of connections opened or used at the same time

	openLimit = 20 * time.Second // to open one connection

	settle = 6 * time.Second // before each measurement of memory
)

// connsWorkload returns a workload that opens n connections, uses some, and closes all.
func connsWorkload(name string, n int) *workload {
	return &workload{
		name:  name,
		about: strconv.Itoa(n) + " connections opened; idle for 6 s; 6 s after 256 KiB each way over 1,000; 6 s after closing",
		metrics: []metric{
			{"open s", 1},
			{"idle KiB each", 1.0 / 1024},
			{"used KiB each", 1.0 / 1024},
			{"closed MiB more", 1.0 / (1 << 20)},
		},
		maxRounds: 2,
		skipTLS:   true,
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			if err := tb.connections(n); err != nil {
				return nil, err
			}
			before := tb.memory()
			l, err := tb.startLoad(loadSpec{Kind: "conns", Conns: n, Concurrent: connsAtOnce, Bytes: connBytes})
			if err != nil {
				return nil, err
			}
			opened, err := l.result(ctx)
			if err != nil {
				return nil, err
			}
			pause(ctx, settle)
			idle := tb.memory() - before
			if err := l.next(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settle)
			more := tb.memory() - before - idle
			if err := l.next(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settle)
			closed := tb.memory() - before
			return []float64{opened.Took.Seconds(), idle / float64(n), idle/float64(n) + more/connsUsed, closed}, nil
		},
	}
}

// connsLoad opens connections, echoes bytes on some of them, and closes all. It waits
// for next between these steps.
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
	err = inParallel(min(spec.Conns, connsUsed), spec.Concurrent, func(i int) error { return echoBytes(conns[i], spec.Bytes) })
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

// openEcho opens a connection and waits for an echo.
func openEcho(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := dialOp(ctx, addr, opEcho)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(openLimit))
	err = echoBytes(conn, 1)
	_ = conn.SetDeadline(time.Time{})
	return conn, err
}

// echoBytes sends n bytes and reads their echo.
func echoBytes(conn net.Conn, n int) error {
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

// inParallel calls do for 0 to n-1, atOnce of them at the same time, until one fails.
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
