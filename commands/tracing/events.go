package tracing

import (
	"encoding/json"
	"time"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// jsonRenderer renders events as JSON, one object a line.
type jsonRenderer struct {
	messages *messages
	secrets  *escape.Secrets // masked, except in messages
}

// object is an event in JSON.
type object struct {
	Event   string `json:"event"` // "rpc"
	Time    string `json:"time"`
	Session uint64 `json:"session,omitempty"`
	Stream  uint32 `json:"stream,omitempty"`
	Call    uint64 `json:"call,omitempty"`
	Seq     uint32 `json:"seq,omitempty"`
	Type    string `json:"type"` // a trace.Type, "open" or "summary"
	Method  string `json:"method,omitempty"`

	Authority string              `json:"authority,omitempty"`
	Timeout   milliseconds        `json:"timeout_ms,omitempty"`
	Metadata  map[string][]string `json:"metadata,omitempty"`

	Size     *int64          `json:"size,omitempty"` // of a message as sent, in bytes
	Encoding string          `json:"compressed,omitempty"`
	Message  json.RawMessage `json:"message,omitempty"`
	Schema   *bool           `json:"schema,omitempty"`         // false: the message has been decoded without one
	Unknown  int             `json:"unknown_fields,omitempty"` // in the message
	Note     string          `json:"note,omitempty"`           // why the message isn't whole

	Status   *jsonStatus  `json:"status,omitempty"`
	HTTP     string       `json:"http_status,omitempty"`
	By       string       `json:"by,omitempty"`     // of cancel and goaway: client or server
	Source   string       `json:"source,omitempty"` // "wstun" if it is the cause
	Code     string       `json:"code,omitempty"`   // of HTTP/2
	Reason   string       `json:"reason,omitempty"`
	Duration milliseconds `json:"ms,omitempty"`
	Sent     *jsonCount   `json:"sent,omitempty"`     // by the client
	Received *jsonCount   `json:"received,omitempty"` // by the client

	Lost    *jsonLost    `json:"lost,omitempty"`
	Summary *jsonSummary `json:"summary,omitempty"`
}

type jsonStatus struct {
	Code    uint32            `json:"code"`
	Name    string            `json:"name"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details,omitempty"`
}

type jsonCount struct {
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

type jsonLost struct {
	Events      uint64 `json:"events,omitempty"`
	Calls       uint64 `json:"calls,omitempty"`
	Bytes       int64  `json:"bytes,omitempty"`
	Connections uint64 `json:"connections,omitempty"`
	Lines       int    `json:"lines,omitempty"` // that couldn't be written
}

type jsonSummary struct {
	OK     int       `json:"ok"`
	Failed int       `json:"failed"`
	Open   int       `json:"open"`
	Hidden int       `json:"hidden"` // calls of reflection, health and channelz
	Lost   *jsonLost `json:"lost,omitempty"`
}

func newObject(kind string, at time.Time) *object {
	return &object{Event: "rpc", Time: at.UTC().Format(time.RFC3339Nano), Type: kind}
}

func (r *jsonRenderer) event(e *trace.Event, _ *call, t *text) []byte {
	o := newObject(e.Type.String(), e.Time)
	o.Session, o.Stream, o.Call, o.Seq, o.Method = e.Session, e.Stream, e.Call, e.Seq, e.Method
	if e.Side == trace.Wstun {
		o.Source = e.Side.String()
	}
	switch e.Type {
	case trace.ClientHeader:
		o.Authority, o.Timeout = e.Authority, toMilliseconds(e.Timeout)
		o.Metadata = r.metadata(e)
	case trace.ServerHeader:
		o.Metadata = r.metadata(e)
	case trace.ClientMessage, trace.ServerMessage:
		if !r.messages.show {
			return nil
		}
		o.Size, o.Encoding = &e.Size, e.Encoding
		if t != nil {
			o.Message, o.Unknown, o.Note = json.RawMessage(t.json), t.unknown, t.note
			if !t.schema {
				o.Schema = new(bool)
			}
		}
	case trace.ServerTrailer, trace.Cancel, trace.Cut:
		r.end(o, e, t)
	case trace.GoAway:
		o.By, o.Code, o.Reason = e.Side.String(), codeName(e.HTTP2Code), e.Message
	case trace.Other:
		o.Reason, o.Duration = e.Message, toMilliseconds(e.Duration)
		if e.Duration > 0 {
			o.Sent, o.Received = count(e.Sent), count(e.Received)
		}
	case trace.Lost:
		o.Lost = jsonLosses(e.Lost)
	case trace.ClientHalfClose:
	}
	return r.line(o)
}

// end sets the members of the end of a call.
func (r *jsonRenderer) end(o *object, e *trace.Event, t *text) {
	o.Metadata = r.metadata(e)
	o.Duration, o.Sent, o.Received = toMilliseconds(e.Duration), count(e.Sent), count(e.Received)
	switch {
	case e.Type == trace.Cancel:
		o.By, o.Code, o.Timeout = e.Side.String(), codeName(e.HTTP2Code), toMilliseconds(e.Timeout)
	case e.Type == trace.Cut:
		o.Reason = e.Message
	case e.Code == trace.NoStatus:
		o.HTTP = e.HTTPStatus
	default:
		o.Status = &jsonStatus{Code: uint32(e.Code), Name: statusName(e.Code), Message: e.Message}
		if t == nil {
			return
		}
		o.Note = t.note
		for _, detail := range t.details {
			o.Status.Details = append(o.Status.Details, json.RawMessage(detail))
		}
	}
}

func (r *jsonRenderer) open(c *call, now time.Time, first bool) []byte {
	if first {
		return nil // its client_header has been printed
	}
	o := newObject("open", now)
	o.Session, o.Call, o.Method, o.Duration = c.session, c.number, c.method, toMilliseconds(c.duration)
	o.Sent, o.Received = count(c.sent), count(c.received)
	return r.line(o)
}

func (*jsonRenderer) more(int) []byte { return nil }

func (r *jsonRenderer) unwritten(lines int) []byte {
	o := newObject(trace.Lost.String(), time.Now())
	o.Lost = &jsonLost{Lines: lines}
	return r.line(o)
}

func (r *jsonRenderer) summary(s *summary) []byte {
	o := newObject("summary", time.Now())
	o.Summary = &jsonSummary{OK: s.ok, Failed: s.failed, Open: s.open, Hidden: s.hidden}
	if s.lost != (trace.Losses{}) {
		o.Summary.Lost = jsonLosses(s.lost)
	}
	return r.line(o)
}

func (r *jsonRenderer) metadata(e *trace.Event) map[string][]string {
	if len(e.Metadata) == 0 {
		return nil
	}
	m := make(map[string][]string, len(e.Metadata))
	for _, f := range e.Metadata {
		if f.Name == detailsKey { // the details are in status, where secrets are hidden
			continue
		}
		m[f.Name] = append(m[f.Name], r.secrets.Mask(f.Value))
	}
	return m
}

func (*jsonRenderer) line(o *object) []byte {
	line, err := json.Marshal(o)
	if err != nil { // a message that isn't JSON: impossible
		o.Message, o.Note = nil, err.Error()
		line, _ = json.Marshal(o)
	}
	return append([]byte(escape.Text(string(line))), '\n')
}

func count(c trace.Count) *jsonCount { return &jsonCount{c.Messages, c.Bytes} }

func jsonLosses(l trace.Losses) *jsonLost {
	return &jsonLost{Events: l.Events, Calls: l.Calls, Bytes: l.Bytes, Connections: l.Conns}
}
