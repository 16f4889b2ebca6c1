package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// newLimited returns an Acceptor that demands the token "secret", with this limit of
// connections without a handshake. Its server has no timeouts.
func newLimited(t *testing.T, limit int, grace time.Duration) *Acceptor {
	t.Helper()
	a := NewAcceptor(newSessions(t), AcceptOptions{Path: "/v1", Token: "secret", Session: SessionOptions{Role: wsmux.Server}})
	a.pending.limit, a.pending.grace, a.pending.floodGrace = limit, grace, grace
	a.server.ReadHeaderTimeout, a.server.ReadTimeout, a.server.IdleTimeout = 0, 0, 0
	return a
}

// serve runs a.Serve on l until the test ends.
func serve(t *testing.T, a *Acceptor, l net.Listener) {
	t.Helper()
	serving := make(chan error, 1)
	go func() { serving <- a.Serve(l) }()
	t.Cleanup(func() {
		_ = a.Shutdown(t.Context())
		if err := tunneltest.Await(t, "Serve", serving); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

var withToken = http.Header{"Authorization": {"Bearer secret"}}

// dialWithToken dials a session.
func dialWithToken(t *testing.T, addr string) {
	t.Helper()
	session, err := Dial(tunneltest.Soon(t), "ws://"+addr+"/v1", &DialOptions{Header: withToken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
}

// expectClosed fails the test unless the peer closes conn.
func expectClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(tunneltest.Patience))
	if _, err := io.Copy(io.Discard, conn); err != nil && !netdiag.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want the end", err)
	}
}

// At the limit, each new connection closes the oldest one without a handshake, whatever
// it has sent and on which of the listeners it arrived. Sessions don't count.
func TestHandshakesCloseOldest(t *testing.T) {
	t.Parallel()
	const limit = 3
	for name, sent := range map[string]string{
		"nothing":         "",
		"half a head":     "GET /v1 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"half a body":     "POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
		"a wrong path":    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a wrong token":   "GET /v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
		"many requests":   strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100),
		"no HTTP request": "SSH-2.0-OpenSSH_9.9\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newLimited(t, limit, 0)
			l, other := tunneltest.Listen(t), tunneltest.Listen(t)
			serve(t, a, l)
			serve(t, a, other)
			addr := l.Addr().String()
			for range 2 * limit {
				dialWithToken(t, addr)
			}
			oldest := tunneltest.DialTCP(t, other.Addr().String())
			tunneltest.Write(t, oldest, sent)
			if resp := handshake(t, other.Addr().String(), "/v1", nil); resp.code != http.StatusUnauthorized {
				t.Fatalf("status %d, want 401", resp.code) // and the oldest has been accepted
			}
			for range 10 * limit {
				tunneltest.Write(t, tunneltest.DialTCP(t, addr), sent)
			}
			dialWithToken(t, addr)
			expectClosed(t, oldest)
		})
	}
}

// The response to a connection without a complete request asks for another try.
func TestHandshakesBusy(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"":                                     "503 Service Unavailable\r\n",
		"GET /v1 HTTP/1.1\r\nHost: x\r\nX: ":   "503 Service Unavailable\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":    "404 Not Found\r\n",
		"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\n":  "401 Unauthorized\r\n",
		"GET /v1 HTTP/1.1\r\nHost: x\r\n\r\nG": "401 Unauthorized\r\n",
	} {
		t.Run(sent, func(t *testing.T) {
			t.Parallel()
			a := newLimited(t, 1, 0)
			l := tunneltest.Listen(t)
			serve(t, a, l)
			conn := tunneltest.DialTCP(t, l.Addr().String())
			tunneltest.Write(t, conn, sent)
			r := bufio.NewReader(conn)
			if strings.Contains(sent, "\r\n\r\n") {
				if _, err := r.Peek(1); err != nil {
					t.Fatal(err)
				}
			}
			dialWithToken(t, l.Addr().String())
			got, _ := io.ReadAll(r)
			if rest, ok := strings.CutPrefix(string(got), "HTTP/1.1 "+want); !ok || strings.Contains(rest, "HTTP/1.1") {
				t.Errorf("the response is %q, want one %q", got, want)
			}
			if is503 := strings.HasPrefix(want, "503"); is503 != regexp.MustCompile(`\r\nRetry-After: [1-5]\r\n`).Match(got) {
				t.Errorf("Retry-After in %q, want one only with 503", got)
			}
		})
	}
}

// A TLS handshake counts, too, and so do connections on a unix socket.
func TestHandshakesOtherListeners(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{}, (*httptest.Server).StartTLS) // for its certificate
	socket, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]net.Listener{
		"TLS":  tls.NewListener(tunneltest.Listen(t), &tls.Config{Certificates: e.server.TLS.Certificates}),
		"unix": socket,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serve(t, newLimited(t, 2, 0), l)
			var conns []net.Conn
			for range 4 {
				conn, err := new(net.Dialer).DialContext(t.Context(), l.Addr().Network(), l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				tunneltest.Write(t, conn, "\x16\x03\x01\x02\x00") // the start of a ClientHello
				conns = append(conns, conn)
			}
			expectClosed(t, conns[0])
			expectClosed(t, conns[1])
		})
	}
}

// A connection whose handshake has passed the checks isn't closed while Upgrade runs. If
// Upgrade then refuses it, it counts again.
func TestHandshakesPassed(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{"accepted": nil, "refused": errors.New("refused")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running, proceed := make(chan struct{}, 1), make(chan struct{})
			a := newLimited(t, 1, 0)
			a.opts.Upgrade = func(*http.Request) (*Upgrade, error) {
				running <- struct{}{}
				<-proceed
				return &Upgrade{Serve: echo}, refusal
			}
			l := tunneltest.Listen(t)
			serve(t, a, l)
			conn := tunneltest.DialTCP(t, l.Addr().String())
			tunneltest.Write(t, conn, "GET /v1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nConnection: Upgrade\r\n"+
				"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			tunneltest.Await(t, "Upgrade", running)
			for range 5 {
				if resp := handshake(t, l.Addr().String(), "/v1", nil); resp.code != http.StatusUnauthorized {
					t.Errorf("status %d, want 401", resp.code)
				}
			}
			close(proceed)
			if refusal == nil {
				tunneltest.Expect(t, conn, "HTTP/1.1 101 ")
				_ = conn.Close()
				return
			}
			tunneltest.Expect(t, conn, "HTTP/1.1 502 Bad Gateway\r\n")
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				if rest, _ := io.ReadAll(conn); strings.Contains(string(rest), "HTTP/1.1") {
					t.Errorf("a second response: %q", rest)
				}
			}()
			for range 1000 { // it counts only once the server has handled the end of the response
				tunneltest.DialTCP(t, l.Addr().String())
				if _, ok := tunneltest.Within(10*time.Millisecond, closed); ok {
					return
				}
			}
			t.Error("the connection isn't closed")
		})
	}
}

// A burst of honest peers with one address is accepted completely, beyond the limit, too.
func TestHandshakesBurst(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{}, (*httptest.Server).StartTLS) // for its certificate
	a := newLimited(t, 4, tunneltest.Patience)
	l := tls.NewListener(tunneltest.Listen(t), &tls.Config{Certificates: e.server.TLS.Certificates})
	serve(t, a, l)
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			conn, resp, err := dialer.DialContext(tunneltest.Soon(t), "wss://"+l.Addr().String()+"/v1", withToken)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			t.Cleanup(func() { _ = conn.Close() })
		})
	}
	wg.Wait()
}

// pipeInto makes room in h and adds a connection. h may close it.
func pipeInto(t *testing.T, h *handshakes) net.Conn {
	t.Helper()
	conn, peer := net.Pipe()
	t.Cleanup(func() {
		_ = conn.Close()
		_ = peer.Close()
	})
	h.makeRoom()
	h.add(conn, false)
	return conn
}

// The oldest connection isn't closed while it is new.
func TestHandshakesGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandshakes(func() {})
		h.limit = 3
		open := func() net.Conn { return pipeInto(t, h) }
		isOpen := func(conn net.Conn) bool { return conn.SetDeadline(time.Time{}) == nil }
		start := time.Now()
		first, second, third := open(), open(), open()
		if h.release() || !isOpen(first) {
			t.Error("a new connection was closed")
		}
		open()
		if took := time.Since(start); took != handshakeGrace || isOpen(first) || !isOpen(second) {
			t.Errorf("the fourth connection waited %v, want %v, and the end of the first", took, handshakeGrace)
		}
		open()
		fifth := time.Now()
		if isOpen(second) || !fifth.Equal(start.Add(handshakeGrace)) {
			t.Error("after the first one, no old connection was closed")
		}
		open() // closes the third one
		open()
		if took := time.Since(fifth); took != floodGrace || isOpen(third) {
			t.Errorf("during a flood, a connection waited %v, want %v", took, floodGrace)
		}
	})
}

// While handshakes pass, no connection is closed, except during a flood.
func TestHandshakesProgress(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ sinceFlood, want time.Duration }{
		"flood":      {floodEnd, 0},
		"flood over": {floodEnd + 1, handshakeGrace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHandshakes(func() {})
				h.limit = 2
				pipeInto(t, h)
				<-time.After(handshakeGrace)
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				h.passed(r.WithContext(context.WithValue(t.Context(), connKey{}, pipeInto(t, h))))
				pipeInto(t, h)
				start := time.Now()
				h.flood = start.Add(-tt.sinceFlood)
				pipeInto(t, h)
				if took := time.Since(start); took != tt.want {
					t.Errorf("after a handshake has passed, a connection waited %v, want %v", took, tt.want)
				}
			})
		})
	}
}
