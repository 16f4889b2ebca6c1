package wsmux_test

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A Hub may set its read deadline and its Pong handler after ServeGRPC. Pongs then
// extend the deadline, and silence ends the session.
func TestServeGRPCHonorsLaterDeadlinesAndHandlers(t *testing.T) {
	t.Parallel()
	const wait = 5 * time.Second // a busy machine may stop the test for seconds
	dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
	tun := newTunnel(t, accepted, dialed)
	ponged := make(chan struct{}, 100)
	dialed.SetPongHandler(func(string) error {
		ponged <- struct{}{}
		return dialed.SetReadDeadline(time.Now().Add(wait))
	})
	_ = dialed.SetReadDeadline(time.Now().Add(wait))
	tick := time.NewTicker(wait / 10)
	defer tick.Stop()
	for range 15 { // longer than wait
		<-tick.C
		if err := dialed.WriteControl(websocket.PingMessage, nil, time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		await(t, "a Pong", ponged)
		mustCall(t, tun.client)
	}
	relay.Freeze()
	waitClosed(t, tun.serverSession)
	relay.Cut()
	waitClosed(t, tun.clientSession)
	wantUnavailable(t, tun.client, "session ended")
}

// DialGRPC keeps the handler and the read deadline that were set before.
func TestDialGRPCHonorsEarlierDeadlinesAndHandlers(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	pinged := make(chan string, 1)
	dialed.SetPingHandler(func(data string) error {
		pinged <- data
		return nil
	})
	_ = dialed.SetReadDeadline(time.Now().Add(5 * time.Second))
	cc, session, err := wsmux.DialGRPC(dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	defer cc.Close()
	if err := accepted.WriteControl(websocket.PingMessage, []byte("1"), time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if got := await(t, "the Ping handler", pinged); got != "1" {
		t.Errorf("the Ping handler is called with %q, want 1", got)
	}
	waitClosed(t, session)
}
