package limit

import (
	"context"
	"errors"
	"slices"
	"time"
)

// stallTimeout is how long messages may wait for each other, and maxStalls how many times
// that a message waits to be decompressed.
const (
	stallTimeout = 10 * time.Second
	maxStalls    = 6
)

// use is the purpose of reserved memory. Bytes for a request leave room to decompress one,
// which frees the compressed request, and bytes for a response leave nothing. So waiting
// always ends, unless the peer takes no responses.
type use int

const (
	answering     use = iota // receiving a response from an upstream, or sending one
	decompressing            // a request; takes twice the memory, also for the decoded message
	receiving                // a request
	uses                     // the number of uses
)

// waiter waits for n bytes.
type waiter struct {
	n        int64
	use      use
	ready    func() // called when the bytes are reserved
	reserved bool
}

var errClosed = errors.New("the session has ended")

// ErrMemory ends the status of a call whose compressed message can't be decompressed,
// because the messages of its session wait for each other.
var ErrMemory = errors.New("the session has no memory left for a compressed message")

// room reports whether n more bytes fit for a use. Unread bytes, which have a limit of
// their own, don't matter: they may wait for this very room. Other sessions may take all
// memory of the process but this one's share. The caller holds Process.mu.
func (s *Session) room(n int64, u use) bool {
	p := s.process
	own, all := s.messages-total(s.unread)+n, p.messages-total(p.unread)+n
	if u == receiving { // room for decompressing, and for buffers that are larger than their frames
		later := 2*int64(s.MaxMessage()) + int64(s.MaxMessage())/2
		own, all = own+later, all+later
	}
	return own <= s.limit && (all <= p.opts.Memory || own <= p.share())
}

// total returns the unread bytes of all uses.
func total(unread [uses]unread) (n int64) {
	for _, u := range unread {
		n += u.all
	}
	return n
}

func sum(values []int64) (total int64) {
	for _, v := range values {
		total += v
	}
	return total
}

// add counts n bytes, even beyond the limits. The caller holds Process.mu.
func (s *Session) add(n int64) {
	s.messages += n
	s.process.messages += n
}

// charge counts n bytes without waiting; a negative n releases bytes.
func (s *Session) charge(n int64) { s.change(receiving, unread{}, n) }

// unread is the memory of received frames whose messages handlers haven't received.
type unread struct {
	all     int64
	partial int64 // of incomplete messages that the peer may complete without more credit
}

// waiting returns the memory that waits for handlers, or for memory.
func (u unread) waiting() int64 { return u.all - u.partial }

func (u unread) plus(v unread) unread { return unread{u.all + v.all, u.partial + v.partial} }

// change changes the unread bytes, which count, and charges other bytes. It reports
// whether the unread bytes have become too many. The use is receiving or answering.
func (s *Session) change(u use, by unread, other int64) (tooMany bool) {
	n := by.all + other
	if by == (unread{}) && n == 0 {
		return false
	}
	p := s.process
	p.mu.Lock()
	s.add(n)
	s.unread[u] = s.unread[u].plus(by)
	p.unread[u] = p.unread[u].plus(by)
	own, all := s.unread[u].all, p.unread[u].all
	tooMany = by.all > 0 && (own > s.limit/2 || all > p.opts.Memory/2 && own > p.share() ||
		s.messages > 2*s.limit || p.messages > 2*p.opts.Memory && s.messages > p.share())
	var ready []func()
	if n < 0 || by.waiting() < 0 {
		s.releases++
		ready = p.wakeAll()
	}
	p.mu.Unlock()
	run(ready)
	return tooMany
}

// share is the memory that a session may use when the process has no more. All shares are
// a quarter of the process's memory, beyond its limit. The caller holds mu.
func (p *Process) share() int64 { return p.opts.Memory / 4 / int64(max(p.sessions, 1)) }

// full reports whether connections are stalled: the unread requests and the unread
// responses must each leave room for others, and the requests that handlers hold for
// responses. The caller holds Process.mu.
func (s *Session) full(u use) bool {
	p, room := s.process, int64(s.MaxMessage())
	own, all := s.unread[u].waiting(), p.unread[u].waiting()
	return own > s.limit/8 || all > p.opts.Memory/8 && own > p.share() ||
		u == receiving && (s.messages > s.limit-room || p.messages > p.opts.Memory-room && s.messages > p.share())
}

// stall reports whether f must wait with the credit of its connection. If so, f.resume is
// called later.
func (s *Session) stall(f *flow) bool {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	if !s.full(f.use) {
		return false
	}
	if s.stalled[f.use] == nil {
		s.stalled[f.use] = make(map[*flow]struct{})
	}
	s.stalled[f.use][f] = struct{}{}
	s.process.stalled[s] = struct{}{}
	return true
}

func (s *Session) unstall(f *flow) {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	delete(s.stalled[f.use], f)
}

// reserve counts n bytes if they fit, and returns nil. Otherwise it returns a waiter: as
// soon as the bytes fit, in the order of the calls for a use, they count, and ready is
// called, which must not block.
func (s *Session) reserve(n int64, u use, ready func()) *waiter {
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(s.queues[u]) == 0 && s.room(n, u) {
		s.add(n)
		return nil
	}
	w := &waiter{n: n, use: u, ready: ready}
	if !s.closed {
		s.queues[u] = append(s.queues[u], w)
		p.waiting[s] = struct{}{}
	}
	return w
}

// cancel removes w from the queue, or releases its bytes.
func (s *Session) cancel(w *waiter) {
	p := s.process
	p.mu.Lock()
	if w.reserved {
		s.add(-w.n)
	} else if i := slices.Index(s.queues[w.use], w); i >= 0 {
		s.queues[w.use] = slices.Delete(s.queues[w.use], i, i+1)
	}
	ready := p.wakeAll() // the next one may need less
	p.mu.Unlock()
	run(ready)
}

// wait counts n bytes as soon as they fit. It blocks until then, or until ctx or the
// session ends. If one has ended, it counts nothing, even if the bytes fit: many calls that
// end at once must not all encode responses that nobody will get.
func (s *Session) wait(ctx context.Context, n int64, u use) error {
	reserved := make(chan struct{})
	w := s.reserve(n, u, func() { close(reserved) })
	if w != nil {
		select {
		case <-reserved:
		case <-s.ended.Done():
		case <-ctx.Done():
		}
	}
	var err error
	switch {
	case s.ended.Err() != nil:
		err = errClosed
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		return nil
	}
	if w == nil {
		s.charge(-n)
	} else {
		s.cancel(w)
	}
	return err
}

// waitHopefully is wait until the session ends, but fails if the session releases nothing
// for stallTimeout: then its messages wait for each other. The call may have ended.
func (s *Session) waitHopefully(n int64, u use) error {
	last := s.countReleases()
	for range maxStalls {
		ctx, cancel := context.WithTimeoutCause(s.ended, stallTimeout, ErrMemory)
		err := s.wait(ctx, n, u)
		cancel()
		now := s.countReleases()
		if !errors.Is(err, ErrMemory) || now == last {
			return err
		}
		last = now
	}
	return ErrMemory
}

func (s *Session) countReleases() uint64 {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	return s.releases
}

// wakeAll reserves the bytes of all waiters that fit now. It returns their ready
// functions, and those of stalled connections that may have credit. The caller holds p.mu.
func (p *Process) wakeAll() (ready []func()) {
	for s := range p.waiting {
		idle := true
		for u := range uses {
			q := s.queues[u]
			for len(q) > 0 && s.room(q[0].n, u) {
				s.add(q[0].n)
				q[0].reserved = true
				ready = append(ready, q[0].ready)
				q = q[1:]
			}
			s.queues[u] = q
			idle = idle && len(q) == 0
		}
		if idle {
			delete(p.waiting, s)
		}
	}
	for s := range p.stalled {
		left := 0
		for u, flows := range s.stalled {
			if len(flows) == 0 || s.full(use(u)) {
				left += len(flows)
				continue
			}
			s.stalled[u] = nil
			ready = append(ready, func() {
				for f := range flows {
					go f.resume()
				}
			})
		}
		if left == 0 {
			delete(p.stalled, s)
		}
	}
	return ready
}

func run(functions []func()) {
	for _, f := range functions {
		f()
	}
}
