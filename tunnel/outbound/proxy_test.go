package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// proxySecrets must not be in errors.
var proxySecrets = []string{"alice", "s3cret", base64.StdEncoding.EncodeToString([]byte("alice:s3cret"))}

// proxyURL returns the URL of a proxy at addr, with credentials.
func proxyURL(scheme, addr string) *url.URL {
	return &url.URL{Scheme: scheme, User: url.UserPassword("alice", "s3cret"), Host: addr}
}

// checkProxyError fails the test unless err is a ProxyError for the proxy u with one of
// texts.
func checkProxyError(t *testing.T, err error, u *url.URL, texts ...string) *ProxyError {
	t.Helper()
	pe, ok := errors.AsType[*ProxyError](err)
	if !ok {
		t.Fatalf("dialVia = %v, want a *ProxyError", err)
	}
	text, ok := strings.CutPrefix(pe.Error(), "proxy "+u.Scheme+"://"+u.Host+": ")
	if !ok || !slices.Contains(texts, text) {
		t.Errorf("dialVia = %q, want %s and one of %q", pe, u.Host, texts)
	}
	for _, secret := range proxySecrets {
		if strings.Contains(fmt.Sprintf("%v %+v", err, *pe), secret) {
			t.Errorf("dialVia = %+v, which contains %q", err, secret)
		}
	}
	return pe
}

func dialVia(ctx context.Context, through *url.URL, addr string, config *tls.Config) (net.Conn, error) {
	return Dial(ctx, Addr{Network: "tcp", Address: addr}, through, config)
}

// checkProxyEcho fails the test unless conn is connected to an echo server.
func checkProxyEcho(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("read = %q, %v, want hello", buf, err)
	}
}

func TestDialVia(t *testing.T) {
	t.Parallel()
	target := startProxyTarget(t)
	server, authority := proxyCertificate()
	requests := make(chan *http.Request, 1)
	asked := make(chan string, 1)
	for _, test := range []struct {
		scheme string
		user   *url.Userinfo
		serve  func(net.Conn)
	}{
		{"http", nil, httpProxy{target, nil, requests}.serve},
		{"http", url.UserPassword("alice", "s3cret"), httpProxy{target, nil, requests}.serve},
		{"http", url.User("alice"), httpProxy{target, nil, requests}.serve},
		{"https", url.UserPassword("alice", "s3cret"), httpProxy{target, server, requests}.serve},
		{"socks5", nil, socksProxy{target: target, asked: asked}.serve},
		{"socks5", url.UserPassword("alice", "s3cret"), socksProxy{target: target, asked: asked}.serve},
		{"socks5h", url.UserPassword("alice", "s3cret"), socksProxy{target: target, user: "alice", password: "s3cret", asked: asked}.serve},
	} {
		through := &url.URL{Scheme: test.scheme, User: test.user, Host: startProxyPeer(t, test.serve)}
		ctx, cancel := context.WithCancel(t.Context())
		conn, err := dialVia(ctx, through, "192.0.2.1:443", &tls.Config{RootCAs: authority, ServerName: "target"})
		if err != nil {
			t.Fatalf("dialVia(%s) = %v", through, err)
		}
		checkProxyEcho(t, conn)
		cancel() // must not affect conn
		checkProxyEcho(t, conn)
		_ = conn.Close()

		const want = "192.0.2.1:443"
		var got string
		if strings.HasPrefix(test.scheme, "socks") {
			got = <-asked
		} else {
			r := <-requests
			got = r.RequestURI
			password, _ := test.user.Password()
			r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
			if user, pw, ok := r.BasicAuth(); ok != (test.user != nil) || user != test.user.Username() || pw != password {
				t.Errorf("%s got Proxy-Authorization %q", through, r.Header["Proxy-Authorization"])
			}
			if r.Method != http.MethodConnect || r.Host != want || r.Proto != "HTTP/1.1" {
				t.Errorf("%s got %s %s with Host %s", through, r.Method, r.Proto, r.Host)
			}
		}
		if got != want {
			t.Errorf("%s was asked for %s, want %s", through, got, want)
		}
	}
}

func TestDialViaLeavesNoDeadline(t *testing.T) {
	t.Parallel()
	target := startProxyTarget(t)
	server, authority := proxyCertificate()
	dial := func(ctx context.Context) (conns []net.Conn) {
		for scheme, serve := range map[string]func(net.Conn){
			"http":   httpProxy{target, nil, make(chan *http.Request, 1)}.serve,
			"https":  httpProxy{target, server, make(chan *http.Request, 1)}.serve,
			"socks5": socksProxy{target: target, asked: make(chan string, 1)}.serve,
		} {
			conn, err := dialVia(ctx, proxyURL(scheme, startProxyPeer(t, serve)), "192.0.2.1:443", &tls.Config{RootCAs: authority})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			conns = append(conns, conn)
		}
		return conns
	}
	began := time.Now()
	dial(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second+20*time.Since(began)) // long enough for this machine
	defer cancel()
	conns := dial(ctx)
	<-ctx.Done()
	for _, conn := range conns {
		checkProxyEcho(t, conn)
	}
}

func TestDialViaResolvesNames(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	addr := startProxyPeer(t, socksProxy{target: startProxyTarget(t), asked: asked}.serve)
	for scheme, isWanted := range map[string]func(host string) bool{
		"socks5":  func(host string) bool { return net.ParseIP(host).IsLoopback() },
		"socks5h": func(host string) bool { return host == "localhost" },
	} {
		conn, err := dialVia(t.Context(), &url.URL{Scheme: scheme, Host: addr}, "localhost:80", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		got := <-asked
		if host, port, err := net.SplitHostPort(got); err != nil || !isWanted(host) || port != "80" {
			t.Errorf("the %s proxy was asked for %s", scheme, got)
		}
	}
	if _, err := dialVia(t.Context(), &url.URL{Scheme: "socks5", Host: addr}, "no port", nil); err == nil {
		t.Error("dialVia to an address without a port = nil error")
	}
}

func TestDialViaReadsAhead(t *testing.T) {
	t.Parallel()
	for _, head := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\n",
		"HTTP/1.0 200\r\n\r\n",
		"HTTP/1.1 204 No Content\nVia: x\n\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: unknown\r\n\r\n",
	} {
		ahead := strings.Repeat("from the target", 1000)
		through := proxyURL("http", startProxyPeer(t, answerProxy(head+ahead)))
		conn, err := dialVia(t.Context(), through, "target:443", nil)
		if err != nil {
			t.Fatalf("dialVia after %q = %v", head, err)
		}
		if got, err := io.ReadAll(conn); string(got) != ahead || err != nil {
			t.Errorf("read %d bytes after %q, %v, want %d", len(got), head, err, len(ahead))
		}
		_ = conn.Close()
	}
}

func TestDialViaHTTPRefusals(t *testing.T) {
	t.Parallel()
	echo := "\r\nProxy-Authorization: Basic " + proxySecrets[2] + "\r\n\r\nalice:s3cret"
	for answer, want := range map[string]string{
		"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n": "407 Proxy Authentication Required",
		"HTTP/1.1 407" + echo:                                "407 Proxy Authentication Required",
		"HTTP/1.1 407 \r\nContent-Length: x\r\n\r\n":         "407 Proxy Authentication Required",
		"HTTP/1.1 403 alice:s3cret" + echo:                   "403 Forbidden",
		"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>":             "502 Bad Gateway",
		"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n":          "302 Found",
		"HTTP/1.1 999 \x1b[31m\r\n\r\n":                      "999 unknown status",
		"HTTP/1.1 twenty\r\n\r\n":                            errProxyNoHTTP.Error(),
		"HTTP/1.1 099\r\n\r\n":                               errProxyNoHTTP.Error(),
		"CONNECT target:443 HTTP/1.1" + echo:                 errProxyNoHTTP.Error(),
		"SSH-2.0-OpenSSH_9.9\r\n":                            errProxyNoHTTP.Error(),
		"\x05\xff\r\n":                                       errProxyNoHTTP.Error(),
		strings.Repeat("\r\n", 3):                            errProxyNoHTTP.Error(),
		"":                                                   "connection closed by peer",
		"HTTP/1.1 200":                                       "connection closed by peer",
		"HTTP/1.1 200 OK\r\nVia: x":                          "connection closed by peer",
		strings.Repeat("x", 1<<20):                           errProxyTooLong.Error(),
		"HTTP/1.1 2":                                         errProxyNoHTTP.Error(),
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("Via: x\r\n", 1<<17):                                                          errProxyTooLong.Error(),
		"HTTP/1.1 200 OK\r\nVia: " + strings.Repeat("x", 1<<20):                                                              errProxyTooLong.Error(),
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1<<16):                                                               "more than 32 interim answers",
		"HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 1<<20):                                                    errProxyTooLong.Error(),
		"HTTP/1.1 101 Switching Protocols\r\n\r\n":                                                                           "101 Switching Protocols",
		"HTTP/1.1 407\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM alice:s3cret\r\n\r\n":                     "407 Proxy Authentication Required: it wants Negotiate, NTLM",
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm=\"Basic\", nonce=\"s3cret\"\r\nX": "407 Proxy Authentication Required: it wants Digest",
	} {
		through := proxyURL("http", startProxyPeer(t, answerProxy(answer)))
		_, err := dialVia(t.Context(), through, "target:443", nil)
		pe := checkProxyError(t, err, through, want)
		var status int
		_, _ = fmt.Sscan(want, &status)
		if pe.StatusCode != status || pe.Refused() != (status == 407) {
			t.Errorf("%q: StatusCode %d, Refused %t", pe, pe.StatusCode, pe.Refused())
		}
	}
}

func TestDialViaSOCKSRefusals(t *testing.T) {
	t.Parallel()
	const answer, refused = "its answer: ", "authentication refused: "
	asked := make(chan string, 100)
	for want, serve := range map[string]func(net.Conn){
		answer + "general SOCKS server failure":             socksProxy{reply: 1, asked: asked}.serve,
		answer + "connection not allowed by ruleset":        socksProxy{reply: 2, asked: asked}.serve,
		answer + "host unreachable":                         socksProxy{reply: 4, asked: asked}.serve,
		answer + "connection refused":                       socksProxy{reply: 5, asked: asked}.serve,
		answer + "unknown code: 99":                         socksProxy{reply: 99, asked: asked}.serve,
		refused + "username/password authentication failed": socksProxy{user: "alice", password: "other"}.serve,
		refused + "no acceptable authentication methods":    func(c net.Conn) { _, _ = c.Write([]byte{5, 0xff}); _, _ = io.Copy(io.Discard, c) },
		"unexpected protocol version 72":                    func(c net.Conn) { _, _ = c.Write([]byte("HTTP")); _, _ = io.Copy(io.Discard, c) },
		"connection closed by peer":                         func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 4)) },
	} {
		through := proxyURL("socks5h", startProxyPeer(t, serve))
		_, err := dialVia(t.Context(), through, "target:443", nil)
		pe := checkProxyError(t, err, through, want)
		if pe.StatusCode != 0 || pe.Refused() != strings.HasPrefix(want, refused) {
			t.Errorf("%q: StatusCode %d, Refused %t", pe, pe.StatusCode, pe.Refused())
		}
	}
}

func TestDialViaDeadProxy(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", startProxyTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	closed := conn.LocalAddr().String() // in use, without a listener
	dropping := startProxyPeer(t, func(net.Conn) {})
	for _, scheme := range []string{"http", "https", "socks5", "socks5h"} {
		_, err := dialVia(t.Context(), proxyURL(scheme, closed), "127.0.0.1:443", nil)
		checkProxyError(t, err, proxyURL(scheme, closed), "connection refused")
		if !netdiag.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialVia = %#v, want ECONNREFUSED in it", err)
		}
		_, err = dialVia(t.Context(), proxyURL(scheme, dropping), "127.0.0.1:443", nil)
		checkProxyError(t, err, proxyURL(scheme, dropping), "connection closed by peer", "connection reset by peer", "broken pipe")
	}
}

func TestDialViaTLSErrors(t *testing.T) {
	t.Parallel()
	server, authority := proxyCertificate()
	through := proxyURL("https", startProxyPeer(t, httpProxy{tls: server}.serve))
	for name, config := range map[string]*tls.Config{
		"no config":       nil,
		"no authorities":  {},
		"no verification": {InsecureSkipVerify: true},
		"other authority": {RootCAs: x509.NewCertPool()},
	} {
		_, err := dialVia(t.Context(), through, "target:443", config)
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
			t.Errorf("dialVia with %s = %v, want an unknown authority", name, err)
		}
	}
	_, port, _ := net.SplitHostPort(through.Host)
	other := proxyURL("https", "localhost:"+port)
	_, err := dialVia(t.Context(), other, "target:443", &tls.Config{RootCAs: authority, ServerName: "127.0.0.1"})
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("dialVia to another name = %v, want a wrong host name", err)
	}
	plain := proxyURL("https", startProxyPeer(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}))
	_, err = dialVia(t.Context(), plain, "target:443", nil)
	checkProxyError(t, err, plain, "tls: first record does not look like a TLS handshake")
}

// The context ends at each step, with each kind of proxy.
func TestDialViaCancel(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scheme string
		wait         int    // how many bytes the proxy reads
		answer       string // sent afterwards
	}{
		{"TLS", "https", 100, ""},
		{"CONNECT", "http", 100, ""},
		{"CONNECT status", "http", 100, "HTTP/1.1 2"},
		{"CONNECT header", "http", 100, "HTTP/1.1 200 OK\r\nVia: x\r\n"},
		{"interim answer", "http", 100, "HTTP/1.1 100 Continue\r\n\r\n"},
		{"greeting", "socks5", 4, ""},
		{"user and password", "socks5", 4, "\x05\x02"},
		{"reply", "socks5h", 4, "\x05\x00"},
		{"address in the reply", "socks5h", 4, "\x05\x00\x05\x00\x00\x03"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			silent, ended := make(chan struct{}, 2), make(chan struct{}, 2)
			through := proxyURL(test.scheme, startProxyPeer(t, silentProxy(test.wait, test.answer, silent, ended)))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			go func() {
				<-silent
				cancel(errors.New("no answer within 7s"))
			}()
			_, err := dialVia(ctx, through, "127.0.0.1:443", nil)
			checkProxyError(t, err, through, "no answer within 7s")
			<-ended // the connection is closed

			deadline, cancelDeadline := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancelDeadline()
			_, err = dialVia(deadline, through, "127.0.0.1:443", nil)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("dialVia with a deadline = %v, want context.DeadlineExceeded", err)
			}
		})
	}
	for _, scheme := range []string{"http", "https", "socks5", "socks5h"} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		through := proxyURL(scheme, "192.0.2.1:1")
		_, err := dialVia(ctx, through, "localhost:443", nil)
		checkProxyError(t, err, through, "context canceled")
	}
}

// readConn is a connection that reads from r and discards writes.
type readConn struct {
	net.Conn
	r *io.LimitedReader
}

func (readConn) Write(p []byte) (int, error)  { return len(p), nil }
func (c readConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func FuzzConnectAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 Connection established\r\n\r\nahead",
		"HTTP/1.1 407\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 299 OK\nVia: x\n y\n\n\n",
		"HTTP/1.1 +99 \r\n\r\n",
		"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
		"\x15\x03\x01\x00\x02\x02\x46",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		r := &io.LimitedReader{R: bytes.NewReader(answer), N: int64(len(answer))}
		conn, err := connectHTTP(readConn{r: r}, nil, "target:443")
		if read := int64(len(answer)) - r.N; read > maxConnectHeader {
			t.Errorf("read %d bytes of the answer, want at most %d", read, maxConnectHeader)
		}
		status, refused := errors.AsType[*proxyStatusError](err)
		switch {
		case err == nil:
			ahead, err := io.ReadAll(conn)
			head, ok := bytes.CutSuffix(answer, ahead)
			if err != nil || !ok || !bytes.HasSuffix(head, []byte("\n")) {
				t.Errorf("read %q, %v after the answer %q", ahead, err, answer)
			}
		case refused && (status.code < 100 || status.code/100 == 2 || status.code > 999):
			t.Errorf("error for status %d", status.code)
		case !refused && !errors.Is(err, errProxyNoHTTP) && !errors.Is(err, errProxyTooLong) && !errors.Is(err, errInterim) && !errors.Is(err, io.EOF):
			t.Errorf("unexpected error %v", err)
		}
	})
}
