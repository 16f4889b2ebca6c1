package forward

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/cpu"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
)

// maxOpenCalls bounds the memory for the calls of one connection. If more are open at
// the same time, their connection is still forwarded but no longer tracked.
const maxOpenCalls = 1 << 14

// maxFree is how many ended calls of a connection are kept for reuse.
const maxFree = 64

// calls tracks the open calls of one HTTP/2 connection from the frames that are
// forwarded. With it, drain waits until a connection is idle, explain ends the open
// calls of a connection that is lost, and Forwarder.Calls lists them.
type calls struct {
	http2 atomic.Bool // the client speaks HTTP/2
	ended *rpc.Counts // of the Forwarder

	// The directions have cache lines of their own, because goroutines use them in parallel.
	_         cpu.CacheLinePad
	requests  direction // used by the goroutine that writes to the server
	method    *string   // of the latest call; used like requests
	_         cpu.CacheLinePad
	responses direction // guarded by flow.wmu
	_         cpu.CacheLinePad

	mu        sync.Mutex
	open      map[uint32]*call // by stream
	free      []*call          // for reuse
	lastID    uint32           // the highest stream so far
	untracked bool             // not HTTP/2, or too many calls: open is unknown
	onIdle    func()           // called once, when no call is open
}

// direction is one direction of the connection.
type direction struct {
	*h2.Scanner
	now      int64            // of the current chunk, in nanoseconds since 1970; 0: not yet needed
	touched  *call            // a message of it has passed now
	field    *h2.FieldDecoder // nil before the first header block
	latest   *call            // the last result of call
	latestID uint32           // its stream
}

func newCalls(ended *rpc.Counts) *calls {
	c := &calls{ended: ended, open: map[uint32]*call{}}
	c.requests.Scanner = h2.NewScanner(h2.FromClient, h2.Visitor{Frame: c.requestFrame, Payload: c.requestPayload, End: c.requestEnd})
	c.responses.Scanner = h2.NewScanner(h2.FromServer, h2.Visitor{Payload: c.responsePayload, End: c.responseEnd})
	return c
}

// scan scans p with d, which is requests or responses.
func (c *calls) scan(d *direction, p []byte) {
	if d.Err() != nil {
		return
	}
	d.now = 0
	// A malformed frame ends the connection, and with it the calls that are open.
	if d.Scan(p); errors.Is(d.Err(), h2.ErrNotHTTP2) {
		c.update(c.stopTracking)
	}
	d.touch(nil)
}

// time returns the time of the current chunk. It asks the clock once for each chunk.
func (d *direction) time() int64 {
	if d.now == 0 {
		d.now = time.Now().UnixNano()
	}
	return d.now
}

// header adds p to the current header block, in which field is decoded.
func (d *direction) header(field string, p []byte) {
	if d.field == nil {
		d.field = &h2.FieldDecoder{Name: field}
	}
	d.field.Write(p)
}

// endHeader returns the value of the field in the current header block.
func (d *direction) endHeader() (value string, err error) {
	if d.field == nil { // the block is empty
		return "", nil
	}
	return d.field.End()
}

// requestFrame handles the header of a client's frame. A call begins there, before the
// server receives the frame.
func (c *calls) requestFrame(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		c.begin(h.Stream)
	case http2.FrameRSTStream:
		c.end(h.Stream, rpc.NoStatus)
	case http2.FrameSettings:
		c.http2.Store(true)
	}
}

func (c *calls) requestPayload(h h2.Header, p []byte) {
	switch h.Type {
	case http2.FrameHeaders:
		c.requests.header(":path", p)
	case http2.FrameData:
		if k := c.call(&c.requests, h.Stream); k != nil {
			k.requests.scan(k, &c.requests, p)
		}
	}
}

func (c *calls) requestEnd(h h2.Header) {
	if h.Type == http2.FrameHeaders {
		path, _ := c.requests.endHeader() // "" after an error
		c.setMethod(h.Stream, path)
	}
}

func (c *calls) responsePayload(h h2.Header, p []byte) {
	switch h.Type {
	case http2.FrameHeaders, http2.FramePushPromise:
		c.responses.header("grpc-status", p)
	case http2.FrameData:
		if k := c.call(&c.responses, h.Stream); k != nil {
			k.responses.scan(k, &c.responses, p)
		}
	}
}

// responseEnd handles the end of a server's frame. A call ends there, when the client
// has received the whole frame.
func (c *calls) responseEnd(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		value, err := c.responses.endHeader()
		if k := c.call(&c.responses, h.Stream); k != nil {
			k.answered = true
		}
		if h.Flags.Has(http2.FlagHeadersEndStream) {
			c.endResponse(h.Stream, parseStatus(value, err))
		}
	case http2.FramePushPromise:
		_, _ = c.responses.endHeader() // it may change the HPACK table
	case http2.FrameData:
		if h.Flags.Has(http2.FlagDataEndStream) {
			c.endResponse(h.Stream, rpc.NoStatus)
		}
	case http2.FrameRSTStream:
		c.end(h.Stream, rpc.NoStatus)
	}
}

func (c *calls) begin(stream uint32) {
	now := c.requests.time()
	c.update(func() {
		switch {
		case stream <= c.lastID || c.untracked: // not a new call: trailers of a request
		case len(c.open) == maxOpenCalls:
			c.stopTracking()
		default:
			c.lastID = stream
			k := c.newCall(now)
			c.open[stream], c.requests.latest, c.requests.latestID = k, k, stream
		}
	})
}

// end counts the end of a call, if it is open.
func (c *calls) end(stream uint32, code codes.Code) {
	c.update(func() { c.remove(stream, code) })
}

// endResponse is end at the end of the response. Only then the call is reused: the
// goroutine of the responses doesn't use it any more, and that of the requests reuses it.
func (c *calls) endResponse(stream uint32, code codes.Code) {
	c.update(func() {
		k := c.remove(stream, code)
		if k == nil || len(c.free) == maxFree {
			return
		}
		if c.responses.latest == k {
			c.responses.latest = nil
		}
		if c.responses.touched == k {
			c.responses.touched = nil
		}
		k.responses.reset()
		k.answered = false
		c.free = append(c.free, k)
	})
}

// remove counts the end of a call, and returns it; nil if it isn't open. The caller holds
// c.mu.
func (c *calls) remove(stream uint32, code codes.Code) *call {
	k := c.open[stream]
	if k != nil {
		delete(c.open, stream)
		c.ended.Add(code)
	}
	return k
}

// stopTracking forgets the calls of the connection. The caller holds c.mu.
func (c *calls) stopTracking() { c.untracked, c.open = true, nil }

// whenIdle calls f once, as soon as no call is open. f must not block, because it may
// be called by the goroutine that receives for a whole session.
func (c *calls) whenIdle(f func()) {
	c.update(func() { c.onIdle = f })
}

// update calls change, which changes the open calls, with c.mu held. Then it calls
// onIdle if no call is open.
func (c *calls) update(change func()) {
	c.mu.Lock()
	change()
	f := c.onIdle
	if f == nil || c.untracked || len(c.open) > 0 {
		c.mu.Unlock()
		return
	}
	c.onIdle = nil
	c.mu.Unlock()
	f()
}

// anyOpen reports whether a call is open. It is false if calls aren't tracked.
func (c *calls) anyOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0
}

// call returns the call on stream, or nil if none is open there. The caller may use d.
func (c *calls) call(d *direction, stream uint32) *call {
	if d.latest == nil || d.latestID != stream {
		c.mu.Lock()
		d.latest, d.latestID = c.open[stream], stream
		c.mu.Unlock()
	}
	return d.latest
}

// takeBetweenMessages ends, with UNAVAILABLE, the open calls whose responses end with a
// whole message, and returns them. The caller holds flow.wmu, and closes the connection.
func (c *calls) takeBetweenMessages() map[uint32]*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := map[uint32]*call{}
	for stream, k := range c.open {
		if k.responses.AtBoundary() {
			taken[stream] = k
			delete(c.open, stream)
			c.ended.Add(codes.Unavailable)
		}
	}
	return taken
}

// close ends the open calls with this status, and begins no more calls. It returns their
// streams, and the last stream so far.
func (c *calls) close(code codes.Code) (open []uint32, last uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open, last = slices.Sorted(maps.Keys(c.open)), c.lastID
	for range open {
		c.ended.Add(code)
	}
	c.stopTracking()
	return open, last
}
