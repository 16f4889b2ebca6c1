package call

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/message"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
)

// Recorder writes each call as one line of JSON after it has ended. It buffers the
// responses until then.
type Recorder struct {
	Out    io.Writer
	Types  reflection.TypeResolver // of the method; may be nil
	Format message.Options         // of the messages; Encoding and Compact are ignored

	// Timestamps adds the times at which the responses arrived.
	Timestamps bool

	// Secrets are masked in metadata and statuses, but not in messages. Default: none.
	Secrets *escape.Secrets

	record record
}

// record is one line of a Recorder.
type record struct {
	Event    string              `json:"event"`
	Time     string              `json:"time"` // of the start
	Method   string              `json:"method"`
	Metadata map[string][]string `json:"metadata"`
	Headers  map[string][]string `json:"headers"`
	Messages []json.RawMessage   `json:"messages"`
	Times    []string            `json:"times,omitempty"` // of the arrival of each message
	Status   recordStatus        `json:"status"`
	Trailers map[string][]string `json:"trailers"`
	Sent     int                 `json:"sent"`
	Stopped  bool                `json:"stopped,omitempty"`
	Timings  recordTimings       `json:"timings"`
	Wire     *recordWire         `json:"wire,omitempty"`
}

// recordStatus is a google.rpc.Status in JSON, with the name of the code.
type recordStatus struct {
	Code    uint32            `json:"code"`
	Name    string            `json:"name"` // as in google.rpc.Code
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// recordTimings are in milliseconds since the start of the call.
type recordTimings struct {
	Headers float64 `json:"headers_ms,omitempty"`
	First   float64 `json:"first_message_ms,omitempty"`
	End     float64 `json:"end_ms"`
}

// recordWire has sizes in bytes.
type recordWire struct {
	SentMessages     int `json:"sent_messages"`
	Headers          int `json:"headers"`
	ReceivedMessages int `json:"received_messages"`
	Trailers         int `json:"trailers"`
}

// Events returns the Events that r records.
func (r *Recorder) Events() *Events {
	r.Format.Encoding, r.Format.Compact = message.JSON, true
	return &Events{Sending: r.sending, Message: r.message, End: r.end}
}

func (r *Recorder) sending(_ context.Context, m *Method, md metadata.MD) {
	r.record = record{
		Event: "call", Time: time.Now().UTC().Format(time.RFC3339Nano),
		Method: reflection.Name(m.MethodDescriptor), Metadata: r.encodeMetadata(md), Messages: []json.RawMessage{},
	}
}

func (r *Recorder) message(ctx context.Context, m *Response) error {
	text, err := message.Format(ctx, m.Message, r.Types, &r.Format)
	if err != nil {
		return fmt.Errorf("response %d: %w", m.Number, err)
	}
	r.record.Messages = append(r.record.Messages, json.RawMessage(text))
	if r.Timestamps {
		r.record.Times = append(r.record.Times, m.Time.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

func (r *Recorder) end(ctx context.Context, result *Result) {
	c := &r.record
	c.Headers, c.Trailers = r.encodeMetadata(result.Headers), r.encodeMetadata(result.Trailers)
	c.Status = r.status(ctx, result.Status)
	c.Sent, c.Stopped = result.Sent, result.Stopped
	t := result.Timings
	c.Timings = recordTimings{milliseconds(t.Headers), milliseconds(t.First), milliseconds(t.End)}
	if w := result.Wire; w != (Wire{}) {
		c.Wire = &recordWire{w.SentMessages, w.Headers, w.ReceivedMessages, w.Trailers}
	}
	line, err := json.Marshal(c)
	if err != nil {
		line = fmt.Appendf(nil, `{"event":"error","method":%q,"reason":%q}`, c.Method, err)
	}
	_, _ = io.WriteString(r.Out, escape.Text(string(line))+"\n")
}

func (r *Recorder) status(ctx context.Context, s *status.Status) recordStatus {
	name := code.Code_name[int32(s.Code())] //nolint:gosec // unknown codes have no name
	if name == "" {
		name = fmt.Sprintf("CODE_%d", s.Code())
	}
	out := recordStatus{Code: uint32(s.Code()), Name: name, Message: r.Secrets.Mask(s.Message()), Details: []json.RawMessage{}}
	format := r.Format
	format.MaxSize = message.DefaultMaxSize / max(len(s.Proto().GetDetails()), 1)
	for _, detail := range s.Proto().GetDetails() {
		text, err := message.Format(ctx, detail, r.Types, &format)
		if err != nil {
			text = undecodable(detail.GetTypeUrl(), err)
		}
		out.Details = append(out.Details, json.RawMessage(r.Secrets.Mask(text)))
	}
	return out
}

// undecodable returns the JSON for a detail that can't be decoded.
func undecodable(url string, err error) string {
	text, _ := json.Marshal(struct {
		Type  string `json:"@type"`
		Error string `json:"@error"`
	}{url, err.Error()})
	return string(text)
}

// encodeMetadata returns a copy of md with binary values in base64.
func (r *Recorder) encodeMetadata(md metadata.MD) map[string][]string {
	out := make(map[string][]string, len(md))
	for name, list := range md {
		for _, value := range list {
			out[name] = append(out[name], r.Secrets.Mask(formatValue(name, value)))
		}
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
