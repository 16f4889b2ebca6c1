// Package tunneltest has what the tests of a tunnel need: connected pairs and
// relays that break on purpose. Everything stays on loopback.
//
//	dialed, accepted := tunneltest.WebSockets(t)
//	relay := tunneltest.NewRelay(t, server.Addr().String())
//	relay.Freeze() // the link is up, and nothing passes
package tunneltest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// BufferSize is the WebSocket buffer size of the pairs, in bytes.
const BufferSize = 64*1024 + 64

// WebSockets returns the two ends of a WebSocket over loopback TCP: the
// dialing side and the accepting side. Both are closed when t ends.
func WebSockets(t testing.TB) (dialed, accepted *websocket.Conn) {
	t.Helper()
	conns := make(chan *websocket.Conn, 1)
	upgrader := websocket.Upgrader{ReadBufferSize: BufferSize, WriteBufferSize: BufferSize}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
		}
		conns <- conn
	}))
	defer srv.Close() // the upgraded connection is no longer the server's
	dialer := websocket.Dialer{ReadBufferSize: BufferSize, WriteBufferSize: BufferSize}
	dialed, resp, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	resp.Body.Close()
	accepted = <-conns
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	return dialed, accepted
}
