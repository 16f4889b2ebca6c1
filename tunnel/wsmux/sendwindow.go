package wsmux

import (
	"math"
	"sync"

	"github.com/hashicorp/yamux"
)

// sendWindow is how much may be sent on a stream: what the peer has granted and
// has not been used up.
type sendWindow struct {
	changed chan struct{} // holds a token when there may be more, or the end

	mu     sync.Mutex
	credit uint32
	closed bool // the stream was reset
}

func newSendWindow() *sendWindow {
	return &sendWindow{credit: initialWindow, changed: make(chan struct{}, 1)}
}

// take returns how much of most may be sent now, and uses that up. It waits while
// that is nothing, until expired is closed.
func (w *sendWindow) take(most uint32, expired <-chan struct{}) (int, error) {
	for {
		w.mu.Lock()
		n, closed := min(w.credit, most), w.closed
		w.credit -= n
		w.mu.Unlock()
		switch {
		case closed:
			return 0, yamux.ErrConnectionReset
		case n > 0:
			return int(n), nil
		}
		select {
		case <-w.changed:
		case <-expired:
			return 0, yamux.ErrTimeout
		}
	}
}

func (w *sendWindow) add(more uint32) {
	w.mu.Lock()
	w.credit += min(more, math.MaxUint32-w.credit)
	w.mu.Unlock()
	signal(w.changed)
}

func (w *sendWindow) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	signal(w.changed)
}

// signal puts a token into c, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
