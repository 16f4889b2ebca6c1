package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// sessions is the transport through a session. To reconnect, it keeps one up.
type sessions struct {
	client   *client
	endpoint *endpoint.Endpoint
	logger   *slog.Logger
	timeout  time.Duration // of the wait for the gRPC server; 0: none
	options  []grpc.DialOption
	fail     func(error)
	given    usage.Given
	set      *tunnel.Sessions
	refusal  backend.Backend
	traced   *tracing.Tracing // nil: no trace
	first    chan *tunnel.Session
	life     context.Context //nolint:containedctx // until close
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	newest    *tunnel.Session
	conns     map[*tunnel.Session]*grpc.ClientConn
	lost      []*grpc.ClientConn // of ended sessions; their calls may still be returning errors
	connected bool               // to a gRPC server, through the first session
	closing   bool
	hinted    sync.Once
	failure   netdiag.Failure // of the last dial or session
	inner     error           // why the TLS in a stream failed last
}

// newSessions checks the flags of sessions. They last until ctx ends, or close.
func newSessions(ctx context.Context, o *Options, c *client) (*sessions, error) {
	o.Endpoint.URL, o.Endpoint.Given = o.Addr, o.Given
	if o.Endpoint.MaxSessions = 1; o.Reconnect {
		o.Endpoint.MaxSessions = maxSessions
	}
	e, err := endpoint.New(&o.Endpoint, wsmux.Client)
	if err != nil {
		return nil, err
	}
	s := &sessions{
		client: c, endpoint: e, logger: o.Logger, timeout: o.Endpoint.ConnectTimeout, options: o.dialOptions(), fail: o.Fail, given: o.Given,
		set: &tunnel.Sessions{}, first: make(chan *tunnel.Session, 1), conns: map[*tunnel.Session]*grpc.ClientConn{},
	}
	e.OnInnerFailure(s.innerFailed)
	s.life, s.stop = context.WithCancel(ctx)
	s.refusal = backend.NewRefusal(o.Logger)
	s.set.Subscribe(tunnel.Subscriber{Up: s.sessionUp, Down: s.sessionDown})
	return s, nil
}

// innerFailed is called when the TLS in a stream fails.
func (s *sessions) innerFailed(err error) {
	s.mu.Lock()
	isNew, say := s.inner == nil || s.inner.Error() != err.Error(), s.connected
	s.inner = err
	s.mu.Unlock()
	if hint := endpoint.InnerHint(err, s.given); say && isNew && hint != "" { // the status of the call has err
		s.client.say("hint: %s", hint)
	}
}

// innerErr returns why the TLS in a stream failed last, or nil.
func (s *sessions) innerErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inner
}

// maxSessions is more than one: a session whose peer has vanished must not block the
// next one.
const maxSessions = 1024

func (s *sessions) sessionUp(session *tunnel.Session) {
	s.refusal.ServeStreams(session)
	cc, err := session.DialGRPC(s.options...)
	if err != nil {
		session.CloseWithError(err)
		return
	}
	s.mu.Lock()
	first := s.newest == nil
	s.newest, s.conns[session] = session, cc
	s.failure.Clear()
	lost := s.lost
	s.lost = nil
	s.mu.Unlock()
	for _, cc := range lost {
		_ = cc.Close()
	}
	if first {
		s.first <- session
	} else {
		s.traced.Forget()
		s.client.reconnected("session")
	}
	if s.client.reconnect {
		go s.reportDraining(session)
	}
}

// reportDraining reports that the peer of session is going away, unless the session ends
// soon after, which sessionDown reports. It returns when the session has ended, or earlier.
func (s *sessions) reportDraining(session *tunnel.Session) {
	const soon = 250 * time.Millisecond
	select {
	case <-session.PeerGoingAway():
	case <-session.Done():
		return
	}
	timer := time.NewTimer(soon)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-session.Done():
		return
	}
	s.mu.Lock()
	say := session == s.newest && s.connected && !s.closing
	s.mu.Unlock()
	if say {
		s.client.say("session draining: the server takes no new calls, and lets open ones finish")
	}
}

func (s *sessions) sessionDown(session *tunnel.Session, reason error) {
	s.mu.Lock()
	if cc := s.conns[session]; cc != nil {
		s.lost = append(s.lost, cc)
		delete(s.conns, session)
	}
	say := session == s.newest && s.connected && !s.closing
	s.mu.Unlock()
	switch {
	case say && s.client.reconnect:
		s.client.say("session down: %v", reason)
	case say:
		s.hint(reason)
	}
}

// hint says how to do better if a session has ended because of its messages: there is no next
// one that would.
func (s *sessions) hint(reason error) {
	if websocket.IsCloseError(reason, websocket.CloseMessageTooBig) {
		s.hinted.Do(func() {
			s.client.say("hint: the peer limits WebSocket messages: send smaller ones, with --max-ws-message 32KiB or less")
		})
	}
}

func (s *sessions) current(ctx context.Context) (*grpc.ClientConn, error) {
	s.mu.Lock()
	cc := s.conns[s.newest]
	s.mu.Unlock()
	if cc != nil && cc.GetState() == connectivity.Ready {
		return cc, nil // also if the peer accepts no further streams
	}
	session, err := s.set.Wait(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cc := s.conns[session]; cc != nil {
		return cc, nil
	}
	return nil, fmt.Errorf("%w: %w", tunnel.ErrNoSession, session.Err()) // Down was called meanwhile
}

// connect waits for the first session and for the gRPC server in it.
func (s *sessions) connect(ctx context.Context) error {
	l, url, err := s.endpoint.Listen(ctx, s.logger)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	s.running.Go(func() { ended <- s.run(s.life, l) })
	if url != "" {
		s.client.say("waiting for a session at %s", url)
	}
	select {
	case session := <-s.first:
		if !s.client.reconnect {
			s.stop() // dialing or accepting; the session goes on
		}
		s.running.Go(func() {
			if err := <-ended; err != nil && s.fail != nil {
				s.fail(err)
			}
		})
		select {
		case <-s.set.Ready(): // sessionUp is called before current can return the session
		case <-session.Done():
		case <-ctx.Done():
		}
		return s.awaitServer(ctx, session)
	case err := <-ended:
		if err != nil {
			return err
		}
	case <-ctx.Done():
	}
	if url == "" {
		return context.Cause(ctx)
	}
	return noSessionAt(ctx, url)
}

// awaitServer waits until a gRPC server answers in the first session.
func (s *sessions) awaitServer(ctx context.Context, session *tunnel.Session) error {
	s.mu.Lock()
	cc := s.conns[session]
	s.mu.Unlock()
	if cc == nil {
		return &endedError{session.Remote, session.Err()}
	}
	err := awaitReady(ctx, cc, s.timeout, func() error {
		if err := session.Err(); err != nil {
			return &endedError{session.Remote, err}
		}
		return cmp.Or(s.innerErr(), errNotGRPC)
	})
	if _, ended := errors.AsType[*endedError](err); !ended && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNotGRPC)) {
		err = &sessionError{session.Remote, s.given.Set("yamux-role"), err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = err == nil
	return err
}

// run dials or accepts until ctx ends: it returns nil then. It doesn't retry the first
// dial.
func (s *sessions) run(ctx context.Context, l net.Listener) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	err := s.endpoint.Run(ctx, l, s.set, s.logger, func(in time.Duration, reason error) {
		s.mu.Lock()
		first, isNew := s.newest == nil, s.failure.IsNew(reason)
		s.mu.Unlock()
		if first {
			giveUp(&tunnel.GaveUpError{Attempts: 1, Err: reason})
		}
		if isNew {
			s.logger.Info("retry", slog.Duration("in", in.Round(time.Millisecond)), slog.Any("err", reason))
		}
	})
	if gaveUp, ok := errors.AsType[*tunnel.GaveUpError](context.Cause(ctx)); ok && err == nil {
		return gaveUp
	}
	return err
}

// close ends the sessions, with status code 1000.
func (s *sessions) close() {
	s.stop()
	s.running.Wait()
	s.mu.Lock()
	if s.connected && !s.client.reconnect { // sessionDown may be late
		s.hint(s.newest.Err())
	}
	s.closing = true
	for session, cc := range s.conns {
		_ = cc.Close()
		_ = session.Close()
	}
	s.mu.Unlock()
	_ = s.refusal.Shutdown(s.life, s.set) // its context has ended
	for _, cc := range s.lost {           // without s.mu: every Down has returned
		_ = cc.Close()
	}
}
