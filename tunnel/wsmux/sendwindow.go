package wsmux

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/hashicorp/yamux"
)

// sendWindow is how much may be sent on a stream: what the peer has granted and
// has not been used up. yamux keeps the same account but lets nobody see it, and
// what is sent through yamux is copied and passes through two more goroutines.
// So streams send their data themselves: see Stream.Write.
type sendWindow struct {
	changed chan struct{} // holds a token when there may be more, or the end

	mu     sync.Mutex
	credit uint32
	reset  bool // by either end

	ended [2]bool // by FIN: this end, the other; the session's sendMu guards it
}

// take returns how much of most may be sent now, and uses that up. It waits while
// that is nothing, until expired is closed.
func (w *sendWindow) take(most int, expired <-chan struct{}) (int, error) {
	for {
		w.mu.Lock()
		n, reset := min(w.credit, uint32(min(most, math.MaxUint32))), w.reset //nolint:gosec // not more than that
		w.credit -= n
		w.mu.Unlock()
		switch {
		case reset:
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

// change changes w and tells who waits.
func (w *sendWindow) change(more uint32, reset bool) {
	w.mu.Lock()
	w.credit += min(more, math.MaxUint32-w.credit)
	w.reset = w.reset || reset
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// sendWindow returns the window of a stream, which may have ended already.
func (s *Session) sendWindow(stream uint32) *sendWindow {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if w := s.sendWindows[stream]; w != nil {
		return w
	}
	return &sendWindow{reset: true}
}

// note takes notice of the header of a frame that comes from the peer, or goes
// to it: what the peer grants, and where streams begin and end.
func (s *Session) note(header []byte, fromPeer bool) {
	kind, flags := header[1], binary.BigEndian.Uint16(header[2:])
	if kind > yamuxTypeWindowUpdate || kind == yamuxTypeData && flags == 0 {
		return
	}
	stream, length := binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[8:])
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	w := s.sendWindows[stream]
	if flags&yamuxFlagSYN != 0 {
		w = &sendWindow{credit: initialWindow, changed: make(chan struct{}, 1)}
		s.sendWindows[stream] = w
	}
	if w == nil {
		return
	}
	if kind == yamuxTypeData || !fromPeer {
		length = 0
	}
	end := 0
	if fromPeer {
		end = 1
	}
	w.ended[end] = w.ended[end] || flags&yamuxFlagFIN != 0
	reset := flags&yamuxFlagRST != 0
	w.change(length, reset)
	if reset || w.ended[0] && w.ended[1] {
		delete(s.sendWindows, stream)
	}
}
