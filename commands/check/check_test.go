package check

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

var discard = log.New(io.Discard, "", 0)

const (
	// longTimeout is the time limit of tests that must not reach it: each layer works,
	// or fails by itself.
	longTimeout = time.Minute

	// shortTimeout is the time limit of tests in which one layer reaches it. The earlier
	// layers must work within it.
	shortTimeout = 2 * time.Second
)

// run calls Run and returns the results. It sets opts.Dial.Proxy to "none" if empty.
func run(t *testing.T, rawURL string, opts *Options) []Result {
	t.Helper()
	var results []Result
	if opts.Dial.Proxy == "" {
		opts.Dial.Proxy = "none"
	}
	if err := Run(t.Context(), rawURL, opts, func(r Result) { results = append(results, r) }); err != nil {
		t.Fatalf("Run = %v", err)
	}
	return results
}

func layers(results []Result) []Layer {
	var layers []Layer
	for _, r := range results {
		layers = append(layers, r.Layer)
	}
	return layers
}

// upTo returns the layers from the first to last that Run probes for a ws URL with an IP
// address.
func upTo(last Layer) []Layer {
	all := []Layer{TCP, WebSocket, Ping, Yamux, HTTP2, Health, Reflection}
	return all[:slices.Index(all, last)+1]
}

// wantFailure checks that results has the layers want, that only the last of them
// failed, and that its Detail contains each of details. It returns the last result.
func wantFailure(t *testing.T, results []Result, want []Layer, details ...string) Result {
	t.Helper()
	if got := layers(results); !slices.Equal(got, want) {
		t.Fatalf("probed %v, want %v: %+v", got, want, results)
	}
	for i, r := range results {
		if failed := i == len(results)-1; (r.Err != nil) != failed {
			t.Fatalf("%+v; want only the last layer to fail", r)
		}
		if r.Took < 0 || strings.ContainsAny(r.Detail, "\r\n") || r.Detail == "" {
			t.Errorf("%+v", r)
		}
	}
	last := results[len(results)-1]
	for _, detail := range details {
		if !strings.Contains(last.Detail, detail) {
			t.Errorf("%s: %s\nwant     %s", last.Layer, last.Detail, detail)
		}
	}
	return last
}

// echo sends back each message.
func echo(_ *testing.T, ws *websocket.Conn) {
	for {
		kind, data, err := ws.ReadMessage()
		if err != nil || ws.WriteMessage(kind, data) != nil {
			return
		}
	}
}

// sendText sends one message and then reads until the connection ends.
func sendText(kind int, text string) func(*testing.T, *websocket.Conn) {
	return func(_ *testing.T, ws *websocket.Conn) {
		_ = ws.WriteMessage(kind, []byte(text))
		drain(nil, ws)
	}
}

// drain reads until the connection ends. Reading answers Pings.
func drain(_ *testing.T, ws *websocket.Conn) {
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}

// ignorePings reads without answering Pings.
func ignorePings(t *testing.T, ws *websocket.Conn) {
	t.Helper()
	ws.SetPingHandler(func(string) error { return nil })
	drain(t, ws)
}

// sendClose sends a Close frame and waits for the end of the connection.
func sendClose(code int, text string) func(*testing.T, *websocket.Conn) {
	return func(_ *testing.T, ws *websocket.Conn) {
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(longTimeout))
		drain(nil, ws)
	}
}

// Each layer can fail: Run stops there, with a detail and, for some failures, a hint.
func TestFailures(t *testing.T) {
	t.Parallel()
	unhealthy := func(srv *grpc.Server) {
		h := health.NewServer()
		h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(srv, h)
	}
	healthOnly := func(srv *grpc.Server) { grpc_health_v1.RegisterHealthServer(srv, health.NewServer()) }
	for _, test := range []struct {
		name    string
		peer    func(*testing.T) string
		role    wsmux.Role
		timeout time.Duration // default: longTimeout
		layer   Layer
		detail  string
		hint    string // empty: none from this package
	}{
		{
			name: "nothing listens", peer: func(*testing.T) string { return "ws://127.0.0.1:1/" },
			layer: TCP, detail: "127.0.0.1:1: connection refused",
		},
		{
			name: "silent TCP", peer: tcp(swallow), timeout: shortTimeout,
			layer: WebSocket, detail: "no answer within 2s", hint: "ws:// or wss://",
		},
		{
			name: "closing TCP", peer: tcp(func(net.Conn) {}),
			layer: WebSocket, detail: "", // it depends on the timing: EOF or a reset
		},
		{name: "no HTTP", peer: tcp(func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			swallow(conn)
		}), layer: WebSocket, detail: "malformed HTTP"},
		{
			name: "web page", peer: page(200, http.Header{"Server": {"nginx"}}, "<h1>Welcome</h1>\n<p>"),
			layer: WebSocket, detail: "200 OK: not a WebSocket endpoint: Welcome (server: nginx)",
		},
		{
			name: "unauthorized", peer: page(401, nil, "invalid sync token\n"),
			layer: WebSocket, detail: "401 Unauthorized: invalid sync token",
		},
		{
			name: "not found", peer: page(404, nil, "404 page not found\n"),
			layer: WebSocket, detail: "404 Not Found: 404 page not found",
		},
		{
			name: "login", peer: page(302, http.Header{"Location": {"https://login.example/"}}, ""),
			layer: WebSocket, detail: "302 Found (location: https://login.example/)",
		},

		{name: "no Pong", peer: upgraded(ignorePings), timeout: shortTimeout, layer: Ping, detail: "Pong: no answer within 2s", hint: "RFC 6455"},
		{
			name: "Close frame", peer: upgraded(sendClose(websocket.ClosePolicyViolation, "unknown worker")),
			layer: Ping, detail: "the peer closed the session: close 1008 (policy violation): unknown worker",
		},
		{name: "dropped", peer: upgraded(func(*testing.T, *websocket.Conn) {}), layer: Ping},

		{name: "echo", peer: upgraded(echo), layer: Yamux, detail: "echoes the bytes that it receives", hint: "path"},
		{
			name: "silent WebSocket", peer: upgraded(drain), timeout: shortTimeout,
			layer: Yamux, detail: "yamux Ping: no answer within 2s", hint: "path",
		},
		{
			name: "half a frame", peer: upgraded(sendText(websocket.BinaryMessage, "\x00\x00")), timeout: shortTimeout,
			layer: Yamux, detail: "no answer within 2s", hint: "path",
		},
		{name: "reset streams", peer: upgraded(resetStreams), layer: Yamux, detail: "the peer accepts no streams: it reset the first one", hint: "wstun serve"},
		{
			name: "GoAway", peer: serveSession(wsmux.Server, func(_ *testing.T, session *wsmux.Session) { _ = session.GoAway() }),
			layer: Yamux, detail: "it has sent GoAway", hint: "try again",
		},
		{
			name: "no streams", peer: serveSession(wsmux.Server, func(*testing.T, *wsmux.Session) {}), timeout: shortTimeout,
			layer: Yamux, detail: "the peer accepts no streams: no answer within 2s", hint: "wstun serve",
		},
		{
			name: "same role", peer: upgraded(openStream(1, "these bytes are not an HTTP/2 preface")),
			layer: Yamux, detail: "both ends have the yamux role client: the peer opened stream 1", hint: "--yamux-role server",
		},
		{
			name: "both servers", peer: upgraded(openStream(2, "these bytes are not an HTTP/2 preface")), role: wsmux.Server,
			layer: Yamux, detail: "both ends have the yamux role server: the peer opened stream 2", hint: "--yamux-role client",
		},
		{
			name: "gRPC client in the same role", peer: upgraded(openStream(1, http2.ClientPreface)),
			layer: Yamux, detail: "the peer is the gRPC client: it opened stream 1 as the yamux client and sent an HTTP/2 client preface", hint: "wstun serve",
		},
		{
			name: "gRPC client in the other role", peer: serveSession(wsmux.Server, callServer), timeout: shortTimeout,
			layer: Yamux, detail: "it is the gRPC client, and sent an HTTP/2 client preface on stream 2", hint: "wstun serve --yamux-role client",
		},

		{
			name: "HTTP/1 inside", peer: serveSession(wsmux.Server, answerPreface("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
			layer: HTTP2, detail: `an HTTP/1 answer, "HTTP/1.1 400 Bad Request"`, hint: "gRPC",
		},
		{
			name: "TLS inside", peer: serveSession(wsmux.Server, answerPreface("\x15\x03\x03\x00\x02\x02\x46")),
			layer: HTTP2, detail: "a TLS alert", hint: "without TLS",
		},
		{
			name: "something else inside", peer: serveSession(wsmux.Server, answerPreface("SSH-2.0-OpenSSH_9.9\r\n")),
			layer: HTTP2, detail: `"SSH-2.0-OpenSSH_9.9\r\n"`, hint: "gRPC",
		},
		{
			name: "closed stream", peer: serveSession(wsmux.Server, answerPreface("")),
			layer: HTTP2, detail: "closed the stream without an answer", hint: "gRPC",
		},
		{
			name: "silent stream", peer: serveSession(wsmux.Server, func(_ *testing.T, session *wsmux.Session) { _, _ = session.Accept() }), timeout: shortTimeout,
			layer: HTTP2, detail: "SETTINGS: no answer within 2s", hint: "silent",
		},
		{name: "session ends", peer: serveSession(wsmux.Server, func(_ *testing.T, session *wsmux.Session) {
			_, _ = session.Accept()
			_ = session.Close()
		}), layer: HTTP2, detail: "the peer closed the session: close 1000"},

		{name: "plain HTTP/2", peer: serveSession(wsmux.Server, plainHTTP2), layer: Health, detail: "404", hint: "not gRPC"},
		{name: "not serving", peer: upgraded(serveGRPC(unhealthy)), layer: Health, detail: "NOT_SERVING", hint: "can't serve"},
		{name: "no reflection", peer: upgraded(serveGRPC(healthOnly)), layer: Reflection, detail: "no reflection", hint: "--proto"},
		{name: "server without anything", peer: upgraded(serveGRPC(func(*grpc.Server) {})), layer: Reflection, detail: "no reflection", hint: "--proto"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opts := &Options{Role: test.role}
			opts.Dial.ConnectTimeout = test.timeout
			if test.timeout == 0 {
				opts.Dial.ConnectTimeout = longTimeout
			}
			last := wantFailure(t, run(t, test.peer(t), opts), upTo(test.layer), test.detail)
			if !strings.Contains(last.Hint, test.hint) || (test.hint == "") != (last.Hint == "") {
				t.Errorf("hint %q, want %q", last.Hint, test.hint)
			}
			if _, ok := errors.AsType[netdiag.TimeoutError](last.Err); ok != (test.timeout != 0) && test.name != "gRPC client in the other role" {
				t.Errorf("error %v, want a TimeoutError: %v", last.Err, test.timeout != 0)
			}
		})
	}
}

// Bytes that aren't yamux make layer Yamux fail, even if they arrive before the Pong: layer
// Ping is then not reported.
func TestNotYamux(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		serve  func(*testing.T, *websocket.Conn)
		detail string
		hint   string
	}{
		{"garbage", sendText(websocket.BinaryMessage, "hello, world: what is yamux?"), `the peer doesn't speak yamux: it sent "hello, world: what is yamux?"`, hintNotYamux},
		{"less than a frame", sendText(websocket.BinaryMessage, "hello"), `the peer doesn't speak yamux: it sent "hello"`, hintNotYamux},
		{"text", sendText(websocket.TextMessage, "{}"), "text message", hintNotYamux},
		{"HTTP/1", sendText(websocket.BinaryMessage, "HTTP/1.1 200 OK\r\n\r\n"), `it sent an HTTP/1 answer, "HTTP/1.1 200 OK"`, hintNotYamux},
		{"TLS", sendText(websocket.BinaryMessage, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"), "it sent a TLS handshake", hintNotYamux},
		{"HTTP/2", sendText(websocket.BinaryMessage, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"), "the peer doesn't speak yamux: it sent HTTP/2 SETTINGS", hintNotYamux},
		{
			"duplicate stream", sendClose(websocket.CloseProtocolError, "yamux: duplicate stream initiated: both ends have the yamux role client"),
			"both ends have the yamux role client", hintRole,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := []Layer{TCP, WebSocket, Yamux}
			last := wantFailure(t, run(t, upgraded(test.serve)(t), &Options{Dial: tunnel.DialOptions{ConnectTimeout: longTimeout}}), want, test.detail)
			if last.Hint != test.hint {
				t.Errorf("hint %q, want %q", last.Hint, test.hint)
			}
		})
	}
}
