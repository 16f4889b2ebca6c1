package main

import (
	"context"
	"time"
)

// besideWorks make small calls while another connection moves bytes flat out.
func besideWorks() []*work {
	var works []*work
	for _, down := range []bool{false, true} {
		works = append(works, &work{
			name:    "beside-" + direction(down),
			about:   "unary calls, one at a time, while another connection moves bytes " + direction(down) + ", flat out",
			metrics: []metric{{"p50 ms", 1e3}, {"p99 ms", 1e3}, {"bulk GB/s", 1e-9}},
			run: func(ctx context.Context, st *stage) ([]float64, error) {
				calls, bulk, err := st.callsBeside(ctx, down, loadWarmup, 2*st.duration) // p99 wants many calls
				return []float64{calls.P50.Seconds(), calls.P99.Seconds(), bulk.Rate}, err
			},
		})
	}
	return works
}

// callsBeside makes calls for d while another process moves bytes.
func (st *stage) callsBeside(ctx context.Context, down bool, warmup, d time.Duration) (calls, bulk loadResult, err error) {
	moving, err := st.startLoad(loadSpec{Kind: "bulk", Down: down, Conns: 1, Warmup: warmup, Duration: warmup + d})
	if err != nil {
		return calls, bulk, err
	}
	calls, err = st.load(ctx, loadSpec{Kind: "calls", Conns: 1, Concurrent: 1, Warmup: warmup, Duration: d})
	if err != nil {
		return calls, bulk, err
	}
	bulk, err = moving.result(ctx)
	if err == nil {
		err = bulk.broken()
	}
	return calls, bulk, err
}
