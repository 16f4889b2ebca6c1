package trace

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/h2"
)

// call is an open call.
type call struct {
	number  uint64
	stream  uint32 // of HTTP/2
	seq     uint32
	method  string
	isGRPC  bool
	outputs outputs // that have accepted its beginning, and have room for its end
	limit   int     // how much of each message is kept
	begun   time.Time
	timeout time.Duration
	open    *openCall

	requests, responses messages

	// Of the response, from its first header list.
	httpStatus, contentType string
}

// messages are the messages of one direction of a call.
type messages struct {
	h2.Messages
	encoding string
	body     []byte // of the current message, the part that is kept
	lost     bool   // there was no memory for more of it
	ignored  bool   // the content type isn't gRPC's
	count    Count
}

// newCall returns a new call on a stream, or nil if it can't be traced.
func (c *conn) newCall(stream uint32) *call {
	memory := int64(callMemory)
	if len(c.calls) == c.slots {
		memory += slotMemory
	}
	if len(c.calls) >= maxCalls || !c.charge(memory) {
		c.tracer.lose(Losses{Calls: 1})
		return nil
	}
	c.slots = max(c.slots, len(c.calls)+1)
	var k *call
	if n := len(c.free); n > 0 {
		k, c.free = c.free[n-1], c.free[:n-1]
	} else {
		k = &call{}
	}
	k.stream, k.begun, k.number = stream, c.now, c.tracer.calls.Add(1)
	if !c.since.IsZero() {
		k.begun = c.since
	}
	c.calls[stream], c.latest = k, k
	return k
}

// begin returns the next event of k, with its common fields.
func (c *conn) begin(k *call, t Type, by Side) *Event {
	e := c.newEvent(t, by)
	k.seq++
	e.Call, e.Seq, e.Method, e.IsGRPC = k.number, k.seq, k.method, k.isGRPC
	e.Sent, e.Received = k.requests.count, k.responses.count
	return e
}

// beginCall handles the header list of a request.
func (c *conn) beginCall(k *call, l *headerList) {
	method, _, _ := strings.Cut(l.path, "?") // a query may have credentials
	k.method, k.isGRPC = cmp.Or(truncate(method, maxMethod), "?"), isGRPC(l.contentType)
	if l.err != nil {
		k.method, k.isGRPC = "?", true
	}
	k.open = c.tracer.open.begin(c, k)
	k.requests.begin(l, !k.isGRPC)
	k.responses.ignored = !k.isGRPC
	e := c.begin(k, ClientHeader, Client)
	k.timeout = parseTimeout(l.timeout)
	e.Authority, e.Timeout, e.Metadata = truncate(l.authority, maxMethod), k.timeout, l.fields
	e.Omitted = l.omitted
	k.outputs = c.putEvent(c.tracer.current())
	k.limit = k.outputs.bodyLimit(k.method)
}

// putCallEvent queues the event, which is k's.
func (c *conn) putCallEvent(k *call) {
	accepted := c.putEvent(k.outputs)
	if accepted.bits != k.outputs.bits { // others are detached
		k.outputs, k.limit = accepted, accepted.bodyLimit(k.method)
	}
}

// begin handles the header list of a direction.
func (m *messages) begin(l *headerList, ignored bool) {
	m.encoding, m.ignored = truncate(l.encoding, maxShort), ignored
}

// truncate returns a part of s up to n bytes, without a reference to the rest.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(s[:n])
}

// serverHeader handles the header list of a response.
func (c *conn) serverHeader(k *call, l *headerList) {
	k.responses.begin(l, !k.isGRPC || l.contentType != "" && !isGRPC(l.contentType))
	k.response(l)
	e := c.begin(k, ServerHeader, Server)
	e.Metadata, e.Omitted = l.fields, l.omitted
	c.putCallEvent(k)
}

// response keeps the first header list of a response.
func (k *call) response(l *headerList) {
	k.httpStatus, k.contentType = truncate(l.status, maxStatus), truncate(l.contentType, maxShort)
}

// trailer handles the last header list of a response.
func (c *conn) trailer(k *call, l *headerList) {
	if l.status != "" { // Trailers-Only
		k.response(l)
	}
	e := c.begin(k, ServerTrailer, Server)
	e.Metadata, e.Omitted, e.Message = l.fields, l.omitted, unescapeMessage(truncate(l.grpcMessage, maxFields))
	if code, err := strconv.ParseUint(l.grpcStatus, 10, 31); err == nil {
		e.Code = codes.Code(code)
	}
	c.finish(k)
}

// endStream handles the last frame of a direction that has no trailers.
func (c *conn) endStream(k *call, sender Side) {
	if sender == Client {
		c.begin(k, ClientHalfClose, Client)
		c.putCallEvent(k)
		return
	}
	c.begin(k, ServerTrailer, Server)
	c.finish(k)
}

// finish queues c.event, which ends k, and forgets k.
func (c *conn) finish(k *call) {
	e := &c.event
	e.Duration, e.Timeout = c.now.Sub(k.begun), k.timeout
	if e.Code == NoStatus {
		e.HTTPStatus, e.ContentType = k.httpStatus, k.contentType
	}
	c.tracer.open.end(k.open, e.Code)
	c.putCallEvent(k)
	delete(c.calls, k.stream)
	c.latest = nil
	c.charge(-callMemory - int64(cap(k.requests.body)) - int64(cap(k.responses.body)))
	*k = call{} // without references to texts and bodies, for reuse
	if len(c.free) < maxFree {
		c.free = append(c.free, k)
	}
}

// data handles the next bytes of a direction of k.
func (c *conn) data(k *call, sender Side, p []byte) {
	m, t := &k.requests, ClientMessage
	if sender == Server {
		m, t = &k.responses, ServerMessage
	}
	if m.ignored {
		m.count.Bytes += int64(len(p))
		return
	}
	for len(p) > 0 {
		var body []byte
		body, p = m.Next(p)
		flags, length := m.Prefix()
		whole := m.AtBoundary() && len(body) == int(length)
		if !whole {
			c.keep(m, body, k.limit)
			body = m.body
		}
		if !m.AtBoundary() {
			continue
		}
		body = body[:min(len(body), k.limit)]
		m.count.Messages++
		k.open.passed(sender, c.now)
		m.count.Bytes += int64(length)
		e := c.begin(k, t, sender)
		e.Size, e.Data = int64(length), body
		if flags&1 != 0 {
			e.Encoding = cmp.Or(m.encoding, "unknown")
		}
		c.putCallEvent(k)
		m.body, m.lost = c.release(m.body), false
	}
}

// keep keeps p, a part of a message, of which limit bytes are kept.
func (c *conn) keep(m *messages, p []byte, limit int) {
	_, length := m.Prefix()
	limit = min(limit, int(length))
	p = p[:min(len(p), max(0, limit-len(m.body)))]
	if len(p) == 0 || m.lost {
		return
	}
	body, ok := c.grow(m.body, len(p), limit)
	if !ok {
		m.lost = true
		c.tracer.lose(Losses{Bytes: int64(limit - len(m.body))})
		return
	}
	m.body = append(body, p...)
}
