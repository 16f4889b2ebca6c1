package ws

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"reflect"
	"sync"

	"github.com/gorilla/websocket"
)

// isDefaultPingHandler reports whether h is gorilla's default Ping handler. gorilla
// can't tell, so it compares the code pointer of h with that of the handler of a new
// connection.
func isDefaultPingHandler(h func(string) error) bool {
	return reflect.ValueOf(h).Pointer() == defaultPingHandler()
}

// defaultPingHandler returns the code pointer of gorilla's default Ping handler, or 0
// if the handshake on a pipe fails: then no handler counts as the default.
var defaultPingHandler = sync.OnceValue(func() uintptr {
	conn, peer := net.Pipe()
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, peer) }() // ends with conn
	request := &http.Request{Method: http.MethodGet, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}}
	fresh, err := new(websocket.Upgrader).Upgrade(&hijacker{conn: conn}, request, nil)
	if err != nil {
		return 0
	}
	return reflect.ValueOf(fresh.PingHandler()).Pointer()
})

// hijacker is the http.ResponseWriter of a handshake on conn.
type hijacker struct{ conn net.Conn }

func (h *hijacker) Header() http.Header         { return http.Header{} }
func (h *hijacker) Write(p []byte) (int, error) { return len(p), nil }
func (h *hijacker) WriteHeader(int)             {}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}
