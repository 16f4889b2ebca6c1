//go:build linux && !race

package hostile

import (
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// peer is a peer of the victim, an attacker or an innocent one. Its connections stay open
// until close.
type peer struct {
	sent atomic.Int64 // bytes

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

// newPeer returns a peer, which is closed when t ends.
func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{conns: map[net.Conn]struct{}{}}
	t.Cleanup(p.close)
	return p
}

// close closes all connections, which makes their users return.
func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

// all returns the open connections.
func (p *peer) all() []net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.conns))
}

// own returns c as a connection of the peer.
func (p *peer) own(c net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
	}
	p.conns[c] = struct{}{}
	return peerConn{c, p}
}

// peerConn counts the bytes that are sent.
type peerConn struct {
	net.Conn
	p *peer
}

func (c peerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.p.sent.Add(int64(n))
	return n, err
}

func (c peerConn) Close() error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	delete(c.p.conns, c.Conn)
	return c.Conn.Close()
}

// dial opens a TCP connection to addr, which is host:port or a victim's URL.
func (p *peer) dial(addr string) (net.Conn, error) {
	c, err := net.Dial("tcp", strings.Trim(addr[strings.Index(addr, "//")+1:], "/"))
	if err != nil {
		return nil, err
	}
	return p.own(c), nil
}

// listen accepts TCP connections until t ends, calls serve with each in a goroutine, and
// closes the connection afterwards.
func (p *peer) listen(t *testing.T, serve func(net.Conn)) net.Addr {
	t.Helper()
	l := tunneltest.Listen(t)
	var serving sync.WaitGroup
	t.Cleanup(func() { // runs before l is closed, so that l must be closed here
		_ = l.Close()
		p.close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c = p.own(c)
			serving.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	return l.Addr()
}
