package store

import (
	"cmp"
	"slices"
	"time"
)

// Batch has the changes since a rev.
type Batch struct {
	Rev   uint64
	Calls []Call   // that have changed, by their IDs
	Gone  []uint64 // IDs of calls that were dropped
	Total uint64   // calls that were dropped so far

	// Reset says that the store doesn't remember all dropped calls since then, or has never
	// had that rev. Calls has all calls.
	Reset bool
}

// Changes returns the changes since a rev; 0: all calls.
func (s *Store) Changes(since uint64) *Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &Batch{Rev: s.rev, Total: s.dropped.Calls}
	if since > s.rev || since > 0 && since < s.gone.forgotten {
		since, b.Reset = 0, true
	}
	now := time.Now()
	for e := s.changed.Back(); e != nil; e = e.Prev() {
		c := e.Value.(*call) //nolint:errcheck,forcetypeassert // it has nothing else
		if c.Rev <= since {
			break
		}
		b.Calls = append(b.Calls, c.snapshot(now))
	}
	slices.SortFunc(b.Calls, func(a, b Call) int { return cmp.Compare(a.ID, b.ID) })
	if since > 0 {
		b.Gone = s.gone.since(since)
	}
	return b
}

// Changed returns a channel that is closed when there is a change after a rev.
func (s *Store) Changed(since uint64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rev != since {
		done := make(chan struct{})
		close(done)
		return done
	}
	if s.wait == nil {
		s.wait = make(chan struct{})
	}
	return s.wait
}

// Touch reports a change of the calls with a method, such as that more is known of it.
func (s *Store) Touch(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.Method == method {
			s.touch(c)
		}
	}
}

// snapshot returns a copy of the Call.
func (c *call) snapshot(now time.Time) Call {
	copied := c.Call
	copied.Rates = c.rates.list(now)
	return copied
}

// Calls returns all calls, by their IDs.
func (s *Store) Calls() []Call { return s.Changes(0).Calls }

// Call returns the call with an ID, or nil.
func (s *Store) Call(id uint64) *Details {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c == nil {
		return nil
	}
	copied := c.Details // its slices aren't changed
	copied.Call = c.snapshot(time.Now())
	return &copied
}

// Messages returns up to n messages of a call from a position on, except for dropped ones,
// and the number of its messages so far. There are none of a call that isn't kept.
func (s *Store) Messages(id, from uint64, n int) (messages []*Message, total uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[id]
	if c == nil || n <= 0 {
		return nil, 0
	}
	c.messages.read(from, func(m *Message) bool {
		messages = append(messages, m)
		return len(messages) < n
	})
	return messages, c.messages.total
}

// Times returns the times of all messages of a call that are kept, in nanoseconds since
// 1970.
func (s *Store) Times(id uint64) (times []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.calls[id]; c != nil {
		for _, b := range c.messages.blocks {
			for i := range b.messages {
				times = append(times, b.messages[i].at)
			}
		}
	}
	return times
}

// Usage has the size of a store.
type Usage struct {
	Memory   int64 // in bytes
	Calls    int
	Messages uint64
	Dropped  Dropped
	Limits   Options
}

// Usage returns the size of the store.
func (s *Store) Usage() *Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &Usage{Memory: s.memory, Calls: len(s.calls), Dropped: s.dropped, Limits: s.opts}
	for _, c := range s.calls {
		u.Messages += c.messages.count()
	}
	return u
}

// maxGone is how many dropped calls are remembered.
const maxGone = 10_000

// gone remembers dropped calls.
type gone struct {
	calls     []goneCall // the oldest first
	forgotten uint64     // the rev of the latest that isn't remembered
}

type goneCall struct{ id, rev uint64 }

func (g *gone) add(id, rev uint64) {
	if len(g.calls) >= 2*maxGone {
		g.forgotten = g.calls[maxGone-1].rev
		g.calls = append(g.calls[:0], g.calls[maxGone:]...)
	}
	g.calls = append(g.calls, goneCall{id, rev})
}

// since returns the IDs of the calls that were dropped after a rev.
func (g *gone) since(rev uint64) (ids []uint64) {
	i, _ := slices.BinarySearchFunc(g.calls, rev+1, func(c goneCall, rev uint64) int { return cmp.Compare(c.rev, rev) })
	for _, c := range g.calls[i:] {
		ids = append(ids, c.id)
	}
	return ids
}

// Rev returns the rev of the latest change.
func (s *Store) Rev() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}
