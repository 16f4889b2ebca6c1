package recording

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
)

// The values of Line.Event.
const (
	HeaderLine = "recording" // the first line of a recording
	SchemaLine = "schema"    // descriptors of the calls that follow
	RPCLine    = "rpc"       // an event
)

// Line is a line of a recording, or of a trace in JSON. Members that don't belong to its
// Event and Type are zero.
type Line struct {
	Event   string `json:"event"` // HeaderLine, SchemaLine or RPCLine
	Time    string `json:"time"`  // RFC 3339, UTC
	Session uint64 `json:"session,omitempty"`
	Stream  uint32 `json:"stream,omitempty"`
	Call    uint64 `json:"call,omitempty"`
	Seq     uint32 `json:"seq,omitempty"`
	Type    string `json:"type,omitempty"` // of an event: a trace.Type, "open" or "summary"
	Method  string `json:"method,omitempty"`

	// Of a HeaderLine.
	Version   int    `json:"version,omitempty"`   // of the format
	Wstun     string `json:"wstun,omitempty"`     // the version of wstun
	Secrets   bool   `json:"secrets,omitempty"`   // secrets aren't removed
	Continued bool   `json:"continued,omitempty"` // the file before it has the beginning

	// Of a SchemaLine: a google.protobuf.FileDescriptorSet.
	Files []byte `json:"files,omitempty"`

	Authority string              `json:"authority,omitempty"`
	Timeout   Milliseconds        `json:"timeout_ms,omitempty"`
	Metadata  map[string][]string `json:"metadata,omitempty"`
	Sensitive []string            `json:"sensitive,omitempty"` // names of metadata that would be secret, if that is kept

	Size      *int64          `json:"size,omitempty"` // of a message as sent, in bytes
	Encoding  string          `json:"compressed,omitempty"`
	Message   json.RawMessage `json:"message,omitempty"`
	Schema    *bool           `json:"schema,omitempty"`         // false: the message has been decoded without one
	Unknown   int             `json:"unknown_fields,omitempty"` // in the message
	Note      string          `json:"note,omitempty"`           // why the message isn't whole
	Redacted  []string        `json:"redacted,omitempty"`       // the fields of Data without their values, such as "key.secret"
	Truncated bool            `json:"truncated,omitempty"`      // Data isn't all of the message

	Status   *Status      `json:"status,omitempty"`
	HTTP     string       `json:"http_status,omitempty"`
	By       string       `json:"by,omitempty"`     // of cancel and goaway: client or server
	Source   string       `json:"source,omitempty"` // "wstun" if it is the cause
	Code     string       `json:"code,omitempty"`   // of HTTP/2
	Reason   string       `json:"reason,omitempty"`
	Duration Milliseconds `json:"ms,omitempty"`
	Sent     *Count       `json:"sent,omitempty"`     // by the client
	Received *Count       `json:"received,omitempty"` // by the client

	Lost    *Lost    `json:"lost,omitempty"`
	Summary *Summary `json:"summary,omitempty"`

	// Of a message in a recording: its bytes, not compressed. nil: they aren't
	// recorded. It is the last member.
	Data []byte `json:"data,omitempty"`
}

// Status is a gRPC status.
type Status struct {
	Code    uint32            `json:"code"`
	Name    string            `json:"name"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details,omitempty"`
	Data    []byte            `json:"data,omitempty"` // in a recording: the google.rpc.Status with the details
}

// Count counts messages.
type Count struct {
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

// Lost counts missing parts.
type Lost struct {
	Events      uint64 `json:"events,omitempty"`
	Calls       uint64 `json:"calls,omitempty"`
	Bytes       int64  `json:"bytes,omitempty"`
	Connections uint64 `json:"connections,omitempty"`
	Lines       int    `json:"lines,omitempty"` // that couldn't be written
}

// Summary counts the calls of a trace.
type Summary struct {
	OK     int   `json:"ok"`
	Failed int   `json:"failed"`
	Open   int   `json:"open"`
	Hidden int   `json:"hidden"` // calls of reflection, health and channelz
	Lost   *Lost `json:"lost,omitempty"`
}

// Milliseconds is a duration in JSON.
type Milliseconds float64

// ToMilliseconds returns d, rounded to microseconds.
func ToMilliseconds(d time.Duration) Milliseconds {
	return Milliseconds(float64(d.Microseconds()) / 1000)
}

// duration returns ms as a duration. A file may have any number.
func (ms Milliseconds) duration() time.Duration {
	const longest = 1 << 62 // 146 years
	return time.Duration(min(max(float64(ms), 0)*float64(time.Millisecond), longest))
}

// New returns a line for an event of the given type.
func New(kind string, at time.Time) *Line {
	return &Line{Event: RPCLine, Time: formatTime(at), Type: kind}
}

// NewHeader returns a HeaderLine for a version of wstun.
func NewHeader(version string, at time.Time) *Line {
	return &Line{Event: HeaderLine, Time: formatTime(at), Version: Version, Wstun: version}
}

// NewSchema returns a SchemaLine with an encoded google.protobuf.FileDescriptorSet.
func NewSchema(files []byte, at time.Time) *Line {
	return &Line{Event: SchemaLine, Time: formatTime(at), Files: files}
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// FromEvent returns the line for e, without its metadata, status details and message.
func FromEvent(e *trace.Event) *Line {
	l := New(e.Type.String(), e.Time)
	l.Session, l.Stream, l.Call, l.Seq, l.Method = e.Session, e.Stream, e.Call, e.Seq, e.Method
	if e.Side == trace.Wstun {
		l.Source = e.Side.String()
	}
	switch e.Type {
	case trace.ClientHeader:
		l.Authority, l.Timeout = e.Authority, ToMilliseconds(e.Timeout)
	case trace.ClientMessage, trace.ServerMessage:
		l.Size, l.Encoding = &e.Size, e.Encoding
	case trace.ServerTrailer, trace.Cancel, trace.Cut:
		l.Duration, l.Sent, l.Received = ToMilliseconds(e.Duration), ToCount(e.Sent), ToCount(e.Received)
		l.end(e)
	case trace.GoAway:
		l.By, l.Code, l.Reason = e.Side.String(), CodeName(e.HTTP2Code), e.Message
	case trace.Other:
		l.Reason, l.Duration = e.Message, ToMilliseconds(e.Duration)
		if e.Duration > 0 {
			l.Sent, l.Received = ToCount(e.Sent), ToCount(e.Received)
		}
	case trace.Lost:
		l.Lost = ToLost(e.Lost)
	case trace.ServerHeader, trace.ClientHalfClose:
	}
	return l
}

// end sets the members of the end of a call.
func (l *Line) end(e *trace.Event) {
	switch {
	case e.Type == trace.Cancel:
		l.By, l.Code, l.Timeout = e.Side.String(), CodeName(e.HTTP2Code), ToMilliseconds(e.Timeout)
	case e.Type == trace.Cut:
		l.Reason = e.Message
	case e.Code == trace.NoStatus:
		l.HTTP = e.HTTPStatus
	default:
		l.Status = &Status{Code: uint32(e.Code), Name: StatusName(e.Code), Message: e.Message}
	}
}

// types are the types of events.
var types = []trace.Type{
	trace.ClientHeader, trace.ServerHeader, trace.ClientMessage, trace.ServerMessage, trace.ClientHalfClose,
	trace.ServerTrailer, trace.Cancel, trace.Cut, trace.GoAway, trace.Other, trace.Lost,
}

// DetailsKey is the metadata with a google.rpc.Status.
const DetailsKey = "grpc-status-details-bin"

// ToEvent returns the event of l, with all that is in l of the metadata and the message, or
// nil if l isn't one.
func (l *Line) ToEvent() *trace.Event {
	at, err := time.Parse(time.RFC3339Nano, l.Time)
	kind := slices.IndexFunc(types, func(t trace.Type) bool { return t.String() == l.Type })
	if l.Event != RPCLine || err != nil || kind < 0 {
		return nil
	}
	e := &trace.Event{
		Type: types[kind], Side: l.side(types[kind]), Time: at.Local(), Session: l.Session, Stream: l.Stream, Call: l.Call, Seq: l.Seq,
		Method: l.Method, IsGRPC: l.HTTP == "" || l.Status != nil, Authority: l.Authority, Timeout: l.Timeout.duration(), Encoding: l.Encoding,
		Sent: l.Sent.count(), Received: l.Received.count(), Duration: l.Duration.duration(), Code: trace.NoStatus,
		HTTPStatus: l.HTTP, HTTP2Code: parseCode(l.Code), Message: l.Reason, Lost: l.Lost.losses(), Data: l.Data,
	}
	for _, name := range slices.Sorted(maps.Keys(l.Metadata)) {
		for _, value := range l.Metadata[name] {
			e.Metadata = append(e.Metadata, hpack.HeaderField{Name: name, Value: value, Sensitive: slices.Contains(l.Sensitive, name)})
		}
	}
	if l.Status != nil {
		e.Code, e.Message = codes.Code(l.Status.Code), l.Status.Message
		if len(l.Status.Data) > 0 {
			e.Metadata = append(e.Metadata, hpack.HeaderField{Name: DetailsKey, Value: base64.RawStdEncoding.EncodeToString(l.Status.Data)})
		}
	}
	if l.Size != nil {
		e.Size, e.Whole = *l.Size, l.Data != nil && !l.Truncated
	}
	if l.Truncated {
		e.Encoding = "" // Data isn't compressed
	}
	return e
}

func (l *Line) side(t trace.Type) trace.Side {
	switch {
	case l.Source != "":
		return trace.Wstun
	case l.By == trace.Server.String(), t == trace.ServerHeader, t == trace.ServerMessage, t == trace.ServerTrailer:
		return trace.Server
	}
	return trace.Client
}

// StatusName returns the name of a status as in gRPC's documents.
func StatusName(c codes.Code) string {
	if name := code.Code_name[int32(c)]; name != "" { //nolint:gosec // unknown codes have no name
		return name
	}
	return fmt.Sprintf("CODE_%d", c)
}

// CodeName returns the name of an error code of HTTP/2, or its number.
func CodeName(c http2.ErrCode) string {
	if c > http2.ErrCodeHTTP11Required {
		return fmt.Sprintf("0x%x", uint32(c))
	}
	return c.String()
}

// parseCode returns the code that CodeName has named, or NO_ERROR.
func parseCode(name string) http2.ErrCode {
	for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
		if code.String() == name {
			return code
		}
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(name, "0x"), 16, 32)
	if err != nil {
		return http2.ErrCodeNo
	}
	return http2.ErrCode(number)
}

// ToCount returns c in JSON.
func ToCount(c trace.Count) *Count { return &Count{c.Messages, c.Bytes} }

func (c *Count) count() trace.Count {
	if c == nil {
		return trace.Count{}
	}
	return trace.Count{Messages: c.Messages, Bytes: c.Bytes}
}

// ToLost returns l in JSON.
func ToLost(l trace.Losses) *Lost {
	return &Lost{Events: l.Events, Calls: l.Calls, Bytes: l.Bytes, Connections: l.Conns}
}

func (l *Lost) losses() trace.Losses {
	if l == nil {
		return trace.Losses{}
	}
	return trace.Losses{Events: l.Events, Calls: l.Calls, Bytes: l.Bytes, Conns: l.Connections}
}

// Append appends l to b, with a newline. Text that a terminal would interpret is escaped.
func (l *Line) Append(b []byte) []byte {
	o := *l
	o.Data = nil // it may be long, and is appended without the detours of package json
	line, err := json.Marshal(&o)
	if err != nil { // a message that isn't JSON: impossible
		o.Message, o.Note = nil, err.Error()
		line, _ = json.Marshal(&o)
	}
	b = append(b, escape.Text(string(line))...)
	if l.Data != nil {
		b = append(b[:len(b)-1], `,"data":"`...)
		b = base64.StdEncoding.AppendEncode(b, l.Data)
		b = append(b, '"', '}')
	}
	return append(b, '\n')
}
