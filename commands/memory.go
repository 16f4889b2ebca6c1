package commands

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimInterval is how often to look whether a burst is over, and trimAfter
	// how many times in a row it has to be: streams give back their buffers
	// meanwhile.
	trimInterval = time.Second
	trimAfter    = 3

	// trimAllocated, in bytes, and trimGoroutines are what makes a burst, and
	// less than that in an interval is the end of one.
	trimAllocated  = 1 << 20
	trimGoroutines = 64
)

// trimMemory gives the memory of a burst back to the system once it is over,
// until ctx ends. The runtime takes minutes for that: it looks for garbage only
// when more is made.
func trimMemory(ctx context.Context) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	last := readActivity()
	trimmed, quiet := last, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := readActivity()
		if quiet++; now.burst(last) {
			quiet = 0
		}
		last = now
		if quiet >= trimAfter && now.burst(trimmed) {
			runtime.GC() // twice, for what is pooled, and for stacks, which shrink by half
			debug.FreeOSMemory()
			trimmed = now
		}
	}
}

// activity is how much has been going on.
type activity struct {
	allocated  uint64 // bytes in all, ever
	goroutines uint64 // that there are: one or more for each connection
	live       uint64 // bytes that were in use when garbage was last looked for
}

func readActivity() activity {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return activity{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// burst reports whether there has been much since then: garbage made,
// connections opened or closed, or few closed that may have held much, each as
// much as the average, as stalled ones do.
func (a activity) burst(then activity) bool {
	opened := a.goroutines - min(a.goroutines, then.goroutines)
	closed := then.goroutines - min(a.goroutines, then.goroutines)
	return a.allocated-then.allocated >= trimAllocated ||
		max(opened, closed) >= trimGoroutines ||
		closed*(a.live/max(then.goroutines, 1)) >= trimAllocated
}
