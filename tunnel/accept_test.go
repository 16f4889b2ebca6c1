package tunnel

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// response is a response to a handshake.
type response struct {
	code   int
	header http.Header
	body   string
}

// handshake sends a handshake whose usual headers are overridden by header, and returns
// the response.
func handshake(t *testing.T, addr, path string, header http.Header) response {
	t.Helper()
	conn := tunneltest.DialTCP(t, addr)
	all := http.Header{
		"Host": {addr}, "Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	maps.Copy(all, header)
	var request strings.Builder
	request.WriteString("GET " + path + " HTTP/1.1\r\n")
	_ = all.Write(&request)
	request.WriteString("\r\n")
	if _, err := io.WriteString(conn, request.String()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := response{code: resp.StatusCode, header: resp.Header}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		r.body = string(body)
		return r
	}
	return r
}

func TestAcceptorRefuses(t *testing.T) {
	t.Parallel()
	const token = "s3cr3t-token"
	bearer := AcceptOptions{Token: token}
	custom := AcceptOptions{Token: token, TokenHeader: "X-Sync-Token"}
	origins := AcceptOptions{Origins: []string{"http://good.test"}}
	loopback := AcceptOptions{LoopbackHost: true}
	for _, test := range []struct {
		name   string
		opts   AcceptOptions
		path   string
		header http.Header
		code   int
		body   string
	}{
		{"any path", AcceptOptions{}, "/a/b?c", nil, 101, ""},
		{"path", AcceptOptions{Path: "/v1"}, "/v1", nil, 101, ""},
		{"encoded path", AcceptOptions{Path: "/a%2Fb"}, "/a%2Fb", nil, 101, ""},
		{"not encoded path", AcceptOptions{Path: "/wörld"}, "/w%C3%B6rld", nil, 101, ""},
		{"path encoded otherwise", AcceptOptions{Path: "/a%2Fb"}, "/a/b", nil, 404, "nothing here: wrong path"},
		{"other path", AcceptOptions{Path: "/v1"}, "/v1/", nil, 404, "nothing here: wrong path"},
		{"bearer", bearer, "/", http.Header{"Authorization": {"Bearer " + token}}, 101, ""},
		{"scheme in lower case", bearer, "/", http.Header{"Authorization": {"bearer  " + token}}, 101, ""},
		{"no token", bearer, "/", nil, 401, "no token in the header Authorization"},
		{"basic", bearer, "/", http.Header{"Authorization": {"Basic " + token}}, 401, "no token in the header Authorization"},
		{"wrong token", bearer, "/", http.Header{"Authorization": {"Bearer x"}}, 401, "wrong token in the header Authorization"},
		{"beginning of the token", bearer, "/", http.Header{"Authorization": {"Bearer " + token[:8]}}, 401, "wrong token in the header Authorization"},
		{"twice", bearer, "/", http.Header{"Authorization": {"Bearer " + token, "Bearer " + token}}, 401, "wrong token in the header Authorization"},
		{"own header", custom, "/", http.Header{"X-Sync-Token": {token}}, 101, ""},
		{"bearer instead of own header", custom, "/", http.Header{"Authorization": {"Bearer " + token}}, 401, "no token in the header X-Sync-Token"},
		{"wrong token in own header", custom, "/", http.Header{"X-Sync-Token": {"Bearer " + token}}, 401, "wrong token in the header X-Sync-Token"},
		{"empty token in own header", custom, "/", http.Header{"X-Sync-Token": {""}}, 401, "wrong token in the header X-Sync-Token"},
		{"own header twice", custom, "/", http.Header{"X-Sync-Token": {token, "x"}}, 401, "wrong token in the header X-Sync-Token"},
		{"origin", AcceptOptions{}, "/", http.Header{"Origin": {"http://127.0.0.1"}}, 403, `origin "http://127.0.0.1" is not allowed`},
		{"null origin", origins, "/", http.Header{"Origin": {"null"}}, 403, `origin "null" is not allowed`},
		{"allowed origin", origins, "/", http.Header{"Origin": {"http://good.test"}}, 101, ""},
		{"one of two origins", origins, "/", http.Header{"Origin": {"http://good.test", "http://bad.test"}}, 403, `origin "http://good.test" is not allowed`},
		{"any origin", AcceptOptions{Origins: []string{"*"}}, "/", http.Header{"Origin": {"http://any.test"}}, 101, ""},
		{"long origin", AcceptOptions{}, "/", http.Header{"Origin": {strings.Repeat("x", 500)}}, 403, `origin "` + strings.Repeat("x", 100) + `" is not allowed`},
		{"rebound name", loopback, "/", http.Header{"Host": {"evil.test:7070"}}, 403, `host "evil.test:7070" is not a loopback address`},
		{"address in a name", loopback, "/", http.Header{"Host": {"127.0.0.1.evil.test"}}, 403, `host "127.0.0.1.evil.test" is not a loopback address`},
		{"localhost", loopback, "/", http.Header{"Host": {"LocalHost.:7070"}}, 101, ""},
		{"IPv6", loopback, "/", http.Header{"Host": {"[::1]"}}, 101, ""},
		{"127.0.0.2", loopback, "/", http.Header{"Host": {"127.0.0.2:80"}}, 101, ""},
		{"no upgrade", AcceptOptions{}, "/", http.Header{"Upgrade": nil}, 426, "a WebSocket endpoint: use ws:// or wss://"},
		{"other version", AcceptOptions{}, "/", http.Header{"Sec-Websocket-Version": {"8"}}, 400, "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header"},
		{"large header", AcceptOptions{}, "/", http.Header{"X-Large": {strings.Repeat("x", 2*maxHeaderBytes)}}, 431, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sessions := newSessions(t)
			a := NewAcceptor(sessions, test.opts)
			l := tunneltest.Listen(t)
			serving := make(chan error, 1)
			go func() { serving <- a.Serve(l) }()
			resp := handshake(t, l.Addr().String(), test.path, test.header)
			if resp.code != test.code {
				t.Errorf("status = %d, want %d", resp.code, test.code)
			}
			if want := "wstun: " + test.body + "\n"; test.body != "" && resp.body != want {
				t.Errorf("body = %q, want %q", resp.body, want)
			}
			wants := map[string]string{}
			switch {
			case test.code == 401 && test.opts.TokenHeader == "":
				wants["WWW-Authenticate"] = "Bearer"
			case test.code == 426, test.code == 400:
				wants["Upgrade"], wants["Sec-WebSocket-Version"] = "websocket", "13"
			}
			for name, want := range wants {
				if got := resp.header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if err := a.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			if err := tunneltest.Await(t, "Serve", serving); err != nil {
				t.Errorf("Serve = %v, want nil after Shutdown", err)
			}
		})
	}
}

func TestAcceptorMaxSessions(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{MaxSessions: 1, Session: SessionOptions{Role: wsmux.Server}}, (*httptest.Server).Start)
	first, err := Dial(tunneltest.Soon(t), e.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Dial(tunneltest.Soon(t), e.url, nil)
	if he, ok := errors.AsType[*HandshakeError](err); !ok || he.Error() != "handshake: 503 Service Unavailable: wstun: all 1 sessions are taken (retry-after: 5)" {
		t.Errorf("second Dial = %v, want 503", err)
	}
	resp := handshake(t, e.server.Listener.Addr().String(), "/", nil)
	if got := resp.header.Get("Retry-After"); got == "" {
		t.Error("503 without Retry-After")
	}
	_ = first.Close()
	for ctx := tunneltest.Soon(t); ; {
		session, err := Dial(ctx, e.url, nil)
		if err == nil {
			_ = session.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the slot isn't freed")
		}
	}
}

func TestAcceptorSlowRequests(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"nothing":     "",
		"half a head": "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"slow body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
		"kept alive":  "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := NewAcceptor(newSessions(t), AcceptOptions{})
			a.server.ReadHeaderTimeout = 50 * time.Millisecond
			a.server.ReadTimeout = 50 * time.Millisecond
			a.server.IdleTimeout = 50 * time.Millisecond
			l := tunneltest.Listen(t)
			serving := make(chan error, 1)
			go func() { serving <- a.Serve(l) }()
			conn := tunneltest.DialTCP(t, l.Addr().String())
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("Copy = %v, want nil or a reset", err)
			}
			_ = a.Shutdown(t.Context())
			tunneltest.Await(t, "Serve", serving)
		})
	}
}

// The server's timeouts don't apply to the session.
func TestAcceptorTimeoutsEndWithTheHandshake(t *testing.T) {
	t.Parallel()
	sessions := newSessions(t)
	a := NewAcceptor(sessions, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}})
	l := &timedListener{Listener: tunneltest.Listen(t), accepted: make(chan *timedConn, 1)}
	serving := make(chan error, 1)
	go func() { serving <- a.Serve(l) }()
	session, err := Dial(tunneltest.Soon(t), "ws://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := sessions.Wait(tunneltest.Soon(t)); err != nil {
		t.Fatal(err)
	}
	conn := tunneltest.Await(t, "the connection", l.accepted)
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.set == 0 {
		t.Error("the server has no timeouts: this test checks nothing")
	}
	if !conn.read.IsZero() { // the session has its own write timeout
		t.Errorf("the session has a read deadline of %v, want none", conn.read)
	}
	_ = a.Shutdown(t.Context())
	tunneltest.Await(t, "Serve", serving)
}

// timedListener accepts timedConns and sends them to accepted.
type timedListener struct {
	net.Listener
	accepted chan *timedConn
}

func (l *timedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	timed := &timedConn{Conn: conn}
	l.accepted <- timed
	return timed, nil
}

// timedConn records its deadlines.
type timedConn struct {
	net.Conn
	mu   sync.Mutex
	read time.Time // the read deadline
	set  int       // how many deadlines other than the zero time were set
}

func (c *timedConn) record(at time.Time, deadlines ...*time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range deadlines {
		*d = at
	}
	if !at.IsZero() {
		c.set++
	}
}

func (c *timedConn) SetDeadline(at time.Time) error {
	c.record(at, &c.read)
	return c.Conn.SetDeadline(at)
}

func (c *timedConn) SetReadDeadline(at time.Time) error {
	c.record(at, &c.read)
	return c.Conn.SetReadDeadline(at)
}

func (c *timedConn) SetWriteDeadline(at time.Time) error {
	c.record(at)
	return c.Conn.SetWriteDeadline(at)
}

func TestAcceptorOffersNoHTTP2(t *testing.T) {
	t.Parallel()
	e := newEndpoint(t, AcceptOptions{}, (*httptest.Server).StartTLS) // for its certificate
	a := NewAcceptor(newSessions(t), AcceptOptions{})
	l := tls.NewListener(tunneltest.Listen(t), &tls.Config{Certificates: e.server.TLS.Certificates})
	serving := make(chan error, 1)
	go func() { serving <- a.Serve(l) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got == "h2" {
		t.Error("HTTP/2 was negotiated")
	}
	_ = a.Shutdown(t.Context())
	tunneltest.Await(t, "Serve", serving)
}

func TestAcceptorShutdown(t *testing.T) {
	t.Parallel()
	e := AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}
	sessions := newSessions(t)
	a := NewAcceptor(sessions, e)
	l, other := tunneltest.Listen(t), tunneltest.Listen(t)
	serving := make(chan error, 2)
	go func() { serving <- a.Serve(l) }()
	go func() { serving <- a.Serve(other) }()
	session, err := Dial(tunneltest.Soon(t), "ws://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	idle := tunneltest.DialTCP(t, other.Addr().String()) // sends nothing
	if resp := handshake(t, other.Addr().String(), "/", http.Header{"Upgrade": nil}); resp.code != 426 {
		t.Fatalf("status = %d", resp.code)
	}
	ctx := tunneltest.Soon(t)
	for range 2 {
		if err := a.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	}
	for range 2 {
		if err := tunneltest.Await(t, "Serve", serving); err != nil {
			t.Errorf("Serve = %v, want nil after Shutdown", err)
		}
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection is open after Shutdown")
	}
	if _, err := session.Open(ctx); err != nil {
		t.Errorf("Open after the Acceptor's Shutdown = %v, want a stream", err)
	}
	late := tunneltest.Listen(t)
	if err := a.Serve(late); err != nil {
		t.Errorf("Serve after Shutdown = %v, want nil", err)
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on the listener = %v, want net.ErrClosed", err)
	}
}

func TestAcceptorServeError(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	_ = l.Close()
	if err := NewAcceptor(newSessions(t), AcceptOptions{}).Serve(l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener = %v, want net.ErrClosed", err)
	}
}
