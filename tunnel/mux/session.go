package mux

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Session is one end of a yamux session.
//
// Locks: mu guards the session's state, Stream.mu that of a stream. mu may be taken
// with Stream.mu held, not the other way round. Neither is held across a call that
// can block or that calls an observer. Transport.QueueFrame and Options.RoundTrip
// don't block and are called under either.
type Session struct {
	conn     Transport
	role     Role
	opts     Options
	logger   *slog.Logger
	budget   windowBudget
	counters counters

	in     *bufio.Reader // used by the receiving goroutine alone
	header header        // as above
	warned bool          // as above: that the peer opens too many streams

	opening    chan struct{} // holds a token for each stream that the peer hasn't acknowledged
	acceptable chan struct{} // holds a token if backlog may have streams
	draining   chan struct{} // closed when Shutdown begins
	idle       chan struct{} // closed when draining and no stream is open here
	remoteGone chan struct{} // closed when the peer's GoAway has arrived
	done       chan struct{} // closed when the session has ended

	mu        sync.Mutex
	err       error // why the session has ended
	nextID    uint32
	streams   map[uint32]*Stream // those that haven't ended at both ends
	incoming  int                // how many of them the peer opened
	backlog   []*Stream          // those of them that wait to be accepted, oldest first
	open      int                // how many streams Open and Accept returned that haven't been closed here
	goneAway  bool               // GoAway has been sent: streams that the peer opens are reset
	isDrained bool               // draining is closed
	isIdle    bool               // idle is closed
	lingering []*Stream          // closed here first, oldest first; may contain streams that have ended since
	sweepAt   int                // with more of them, those that have ended are dropped
	pings     map[uint32]chan struct{}
	nextPing  uint32
}

// New starts a session on conn, which it takes over. opts may be nil. An error
// is about opts, and conn isn't touched then.
func New(conn Transport, role Role, opts *Options) (*Session, error) {
	if opts == nil {
		opts = &Options{}
	}
	if opts.Window != 0 && opts.Window < initialWindow {
		return nil, fmt.Errorf("yamux: a window of %d bytes, want at least %d", opts.Window, initialWindow)
	}
	s := &Session{
		conn:       conn,
		role:       role,
		opts:       *opts,
		logger:     opts.Logger,
		in:         bufio.NewReader(conn),
		opening:    make(chan struct{}, acceptBacklog),
		acceptable: make(chan struct{}, 1),
		draining:   make(chan struct{}),
		idle:       make(chan struct{}),
		remoteGone: make(chan struct{}),
		done:       make(chan struct{}),
		nextID:     1,
		streams:    map[uint32]*Stream{},
		pings:      map[uint32]chan struct{}{},
		nextPing:   rand.Uint32(), //nolint:gosec // see receivePing
	}
	if role == Server {
		s.nextID = 2
	}
	s.opts.MaxStreams = cmp.Or(opts.MaxStreams, defaultMaxStreams)
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.budget.roundTrip = opts.RoundTrip
	if s.budget.roundTrip == nil {
		s.budget.roundTrip = func() time.Duration { return 0 }
	}
	go s.receive()
	return s, nil
}

// LocalAddr returns the local address of the connection.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the peer's address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Done returns a channel that is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session has ended, and nil while it hasn't: the reason
// given to CloseWithError, a *ProtocolError, the connection's error, or
// net.ErrClosed if this end closed it.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// endedErr is the error of a call on a session that has ended.
func (s *Session) endedErr() error { return fmt.Errorf("session ended: %w", s.Err()) }

// Open opens a stream. It blocks while the peer hasn't accepted 256 of those
// opened before. Bytes can be written before the peer accepts the stream.
func (s *Session) Open(ctx context.Context) (*Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := s.openErr(); err != nil {
		return nil, err
	}
	select {
	case s.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("the peer accepts no streams: %w", context.Cause(ctx))
	case <-s.remoteGone:
		return nil, ErrRemoteGoAway
	case <-s.draining:
		return nil, net.ErrClosed
	case <-s.done:
		return nil, s.endedErr()
	}
	st, err := s.add()
	if err != nil {
		<-s.opening
	}
	return st, err
}

// openErr returns why no stream can be opened, or nil.
func (s *Session) openErr() error {
	select {
	case <-s.done:
		return s.endedErr()
	default:
	}
	select {
	case <-s.draining:
		return net.ErrClosed
	case <-s.remoteGone:
		return ErrRemoteGoAway
	default:
		return nil
	}
}

// add adds a new stream and queues its first frame.
func (s *Session) add() (*Stream, error) {
	s.mu.Lock()
	id := s.nextID
	if id >= math.MaxUint32-1 {
		s.mu.Unlock()
		return nil, ErrStreamsExhausted
	}
	s.nextID += 2
	s.mu.Unlock()

	st := newStream(s, id, false)
	err := s.register(st)
	if err != nil {
		st.observer.end(err)
	}
	return st, err
}

// register makes st, which this end opens, known to the session and the peer.
func (s *Session) register(st *Stream) error {
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.mu.Unlock()
		return s.endedErr()
	case s.isDrained:
		s.mu.Unlock()
		return net.ErrClosed
	case s.streams[st.id] != nil:
		s.mu.Unlock()
		s.CloseWithError(s.sameRoleError(st.id))
		return s.endedErr()
	}
	defer s.mu.Unlock()
	s.streams[st.id] = st
	s.open++
	s.counters.opened.Add(1)
	h := newHeader(typeWindowUpdate, flagSYN, st.id, s.firstUpdate())
	s.conn.QueueFrame(h[:])
	return nil
}

// sameRoleError means that the two ends number their streams alike.
func (s *Session) sameRoleError(stream uint32) error {
	return &ProtocolError{Text: fmt.Sprintf("duplicate stream initiated: both ends have the yamux role %v", s.role), Duplicate: stream, announce: true}
}

// firstUpdate is by how much the first window update of a stream enlarges the
// peer's send window.
func (s *Session) firstUpdate() uint32 { return max(s.opts.Window, initialWindow) - initialWindow }

// Accept waits for a stream that the peer opens. It returns net.ErrClosed once
// Shutdown has begun, and the reason of the session's end otherwise.
func (s *Session) Accept() (*Stream, error) {
	for {
		st, err := s.nextIncoming()
		switch {
		case err != nil:
			return nil, err
		case st != nil:
			st.acknowledge()
			return st, nil
		}
		select {
		case <-s.acceptable:
		case <-s.draining:
		case <-s.done:
		}
	}
}

// nextIncoming returns the oldest stream of the backlog, or nil if that is empty.
func (s *Session) nextIncoming() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDrained:
		return nil, net.ErrClosed
	case s.err != nil:
		return nil, fmt.Errorf("session ended: %w", s.err)
	case len(s.backlog) == 0:
		return nil, nil
	}
	st := s.backlog[0]
	s.backlog = slices.Delete(s.backlog, 0, 1)
	if len(s.backlog) > 0 {
		signal(s.acceptable)
	}
	s.open++
	s.counters.accepted.Add(1)
	return st, nil
}

// signal puts a token into c, unless it holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ping sends a yamux Ping and returns how long the reply took.
func (s *Session) Ping(ctx context.Context) (time.Duration, error) {
	replied := make(chan struct{})
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return 0, s.endedErr()
	}
	id := s.nextPing
	s.nextPing++
	s.pings[id] = replied
	start := time.Now()
	h := newHeader(typePing, flagSYN, 0, id)
	s.conn.QueueFrame(h[:])
	s.mu.Unlock()
	select {
	case <-replied:
		return time.Since(start), nil
	case <-s.done:
		return 0, s.endedErr()
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pings, id)
		return 0, context.Cause(ctx)
	}
}

// remove forgets a stream that has ended.
func (s *Session) remove(st *Stream) {
	s.mu.Lock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
		if st.incoming {
			s.incoming--
			if i := slices.Index(s.backlog, st); i >= 0 { // reset by the peer
				s.backlog = slices.Delete(s.backlog, i, i+1)
			}
		}
	}
	s.mu.Unlock()
	if st.takeOpening() {
		<-s.opening
	}
}

// closedHere records that a stream was closed at this end. It lingers if the
// peer hasn't closed it.
func (s *Session) closedHere(st *Stream, lingers bool) {
	s.mu.Lock()
	s.open--
	s.checkIdle()
	var oldest *Stream
	if lingers && s.err == nil {
		if s.lingering = append(s.lingering, st); len(s.lingering) > s.sweepAt {
			s.lingering = slices.DeleteFunc(s.lingering, func(st *Stream) bool { return s.streams[st.id] != st })
			if len(s.lingering) > maxLingering {
				oldest = s.lingering[0]
				s.lingering = slices.Delete(s.lingering, 0, 1)
			}
			s.sweepAt = min(max(2*len(s.lingering), minSweep), maxLingering)
		}
	}
	s.mu.Unlock()
	if oldest != nil {
		oldest.abort(errHalfClosed, flagRST)
	}
}

// checkIdle wakes Shutdown if no stream is open. The caller holds s.mu.
func (s *Session) checkIdle() {
	if s.isDrained && s.open == 0 && !s.isIdle {
		s.isIdle = true
		close(s.idle)
	}
}
