package trace

import (
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// Local traces the calls of a connection that isn't forwarded, because wstun answers them
// itself. A nil Local does nothing.
type Local struct {
	mu   sync.Mutex
	conn *conn // nil once the trace has ended
}

// Local returns a Local without calls, for a connection that has waited since then. It
// returns nil if t is nil, or has no output at the moment, or no memory left.
func (t *Tracer) Local(since time.Time) *Local {
	if t == nil || !t.isWatched() {
		return nil
	}
	c := newConn(t, 0, 0)
	if c == nil {
		t.lose(Losses{Conns: 1})
		return nil
	}
	c.since = since
	return &Local{conn: c}
}

// Received traces the next bytes of the client.
func (l *Local) Received(p []byte) {
	l.do(func(c *conn) { _ = c.scan(&c.client, p) }) // an error stops the scanner
}

// Refuse traces the end of the open calls, which wstun ends with UNAVAILABLE and this
// message. Later calls are ignored.
func (l *Local) Refuse(message string) {
	l.do(func(c *conn) {
		l.conn = nil
		c.now = time.Now()
		for _, k := range c.open() {
			e := c.begin(k, ServerTrailer, Wstun)
			e.Code, e.Message = codes.Unavailable, message
			c.finish(k)
		}
		c.close("")
	})
}

// Close traces the end of the connection, if Refuse hasn't.
func (l *Local) Close() {
	l.do(func(c *conn) {
		l.conn = nil
		c.close("the client closed the connection")
	})
}

// do calls f, unless the trace has ended. A panic ends it.
func (l *Local) do(f func(*conn)) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.conn
	if c == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			l.conn = nil
			c.fail(v)
		}
	}()
	if !c.tracer.isWatched() {
		l.conn = nil
		c.close("")
		return
	}
	f(c)
}

// GoAway traces a GOAWAY that wstun sends to a client, with this message. A nil Tracer
// ignores it.
func (t *Tracer) GoAway(message string) {
	if t != nil {
		t.current().put(&Event{Type: GoAway, Side: Wstun, Time: time.Now(), Code: NoStatus, HTTP2Code: http2.ErrCodeNo, Message: message})
	}
}
