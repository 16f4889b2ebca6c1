package relay

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// session is the session of a Worker or of an engineer.
type session struct {
	*wsmux.Session

	id                     uint64
	role                   Role
	name, instance, remote string
	seq                    uint64    // of the Worker's dial
	since                  time.Time // see Instance
	via                    string    // the ID of the relay that has sent the handshake on
	hop                    string    // the HopHeader of that; "": none
	grant                  Grant
	begin                  time.Time
	worker                 *worker
	leaving                bool         // gets no new streams; guarded by Relay.mu
	refused                atomic.Int64 // streams

	mu       sync.Mutex
	bridges  map[*bridge]struct{} // of an engineer
	idle     chan struct{}        // closed when there are no bridges; nil until dismiss
	up, down int64                // bytes of its streams that have ended, to the Worker and from it
}

// start starts s on conn.
func (r *Relay) start(s *session, conn *websocket.Conn, role wsmux.Role) error {
	r.mu.Lock()
	closed := r.closed
	r.lastID++
	s.id = r.lastID
	if !closed {
		r.running.Add(1) // before Close waits
	}
	r.mu.Unlock()
	if closed {
		_ = conn.Close()
		return net.ErrClosed
	}
	opts := r.opts.Session
	opts.Role = role
	var err error
	if s.Session, err = opts.Start(conn, wsmux.Accepting, s.id); err != nil {
		r.running.Done()
		return err
	}
	s.begin = time.Now()
	r.mu.Lock()
	r.sessions[s] = struct{}{}
	if s.hop != "" {
		r.hopped[s.hop] = s
	}
	if s.role == Serve {
		r.totals.Workers++
	} else {
		r.totals.Engineers++
	}
	closed = r.closed
	r.mu.Unlock()
	if closed {
		r.end(s, websocket.CloseServiceRestart, restarting)
	}
	r.recheck(s) // it wasn't among the sessions until now
	return nil
}

// finish removes s, which has ended.
func (r *Relay) finish(s *session) {
	r.mu.Lock()
	delete(r.sessions, s)
	if r.hopped[s.hop] == s {
		delete(r.hopped, s.hop)
	}
	r.mu.Unlock()
	if r.opts.Observe != nil {
		r.opts.Observe(s.record())
	}
	_ = s.Close() // waits until the socket is closed
	r.running.Done()
}

// end ends s with a status code, and doesn't block.
func (r *Relay) end(s *session, code int, text string) {
	go s.CloseWithError(&websocket.CloseError{Code: code, Text: text})
}

// dismissTimeout is how long an engineer may take to receive the last bytes of a Worker that
// has gone.
const dismissTimeout = 10 * time.Second

// dismiss ends the session of an engineer whose Worker has gone. It refuses further streams,
// and waits until the last bytes of the others are sent.
func (s *session) dismiss() {
	s.mu.Lock()
	if s.idle != nil {
		s.mu.Unlock()
		return
	}
	s.idle = make(chan struct{})
	if len(s.bridges) == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	s.AnnounceGoAway()
	timer := time.NewTimer(dismissTimeout)
	defer timer.Stop()
	select {
	case <-s.idle:
	case <-s.Done():
	case <-timer.C:
	}
	s.CloseWithError(&websocket.CloseError{Code: CloseGone, Text: gone})
}

// serveWorker handles the session of a Worker until it ends.
func (r *Relay) serveWorker(s *session) {
	defer r.finish(s)
	if !r.arrive(s) {
		r.end(s, CloseReplaced, replaced)
		<-s.Done()
		return
	}
	r.log(slog.LevelInfo, "worker connected", s)
	go r.refuseStreams(s)
	select {
	case <-s.PeerGoingAway():
		r.leave(s)
	case <-s.Done():
	}
	<-s.Done()
	r.depart(s)
	r.log(slog.LevelInfo, "worker disconnected", s, slog.Any("err", s.Err()))
}

// refuseStreams resets the streams that a Worker opens: nobody is there to accept them.
func (r *Relay) refuseStreams(s *session) {
	for {
		stream, err := s.Accept()
		if err != nil {
			return
		}
		_ = stream.Reset()
		if s.refused.Add(1) == 1 {
			r.log(slog.LevelWarn, "a worker opens streams, which are reset", s)
		}
	}
}

// serveEngineer handles the session of an engineer until it ends.
func (r *Relay) serveEngineer(s *session) {
	defer r.finish(s)
	r.enter(s)
	r.log(slog.LevelDebug, "engineer connected", s)
	for {
		stream, err := s.Accept()
		if err != nil {
			break
		}
		r.forward(s, stream)
	}
	<-s.Done()
	r.part(s)
	r.log(slog.LevelDebug, "engineer disconnected", s, slog.Any("err", s.Err()))
}

func (r *Relay) log(level slog.Level, msg string, s *session, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.Uint64("session", s.id), slog.String("name", s.name), slog.String("remote_addr", s.remote)}, attrs...)
	r.logger.LogAttrs(context.Background(), level, msg, attrs...) //nolint:sloglint // all callers pass constants
}

// Stats are the sessions and streams of a Relay, at one moment.
type Stats struct {
	Sessions []SessionStats
	Holds    int  // handshakes that wait for a Worker
	Draining bool // Drain or Close has begun
}

// SessionStats is a session of Stats.
type SessionStats struct {
	ID       uint64
	Role     Role
	Name     string
	Instance string // of a Worker; "" if it has sent none
	Subject  string // of its Grant
	Remote   string // the address of the peer
	Since    time.Time
	Leaving  bool          // it gets no new streams
	Up, Down int64         // bytes that were sent to the Worker, and received from it
	Refused  int64         // streams that were reset
	Pong     time.Duration // the round-trip time of the last Ping; 0: none yet
	Streams  []StreamStats // of an engineer
}

// StreamStats is a stream of an engineer's session.
type StreamStats struct {
	Stream   uint32 // its number in the session of the engineer
	Worker   uint64 // the ID of the session of the Worker
	Since    time.Time
	Up, Down int64
}

// Snapshot returns the sessions and streams in no particular order.
func (r *Relay) Snapshot() Stats {
	r.mu.Lock()
	st := Stats{Holds: len(r.holds), Draining: r.draining, Sessions: make([]SessionStats, 0, len(r.sessions))}
	sessions := make([]*session, 0, len(r.sessions))
	for s := range r.sessions {
		sessions = append(sessions, s)
		st.Sessions = append(st.Sessions, SessionStats{
			ID: s.id, Role: s.role, Name: s.name, Instance: s.instance, Subject: s.grant.Subject, Remote: s.remote,
			Since: s.begin, Leaving: s.leaving,
		})
	}
	r.mu.Unlock()
	for i, s := range sessions { // without the lock that each handshake needs
		s.fill(&st.Sessions[i])
	}
	return st
}

func (s *session) fill(st *SessionStats) {
	n := s.Stats()
	st.Pong = n.RoundTrip
	if s.role == Serve {
		st.Up, st.Down, st.Refused = n.BytesSent, n.BytesReceived, s.refused.Load()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Up, st.Down, st.Refused = s.up, s.down, s.refused.Load()
	for b := range s.bridges {
		if b.to == nil { // not connected yet
			continue
		}
		stream := StreamStats{Stream: b.near.ID(), Worker: b.to.id, Since: b.begin, Up: b.up.n.Load(), Down: b.down.n.Load()}
		st.Streams = append(st.Streams, stream)
		st.Up, st.Down = st.Up+stream.Up, st.Down+stream.Down
	}
}

// Record describes a session or a stream that has ended, a handshake that was refused, or one
// that was sent on to another relay, after the end of its connection: Up and Down are then
// the bytes of the WebSocket.
type Record struct {
	Kind     string // "session", "stream", "hop" or "refusal"
	Role     Role   // "" if it is unknown
	Name     string // "" if it is unknown or invalid
	Instance string
	Subject  string
	Remote   string // the client's address
	Via      string // the ID of the relay that has sent the handshake on; "": none
	Session  uint64 // its ID; that of a stream is the engineer's
	Worker   uint64 // for a stream, the ID of the Worker's session; 0: none
	Stream   uint32 // its number in the engineer's session
	Up, Down int64  // bytes sent to the Worker, and received from it
	Begin    time.Time
	End      time.Time
	Code     int    // for a refusal, the HTTP status
	Err      error  // for a session, why it has ended
	Reason   string // why it has ended; "" for a stream that both ends have closed. It may contain text of a peer
}

func (s *session) newRecord(kind string) Record {
	return Record{
		Kind: kind, Role: s.role, Name: s.name, Instance: s.instance, Subject: s.grant.Subject, Remote: s.remote, Via: s.via,
		Session: s.id, Begin: s.begin, End: time.Now(),
	}
}

func (s *session) record() Record {
	rec := s.newRecord("session")
	var st SessionStats
	s.fill(&st)
	rec.Up, rec.Down, rec.Err, rec.Reason = st.Up, st.Down, s.Err(), s.Err().Error()
	return rec
}
