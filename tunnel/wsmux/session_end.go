package wsmux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

// Shutdown asks the peer to open no more streams (GoAway), makes Accept and
// Open return, waits until the streams that they have returned are closed, and
// closes the session with status code 1001. It closes the session at once,
// with an error, when ctx ends first.
func (s *Session) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.draining {
		s.draining = true
		s.stopAccept()
		go s.refuse()
		s.checkIdle()
	}
	s.mu.Unlock()
	var err error
	select {
	case <-s.idle:
		s.awaitGoAway()
	case <-s.Done():
	case <-ctx.Done():
		err = fmt.Errorf("wsmux: shutdown: streams still open: %w", context.Cause(ctx))
	}
	s.t.closeWith(websocket.CloseGoingAway, "")
	return errors.Join(err, s.Close())
}

// awaitGoAway waits until GoAway has been sent, unless the link is stalled.
func (s *Session) awaitGoAway() {
	timer := time.NewTimer(closeFrameWait)
	defer timer.Stop()
	select {
	case <-s.goneAway:
	case <-s.Done():
	case <-timer.C:
	}
}

// refuse sends GoAway and closes the streams that come all the same, until
// the session ends.
func (s *Session) refuse() {
	_ = s.mux.GoAway()
	close(s.goneAway)
	for {
		stream, err := s.mux.AcceptStream()
		if err != nil {
			return
		}
		_ = stream.Close()
	}
}

// Close ends the session and every stream on it at once, and returns when the
// socket is closed: less than a second even if the peer is frozen.
func (s *Session) Close() error {
	s.wakeStreams()
	err := s.mux.Close()
	<-s.t.done
	return err
}

// CloseWithError is Close with a reason, which [Session.Err] reports unless
// the session has ended before. The peer gets its text, with status code 1011.
func (s *Session) CloseWithError(reason error) {
	select {
	case <-s.Done():
	default:
		s.cause.CompareAndSwap(nil, &endError{reason})
	}
	_ = s.Close()
}

// Err returns why the session ended, and nil while it hasn't: the reason given
// to CloseWithError, the peer's [*websocket.CloseError], an error of the
// network or of yamux, or [net.ErrClosed] if it was closed from this side.
func (s *Session) Err() error {
	select {
	case <-s.Done():
	default:
		return nil
	}
	if cause := s.cause.Load(); cause != nil {
		return cause.err
	}
	if err := s.protocolError(); err != nil {
		return err
	}
	err := s.yamuxError()
	if err != nil && err.Error() == "yamux protocol error" { // the peer's GoAway; yamux has no variable for it
		return fmt.Errorf("the peer reports a %w: it may have the yamux role %v too", err, s.role)
	}
	if end := s.t.end(); end != nil {
		return end
	}
	if err == nil || errors.Is(err, yamux.ErrSessionShutdown) {
		return net.ErrClosed
	}
	return err
}

// wakeStreams ends all waiting on streams. It's for when yamux is about to end:
// from then on until all its goroutines have, who waits in yamux would spin, and
// thousands who do leave no time for those goroutines.
func (s *Session) wakeStreams() {
	if s.ending.Swap(true) {
		return
	}
	s.mu.Lock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.Unlock()
	for _, st := range streams {
		st.wake()
	}
}

// sendFailed ends the session, because err is what sending on it failed with, and
// returns that. A Close frame of the peer's may still wait to be read, and goes
// before it as the reason.
func (s *Session) sendFailed(err error) error {
	s.t.awaitEnd()
	s.wakeStreams()
	if s.t.end() == nil && !s.t.isClosing() {
		s.cause.CompareAndSwap(nil, &endError{err})
	}
	go func() { _ = s.Close() }() // it waits for yamux's sending goroutine, which may be this one
	return err
}

// streamError is what an error of yamux's means, in the terms of net.
func (s *Session) streamError(err error) error {
	if errors.Is(err, yamux.ErrConnectionWriteTimeout) {
		// The frame may still arrive: nothing on this session can be
		// trusted any more, least of all a second try.
		s.CloseWithError(fmt.Errorf("the link is stalled: %w", err))
	}
	select {
	case <-s.Done():
		return fmt.Errorf("session ended: %w", s.Err())
	default:
	}
	if errors.Is(err, yamux.ErrRemoteGoAway) {
		return fmt.Errorf("the peer is going away: %w", err)
	}
	return err
}
