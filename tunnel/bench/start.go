package main

import (
	"context"
	"math"
	"os/exec"
)

// startWork starts the system, and wstun for the shortest that it can do.
func startWork() *work {
	return &work{
		name:    "start",
		about:   "from the start of the first process until a byte comes back through both; CPU of wstun version",
		metrics: []metric{{"ms", 1e3}, {"version CPU ms", 1e3}},
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			cpu := math.NaN()
			if st.sys.binary != "" {
				version := exec.CommandContext(ctx, st.sys.binary, "version") //nolint:gosec // to run it is the purpose
				if err := version.Run(); err != nil {
					return nil, err
				}
				cpu = (version.ProcessState.UserTime() + version.ProcessState.SystemTime()).Seconds()
			}
			return []float64{st.ready.Seconds(), cpu}, nil
		},
	}
}
