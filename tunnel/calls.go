package tunnel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"sync"
	"sync/atomic"
)

// HTTP/2 frame types and flags (RFC 9113 §6).
const (
	h2Preface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	h2HeaderSize   = 9
	h2Data         = 0x0
	h2Headers      = 0x1
	h2RSTStream    = 0x3
	h2Settings     = 0x4
	h2GoAway       = 0x7
	h2Continuation = 0x9
	h2EndStream    = 0x1 // flag of DATA and HEADERS
	h2EndHeaders   = 0x4 // flag of HEADERS and CONTINUATION
	h2Padded       = 0x8 // flag of DATA
	h2ReservedBits = 1 << 31
)

// maxOpenCalls bounds what is remembered of one connection. One that has more
// calls open at a time is forwarded all the same, but no longer followed.
const maxOpenCalls = 1 << 14

// calls are the HTTP/2 streams open on one connection, by what passes on it. So
// draining can tell a connection with a call in flight from one that a client merely
// keeps, and calls whose connection is lost can be ended.
type calls struct {
	mu     sync.Mutex
	open   map[uint32]*response // by their stream numbers
	last   uint32               // highest stream number so far
	opaque bool                 // not HTTP/2, or too much of it: never known to be idle
	onIdle func()               // called once, when nothing is open

	http2 atomic.Bool // the client's preface has been seen
}

func newCalls() *calls { return &calls{open: map[uint32]*response{}} }

// whenIdle calls f as soon as no call is open: now, or later. Calls of f come
// from a goroutine that forwards bytes, so f must not block.
func (c *calls) whenIdle(f func()) {
	c.mu.Lock()
	c.onIdle = f
	c.mu.Unlock()
	c.update(func() {})
}

// update changes the count and tells who waits for it to reach zero.
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

// giveUp stops following the calls. It runs in update.
func (c *calls) giveUp() { c.opaque, c.open = true, nil }

// frame takes notice of one frame of the client or the server.
func (c *calls) frame(kind, flags byte, stream uint32, fromClient bool) {
	switch {
	case kind == h2RSTStream,
		!fromClient && (kind == h2Data || kind == h2Headers) && flags&h2EndStream != 0:
		c.update(func() { delete(c.open, stream) })
	case fromClient && kind == h2Headers:
		c.update(func() {
			if stream <= c.last || c.opaque { // trailers come on a stream that is open already
				return
			}
			if len(c.open) == maxOpenCalls {
				c.giveUp()
				return
			}
			c.last = stream
			c.open[stream] = &response{}
		})
	}
}

// anyOpen reports whether a call is known to be open.
func (c *calls) anyOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0
}

// response returns that of an open call, nil for others.
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
	maps.DeleteFunc(open, func(_ uint32, r *response) bool { return !r.between() })
	return open
}

// frames follows the frames in one direction of a connection, whatever pieces
// they come in. The zero value isn't ready: see newFrames.
type frames struct {
	calls      *calls // what they begin and end; may be nil
	fromClient bool
	preface    []byte // what is still expected of the client's preface
	header     [h2HeaderSize]byte
	have       int  // how much of header is there
	begun      bool // the first frame, always SETTINGS, has been seen
	inBlock    bool // a header block goes on in CONTINUATION frames
	ending     bool // the stream ends with that block
	done       bool // not HTTP/2

	// The current frame.
	kind, flags byte
	stream      uint32
	payload     int // what is still to come of it

	response   *response // the server's latest; may be nil
	responseOf uint32    // the stream that it is on
}

func newFrames(c *calls, fromClient bool) *frames {
	f := &frames{calls: c, fromClient: fromClient}
	if fromClient {
		f.preface = []byte(h2Preface)
	}
	return f
}

// follow takes notice of p, and keeps none of it. It returns how much of p there is
// up to the last point between two frames.
func (f *frames) follow(p []byte) (whole int) {
	all := len(p)
	if n := min(len(f.preface), len(p)); n > 0 {
		if !bytes.Equal(f.preface[:n], p[:n]) {
			f.giveUp()
			return 0
		}
		f.preface, p = f.preface[n:], p[n:]
		if len(f.preface) == 0 {
			f.calls.http2.Store(true)
		}
	}
	for len(p) > 0 && !f.done {
		if f.payload > 0 {
			n := min(f.payload, len(p))
			if f.kind == h2Data && f.response != nil {
				f.response.follow(p[:n])
			}
			f.payload -= n
			p = p[n:]
			if f.payload == 0 && !f.fromClient {
				f.count()
			}
		} else if f.have == 0 && len(p) >= h2HeaderSize {
			f.frame(p[:h2HeaderSize])
			p = p[h2HeaderSize:]
		} else {
			n := copy(f.header[f.have:], p)
			f.have += n
			p = p[n:]
			if f.have == h2HeaderSize {
				f.have = 0
				f.frame(f.header[:])
			}
		}
		if f.between() {
			whole = all - len(p)
		}
	}
	return whole
}

// frame takes notice of the frame that has header.
func (f *frames) frame(header []byte) {
	if !f.begun && header[3] != h2Settings { // RFC 9113 §3.4
		f.giveUp()
		return
	}
	f.begun = true
	f.payload = int(header[0])<<16 | int(header[1])<<8 | int(header[2])
	f.kind, f.flags = header[3], header[4]
	f.stream = binary.BigEndian.Uint32(header[5:]) &^ h2ReservedBits
	if !f.fromClient && f.calls != nil && (f.kind == h2Headers || f.kind == h2Data) {
		f.respond()
	}
	if f.fromClient || f.payload == 0 {
		f.count()
	}
}

// respond finds the response that the current frame is a part of.
func (f *frames) respond() {
	if f.response == nil || f.responseOf != f.stream {
		f.response, f.responseOf = f.calls.response(f.stream), f.stream
	}
	if f.response != nil && f.kind == h2Data && f.flags&h2Padded != 0 {
		f.response.padded = true
	}
}

// count counts the frame: a client's at its header, so that a call is known
// before it is sent, a server's when it is whole, so that a call isn't over
// before the client has all of it.
func (f *frames) count() {
	kind, flags := f.kind, f.flags
	switch kind {
	case h2Headers:
		f.inBlock, f.ending = flags&h2EndHeaders == 0, flags&h2EndStream != 0
		if f.inBlock && !f.fromClient {
			return // the end comes with the block's
		}
	case h2Continuation:
		if flags&h2EndHeaders == 0 {
			return
		}
		f.inBlock = false
		if !f.fromClient {
			kind, flags = h2Headers, 0
			if f.ending {
				flags = h2EndStream
			}
		}
	}
	if kind == h2Headers && f.response != nil {
		f.response.begun = true
	}
	if f.calls != nil {
		f.calls.frame(kind, flags, f.stream, f.fromClient)
	}
}

// between reports whether another frame may come behind what has been followed.
func (f *frames) between() bool {
	return f.begun && !f.done && f.have == 0 && f.payload == 0 && !f.inBlock
}

func (f *frames) giveUp() {
	f.done = true
	if f.calls != nil {
		f.calls.update(f.calls.giveUp)
	}
}
