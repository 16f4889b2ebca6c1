package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/trace"
)

// busy returns the Monitor of a process with sessions, calls and losses.
func busy() *monitor.Monitor {
	m := monitor.New(monitor.Info{Command: "serve", Version: "1.2.3"})
	m.SetUsable("ws://hub.example/")
	m.Calls = func() []rpc.Call { return []rpc.Call{{Method: "/a.B/Watch", Session: 2, Begun: time.Now()}} }
	m.Ended = &rpc.Counts{}
	for _, code := range []codes.Code{codes.OK, codes.OK, codes.NotFound, rpc.NoStatus, rpc.NoStatus} {
		m.Ended.Add(code)
	}
	m.Lost = func() trace.Losses { return trace.Losses{Events: 3, Bytes: 4} }
	m.Upstreams = func() []monitor.Upstream {
		return []monitor.Upstream{{Address: "127.0.0.1:1", Up: true}, {Address: "127.0.0.1:2", Reason: "connection refused"}}
	}
	m.OwnExpires = func() time.Time { return time.Unix(2_000_000_000, 0) }
	for id := range uint64(3) {
		m.Up(&monitor.Link{ID: id, Remote: "192.0.2.1:5", Since: time.Now(), Stats: func() monitor.Stats {
			return monitor.Stats{
				Bytes: monitor.Bytes{In: 10, Out: 20}, Streams: 1, Opened: 2, Accepted: 3,
				RoundTrip: time.Duration(id+1) * time.Millisecond, PeerExpires: time.Unix(1_900_000_000, 0),
			}
		}})
	}
	m.Down(0, monitor.CloseCode, "close 1013", 1013)
	m.Retrying(time.Second, monitor.Name, "no such host")
	return m
}

// answer returns the answer to a request.
func answer(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := newCollector(busy())
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	text := answer((&Admin{Monitor: busy()}).Handler(false), http.MethodGet, "/metrics").Body.String()
	for _, want := range []string{
		"wstun_sessions 2", "wstun_sessions_total 3", "wstun_last_close_code 1013", "wstun_streams 2", "wstun_ready 1",
		`wstun_session_ends_total{reason="close_code"} 1`, `wstun_reconnects_total{reason="name"} 1`,
		`wstun_streams_total{opened_by="peer"} 9`, "wstun_received_bytes_total 30", "wstun_sent_bytes_total 60",
		"wstun_rpcs_open 1", `wstun_rpcs_total{code="NOT_FOUND"} 1`, `wstun_rpcs_total{code="NO_STATUS"} 2`,
		`wstun_round_trip_seconds{of="least"} 0.002`, `wstun_round_trip_seconds{of="most"} 0.003`,
		`wstun_certificate_expiry_timestamp_seconds{of="own"} 2e+09`, `wstun_certificate_expiry_timestamp_seconds{of="peer"} 1.9e+09`,
		`wstun_upstream_up{upstream="2"} 0`, `wstun_trace_lost_total{of="events"} 3`, `wstun_build_info{command="serve",version="1.2.3"} 1`,
		"go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// A relay has metrics of its own, whose labels don't grow with the names of Workers or the
// status of refusals.
func TestRelayMetrics(t *testing.T) {
	t.Parallel()
	m := monitor.New(monitor.Info{Command: "relay", Version: "1.2.3"})
	refusal := 0
	m.Relay = relay.New(relay.Options{Hold: -1, Authorize: func(*http.Request, relay.Role, string) (relay.Grant, error) {
		refusal++
		return relay.Grant{}, &tunnel.RefusalError{Code: 400 + refusal, Err: errors.New("no")}
	}})
	for range 99 {
		r := httptest.NewRequest(http.MethodGet, relay.Path("", "w-1"), nil)
		r.Header.Set("Sec-WebSocket-Protocol", string(relay.Dial))
		if _, err := m.Relay.Upgrade(r); err == nil {
			t.Fatal("not refused")
		}
	}
	if problems, err := testutil.CollectAndLint(newCollector(m)); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	text := answer((&Admin{Monitor: m}).Handler(false), http.MethodGet, "/metrics").Body.String()
	for _, want := range []string{
		"wstun_relay_workers 0", `wstun_relay_sessions{role="serve"} 0`, `wstun_relay_sessions_total{role="dial"} 0`,
		"wstun_relay_holds 0", "wstun_relay_takeovers_total 0", "wstun_relay_hops_total 0",
		`wstun_relay_refusals_total{reason="forbidden"} 1`, `wstun_relay_refusals_total{reason="absent"} 1`, `wstun_relay_refusals_total{reason="other"} 93`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if got := strings.Count(text, "\nwstun_relay_refusals_total{"); got != len(refusalReasons)+1 {
		t.Errorf("%d series of refusals", got)
	}
}

// The number of series doesn't depend on peers: their methods, addresses, names and reasons.
func TestMetricsCardinality(t *testing.T) {
	t.Parallel()
	series := func(n int) int {
		m := busy()
		m.Calls = func() []rpc.Call {
			calls := make([]rpc.Call, n)
			for i := range calls {
				calls[i] = rpc.Call{Method: fmt.Sprintf("/s%d/m", i), Peer: fmt.Sprint(i)}
			}
			return calls
		}
		counts := &rpc.Counts{}
		for code := range codes.Code(17) {
			counts.Add(code)
		}
		counts.Add(rpc.NoStatus)
		counts.Add(99)
		m.Ended = counts
		for i := range n {
			id := uint64(100 + i)
			m.Up(&monitor.Link{ID: id, Remote: fmt.Sprintf("host-%d.example", i), Stats: func() monitor.Stats { return monitor.Stats{} }})
			if i%2 == 0 {
				counts.Add(codes.Code(i))
				m.Down(id, monitor.CloseCode, fmt.Sprintf("reason %d", i), 1000+i)
			}
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(newCollector(m))
		count, err := testutil.GatherAndCount(registry)
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	if few, many := series(1), series(10_000); few != many {
		t.Errorf("%d series with 1 method, address and name, %d with 10,000", few, many)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	m := monitor.New(monitor.Info{})
	h := (&Admin{Monitor: m}).Handler(false)
	check := func(path string, code int, want string) {
		t.Helper()
		if w := answer(h, http.MethodGet, path); w.Code != code || w.Body.String() != want {
			t.Errorf("%s: %d %q, want %d %q", path, w.Code, w.Body, code, want)
		}
	}
	check("/readyz", 503, "no session yet\n")
	m.Retrying(time.Second, monitor.Name, "lookup hub.internal: no such host")
	check("/readyz", 503, "no session\n") // the reason has names that not everyone may know
	m.SetUsable("ws://hub.example/")
	m.Up(&monitor.Link{ID: 1, Stats: func() monitor.Stats { return monitor.Stats{} }})
	check("/readyz", 200, "ok\n")
	m.Upstreams = func() []monitor.Upstream {
		return []monitor.Upstream{{Address: "a:1", Reason: "refused"}, {Address: "b:1", Up: true}}
	}
	check("/readyz", 200, "ok\n")
	check("/readyz?verbose", 200, "ok\nsessions: 1\nopen calls: 0\nupstream a:1: down: refused\nupstream b:1: up\n")
	m.SetDraining()
	check("/readyz", 503, "draining\n")
	check("/healthz", 200, "ok\n")
}

// Secrets aren't in any answer.
func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	secrets := &escape.Secrets{}
	secrets.Add("s3cr3t-token")
	m := busy()
	m.Upstreams = func() []monitor.Upstream { return []monitor.Upstream{{Address: "a:1", Reason: "refused s3cr3t-token"}} }
	m.Retrying(time.Second, monitor.Refused, "403: s3cr3t-token")
	h := (&Admin{Monitor: m, Secrets: secrets}).Handler(true)
	for _, path := range []string{"/api/v1/status", "/api/v1/sessions", "/readyz?verbose", "/metrics"} {
		if text := answer(h, http.MethodGet, path).Body.String(); strings.Contains(text, "s3cr3t") {
			t.Errorf("%s: %s", path, text)
		}
	}
	if w := answer(h, http.MethodGet, "/debug/pprof/cmdline"); w.Code != http.StatusForbidden {
		t.Errorf("cmdline: %d", w.Code)
	}
	if w := answer((&Admin{Monitor: m}).Handler(false), http.MethodGet, "/debug/pprof/"); w.Code != http.StatusNotFound {
		t.Errorf("pprof without a token: %d", w.Code)
	}
}

// serve answers at a socket, and returns its client.
func serve(t *testing.T, a *Admin) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := web.NewServer(t.Context(), (&web.Guard{AnyHost: true}).Handler(a.Handler(true)), slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() {
		_ = server.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return newSocketClient(path)
}

func TestClient(t *testing.T) {
	t.Parallel()
	reconnected := 0
	attached := make(chan tracing.AttachOptions, 1)
	a := &Admin{Monitor: busy(), Reconnect: func() { reconnected++ }}
	a.Attach = func(ctx context.Context, w io.Writer, o tracing.AttachOptions) error {
		if len(o.Filter) > 0 && o.Filter[0] == "bad" {
			return errors.New("--filter bad: want TERMS")
		}
		attached <- o
		_, _ = io.WriteString(w, "{}\n")
		<-ctx.Done()
		return ctx.Err()
	}
	c := serve(t, a)
	st, err := c.Status(t.Context())
	if err != nil || st.Command != "serve" || len(st.Sessions) != 2 || st.RPCs["OK"] != 2 || st.Open != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := c.Reconnect(t.Context()); err != nil || reconnected != 1 {
		t.Errorf("%v, reconnected %d times", err, reconnected)
	}
	ctx, cancel := context.WithCancel(t.Context())
	events, open, err := c.Events(ctx, tracing.AttachOptions{Filter: []string{"Hub/* status!=OK"}, Redact: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(events).ReadString('\n'); line != "{}\n" || open != 1 {
		t.Errorf("%q, %v; %d calls open", line, err, open)
	}
	o := <-attached
	if o.Messages || len(o.Filter) != 1 || o.Filter[0] != "Hub/* status!=OK" || len(o.Redact) != 2 {
		t.Errorf("%+v", o)
	}
	cancel()
	_ = events.Close()
	if _, _, err := c.Events(t.Context(), tracing.AttachOptions{Filter: []string{"bad"}}); err == nil || !strings.Contains(err.Error(), "400 Bad Request: --filter bad: want TERMS") {
		t.Errorf("a bad filter: %v", err)
	}
}

// There are as many streams at a time as the limit says.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	a := &Admin{Monitor: busy(), Attach: func(ctx context.Context, w io.Writer, _ tracing.AttachOptions) error {
		_, _ = io.WriteString(w, "{}\n")
		<-ctx.Done()
		return nil
	}}
	c := serve(t, a)
	for range maxStreams {
		events, _, err := c.Events(t.Context(), tracing.AttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer events.Close()
	}
	if _, _, err := c.Events(t.Context(), tracing.AttachOptions{}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("one more: %v, want 503", err)
	}
}
