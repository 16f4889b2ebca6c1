package trace

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/rpc"
)

// openCalls are the open calls of a Tracer, for any goroutine. The zero value has none.
type openCalls struct {
	ended rpc.Counts

	mu   sync.Mutex
	open map[*openCall]struct{}
}

// openCall is an open call. Its conn updates it.
type openCall struct {
	conn           *conn
	call           rpc.Call     // without the fields below
	last           atomic.Int64 // when its latest message passed, in nanoseconds since 1970; 0: there was none
	sent, received atomic.Uint64
}

// begin adds k, a call of c.
func (o *openCalls) begin(c *conn, k *call) *openCall {
	call := &openCall{conn: c, call: rpc.Call{Method: k.method, Session: c.session, Stream: c.stream, Begun: k.begun}}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = map[*openCall]struct{}{}
	}
	o.open[call] = struct{}{}
	return call
}

// passed counts a message.
func (c *openCall) passed(sender Side, now time.Time) {
	if sender == Client {
		c.sent.Add(1)
	} else {
		c.received.Add(1)
	}
	c.last.Store(now.UnixNano())
}

// end removes a call, and counts its end.
func (o *openCalls) end(call *openCall, code codes.Code) {
	o.mu.Lock()
	delete(o.open, call)
	o.mu.Unlock()
	o.ended.Add(code)
}

// drop removes the calls of c that are left.
func (o *openCalls) drop(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.open, func(call *openCall, _ struct{}) bool { return call.conn == c })
}

// Calls returns the open calls that are traced, in no order.
func (t *Tracer) Calls() (all []rpc.Call) {
	t.open.mu.Lock()
	defer t.open.mu.Unlock()
	for c := range t.open.open {
		call := c.call
		call.Sent, call.Received = c.sent.Load(), c.received.Load()
		if last := c.last.Load(); last != 0 {
			call.Last = time.Unix(0, last)
		}
		all = append(all, call)
	}
	return all
}

// Ended counts the traced calls that have ended.
func (t *Tracer) Ended() *rpc.Counts { return &t.open.ended }
