package web

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// maxConns is how many connections a server has at a time.
const maxConns = 256

// conns has the connections of a server. Beyond maxConns, a new one closes the one that has
// sent no request for the longest time, so that a client that opens connections and sends
// nothing keeps out nobody else; if all have sent one, it is closed itself.
type conns struct {
	mu      sync.Mutex
	all     map[net.Conn]*list.Element // the elements of waiting; nil: a request is answered
	waiting list.List                  // of net.Conn, the one that has waited longest first
}

func newConns() *conns { return &conns{all: map[net.Conn]*list.Element{}} }

// track is an [http.Server.ConnState].
func (c *conns) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.all[conn]; e != nil {
		c.waiting.Remove(e)
	}
	switch state {
	case http.StateNew:
		if len(c.all) >= maxConns {
			c.closeOne(conn)
		}
		c.all[conn] = c.waiting.PushBack(conn)
	case http.StateIdle:
		c.all[conn] = c.waiting.PushBack(conn)
	case http.StateActive:
		c.all[conn] = nil
	case http.StateClosed, http.StateHijacked:
		delete(c.all, conn)
	}
}

// closeOne closes the connection that has waited longest for a request, or conn. The server
// reports it as closed later.
func (c *conns) closeOne(conn net.Conn) {
	if oldest := c.waiting.Front(); oldest != nil {
		conn = c.waiting.Remove(oldest).(net.Conn) //nolint:errcheck // the list has nothing else
		delete(c.all, conn)
	}
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn() // Close of t may wait for the peer
	}
	_ = conn.Close()
}
