package tunneltest

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/gorilla/websocket"
)

// KeepTimersApart is called before a test with sessions enters a bubble of
// [testing/synctest], where hours pass at once. The test must not be parallel:
// yamux keeps its timers in a pool that all sessions of the process share, and
// a timer can't move between bubbles, so that the pool is emptied around each.
func KeepTimersApart(t *testing.T) {
	t.Helper()
	emptyPools()
	t.Cleanup(emptyPools)
}

// emptyPools empties every sync.Pool: one collection marks what is in it, the
// next one drops that.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// PipedWebSockets is [WebSockets] over [net.Pipe], which works in a bubble.
// Nothing is buffered on the way: a write lasts until the peer has read it.
// The ends are left to the caller to close.
func PipedWebSockets(tb testing.TB) (dialed, accepted *websocket.Conn) {
	tb.Helper()
	near, far := net.Pipe()
	conns := make(chan *websocket.Conn, 1)
	go func() {
		defer close(conns)
		br := bufio.NewReader(far)
		req, err := http.ReadRequest(br)
		if err != nil {
			tb.Errorf("handshake: %v", err)
			return
		}
		upgrader := websocket.Upgrader{ReadBufferSize: BufferSize, WriteBufferSize: BufferSize}
		conn, err := upgrader.Upgrade(pipeHijacker{httptest.NewRecorder(), far, br}, req, nil)
		if err != nil {
			tb.Errorf("upgrade: %v", err)
			return
		}
		conns <- conn
	}()
	dialer := websocket.Dialer{
		NetDialContext:  func(context.Context, string, string) (net.Conn, error) { return near, nil },
		ReadBufferSize:  BufferSize,
		WriteBufferSize: BufferSize,
	}
	dialed, resp, err := dialer.DialContext(tb.Context(), "ws://peer/", nil)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	_ = resp.Body.Close()
	return dialed, <-conns
}

// pipeHijacker is the writer of a response on a pipe.
type pipeHijacker struct {
	*httptest.ResponseRecorder
	conn net.Conn
	br   *bufio.Reader
}

func (h pipeHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(h.br, bufio.NewWriter(h.conn)), nil
}
