package check

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// relay returns the result of asking a relay for Options.Worker, from the header of its
// response. A relay chooses the subprotocol only if it has the Worker.
func (p *prober) relay(ws *websocket.Conn, header http.Header) Result {
	r := Result{Layer: Relay}
	if got := ws.Subprotocol(); got != string(relay.Dial) {
		r.Err = errors.New("no relay there: the server has not chosen the subprotocol " + string(relay.Dial))
		r.Hint = "leave out --to, or give the URL of a relay"
		return r
	}
	r.Detail = p.opts.Worker + " is connected to the relay"
	if id := header.Get(relay.RelayHeader); id != "" {
		r.Detail = p.opts.Worker + " is connected to relay " + id
	}
	if via := header.Get(relay.ViaHeader); via != "" {
		r.Detail += ", a hop after " + via
	}
	return r
}

// isOfRelay reports whether a refusal is the decision of a relay about a Worker.
func isOfRelay(he *tunnel.HandshakeError) bool {
	codes := []int{http.StatusNotFound, http.StatusMisdirectedRequest, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	return slices.Contains(codes, he.StatusCode) && strings.HasPrefix(he.Body, "wstun: ") && !strings.Contains(he.Body, "nothing here")
}
