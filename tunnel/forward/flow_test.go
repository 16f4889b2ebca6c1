package forward

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// stalledEnd is the client's end on a stalled link: CloseWrite blocks.
type stalledEnd struct {
	end
	moves chan struct{}
}

func (e stalledEnd) CloseWrite() error {
	<-e.moves
	return nil
}

// The goroutine that forwards the end of the last call receives for a whole session.
// It mustn't wait until one connection is closed.
func TestClosingBlocksNoForwarding(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	moves := make(chan struct{})
	defer close(moves)
	fl := newFlow(stalledEnd{newSocketEnd(client), moves}, nil)
	fl.setServer(newSocketEnd(server))
	fl.calls = greeted()
	fl.calls.scan(fl.calls.requests, rawFrame(http2.FrameHeaders, endHeaders, 1, 10))
	closing := make(chan struct{})
	fl.calls.whenIdle(func() {
		close(closing)
		fl.startClosing()
	})
	scanned := make(chan struct{})
	go func() {
		defer close(scanned)
		fl.calls.scan(fl.calls.requests, rawFrame(http2.FrameRSTStream, 0, 1, 4))
	}()
	tunneltest.Await(t, "the closing", closing)
	if _, ok := tunneltest.Within(10*time.Second, scanned); !ok {
		t.Error("forwarding the end of the last call waits for the connection to be closed")
	}
}
