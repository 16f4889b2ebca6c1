package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
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
	// yamuxPings is the number of yamux Pings: the fastest is reported.
	yamuxPings = 3

	// closeTimeout bounds the time from the end of the last layer to the Close
	// frame.
	closeTimeout = time.Second
)

// Hints for failures above the WebSocket.
const (
	hintNoPong   = "the peer, or a proxy in front of it, doesn't answer Pings, which RFC 6455 requires: sessions would time out"
	hintNotYamux = "the peer's WebSocket is for something else: check the URL's path"
	hintNoStream = "the peer may be a gRPC client: serve it with wstun serve"
	hintRole     = "try the other --yamux-role"
	hintNotGRPC  = "the target that the peer connects streams to must speak gRPC without TLS: check the peer's configuration"
)

// session probes the layers above the WebSocket.
type session struct {
	*prober
	*wsmux.Session
	observer *observer
}

// probeSession probes the layers on conn, which it closes.
func (p *prober) probeSession(ctx context.Context, conn *websocket.Conn) bool {
	s := &session{prober: p, observer: newObserver(p.opts.Role)}
	s.observer.sealed = p.opts.Dial.Session.TLS != nil
	var err error
	s.Session, err = wsmux.NewSession(conn, wsmux.Dialing, p.opts.Role, &wsmux.Options{
		PingInterval: -1,
		PingTimeout:  -1,
		MaxMessage:   p.opts.Dial.Session.MaxMessage,
		Observe:      s.observer.observe,
		Logger:       p.opts.Logger,
	})
	if err != nil {
		return p.report(ctx, Result{Layer: Yamux, Err: err})
	}
	cc, err := s.DialGRPC(grpc.WithContextDialer(s.dialStream), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.DefaultConfig,
		MinConnectTimeout: 24 * time.Hour, // each layer has a limit of its own
	}))
	if err != nil {
		_ = s.Close()
		return p.report(ctx, Result{Layer: Yamux, Err: err})
	}
	defer s.closeGracefully(ctx, cc)
	return p.probe(ctx, Ping, s.ping) &&
		p.probe(ctx, Yamux, func(ctx context.Context) Result { return s.yamux(ctx, cc) }) &&
		(!s.observer.sealed || p.probe(ctx, InnerTLS, s.innerTLS)) &&
		p.probe(ctx, HTTP2, s.http2) &&
		p.probe(ctx, Health, func(ctx context.Context) Result { return s.health(ctx, cc) }) &&
		p.probe(ctx, Reflection, func(ctx context.Context) Result { return s.reflection(ctx, cc) })
}

// dialStream is gRPC's dialer.
func (s *session) dialStream(ctx context.Context, _ string) (net.Conn, error) {
	stream, err := s.Open(ctx)
	if err != nil {
		s.observer.update(func(o *observation) { o.openErr = err })
		return nil, err
	}
	if s.observer.sealed {
		return s.startTLS(ctx, stream)
	}
	return stream, nil
}

// closeGracefully closes the streams, sends GoAway and a Close frame of status code
// 1000. A peer that prefers its newest session goes back to its previous one then.
func (s *session) closeGracefully(ctx context.Context, cc *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout) // ctx may have ended
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cc.Close() // may block, and doesn't wait for the streams
		s.observer.wait(ctx, s.Session, func(o observation) bool { return o.unclosed == 0 })
		_ = s.GoAway()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	_ = s.Close()
}

// ping waits for the Pong to a WebSocket Ping (RFC 6455 §5.5.2).
func (s *session) ping(ctx context.Context) Result {
	if _, err := s.Ping(ctx); err == nil {
		return Result{Detail: "Pong"}
	}
	select {
	case <-s.Done(): // also when the Ping couldn't be sent
		return s.sessionFailure(Ping)
	case <-ctx.Done():
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "Pong: " + err.Error(), Hint: hintNoPong}
	}
}

// yamux sends yamux Pings, has cc open a stream, and waits until the peer accepts
// it.
//
// A peer in the same yamux role answers Pings and accepts streams all the same:
// equal roles show only if the peer opens a stream.
func (s *session) yamux(ctx context.Context, cc *grpc.ClientConn) Result {
	roundTrip, err := s.pingYamux(ctx)
	o := s.observer.current()
	switch {
	case o.equalRoles():
		return s.explainEqualRoles(ctx)
	case s.ended():
		return s.sessionFailure(Yamux)
	case err != nil:
		return Result{Err: err, Detail: "yamux Ping: " + err.Error(), Hint: hintNotYamux}
	}
	cc.Connect()
	o, ok := s.observer.wait(ctx, s.Session, func(o observation) bool {
		return o.equalRoles() || o.openErr != nil || o.ours.accepted || o.ours.ended || len(o.ours.received) > 0
	})
	switch {
	case o.equalRoles():
		return s.explainEqualRoles(ctx)
	case s.ended() && !o.ours.accepted:
		return s.sessionFailure(Yamux)
	case s.Stats().GoingAway && !o.ours.accepted:
		return Result{Err: errors.New("the peer accepts no streams: it has sent GoAway"), Hint: "the peer is shutting down: try again"}
	case o.ours.reset && !o.ours.accepted:
		return Result{Err: errors.New("the peer accepts no streams: it reset the first one"), Hint: hintNoStream}
	case !ok && o.peerCalls():
		return Result{
			Err:  fmt.Errorf("the peer accepts no streams: it is the gRPC client, and sent an HTTP/2 client preface on stream %d", o.theirs.id),
			Hint: hintServe(o.theirs.id),
		}
	case !ok:
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "the peer accepts no streams: " + err.Error(), Hint: hintNoStream}
	}
	return Result{Detail: fmt.Sprintf("this side is the %v, Ping %v, the peer accepts streams", s.opts.Role, roundTrip.Round(time.Microsecond))}
}

// pingYamux sends yamuxPings Pings and returns the shortest round trip.
func (s *session) pingYamux(ctx context.Context) (time.Duration, error) {
	shortest := time.Duration(math.MaxInt64)
	for range yamuxPings {
		roundTrip, err := s.PingYamux(ctx)
		if err != nil {
			return 0, err
		}
		shortest = min(shortest, roundTrip)
	}
	return shortest, nil
}

// explainEqualRoles waits for the first bytes on the peer's stream, which show
// whether the peer is a gRPC client.
func (s *session) explainEqualRoles(ctx context.Context) Result {
	o, _ := s.observer.wait(ctx, s.Session, func(o observation) bool {
		return o.theirs.ended || o.peerCalls() || !strings.HasPrefix(http2.ClientPreface, string(o.theirs.received))
	})
	if o.peerCalls() {
		return Result{
			Err:  fmt.Errorf("the peer is the gRPC client: it opened stream %d as the yamux %v and sent an HTTP/2 client preface", o.theirs.id, s.opts.Role),
			Hint: hintServe(o.theirs.id),
		}
	}
	return s.equalRolesFailure(o.theirs.id)
}

// equalRolesFailure is the result for a peer that opened a stream with a number
// that only this end may use.
func (s *session) equalRolesFailure(stream uint32) Result {
	other := wsmux.Server
	if s.opts.Role == wsmux.Server {
		other = wsmux.Client
	}
	return Result{
		Err:  fmt.Errorf("both ends have the yamux role %v: the peer opened stream %d", s.opts.Role, stream),
		Hint: fmt.Sprintf("use --yamux-role %v, or, if the peer is the gRPC client, serve it with wstun serve", other),
	}
}

// hintServe is the hint for a peer that is a gRPC client and opened the stream. An
// even number makes the peer the yamux server.
func hintServe(stream uint32) string {
	hint := "the peer makes calls instead of serving them: serve it with wstun serve"
	if stream%2 == 0 {
		hint += " --yamux-role client"
	}
	return hint
}

func (s *session) ended() bool { return s.Err() != nil }

// sessionFailure is the result if the session ended while layer was probed. Bytes
// that aren't yamux are a failure of layer Yamux whenever they arrive.
func (s *session) sessionFailure(layer Layer) Result {
	err := s.Err()
	if pe, ok := errors.AsType[*mux.ProtocolError](err); ok {
		return s.protocolFailure(pe)
	}
	ce, closed := errors.AsType[*websocket.CloseError](err)
	_, network := errors.AsType[net.Error](err)
	switch {
	case closed && ce.Code == websocket.CloseAbnormalClosure:
		return Result{Layer: layer, Err: err, Detail: "the peer dropped the connection without a Close frame"}
	case closed && strings.Contains(ce.Text, "yamux role"): // wstun's wording
		return Result{Layer: Yamux, Err: err, Detail: "the peer closed the session: " + ce.Text, Hint: hintRole}
	case closed:
		return Result{Layer: layer, Err: err, Detail: "the peer closed the session: " + strings.TrimPrefix(err.Error(), "websocket: ")}
	case network || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF):
		return Result{Layer: layer, Err: err, Detail: "the connection was lost: " + err.Error()}
	}
	return Result{Layer: Yamux, Err: err, Detail: strings.TrimPrefix(err.Error(), "wsmux: "), Hint: hintNotYamux}
}

// protocolFailure is the result if the session ended with pe.
func (s *session) protocolFailure(pe *mux.ProtocolError) Result {
	r := Result{Layer: Yamux, Err: pe, Detail: pe.Text, Hint: hintNotYamux}
	switch {
	case pe.Received != nil:
		r.Detail = "the peer doesn't speak yamux: it sent " + describeBytes(pe.Received, s.opts.Secrets)
	case pe.Duplicate != 0:
		return s.equalRolesFailure(pe.Duplicate)
	case pe.ByPeer:
		r.Hint = hintRole
	}
	return r
}

// http2 waits for the server's SETTINGS, its first frame (RFC 9113 §3.4). The
// client sent its preface when it opened the stream.
func (s *session) http2(ctx context.Context) Result {
	o, ok := s.observer.wait(ctx, s.Session, func(o observation) bool { return o.ours.ended || isIdentifiable(o.ours.received) })
	received := o.ours.received
	switch {
	case netdiag.Identify(received) == netdiag.HTTP2Settings && ok:
		return Result{Detail: describeSettings(received)}
	case len(received) > 0:
		return Result{Err: fmt.Errorf("the answer to the HTTP/2 preface is %s", describeBytes(received, s.opts.Secrets)), Hint: hintNotGRPC}
	case !ok && s.ended():
		return s.sessionFailure(HTTP2)
	case !ok && o.peerCalls():
		return Result{Err: errors.New("no answer to the HTTP/2 preface: the peer is a gRPC client, too"), Hint: hintServe(o.theirs.id)}
	case !ok:
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "HTTP/2 SETTINGS: " + err.Error(), Hint: "the peer accepted the stream but is silent: check the target that it connects streams to"}
	case o.ours.reset:
		return Result{Err: errors.New("the peer reset the stream without an answer"), Hint: hintNotGRPC}
	}
	return Result{Err: errors.New("the peer closed the stream without an answer"), Hint: hintNotGRPC}
}

// isIdentifiable reports whether received, the first bytes from a server, are
// enough to identify and describe its protocol.
func isIdentifiable(received []byte) bool {
	switch netdiag.Identify(received) {
	case netdiag.HTTP2Settings:
		scanner := h2.NewScanner(h2.FromServer, h2.Visitor{})
		scanner.Scan(received)
		return scanner.PrefaceDone() || len(received) == maxReceived
	case netdiag.HTTP1:
		return bytes.Contains(received, []byte("\r\n")) || len(received) == maxReceived
	case "":
		return len(received) >= netdiag.FirstBytes
	}
	return true
}

// describeSettings lists the settings of the SETTINGS frame that received begins
// with.
func describeSettings(received []byte) string {
	frame, err := http2.NewFramer(nil, bytes.NewReader(received)).ReadFrame()
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
