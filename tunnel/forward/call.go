package forward

import (
	"cmp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
)

// unknownMethod is the method of calls whose header list couldn't be decoded, or isn't
// complete yet.
var unknownMethod = new("?")

// call is an open call. The goroutines of the two directions use it in parallel, so that
// the fields of each have a cache line of their own: memory for 128 bytes is aligned.
type call struct {
	method   atomic.Pointer[string]
	begun    int64        // in nanoseconds since 1970, like last
	last     atomic.Int64 // when its latest message passed; 0: there was none
	requests messageScanner
	_        [8]byte

	responses messageScanner // guarded by flow.wmu, like answered
	answered  bool           // the client has received the headers of the response
	_         [24]byte
}

// messageScanner scans and counts the messages of one direction of a call.
type messageScanner struct {
	h2.Messages
	passed atomic.Uint64 // Count, for other goroutines
}

// scan scans p, the next bytes of k in direction d.
func (m *messageScanner) scan(k *call, d *direction, p []byte) {
	before := m.Count()
	m.Scan(p)
	if n := m.Count(); n != before {
		m.passed.Store(n)
		if d.touched != k {
			d.touch(k)
		}
	}
}

func (m *messageScanner) reset() {
	m.Messages = h2.Messages{}
	m.passed.Store(0)
}

// touch sets the time of the latest message of d.touched, if it is still open after the
// message. k is next.
func (d *direction) touch(k *call) {
	if d.touched != nil {
		d.touched.last.Store(d.time())
	}
	d.touched = k
}

// newCall returns a call that begins now. The caller holds c.mu.
func (c *calls) newCall(now int64) *call {
	var k *call
	if n := len(c.free); n > 0 {
		k, c.free = c.free[n-1], c.free[:n-1]
		k.requests.reset()
		k.last.Store(0)
	} else {
		k = &call{}
	}
	k.begun = now
	k.method.Store(unknownMethod)
	return k
}

// setMethod sets the method of a new call to the path of its header list.
func (c *calls) setMethod(stream uint32, path string) {
	k := c.call(&c.requests, stream)
	if k == nil || path == "" || k.method.Load() != unknownMethod {
		return
	}
	if c.method == nil || *c.method != path {
		c.method = new(path)
	}
	k.method.Store(c.method)
}

// parseStatus returns the code of the field grpc-status.
func parseStatus(value string, err error) codes.Code {
	code, perr := strconv.ParseUint(value, 10, 31)
	if err != nil || perr != nil {
		return rpc.NoStatus
	}
	return codes.Code(code)
}

// list appends the open calls to all. Their other fields are those of origin.
func (c *calls) list(all []rpc.Call, origin rpc.Call) []rpc.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.open {
		method, _, _ := strings.Cut(*k.method.Load(), "?") // a query may have credentials
		origin.Method, origin.Begun, origin.Last = cmp.Or(method, *unknownMethod), time.Unix(0, k.begun), time.Time{}
		if last := k.last.Load(); last != 0 {
			origin.Last = time.Unix(0, last)
		}
		origin.Sent, origin.Received = k.requests.passed.Load(), k.responses.passed.Load()
		all = append(all, origin)
	}
	return all
}

// Calls returns the open calls, in no order. It doesn't have those of connections that
// aren't HTTP/2, or have had more than 16384 calls at a time.
func (f *Forwarder) Calls() (all []rpc.Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for fl := range f.flows {
		all = fl.calls.list(all, fl.origin())
	}
	return all
}

// Ended counts the calls that have ended.
func (f *Forwarder) Ended() *rpc.Counts { return &f.ended }

// origin returns the fields that all calls of the flow have in common.
func (fl *flow) origin() rpc.Call {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	origin := rpc.Call{Session: fl.session, Stream: fl.client.streamID()}
	if origin.Stream == 0 {
		origin.Peer = fl.client.RemoteAddr().String()
	}
	if fl.server != nil {
		origin.Stream = cmp.Or(origin.Stream, fl.server.streamID())
	}
	return origin
}
