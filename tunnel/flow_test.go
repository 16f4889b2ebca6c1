package tunnel

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// stalledEnd is a client's end on a stalled link, which can't be ended.
type stalledEnd struct {
	net.Conn
	moves chan struct{}
}

func (c stalledEnd) CloseWrite() error {
	<-c.moves
	return nil
}

// The end of the last call is noticed in the goroutine that receives for a whole
// session, which mustn't wait for the farewell of one connection.
func TestFarewellHoldsUpNobody(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	moves := make(chan struct{})
	defer close(moves)
	fl := &flow{near: stalledEnd{near, moves}, far: far, calls: newCalls()}
	fromClient := newFrames(fl.calls, true)
	client := bytes.NewBufferString(h2Preface)
	framer := http2.NewFramer(client, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true})
	fromClient.follow(client.Bytes())
	fl.calls.whenIdle(fl.beginFarewell)
	client.Reset()
	_ = framer.WriteRSTStream(1, http2.ErrCodeCancel)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		fromClient.follow(client.Bytes())
	}()
	if _, ok := tunneltest.Within(10*time.Second, followed); !ok {
		t.Error("who forwards the last call's end waits for the farewell")
	}
}
