package recording

import (
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/tunnel/trace"
)

// Recording is a recording in memory.
type Recording struct {
	Calls []*Call // in the order in which they began
	Files *Files
	Lost  trace.Losses
}

// Call is a recorded call.
type Call struct {
	Number uint64   // as recorded
	Events []*Event // in order, at least one
}

// Event is an event of a recorded call.
type Event struct {
	trace.Event             // with the whole message in Data, not compressed; nil: it isn't recorded
	Redacted    []string    // the fields of Data, or of the details, that have lost their values
	Details     *spb.Status // of a ServerTrailer with details; otherwise nil
}

// Read reads a recording, or several ones after each other: the parts of one that has
// been rotated, the oldest first, or different ones. Its errors are ErrNotRecording and those of
// Reader.Next.
func Read(r io.Reader) (*Recording, error) {
	rec := &Recording{Files: &Files{}}
	open := map[uint64]*Call{}
	lines := NewReader(r)
	for {
		l, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF) && lines.Version == 0:
			return nil, ErrNotRecording
		case errors.Is(err, io.EOF):
			slices.SortStableFunc(rec.Calls, func(a, b *Call) int { return a.Events[0].Time.Compare(b.Events[0].Time) })
			return rec, nil
		case err != nil:
			return nil, err
		}
		rec.add(l, open)
	}
}

// add adds a line. open has the calls without an end, by number.
func (rec *Recording) add(l *Line, open map[uint64]*Call) {
	switch l.Event {
	case HeaderLine:
		if !l.Continued {
			clear(open) // another process, with its own numbers
		}
		return
	case SchemaLine:
		rec.Files.AddSet(l.Files)
		return
	}
	e := l.ToEvent()
	if e == nil {
		return
	}
	if e.Type == trace.Lost {
		rec.Lost.Add(e.Lost)
	}
	if e.Call == 0 {
		return
	}
	c := open[e.Call]
	if c == nil {
		c = &Call{Number: e.Call}
		open[e.Call] = c
		rec.Calls = append(rec.Calls, c)
	}
	event := &Event{Event: *e, Redacted: l.Redacted}
	if l.Status != nil && len(l.Status.Data) > 0 {
		event.Details = &spb.Status{}
		if proto.Unmarshal(l.Status.Data, event.Details) != nil {
			event.Details = nil
		}
	}
	c.Events = append(c.Events, event)
	if e.IsEnd() {
		delete(open, e.Call)
	}
}

// Method returns the path of the method, "/pkg.Service/Method".
func (c *Call) Method() string { return c.Events[0].Method }

// End returns the last event if it ends the call, and otherwise nil: the call was still
// open.
func (c *Call) End() *Event {
	if last := c.Events[len(c.Events)-1]; last.IsEnd() {
		return last
	}
	return nil
}

// Problem returns why the call can't be made again as it was, "" if it can: it is
// Incomplete, its session was lost, or wstun answered it; or a request has lost a secret.
func (c *Call) Problem() string {
	if reason := c.Incomplete(); reason != "" {
		return reason
	}
	switch end := c.End(); {
	case end != nil && end.Type == trace.Cut:
		return "it was cut: " + end.Message
	case end != nil && end.Side == trace.Wstun:
		return "wstun answered it: " + end.Message
	}
	for _, e := range c.Events {
		if e.Type == trace.ClientMessage && len(e.Redacted) > 0 {
			return "a request has lost secrets: " + strings.Join(e.Redacted, ", ")
		}
	}
	return ""
}

// Incomplete returns why the recording doesn't have all that the two sides have sent, ""
// if it has: the beginning, events or bytes of a message are missing, or it isn't gRPC.
func (c *Call) Incomplete() string {
	first := c.Events[0]
	switch end := c.End(); {
	case first.Type != trace.ClientHeader:
		return "its beginning isn't in the recording"
	case !isGRPC(first.Metadata) || first.Method == "?":
		return "it isn't gRPC"
	case end != nil && end.Type == trace.ServerTrailer && end.Code == trace.NoStatus:
		return "the response isn't gRPC"
	}
	for i, e := range c.Events {
		switch isMessage := e.Type == trace.ClientMessage || e.Type == trace.ServerMessage; {
		case int(e.Seq) != i+1:
			return "events are missing"
		case isMessage && !e.Whole:
			return "a message isn't recorded as a whole"
		}
	}
	return ""
}

// MetadataValue returns the value of recorded metadata as gRPC's API has it: that of a name
// in -bin is decoded. ok is false if the value is redacted or isn't base64.
func MetadataValue(f hpack.HeaderField) (value string, ok bool) {
	switch {
	case f.Value == trace.Redacted:
		return "", false
	case !strings.HasSuffix(f.Name, "-bin"):
		return f.Value, true
	}
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(f.Value, "="))
	return string(data), err == nil
}

// isGRPC reports whether a header list is gRPC's. Without a content type it is: that may
// have been redacted.
func isGRPC(fields []hpack.HeaderField) bool {
	return strings.HasPrefix(contentType(fields), "application/grpc")
}

// contentType returns the content type in a header list, gRPC's if it is missing or
// redacted.
func contentType(fields []hpack.HeaderField) string {
	i := slices.IndexFunc(fields, func(f hpack.HeaderField) bool { return f.Name == "content-type" })
	if i < 0 || fields[i].Value == trace.Redacted {
		return "application/grpc"
	}
	return fields[i].Value
}
