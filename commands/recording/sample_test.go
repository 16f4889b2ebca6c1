package recording

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// sample writes the lines of a recording.
type sample struct {
	b     []byte
	at    time.Time
	calls map[uint64]*sampleCall
}

// sampleCall is a call of a sample.
type sampleCall struct {
	trace.Event // that all its events have in common
	sample      *sample
}

func newSample() *sample {
	s := &sample{at: time.Date(2026, 1, 2, 15, 4, 5, 600_000_000, time.UTC), calls: map[uint64]*sampleCall{}}
	s.line(&Line{Event: HeaderLine, Time: formatTime(s.at), Version: Version, Wstun: "1.0.0"})
	return s
}

func (s *sample) line(l *Line) {
	s.b = l.Append(s.b)
}

// event adds an event after another millisecond.
func (s *sample) event(e trace.Event) *Line {
	s.at = s.at.Add(time.Millisecond)
	e.Time = s.at
	return FromEvent(&e)
}

// call begins a call.
func (s *sample) call(session uint64, stream uint32, method string) *sampleCall {
	c := &sampleCall{sample: s, Event: trace.Event{Session: session, Stream: stream, Call: uint64(len(s.calls) + 1), Method: method, Code: trace.NoStatus}}
	s.calls[c.Call] = c
	l := c.event(trace.ClientHeader)
	l.Authority, l.Metadata = "localhost", map[string][]string{
		"content-type": {"application/grpc"}, "te": {"trailers"}, "authorization": {trace.Redacted}, "trace-bin": {"AAEC"},
	}
	s.line(l)
	return c
}

func (c *sampleCall) event(t trace.Type) *Line {
	c.Type = t
	c.Seq++
	return c.sample.event(c.Event)
}

// add adds an event with the members that edit sets.
func (c *sampleCall) add(t trace.Type, edit func(*Line)) *sampleCall {
	l := c.event(t)
	if edit != nil {
		edit(l)
	}
	c.sample.line(l)
	return c
}

func (c *sampleCall) message(t trace.Type, data string) *sampleCall {
	return c.add(t, func(l *Line) { l.Size, l.Data = new(int64(len(data))), []byte(data) })
}

func (c *sampleCall) request(data string) *sampleCall { return c.message(trace.ClientMessage, data) }

func (c *sampleCall) response(data string) *sampleCall { return c.message(trace.ServerMessage, data) }

func (c *sampleCall) halfClose() *sampleCall { return c.add(trace.ClientHalfClose, nil) }

// header adds the beginning of the response, with more metadata.
func (c *sampleCall) header(more ...string) *sampleCall {
	return c.add(trace.ServerHeader, func(l *Line) {
		l.Metadata = map[string][]string{"content-type": {"application/grpc"}}
		for i := 0; i < len(more); i += 2 {
			l.Metadata[more[i]] = []string{more[i+1]}
		}
	})
}

// end ends the call with a status.
func (c *sampleCall) end(code codes.Code, message string, details []byte) {
	c.add(trace.ServerTrailer, func(l *Line) {
		l.Status = &Status{Code: uint32(code), Name: StatusName(code), Message: message, Data: details}
		l.Metadata = map[string][]string{"grpc-status": {"99"}, "grpc-message": {"not this one"}, "x-trailer": {"1"}}
	})
}

func (c *sampleCall) cancel(by trace.Side, code http2.ErrCode) {
	c.add(trace.Cancel, func(l *Line) { l.By, l.Code = by.String(), CodeName(code) })
}

// name returns a message of demo.v1.Key with a name.
func name(s string) string { return "\n" + string(rune(len(s))) + s }

// fullSample has one call of each kind.
func fullSample() *sample {
	s := newSample()
	s.call(1, 3, "/demo.v1.Hub/Unary").request(name("z9")).halfClose().header().response(name("z9")).end(codes.OK, "", nil)
	c := s.call(1, 3, "/demo.v1.Hub/ServerStream").request(name("a")).halfClose().header()
	for i := range 20 {
		c.response(name(fmt.Sprint(i)))
	}
	c.end(codes.OK, "", nil)
	c = s.call(1, 3, "/demo.v1.Hub/ClientStream")
	for i := range 10 {
		c.request(name(fmt.Sprint(i)))
	}
	c.halfClose().header().response("").end(codes.OK, "", nil)
	// Two calls at once, on two connections.
	c, d := s.call(1, 3, "/demo.v1.Hub/Bidi").header(), s.call(1, 5, "/demo.v1.Hub/Bidi").header()
	for range 3 {
		c.request(name("c"))
		d.request(name("d")).response(name("d"))
		c.response(name("c"))
	}
	d.halfClose().end(codes.OK, "", nil)
	c.halfClose().end(codes.OK, "", nil)
	s.call(1, 3, "/demo.v1.Hub/Error").request(name("z9")).halfClose().header().
		end(codes.AlreadyExists, "key \"z9\" already exists: 100% größer\n", []byte("\x08\x06\x12\x01x"))
	s.call(1, 3, "/demo.v1.Hub/CancelByClient").request(name("z9")).cancel(trace.Client, http2.ErrCodeCancel)
	s.call(1, 3, "/demo.v1.Hub/CancelByServer").request(name("z9")).header().cancel(trace.Server, http2.ErrCodeEnhanceYourCalm)
	s.call(1, 3, "/demo.v1.Hub/TrailersOnly").request(name("z9")).halfClose().end(codes.NotFound, "no such key", nil)
	s.call(1, 3, "/demo.v1.Hub/HTTPStatus").add(trace.ServerHeader, func(l *Line) {
		l.Metadata = map[string][]string{"content-type": {"text/html"}}
	}).add(trace.ServerTrailer, func(l *Line) { l.Status, l.HTTP = nil, "502" })
	s.call(1, 3, "/demo.v1.Hub/Large").request(string(bytes.Repeat([]byte("\n\x7f"+string(bytes.Repeat([]byte("x"), 127))), 5<<20/129))).
		halfClose().header().response(name("z9")).end(codes.OK, "", nil)
	s.call(1, 3, "/demo.v1.Hub/Missing").header("grpc-encoding", "gzip", "content-encoding", "gzip").response(name("not compressed")).
		add(trace.ClientMessage, func(l *Line) { l.Size = new(int64(1200)) }).
		add(trace.ClientMessage, func(l *Line) { l.Size, l.Data, l.Truncated = new(int64(1200)), []byte(name("cut off")), true }).
		add(trace.ClientMessage, func(l *Line) {
			l.Size, l.Data, l.Encoding = new(int64(40)), []byte(name("was compressed")), "gzip"
		}).
		add(trace.ClientMessage, func(l *Line) {
			l.Size, l.Data, l.Redacted = new(int64(4)), []byte(name(trace.Redacted)), []string{"secret"}
		}).
		halfClose().end(codes.OK, "", nil)
	s.call(2, 3, "/demo.v1.Hub/Unary").request(name("z9")).halfClose().header().response(name("z9")).end(codes.OK, "", nil)
	s.line(s.event(trace.Event{Type: trace.Other, Session: 2, Stream: 7, Message: "TLS"}))
	s.line(s.event(trace.Event{Type: trace.Lost, Lost: trace.Losses{Events: 1204, Bytes: 3 << 20}}))
	s.call(0, 0, "/demo.v1.Hub/Refused").request(name("z9")).add(trace.ServerTrailer, func(l *Line) {
		l.Source, l.Status = trace.Wstun.String(), &Status{Code: uint32(codes.Unavailable), Message: "no session is up"}
	})
	s.line(s.event(trace.Event{Type: trace.GoAway, Side: trace.Server, Session: 2, Stream: 3, HTTP2Code: http2.ErrCodeEnhanceYourCalm, Message: "too_many_pings"}))
	for _, c := range []*sampleCall{s.call(2, 3, "/demo.v1.Hub/Cut").request(name("z9")), s.call(2, 3, "/demo.v1.Hub/Cut").header()} {
		c.add(trace.Cut, func(l *Line) { l.Reason = "session lost: close 1006" })
	}
	return s
}
