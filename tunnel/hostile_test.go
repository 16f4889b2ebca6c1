package tunnel

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Handshakes whose Host is not that of a loopback address, however it is written, are
// refused: by net/http with 400, or by the Guard with 403.
func TestAcceptorHostTricks(t *testing.T) {
	t.Parallel()
	a := NewAcceptor(newSessions(t), AcceptOptions{LoopbackHost: true, Session: SessionOptions{Role: wsmux.Server}})
	l := tunneltest.Listen(t)
	serve(t, a, l)
	for _, test := range []struct {
		target string
		hosts  []string
		code   int
	}{
		{"/", []string{"localhost:"}, 101},
		{"/", []string{"[::ffff:127.0.0.1]:80"}, 101},
		{"/", []string{"127.0.0.1.evil.example"}, 403},
		{"/", []string{"127.0.0.1.evil.example:7070"}, 403},
		{"/", []string{"localhost.evil"}, 403},
		{"/", []string{"evil.localhost"}, 403},
		{"/", []string{"localhost.."}, 403},
		{"/", []string{".localhost"}, 403},
		{"/", []string{"127.0.0.1."}, 403},
		{"/", []string{"user@127.0.0.1"}, 400},
		{"/", []string{"127.0.0.1@evil.example"}, 400},
		{"/", []string{"localhost:x@evil.example"}, 400},
		{"/", []string{"evil.example:127.0.0.1"}, 403},
		{"/", []string{"127.0.0.1,evil.example"}, 403},
		{"/", []string{"[::1]evil.example"}, 403},
		{"/", []string{"[::1].evil.example:80"}, 403},
		{"/", []string{"[::1%25lo]:80"}, 403},
		{"/", []string{"[fe80::1%lo]:80"}, 403},
		{"/", []string{"[::]:80"}, 403},
		{"/", []string{"0.0.0.0:80"}, 403},
		{"/", []string{"127.1"}, 403},
		{"/", []string{"0177.0.0.1"}, 403},
		{"/", []string{"2130706433"}, 403},
		{"/", []string{"localhost%00.evil.example"}, 403},
		{"/", []string{"ⓛocalhost"}, 400},
		{"/", []string{"localhost/evil"}, 400},
		{"/", []string{""}, 403},
		{"/", nil, 400},
		{"/", []string{"127.0.0.1", "evil.example"}, 400},
		{"/", []string{"evil.example", "127.0.0.1"}, 400},
		{"/", []string{"127.0.0.1", "127.0.0.1"}, 400},
		// The Host header is ignored with an absolute form (RFC 9112 §3.2.2).
		{"http://127.0.0.1/", []string{"evil.example"}, 101},
		{"http://evil.example/", []string{"127.0.0.1"}, 403},
		{"http://127.0.0.1@evil.example/", []string{"127.0.0.1"}, 403},
		{"//127.0.0.1/", []string{"evil.example"}, 403},
		{"*", []string{"evil.example"}, 403},
	} {
		t.Run(fmt.Sprint(test.target, test.hosts), func(t *testing.T) {
			t.Parallel()
			resp := handshake(t, l.Addr().String(), test.target, http.Header{"Host": test.hosts})
			if resp.code != test.code {
				t.Errorf("status %d, %s, want %d", resp.code, resp.body, test.code)
			}
		})
	}
}

// Origins are compared byte by byte: browsers write an origin in only one way (RFC 6454
// §6.2).
func TestAcceptorOriginTricks(t *testing.T) {
	t.Parallel()
	a := NewAcceptor(newSessions(t), AcceptOptions{
		Origins: []string{"https://good.test", "http://[::1]:80"}, Session: SessionOptions{Role: wsmux.Server},
	})
	l := tunneltest.Listen(t)
	serve(t, a, l)
	for _, test := range []struct {
		origins []string
		code    int
	}{
		{[]string{"https://good.test"}, 101},
		{[]string{"https://good.test", "https://good.test"}, 101},
		{[]string{"null"}, 403},
		{[]string{""}, 403},
		{[]string{"*"}, 403},
		{[]string{"HTTPS://GOOD.TEST"}, 403},
		{[]string{"https://good.test."}, 403},
		{[]string{"https://good.test/"}, 403},
		{[]string{"https://good.test:443"}, 403},
		{[]string{"http://good.test"}, 403},
		{[]string{"https://user@good.test"}, 403},
		{[]string{"https://good.test@evil.test"}, 403},
		{[]string{"https://good.test.evil.test"}, 403},
		{[]string{"https://evil.test/https://good.test"}, 403},
		{[]string{"https://evil.test#https://good.test"}, 403},
		{[]string{"https://evil.test https://good.test"}, 403},
		{[]string{"https://good.test, https://evil.test"}, 403},
		{[]string{"http://[::1%25lo]:80"}, 403},
		{[]string{"http://[::1]:80.evil.test"}, 403},
		{[]string{"https://good.test", "https://evil.test"}, 403},
		{[]string{"https://evil.test", "https://good.test"}, 403},
	} {
		t.Run(fmt.Sprint(test.origins), func(t *testing.T) {
			t.Parallel()
			resp := handshake(t, l.Addr().String(), "/", http.Header{"Origin": test.origins})
			if resp.code != test.code {
				t.Errorf("status %d, %s, want %d", resp.code, resp.body, test.code)
			}
		})
	}
}

// logLines is a writer that sends each record.
type logLines chan string

func (l logLines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// Refused handshakes of one host are logged once for each reason.
func TestAcceptorLogsRefusalsOnce(t *testing.T) {
	t.Parallel()
	const each = 20
	logged := make(logLines, 3*each)
	a := NewAcceptor(newSessions(t), AcceptOptions{Path: "/v1", Token: "secret", Logger: slog.New(slog.NewTextHandler(logged, nil))})
	l := tunneltest.Listen(t)
	serve(t, a, l)
	for range each {
		for path, header := range map[string]http.Header{
			"/":   nil,
			"/v1": {"Authorization": {"Bearer x"}},
		} {
			if resp := handshake(t, l.Addr().String(), path, header); resp.code < 400 {
				t.Errorf("status %d", resp.code)
			}
		}
	}
	if len(logged) != 2 {
		t.Errorf("%d records, want one for each of 2 reasons", len(logged))
	}
	for range 2 {
		if line := <-logged; !strings.Contains(line, `level=WARN msg="handshake refused" remote_addr=127.0.0.1:`) {
			t.Errorf("logged %s", line)
		}
	}
}

// A thousand connections with half a handshake leave room for a client with the token.
func TestAcceptorHalfOpenFlood(t *testing.T) {
	t.Parallel()
	const conns = 1000
	if openFileLimit() < 4*conns {
		t.Skip("the process may open too few files")
	}
	a := newLimited(t, 100, 0)
	l := tunneltest.Listen(t)
	serve(t, a, l)
	addr := l.Addr().String()
	for i := range conns {
		tunneltest.Write(t, tunneltest.DialTCP(t, addr), "GET /v1 HTTP/1.1\r\nX: "+strings.Repeat("x", i))
	}
	dialWithToken(t, addr)
	a.pending.mu.Lock()
	defer a.pending.mu.Unlock()
	if n := len(a.pending.conns); n > a.pending.limit || n != a.pending.byAge.Len() {
		t.Errorf("%d connections wait, %d by age, want at most %d", n, a.pending.byAge.Len(), a.pending.limit)
	}
}
