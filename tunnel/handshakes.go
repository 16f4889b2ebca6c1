package tunnel

import (
	"container/list"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// maxHandshakes bounds the connections without a completed handshake, if the
	// process may open at least four times as many files.
	maxHandshakes = 1024

	// handshakeGrace is how long a connection, or the set after a handshake has passed,
	// is new. floodGrace is how long a connection is new during a flood: a full queue of
	// the kernel, of 4096 connections, is then accepted in a fifth of a second.
	handshakeGrace = 250 * time.Millisecond
	floodGrace     = 50 * time.Millisecond

	// A flood lasts until no connection was closed for floodEnd.
	floodEnd = 10 * time.Second
)

// handshakes has the connections of an Acceptor whose handshake isn't complete: those
// that have sent no request yet, that were refused, or that are idle after a refusal.
//
// At the limit, a new connection closes the oldest one, with 503 and Retry-After if that
// has sent no request, so that a peer that opens connections and sends nothing keeps out
// nobody else. There is no limit for each remote
// address, because many Workers may share that of a proxy. While the oldest is new, or
// handshakes pass the checks, a new connection waits instead: that is a burst of honest
// peers. Once a connection was closed, it is a flood, which must not fill the listener's
// queue: then connections are new for a shorter time, and handshakes that pass make no
// difference, because each would delay all later ones.
type handshakes struct {
	limit             int
	grace, floodGrace time.Duration
	closed            func()        // called after closing a connection at the limit
	left              chan struct{} // receives a value after a connection has left the list

	mu       sync.Mutex
	conns    map[net.Conn]*list.Element // the elements of byAge
	byAge    list.List                  // of *pendingConn, oldest first
	progress time.Time                  // when a handshake last passed the checks
	flood    time.Time                  // when a connection was last closed
}

// pendingConn is a connection in handshakes.
type pendingConn struct {
	conn    net.Conn
	since   time.Time
	request bool // a request is complete, or was answered
}

// newHandshakes returns a set without connections, whose limit is a quarter of the files
// that the process may open, or maxHandshakes. closed is called after each connection
// that is closed because of the limit.
func newHandshakes(closed func()) *handshakes {
	return &handshakes{
		grace: handshakeGrace, floodGrace: floodGrace,
		limit:  max(1, min(maxHandshakes, openFileLimit()/4)),
		closed: closed,
		left:   make(chan struct{}, 1),
		conns:  map[net.Conn]*list.Element{},
	}
}

// follow makes h follow the connections of server.
func (h *handshakes) follow(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, conn)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew: // in the goroutine that accepts
			h.makeRoom()
			h.add(conn, false)
		case http.StateIdle:
			h.add(conn, true)
		case http.StateClosed, http.StateHijacked:
			h.remove(conn)
		case http.StateActive: // its request is complete, but may be refused
			h.received(conn)
		}
	}
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// passed removes the connection of r, whose handshake has passed the checks. It comes
// back if it is idle later.
func (h *handshakes) passed(r *http.Request) {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok && h.remove(conn) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.progress = time.Now()
	}
}

// makeRoom waits until h is below its limit, and closes the oldest connection as soon as
// that is allowed.
func (h *handshakes) makeRoom() {
	for h.isFull() {
		wait, closed := h.closeOldest()
		if closed {
			continue
		}
		select {
		case <-h.left:
		case <-time.After(wait):
		}
	}
}

func (h *handshakes) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byAge.Len() >= h.limit
}

// closeOldest closes the oldest connection. It returns false if there is none, or if that
// one is new or, before a flood, another one has just passed the checks: then wait says
// for how long.
func (h *handshakes) closeOldest() (wait time.Duration, closed bool) {
	h.mu.Lock()
	front := h.byAge.Front()
	if front == nil {
		h.mu.Unlock()
		return 0, false
	}
	oldest := front.Value.(*pendingConn) //nolint:errcheck // the list has nothing else
	since, grace := oldest.since, h.floodGrace
	if time.Since(h.flood) > floodEnd {
		grace = h.grace
		if since.Before(h.progress) {
			since = h.progress
		}
	}
	if wait = time.Until(since.Add(grace)); wait > 0 {
		h.mu.Unlock()
		return wait, false
	}
	h.flood = time.Now()
	h.removeLocked(oldest.conn)
	isRequest := oldest.request
	h.mu.Unlock()
	if !isRequest {
		sayBusy(oldest.conn)
	}
	_ = belowTLS(oldest.conn).Close()
	h.closed()
	return 0, true
}

// release is closeOldest for a listener without a descriptor for the next connection.
func (h *handshakes) release() bool {
	_, closed := h.closeOldest()
	return closed
}

// add adds a connection, unless h has it. request is that of pendingConn.
func (h *handshakes) add(conn net.Conn, request bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[conn] == nil {
		h.conns[conn] = h.byAge.PushBack(&pendingConn{conn, time.Now(), request})
	}
}

// received marks a connection whose request is complete.
func (h *handshakes) received(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.conns[conn]; e != nil {
		e.Value.(*pendingConn).request = true //nolint:errcheck // as above
	}
}

// remove removes a connection. It returns false if h doesn't have it.
func (h *handshakes) remove(conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.removeLocked(conn)
}

func (h *handshakes) removeLocked(conn net.Conn) bool {
	e := h.conns[conn]
	if e == nil {
		return false
	}
	delete(h.conns, conn)
	h.byAge.Remove(e)
	select {
	case h.left <- struct{}{}:
	default:
	}
	return true
}

// sayBusy sends a response with Retry-After on a connection without TLS whose request isn't
// complete: after the loss of a server, thousands of honest peers may dial at once, and be
// slow because of that. Random delays spread their next dials.
func sayBusy(conn net.Conn) {
	const body, most = "wstun: too many handshakes at once\n", 5 // seconds
	conn = withoutHead(conn)
	if _, ok := conn.(syscall.Conn); !ok { // TLS
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Millisecond)) // the buffer of the socket is empty
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nRetry-After: %d\r\n\r\n%s", len(body), 1+rand.IntN(most), body) //nolint:gosec // no secret
}
