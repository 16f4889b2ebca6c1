package mux

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// ErrShutdown is the reason of a session that Shutdown has ended. It wraps
// net.ErrClosed and has the same text.
var ErrShutdown = fmt.Errorf("%w", net.ErrClosed)

// GoAway tells the peer to open no more streams, and resets those that it opens
// nevertheless. Open streams aren't affected.
func (s *Session) GoAway() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return fmt.Errorf("session ended: %w", s.err)
	}
	s.sendGoAway()
	return nil
}

// AnnounceGoAway tells the peer to open no more streams. Those that it opens nevertheless,
// because it doesn't know yet, are accepted until GoAway, Shutdown or the end.
func (s *Session) AnnounceGoAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		h := newHeader(typeGoAway, 0, 0, goAwayNormal)
		s.conn.QueueFrame(h[:])
	}
}

// PeerGoingAway returns a channel that is closed when the peer sends GoAway: it accepts no
// more streams. Open streams aren't affected.
func (s *Session) PeerGoingAway() <-chan struct{} { return s.remoteGoAway }

// sendGoAway queues GoAway unless it was sent before. The caller holds s.mu.
func (s *Session) sendGoAway() {
	if s.localGoAway {
		return
	}
	s.localGoAway = true
	h := newHeader(typeGoAway, 0, 0, goAwayNormal)
	s.conn.QueueFrame(h[:])
}

// Shutdown sends GoAway, makes Accept and Open return net.ErrClosed, resets the
// streams that haven't been accepted, waits until all others are closed at this end,
// and closes the session. If ctx ends first, it closes the session at once and
// returns an error.
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

// drain begins a Shutdown: it sends GoAway, makes Accept and Open fail, and resets
// the backlog.
func (s *Session) drain() {
	s.mu.Lock()
	if s.isDraining {
		s.mu.Unlock()
		return
	}
	s.isDraining = true
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
		st.drop() // if the session has ended meanwhile
	}
}

// Close ends the session and all its streams at once. It returns when the
// connection is closed, within the bound of Transport.Close.
func (s *Session) Close() error {
	s.CloseWithError(net.ErrClosed)
	return nil
}

// CloseWithError is Close with a reason for Err to return, unless the session has
// already ended. A nil reason is net.ErrClosed.
func (s *Session) CloseWithError(reason error) {
	if reason == nil {
		reason = net.ErrClosed
	}
	if streams, refused, first := s.markEnded(reason); first {
		for _, st := range streams {
			st.sessionEnded()
		}
		for _, st := range refused {
			st.drop()
		}
		s.opts.Unread.remove(s)
	}
	s.conn.Close(s.Err())
}

// markEnded marks the session as ended and closes done. On the first call it returns true,
// the streams, which the caller must end, and those of them that wait to be accepted.
func (s *Session) markEnded(reason error) (streams, refused []*Stream, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, nil, false
	}
	s.err = reason
	streams = make([]*Stream, 0, len(s.streams))
	for _, st := range s.streams {
		streams = append(streams, st)
	}
	refused = s.backlog
	clear(s.streams)
	clear(s.unclosed)
	s.backlog, s.lingering, s.numIncoming = nil, nil, 0
	if pe, ok := errors.AsType[*ProtocolError](reason); ok && pe.sendGoAway {
		h := newHeader(typeGoAway, 0, 0, goAwayProtocol)
		s.conn.QueueFrame(h[:])
	}
	close(s.done)
	return streams, refused, true
}
