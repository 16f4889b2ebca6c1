package netdiag

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http2"
)

func opError(op string, err error) error {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	return &net.OpError{Op: op, Net: "tcp", Source: addr, Addr: addr, Err: err}
}

func TestCause(t *testing.T) {
	t.Parallel()
	unknown := &net.DNSError{Err: "no such host", Name: "host.test", IsNotFound: true}
	other := errors.New("other")
	for _, test := range []struct {
		err    error
		want   string
		is     error // wrapped by err and by its cause
		closed bool  // PeerClosed
	}{
		{opError("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused", syscall.ECONNREFUSED, false},
		{opError("read", os.NewSyscallError("read", syscall.ECONNRESET)), "connection reset by peer", syscall.ECONNRESET, true},
		{opError("write", syscall.EPIPE), "broken pipe", syscall.EPIPE, true},
		{opError("socks connect", opError("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH))), "no route to host", syscall.EHOSTUNREACH, false},
		{fmt.Errorf("proxy: %w", opError("read", os.ErrDeadlineExceeded)), "i/o timeout", os.ErrDeadlineExceeded, false},
		{opError("dial", unknown), "lookup host.test: no such host", unknown, false},
		{io.EOF, "connection closed by peer", io.EOF, true},
		{opError("socks connect", io.ErrUnexpectedEOF), "connection closed by peer", io.ErrUnexpectedEOF, true},
		{fmt.Errorf("proxy host: %w", Cause(io.EOF)), "proxy host: connection closed by peer", io.EOF, true},
		{opError("read", net.ErrClosed), "use of closed network connection", net.ErrClosed, false},
		{&os.PathError{Op: "remove", Path: "s", Err: syscall.EACCES}, "remove s: permission denied", syscall.EACCES, false},
		{&net.OpError{Op: "remote error", Err: other}, "remote error: other", other, false},
		{other, "other", other, false},
	} {
		got := Cause(test.err)
		if got.Error() != test.want || !errors.Is(test.err, test.is) || !errors.Is(got, test.is) {
			t.Errorf("Cause(%v) = %#v, want %s", test.err, got, test.want)
		}
		if PeerClosed(test.err) != test.closed || PeerClosed(got) != test.closed {
			t.Errorf("PeerClosed(%v) = %v, of its cause %v, want %v", test.err, PeerClosed(test.err), PeerClosed(got), test.closed)
		}
	}
}

// The peer of a TLS client doesn't speak TLS, or sends an alert.
func TestTLSErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer string
		notTLS bool
		alert  string
	}{
		{"HTTP/1.1 400 Bad Request\r\n\r\n", true, ""},
		{"\x15\x03\x03\x00\x02\x02\x74", false, "tls: certificate required"},
		{"", false, ""},
	} {
		here, there := net.Pipe()
		go func() {
			_, _ = there.Read(make([]byte, 4096))
			_, _ = io.WriteString(there, test.answer)
			_ = there.Close()
		}()
		err := tls.Client(here, &tls.Config{ServerName: "host.test"}).HandshakeContext(t.Context())
		_ = here.Close()
		if got := NotTLS(fmt.Errorf("handshake: %w", err)); got != test.notTLS {
			t.Errorf("NotTLS(%v) = %v after %q", err, got, test.answer)
		}
		if got := Alert(fmt.Errorf("handshake: %w", err)); got != test.alert {
			t.Errorf("Alert(%v) = %q after %q, want %q", err, got, test.answer, test.alert)
		}
	}
	if Alert(opError("read", io.EOF)) != "" || Alert(nil) != "" || NotTLS(nil) {
		t.Error("NotTLS or Alert matches an error that isn't from TLS")
	}
}

func TestTimeoutError(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("dial: %w", TimeoutError(1500*time.Millisecond))
	if got, want := err.Error(), "dial: no answer within 1.5s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("%v must match both timeouts and not context.Canceled", err)
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first string
		want  Protocol
	}{
		{"", ""},
		{"SSH-2.0-OpenSSH_9.9\r\n", ""},
		{"HTTP/1.1 502 Bad Gateway\r\n", HTTP1},
		{"HTTP", ""},
		{http2.ClientPreface, HTTP2Client},
		{http2.ClientPreface[:23], ""},
		{"GET / HTTP/1.1\r\n", HTTP1Request},
		{"OPTIONS *", HTTP1Request},
		{"OPTIONS", ""},
		{"PRI * HTTP/2.0", ""},
		{"get / HTTP/1.1\r\n", ""},
		{"\x15\x03\x03\x00\x02\x02\x46", TLSAlert},
		{"\x15\x04", ""},
		{"\x16\x03\x01", TLSHandshake},
		{"\x00\x00\x06\x04\x00\x00\x00\x00\x00", HTTP2Settings},
		{"\x00\x00\x06\x04\x00\x00\x00\x00", ""},     // too short
		{"\x00\x00\x00\x04\x01\x00\x00\x00\x00", ""}, // an acknowledgement
		{"\x00\x00\x06\x04\x00\x00\x00\x00\x01", ""}, // on a stream other than 0
		{"\x00\x40\x01\x04\x00\x00\x00\x00\x00", ""}, // too long
		{"\x00\x00\x08\x07\x00\x00\x00\x00\x00", HTTP2GoAway},
		{"\x00\x00\x08\x06\x00\x00\x00\x00\x00", ""}, // PING
	} {
		if got := Identify([]byte(test.first)); got != test.want {
			t.Errorf("Identify(%q) = %q, want %q", test.first, got, test.want)
		}
	}
}

// More bytes must not change the result, and FirstBytes must be enough for a server.
func FuzzIdentify(f *testing.F) {
	for _, seed := range []string{
		http2.ClientPreface, "HTTP/1.1 200 OK\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46", "\x16\x03\x01\x02\x00",
		"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", "\x00\x00\x08\x07\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		whole := Identify(first)
		for n := range first {
			if part := Identify(first[:n]); part != "" && part != whole || whole != HTTP2Client && n >= FirstBytes && part != whole {
				t.Errorf("Identify = %q after %d bytes of %q, %q after all", part, n, first, whole)
			}
		}
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, line, cut string }{
		{"", "", ""},
		{"\n \n one\t\u202etwo\x1b[2J\xff \r\nthree", "one\t\\u202etwo\\x…", "\n \n one\t\u202et…"},
		{"éééééééé", "éééééééé", "éééééééé"},
		{"ééééééééééé", "ééééééééééé", "éééééééééé…"},
		{strings.Repeat("x", 20), "xxxxxxxxxxxxxxx…", "xxxxxxxxxx…"},
		{"\xff\xfe", "\\xff\\xfe", "\xff\xfe"},
	} {
		if got := Line(test.in, 15); got != test.line {
			t.Errorf("Line(%q) = %q, want %q", test.in, got, test.line)
		}
		if got := Truncate(test.in, 10); got != test.cut {
			t.Errorf("Truncate(%q) = %q, want %q", test.in, got, test.cut)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("one\r\ntwo")
	f.Add("\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Line(s, 20); strings.ContainsAny(got, "\r\n\x1b\u202e") || !utf8.ValidString(got) || utf8.RuneCountInString(got) > 21 {
			t.Errorf("Line(%q) = %q", s, got)
		}
	})
}
