//go:build linux && !race

package hostile

import (
	"cmp"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// The methods of a hostile server.
const (
	headerBombMethod  = "/hostile/Header"
	trailerBombMethod = "/hostile/Trailer"
	endlessBombMethod = "/hostile/Endless"
)

// serveBombs returns a function that serves gRPC on TCP until t ends. Calls of the
// methods above receive the bomb; the others end with Unimplemented, or, if method isn't
// empty, like it.
func serveBombs(method string) func(t *testing.T) net.Addr {
	return func(t *testing.T) net.Addr {
		t.Helper()
		return newPeer(t).listen(t, func(conn net.Conn) { serveHTTP2(conn, method) })
	}
}

// serveBombsInSessions is serveBombs in sessions. It returns the URL.
func serveBombsInSessions(t *testing.T, method string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		session, err := wsmux.NewSession(conn, wsmux.Accepting, wsmux.Server, nil)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = session.Close() })
		for {
			stream, err := session.Accept()
			if err != nil {
				return
			}
			go serveHTTP2(stream, method)
		}
	}))
	t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

// serveHTTP2 serves one connection until it ends.
func serveHTTP2(conn net.Conn, method string) {
	c, err := newHTTP2Server(conn, func(c *http2Conn, stream uint32, called string) {
		_, _ = c.Write(response(stream, cmp.Or(method, called)))
	})
	if err == nil {
		<-c.closed
	}
}

// response returns the frames of the response to a call of method.
func response(stream uint32, method string) []byte {
	const end = http2.FlagHeadersEndHeaders
	header := headerBlock(":status", "200", "content-type", "application/grpc")
	ok := headerBlock("grpc-status", "0")
	switch method {
	case headerBombMethod: // the call stays open
		return appendHeaders(nil, stream, repeated(header), 0, end)
	case trailerBombMethod:
		buf := appendHeaders(nil, stream, header, 0, end)
		return appendHeaders(buf, stream, repeated(ok), http2.FlagHeadersEndStream, end)
	case endlessBombMethod:
		return appendHeaders(nil, stream, repeated(header), 0, 0)
	}
	unimplemented := headerBlock(":status", "200", "content-type", "application/grpc", "grpc-status", "12")
	return appendHeaders(nil, stream, unimplemented, http2.FlagHeadersEndStream, end)
}
