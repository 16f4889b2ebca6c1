package mux

import (
	"context"
	"sync"
)

// StreamObserver receives the events of one stream. Nil functions aren't called. The
// calls for a stream don't overlap, and End is the last.
//
// The functions run in the goroutines that send and receive: they must not block,
// call the stream or its session, or keep a reference to p.
type StreamObserver struct {
	// Accepted is called when this end accepts the stream, or when the ACK arrives
	// for a stream that this end opened.
	Accepted func()

	// Received is called with the bytes of data frames as they arrive, before
	// Read returns them.
	Received func(p []byte)

	// Sent is called with the body of each data frame before it is sent, and so
	// before any bytes that the peer sends in response are received.
	Sent func(p []byte)

	// Closed is called when a direction is closed by a FIN: the peer's direction,
	// or this end's.
	Closed func(byPeer bool)

	// End is called when the stream has ended at both ends. err is nil if both
	// directions were closed by a FIN. Otherwise it is ErrReset if the peer reset
	// the stream, or this end did after five minutes half-closed or because of
	// Options.Unread; net.ErrClosed after Reset; or why the session ended.
	End func(err error)
}

// observer calls the functions of a StreamObserver in order. A nil observer does
// nothing.
type observer struct {
	mu               sync.Mutex
	o                *StreamObserver
	closedDirections [2]bool // Closed was called: for this end's direction, for the peer's
	ended            bool
}

// observe returns the observer of a new stream, or nil.
func (s *Session) observe(stream uint32, opened bool) *observer {
	if s.opts.Observe == nil {
		return nil
	}
	o := s.opts.Observe(stream, opened)
	if o == nil {
		return nil
	}
	return &observer{o: o}
}

// unobserved is the key of Unobserved.
type unobserved struct{}

// Unobserved returns a context with which Session.Open opens a stream that has no observer, such
// as for the calls of the program itself.
func Unobserved(ctx context.Context) context.Context {
	return context.WithValue(ctx, unobserved{}, true)
}

// IsUnobserved reports whether ctx is from Unobserved.
func IsUnobserved(ctx context.Context) bool { return ctx.Value(unobserved{}) != nil }

// call calls f unless the stream has ended.
func (ob *observer) call(f func(o *StreamObserver)) {
	if ob == nil {
		return
	}
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if !ob.ended {
		f(ob.o)
	}
}

func (ob *observer) accepted() {
	ob.call(func(o *StreamObserver) {
		if o.Accepted != nil {
			o.Accepted()
		}
	})
}

func (ob *observer) received(p []byte) {
	if ob == nil { // before the closure is allocated
		return
	}
	ob.call(func(o *StreamObserver) {
		if o.Received != nil {
			o.Received(p)
		}
	})
}

func (ob *observer) sent(p []byte) {
	if ob == nil {
		return
	}
	ob.call(func(o *StreamObserver) {
		if o.Sent != nil {
			o.Sent(p)
		}
	})
}

func (ob *observer) closed(byPeer bool) {
	ob.call(func(*StreamObserver) { ob.close(byPeer) })
}

// close calls Closed, once for each direction. The caller holds ob.mu.
func (ob *observer) close(byPeer bool) {
	called := &ob.closedDirections[0]
	if byPeer {
		called = &ob.closedDirections[1]
	}
	if !*called && ob.o.Closed != nil {
		ob.o.Closed(byPeer)
	}
	*called = true
}

func (ob *observer) end(err error) {
	ob.call(func(o *StreamObserver) {
		if err == nil { // the goroutine that closed the other direction may not have called closed yet
			ob.close(false)
			ob.close(true)
		}
		ob.ended = true
		if o.End != nil {
			o.End(err)
		}
	})
}
