package limit

import (
	"context"
	"errors"
	"slices"
)

// use is the purpose of reserved memory. Each use leaves room for the later ones that its
// message may need: a request is received, then decompressed, and then the response is
// received from an upstream, decompressed, and sent. So waiting always ends, unless the
// peer takes no responses.
type use int

const (
	receiving     use = iota
	decompressing     // takes twice the memory, also for the decoded message
	responding        // receiving a response
	sending           // or decompressing a response
	uses              // the number of uses
)

// laterUses is how many messages a use leaves room for.
var laterUses = [uses]int64{receiving: 3, decompressing: 1, responding: 1, sending: 0}

// waiter waits for n bytes.
type waiter struct {
	n     int64
	use   use
	ready func() // called when the bytes are reserved
}

var errClosed = errors.New("the session has ended")

// room reports whether n more bytes fit for a use. The caller holds Process.mu.
func (s *Session) room(n int64, u use) bool {
	n += laterUses[u] * int64(s.MaxMessage())
	return s.messages+n <= s.limit && s.process.messages+n <= s.process.opts.Memory
}

// add counts n bytes, even beyond the limits. The caller holds Process.mu.
func (s *Session) add(n int64) {
	s.messages += n
	s.process.messages += n
}

// charge counts n bytes without waiting; a negative n releases bytes.
func (s *Session) charge(n int64) { s.changeUnread(0, n) }

// changeUnread changes the number of unread bytes, which count, and charges other bytes.
// It reports whether the unread bytes have grown to more than half of the session's
// memory.
func (s *Session) changeUnread(unread, other int64) (tooMuch bool) {
	n := unread + other
	if unread == 0 && n == 0 {
		return false
	}
	p := s.process
	p.mu.Lock()
	s.add(n)
	s.unread += unread
	tooMuch = unread > 0 && s.unread > s.limit/2
	var ready []func()
	if n < 0 {
		ready = p.wakeAll()
	}
	if unread < 0 && len(s.stalled) > 0 && !s.unreadFull() {
		for f := range s.stalled {
			ready = append(ready, func() { go f.resume() })
		}
		clear(s.stalled)
	}
	p.mu.Unlock()
	run(ready)
	return tooMuch
}

// unreadFull reports whether connections get no credit. The caller holds Process.mu.
func (s *Session) unreadFull() bool { return s.unread > s.limit/4 }

// stall reports whether f must wait with the credit of its connection. If so, the session
// calls f.resume later.
func (s *Session) stall(f *flow) bool {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	if !s.unreadFull() {
		return false
	}
	s.stalled[f] = struct{}{}
	return true
}

func (s *Session) unstall(f *flow) {
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	delete(s.stalled, f)
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
	w := &waiter{n, u, ready}
	if !s.closed {
		s.queues[u] = append(s.queues[u], w)
		p.waiting[s] = struct{}{}
	}
	return w
}

// cancel removes w from the queue or, if w isn't there any more, releases its bytes.
func (s *Session) cancel(w *waiter) {
	p := s.process
	p.mu.Lock()
	if i := slices.Index(s.queues[w.use], w); i >= 0 {
		s.queues[w.use] = slices.Delete(s.queues[w.use], i, i+1)
	} else {
		s.add(-w.n)
	}
	ready := p.wakeAll() // the next one may need less
	p.mu.Unlock()
	run(ready)
}

// wait counts n bytes as soon as they fit. It blocks until then, or until ctx or the
// session ends.
func (s *Session) wait(ctx context.Context, n int64, u use) error {
	reserved := make(chan struct{})
	w := s.reserve(n, u, func() { close(reserved) })
	if w == nil {
		return nil
	}
	select {
	case <-reserved:
		return nil
	case <-s.ended.Done():
		return errClosed
	case <-ctx.Done():
		s.cancel(w)
		return context.Cause(ctx)
	}
}

// wakeAll reserves the bytes of all waiters that fit now, and returns their ready
// functions. The caller holds p.mu.
func (p *Process) wakeAll() (ready []func()) {
	for s := range p.waiting {
		idle := true
		for u := range uses {
			q := s.queues[u]
			for len(q) > 0 && s.room(q[0].n, u) {
				s.add(q[0].n)
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
	return ready
}

func run(functions []func()) {
	for _, f := range functions {
		f()
	}
}
