package tunnel

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
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

func TestIdleSessionStaysUpThroughPings(t *testing.T) { //nolint:paralleltest // bubbles
	for _, test := range []struct {
		name           string
		client, server time.Duration // PingInterval
	}{
		{"both ping", 0, 0},
		{"one pings", 0, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			tunneltest.KeepTimersApart(t)
			synctest.Test(t, func(t *testing.T) {
				dialed, accepted := tunneltest.PipedWebSockets(t)
				client := begin(t, dialed, SessionOptions{Role: wsmux.Client, PingInterval: test.client})
				server := begin(t, accepted, SessionOptions{Role: wsmux.Server, PingInterval: test.server})
				select {
				case <-client.Done():
					t.Errorf("client ended: %v", client.Err())
				case <-server.Done():
					t.Errorf("server ended: %v", server.Err())
				case <-time.After(time.Hour):
				}
				_, _ = client.Close(), server.Close()
			})
		})
	}
}

// begin starts a session at one end of a pipe, in a bubble.
func begin(t *testing.T, ws *websocket.Conn, opts SessionOptions) *wsmux.Session {
	t.Helper()
	s, err := opts.start(ws)
	if err != nil {
		t.Fatal(err)
	}
	return s
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
func TestBusyPeerIsNotSilent(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		dialed, accepted := tunneltest.PipedWebSockets(t)
		accepted.SetPingHandler(func(string) error { return nil })
		client := begin(t, dialed, SessionOptions{Role: wsmux.Client})
		server := begin(t, accepted, SessionOptions{Role: wsmux.Server, PingInterval: -1, PingTimeout: -1})
		stream, err := server.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in, err := client.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, in) }()
		for range 60 {
			<-time.After(DefaultPingTimeout - time.Second)
			if err := client.Err(); err != nil {
				t.Fatalf("ended while data came: %v", err)
			}
			if _, err := stream.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		// Silent at last.
		began := time.Now()
		<-client.Done()
		if _, ok := errors.AsType[*SilenceError](client.Err()); !ok {
			t.Errorf("Err() = %v, want a SilenceError", client.Err())
		}
		if took := time.Since(began); took < DefaultPingTimeout || took > DefaultPingTimeout+2*time.Second {
			t.Errorf("silence is noticed after %v, want %v", took, DefaultPingTimeout)
		}
		_, _ = client.Close(), server.Close()
	})
}

// TestSilenceIsToldToThePeer: one that is alive after all hears why it was left.
func TestSilenceIsToldToThePeer(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	accepted.SetPingHandler(func(string) error { return nil })
	opts := SessionOptions{PingInterval: 20 * time.Millisecond, PingTimeout: 100 * time.Millisecond}
	session, err := opts.start(dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	_ = accepted.SetReadDeadline(time.Now().Add(patience))
	_, _, err = accepted.ReadMessage()
	ce, ok := errors.AsType[*websocket.CloseError](err)
	if !ok || ce.Code != websocket.CloseInternalServerErr || ce.Text != session.Err().Error() {
		t.Errorf("the peer reads %v, want 1011 with the reason", err)
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
		{DefaultPingInterval, DefaultPingTimeout, maxResolution},
		{time.Minute, 2 * time.Second, 500 * time.Millisecond},
		{100 * time.Millisecond, 0, 100 * time.Millisecond},
		{0, time.Microsecond, time.Millisecond},
	} {
		l := liveness{interval: test.interval, timeout: test.timeout}
		if got := l.resolution(); got != test.want {
			t.Errorf("resolution with %v, %v = %v, want %v", test.interval, test.timeout, got, test.want)
		}
		if late := 2 * l.resolution(); late >= 2*time.Second {
			t.Errorf("with %v, %v silence is noticed up to %v late, want less than 2s", test.interval, test.timeout, late)
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
