package commands

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// trimInterval is the time between two looks at the activity. A burst is over after
	// trimAfter quiet intervals, in which streams also return their buffers.
	trimInterval = time.Second
	trimAfter    = 3

	// trimAllocated, in bytes, and trimGoroutines are the least activity that counts as
	// a burst.
	trimAllocated  = 1 << 20
	trimGoroutines = 64
)

// memoryRatio is how much of its cgroup's memory the process uses before the garbage
// collector runs more often. The rest has room for two messages of half that size each,
// with the default --max-memory: the collector starts only after an allocation that
// exceeds the limit.
const memoryRatio = 0.75

// limitMemory makes the garbage collector keep the process below memoryRatio of its
// cgroup's memory limit, if there is one. GOMEMLIMIT overrides that.
func limitMemory() {
	_, _ = memlimit.Set(memlimit.WithRatio(memoryRatio)) // on error there is no limit
}

// trimMemory returns memory to the system after each burst of activity, until ctx ends.
// Without it, a process that has served many connections once keeps their memory for
// minutes: the runtime collects garbage only while more is allocated.
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
			runtime.GC() // twice, because pools and stacks shrink by steps
			debug.FreeOSMemory()
			trimmed = now
		}
	}
}

// activity is a reading of the runtime's metrics.
type activity struct {
	allocated  uint64 // bytes since the start
	goroutines uint64 // one or more for each connection
	live       uint64 // bytes in use at the last garbage collection
}

func readActivity() activity {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	return activity{samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64()}
}

// burst reports whether there has been a burst since then: much was allocated, many
// connections were opened or closed, or a few closed ones held much memory if each held
// the average.
func (a activity) burst(then activity) bool {
	opened := a.goroutines - min(a.goroutines, then.goroutines)
	closed := then.goroutines - min(a.goroutines, then.goroutines)
	return a.allocated-then.allocated >= trimAllocated ||
		max(opened, closed) >= trimGoroutines ||
		closed*(a.live/max(then.goroutines, 1)) >= trimAllocated
}
