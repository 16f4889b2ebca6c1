package relay

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// settle is how long Drain waits for the Workers to move after the last GoAway: a Worker
// dials within a second, and ends the session a second after the next one is up.
const settle = 5 * time.Second

// Drain refuses further Workers with 503, and tells those that are connected, and their
// engineers, to dial again, evenly spread over pace. For engineers whose handshakes were sent
// on, it asks the relays that have the sessions to do so. They dial before they end the
// session here, so that they are never without one if another relay accepts them. When
// all have left, or no stream is open some seconds after pace, or ctx ends, Drain ends the
// remaining sessions with status code 1012. It blocks until then.
//
// Before, a load balancer must have stopped to send handshakes to this relay.
func (r *Relay) Drain(ctx context.Context, pace time.Duration) {
	workers, hops := r.refuseWorkers()
	var wg sync.WaitGroup
	wg.Go(func() { r.moveHops(ctx, hops, pace) })
	paced(ctx, workers, pace, func(s *session) {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.AnnounceGoAway()
		if s.worker != nil { // it has arrived
			r.move(s.worker)
		}
	})
	wg.Wait()
	r.awaitEmpty(ctx)
	r.Close()
}

// paced calls do for each item, evenly spread over pace, or at once when ctx has ended.
func paced[T any](ctx context.Context, items []T, pace time.Duration, do func(T)) {
	next := time.Now()
	for _, item := range items {
		sleep(ctx, time.Until(next))
		next = next.Add(pace / time.Duration(len(items)))
		do(item)
	}
}

// refuseWorkers makes the relay refuse Workers, releases the handshakes that wait for one,
// and returns the sessions of those that are connected, and the hops.
func (r *Relay) refuseWorkers() (workers []*session, hops []hop) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	for name, a := range r.arrivals {
		close(a.arrived)
		delete(r.arrivals, name)
	}
	for s := range r.sessions {
		if s.role == Serve {
			workers = append(workers, s)
		}
	}
	return workers, slices.Collect(maps.Keys(r.hops))
}

// awaitEmpty waits until all sessions have ended, until no stream is open after settle, or
// until ctx ends.
func (r *Relay) awaitEmpty(ctx context.Context) {
	const interval = 50 * time.Millisecond
	settled := time.Now().Add(settle)
	for ctx.Err() == nil {
		sessions, streams := r.Count()
		if sessions == 0 || streams == 0 && time.Now().After(settled) {
			return
		}
		sleep(ctx, interval)
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Close refuses further sessions and ends all with status code 1012. It returns when they
// have ended.
func (r *Relay) Close() {
	r.refuseWorkers()
	r.mu.Lock()
	r.closed = true
	for s := range r.sessions {
		r.end(s, websocket.CloseServiceRestart, restarting)
	}
	for h := range r.hops {
		go h.close()
	}
	r.mu.Unlock()
	r.running.Wait()
}
