package relay

import "maps"

// Totals are the figures of a Relay since New.
type Totals struct {
	Workers, Engineers uint64         // sessions
	Streams            uint64         // of engineers
	Takeovers          uint64         // of a name by another instance
	Hops               uint64         // handshakes that another relay has accepted
	Refusals           map[int]uint64 // of handshakes, by HTTP status
	Up, Down           int64          // bytes sent to Workers, and received from them

	// Now has the numbers at this moment.
	Now struct {
		Names              int // Workers that can be dialed
		Workers, Engineers int // sessions
		Streams            int
		Hops               int // handshakes that were sent on, and haven't ended
		Holds              int // handshakes that wait for a Worker
	}
}

// Totals returns the figures. It is cheaper than Snapshot.
func (r *Relay) Totals() Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.totals
	t.Refusals = maps.Clone(t.Refusals)
	t.Up, t.Down = r.up.Load(), r.down.Load()
	t.Now.Names, t.Now.Holds, t.Now.Hops = len(r.names), len(r.holds), len(r.hops)
	for s := range r.sessions {
		if s.role == Serve {
			t.Now.Workers++
			continue
		}
		t.Now.Engineers++
		s.mu.Lock()
		t.Now.Streams += len(s.bridges)
		s.mu.Unlock()
	}
	return t
}

// count changes the totals.
func (r *Relay) count(change func(*Totals)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.totals)
}

// Count returns how many sessions and streams of engineers there are. A handshake that was
// sent on counts as both, because its streams are unknown.
func (r *Relay) Count() (sessions, streams int) {
	now := r.Totals().Now
	return now.Workers + now.Engineers + now.Hops, now.Streams + now.Hops
}
