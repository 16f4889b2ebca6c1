package forward

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// maxOpenCalls bounds the memory for the calls of one connection. If more are open at
// the same time, their connection is still forwarded but no longer tracked.
const maxOpenCalls = 1 << 14

// calls tracks the open calls of one HTTP/2 connection from the frames that are
// forwarded. With it, drain waits until a connection is idle, and explain ends the open
// calls of a connection that is lost.
type calls struct {
	http2 atomic.Bool // the client speaks HTTP/2

	requests  *h2.Scanner // used by the goroutine that writes to the server
	responses *h2.Scanner // guarded by flow.wmu, and so are the next two
	latest    *response   // the last result of response
	latestID  uint32      // its stream

	mu        sync.Mutex
	open      map[uint32]*response // by stream
	lastID    uint32               // the highest stream so far
	untracked bool                 // not HTTP/2, or too many calls: open is unknown
	onIdle    func()               // called once, when no call is open
}

// response is the part of the response to an open call that the client has received.
type response struct {
	begun    bool // the headers are complete
	messages h2.Messages
}

func newCalls() *calls {
	c := &calls{open: map[uint32]*response{}}
	c.requests = h2.NewScanner(h2.FromClient, h2.Visitor{Frame: c.requestFrame})
	c.responses = h2.NewScanner(h2.FromServer, h2.Visitor{Payload: c.responsePayload, End: c.responseEnd})
	return c
}

// scan scans p with s, which is requests or responses.
func (c *calls) scan(s *h2.Scanner, p []byte) {
	if s.Err() != nil {
		return
	}
	// A malformed frame ends the connection, and with it the calls that are open.
	if s.Scan(p); errors.Is(s.Err(), h2.ErrNotHTTP2) {
		c.update(c.stopTracking)
	}
}

// requestFrame handles the header of a client's frame. A call begins there, before the
// server receives the frame.
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

func (c *calls) responsePayload(h h2.Header, p []byte) {
	if h.Type == http2.FrameData {
		if r := c.response(h.Stream); r != nil {
			r.messages.Scan(p)
		}
	}
}

// responseEnd handles the end of a server's frame. A call ends there, when the client
// has received the whole frame.
func (c *calls) responseEnd(h h2.Header) {
	switch h.Type {
	case http2.FrameHeaders:
		if r := c.response(h.Stream); r != nil {
			r.begun = true
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
		case stream <= c.lastID || c.untracked: // not a new call: trailers of a request
		case len(c.open) == maxOpenCalls:
			c.stopTracking()
		default:
			c.lastID = stream
			c.open[stream] = &response{}
		}
	})
}

func (c *calls) end(stream uint32) { c.update(func() { delete(c.open, stream) }) }

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
func (c *calls) anyOpen() bool { return c.numOpen() > 0 }

// numOpen returns how many calls are open; 0 if they aren't tracked.
func (c *calls) numOpen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// response returns the response on stream, or nil if no call is open there. The caller
// holds flow.wmu.
func (c *calls) response(stream uint32) *response {
	if c.latest == nil || c.latestID != stream {
		c.mu.Lock()
		c.latest, c.latestID = c.open[stream], stream
		c.mu.Unlock()
	}
	return c.latest
}

// betweenMessages returns the open calls whose responses end with a whole message.
func (c *calls) betweenMessages() map[uint32]*response {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := maps.Clone(c.open)
	maps.DeleteFunc(open, func(_ uint32, r *response) bool { return !r.messages.AtBoundary() })
	return open
}

// close returns the open calls and the last stream so far, and begins no more calls.
func (c *calls) close() (open []uint32, last uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	open, last = slices.Sorted(maps.Keys(c.open)), c.lastID
	c.stopTracking()
	return open, last
}
