package tap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// The target receives the bytes of the head, except for those that the tap must change.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path, request, want string // HOST stands for the target's
		own                 http.Header
		keepExtensions      bool
	}{
		"order, case and odd lines": {
			request: "GET /a%2Fb//c;d?q=%20&r=/? HTTP/1.1\r\nx-B: 1\r\nHOST:  127.0.0.1 \r\nX-a:\t2 \r\nAGENTBOX-SYNC-TOKEN: s\r\nx-b: 3\r\nFolded: 1\r\n\t2\r\nEmpty:\r\n" + upgrade + "\r\n",
			want:    "GET /a%2Fb//c;d?q=%20&r=/? HTTP/1.1\r\nx-B: 1\r\nHOST: HOST\r\nX-a:\t2 \r\nAGENTBOX-SYNC-TOKEN: s\r\nx-b: 3\r\nFolded: 1\r\n\t2\r\nEmpty:\r\n" + upgrade + "\r\n",
		},
		"path of the URL": {
			path:    "/v1/%2f",
			request: "GET /tap?token=x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET /v1/%2f?token=x HTTP/1.1\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"query of the URL": {
			path:    "/?a b=ü",
			request: "GET /tap?token=x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET /tap?a%20b=%C3%BC HTTP/1.1\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"absolute form": {
			request: "GET http://127.0.0.1:1/a%20b?c HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET /a%20b?c HTTP/1.1\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"absolute form without a path": {
			request: "GET http://127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET / HTTP/1.1\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"an empty query": {
			request: "GET /? HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET /? HTTP/1.1\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"HTTP/1.0": {
			request: "GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n",
			want:    "GET / HTTP/1.0\r\nHost: HOST\r\n" + upgrade + "\r\n",
		},
		"folded headers that the tap replaces": {
			request: "GET / HTTP/1.1\r\nHost:\r\n 127.0.0.1\r\nA: 1\r\nsec-websocket-extensions: permessage-deflate;\r\n client_max_window_bits\r\n" + upgrade + "\r\n",
			want:    "GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\r\n" + upgrade + "\r\n",
		},
		"extensions": {
			request: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-WebSocket-Extensions: a\r\nSEC-WEBSOCKET-EXTENSIONS: b\r\n" + upgrade + "\r\n",
			want:    "GET / HTTP/1.1\r\nHost: HOST\r\nSec-WebSocket-Extensions: a\r\nSEC-WEBSOCKET-EXTENSIONS: b\r\n" + upgrade + "\r\n", keepExtensions: true,
		},
		"headers of the tap": {
			request: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAUTHORIZATION: theirs\r\n folded\r\nauthorization: second\r\n" + upgrade + "\r\n",
			want:    "GET / HTTP/1.1\r\nHost: other.example\r\nAUTHORIZATION: ours\r\n" + upgrade + "X-New: 1\r\nX-New: 2\r\n\r\n",
			own:     http.Header{"Authorization": {"ours"}, "X-New": {"1", "2"}, "Host": {"other.example"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := tappedOptions{path: test.path, tap: &Tap{KeepExtensions: test.keepExtensions}}
			if test.own != nil {
				o.tap.Options = func() *tunnel.DialOptions { return &tunnel.DialOptions{Header: test.own} }
			}
			tp := newTapped(t, o)
			dialing := tp.dial(t)
			tunneltest.Write(t, dialing, test.request+"after")
			accepting := tp.target(t)
			tunneltest.Expect(t, accepting, strings.Replace(test.want, ": HOST", ": "+accepting.LocalAddr().String(), 1))
			tunneltest.Write(t, accepting, upgraded)
			tunneltest.Expect(t, accepting, "after")
		})
	}
}

// The user of the URL is the tap's own.
func TestHandshakeUser(t *testing.T) {
	t.Parallel()
	target := tunneltest.Listen(t)
	tp := newTapped(t, tappedOptions{tap: &Tap{URL: "ws://me:pass@" + target.Addr().String() + "/"}})
	dialing := tp.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	conn, err := target.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	if user, password, _ := r.BasicAuth(); user != "me" || password != "pass" {
		t.Errorf("Authorization = %q", r.Header.Get("Authorization"))
	}
}

// Requests that the tap refuses don't reach the target.
func TestHandshakeRefused(t *testing.T) {
	t.Parallel()
	tp := newTapped(t, tappedOptions{accept: tunnel.AcceptOptions{LoopbackHost: true}})
	const get = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade
	for name, test := range map[string]struct{ request, code, body string }{
		"body":             {get + "Content-Length: 5\r\n\r\nhello", "400", "a handshake has no body"},
		"chunked body":     {get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400", "a handshake has no body"},
		"both":             {get + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400", ""},
		"method":           {strings.Replace(get, "GET", "HEAD", 1) + "\r\n", "405", ""},
		"LF in a line":     {get + "A: 1\nSec-WebSocket-Extensions: x\r\n\r\n", "400", "the request's lines don't end with CR LF"},
		"a second request": {get + "\nGET /second HTTP/1.1\r\nHost: 127.0.0.1\r\n" + upgrade + "\r\n", "400", "the request's lines don't end with CR LF"},
		"CR in a line":     {get + "A: 1\rB: 2\r\n\r\n", "400", ""},
		"two hosts":        {get + "Host: localhost\r\n\r\n", "400", ""},
		"blank in a name":  {get + "Host : localhost\r\n\r\n", "400", ""},
		"host":             {strings.Replace(get, "127.0.0.1", "page.example", 1) + "\r\n", "403", "not a loopback address"},
		"absolute host":    {strings.Replace(get, "GET /", "GET http://page.example/", 1) + "\r\n", "403", "not a loopback address"},
		"origin":           {get + "Origin: http://page.example\r\n\r\n", "403", "origin"},
		"not a WebSocket":  {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "426", ""},
		"long":             {get + "A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "431", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialing := tp.dial(t)
			go func() { _, _ = io.WriteString(dialing, test.request) }()
			response, err := http.ReadResponse(bufio.NewReader(dialing), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if !strings.HasPrefix(response.Status, test.code) || !strings.Contains(string(body), test.body) {
				t.Errorf("%s %q, want %s %q", response.Status, body, test.code, test.body)
			}
			select {
			case <-tp.targets:
				t.Error("the target was dialed")
			default:
			}
		})
	}
}

// The responses of the target reach the side that dials as they are, and nothing after a
// refused handshake reaches the target.
func TestResponses(t *testing.T) {
	t.Parallel()
	page := strings.Repeat("0123456789", 50_000)
	for name, test := range map[string]struct {
		response string
		closes   bool // the target does
		accepted bool
	}{
		"401":              {"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\nContent-LENGTH: 5\r\n\r\nnope\n", false, false},
		"chunked":          {"HTTP/1.1 503 Later\r\nTRANSFER-encoding: chunked\r\nRetry-After: 5\r\n\r\n5;x=y\r\nhello\r\n0\r\ntrailer: 1\r\n\r\n", false, false},
		"without a length": {"HTTP/1.0 403 Forbidden\r\nServer: odd\r\n\r\n" + page, true, false},
		"long":             {"HTTP/1.1 404 Not Found\r\nContent-Length: 500000\r\n\r\n" + page, false, false},
		"without a body":   {"HTTP/1.1 204 No Content\r\n\r\n", false, false},
		"interim":          {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + upgraded, false, true},
		"bytes follow":     {upgraded + "\x82\x05hello" + page, false, true},
		"not HTTP":         {"SSH-2.0-x\r\n\r\n", false, false},
		"nothing":          {"", true, false},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				t.Parallel()
				tp := newTapped(t, tappedOptions{secure: secure})
				dialing := tp.dial(t)
				tunneltest.Write(t, dialing, handshakeHead+handshakeHead)
				accepting := tp.target(t)
				head := strings.Replace(handshakeHead, "127.0.0.1", accepting.LocalAddr().String(), 1)
				tunneltest.Expect(t, accepting, head)
				go func() {
					_, _ = io.WriteString(accepting, test.response)
					if test.closes {
						_ = accepting.Close()
					}
				}()
				tunneltest.Expect(t, dialing, test.response)
				if test.accepted {
					tunneltest.Expect(t, accepting, handshakeHead) // is no longer HTTP
					return
				}
				if n, err := dialing.Read(make([]byte, 1)); n > 0 || err == nil {
					t.Error("read more than the response")
				}
				if test.closes {
					return
				}
				if rest, _ := io.ReadAll(accepting); len(rest) > 0 {
					t.Errorf("the target received %q after the handshake", rest)
				}
			})
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	addr := l.Addr().String()
	_ = l.Close()
	tp := newTapped(t, tappedOptions{tap: &Tap{URL: "ws://user:secret@" + addr + "/?token=secret"}})
	dialing := tp.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	all, err := io.ReadAll(dialing)
	want := "\r\n\r\nwstun: dial ws://" + addr + "/: connection refused\n"
	if got := string(all); err != nil || !strings.HasPrefix(got, "HTTP/1.1 502 Bad Gateway\r\n") || !strings.HasSuffix(got, want) {
		t.Errorf("got %q, %v, want 502 and %q", got, err, want)
	}
}

// If one side vanishes before the response, the other connection ends.
func TestVanishes(t *testing.T) {
	t.Parallel()
	tp := newTapped(t, tappedOptions{})
	dialing := tp.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	accepting := tp.target(t)
	tunneltest.Expect(t, accepting, "GET ") // not during the dial, which is answered
	abort(accepting)
	if n, err := dialing.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("read %d, %v from the tap", n, err)
	}

	silent := newTapped(t, tappedOptions{})
	dialing = silent.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	accepting = silent.target(t)
	silent.Shutdown(tunneltest.Ended())
	if _, err := io.ReadAll(accepting); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Log(err) // a reset
	}
	if n, err := dialing.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("read %d, %v from a tap that was shut down", n, err)
	}
}

// A dial ends with the connection of the side that waits for it.
func TestVanishesDuringDial(t *testing.T) {
	t.Parallel()
	target := tunneltest.Listen(t) // never completes a TLS handshake
	tp := newTapped(t, tappedOptions{tap: &Tap{URL: "wss://" + target.Addr().String() + "/"}, accept: tunnel.AcceptOptions{MaxSessions: 1}})
	dialing := tp.dial(t)
	tunneltest.Write(t, dialing, handshakeHead)
	conn, err := target.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	busy := tp.dial(t)
	tunneltest.Write(t, busy, handshakeHead)
	tunneltest.Expect(t, busy, "HTTP/1.1 503 Service Unavailable\r\n")
	_ = dialing.Close()
	if _, err := io.Copy(io.Discard, conn); err != nil { // until the tap closes it
		t.Log(err)
	}
}
