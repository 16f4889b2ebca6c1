package limit

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/wstun/wstun/tunnel/rpc"
)

// admission is the value of a call's context at admissionKey. It is the open call in
// Session.calls, unless it is refused.
type admission struct {
	session *Session
	refusal error        // of the call, or nil
	size    int64        // of the header list
	stop    func() bool  // stops the removal of the call at the end of its context
	users   atomic.Int32 // the handler and the stream, as long as they haven't ended
	code    codes.Code   // of its end, which the client receives

	method         string
	yamux          uint32 // number of the yamux stream; 0: unknown
	begun          time.Time
	last           atomic.Int64 // when its latest message passed, in nanoseconds since 1970; 0: there was none
	sent, received atomic.Uint64
}

// keep counts the call until its handler has returned and its stream has ended, whether or
// not its context has. The handler calls the result when it returns, with its error.
func (a *admission) keep(ctx context.Context, c *call) (returned func(error)) {
	if !a.stop() {
		return func(error) {}
	}
	a.users.Store(2)
	done := func() {
		if a.users.Add(-1) == 0 {
			a.session.removeCall(a)
		}
	}
	if !c.conn.flow.callAtEnd(c.stream, done) {
		done()
	}
	return func(err error) {
		if !errors.Is(ctx.Err(), context.Canceled) { // otherwise the client has reset the stream, or the connection is lost
			a.code = statusCode(err)
		}
		done()
	}
}

// passed counts a message in n, which is sent or received.
func (a *admission) passed(n *atomic.Uint64) {
	n.Add(1)
	a.last.Store(time.Now().UnixNano())
}

// statusCode returns the code that grpc-go sends for the error of a handler.
func statusCode(err error) codes.Code {
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return status.FromContextError(err).Code()
}

type admissionKey struct{}

// admit counts a call and its header list until the call ends. It refuses no call itself:
// grpc-go doesn't stop the timers of calls for which a tap.ServerInHandle returns an error.
func (s *Session) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	a := &admission{session: s, size: listSize(info.Header), method: info.FullMethodName, code: rpc.NoStatus, begun: time.Now()}
	if p, ok := peer.FromContext(ctx); ok {
		a.yamux = yamuxStream(p.Addr)
	}
	if a.refusal = s.addCall(a); a.refusal == nil {
		a.stop = context.AfterFunc(ctx, func() { s.removeCall(a) })
	}
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// yamuxStream returns the number of the yamux stream of a connection with this remote
// address; 0: unknown.
func yamuxStream(remote net.Addr) uint32 {
	a, _ := remote.(addr)
	if a.conn == nil {
		return 0
	}
	stream, ok := a.conn.Conn.(interface{ ID() uint32 })
	if !ok {
		return 0
	}
	return stream.ID()
}

func admissionOf(ctx context.Context) *admission {
	a, _ := ctx.Value(admissionKey{}).(*admission)
	return a
}

// FromContext returns the session of a call, or nil.
func FromContext(ctx context.Context) *Session {
	if a := admissionOf(ctx); a != nil {
		return a.session
	}
	return nil
}

func (s *Session) addCall(a *admission) error {
	p := s.process
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(s.calls) == maxCalls:
		return status.Errorf(codes.ResourceExhausted, "wstun: this session has %d open calls already", maxCalls)
	case s.headers+a.size > p.opts.SessionHeaderLists:
		return status.Errorf(codes.ResourceExhausted, "wstun: the headers of this session's open calls have more than %d bytes", p.opts.SessionHeaderLists)
	}
	s.calls[a] = struct{}{}
	s.headers += a.size
	return nil
}

// removeCall counts the end of an open call.
func (s *Session) removeCall(a *admission) {
	p := s.process
	p.mu.Lock()
	delete(s.calls, a)
	s.headers -= a.size
	p.mu.Unlock()
	p.ended.Add(a.code)
}

// Calls returns the open calls of the session, in no order. They have no Session.
func (s *Server) Calls() (all []rpc.Call) {
	s.session.process.mu.Lock()
	defer s.session.process.mu.Unlock()
	for a := range s.session.calls {
		call := rpc.Call{Method: a.method, Stream: a.yamux, Begun: a.begun, Sent: a.sent.Load(), Received: a.received.Load()}
		if last := a.last.Load(); last != 0 {
			call.Last = time.Unix(0, last)
		}
		all = append(all, call)
	}
	return all
}

// Ended counts the calls of all sessions that have ended. Those that were refused count, too.
func (p *Process) Ended() *rpc.Counts { return &p.ended }
