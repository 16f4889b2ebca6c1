//go:build linux && !race

package hostile

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// callInterval is the time between two innocent calls.
	callInterval = 20 * time.Millisecond

	// callTimeout is how long an innocent call may take while others attack.
	callTimeout = 10 * time.Second
)

// innocent is a client that repeats a small call.
type innocent struct {
	stopping chan struct{}
	result   chan error
	took     []time.Duration // of each call; valid after result
}

func startInnocent(call func(context.Context) error) *innocent {
	i := &innocent{stopping: make(chan struct{}), result: make(chan error, 1)}
	go func() { i.result <- i.run(call) }()
	return i
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
	err := <-i.result
	slices.Sort(i.took)
	return i.took[len(i.took)/2], err
}
