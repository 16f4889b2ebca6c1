package tunnel

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// startPair starts a session at each end of a relayed WebSocket.
func startPair(t *testing.T, client, server SessionOptions) (*wsmux.Session, *wsmux.Session, *tunneltest.Relay) {
	t.Helper()
	dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
	client.Role, server.Role = wsmux.Client, wsmux.Server
	c, err := client.start(dialed)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.start(accepted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	return c, s, relay
}

func TestSilenceEndsBothEnds(t *testing.T) {
	t.Parallel()
	opts := SessionOptions{PingInterval: 20 * time.Millisecond, PingTimeout: 300 * time.Millisecond}
	client, server, relay := startPair(t, opts, opts)
	relay.Freeze()
	started := time.Now()
	for name, s := range map[string]*wsmux.Session{"client": client, "server": server} {
		await(t, name+"'s end", s.Done())
		if se, ok := errors.AsType[*SilenceError](s.Err()); !ok || se.Timeout != opts.PingTimeout {
			t.Errorf("%s: Err() = %v, want a SilenceError", name, s.Err())
		}
	}
	if took := time.Since(started); took < opts.PingTimeout/2 {
		t.Errorf("noticed after %v, want about %v", took, opts.PingTimeout)
	}
}

func TestIdleSessionStaysUpThroughPings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		client, server time.Duration // PingInterval
	}{
		{"both ping", 20 * time.Millisecond, 20 * time.Millisecond},
		{"one pings", 20 * time.Millisecond, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const timeout = 500 * time.Millisecond
			client, server, _ := startPair(t,
				SessionOptions{PingInterval: test.client, PingTimeout: timeout},
				SessionOptions{PingInterval: test.server, PingTimeout: timeout})
			select {
			case <-client.Done():
				t.Errorf("client ended: %v", client.Err())
			case <-server.Done():
				t.Errorf("server ended: %v", server.Err())
			case <-time.After(3 * timeout):
			}
		})
	}
}

func TestKeepaliveOff(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	pinged := make(chan struct{}, 1)
	accepted.SetPingHandler(func(string) error {
		pinged <- struct{}{}
		return nil
	})
	go func() { _, _, _ = accepted.ReadMessage() }()
	opts := SessionOptions{PingInterval: -1, PingTimeout: -1}
	session, err := opts.start(dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	select {
	case <-pinged:
		t.Error("a Ping came")
	case <-session.Done():
		t.Errorf("session ended: %v", session.Err())
	case <-time.After(200 * time.Millisecond):
	}
}

// TestBusyPeerIsNotSilent has a peer that never sends a Pong, but data.
func TestBusyPeerIsNotSilent(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	accepted.SetPingHandler(func(string) error { return nil })
	opts := SessionOptions{PingInterval: 20 * time.Millisecond, PingTimeout: 300 * time.Millisecond}
	client, err := opts.start(dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := wsmux.NewSession(accepted, wsmux.Server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stream, err := server.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	in, err := client.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, in) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for busy := time.After(4 * opts.PingTimeout); ; {
		select {
		case <-client.Done():
			t.Fatalf("ended while data came: %v", client.Err())
		case <-tick.C:
			_, _ = stream.Write([]byte("x"))
			continue
		case <-busy:
		}
		break
	}
	// Silent at last.
	await(t, "the end of a peer without Pongs", client.Done())
	if _, ok := errors.AsType[*SilenceError](client.Err()); !ok {
		t.Errorf("Err() = %v, want a SilenceError", client.Err())
	}
}

func TestSilenceErrorText(t *testing.T) {
	t.Parallel()
	err := &SilenceError{90 * time.Second}
	if got, want := err.Error(), "nothing received for 1m30s: the peer or the way to it is dead"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestResolution(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ interval, timeout, want time.Duration }{
		{DefaultPingInterval, DefaultPingTimeout, time.Second},
		{time.Minute, 2 * time.Second, 500 * time.Millisecond},
		{100 * time.Millisecond, 0, 100 * time.Millisecond},
		{0, time.Microsecond, time.Millisecond},
	} {
		l := liveness{interval: test.interval, timeout: test.timeout}
		if got := l.resolution(); got != test.want {
			t.Errorf("resolution with %v, %v = %v, want %v", test.interval, test.timeout, got, test.want)
		}
	}
}

func TestSessionNotStarted(t *testing.T) {
	t.Parallel()
	dialed, _ := tunneltest.WebSockets(t)
	opts := SessionOptions{Window: 1}
	if _, err := opts.start(dialed); err == nil {
		t.Fatal("start with a window of 1 byte = nil, want an error")
	}
	if err := dialed.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err == nil {
		t.Error("the WebSocket is still open")
	}
}
