package ws

import (
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// This depends on how gorilla makes its default handler. If a newer version breaks
// it, gorilla's handler stays and fails connections whose socket is full.
func TestDefaultPingHandlerIsRecognized(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	for side, conn := range map[string]*websocket.Conn{"dialing": dialed, "accepting": accepted} {
		if !isDefaultPingHandler(conn.PingHandler()) {
			t.Errorf("the default Ping handler of the %s side isn't recognized", side)
		}
		conn.SetPingHandler(func(string) error { return nil })
		if isDefaultPingHandler(conn.PingHandler()) {
			t.Errorf("the caller's Ping handler on the %s side is taken for the default", side)
		}
	}
}
