package mux

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// plan is the script of one stream. The arrays are indexed by end: 0 opens the
// stream, 1 accepts it.
type plan struct {
	delay      int          // before Open, in calls of runtime.Gosched
	directions [2]direction // by writing end
	abortAt    [2]int       // the end closes early after reading so many bytes; -1: it doesn't
	resets     [2]bool      // the early close is a reset
	ended      atomic.Int32 // how many ends have finished
}

// direction is one direction of a stream.
type direction struct {
	sizes   []int  // of the Writes
	seed    uint64 // of the bytes
	written int
	read    int
	readErr error // the last error of Read
	failure error // a write error, or wrong bytes
}

func newPlan(rng *rand.Rand) *plan {
	p := &plan{delay: rng.IntN(200), abortAt: [2]int{-1, -1}}
	for i := range p.directions {
		p.directions[i].seed = rng.Uint64()
		for range rng.IntN(6) {
			size := 0
			switch rng.IntN(5) {
			case 0:
			case 1:
				size = 1 + rng.IntN(20)
			case 2, 3:
				size = 1 + rng.IntN(5000)
			default:
				size = 1 + rng.IntN(900_000)
			}
			p.directions[i].sizes = append(p.directions[i].sizes, size)
		}
	}
	if rng.IntN(6) == 0 {
		end := rng.IntN(2)
		p.abortAt[end] = rng.IntN(300_000)
		p.resets[end] = rng.IntN(2) == 0
	}
	return p
}

// aborted reports whether an end may close the stream early.
func (p *plan) aborted() bool { return p.abortAt[0] >= 0 || p.abortAt[1] >= 0 }

// fill sets p to pseudorandom bytes that depend on seed and the offset of each byte.
func fill(p []byte, seed uint64, offset int) {
	for i := range p {
		x := uint64(offset+i) * 0x9e3779b97f4a7c15
		p[i] = byte((x ^ seed) >> 32)
	}
}

// tasks waits for goroutines. Unlike with a sync.WaitGroup, a goroutine may start
// while the count is 0 and wait is blocked.
type tasks struct {
	mu    sync.Mutex
	n     int
	ended sync.Cond
}

func newTasks() *tasks {
	ts := &tasks{}
	ts.ended.L = &ts.mu
	return ts
}

func (ts *tasks) start(f func()) {
	ts.add(1)
	go func() {
		defer ts.add(-1)
		f()
	}()
}

func (ts *tasks) add(n int) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.n += n; ts.n == 0 {
		ts.ended.Broadcast()
	}
}

func (ts *tasks) wait() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for ts.n > 0 {
		ts.ended.Wait()
	}
}

// eventually waits until cond returns true, for five seconds.
func eventually(t *testing.T, event string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("waited in vain for %s", event)
			return
		}
	}
}
