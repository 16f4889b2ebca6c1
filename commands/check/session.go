package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// yamuxPings is how many are sent, to find the fastest.
	yamuxPings = 3

	// goodbyeWait bounds what comes before the Close frame.
	goodbyeWait = time.Second
)

// Hints for what fails above the WebSocket.
const (
	hintNoPong   = "the peer, or a proxy in front of it, leaves Pings unanswered, which RFC 6455 forbids: a session would be taken for dead"
	hintNotYamux = "the peer's WebSocket is for something else: check the URL's path"
	hintNoStream = "maybe the peer is the one that calls: be the gRPC server end to it with wstun serve"
	hintRole     = "try the other --yamux-role"
	hintInside   = "what the peer connects streams to must speak gRPC without TLS: check its own target"
)

// session is the part of a run above the WebSocket.
type session struct {
	*probe
	*wsmux.Session
	watch *watch

	mu      sync.Mutex
	streams []*stream // that gRPC has opened
}

// stream is one that gRPC has opened, and is to close.
type stream struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (s *stream) Close() error {
	s.once.Do(func() { // gRPC may close twice, and the second call must not be ahead
		_ = s.Conn.Close()
		close(s.closed)
	})
	return nil
}

// open is gRPC's dialer.
func (s *session) open(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := s.Open(ctx)
	if err != nil {
		s.watch.note(func(seen *record) { seen.openErr = err })
		return nil, err
	}
	opened := &stream{Conn: conn, closed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = append(s.streams, opened)
	return opened, nil
}

// session probes the layers on conn, which it closes.
func (p *probe) session(ctx context.Context, conn *websocket.Conn) bool {
	s := &session{probe: p, watch: newWatch(p.opts.Role)}
	var err error
	s.Session, err = wsmux.NewSession(conn, wsmux.Dialing, p.opts.Role, &wsmux.Options{
		PingInterval: -1,
		PingTimeout:  -1,
		Observe:      s.watch.observe,
		Logger:       p.opts.Logger,
	})
	if err != nil {
		return p.tell(ctx, Result{Layer: Yamux, Err: err})
	}
	cc, err := s.DialGRPC(grpc.WithContextDialer(s.open), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.DefaultConfig,
		MinConnectTimeout: 24 * time.Hour, // the layers have their own
	}))
	if err != nil {
		_ = s.Close()
		return p.tell(ctx, Result{Layer: Yamux, Err: err})
	}
	defer s.goodbye(cc)
	return p.try(ctx, Ping, s.ping) &&
		p.try(ctx, Yamux, func(ctx context.Context) Result { return s.yamux(ctx, cc) }) &&
		p.try(ctx, HTTP2, s.http2) &&
		p.try(ctx, Health, func(ctx context.Context) Result { return s.health(ctx, cc) }) &&
		p.try(ctx, Reflection, func(ctx context.Context) Result { return s.reflection(ctx, cc) })
}

// goodbye ends the session in order, so that a peer which has taken it for its
// newest goes back to the one before: the streams, GoAway, a Close frame.
func (s *session) goodbye(cc *grpc.ClientConn) {
	timer := time.NewTimer(goodbyeWait)
	defer timer.Stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		_ = cc.Close() // which doesn't wait for what it closes
		s.mu.Lock()
		streams := s.streams
		s.mu.Unlock()
		for _, stream := range streams {
			select {
			case <-stream.closed:
			case <-s.Done():
				return
			}
		}
		_ = s.GoAway()
	}()
	select {
	case <-told:
	case <-timer.C:
	}
	_ = s.Close()
}

// ping waits for the Pong to a WebSocket Ping (RFC 6455 §5.5.2).
func (s *session) ping(ctx context.Context) Result {
	if _, err := s.Ping(ctx); err == nil {
		return Result{Detail: "Pong"}
	}
	select {
	case <-s.Done(): // a Ping that can't be sent ends the session, too
		return s.end(Ping)
	case <-ctx.Done():
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "Pong: " + err.Error(), Hint: hintNoPong}
	}
}

// yamux sends yamux Pings, finds out the peer's role as far as it shows, and has
// cc open a stream, which the peer must accept.
//
// Equal roles at both ends show only when the peer opens streams: it would
// answer Pings and accept streams all the same.
func (s *session) yamux(ctx context.Context, cc *grpc.ClientConn) Result {
	roundTrip, err := s.pingYamux(ctx)
	seen := s.watch.now()
	switch {
	case seen.sameRole():
		return s.sameRole(ctx)
	case s.over():
		return s.end(Yamux)
	case err != nil:
		return Result{Err: err, Detail: "yamux Ping: " + err.Error(), Hint: hintNotYamux}
	}
	cc.Connect()
	seen, ok := s.watch.until(ctx, s.Session, func(seen record) bool {
		return seen.sameRole() || seen.openErr != nil || seen.ours.accepted || seen.ours.ended || len(seen.ours.data) > 0
	})
	switch {
	case seen.sameRole():
		return s.sameRole(ctx)
	case s.over() && !seen.ours.accepted:
		return s.end(Yamux)
	case s.Stats().GoingAway && !seen.ours.accepted:
		return Result{Err: errors.New("the peer is going away (GoAway): it accepts no streams"), Hint: "it is being stopped: try again"}
	case seen.ours.reset && !seen.ours.accepted:
		return Result{Err: errors.New("the peer refuses streams: it has reset the one that was opened"), Hint: hintNoStream}
	case !ok && seen.calls():
		return Result{Err: fmt.Errorf("the peer accepts no streams, it is the gRPC client: it has opened stream %d and sent an HTTP/2 client preface", seen.theirs.id), Hint: hintServe(seen.theirs.id)}
	case !ok:
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "the peer accepts no streams: " + err.Error(), Hint: hintNoStream}
	}
	return Result{Detail: fmt.Sprintf("this side is the %v, Ping %v, the peer accepts streams", s.opts.Role, roundTrip.Round(time.Microsecond))}
}

// pingYamux returns the fastest round trip of a few.
func (s *session) pingYamux(ctx context.Context) (fastest time.Duration, err error) {
	for i := range yamuxPings {
		roundTrip, err := s.PingYamux(ctx)
		if err != nil {
			return 0, err
		}
		if i == 0 || roundTrip < fastest {
			fastest = roundTrip
		}
	}
	return fastest, nil
}

// sameRole is the failure of equal roles. If the peer is a gRPC client, it will
// say so at once.
func (s *session) sameRole(ctx context.Context) Result {
	seen, _ := s.watch.until(ctx, s.Session, func(seen record) bool {
		return seen.theirs.ended || seen.calls() || !strings.HasPrefix(http2.ClientPreface, string(seen.theirs.data))
	})
	if seen.calls() {
		return Result{
			Err:  fmt.Errorf("the peer is the gRPC client: it has opened stream %d as the yamux %v and sent an HTTP/2 client preface", seen.theirs.id, s.opts.Role),
			Hint: hintServe(seen.theirs.id),
		}
	}
	return s.equalRole(seen.theirs.id)
}

// equalRole is the failure of a peer that has opened a stream with a number that
// only this end may use.
func (s *session) equalRole(stream uint32) Result {
	other := wsmux.Server
	if s.opts.Role == wsmux.Server {
		other = wsmux.Client
	}
	return Result{
		Err:  fmt.Errorf("the peer is the yamux %v, too: it has opened stream %d", s.opts.Role, stream),
		Hint: fmt.Sprintf("give --yamux-role %v; and if it is the one that calls, be the gRPC server end to it with wstun serve", other),
	}
}

// hintServe is for a peer that calls, and has opened the stream of the given
// number: the yamux client's are odd.
func hintServe(stream uint32) string {
	if stream%2 == 0 {
		return "it calls and doesn't serve: be the gRPC server end to it with wstun serve --yamux-role client"
	}
	return "it calls and doesn't serve: be the gRPC server end to it with wstun serve"
}

// over reports whether the session has ended.
func (s *session) over() bool { return s.Err() != nil }

// end is the failure of a session that has ended while layer was probed. What
// isn't yamux is yamux's failure at any time.
func (s *session) end(layer Layer) Result {
	err := s.Err()
	if pe, ok := errors.AsType[*mux.ProtocolError](err); ok {
		return s.protocolError(pe)
	}
	ce, closed := errors.AsType[*websocket.CloseError](err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case closed && ce.Code == websocket.CloseAbnormalClosure:
		return Result{Layer: layer, Err: err, Detail: "the peer dropped the connection without a Close frame"}
	case closed && strings.Contains(ce.Text, "yamux role"): // as wstun puts it
		return Result{Layer: Yamux, Err: err, Detail: "the peer closed the session: " + ce.Text, Hint: hintRole}
	case closed:
		return Result{Layer: layer, Err: err, Detail: "the peer closed the session: " + strings.TrimPrefix(err.Error(), "websocket: ")}
	case network || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF):
		return Result{Layer: layer, Err: err, Detail: "the connection broke off: " + err.Error()}
	}
	return Result{Layer: Yamux, Err: err, Detail: strings.TrimPrefix(err.Error(), "wsmux: "), Hint: hintNotYamux}
}

// protocolError is the failure of a session in which the yamux protocol was
// broken.
func (s *session) protocolError(pe *mux.ProtocolError) Result {
	r := Result{Layer: Yamux, Err: pe, Detail: pe.Text, Hint: hintNotYamux}
	switch {
	case pe.Received != nil:
		r.Detail = "the peer doesn't speak yamux: it sent " + quote(pe.Received)
	case pe.Duplicate != 0:
		return s.equalRole(pe.Duplicate)
	case pe.ByPeer:
		r.Hint = hintRole
	}
	return r
}

// http2 waits for the server's SETTINGS, which come first (RFC 9113 §3.4); the
// preface has opened the stream.
func (s *session) http2(ctx context.Context) Result {
	seen, ok := s.watch.until(ctx, s.Session, func(seen record) bool { return seen.ours.ended || settled(seen.ours.data) })
	data := seen.ours.data
	switch {
	case netdiag.Identify(data) == netdiag.HTTP2Settings && ok:
		return Result{Detail: settings(data)}
	case len(data) > 0:
		return Result{Err: fmt.Errorf("the answer to the HTTP/2 preface is %s", quote(data)), Hint: hintInside}
	case !ok && s.over():
		return s.end(HTTP2)
	case !ok && seen.calls():
		return Result{Err: errors.New("no answer to the HTTP/2 preface: the peer is a gRPC client, too"), Hint: hintServe(seen.theirs.id)}
	case !ok:
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "HTTP/2 SETTINGS: " + err.Error(), Hint: "the peer has accepted the stream and is silent: check what it connects streams to"}
	case seen.ours.reset:
		return Result{Err: errors.New("the peer reset the stream without an answer"), Hint: hintInside}
	}
	return Result{Err: errors.New("the peer closed the stream without an answer"), Hint: hintInside}
}

// settled reports whether data is enough to identify the protocol of a server.
func settled(data []byte) bool {
	switch netdiag.Identify(data) {
	case netdiag.HTTP2Settings:
		scanner := h2.NewScanner(h2.FromServer, h2.Visitor{})
		scanner.Scan(data)
		return scanner.Greeted() || len(data) == maxHead
	case netdiag.HTTP1:
		return bytes.Contains(data, []byte("\r\n")) || len(data) == maxHead
	case "":
		return len(data) >= netdiag.FirstBytes
	}
	return true
}

// settings lists the settings of a SETTINGS frame.
func settings(data []byte) string {
	frame, err := http2.NewFramer(nil, bytes.NewReader(data)).ReadFrame()
	list, ok := frame.(*http2.SettingsFrame)
	if err != nil || !ok {
		return "SETTINGS"
	}
	var texts []string
	_ = list.ForeachSetting(func(setting http2.Setting) error {
		texts = append(texts, fmt.Sprintf("%v %d", setting.ID, setting.Val))
		return nil
	})
	return strings.TrimSpace("SETTINGS " + strings.Join(texts, ", "))
}
