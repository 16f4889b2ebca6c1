//go:build linux && !race

package hostile

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

const (
	// callInterval is the time between two innocent calls.
	callInterval = 20 * time.Millisecond

	// callTimeout is how long an innocent call may take while others attack. On a busy
	// machine it waits for thousands of other goroutines.
	callTimeout = tunneltest.Patience
)

// innocent is a client that repeats a small call.
type innocent struct {
	stopping chan struct{}
	answers  atomic.Int64
	ended    chan struct{}   // closed after the last call
	err      error           // of the last call; valid after ended
	took     []time.Duration // of each call; valid after ended
}

func startInnocent(call func(context.Context) error) *innocent {
	i := &innocent{stopping: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		i.err = i.run(call)
		close(i.ended)
	}()
	return i
}

// isAnswered waits for the answer to a call that begins after this one, as long as v may take. It
// reports whether there was one, or a call has failed.
func (i *innocent) isAnswered(v *victim) bool {
	before := i.answers.Load()
	return v.await(recovery, func() bool {
		select {
		case <-i.ended:
			return true
		default:
			return i.answers.Load() >= before+2 // the first call had begun already
		}
	})
}

func (i *innocent) run(call func(context.Context) error) error {
	tick := time.NewTicker(callInterval)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		start := time.Now()
		err := call(ctx)
		cancel()
		i.took = append(i.took, time.Since(start))
		if err != nil {
			return fmt.Errorf("innocent call %d, after %v: %w", len(i.took), i.took[len(i.took)-1].Round(time.Millisecond), err)
		}
		i.answers.Add(1)
		select {
		case <-tick.C:
		case <-i.stopping:
			return nil
		}
	}
}

// stop returns the median duration of the calls, and the error of the one that failed.
func (i *innocent) stop() (time.Duration, error) {
	close(i.stopping)
	<-i.ended
	slices.Sort(i.took)
	return i.took[len(i.took)/2], i.err
}
