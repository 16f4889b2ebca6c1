package check

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// serveRelay starts a relay with the Worker w-1, and returns its URL.
func serveRelay(t *testing.T) string {
	t.Helper()
	r := relay.New(relay.Options{ID: "r1", Hold: -1})
	t.Cleanup(r.Close)
	srv := httptest.NewServer(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: r.Upgrade}))
	t.Cleanup(srv.Close)
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	opts := &tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(relay.Serve)}, Session: tunnel.SessionOptions{Role: wsmux.Server}}
	s, err := tunnel.Dial(tunneltest.Soon(t), url+relay.Path("", "w-1"), opts)
	if err != nil {
		t.Fatal(err)
	}
	hub := backend.NewDemo(limit.New(nil))
	sessions := &tunnel.Sessions{}
	hub.ServeStreams(&tunnel.Session{Session: s})
	t.Cleanup(func() {
		_ = s.Close()
		_ = hub.Shutdown(tunneltest.Ended(), sessions)
	})
	for r.Totals().Now.Names == 0 {
		if t.Context().Err() != nil {
			t.Fatal("no worker")
		}
		<-time.After(time.Millisecond)
	}
	return url
}

func relayOptions(name string) *Options {
	return &Options{Worker: name, Dial: tunnel.DialOptions{ConnectTimeout: longTimeout, Subprotocols: []string{string(relay.Dial)}}}
}

func TestRelay(t *testing.T) {
	t.Parallel()
	url := serveRelay(t)
	results := run(t, url+relay.Path("", "w-1"), relayOptions("w-1"))
	want := []Layer{TCP, WebSocket, Relay, Ping, Yamux, HTTP2, Health, Reflection}
	if got := layers(results); !slices.Equal(got, want) {
		t.Fatalf("probed %v, want %v: %+v", got, want, results)
	}
	if r := results[2]; r.Err != nil || r.Detail != "w-1 is connected to relay r1" {
		t.Errorf("the relay's layer: %+v", r)
	}
	wantFailure(t, run(t, url+relay.Path("", "w-2"), relayOptions("w-2")), []Layer{TCP, Relay}, "404 Not Found", "w-2 isn't connected")
	wantFailure(t, run(t, url+"/x"+relay.Path("", "w-2"), relayOptions("w-2")), []Layer{TCP, WebSocket}, "404 Not Found", "nothing here")
}

// A server without the subprotocol isn't a relay.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{}))
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http") + relay.Path("", "w-1")
	wantFailure(t, run(t, url, relayOptions("w-1")), []Layer{TCP, WebSocket, Relay}, "no relay there")
}
