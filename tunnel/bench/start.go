package main

import (
	"context"
	"math"
	"os/exec"
)

// startWorkload returns a workload that measures the start of the system and of wstun
// version.
func startWorkload() *workload {
	return &workload{
		name:    "start",
		about:   "from the start of the first process until a byte comes back through both; CPU of wstun version",
		metrics: []metric{{"ms", 1e3}, {"version CPU ms", 1e3}},
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			cpu := math.NaN()
			if tb.sys.binary != "" {
				version := exec.CommandContext(ctx, tb.sys.binary, "version") //nolint:gosec // the path is from a flag
				if err := version.Run(); err != nil {
					return nil, err
				}
				cpu = (version.ProcessState.UserTime() + version.ProcessState.SystemTime()).Seconds()
			}
			return []float64{tb.ready.Seconds(), cpu}, nil
		},
	}
}
