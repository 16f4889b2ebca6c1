package recording

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/trace"
)

// maxOpenCalls is how many open calls are followed. The recorder has memory for fewer;
// a file may have any number.
const maxOpenCalls = 1 << 17

// openCall is an open call in pcapng.
type openCall struct {
	conn       *conn
	stream     uint32 // of HTTP/2
	seq        uint32 // of the last event
	isAnswered bool   // the response has begun

	// held is the beginning of a response that isn't gRPC: its HTTP status is known only at
	// the end.
	held *trace.Event
}

// line appends the packets for a line.
func (p *Pcapng) line(l *Line) {
	if l.Event == HeaderLine && !l.Continued { // another process, with its own numbers
		p.forget()
	}
	e := l.ToEvent()
	if e == nil {
		return
	}
	p.at = e.Time
	switch e.Type {
	case trace.GoAway:
		p.goAway(e)
	case trace.Other:
		p.other(e)
	case trace.Lost:
		p.lost(e, l)
	default:
		if e.Call != 0 {
			p.callEvent(e, l)
		}
	}
}

func (p *Pcapng) goAway(e *trace.Event) {
	c := p.conns[connKey{e.Session, e.Stream}]
	if c == nil {
		c = p.newConn(connKey{e.Session, e.Stream})
	}
	if e.Side == trace.Wstun {
		p.comment("sent by wstun")
	}
	var last uint32 // all calls so far are processed
	if c.next > 1 {
		last = c.next - 2
	}
	p.frame(c, sender(e), http2.FrameGoAway, 0, 0,
		be.AppendUint32(nil, last), be.AppendUint32(nil, uint32(e.HTTP2Code)), []byte(e.Message[:min(len(e.Message), maxDebugData)]))
}

func (p *Pcapng) other(e *trace.Event) {
	where := fmt.Sprintf("session %d", e.Session)
	if e.Stream != 0 {
		where += fmt.Sprintf(", yamux stream %d", e.Stream)
	}
	if e.Message == "" {
		p.note(e.Session, "%s: ended, with %d bytes sent and %d received", where, e.Sent.Bytes, e.Received.Bytes)
		return
	}
	p.note(e.Session, "%s: %s", where, e.Message)
}

func (p *Pcapng) lost(e *trace.Event, l *Line) {
	var parts []string
	add := func(n uint64, name string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	add(e.Lost.Calls, "calls")
	add(e.Lost.Events, "events")
	add(e.Lost.Conns, "connections")
	add(uint64(max(e.Lost.Bytes, 0)), "bytes of messages")
	if l.Lost != nil {
		add(uint64(max(l.Lost.Lines, 0)), "lines")
	}
	p.note(e.Session, "missing here: %s", cmp.Or(strings.Join(parts, ", "), "events"))
}

// sender returns the side that sends the frame of e.
func sender(e *trace.Event) trace.Side {
	if e.Side == trace.Client {
		return trace.Client
	}
	return trace.Server
}

// callEvent appends the packets for an event of a call.
func (p *Pcapng) callEvent(e *trace.Event, l *Line) {
	c := p.calls[e.Call]
	if c == nil {
		c = p.newCall(e)
	}
	if e.Seq > c.seq+1 {
		p.comment("events of this call are missing before this one")
	}
	c.seq = e.Seq
	switch e.Type {
	case trace.ServerHeader:
		if c.held = e; isGRPC(e.Metadata) {
			p.response(c, "200")
		}
	case trace.ClientMessage:
		p.message(c, trace.Client, e.Data, messageComments(l))
	case trace.ServerMessage:
		p.response(c, "200")
		p.message(c, trace.Server, e.Data, messageComments(l))
	case trace.ClientHalfClose:
		p.frame(c.conn, trace.Client, http2.FrameData, http2.FlagDataEndStream, c.stream)
	case trace.ServerTrailer:
		p.trailer(c, e)
	case trace.Cancel:
		p.reset(c, sender(e), e.HTTP2Code)
	case trace.Cut:
		p.comment("no side has reset this call: it was cut: %s", e.Message)
		p.reset(c, trace.Server, http2.ErrCodeConnect)
		c.conn.isCut = true
	}
	if e.IsEnd() {
		p.endCall(c, e)
	}
}

// newCall begins the call of e, its first event since all were forgotten.
func (p *Pcapng) newCall(e *trace.Event) *openCall {
	if len(p.calls) >= maxOpenCalls {
		clear(p.calls)
		clear(p.conns)
	}
	key := connKey{e.Session, e.Stream}
	conn := p.conns[key]
	if conn == nil || conn.next > maxStream {
		conn = p.newConn(key)
	}
	c := &openCall{conn: conn, stream: conn.next, seq: e.Seq - 1}
	conn.next += 2
	conn.open++
	p.calls[e.Call] = c
	if e.Type != trace.ClientHeader {
		p.comment("the beginning of this call is missing: this header list is made up")
		e = &trace.Event{Method: e.Method}
	}
	p.field(":method", "POST")
	p.field(":scheme", "http")
	p.field(":path", cmp.Or(e.Method, "?"))
	if e.Authority != "" {
		p.field(":authority", e.Authority)
	}
	p.field("content-type", contentType(e.Metadata))
	p.metadata(e.Metadata, "content-type")
	p.headers(c, trace.Client, 0)
	return c
}

// endCall forgets the call that e ends.
func (p *Pcapng) endCall(c *openCall, e *trace.Event) {
	delete(p.calls, e.Call)
	if c.conn.open--; c.conn.open > 0 || !c.conn.isCut {
		return
	}
	p.segment(c.conn, trace.Server, rstFlag|ackFlag, nil)
	if p.conns[c.conn.key] == c.conn {
		delete(p.conns, c.conn.key)
	}
}

func (p *Pcapng) reset(c *openCall, from trace.Side, code http2.ErrCode) {
	p.frame(c.conn, from, http2.FrameRSTStream, 0, c.stream, be.AppendUint32(nil, uint32(code)))
}

// response begins the response with this HTTP status, unless it has begun.
func (p *Pcapng) response(c *openCall, status string) {
	if c.isAnswered {
		return
	}
	var fields []hpack.HeaderField
	if c.held != nil {
		fields = c.held.Metadata
	} else {
		p.comment("the beginning of this response is missing: this header list is made up")
	}
	c.isAnswered, c.held = true, nil
	p.field(":status", status)
	p.field("content-type", contentType(fields))
	p.metadata(fields, "content-type")
	p.headers(c, trace.Server, 0)
}

// trailer ends the response.
func (p *Pcapng) trailer(c *openCall, e *trace.Event) {
	if e.Side == trace.Wstun {
		p.comment("wstun answered this call itself")
	}
	httpStatus := cmp.Or(e.HTTPStatus, "200")
	if c.held != nil {
		p.response(c, httpStatus)
	}
	var except []string
	if !c.isAnswered { // Trailers-Only
		p.field(":status", httpStatus)
	}
	if e.Code != trace.NoStatus {
		except = []string{"grpc-status", "grpc-message"}
		if !c.isAnswered {
			p.field("content-type", contentType(e.Metadata))
			except = append(except, "content-type")
		}
		p.field("grpc-status", strconv.FormatUint(uint64(e.Code), 10))
		if e.Message != "" {
			p.field("grpc-message", escapeMessage(e.Message))
		}
	}
	p.metadata(e.Metadata, except...)
	if p.block.Len() == 0 { // it ends without trailers
		p.frame(c.conn, trace.Server, http2.FrameData, http2.FlagDataEndStream, c.stream)
		return
	}
	p.headers(c, trace.Server, http2.FlagHeadersEndStream)
}

// messageComments says how a message differs from the one that was sent.
func messageComments(l *Line) (comments []string) {
	size := int64(0)
	if l.Size != nil {
		size = *l.Size
	}
	switch {
	case l.Encoding != "":
		comments = append(comments, fmt.Sprintf("this message was sent as %d bytes, compressed with %s", size, l.Encoding))
	case int64(len(l.Data)) != size:
		comments = append(comments, fmt.Sprintf("this message was sent as %d bytes", size))
	}
	switch missing := size - int64(len(l.Data)); {
	case l.Data == nil && size > 0:
		comments = append(comments, "its bytes aren't recorded")
	case l.Truncated && l.Encoding == "" && len(l.Redacted) == 0:
		comments = append(comments, fmt.Sprintf("its last %d bytes aren't recorded", missing))
	case l.Truncated:
		comments = append(comments, "its end isn't recorded")
	}
	if l.Note != "" {
		comments = append(comments, l.Note)
	}
	if len(l.Redacted) > 0 {
		comments = append(comments, "secrets are removed: "+strings.Join(l.Redacted, ", "))
	}
	return comments
}
