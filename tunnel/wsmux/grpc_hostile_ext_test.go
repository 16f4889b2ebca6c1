package wsmux_test

import (
	"bytes"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// The server ends the session of a peer that leaves many streams half-open after the
// server has closed them, because hashicorp/yamux still buffers data for them.
func TestServeGRPCBoundsHalfOpenStreams(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	tun := newTunnel(t, dialed, accepted)
	mustCall(t, tun.client)
	const most = 5000
	for range most {
		stream, err := tun.clientSession.OpenStream()
		if err == nil {
			_, err = stream.Write(bytes.Repeat([]byte("not HTTP/2"), 10))
		}
		if err != nil {
			waitClosed(t, tun.serverSession)
			return
		}
	}
	t.Errorf("the session is still up with %d half-open streams", most)
}
