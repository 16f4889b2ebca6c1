package main

import (
	"context"
	"io"
	"net"
	"time"
)

// settleStalled is the time in which all buffers fill up.
const settleStalled = 2 * time.Second

// stalledWork has readers that stop reading while the server goes on.
func stalledWork() *work {
	const readers = 50
	return &work{
		name:    "stalled",
		about:   "unary calls, one at a time, while the server sends on 50 connections that nobody reads any more",
		metrics: []metric{{"MiB more", 1.0 / (1 << 20)}, {"p50 µs", 1e6}},
		most:    3,
		plain:   true,
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			before := st.memory()
			l, err := st.startLoad(loadSpec{Kind: "stalled", Conns: readers})
			if err != nil {
				return nil, err
			}
			if _, err := l.result(ctx); err != nil {
				return nil, err
			}
			pause(ctx, settleStalled)
			more := st.memory() - before
			calls, err := st.load(ctx, callsSpec(st, 1, 1))
			return []float64{more, calls.P50.Seconds()}, err
		},
	}
}

// stalledLoad begins to read on some connections, and stops.
func stalledLoad(ctx context.Context, spec loadSpec, report func(loadResult) error, next func() error) error {
	conns := make([]net.Conn, spec.Conns) // which must stay open
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
