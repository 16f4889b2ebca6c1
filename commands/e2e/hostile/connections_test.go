//go:build linux && !race

package hostile

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connectionAttacks use up the file descriptors of a process.
var connectionAttacks = []attack{
	{name: "silent connections", target: few(1024, guarded), run: silent(1500, ""), then: mustConnect},
	{name: "slow handshakes", target: few(1024, guarded), run: silent(1500, handshake("")[:60]), then: mustConnect},
	{name: "unfinished TLS handshakes", target: few(1024, guardedTLS), run: silent(1500, "\x16\x03\x01"), then: mustConnect},
	{name: "10000 unfinished handshakes", target: guarded, held: 128, run: silent(manyConns(), handshake("")[:60]), then: mustConnect},
	{name: "handshakes for other hosts and from other origins", target: hub, run: foreign(100), then: foreign(1)},
	{name: "slow handshake headers", target: guarded, run: slowHeaders, then: mustConnect},
	{name: "more connections than descriptors", target: few(16, hub), run: silent(30, ""), then: fewWarnings},
	{name: "more local connections than descriptors", target: few(20, dial), run: silentLocal(30), then: fewWarnings},
}

const (
	token       = "secret"
	tokenHeader = "Authorization: Bearer " + token + "\r\n"
)

// manyConns is 10,000, or as many connections as the limit of file descriptors allows
// each of two processes.
func manyConns() int {
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return min(10_000, int(limit.Cur)-200)
}

// few returns a target whose process may have n file descriptors.
func few(n int, target target) target {
	return func(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
		t.Helper()
		return target(t, p.with(fmt.Sprintf("ulimit -n %d", n)), connect)
	}
}

// guarded is wstun serve that demands a token. Its innocent client opens a session for
// each call.
func guarded(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	return guardedWith(t, p, connect)
}

// guardedTLS is guarded with TLS.
func guardedTLS(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil) // for its certificate
	srv.StartTLS()
	defer srv.Close()
	certificate := srv.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := writeFile(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
	return guardedWith(t, p, connect, "--cert", cert,
		"--key", writeFile(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

func guardedWith(t *testing.T, p program, connect func(*victim), args ...string) (*victim, func(context.Context) error) {
	t.Helper()
	v := p.start(t, 1, append([]string{"serve", "--accept", "127.0.0.1:0", "--token-file", writeFile(t, "token", []byte(token))}, args...)...)
	connect(v)
	innocent := newPeer(t)
	return v, func(context.Context) error { return innocent.connectWithToken(v.url()) }
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// connectWithToken opens a WebSocket with the token, and closes it.
func (p *peer) connectWithToken(url string) error {
	conn, err := p.dial(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	if strings.HasPrefix(url, "wss:") {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	_, err = openWebSocket(conn, tokenHeader)
	return err
}

// mustConnect demands that a client with the token gets its session at once: long before
// the attacker's connections time out.
func mustConnect(a *attacker) error {
	const atOnce = 5 * time.Second
	start := time.Now()
	if err := a.connectWithToken(a.victim.url()); err != nil {
		return fmt.Errorf("a client with the token: %w", err)
	}
	if took := time.Since(start); took > atOnce {
		return fmt.Errorf("a client with the token got its session in %v", took)
	}
	return nil
}

// silent returns an attack by n connections that send start and no more.
func silent(n int, start string) func(*attacker) error {
	return func(a *attacker) error {
		for range n {
			conn, err := a.dial(a.victim.url())
			if err != nil {
				return err
			}
			if _, err := io.WriteString(conn, start); err != nil {
				return err
			}
		}
		return nil
	}
}

// foreignRequests are handshakes that a web page may cause in a browser on the victim's
// machine, also after it has changed its own address (DNS rebinding).
var foreignRequests = []string{
	strings.Replace(handshake(""), "Host: 127.0.0.1", "Host: evil.example", 1),
	strings.Replace(handshake(""), "Host: 127.0.0.1", "Host: 127.0.0.1.evil.example", 1),
	strings.Replace(handshake(""), "Host: 127.0.0.1", "Host: localhost@evil.example", 1),
	strings.Replace(handshake(""), "Host: 127.0.0.1", "Host: 127.0.0.1, evil.example", 1),
	strings.Replace(handshake(""), "Host: 127.0.0.1", "X-Forwarded-Host: 127.0.0.1", 1),
	strings.Replace(handshake(""), "GET /", "GET http://evil.example/", 1),
	handshake("Host: evil.example\r\n"),
	handshake("Origin: http://evil.example\r\n"),
	handshake("Origin: http://127.0.0.1\r\n"),
	handshake("Origin: null\r\n"),
	handshake("Origin: \r\nOrigin: http://evil.example\r\n"),
}

// foreign sends each of foreignRequests n times, and demands that all are refused.
func foreign(n int) func(*attacker) error {
	return func(a *attacker) error {
		for i := range n * len(foreignRequests) {
			request := foreignRequests[i%len(foreignRequests)]
			conn, err := a.dial(a.victim.url())
			if err != nil {
				return err
			}
			if _, err := io.WriteString(conn, request); err != nil {
				return err
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			conn.Close()
			if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest {
				return fmt.Errorf("%s for the handshake %q", resp.Status, request)
			}
		}
		return nil
	}
}

// slowHeaders sends headers of handshakes, a few bytes at a time, without end.
func slowHeaders(a *attacker) error {
	const conns = 500
	if err := silent(conns, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")(a); err != nil {
		return err
	}
	slow := a.all() // the honest client's isn't among them yet
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 15 {
		<-tick.C
		for _, conn := range slow {
			_, _ = io.WriteString(conn, "X-Slow: 1\r\n") // it may be closed
		}
	}
	return nil
}

// silentLocal is silent with local connections.
func silentLocal(n int) func(*attacker) error {
	return func(a *attacker) error {
		for range n {
			if _, err := a.dial(a.victim.addrs[0]); err != nil {
				return err
			}
		}
		return nil
	}
}

// fewWarnings demands that the log isn't flooded while the connections stay.
func fewWarnings(a *attacker) error {
	const most = 5
	<-time.After(time.Second)
	if n := strings.Count(a.victim.log(), "level=WARN"); n > most {
		return fmt.Errorf("%d lines of warnings, want at most %d", n, most)
	}
	return nil
}
