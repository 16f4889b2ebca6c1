package main

import (
	"context"
	"slices"
	"time"
)

// work is one thing to do with every system, and what is measured then.
type work struct {
	name    string
	about   string
	metrics []metric
	most    int  // rounds at the most; 0: as many as there are
	full    bool // only when asked for
	plain   bool // encryption makes no difference worth the time, unless asked for
	link    link // in the system's middle

	// run does the work and returns a value for each metric, in seconds, bytes,
	// bytes per second or pieces. NaN is none.
	run func(ctx context.Context, st *stage) ([]float64, error)
}

// metric is a column of a table.
type metric struct {
	name  string  // with its unit
	scale float64 // from what is measured to the unit
}

// works returns all of them, in the order of the tables.
func works() []*work {
	return slices.Concat(bulkWorks(), callWorks(), besideWorks(), linkWorks(),
		[]*work{connsWork("open-1000", 1000), fullOnly(connsWork("open-10000", 10_000)), stalledWork(), startWork(), fullOnly(uploadsWork())})
}

// fullOnly has w done once, and only when asked for.
func fullOnly(w *work) *work {
	w.full, w.most = true, 1
	return w
}

// pause lets d pass, in which the system does what it does by itself.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// takesPart reports whether w is to be done with sys.
func (w *work) takesPart(sys *system, o *options) bool { return !w.plain || !sys.secure || o.secure }
