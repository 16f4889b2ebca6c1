package wsmux

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	"golang.org/x/net/nettest"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// nettest limits each of its tests to a minute, so other tests don't run at the same
// time.
func TestWrapConnIsANetConn(t *testing.T) { //nolint:tparallel // see above
	for _, first := range []string{"dialing side", "accepting side"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				dialed, accepted := tunneltest.WebSockets(t)
				c1, c2 := WrapConn(dialed), WrapConn(accepted)
				if first == "accepting side" {
					c1, c2 = c2, c1
				}
				return c1, c2, func() { c1.Close(); c2.Close() }, nil
			})
		})
	}
}

// With BufferSize, a full write buffer is sent in one system call. gorilla's default of
// 4 KiB takes many.
func TestBufferSize(t *testing.T) {
	t.Parallel()
	upgrader := websocket.Upgrader{WriteBufferSize: BufferSize, ReadBufferSize: BufferSize}
	accepted := make(chan *websocket.Conn, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := upgrader.Upgrade(w, r, nil); err == nil {
			accepted <- ws
		}
	}))
	defer srv.Close()
	var socket countingConn
	dialer := websocket.Dialer{
		WriteBufferSize: BufferSize, ReadBufferSize: BufferSize,
		NetDialContext: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
			socket.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return &socket, err
		},
	}
	ws, _, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil) //nolint:bodyclose // nothing is left of it
	if err != nil {
		t.Fatal(err)
	}
	c, peer := WrapConn(ws), <-accepted
	defer peer.Close()
	defer c.Close()
	before := socket.writes.Load()
	if _, err := c.Write(make([]byte, connBuffer)); err != nil {
		t.Fatal(err)
	}
	if _, data, err := peer.ReadMessage(); err != nil || len(data) != connBuffer {
		t.Fatalf("ReadMessage = %d bytes, %v, want %d", len(data), err, connBuffer)
	}
	if n := socket.writes.Load() - before; n != 1 {
		t.Errorf("%d KiB took %d system calls, want 1", connBuffer>>10, n)
	}
}

// countingConn counts writes.
type countingConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Close waits for the running flush. A Write that began earlier may start another flush
// afterwards, which must not close flushed again.
func TestFlushAfterClose(t *testing.T) {
	t.Parallel()
	dialed, _ := tunneltest.WebSockets(t)
	c := WrapConn(dialed).(*wrappedConn)
	defer c.Close()
	c.flushing = true
	flushed := c.flushDone()
	c.flush()
	<-flushed
	c.flush()
}
