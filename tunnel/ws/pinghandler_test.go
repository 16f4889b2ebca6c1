package ws

import (
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A newer gorilla may end this, and then full sockets cost connections again.
func TestDefaultPingHandlerIsRecognized(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	for side, conn := range map[string]*websocket.Conn{"dialing": dialed, "accepting": accepted} {
		if !isDefaultPingHandler(conn.PingHandler()) {
			t.Errorf("the default Ping handler of the %s side isn't recognized", side)
		}
		conn.SetPingHandler(func(string) error { return nil })
		if isDefaultPingHandler(conn.PingHandler()) {
			t.Errorf("a Ping handler of the caller's on the %s side is taken for the default", side)
		}
	}
}
