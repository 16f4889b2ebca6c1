//go:build unix

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The tokens in attackedPolicy.
const (
	workerToken = "worker-token"
	aliceToken  = "alice-token"
	bobToken    = "bob-token"

	attackedPolicy = `tokens:
- {name: workers, sha256: dedd02022dba76562722a9463558e4124c82c5e6a09e925e6b11eec9a7042bf7, serve: ['*']}
- {name: alice, sha256: 9c220f200955d76c0a38d308225e0ef10c5f971acaf2f8d1d8f732affa5bd1dc, dial: ['*']}
- {name: bob, sha256: 97dd3707015dcf069cf73022ed7173b1165db6eff24b441cb57fd069a8c4e525, dial: ['*'], max-sessions: 3}
`
)

// attackedRelay is a wstun relay with the Worker w-1.
type attackedRelay struct {
	*process

	addr  string
	audit string // its file
}

// startAttackedRelay starts a relay with attackedPolicy, and a Worker.
func startAttackedRelay(t *testing.T, flags ...string) *attackedRelay {
	t.Helper()
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy")
	if err := os.WriteFile(policy, []byte(attackedPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &attackedRelay{audit: filepath.Join(dir, "audit")}
	r.process = startDaemon(t, "wstun", append([]string{
		"relay", "--accept", "127.0.0.1:0", "--drain-pace", "0", "--policy", policy, "--audit", r.audit, "--hold", "200ms",
	}, flags...)...)
	r.addr = strings.TrimSuffix(r.find(t, `^ws://(.*)$`), "/")
	return r
}

// startWorker starts the Worker w-1.
func (r *attackedRelay) startWorker(t *testing.T) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(workerToken), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, "wstun", "serve", "--name", "w-1", "--token-file", token, "ws://"+r.addr)
	r.find(t, `worker connected.*name=w-1`)
}

// dial sends a handshake with a path as it is, and returns the status and the connection.
func (r *attackedRelay) dial(t *testing.T, path, token string, role relay.Role, headers ...string) (code int, conn net.Conn) {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	_ = conn.SetDeadline(time.Now().Add(outputWait))
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + r.addr, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: " + string(role), "Authorization: Bearer " + token,
	}, headers...)
	_, _ = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%q: %v", path, err)
		return 0, conn
	}
	_ = resp.Body.Close()
	return resp.StatusCode, conn
}

// code is dial without the connection.
func (r *attackedRelay) code(t *testing.T, path, token string, role relay.Role, headers ...string) int {
	t.Helper()
	code, conn := r.dial(t, path, token, role, headers...)
	if conn != nil {
		_ = conn.Close()
	}
	return code
}

// auditRecord has members of a line of an audit.
type auditRecord struct {
	Kind, Role, Name, Subject, Remote, Via, Reason string

	Code    int
	Refused int `json:"streams_refused"`
}

// records returns the lines of the audit, which may be at most most bytes long.
func (r *attackedRelay) records(t *testing.T, most int) (list []auditRecord) {
	t.Helper()
	text, err := os.ReadFile(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var rec auditRecord
		if err := json.Unmarshal([]byte(line), &rec); err != nil || len(line) > most {
			t.Errorf("line of %d bytes in the audit, want at most %d: %.100s: %v", len(line), most, line, err)
		}
		list = append(list, rec)
	}
	return list
}

// last returns the newest record.
func (r *attackedRelay) last(t *testing.T) auditRecord {
	t.Helper()
	const most = 512
	list := r.records(t, most)
	if len(list) == 0 {
		t.Fatal("the audit is empty")
	}
	return list[len(list)-1]
}

// Names that aren't valid are refused before NATS gets them, and each refusal is audited.
func TestRelayAttackNames(t *testing.T) {
	t.Parallel()
	server := "nats://" + startDaemon(t, "natsserver").find(t, `^(127.*)$`)
	spy := natsClient(t, server)
	var mu sync.Mutex
	var subjects []string
	subscribe(t, spy, "wstun.>", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		subjects = append(subjects, m.Subject)
	})
	r := startAttackedRelay(t, "--directory", server, "--id", "r1")
	r.find(t, "directory connected")
	tried := 0
	for _, name := range []string{
		"", "*", ">", "w.1", "w-1.", ".", "..", "../worker/w-1", "w-1/", "w-1/x", "/w-1", "W-1", "-w", "w-", "w_1", "w-1%00", "w-1%0d%0aX:%20y",
		"%2a", "%3e", "%2e%2e", "w%2e1", "w%2d1", "%77-1", "w-1%2f", "w-1%3fx", "w-1;x", "w-1:1", "w-1@x", "\xff", "ẃ", "%",
		strings.Repeat("a", 64), strings.Repeat("%61", 63), strings.Repeat("a", 8000),
	} {
		for role, token := range map[relay.Role]string{relay.Serve: workerToken, relay.Dial: aliceToken} {
			code := r.code(t, relay.Path("", name), token, role)
			if code != http.StatusBadRequest && code != http.StatusNotFound {
				t.Errorf("%.80q as %s: status %d, want 400 or 404", name, role, code)
			}
			tried++
		}
	}
	if code := r.code(t, relay.Path("", "probe"), aliceToken, relay.Dial); code != http.StatusServiceUnavailable { // nobody answers the spy
		t.Errorf("probe: status %d, want 503", code)
	}
	const most = 512
	refusals := 0
	for _, rec := range r.records(t, most) {
		if rec.Kind == "refusal" && rec.Name == "" && rec.Code/100 == 4 {
			refusals++
		}
	}
	if refusals < tried-2 { // net/http refuses the name "%" itself
		t.Errorf("%d refusals in the audit, want %d", refusals, tried-2)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, subject := range subjects {
		if subject != "wstun.w.probe" && subject != "wstun.a.probe" && subject != "wstun.relays" {
			t.Errorf("NATS got a message to %q", subject)
		}
	}
	if len(subjects) == 0 {
		t.Error("NATS got no request for probe")
	}
}

// Headers that anybody can send give no right, and change nothing in the audit, except those
// of a trusted proxy.
func TestRelayAttackHeaders(t *testing.T) {
	t.Parallel()
	const path, forwarded, client = "/v1/worker/w-1", "X-Forwarded-For: 203.0.113.7", "203.0.113.7"
	for _, trusted := range []string{"192.0.2.0/24", "127.0.0.0/8"} {
		t.Run(trusted, func(t *testing.T) {
			t.Parallel()
			r := startAttackedRelay(t, "--trusted-proxy", trusted)
			r.startWorker(t)
			isTrusted := strings.HasPrefix(trusted, "127.")
			for _, test := range []struct {
				path, token string
				role        relay.Role
				headers     []string
				code        int
			}{
				{path, "wrong", relay.Dial, []string{"Wstun-Via: r2"}, 401},
				{path, workerToken, relay.Dial, []string{"Wstun-Via: r2"}, 403},
				{path, aliceToken, relay.Serve, []string{"Wstun-Via: r2"}, 403},
				{"/v1/worker/w-2", "wrong", relay.Dial, []string{"Wstun-Via: r2"}, 401},
				{"/v1/worker/w-2", aliceToken, relay.Dial, []string{"Wstun-Via: r2"}, 421}, // it isn't held
				{"/v1/worker/w-2", aliceToken, relay.Dial, []string{"Wstun-Via:"}, 404},
				{path, aliceToken, relay.Dial, []string{"Wstun-Via: r2", "Wstun-Via: r3"}, 101},
				{path, aliceToken, relay.Dial, []string{"Wstun-Via: r2", "Forwarded: for=203.0.113.7", "X-Real-Ip: 203.0.113.7"}, 101},
			} {
				code, conn := r.dial(t, test.path, test.token, test.role, append(test.headers, forwarded)...)
				if conn == nil {
					continue
				}
				if code != test.code {
					t.Errorf("%v: status %d, want %d", test, code, test.code)
				}
				lines := len(r.records(t, 512))
				_ = conn.Close()
				if code == http.StatusSwitchingProtocols {
					tunneltest.Eventually(t, "the record of the session", func() bool { return len(r.records(t, 512)) > lines })
				}
				rec := r.last(t)
				if got := rec.Remote == client; got != isTrusted || !isTrusted && !strings.HasPrefix(rec.Remote, "127.0.0.1:") {
					t.Errorf("%v: remote is %q", test, rec.Remote)
				}
				if wantVia := isTrusted && test.headers[0] == "Wstun-Via: r2"; (rec.Via == "r2") != wantVia || !wantVia && rec.Via != "" {
					t.Errorf("%v: via is %q", test, rec.Via)
				}
				if code != 101 && (rec.Kind != "refusal" || rec.Code != code) {
					t.Errorf("%v: audited as %+v", test, rec)
				}
			}
		})
	}
}

// The relay doesn't follow the answers of a hostile program on NATS: to addresses that aren't
// in --hop-cidr, to itself, and to things that aren't URLs of relays.
func TestRelayAttackDirectory(t *testing.T) {
	t.Parallel()
	server := "nats://" + startDaemon(t, "natsserver").find(t, `^(127.*)$`)
	outside, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip(err) // not all systems have the whole network 127.0.0.0/8
	}
	defer outside.Close()
	inside := tunneltest.Listen(t)
	web := &http.Server{Handler: http.RedirectHandler("http://"+outside.Addr().String(), http.StatusFound), ReadHeaderTimeout: time.Minute}
	defer web.Close()
	go func() { _ = web.Serve(inside) }()
	r := startAttackedRelay(t, "--directory", server, "--id", "r1", "--hop-cidr", "127.0.0.1")
	r.find(t, "directory connected")
	r.startWorker(t)
	rogue := natsClient(t, server)
	for i, test := range []struct {
		url  string
		code int
	}{
		{"http://" + outside.Addr().String(), 503},
		{"https://" + outside.Addr().String(), 503},
		{"http://[::ffff:7f00:2]:" + port(outside), 503},
		{"http://" + r.addr, 404},                 // itself: it doesn't have the worker
		{"http://" + inside.Addr().String(), 502}, // redirects
		{"http://u:p@" + outside.Addr().String(), 503},
		{"ftp://" + outside.Addr().String(), 503},
		{"http://" + outside.Addr().String() + "/?x", 503},
		{strings.Repeat("x", 1<<16), 503},
		{"", 503},
	} {
		name := fmt.Sprint("bad-", i)
		answer, _ := json.Marshal(map[string]string{"url": test.url})
		subscribe(t, rogue, "wstun.w."+name, func(m *nats.Msg) {
			_ = m.Respond(answer)
			_ = rogue.Publish("wstun.a."+name, answer)
		})
		if code := r.code(t, relay.Path("", name), aliceToken, relay.Dial); code != test.code {
			t.Errorf("%.80s: status %d, want %d", test.url, code, test.code)
		}
		if rec := r.last(t); rec.Kind != "refusal" || rec.Name != name || rec.Subject != "alice" || rec.Code != test.code {
			t.Errorf("%.80s: audited as %+v", test.url, rec)
		}
	}
	_ = outside.(*net.TCPListener).SetDeadline(time.Now())
	if conn, err := outside.Accept(); err == nil { // the kernel's queue has it
		_ = conn.Close()
		t.Error("the relay has connected to an address outside --hop-cidr")
	}
	if code := r.code(t, "/v1/worker/w-1", aliceToken, relay.Dial); code != http.StatusSwitchingProtocols {
		t.Errorf("w-1: status %d", code)
	}
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func natsClient(t *testing.T, server string) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func subscribe(t *testing.T, c *nats.Conn, subject string, handle func(*nats.Msg)) {
	t.Helper()
	if _, err := c.Subscribe(subject, handle); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// The streams that a Worker opens are reset, logged once, and counted in the audit.
func TestRelayAttackStreams(t *testing.T) {
	t.Parallel()
	r := startAttackedRelay(t)
	s, err := tunnel.Dial(t.Context(), "ws://"+r.addr+"/v1/worker/w-1", &tunnel.DialOptions{
		Proxy: "none", Subprotocols: []string{string(relay.Serve)}, Header: http.Header{"Authorization": {"Bearer " + workerToken}},
		Session: tunnel.SessionOptions{Role: wsmux.Server},
	})
	if err != nil {
		t.Fatal(err)
	}
	const streams = 1000
	for range streams {
		stream, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Read(make([]byte, 1)); err == nil {
			t.Error("a stream has data")
		}
		_ = stream.Close()
	}
	_ = s.Close()
	tunneltest.Eventually(t, "the record of the session", func() bool {
		list := r.records(t, 512)
		return len(list) == 1 && list[0].Kind == "session" && list[0].Refused == streams
	})
	checkLines(t, r.process, "a worker opens streams", 1)
	r.find(t, "a worker opens streams")
}
