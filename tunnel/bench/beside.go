package main

import (
	"context"
	"time"
)

// besideWorkloads returns workloads that make small calls while another connection
// transfers bytes at full speed.
func besideWorkloads() []*workload {
	var workloads []*workload
	for _, down := range []bool{false, true} {
		workloads = append(workloads, &workload{
			name:    "beside-" + direction(down),
			about:   "unary calls, one at a time, while another connection moves bytes " + direction(down) + ", flat out",
			metrics: []metric{{"p50 ms", 1e3}, {"p99 ms", 1e3}, {"bulk GB/s", 1e-9}},
			run: func(ctx context.Context, tb *testbed) ([]float64, error) {
				calls, bulk, err := tb.callsBeside(ctx, down, loadWarmup, 2*tb.duration) // p99 needs many calls
				return []float64{calls.P50.Seconds(), calls.P99.Seconds(), bulk.Rate}, err
			},
		})
	}
	return workloads
}

// callsBeside makes calls for d while another process transfers bytes.
func (tb *testbed) callsBeside(ctx context.Context, down bool, warmup, d time.Duration) (calls, bulk loadResult, err error) {
	moving, err := tb.startLoad(loadSpec{Kind: "bulk", Down: down, Conns: 1, Warmup: warmup, Duration: warmup + d})
	if err != nil {
		return calls, bulk, err
	}
	calls, err = tb.load(ctx, loadSpec{Kind: "calls", Conns: 1, Concurrent: 1, Warmup: warmup, Duration: d})
	if err != nil {
		return calls, bulk, err
	}
	bulk, err = moving.result(ctx)
	if err == nil {
		err = bulk.broken()
	}
	return calls, bulk, err
}
