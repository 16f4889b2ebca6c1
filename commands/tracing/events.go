package tracing

import (
	"encoding/json"
	"time"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// jsonRenderer renders events as JSON, one object a line.
type jsonRenderer struct {
	messages *messages
	secrets  *escape.Secrets // masked, except in messages
}

func (r *jsonRenderer) event(e *trace.Event, _ *call, t *text) []byte {
	if l := r.line(e, t); l != nil {
		return l.Append(nil)
	}
	return nil
}

// line returns the line for an event and its message or details, nil if none is needed.
func (r *jsonRenderer) line(e *trace.Event, t *text) *recording.Line {
	l := recording.FromEvent(e)
	l.Reason = r.secrets.Mask(l.Reason)
	if l.Status != nil {
		l.Status.Message = r.secrets.Mask(l.Status.Message)
	}
	switch e.Type {
	case trace.ClientHeader, trace.ServerHeader:
		l.Metadata = r.metadata(e)
	case trace.ClientMessage, trace.ServerMessage:
		if !r.messages.show && !r.messages.record {
			return nil
		}
		if t != nil {
			l.Message, l.Unknown, l.Note = json.RawMessage(t.json), t.unknown, t.note
			if !t.schema {
				l.Schema = new(bool)
			}
		}
	case trace.ServerTrailer, trace.Cancel, trace.Cut:
		l.Metadata = r.metadata(e)
		if l.Status != nil && t != nil {
			l.Note = t.note
			for _, detail := range t.details {
				l.Status.Details = append(l.Status.Details, json.RawMessage(detail))
			}
		}
	case trace.ClientHalfClose, trace.GoAway, trace.Other, trace.Lost:
	}
	return l
}

func (*jsonRenderer) open(c *call, now time.Time, first bool) []byte {
	if first {
		return nil // its client_header has been printed
	}
	l := recording.New("open", now)
	l.Session, l.Call, l.Method, l.Duration = c.session, c.number, c.method, recording.ToMilliseconds(c.duration)
	l.Sent, l.Received = recording.ToCount(c.sent), recording.ToCount(c.received)
	return l.Append(nil)
}

func (*jsonRenderer) more(int) []byte { return nil }

func (*jsonRenderer) unwritten(lines int) []byte {
	l := recording.New(trace.Lost.String(), time.Now())
	l.Lost = &recording.Lost{Lines: lines}
	return l.Append(nil)
}

func (*jsonRenderer) summary(s *summary) []byte {
	l := recording.New("summary", time.Now())
	l.Summary = &recording.Summary{OK: s.ok, Failed: s.failed, Open: s.open, Hidden: s.hidden}
	if s.lost != (trace.Losses{}) {
		l.Summary.Lost = recording.ToLost(s.lost)
	}
	return l.Append(nil)
}

func (r *jsonRenderer) metadata(e *trace.Event) map[string][]string {
	if len(e.Metadata) == 0 {
		return nil
	}
	m := make(map[string][]string, len(e.Metadata))
	for _, f := range e.Metadata {
		if f.Name == recording.DetailsKey { // the details are in status, where secrets are hidden
			continue
		}
		m[f.Name] = append(m[f.Name], r.secrets.Mask(f.Value))
	}
	return m
}
