package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// newUpgradeEndpoint returns an endpoint with the given AcceptOptions.Upgrade.
func newUpgradeEndpoint(t *testing.T, opts AcceptOptions, hook func(*http.Request) (*Upgrade, error)) *endpoint {
	t.Helper()
	opts.Upgrade = hook
	opts.Session.Role = wsmux.Server
	return newEndpoint(t, opts, (*httptest.Server).Start)
}

// dialWebSocket dials with the given subprotocols. It also returns the response's
// header.
func dialWebSocket(t *testing.T, url string, subprotocols ...string) (*websocket.Conn, http.Header) {
	t.Helper()
	conn, resp, err := (&websocket.Dialer{Subprotocols: subprotocols}).DialContext(tunneltest.Soon(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = conn.Close() })
	return conn, resp.Header
}

// echo echoes messages until an error, and closes conn.
func echo(conn *websocket.Conn) {
	defer conn.Close()
	for {
		kind, msg, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, msg) != nil {
			return
		}
	}
}

func checkEcho(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := conn.ReadMessage(); err != nil || string(msg) != "hello" {
		t.Errorf("echo = %q, %v", msg, err)
	}
}

func TestUpgradeSession(t *testing.T) {
	t.Parallel()
	for name, up := range map[string]*Upgrade{"nil": nil, "header": {Header: http.Header{"X-Extra": {"a", "b"}}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newUpgradeEndpoint(t, AcceptOptions{}, func(r *http.Request) (*Upgrade, error) {
				if r.URL.String() != "/v1?c" || r.Header.Get("Sec-WebSocket-Version") != "13" {
					t.Errorf("Upgrade sees %v, %v", r.URL, r.Header)
				}
				return up, nil
			})
			conn, header := dialWebSocket(t, e.url+"/v1?c")
			if up != nil && fmt.Sprint(header["X-Extra"]) != "[a b]" {
				t.Errorf("headers = %v, want X-Extra", header)
			}
			client, err := wsmux.NewSession(conn, wsmux.Dialing, wsmux.Client, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			s, err := e.sessions.Wait(tunneltest.Soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Open(tunneltest.Soon(t)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Accept(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestUpgradeSubprotocols(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		subprotocols []string // of Upgrade
		want         string
	}{
		{nil, "a"},
		{[]string{}, ""},
		{[]string{"x", "c", "b"}, "c"},
		{[]string{"x"}, ""},
	} {
		e := newUpgradeEndpoint(t, AcceptOptions{Subprotocols: []string{"a"}}, func(*http.Request) (*Upgrade, error) {
			return &Upgrade{Subprotocols: test.subprotocols, Serve: echo}, nil
		})
		conn, _ := dialWebSocket(t, e.url, "a", "b", "c")
		if got := conn.Subprotocol(); got != test.want {
			t.Errorf("with %q the subprotocol is %q, want %q", test.subprotocols, got, test.want)
		}
		checkEcho(t, conn)
	}
}

// awaitSlot waits until one of a.slots is free.
func awaitSlot(t *testing.T, a *Acceptor) {
	t.Helper()
	select {
	case a.slots <- struct{}{}:
		<-a.slots
	case <-time.After(tunneltest.Patience):
		t.Fatal("the slot isn't freed")
	}
}

// A WebSocket with Upgrade.Serve counts as a session but isn't one. The request's
// context ends after Serve.
func TestUpgradeServe(t *testing.T) {
	t.Parallel()
	contexts := make(chan context.Context, 1)
	e := newUpgradeEndpoint(t, AcceptOptions{MaxSessions: 1}, func(r *http.Request) (*Upgrade, error) {
		contexts <- r.Context()
		return &Upgrade{Serve: echo}, nil
	})
	for range 2 {
		conn, _ := dialWebSocket(t, e.url)
		ctx := tunneltest.Await(t, "Upgrade", contexts)
		checkEcho(t, conn)
		if resp := handshake(t, e.server.Listener.Addr().String(), "/", nil); resp.code != http.StatusServiceUnavailable {
			t.Errorf("second handshake: %d, want 503", resp.code)
		}
		if ctx.Err() != nil {
			t.Error("the context has ended before Serve")
		}
		_ = conn.Close()
		tunneltest.Await(t, "the context's end", ctx.Done())
		awaitSlot(t, e.acceptor)
	}
	if got := e.sessions.Snapshot(); len(got) > 0 {
		t.Errorf("sessions %v, want none", got)
	}
	conn, _ := dialWebSocket(t, e.url)
	_ = e.acceptor.Shutdown(t.Context())
	checkEcho(t, conn)
}

func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	notFound := &RefusalError{Code: http.StatusNotFound, Header: http.Header{"X-Extra": {"a"}}, Err: errors.New("no such Worker")}
	for _, test := range []struct {
		name  string
		err   error
		code  int
		extra string
		body  string
	}{
		{"other error", errors.New("dial: connection refused"), 502, "", "wstun: dial: connection refused\n"},
		{"RefusalError", notFound, 404, "a", "wstun: no such Worker\n"},
		{"wrapped", fmt.Errorf("relay: %w", notFound), 404, "a", "wstun: relay: no such Worker\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			contexts := make(chan context.Context, 1)
			e := newUpgradeEndpoint(t, AcceptOptions{MaxSessions: 1}, func(r *http.Request) (*Upgrade, error) {
				contexts <- r.Context()
				return nil, test.err
			})
			for range 2 {
				resp := handshake(t, e.server.Listener.Addr().String(), "/", nil)
				if resp.code != test.code || resp.body != test.body || resp.header.Get("X-Extra") != test.extra {
					t.Errorf("answer = %d, %q, %v, want %d, %q", resp.code, resp.body, resp.header, test.code, test.body)
				}
				tunneltest.Await(t, "the context's end", tunneltest.Await(t, "Upgrade", contexts).Done())
				awaitSlot(t, e.acceptor)
			}
		})
	}
}

// Upgrade isn't called for handshakes that are refused, except by the checks of gorilla.
// After these, too, the request's context ends.
func TestUpgradeAfterChecks(t *testing.T) {
	t.Parallel()
	contexts := make(chan context.Context, 1)
	e := newUpgradeEndpoint(t, AcceptOptions{Path: "/v1", Token: "x", MaxSessions: 1}, func(r *http.Request) (*Upgrade, error) {
		contexts <- r.Context()
		return &Upgrade{Serve: func(*websocket.Conn) { t.Error("Serve was called") }}, nil
	})
	addr := e.server.Listener.Addr().String()
	token := []string{"Bearer x"}
	for path, header := range map[string]http.Header{
		"/":     {"Authorization": token},
		"/v1":   {},
		"/v1?o": {"Authorization": token, "Origin": {"http://evil.test"}},
		"/v1?u": {"Authorization": token, "Upgrade": nil},
	} {
		if resp := handshake(t, addr, path, header); resp.code == http.StatusBadRequest || len(contexts) > 0 {
			t.Errorf("%s, %v: status %d, %d calls of Upgrade, want a refusal and none", path, header, resp.code, len(contexts))
		}
	}
	if resp := handshake(t, addr, "/v1", http.Header{"Authorization": token, "Sec-Websocket-Version": {"8"}}); resp.code != http.StatusBadRequest {
		t.Errorf("other version: %d, want 400", resp.code)
	}
	tunneltest.Await(t, "the context's end", tunneltest.Await(t, "Upgrade", contexts).Done())
	awaitSlot(t, e.acceptor)
}

// Upgrade may take longer than the server's timeouts.
func TestUpgradeOutlastsServerTimeouts(t *testing.T) {
	t.Parallel()
	const timeout = 20 * time.Millisecond
	for name, refusal := range map[string]error{"serves": nil, "refuses": errors.New("refused")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := NewAcceptor(newSessions(t), AcceptOptions{Upgrade: func(r *http.Request) (*Upgrade, error) {
				select {
				case <-r.Context().Done():
					t.Error("the context has ended")
				case <-time.After(5 * timeout):
				}
				return &Upgrade{Serve: echo}, refusal
			}})
			a.server.ReadTimeout, a.server.WriteTimeout = timeout, timeout
			l := tunneltest.Listen(t)
			serving := make(chan error, 1)
			go func() { serving <- a.Serve(l) }()
			if refusal != nil {
				if resp := handshake(t, l.Addr().String(), "/", nil); resp.code != http.StatusBadGateway || resp.body != "wstun: refused\n" {
					t.Errorf("answer = %d, %q", resp.code, resp.body)
				}
			} else {
				conn, _ := dialWebSocket(t, "ws://"+l.Addr().String())
				checkEcho(t, conn)
				<-time.After(2 * timeout)
				checkEcho(t, conn)
			}
			_ = a.Shutdown(t.Context())
			tunneltest.Await(t, "Serve", serving)
		})
	}
}

// handshakeRequest returns a handshake to pass to ServeHTTP directly.
func handshakeRequest(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	return r
}

func TestUpgradeTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := NewAcceptor(newSessions(t), AcceptOptions{Upgrade: func(r *http.Request) (*Upgrade, error) {
			<-r.Context().Done()
			return nil, fmt.Errorf("dial: %w", context.Cause(r.Context()))
		}})
		w, start := httptest.NewRecorder(), time.Now()
		a.ServeHTTP(w, handshakeRequest(t))
		if took, want := time.Since(start), "wstun: dial: no answer within 30s\n"; took != upgradeTimeout || w.Code != 502 || w.Body.String() != want {
			t.Errorf("answer after %v: %d, %q, want %q", took, w.Code, w.Body, want)
		}
	})
}

// The result of an Upgrade that returns after Shutdown is ignored.
func TestUpgradeIgnoresContext(t *testing.T) {
	t.Parallel()
	var a *Acceptor
	a = NewAcceptor(newSessions(t), AcceptOptions{Upgrade: func(*http.Request) (*Upgrade, error) {
		_ = a.Shutdown(t.Context())
		return nil, nil
	}})
	w := httptest.NewRecorder()
	a.ServeHTTP(w, handshakeRequest(t))
	if w.Code != 502 || w.Body.String() != "wstun: shutting down\n" {
		t.Errorf("response = %d, %q, want 502, shutting down", w.Code, w.Body)
	}
}

// The request's context ends during Upgrade when the client disconnects and when the
// Acceptor shuts down, with its own server or another.
func TestUpgradeIsStopped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		own  bool // the Acceptor's server
		stop func(client net.Conn, a *Acceptor)
		want error
	}{
		{"client hangs up", true, func(client net.Conn, _ *Acceptor) { _ = client.Close() }, context.Canceled},
		{"Shutdown", true, func(_ net.Conn, a *Acceptor) { _ = a.Shutdown(context.Background()) }, nil}, // ErrShuttingDown or context.Canceled
		{"Shutdown with another server", false, func(_ net.Conn, a *Acceptor) { _ = a.Shutdown(context.Background()) }, ErrShuttingDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			running, ended := make(chan struct{}), make(chan error, 1)
			e := newUpgradeEndpoint(t, AcceptOptions{MaxSessions: 1}, func(r *http.Request) (*Upgrade, error) {
				close(running)
				<-r.Context().Done()
				ended <- context.Cause(r.Context())
				return nil, context.Cause(r.Context())
			})
			l, serving := e.server.Listener, make(chan error, 1)
			if test.own {
				l = tunneltest.Listen(t)
				go func() { serving <- e.acceptor.Serve(l) }()
			} else {
				serving <- nil
			}
			client := tunneltest.DialTCP(t, l.Addr().String())
			if _, err := io.WriteString(client, strings.ReplaceAll(`GET / HTTP/1.1
Host: x
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

`, "\n", "\r\n")); err != nil {
				t.Fatal(err)
			}
			tunneltest.Await(t, "Upgrade", running)
			test.stop(client, e.acceptor)
			if got := tunneltest.Await(t, "the context's end", ended); test.want != nil && !errors.Is(got, test.want) {
				t.Errorf("the context ended with %v, want %v", got, test.want)
			}
			awaitSlot(t, e.acceptor)
			_ = e.acceptor.Shutdown(t.Context())
			if err := tunneltest.Await(t, "Serve", serving); err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	}
}

// TestServeHTTPReturns tests that the goroutine of the HTTP server ends with the handshake,
// and the context of the request with the use of the connection.
func TestServeHTTPReturns(t *testing.T) {
	t.Parallel()
	upgraded := make(chan context.Context, 1)
	a := NewAcceptor(&Sessions{}, AcceptOptions{Upgrade: func(r *http.Request) (*Upgrade, error) {
		upgraded <- r.Context()
		return &Upgrade{Serve: echo}, nil
	}})
	returned := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r)
		close(returned)
	}))
	defer srv.Close()
	conn, _ := dialWebSocket(t, "ws"+strings.TrimPrefix(srv.URL, "http"))
	tunneltest.Await(t, "ServeHTTP's return", returned)
	ctx := <-upgraded
	checkEcho(t, conn)
	if err := ctx.Err(); err != nil {
		t.Errorf("the context has ended with %v while the connection is in use", err)
	}
	_ = conn.Close()
	tunneltest.Await(t, "the end of the context", ctx.Done())
}
