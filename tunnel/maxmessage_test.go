package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	coder "github.com/coder/websocket"
	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// coderConn is a byte stream on a WebSocket of coder/websocket, which reads at most 32,768
// bytes a message.
type coderConn struct {
	ws *coder.Conn
	r  io.Reader // the rest of a message; nil between messages
}

func (c *coderConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			_, r, err := c.ws.Reader(context.Background())
			if err != nil {
				return 0, err
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) {
			c.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *coderConn) Write(p []byte) (int, error) {
	return len(p), c.ws.Write(context.Background(), coder.MessageBinary, p)
}

func (c *coderConn) Close() error { return c.ws.CloseNow() }

// echoStreams echoes the bytes of each stream that the peer opens, until the end of the
// session.
func echoStreams(conn io.ReadWriteCloser) {
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	config.EnableKeepAlive = false
	session, err := yamux.Server(conn, config)
	if err != nil {
		return
	}
	defer session.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		wg.Go(func() {
			_, _ = io.Copy(stream, stream)
			_ = stream.Close()
		})
	}
}

// echoLarge sends 100,000 bytes on a stream of s and expects them back.
func echoLarge(t *testing.T, s *Session) error {
	t.Helper()
	stream, err := s.Open(tunneltest.Soon(t))
	if err != nil {
		return err
	}
	defer stream.Close()
	sent := make(chan error, 1)
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	go func() {
		_, err := stream.Write(data)
		sent <- err
	}()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(stream, got); err != nil {
		<-s.Done()
		<-sent
		return s.Err()
	}
	if !bytes.Equal(got, data) {
		return errors.New("other bytes came back")
	}
	return <-sent
}

func isTooBig(err error) bool { return websocket.IsCloseError(err, websocket.CloseMessageTooBig) }

// A Hub that limits the messages it receives gets smaller ones, after the first session
// or from the beginning.
func TestConnectorLowersMaxMessage(t *testing.T) {
	t.Parallel()
	withCoder := func(w http.ResponseWriter, r *http.Request) {
		if ws, err := coder.Accept(w, r, nil); err == nil {
			echoStreams(&coderConn{ws: ws})
		}
	}
	withGorilla := func(w http.ResponseWriter, r *http.Request) {
		if ws, err := new(websocket.Upgrader).Upgrade(w, r, nil); err == nil {
			ws.SetReadLimit(10_000)
			echoStreams(wsmux.WrapConn(ws))
		}
	}
	for _, test := range []struct {
		name       string
		serve      http.HandlerFunc
		maxMessage int
		lowered    []int
	}{
		{"coder/websocket", withCoder, 0, []int{32768}},
		{"coder/websocket with a limit", withCoder, 32768, nil},
		{"gorilla/websocket", withGorilla, 0, []int{32768, 16384, 8192}},
		{"gorilla/websocket with a limit", withGorilla, 12_000, []int{6000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(test.serve)
			defer srv.Close()
			logged := make(logLines, 10)
			c, _ := connector(t, srv.URL)
			c.Options = &DialOptions{Session: SessionOptions{MaxMessage: test.maxMessage, Logger: slog.New(slog.NewTextHandler(logged, nil))}}
			result, stop := run(t, c)
			var s *Session
			for _, limit := range test.lowered {
				s = next(t, c.Sessions, s)
				if err := echoLarge(t, s); !isTooBig(err) {
					t.Fatalf("echo = %v, want status code 1009", err)
				}
				want := fmt.Sprintf("the next session sends smaller ones\" max_ws_message=%d\n", limit)
				if line := tunneltest.Await(t, "the log", logged); !strings.HasSuffix(line, want) {
					t.Errorf("logged %q, want %q", line, want)
				}
			}
			if err := echoLarge(t, next(t, c.Sessions, s)); err != nil {
				t.Errorf("echo = %v", err)
			}
			stop()
			tunneltest.Await(t, "Run", result)
			_ = c.Sessions.Shutdown(tunneltest.Ended())
		})
	}
}

// A Worker that limits the messages it receives dials, and gets smaller ones from its second
// session on.
func TestAcceptorLowersMaxMessage(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{}, (*httptest.Server).Start)
	dial := func() (wait func()) {
		ws, _, err := coder.Dial(t.Context(), e.url, nil) //nolint:bodyclose // the response to an upgrade has none
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { echoStreams(&coderConn{ws: ws}) })
		return wg.Wait
	}
	ended := dial()
	first := next(t, e.sessions, nil)
	if err := echoLarge(t, first); !isTooBig(err) {
		t.Fatalf("echo = %v, want status code 1009", err)
	}
	ended()
	var o SessionOptions
	for ctx := tunneltest.Soon(t); o.MaxMessage == 0 && ctx.Err() == nil; { // until ServeHTTP has seen the end
		runtime.Gosched()
		e.acceptor.limits.apply(&o, first.Remote)
	}
	ended = dial()
	if err := echoLarge(t, next(t, e.sessions, first)); err != nil {
		t.Errorf("echo = %v", err)
	}
	_ = e.sessions.Shutdown(tunneltest.Ended())
	ended()
}

func TestMessageLimits(t *testing.T) {
	t.Parallel()
	var limits messageLimits
	tooBig := &websocket.CloseError{Code: websocket.CloseMessageTooBig}
	of := func(addr string) int {
		var o SessionOptions
		limits.apply(&o, addr)
		return o.MaxMessage
	}
	limits.ended(&SessionOptions{}, "192.0.2.1:1", tooBig)
	limits.ended(&SessionOptions{}, "192.0.2.2:1", &websocket.CloseError{Code: websocket.CloseProtocolError})
	limits.ended(&SessionOptions{MaxMessage: 1500}, "[2001:db8::1]:1", tooBig)
	limits.ended(&SessionOptions{MaxMessage: leastMessage}, "@", tooBig)
	for addr, want := range map[string]int{"192.0.2.1:2": limitedMessage, "192.0.2.2:1": 0, "[2001:db8::1]:2": leastMessage, "@": 0} {
		if got := of(addr); got != want {
			t.Errorf("the limit for %s is %d, want %d", addr, got, want)
		}
	}
	for i := range 3 * maxLimitedHosts {
		limits.ended(&SessionOptions{}, fmt.Sprintf("host%d:1", i), tooBig)
		if got := of(fmt.Sprintf("host%d:2", i)); got != limitedMessage || len(limits.byHost) > maxLimitedHosts {
			t.Fatalf("the limit is %d, of %d hosts", got, len(limits.byHost))
		}
	}
}
