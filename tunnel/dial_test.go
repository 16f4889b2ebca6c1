package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestDialRefused(t *testing.T) {
	t.Parallel()
	const token = "s3cr3t-token"
	for _, test := range []struct {
		name   string
		code   int
		header http.Header
		body   string
		want   string
	}{
		{"not a WebSocket page", 200, nil, "<html>\n<h1>Welcome", "handshake: 200 OK: not a WebSocket endpoint: Welcome"},
		{"title", 404, nil, "<!doctype html><title>No\nsuch page: " + token + "\x1b[1m</title><p>text", `handshake: 404 Not Found: No such page: ***\x1b[1m`},
		{"text without a title", 503, nil, "<html><body><h1>503 Service Unavailable</h1>\nNo server is available.\n</body></html>", "handshake: 503 Service Unavailable: No server is available."},
		{"title that repeats the status", 403, http.Header{"Content-Type": {"text/html"}}, "<title>403 Forbidden</title><style>p {}</style><script>a<b</script><p>Ask your\r\n admin &amp; wait<hr>nginx", "handshake: 403 Forbidden: Ask your admin & wait nginx"},
		{"unauthorized", 401, nil, "", "handshake: 401 Unauthorized"},
		{"forbidden", 403, http.Header{"Server": {"nginx/1.2"}}, "invalid sync token\n", "handshake: 403 Forbidden: invalid sync token (server: nginx/1.2)"},
		{"not found", 404, nil, "404 page not found\n", "handshake: 404 Not Found: 404 page not found"},
		{"unavailable", 503, nil, "\n\n  busy  \r\nmore", "handshake: 503 Service Unavailable: busy"},
		{"unknown status", 799, nil, "", "handshake: 799 unknown status"},
		{"control characters", 403, http.Header{"Server": {"a\u202eb"}}, "\x1b[2Jred\t\x07\u202eder\xff\x00", `handshake: 403 Forbidden: \x1b[2Jred` + "\t" + `\x07\u202eder\xff\x00 (server: a\u202eb)`},
		{"long", 403, nil, strings.Repeat("é", 5000), "handshake: 403 Forbidden: " + strings.Repeat("é", maxResponseText) + "…"},
		{"secret in the body", 403, nil, "bad token " + token + "!", "handshake: 403 Forbidden: bad token ***!"},
		{"secret in Server", 403, http.Header{"Server": {token}}, "", "handshake: 403 Forbidden (server: ***)"},
		{"WWW-Authenticate", 401, http.Header{"Www-Authenticate": {"Bearer realm=\"hub\""}, "Server": {"nginx"}}, "", "handshake: 401 Unauthorized (server: nginx, www-authenticate: Bearer realm=\"hub\")"},
		{"Retry-After", 429, http.Header{"Retry-After": {"4"}}, "slow down", "handshake: 429 Too Many Requests: slow down (retry-after: 4)"},
		{"redirect", 302, http.Header{"Location": {"/login?from=" + token}}, "", "handshake: 302 Found (location: /login?from=***)"},
		{"secret in the query", 404, nil, "no /x?key=qu3ry/secret", "handshake: 404 Not Found: no /x?key=***"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(handler(test.code, test.header, test.body))
			defer srv.Close()
			url := "ws" + strings.TrimPrefix(srv.URL, "http") + "/x"
			_, err := Dial(t.Context(), url+"?key=qu3ry/secret", &DialOptions{Header: http.Header{"Authorization": {"Bearer " + token}}})
			if want := "dial " + url + ": " + test.want; err == nil || err.Error() != want {
				t.Fatalf("Dial = %v\nwant   %s", err, want)
			}
			he, ok := errors.AsType[*HandshakeError](err)
			if !ok || he.StatusCode != test.code {
				t.Errorf("error is %#v, want a HandshakeError with %d", err, test.code)
			} else if refused := test.code == 401 || test.code == 403; he.Refused() != refused {
				t.Errorf("Refused() = %v, want %v", he.Refused(), refused)
			}
		})
	}
}

// The request has an international host and query in ASCII, the error the URL as given.
func TestDialEncodesURL(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/a%2Fb/%7E?q=a b&ü": "/a%2Fb/%7E?q=a%20b&%C3%BC",
		"/wörld":             "/w%C3%B6rld",
		"?x%20y":             "/?x%20y",
	} {
		requests := make(chan *http.Request, 1)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests <- r
			w.WriteHeader(http.StatusNotFound)
		}))
		addr := srv.Listener.Addr().String()
		given := strings.Replace(addr, "127.", "１２７.", 1)
		_, err := Dial(t.Context(), "ws://"+given+path, nil)
		shown, _, _ := strings.Cut(path, "?")
		if want := "dial ws://" + given + shown + ": handshake: 404 Not Found"; err == nil || err.Error() != want {
			t.Errorf("Dial = %v, want %s", err, want)
		}
		if r := <-requests; r.Host != addr || r.RequestURI != want {
			t.Errorf("Dial(%s) sent %s to %s, want %s to %s", path, r.RequestURI, r.Host, want, addr)
		}
		srv.Close()
	}
}

func TestDialMasksSecrets(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte("user:passw0rd"))
	header := make(chan http.Header, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header <- r.Header
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+" passw0rd "+r.Header.Get("X-Token")+" "+r.Header.Get("X-Token")+"extra from "+r.Header.Get("Origin"))
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().String()
	_, err := Dial(t.Context(), "ws://user:passw0rd@"+addr+"/", &DialOptions{
		Header: http.Header{"X-Token": {"abcd", "abcdefgh"}, "Origin": {"http://example.com"}},
	})
	want := "dial ws://" + addr + "/: handshake: 403 Forbidden: Basic *** *** *** ***extra from http://example.com"
	if err == nil || err.Error() != want {
		t.Errorf("Dial = %v\nwant   %s", err, want)
	}
	if got, want := (<-header).Get("Authorization"), "Basic "+basic; got != want {
		t.Errorf("Authorization = %q, want %q", got, want)
	}
}

func TestDialHeaderOverridesUserinfo(t *testing.T) {
	t.Parallel()
	header := make(chan http.Header, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { header <- r.Header }))
	defer srv.Close()
	opts := &DialOptions{
		Header:       http.Header{"Authorization": {"Bearer t0ken"}, "X-Many": {"a", "b"}},
		Subprotocols: []string{"one", "two"},
	}
	_, _ = Dial(t.Context(), strings.Replace(srv.URL, "http://", "http://user:pass@", 1), opts)
	got := <-header
	for name, want := range map[string]string{"Authorization": "Bearer t0ken", "X-Many": "a b", "Sec-Websocket-Protocol": "one, two"} {
		if got := strings.Join(got.Values(name), " "); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(opts.Header) != 2 {
		t.Errorf("Dial changed the caller's header to %v", opts.Header)
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(handler(200, nil, ""))
	t.Cleanup(plain.Close)
	plainAddr := plain.Listener.Addr().String()
	secure := newEndpoint(t, AcceptOptions{}, (*httptest.Server).StartTLS)
	secureAddr := secure.server.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(secure.server.Certificate())
	const closed = "127.0.0.1:1" // another process could reuse a port that a test frees
	silentEnd := serveTCP(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_ = conn.Close()
	})
	reset := serveTCP(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	})
	endless := serveTCP(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nX: ")
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, strings.Repeat("x", 4096))
		}
	})
	says := func(text string) string {
		return serveTCP(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	garbage, alert := says("SSH-2.0-OpenSSH\r\n"), says("\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n")
	http2 := says("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00\r\n\r\n")

	for _, test := range []struct {
		name, url string
		tls       *tls.Config
		want      string // the error's text; … at the end stands for any text
		check     func(error) bool
	}{
		{"closed port", "ws://" + closed + "/p?q=1", nil, "dial ws://" + closed + "/p: connection refused", func(err error) bool { return netdiag.Is(err, syscall.ECONNREFUSED) }},
		{"closed without an answer", "ws://" + silentEnd, nil, "dial ws://" + silentEnd + ": handshake: connection closed by peer", nil},
		{"reset", "ws://" + reset, nil, "dial ws://" + reset + ": handshake: connection reset by peer", func(err error) bool { return netdiag.Is(err, syscall.ECONNRESET) }},
		{"endless header", "ws://" + endless, nil, "dial ws://" + endless + ": handshake: the answer is too long", nil},
		{"no HTTP", "ws://" + garbage, nil, "dial ws://" + garbage + ": malformed HTTP …", nil},
		{"gRPC", "ws://" + http2, nil, "dial ws://" + http2 + ": handshake: the peer speaks HTTP/2, as gRPC servers do, and accepts no WebSocket", func(err error) bool { return errors.Is(err, ErrHTTP2) }},
		{"TLS alert", "ws://" + alert, nil, "dial ws://" + alert + ": handshake: the peer speaks TLS", func(err error) bool { return errors.Is(err, ErrTLS) }},
		{"plain HTTP on a wss URL", "wss://" + plainAddr, nil, "dial wss://" + plainAddr + ": tls: first record does not look like a TLS handshake", func(err error) bool {
			_, ok := errors.AsType[tls.RecordHeaderError](err)
			return ok
		}},
		{"TLS on a ws URL", "ws://" + secureAddr, nil, "dial ws://" + secureAddr + ": handshake: 400 Bad Request: Client sent an HTTP request to an HTTPS server.", nil},
		{"unknown authority", "wss://" + secureAddr, nil, "dial wss://" + secureAddr + ": tls: failed to verify certificate: x509: certificate signed by unknown authority", func(err error) bool {
			_, ok := errors.AsType[x509.UnknownAuthorityError](err)
			return ok
		}},
		{"other host", "wss://" + secureAddr, &tls.Config{RootCAs: roots, ServerName: "other.test"}, "dial wss://" + secureAddr + ": tls: failed to verify certificate: x509: certificate is valid for …", func(err error) bool {
			_, ok := errors.AsType[x509.HostnameError](err)
			return ok
		}},
		{"scheme", "ftp://user:pass@host/", nil, `dial: unknown URL scheme "ftp": want ws, wss, http or https`, nil},
		{"host and port", "localhost:7070", nil, "dial: the URL begins with no scheme: want ws://, wss://, http:// or https://", nil},
		{"address and port", "127.0.0.1:7070", nil, "dial: the URL begins with no scheme: want ws://, wss://, http:// or https://", nil},
		{"no port", "ws://host:/", nil, `dial: the URL's port is "": want 1 to 65535`, nil},
		{"port 0", "ws://host:0/", nil, `dial: the URL's port is "0": want 1 to 65535`, nil},
		{"port too high", "ws://[::1]:65536/", nil, `dial: the URL's port is "65536": want 1 to 65535`, nil},
		{"no host", "ws:///path", nil, "dial: the URL names no host", nil},
		{"port", "ws://host:7x", nil, `dial: the URL can't be read: invalid port ":7x" after host`, nil},
		{"slash in the password", "ws://user:pa/ss@host", nil, "dial: the URL can't be read: special characters in user and password must be escaped", nil},
		{"percent in the password", "ws://user:p%zz@host", nil, "dial: the URL can't be read: special characters in user and password must be escaped", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			session, err := Dial(tunneltest.Soon(t), test.url, &DialOptions{TLS: test.tls})
			if err == nil {
				_ = session.Close()
				t.Fatal("Dial = nil, want an error")
			}
			if _, ok := errors.AsType[*DialError](err); !ok {
				t.Errorf("Dial = %#v, want a DialError", err)
			}
			beginning, cut := strings.CutSuffix(test.want, "…")
			if got := err.Error(); got != test.want && (!cut || !strings.HasPrefix(got, beginning)) {
				t.Errorf("Dial = %s\nwant   %s", got, test.want)
			}
			if test.check != nil && !test.check(err) {
				t.Errorf("Dial = %#v, which doesn't wrap the cause", err)
			}
		})
	}
}

func TestDialErrorIsOneCleanLine(t *testing.T) {
	t.Parallel()
	err := &DialError{URL: "ws://host/", Err: errors.Join(errors.New("one\r\n\x1b[1mtwo"), errors.New("three"))}
	if got, want := err.Error(), `dial ws://host/: one\r\n\x1b[1mtwo\nthree`; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	err.Err = errors.New(strings.Repeat("x", 1<<20))
	if got, want := err.Error(), "dial ws://host/: "+strings.Repeat("x", maxCauseText)+"…"; got != want {
		t.Errorf("Error() has %d bytes, want %d", len(got), len(want))
	}
}

// silent starts a server that sends nothing. heard receives a value when the first
// bytes arrive.
func silent(t *testing.T) (addr string, heard <-chan struct{}) {
	t.Helper()
	events := make(chan struct{}, 1)
	return serveTCP(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		select {
		case events <- struct{}{}:
		default: // the first value is enough
		}
		_, _ = io.Copy(io.Discard, conn)
	}), events
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	reason := errors.New("enough")
	for _, test := range []struct {
		name string
		dial func(t *testing.T) (url string, reached <-chan struct{})
	}{
		{"TLS handshake", func(t *testing.T) (string, <-chan struct{}) {
			t.Helper()
			addr, heard := silent(t)
			return "wss://" + addr, heard
		}},
		{"101 awaited", func(t *testing.T) (string, <-chan struct{}) {
			t.Helper()
			addr, heard := silent(t)
			return "ws://" + addr, heard
		}},
		{"header half sent", func(t *testing.T) (string, <-chan struct{}) {
			t.Helper()
			sent := make(chan struct{}, 1)
			return "ws://" + serveTCP(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switch")
				sent <- struct{}{}
				_, _ = io.Copy(io.Discard, conn)
			}), sent
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, reached := test.dial(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() {
				_, err := Dial(ctx, url, &DialOptions{ConnectTimeout: -1})
				result <- err
			}()
			tunneltest.Await(t, "the dial's bytes", reached)
			cancel(reason)
			if err := tunneltest.Await(t, "Dial after cancel", result); !errors.Is(err, reason) || err.Error() != "dial "+url+": enough" {
				t.Errorf("Dial = %v, want %q", err, "dial "+url+": enough")
			}
		})
	}
}

func TestDialBeforeItsContext(t *testing.T) {
	t.Parallel()
	if _, err := Dial(tunneltest.Ended(), "ws://127.0.0.1:1/", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want canceled", err)
	}
}

func TestDialConnectTimeout(t *testing.T) {
	t.Parallel()
	addr, _ := silent(t)
	for _, scheme := range []string{"ws://", "wss://"} {
		for range 5 { // the deadlines of the connection and of the context race
			_, err := Dial(t.Context(), scheme+addr, &DialOptions{ConnectTimeout: 20 * time.Millisecond})
			if want := "dial " + scheme + addr + ": no answer within 20ms"; err == nil || err.Error() != want {
				t.Errorf("Dial = %v, want %s", err, want)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Dial = %#v, want a timeout", err)
			}
		}
	}
}

// If ctx ends after the status and before the end of the body, Dial returns the status.
func TestDialKeepsRefusalWhoseBodyHangs(t *testing.T) {
	t.Parallel()
	addr := serveTCP(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno entry")
		_, _ = io.Copy(io.Discard, conn)
	})
	ctx, cancel := context.WithCancel(tunneltest.Soon(t))
	defer cancel()
	_, err := Dial(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: cancel}), "ws://"+addr, nil)
	if want := "dial ws://" + addr + ": handshake: 403 Forbidden: no entry"; err == nil || err.Error() != want {
		t.Errorf("Dial = %v, want %s", err, want)
	}
}

func TestDialSchemes(t *testing.T) {
	t.Parallel()
	plain := newEndpoint(t, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}, (*httptest.Server).Start)
	secure := newEndpoint(t, AcceptOptions{Session: SessionOptions{Role: wsmux.Server}}, (*httptest.Server).StartTLS)
	config := secure.server.Client().Transport.(*http.Transport).TLSClientConfig
	for _, url := range []string{plain.url, plain.server.URL, secure.url, secure.server.URL} {
		session, err := Dial(tunneltest.Soon(t), url, &DialOptions{TLS: &tls.Config{RootCAs: config.RootCAs}})
		if err != nil {
			t.Errorf("Dial(%s) = %v", url, err)
			continue
		}
		_ = session.Close()
	}
}

func TestDialLeavesNothing(t *testing.T) { //nolint:paralleltest // counts the process's files
	tunneltest.CheckFiles(t)
	addr, _ := silent(t)
	for _, url := range []string{"ws://" + addr, "wss://" + addr} {
		for range 10 {
			_, _ = Dial(t.Context(), url, &DialOptions{ConnectTimeout: time.Millisecond})
		}
	}
	srv := httptest.NewServer(handler(403, nil, "no"))
	defer srv.Close()
	for range 10 {
		_, _ = Dial(t.Context(), srv.URL, nil)
	}
}

func TestDialThroughProxyThatCloses(t *testing.T) {
	t.Parallel()
	proxy := "http://" + serveTCP(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_ = conn.Close()
	})
	_, err := Dial(tunneltest.Soon(t), "ws://host.test/", &DialOptions{Proxy: proxy})
	if want := "dial ws://host.test/: proxy " + proxy + ": connection closed by peer"; err == nil || err.Error() != want {
		t.Errorf("Dial = %v, want %s", err, want)
	}
}
