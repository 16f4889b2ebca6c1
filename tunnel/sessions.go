package tunnel

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// ErrNoSession is why nothing could be sent: no session is up.
var ErrNoSession = errors.New("no session")

// Session is a session that is up, or was.
type Session struct {
	*wsmux.Session

	// ID counts the sessions of one set, from 1.
	ID uint64

	// Remote is the peer: the URL that was dialed, or the address that the
	// WebSocket came from.
	Remote string

	using     context.Context //nolint:containedctx // the session's own: ends when another one is to replace it
	stopUsing context.CancelFunc
	gone      chan struct{} // closed when Down has been called
}

// Sessions is the set of sessions that are up. Its zero value is ready for use;
// the fields must be set before.
type Sessions struct {
	// Up is called, if set, when a session has been added, before anything
	// is sent on it, and Down when it has ended, with the reason. Each is
	// called once for a session, but for different ones at the same time. A
	// Connector dials again when Down has returned.
	Up   func(*Session)
	Down func(s *Session, reason error)

	mu      sync.Mutex
	live    map[*Session]struct{} // those that haven't ended
	up      []*Session            // those of them that take streams, oldest first
	changed chan struct{}         // closed when up grows or closed is set; nil if nobody waits
	absence error                 // why no session is up
	lastID  uint64
	closed  bool
	watches sync.WaitGroup // the goroutines that watch for a session's end
}

var (
	errNoneYet      = errors.New("none has come yet")
	errShuttingDown = errors.New("shutting down")
)

// Add adds a session, which the set watches from then on, and returns it with
// its ID. After Shutdown has begun, it closes the session and returns nil.
func (ss *Sessions) Add(session *wsmux.Session, remote string) *Session {
	ss.mu.Lock()
	if ss.closed {
		ss.mu.Unlock()
		_ = session.Close()
		return nil
	}
	ss.lastID++
	s := &Session{Session: session, ID: ss.lastID, Remote: remote, gone: make(chan struct{})}
	s.using, s.stopUsing = context.WithCancel(context.Background())
	ss.watches.Add(1)
	ss.mu.Unlock()

	if ss.Up != nil {
		ss.Up(s)
	}
	ss.mu.Lock()
	if ss.live == nil {
		ss.live = map[*Session]struct{}{}
	}
	ss.live[s] = struct{}{}
	ss.up = append(ss.up, s)
	ss.absence = nil
	ss.notify()
	closed := ss.closed
	ss.mu.Unlock()
	go ss.watch(s)
	if closed { // Shutdown hasn't seen it
		_ = session.Close()
	}
	return s
}

// notify wakes those who wait for a change. ss.mu is held.
func (ss *Sessions) notify() {
	if ss.changed != nil {
		close(ss.changed)
		ss.changed = nil
	}
}

// watch waits for the end of s.
func (ss *Sessions) watch(s *Session) {
	defer ss.watches.Done()
	<-s.Done()
	reason := s.Err()
	if s.using.Err() != nil && errors.Is(reason, net.ErrClosed) {
		reason = errReconnect
	}
	ss.retire(s, reason)
	ss.mu.Lock()
	delete(ss.live, s)
	ss.mu.Unlock()
	if ss.Down != nil {
		ss.Down(s, reason)
	}
	close(s.gone)
	_ = s.Close() // frees what is left, whoever ended it
}

// replace has s get no new streams and shuts it down, without waiting for that:
// when its streams have ended, or drainTimeout is over.
func (ss *Sessions) replace(ctx context.Context, s *Session, drainTimeout time.Duration) {
	ss.retire(s, errReconnect)
	s.stopUsing()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	go func() { // ends with the session
		defer cancel()
		_ = s.Shutdown(ctx) // an error is that streams were cut, as asked
	}()
}

// whenReplaced has f called when s is to be replaced, unless stop is called.
func (s *Session) whenReplaced(f func()) (stop func() bool) { return context.AfterFunc(s.using, f) }

// retire has s get no new streams: it has ended, or its peer is going away and
// it lives on for the streams that it has.
func (ss *Sessions) retire(s *Session, reason error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.up = slices.DeleteFunc(ss.up, func(o *Session) bool { return o == s })
	if len(ss.up) == 0 && ss.absence == nil {
		ss.absence = reason
	}
}

// SetAbsence says why no session is up, for those who wait for one.
func (ss *Sessions) SetAbsence(reason error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.absence = reason
}

// Wait returns the newest session that is up, and waits for one if there is
// none. When ctx ends first, or Shutdown begins, the error is ErrNoSession with
// the reason.
func (ss *Sessions) Wait(ctx context.Context) (*Session, error) {
	for {
		s, changed, err := ss.newest()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			ss.mu.Lock()
			defer ss.mu.Unlock()
			if ss.absence == nil {
				return nil, &noSessionError{errNoneYet}
			}
			return nil, &noSessionError{ss.absence}
		}
	}
}

// newest returns the newest session that is up, or, if there is none, a channel
// that is closed when one is added or Shutdown begins.
func (ss *Sessions) newest() (*Session, <-chan struct{}, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, nil, &noSessionError{errShuttingDown}
	}
	if n := len(ss.up); n > 0 {
		return ss.up[n-1], nil, nil
	}
	if ss.changed == nil {
		ss.changed = make(chan struct{})
	}
	return nil, ss.changed, nil
}

// arrival returns a channel that is closed when there is no point in waiting
// for a session any more: one is up, or Shutdown has begun.
func (ss *Sessions) arrival() <-chan struct{} {
	s, changed, err := ss.newest()
	if s != nil || err != nil {
		now := make(chan struct{})
		close(now)
		return now
	}
	return changed
}

// noSessionError is ErrNoSession with the reason.
type noSessionError struct{ reason error }

func (e *noSessionError) Error() string   { return ErrNoSession.Error() + ": " + e.reason.Error() }
func (e *noSessionError) Unwrap() []error { return []error{ErrNoSession, e.reason} }

// Shutdown refuses further sessions and shuts down those that are up, each
// when its streams have ended, or when ctx has. It returns when the last one
// has ended and Down has been called for it.
func (ss *Sessions) Shutdown(ctx context.Context) error {
	ss.mu.Lock()
	ss.closed = true
	ss.notify()
	live := slices.Collect(maps.Keys(ss.live))
	ss.mu.Unlock()
	errs := make([]error, len(live))
	var wg sync.WaitGroup
	for i, s := range live {
		wg.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	wg.Wait()
	ss.watches.Wait()
	return errors.Join(errs...)
}
