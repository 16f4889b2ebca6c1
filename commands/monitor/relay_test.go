package monitor

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestRelaySessions(t *testing.T) {
	t.Parallel()
	m := New(Info{Command: "relay"})
	m.Accepting = true
	m.Relay = relay.New(relay.Options{Hold: time.Second})
	t.Cleanup(m.Relay.Close)
	srv := httptest.NewServer(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: m.Relay.Upgrade}))
	t.Cleanup(srv.Close)
	dial := func(role relay.Role, yamux wsmux.Role) *wsmux.Session {
		s, err := tunnel.Dial(tunneltest.Soon(t), "ws"+strings.TrimPrefix(srv.URL, "http")+relay.Path("", "w-1"),
			&tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(role)}, Session: tunnel.SessionOptions{Role: yamux}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	worker := dial(relay.Serve, wsmux.Server)
	engineer := dial(relay.Dial, wsmux.Client) // is held until the worker has arrived
	stream, err := engineer.Open(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	far, err := worker.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := stream.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	m.SetBound()
	tunneltest.Eventually(t, "the relay counts the bytes that it has forwarded", func() bool { return m.Totals().Bytes.In == 5 })
	st := m.Status()
	if len(st.Sessions) != 2 || !st.Ready {
		t.Fatalf("the status is %+v", st)
	}
	w, e := st.Sessions[0], st.Sessions[1]
	if w.Role != "serve" || w.Name != "w-1" || w.State != "up" || w.Streams != 1 || w.Bytes.Out != 5 || w.Bytes.In != 0 {
		t.Errorf("the worker's session is %+v", w)
	}
	if e.Role != "dial" || e.Name != "w-1" || e.Streams != 1 || e.Bytes.In != 5 || e.Bytes.Out != 0 {
		t.Errorf("the engineer's session is %+v", e)
	}
	if totals := m.Totals(); totals.Sessions != 2 || totals.AllSessions != 2 || totals.Streams != 1 || totals.Bytes.In != 5 || totals.Relay.Now.Workers != 1 {
		t.Errorf("the totals are %+v", totals)
	}
}

func TestRelayEnded(t *testing.T) {
	t.Parallel()
	m := New(Info{Command: "relay"})
	for _, kind := range []string{"stream", "refusal"} {
		m.RelayEnded(&relay.Record{Kind: kind})
	}
	for _, code := range []int{relay.CloseReplaced, relay.CloseRevoked, websocket.CloseServiceRestart, websocket.CloseGoingAway, websocket.ClosePolicyViolation} {
		err := &websocket.CloseError{Code: code}
		m.RelayEnded(&relay.Record{Kind: "session", Role: relay.Dial, Name: "w-1", Subject: "alice", Up: 1, Down: 2, Err: err, Reason: err.Error()})
	}
	st := m.Status()
	want := []struct {
		cause Reason
		code  int
	}{{Replaced, 0}, {Local, 0}, {Local, 0}, {Closed, 1001}, {CloseCode, 1008}}
	if len(st.Ended) != len(want) {
		t.Fatalf("ended are %+v", st.Ended)
	}
	for i, s := range st.Ended {
		if s.Cause != want[i].cause.String() || s.CloseCode != want[i].code || s.Name != "w-1" || s.Subject != "alice" || s.Role != "dial" || s.Bytes != (Bytes{In: 1, Out: 2}) {
			t.Errorf("ended session %d is %+v, want %+v", i, s, want[i])
		}
	}
	if totals := m.Totals(); totals.Ends[Local] != 2 || totals.LastClose != 1008 {
		t.Errorf("the totals are %+v", totals)
	}
}
