package tunnel

import (
	"context"
	"errors"
	"slices"
	"sync"

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
}

// Sessions is the set of sessions that are up. Its zero value is ready for use;
// the fields must be set before.
type Sessions struct {
	// Up is called, if set, when a session has been added, before anything
	// is sent on it, and Down when it has ended, with the reason.
	Up   func(*Session)
	Down func(s *Session, reason error)

	mu      sync.Mutex
	up      []*Session    // oldest first
	added   chan struct{} // closed when a session is added; nil if nobody waits
	absence error         // why no session is up
	lastID  uint64
	closed  bool
	watches sync.WaitGroup // the goroutines that watch for a session's end
}

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
	s := &Session{Session: session, ID: ss.lastID, Remote: remote}
	ss.watches.Add(1)
	ss.mu.Unlock()

	if ss.Up != nil {
		ss.Up(s)
	}
	ss.mu.Lock()
	ss.up = append(ss.up, s)
	ss.absence = nil
	if ss.added != nil {
		close(ss.added)
		ss.added = nil
	}
	closed := ss.closed
	ss.mu.Unlock()
	go ss.watch(s)
	if closed { // Shutdown hasn't seen it
		_ = session.Close()
	}
	return s
}

// watch waits for the end of s.
func (ss *Sessions) watch(s *Session) {
	defer ss.watches.Done()
	<-s.Done()
	ss.remove(s, s.Err())
	_ = s.Close() // frees what is left, whoever ended it
	if ss.Down != nil {
		ss.Down(s, s.Err())
	}
}

// remove takes s out of the set: it has ended, or takes no more streams.
func (ss *Sessions) remove(s *Session, reason error) {
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
// none. When ctx ends first, the error is ErrNoSession with the reason.
func (ss *Sessions) Wait(ctx context.Context) (*Session, error) {
	for {
		ss.mu.Lock()
		if n := len(ss.up); n > 0 {
			s := ss.up[n-1]
			ss.mu.Unlock()
			return s, nil
		}
		if ss.added == nil {
			ss.added = make(chan struct{})
		}
		added := ss.added
		ss.mu.Unlock()
		select {
		case <-added:
		case <-ctx.Done():
			ss.mu.Lock()
			absence := ss.absence
			ss.mu.Unlock()
			if absence == nil {
				absence = errors.New("none has come yet")
			}
			return nil, &noSessionError{absence}
		}
	}
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
	up := slices.Clone(ss.up)
	ss.mu.Unlock()
	errs := make([]error, len(up))
	var wg sync.WaitGroup
	for i, s := range up {
		wg.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	wg.Wait()
	ss.watches.Wait()
	return errors.Join(errs...)
}
