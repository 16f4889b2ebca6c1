package tracing

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// Print prints the events that r has in JSON, as the trace of a command with --output json
// prints them, and ignores other lines. It returns when r ends, with its error, or when ctx
// has ended and r returns. With follow, r is a file that grows, and ends with ctx. If there
// are no events at all, the error says so.
func (o *Options) Print(ctx context.Context, r io.Reader, follow bool, out *Output) error {
	o.Trace = true
	f, _, err := o.newFollower(out)
	if err != nil {
		return err
	}
	if follow {
		r = &growing{ctx, r, func() { f.Flush(time.Now()) }}
	}
	events, lines := bufio.NewReader(r), 0
	found := false
	for ctx.Err() == nil {
		line, err := events.ReadBytes('\n')
		if len(line) > 0 {
			lines++
		}
		if e, t := parseEvent(line); e != nil {
			found = true
			f.Flush(e.Time) // the calls that were open at that time
			f.event(e, func() *text { return t })
			f.flush()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	f.close(out.Summary)
	if !found && lines > 0 {
		return fmt.Errorf("no events in %d lines: want those of --trace with --output json or --log-format json", lines)
	}
	return nil
}

// growing is a file whose end is that of ctx.
type growing struct {
	ctx context.Context //nolint:containedctx // io.Reader has none
	io.Reader
	idle func() // called while there is nothing to read
}

func (g *growing) Read(p []byte) (int, error) {
	const interval = 100 * time.Millisecond
	for {
		n, err := g.Reader.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		g.idle()
		select {
		case <-time.After(interval):
		case <-g.ctx.Done():
			return 0, io.EOF
		}
	}
}

// parseEvent returns the event in a line and its message, nil if it has none.
func parseEvent(line []byte) (*trace.Event, *text) {
	var o object
	if json.Unmarshal(line, &o) != nil || o.Event != "rpc" {
		return nil, nil
	}
	at, err := time.Parse(time.RFC3339Nano, o.Time)
	kind := slices.IndexFunc(types, func(t trace.Type) bool { return t.String() == o.Type })
	if err != nil || kind < 0 {
		return nil, nil
	}
	e := &trace.Event{
		Type: types[kind], Side: sideOf(&o), Time: at.Local(), Session: o.Session, Stream: o.Stream, Call: o.Call, Seq: o.Seq,
		Method: o.Method, IsGRPC: o.HTTP == "" || o.Status != nil, Authority: o.Authority, Timeout: o.Timeout.duration(), Encoding: o.Encoding,
		Sent: o.Sent.count(), Received: o.Received.count(), Duration: o.Duration.duration(), Code: trace.NoStatus,
		HTTPStatus: o.HTTP, HTTP2Code: http2Code(o.Code), Message: o.Reason, Lost: o.Lost.losses(),
	}
	for name, values := range o.Metadata {
		for _, value := range values {
			e.Metadata = append(e.Metadata, hpack.HeaderField{Name: name, Value: value})
		}
	}
	if o.Status != nil {
		e.Code, e.Message = codes.Code(o.Status.Code), o.Status.Message
		t := &text{note: o.Note}
		for _, detail := range o.Status.Details {
			t.details = append(t.details, string(detail))
		}
		return e, t
	}
	if o.Size == nil {
		return e, nil
	}
	e.Size = *o.Size
	return e, &text{json: string(o.Message), unknown: o.Unknown, note: o.Note, schema: o.Schema == nil}
}

var types = []trace.Type{
	trace.ClientHeader, trace.ServerHeader, trace.ClientMessage, trace.ServerMessage, trace.ClientHalfClose,
	trace.ServerTrailer, trace.Cancel, trace.Cut, trace.GoAway, trace.Other, trace.Lost,
}

func sideOf(o *object) trace.Side {
	switch {
	case o.Source != "":
		return trace.Wstun
	case o.By == trace.Server.String():
		return trace.Server
	}
	return trace.Client
}

// http2Code returns the code with a name, or NO_ERROR.
func http2Code(name string) http2.ErrCode {
	for code := http2.ErrCodeNo; code <= http2.ErrCodeHTTP11Required; code++ {
		if code.String() == name {
			return code
		}
	}
	return http2.ErrCodeNo
}

func (c *jsonCount) count() trace.Count {
	if c == nil {
		return trace.Count{}
	}
	return trace.Count{Messages: c.Messages, Bytes: c.Bytes}
}

func (l *jsonLost) losses() trace.Losses {
	if l == nil {
		return trace.Losses{}
	}
	return trace.Losses{Events: l.Events, Calls: l.Calls, Bytes: l.Bytes, Conns: l.Connections}
}

// milliseconds is a duration in JSON.
type milliseconds float64

func toMilliseconds(d time.Duration) milliseconds {
	return milliseconds(float64(d.Microseconds()) / 1000)
}

func (ms milliseconds) duration() time.Duration {
	return time.Duration(float64(ms) * float64(time.Millisecond))
}
