//go:build unix

package ws

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// TryWriteFrame sends the queue and a frame, unless another write is running.
func TestTryWriteFrame(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	near, far := Take(dialed, Dialing, nil), Take(accepted, Accepting, nil)
	far.queue.flushing = true // by a goroutine that never runs
	far.QueueFrame([]byte("queued "))
	far.writing <- struct{}{}
	if far.TryWriteFrame(nil, []byte("x")) {
		t.Error("TryWriteFrame during a write = true, want false")
	}
	<-far.writing
	if !far.TryWriteFrame([]byte("header "), []byte("body")) {
		t.Error("TryWriteFrame = false, want true")
	}
	tunneltest.Expect(t, near, "queued header body")
	if near.TryWriteFrame(nil, []byte("x")) {
		t.Error("TryWriteFrame on the dialing side = true, want false")
	}
	near.CloseWith(websocket.CloseNormalClosure, "")
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want io.EOF", err)
	}
	if far.TryWriteFrame(nil, []byte("x")) {
		t.Error("TryWriteFrame after the peer's Close frame = true, want false")
	}
	far.CloseWith(websocket.CloseNormalClosure, "")
	<-near.Done()
	<-far.Done()
}

// Once the socket is full, TryWriteFrame returns false until its last frame has been sent.
func TestTryWriteFrameFull(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	near, far := Take(dialed, Dialing, nil), Take(accepted, Accepting, nil)
	var want bytes.Buffer
	for i := 0; ; i++ {
		header, body := pattern(12, byte(i)), pattern(8000, byte(i))
		if !far.TryWriteFrame(header, body) {
			break
		}
		want.Write(header)
		want.Write(body)
		if want.Len() > 1<<28 {
			t.Fatal("the socket takes everything")
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := far.WriteFrame([]byte("end"), nil); err != nil { // waits for the frame
			t.Error(err)
		}
		far.CloseWith(websocket.CloseNormalClosure, "")
	}()
	got, err := readAll(near)
	if want.WriteString("end"); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the peer read %d bytes, %v, want the %d sent", len(got), err, want.Len())
	}
	<-closed
	<-far.Done()
	near.CloseWith(websocket.CloseNormalClosure, "")
	<-near.Done()
}

// A failed write is the error of Read, too.
func TestTryWriteFrameFails(t *testing.T) {
	t.Parallel()
	_, accepted := tunneltest.WebSockets(t)
	c := Take(accepted, Accepting, nil)
	tc, ok := accepted.NetConn().(*net.TCPConn)
	if !ok {
		t.Fatal("not a TCP connection")
	}
	if err := tc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if !c.TryWriteFrame(nil, []byte("x")) {
		t.Error("TryWriteFrame = false, want true")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want the error of the write", err)
	}
	if c.TryWriteFrame(nil, []byte("x")) {
		t.Error("TryWriteFrame after an error = true, want false")
	}
	c.CloseWith(websocket.CloseNormalClosure, "")
	<-c.Done()
}
