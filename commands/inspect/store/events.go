package store

import (
	"slices"
	"time"

	"github.com/wstun/wstun/tunnel/trace"
)

// Event is an event of a call in the store, as a trace has it.
type Event struct {
	trace.Event
	Redacted []string // the fields that Data has lost
}

// Events returns the events of a call, in their order. Where messages are missing, so are
// numbers in Seq.
func (s *Store) Events(id uint64) []*Event {
	d := s.Call(id)
	if d == nil {
		return nil
	}
	messages, _ := s.Messages(id, 0, MaxMessages+1)
	var events []*Event
	add := func(e *trace.Event, redacted []string) { events = append(events, &Event{*e, redacted}) }
	add(d.beginning(), nil)
	if d.HasHeaders {
		add(d.headers(), nil)
	}
	template := *d.event(0, 0, 0)
	for _, m := range messages {
		add(m.event(template), m.Redacted)
	}
	if d.HasClose {
		add(d.event(trace.ClientHalfClose, trace.Client, d.LastRequest), nil)
	}
	slices.SortStableFunc(events[1:], func(a, b *Event) int { return a.Time.Compare(b.Time) })
	if end := d.EndEvent(); end != nil {
		add(end, nil)
	}
	number(events, messages, d)
	return events
}

// number sets Seq, with gaps for missing messages.
func number(events []*Event, messages []*Message, d *Details) {
	missing := uint32(0)
	if d.Lost() > 0 {
		missing++ // it isn't known where
	}
	next, i := uint64(0), 0
	for n, e := range events {
		if e.Type == trace.ClientMessage || e.Type == trace.ServerMessage {
			missing += uint32(messages[i].Position - next) //nolint:gosec // a call has fewer
			next = messages[i].Position + 1
			i++
		}
		e.Seq = uint32(n) + 1 + missing
		if n == 0 {
			e.Seq = 1
		}
	}
}

func (d *Details) beginning() *trace.Event {
	e := d.event(trace.ClientHeader, trace.Client, 0)
	e.Authority, e.Timeout, e.Metadata, e.Omitted = d.Authority, d.Timeout, d.Request, d.Omitted
	return e
}

func (d *Details) headers() *trace.Event {
	e := d.event(trace.ServerHeader, trace.Server, d.Headers)
	e.Metadata = d.Response
	return e
}

// EndEvent returns the event that has ended the call, nil if it is open.
func (d *Details) EndEvent() *trace.Event {
	if !d.Ended {
		return nil
	}
	e := d.event(d.End, d.Side, d.Duration)
	e.Duration, e.Timeout, e.Code, e.Message, e.Metadata = d.Duration, d.Timeout, d.Code, d.Message, d.Trailers
	e.HTTPStatus, e.ContentType, e.HTTP2Code = d.HTTPStatus, d.ContentType, d.HTTP2Code
	e.Sent, e.Received, e.Omitted = d.Sent, d.Received, d.Omitted
	return e
}

// event returns an event of the call, that long after its beginning.
func (d *Details) event(t trace.Type, side trace.Side, after time.Duration) *trace.Event {
	return &trace.Event{
		Type: t, Side: side, Time: d.Start.Add(after), Session: d.Session, Stream: d.Stream, Call: d.ID,
		Method: d.Method, IsGRPC: d.IsGRPC, Code: trace.NoStatus,
	}
}

// event returns the event of a message; e has the fields that all events of the call share.
func (m *Message) event(e trace.Event) *trace.Event {
	e.Type, e.Side = trace.ClientMessage, trace.Client
	if m.FromServer {
		e.Type, e.Side = trace.ServerMessage, trace.Server
	}
	e.Size, e.Data, e.Encoding, e.Whole, e.Time = m.Size, m.Data, m.Encoding, m.Whole, m.Time
	return &e
}

// Event returns the event of a message of the call.
func (d *Details) Event(m *Message) *trace.Event { return m.event(*d.event(0, 0, 0)) }
