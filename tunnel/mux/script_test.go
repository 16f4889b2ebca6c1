package mux

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// plan is what happens on a stream. Its ends are the opening one and the
// accepting one.
type plan struct {
	delay   int
	ways    [2]direction // from each end
	abortAt [2]int       // after reading how many bytes each end closes early; -1: never
	resets  [2]bool
	ended   atomic.Int32 // how many ends are done
}

// direction is one direction of a stream.
type direction struct {
	sizes   []int  // of the Writes
	seed    uint64 // of the bytes
	written int
	read    int
	readErr error // that reading ended with
	wrong   error
}

func newPlan(rng *rand.Rand) *plan {
	p := &plan{delay: rng.IntN(200), abortAt: [2]int{-1, -1}}
	for i := range p.ways {
		p.ways[i].seed = rng.Uint64()
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
			p.ways[i].sizes = append(p.ways[i].sizes, size)
		}
	}
	if rng.IntN(6) == 0 {
		end := rng.IntN(2)
		p.abortAt[end] = rng.IntN(300_000)
		p.resets[end] = rng.IntN(2) == 0
	}
	return p
}

// aborted reports whether an end may close early.
func (p *plan) aborted() bool { return p.abortAt[0] >= 0 || p.abortAt[1] >= 0 }

// fill sets p to the bytes of a direction from the given offset on.
func fill(p []byte, seed uint64, offset int) {
	for i := range p {
		x := uint64(offset+i) * 0x9e3779b97f4a7c15
		p[i] = byte((x ^ seed) >> 32)
	}
}

// tasks counts goroutines. Unlike with a sync.WaitGroup, one may start while the
// last ends.
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

// eventually waits for cond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}
