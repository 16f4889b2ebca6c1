package wsmux

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// patience is how long a test waits for an event.
const patience = 10 * time.Second

// startSession starts a session that ends with the test.
func startSession(t *testing.T, conn *websocket.Conn, side Side, opts *Options) *Session {
	t.Helper()
	s, err := NewSession(conn, side, map[Side]Role{Dialing: Client, Accepting: Server}[side], opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSilenceEndsBothEnds(t *testing.T) {
	t.Parallel()
	opts := &Options{PingInterval: 20 * time.Millisecond, PingTimeout: 300 * time.Millisecond}
	dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
	client, server := startSession(t, dialed, Dialing, opts), startSession(t, accepted, Accepting, opts)
	relay.Freeze()
	started := time.Now()
	for name, s := range map[string]*Session{"client": client, "server": server} {
		if _, ok := tunneltest.Within(patience, s.Done()); !ok {
			t.Fatalf("%s doesn't end", name)
		}
		if se, ok := errors.AsType[*SilenceError](s.Err()); !ok || se.Timeout != opts.PingTimeout {
			t.Errorf("%s: Err() = %v, want a SilenceError", name, s.Err())
		}
	}
	if took := time.Since(started); took < opts.PingTimeout/2 {
		t.Errorf("silence detected after %v, want about %v", took, opts.PingTimeout)
	}
}

func TestIdleSessionStaysUpThroughPings(t *testing.T) { //nolint:paralleltest // bubbles
	for _, test := range []struct {
		name           string
		client, server time.Duration // PingInterval
	}{
		{"both send Pings", 0, 0},
		{"one sends Pings", 0, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			tunneltest.KeepTimersApart(t)
			synctest.Test(t, func(t *testing.T) {
				dialed, accepted := tunneltest.PipedWebSockets(t)
				client := startSession(t, dialed, Dialing, &Options{PingInterval: test.client})
				server := startSession(t, accepted, Accepting, &Options{PingInterval: test.server})
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

func TestKeepaliveOff(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	pinged := make(chan struct{}, 1)
	accepted.SetPingHandler(func(string) error {
		pinged <- struct{}{}
		return nil
	})
	go func() { _, _, _ = accepted.ReadMessage() }()
	session := startSession(t, dialed, Dialing, &Options{PingInterval: -1, PingTimeout: -1})
	select {
	case <-pinged:
		t.Error("a Ping arrived")
	case <-session.Done():
		t.Errorf("session ended: %v", session.Err())
	case <-time.After(200 * time.Millisecond):
	}
}

// Data counts as a sign of life, even if the peer never sends a Pong.
func TestBusyPeerIsNotSilent(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		dialed, accepted := tunneltest.PipedWebSockets(t)
		accepted.SetPingHandler(func(string) error { return nil })
		client := startSession(t, dialed, Dialing, nil)
		server := startSession(t, accepted, Accepting, &Options{PingInterval: -1, PingTimeout: -1})
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
				t.Fatalf("ended while data arrived: %v", err)
			}
			if _, err := stream.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now() // of the silence
		<-client.Done()
		if _, ok := errors.AsType[*SilenceError](client.Err()); !ok {
			t.Errorf("Err() = %v, want a SilenceError", client.Err())
		}
		if took := time.Since(began); took < DefaultPingTimeout || took > DefaultPingTimeout+2*time.Second {
			t.Errorf("silence detected after %v, want %v", took, DefaultPingTimeout)
		}
		_, _ = client.Close(), server.Close()
	})
}

// The Close frame contains the reason, in case the peer is alive after all.
func TestSilenceIsReportedToThePeer(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	accepted.SetPingHandler(func(string) error { return nil })
	session := startSession(t, dialed, Dialing, &Options{PingInterval: 20 * time.Millisecond, PingTimeout: 100 * time.Millisecond})
	_ = accepted.SetReadDeadline(time.Now().Add(patience))
	_, _, err := accepted.ReadMessage()
	ce, ok := errors.AsType[*websocket.CloseError](err)
	if !ok || ce.Code != websocket.CloseInternalServerErr || ce.Text != session.Err().Error() {
		t.Errorf("peer's ReadMessage: %v, want status code 1011 with the reason", err)
	}
}

func TestSilenceErrorText(t *testing.T) {
	t.Parallel()
	err := &SilenceError{90 * time.Second}
	if got, want := err.Error(), "nothing received for 1m30s: the peer or the link is dead"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestTickInterval(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ interval, timeout, want time.Duration }{
		{DefaultPingInterval, DefaultPingTimeout, maxTickInterval},
		{time.Minute, 2 * time.Second, 500 * time.Millisecond},
		{100 * time.Millisecond, 0, 100 * time.Millisecond},
		{0, time.Microsecond, time.Millisecond},
	} {
		k := keepalive{interval: test.interval, timeout: test.timeout}
		if got := k.tickInterval(); got != test.want {
			t.Errorf("tickInterval with %v, %v = %v, want %v", test.interval, test.timeout, got, test.want)
		}
		if late := 2 * k.tickInterval(); late >= 2*time.Second {
			t.Errorf("with %v, %v silence is detected up to %v late, want less than 2s", test.interval, test.timeout, late)
		}
	}
}
