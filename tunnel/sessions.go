package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

var (
	// ErrNoSession means that no session is up. Errors wrap it together with the
	// reason.
	ErrNoSession = errors.New("no session")

	// ErrShuttingDown is the reason after Shutdown has begun.
	ErrShuttingDown = errors.New("shutting down")

	errNoneYet = errors.New("none established yet")
)

// noSession returns ErrNoSession with the reason.
func noSession(reason error) error { return fmt.Errorf("%w: %w", ErrNoSession, reason) }

// DefaultWait is how long Sessions.Open waits for a session by default.
const DefaultWait = 5 * time.Second

// openWait bounds how long Open waits for the peer to accept earlier streams.
const openWait = 30 * time.Second

// Sessions is a set of sessions. The zero value is ready to use.
type Sessions struct {
	mu            sync.Mutex      // not held during calls of a Subscriber's functions
	subscriptions []*subscription // oldest first
	live          []*Session      // sessions that haven't ended, oldest first
	changed       chan struct{}   // closed when live grows or closed is set; nil until Ready needs it
	waiting       int             // calls of Wait that wait for a session
	wait          chan struct{}   // closed when waiting grows; nil until wanted needs it
	downReason    error           // why no session is up
	lastID        uint64
	closed        bool           // Shutdown has begun
	watches       sync.WaitGroup // the running calls of watch
}

// Add adds a session and takes ownership of it. It blocks until every Subscriber.Up has
// returned, and returns the session with its ID. After Shutdown has begun, it closes
// the session and returns nil.
func (ss *Sessions) Add(session *wsmux.Session, remote string) *Session {
	return ss.addSession(session, &Session{ID: ss.nextID(), Remote: remote})
}

// start starts a session on conn, and adds it as Add does.
func (ss *Sessions) start(conn *websocket.Conn, side wsmux.Side, opts *SessionOptions, remote string) (*Session, error) {
	id, expires := ss.nextID(), peerExpires(conn.NetConn())
	session, err := opts.Start(conn, side, id)
	if err != nil {
		return nil, err
	}
	return ss.addSession(session, &Session{ID: id, Remote: remote, peerExpires: expires}), nil
}

func (ss *Sessions) addSession(session *wsmux.Session, s *Session) *Session {
	s, closed := ss.add(session, s)
	if closed {
		_ = session.Close()
	}
	return s
}

func (ss *Sessions) nextID() uint64 {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.lastID++
	return ss.lastID
}

// add is addSession, but leaves it to the caller to close the session if closed is true. If
// Shutdown begins during add, it returns both the session and true: Shutdown doesn't
// end that session.
func (ss *Sessions) add(session *wsmux.Session, s *Session) (_ *Session, closed bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed {
		return nil, true
	}
	s.Session, s.Since, s.downDone = session, time.Now(), make(chan struct{})
	s.replaced, s.replace = context.WithCancel(context.Background())
	s.retired, s.retire = context.WithCancelCause(context.Background())
	ss.watches.Add(1)
	ss.callUps(s)
	ss.live = append(ss.live, s)
	ss.downReason = nil
	ss.notify()
	go ss.watch(s)
	return s, ss.closed
}

// notify closes the channel that Ready returned. The caller holds ss.mu.
func (ss *Sessions) notify() {
	if ss.changed != nil {
		close(ss.changed)
		ss.changed = nil
	}
}

// watch waits for the end of s, removes it from the set, and calls Down.
func (ss *Sessions) watch(s *Session) {
	defer ss.watches.Done()
	select {
	case <-s.PeerGoingAway():
		ss.retire(s, mux.ErrRemoteGoAway)
	case <-s.Done():
	}
	<-s.Done()
	reason := s.Err()
	if s.replaced.Err() != nil && errors.Is(reason, net.ErrClosed) {
		reason = s.retireReason()
	}
	ss.retire(s, reason)
	ss.mu.Lock()
	ss.live = slices.DeleteFunc(ss.live, func(o *Session) bool { return o == s })
	ss.mu.Unlock()
	ss.callDowns(s, reason)
	close(s.downDone)
	_ = s.Close() // waits until the socket is closed
}

// replace shuts down s, which is retired, after grace. s then ends with its last stream,
// or after drainTimeout.
func (ss *Sessions) replace(ctx context.Context, s *Session, grace, drainTimeout time.Duration) {
	s.replace()
	go func() { // ends with the session
		select {
		case <-time.After(grace):
		case <-s.Done():
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		_ = s.Shutdown(ctx) // an error means that drainTimeout ended streams, as intended
	}()
}

// retire stops the use of s for new streams, because s has ended, was replaced, or its
// peer is going away.
func (ss *Sessions) retire(s *Session, reason error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.retire(reason)
	if ss.newest() == nil && ss.downReason == nil {
		ss.downReason = reason
	}
}

// SetDownReason sets the reason that Wait returns while no session is up. The
// next session clears it.
func (ss *Sessions) SetDownReason(reason error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.downReason = reason
}

// newest returns the newest session that isn't retired, or nil. The caller holds ss.mu.
func (ss *Sessions) newest() *Session {
	for _, s := range slices.Backward(ss.live) {
		if s.retired.Err() == nil {
			return s
		}
	}
	return nil
}

// Ready returns a channel that is closed when Wait wouldn't block: when a session is up
// or Shutdown has begun.
func (ss *Sessions) Ready() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.closed || ss.newest() != nil {
		ready := make(chan struct{})
		close(ready)
		return ready
	}
	if ss.changed == nil {
		ss.changed = make(chan struct{})
	}
	return ss.changed
}

// Wait returns the newest session that accepts new streams. It blocks until there is
// one, ctx ends, or Shutdown begins. The error wraps ErrNoSession and the reason. While
// Wait blocks, a Connector of the set dials without delay.
func (ss *Sessions) Wait(ctx context.Context) (*Session, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for {
		s := ss.newest()
		switch {
		case ss.closed:
			return nil, noSession(ErrShuttingDown)
		case s != nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, noSession(cmp.Or(ss.downReason, errNoneYet))
		}
		ss.awaitChange(ctx)
	}
}

// awaitChange waits until a session is added, Shutdown begins or ctx ends. The caller holds
// ss.mu, which is released meanwhile.
func (ss *Sessions) awaitChange(ctx context.Context) {
	if ss.changed == nil {
		ss.changed = make(chan struct{})
	}
	changed := ss.changed
	ss.waiting++
	if ss.wait != nil {
		close(ss.wait)
		ss.wait = nil
	}
	ss.mu.Unlock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
	ss.mu.Lock()
	ss.waiting--
}

// wanted returns a channel that is closed as soon as a call of Wait waits for a session.
func (ss *Sessions) wanted() <-chan struct{} {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.wait == nil {
		ss.wait = make(chan struct{})
	}
	wait := ss.wait
	if ss.waiting > 0 {
		close(ss.wait)
		ss.wait = nil
	}
	return wait
}

// Open opens a stream on the newest session that accepts it, and returns both. It waits
// for a session (wait 0: for DefaultWait, negative: not at all), and then up to 30 s
// for the peer to accept earlier streams. If no session is up in that time, ctx ends, or
// Shutdown begins, the error wraps ErrNoSession and the reason. The caller closes the
// stream.
func (ss *Sessions) Open(ctx context.Context, wait time.Duration) (*wsmux.Stream, *Session, error) {
	wait = orDefault(wait, DefaultWait)
	waiting, stop := context.WithTimeout(ctx, wait)
	defer stop()
	opening, cancel := context.WithTimeoutCause(ctx, wait+openWait, netdiag.TimeoutError(openWait))
	defer cancel()
	for {
		s, err := ss.Wait(waiting)
		switch {
		case ctx.Err() != nil:
			return nil, nil, noSession(context.Cause(ctx))
		case err != nil:
			return nil, nil, err
		}
		stream, err := s.Open(opening)
		if err == nil {
			return stream, s, nil
		}
		if opening.Err() != nil {
			return nil, nil, err
		}
		ss.retire(s, err) // s has ended, or its peer is going away
	}
}

// Shutdown refuses further sessions and shuts down the sessions in the set. Each ends
// with its last stream, or when ctx ends, which is an error. Shutdown returns after all
// calls of Subscriber.Down have returned.
func (ss *Sessions) Shutdown(ctx context.Context) error {
	ss.mu.Lock()
	ss.closed = true
	ss.notify()
	live := slices.Clone(ss.live)
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
