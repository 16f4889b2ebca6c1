package limit

import (
	"bytes"
	"math"

	"golang.org/x/net/http2"
)

// Reconnect makes the clients of the session open another connection for their next calls: it
// sends each a GOAWAY (RFC 9113 §6.8). No call fails. A client closes its old connection
// when its open calls have ended. It doesn't block.
func (s *Server) Reconnect() {
	s.session.process.mu.Lock()
	defer s.session.process.mu.Unlock()
	for c := range s.session.conns {
		if !c.leaving {
			c.leaving = true
			go c.sendCredit(goAway()) // may block on a client that doesn't read
		}
	}
}

// goAway returns a GOAWAY that refuses no call that the client has begun.
func goAway() []byte {
	var b bytes.Buffer
	_ = http2.NewFramer(&b, nil).WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte("wstun: no more calls on this connection"))
	return b.Bytes()
}
