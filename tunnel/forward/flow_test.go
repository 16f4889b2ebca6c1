package forward

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// stalledEndpoint is an endpoint on a stalled link: CloseWrite blocks.
type stalledEndpoint struct {
	endpoint
	unblock chan struct{}
}

func (e stalledEndpoint) CloseWrite() error {
	<-e.unblock
	return nil
}

// The goroutine that forwards the end of the last call may receive for a whole session,
// so startClosing must not block.
func TestStartClosingDoesNotBlock(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	unblock := make(chan struct{})
	defer close(unblock)
	fl := newFlow(stalledEndpoint{newSocketEndpoint(client), unblock}, nil, &rpc.Counts{})
	fl.setServer(newSocketEndpoint(server), nil)
	fl.calls = newHTTP2Calls()
	fl.calls.scan(&fl.calls.requests, rawFrame(http2.FrameHeaders, endHeaders, 1, 10))
	closing := make(chan struct{})
	fl.calls.whenIdle(func() {
		close(closing)
		fl.startClosing()
	})
	scanned := make(chan struct{})
	go func() {
		defer close(scanned)
		fl.calls.scan(&fl.calls.requests, rawFrame(http2.FrameRSTStream, 0, 1, 4))
	}()
	tunneltest.Await(t, "the closing", closing)
	if _, ok := tunneltest.Within(10*time.Second, scanned); !ok {
		t.Error("scan blocks until the connection is closed")
	}
}
