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

// KeepTimersApart must be called before a test with sessions starts a bubble of
// [testing/synctest]. Such a test must not be parallel. All sessions of hashicorp/yamux
// share a sync.Pool of timers, but a timer can't be used in another bubble, so
// KeepTimersApart empties the pool before and after the test.
func KeepTimersApart(t *testing.T) {
	t.Helper()
	emptyPools()
	t.Cleanup(emptyPools)
}

// emptyPools empties every sync.Pool. A pool drops its items in the second garbage
// collection.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// PipedWebSockets is [WebSockets] over [net.Pipe], which works in a bubble. A pipe has
// no buffer: a write blocks until the peer has read it. The caller closes both ends.
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

// pipeHijacker is an http.ResponseWriter on a pipe.
type pipeHijacker struct {
	*httptest.ResponseRecorder
	conn net.Conn
	br   *bufio.Reader
}

func (h pipeHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(h.br, bufio.NewWriter(h.conn)), nil
}
