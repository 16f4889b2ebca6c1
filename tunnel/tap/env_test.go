package tap

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// tapped is a Tap with a target that is a TCP or TLS listener.
type tapped struct {
	*Tap
	acceptor *tunnel.Acceptor
	addr     string        // of the tap
	targets  chan net.Conn // the connections to the target
	up       chan *Session
	down     chan string // the reasons of Down
	events   *recorder
	tls      *tls.Config // of a client of the tap; nil: no TLS
}

// tappedOptions adjusts newTapped.
type tappedOptions struct {
	secure bool   // TLS on both sides
	path   string // of the URL
	tap    *Tap   // default: the zero Tap
	accept tunnel.AcceptOptions
}

func newTapped(t *testing.T, o tappedOptions) *tapped {
	t.Helper()
	if o.tap == nil {
		o.tap = &Tap{}
	}
	target, l := tunneltest.Listen(t), tunneltest.Listen(t)
	tp := &tapped{
		Tap: o.tap, addr: l.Addr().String(), events: &recorder{},
		targets: make(chan net.Conn, 10), up: make(chan *Session, 10), down: make(chan string, 10),
	}
	scheme := "ws://"
	if o.secure {
		config := serverTLS()
		target, l, scheme = tls.NewListener(target, config), tls.NewListener(l, config), "wss://"
		tp.tls = &tls.Config{InsecureSkipVerify: true}
		tp.Options = func() *tunnel.DialOptions { return &tunnel.DialOptions{TLS: tp.tls} }
	}
	if tp.URL == "" {
		tp.URL = scheme + target.Addr().String() + o.path
	}
	tp.Up = func(s *Session) { tp.up <- s }
	tp.Down = func(_ *Session, reason string) { tp.down <- reason }
	tp.Tracer = trace.New(0, trace.Output{Sink: tp.events})
	o.accept.KeepHead, o.accept.Upgrade = true, tp.Upgrade
	tp.acceptor = tunnel.NewAcceptor(&tunnel.Sessions{}, o.accept)
	var wg sync.WaitGroup
	wg.Go(func() { _ = tp.acceptor.Serve(l) })
	wg.Go(func() {
		for {
			conn, err := target.Accept()
			if err != nil {
				return
			}
			tp.targets <- conn
		}
	})
	t.Cleanup(func() {
		_ = tp.acceptor.Shutdown(context.Background())
		_ = target.Close()
		tp.Shutdown(tunneltest.Ended())
		wg.Wait()
		for len(tp.targets) > 0 {
			_ = (<-tp.targets).Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), tunneltest.Patience)
		defer cancel()
		if err := tp.Tracer.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tp
}

// serverTLS returns the configuration of a server.
func serverTLS() *tls.Config {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	config := s.TLS.Clone()
	config.NextProtos = nil
	return config
}

// dial dials the tap. The connection is closed when the test ends.
func (tp *tapped) dial(t *testing.T) net.Conn {
	t.Helper()
	conn := net.Conn(tunneltest.DialTCP(t, tp.addr))
	if tp.tls != nil {
		conn = tls.Client(conn, tp.tls)
	}
	return conn
}

// target returns the next connection to the target. It is closed when the test ends.
func (tp *tapped) target(t *testing.T) net.Conn {
	t.Helper()
	conn := tunneltest.Await(t, "a connection to the target", tp.targets)
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(tunneltest.Patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

const (
	// handshakeHead is a handshake that the tap passes on with another Host.
	handshakeHead = "GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

	upgraded = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// connect returns the ends of a connection through the tap after the handshake.
func (tp *tapped) connect(t *testing.T) (dialing, accepting net.Conn) {
	t.Helper()
	dialing = tp.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	accepting = tp.target(t)
	tunneltest.Expect(t, accepting, strings.Replace(handshakeHead, "127.0.0.1", accepting.LocalAddr().String(), 1))
	tunneltest.Write(t, accepting, upgraded)
	tunneltest.Expect(t, dialing, upgraded)
	tunneltest.Await(t, "Up", tp.up)
	return dialing, accepting
}

// recorder is a Sink that keeps the messages of events.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Event(e *trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e.Message)
}

func (*recorder) Flush(time.Time) time.Time { return time.Time{} }
func (*recorder) Close()                    {}

// serveWebSockets returns the URL of a server of WebSockets, which closes them after serve.
func serveWebSockets(t *testing.T, upgrader websocket.Upgrader, serve func(*websocket.Conn)) string {
	t.Helper()
	var wg sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		wg.Add(1)
		defer wg.Done()
		defer conn.Close()
		serve(conn)
	}))
	t.Cleanup(func() {
		s.Close()
		wg.Wait()
	})
	return "ws" + strings.TrimPrefix(s.URL, "http")
}
