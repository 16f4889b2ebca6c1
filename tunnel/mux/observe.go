package mux

import "sync"

// StreamObserver is told what happens on one stream. Functions that are nil are
// not called. The calls for a stream follow one another, and End is the last.
//
// The functions run in the goroutines that send and receive: they must not
// block, must not call the stream or its session, and must not keep the bytes
// that they are given.
type StreamObserver struct {
	// Accepted is called when the stream has been accepted: by this end, or, if
	// this end opened it, when the peer's acknowledgment arrives.
	Accepted func()

	// Received is called with the bytes of data frames as they arrive, before
	// they can be read.
	Received func(p []byte)

	// Sent is called with the body of each data frame before it is sent, so
	// that it comes before the peer's reaction.
	Sent func(p []byte)

	// Closed is called when one direction is closed in order: the peer's, or
	// this end's.
	Closed func(byPeer bool)

	// End is called when the stream has ended at both ends. err is nil if both
	// directions were closed in order, and otherwise the reason: it is ErrReset
	// if the peer reset the stream, or this end did because the peer left it
	// half-open; net.ErrClosed after Reset; or the reason of the session's end.
	End func(err error)
}

// observation calls a StreamObserver. A nil one does nothing.
type observation struct {
	mu    sync.Mutex
	o     *StreamObserver
	shut  [2]bool // Closed was called for this end's direction, for the peer's
	ended bool
}

func (s *Session) observe(stream uint32, opened bool) *observation {
	if s.opts.Observe == nil {
		return nil
	}
	o := s.opts.Observe(stream, opened)
	if o == nil {
		return nil
	}
	return &observation{o: o}
}

// call calls f unless the stream has ended.
func (ob *observation) call(f func(o *StreamObserver)) {
	if ob == nil {
		return
	}
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if !ob.ended {
		f(ob.o)
	}
}

func (ob *observation) accepted() {
	ob.call(func(o *StreamObserver) {
		if o.Accepted != nil {
			o.Accepted()
		}
	})
}

func (ob *observation) received(p []byte) {
	if ob == nil { // before a closure is made
		return
	}
	ob.call(func(o *StreamObserver) {
		if o.Received != nil {
			o.Received(p)
		}
	})
}

func (ob *observation) sent(p []byte) {
	if ob == nil {
		return
	}
	ob.call(func(o *StreamObserver) {
		if o.Sent != nil {
			o.Sent(p)
		}
	})
}

func (ob *observation) closed(byPeer bool) {
	ob.call(func(*StreamObserver) { ob.close(byPeer) })
}

// close calls Closed, once for each direction. The caller holds ob.mu.
func (ob *observation) close(byPeer bool) {
	way := &ob.shut[0]
	if byPeer {
		way = &ob.shut[1]
	}
	if !*way && ob.o.Closed != nil {
		ob.o.Closed(byPeer)
	}
	*way = true
}

func (ob *observation) end(err error) {
	ob.call(func(o *StreamObserver) {
		if err == nil { // the goroutine that closed the other direction may not have said so yet
			ob.close(false)
			ob.close(true)
		}
		ob.ended = true
		if o.End != nil {
			o.End(err)
		}
	})
}
