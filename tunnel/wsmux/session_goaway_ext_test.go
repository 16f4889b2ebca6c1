package wsmux_test

import (
	"bytes"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Shutdown sends GoAway before the Close frame, even without streams.
func TestSessionShutdownSendsGoAway(t *testing.T) {
	t.Parallel()
	peer, ws := tunneltest.WebSockets(t)
	session, err := wsmux.NewSession(ws, wsmux.Accepting, wsmux.Server, &wsmux.Options{PingInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- session.Shutdown(t.Context()) }()
	var got []byte
	for {
		_, p, err := peer.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				t.Errorf("peer's ReadMessage: %v, want status code 1001", err)
			}
			break
		}
		got = append(got, p...)
	}
	if want := []byte{0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("before the Close frame, the peer received % x, want GoAway: % x", got, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
