package main

import (
	"context"
	"io"
	"net"
	"time"
)

// settleStalled is long enough for all buffers to fill up.
const settleStalled = 2 * time.Second

// stalledWorkload returns a workload with clients that stop reading while the server
// still sends.
func stalledWorkload() *workload {
	const readers = 50
	return &workload{
		name:      "stalled",
		about:     "unary calls, one at a time, while the server sends on 50 connections that nobody reads any more",
		metrics:   []metric{{"MiB more", 1.0 / (1 << 20)}, {"p50 µs", 1e6}},
		maxRounds: 3,
		skipTLS:   true,
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			before := tb.memory()
			l, err := tb.startLoad(loadSpec{Kind: "stalled", Conns: readers})
			if err != nil {
				return nil, err
			}
			if _, err := l.result(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settleStalled)
			more := tb.memory() - before
			calls, err := tb.load(ctx, callsSpec(tb, 1, 1))
			return []float64{more, calls.P50.Seconds()}, err
		},
	}
}

// stalledLoad reads the beginning on spec.Conns connections and then stops.
func stalledLoad(ctx context.Context, spec loadSpec, report func(loadResult) error, next func() error) error {
	conns := make([]net.Conn, spec.Conns) // kept open until next
	err := inParallel(spec.Conns, spec.Conns, func(i int) error {
		conn, err := dialOp(ctx, spec.Addr, opDown)
		if err != nil {
			return err
		}
		conns[i] = conn
		_, err = io.CopyN(io.Discard, conn, blockSize)
		return err
	})
	if err != nil {
		return err
	}
	if err := report(loadResult{}); err != nil {
		return err
	}
	err = next()
	for _, conn := range conns {
		_ = conn.Close()
	}
	return err
}
