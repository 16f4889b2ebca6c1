package tunnel

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// headServer accepts handshakes with KeepHead. It responds to each with the head as Head
// returns it, and echoes the bytes after the head.
func headServer(t *testing.T, l net.Listener, opts AcceptOptions) *Acceptor {
	t.Helper()
	opts.KeepHead = true
	opts.Upgrade = func(r *http.Request) (*Upgrade, error) {
		head := Head(r)
		if head == nil {
			return nil, refuse(http.StatusBadRequest, "no head")
		}
		return &Upgrade{Hijack: func(conn net.Conn) {
			defer conn.Close()
			_, _ = conn.Write(head)
			_, _ = io.Copy(conn, conn)
		}}, nil
	}
	a := NewAcceptor(newSessions(t), opts)
	served := make(chan error, 1)
	go func() { served <- a.Serve(l) }()
	t.Cleanup(func() {
		_ = a.Shutdown(t.Context())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return a
}

// exchange sends the request in pieces of the given size, 0 for one piece, closes the
// writing direction, and returns all that it reads.
func exchange(t *testing.T, addr, request string, size int) string {
	t.Helper()
	conn := tunneltest.DialTCP(t, addr)
	go func() {
		for rest := []byte(request); len(rest) > 0; {
			n := len(rest)
			if size > 0 {
				n = min(n, size)
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		_ = conn.CloseWrite()
	}()
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	return string(all)
}

const plainHead = "GET /a%2Fb//c?q=%20&r=/ HTTP/1.1\r\nhost: 127.0.0.1\r\nCONNECTION: keep-alive, Upgrade\r\nupgrade:websocket\r\n" +
	"X-a: 1\r\nAGENTBOX-SYNC-TOKEN: \tx \r\nx-A: 2\r\nFolded: a\r\n\tb\r\nEmpty:\r\n\r\n"

// The head and the bytes after it arrive as they were sent, however they are cut.
func TestHead(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	headServer(t, l, AcceptOptions{})
	for _, after := range []string{"", "x", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("abc", 10_000)} {
		for _, size := range []int{0, 1, 7, 100} {
			if size == 1 && len(after) > 100 {
				continue
			}
			if got, want := exchange(t, l.Addr().String(), plainHead+after, size), plainHead+after; got != want {
				t.Errorf("pieces of %d: got %.400q, want %.400q", size, got, want)
			}
		}
	}
}

// A head in which another program might find other lines, or another end, isn't known.
func TestHeadUnknown(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	headServer(t, l, AcceptOptions{})
	for name, request := range map[string]string{
		"LF":               strings.ReplaceAll(plainHead, "\r\n", "\n"),
		"LF in a line":     strings.Replace(plainHead, "X-a: 1\r\n", "X-a: 1\n", 1),
		"LF at the end":    strings.TrimSuffix(plainHead, "\r\n") + "\n",
		"a second request": strings.TrimSuffix(plainHead, "\r\n") + "\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		if got := exchange(t, l.Addr().String(), request, 0); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "no head") {
			t.Errorf("%s: got %q, want 400", name, got)
		}
	}
}

// A connection has one request, and a long head is refused.
func TestHeadLimits(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	headServer(t, l, AcceptOptions{Path: "/v1"})
	got := exchange(t, l.Addr().String(), plainHead+strings.Replace(plainHead, "/a%2Fb//c", "/v1", 1), 0)
	if !strings.HasPrefix(got, "HTTP/1.1 404 ") || strings.Count(got, "HTTP/1.1") != 1 {
		t.Errorf("two requests: got %q, want one 404", got)
	}
	for _, test := range []struct {
		size int
		want string
	}{
		{60 << 10, "GET /v1 "}, {66 << 10, "GET /v1 "}, {80 << 10, "HTTP/1.1 431 "}, {1 << 20, "HTTP/1.1 431 "},
	} {
		head := "GET /v1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nLong: " + strings.Repeat("x", test.size) + "\r\n\r\n"
		conn := tunneltest.DialTCP(t, l.Addr().String())
		go func() {
			_, _ = io.WriteString(conn, head)
			_ = conn.CloseWrite()
		}()
		line, err := bufio.NewReader(conn).ReadString(' ')
		if rest, _ := bufio.NewReader(strings.NewReader(test.want)).ReadString(' '); err != nil || line != rest {
			t.Errorf("a line of %d bytes: got %q, %v, want %q", test.size, line, err, test.want)
		}
		_ = conn.Close()
	}
}

// Failures of TLS are logged and answered as without KeepHead.
func TestHeadTLS(t *testing.T) {
	t.Parallel()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	config := certified.TLS.Clone()
	config.NextProtos = nil
	certified.Close()
	l := tunneltest.Listen(t)
	logged := make(chan string, 10)
	headServer(t, tls.NewListener(l, config), AcceptOptions{Logger: slog.New(slog.NewTextHandler(lineWriter(logged), nil))})
	if got := exchange(t, l.Addr().String(), plainHead, 0); !strings.Contains(got, "400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server") {
		t.Errorf("an HTTP request: got %q", got)
	}
	if line := tunneltest.Await(t, "log", logged); !strings.Contains(line, "TLS handshake error from 127.0.0.1:") {
		t.Errorf("logged %q", line)
	}
	conn := tls.Client(tunneltest.DialTCP(t, l.Addr().String()), &tls.Config{InsecureSkipVerify: true})
	tunneltest.Write(t, conn, plainHead+"after")
	tunneltest.Expect(t, conn, plainHead+"after")
	_ = conn.Close()
}

// lineWriter sends each write.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// headSize finds the end of a head where net/http finds it.
func FuzzHeadSize(f *testing.F) {
	f.Add([]byte(plainHead+"after"), uint64(1))
	f.Add([]byte("GET / HTTP/1.1\nHost: x\n\r\n\r\n"), uint64(2))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\nGET / HTTP/1.1\r\n\r\n"), uint64(3))
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		in := bufio.NewReader(bytes.NewReader(sent))
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		rest, _ := io.ReadAll(in)
		rnd := rand.New(rand.NewPCG(seed, seed))
		var head []byte
		got := 0
		for p := sent; len(p) > 0 && got == 0; {
			n := 1 + rnd.IntN(len(p))
			scanned := len(head)
			head = append(head, p[:n]...)
			p = p[n:]
			got = headSize(head, scanned)
		}
		if want := len(sent) - len(rest); got != want {
			t.Errorf("headSize(%q) = %d, want %d", sent, got, want)
		}
	})
}
