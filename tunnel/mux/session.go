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
	"sync/atomic"
	"time"
)

// Session is one end of a yamux session.
//
// Locks: mu guards the session's state, and Stream.mu that of a stream. The order is
// UnreadLimit.mu, Stream.mu, mu. Neither is held during a call that may block or that calls an
// observer. Transport.QueueFrame and Options.RoundTrip don't block and may be called
// with either held.
type Session struct {
	conn     Transport
	role     Role
	opts     Options
	logger   *slog.Logger
	budget   windowBudget
	counters counters
	unread   atomic.Int64 // the memory of unread bytes

	// For the receiving goroutine only.
	br            *bufio.Reader
	header        header // of the current frame
	warnedTooMany bool   // the peer exceeding MaxStreams has been logged

	opening      chan struct{} // holds a token for each stream that the peer hasn't acknowledged
	backlogReady chan struct{} // holds a token if backlog may have streams
	draining     chan struct{} // closed when Shutdown begins
	idle         chan struct{} // closed when draining and numOpen is 0
	remoteGoAway chan struct{} // closed when the peer's GoAway arrives
	done         chan struct{} // closed when the session ends

	mu          sync.Mutex
	err         error // why the session has ended
	nextID      uint32
	streams     map[uint32]*Stream       // streams that haven't ended at both ends
	unclosed    map[*Stream]struct{}     // streams that have ended at both ends with unread bytes
	numIncoming int                      // entries of streams that the peer opened
	backlog     []*Stream                // entries of streams that wait for Accept, oldest first
	numOpen     int                      // streams that Open or Accept returned and that aren't closed at this end
	localGoAway bool                     // GoAway has been sent: streams that the peer opens are reset
	isDraining  bool                     // draining is closed
	isIdle      bool                     // idle is closed
	lingering   []*Stream                // closed at this end first, oldest first; some may have ended since
	sweepAt     int                      // the length of lingering at which ended streams are removed from it
	pings       map[uint32]chan struct{} // by ID; closed when the reply arrives
	nextPing    uint32
}

// New starts a session on conn and takes ownership of it. opts may be nil. An
// error means that opts are invalid; conn is then untouched.
func New(conn Transport, role Role, opts *Options) (*Session, error) {
	if opts == nil {
		opts = &Options{}
	}
	if opts.Window != 0 && opts.Window < initialWindow {
		return nil, fmt.Errorf("yamux: a window of %d bytes, want at least %d", opts.Window, initialWindow)
	}
	s := &Session{
		conn:         conn,
		role:         role,
		opts:         *opts,
		logger:       opts.Logger,
		br:           bufio.NewReader(conn),
		opening:      make(chan struct{}, acceptBacklog),
		backlogReady: make(chan struct{}, 1),
		draining:     make(chan struct{}),
		idle:         make(chan struct{}),
		remoteGoAway: make(chan struct{}),
		done:         make(chan struct{}),
		nextID:       1,
		streams:      map[uint32]*Stream{},
		unclosed:     map[*Stream]struct{}{},
		pings:        map[uint32]chan struct{}{},
		nextPing:     rand.Uint32(), //nolint:gosec // see receivePing
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
	s.opts.Unread = cmp.Or(opts.Unread, NewUnreadLimit(defaultUnread))
	s.opts.Unread.add(s)
	go s.receive()
	return s, nil
}

// LocalAddr returns the local address of the connection.
func (s *Session) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr returns the peer's address.
func (s *Session) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Done returns a channel that is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns nil while the session is up, and then why it ended: the reason
// given to CloseWithError, a *ProtocolError, the connection's error, or
// net.ErrClosed if this end closed it.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// endedErr returns the error of a call on a session that has ended.
func (s *Session) endedErr() error { return fmt.Errorf("session ended: %w", s.Err()) }

// Open opens a stream. It blocks while 256 earlier streams wait for the peer to
// accept them. The stream can be written before the peer accepts it.
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
	case <-s.remoteGoAway:
		return nil, ErrRemoteGoAway
	case <-s.draining:
		return nil, net.ErrClosed
	case <-s.done:
		return nil, s.endedErr()
	}
	st, err := s.add(!IsUnobserved(ctx))
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
	case <-s.remoteGoAway:
		return ErrRemoteGoAway
	default:
		return nil
	}
}

// add creates a stream and registers it. observed says whether it has an observer.
func (s *Session) add(observed bool) (*Stream, error) {
	s.mu.Lock()
	id := s.nextID
	if id >= math.MaxUint32-1 {
		s.mu.Unlock()
		return nil, errStreamsExhausted
	}
	s.nextID += 2
	s.mu.Unlock()

	var ob *observer
	if observed {
		ob = s.observe(id, true)
	}
	st := newStream(s, id, false, ob)
	err := s.register(st)
	if err != nil {
		st.observer.end(err)
	}
	return st, err
}

// register adds st, which this end opens, to s.streams and queues its SYN.
func (s *Session) register(st *Stream) error {
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.mu.Unlock()
		return s.endedErr()
	case s.isDraining:
		s.mu.Unlock()
		return net.ErrClosed
	case s.streams[st.id] != nil:
		s.mu.Unlock()
		s.CloseWithError(s.sameRoleError(st.id))
		return s.endedErr()
	}
	defer s.mu.Unlock()
	s.streams[st.id] = st
	s.numOpen++
	s.counters.opened.Add(1)
	h := newHeader(typeWindowUpdate, flagSYN, st.id, s.initialIncrement())
	s.conn.QueueFrame(h[:])
	return nil
}

// sameRoleError returns the error for a stream ID that both ends have used.
func (s *Session) sameRoleError(stream uint32) error {
	return &ProtocolError{Text: fmt.Sprintf("duplicate stream initiated: both ends have the yamux role %v", s.role), Duplicate: stream, sendGoAway: true}
}

// initialIncrement returns the increment in the SYN or ACK of a stream: by how much
// the configured window exceeds the protocol's initial window.
func (s *Session) initialIncrement() uint32 { return max(s.opts.Window, initialWindow) - initialWindow }

// Accept waits for the peer to open a stream, and returns it. The error is
// net.ErrClosed once Shutdown has begun, and otherwise why the session ended.
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
		case <-s.backlogReady:
		case <-s.draining:
		case <-s.done:
		}
	}
}

// nextIncoming removes the oldest stream from the backlog and returns it, or nil if
// the backlog is empty.
func (s *Session) nextIncoming() (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDraining:
		return nil, net.ErrClosed
	case s.err != nil:
		return nil, fmt.Errorf("session ended: %w", s.err)
	case len(s.backlog) == 0:
		return nil, nil
	}
	st := s.backlog[0]
	s.backlog = slices.Delete(s.backlog, 0, 1)
	if len(s.backlog) > 0 {
		signal(s.backlogReady)
	}
	s.numOpen++
	s.counters.accepted.Add(1)
	return st, nil
}

// signal puts a token into c, which has room for one, unless it is full.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ping sends a yamux Ping, waits for the reply, and returns the round-trip time.
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

// remove removes st, which has ended at both ends. If it has unread bytes, it stays in
// unclosed. The caller holds st.mu.
func (s *Session) remove(st *Stream, hasUnread bool) {
	s.mu.Lock()
	if s.streams[st.id] == st {
		delete(s.streams, st.id)
		if hasUnread {
			s.unclosed[st] = struct{}{}
		}
		if st.incoming {
			s.numIncoming--
			if i := slices.Index(s.backlog, st); i >= 0 { // reset before it was accepted
				s.backlog = slices.Delete(s.backlog, i, i+1)
			}
		}
	}
	s.mu.Unlock()
	st.releaseOpening()
}

// streamClosed records that st was closed at this end. lingers reports whether the
// peer hasn't closed it yet.
func (s *Session) streamClosed(st *Stream, lingers bool) {
	s.mu.Lock()
	delete(s.unclosed, st)
	s.numOpen--
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

// checkIdle wakes Shutdown if no stream is open at this end. The caller holds s.mu.
func (s *Session) checkIdle() {
	if s.isDraining && s.numOpen == 0 && !s.isIdle {
		s.isIdle = true
		close(s.idle)
	}
}
