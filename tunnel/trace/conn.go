package trace

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// The memory in bytes, charged to the Tracer, of a connection with its HPACK
// tables, of an open call, and of its place in the map. A map doesn't shrink.
const (
	connMemory = 4<<10 + 2*tableOverhead*initialTable
	callMemory = 1 << 10
	slotMemory = 48
)

// maxCalls is how many open calls of a connection are traced, and maxFree how many
// ended ones are kept for reuse.
const (
	maxCalls = 1 << 14
	maxFree  = 8
)

// The longest texts of a call that are kept, in bytes: its method; an HTTP status; a
// content type or an encoding.
const (
	maxMethod = 512
	maxStatus = 3
	maxShort  = 100
)

// maxDebugData is how much of a GOAWAY's debug data is kept, in bytes.
const maxDebugData = 1 << 10

// conn decodes both directions of an HTTP/2 connection. It is used by one goroutine at a
// time.
type conn struct {
	tracer  *Tracer
	session uint64
	stream  uint32
	now     time.Time
	since   time.Time // of a Local: the beginning of its calls

	client, server direction // by sender
	list           headerList
	calls          map[uint32]*call
	slots          int     // the most calls that the map has had
	lastStream     uint32  // of the latest call that has begun, traced or not
	free           []*call // for reuse
	latest         *call   // the last result of call
	event          Event   // the next one, zero in between
	used           int64   // charged to the Tracer
}

// newConn returns nil if the Tracer has no memory left.
func newConn(t *Tracer, session uint64, stream uint32) *conn {
	if !t.charge(connMemory) {
		return nil
	}
	c := &conn{tracer: t, session: session, stream: stream, calls: map[uint32]*call{}, used: connMemory}
	c.client.init(c, Client)
	c.server.init(c, Server)
	return c
}

// charge is that of Tracer. close returns the rest.
func (c *conn) charge(n int64) bool {
	ok := c.tracer.charge(n)
	if ok {
		c.used += n
	}
	return ok
}

// grow returns b with room for n more bytes, up to limit, and charges for them. It returns
// false if no memory is left.
func (c *conn) grow(b []byte, n, limit int) ([]byte, bool) {
	size := len(b) + n
	if size <= cap(b) {
		return b, true
	}
	const smallest = 512
	size = min(max(size, 2*cap(b), smallest), limit)
	if !c.charge(int64(size - cap(b))) {
		return b, false
	}
	return append(make([]byte, 0, size), b...), true
}

// release empties b. It is kept for reuse if it is small.
func (c *conn) release(b []byte) []byte {
	const most = 4 << 10
	if cap(b) <= most {
		return b[:0]
	}
	c.charge(-int64(cap(b)))
	return nil
}

// scan scans p, the next bytes of a direction.
func (c *conn) scan(d *direction, p []byte) error {
	c.now = time.Now()
	d.scanner.Scan(p)
	if d.err != nil {
		return d.err
	}
	return d.scanner.Err()
}

// close ends the open calls with Cut, because of reason. c must not be used any more.
func (c *conn) close(reason string) {
	defer func() { c.charge(-c.used) }()
	c.now = time.Now()
	for _, k := range c.open() {
		c.begin(k, Cut, Wstun).Message = reason
		c.finish(k)
	}
}

// open returns the open calls, the oldest first.
func (c *conn) open() []*call {
	return slices.SortedFunc(maps.Values(c.calls), func(a, b *call) int { return cmp.Compare(a.number, b.number) })
}

// fail reports a panic of the decoder and ends the open calls. c must not be used any more.
func (c *conn) fail(panicked any) {
	defer c.tracer.open.drop(c)
	defer func() { _ = recover() }() // c may be in any state
	c.event = Event{}
	c.newEvent(Other, Wstun).Message = fmt.Sprintf("a bug of wstun ended the trace of this connection: %v\n%s", panicked, debug.Stack())
	c.putEvent(c.tracer.current())
	c.close("the trace of this connection has ended")
}

// direction is one direction of a connection.
type direction struct {
	conn    *conn
	sender  Side
	scanner *h2.Scanner
	headers headers
	control []byte // the payload of a control frame
	err     error  // why it isn't HTTP/2, although the scanner accepts it
}

func (d *direction) init(c *conn, sender Side) {
	d.conn, d.sender = c, sender
	d.headers.allowed, d.headers.table = initialTable, initialTable
	d.scanner = h2.NewScanner(h2.Direction(sender == Server), h2.Visitor{Frame: d.frame, Payload: d.payload, End: d.end})
}

// receiver returns the other direction, in which the receiver of this one sends.
func (d *direction) receiver() *direction {
	if d.sender == Client {
		return &d.conn.server
	}
	return &d.conn.client
}

func (d *direction) frame(h h2.Header) {
	d.control = d.control[:0]
	const maxFrame = 1 << 14                                                // RFC 9113 §4.2
	if !d.scanner.PrefaceDone() && (h.Length > maxFrame || h.Stream != 0) { // such as TLS records with 0x04 in this place
		d.err = h2.ErrNotHTTP2
	}
}

func (d *direction) payload(h h2.Header, p []byte) {
	switch h.Type {
	case http2.FrameData:
		if k := d.conn.call(h.Stream); k != nil {
			d.conn.data(k, d.sender, p)
		}
	case http2.FrameHeaders, http2.FramePushPromise:
		d.headers.write(d, p)
	case http2.FrameSettings:
		d.settings(p)
	case http2.FrameRSTStream, http2.FrameGoAway:
		d.control = append(d.control, p[:min(len(p), 8+maxDebugData-len(d.control))]...)
	}
}

// settings scans the next bytes of a SETTINGS frame (RFC 9113 §6.5.1).
func (d *direction) settings(p []byte) {
	const length = 6
	for len(p) > 0 {
		n := min(len(p), length-len(d.control))
		d.control, p = append(d.control, p[:n]...), p[n:]
		if len(d.control) < length {
			return
		}
		if http2.SettingID(binary.BigEndian.Uint16(d.control)) == http2.SettingHeaderTableSize {
			d.receiver().headers.allowTable(binary.BigEndian.Uint32(d.control[2:]))
		}
		d.control = d.control[:0]
	}
}

func (d *direction) end(h h2.Header) {
	c := d.conn
	switch h.Type {
	case http2.FrameData:
		if k := c.call(h.Stream); k != nil && h.Flags.Has(http2.FlagDataEndStream) {
			c.endStream(k, d.sender)
		}
	case http2.FrameHeaders:
		d.headers.decode(d)
		d.endHeaders(h)
		c.list.reset()
	case http2.FramePushPromise:
		d.headers.decode(d)
		c.list.reset()
	case http2.FrameRSTStream:
		if k := c.call(h.Stream); k != nil && len(d.control) == 4 {
			c.begin(k, Cancel, d.sender).HTTP2Code = http2.ErrCode(binary.BigEndian.Uint32(d.control))
			c.finish(k)
		}
	case http2.FrameGoAway:
		if len(d.control) >= 8 {
			e := c.newEvent(GoAway, d.sender)
			e.HTTP2Code = http2.ErrCode(binary.BigEndian.Uint32(d.control[4:]))
			e.Message = string(d.control[8:])
			c.putEvent(c.tracer.current())
		}
	}
	if cap(d.control) > 64 {
		d.control = nil
	}
}

// endHeaders handles a complete header list.
func (d *direction) endHeaders(h h2.Header) {
	c, list, endStream := d.conn, &d.conn.list, h.Flags.Has(http2.FlagHeadersEndStream)
	k := c.call(h.Stream)
	switch {
	case d.sender == Client && k == nil:
		if h.Stream <= c.lastStream { // trailers of a call that has ended, or isn't traced (RFC 9113 §5.1.1)
			return
		}
		c.lastStream = h.Stream
		if k = c.newCall(h.Stream); k == nil {
			return
		}
		c.beginCall(k, list)
		if endStream {
			c.endStream(k, Client)
		}
	case d.sender == Client:
		if endStream { // trailers, which gRPC doesn't have
			c.endStream(k, Client)
		}
	case k == nil: // of a call that has ended, or isn't traced
	case endStream:
		c.trailer(k, list)
	case len(list.status) == 3 && list.status[0] == '1': // interim, RFC 9110 §15.2
	default:
		c.serverHeader(k, list)
	}
}

// call returns the open call on a stream, or nil.
func (c *conn) call(stream uint32) *call {
	if c.latest != nil && c.latest.stream == stream {
		return c.latest
	}
	k := c.calls[stream]
	if k != nil {
		c.latest = k
	}
	return k
}

// newEvent returns the next event, for putEvent.
func (c *conn) newEvent(t Type, by Side) *Event {
	e := &c.event
	e.Type, e.Side, e.Time, e.Session, e.Stream, e.Code = t, by, c.now, c.session, c.stream, NoStatus
	return e
}

// putEvent queues the event, and forgets it: it refers to the bytes of the stream. It returns
// the outputs that have accepted it.
func (c *conn) putEvent(to outputs) (accepted outputs) {
	accepted = to.put(&c.event)
	c.event = Event{}
	return accepted
}

// isGRPC reports whether a content type is gRPC's (PROTOCOL-HTTP2.md of gRPC,
// Content-Type).
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}
