package wsmux_test

import (
	"bytes"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A peer that leaves streams half-open which the server has closed is cut:
// hashicorp/yamux goes on buffering for them.
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
	t.Errorf("a peer may leave %d streams half-open", most)
}
