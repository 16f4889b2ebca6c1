package forward

import (
	"maps"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// maxOpenCalls bounds the memory for the calls of one connection. A connection with
// more of them open at a time is forwarded, but its calls aren't tracked any more.
const maxOpenCalls = 1 << 14

// calls tracks the calls open on one HTTP/2 connection, by the frames that pass. Draining
// can thus tell a connection with open calls from an idle one, and the calls of a
// connection that is lost can be ended.
type calls struct {
	http2 atomic.Bool // the client speaks HTTP/2

	requests  *h2.Scanner // used by the goroutine that writes to the server
	responses *h2.Scanner // guarded by the flow's mutex for writing to the client
	latest    *response   // of the last HEADERS or DATA frame of the server; may be nil
	latestID  uint32      // its stream

	mu     sync.Mutex
	open   map[uint32]*response // by stream
	lastID uint32               // the highest stream so far
	opaque bool                 // not HTTP/2, or too many calls: never known to be idle
	onIdle func()               // called once, when no call is open
}

// response is the response to an open call, as far as the client has received it.
type response struct {
	begun    bool // with headers
	messages h2.Messages
}

func newCalls() *calls {
	c := &calls{open: map[uint32]*response{}}
	c.requests = h2.NewScanner(h2.FromClient, h2.Visitor{Frame: c.requestFrame})
	c.responses = h2.NewScanner(h2.FromServer, h2.Visitor{Frame: c.responseFrame, Payload: c.responsePayload, End: c.responseEnd})
	return c
}

// scan scans p with one of the two scanners.
func (c *calls) scan(s *h2.Scanner, p []byte) {
	if s.Err() != nil {
		return
	}
	if s.Scan(p); s.Err() != nil {
		c.update(c.giveUp)
	}
}

// requestFrame begins a call at its header, before the server receives it.
func (c *calls) requestFrame(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		c.begin(h.Stream)
	case http2.FrameRSTStream:
		c.end(h.Stream)
	case http2.FrameSettings:
		c.http2.Store(true)
	}
}

func (c *calls) responseFrame(h h2.Header) {
	if (h.Type == http2.FrameHeaders || h.Type == http2.FrameData) && (c.latest == nil || c.latestID != h.Stream) {
		c.latest, c.latestID = c.response(h.Stream), h.Stream
	}
}

func (c *calls) responsePayload(h h2.Header, p []byte) {
	if h.Type == http2.FrameData && c.latest != nil {
		c.latest.messages.Scan(p)
	}
}

// responseEnd ends a call once the client has received all of its last frame.
func (c *calls) responseEnd(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		if c.latest != nil {
			c.latest.begun = true
		}
		if h.Flags.Has(http2.FlagHeadersEndStream) {
			c.end(h.Stream)
		}
	case http2.FrameData:
		if h.Flags.Has(http2.FlagDataEndStream) {
			c.end(h.Stream)
		}
	case http2.FrameRSTStream:
		c.end(h.Stream)
	}
}

func (c *calls) begin(stream uint32) {
	c.update(func() {
		switch {
		case stream <= c.lastID || c.opaque: // the trailers of a request have the stream of its headers
		case len(c.open) == maxOpenCalls:
			c.giveUp()
		default:
			c.lastID = stream
			c.open[stream] = &response{}
		}
	})
}

func (c *calls) end(stream uint32) { c.update(func() { delete(c.open, stream) }) }

// giveUp stops tracking. The caller holds c.mu.
func (c *calls) giveUp() { c.opaque, c.open = true, nil }

// whenIdle calls f as soon as no call is open: now, or later. f must not block,
// because a goroutine that forwards calls it.
func (c *calls) whenIdle(f func()) {
	c.update(func() { c.onIdle = f })
}

// update changes the open calls and calls onIdle if none is left.
func (c *calls) update(change func()) {
	c.mu.Lock()
	change()
	f := c.onIdle
	if f == nil || c.opaque || len(c.open) > 0 {
		c.mu.Unlock()
		return
	}
	c.onIdle = nil
	c.mu.Unlock()
	f()
}

// anyOpen reports whether a call is known to be open.
func (c *calls) anyOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0
}

// response returns the response to an open call, and nil for other streams.
func (c *calls) response(stream uint32) *response {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[stream]
}

// betweenMessages returns the open calls that can end without cutting a message.
func (c *calls) betweenMessages() map[uint32]*response {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := maps.Clone(c.open)
	maps.DeleteFunc(open, func(_ uint32, r *response) bool { return !r.messages.AtBoundary() })
	return open
}
