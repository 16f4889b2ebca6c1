package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// ErrShutdown is the reason of a session that Shutdown has ended. It reads as
// net.ErrClosed, and is one.
var ErrShutdown = fmt.Errorf("%w", net.ErrClosed)

// GoAway asks the peer to open no more streams. Those that it opens all the
// same are reset; open streams go on.
func (s *Session) GoAway() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("session ended: %w", s.err)
	}
	s.sendGoAway()
	return nil
}

// sendGoAway sends GoAway, once. The caller holds s.mu.
func (s *Session) sendGoAway() {
	if s.goneAway {
		return
	}
	s.goneAway = true
	h := newHeader(typeGoAway, 0, 0, goAwayNormal)
	s.conn.QueueFrame(h[:])
}

// Shutdown sends GoAway, makes Accept and Open return net.ErrClosed, waits until
// all streams are closed at this end, and closes the session. If ctx ends
// first, it closes the session at once and returns an error.
func (s *Session) Shutdown(ctx context.Context) error {
	s.drain()
	var err error
	select {
	case <-s.idle:
	case <-s.done:
	case <-ctx.Done():
		err = fmt.Errorf("shutdown: streams still open: %w", context.Cause(ctx))
	}
	s.CloseWithError(ErrShutdown)
	return err
}

// drain sends GoAway and resets the streams that wait to be accepted.
func (s *Session) drain() {
	s.mu.Lock()
	if s.isDrained {
		s.mu.Unlock()
		return
	}
	s.isDrained = true
	close(s.draining)
	refused := s.backlog
	s.backlog = nil
	if s.err == nil {
		s.sendGoAway()
	}
	s.checkIdle()
	s.mu.Unlock()
	for _, st := range refused {
		st.abort(net.ErrClosed, flagRST)
	}
}

// Close ends the session and all its streams at once, and returns when the
// connection is closed.
func (s *Session) Close() error {
	s.CloseWithError(net.ErrClosed)
	return nil
}

// CloseWithError is Close with a reason, which Err returns unless the session
// has ended before.
func (s *Session) CloseWithError(reason error) {
	if reason == nil {
		reason = net.ErrClosed
	}
	if streams, first := s.end(reason); first {
		for _, st := range streams {
			st.end()
		}
	}
	s.conn.Close(s.Err())
}

// end ends the session. It returns the streams whose end is to follow, and
// whether the session hadn't ended before.
func (s *Session) end(reason error) (streams []*Stream, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, false
	}
	s.err = reason
	streams = make([]*Stream, 0, len(s.streams))
	for _, st := range s.streams {
		streams = append(streams, st)
	}
	clear(s.streams)
	s.backlog, s.lingering, s.incoming = nil, nil, 0
	if pe, ok := errors.AsType[*ProtocolError](reason); ok && pe.announce {
		h := newHeader(typeGoAway, 0, 0, goAwayProtocol)
		s.conn.QueueFrame(h[:])
	}
	close(s.done)
	return streams, true
}
