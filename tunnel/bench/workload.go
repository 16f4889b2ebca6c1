package main

import (
	"context"
	"slices"
	"time"
)

// workload is run with every system and yields a value for each metric.
type workload struct {
	name      string
	about     string // a description, for the table
	metrics   []metric
	maxRounds int  // 0: no limit
	full      bool // run only with -full
	skipTLS   bool // run with TLS only if -tls is given
	link      link // between the system's processes

	// run runs the workload and returns a value for each metric, in seconds, bytes,
	// bytes per second, or as a count. NaN means that there is none.
	run func(ctx context.Context, tb *testbed) ([]float64, error)
}

// metric is a column of a table.
type metric struct {
	name  string  // with its unit
	scale float64 // converts the value of workload.run to the unit
}

// workloads returns all workloads in the order of the tables.
func workloads() []*workload {
	return slices.Concat(bulkWorkloads(), callWorkloads(), besideWorkloads(), linkWorkloads(),
		[]*workload{connsWorkload("open-1000", 1000), fullOnly(connsWorkload("open-10000", 10_000)), stalledWorkload(), startWorkload(), fullOnly(uploadsWorkload())})
}

// fullOnly restricts w to -full and one round.
func fullOnly(w *workload) *workload {
	w.full, w.maxRounds = true, 1
	return w
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// appliesTo reports whether to run w with sys.
func (w *workload) appliesTo(sys *system, o *options) bool {
	return !w.skipTLS || !sys.secure || o.secure
}
